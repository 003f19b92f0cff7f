/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/express.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VXLAN_DEFAULT_PORT 8472

static const struct wanted_link *find_link(const struct wanted *wanted, const char *name)
{
	for (size_t i = 0; i < wanted->link_count; i++)
		if (strcmp(wanted->links[i].name, name) == 0)
			return &wanted->links[i];
	return NULL;
}

/* Who stands for the route's gateway. */
static bool find_vtep(const struct wanted *wanted, const struct wanted_route *route, struct express_block *block)
{
	struct wanted_neigh neigh_key = {.addr = addr_is_set(&route->via) ? route->via : route->dst.addr};
	const struct wanted_neigh *neigh;
	struct wanted_fdb fdb_key = {0};
	const struct wanted_fdb *fdb;

	memcpy(neigh_key.dev, route->dev, sizeof(neigh_key.dev));
	neigh = bsearch(&neigh_key, wanted->neighs, wanted->neigh_count, sizeof(*neigh), wanted_neigh_compare);
	if (!neigh)
		return false;
	fdb_key.mac = neigh->mac;
	memcpy(fdb_key.dev, route->dev, sizeof(fdb_key.dev));
	fdb = bsearch(&fdb_key, wanted->fdbs, wanted->fdb_count, sizeof(*fdb), wanted_fdb_compare);
	if (!fdb)
		return false;
	block->node = fdb->dst;
	block->node_mac = neigh->mac;
	return true;
}

static int by_dst(const void *a, const void *b)
{
	return prefix_compare(&((const struct wanted_tunnel *)a)->dst, &((const struct wanted_tunnel *)b)->dst);
}

static bool find_tunnel(const struct wanted *wanted, const struct wanted_route *route, struct express_block *block)
{
	struct wanted_tunnel key = {.dst = route->dst};
	const struct wanted_tunnel *tunnel =
		bsearch(&key, wanted->carrier.tunnels, wanted->carrier.tunnel_count, sizeof(key), by_dst);

	if (!tunnel)
		return false;
	block->node = tunnel->peer;
	block->encap = wanted->carrier.kind == CARRIER_IPIP ? EXPRESS_ENCAP_IPIP : EXPRESS_ENCAP_UDP;
	block->local = wanted->carrier.local[family_index(route->dst.family)];
	return true;
}

/* False: that way is the kernel's alone. Outer IPv6 is: its UDP needs sums that cost more than they save. */
static bool through_link(const struct wanted *wanted, const struct wanted_route *route, const struct wanted_link *link,
	struct express_block *block)
{
	block->mtu = link->mtu;
	if (route->dst.family != AF_INET)
		return false;
	switch (link->kind) {
	case LINK_VXLAN:
		block->encap = EXPRESS_ENCAP_VXLAN;
		block->local = link->local;
		block->mac = link->mac;
		return !link->gbp && addr_family(&link->local) == AF_INET && find_vtep(wanted, route, block) &&
			addr_family(&block->node) == AF_INET;
	case LINK_IPIP:
		block->encap = EXPRESS_ENCAP_IPIP;
		block->node = route->via;
		return addr_is_set(&route->via);
	case LINK_CARRIER:
		return find_tunnel(wanted, route, block);
	}
	return false;
}

static bool read_route(const struct wanted *wanted, const struct wanted_route *route, struct express_block *ret)
{
	const struct wanted_link *link = find_link(wanted, route->dev);
	struct express_block block = {.dst = route->dst, .node = route->via};

	if (route->kind != ROUTE_UNICAST || !(link ? through_link(wanted, route, link, &block) : addr_is_set(&route->via)))
		return false;
	*ret = block;
	return true;
}

static void read_links(const struct wanted *wanted, struct express_plan *plan)
{
	for (size_t i = 0; i < wanted->link_count; i++) {
		const struct wanted_link *link = &wanted->links[i];

		if (link->kind != LINK_VXLAN || addr_family(&link->local) != AF_INET)
			continue;
		plan->vni = link->vni;
		plan->vxlan_port = link->port ? link->port : VXLAN_DEFAULT_PORT;
		plan->vxlan_local = link->local;
	}
	if (wanted->carrier.enabled) {
		plan->udp_port = wanted->carrier.kind == CARRIER_UDP ? wanted->carrier.port : 0;
		plan->carrier_local = wanted->carrier.local[FAMILY_4];
	}
}

int express_plan_build(const struct wanted *wanted, struct express_plan *ret)
{
	struct express_plan plan = {.blocks = calloc(wanted->route_count + 1, sizeof(*plan.blocks))};

	if (!plan.blocks)
		return -ENOMEM;
	for (size_t i = 0; i < wanted->route_count; i++)
		if (read_route(wanted, &wanted->routes[i], &plan.blocks[plan.count]))
			plan.count++;
	read_links(wanted, &plan);
	*ret = plan;
	return 0;
}

static bool block_equal(const struct express_block *a, const struct express_block *b)
{
	return prefix_equal(&a->dst, &b->dst) && a->encap == b->encap && addr_equal(&a->node, &b->node) && addr_equal(&a->local, &b->local) &&
		mac_equal(&a->mac, &b->mac) && mac_equal(&a->node_mac, &b->node_mac) && a->mtu == b->mtu;
}

bool express_plan_equal(const struct express_plan *a, const struct express_plan *b)
{
	if (a->count != b->count || a->vni != b->vni || a->vxlan_port != b->vxlan_port || a->udp_port != b->udp_port ||
		!addr_equal(&a->vxlan_local, &b->vxlan_local) || !addr_equal(&a->carrier_local, &b->carrier_local))
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (!block_equal(&a->blocks[i], &b->blocks[i]))
			return false;
	return true;
}

void express_plan_done(struct express_plan *plan)
{
	free(plan->blocks);
	*plan = (struct express_plan){0};
}
