/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "flannel/flannel.h"

#include <errno.h>
#include <string.h>

static void accepted(void **state)
{
	static const struct {
		const char *key, *v4, *v6, *again;
	} cases[] = {
		{"10.5.72.0-24", "10.5.72.0/24", "", "10.5.72.0-24"},
		{"10.5.72.0-24&fd00:5:0:48::-64", "10.5.72.0/24", "fd00:5:0:48::/64",
			"10.5.72.0-24&fd00:5:0:48::-64"},
		{"/coreos.com/network/subnets/10.5.72.0-24", "10.5.72.0/24", "", "10.5.72.0-24"},
		{"10.12.13.4-31", "10.12.13.4/31", "", "10.12.13.4-31"},
		{"10.5.72.0-24&fd00:5:0:48:0:0:0:0-64", "10.5.72.0/24", "fd00:5:0:48::/64",
			"10.5.72.0-24&fd00:5:0:48::-64"},
		{"0.0.0.0-0&fd00:5:0:48::-64", "", "fd00:5:0:48::/64", "0.0.0.0-0&fd00:5:0:48::-64"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct prefix subnet[FAMILY_COUNT];
		char text[PREFIX_TEXT_MAX] = "", key[LEASE_KEY_MAX];
		struct err err = ERR_INIT;

		if (flannel_key_parse(cases[i].key, subnet, &err) < 0)
			fail_msg("%s: %s", cases[i].key, err_text(&err));
		if (prefix_is_set(&subnet[FAMILY_4]))
			prefix_format(&subnet[FAMILY_4], text);
		assert_string_equal(text, cases[i].v4);
		text[0] = 0;
		if (prefix_is_set(&subnet[FAMILY_6]))
			prefix_format(&subnet[FAMILY_6], text);
		assert_string_equal(text, cases[i].v6);
		flannel_key_format(subnet, key);
		assert_string_equal(key, cases[i].again);
	}
}

static void rejected(void **state)
{
	static const char *const keys[] = {
		/* reference 3.3.1 */
		"10",
		"10.12.13.0",
		"10.12.13-24",
		"10.12.13.300-24",
		"10.12.13.0-24hi",
		"&2001::-56",
		"10.12.13.0-24&:12:13:-56",
		"10.12.13.0-24&20011::-56",
		"10.12.13.0-24&2001-56",
		"10.12.13.0-24&2001::",
		"10.12.13.0-24&2001::-56hi",
		/* lengths, host bits, forms, strangers */
		"",
		"/",
		"-",
		"&",
		"10.12.13.0-32",
		"10.12.13.0-33",
		"10.12.13.0--24",
		"10.12.13.0-",
		"10.12.13.0-024",
		"10.12.13.1-24",
		"10.12.13.0-24&2001::1-64",
		"10.12.13.0-24&2001::-128",
		"10.12.13.0-24&2001:DB8::-56",
		"10.12.13.0-24&::ffff:1.2.3.4-120",
		"10.12.13.0-24&",
		"10.12.13.0-24&10.12.14.0-24",
		"0.0.0.0-0",
		"2001::-56",
		"10.12.13.0-24&2001::-56&2002::-56",
		"010.12.13.0-24",
		" 10.12.13.0-24",
		"10.12.13.0-24 ",
		"hi10.12.13.0-24",
		"10.12.13.0/24",
		"10.12.13.0-4294967320",
		"10.12.13.0-24&2001:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:"
		"0000:0000:0000:0000:"
		"0000:0000:0000:0000:0000:0000:0000-64",
	};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		struct prefix subnet[FAMILY_COUNT] = {0};
		struct err err = ERR_INIT;

		if (flannel_key_parse(keys[i], subnet, &err) != -EINVAL)
			fail_msg("accepted: %s", keys[i]);
		assert_false(prefix_is_set(&subnet[FAMILY_4]) || prefix_is_set(&subnet[FAMILY_6]));
		assert_non_null(strstr(err_text(&err), "expected"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepted),
		cmocka_unit_test(rejected),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
