/* SPDX-License-Identifier: Apache-2.0
 *
 * What an outsider breaks is put back from notifications alone, and repairing ends.
 */
#include "bed.h"

#include <stdio.h>
#include <string.h>

#define PEERS 20

static void want_all(struct bed *bed)
{
	bed_want_vxlan(bed, AF_INET);
	bed_want_vxlan(bed, AF_INET6);
	for (unsigned n = 1; n <= PEERS; n++) {
		bed_want_peer(bed, n, NULL, NULL);
		bed_want_peer6(bed, n, NULL, NULL);
	}
	bed_want_route(bed, "10.44.1.0/24", "192.0.2.2", "up0");
	bed_want_route(bed, "fd00:44:0:1::/64", "2001:db8::2", "up0");
}

static bool is_whole(struct bed *bed)
{
	return bed_count("proto 84 onlink", "ip route show dev flannel.1") == PEERS &&
		bed_count("proto 84 metric 1024 onlink", "ip -6 route show dev flannel-v6.1") == PEERS &&
		bed_count("proto 84", "ip route") == PEERS + 1 && bed_count("proto 84", "ip -6 route") == PEERS + 1 &&
		bed_count("02:00:00:01", "ip neigh show dev flannel.1 nud permanent") == PEERS &&
		bed_count("02:00:00:06", "ip -6 neigh show dev flannel-v6.1 nud permanent") == PEERS &&
		bed_count("dst 192.0.2.2 self permanent", "bridge fdb show dev flannel.1") == PEERS &&
		bed_count("dst 2001:db8::2 self permanent", "bridge fdb show dev flannel-v6.1") == PEERS &&
		bed_count("10.42.0.0/32", "ip addr show flannel.1") == 1 &&
		bed_count("fd00:42::/128", "ip addr show flannel-v6.1") == 1 &&
		bed_count("mtu 1450", "ip link show flannel.1") == 1 &&
		bed_count("02:00:00:00:00:01", "ip link show flannel.1") == 1;
}

/* Must break something (or the test would show nothing), is repaired, and then there is quiet. */
static void broken(struct bed *bed, const char *how)
{
	unsigned before;

	bed_settle(bed);
	before = bed->changed;
	bed_run("%s", how);
	if (is_whole(bed))
		fail_msg("not broken by: %s", how);
	bed_wait(bed, is_whole);
	if (bed->changed == before)
		fail_msg("repaired without changed(): %s", how);
	bed_settle(bed);
	assert_true(is_whole(bed));
}

static uint64_t repairs(struct bed *bed)
{
	struct plane_stats stats;

	plane_get_stats(bed->plane, &stats);
	return stats.repairs;
}

static void test_single_entries(void **state)
{
	struct bed *bed = *state;
	struct plane_stats before, after;

	want_all(bed);
	bed_apply(bed);
	bed_settle(bed);
	assert_true(is_whole(bed));
	assert_int_equal(repairs(bed), 0);
	plane_get_stats(bed->plane, &before);
	broken(bed, "ip route del 10.42.3.0/24");
	broken(bed, "ip -6 route del fd00:42:0:3::/64");
	broken(bed, "ip neigh del 10.42.3.0 dev flannel.1");
	broken(bed, "ip neigh del fd00:42:0:3:: dev flannel-v6.1");
	broken(bed, "bridge fdb del 02:00:00:01:00:03 dev flannel.1");
	broken(bed, "bridge fdb del 02:00:00:06:00:03 dev flannel-v6.1");
	broken(bed, "ip route del 10.44.1.0/24");
	plane_get_stats(bed->plane, &after);
	assert_int_equal(after.repairs, 7);
	/* one entry lost is one entry sent, no scan */
	assert_int_equal(after.scans, before.scans);
	assert_int_equal(after.added, before.added + 7);
}

static void test_entries_replaced(void **state)
{
	struct bed *bed = *state;

	want_all(bed);
	bed_apply(bed);
	broken(bed, "ip route replace 10.42.3.0/24 via 192.0.2.99");
	broken(bed, "ip route replace 10.42.3.0/24 via 192.0.2.99 proto 84");
	broken(bed, "ip -6 route replace fd00:42:0:3::/64 via 2001:db8::99");
	broken(bed, "ip -6 route replace fd00:42:0:3::/64 via 2001:db8::99 proto 84");
	broken(bed, "ip neigh replace 10.42.3.0 lladdr 02:66:00:00:00:01 dev flannel.1 nud permanent");
	broken(bed, "ip neigh change 10.42.3.0 lladdr 02:66:00:00:00:01 dev flannel.1 nud stale");
	broken(bed, "bridge fdb replace 02:00:00:01:00:03 dev flannel.1 dst 192.0.2.66 self permanent");
}

static void test_flushes(void **state)
{
	struct bed *bed = *state;

	want_all(bed);
	bed_apply(bed);
	broken(bed, "ip route flush proto 84");
	broken(bed, "ip -6 route flush proto 84");
	broken(bed, "ip neigh flush dev flannel.1 nud permanent");
	broken(bed, "ip -6 neigh flush dev flannel-v6.1 nud permanent");
	broken(bed, "ip addr flush dev flannel.1");
	broken(bed, "ip -6 addr flush dev flannel-v6.1 scope global");
}

static void test_devices(void **state)
{
	struct bed *bed = *state;

	want_all(bed);
	bed_apply(bed);
	broken(bed, "ip link set flannel.1 mtu 1300");
	broken(bed, "ip link set flannel.1 address 02:66:00:00:00:07");
	broken(bed, "ip link set flannel.1 down");
	broken(bed, "ip link set flannel-v6.1 down");
	broken(bed, "ip link del flannel.1");
	broken(bed, "ip link del flannel-v6.1");
}

static void test_uplink_flap(void **state)
{
	struct bed *bed = *state;

	want_all(bed);
	bed_apply(bed);
	bed_settle(bed);
	/* at once, so that both events may be read together */
	bed_run("ip link set up0 down");
	assert_int_equal(bed_count("10.44.1.0/24", "ip route"), 0);
	bed_run("ip link set up0 up");
	bed_run("ip -6 addr replace 2001:db8::1/64 dev up0 nodad");
	bed_wait(bed, is_whole);
	bed_settle(bed);
	/* with time between */
	bed_run("ip link set up0 down");
	bed_settle(bed);
	assert_int_equal(bed->result, 0);
	bed_run("ip link set up0 up");
	bed_run("ip -6 addr replace 2001:db8::1/64 dev up0 nodad");
	bed_wait(bed, is_whole);
}

/* The kernel removes vxlan devices with their lower one; it comes back as another interface of the same name. */
static void test_uplink_recreated(void **state)
{
	struct bed *bed = *state;

	want_all(bed);
	bed_apply(bed);
	bed_settle(bed);
	bed_run("ip link del up0");
	bed_settle(bed);
	assert_true(bed->result < 0);
	bed_run("ip link add up0 type veth peer name up0x");
	bed_run("ip addr add 192.0.2.1/24 dev up0");
	bed_run("ip -6 addr add 2001:db8::1/64 dev up0 nodad");
	bed_run("ip link set up0x up");
	bed_run("ip link set up0 up");
	bed_wait(bed, is_whole);
	bed_settle(bed);
	assert_int_equal(bed->result, 0);
}

static bool stranger_gone(struct bed *bed)
{
	return is_whole(bed) && bed_count("10.77.0.0/24", "ip route") == 0 &&
		bed_count("02:77:", "bridge fdb show dev flannel.1") == 0 && bed_count("10.77.", "ip neigh") == 0;
}

/* What somebody adds among ours is swept; what he adds elsewhere concerns nobody. */
static void test_strangers(void **state)
{
	struct bed *bed = *state;
	unsigned before;

	want_all(bed);
	bed_apply(bed);
	bed_settle(bed);
	bed_run("ip route add 10.77.0.0/24 via 10.77.0.0 dev flannel.1 onlink");
	bed_run("bridge fdb add 02:77:00:00:00:01 dev flannel.1 dst 192.0.2.77 self permanent");
	bed_run("ip neigh add 10.77.0.0 lladdr 02:77:00:00:00:01 dev flannel.1 nud permanent");
	bed_wait(bed, stranger_gone);
	bed_settle(bed);
	before = bed->changed;
	bed_run("ip route add 198.51.100.0/24 via 192.0.2.77");
	bed_run("ip link add pod9 type veth peer name pod9x");
	bed_run("ip neigh add 192.0.2.77 lladdr 02:77:00:00:00:01 dev up0 nud permanent");
	bed_run("ip link del pod9");
	bed_settle(bed);
	assert_int_equal(bed->changed, before);
}

/* More messages than the socket holds: what was lost is found by a scan. */
static void test_overrun(void **state)
{
	struct bed *bed = *state;
	struct plane_stats stats;

	bed_stop(bed);
	bed->receive_buffer = 1024;
	bed_start(bed);
	want_all(bed);
	bed_apply(bed);
	bed_settle(bed);
	for (unsigned n = 1; n <= PEERS; n++) {
		bed_run("ip route del 10.42.%u.0/24", n);
		bed_run("ip neigh del 10.42.%u.0 dev flannel.1", n);
		bed_run("bridge fdb del 02:00:00:01:00:%02x dev flannel.1", n);
	}
	bed_wait(bed, is_whole);
	plane_get_stats(bed->plane, &stats);
	assert_true(stats.overruns > 0);
	bed_settle(bed);
	assert_true(is_whole(bed));
}

static void test_forget(void **state)
{
	struct bed *bed = *state;
	struct plane_stats before, after;

	want_all(bed);
	bed_apply(bed);
	bed_settle(bed);
	plane_get_stats(bed->plane, &before);
	plane_forget(bed->plane);
	bed_apply(bed);
	plane_get_stats(bed->plane, &after);
	assert_int_equal(after.scans, before.scans + 3);
	assert_int_equal(after.added, before.added);
	assert_int_equal(after.routes, before.routes);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, bed_setup, bed_teardown)
	const struct CMUnitTest tests[] = {
		T(test_single_entries), T(test_entries_replaced), T(test_flushes), T(test_devices),
		T(test_uplink_flap), T(test_uplink_recreated), T(test_strangers), T(test_overrun), T(test_forget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
