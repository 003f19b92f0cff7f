/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/json.h"

#include <errno.h>
#include <string.h>

static json_t *parse(const char *text)
{
	struct err err = ERR_INIT;
	json_t *json = NULL;

	if (json_parse(text, strlen(text), "test", &json, &err) < 0)
		fail_msg("%s", err_text(&err));
	return json;
}

static void keys_match_without_case(void **state)
{
	json_t *json = parse("{\"network\":\"a\",\"NETWORK\":\"b\",\"nul\":null}");
	const char *text = NULL;

	assert_int_equal(json_get_string(json, "t", "Network", &text, NULL), 1);
	assert_string_equal(text, "b");
	assert_int_equal(json_get_string(json, "t", "network", &text, NULL), 1);
	assert_string_equal(text, "a");
	assert_int_equal(json_get_string(json, "t", "nul", &text, NULL), 0);
	assert_int_equal(json_get_string(json, "t", "none", &text, NULL), 0);
	json_decref(json);
}

static void numbers_come_in_float_form(void **state)
{
	json_t *json = parse("{\"a\":1e+07,\"b\":1.5,\"c\":34359738359,\"d\":\"7\"}");
	struct err err = ERR_INIT;
	int64_t n = 0;

	assert_int_equal(json_get_int(json, "t", "a", 0, INT64_MAX, &n, &err), 1);
	assert_int_equal(n, 10000000);
	assert_int_equal(json_get_int(json, "t", "b", 0, INT64_MAX, &n, &err), -EINVAL);
	assert_int_equal(json_get_int(json, "t", "c", 0, INT64_MAX, &n, &err), 1);
	assert_true(n == 34359738359);
	assert_int_equal(json_get_int(json, "t", "c", 0, 65535, &n, &err), -ERANGE);
	assert_string_equal(err_text(&err), "t: key \"c\" is 34359738359, expected 0 to 65535");
	assert_int_equal(json_get_int(json, "t", "d", 0, 65535, &n, &err), -EINVAL);
	assert_string_equal(err_text(&err), "t: key \"d\" is the string \"7\", expected a whole number");
	json_decref(json);
}

static void deep_nesting_is_an_error(void **state)
{
	static char deep[20001];
	struct err err = ERR_INIT;
	json_t *json = NULL;

	memset(deep, '[', 10000);
	memset(deep + 10000, ']', 10000);
	assert_int_equal(json_parse(deep, 20000, "stdin", &json, &err), -EINVAL);
	assert_null(json);
}

static void nul_bytes_are_an_error(void **state)
{
	static const char text[] = "{\"a\":1\0}";
	struct err err = ERR_INIT;
	json_t *json = NULL;

	assert_int_equal(json_parse(text, sizeof(text) - 1, "stdin", &json, &err), -EINVAL);
	assert_null(json);
	assert_string_equal(err_text(&err), "stdin: not valid JSON: NUL byte at offset 6");
}

static void control_characters_are_not_repeated(void **state)
{
	static const char text[] = "{\"a\": 1\x1b[31m\n}";
	struct err err = ERR_INIT;
	json_t *json = NULL;

	assert_int_equal(json_parse(text, sizeof(text) - 1, "stdin", &json, &err), -EINVAL);
	for (const char *p = err_text(&err); *p; p++)
		assert_true((unsigned char)*p >= 0x20 && *p != 0x7f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_match_without_case),
		cmocka_unit_test(numbers_come_in_float_form),
		cmocka_unit_test(deep_nesting_is_an_error),
		cmocka_unit_test(nul_bytes_are_an_error),
		cmocka_unit_test(control_characters_are_not_repeated),
	};

	return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
