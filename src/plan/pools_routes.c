/* SPDX-License-Identifier: Apache-2.0
 *
 * Routes (reference/calico.md 3.10, 5.4): a blackhole behind the pods of each own block, a route for each
 * block of another node, and one for each single address that lives elsewhere than its block.
 */
#include "plan/plan_internal.h"
#include "plan/pools_internal.h"

#include <string.h>

/* A destination that a node holds, in the pool whose mode says how to get there. */
struct target {
	struct prefix dst;
	const struct ippool *pool;
	struct poolplan_node *node;
	int f;
};

static const struct addr *node_addr(const struct target *target)
{
	return &target->node->node->address[target->f].addr;
}

/* The first of its kind and family: the others of that node would say the same. */
static bool first_told(struct poolplan_node *node, enum poolplan_gap gap, int f)
{
	unsigned bit = 1U << (gap * FAMILY_COUNT + f);
	bool first = !(node->told & bit);

	node->told |= bit;
	return first;
}

static int complain_missing(
	struct poolplan *plan, const struct target *target, enum poolplan_gap gap, const char *field)
{
	const char *name = target->node->node->name;

	/* it may still come with the first full list */
	if (!plan->input->complete || !first_told(target->node, gap, target->f))
		return 0;
	return poolplan_complain(plan, "node", name,
		"%s%s is missing, expected one: it holds addresses of IPPool %s",
		poolplan_family_name[target->f], field, target->pool->name);
}

/* Once: what is missing is missing for all other nodes. */
static int complain_own(struct poolplan *plan, const struct target *target, const char *kind, const char *mode, bool *told)
{
	if (!plan->input->complete || plan->input->tunnels_asked || *told)
		return 0;
	*told = true;
	return poolplan_complain(plan, "node", plan->input->name,
		"%s%sTunnelAddr is missing, expected an IPPool with %s and allowedUses Tunnel for this node: pods of "
		"IPPool %s elsewhere are not reached",
		poolplan_family_name[target->f], kind, mode, target->pool->name);
}

static int complain_reach(struct poolplan *plan, const struct target *target)
{
	char text[ADDR_TEXT_MAX];

	if (!first_told(target->node, GAP_REACH, target->f))
		return 0;
	return poolplan_complain(plan, "node", target->node->node->name,
		"%sAddress is %s, expected one that is on-link at %s, or BGP to find the way: IPPool %s has "
		"no encapsulation",
		poolplan_family_name[target->f], addr_format(node_addr(target), text),
		plan->input->uplink.name, target->pool->name);
}

static int add_route(
	struct poolplan *plan, const struct target *target, const char *dev, const struct addr *via)
{
	struct wanted_route route = {.dst = target->dst, .kind = ROUTE_UNICAST};

	if (!plan_pools_are_ours(target->pool, plan->input->felix->program_routes, plan->input->bgp_routes))
		return 0;
	if (via) {
		route.via = *via;
		route.onlink = true;
	}
	strcpy(route.dev, dev);
	return wanted_add_route(&plan->result->wanted, &route);
}

static int add_vxlan(struct poolplan *plan, const struct target *target)
{
	const struct addr *tunnel = &target->node->node->vxlan_addr[target->f];
	const char *dev = target->f == FAMILY_4 ? PLAN_TUNNEL_VXLAN : PLAN_TUNNEL_VXLAN6;

	if (!plan->vxlan[target->f])
		return plan_pools_has_vxlan(plan->input, target->f)
			       ? complain_own(plan, target, "VXLAN", "vxlanMode", &plan->told_vxlan[target->f])
			       : 0;
	if (!addr_is_set(tunnel))
		return complain_missing(plan, target, GAP_VTEP, "VXLANTunnelAddr");
	if (!target->node->vtep[target->f])
		return 0; /* complained about when it was judged */
	/* the tunnel's own address cannot be its gateway */
	if (target->dst.len == prefix_max_len(&target->dst) && addr_equal(&target->dst.addr, tunnel))
		return add_route(plan, target, dev, NULL);
	return add_route(plan, target, dev, tunnel);
}

static int add_ipip(struct poolplan *plan, const struct target *target)
{
	struct wanted_tunnel tunnel = {.dst = target->dst, .peer = *node_addr(target)};
	int r = 0;

	if (!plan->ipip)
		return plan_pools_has_ipip(plan->input)
			       ? complain_own(plan, target, "IPIP", "ipipMode", &plan->told_ipip)
			       : 0;
	if (!plan->input->kernel_ipip)
		r = wanted_add_tunnel(&plan->result->wanted, &tunnel);
	return r == 0 ? add_route(plan, target, PLAN_TUNNEL_IPIP, node_addr(target)) : r;
}

static int add_plain(struct poolplan *plan, const struct target *target)
{
	const struct plan_pools_input *input = plan->input;

	if (plan_on_link(&input->uplink, node_addr(target)))
		return add_route(plan, target, input->uplink.name, node_addr(target));
	if (plan_pools_are_learned(target->pool, input->bgp_routes))
		return 0;
	return complain_reach(plan, target);
}

/* Inside our own prefix, as our own annotation has it: a /32 contains nobody else. */
static bool tunnels(const struct poolplan *plan, const struct target *target, enum encap_when when)
{
	if (when == ENCAP_CROSS_SUBNET)
		return !prefix_contains(&plan->input->own->address[target->f], node_addr(target));
	return when == ENCAP_ALWAYS;
}

static int add_target(struct poolplan *plan, const struct target *target)
{
	const struct ippool *pool = target->pool;

	if (!prefix_is_set(&target->node->node->address[target->f]))
		return complain_missing(plan, target, GAP_ADDRESS, "Address");
	if (!target->node->usable[target->f])
		return 0;
	if (tunnels(plan, target, pool->vxlan))
		return add_vxlan(plan, target);
	if (tunnels(plan, target, pool->ipip))
		return add_ipip(plan, target);
	/* a neighbour by its own word: no need to ask what the uplink reaches */
	if (pool->vxlan != ENCAP_NEVER || pool->ipip != ENCAP_NEVER)
		return add_route(plan, target, plan->input->uplink.name, node_addr(target));
	return add_plain(plan, target);
}

static int add_held(struct poolplan *plan, const struct poolplan_block *block, const struct prefix *dst,
	struct poolplan_node *node)
{
	struct target target = {
		.dst = *dst, .pool = block->pool, .node = node, .f = family_index(dst->family)};
	char name[PREFIX_TEXT_MAX], text[PREFIX_TEXT_MAX];

	if (!node || !plan->active[target.f])
		return 0;
	if (dst->len == prefix_max_len(dst) && poolplan_is_local(plan, &dst->addr))
		return poolplan_complain(plan, "block", prefix_format(&block->cidr, name),
			"%s is given to node %s, expected an address that this node does not have",
			prefix_format(dst, text), node->node->name);
	return add_target(plan, &target);
}

static int add_guests(struct poolplan *plan, const struct poolplan_block *block)
{
	char name[PREFIX_TEXT_MAX], text[ADDR_TEXT_MAX];
	int r = 0;

	for (size_t i = 0; i < block->block->guest_count && r == 0; i++) {
		const struct block_guest *guest = &block->block->guests[i];
		struct prefix dst = prefix_host(&guest->addr);
		struct poolplan_node *node;

		if (strcmp(guest->node, plan->input->name) == 0)
			continue;
		node = poolplan_find_node(plan, guest->node);
		if (!prefix_contains(&block->cidr, &guest->addr) || (!node && plan->input->complete))
			r = poolplan_complain(plan, "block", prefix_format(&block->cidr, name),
				"%s is given to node \"%s\", expected an address of the block and a node of "
				"the cluster",
				addr_format(&guest->addr, text), guest->node);
		else
			r = add_held(plan, block, &dst, node);
	}
	return r;
}

/* What is behind no pod must not leave by the default route and come back. A host route has nothing behind
 * it. */
static int add_blackhole(struct poolplan *plan, const struct prefix *cidr)
{
	struct wanted_route route = {.dst = *cidr, .kind = ROUTE_BLACKHOLE};

	return cidr->len < prefix_max_len(cidr) ? wanted_add_route(&plan->result->wanted, &route) : 0;
}

static int complain_disabled(struct poolplan *plan, const struct ippool *pool)
{
	const struct plan_pools_input *input = plan->input;
	int f = family_index(pool->cidr.family);
	bool vxlan = pool->vxlan != ENCAP_NEVER && !plan_pools_has_vxlan(input, f) &&
		     (f == FAMILY_4 || input->felix->ipv6);
	bool ipip = pool->ipip != ENCAP_NEVER && !plan_pools_has_ipip(input);

	if (!vxlan && !ipip)
		return 0;
	return poolplan_complain(plan, "pool", pool->name,
		"%sMode needs a tunnel, expected %sEnabled of FelixConfiguration not to be false",
		vxlan ? "vxlan" : "ipip", vxlan ? "vxlan" : "ipip");
}

int poolplan_routes(struct poolplan *plan)
{
	int r = 0;

	for (size_t i = 0; i < plan->ring_count && r == 0; i++)
		r = complain_disabled(plan, plan->rings[i].pool);
	for (size_t i = 0; i < plan->kept_count && r == 0; i++) {
		const struct poolplan_block *block = plan->kept[i];

		r = add_guests(plan, block);
		if (r == 0 && block->own)
			r = add_blackhole(plan, &block->cidr);
		else if (r == 0 && poolplan_holds(block))
			r = add_held(plan, block, &block->cidr, block->node);
	}
	return r;
}
