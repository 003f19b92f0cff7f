/* SPDX-License-Identifier: Apache-2.0
 *
 * The guard: which node may send packets of tunnels, and with which inner sources. A node may send from its blocks, its
 * tunnel addresses and its own addresses; this node's own are listed as its own, so that nobody else's packet fits.
 */
#include "plan/pools_internal.h"

#include <string.h>

static int add_host(struct wanted *wanted, const struct addr *addr, const struct addr *peer)
{
	struct prefix host = prefix_host(addr);

	return wanted_add_source(wanted, &host, peer);
}

/* An address that a node says is its own, unless a block says whose it is. */
static int add_claimed(struct pools *pools, const struct addr *addr, int f, const struct addr *peer)
{
	if (!addr_is_set(addr) || family_index(addr_family(addr)) != f || pools_find_block(pools, addr))
		return 0;
	return add_host(&pools->result->wanted, addr, peer);
}

static int add_claims(struct pools *pools, const struct node *node, const struct addr *ipip, const struct addr *vxlan,
	int f)
{
	const struct addr *peer = &node->address[f].addr;
	int r = add_claimed(pools, vxlan, f, peer);

	if (r == 0)
		r = add_claimed(pools, ipip, f, peer);
	for (size_t i = 0; i < node->other_count && r == 0; i++)
		r = add_claimed(pools, &node->others[i], f, peer);
	return r;
}

static int add_block(struct pools *pools, const struct pools_block *block, int f)
{
	struct wanted *wanted = &pools->result->wanted;
	const struct addr *own = &pools->input->own->address[f].addr;
	int r = 0;

	if (block->own)
		r = wanted_add_source(wanted, &block->block->cidr, own);
	else if (block->node && block->node->usable[f])
		r = wanted_add_source(wanted, &block->block->cidr, &block->node->node->address[f].addr);
	for (size_t i = 0; i < block->block->guest_count && r == 0; i++) {
		const struct block_guest *guest = &block->block->guests[i];
		const struct pools_node *node = pools_find_node(pools, guest->node);

		if (!prefix_contains(&block->block->cidr, &guest->addr))
			continue;
		if (strcmp(guest->node, pools->input->name) == 0)
			r = add_host(wanted, &guest->addr, own);
		else if (node && node->usable[f])
			r = add_host(wanted, &guest->addr, &node->node->address[f].addr);
	}
	return r;
}

/* The first entry of a destination stays: our own, blocks, the addresses that packets have outside, and only then what
 * nodes say besides. */
static int add_family(struct pools *pools, int f)
{
	const struct plan_pools_input *input = pools->input;
	struct wanted *wanted = &pools->result->wanted;
	int r = add_host(wanted, &input->own->address[f].addr, &input->own->address[f].addr);

	if (r == 0)
		r = add_claims(pools, input->own, &input->ipip_addr, &input->vxlan_addr[f], f);
	for (size_t i = 0; i < pools->kept_count && r == 0; i++)
		if (family_index(pools->kept[i]->block->cidr.family) == f)
			r = add_block(pools, pools->kept[i], f);
	for (size_t i = 0; i < pools->node_count && r == 0; i++) {
		const struct addr *addr = &pools->nodes[i].node->address[f].addr;

		if (!pools->nodes[i].usable[f])
			continue;
		r = add_host(wanted, addr, addr);
		if (r == 0)
			r = wanted_add_node(wanted, addr);
	}
	for (size_t i = 0; i < pools->node_count && r == 0; i++) {
		const struct node *node = pools->nodes[i].node;

		if (pools->nodes[i].usable[f])
			r = add_claims(pools, node, &node->ipip_addr, &node->vxlan_addr[f], f);
	}
	return r;
}

static int add_pools(struct pools *pools, int f)
{
	int r = 0;

	for (size_t i = 0; i < pools->ring_count && r == 0; i++) {
		const struct ippool *pool = pools->rings[i].pool;

		if (family_index(pool->cidr.family) == f && !pools_is_balancer_only(pool))
			r = wanted_add_pool(&pools->result->wanted, &pool->cidr);
	}
	return r;
}

static int add_externals(struct pools *pools, int f)
{
	const struct felix *felix = pools->input->felix;
	struct wanted *wanted = &pools->result->wanted;
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

int pools_guard(struct pools *pools)
{
	const struct plan_pools_input *input = pools->input;
	struct wanted_guard *guard = &pools->result->wanted.guard;
	int r = 0;

	guard->ipip = pools->ipip;
	guard->port = input->felix->vxlan_port;
	guard->vni = input->felix->vxlan_vni;
	memcpy(guard->uplink, input->uplink.name, sizeof(guard->uplink));
	memcpy(guard->vxlan, pools->vxlan, sizeof(guard->vxlan));
	for (int f = 0; f < FAMILY_COUNT && r == 0; f++) {
		if (!pools->vxlan[f] && !(f == FAMILY_4 && pools->ipip))
			continue;
		r = add_family(pools, f);
		if (r == 0)
			r = add_pools(pools, f);
		if (r == 0)
			r = add_externals(pools, f);
	}
	return r;
}
