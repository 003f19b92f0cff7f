/* SPDX-License-Identifier: Apache-2.0
 *
 * Properties of the plan that golden files cannot show: order of the input, size, arrays.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "plan/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cluster {
	struct network network;
	struct lease own;
	struct prefix on_link;
	struct lease *leases;
	const struct lease **peers;
	struct plan_input input;
};

static struct addr addr_of(const char *text)
{
	struct addr addr;

	assert_int_equal(addr_parse(text, &addr), 0);
	return addr;
}

static void make_lease(struct lease *lease, uint32_t subnet, unsigned len, uint32_t public_ip)
{
	struct addr addr = addr_from_4(subnet);
	char text[PREFIX_TEXT_MAX];

	*lease = (struct lease){.backend = "vxlan", .vni = 1, .has_vni = true};
	lease->subnet[FAMILY_4] = prefix_make(&addr, len);
	lease->public_ip[FAMILY_4] = addr_from_4(public_ip);
	lease->vtep_mac[FAMILY_4] = (struct mac){{2, 0, (uint8_t)(public_ip >> 24),
		(uint8_t)(public_ip >> 16), (uint8_t)(public_ip >> 8), (uint8_t)public_ip}};
	snprintf(lease->key, sizeof(lease->key), "%s", prefix_format(&lease->subnet[FAMILY_4], text));
}

/* Network 10.0.0.0/8, own block 10.0.1.0/24, peers 10.0.2.0/24 ... on 192.168.0.0/16. */
static struct cluster cluster_make(size_t peers)
{
	struct cluster cluster = {
		.network = {.backend = "vxlan", .encap = ENCAP_VXLAN, .routed = true, .vni = 1},
		.leases = calloc(peers, sizeof(struct lease)),
		.peers = calloc(peers, sizeof(struct lease *)),
		.input = {.peer_count = peers,
			.peers_complete = true,
			.uplink = {.name = "eth0", .mtu = 1500}},
	};

	assert_int_equal(prefix_parse("10.0.0.0/8", &cluster.network.pool[FAMILY_4].cidr), 0);
	make_lease(&cluster.own, 0x0a000100, 24, 0xc0a80001);
	for (size_t i = 0; i < peers; i++) {
		make_lease(&cluster.leases[i], 0x0a000200 + (uint32_t)i * 256, 24, 0xc0a80002 + (uint32_t)i);
		cluster.peers[i] = &cluster.leases[i];
	}
	cluster.input.public_ip[FAMILY_4] = cluster.own.public_ip[FAMILY_4];
	cluster.input.vtep_mac[FAMILY_4] = cluster.own.vtep_mac[FAMILY_4];
	return cluster;
}

static void build(struct cluster *cluster, struct plan_result *ret)
{
	cluster->input.network = &cluster->network;
	cluster->input.own = &cluster->own;
	cluster->input.peers = cluster->peers;
	assert_int_equal(plan_build(&cluster->input, ret), 0);
}

static void cluster_free(struct cluster *cluster)
{
	free(cluster->leases);
	free(cluster->peers);
}

static void shuffle(const struct lease **peers, size_t count, unsigned seed)
{
	srand(seed);
	for (size_t i = count; i > 1; i--) {
		size_t j = (size_t)rand() % i;
		const struct lease *other = peers[j];

		peers[j] = peers[i - 1];
		peers[i - 1] = other;
	}
}

static void result_text(const struct plan_result *result, struct buf *buf)
{
	wanted_format(&result->wanted, buf);
	for (size_t i = 0; i < result->complaints.count; i++)
		buf_printf(buf, "%s: %s\n", result->complaints.list[i].object, result->complaints.list[i].text);
	assert_int_equal(buf->error, 0);
}

/* Overlaps, doubled MACs and equal ages, in any order of the list. */
static void order_does_not_matter(void **state)
{
	struct cluster cluster = cluster_make(300);
	_cleanup_(buf_free) struct buf first = {0};

	for (size_t i = 0; i < 300; i++) {
		cluster.leases[i].expires = (int64_t)(i * 7 % 5);
		if (i % 10 == 3) {
			struct addr addr = cluster.leases[i].subnet[FAMILY_4].addr;

			cluster.leases[i].subnet[FAMILY_4] = prefix_make(&addr, 21);
		}
		if (i % 10 == 7)
			cluster.leases[i].vtep_mac[FAMILY_4] = cluster.leases[i - 4].vtep_mac[FAMILY_4];
	}
	for (unsigned seed = 0; seed < 20; seed++) {
		_cleanup_(buf_free) struct buf buf = {0};
		struct plan_result result;

		shuffle(cluster.peers, 300, seed);
		build(&cluster, &result);
		assert_true(result.complaints.count > 30);
		assert_true(result.wanted.route_count + result.complaints.count == 300 + 1 /* our own blackhole */);
		result_text(&result, seed ? &buf : &first);
		if (seed)
			assert_string_equal(buf_text(&buf), buf_text(&first));
		plan_result_free(&result);
	}
	cluster_free(&cluster);
}

static void no_two_routes_overlap(void **state)
{
	struct cluster cluster = cluster_make(500);
	struct plan_result result;

	srand(1);
	for (size_t i = 0; i < 500; i++) {
		struct addr addr = addr_from_4(0x0a100000 + ((uint32_t)rand() & 0xffff));

		cluster.leases[i].subnet[FAMILY_4] = prefix_make(&addr, 18 + (unsigned)rand() % 14);
		cluster.leases[i].expires = rand();
	}
	build(&cluster, &result);
	assert_true(result.wanted.route_count > 1);
	for (size_t i = 1; i < result.wanted.route_count; i++)
		assert_false(prefix_overlaps(&result.wanted.routes[i - 1].dst, &result.wanted.routes[i].dst));
	assert_int_equal(result.wanted.route_count + result.complaints.count, 500 + 1); /* our own blackhole */
	/* whoever was left out overlaps somebody older who was kept: all of them are needed */
	for (size_t i = 0; i < 500; i++) {
		bool covered = false;

		for (size_t j = 0; j < result.wanted.route_count; j++)
			covered |= prefix_overlaps(
				&result.wanted.routes[j].dst, &cluster.leases[i].subnet[FAMILY_4]);
		assert_true(covered);
	}
	plan_result_free(&result);
	cluster_free(&cluster);
}

/* One lease over everything, younger than all the others, costs nobody else anything. */
static void five_thousand_peers(void **state)
{
	struct cluster cluster = cluster_make(5000);
	struct plan_result result;
	const struct wanted *wanted = &result.wanted;
	size_t bytes;

	for (size_t i = 0; i < 5000; i++)
		cluster.leases[i].expires = 1000;
	make_lease(&cluster.leases[4999], 0x0a000000 | 64 << 16, 10, 0xc0a8fffe);
	make_lease(&cluster.leases[4998], 0x0a000000 | 2 << 8, 23, 0xc0a8fffd);
	shuffle(cluster.peers, 5000, 5);
	build(&cluster, &result);
	assert_int_equal(wanted->route_count, 4999 + 1); /* our own blackhole */
	assert_int_equal(wanted->neigh_count, 4999);
	assert_int_equal(wanted->fdb_count, 4999);
	assert_int_equal(result.complaints.count, 1);
	assert_string_equal(result.complaints.list[0].object, "10.0.2.0/23");
	for (size_t i = 1; i < wanted->route_count; i++)
		assert_true(wanted_route_compare(&wanted->routes[i - 1], &wanted->routes[i]) < 0);
	bytes = wanted->routes_room * sizeof(*wanted->routes) +
		wanted->neighs_room * sizeof(*wanted->neighs) + wanted->fdbs_room * sizeof(*wanted->fdbs) +
		5000 * sizeof(struct lease);
	assert_true(bytes / 5000 < 512);
	plan_result_free(&result);
	cluster_free(&cluster);
}

static void finish_sorts_and_keeps_the_first(void **state)
{
	struct wanted wanted;

	wanted_init(&wanted);
	for (int i = 0; i < 1000; i++) {
		struct addr addr = addr_from_4(0x0a000000 + (uint32_t)(i * 37 % 100));
		struct wanted_route route = {.dst = prefix_host(&addr)};

		snprintf(route.dev, sizeof(route.dev), "d%d", i);
		assert_int_equal(wanted_add_route(&wanted, &route), 0);
	}
	assert_int_equal(wanted_finish(&wanted), 0);
	assert_int_equal(wanted.route_count, 100);
	for (int i = 0; i < 1000; i++) {
		struct addr addr = addr_from_4(0x0a000000 + (uint32_t)(i * 37 % 100));
		char dev[IFNAMSIZ];

		snprintf(dev, sizeof(dev), "d%d", i % 100);
		assert_true(addr_equal(&wanted.routes[i * 37 % 100].dst.addr, &addr));
		assert_string_equal(wanted.routes[i * 37 % 100].dev, dev);
	}
	wanted_free(&wanted);
	assert_null(wanted.routes);
	assert_int_equal(wanted_finish(&wanted), 0);
}

static void names(void **state)
{
	char name[IFNAMSIZ];

	plan_vxlan_name(1, FAMILY_4, name);
	assert_string_equal(name, "flannel.1");
	plan_vxlan_name(1, FAMILY_6, name);
	assert_string_equal(name, "flannel-v6.1");
	plan_vxlan_name((1 << 24) - 1, FAMILY_4, name);
	assert_string_equal(name, "fl.16777215");
	plan_vxlan_name(9999999, FAMILY_4, name);
	assert_string_equal(name, "flannel.9999999");
	plan_vxlan_name(9999, FAMILY_6, name);
	assert_string_equal(name, "flannel-v6.9999");
	plan_vxlan_name((1 << 24) - 1, FAMILY_6, name);
	assert_string_equal(name, "fl-v6.16777215");
}

static void own_names_are_known(void **state)
{
	static const char *const own[] = {"flannel.1", "flannel-v6.4096", "fl.16777215", "fl-v6.16777215", "flannel0",
		"tunl0", "vxlan.calico", "vxlan-v6.calico"};
	static const char *const others[] = {"eth0", "flannel.", "flannel.x", "flannel.1x", "tunl1", "vxlan.calico2",
		"tul0123456789a", "cali123", "vxlan100", ""};

	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		assert_true(plan_is_tunnel_name(own[i]));
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_false(plan_is_tunnel_name(others[i]));
}

/* The carrier has one address of each family and none of one that our lease lacks. */
static void carrier_follows_the_lease(void **state)
{
	struct cluster cluster = cluster_make(0);
	struct plan_result result;

	strcpy(cluster.network.backend, "udp");
	cluster.network.encap = ENCAP_UDP;
	assert_int_equal(prefix_parse("fd00:42::/56", &cluster.network.pool[FAMILY_6].cidr), 0);
	cluster.input.uplink.addr[FAMILY_6] = addr_of("2001:db8::1");
	build(&cluster, &result);
	assert_int_equal(result.wanted.link_count, 1);
	assert_true(prefix_is_set(&result.wanted.links[0].addr[FAMILY_4]));
	assert_false(prefix_is_set(&result.wanted.links[0].addr[FAMILY_6]));
	assert_false(addr_is_set(&result.wanted.carrier.local[FAMILY_6]));
	assert_true(addr_equal(&result.wanted.carrier.local[FAMILY_4], &cluster.own.public_ip[FAMILY_4]));
	plan_result_free(&result);
	cluster_free(&cluster);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order_does_not_matter),
		cmocka_unit_test(no_two_routes_overlap),
		cmocka_unit_test(five_thousand_peers),
		cmocka_unit_test(finish_sorts_and_keeps_the_first),
		cmocka_unit_test(names),
		cmocka_unit_test(own_names_are_known),
		cmocka_unit_test(carrier_follows_the_lease),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
