/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "client/json_split.h"

#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const drops[] = {"status", "metadata.managedFields", "a.b.c", NULL};

/* What came out: the objects, each followed by a line end; too large ones with "!" in front. */
static int collect(void *ctx, const char *text, size_t len, bool oversize, struct err *err)
{
	assert_int_equal(strlen(text), len);
	buf_add_str(ctx, oversize ? "!" : "");
	buf_add(ctx, text, len);
	return buf_add_str(ctx, "\n");
}

static int split_in_steps(const struct json_split_options *options, const char *text, size_t len, size_t step,
	struct buf *out, struct buf *rest, struct err *err)
{
	struct json_split_options mine = *options;
	struct json_split *split;
	int rc = 0;

	mine.object = collect;
	mine.ctx = out;
	assert_int_equal(json_split_new(&mine, &split, NULL), 0);
	for (size_t at = 0; at < len && rc == 0; at += step) {
		/* A copy of its own, so that the sanitizer sees who reads too far. */
		size_t n = len - at < step ? len - at : step;
		_cleanup_free_ char *piece = malloc(n);

		memcpy(piece, text + at, n);
		rc = json_split_add(split, piece, n, err);
	}
	if (rc == 0)
		rc = json_split_end(split, err);
	else
		assert_int_equal(json_split_end(split, NULL), rc);
	if (rest)
		buf_add_str(rest, json_split_rest(split));
	json_split_free(split);
	return rc;
}

/* The same, wherever the stream is cut: in every step, and in two at every position. */
static void check_text(const struct json_split_options *options, const char *text, const char *objects, const char *rest)
{
	size_t len = strlen(text);

	for (size_t step = 1; step <= len; step++) {
		struct buf out = BUF_INIT(0), others = BUF_INIT(0);
		struct err err = ERR_INIT;

		if (split_in_steps(options, text, len, step, &out, &others, &err) < 0)
			fail_msg("%s: %s", text, err.text);
		assert_string_equal(buf_text(&out), objects);
		if (rest)
			assert_string_equal(buf_text(&others), rest);
		buf_free(&out);
		buf_free(&others);
	}
}

static void check_lines(const char *text, const char *objects)
{
	const struct json_split_options options = {.drop = drops};

	check_text(&options, text, objects, NULL);
}

static void check_list(const char *text, const char *objects, const char *rest)
{
	const struct json_split_options options = {.list = true, .drop = drops};

	check_text(&options, text, objects, rest);
}

static void refuses(bool list, const char *text, size_t len, const char *words)
{
	const struct json_split_options options = {.list = list, .drop = drops};

	for (size_t step = 1; step <= len; step++) {
		struct buf out = BUF_INIT(0);
		struct err err = ERR_INIT;

		assert_int_equal(split_in_steps(&options, text, len, step, &out, NULL, &err), -EINVAL);
		if (!strstr(err.text, words))
			fail_msg("%s: \"%s\" lacks \"%s\"", text, err.text, words);
		buf_free(&out);
	}
}

static void lines(void **state)
{
	check_lines("", "");
	check_lines(" \r\n\t ", "");
	check_lines("{}", "{}\n");
	check_lines("{\"a\":1}\n{\"b\":[1,{\"c\":2}]}\n", "{\"a\":1}\n{\"b\":[1,{\"c\":2}]}\n");
	check_lines("{}{}  {}", "{}\n{}\n{}\n");
	check_lines("{\"type\":\"ADDED\",\"object\":{\"x\":\"}{][,:\"}}\n", "{\"type\":\"ADDED\",\"object\":{\"x\":\"}{][,:\"}}\n");
}

static void strings(void **state)
{
	check_lines("{\"a\":\"\\\"\"}", "{\"a\":\"\\\"\"}\n");
	check_lines("{\"a\":\"\\\\\"}", "{\"a\":\"\\\\\"}\n");
	check_lines("{\"a\\\"b\":\"\\\\\\\"}\"}", "{\"a\\\"b\":\"\\\\\\\"}\"}\n");
	check_lines("{\"\":\"\"}", "{\"\":\"\"}\n");
	check_lines("{\"ä€𝄞\":\"\\u00e4 ä€𝄞\"}", "{\"ä€𝄞\":\"\\u00e4 ä€𝄞\"}\n");
	check_lines("{\"status\\\"\":1,\"s\":\"status\"}", "{\"status\\\"\":1,\"s\":\"status\"}\n");
}

static void dropping(void **state)
{
	check_lines("{\"status\":1}", "{}\n");
	check_lines("{\"status\":{\"x\":[1,\"}\"]},\"a\":1}", "{\"a\":1}\n");
	check_lines("{\"a\":1,\"status\":\"x\\\"y,\"}", "{\"a\":1}\n");
	check_lines("{\"a\":1 , \"status\" : [ {\"status\":2} ] , \"b\":2 }", "{\"a\":1 , \"b\":2 }\n");
	check_lines("{\"status\":null,\"status\":{},\"status\":-1.5e3}", "{}\n");
	check_lines("{\"a\":{\"status\":1},\"statu\":1,\"statuss\":2}", "{\"a\":{\"status\":1},\"statu\":1,\"statuss\":2}\n");
	check_lines("{\"metadata\":{\"managedFields\":[{}],\"name\":\"n\"},\"managedFields\":1}",
		"{\"metadata\":{\"name\":\"n\"},\"managedFields\":1}\n");
	check_lines("{\"a\":{\"b\":{\"c\":1,\"d\":2},\"c\":3},\"b\":{\"c\":4}}",
		"{\"a\":{\"b\":{\"d\":2},\"c\":3},\"b\":{\"c\":4}}\n");
	/* Not through arrays, not through other values. */
	check_lines("{\"a\":[{\"b\":{\"c\":1}}],\"metadata\":\"managedFields\"}",
		"{\"a\":[{\"b\":{\"c\":1}}],\"metadata\":\"managedFields\"}\n");
	check_lines("{\"a\":1,\"x\":{\"b\":{\"c\":1}}}", "{\"a\":1,\"x\":{\"b\":{\"c\":1}}}\n");
	/* What led somewhere in one object leads nowhere in the next. */
	check_lines("{\"a\":{\"b\":{}}}{\"b\":{\"c\":1}}{\"x\":{\"c\":1},\"a\":{\"c\":1,\"b\":{\"c\":1}}}",
		"{\"a\":{\"b\":{}}}\n{\"b\":{\"c\":1}}\n{\"x\":{\"c\":1},\"a\":{\"c\":1,\"b\":{}}}\n");
}

static void lists(void **state)
{
	check_list("{\"items\":[]}", "", "{}");
	check_list("{\"items\":null}", "", "{}");
	check_list("{\"items\" : null , \"kind\":\"L\"}", "", "{ \"kind\":\"L\"}");
	check_list("{\"kind\":\"L\",\"metadata\":{\"resourceVersion\":\"5\",\"continue\":\"x]\"},\"items\":[{\"a\":1},{\"b\":2}]}\n",
		"{\"a\":1}\n{\"b\":2}\n", "{\"kind\":\"L\",\"metadata\":{\"resourceVersion\":\"5\",\"continue\":\"x]\"}}");
	check_list(" { \"items\" : [ { \"status\":1, \"a\":1 } , {} ] , \"kind\" : [ {} ] } ", "{ \"a\":1 }\n{}\n",
		"{  \"kind\" : [ {} ] }");
	/* Names count at the objects' roots, not at the list's. */
	check_list("{\"status\":{\"items\":[1]},\"metadata\":{\"managedFields\":1},\"items\":[{\"items\":[{\"status\":1}]}]}",
		"{\"items\":[{\"status\":1}]}\n", "{\"status\":{\"items\":[1]},\"metadata\":{\"managedFields\":1}}");
	check_list("{\"a\":{\"b\":{\"c\":{\"d\":{}}}},\"items\":[{\"a\":{\"b\":{\"c\":1}}}],\"b\":[[[{}]]]}", "{\"a\":{\"b\":{}}}\n",
		"{\"a\":{\"b\":{\"c\":{\"d\":{}}}},\"b\":[[[{}]]]}");
}

static void broken_lines(void **state)
{
	static const char *const texts[] = {"[", "x", "\"a\"", "1", ",{}", "{},{}", "{]", "{[}", "}", "]", "{}}", "{\"a\":[}",
		"null"};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		refuses(false, texts[i], strlen(texts[i]), "JSON: byte ");
	refuses(false, "{}\0{}", 5, "byte 2: ");
	refuses(false, "{\"a\":1", 6, "the stream ends inside an object");
	refuses(false, "{\"a\":\"", 6, "byte 6: the stream ends inside an object");
}

static void broken_lists(void **state)
{
	static const struct {
		const char *text, *words;
	} cases[] = {
		{"[]", "byte 0: not the beginning of an object"},
		{"{\"items\":[}", "closing bracket"},
		{"{\"items\":{}}", "\"items\" is no array"},
		{"{\"items\":1}", "\"items\" is no array"},
		{"{\"items\":\"x\"}", "\"items\" is no array"},
		{"{\"items\":[1]}", "expected an object"},
		{"{\"items\":[\"a\"]}", "expected an object"},
		{"{\"items\":[[]]}", "not the beginning of an object"},
		{"{\"items\":[null]}", "expected an object"},
		{"{\"items\":[{},]}", "expected an object"},
		{"{\"items\":[,{}]}", "expected an object"},
		{"{\"items\":[{}{}]}", "not the beginning of an object"},
		{"{\"items\":[],\"items\":[]}", "for the second time"},
		{"{\"kind\":\"List\"}", "without \"items\""},
		{"{\"items\":[]} {}", "not the beginning of an object"},
		{"{\"items\":[]}x", "expected an object"},
		{"{\"items\":[{\"a\":1}", "the list ends too early"},
		{"", "the list ends too early"},
		{" ", "the list ends too early"},
	};
	const struct json_split_options options = {.list = true};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		refuses(true, cases[i].text, strlen(cases[i].text), cases[i].words);
	/* No step at all. */
	struct buf out = BUF_INIT(0);
	struct err err = ERR_INIT;

	assert_int_equal(split_in_steps(&options, "", 0, 1, &out, NULL, &err), -EINVAL);
}

static void oversize(void **state)
{
	const struct json_split_options options = {.drop = drops, .object_max = 20};
	static const char text[] = "{\"a\":\"0123456789ab\"}{\"a\":\"0123456789abc\"}{\"b\":1}";

	for (size_t step = 1; step <= sizeof(text) - 1; step++) {
		struct buf out = BUF_INIT(0);

		assert_int_equal(split_in_steps(&options, text, sizeof(text) - 1, step, &out, NULL, NULL), 0);
		assert_string_equal(buf_text(&out), "{\"a\":\"0123456789ab\"}\n!{\"a\":\"0123456789abc\"}\n{\"b\":1}\n");
		buf_free(&out);
	}
}

/* What is dropped does not count, however large; of what is kept only the beginning is held. */
static void large(void **state)
{
	const struct json_split_options options = {.drop = drops, .object_max = 64};
	struct buf text = BUF_INIT(0), out = BUF_INIT(0);

	buf_add_str(&text, "{\"a\":1,\"status\":{\"x\":\"");
	for (int i = 0; i < 100000; i++)
		buf_add_str(&text, "0123456789");
	buf_add_str(&text, "\"},\"b\":2}{\"name\":\"n\",\"b\":\"");
	for (int i = 0; i < 100000; i++)
		buf_add_str(&text, "0123456789");
	buf_add_str(&text, "\",\"status\":1}{\"c\":3}");
	assert_int_equal(split_in_steps(&options, buf_text(&text), text.len, 100, &out, NULL, NULL), 0);
	assert_int_equal(strncmp(buf_text(&out), "{\"a\":1,\"b\":2}\n!{\"name\":\"n\",\"b\":\"0123", 36), 0);
	assert_true(out.len < 1000);
	assert_non_null(strstr(buf_text(&out), "\n{\"c\":3}\n"));
	buf_free(&text);
	buf_free(&out);
}

/* Deeper than what is checked: counted all the same, and left to the parser. */
static void deep(void **state)
{
	const struct json_split_options options = {.drop = drops};
	struct buf text = BUF_INIT(0), out = BUF_INIT(0);

	buf_add_str(&text, "{\"a\":");
	for (int i = 0; i < 5000; i++)
		buf_add_str(&text, "[");
	for (int i = 0; i < 5000; i++)
		buf_add_str(&text, "]");
	buf_add_str(&text, "}{\"b\":1}");
	assert_int_equal(split_in_steps(&options, buf_text(&text), text.len, 777, &out, NULL, NULL), 0);
	assert_int_equal(out.len, text.len + 2);
	assert_string_equal(buf_text(&out) + out.len - 9, "\n{\"b\":1}\n");
	buf_free(&text);
	buf_free(&out);
}

static void too_much_beside_items(void **state)
{
	const struct json_split_options options = {.list = true};
	struct buf text = BUF_INIT(0), out = BUF_INIT(0);
	struct err err = ERR_INIT;

	buf_add_str(&text, "{\"x\":\"");
	for (int i = 0; i < 10000; i++)
		buf_add_str(&text, "0123456789");
	buf_add_str(&text, "\",\"items\":[]}");
	assert_int_equal(split_in_steps(&options, buf_text(&text), text.len, 1000, &out, NULL, &err), -EINVAL);
	assert_non_null(strstr(err.text, "64 KiB"));
	buf_free(&text);
}

static int stop_at_second(void *ctx, const char *text, size_t len, bool too_large, struct err *err)
{
	return ++*(int *)ctx == 2 ? err_set(err, -ECANCELED, "enough") : 0;
}

static void callee_ends_it(void **state)
{
	int count = 0;
	const struct json_split_options options = {.object = stop_at_second, .ctx = &count};
	struct json_split *split;
	struct err err = ERR_INIT;

	assert_int_equal(json_split_new(&options, &split, NULL), 0);
	assert_int_equal(json_split_add(split, "{}{}{}", 6, &err), -ECANCELED);
	assert_string_equal(err.text, "enough");
	assert_int_equal(json_split_add(split, "{}", 2, &err), -ECANCELED);
	assert_int_equal(count, 2);
	json_split_free(split);
}

static void bad_drops(void **state)
{
	static const char *const bad[] = {"", ".a", "a..b", "a.", "a.b.c.d.e.f.g.h.i"};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *const list[] = {bad[i], NULL};
		const struct json_split_options options = {.drop = list};
		struct json_split *split = NULL;

		assert_int_equal(json_split_new(&options, &split, NULL), -EINVAL);
		assert_null(split);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines),
		cmocka_unit_test(strings),
		cmocka_unit_test(dropping),
		cmocka_unit_test(lists),
		cmocka_unit_test(broken_lines),
		cmocka_unit_test(broken_lists),
		cmocka_unit_test(oversize),
		cmocka_unit_test(large),
		cmocka_unit_test(deep),
		cmocka_unit_test(too_much_beside_items),
		cmocka_unit_test(callee_ends_it),
		cmocka_unit_test(bad_drops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
