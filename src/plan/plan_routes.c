/* SPDX-License-Identifier: Apache-2.0
 *
 * Plain routes: Flannel's host-gw backend (reference/flannel.md 4.2), and vxlan's DirectRouting.
 */
#include "plan/plan_internal.h"

#include <string.h>

int plan_direct_route(
	const struct plan_input *input, const struct plan_peer *peer, int f, struct plan_result *result)
{
	struct wanted_route route = {
		.dst = peer->lease->subnet[f],
		.via = peer->lease->public_ip[f],
		.kind = ROUTE_UNICAST,
	};

	memcpy(route.dev, input->uplink.name, sizeof(route.dev));
	return wanted_add_route(&result->wanted, &route);
}

int plan_routes(const struct plan_input *input, const struct plan_peer *peers, size_t count,
	struct plan_result *result)
{
	int r = 0;

	for (size_t i = 0; i < count; i++)
		for (int f = 0; f < FAMILY_COUNT && r == 0; f++)
			if (peers[i].served[f])
				r = plan_direct_route(input, &peers[i], f, result);
	return r;
}
