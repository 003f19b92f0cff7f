/* SPDX-License-Identifier: Apache-2.0
 *
 * The guard of Flannel's vxlan, if it is asked for: which node may send from which addresses. Flannel itself lets every
 * host that reaches the port put packets on the overlay, and a lease does not say from which address its node sends: it is
 * not the published one where that is made by address translation.
 */
#include "plan/plan_internal.h"

#include <string.h>

/* A block, and the node's own address: both come from that node only. */
static int add_node(struct wanted *wanted, const struct prefix *subnet, const struct addr *public_ip)
{
	struct prefix host = prefix_host(public_ip);
	int r = wanted_add_source(wanted, subnet, public_ip);

	return r == 0 ? wanted_add_source(wanted, &host, public_ip) : r;
}

static int add_family(const struct plan_input *input, const struct plan_peer *peers, size_t count, int f,
	struct wanted *wanted)
{
	int r;

	wanted->guard.vxlan[f] = true;
	r = wanted_add_pool(wanted, &input->network->pool[f].cidr);
	if (r == 0)
		r = add_node(wanted, &input->own->subnet[f], &input->public_ip[f]);
	for (size_t i = 0; i < count && r == 0; i++) {
		const struct lease *lease = peers[i].lease;

		if (!peers[i].served[f])
			continue;
		r = wanted_add_node(wanted, &lease->public_ip[f]);
		if (r == 0)
			r = add_node(wanted, &lease->subnet[f], &lease->public_ip[f]);
	}
	return r;
}

int plan_guard(const struct plan_input *input, const struct plan_peer *peers, size_t count,
	struct plan_result *result)
{
	struct wanted_guard *guard = &result->wanted.guard;
	int r = 0;

	if (!input->options.vxlan_guard)
		return 0;
	guard->port = network_port(input->network);
	guard->vni = input->network->vni;
	guard->keep_stale = !input->peers_complete;
	memcpy(guard->uplink, input->uplink.name, sizeof(guard->uplink));
	for (int f = 0; f < FAMILY_COUNT && r == 0; f++)
		if (plan_has(input, f))
			r = add_family(input, peers, count, f, &result->wanted);
	return r;
}
