/* SPDX-License-Identifier: Apache-2.0
 *
 * The way of a flow from this node on: by the kernel's own routes, which the express path only shortens (path.c).
 */
#include "agent/policy/internal.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_masqueraded(const struct policer *policer, const struct addr *src, const struct addr *dst, bool node, const char *device)
{
	const struct agent *agent = policer->agent;
	const struct prefix *cidr = &agent->network.pool[family_index(addr_family(src))].cidr;

	if (agent->calico)
		return calico_masquerades(agent->calico, src, dst, node, device);
	if (!agent->options.ip_masq || !agent->have_network || !prefix_is_set(cidr) || !prefix_contains(cidr, src) ||
		prefix_contains(cidr, dst) || addr_is_multicast(dst))
		return false;
	for (size_t i = 0; i < agent->non_masquerade_count; i++)
		if (prefix_contains(&agent->non_masquerade[i], dst))
			return false;
	return true;
}

static const char *encapsulation_of(const struct plane_link *link)
{
	if (strcmp(link->name, PLAN_CARRIER_NAME) == 0)
		return "udp";
	if (strcmp(link->name, "tunl0") == 0)
		return "ipip";
	return strcmp(link->kind, "vxlan") == 0 ? "vxlan" : strcmp(link->kind, "wireguard") == 0 ? "wireguard" : "none";
}

static void add_device(json_t *json, uint32_t index)
{
	_cleanup_free_ struct plane_link *links = NULL;
	size_t count = 0;

	json_object_set_new(json, "device", json_string(""));
	if (plane_list_links(&links, &count, NULL) < 0)
		return;
	for (size_t i = 0; i < count; i++)
		if (links[i].index == index) {
			json_object_set_new(json, "device", json_string(links[i].name));
			json_object_set_new(json, "encapsulation", json_string(encapsulation_of(&links[i])));
			json_object_set_new(json, "mtu", json_integer(links[i].mtu));
		}
}

/* Of a tunnel: how its packets come to the other node. */
static void add_underlay(const struct policer *policer, const char *node, const struct addr *dst, json_t *json)
{
	const char *encapsulation = json_string_value(json_object_get(json, "encapsulation"));
	struct flow_end end = {0};
	struct plane_route route;
	const struct addr *addr;
	char text[ADDR_TEXT_MAX];
	json_t *underlay;

	if (!node || !encapsulation || strcmp(encapsulation, "none") == 0 || !ends_find_node(policer, node, &end))
		return;
	addr = &end.addr[family_index(addr_family(dst))];
	if (!addr_is_set(addr))
		addr = &end.addr[!family_index(addr_family(dst))];
	if (plane_route_get(addr, &route, NULL) < 0)
		return;
	underlay = json_pack("{s:s}", "to", addr_format(addr, text));
	add_device(underlay, route.index);
	json_object_del(underlay, "encapsulation");
	if (addr_is_set(&route.via))
		json_object_set_new(underlay, "via", json_string(addr_format(&route.via, text)));
	json_object_set_new(json, "underlay", underlay);
}

/* By the kernel's own routes, from this node on. */
static json_t *way_out(const struct policer *policer, const struct flow_end *to, const struct addr *src, const struct addr *dst)
{
	struct plane_route route = {0};
	struct err err = ERR_INIT;
	char text[ADDR_TEXT_MAX];
	const char *node = to->node;
	json_t *json;

	if (plane_route_get(dst, &route, &err) < 0)
		return json_pack("{s:s, s:s}", "kind", "none", "why", err_text(&err));
	json = json_pack("{s:s}", "kind", "route");
	add_device(json, route.index);
	if (addr_is_set(&route.via))
		json_object_set_new(json, "via", json_string(addr_format(&route.via, text)));
	if (!node && addr_is_set(&route.via) && policer->verdicts)
		node = verdicts_node_at(policer->verdicts, &route.via);
	if (node)
		json_object_set_new(json, "node", json_string(node));
	add_underlay(policer, node, dst, json);
	json_object_set_new(json, "masqueraded", json_boolean(is_masqueraded(policer, src, dst, strcmp(to->who.kind, "node") == 0,
		json_string_value(json_object_get(json, "device")))));
	return json;
}

json_t *way_json(const struct policer *policer, const struct flow_end *from, const struct flow_end *to, const struct addr *src,
	const struct addr *dst)
{
	json_t *json;

	if (from->here && !to->here)
		return way_out(policer, to, src, dst);
	if (!from->here && !to->here)
		return json_pack("{s:s}", "kind", "elsewhere");
	json = json_pack("{s:s}", "kind", from->here ? "same-node" : "from-outside");
	if (from->interface)
		json_object_set_new(json, "from", json_string(from->interface));
	if (to->interface)
		json_object_set_new(json, "to", json_string(to->interface));
	return json;
}

json_t *way_nodes(const struct flow_end *from, const struct flow_end *to, const json_t *way)
{
	const char *next = json_string_value(json_object_get(way, "node"));
	const char *first = from->node ? from->node : strcmp(from->who.kind, "outside") == 0 ? "outside" : "?";
	const char *last = to->node ? to->node : next ? next : strcmp(to->who.kind, "pod-address") == 0 ? "?" : "outside";
	json_t *path = json_array();

	json_array_append_new(path, json_string(first));
	if (strcmp(first, last) != 0)
		json_array_append_new(path, json_string(last));
	return path;
}
