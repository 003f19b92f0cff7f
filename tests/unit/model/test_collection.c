/* SPDX-License-Identifier: Apache-2.0 */
#include "model/collection.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int freed;

static void text_free(void *object)
{
	freed++;
	free(object);
}

static bool text_equal(const void *a, const void *b)
{
	return strcmp(a, b) == 0;
}

static const struct collection_kind texts = {.free = text_free, .equal = text_equal};

static const struct collection_item *find(const struct collection *collection, const char *key)
{
	for (const struct collection_item *item = NULL; (item = collection_next(collection, item));)
		if (strcmp(item->key, key) == 0)
			return item;
	return NULL;
}

static void test_list_sweeps_what_it_has_not_shown(void **state)
{
	struct collection *all = collection_new(&texts);

	collection_begin(all);
	assert_int_equal(collection_put(all, "a", strdup("1")), 1);
	assert_int_equal(collection_put(all, "b", strdup("1")), 1);
	assert_int_equal(collection_put(all, "c", strdup("1")), 1);
	assert_false(collection_is_complete(all));
	assert_true(collection_end(all));
	assert_true(collection_is_complete(all));
	collection_begin(all);
	assert_int_equal(collection_put(all, "a", strdup("1")), 0);
	collection_keep(all, "b");
	collection_keep(all, "unknown");
	assert_true(collection_end(all));
	assert_int_equal(collection_count(all), 2);
	assert_null(collection_find(all, "c"));
	assert_string_equal(collection_find(all, "b"), "1");
	collection_begin(all);
	collection_keep(all, "a");
	collection_keep(all, "b");
	assert_false(collection_end(all));
	collection_free(all);
}

static void test_order_tells_who_was_there_first(void **state)
{
	struct collection *all = collection_new(&texts);
	const void **listed;
	size_t count;

	collection_begin(all);
	collection_put(all, "a", strdup("1"));
	collection_put(all, "b", strdup("1"));
	collection_end(all);
	listed = collection_list(all, &count);
	assert_int_equal(count, 2);
	assert_true(listed[0] == collection_find(all, "a") || listed[1] == collection_find(all, "a"));
	free(listed);
	assert_int_equal(find(all, "a")->order, 0);
	assert_int_equal(find(all, "b")->order, 0);
	collection_put(all, "late", strdup("1"));
	collection_put(all, "later", strdup("1"));
	assert_true(find(all, "late")->order < find(all, "later")->order);
	assert_int_equal(collection_put(all, "late", strdup("1")), 0);
	assert_true(find(all, "late")->order < find(all, "later")->order);
	assert_int_equal(collection_put(all, "late", strdup("2")), 1);
	assert_true(find(all, "late")->order > find(all, "later")->order);
	collection_free(all);
}

static void test_owns_its_objects(void **state)
{
	struct collection *all = collection_new(&texts);

	freed = 0;
	collection_put(all, "a", strdup("1"));
	collection_put(all, "a", strdup("1")); /* the second one goes */
	assert_int_equal(freed, 1);
	collection_put(all, "a", strdup("2"));
	assert_int_equal(freed, 2);
	assert_true(collection_del(all, "a"));
	assert_false(collection_del(all, "a"));
	assert_int_equal(freed, 3);
	collection_put(all, "b", strdup("1"));
	collection_free(all);
	assert_int_equal(freed, 4);
	collection_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list_sweeps_what_it_has_not_shown),
		cmocka_unit_test(test_order_tells_who_was_there_first),
		cmocka_unit_test(test_owns_its_objects),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
