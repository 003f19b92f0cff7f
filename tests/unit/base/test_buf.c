/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"

#include <errno.h>
#include <string.h>

static void grows_and_terminates(void **state)
{
	struct buf buf = BUF_INIT(0);

	assert_string_equal(buf_text(&buf), "");
	for (int i = 0; i < 1000; i++)
		assert_int_equal(buf_printf(&buf, "%d,", i), 0);
	assert_int_equal(strlen(buf_text(&buf)), buf.len);
	assert_memory_equal(buf.data, "0,1,2,", 6);
	buf_consume(&buf, 2);
	assert_memory_equal(buf.data, "1,2,", 4);
	buf_free(&buf);
}

static void maximum_sticks(void **state)
{
	struct buf buf = BUF_INIT(10);

	assert_int_equal(buf_add(&buf, "0123456789", 10), 0);
	assert_int_equal(buf_add(&buf, "x", 1), -EMSGSIZE);
	assert_int_equal(buf_add(&buf, "", 0), -EMSGSIZE);
	assert_int_equal(buf.len, 10);
	buf_free(&buf);
}

static void errors_gain_context(void **state)
{
	struct err err = ERR_INIT;

	assert_int_equal(err_set(&err, -ENOENT, "key \"%s\" is missing", "Network"), -ENOENT);
	assert_int_equal(err_wrap(&err, "net-conf.json"), -ENOENT);
	assert_string_equal(err_text(&err), "net-conf.json: key \"Network\" is missing");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows_and_terminates),
		cmocka_unit_test(maximum_sticks),
		cmocka_unit_test(errors_gain_context),
	};

	return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
