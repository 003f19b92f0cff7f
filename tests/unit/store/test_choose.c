/* SPDX-License-Identifier: Apache-2.0 */
#include "objects/problems.h"
#include "store/choose.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct prefix P(const char *text)
{
	struct prefix prefix;

	assert_int_equal(prefix_parse(text, &prefix), 0);
	return prefix;
}

static struct pool pool(const char *cidr, unsigned len, const char *min, const char *max)
{
	struct pool made = {.cidr = P(cidr), .block_len = (uint8_t)len};

	assert_int_equal(addr_parse(min, &made.block_min), 0);
	assert_int_equal(addr_parse(max, &made.block_max), 0);
	return made;
}

static void next_block(void **state)
{
	static const struct { const char *from, *to; } cases[] = {
		{"10.3.1.0/24", "10.3.2.0/32"}, {"10.3.255.0/24", "10.4.0.0/32"}, {"10.3.1.128/25", "10.3.2.0/32"},
		{"255.255.255.0/24", NULL}, {"fd00::/64", "fd00:0:0:1::/128"}, {"fd00:0:0:ffff::/64", "fd00:0:1::/128"},
		{"0.0.0.0/0", NULL}, {"128.0.0.0/1", NULL}, {"0.0.0.0/1", "128.0.0.0/32"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct prefix from = P(cases[i].from);
		struct addr next;

		assert_int_equal(choose_next_block(&from, &next), cases[i].to != NULL);
		if (cases[i].to) {
			struct prefix to = P(cases[i].to);

			assert_true(addr_equal(&next, &to.addr));
		}
	}
}

/* A pool of four blocks is handed out to the last, and then it is empty. */
static void hands_out_every_block_once(void **state)
{
	struct pool small = pool("10.3.0.0/22", 24, "10.3.1.0", "10.3.3.0");
	struct prefix taken[4];
	size_t count = 0;
	struct prefix got;

	for (int i = 0; i < 3; i++) {
		assert_true(choose_block(&small, taken, count, &got));
		assert_int_equal(got.len, 24);
		for (size_t j = 0; j < count; j++)
			assert_false(prefix_overlaps(&got, &taken[j]));
		taken[count++] = got;
	}
	assert_false(choose_block(&small, taken, count, &got));
}

static void avoids_foreign_lengths(void **state)
{
	struct pool four = pool("10.3.0.0/16", 24, "10.3.1.0", "10.3.255.0");
	struct prefix taken[] = {P("10.3.0.0/17"), P("10.3.128.0/18"), P("10.3.192.0/19"), P("10.3.224.0/20"),
		P("10.3.255.128/25"), P("10.3.240.0/21"), P("fd00::/16")};
	struct prefix last = P("10.3.248.0/21"), got;

	for (int i = 0; i < 50; i++) {
		assert_true(choose_block(&four, taken, 7, &got));
		assert_true(prefix_contains_prefix(&last, &got));
		assert_false(prefix_overlaps(&got, &taken[4]));
	}
}

static void jumps_over_a_huge_prefix(void **state)
{
	struct pool six = pool("fd00::/16", 64, "fd00:0:0:1::", "fd00:ffff:ffff:ffff::");
	struct prefix taken[] = {P("fd00::/17")}, got, half = P("fd00:8000::/17");

	assert_true(choose_block(&six, taken, 1, &got));
	assert_true(prefix_contains_prefix(&half, &got));
}

static void ignores_what_covers_the_pool(void **state)
{
	struct pool four = pool("10.3.0.0/16", 24, "10.3.1.0", "10.3.255.0");
	struct prefix taken[] = {P("10.0.0.0/8")}, got;

	assert_true(choose_block(&four, taken, 1, &got));
}

static void problems_are_news_once(void **state)
{
	struct problems problems = {0};
	char key[16];

	assert_false(problems_news(&problems, "a", ""));
	assert_true(problems_news(&problems, "a", "bad"));
	assert_false(problems_news(&problems, "a", "bad"));
	assert_true(problems_news(&problems, "a", "worse"));
	assert_true(problems_news(&problems, "a", ""));
	assert_false(problems_news(&problems, "a", ""));
	for (int i = 0; i < 5000; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		assert_int_equal(problems_news(&problems, key, "bad"), i < 1000);
	}
	problems_done(&problems);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(next_block),
		cmocka_unit_test(hands_out_every_block_once),
		cmocka_unit_test(avoids_foreign_lengths),
		cmocka_unit_test(jumps_over_a_huge_prefix),
		cmocka_unit_test(ignores_what_covers_the_pool),
		cmocka_unit_test(problems_are_news_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
