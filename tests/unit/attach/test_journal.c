/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "attach/journal.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "../scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BOOT "11111111-2222-3333-4444-555555555555"

struct seen {
	char text[4096];
	char reports[4096];
	int report_count;
};

static int see(void *ctx, const void *data, size_t len, struct err *err)
{
	struct seen *seen = ctx;
	size_t used = strlen(seen->text);

	if (len == 3 && memcmp(data, "bad", 3) == 0)
		return err_set(err, -EINVAL, "it is bad");
	snprintf(seen->text + used, sizeof(seen->text) - used, "%.*s,", (int)(len > 20 ? 20 : len),
		(const char *)data);
	return 0;
}

static void hear(void *ctx, const char *text)
{
	struct seen *seen = ctx;
	size_t used = strlen(seen->reports);

	snprintf(seen->reports + used, sizeof(seen->reports) - used, "%s\n", text);
	seen->report_count++;
}

static struct journal *open_as(const char *dir, const char *boot_id, struct seen *seen)
{
	struct journal_reader reader = {.each = see, .report = hear, .ctx = seen};
	struct journal *journal = NULL;
	struct err err = ERR_INIT;

	*seen = (struct seen){0};
	if (journal_open(dir, boot_id, &reader, &journal, &err) < 0)
		fail_msg("%s", err_text(&err));
	return journal;
}

static void put(struct journal *journal, const char *text)
{
	assert_int_equal(journal_append(journal, text, strlen(text), NULL), 0);
}

static int make_dir(void **state)
{
	char *dir = malloc(SCRATCH_MAX);

	*state = dir;
	return scratch_directory(dir, SCRATCH_MAX, "journal");
}

static int remove_dir(void **state)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/journal", (char *)*state);
	unlink(path);
	rmdir(*state);
	free(*state);
	return 0;
}

static void file_of(const char *dir, struct buf *buf)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/journal", dir);
	*buf = BUF_INIT(0);
	assert_int_equal(file_read(path, buf, NULL), 0);
}

static void file_set(const char *dir, const void *data, size_t len)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/journal", dir);
	assert_int_equal(file_write_atomic(path, data, len, 0600, false, NULL), 0);
}

static void fill(const char *dir)
{
	struct seen seen;
	struct journal *journal = open_as(dir, BOOT, &seen);

	put(journal, "one");
	put(journal, "two-and-longer");
	put(journal, "");
	put(journal, "three");
	journal_close(journal);
}

static void keeps_records(void **state)
{
	struct journal *journal;
	struct seen seen;

	fill(*state);
	journal = open_as(*state, BOOT, &seen);
	assert_string_equal(seen.text, "one,two-and-longer,,three,");
	assert_int_equal(seen.report_count, 0);
	assert_false(journal_damaged(journal));
	put(journal, "four");
	journal_close(journal);
	journal = open_as(*state, BOOT, &seen);
	assert_string_equal(seen.text, "one,two-and-longer,,three,four,");
	journal_close(journal);
}

static void another_boot_voids(void **state)
{
	struct journal *journal;
	struct seen seen;

	fill(*state);
	journal = open_as(*state, "another", &seen);
	assert_string_equal(seen.text, "");
	assert_non_null(strstr(seen.reports, "another boot"));
	assert_false(journal_damaged(journal));
	put(journal, "new");
	journal_close(journal);
	journal = open_as(*state, "another", &seen);
	assert_string_equal(seen.text, "new,");
	assert_int_equal(seen.report_count, 0);
	journal_close(journal);
	journal = open_as(*state, BOOT, &seen);
	assert_string_equal(seen.text, "");
	journal_close(journal);
	/* the kernel's own boot id */
	journal = open_as(*state, NULL, &seen);
	put(journal, "real");
	journal_close(journal);
	journal = open_as(*state, NULL, &seen);
	assert_string_equal(seen.text, "real,");
	journal_close(journal);
}

/* Whatever byte the file ends at: a prefix of the records is there, and appending goes on. */
static void torn_anywhere(void **state)
{
	static const char *const prefixes[] = {
		"", "one,", "one,two-and-longer,", "one,two-and-longer,,", "one,two-and-longer,,three,"};
	struct buf whole;

	fill(*state);
	file_of(*state, &whole);
	for (size_t len = 0; len <= whole.len; len++) {
		struct journal *journal;
		char expected[sizeof(((struct seen *)0)->text) + 8];
		struct seen seen;
		size_t i;

		file_set(*state, whole.data, len);
		journal = open_as(*state, BOOT, &seen);
		for (i = 0; i < ARRAY_SIZE(prefixes); i++) {
			if (strcmp(seen.text, prefixes[i]) == 0)
				break;
		}
		assert_in_range(i, 0, ARRAY_SIZE(prefixes) - 1);
		snprintf(expected, sizeof(expected), "%snext,", seen.text);
		put(journal, "next");
		journal_close(journal);
		journal = open_as(*state, BOOT, &seen);
		assert_string_equal(seen.text, expected);
		assert_int_equal(seen.report_count, 0);
		journal_close(journal);
	}
	buf_free(&whole);
}

/* Whatever bit is flipped: at most that one record is missing, the rest is kept, and it is told. */
static void flipped_anywhere(void **state)
{
	static const char *const without[] = {"one,two-and-longer,,three,", "two-and-longer,,three,",
		"one,,three,", "one,two-and-longer,three,", "one,two-and-longer,,"};
	struct buf whole;

	fill(*state);
	file_of(*state, &whole);
	for (size_t bit = 0; bit < whole.len * 8; bit++) {
		struct journal *journal;
		struct seen seen;
		size_t i;

		whole.data[bit / 8] ^= (char)(1 << bit % 8);
		file_set(*state, whole.data, whole.len);
		journal = open_as(*state, BOOT, &seen);
		for (i = 0; i < ARRAY_SIZE(without); i++) {
			if (strcmp(seen.text, without[i]) == 0)
				break;
		}
		assert_in_range(i, 0, ARRAY_SIZE(without) - 1);
		if (i > 0 || bit < 56 * 8) {
			assert_int_equal(seen.report_count, 1);
			assert_true(journal_damaged(journal));
		}
		journal_close(journal);
		whole.data[bit / 8] ^= (char)(1 << bit % 8);
	}
	buf_free(&whole);
}

static void set_layout(const char *dir, uint32_t version)
{
	struct buf whole;
	uint32_t crc = 0xffffffff;

	file_of(dir, &whole);
	memcpy(whole.data + 8, &version, 4);
	memset(whole.data + 12, 0, 4);
	/* CRC-32C, bit by bit: an independent computation */
	for (size_t i = 0; i < 56; i++) {
		crc ^= (uint8_t)whole.data[i];
		for (int k = 0; k < 8; k++)
			crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
	}
	crc = ~crc;
	memcpy(whole.data + 12, &crc, 4);
	file_set(dir, whole.data, whole.len);
	buf_free(&whole);
}

static void newer_layout_is_refused(void **state)
{
	struct journal_reader reader = {.each = see};
	struct journal *journal = NULL;
	struct err err = ERR_INIT;

	fill(*state);
	set_layout(*state, 3);
	assert_int_equal(journal_open(*state, BOOT, &reader, &journal, &err), -EPROTO);
	assert_non_null(strstr(err.text, "layout version 3"));
	set_layout(*state, 0);
	assert_int_equal(journal_open(*state, BOOT, &reader, &journal, &err), -EPROTO);
}

/* And the file is of this layout from then on: a release of the older one would misread what is added. */
static void older_layout_goes_on(void **state)
{
	struct seen seen;
	struct journal *journal;
	struct buf whole;

	fill(*state);
	set_layout(*state, 1);
	journal = open_as(*state, BOOT, &seen);
	assert_string_equal(seen.text, "one,two-and-longer,,three,");
	assert_int_equal(seen.report_count, 0);
	assert_false(journal_damaged(journal));
	put(journal, "four");
	journal_close(journal);
	file_of(*state, &whole);
	assert_int_equal(whole.data[8], 2);
	buf_free(&whole);
	journal = open_as(*state, BOOT, &seen);
	assert_string_equal(seen.text, "one,two-and-longer,,three,four,");
	journal_close(journal);
}

static void refused_record_is_told(void **state)
{
	struct seen seen;
	struct journal *journal = open_as(*state, BOOT, &seen);

	put(journal, "bad");
	put(journal, "good");
	journal_close(journal);
	journal = open_as(*state, BOOT, &seen);
	assert_string_equal(seen.text, "good,");
	assert_non_null(strstr(seen.reports, "it is bad"));
	assert_true(journal_damaged(journal));
	journal_close(journal);
}

static int emit_some(void *ctx, struct journal_writer *writer)
{
	char big[3000];
	const int *count = ctx;

	memset(big, 'x', sizeof(big));
	for (int i = 0; i < *count; i++)
		journal_emit(writer, big, sizeof(big));
	return journal_emit(writer, "kept", 4);
}

static int emit_failure(void *ctx, struct journal_writer *writer)
{
	journal_emit(writer, "lost", 4);
	return -ECANCELED;
}

static void rewrites(void **state)
{
	struct journal *journal;
	struct seen seen;
	int count = 0;

	fill(*state);
	journal = open_as(*state, BOOT, &seen);
	assert_int_equal(journal_rewrite(journal, emit_failure, NULL, NULL), -ECANCELED);
	put(journal, "four");
	assert_int_equal(journal_rewrite(journal, emit_some, &count, NULL), 0);
	put(journal, "after");
	journal_close(journal);
	journal = open_as(*state, BOOT, &seen);
	assert_string_equal(seen.text, "kept,after,");
	assert_int_equal(seen.report_count, 0);
	count = 100;
	assert_int_equal(journal_rewrite(journal, emit_some, &count, NULL), 0);
	assert_in_range(journal_size(journal), 300000, 310000);
	journal_close(journal);
	journal = open_as(*state, BOOT, &seen);
	assert_int_equal(seen.report_count, 0);
	assert_int_equal(strlen(seen.text), 100 * 21 + 5);
	journal_close(journal);
}

static void one_at_a_time(void **state)
{
	struct journal_reader reader = {.each = see};
	struct seen seen;
	struct journal *journal = open_as(*state, BOOT, &seen), *second = NULL;
	struct err err = ERR_INIT;

	assert_int_equal(journal_open(*state, BOOT, &reader, &second, &err), -EBUSY);
	assert_non_null(strstr(err.text, "another agent"));
	journal_close(journal);
	journal = open_as(*state, BOOT, &seen);
	journal_close(journal);
}

static void limits(void **state)
{
	struct seen seen;
	struct journal *journal = open_as(*state, BOOT, &seen);
	char *big = calloc(1, JOURNAL_RECORD_MAX + 1);

	assert_int_equal(journal_append(journal, big, JOURNAL_RECORD_MAX, NULL), 0);
	assert_int_equal(journal_append(journal, big, JOURNAL_RECORD_MAX + 1, NULL), -EMSGSIZE);
	journal_close(journal);
	journal = open_as(*state, BOOT, &seen);
	assert_int_equal(seen.report_count, 0);
	journal_close(journal);
	free(big);
}

static void unwritable(void **state)
{
	struct journal_reader reader = {.each = see};
	struct journal *journal = NULL;
	struct err err = ERR_INIT;
	char path[300];

	snprintf(path, sizeof(path), "%s/journal", (char *)*state);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_not_equal(journal_open(*state, BOOT, &reader, &journal, &err), 0);
	assert_non_null(strstr(err.text, path));
	rmdir(path);
	assert_int_equal(symlink("/dev/null", path), 0);
	assert_int_equal(journal_open(*state, BOOT, &reader, &journal, NULL), -ELOOP);
	unlink(path);
}

/* Runs in a child with a mount namespace of its own: 128 KiB of file system. Exit 0: fine, 77: no mount
 * allowed. */
static int full_disk(const char *dir)
{
	struct seen seen = {0};
	struct journal_reader reader = {.each = see, .report = hear, .ctx = &seen};
	struct journal *journal = NULL;
	char record[1000] = {'r'};
	int rc = 0, kept = 0, found = 0;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("tmpfs", dir, "tmpfs", 0, "size=128k") < 0)
		return 77;
	if (journal_open(dir, BOOT, &reader, &journal, NULL) < 0)
		return 1;
	if (journal_reserve(journal, 4000, NULL) < 0)
		return 2;
	while (rc == 0 && ++kept < 1000)
		rc = journal_append(journal, record, sizeof(record), NULL);
	kept--;
	if (rc != -ENOSPC || journal_reserve(journal, 4000, NULL) != -ENOSPC)
		return 3;
	journal_close(journal);
	if (journal_open(dir, BOOT, &reader, &journal, NULL) < 0)
		return 4;
	for (const char *p = seen.text; (p = strchr(p, ',')); p++)
		found++;
	journal_close(journal);
	return found == kept && seen.report_count == 0 ? 0 : 5;
}

static void disk_full(void **state)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(full_disk(*state));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)
	const struct CMUnitTest tests[] = {T(keeps_records), T(another_boot_voids), T(torn_anywhere),
		T(flipped_anywhere), T(newer_layout_is_refused), T(older_layout_goes_on), T(refused_record_is_told), T(rewrites),
		T(one_at_a_time), T(limits), T(unwritable), T(disk_full)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
