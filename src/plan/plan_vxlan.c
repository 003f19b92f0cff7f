/* SPDX-License-Identifier: Apache-2.0
 *
 * Flannel's vxlan backend (reference/flannel.md 4.1): one device a family; for each peer a neighbour that
 * stands for its block, an FDB entry that says where its MAC lives, and a route.
 */
#include "plan/plan_internal.h"
#include "plan/pools.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void plan_vxlan_name(uint32_t vni, int family_index, char name[IFNAMSIZ])
{
	const char *suffix = family_index == FAMILY_4 ? "" : "-v6";

	if (snprintf(name, IFNAMSIZ, "flannel%s.%u", suffix, vni) >= IFNAMSIZ)
		snprintf(name, IFNAMSIZ, "fl%s.%u", suffix, vni);
}

bool plan_is_tunnel_name(const char *name)
{
	static const char *const starts[] = {"flannel.", "flannel-v6.", "fl.", "fl-v6."};
	static const char *const names[] = {
		PLAN_CARRIER_NAME, PLAN_TUNNEL_IPIP, PLAN_TUNNEL_VXLAN, PLAN_TUNNEL_VXLAN6};

	for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
		size_t len = strlen(starts[i]);

		if (strncmp(name, starts[i], len) == 0 && name[len] && !name[len + strspn(name + len, "0123456789")])
			return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

static int add_device(const struct plan_input *input, int f, const char *name, struct wanted *wanted)
{
	const struct network *network = input->network;
	unsigned overhead = network_overhead(network, f == FAMILY_4 ? AF_INET : AF_INET6);
	unsigned outer = plan_outer_mtu(input);
	struct wanted_link link = {
		.kind = LINK_VXLAN,
		.mtu = outer > overhead ? outer - overhead : 0,
		.mac = input->vtep_mac[f],
		.vni = network->vni,
		.port = network_port(network),
		.port_configured = network->port != 0,
		.gbp = network->gbp,
		.learning = network->learning,
		.local = addr_is_set(&input->uplink.source[f]) ? input->uplink.source[f] : input->public_ip[f],
	};

	memcpy(link.name, name, sizeof(link.name));
	memcpy(link.lower, input->uplink.name, sizeof(link.lower));
	link.addr[f] = prefix_host(&input->own->subnet[f].addr);
	link.foreign[f] = network->pool[f].cidr;
	return wanted_add_link(wanted, &link);
}

static int add_peer(const struct lease *lease, int f, const char *name, struct wanted *wanted)
{
	const struct prefix *subnet = &lease->subnet[f];
	struct wanted_neigh neigh = {.addr = subnet->addr, .mac = lease->vtep_mac[f]};
	struct wanted_fdb fdb = {.mac = lease->vtep_mac[f], .dst = lease->public_ip[f]};
	struct wanted_route route = {
		.dst = *subnet, .via = subnet->addr, .kind = ROUTE_UNICAST, .onlink = true};
	int r;

	memcpy(neigh.dev, name, sizeof(neigh.dev));
	memcpy(fdb.dev, name, sizeof(fdb.dev));
	memcpy(route.dev, name, sizeof(route.dev));
	r = wanted_add_neigh(wanted, &neigh);
	if (r == 0)
		r = wanted_add_fdb(wanted, &fdb);
	if (r == 0)
		r = wanted_add_route(wanted, &route);
	return r;
}

int plan_vxlan(const struct plan_input *input, const struct plan_peer *peers, size_t count,
	struct plan_result *result)
{
	char name[IFNAMSIZ] = "";
	int r = 0;

	for (int f = 0; f < FAMILY_COUNT && r == 0; f++) {
		if (!plan_has(input, f))
			continue;
		plan_vxlan_name(input->network->vni, f, name);
		r = add_device(input, f, name, &result->wanted);
		for (size_t i = 0; i < count && r == 0; i++) {
			if (peers[i].served[f] && peers[i].direct[f])
				r = plan_direct_route(input, &peers[i], f, result);
			else if (peers[i].served[f])
				r = add_peer(peers[i].lease, f, name, &result->wanted);
		}
	}
	return r;
}
