/* SPDX-License-Identifier: Apache-2.0
 *
 * Which nodes are believed. A node without an address of a family, or without a tunnel address, is simply not
 * there yet; one whose addresses are impossible, ours, or an older node's is left out with a complaint. Each
 * family is judged for itself.
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

static int refuse_addr(struct poolplan *plan, const struct poolplan_node *node, int f, const char *field,
	const struct addr *addr, const char *expected)
{
	char text[ADDR_TEXT_MAX];

	return refuse(poolplan_complain(plan, "node", node->node->name, "%s%s is %s, %s",
		poolplan_family_name[f], field, addr_format(addr, text), expected));
}

/* Of one host that others can name: IPv6 link-local addresses need a zone beside them. */
static bool is_unicast(const struct addr *addr, int f)
{
	if (family_index(addr_family(addr)) != f || addr_is_multicast(addr) || addr_is_loopback(addr))
		return false;
	if (f == FAMILY_6)
		return !addr_is_link_local(addr);
	return addr_to_4(addr) >> 24 != 0 && addr_to_4(addr) >> 28 != 0xf;
}

static int judge_address(struct poolplan *plan, const struct poolplan_node *node, int f)
{
	const struct addr *addr = &node->node->address[f].addr;

	if (!prefix_is_set(&node->node->address[f]))
		return 0;
	if (!is_unicast(addr, f))
		return refuse_addr(plan, node, f, "Address", addr, "expected a unicast address of the node");
	if (poolplan_is_local(plan, addr))
		return refuse_addr(
			plan, node, f, "Address", addr, "which belongs to this node; expected another");
	return 1;
}

static int judge_tunnel(struct poolplan *plan, const struct poolplan_node *node, int f, const char *field,
	const struct addr *addr)
{
	if (!addr_is_set(addr))
		return 0;
	if (!is_unicast(addr, f))
		return refuse_addr(plan, node, f, field, addr, "expected a unicast address");
	if (poolplan_is_local(plan, addr))
		return refuse_addr(
			plan, node, f, field, addr, "which belongs to this node; expected another");
	return 1;
}

static int judge_mac(struct poolplan *plan, const struct poolplan_node *node, int f)
{
	const struct mac *mac = &node->node->vxlan_mac[f];
	char text[MAC_TEXT_MAX];

	if (!mac_is_set(mac) || (mac->b[0] & 1))
		return refuse(poolplan_complain(plan, "node", node->node->name,
			"VXLANTunnelMACAddr of %s is %s, expected a unicast MAC address",
			poolplan_family_name[f], mac_is_set(mac) ? mac_format(mac, text) : "missing"));
	if (mac_equal(mac, &plan->input->own->vxlan_mac[f]))
		return refuse(poolplan_complain(plan, "node", node->node->name,
			"VXLANTunnelMACAddr of %s is %s, which is this node's own; expected another",
			poolplan_family_name[f], mac_format(mac, text)));
	return 1;
}

/* -- against each other; a lower address among the nodes means an older node -- */

static int seniority_compare(const void *a, const void *b)
{
	const struct poolplan_node *one = a, *other = b;

	if (one->order != other->order)
		return one->order < other->order ? -1 : 1;
	return strcmp(one->node->name, other->node->name);
}

/* What no two nodes may share. */
enum claim { CLAIM_ADDRESS, CLAIM_VXLAN, CLAIM_MAC, CLAIM_IPIP };

struct claims {
	enum claim claim;
	int f;
};

static const void *claimed(const struct poolplan_node *node, const struct claims *claims)
{
	switch (claims->claim) {
	case CLAIM_ADDRESS:
		return &node->node->address[claims->f].addr;
	case CLAIM_VXLAN:
		return &node->node->vxlan_addr[claims->f];
	case CLAIM_IPIP:
		return &node->node->ipip_addr;
	case CLAIM_MAC:
		break;
	}
	return &node->node->vxlan_mac[claims->f];
}

static int claim_compare(
	const struct poolplan_node *one, const struct poolplan_node *other, const struct claims *claims)
{
	return memcmp(claimed(one, claims), claimed(other, claims),
		claims->claim == CLAIM_MAC ? sizeof(struct mac) : sizeof(struct addr));
}

static int by_claim(const void *a, const void *b, void *ctx)
{
	const struct poolplan_node *one = *(struct poolplan_node *const *)a,
				   *other = *(struct poolplan_node *const *)b;
	int d = claim_compare(one, other, ctx);

	return d ? d : one < other ? -1 : one > other;
}

/* Whether the node has it, as far as is known. */
static bool *stands(struct poolplan_node *node, enum claim claim, int f)
{
	switch (claim) {
	case CLAIM_ADDRESS:
		return &node->usable[f];
	case CLAIM_IPIP:
		return &node->ipip;
	case CLAIM_VXLAN:
	case CLAIM_MAC:
		break;
	}
	return &node->vtep[f];
}

static int refuse_claim(struct poolplan *plan, struct poolplan_node *node, const struct poolplan_node *holder,
	const struct claims *claims)
{
	static const char *const fields[] = {[CLAIM_ADDRESS] = "Address",
		[CLAIM_VXLAN] = "VXLANTunnelAddr",
		[CLAIM_MAC] = "VXLANTunnelMACAddr",
		[CLAIM_IPIP] = "IPIPTunnelAddr"};
	char text[ADDR_TEXT_MAX];

	if (claims->claim == CLAIM_MAC)
		mac_format(&node->node->vxlan_mac[claims->f], text);
	else
		addr_format(claimed(node, claims), text);
	*stands(node, claims->claim, claims->f) = false;
	return poolplan_complain(plan, "node", node->node->name,
		"%s%s is %s, expected another than that of node %s", poolplan_family_name[claims->f],
		fields[claims->claim], text, holder->node->name);
}

static int judge_claims(struct poolplan *plan, struct poolplan_node **some, enum claim claim, int f)
{
	struct claims claims = {.claim = claim, .f = f};
	const struct poolplan_node *holder = NULL;
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; i < plan->node_count; i++)
		if (*stands(&plan->nodes[i], claim, f))
			some[n++] = &plan->nodes[i];
	qsort_r(some, n, sizeof(*some), by_claim, &claims);
	for (size_t i = 0; i < n && r == 0; i++) {
		if (!holder || claim_compare(holder, some[i], &claims) != 0)
			holder = some[i];
		else
			r = refuse_claim(plan, some[i], holder, &claims);
	}
	return r;
}

/* -- all -- */

static int judge_vxlan(struct poolplan *plan, struct poolplan_node **some, int f)
{
	int r = 0;

	for (size_t i = 0; i < plan->node_count && r >= 0; i++) {
		struct poolplan_node *node = &plan->nodes[i];

		r = node->usable[f]
			    ? judge_tunnel(plan, node, f, "VXLANTunnelAddr", &node->node->vxlan_addr[f])
			    : 0;
		if (r > 0)
			r = judge_mac(plan, node, f);
		node->vtep[f] = r > 0;
	}
	if (r >= 0)
		r = judge_claims(plan, some, CLAIM_VXLAN, f);
	return r < 0 ? r : judge_claims(plan, some, CLAIM_MAC, f);
}

/* No route needs it. It only says whose it is. */
static int judge_ipip(struct poolplan *plan, struct poolplan_node **some)
{
	int r = 0;

	for (size_t i = 0; i < plan->node_count && r >= 0; i++) {
		struct poolplan_node *node = &plan->nodes[i];

		r = node->usable[FAMILY_4]
			    ? judge_tunnel(plan, node, FAMILY_4, "IPIPTunnelAddr", &node->node->ipip_addr)
			    : 0;
		node->ipip = r > 0;
	}
	return r < 0 ? r : judge_claims(plan, some, CLAIM_IPIP, FAMILY_4);
}

static int judge_family(struct poolplan *plan, struct poolplan_node **some, int f)
{
	int r = 0;

	for (size_t i = 0; i < plan->node_count && r >= 0; i++) {
		r = judge_address(plan, &plan->nodes[i], f);
		plan->nodes[i].usable[f] = r > 0;
	}
	if (r >= 0)
		r = judge_claims(plan, some, CLAIM_ADDRESS, f);
	if (r == 0 && plan->vxlan[f])
		r = judge_vxlan(plan, some, f);
	if (r == 0 && f == FAMILY_4 && plan->ipip)
		r = judge_ipip(plan, some);
	return r;
}

/* What no block may take away. */
static int list_taken(struct poolplan *plan)
{
	const struct plan_uplink *uplink = &plan->input->uplink;
	size_t n = 0;

	plan->taken = calloc((plan->node_count + 2) * FAMILY_COUNT, sizeof(*plan->taken));
	if (!plan->taken)
		return -ENOMEM;
	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (addr_is_set(&uplink->addr[f]))
			plan->taken[n++] = uplink->addr[f];
		if (plan->active[f])
			plan->taken[n++] = plan->input->own->address[f].addr;
		for (size_t i = 0; i < plan->node_count; i++)
			if (plan->nodes[i].usable[f])
				plan->taken[n++] = plan->nodes[i].node->address[f].addr;
	}
	qsort(plan->taken, n, sizeof(*plan->taken), poolplan_addr_compare);
	plan->taken_count = n;
	return 0;
}

/* -- by name: open addressing, at most half full -- */

/* FNV-1a. */
static size_t hash(const char *name)
{
	uint64_t h = 0xcbf29ce484222325;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 0x100000001b3;
	return (size_t)(h ^ h >> 32);
}

static struct poolplan_node **slot_of(const struct poolplan *plan, const char *name)
{
	size_t i = hash(name) & (plan->slot_count - 1);

	while (plan->slots[i] && strcmp(plan->slots[i]->node->name, name) != 0)
		i = (i + 1) & (plan->slot_count - 1);
	return &plan->slots[i];
}

static int list_names(struct poolplan *plan)
{
	for (plan->slot_count = 16; plan->slot_count < plan->node_count * 2; plan->slot_count *= 2)
		;
	plan->slots = calloc(plan->slot_count, sizeof(struct poolplan_node *));
	if (!plan->slots)
		return -ENOMEM;
	for (size_t i = 0; i < plan->node_count; i++) {
		struct poolplan_node **slot = slot_of(plan, plan->nodes[i].node->name);

		if (!*slot)
			*slot = &plan->nodes[i];
	}
	return 0;
}

struct poolplan_node *poolplan_find_node(const struct poolplan *plan, const char *name)
{
	return *slot_of(plan, name);
}

/* -- all -- */

static int list_nodes(struct poolplan *plan)
{
	const struct plan_pools_input *input = plan->input;

	plan->nodes = calloc(input->node_count + 1, sizeof(*plan->nodes));
	if (!plan->nodes)
		return -ENOMEM;
	for (size_t i = 0; i < input->node_count; i++)
		if (strcmp(input->nodes[i].node->name, input->name) != 0)
			plan->nodes[plan->node_count++] = (struct poolplan_node){
				.node = input->nodes[i].node, .order = input->nodes[i].order};
	qsort(plan->nodes, plan->node_count, sizeof(*plan->nodes), seniority_compare);
	return list_names(plan);
}

int poolplan_judge_nodes(struct poolplan *plan)
{
	_cleanup_free_ struct poolplan_node **some = calloc(plan->input->node_count + 1, sizeof(*some));
	int r = some ? list_nodes(plan) : -ENOMEM;

	for (int f = 0; f < FAMILY_COUNT && r == 0; f++)
		if (plan->active[f])
			r = judge_family(plan, some, f);
	return r == 0 ? list_taken(plan) : r;
}
