/* SPDX-License-Identifier: Apache-2.0
 *
 * The plugin's own JSON scanner.
 */
#include "base/cleanup.h"
#include "cni/json_scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct scan_member scan(const char *text, const char **why)
{
	struct scan_member member = {.key = "name"};
	size_t at;

	*why = scan_object(text, strlen(text), &member, 1, &at);
	assert_true(at <= strlen(text));
	return member;
}

static void test_values(void **state)
{
	static const struct {
		const char *text;
		enum scan_kind kind;
		const char *value;
	} cases[] = {
		{"{}", SCAN_ABSENT, ""}, {" { } ", SCAN_ABSENT, ""}, {"{\"name\":null}", SCAN_ABSENT, ""},
		{"{\"name\":\"x\"}", SCAN_STRING, "x"}, {"{\"name\":1}", SCAN_OTHER, ""},
		{"{\"name\":{\"name\":\"y\"}}", SCAN_OTHER, ""}, {"{\"a\":[{\"name\":\"y\"}]}", SCAN_ABSENT, ""},
		{"{\"NAME\":\"x\"}", SCAN_STRING, "x"}, {"{\"name\":\"x\",\"NAME\":\"y\"}", SCAN_STRING, "x"},
		{"{\"NAME\":\"y\",\"name\":\"x\"}", SCAN_STRING, "x"}, {"{\"name\":\"x\",\"name\":\"y\"}", SCAN_STRING, "y"},
		{"{\"Name\":\"x\",\"NAME\":\"y\"}", SCAN_STRING, "y"}, {"{\"n\\u0061me\":\"x\"}", SCAN_STRING, "x"},
		{"{\"name\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}", SCAN_STRING, "\"\\/\b\f\n\r\t"},
		{"{\"name\":\"\\u00e9\\u20ac\\ud83d\\ude00\"}", SCAN_STRING, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
		{"{\"name\":\"\\ud83d!\\ude00\\ud83d\\u0041\"}", SCAN_STRING, "\xef\xbf\xbd!\xef\xbf\xbd\xef\xbf\xbd" "A"},
		{"{\"name\":\"a\\u0000b\"}", SCAN_LONG, NULL},
		{"{\"a\":[1,-0,0.5,1e9,1E+07,-1.25e-3,true,false,null,\"\",[],{},[[]],{\"b\":{\"c\":[1,{}]}}],\"name\":\"z\"}",
			SCAN_STRING, "z"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *why;
		struct scan_member member = scan(cases[i].text, &why);

		if (why || member.kind != cases[i].kind ||
			(cases[i].value && cases[i].kind == SCAN_STRING && strcmp(member.text, cases[i].value) != 0))
			fail_msg("%s: %s, kind %d, \"%s\"", cases[i].text, why ? why : "good", member.kind, member.text);
	}
}

static void test_broken(void **state)
{
	static const char *const cases[] = {"", " ", "[]", "1", "\"x\"", "null", "{", "{\"", "{\"a", "{\"a\"", "{\"a\":", "{\"a\":1",
		"{\"a\":1,", "{\"a\":1,}", "{,}", "{a:1}", "{\"a\":1}}", "{\"a\":1} x", "{\"a\":01}", "{\"a\":-}", "{\"a\":1.}",
		"{\"a\":.5}", "{\"a\":1e}", "{\"a\":1e+}", "{\"a\":+1}", "{\"a\":tru}", "{\"a\":nul}", "{\"a\":[1,]}", "{\"a\":[1 2]}",
		"{\"a\":[1}", "{\"a\":{\"b\":1]}", "{\"a\":\"\\x\"}", "{\"a\":\"\\u12\"}", "{\"a\":\"\\u12g4\"}", "{\"a\":\"\t\"}",
		"{\"a\":\"\\", "{\"a\":\"\\ud83d\\u\"}", "{\"a\" 1}", "{\"a\":[[}", "{\"a\":{1:2}}", "{\"a\":NaN}"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *why;

		scan(cases[i], &why);
		if (!why)
			fail_msg("%s: taken", cases[i]);
	}
}

static char *nest(size_t depth)
{
	char *text = malloc(2 * depth + 16);

	assert_non_null(text);
	strcpy(text, "{\"a\":");
	memset(text + 5, '[', depth);
	memset(text + 5 + depth, ']', depth);
	strcpy(text + 5 + 2 * depth, "}");
	return text;
}

static void test_depth(void **state)
{
	_cleanup_free_ char *good = nest(SCAN_DEPTH_MAX - 1), *deep = nest(SCAN_DEPTH_MAX), *deeper = nest(100000);
	const char *why;

	(void)state;
	scan(good, &why);
	assert_null(why);
	scan(deep, &why);
	assert_non_null(why);
	scan(deeper, &why);
	assert_non_null(why);
}

static void test_long(void **state)
{
	char text[2 * SCAN_TEXT_MAX + 32] = "{\"name\":\"";
	const char *why;
	struct scan_member member;

	(void)state;
	memset(text + 9, 'x', 2 * SCAN_TEXT_MAX);
	strcpy(text + 9 + 2 * SCAN_TEXT_MAX, "\"}");
	member = scan(text, &why);
	assert_null(why);
	assert_int_equal(member.kind, SCAN_LONG);
	assert_int_equal(strlen(member.text), SCAN_TEXT_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
