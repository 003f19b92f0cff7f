/* SPDX-License-Identifier: Apache-2.0
 *
 * Our devices: made with Flannel's attributes, adopted when they fit, adjusted or made anew when not.
 */
#include "bed.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t index_of(const char *name, struct mac *ret_mac)
{
	_cleanup_free_ struct plane_link *links = NULL;
	size_t count = 0;

	assert_int_equal(plane_list_links(&links, &count, NULL), 0);
	for (size_t i = 0; i < count; i++) {
		if (strcmp(links[i].name, name) != 0)
			continue;
		if (ret_mac)
			*ret_mac = links[i].mac;
		return links[i].index;
	}
	return 0;
}

static void test_created_as_flannel_does(void **state)
{
	struct bed *bed = *state;

	bed_want_vxlan(bed, AF_INET);
	bed_want_vxlan(bed, AF_INET6);
	bed_apply(bed);
	assert_int_equal(bed_count("vxlan id 1 local 192.0.2.1 dev up0 srcport 0 0 dstport 8472 nolearning ttl auto ageing "
		"300 udpcsum noudp6zerocsumtx noudp6zerocsumrx", "ip -d link show flannel.1"), 1);
	assert_int_equal(bed_count("vxlan id 1 local 2001:db8::1 dev up0 srcport 0 0 dstport 8472 nolearning ttl auto "
		"ageing 300 udpcsum noudp6zerocsumtx noudp6zerocsumrx", "ip -d link show flannel-v6.1"), 1);
	assert_int_equal(bed_count("mtu 1450", "ip link show flannel.1"), 1);
	assert_int_equal(bed_count("mtu 1430", "ip link show flannel-v6.1"), 1);
	assert_int_equal(bed_count("02:00:00:00:00:01", "ip link show flannel.1"), 1);
	assert_int_equal(bed_count(",UP", "ip link show flannel.1"), 1);
	assert_int_equal(bed_count("inet 10.42.0.0/32 scope global flannel.1", "ip addr show flannel.1"), 1);
	assert_int_equal(bed_count("inet6 fd00:42::/128 scope global", "ip addr show flannel-v6.1"), 1);
	assert_int_equal(bed_count("0", "cat /proc/sys/net/ipv6/conf/flannel-v6.1/accept_ra"), 1);
	bed_settle(bed);
}

static void test_options(void **state)
{
	struct bed *bed = *state;

	bed_want_vxlan(bed, AF_INET);
	bed->wanted.links[0].port = 4789;
	bed->wanted.links[0].port_configured = true;
	bed->wanted.links[0].gbp = bed->wanted.links[0].learning = true;
	bed->wanted.links[0].vni = 4096;
	bed_apply(bed);
	assert_int_equal(bed_count("vxlan id 4096 local 192.0.2.1 dev up0 srcport 0 0 dstport 4789 ttl auto ageing 300 "
		"udpcsum noudp6zerocsumtx noudp6zerocsumrx gbp", "ip -d link show flannel.1"), 1);
	bed->wanted.links[0].learning = false;
	bed_apply(bed);
	assert_int_equal(bed_count("nolearning", "ip -d link show flannel.1"), 1);
}

static void test_adopted_when_it_fits(void **state)
{
	struct bed *bed = *state;
	uint32_t index;

	/* another port, MTU and learning are no reason to remove it (4.1.4, 13.17) */
	bed_run("ip link add flannel.1 mtu 1400 address 02:00:00:00:00:01 type vxlan id 1 dev up0 local 192.0.2.1 "
		"dstport 4789 learning");
	bed_run("ip addr add 10.42.9.0/32 dev flannel.1");
	bed_run("ip addr add 169.254.1.1/32 dev flannel.1");
	index = index_of("flannel.1", NULL);
	bed_want_vxlan(bed, AF_INET);
	bed_apply(bed);
	assert_int_equal(index_of("flannel.1", NULL), index);
	assert_int_equal(bed_count("dstport 4789 nolearning", "ip -d link show flannel.1"), 1);
	assert_int_equal(bed_count("mtu 1450", "ip link show flannel.1"), 1);
	assert_int_equal(bed_count("10.42.9.0/32", "ip addr show flannel.1"), 0);
	assert_int_equal(bed_count("169.254.1.1/32", "ip addr show flannel.1"), 1);
	assert_int_equal(bed_count("10.42.0.0/32", "ip addr show flannel.1"), 1);
}

static void expect_recreated(struct bed *bed, const char *how)
{
	uint32_t index;

	bed_run("%s", how);
	bed_run("ip link set flannel.1 up");
	index = index_of("flannel.1", NULL);
	bed_apply(bed);
	if (index_of("flannel.1", NULL) == index)
		fail_msg("kept although made by: %s", how);
	assert_int_equal(bed_count("vxlan id 1 local 192.0.2.1 dev up0", "ip -d link show flannel.1"), 1);
	assert_int_equal(bed_count("10.42.1.0/24", "ip route show dev flannel.1"), 1);
	assert_int_equal(bed_count("permanent", "bridge fdb show dev flannel.1"), 1);
	assert_int_equal(bed_count("PERMANENT", "ip neigh show dev flannel.1"), 1);
	bed_run("ip link del flannel.1");
	bed_stop(bed);
	bed_start(bed);
}

static void test_recreated_when_it_does_not(void **state)
{
	struct bed *bed = *state;

	bed_want_vxlan(bed, AF_INET);
	bed_want_peer(bed, 1, NULL, NULL);
	bed_run("ip addr add 192.0.2.99/24 dev up0");
	bed_run("ip link add other type veth peer name otherx");
	expect_recreated(bed, "ip link add flannel.1 type vxlan id 7 dev up0 local 192.0.2.1 dstport 8472");
	expect_recreated(bed, "ip link add flannel.1 type vxlan id 1 dev up0 local 192.0.2.99 dstport 8472");
	expect_recreated(bed, "ip link add flannel.1 type vxlan id 1 dev other local 192.0.2.1 dstport 8472");
	expect_recreated(bed, "ip link add flannel.1 type vxlan id 1 dev up0 local 192.0.2.1 dstport 8472 gbp");
	expect_recreated(bed, "ip link add flannel.1 type vxlan id 1 dev up0 local 192.0.2.1 dstport 8472 l2miss");
	expect_recreated(bed, "ip link add flannel.1 type vxlan id 1 dev up0 group 239.1.1.1 dstport 8472");
	expect_recreated(bed, "ip link add flannel.1 type veth peer name x");
	bed->wanted.links[0].port = 8472;
	bed->wanted.links[0].port_configured = true;
	expect_recreated(bed, "ip link add flannel.1 type vxlan id 1 dev up0 local 192.0.2.1 dstport 4789");
}

static void test_mac_is_set(void **state)
{
	struct bed *bed = *state;
	struct mac mac = {0}, wanted = bed_mac("02:00:00:00:00:01");

	bed_want_vxlan(bed, AF_INET);
	bed_apply(bed);
	bed_run("ip link set flannel.1 address 02:de:ad:00:00:01");
	bed_stop(bed);
	bed_start(bed);
	bed_apply(bed);
	index_of("flannel.1", &mac);
	assert_memory_equal(&mac, &wanted, sizeof(mac));
}

static void test_rival_is_named(void **state)
{
	struct bed *bed = *state;

	bed_run("ip link add cilium_vxlan type vxlan id 1 dev up0 local 192.0.2.1 dstport 8472");
	bed_want_vxlan(bed, AF_INET);
	wanted_finish(&bed->wanted);
	assert_int_equal(plane_apply(bed->plane, &bed->wanted, &bed->err), -EEXIST);
	assert_non_null(strstr(err_text(&bed->err), "device flannel.1: VNI 1 on port 8472 is in use by device "
		"cilium_vxlan"));
	bed_run("ip link del cilium_vxlan");
	bed_apply(bed);
}

static void test_lower_device_is_missing(void **state)
{
	struct bed *bed = *state;

	bed_want_vxlan(bed, AF_INET);
	snprintf(bed->wanted.links[0].lower, IFNAMSIZ, "none0");
	wanted_finish(&bed->wanted);
	assert_int_equal(plane_apply(bed->plane, &bed->wanted, &bed->err), -ENODEV);
	assert_non_null(strstr(err_text(&bed->err), "lower device none0"));
}

/* Asked for more than the underlay carries, the kernel gives what it can (13.8): no endless adjusting. */
static void test_mtu_too_large(void **state)
{
	struct bed *bed = *state;

	bed_want_vxlan(bed, AF_INET6);
	bed->wanted.links[0].mtu = 1450;
	bed_apply(bed);
	assert_int_equal(bed_count("mtu 1430", "ip link show flannel-v6.1"), 1);
	plane_forget(bed->plane);
	bed_apply(bed);
	bed_settle(bed);
}

static void want_carrier(struct bed *bed)
{
	struct wanted_link link = {.name = "flannel0", .kind = LINK_CARRIER, .mtu = 1452};

	link.addr[FAMILY_4] = bed_prefix("10.42.0.0/32");
	link.addr[FAMILY_6] = bed_prefix("fd00:42::/128");
	link.foreign[FAMILY_4] = bed_prefix("10.42.0.0/16");
	link.foreign[FAMILY_6] = bed_prefix("fd00:42::/48");
	assert_int_equal(wanted_add_link(&bed->wanted, &link), 0);
	bed->wanted.carrier.enabled = true;
	snprintf(bed->wanted.carrier.uplink, IFNAMSIZ, "up0");
}

static void test_carrier_pair(void **state)
{
	struct bed *bed = *state;
	uint32_t index;

	want_carrier(bed);
	bed_want_route(bed, "10.42.1.0/24", NULL, "flannel0");
	bed_apply(bed);
	bed_settle(bed);
	index = index_of("flannel0", NULL);
	assert_int_equal(bed_count("NOARP", "ip link show flannel0"), 1);
	assert_int_equal(bed_count("NOARP", "ip link show flannel0p"), 1);
	assert_int_equal(bed_count("mtu 1452", "ip link show flannel0"), 1);
	assert_int_equal(bed_count("mtu 1452", "ip link show flannel0p"), 1);
	assert_int_equal(bed_count("LOWER_UP", "ip link show flannel0"), 1);
	assert_int_equal(bed_count("10.42.0.0/32", "ip addr show flannel0"), 1);
	assert_int_equal(bed_count("fd00:42::/128", "ip addr show flannel0"), 1);
	assert_int_equal(bed_count("10.42.1.0/24 dev flannel0 proto 84 scope link", "ip route"), 1);
	bed->wanted.links[0].mtu = 1400;
	bed_apply(bed);
	assert_int_equal(bed_count("mtu 1400", "ip link show flannel0p"), 1);
	/* without IPv6 it says nothing of itself */
	bed->wanted.links[0].addr[FAMILY_6] = (struct prefix){0};
	bed_apply(bed);
	assert_int_equal(bed_count("inet6", "ip addr show flannel0"), 0);
	bed_settle(bed);
	bed->wanted.links[0].addr[FAMILY_6] = bed_prefix("fd00:42::/128");
	bed_apply(bed);
	assert_int_equal(bed_count("fd00:42::/128", "ip addr show flannel0"), 1);
	bed_settle(bed);
	assert_int_equal(index_of("flannel0", NULL), index);
}

/* A tun device of flanneld's udp backend, or half a pair, has to make room. */
static void test_carrier_pair_replaces(void **state)
{
	struct bed *bed = *state;

	bed_run("ip tuntap add flannel0 mode tun");
	want_carrier(bed);
	bed_apply(bed);
	assert_int_equal(bed_count("veth", "ip -d link show flannel0"), 1);
	bed_run("ip link set flannel0p down");
	bed_run("ip link set flannel0p name elsewhere");
	bed_stop(bed);
	bed_start(bed);
	bed_apply(bed);
	assert_int_equal(bed_count("LOWER_UP", "ip link show flannel0p"), 1);
	assert_int_equal(index_of("elsewhere", NULL), 0);
}

static void test_lists(void **state)
{
	_cleanup_free_ struct plane_addr *addrs = NULL;
	_cleanup_free_ struct plane_route *routes = NULL;
	struct addr to = bed_addr("203.0.113.7"), via = bed_addr("192.0.2.254"), own = bed_addr("192.0.2.1");
	struct plane_route route = {0};
	size_t count = 0, found = 0;
	uint32_t up0 = index_of("up0", NULL);
	struct err err = ERR_INIT;

	assert_true(plane_route_get(&to, &route, &err) < 0);
	assert_non_null(strstr(err_text(&err), "203.0.113.7"));
	bed_run("ip route add default via 192.0.2.254");
	bed_run("ip -6 route add default via 2001:db8::254");
	bed_run("ip route add 10.1.0.0/16 nexthop via 192.0.2.3 nexthop via 192.0.2.4");
	assert_int_equal(plane_route_get(&to, &route, &err), 0);
	assert_int_equal(route.index, up0);
	assert_true(addr_equal(&route.via, &via));
	assert_true(addr_equal(&route.source, &own));
	to = bed_addr("2001:db8:1::1");
	assert_int_equal(plane_route_get(&to, &route, &err), 0);
	assert_int_equal(route.index, up0);

	assert_int_equal(plane_list_addrs(&addrs, &count, &err), 0);
	for (size_t i = 0; i < count; i++)
		found += addrs[i].index == up0 && addr_equal(&addrs[i].addr, &own) && addrs[i].prefix_len == 24;
	assert_int_equal(found, 1);

	assert_int_equal(plane_list_routes(&routes, &count, &err), 0);
	found = 0;
	for (size_t i = 0; i < count; i++) {
		found += routes[i].dst.len == 0 && addr_equal(&routes[i].via, &via) && routes[i].index == up0;
		found += routes[i].dst.len == 0 && routes[i].dst.family == AF_INET6;
		found += routes[i].dst.len == 16 && routes[i].index == 0;
		assert_true(routes[i].type != RTN_LOCAL);
	}
	assert_int_equal(found, 3);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, bed_setup, bed_teardown)
	const struct CMUnitTest tests[] = {
		T(test_created_as_flannel_does), T(test_options), T(test_adopted_when_it_fits),
		T(test_recreated_when_it_does_not), T(test_mac_is_set), T(test_rival_is_named),
		T(test_lower_device_is_missing), T(test_mtu_too_large), T(test_carrier_pair),
		T(test_carrier_pair_replaces), T(test_lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
