/* SPDX-License-Identifier: Apache-2.0
 *
 * Properties of the plan for pools that golden files cannot show: on random clusters, with everything in them that a
 * damaged store can hold.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "plan/pools.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NODES_MAX = 40, BLOCKS_MAX = 160, PODS_MAX = 20, GUESTS_MAX = 3 };

static const char *const pool_cidrs[] = {
	"10.0.0.0/18", "10.0.64.0/18", "10.0.128.0/18", "10.0.192.0/20", "10.9.0.0/16", "fd00:1::/48", "fd00:2::/48"};
enum { POOLS = ARRAY_SIZE(pool_cidrs) };

struct cluster {
	struct plan_pools_input input;
	struct felix felix;
	struct node node[NODES_MAX];
	char name[NODES_MAX][8];
	struct plan_node nodes[NODES_MAX];
	struct block block[BLOCKS_MAX];
	struct block_guest guests[BLOCKS_MAX][GUESTS_MAX];
	struct plan_block blocks[BLOCKS_MAX];
	struct ippool pool[POOLS];
	const struct ippool *pools[POOLS];
	struct plan_pod pods[PODS_MAX];
	struct prefix on_link;
};

static struct prefix prefix_of(const char *text)
{
	struct prefix prefix;

	assert_int_equal(prefix_parse(text, &prefix), 0);
	return prefix;
}

static struct addr addr_of(const char *text)
{
	struct addr addr;

	assert_int_equal(addr_parse(text, &addr), 0);
	return addr;
}

static bool one_in(int n)
{
	return rand() % n == 0;
}

/* -- a cluster; node 0 is ours -- */

static void make_pools(struct cluster *cluster)
{
	static const enum encap_when whens[] = {ENCAP_NEVER, ENCAP_ALWAYS, ENCAP_CROSS_SUBNET};

	for (int i = 0; i < POOLS; i++) {
		struct ippool *pool = &cluster->pool[i];

		*pool = (struct ippool){.name = (char *)pool_cidrs[i], .cidr = prefix_of(pool_cidrs[i])};
		pool->uses = one_in(10) ? POOL_USE_LOAD_BALANCER : POOL_USE_WORKLOAD;
		pool->allocatable = !one_in(5);
		pool->nat_outgoing = one_in(2);
		pool->vxlan = whens[rand() % 3];
		if (pool->vxlan == ENCAP_NEVER && pool->cidr.family == AF_INET)
			pool->ipip = whens[rand() % 3];
		cluster->pools[i] = pool;
	}
	cluster->input.pools = cluster->pools;
	cluster->input.pool_count = POOLS;
}

static void make_node(struct cluster *cluster, int i)
{
	struct node *node = &cluster->node[i];
	struct addr base4 = addr_of("192.0.2.1"), base6 = addr_of("2001:db8::1");
	struct addr tunnel4 = addr_of("10.0.0.0"), tunnel6 = addr_of("fd00:1::"); /* of some block, often */
	int at = one_in(15) ? rand() % (i + 1) : i; /* somebody else's */

	snprintf(cluster->name[i], sizeof(cluster->name[i]), "n%d", i);
	*node = (struct node){.name = cluster->name[i]};
	node->address[FAMILY_4] = (struct prefix){addr_add(&base4, at % 2 ? at : at + 256), 24, AF_INET};
	if (i == 0 || !one_in(6))
		node->address[FAMILY_6] = (struct prefix){addr_add(&base6, at), 64, AF_INET6};
	if (!one_in(10))
		node->vxlan_addr[FAMILY_4] = addr_add(&tunnel4, 64 * (one_in(15) ? rand() % (i + 1) : i));
	if (!one_in(10))
		node->vxlan_addr[FAMILY_6] = addr_add(&tunnel6, 64 * i);
	for (int f = 0; f < FAMILY_COUNT; f++)
		node->vxlan_mac[f] = node_derive_vxlan_mac(cluster->name[one_in(15) ? rand() % (i + 1) : i], f);
	cluster->nodes[i] = (struct plan_node){.node = node, .order = (uint64_t)(rand() % 4)};
}

static void make_nodes(struct cluster *cluster)
{
	struct plan_pools_input *input = &cluster->input;

	input->node_count = 1 + (size_t)rand() % NODES_MAX;
	for (size_t i = 0; i < input->node_count; i++)
		make_node(cluster, (int)i);
	input->nodes = cluster->nodes;
	input->name = cluster->name[0];
	input->own = &cluster->node[0];
	for (int f = 0; f < FAMILY_COUNT; f++) {
		input->uplink.addr[f] = input->own->address[f].addr;
		input->vxlan_addr[f] = input->own->vxlan_addr[f];
	}
	if (!one_in(5))
		input->ipip_addr = addr_of("10.0.62.1");
}

/* Somewhere in a pool, and sometimes outside; of the usual length, and sometimes not. */
static struct prefix random_cidr(void)
{
	struct prefix pool = prefix_of(pool_cidrs[rand() % POOLS]);
	bool v4 = pool.family == AF_INET;
	struct addr addr = addr_add(&pool.addr, (v4 ? 64 : 64) * (rand() % 64));
	unsigned len = v4 ? 26 : 122;

	if (one_in(10))
		len += (unsigned)(rand() % 10) - 3;
	if (one_in(30))
		addr = addr_add(&pool.addr, -64);
	return prefix_make(&addr, len > (v4 ? 32U : 128U) ? v4 ? 32U : 128U : len);
}

static char *random_name(struct cluster *cluster)
{
	static char nobody[] = "nobody";

	return one_in(20) ? nobody : cluster->name[(size_t)rand() % cluster->input.node_count];
}

/* The store names blocks by their CIDR: no two are the same. */
static struct prefix new_cidr(const struct cluster *cluster, size_t count)
{
	struct prefix cidr;
	bool known;

	do {
		cidr = random_cidr();
		known = false;
		for (size_t i = 0; i < count; i++)
			known |= prefix_equal(&cluster->block[i].cidr, &cidr);
	} while (known);
	return cidr;
}

static void make_blocks(struct cluster *cluster)
{
	cluster->input.block_count = (size_t)rand() % BLOCKS_MAX;
	for (size_t i = 0; i < cluster->input.block_count; i++) {
		struct block *block = &cluster->block[i];

		*block = (struct block){.cidr = new_cidr(cluster, i), .guests = cluster->guests[i]};
		block->node = one_in(20) ? NULL : random_name(cluster);
		block->guest_count = one_in(4) ? (size_t)rand() % (GUESTS_MAX + 1) : 0;
		for (size_t g = 0; g < block->guest_count; g++)
			block->guests[g] = (struct block_guest){
				addr_add(&block->cidr.addr, (int64_t)g * 5 + one_in(9) * 100), random_name(cluster)};
		cluster->blocks[i] = (struct plan_block){.block = block, .order = (uint64_t)(rand() % 4)};
	}
	cluster->input.blocks = cluster->blocks;
}

/* In blocks of ours and of others. */
static void make_pods(struct cluster *cluster)
{
	size_t want = (size_t)rand() % PODS_MAX;

	for (size_t i = 0; i < cluster->input.block_count && cluster->input.pod_count < want; i++) {
		const struct block *block = &cluster->block[i];
		struct plan_pod pod = {.mac = {{2, 0, 0, 0, 0, 1}}};
		struct addr addr = addr_add(&block->cidr.addr, 5);
		bool known = false;

		if (block->node != cluster->input.name && !one_in(20))
			continue;
		for (size_t j = 0; j < cluster->input.pod_count; j++)
			for (int f = 0; f < FAMILY_COUNT; f++)
				known |= addr_equal(&cluster->pods[j].addr[f], &addr);
		if (known)
			continue;
		pod.addr[family_index(addr_family(&addr))] = addr;
		snprintf(pod.host_ifname, sizeof(pod.host_ifname), "cali%u", (unsigned)i & 0xfff);
		cluster->pods[cluster->input.pod_count++] = pod;
	}
	cluster->input.pods = cluster->pods;
}

static void cluster_make(struct cluster *cluster, unsigned seed)
{
	static const enum program_routes programs[] = {
		PROGRAM_ALL, PROGRAM_NONE, PROGRAM_IPIP_ONLY, PROGRAM_NO_ENCAP_ONLY};

	srand(seed);
	*cluster = (struct cluster){.felix = felix_defaults()};
	cluster->felix.program_routes = programs[rand() % 4];
	cluster->input.bgp_routes = programs[rand() % 4];
	cluster->input.felix = &cluster->felix;
	cluster->input.kernel_ipip = one_in(2);
	cluster->input.complete = !one_in(10);
	cluster->input.options = (struct plan_options){.random_fully = true, .forward_rules = true, .mark_mask = 0x4000};
	cluster->on_link = prefix_of("192.0.2.0/24");
	cluster->input.uplink = (struct plan_uplink){
		.name = "eth0", .mtu = 1500, .on_link = &cluster->on_link, .on_link_count = 1};
	make_pools(cluster);
	make_nodes(cluster);
	make_blocks(cluster);
	make_pods(cluster);
}

static void shuffle(void *array, size_t count, size_t size)
{
	char *items = array, kept[64];

	assert_true(size <= sizeof(kept));
	for (size_t i = count; i > 1; i--) {
		size_t j = (size_t)rand() % i;

		memcpy(kept, items + j * size, size);
		memmove(items + j * size, items + (i - 1) * size, size);
		memcpy(items + (i - 1) * size, kept, size);
	}
}

static void result_text(const struct plan_pools_result *result, struct buf *buf)
{
	buf_reset(buf);
	wanted_format(&result->wanted, buf);
	for (size_t i = 0; i < result->complaints.count; i++)
		buf_printf(buf, "%s: %s\n", result->complaints.list[i].object, result->complaints.list[i].text);
	assert_int_equal(buf->error, 0);
}

/* Shows where they part: the texts are long. */
static void assert_same(const struct buf *one, const struct buf *other)
{
	const char *a = buf_text(one), *b = buf_text(other), *line = a, *other_line = b;

	for (; *a && *a == *b; a++, b++) {
		if (*a == '\n') {
			line = a + 1;
			other_line = b + 1;
		}
	}
	if (*a != *b)
		fail_msg("\n%.*s\n%.*s", (int)strcspn(line, "\n"), line, (int)strcspn(other_line, "\n"), other_line);
}

/* -- what must hold -- */

static const struct wanted_route *route_to(const struct wanted *wanted, const struct addr *addr)
{
	const struct wanted_route *best = NULL;

	for (size_t i = 0; i < wanted->route_count; i++)
		if (prefix_contains(&wanted->routes[i].dst, addr) && (!best || wanted->routes[i].dst.len > best->dst.len))
			best = &wanted->routes[i];
	return best;
}

static bool is_own(const struct plan_pools_input *input, const struct addr *addr)
{
	bool own = addr_equal(addr, &input->ipip_addr);

	for (int f = 0; f < FAMILY_COUNT; f++)
		own |= addr_equal(addr, &input->own->address[f].addr) || addr_equal(addr, &input->vxlan_addr[f]);
	return own && addr_is_set(addr);
}

static void check_pods(const struct cluster *cluster, const struct wanted *wanted)
{
	for (size_t i = 0; i < cluster->input.pod_count; i++) {
		for (int f = 0; f < FAMILY_COUNT; f++) {
			const struct plan_pod *pod = &cluster->pods[i];
			const struct wanted_route *route;

			if (!addr_is_set(&pod->addr[f]))
				continue;
			route = route_to(wanted, &pod->addr[f]);
			assert_non_null(route);
			assert_int_equal(route->kind, ROUTE_UNICAST);
			assert_string_equal(route->dev, pod->host_ifname);
		}
	}
}

static bool has_link(const struct wanted *wanted, const char *name)
{
	for (size_t i = 0; i < wanted->link_count; i++)
		if (strcmp(wanted->links[i].name, name) == 0)
			return true;
	return strcmp(name, "eth0") == 0;
}

static const struct wanted_neigh *neigh_of(const struct wanted *wanted, const struct addr *addr, const char *dev)
{
	for (size_t i = 0; i < wanted->neigh_count; i++)
		if (addr_equal(&wanted->neighs[i].addr, addr) && strcmp(wanted->neighs[i].dev, dev) == 0)
			return &wanted->neighs[i];
	return NULL;
}

/* The node that packets of this route reach. */
static struct addr node_behind(const struct wanted *wanted, const struct wanted_route *route)
{
	const struct addr *tunnel = addr_is_set(&route->via) ? &route->via : &route->dst.addr;
	const struct wanted_neigh *neigh;

	if (strncmp(route->dev, "vxlan", 5) != 0)
		return route->via;
	neigh = neigh_of(wanted, tunnel, route->dev);
	assert_non_null(neigh);
	for (size_t i = 0; i < wanted->fdb_count; i++)
		if (mac_equal(&wanted->fdbs[i].mac, &neigh->mac) && strcmp(wanted->fdbs[i].dev, route->dev) == 0)
			return wanted->fdbs[i].dst;
	fail_msg("no FDB entry");
	return (struct addr){0};
}

/* What leads to a node may be sent by it, and by no other. */
static void check_way_back(const struct wanted *wanted, const struct wanted_route *route)
{
	struct addr node = node_behind(wanted, route);

	for (size_t i = 0; i < wanted->guard.source_count; i++)
		if (prefix_equal(&wanted->guard.sources[i].dst, &route->dst))
			assert_true(addr_equal(&wanted->guard.sources[i].peer, &node));
}

static bool is_own_block(const struct cluster *cluster, const struct prefix *cidr)
{
	for (size_t i = 0; i < cluster->input.block_count; i++)
		if (cluster->block[i].node == cluster->input.name && prefix_equal(&cluster->block[i].cidr, cidr))
			return true;
	return false;
}

static void check_route(const struct cluster *cluster, const struct wanted *wanted, const struct wanted_route *route)
{
	bool host = route->dst.len == prefix_max_len(&route->dst);

	if (route->kind == ROUTE_BLACKHOLE) {
		assert_false(host);
		assert_true(is_own_block(cluster, &route->dst));
		return;
	}
	if (strncmp(route->dev, "cali", 4) == 0)
		return;
	assert_true(has_link(wanted, route->dev));
	assert_false(is_own(&cluster->input, &route->via));
	assert_false(host && is_own(&cluster->input, &route->dst.addr));
	assert_false(is_own_block(cluster, &route->dst) && !host);
	assert_false(prefix_contains(&route->dst, &cluster->input.own->address[FAMILY_4].addr));
	assert_false(host && addr_equal(&route->via, &route->dst.addr));
	check_way_back(wanted, route);
}

/* Only single addresses may lie inside something else. */
static void check_overlaps(const struct wanted *wanted)
{
	const struct prefix *last = NULL;

	for (size_t i = 0; i < wanted->route_count; i++) {
		const struct prefix *dst = &wanted->routes[i].dst;

		assert_false(i && prefix_equal(&wanted->routes[i - 1].dst, dst));
		if (dst->len == prefix_max_len(dst))
			continue;
		assert_false(last && prefix_overlaps(last, dst));
		last = dst;
	}
}

static bool has_blackhole(const struct wanted *wanted, const struct prefix *cidr)
{
	for (size_t i = 0; i < wanted->route_count; i++)
		if (wanted->routes[i].kind == ROUTE_BLACKHOLE && prefix_equal(&wanted->routes[i].dst, cidr))
			return true;
	return false;
}

/* Whatever others claim: our blocks are ours, but for those that contradict each other. */
static void check_own_blocks(const struct cluster *cluster, const struct wanted *wanted)
{
	for (size_t i = 0; i < cluster->input.block_count; i++) {
		const struct block *block = &cluster->block[i];
		bool sound = false, alone = true;

		if (block->node != cluster->input.name || block->cidr.len == prefix_max_len(&block->cidr))
			continue;
		for (int p = 0; p < POOLS; p++)
			sound |= prefix_contains_prefix(&cluster->pool[p].cidr, &block->cidr);
		for (size_t j = 0; j < cluster->input.block_count; j++)
			alone &= j == i || cluster->block[j].node != cluster->input.name ||
				 !prefix_overlaps(&cluster->block[j].cidr, &block->cidr);
		if (sound && alone)
			assert_true(has_blackhole(wanted, &block->cidr));
	}
}

/* The FDB knows one place for a MAC, and one node is behind it. */
static void check_macs(const struct wanted *wanted)
{
	for (size_t i = 0; i < wanted->neigh_count; i++)
		for (size_t j = 0; j < i && strncmp(wanted->neighs[i].dev, "vxlan", 5) == 0; j++)
			assert_false(mac_equal(&wanted->neighs[i].mac, &wanted->neighs[j].mac) &&
				     strcmp(wanted->neighs[i].dev, wanted->neighs[j].dev) == 0);
	for (size_t i = 0; i < wanted->fdb_count; i++)
		for (size_t j = 0; j < i; j++)
			assert_false(addr_equal(&wanted->fdbs[i].dst, &wanted->fdbs[j].dst));
}

/* Nobody else may send with an address of ours, or of a pod of ours. */
static void check_own_source(const struct cluster *cluster, const struct wanted_guard *guard, const struct addr *addr)
{
	int f = family_index(addr_family(addr));
	const struct wanted_tunnel *best = NULL;

	if (!addr_is_set(addr) || !(guard->vxlan[f] || (f == FAMILY_4 && guard->ipip)))
		return;
	for (size_t i = 0; i < guard->source_count; i++)
		if (prefix_contains(&guard->sources[i].dst, addr) && (!best || guard->sources[i].dst.len > best->dst.len))
			best = &guard->sources[i];
	assert_non_null(best);
	assert_true(addr_equal(&best->peer, &cluster->input.own->address[f].addr));
}

static void check_own_sources(const struct cluster *cluster, const struct wanted_guard *guard)
{
	for (int f = 0; f < FAMILY_COUNT; f++) {
		check_own_source(cluster, guard, &cluster->input.own->address[f].addr);
		check_own_source(cluster, guard, &cluster->input.vxlan_addr[f]);
		for (size_t i = 0; i < cluster->input.pod_count; i++)
			check_own_source(cluster, guard, &cluster->pods[i].addr[f]);
	}
	check_own_source(cluster, guard, &cluster->input.ipip_addr);
}

static void check_guard(const struct cluster *cluster, const struct wanted *wanted)
{
	const struct wanted_guard *guard = &wanted->guard;

	for (size_t i = 1; i < guard->source_count; i++)
		assert_true(prefix_compare(&guard->sources[i - 1].dst, &guard->sources[i].dst) < 0);
	for (size_t i = 0; i < guard->node_count; i++)
		assert_false(is_own(&cluster->input, &guard->nodes[i]));
	for (size_t i = 0; i < guard->source_count; i++) {
		int f = family_index(guard->sources[i].dst.family);
		bool own = addr_equal(&guard->sources[i].peer, &cluster->input.own->address[f].addr);
		bool known = own;

		for (size_t j = 0; j < guard->node_count && !known; j++)
			known = addr_equal(&guard->nodes[j], &guard->sources[i].peer);
		assert_true(known);
	}
	check_own_sources(cluster, guard);
}

static void check(const struct cluster *cluster, const struct plan_pools_result *result)
{
	const struct wanted *wanted = &result->wanted;

	check_pods(cluster, wanted);
	for (size_t i = 0; i < wanted->route_count; i++)
		check_route(cluster, wanted, &wanted->routes[i]);
	check_overlaps(wanted);
	check_own_blocks(cluster, wanted);
	check_macs(wanted);
	check_guard(cluster, wanted);
	for (size_t i = 0; i < result->complaints.count; i++) {
		assert_true(result->complaints.list[i].object[0] && result->complaints.list[i].text[0]);
		assert_false(i && strcmp(result->complaints.list[i - 1].object, result->complaints.list[i].object) == 0);
	}
}

static void random_clusters(void **state)
{
	static struct cluster cluster;
	size_t routes = 0, complaints = 0, guests = 0;

	for (unsigned seed = 1; seed <= 400; seed++) {
		_cleanup_(buf_free) struct buf first = {0};
		_cleanup_(buf_free) struct buf other = {0};

		cluster_make(&cluster, seed);
		for (int turn = 0; turn < 4; turn++) {
			struct plan_pools_result result;

			assert_int_equal(plan_pools_build(&cluster.input, &result), 0);
			check(&cluster, &result);
			routes += result.wanted.route_count;
			complaints += result.complaints.count;
			for (size_t i = 0; i < result.wanted.route_count; i++)
				guests += result.wanted.routes[i].dst.len == 32 && result.wanted.routes[i].onlink;
			result_text(&result, turn ? &other : &first);
			if (turn)
				assert_same(&first, &other);
			plan_pools_result_free(&result);
			shuffle(cluster.nodes, cluster.input.node_count, sizeof(cluster.nodes[0]));
			shuffle(cluster.blocks, cluster.input.block_count, sizeof(cluster.blocks[0]));
			shuffle(cluster.pools, cluster.input.pool_count, sizeof(cluster.pools[0]));
			shuffle(cluster.pods, cluster.input.pod_count, sizeof(cluster.pods[0]));
		}
	}
	/* the clusters have something in them */
	assert_true(routes > 20000 && complaints > 10000 && guests > 500);
}

/* Nothing but what concerns our own pods, and nothing that stands is taken away. */
static void before_our_node_is_known(void **state)
{
	static struct cluster cluster;
	struct plan_pools_result result;

	for (unsigned seed = 1; seed <= 50; seed++) {
		cluster_make(&cluster, seed);
		cluster.input.own = NULL;
		assert_int_equal(plan_pools_build(&cluster.input, &result), 0);
		check_pods(&cluster, &result.wanted);
		assert_false(result.wanted.sweep);
		assert_true(result.wanted.keep_nft);
		assert_int_equal(result.wanted.link_count, 0);
		assert_int_equal(result.wanted.fdb_count, 0);
		plan_pools_result_free(&result);
	}
}

static size_t lines_of_rules(struct cluster *cluster, size_t nodes, size_t pools)
{
	struct plan_pools_result result;
	size_t lines = 0;

	cluster->input.node_count = nodes;
	cluster->input.pool_count = pools;
	assert_int_equal(plan_pools_build(&cluster->input, &result), 0);
	for (const char *p = buf_text(&result.wanted.nft); *p; p++)
		lines += *p == '\n';
	plan_pools_result_free(&result);
	return lines;
}

/* The number of rules depends neither on nodes nor on pools: they look into sets. */
static void rules_do_not_grow(void **state)
{
	static struct cluster cluster;

	cluster_make(&cluster, 1);
	for (int i = 0; i < NODES_MAX; i++) {
		make_node(&cluster, i);
		cluster.node[i].address[FAMILY_6].family = AF_INET6;
	}
	for (int i = 0; i < POOLS; i++) {
		cluster.pool[i].nat_outgoing = true;
		cluster.pool[i].uses = POOL_USE_WORKLOAD;
	}
	/* one pool of each family */
	cluster.pools[1] = &cluster.pool[POOLS - 1];
	cluster.pools[POOLS - 1] = &cluster.pool[1];
	cluster.felix.vxlan_enabled = cluster.felix.ipip_enabled = TRISTATE_YES;
	cluster.felix.nat_exclusions = NAT_EXCLUDE_POOLS_AND_HOSTS;
	assert_true(lines_of_rules(&cluster, 10, 2) > 40);
	assert_int_equal(lines_of_rules(&cluster, NODES_MAX, POOLS), lines_of_rules(&cluster, 10, 2));
}

static void mtu(struct cluster *cluster, uint32_t vxlan, uint32_t vxlan6, uint32_t ipip, uint32_t pod)
{
	struct plan_mtu got;

	plan_pools_mtu(&cluster->input, &got);
	assert_int_equal(got.vxlan[FAMILY_4], vxlan);
	assert_int_equal(got.vxlan[FAMILY_6], vxlan6);
	assert_int_equal(got.ipip, ipip);
	assert_int_equal(got.pod, pod);
}

static void mtu_of_every_combination(void **state)
{
	static struct cluster cluster;
	struct ippool plain = {.cidr = prefix_of("10.0.0.0/16")}, vxlan = plain, ipip = plain;
	struct ippool vxlan6 = {.cidr = prefix_of("fd00::/64"), .vxlan = ENCAP_CROSS_SUBNET};
	const struct ippool *pools[4] = {&plain};

	cluster = (struct cluster){.felix = felix_defaults()};
	cluster.input.felix = &cluster.felix;
	cluster.input.pools = pools;
	cluster.input.pool_count = 1;
	cluster.input.uplink.mtu = 1500;
	vxlan.vxlan = ENCAP_ALWAYS;
	vxlan.disabled = true;
	ipip.ipip = ENCAP_CROSS_SUBNET;
	mtu(&cluster, 1450, 1430, 1480, 1500);
	pools[cluster.input.pool_count++] = &ipip;
	mtu(&cluster, 1450, 1430, 1480, 1480);
	pools[cluster.input.pool_count++] = &vxlan;
	mtu(&cluster, 1450, 1430, 1480, 1450);
	pools[cluster.input.pool_count++] = &vxlan6;
	mtu(&cluster, 1450, 1430, 1480, 1430);
	cluster.felix.ipv6 = false;
	mtu(&cluster, 1450, 1430, 1480, 1450);
	cluster.felix.vxlan_enabled = TRISTATE_NO;
	mtu(&cluster, 1450, 1430, 1480, 1480);
	cluster.felix.ipip_mtu = 1400;
	mtu(&cluster, 1450, 1430, 1400, 1400);
	cluster.felix.ipip_enabled = TRISTATE_NO;
	mtu(&cluster, 1450, 1430, 1400, 1500);
	cluster.felix.vxlan_enabled = TRISTATE_YES;
	cluster.felix.vxlan_mtu[FAMILY_4] = 9000;
	mtu(&cluster, 9000, 1430, 1400, 1500);
	cluster.input.uplink.mtu = 9000;
	cluster.felix.vxlan_mtu[FAMILY_4] = 0;
	mtu(&cluster, 8950, 8930, 1400, 8950);
}

static void whose_routes(void **state)
{
	struct ippool plain = {.name = NULL}, ipip = {.ipip = ENCAP_ALWAYS}, vxlan = {.vxlan = ENCAP_CROSS_SUBNET};
	static const struct {
		enum program_routes felix, bgp;
		bool plain, learned;
	} cases[] = {
		{PROGRAM_IPIP_ONLY, PROGRAM_NO_ENCAP_ONLY, true, true}, /* upstream's defaults */
		{PROGRAM_ALL, PROGRAM_NONE, true, false},
		{PROGRAM_NONE, PROGRAM_ALL, false, true},
		{PROGRAM_NONE, PROGRAM_NO_ENCAP_ONLY, false, true},
		{PROGRAM_NO_ENCAP_ONLY, PROGRAM_IPIP_ONLY, true, false},
		{PROGRAM_IPIP_ONLY, PROGRAM_ALL, false, true},
		{PROGRAM_IPIP_ONLY, PROGRAM_NONE, true, false},
		{PROGRAM_NONE, PROGRAM_NONE, true, false}, /* somebody has to */
		{PROGRAM_ALL, PROGRAM_ALL, true, true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(plan_pools_are_ours(&plain, cases[i].felix, cases[i].bgp), cases[i].plain);
		assert_int_equal(plan_pools_are_learned(&plain, cases[i].bgp), cases[i].learned);
		assert_true(plan_pools_are_ours(&ipip, cases[i].felix, cases[i].bgp));
		assert_true(plan_pools_are_ours(&vxlan, cases[i].felix, cases[i].bgp));
		assert_false(plan_pools_are_learned(&ipip, cases[i].bgp));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_clusters),
		cmocka_unit_test(before_our_node_is_known),
		cmocka_unit_test(rules_do_not_grow),
		cmocka_unit_test(mtu_of_every_combination),
		cmocka_unit_test(whose_routes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
