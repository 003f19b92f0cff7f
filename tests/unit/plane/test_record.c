/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/record.h"

#include "base/file.h"
#include "../scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[64];

static int make_path(void **state)
{
	return close(scratch_file(path, sizeof(path), "record"));
}

static int remove_path(void **state)
{
	unlink(path);
	return 0;
}

static void put(const char *text)
{
	assert_int_equal(file_write_atomic(path, text, strlen(text), 0600, false, NULL), 0);
}

static void test_as_written(void **state)
{
	struct record record = {0}, read;

	assert_true(record_add_device(&record, "flannel.1"));
	assert_true(record_add_device(&record, "tunl0"));
	assert_false(record_add_device(&record, "tunl0"));
	assert_false(record_add_device(&record, ""));
	assert_true(record_add_protocol(&record, 80));
	assert_false(record_add_protocol(&record, 80));
	assert_false(record_add_protocol(&record, 0));
	assert_int_equal(record_write(path, &record, NULL), 0);
	record_read(path, &read);
	assert_memory_equal(&read, &record, sizeof(read));
	assert_true(record_has_device(&read, "flannel.1"));
	assert_false(record_has_device(&read, "flannel.10"));
	assert_true(record_has_protocol(&read, 80));
	assert_false(record_has_protocol(&read, 84));
}

static void test_what_means_nothing_is_passed_over(void **state)
{
	struct record read;

	put("\ndevice \ndevice a-name-that-no-device-can-have\nprotocol\nprotocol x\nprotocol 256\nprotocol -1\nprotocol 7x\nanything\n"
	    "device eth0\nprotocol 7");
	record_read(path, &read);
	assert_int_equal(read.device_count, 1);
	assert_string_equal(read.devices[0], "eth0");
	assert_int_equal(read.protocol_count, 1);
	assert_int_equal(read.protocols[0], 7);
	unlink(path);
	record_read(path, &read);
	assert_int_equal(read.device_count + read.protocol_count, 0);
}

static void test_too_many(void **state)
{
	struct record record = {0};
	char name[IFNAMSIZ];

	for (unsigned i = 0; i < 2 * RECORD_DEVICES_MAX; i++) {
		snprintf(name, sizeof(name), "dev%u", i);
		assert_int_equal(record_add_device(&record, name), i < RECORD_DEVICES_MAX);
		assert_int_equal(record_add_protocol(&record, (uint8_t)(100 + i)), i < RECORD_PROTOCOLS_MAX);
	}
	assert_int_equal(record.device_count, RECORD_DEVICES_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_as_written, make_path, remove_path),
		cmocka_unit_test_setup_teardown(test_what_means_nothing_is_passed_over, make_path, remove_path),
		cmocka_unit_test(test_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
