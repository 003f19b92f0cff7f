/* SPDX-License-Identifier: Apache-2.0
 *
 * planbench: what one pass of the plan for pools costs on a node of a large cluster, without the kernel.
 *
 *   planbench [NODES [BLOCKS-PER-NODE [TURNS]]]      default: 5000 4 20
 *
 * Prints one JSON line with median and best CPU time of the turns, for a cluster where all is well and for one where
 * every tenth node and block contradicts another. Also "meson test --benchmark planbench".
 */
#include "plan/pools.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NAME_MAX_LEN = 32, PODS = 110 };

struct cluster {
	struct plan_pools_input input;
	struct felix felix;
	size_t node_count, block_count;
	struct node *node;
	struct plan_node *nodes;
	struct block *block;
	struct plan_block *blocks;
	char (*names)[NAME_MAX_LEN];
	struct ippool pool;
	const struct ippool *pools[1];
	struct plan_pod pods[PODS];
};

static void *many(size_t count, size_t size)
{
	void *made = calloc(count, size);

	if (!made)
		abort();
	return made;
}

static double cpu_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static struct prefix prefix4(uint32_t addr, uint8_t len)
{
	return (struct prefix){addr_from_4(addr), len, AF_INET};
}

static void make_node(struct cluster *cluster, size_t i, bool bad)
{
	struct node *node = &cluster->node[i];

	snprintf(cluster->names[i], NAME_MAX_LEN, "worker-%zu", i);
	node->name = cluster->names[i];
	node->address[FAMILY_4] = prefix4(0xac100001 + (uint32_t)(bad ? i - 1 : i), 16);
	node->vxlan_addr[FAMILY_4] = addr_from_4(0x0a000000 + (uint32_t)(i * 4 * 64));
	node->vxlan_mac[FAMILY_4] = node_derive_vxlan_mac(node->name, FAMILY_4);
	cluster->nodes[i] = (struct plan_node){.node = node};
}

static void make_cluster(struct cluster *cluster, size_t nodes, size_t each, bool bad)
{
	*cluster = (struct cluster){.felix = felix_defaults(), .node_count = nodes, .block_count = nodes * each};
	cluster->node = many(nodes, sizeof(*cluster->node));
	cluster->nodes = many(nodes, sizeof(*cluster->nodes));
	cluster->names = many(nodes, sizeof(*cluster->names));
	cluster->block = many(nodes * each, sizeof(*cluster->block));
	cluster->blocks = many(nodes * each, sizeof(*cluster->blocks));
	for (size_t i = 0; i < nodes; i++)
		make_node(cluster, i, bad && i % 10 == 9);
	for (size_t i = 0; i < nodes * each; i++) {
		bool wide = bad && i % 10 == 9;

		cluster->block[i].cidr = prefix4(0x0a000000 + (uint32_t)i * 64, 26);
		if (wide)
			cluster->block[i].cidr = prefix_make(&cluster->block[i].cidr.addr, 25);
		cluster->block[i].node = cluster->names[i / each];
		cluster->blocks[i] = (struct plan_block){.block = &cluster->block[i]};
	}
	cluster->pool = (struct ippool){.name = (char *)"default", .cidr = prefix4(0x0a000000, 9), .vxlan = ENCAP_ALWAYS,
		.nat_outgoing = true, .allocatable = true, .uses = POOL_USE_WORKLOAD | POOL_USE_TUNNEL};
	cluster->pools[0] = &cluster->pool;
	for (uint32_t i = 0; i < PODS; i++) {
		cluster->pods[i].addr[FAMILY_4] = addr_from_4(0x0a000001 + i);
		snprintf(cluster->pods[i].host_ifname, IFNAMSIZ, "cali%u", i);
	}
}

/* As a hash table would give them. */
static void shuffle(struct cluster *cluster)
{
	srand(1);
	for (size_t i = cluster->block_count; i > 1; i--) {
		size_t j = (size_t)rand() % i;
		struct plan_block block = cluster->blocks[j];

		cluster->blocks[j] = cluster->blocks[i - 1];
		cluster->blocks[i - 1] = block;
	}
}

static void fill_input(struct cluster *cluster)
{
	cluster->input = (struct plan_pools_input){
		.name = cluster->names[0],
		.own = &cluster->node[0],
		.nodes = cluster->nodes,
		.node_count = cluster->node_count,
		.blocks = cluster->blocks,
		.block_count = cluster->block_count,
		.pools = cluster->pools,
		.pool_count = 1,
		.felix = &cluster->felix,
		.uplink = {.name = "eth0", .mtu = 1500},
		.pods = cluster->pods,
		.pod_count = PODS,
		.vxlan_addr[FAMILY_4] = cluster->node[0].vxlan_addr[FAMILY_4],
		.complete = true,
		.options = {.random_fully = true, .forward_rules = true, .mark_mask = 0x4000},
	};
}

static void cluster_free(struct cluster *cluster)
{
	free(cluster->node);
	free(cluster->nodes);
	free(cluster->names);
	free(cluster->block);
	free(cluster->blocks);
}

static int by_value(const void *a, const void *b)
{
	double one = *(const double *)a, other = *(const double *)b;

	return (one > other) - (one < other);
}

static void measure(const char *name, size_t nodes, size_t each, size_t turns, bool bad)
{
	double *times = many(turns, sizeof(*times));
	size_t routes = 0, complaints = 0, rules = 0;
	struct cluster cluster;

	make_cluster(&cluster, nodes, each, bad);
	shuffle(&cluster);
	fill_input(&cluster);
	for (size_t i = 0; i < turns; i++) {
		struct plan_pools_result result;
		double start = cpu_ms();

		if (plan_pools_build(&cluster.input, &result) < 0)
			abort();
		times[i] = cpu_ms() - start;
		routes = result.wanted.route_count;
		complaints = result.complaints.count;
		rules = result.wanted.nft.len;
		plan_pools_result_free(&result);
	}
	qsort(times, turns, sizeof(*times), by_value);
	printf("\"%s\": {\"cpu_ms_best\": %.2f, \"cpu_ms_median\": %.2f, \"routes\": %zu, \"complaints\": %zu, \"nft_bytes\": %zu}",
		name, times[0], times[turns / 2], routes, complaints, rules);
	free(times);
	cluster_free(&cluster);
}

int main(int argc, char **argv)
{
	size_t nodes = argc > 1 ? strtoul(argv[1], NULL, 10) : 5000;
	size_t each = argc > 2 ? strtoul(argv[2], NULL, 10) : 4;
	size_t turns = argc > 3 ? strtoul(argv[3], NULL, 10) : 20;

	if (nodes == 0 || each == 0 || turns == 0 || nodes > 30000 || each > 100)
		return 2;
	printf("{\"nodes\": %zu, \"blocks\": %zu, ", nodes, nodes * each);
	measure("sound", nodes, each, turns, false);
	printf(", ");
	measure("contradictory", nodes, each, turns, true);
	printf("}\n");
	return 0;
}
