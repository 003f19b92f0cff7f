/* SPDX-License-Identifier: Apache-2.0
 *
 * State files and reservations as Flannel's plugin and host-local would have written them, in a directory of
 * the test's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "attach/flannel_files.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "../scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

struct place {
	char dir[32], flannel[64], host_local[64];
	struct flannel_dirs dirs;
	json_t *conf;
	struct flannel_delegate delegate;
};

static void parse_prefix(const char *text, struct prefix *ret)
{
	assert_int_equal(prefix_parse(text, ret), 0);
}

static int setup(void **state)
{
	struct place *place = calloc(1, sizeof(*place));

	assert_int_equal(scratch_directory(place->dir, sizeof(place->dir), "files"), 0);
	/* both are still to be made */
	snprintf(place->flannel, sizeof(place->flannel), "%s/cni/flannel", place->dir);
	snprintf(place->host_local, sizeof(place->host_local), "%s/cni/networks", place->dir);
	place->dirs = (struct flannel_dirs){.flannel = place->flannel, .host_local = place->host_local};
	place->delegate =
		(struct flannel_delegate){.network = "cbr0", .ifname = "eth0", .ip_masq = true, .mtu = 1472};
	parse_prefix("10.1.0.0/16", &place->delegate.cluster[FAMILY_4]);
	parse_prefix("10.1.17.1/24", &place->delegate.subnet[FAMILY_4]);
	addr_parse("10.1.17.5", &place->delegate.addr[FAMILY_4]);
	*state = place;
	return 0;
}

static void dual(struct place *place)
{
	parse_prefix("fd00:1::/48", &place->delegate.cluster[FAMILY_6]);
	parse_prefix("fd00:1:17::/64", &place->delegate.subnet[FAMILY_6]);
	addr_parse("fd00:1:17::5", &place->delegate.addr[FAMILY_6]);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int teardown(void **state)
{
	struct place *place = *state;

	json_decref(place->conf);
	nftw(place->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(place);
	return 0;
}

static void set_conf(struct place *place, const char *text)
{
	json_decref(place->conf);
	place->conf = NULL;
	assert_int_equal(json_parse(text, strlen(text), "conf", &place->conf, NULL), 0);
	place->delegate.conf = place->conf;
}

static void assert_format(struct place *place, const char *expected)
{
	_cleanup_(buf_free) struct buf buf = BUF_INIT(0);

	assert_int_equal(flannel_state_format(&place->delegate, &buf, NULL), 0);
	assert_string_equal(buf_text(&buf), expected);
}

static int put(struct place *place, const char *id)
{
	return flannel_files_write(&place->dirs, id, &place->delegate, NULL);
}

static int take(struct place *place, const char *id)
{
	struct flannel_pod pod = {
		.network = place->delegate.network, .container_id = id, .ifname = place->delegate.ifname};

	memcpy(pod.addr, place->delegate.addr, sizeof(pod.addr));
	return flannel_files_remove(&place->dirs, &pod, NULL);
}

static bool undone(struct place *place, const char *id)
{
	struct flannel_pod pod = {
		.network = place->delegate.network, .container_id = id, .ifname = place->delegate.ifname};

	memcpy(pod.addr, place->delegate.addr, sizeof(pod.addr));
	return flannel_files_undone(&place->dirs, &pod);
}

static const char *path_of(struct place *place, const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/cni/%s", place->dir, name);
	return path;
}

static bool there(struct place *place, const char *name)
{
	return access(path_of(place, name), F_OK) == 0;
}

static void write_text(struct place *place, const char *name, const char *text)
{
	assert_int_equal(file_write_atomic(path_of(place, name), text, strlen(text), 0600, false, NULL), 0);
}

static void assert_file(struct place *place, const char *name, mode_t mode, const char *text)
{
	_cleanup_(buf_free) struct buf buf = BUF_INIT(0);
	struct stat st;

	assert_int_equal(stat(path_of(place, name), &st), 0);
	assert_int_equal(st.st_mode & 07777, mode);
	if (!text)
		return;
	assert_int_equal(file_read(path_of(place, name), &buf, NULL), 0);
	assert_string_equal(buf_text(&buf), text);
}

static void make_old(struct place *place, const char *name)
{
	struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};

	assert_int_equal(utimensat(AT_FDCWD, path_of(place, name), times, 0), 0);
}

/* -- the text -- */

/* The example of reference/flannel.md 8.3 with our mark, whatever the configuration is that leaves all open.
 */
static void an_empty_delegate(void **state)
{
	static const char expected[] =
		"{\"ipMasq\":false,\"ipam\":{\"ranges\":[[{\"subnet\":\"10.1.17.0/"
		"24\"}]],\"routes\":[{\"dst\":\"10.1.0.0/16\"}],"
		"\"type\":\"host-local\"},\"isGateway\":true,\"mtu\":1472,\"name\":\"cbr0\","
		"\"tulle\":{\"addresses\":[\"10.1.17.5\"],\"ifname\":\"eth0\"},\"type\":\"bridge\"}";
	struct place *place = *state;

	assert_format(place, expected);
	set_conf(place, "{}");
	assert_format(place, expected);
	set_conf(place,
		"{\"cniVersion\":\"\",\"delegate\":{},\"ipam\":{\"type\":\"tulle\"},\"dns\":{},\"args\":{}}");
	assert_format(place, expected);
}

static void what_the_user_gave(void **state)
{
	struct place *place = *state;

	dual(place);
	place->delegate.ip_masq = false;
	set_conf(place,
		"{\"cniVersion\":\"0.3.1\",\"delegate\":{\"hairpinMode\":true,\"isDefaultGateway\":true,"
		"\"mtu\":1400,"
		"\"isGateway\":false,\"ipMasq\":false},\"runtimeConfig\":{\"mac\":\"02:00:00:00:00:01\"},"
		"\"ipam\":{\"dataDir\":\"/run/ipam\",\"ranges\":[],\"routes\":[{\"dst\":\"0.0.0.0/"
		"0\",\"other\":1,"
		"\"mtu\":1300}]}}");
	assert_format(place,
		"{\"cniVersion\":\"0.3.1\",\"hairpinMode\":true,\"ipMasq\":false,\"ipam\":{\"dataDir\":\"/"
		"run/ipam\","
		"\"ranges\":[[{\"subnet\":\"10.1.17.0/24\"}],[{\"subnet\":\"fd00:1:17::/64\"}]],\"routes\":["
		"{\"dst\":\"0.0.0.0/0\",\"mtu\":1300},{\"dst\":\"10.1.0.0/16\"},{\"dst\":\"fd00:1::/48\"}],"
		"\"type\":\"host-local\"},\"isDefaultGateway\":true,\"isGateway\":false,\"mtu\":1400,"
		"\"name\":\"cbr0\","
		"\"runtimeConfig\":{\"mac\":\"02:00:00:00:00:01\"},"
		"\"tulle\":{\"addresses\":[\"10.1.17.5\",\"fd00:1:17::5\"],\"ifname\":\"eth0\"},\"type\":"
		"\"bridge\"}");
	set_conf(place, "{}");
	place->delegate.addr[FAMILY_4] = (struct addr){{0}};
	place->delegate.subnet[FAMILY_4] = (struct prefix){0};
	place->delegate.cluster[FAMILY_4] = (struct prefix){0};
	assert_format(place,
		"{\"ipMasq\":true,\"ipam\":{\"ranges\":[[{\"subnet\":\"fd00:1:17::/64\"}]],\"routes\":["
		"{\"dst\":\"fd00:1::/"
		"48\"}],\"type\":\"host-local\"},\"isGateway\":true,\"mtu\":1472,\"name\":\"cbr0\","
		"\"tulle\":{\"addresses\":[\"fd00:1:17::5\"],\"ifname\":\"eth0\"},\"type\":\"bridge\"}");
}

static void read_back(void **state)
{
	static const char *const bad[] = {"{\"ifname\":\"\"}", "{\"ifname\":7}", "{}", "7",
		"{\"ifname\":\"sixteen-letters-\"}", "{\"ifname\":\"eth0\",\"addresses\":[\"10.1.1\"]}",
		"{\"ifname\":\"eth0\",\"addresses\":[7]}", "{\"ifname\":\"eth0\",\"addresses\":7}"};
	_cleanup_(buf_free) struct buf buf = BUF_INIT(0);
	struct flannel_state found;
	struct place *place = *state;

	dual(place);
	assert_int_equal(flannel_state_format(&place->delegate, &buf, NULL), 0);
	assert_int_equal(flannel_state_parse(buf_text(&buf), buf.len, "file", &found, NULL), 0);
	assert_true(found.ours);
	assert_string_equal(found.network, "cbr0");
	assert_string_equal(found.ifname, "eth0");
	assert_string_equal(found.data_dir, "");
	assert_memory_equal(found.addr, place->delegate.addr, sizeof(found.addr));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err err = ERR_INIT;
		char text[300];

		snprintf(text, sizeof(text),
			"{\"name\":\"n\",\"ipam\":{\"type\":\"host-local\"},\"tulle\":%s}", bad[i]);
		assert_int_equal(flannel_state_parse(text, strlen(text), "file", &found, &err), -EINVAL);
		assert_non_null(strstr(err.text, "file"));
	}
}

/* -- the files -- */

static void written_and_removed(void **state)
{
	struct place *place = *state;

	dual(place);
	assert_int_equal(put(place, "c1"), 0);
	assert_file(place, "flannel", 0700, NULL);
	assert_file(place, "flannel/c1", 0600, NULL);
	assert_file(place, "networks/cbr0", 0755, NULL);
	assert_file(place, "networks/cbr0/10.1.17.5", 0600, "c1\r\neth0");
	assert_file(place, "networks/cbr0/fd00:1:17::5", 0600, "c1\r\neth0");
	assert_file(place, "networks/cbr0/lock", 0750, "");
	assert_false(there(place, "networks/cbr0/last_reserved_ip.0"));
	assert_true(host_local_has_addr(place->host_local, &place->delegate.addr[FAMILY_6]));
	assert_false(undone(place, "c1"));
	assert_int_equal(put(place, "c1"), 0); /* what a failed ADD left does not stand in the way */
	assert_int_equal(take(place, "c1"), 0);
	assert_false(there(place, "flannel/c1"));
	assert_false(there(place, "networks/cbr0/10.1.17.5"));
	assert_false(there(place, "networks/cbr0/fd00:1:17::5"));
	assert_true(undone(place, "c1"));
	assert_int_equal(take(place, "c1"), 0);
}

static void an_address_of_another(void **state)
{
	struct place *place = *state;
	struct err err = ERR_INIT;

	dual(place);
	file_make_dirs(path_of(place, "networks/cbr0"), 0755, NULL);
	write_text(place, "networks/cbr0/fd00:1:17::5", "c2\r\neth0");
	assert_int_equal(flannel_files_write(&place->dirs, "c1", &place->delegate, &err), -EAGAIN);
	assert_non_null(strstr(err.text, "fd00:1:17::5"));
	assert_false(there(place, "flannel/c1"));
	assert_false(there(place, "networks/cbr0/10.1.17.5"));
	assert_int_equal(take(place, "c1"), 0);
	assert_file(place, "networks/cbr0/fd00:1:17::5", 0600, "c2\r\neth0");
	/* the id alone begins like it; and an interface's name */
	write_text(place, "networks/cbr0/fd00:1:17::5", "c11\r\neth0");
	assert_int_equal(put(place, "c1"), -EAGAIN);
	write_text(place, "networks/cbr0/fd00:1:17::5", "c1\r\neth01");
	assert_int_equal(put(place, "c1"), -EAGAIN);
	/* an operator bars an address by an empty file */
	write_text(place, "networks/cbr0/fd00:1:17::5", "");
	assert_int_equal(put(place, "c1"), -EAGAIN);
}

static void the_lock_is_held(void **state)
{
	struct place *place = *state;
	int lock;

	assert_int_equal(put(place, "c1"), 0);
	lock = open(path_of(place, "networks/cbr0/lock"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(flock(lock, LOCK_EX), 0);
	assert_int_equal(take(place, "c1"), -EAGAIN);
	assert_true(there(place, "flannel/c1"));
	assert_true(there(place, "networks/cbr0/10.1.17.5"));
	addr_parse("10.1.17.6", &place->delegate.addr[FAMILY_4]);
	assert_int_equal(put(place, "c2"), -EAGAIN);
	assert_false(there(place, "flannel/c2"));
	close(lock);
	assert_int_equal(put(place, "c2"), 0);
}

/* Two interfaces of one container: Flannel has one file for both, and the first keeps it. */
static void a_second_interface(void **state)
{
	struct place *place = *state;
	struct flannel_delegate first = place->delegate;

	assert_int_equal(put(place, "c1"), 0);
	place->delegate.ifname = "net1";
	addr_parse("10.1.17.6", &place->delegate.addr[FAMILY_4]);
	assert_int_equal(put(place, "c1"), 0);
	assert_file(place, "networks/cbr0/10.1.17.6", 0600, "c1\r\nnet1");
	assert_int_equal(take(place, "c1"), 0);
	assert_false(there(place, "networks/cbr0/10.1.17.6"));
	place->delegate = first;
	assert_false(undone(place, "c1"));
	assert_int_equal(take(place, "c1"), 0);
	assert_false(there(place, "flannel/c1"));
	/* one of Flannel's stays, too */
	write_text(place, "flannel/c1", "{\"name\":\"x\",\"ipam\":{\"type\":\"host-local\"}}");
	assert_int_equal(put(place, "c1"), 0);
	assert_int_equal(take(place, "c1"), 0);
	assert_file(place, "flannel/c1", 0600, "{\"name\":\"x\",\"ipam\":{\"type\":\"host-local\"}}");
	/* what nobody can use does not */
	write_text(place, "flannel/c1", "{");
	assert_int_equal(put(place, "c1"), 0);
	assert_int_equal(take(place, "c1"), 0);
	assert_false(there(place, "flannel/c1"));
}

static void strange_names(void **state)
{
	static const char *const names[] = {"", ".", "..", "../x", "a/b", ".x"};
	struct place *place = *state;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		place->delegate.network = "cbr0";
		assert_int_equal(put(place, names[i]), -EINVAL);
		place->delegate.network = names[i];
		assert_int_equal(put(place, "c1"), -EINVAL);
		assert_false(there(place, "flannel/c1"));
	}
}

static void cannot_be_written(void **state)
{
	struct place *place = *state;

	place->dirs.host_local = "/proc/nowhere";
	assert_true(put(place, "c1") < 0);
	assert_false(there(place, "flannel/c1"));
	place->dirs.host_local = place->host_local;
	place->dirs.flannel = "/proc/nowhere";
	assert_true(put(place, "c1") < 0);
	assert_false(there(place, "networks/cbr0/10.1.17.5"));
}

/* -- all of them -- */

static bool keep_listed(void *ctx, const char *id, const struct flannel_state *state)
{
	return strstr(ctx, id) != NULL;
}

static void cleaned(void **state)
{
	struct place *place = *state;

	for (int i = 1; i <= 3; i++) {
		char id[8], address[20];

		snprintf(id, sizeof(id), "c%d", i);
		snprintf(address, sizeof(address), "10.1.17.%d", i + 1);
		addr_parse(address, &place->delegate.addr[FAMILY_4]);
		assert_int_equal(put(place, id), 0);
	}
	write_text(place, "flannel/c4", "{\"name\":\"cbr0\",\"ipam\":{\"type\":\"host-local\"}}");
	write_text(place, "networks/cbr0/10.1.17.14", "c4\r\neth0");
	write_text(place, "networks/cbr0/10.1.17.15", "c4\r\nnet1");
	write_text(place, "networks/cbr0/10.1.17.16", "c4");
	write_text(place, "networks/cbr0/10.1.17.17", "c44\r\neth0");
	write_text(place, "networks/cbr0/last_reserved_ip.0", "c4");
	write_text(place, "flannel/c5", "{\"name\":\"cbr0\",\"type\":\"macvlan\"}");
	write_text(place, "flannel/c6", "");
	assert_int_equal(flannel_files_clean(&place->dirs, keep_listed, "c2", NULL), 0);
	assert_false(there(place, "flannel/c1"));
	assert_true(there(place, "flannel/c2"));
	assert_false(there(place, "flannel/c3"));
	assert_false(there(place, "flannel/c4"));
	assert_true(there(place, "flannel/c5"));
	assert_true(there(place, "flannel/c6"));
	assert_false(there(place, "networks/cbr0/10.1.17.2"));
	assert_true(there(place, "networks/cbr0/10.1.17.3"));
	for (int i = 14; i <= 17; i++) {
		char name[40];

		snprintf(name, sizeof(name), "networks/cbr0/10.1.17.%d", i);
		assert_int_equal(there(place, name), i >= 16); /* the bare id is of older ones only */
	}
	assert_true(there(place, "networks/cbr0/last_reserved_ip.0"));
	assert_int_equal(flannel_files_clean(&place->dirs, keep_listed, "c2", NULL), 0);
	place->dirs.flannel = "/proc/nowhere";
	assert_int_equal(flannel_files_clean(&place->dirs, keep_listed, "", NULL), 0);
}

/* After a power failure: names without content. */
static void torn(void **state)
{
	static const char *const files[] = {"flannel/c1", "flannel/c2", "networks/cbr0/10.1.17.5"};
	struct place *place = *state;

	assert_int_equal(put(place, "c1"), 0);
	write_text(place, "flannel/c1", "");
	write_text(place, "flannel/c2", "");
	write_text(place, "flannel/.c3.tmp-17", "{");
	write_text(place, "networks/cbr0/10.1.17.6", "c2\r\neth0");
	write_text(place, "networks/cbr0/10.1.17.5", "");
	flannel_files_clear_torn(&place->dirs);
	assert_false(there(place, "flannel/.c3.tmp-17"));
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		assert_true(there(place, files[i])); /* of this boot: somebody may be writing it */
		make_old(place, files[i]);
	}
	flannel_files_clear_torn(&place->dirs);
	assert_false(there(place, "flannel/c1"));
	assert_false(there(place, "flannel/c2"));
	assert_false(there(place, "networks/cbr0/10.1.17.6"));
	/* the address is free again, though nobody knows whose it was */
	assert_false(host_local_has_addr(place->host_local, &place->delegate.addr[FAMILY_4]));
	assert_int_equal(put(place, "c7"), 0);
	assert_file(place, "networks/cbr0/10.1.17.5", 0600, "c7\r\neth0");
	/* but not one that an operator has barred */
	write_text(place, "networks/cbr0/10.1.17.5", "");
	assert_int_equal(chmod(path_of(place, "networks/cbr0/10.1.17.5"), 0644), 0);
	make_old(place, "networks/cbr0/10.1.17.5");
	assert_true(host_local_has_addr(place->host_local, &place->delegate.addr[FAMILY_4]));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {T(an_empty_delegate), T(what_the_user_gave), T(read_back),
		T(written_and_removed), T(an_address_of_another), T(the_lock_is_held), T(a_second_interface),
		T(strange_names), T(cannot_be_written), T(cleaned), T(torn)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
