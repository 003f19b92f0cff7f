/* SPDX-License-Identifier: Apache-2.0
 *
 * The guard: which node may send packets of tunnels, and with which inner sources. A node may send from its
 * blocks, its tunnel addresses and its own addresses; this node's own are listed as its own, so that nobody
 * else's packet fits.
 */
#include "plan/pools_internal.h"

#include <string.h>

static int add_host(struct wanted *wanted, const struct addr *addr, const struct addr *peer)
{
	struct prefix host = prefix_host(addr);

	return wanted_add_source(wanted, &host, peer);
}

/* An address that a node says is its own, unless a block says whose it is. */
static int add_claimed(struct poolplan *plan, const struct addr *addr, int f, const struct addr *peer)
{
	if (!addr_is_set(addr) || family_index(addr_family(addr)) != f || poolplan_find_block(plan, addr))
		return 0;
	return add_host(&plan->result->wanted, addr, peer);
}

static int add_others(struct poolplan *plan, const struct node *node, int f)
{
	const struct addr *peer = &node->address[f].addr;
	int r = 0;

	for (size_t i = 0; i < node->other_count && r == 0; i++)
		r = add_claimed(plan, &node->others[i], f, peer);
	return r;
}

static int add_guest(
	struct poolplan *plan, const struct poolplan_block *block, const struct block_guest *guest, int f)
{
	struct wanted *wanted = &plan->result->wanted;
	const struct poolplan_node *node;

	if (!prefix_contains(&block->cidr, &guest->addr))
		return 0;
	if (strcmp(guest->node, plan->input->name) == 0)
		return add_host(wanted, &guest->addr, &plan->input->own->address[f].addr);
	node = poolplan_find_node(plan, guest->node);
	if (!node || !node->usable[f] || poolplan_is_local(plan, &guest->addr))
		return 0;
	return add_host(wanted, &guest->addr, &node->node->address[f].addr);
}

static int add_block(struct poolplan *plan, const struct poolplan_block *block, int f)
{
	struct wanted *wanted = &plan->result->wanted;
	int r = 0;

	for (size_t i = 0; i < block->block->guest_count && r == 0; i++)
		r = add_guest(plan, block, &block->block->guests[i], f);
	if (r == 0 && block->own)
		r = wanted_add_source(wanted, &block->cidr, &plan->input->own->address[f].addr);
	else if (r == 0 && poolplan_holds(block) && block->node && block->node->usable[f])
		r = wanted_add_source(wanted, &block->cidr, &block->node->node->address[f].addr);
	return r;
}

static int add_claims(struct poolplan *plan, const struct poolplan_node *node, int f)
{
	const struct addr *peer = &node->node->address[f].addr;
	int r = 0;

	if (node->vtep[f])
		r = add_claimed(plan, &node->node->vxlan_addr[f], f, peer);
	if (r == 0 && node->ipip)
		r = add_claimed(plan, &node->node->ipip_addr, f, peer);
	return r == 0 ? add_others(plan, node->node, f) : r;
}

/* Our own and our pods' addresses, whatever a block says. */
static int add_local(struct poolplan *plan, int f)
{
	const struct addr *own = &plan->input->own->address[f].addr;
	int r = 0;

	for (size_t i = 0; i < plan->local_count && r == 0; i++) {
		const struct poolplan_block *block = poolplan_find_block(plan, &plan->local[i]);

		if (family_index(addr_family(&plan->local[i])) == f && !(block && block->own))
			r = add_host(&plan->result->wanted, &plan->local[i], own);
	}
	return r;
}

/* The first entry of a destination stays: our own, blocks, the addresses that packets have outside, and only
 * then what nodes say besides. */
static int add_family(struct poolplan *plan, int f)
{
	const struct plan_pools_input *input = plan->input;
	struct wanted *wanted = &plan->result->wanted;
	int r = add_local(plan, f);

	if (r == 0)
		r = add_others(plan, input->own, f);
	for (size_t i = 0; i < plan->kept_count && r == 0; i++)
		if (family_index(plan->kept[i]->cidr.family) == f)
			r = add_block(plan, plan->kept[i], f);
	for (size_t i = 0; i < plan->node_count && r == 0; i++) {
		const struct addr *addr = &plan->nodes[i].node->address[f].addr;

		if (!plan->nodes[i].usable[f])
			continue;
		r = add_host(wanted, addr, addr);
		if (r == 0)
			r = wanted_add_node(wanted, addr);
	}
	for (size_t i = 0; i < plan->node_count && r == 0; i++)
		if (plan->nodes[i].usable[f])
			r = add_claims(plan, &plan->nodes[i], f);
	return r;
}

static int add_pools(struct poolplan *plan, int f)
{
	int r = 0;

	for (size_t i = 0; i < plan->ring_count && r == 0; i++) {
		const struct ippool *pool = plan->rings[i].pool;

		if (family_index(pool->cidr.family) == f && !poolplan_is_balancer_only(pool))
			r = wanted_add_pool(&plan->result->wanted, &pool->cidr);
	}
	return r;
}

static int add_externals(struct poolplan *plan, int f)
{
	const struct felix *felix = plan->input->felix;
	struct wanted *wanted = &plan->result->wanted;
	int r = 0;

	for (size_t i = 0; i < felix->external_count && r == 0; i++) {
		struct prefix external = prefix_masked(&felix->externals[i]);

		if (family_index(external.family) != f)
			continue;
		if (external.len == prefix_max_len(&external))
			r = wanted_add_node(wanted, &external.addr);
		else
			r = wanted_add_external(wanted, &external);
	}
	return r;
}

int poolplan_guard(struct poolplan *plan)
{
	const struct plan_pools_input *input = plan->input;
	struct wanted_guard *guard = &plan->result->wanted.guard;
	int r = 0;

	guard->ipip = plan->ipip;
	guard->port = input->felix->vxlan_port;
	guard->vni = input->felix->vxlan_vni;
	memcpy(guard->uplink, input->uplink.name, sizeof(guard->uplink));
	memcpy(guard->vxlan, plan->vxlan, sizeof(guard->vxlan));
	for (int f = 0; f < FAMILY_COUNT && r == 0; f++) {
		if (!plan->vxlan[f] && !(f == FAMILY_4 && plan->ipip))
			continue;
		r = add_family(plan, f);
		if (r == 0)
			r = add_pools(plan, f);
		if (r == 0)
			r = add_externals(plan, f);
	}
	return r;
}
