/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "attach/ipam.h"
#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

static struct addr A(const char *text) {
	struct addr addr;

	assert_int_equal(addr_parse(text, &addr), 0);
	return addr;
}

static struct ipam *
ipam_of(const char *block, unsigned cooldown_s, bool (*taken)(void *, const struct addr *))
{
	struct ipam_options options = {.cooldown_s = cooldown_s, .taken = taken};
	struct prefix prefix;
	struct ipam *ipam;

	assert_int_equal(ipam_new(&options, &ipam), 0);
	assert_int_equal(prefix_parse(block, &prefix), 0);
	ipam_set_block(ipam, family_index(prefix.family), &prefix);
	return ipam;
}

static void takes(struct ipam *ipam, int family, uint64_t owner, int64_t now, const char *expected)
{
	char text[ADDR_TEXT_MAX];
	struct err err = ERR_INIT;
	struct addr addr;

	if (ipam_take(ipam, family, owner, now, &addr, &err) < 0)
		fail_msg("expected %s, got: %s", expected, err_text(&err));
	assert_string_equal(addr_format(&addr, text), expected);
}

static void reserved_are_skipped(void **state)
{
	struct ipam *ipam = ipam_of("10.1.2.0/29", 60, NULL);
	struct err err = ERR_INIT;
	struct addr addr;

	takes(ipam, FAMILY_4, 1, 0, "10.1.2.2");
	takes(ipam, FAMILY_4, 2, 0, "10.1.2.3");
	takes(ipam, FAMILY_4, 3, 0, "10.1.2.4");
	takes(ipam, FAMILY_4, 4, 0, "10.1.2.5");
	takes(ipam, FAMILY_4, 5, 0, "10.1.2.6");
	assert_int_equal(ipam_take(ipam, FAMILY_4, 6, 0, &addr, &err), -ENOSPC);
	assert_string_equal(err.text,
		"block 10.1.2.0/29: no address is free: 5 in all, 5 in use, 0 resting, 0 of others; "
		"one becomes free when a pod is deleted");
	ipam_free(ipam);
	ipam = ipam_of("fd00:1::/125", 60, NULL);
	takes(ipam, FAMILY_6, 1, 0, "fd00:1::2");
	for (int i = 3; i <= 7; i++)
		assert_int_equal(ipam_take(ipam, FAMILY_6, 1, 0, &addr, NULL), 0);
	assert_true(addr_equal(&addr, &(struct addr){.b = {0xfd, 0, 0, 1, [15] = 7}}));
	assert_int_equal(ipam_take(ipam, FAMILY_6, 6, 0, &addr, NULL), -ENOSPC);
	ipam_free(ipam);
}

static void tiny_blocks_have_none(void **state)
{
	static const char *const blocks[] = {
		"10.0.0.0/32", "10.0.0.0/31", "255.255.255.254/31", "fd00::/128", "fd00::/127"};
	struct addr addr;

	for (size_t i = 0; i < ARRAY_SIZE(blocks); i++) {
		struct ipam *ipam = ipam_of(blocks[i], 60, NULL);

		assert_int_equal(ipam_take(ipam, blocks[i][0] == 'f', 1, 0, &addr, NULL), -ENOSPC);
		ipam_free(ipam);
	}
	struct ipam *ipam = ipam_of("255.255.255.252/30", 60, NULL);

	takes(ipam, FAMILY_4, 1, 0, "255.255.255.254");
	assert_int_equal(ipam_take(ipam, FAMILY_4, 1, 0, &addr, NULL), -ENOSPC);
	ipam_free(ipam);
}

static void no_block_is_not_ready(void **state)
{
	struct ipam *ipam = ipam_of("10.0.0.0/24", 60, NULL);
	struct addr addr;

	assert_int_equal(ipam_take(ipam, FAMILY_6, 1, 0, &addr, NULL), -EAGAIN);
	ipam_free(ipam);
}

static void rests_before_reuse(void **state)
{
	struct ipam *ipam = ipam_of("10.1.2.0/29", 60, NULL);
	struct addr addr = A("10.1.2.2"), other;
	struct ipam_counts counts;
	struct err err = ERR_INIT;

	for (uint64_t i = 1; i <= 4; i++)
		assert_int_equal(ipam_take(ipam, FAMILY_4, i, 0, &other, NULL), 0);
	ipam_rest(ipam, &addr, 99, 1000); /* not the owner */
	ipam_count(ipam, FAMILY_4, 1000, &counts);
	assert_int_equal(counts.in_use, 4);
	ipam_rest(ipam, &addr, 1, 1000);
	ipam_count(ipam, FAMILY_4, 1000, &counts);
	assert_int_equal(counts.in_use, 3);
	assert_int_equal(counts.resting, 1);
	assert_int_equal(counts.free, 1);
	/* next fit: the last free one comes before the released one */
	takes(ipam, FAMILY_4, 5, 2000, "10.1.2.6");
	assert_int_equal(ipam_take(ipam, FAMILY_4, 6, 2000, &other, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "1 resting"));
	assert_non_null(strstr(err.text, "free in 4000 ms"));
	assert_int_equal(ipam_take(ipam, FAMILY_4, 6, 5999, &other, NULL), -ENOSPC);
	/* the block is exhausted: five seconds of rest are enough */
	takes(ipam, FAMILY_4, 6, 6000, "10.1.2.2");
	ipam_free(ipam);
}

static void longest_rest_first(void **state)
{
	struct ipam *ipam = ipam_of("10.1.2.0/29", 60, NULL);
	struct addr addr;

	for (uint64_t i = 1; i <= 5; i++)
		assert_int_equal(ipam_take(ipam, FAMILY_4, i, 0, &addr, NULL), 0);
	addr = A("10.1.2.5");
	ipam_rest(ipam, &addr, 4, 1000);
	addr = A("10.1.2.3");
	ipam_rest(ipam, &addr, 2, 2000);
	addr = A("10.1.2.4");
	ipam_rest(ipam, &addr, 3, 1500);
	takes(ipam, FAMILY_4, 6, 20000, "10.1.2.5");
	takes(ipam, FAMILY_4, 7, 20000, "10.1.2.4");
	takes(ipam, FAMILY_4, 8, 20000, "10.1.2.3");
	ipam_free(ipam);
}

static void with_room_the_whole_rest_is_kept(void **state)
{
	struct ipam *ipam = ipam_of("10.1.2.0/28", 60, NULL);
	struct addr addr = A("10.1.2.2");

	takes(ipam, FAMILY_4, 1, 0, "10.1.2.2");
	ipam_rest(ipam, &addr, 1, 0);
	for (int i = 3; i <= 14; i++)
		assert_int_equal(ipam_take(ipam, FAMILY_4, 2, 0, &addr, NULL), 0);
	ipam_drop(ipam, &addr, 2);
	takes(ipam, FAMILY_4, 3, 59000, "10.1.2.14");
	ipam_drop(ipam, &addr, 3);
	takes(ipam, FAMILY_4, 3, 60000, "10.1.2.2"); /* its rest is over, and it is next in turn */
	ipam_free(ipam);
}

static void no_cooldown(void **state)
{
	struct ipam *ipam = ipam_of("10.1.2.0/30", 0, NULL);
	struct addr addr = A("10.1.2.2");

	takes(ipam, FAMILY_4, 1, 0, "10.1.2.2");
	ipam_rest(ipam, &addr, 1, 7);
	takes(ipam, FAMILY_4, 2, 7, "10.1.2.2");
	ipam_free(ipam);
}

static bool low_are_taken(void *ctx, const struct addr *addr)
{
	return addr->b[15] < 5;
}

static void others_are_stepped_over(void **state)
{
	struct ipam *ipam = ipam_of("10.1.2.0/29", 60, low_are_taken);
	struct addr addr = A("10.1.2.3");
	struct err err = ERR_INIT;

	takes(ipam, FAMILY_4, 1, 0, "10.1.2.5");
	takes(ipam, FAMILY_4, 2, 0, "10.1.2.6");
	assert_int_equal(ipam_take(ipam, FAMILY_4, 3, 0, &addr, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "3 of others"));
	assert_int_equal(ipam_take_wish(ipam, &addr, 3, 0, NULL), -ENOSPC);
	ipam_free(ipam);
}

static void wishes(void **state)
{
	static const struct {
		const char *addr;
		int expected;
	} cases[] = {{"10.1.2.77", 0}, {"10.1.2.77", -ENOSPC}, {"10.1.2.0", -EINVAL}, {"10.1.2.1", -EINVAL},
		{"10.1.2.255", -EINVAL}, {"10.1.3.2", -EINVAL}, {"fd00::5", -EINVAL}, {"10.1.2.254", 0}};
	struct ipam *ipam = ipam_of("10.1.2.0/24", 60, NULL);
	struct addr addr = A("10.1.2.77");

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct addr wish = A(cases[i].addr);

		assert_int_equal(ipam_take_wish(ipam, &wish, 1, 0, NULL), cases[i].expected);
	}
	ipam_rest(ipam, &addr, 1, 0);
	assert_int_equal(ipam_take_wish(ipam, &addr, 2, 4999, NULL), -ENOSPC);
	assert_int_equal(ipam_take_wish(ipam, &addr, 2, 5000, NULL), 0);
	ipam_free(ipam);
}

static int count_each(void *ctx, const struct addr *addr, int64_t since)
{
	++*(int *)ctx;
	return 0;
}

static void replay(void **state)
{
	struct ipam *ipam = ipam_of("10.1.2.0/24", 60, NULL);
	struct addr a = A("10.1.2.9"), foreign = A("10.9.9.9");
	int error, n = 0;

	assert_int_equal(ipam_hold(ipam, &a, 7, &error), 0);
	assert_int_equal(error, 0);
	assert_int_equal(ipam_hold(ipam, &a, 7, &error), 0);
	assert_int_equal(ipam_hold(ipam, &a, 8, &error), 7); /* the later record wins */
	assert_int_equal(ipam_hold(ipam, &foreign, 9, &error), 0);
	takes(ipam, FAMILY_4, 10, 0,
		"10.1.2.2"); /* the last one held is outside of the block: from the front */
	ipam_rest(ipam, &foreign, 9, 0);
	assert_int_equal(ipam_hold_resting(ipam, &a, 0), 0); /* in use: stays so */
	ipam_each_resting(ipam, 59999, count_each, &n);
	assert_int_equal(n, 1);
	ipam_each_resting(ipam, 60000, count_each, &n);
	assert_int_equal(n, 1);
	ipam_free(ipam);
}

static void large_block(void **state)
{
	struct ipam *ipam = ipam_of("10.0.0.0/16", 60, NULL);
	struct ipam_counts counts;
	struct addr addr, last = {0};

	for (int i = 0; i < 65533; i++) {
		assert_int_equal(ipam_take(ipam, FAMILY_4, 1, 0, &addr, NULL), 0);
		assert_true(addr_compare(&last, &addr) < 0);
		last = addr;
	}
	assert_int_equal(ipam_take(ipam, FAMILY_4, 1, 0, &addr, NULL), -ENOSPC);
	ipam_count(ipam, FAMILY_4, 0, &counts);
	assert_int_equal(counts.in_use, 65533);
	assert_int_equal(counts.free, 0);
	ipam_free(ipam);
}

static void block_changes(void **state)
{
	struct ipam *ipam = ipam_of("10.1.2.0/24", 60, NULL);
	struct prefix block;
	struct ipam_counts counts;

	takes(ipam, FAMILY_4, 1, 0, "10.1.2.2");
	prefix_parse("10.1.7.0/24", &block);
	ipam_set_block(ipam, FAMILY_4, &block);
	takes(ipam, FAMILY_4, 2, 0, "10.1.7.2");
	ipam_count(ipam, FAMILY_4, 0, &counts);
	assert_int_equal(counts.in_use, 2);
	assert_int_equal(counts.free, 252);
	ipam_free(ipam);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(reserved_are_skipped),
		cmocka_unit_test(tiny_blocks_have_none), cmocka_unit_test(no_block_is_not_ready),
		cmocka_unit_test(rests_before_reuse), cmocka_unit_test(longest_rest_first),
		cmocka_unit_test(with_room_the_whole_rest_is_kept), cmocka_unit_test(no_cooldown),
		cmocka_unit_test(others_are_stepped_over), cmocka_unit_test(wishes), cmocka_unit_test(replay),
		cmocka_unit_test(large_block), cmocka_unit_test(block_changes)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
