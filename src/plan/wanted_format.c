/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/wanted.h"

static void add_addr(struct buf *buf, const char *word, const struct addr *addr)
{
	char text[ADDR_TEXT_MAX];

	if (addr_is_set(addr))
		buf_printf(buf, " %s %s", word, addr_format(addr, text));
}

static void add_prefix(struct buf *buf, const char *word, const struct prefix *prefix)
{
	char text[PREFIX_TEXT_MAX];

	if (prefix_is_set(prefix))
		buf_printf(buf, "%s%s", word, prefix_format(prefix, text));
}

static void format_link(const struct wanted_link *link, struct buf *buf)
{
	char mac[MAC_TEXT_MAX];

	if (link->kind == LINK_VXLAN) {
		buf_printf(buf, "link %s vxlan mtu %u mac %s vni %u port %u%s%s%s lower %s", link->name,
			link->mtu, mac_format(&link->mac, mac), link->vni, link->port,
			link->port_configured ? " configured" : "", link->gbp ? " gbp" : "",
			link->learning ? " learning" : "", link->lower);
		add_addr(buf, "local", &link->local);
	} else {
		buf_printf(buf, "link %s %s mtu %u", link->name, link->kind == LINK_IPIP ? "ipip" : "carrier",
			link->mtu);
	}
	for (int f = 0; f < FAMILY_COUNT; f++) {
		add_prefix(buf, " addr ", &link->addr[f]);
		add_prefix(buf, " foreign ", &link->foreign[f]);
	}
	buf_add_str(buf, "\n");
}

static void format_route(const struct wanted_route *route, struct buf *buf)
{
	add_prefix(buf, route->kind == ROUTE_BLACKHOLE ? "blackhole " : "route ", &route->dst);
	add_addr(buf, "via", &route->via);
	if (route->dev[0])
		buf_printf(buf, " dev %s", route->dev);
	add_addr(buf, "src", &route->source);
	if (route->metric)
		buf_printf(buf, " metric %u", route->metric);
	buf_add_str(buf, route->onlink ? " onlink\n" : "\n");
}

static void format_carrier(const struct wanted_carrier *carrier, struct buf *buf)
{
	char text[PREFIX_TEXT_MAX];

	if (!carrier->enabled)
		return;
	if (carrier->kind == CARRIER_IPIP)
		buf_printf(buf, "carrier ipip uplink %s", carrier->uplink);
	else
		buf_printf(buf, "carrier port %u uplink %s", carrier->port, carrier->uplink);
	for (int f = 0; f < FAMILY_COUNT; f++)
		add_addr(buf, "local", &carrier->local[f]);
	for (int f = 0; f < FAMILY_COUNT; f++)
		add_prefix(buf, " own ", &carrier->own[f]);
	buf_add_str(buf, "\n");
	for (size_t i = 0; i < carrier->tunnel_count; i++) {
		buf_printf(buf, "tunnel %s", prefix_format(&carrier->tunnels[i].dst, text));
		add_addr(buf, "peer", &carrier->tunnels[i].peer);
		buf_add_str(buf, "\n");
	}
}

static void format_guard(const struct wanted_guard *guard, struct buf *buf)
{
	bool vxlan = guard->vxlan[FAMILY_4] || guard->vxlan[FAMILY_6];
	char text[PREFIX_TEXT_MAX];

	if (!vxlan && !guard->ipip)
		return;
	buf_add_str(buf, "guard");
	if (vxlan)
		buf_printf(buf, " vxlan%s%s port %u vni %u", guard->vxlan[FAMILY_4] ? " ipv4" : "",
			guard->vxlan[FAMILY_6] ? " ipv6" : "", guard->port, guard->vni);
	buf_printf(buf, "%s uplink %s%s\n", guard->ipip ? " ipip" : "", guard->uplink,
		guard->keep_stale ? " keep" : "");
	for (size_t i = 0; i < guard->pool_count; i++)
		buf_printf(buf, "guard pool %s\n", prefix_format(&guard->pools[i], text));
	for (size_t i = 0; i < guard->node_count; i++)
		buf_printf(buf, "guard node %s\n", addr_format(&guard->nodes[i], text));
	for (size_t i = 0; i < guard->external_count; i++)
		buf_printf(buf, "guard external %s\n", prefix_format(&guard->externals[i], text));
	for (size_t i = 0; i < guard->source_count; i++) {
		buf_printf(buf, "guard source %s", prefix_format(&guard->sources[i].dst, text));
		add_addr(buf, "peer", &guard->sources[i].peer);
		buf_add_str(buf, "\n");
	}
}

static void format_forward(const struct wanted *wanted, struct buf *buf)
{
	char text[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < wanted->forward_count; i++)
		buf_printf(buf, "forward %s\n", prefix_format(&wanted->forwards[i], text));
}

void wanted_format(const struct wanted *wanted, struct buf *buf)
{
	char addr[ADDR_TEXT_MAX], mac[MAC_TEXT_MAX];

	for (size_t i = 0; i < wanted->link_count; i++)
		format_link(&wanted->links[i], buf);
	for (size_t i = 0; i < wanted->neigh_count; i++)
		buf_printf(buf, "neigh %s mac %s dev %s\n", addr_format(&wanted->neighs[i].addr, addr),
			mac_format(&wanted->neighs[i].mac, mac), wanted->neighs[i].dev);
	for (size_t i = 0; i < wanted->fdb_count; i++)
		buf_printf(buf, "fdb %s dst %s dev %s\n", mac_format(&wanted->fdbs[i].mac, mac),
			addr_format(&wanted->fdbs[i].dst, addr), wanted->fdbs[i].dev);
	for (size_t i = 0; i < wanted->route_count; i++)
		format_route(&wanted->routes[i], buf);
	format_carrier(&wanted->carrier, buf);
	format_guard(&wanted->guard, buf);
	format_forward(wanted, buf);
	if (wanted->protocol)
		buf_printf(buf, "protocol %u\n", wanted->protocol);
	buf_printf(buf, "sweep %s\n", wanted->sweep ? "yes" : "no");
	if (wanted->keep_nft)
		buf_add_str(buf, "nft: a table that stands stays\n");
	buf_add(buf, buf_text(&wanted->nft), wanted->nft.len);
}
