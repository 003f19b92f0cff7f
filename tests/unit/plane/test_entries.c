/* SPDX-License-Identifier: Apache-2.0
 *
 * Routes, neighbours and FDB entries: put, followed, adopted, swept; what others own stays.
 */
#include "bed.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <string.h>

static struct plane_stats stats(struct bed *bed)
{
	struct plane_stats stats;

	plane_get_stats(bed->plane, &stats);
	return stats;
}

static void want_both(struct bed *bed, unsigned peers)
{
	bed_want_vxlan(bed, AF_INET);
	bed_want_vxlan(bed, AF_INET6);
	for (unsigned n = 1; n <= peers; n++) {
		bed_want_peer(bed, n, NULL, NULL);
		bed_want_peer6(bed, n, NULL, NULL);
	}
}

static void test_peer_as_flannel_does(void **state)
{
	struct bed *bed = *state;

	want_both(bed, 2);
	bed_apply(bed);
	assert_int_equal(bed_count("10.42.1.0/24 via 10.42.1.0 proto 84 onlink", "ip route show dev flannel.1"), 1);
	assert_int_equal(bed_count("10.42.1.0 lladdr 02:00:00:01:00:01 PERMANENT", "ip neigh show dev flannel.1"), 1);
	assert_int_equal(bed_count("02:00:00:01:00:01 dst 192.0.2.2 self permanent",
		"bridge fdb show dev flannel.1"), 1);
	assert_int_equal(bed_count("fd00:42:0:2::/64 via fd00:42:0:2:: proto 84 metric 1024 onlink",
		"ip -6 route show dev flannel-v6.1"), 1);
	assert_int_equal(bed_count("02:00:00:06:00:02 dst 2001:db8::2 self permanent",
		"bridge fdb show dev flannel-v6.1"), 1);
	assert_int_equal(stats(bed).routes, 4);
	assert_int_equal(stats(bed).neighs, 4);
	assert_int_equal(stats(bed).fdbs, 4);
}

/* Applying what stands sends nothing and dumps nothing. */
static void test_unchanged_is_cheap(void **state)
{
	struct bed *bed = *state;
	struct plane_stats before, after;

	want_both(bed, 3);
	bed_apply(bed);
	bed_settle(bed);
	before = stats(bed);
	bed_apply(bed);
	after = stats(bed);
	assert_int_equal(after.applies, before.applies + 1);
	assert_int_equal(after.scans, before.scans);
	assert_int_equal(after.added, before.added);
	assert_int_equal(after.deleted, before.deleted);
}

static void test_five_thousand_peers(void **state)
{
	struct bed *bed = *state;

	bed_want_vxlan(bed, AF_INET);
	for (unsigned n = 1; n <= 5000; n++)
		bed_want_peer(bed, n, NULL, NULL);
	bed_apply(bed);
	assert_int_equal(bed_count("proto 84", "ip route show dev flannel.1"), 5000);
	assert_int_equal(bed_count("PERMANENT", "ip neigh show dev flannel.1"), 5000);
	assert_int_equal(bed_count("permanent", "bridge fdb show dev flannel.1"), 5000);
	assert_int_equal(stats(bed).added, 15000);
	bed_settle(bed);
	assert_int_equal(stats(bed).added, 15000);
	assert_int_equal(stats(bed).repairs, 0);
	bed_want_none(bed);
	bed_want_vxlan(bed, AF_INET);
	bed_apply(bed);
	assert_int_equal(bed_count("proto 84", "ip route show dev flannel.1"), 0);
	assert_int_equal(bed_count("ermanent", "bridge fdb show dev flannel.1"), 0);
}

/* reference/flannel.md 13.10: the entry of the old MAC goes. */
static void test_peer_changes_mac_and_address(void **state)
{
	struct bed *bed = *state;

	want_both(bed, 1);
	bed_apply(bed);
	bed_want_none(bed);
	bed_want_vxlan(bed, AF_INET);
	bed_want_vxlan(bed, AF_INET6);
	bed_want_peer(bed, 1, "02:aa:00:00:00:01", "192.0.2.9");
	bed_want_peer6(bed, 1, "02:aa:00:00:06:01", "2001:db8::9");
	bed_apply(bed);
	assert_int_equal(bed_count("permanent", "bridge fdb show dev flannel.1"), 1);
	assert_int_equal(bed_count("02:aa:00:00:00:01 dst 192.0.2.9", "bridge fdb show dev flannel.1"), 1);
	assert_int_equal(bed_count("02:aa:00:00:06:01 dst 2001:db8::9", "bridge fdb show dev flannel-v6.1"), 1);
	assert_int_equal(bed_count("permanent", "bridge fdb show dev flannel-v6.1"), 1);
	assert_int_equal(bed_count("10.42.1.0 lladdr 02:aa:00:00:00:01", "ip neigh show dev flannel.1"), 1);
	assert_int_equal(bed_count("10.42.1.0/24", "ip route"), 1);
	/* the address alone */
	bed_want_none(bed);
	bed_want_vxlan(bed, AF_INET);
	bed_want_peer(bed, 1, "02:aa:00:00:00:01", "192.0.2.8");
	bed_apply(bed);
	assert_int_equal(bed_count("02:aa:00:00:00:01 dst 192.0.2.8", "bridge fdb show dev flannel.1"), 1);
	assert_int_equal(bed_count("permanent", "bridge fdb show dev flannel.1"), 1);
}

static void test_sweep_waits_for_the_full_list(void **state)
{
	struct bed *bed = *state;

	want_both(bed, 3);
	bed_apply(bed);
	bed_stop(bed);
	bed_start(bed);
	bed_want_none(bed);
	bed->wanted.sweep = false;
	want_both(bed, 1);
	bed_apply(bed);
	assert_int_equal(stats(bed).added, 0);
	assert_int_equal(bed_count("proto 84", "ip route"), 3);
	assert_int_equal(bed_count("permanent", "bridge fdb show dev flannel.1"), 3);
	bed->wanted.sweep = true;
	bed_apply(bed);
	assert_int_equal(bed_count("proto 84", "ip route"), 1);
	assert_int_equal(bed_count("proto 84", "ip -6 route"), 1);
	assert_int_equal(bed_count("permanent", "bridge fdb show dev flannel.1"), 1);
	assert_int_equal(bed_count("PERMANENT", "ip neigh show dev flannel.1"), 1);
	assert_int_equal(bed_count("PERMANENT", "ip -6 neigh show dev flannel-v6.1"), 1);
}

static void test_sweep_spares_what_is_foreign(void **state)
{
	struct bed *bed = *state;

	bed_run("ip route add 198.51.100.0/24 via 192.0.2.77");
	bed_run("ip route add 10.99.0.0/24 via 192.0.2.77 proto bird");
	bed_run("ip route add 10.98.0.0/24 via 192.0.2.77 proto 84");
	bed_run("ip route add 10.97.0.0/24 via 192.0.2.77 proto 84 table 100");
	bed_run("ip -6 route add 2001:db8:9::/48 via 2001:db8::77");
	bed_run("ip -6 route add 2001:db8:8::/48 via 2001:db8::77 proto 84");
	bed_run("ip neigh add 192.0.2.77 lladdr 02:77:00:00:00:01 dev up0 nud permanent");
	bed_run("ip route add blackhole 10.96.0.0/24 proto 84");
	want_both(bed, 1);
	bed_apply(bed);
	assert_int_equal(bed_count("198.51.100.0/24", "ip route"), 1);
	assert_int_equal(bed_count("10.99.0.0/24", "ip route"), 1);
	assert_int_equal(bed_count("10.98.0.0/24", "ip route"), 0);
	assert_int_equal(bed_count("10.96.0.0/24", "ip route"), 0);
	assert_int_equal(bed_count("10.97.0.0/24", "ip route show table 100"), 1);
	assert_int_equal(bed_count("2001:db8:9::/48", "ip -6 route"), 1);
	assert_int_equal(bed_count("2001:db8:8::/48", "ip -6 route"), 0);
	assert_int_equal(bed_count("192.0.2.77 dev up0", "ip neigh"), 1);
	/* the kernel's own on our device */
	assert_int_equal(bed_count("fe80::/64", "ip -6 route show dev flannel-v6.1"), 1);
}

/* flanneld's entries for the same peers are taken over, in place. */
static void test_adopts_flanneld_entries(void **state)
{
	struct bed *bed = *state;
	struct plane_stats got;

	bed_run("ip link add flannel.1 address 02:00:00:00:00:01 type vxlan id 1 dev up0 local 192.0.2.1 dstport 8472 "
		"nolearning");
	bed_run("ip addr add 10.42.0.0/32 dev flannel.1");
	bed_run("ip link set flannel.1 up");
	bed_run("ip link add flannel-v6.1 address 02:00:00:00:06:01 type vxlan id 1 dev up0 local 2001:db8::1 "
		"dstport 8472 nolearning udp6zerocsumrx");
	bed_run("ip link set flannel-v6.1 up");
	bed_run("ip route add 10.42.1.0/24 via 10.42.1.0 dev flannel.1 onlink");
	bed_run("ip route add 10.42.7.0/24 via 10.42.7.0 dev flannel.1 onlink");
	bed_run("ip -6 route add fd00:42:0:1::/64 via fd00:42:0:1:: dev flannel-v6.1 onlink");
	bed_run("ip neigh add 10.42.1.0 lladdr 02:00:00:01:00:01 dev flannel.1 nud permanent");
	bed_run("bridge fdb add 02:00:00:01:00:01 dev flannel.1 dst 192.0.2.2 self permanent");
	bed_run("bridge fdb add 02:00:00:01:77:77 dev flannel.1 dst 192.0.2.7 self permanent");
	/* host-gw's, through the uplink */
	bed_run("ip route add 10.42.2.0/24 via 192.0.2.77");
	bed_run("ip -6 route add fd00:42:0:2::/64 via 2001:db8::77");
	want_both(bed, 2);
	bed_apply(bed);
	got = stats(bed);
	assert_int_equal(bed_count("10.42.", "ip route"), 2);
	assert_int_equal(bed_count("proto 84", "ip route"), 2);
	assert_int_equal(bed_count("fd00:42:0:2::/64", "ip -6 route"), 1);
	assert_int_equal(bed_count("fd00:42:0:1::/64", "ip -6 route"), 1);
	assert_int_equal(bed_count("proto 84", "ip -6 route"), 2);
	assert_int_equal(bed_count("permanent", "bridge fdb show dev flannel.1"), 2);
	/* neighbour and FDB entry of peer 1 were there */
	assert_int_equal(got.added, 12 - 2);
}

/* IPv6 may hold several routes of one destination: just ours stays, of what is ours. */
static void test_ipv6_duplicates(void **state)
{
	struct bed *bed = *state;

	want_both(bed, 0);
	bed_apply(bed);
	bed_run("ip -6 route add fd00:42:0:1::/64 via 2001:db8::77 proto 84");
	bed_run("ip -6 route append fd00:42:0:1::/64 via 2001:db8::78 proto 84");
	bed_run("ip -6 route add fd00:42:0:1::/64 via 2001:db8::79 metric 50 proto 84");
	bed_run("ip route add 10.42.1.0/24 via 192.0.2.79 metric 50 proto 84");
	bed_want_peer(bed, 1, NULL, NULL);
	bed_want_peer6(bed, 1, NULL, NULL);
	bed_apply(bed);
	bed_settle(bed);
	assert_int_equal(bed_count("fd00:42:0:1::/64", "ip -6 route"), 1);
	assert_int_equal(bed_count("fd00:42:0:1::/64 via fd00:42:0:1:: dev flannel-v6.1", "ip -6 route"), 1);
	assert_int_equal(bed_count("nexthop", "ip -6 route"), 0);
	assert_int_equal(bed_count("10.42.1.0/24", "ip route"), 1);
}

static void test_plain_routes(void **state)
{
	struct bed *bed = *state;

	bed_want_route(bed, "10.42.1.0/24", "192.0.2.2", "up0");
	bed_want_route(bed, "fd00:42:0:1::/64", "2001:db8::2", "up0");
	bed_want_route(bed, "10.42.0.0/24", NULL, NULL);
	bed_want_route(bed, "fd00:42::/64", NULL, NULL);
	bed_want_route(bed, "10.42.0.5/32", NULL, "pod0");
	bed_apply(bed);
	assert_int_equal(bed_count("10.42.1.0/24 via 192.0.2.2 dev up0 proto 84", "ip route"), 1);
	assert_int_equal(bed_count("blackhole 10.42.0.0/24 proto 84", "ip route"), 1);
	assert_int_equal(bed_count("blackhole fd00:42::/64", "ip -6 route"), 1);
	/* waits for its device */
	assert_int_equal(bed_count("10.42.0.5", "ip route"), 0);
	bed_settle(bed);
	assert_int_equal(stats(bed).added, 4);
	assert_int_equal(stats(bed).repairs, 0);
}

static bool pod_route(struct bed *bed)
{
	return bed_count("10.42.0.5 dev pod0 proto 84 scope link", "ip route") == 1;
}

static void test_entry_waits_for_its_device(void **state)
{
	struct bed *bed = *state;

	bed_want_route(bed, "10.42.0.5/32", NULL, "pod0");
	bed_apply(bed);
	bed_settle(bed);
	bed_run("ip link add pod0 type veth peer name pod0x");
	bed_run("ip link set pod0 up");
	bed_wait(bed, pod_route);
}

/* One bad entry does not keep the others out, and is named. */
static void test_failure_is_told(void **state)
{
	struct bed *bed = *state;

	bed_want_vxlan(bed, AF_INET);
	bed_want_peer(bed, 1, NULL, NULL);
	bed_want_route(bed, "10.42.2.0/24", "203.0.113.1", "up0");
	bed_want_route(bed, "10.42.3.0/24", "192.0.2.3", "up0");
	wanted_finish(&bed->wanted);
	assert_true(plane_apply(bed->plane, &bed->wanted, &bed->err) < 0);
	assert_non_null(strstr(err_text(&bed->err), "route 10.42.2.0/24 via 203.0.113.1 dev up0: "
		"Nexthop has invalid gateway"));
	assert_int_equal(bed_count("proto 84", "ip route"), 2);
	assert_int_equal(stats(bed).failed, 1);
	bed_run("ip addr add 203.0.113.9/24 dev up0");
	bed_apply(bed);
	assert_int_equal(bed_count("proto 84", "ip route"), 3);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, bed_setup, bed_teardown)
	const struct CMUnitTest tests[] = {
		T(test_peer_as_flannel_does), T(test_unchanged_is_cheap), T(test_five_thousand_peers),
		T(test_peer_changes_mac_and_address), T(test_sweep_waits_for_the_full_list),
		T(test_sweep_spares_what_is_foreign), T(test_adopts_flanneld_entries), T(test_ipv6_duplicates),
		T(test_plain_routes), T(test_entry_waits_for_its_device), T(test_failure_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
