/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/addr.h"

#include <errno.h>
#include <string.h>

static void addresses_round_trip(void **state)
{
	static const char *const good[] = {"0.0.0.0", "10.42.7.1", "255.255.255.255", "2001:db8::7", "fe80::1", "::1",
		"::1:2", "fd00:42:0:7::"};
	char text[ADDR_TEXT_MAX];
	struct addr addr;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(addr_parse(good[i], &addr), 0);
		assert_string_equal(addr_format(&addr, text), good[i]);
	}
	assert_int_equal(addr_parse("FD00::A", &addr), 0);
	assert_string_equal(addr_format(&addr, text), "fd00::a");
}

static void bad_addresses_are_refused(void **state)
{
	static const char *const bad[] = {"", "10", "10.1.2", "10.1.2.300", "01.2.3.4", " 10.1.2.3", "10.1.2.3 ", "::",
		"20011::", ":12:13:", "fe80::1%eth0", "1.2.3.4.5"};
	struct addr addr = {.b = {1}};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(addr_parse(bad[i], &addr), -EINVAL);
	assert_int_equal(addr.b[0], 1);
}

static struct prefix p(const char *text)
{
	struct prefix prefix = {0};

	assert_int_equal(prefix_parse(text, &prefix), 0);
	return prefix;
}

static void prefixes_contain(void **state)
{
	static const struct { const char *outer, *inner; bool yes; } cases[] = {
		{"10.244.0.0/16", "10.244.0.0/16", true}, {"10.244.0.0/16", "10.244.0.0/24", true},
		{"10.244.0.0/16", "10.244.255.0/24", true}, {"10.244.0.0/16", "10.244.0.0/15", false},
		{"10.244.0.0/16", "192.168.0.0/24", false}, {"2001:db8:1234::/48", "2001:db8:1234::/48", true},
		{"2001:db8:1234::/48", "2001:db8:1234:ffff::/64", true},
		{"2001:db8:1234::/48", "2001:db8:1234::/47", false}, {"2001:db8:1234::/48", "fe02::/32", false},
		{"0.0.0.0/0", "10.0.0.0/8", true}, {"::/0", "2001:db8::/32", true}, {"::/0", "10.0.0.0/8", false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct prefix outer = p(cases[i].outer);
		struct prefix inner = p(cases[i].inner);

		assert_int_equal(prefix_contains_prefix(&outer, &inner), cases[i].yes);
	}
}

static void prefixes_mask_and_format(void **state)
{
	struct prefix prefix = p("10.42.3.9/16");
	char text[PREFIX_TEXT_MAX];
	char last[ADDR_TEXT_MAX];
	struct addr end;

	assert_true(prefix_has_host_bits(&prefix));
	prefix = prefix_masked(&prefix);
	assert_string_equal(prefix_format(&prefix, text), "10.42.0.0/16");
	end = prefix_last(&prefix);
	assert_string_equal(addr_format(&end, last), "10.42.255.255");
	prefix = p("fd00:42:0:7::1/61");
	prefix = prefix_masked(&prefix);
	assert_string_equal(prefix_format(&prefix, text), "fd00:42::/61");
	prefix = p("::/0");
	assert_string_equal(prefix_format(&prefix, text), "::/0");
	assert_int_equal(prefix_parse("10.0.0.0", &prefix), -EINVAL);
	assert_int_equal(prefix_parse("10.0.0.0/33", &prefix), -EINVAL);
	assert_int_equal(prefix_parse("10.0.0.0/08", &prefix), -EINVAL);
	assert_int_equal(prefix_parse("fd00::/129", &prefix), -EINVAL);
	assert_int_equal(prefix_parse("10.0.0.0/", &prefix), -EINVAL);
}

static void addresses_count(void **state)
{
	struct addr a;
	struct addr b;
	char text[ADDR_TEXT_MAX];

	addr_parse("10.0.0.255", &a);
	b = addr_add(&a, 1);
	assert_string_equal(addr_format(&b, text), "10.0.1.0");
	assert_int_equal(addr_distance(&a, &b), 1);
	assert_int_equal(addr_distance(&b, &a), -1);
	b = addr_add(&b, -1);
	assert_true(addr_equal(&a, &b));
	addr_parse("fd00::ffff:ffff:ffff:ffff", &a);
	b = addr_add(&a, 1);
	assert_string_equal(addr_format(&b, text), "fd00:0:0:1::");
}

static void macs_take_three_forms(void **state)
{
	struct mac a;
	struct mac b;
	char text[MAC_TEXT_MAX];

	assert_int_equal(mac_parse("02:00:5E:10:00:07", &a), 0);
	assert_int_equal(mac_parse("02-00-5e-10-00-07", &b), 0);
	assert_true(mac_equal(&a, &b));
	assert_int_equal(mac_parse("0200.5e10.0007", &b), 0);
	assert_true(mac_equal(&a, &b));
	assert_string_equal(mac_format(&a, text), "02:00:5e:10:00:07");
	assert_int_equal(mac_parse("02:00:5e:10:00", &a), -EINVAL);
	assert_int_equal(mac_parse("02:00-5e:10:00:07", &a), -EINVAL);
	assert_int_equal(mac_parse("0g:00:5e:10:00:07", &a), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_round_trip),
		cmocka_unit_test(bad_addresses_are_refused),
		cmocka_unit_test(prefixes_contain),
		cmocka_unit_test(prefixes_mask_and_format),
		cmocka_unit_test(addresses_count),
		cmocka_unit_test(macs_take_three_forms),
	};

	return cmocka_run_group_tests_name("addr", tests, NULL, NULL);
}
