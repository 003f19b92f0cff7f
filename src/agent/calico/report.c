/* SPDX-License-Identifier: Apache-2.0
 *
 * What "tullectl status" shows of Calico's half.
 */
#include "agent/calico/internal.h"

#include <string.h>

/* "vxlan", "vxlan across subnets", "ipip", … */
static const char *encapsulation(const struct ippool *pool)
{
	static const char *const names[2][3] = {
		{"none", "ipip", "ipip across subnets"},
		{"none", "vxlan", "vxlan across subnets"},
	};

	return pool->vxlan != ENCAP_NEVER ? names[1][pool->vxlan] : names[0][pool->ipip];
}

static json_t *show_pools(const struct calico *calico)
{
	json_t *list = json_array();
	char text[PREFIX_TEXT_MAX];

	for (size_t i = 0; calico->pools && i < calico->pools->count; i++) {
		const struct ippool *pool = calico->pools->items[i];

		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:b, s:b}", "name", pool->name, "cidr",
			prefix_format(&pool->cidr, text), "encapsulation", encapsulation(pool), "natOutgoing", pool->nat_outgoing,
			"disabled", pool->disabled));
	}
	return list;
}

static json_t *show_blocks(const struct calico *calico)
{
	const struct collection *blocks = cluster_part(calico->store, CLUSTER_BLOCKS);
	json_t *list = json_array();
	char text[PREFIX_TEXT_MAX];

	for (const struct collection_item *item = NULL; (item = collection_next(blocks, item));) {
		const struct block *block = item->object;

		if (block->node && strcmp(block->node, calico->agent->options.node_name) == 0)
			json_array_append_new(list, json_string(prefix_format(&block->cidr, text)));
	}
	return list;
}

static json_t *show_tunnels(const struct calico *calico)
{
	json_t *tunnels = json_object();
	char text[ADDR_TEXT_MAX];

	for (int i = 0; i < IPAM_TUNNEL_COUNT; i++)
		if (addr_is_set(&calico->tunnels[i].addr))
			json_object_set_new(tunnels, ipam_tunnel_type(i), json_string(addr_format(&calico->tunnels[i].addr, text)));
	return tunnels;
}

json_t *calico_status(const struct calico *calico)
{
	json_t *json = json_object();

	json_object_set_new(json, "pools", show_pools(calico));
	json_object_set_new(json, "ownBlocks", show_blocks(calico));
	json_object_set_new(json, "blocks",
		json_integer((json_int_t)collection_count(cluster_part(calico->store, CLUSTER_BLOCKS))));
	json_object_set_new(json, "nodes",
		json_integer((json_int_t)collection_count(cluster_part(calico->store, CLUSTER_NODES))));
	json_object_set_new(json, "tunnels", show_tunnels(calico));
	json_object_set_new(json, "podMTU", json_integer(calico->pod_mtu));
	json_object_set_new(json, "synced", json_boolean(cluster_is_complete(calico->store)));
	return json;
}
