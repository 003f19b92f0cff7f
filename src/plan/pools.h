/* SPDX-License-Identifier: Apache-2.0
 *
 * The plan for Calico's pools (reference/calico.md 3.10, 5.4, 5.5, 6): what this node's kernel should hold,
 * from pools, nodes and blocks. Pure like the plan for Flannel's network (plan.h), which it takes the place
 * of: the agent calls the one or the other. The same input gives the same output in whatever order nodes,
 * blocks and pools come.
 */
#pragma once

#include "model/block.h"
#include "model/felix.h"
#include "model/ippool.h"
#include "model/node.h"
#include "plan/plan.h"

#define PLAN_TUNNEL_IPIP "tunl0"
#define PLAN_TUNNEL_VXLAN "vxlan.calico"
#define PLAN_TUNNEL_VXLAN6 "vxlan-v6.calico"

/* order: lower: this node has known it, as it is, for longer. Of two that contradict each other the older one
 * is believed; of the same order (the first full list) the lesser name or prefix. */
struct plan_node {
	const struct node *node;
	uint64_t order;
};

struct plan_block {
	const struct block *block;
	uint64_t order;
};

struct plan_pools_input {
	const char *name; /* of this node */
	const struct node
		*own; /* null before the store has shown it: only what concerns our own pods is planned */
	const struct plan_node *nodes; /* this node may be among them */
	size_t node_count;
	const struct plan_block *blocks;
	size_t block_count;
	const struct ippool *const *pools;
	size_t pool_count;
	const struct felix *felix;
	enum program_routes bgp_routes; /* BGPConfiguration's; PROGRAM_NONE where no BIRD runs */
	struct plan_uplink uplink;
	const struct plan_pod *pods;
	size_t pod_count;
	/* Of this node, as allocated; unset: not yet, or not needed. Without its address there is no device.
	 */
	struct addr ipip_addr, vxlan_addr[FAMILY_COUNT];
	bool kernel_ipip;            /* the kernel has tunl0; else the carrier takes its place */
	bool tunnels_asked;          /* an address of a tunnel is being allocated */
	bool complete;               /* the first full lists of nodes, blocks and pools have arrived */
	struct plan_options options; /* ip_masq and blackhole say nothing here */
};

struct plan_pools_result {
	struct wanted wanted;
	struct complaints complaints; /* object: "node worker-1", "block 10.244.7.0/26", "pool default", "FelixConfiguration" */
};

/* 0 or -ENOMEM (ret untouched). */
int plan_pools_build(const struct plan_pools_input *input, struct plan_pools_result *ret);
void plan_pools_result_free(struct plan_pools_result *result);

/* Bytes (5.5): what FelixConfiguration says, or the uplink's less the outer headers. Pods get the least of
 * the encapsulations that are enabled, of either family, or the uplink's when none is. */
struct plan_mtu {
	uint32_t vxlan[FAMILY_COUNT], ipip, pod;
};
void plan_pools_mtu(const struct plan_pools_input *input, struct plan_mtu *ret);

/* Is the encapsulation enabled: by FelixConfiguration, or because some pool, even a disabled one, has it? */
bool plan_pools_has_vxlan(const struct plan_pools_input *input, int family_index);
bool plan_pools_has_ipip(const struct plan_pools_input *input);

/* Are the routes to other nodes' blocks of a pool ours to program, from block data (5.1, both
 * programClusterRoutes)?
 *   - those of a pool that encapsulates always are: BIRD's configuration leaves them to us (bird.h);
 *   - without encapsulation, if Felix' side says so or BGP's side does not;
 *   - and for upstream's pair of defaults (EnabledIPIPOnly, EnabledNoEncapOnly) too, which upstream leaves to
 * BIRD: nobody chose it, and a route that is on-link needs no session. So BIRD alone decides only where
 * somebody said so: Enabled for BGP and not for Felix, or Disabled for Felix. */
bool plan_pools_are_ours(const struct ippool *pool, enum program_routes felix, enum program_routes bgp);
/* Does BIRD program what it learns of a pool without encapsulation? Then a node that is not on-link is its to
 * find. */
bool plan_pools_are_learned(const struct ippool *pool, enum program_routes bgp);
