/* SPDX-License-Identifier: Apache-2.0 */
#include "model/felix.h"

#include "model/equal.h"

struct felix felix_defaults(void)
{
	return (struct felix){
		.vxlan_port = 4789,
		.vxlan_vni = 4096,
		.vxlan_enabled = TRISTATE_AUTO,
		.ipip_enabled = TRISTATE_AUTO,
		.ipv6 = true,
		.ip_forwarding = true,
		.remove_external_routes = true,
		.program_routes = PROGRAM_IPIP_ONLY,
		.route_priority = {1024, 1024},
		.mtu_iface_pattern = "^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)",
		.interface_prefix = "cali",
		.nat_exclusions = NAT_EXCLUDE_POOLS,
		.failsafes = {failsafes_default(POLICY_INGRESS), failsafes_default(POLICY_EGRESS)},
	};
}

static bool same_tunnels(const struct felix *a, const struct felix *b)
{
	return a->vxlan_port == b->vxlan_port && a->vxlan_vni == b->vxlan_vni && a->ipip_mtu == b->ipip_mtu &&
	       a->vxlan_enabled == b->vxlan_enabled && a->ipip_enabled == b->ipip_enabled &&
	       a->vxlan_from_workloads == b->vxlan_from_workloads && a->ipip_from_workloads == b->ipip_from_workloads &&
	       prefixes_equal(a->externals, a->external_count, b->externals, b->external_count);
}

static bool same_routes(const struct felix *a, const struct felix *b)
{
	return a->ipv6 == b->ipv6 && a->ip_forwarding == b->ip_forwarding &&
	       a->remove_external_routes == b->remove_external_routes && a->program_routes == b->program_routes &&
	       a->route_protocol == b->route_protocol && text_equal(a->mtu_iface_pattern, b->mtu_iface_pattern) &&
	       text_equal(a->interface_prefix, b->interface_prefix);
}

static bool same_nat(const struct felix *a, const struct felix *b)
{
	return a->nat_port_min == b->nat_port_min && a->nat_port_max == b->nat_port_max &&
	       a->nat_exclusions == b->nat_exclusions && text_equal(a->nat_iface_filter, b->nat_iface_filter);
}

static bool same_family(const struct felix *a, const struct felix *b, int f)
{
	return a->vxlan_mtu[f] == b->vxlan_mtu[f] && addr_equal(&a->route_source[f], &b->route_source[f]) &&
	       a->route_priority[f] == b->route_priority[f] && addr_equal(&a->nat_address[f], &b->nat_address[f]);
}

bool felix_equal(const struct felix *a, const struct felix *b)
{
	return same_tunnels(a, b) && same_routes(a, b) && same_nat(a, b) && same_family(a, b, FAMILY_4) &&
	       same_family(a, b, FAMILY_6) && failsafes_equal(&a->failsafes[POLICY_INGRESS], &b->failsafes[POLICY_INGRESS]) &&
	       failsafes_equal(&a->failsafes[POLICY_EGRESS], &b->failsafes[POLICY_EGRESS]);
}
