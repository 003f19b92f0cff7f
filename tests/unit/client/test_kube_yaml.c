/* SPDX-License-Identifier: Apache-2.0 */
#include "client/kube_yaml.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <string.h>

#define BLOCKS 100000

static int keep(void *ctx, json_t *value, struct err *err)
{
	json_t **last = ctx;

	json_decref(*last);
	*last = value;
	return 0;
}

static const char *cidr_of(const json_t *item)
{
	return json_string_value(json_object_get(json_object_get(item, "ipBlock"), "cidr"));
}

/* Three values for each prefix. */
static void long_lists_are_whole(void **state)
{
	struct buf text = BUF_INIT(0);
	struct err err = ERR_INIT;
	json_t *value = NULL;

	buf_add_str(&text, "from:\n");
	for (int i = 0; i < BLOCKS; i++)
		buf_printf(&text, "- ipBlock: {cidr: %d.%d.%d.0/24}\n", 10 + (i >> 16), i >> 8 & 255, i & 255);
	assert_int_equal(kube_yaml_each(buf_text(&text), text.len, "large.yaml", keep, &value, &err), 0);
	assert_int_equal(json_array_size(json_object_get(value, "from")), BLOCKS);
	assert_string_equal(cidr_of(json_array_get(json_object_get(value, "from"), BLOCKS - 1)), "11.134.159.0/24");
	json_decref(value);
	buf_free(&text);
}

/* Nine levels of ten: a thousand million values. */
static void unfolding_is_limited(void **state)
{
	struct buf text = BUF_INIT(0);
	struct err err = ERR_INIT;
	json_t *value = NULL;

	buf_add_str(&text, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
	for (int i = 1; i < 9; i++) {
		buf_printf(&text, "a%d: &a%d [", i, i);
		for (int n = 0; n < 10; n++)
			buf_printf(&text, "%s*a%d", n ? ", " : "", i - 1);
		buf_add_str(&text, "]\n");
	}
	assert_int_equal(kube_yaml_each(buf_text(&text), text.len, "bomb.yaml", keep, &value, &err), -EINVAL);
	assert_non_null(strstr(err.text, "bomb.yaml: line "));
	assert_non_null(strstr(err.text, "too many values"));
	assert_null(value);
	buf_free(&text);
}

static int add(void *ctx, json_t *document, struct err *err)
{
	return json_array_append_new(ctx, document);
}

static void documents_may_begin_with_a_brace(void **state)
{
	static const char text[] = "{kind: A}\n---\n{\"kind\": \"B\", \"n\": 2}\n---\nkind: C\n";
	static const char *const kinds[] = {"A", "B", "C"};
	json_t *documents = json_array();
	struct err err = ERR_INIT;

	assert_int_equal(kube_yaml_each(text, strlen(text), "mixed.yaml", add, documents, &err), 0);
	assert_int_equal(json_array_size(documents), 3);
	for (size_t i = 0; i < 3; i++)
		assert_string_equal(json_string_value(json_object_get(json_array_get(documents, i), "kind")), kinds[i]);
	json_decref(documents);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(long_lists_are_whole),
		cmocka_unit_test(unfolding_is_limited),
		cmocka_unit_test(documents_may_begin_with_a_brace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
