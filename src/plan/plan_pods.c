/* SPDX-License-Identifier: Apache-2.0
 *
 * This node's own pods: a host route and a permanent neighbour for each address, and the blackhole behind
 * them.
 */
#include "plan/plan_internal.h"

#include <string.h>

static int add_address(const struct plan_pod *pod, const struct addr *addr, struct wanted *wanted)
{
	struct wanted_route route = {.dst = prefix_host(addr), .kind = ROUTE_UNICAST};
	struct wanted_neigh neigh = {.addr = *addr, .mac = pod->mac};
	int r = 0;

	memcpy(route.dev, pod->host_ifname, sizeof(route.dev));
	memcpy(neigh.dev, pod->host_ifname, sizeof(neigh.dev));
	if (mac_is_set(&pod->mac))
		r = wanted_add_neigh(wanted, &neigh);
	return r == 0 ? wanted_add_route(wanted, &route) : r;
}

/* What is behind no pod must not leave by the default route and come back. At the lowest precedence: where a bridge of
 * Flannel's still owns the block, its connected route goes first. */
static int add_blackholes(const struct plan_input *input, struct wanted *wanted)
{
	int r = 0;

	for (int f = 0; f < FAMILY_COUNT && r == 0; f++) {
		struct wanted_route route = {.dst = input->own->subnet[f], .kind = ROUTE_BLACKHOLE};

		if (plan_has(input, f))
			r = wanted_add_route(wanted, &route);
	}
	return r;
}

int plan_pod_routes(const struct plan_pod *pods, size_t count, struct wanted *wanted)
{
	int r = 0;

	for (size_t i = 0; i < count; i++)
		for (int f = 0; f < FAMILY_COUNT && r == 0; f++)
			if (addr_is_set(&pods[i].addr[f]))
				r = add_address(&pods[i], &pods[i].addr[f], wanted);
	return r;
}

int plan_pods(const struct plan_input *input, struct plan_result *result)
{
	int r = input->network->routed || input->options.blackhole ? add_blackholes(input, &result->wanted) : 0;

	return r == 0 ? plan_pod_routes(input->pods, input->pod_count, &result->wanted) : r;
}
