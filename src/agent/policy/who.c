/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/policy/internal.h"

#include <stdio.h>
#include <string.h>

const struct local_pod *who_has_interface(const struct policer *policer, uint32_t ifindex)
{
	for (const struct local_pod *local = policer->pods; local; local = local->hh.next)
		if (local->pod.ifindex == ifindex)
			return local;
	return NULL;
}

struct addr who_addr(const struct packet_addr *at)
{
	struct addr addr;

	memcpy(&addr, at, sizeof(addr));
	return addr;
}

static bool is_pods_range(const struct policer *policer, const struct addr *addr)
{
	for (size_t i = 0; i < policer->range_count; i++)
		if (prefix_contains(&policer->ranges[i], addr))
			return true;
	return false;
}

/* Nodes come first: pods of the node's network have its address. */
void who_at(const struct policer *policer, const struct addr *addr, struct who *ret)
{
	const char *node = verdicts_node_at(policer->verdicts, addr);
	const struct endpoint *endpoint = node ? NULL : verdicts_endpoint_at(policer->verdicts, addr);
	const struct network_set *set;

	*ret = (struct who){.kind = "outside"};
	if (node) {
		*ret = (struct who){.kind = "node", .name = node};
	} else if (endpoint && endpoint->host) {
		*ret = (struct who){.kind = "host-endpoint", .name = endpoint->name};
	} else if (endpoint) {
		*ret = (struct who){.kind = "pod", .namespace = endpoint->namespace, .name = endpoint->name};
	} else if (is_pods_range(policer, addr)) {
		ret->kind = "pod-address";
	} else {
		set = verdicts_set_at(policer->verdicts, addr);
		if (set)
			*ret = (struct who){.kind = "network-set", .namespace = set->namespace, .name = set->name};
	}
}

json_t *who_json(const struct who *who, const struct addr *addr)
{
	char text[ADDR_TEXT_MAX], name[600];
	json_t *json = json_pack("{s:s}", "kind", who->kind);

	snprintf(name, sizeof(name), "%s%s%s", who->namespace ? who->namespace : "", who->namespace ? "/" : "", who->name ? who->name : "");
	if (*name)
		json_object_set_new(json, "name", json_string(name));
	if (addr_is_set(addr))
		json_object_set_new(json, "ip", json_string(addr_format(addr, text)));
	return json;
}
