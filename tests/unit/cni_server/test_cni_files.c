/* SPDX-License-Identifier: Apache-2.0
 *
 * What of the runtime's two directories is ours, and that nothing else is taken away.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/frame.h"
#include "cni_server/cni_files.h"
#include "../scratch.h"

#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OURS   "\x7f" "ELF... " FRAME_PLUGIN_ABOUT "1.2.3\n"
#define THEIRS "#!/bin/sh\n# another plugin\n"

#define CONF(type) "{\"name\": \"n\", \"type\": \"" type "\"}"
#define LIST(type) "{\"name\": \"n\", \"plugins\": [{\"type\": \"" type "\"}, {\"type\": \"portmap\"}]}"

struct bed {
	char top[64], conf[80], bin[80];
	struct buf told;
	struct cni_files files;
};

static void on_told(void *ctx, const char *what, const char *path)
{
	struct bed *bed = ctx;

	buf_printf(&bed->told, "%s %s\n", what, path + strlen(bed->top));
}

static int setup(void **state)
{
	struct bed *bed = calloc(1, sizeof(*bed));

	assert_int_equal(scratch_directory(bed->top, sizeof(bed->top), "cni-files"), 0);
	snprintf(bed->conf, sizeof(bed->conf), "%s/conf", bed->top);
	snprintf(bed->bin, sizeof(bed->bin), "%s/bin", bed->top);
	file_make_dirs(bed->conf, 0755, NULL);
	file_make_dirs(bed->bin, 0755, NULL);
	bed->told = BUF_INIT(65536);
	bed->files = (struct cni_files){.conf_dir = bed->conf, .bin_dir = bed->bin, .told = on_told, .ctx = bed};
	*state = bed;
	return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int teardown(void **state)
{
	struct bed *bed = *state;

	nftw(bed->top, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	buf_free(&bed->told);
	free(bed);
	return 0;
}

static void put(const struct bed *bed, const char *name, const char *text)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", bed->top, name);
	assert_int_equal(file_write_atomic(path, text, strlen(text), 0644, false, NULL), 0);
}

static bool has(const struct bed *bed, const char *name, const char *text)
{
	struct buf there = BUF_INIT(65536);
	char path[PATH_MAX];
	bool same;

	snprintf(path, sizeof(path), "%s/%s", bed->top, name);
	same = file_read(path, &there, NULL) == 0 && strcmp(buf_text(&there), text) == 0;
	buf_free(&there);
	return same;
}

static const char *removed(struct bed *bed)
{
	struct err err = ERR_INIT;

	buf_reset(&bed->told);
	if (cni_files_remove(&bed->files, &err) < 0)
		fail_msg("%s", err_text(&err));
	return buf_text(&bed->told);
}

static void test_what_the_agent_installs(void **state)
{
	struct bed *bed = *state;

	put(bed, "conf/10-tulle.conflist", LIST("tulle"));
	put(bed, "bin/tulle", OURS);
	put(bed, "bin/portmap", THEIRS);
	bed->files.dry = true;
	assert_string_equal(removed(bed), "removed /conf/10-tulle.conflist\nremoved /bin/tulle\n");
	assert_true(has(bed, "conf/10-tulle.conflist", LIST("tulle")) && has(bed, "bin/tulle", OURS));
	bed->files.dry = false;
	assert_string_equal(removed(bed), "removed /conf/10-tulle.conflist\nremoved /bin/tulle\n");
	assert_true(has(bed, "bin/portmap", THEIRS));
	assert_string_equal(removed(bed), "");
}

static void test_others_stay(void **state)
{
	struct bed *bed = *state;

	put(bed, "conf/05-calico.conflist", LIST("calico"));
	put(bed, "conf/10-flannel.conflist", LIST("flannel"));
	put(bed, "conf/87-bridge.conf", CONF("bridge"));
	put(bed, "conf/note", LIST("tulle"));
	put(bed, "conf/bad.conf", "{\"type\": ");
	put(bed, "conf/empty.conf", "");
	put(bed, "conf/list.conf", "[1, 2]");
	put(bed, "bin/flannel", THEIRS);
	put(bed, "bin/calico", THEIRS);
	put(bed, "bin/tulle", THEIRS);
	assert_string_equal(removed(bed), "");
}

/* Flannel's configuration that our plugin serves under Flannel's name. */
static void test_in_flannels_place(void **state)
{
	struct bed *bed = *state;

	put(bed, "conf/10-flannel.conflist", LIST("flannel"));
	put(bed, "bin/flannel", OURS);
	put(bed, "bin/tulle", OURS);
	assert_string_equal(removed(bed), "removed /conf/10-flannel.conflist\nremoved /bin/tulle\nremoved /bin/flannel\n");
}

static void test_back_to_flannel(void **state)
{
	struct bed *bed = *state;

	put(bed, "conf/10-flannel.conf", CONF("flannel"));
	put(bed, "conf/20-tulle.conf", CONF("tulle"));
	put(bed, "bin/flannel", OURS);
	put(bed, "bin/flannel.before-tulle", THEIRS);
	assert_string_equal(removed(bed), "removed /conf/20-tulle.conf\nrestored /bin/flannel\n");
	assert_true(has(bed, "bin/flannel", THEIRS) && has(bed, "conf/10-flannel.conf", CONF("flannel")));
}

/* Flannel was installed again over ours: what was kept is older. */
static void test_kept_and_overtaken(void **state)
{
	struct bed *bed = *state;

	put(bed, "bin/flannel", THEIRS);
	put(bed, "bin/flannel.before-tulle", "older");
	assert_string_equal(removed(bed), "");
	assert_true(has(bed, "bin/flannel", THEIRS));
}

static void test_directories_that_are_not_there(void **state)
{
	struct bed *bed = *state;

	bed->files.conf_dir = "/nowhere/conf";
	bed->files.bin_dir = "/nowhere/bin";
	assert_string_equal(removed(bed), "");
	bed->files.conf_dir = NULL;
	bed->files.bin_dir = "";
	assert_string_equal(removed(bed), "");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_what_the_agent_installs), T(test_others_stay), T(test_in_flannels_place), T(test_back_to_flannel),
		T(test_kept_and_overtaken), T(test_directories_that_are_not_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
