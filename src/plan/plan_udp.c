/* SPDX-License-Identifier: Apache-2.0
 *
 * Flannel's udp backend (reference/flannel.md 4.3) on a carrier: one device for both families, a route and a
 * tunnel for each peer's block. Each family travels in packets of its own kind.
 */
#include "plan/plan_internal.h"

#include <string.h>

static int add_device(const struct plan_input *input, struct wanted *wanted)
{
	struct wanted_link link = {
		.name = PLAN_CARRIER_NAME,
		.kind = LINK_CARRIER,
		.mtu = network_pod_mtu(input->network, input->uplink.mtu),
	};
	struct wanted_carrier *carrier = &wanted->carrier;

	carrier->enabled = true;
	carrier->port = network_port(input->network);
	memcpy(carrier->uplink, input->uplink.name, sizeof(carrier->uplink));
	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (!plan_has(input, f))
			continue;
		link.addr[f] = prefix_host(&input->own->subnet[f].addr);
		link.foreign[f] = input->network->pool[f].cidr;
		/* what we publish may be the far side of a NAT: packets leave with the interface's own
		 * address */
		carrier->local[f] =
			addr_is_set(&input->uplink.addr[f]) ? input->uplink.addr[f] : input->public_ip[f];
		carrier->own[f] = input->own->subnet[f];
	}
	return wanted_add_link(wanted, &link);
}

static int add_peer(const struct lease *lease, int f, struct wanted *wanted)
{
	struct wanted_route route = {
		.dst = lease->subnet[f], .dev = PLAN_CARRIER_NAME, .kind = ROUTE_UNICAST};
	struct wanted_tunnel tunnel = {.dst = lease->subnet[f], .peer = lease->public_ip[f]};
	int r = wanted_add_tunnel(wanted, &tunnel);

	return r == 0 ? wanted_add_route(wanted, &route) : r;
}

int plan_udp(const struct plan_input *input, const struct plan_peer *peers, size_t count,
	struct plan_result *result)
{
	int r = add_device(input, &result->wanted);

	for (size_t i = 0; i < count; i++)
		for (int f = 0; f < FAMILY_COUNT && r == 0; f++)
			if (peers[i].served[f])
				r = add_peer(peers[i].lease, f, &result->wanted);
	return r;
}
