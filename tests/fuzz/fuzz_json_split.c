/* SPDX-License-Identifier: Apache-2.0
 *
 * Input: the size of the pieces in which the stream arrives (odd: it is a list), then the stream. What jansson takes as a
 * whole must come out the same in pieces, and how the stream is cut must not matter.
 */
#include "fuzz.h"

#include "client/json_split.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

static const char *const drops[] = {"status", "metadata.managedFields", "a.b.c", NULL};

static int collect(void *ctx, const char *text, size_t len, bool oversize, struct err *err)
{
	FUZZ_CHECK(strlen(text) == len || memchr(text, 0, len));
	buf_add(ctx, text, len);
	return buf_add(ctx, "\n", 1);
}

static int run(bool list, const char *text, size_t size, size_t step, struct buf *objects, struct buf *rest)
{
	const struct json_split_options options = {.list = list, .drop = drops, .object = collect, .ctx = objects};
	struct json_split *split = NULL;
	struct err err = ERR_INIT;
	int rc = 0;

	FUZZ_CHECK(json_split_new(&options, &split, NULL) == 0);
	for (size_t at = 0; at < size && rc == 0; at += step)
		rc = json_split_add(split, text + at, size - at < step ? size - at : step, &err);
	if (rc == 0)
		rc = json_split_end(split, &err);
	FUZZ_CHECK(rc == err.code && !rc == !err.text[0]);
	buf_add_str(rest, json_split_rest(split));
	json_split_free(split);
	return rc;
}

static void drop(json_t *object)
{
	json_object_del(object, "status");
	json_object_del(json_object_get(object, "metadata"), "managedFields");
	json_object_del(json_object_get(json_object_get(object, "a"), "b"), "c");
}

/* The next value of text; its length in used. */
static json_t *next(const char *text, size_t size, size_t *used)
{
	json_error_t problem;
	json_t *value = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DISABLE_EOF_CHECK, &problem);

	*used = value ? (size_t)problem.position : 0;
	return value;
}

static bool only_space(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (!memchr(" \t\r\n", text[i], 4))
			return false;
	return true;
}

/* The whole as one array of objects: null when it is not sound, or not made of objects. */
static json_t *whole_lines(const char *text, size_t size)
{
	json_t *all = json_array();

	while (!only_space(text, size)) {
		size_t used;
		json_t *one = next(text, size, &used);

		if (!json_is_object(one)) {
			json_decref(one);
			json_decref(all);
			return NULL;
		}
		json_array_append_new(all, one);
		text += used;
		size -= used;
	}
	return all;
}

/* The same of a list; rest is what stands beside its items. */
static json_t *whole_list(const char *text, size_t size, json_t **rest)
{
	json_t *list = NULL, *items, *one;
	size_t used, i;

	*rest = next(text, size, &used);
	if (!json_is_object(*rest) || !only_space(text + used, size - used))
		return NULL;
	items = json_object_get(*rest, "items");
	if (json_is_null(items))
		list = json_array();
	else if (json_is_array(items))
		list = json_incref(items);
	json_array_foreach(list, i, one)
		if (!json_is_object(one)) {
			json_decref(list);
			return NULL;
		}
	json_object_del(*rest, "items");
	return list;
}

static void compare(json_t *wanted, const struct buf *objects)
{
	json_t *got = whole_lines(buf_text(objects), objects->len), *one;
	size_t i;

	FUZZ_CHECK(got && json_array_size(got) == json_array_size(wanted));
	/* A name that is written with escapes is not dropped, which is fine. */
	json_array_foreach(got, i, one)
		drop(one);
	json_array_foreach(wanted, i, one)
		drop(one);
	FUZZ_CHECK(json_equal(got, wanted));
	json_decref(got);
}

static void compare_rest(const json_t *wanted, const struct buf *rest)
{
	size_t used;
	json_t *got = next(buf_text(rest), rest->len, &used);

	FUZZ_CHECK(json_equal(got, wanted));
	json_decref(got);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf objects[2] = {BUF_INIT(0), BUF_INIT(0)}, rests[2] = {BUF_INIT(0), BUF_INIT(0)};
	json_t *wanted, *rest = NULL;
	const char *text;
	bool list;
	int rc;

	if (size < 2)
		return 0;
	list = data[0] & 1;
	text = (const char *)data + 1;
	size--;
	rc = run(list, text, size, size, &objects[0], &rests[0]);
	FUZZ_CHECK(run(list, text, size, (size_t)(data[0] >> 1) + 1, &objects[1], &rests[1]) == rc);
	FUZZ_CHECK(objects[0].len == objects[1].len && memcmp(buf_text(&objects[0]), buf_text(&objects[1]), objects[0].len) == 0);
	FUZZ_CHECK(rc < 0 || strcmp(buf_text(&rests[0]), buf_text(&rests[1])) == 0);
	wanted = list ? whole_list(text, size, &rest) : whole_lines(text, size);
	/* "items" may hide behind escapes. */
	if (wanted && !(list && memmem(text, size, "\\u", 2))) {
		FUZZ_CHECK(rc == 0);
		compare(wanted, &objects[0]);
		if (list)
			compare_rest(rest, &rests[0]);
	}
	json_decref(wanted);
	json_decref(rest);
	for (int i = 0; i < 2; i++) {
		buf_free(&objects[i]);
		buf_free(&rests[i]);
	}
	return 0;
}
