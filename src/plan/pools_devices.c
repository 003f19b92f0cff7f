/* SPDX-License-Identifier: Apache-2.0
 *
 * Calico's tunnel devices (reference/calico.md 5.5), and the neighbours and FDB entries of vxlan: one of each
 * for every node whose device can be reached, whether it holds blocks or not.
 */
#include "plan/pools_internal.h"

#include <string.h>

/* Every other address of the device is removed. */
static struct prefix everything(int f)
{
	const struct addr zero = {0}, zero4 = addr_from_4(0);

	return prefix_make(f == FAMILY_4 ? &zero4 : &zero, 0);
}

static void vxlan_name(int f, char name[IFNAMSIZ])
{
	strcpy(name, f == FAMILY_4 ? PLAN_TUNNEL_VXLAN : PLAN_TUNNEL_VXLAN6);
}

static int add_vxlan(struct poolplan *plan, int f)
{
	const struct plan_pools_input *input = plan->input;
	struct wanted_link link = {
		.kind = LINK_VXLAN,
		.mtu = plan->mtu.vxlan[f],
		.mac = input->own->vxlan_mac[f],
		.vni = input->felix->vxlan_vni,
		.port = input->felix->vxlan_port,
		.port_configured = true,
		/* other nodes take packets from exactly the address that we publish */
		.local = input->own->address[f].addr,
	};

	vxlan_name(f, link.name);
	memcpy(link.lower, input->uplink.name, sizeof(link.lower));
	link.addr[f] = prefix_host(&input->vxlan_addr[f]);
	link.foreign[f] = everything(f);
	return wanted_add_link(&plan->result->wanted, &link);
}

static int add_vtep(struct poolplan *plan, const struct node *node, int f)
{
	struct wanted *wanted = &plan->result->wanted;
	struct wanted_neigh neigh = {.addr = node->vxlan_addr[f], .mac = node->vxlan_mac[f]};
	struct wanted_fdb fdb = {.mac = node->vxlan_mac[f], .dst = node->address[f].addr};
	int r;

	vxlan_name(f, neigh.dev);
	vxlan_name(f, fdb.dev);
	r = wanted_add_neigh(wanted, &neigh);
	return r == 0 ? wanted_add_fdb(wanted, &fdb) : r;
}

/* The kernel's device where it has one; else a carrier of the same name, address and MTU. */
static int add_ipip(struct poolplan *plan)
{
	const struct plan_pools_input *input = plan->input;
	struct wanted_carrier *carrier = &plan->result->wanted.carrier;
	struct wanted_link link = {
		.name = PLAN_TUNNEL_IPIP,
		.kind = input->kernel_ipip ? LINK_IPIP : LINK_CARRIER,
		.mtu = plan->mtu.ipip,
		.addr[FAMILY_4] = prefix_host(&input->ipip_addr),
		.foreign[FAMILY_4] = everything(FAMILY_4),
	};

	if (!input->kernel_ipip) {
		carrier->enabled = true;
		carrier->kind = CARRIER_IPIP;
		carrier->local[FAMILY_4] = input->own->address[FAMILY_4].addr;
		memcpy(carrier->uplink, input->uplink.name, sizeof(carrier->uplink));
	}
	return wanted_add_link(&plan->result->wanted, &link);
}

int poolplan_devices(struct poolplan *plan)
{
	int r = plan->ipip ? add_ipip(plan) : 0;

	for (int f = 0; f < FAMILY_COUNT && r == 0; f++) {
		if (!plan->vxlan[f])
			continue;
		r = add_vxlan(plan, f);
		for (size_t i = 0; i < plan->node_count && r == 0; i++)
			if (plan->nodes[i].vtep[f])
				r = add_vtep(plan, plan->nodes[i].node, f);
	}
	return r;
}
