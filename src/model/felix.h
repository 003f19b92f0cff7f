/* SPDX-License-Identifier: Apache-2.0
 *
 * What FelixConfiguration says about networking (reference/calico.md 2.14), after the objects that concern this node
 * have been laid over each other. Made by the Calico dialect (resources/felix.c), read by the plan. Plain values.
 */
#pragma once

#include "base/addr.h"
#include "model/failsafe.h"

#include <stddef.h>

enum program_routes { PROGRAM_ALL, PROGRAM_NONE, PROGRAM_IPIP_ONLY, PROGRAM_NO_ENCAP_ONLY };
enum nat_exclusions { NAT_EXCLUDE_POOLS, NAT_EXCLUDE_POOLS_AND_HOSTS };
enum tristate { TRISTATE_AUTO = -1, TRISTATE_NO, TRISTATE_YES };

#define FELIX_EXTERNALS_MAX 256

struct felix {
	uint16_t vxlan_port;                  /* host order; 4789 */
	uint32_t vxlan_vni;                   /* 4096 */
	uint32_t vxlan_mtu[FAMILY_COUNT];     /* 0: found from the uplink */
	uint32_t ipip_mtu;
	enum tristate vxlan_enabled, ipip_enabled; /* auto: some pool, even a disabled one, has that mode */
	bool vxlan_from_workloads, ipip_from_workloads; /* pods may send encapsulated packets */
	bool ipv6;                            /* ipv6Support, true */
	bool ip_forwarding;                   /* ipForwarding, true */
	bool remove_external_routes;          /* true */
	enum program_routes program_routes;   /* programClusterRoutes; upstream PROGRAM_IPIP_ONLY */
	uint8_t route_protocol;               /* deviceRouteProtocol; 0: ours (84) */
	struct addr route_source[FAMILY_COUNT]; /* deviceRouteSourceAddress */
	uint32_t route_priority[FAMILY_COUNT];  /* 1024; metric of local pods' routes and origin of LOCAL_PREF */
	char mtu_iface_pattern[256];          /* mtuIfacePattern */
	char interface_prefix[64];            /* "cali"; a comma list */
	uint16_t nat_port_min, nat_port_max;  /* natPortRange, host order; 0, 0: any */
	struct addr nat_address[FAMILY_COUNT];  /* natOutgoingAddress; unset: masquerade */
	enum nat_exclusions nat_exclusions;   /* natOutgoingExclusions */
	char nat_iface_filter[64];            /* iptablesNATOutgoingInterfaceFilter; "": every interface */
	struct prefix externals[FELIX_EXTERNALS_MAX]; /* externalNodesList */
	size_t external_count;
	struct failsafes failsafes[POLICY_DIRECTION_COUNT]; /* failsafeInboundHostPorts, failsafeOutboundHostPorts */
};

/* Calico's defaults. */
struct felix felix_defaults(void);
bool felix_equal(const struct felix *a, const struct felix *b);
