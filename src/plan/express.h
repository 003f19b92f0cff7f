/* SPDX-License-Identifier: Apache-2.0
 *
 * What of the wanted state the express path may shortcut: remote blocks that have a route of ours, and how their packets
 * travel. Which device and gateway lead to each node is the kernel's to say. Called by the agent after each plan. Pure.
 */
#pragma once

#include "plan/wanted.h"

enum express_encap { EXPRESS_ENCAP_NONE, EXPRESS_ENCAP_VXLAN, EXPRESS_ENCAP_IPIP, EXPRESS_ENCAP_UDP };

struct express_block {
	struct prefix dst;
	enum express_encap encap;
	struct addr node;  /* the next hop without encapsulation, the outer destination with it */
	struct addr local; /* outer source; unset: as the kernel chooses */
	struct mac mac, node_mac; /* of both ends' vxlan devices */
	uint32_t mtu; /* of the tunnel's device; 0 without */
};

struct express_plan {
	struct express_block *blocks; /* sorted by dst */
	size_t count;
	uint32_t vni;
	uint16_t vxlan_port, udp_port; /* host order; 0: no such tunnel */
	struct addr vxlan_local, carrier_local;
};

/* 0 or -ENOMEM (ret untouched). */
int express_plan_build(const struct wanted *wanted, struct express_plan *ret);
bool express_plan_equal(const struct express_plan *a, const struct express_plan *b);
void express_plan_done(struct express_plan *plan);
