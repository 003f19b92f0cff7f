/* SPDX-License-Identifier: Apache-2.0
 *
 * The guard as a part of the plane: there before the devices, kept, adopted by a successor, put back, and removed when it
 * is sure that it is not wanted. What its program does to packets: tests/bpf.
 */
#include "bed.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#define BPFFS "/sys/fs/bpf"

static int guard_setup(void **state)
{
	struct bed *bed;

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		mount("bpf", BPFFS, "bpf", 0, NULL) || bed_setup(state))
		return -1;
	bed = *state;
	bed_stop(bed);
	bed->bpffs = BPFFS "/t";
	bed_start(bed);
	return 0;
}

static int guard_teardown(void **state)
{
	int r = bed_teardown(state);

	return umount(BPFFS) ? -1 : r;
}

static void want_guard(struct bed *bed)
{
	struct wanted_guard *guard = &bed->wanted.guard;
	struct prefix block = bed_prefix("10.42.1.0/24"), pool = bed_prefix("10.42.0.0/16");
	struct addr node = bed_addr("192.0.2.2");

	bed_want_vxlan(bed, AF_INET);
	guard->vxlan[FAMILY_4] = true;
	guard->port = 8472;
	guard->vni = 1;
	snprintf(guard->uplink, sizeof(guard->uplink), "up0");
	assert_int_equal(wanted_add_source(&bed->wanted, &block, &node), 0);
	assert_int_equal(wanted_add_pool(&bed->wanted, &pool), 0);
	assert_int_equal(wanted_add_node(&bed->wanted, &node), 0);
}

static bool is_attached(struct bed *bed)
{
	if (bed->plane->guard)
		return guard_check(bed->plane->guard, "up0");
	return access(BPFFS "/t/guard/rx", F_OK) == 0 || bed_count("bpf", "tc filter show dev up0 ingress") > 0;
}

static size_t entries(const char *map)
{
	return bed_count("key:", "bpftool map dump pinned " BPFFS "/t/guard/maps-1/%s", map);
}

static void add_packets(void *ctx, const char *name, uint64_t packets, uint64_t bytes)
{
	unsigned *seen = ctx;

	*seen += strcmp(name, "accepted") == 0 || strcmp(name, "no_node") == 0;
}

static void test_guard_is_attached_and_filled(void **state)
{
	struct bed *bed = *state;
	unsigned seen = 0;

	plane_each_guard_counter(bed->plane, add_packets, &seen);
	assert_int_equal(seen, 0);
	want_guard(bed);
	bed_apply(bed);
	assert_true(is_attached(bed));
	assert_int_equal(entries("sources"), 2);
	assert_int_equal(entries("nodes"), 1);
	plane_each_guard_counter(bed->plane, add_packets, &seen);
	assert_int_equal(seen, 2);
	bed_settle(bed);
}

/* A successor finds what its predecessor left, takes nothing away before the list is complete, and leaves no gap. */
static void test_guard_outlives_the_agent(void **state)
{
	struct bed *bed = *state;

	want_guard(bed);
	bed_apply(bed);
	bed_stop(bed);
	assert_int_equal(entries("sources"), 2);
	bed_start(bed);
	assert_true(is_attached(bed));
	bed_want_none(bed);
	bed->wanted.sweep = false;
	bed_apply(bed);
	assert_true(is_attached(bed));
	bed->wanted.guard = (struct wanted_guard){.vxlan = {true}, .port = 8472, .vni = 1, .uplink = "up0", .keep_stale = true};
	bed_apply(bed);
	assert_int_equal(entries("sources"), 2);
	bed->wanted.guard.keep_stale = false;
	bed_apply(bed);
	assert_int_equal(entries("sources"), 0);
	assert_int_equal(entries("nodes"), 0);
}

static void test_guard_goes_when_nobody_wants_it(void **state)
{
	struct bed *bed = *state;

	want_guard(bed);
	bed_apply(bed);
	bed_want_none(bed);
	bed_apply(bed);
	assert_false(is_attached(bed));
	assert_int_equal(access(BPFFS "/t/guard", F_OK), -1);
}

/* An uplink that was removed and came back is another device. */
static void test_guard_follows_the_uplink(void **state)
{
	struct bed *bed = *state;

	want_guard(bed);
	bed_apply(bed);
	bed_settle(bed);
	bed_run("ip link del up0");
	bed_run("ip link add up0 type veth peer name up0x");
	bed_run("ip addr add 192.0.2.1/24 dev up0");
	bed_run("ip link set up0 up");
	bed_run("ip link set up0x up");
	assert_false(is_attached(bed));
	bed_wait(bed, is_attached);
}

static void test_guard_without_bpffs_is_told(void **state)
{
	struct bed *bed = *state;

	bed_stop(bed);
	bed->bpffs = "/run/tulle-none";
	bed_start(bed);
	want_guard(bed);
	wanted_finish(&bed->wanted);
	assert_int_equal(plane_apply(bed->plane, &bed->wanted, &bed->err), -ENODEV);
	assert_non_null(strstr(err_text(&bed->err), "is not on a bpf file system"));
	/* the rest is done */
	assert_int_equal(bed_count("flannel.1", "ip link"), 1);
	rmdir("/run/tulle-none/guard/maps-1");
	rmdir("/run/tulle-none/guard");
	rmdir("/run/tulle-none");
}

static void on_told(void *ctx, const char *kind, const char *name)
{
	(*(unsigned *)ctx)++;
}

static void test_cleanup_removes_it(void **state)
{
	struct bed *bed = *state;
	static const char *const no_links[] = {NULL};
	unsigned told = 0;
	struct plane_cleanup cleanup = {.bpffs = BPFFS "/t", .nft = "nft", .links = no_links, .told = on_told, .ctx = &told};

	want_guard(bed);
	bed_apply(bed);
	assert_int_equal(plane_cleanup(&cleanup, &bed->err), 0);
	assert_int_not_equal(told, 0);
	assert_false(is_attached(bed));
	assert_int_equal(access(BPFFS "/t/guard", F_OK), -1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, guard_setup, guard_teardown)
	const struct CMUnitTest tests[] = {
		T(test_guard_is_attached_and_filled), T(test_guard_outlives_the_agent),
		T(test_guard_goes_when_nobody_wants_it), T(test_guard_follows_the_uplink),
		T(test_guard_without_bpffs_is_told), T(test_cleanup_removes_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
