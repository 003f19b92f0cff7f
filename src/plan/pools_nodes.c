/* SPDX-License-Identifier: Apache-2.0
 *
 * Which nodes are believed. A node without an address of a family, or without a tunnel address, is simply not there
 * yet; one whose addresses are impossible, ours, or an older node's is left out with a complaint. Each family is judged
 * for itself.
 */
#include "plan/pools_internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

/* The judges: 1 sound, 0 not (complained about where it is wrong and not only missing), or -ENOMEM. */

static int refuse(int complained)
{
	return complained < 0 ? complained : 0;
}

static int refuse_addr(struct pools *pools, const struct pools_node *node, int f, const char *field,
	const struct addr *addr, const char *expected)
{
	char text[ADDR_TEXT_MAX];

	return refuse(pools_complain(pools, "node", node->node->name, "%s%s is %s, %s", pools_family_name[f], field,
		addr_format(addr, text), expected));
}

static bool is_unicast(const struct addr *addr, int f)
{
	return family_index(addr_family(addr)) == f && !addr_is_multicast(addr) && !addr_is_loopback(addr);
}

static int judge_address(struct pools *pools, const struct pools_node *node, int f)
{
	const struct addr *addr = &node->node->address[f].addr;

	if (!prefix_is_set(&node->node->address[f]))
		return 0;
	if (!is_unicast(addr, f))
		return refuse_addr(pools, node, f, "Address", addr, "expected a unicast address of the node");
	if (bsearch(addr, pools->local, pools->local_count, sizeof(*addr), pools_addr_compare))
		return refuse_addr(pools, node, f, "Address", addr, "which belongs to this node; expected another");
	return 1;
}

static int judge_tunnel(struct pools *pools, const struct pools_node *node, int f)
{
	const struct addr *addr = &node->node->vxlan_addr[f];
	const struct mac *mac = &node->node->vxlan_mac[f];
	char text[MAC_TEXT_MAX];

	if (!addr_is_set(addr))
		return 0;
	if (!is_unicast(addr, f))
		return refuse_addr(pools, node, f, "VXLANTunnelAddr", addr, "expected a unicast address");
	if (bsearch(addr, pools->local, pools->local_count, sizeof(*addr), pools_addr_compare))
		return refuse_addr(
			pools, node, f, "VXLANTunnelAddr", addr, "which belongs to this node; expected another");
	if (!mac_is_set(mac) || (mac->b[0] & 1))
		return refuse(pools_complain(pools, "node", node->node->name,
			"VXLANTunnelMACAddr of %s is %s, expected a unicast MAC address", pools_family_name[f],
			mac_is_set(mac) ? mac_format(mac, text) : "missing"));
	if (mac_equal(mac, &pools->input->own->vxlan_mac[f]))
		return refuse(pools_complain(pools, "node", node->node->name,
			"VXLANTunnelMACAddr of %s is %s, which is this node's own; expected another",
			pools_family_name[f], mac_format(mac, text)));
	return 1;
}

/* -- against each other; a lower address among the nodes means an older node -- */

static int seniority_compare(const void *a, const void *b)
{
	const struct pools_node *one = a, *other = b;

	if (one->order != other->order)
		return one->order < other->order ? -1 : 1;
	return strcmp(one->node->name, other->node->name);
}

static int by_name(const void *a, const void *b)
{
	const struct pools_node *one = *(struct pools_node *const *)a, *other = *(struct pools_node *const *)b;
	int d = strcmp(one->node->name, other->node->name);

	return d ? d : one < other ? -1 : one > other;
}

/* What no two nodes may share. */
enum claim { CLAIM_ADDRESS, CLAIM_TUNNEL, CLAIM_MAC };

struct claims {
	enum claim claim;
	int f;
};

static const void *claimed(const struct pools_node *node, const struct claims *claims)
{
	switch (claims->claim) {
	case CLAIM_ADDRESS:
		return &node->node->address[claims->f].addr;
	case CLAIM_TUNNEL:
		return &node->node->vxlan_addr[claims->f];
	case CLAIM_MAC:
		break;
	}
	return &node->node->vxlan_mac[claims->f];
}

static int claim_compare(const struct pools_node *one, const struct pools_node *other, const struct claims *claims)
{
	return memcmp(claimed(one, claims), claimed(other, claims),
		claims->claim == CLAIM_MAC ? sizeof(struct mac) : sizeof(struct addr));
}

static int by_claim(const void *a, const void *b, void *ctx)
{
	const struct pools_node *one = *(struct pools_node *const *)a, *other = *(struct pools_node *const *)b;
	int d = claim_compare(one, other, ctx);

	return d ? d : one < other ? -1 : one > other;
}

static int refuse_claim(struct pools *pools, struct pools_node *node, const struct pools_node *holder,
	const struct claims *claims)
{
	static const char *const fields[] = {
		[CLAIM_ADDRESS] = "Address", [CLAIM_TUNNEL] = "VXLANTunnelAddr", [CLAIM_MAC] = "VXLANTunnelMACAddr"};
	char text[ADDR_TEXT_MAX];

	if (claims->claim == CLAIM_MAC)
		mac_format(&node->node->vxlan_mac[claims->f], text);
	else
		addr_format(claimed(node, claims), text);
	if (claims->claim == CLAIM_ADDRESS)
		node->usable[claims->f] = false;
	node->vtep[claims->f] = false;
	return pools_complain(pools, "node", node->node->name, "%s%s is %s, expected another than that of node %s",
		pools_family_name[claims->f], fields[claims->claim], text, holder->node->name);
}

static int judge_claims(struct pools *pools, struct pools_node **some, enum claim claim, int f)
{
	struct claims claims = {.claim = claim, .f = f};
	const struct pools_node *holder = NULL;
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; i < pools->node_count; i++)
		if (claim == CLAIM_ADDRESS ? pools->nodes[i].usable[f] : pools->nodes[i].vtep[f])
			some[n++] = &pools->nodes[i];
	qsort_r(some, n, sizeof(*some), by_claim, &claims);
	for (size_t i = 0; i < n && r == 0; i++) {
		if (!holder || claim_compare(holder, some[i], &claims) != 0)
			holder = some[i];
		else
			r = refuse_claim(pools, some[i], holder, &claims);
	}
	return r;
}

/* -- all -- */

static int judge_family(struct pools *pools, struct pools_node **some, int f)
{
	int r = 0;

	for (size_t i = 0; i < pools->node_count && r >= 0; i++) {
		r = judge_address(pools, &pools->nodes[i], f);
		pools->nodes[i].usable[f] = r > 0;
	}
	if (r >= 0)
		r = judge_claims(pools, some, CLAIM_ADDRESS, f);
	if (r < 0 || !pools->vxlan[f])
		return r;
	for (size_t i = 0; i < pools->node_count && r >= 0; i++) {
		if (!pools->nodes[i].usable[f])
			continue;
		r = judge_tunnel(pools, &pools->nodes[i], f);
		pools->nodes[i].vtep[f] = r > 0;
	}
	if (r >= 0)
		r = judge_claims(pools, some, CLAIM_TUNNEL, f);
	return r < 0 ? r : judge_claims(pools, some, CLAIM_MAC, f);
}

static int list_taken(struct pools *pools)
{
	size_t n = 0;

	pools->taken = calloc(pools->node_count * FAMILY_COUNT + 1, sizeof(*pools->taken));
	if (!pools->taken)
		return -ENOMEM;
	for (size_t i = 0; i < pools->node_count; i++)
		for (int f = 0; f < FAMILY_COUNT; f++)
			if (pools->nodes[i].usable[f])
				pools->taken[n++] = pools->nodes[i].node->address[f].addr;
	qsort(pools->taken, n, sizeof(*pools->taken), pools_addr_compare);
	pools->taken_count = n;
	return 0;
}

int pools_judge_nodes(struct pools *pools)
{
	const struct plan_pools_input *input = pools->input;
	_cleanup_free_ struct pools_node **some = calloc(input->node_count + 1, sizeof(*some));
	int r = 0;

	pools->nodes = calloc(input->node_count + 1, sizeof(*pools->nodes));
	pools->by_name = calloc(input->node_count + 1, sizeof(*pools->by_name));
	if (!some || !pools->nodes || !pools->by_name)
		return -ENOMEM;
	for (size_t i = 0; i < input->node_count; i++)
		if (strcmp(input->nodes[i].node->name, input->name) != 0)
			pools->nodes[pools->node_count++] =
				(struct pools_node){.node = input->nodes[i].node, .order = input->nodes[i].order};
	qsort(pools->nodes, pools->node_count, sizeof(*pools->nodes), seniority_compare);
	for (size_t i = 0; i < pools->node_count; i++)
		pools->by_name[i] = &pools->nodes[i];
	qsort(pools->by_name, pools->node_count, sizeof(*pools->by_name), by_name);
	for (int f = 0; f < FAMILY_COUNT && r == 0; f++)
		if (pools->active[f])
			r = judge_family(pools, some, f);
	return r == 0 ? list_taken(pools) : r;
}

struct pools_node *pools_find_node(const struct pools *pools, const char *name)
{
	size_t low = 0, high = pools->node_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int d = strcmp(pools->by_name[middle]->node->name, name);

		if (d == 0)
			return pools->by_name[middle];
		if (d < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}
