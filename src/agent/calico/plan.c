/* SPDX-License-Identifier: Apache-2.0
 *
 * One pass of Calico's half: collections -> plan -> kernel.
 */
#include "agent/calico/internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lists {
	struct plan_node *nodes;
	struct plan_block *blocks;
	struct plan_pod *pods;
	size_t node_count, block_count, pod_count;
};

static void lists_free(struct lists *lists)
{
	free(lists->nodes);
	free(lists->blocks);
	free(lists->pods);
}

static int lists_make(const struct calico *calico, struct lists *lists)
{
	const struct collection *nodes = cluster_part(calico->store, CLUSTER_NODES);
	const struct collection *blocks = cluster_part(calico->store, CLUSTER_BLOCKS);

	lists->nodes = calloc(collection_count(nodes) + 1, sizeof(*lists->nodes));
	lists->blocks = calloc(collection_count(blocks) + 1, sizeof(*lists->blocks));
	if (!lists->nodes || !lists->blocks)
		return -ENOMEM;
	for (const struct collection_item *item = NULL; (item = collection_next(nodes, item));)
		lists->nodes[lists->node_count++] = (struct plan_node){item->object, item->order};
	for (const struct collection_item *item = NULL; (item = collection_next(blocks, item));)
		lists->blocks[lists->block_count++] = (struct plan_block){item->object, item->order};
	return attach_list_pods(calico->agent->attacher, &lists->pods, &lists->pod_count);
}

static void tell_complaints(struct calico *calico, const struct plan_pools_result *result)
{
	struct problems *problems = calico->agent->problems;

	problems_begin(problems, "plan: ");
	for (size_t i = 0; i < result->complaints.count; i++) {
		char object[300];

		snprintf(object, sizeof(object), "plan: %s", result->complaints.list[i].object);
		problems_set(problems, object, result->complaints.list[i].text);
	}
	problems_end(problems, "plan: ");
}

static void fill(struct calico *calico, const struct lists *lists, struct plan_pools_input *input)
{
	struct agent *agent = calico->agent;

	*input = (struct plan_pools_input){
		.name = agent->options.node_name,
		.own = calico_node_own(calico),
		.nodes = lists->nodes,
		.node_count = lists->node_count,
		.blocks = lists->blocks,
		.block_count = lists->block_count,
		.pools = calico->pools->items,
		.pool_count = calico->pools->count,
		.felix = &calico->felix,
		.bgp_routes = calico->bgp->program_routes,
		.pods = lists->pods,
		.pod_count = lists->pod_count,
		.ipip_addr = calico->tunnels[IPAM_TUNNEL_IPIP].addr,
		.vxlan_addr = {calico->tunnels[IPAM_TUNNEL_VXLAN].addr, calico->tunnels[IPAM_TUNNEL_VXLAN_6].addr},
		.kernel_ipip = calico->kernel_ipip,
		.tunnels_asked = calico_tunnels_asked(calico),
		/* without its address a tunnel's device is not planned, and what the last run left there must stay */
		.complete = cluster_is_complete(calico->store) && calico_tunnels_settled(calico),
		.options = {
			.random_fully = !agent->options.random_fully_disable,
			.forward_rules = agent->options.forward_rules,
			.non_masquerade = agent->non_masquerade,
			.non_masquerade_count = agent->non_masquerade_count,
			.mark_mask = 0x4000,
			.policy = policer_nft(agent->policer),
		},
	};
	uplink_for_plan(&agent->uplink, &input->uplink);
}

static int hand_over_pools(struct calico *calico, const struct plan_pools_input *input)
{
	_cleanup_free_ struct prefix *cidrs = calloc(calico->pools->count + 1, sizeof(*cidrs));
	struct attach_pools pools = {.cidrs = cidrs, .source = calico_pods_source};
	struct plan_mtu mtu;

	if (!cidrs)
		return -ENOMEM;
	plan_pools_mtu(input, &mtu);
	calico->pod_mtu = pools.mtu = mtu.pod;
	memcpy(pools.families, calico->families, sizeof(pools.families));
	for (size_t i = 0; i < calico->pools->count; i++)
		cidrs[pools.cidr_count++] = calico->pools->items[i]->cidr;
	pools.source.ctx = calico;
	return attach_set_pools(calico->agent->attacher, &pools);
}

int calico_plan_apply(struct calico *calico, struct err *err)
{
	__attribute__((cleanup(lists_free))) struct lists lists = {0};
	struct plan_pools_result result = {0};
	struct plan_pools_input input;
	int rc = lists_make(calico, &lists);

	if (rc < 0)
		return err_set(err, rc, "plan: out of memory");
	fill(calico, &lists, &input);
	rc = plan_pools_build(&input, &result);
	if (rc == 0)
		rc = hand_over_pools(calico, &input);
	if (rc < 0) {
		plan_pools_result_free(&result);
		return err_set(err, rc, "plan: out of memory");
	}
	tell_complaints(calico, &result);
	result.wanted.felix = !calico_not_ready(calico);
	rc = plane_apply(calico->agent->plane, &result.wanted, err);
	policer_ways(calico->agent->policer, &result.wanted);
	plan_pools_result_free(&result);
	return rc;
}
