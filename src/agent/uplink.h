/* SPDX-License-Identifier: Apache-2.0
 *
 * The uplink: the interface that carries traffic between nodes, and the addresses that peers are told
 * (reference/flannel.md 6). Chosen at start by one of five methods, looked at again whenever links or addresses change.
 */
#pragma once

#include "agent/options.h"
#include "base/addr.h"
#include "base/err.h"
#include "plan/plan.h"

struct uplink {
	char name[IFNAMSIZ];
	uint32_t index;
	uint32_t mtu;
	struct addr addr[FAMILY_COUNT];      /* the interface's preferred addresses */
	struct addr public_ip[FAMILY_COUNT]; /* what is published: --public-ip, --public-ipv6, else addr */
	struct addr source[FAMILY_COUNT];    /* of tunnels: public_ip if an interface of ours has it, else addr */
	struct prefix on_link[64];           /* destinations reached without a gateway */
	size_t on_link_count;
};

/* families: which of them the network uses. home: the choice of the start, null then: its addresses win as long as the
 * interface has them, whatever else comes and goes beside them (a virtual address that wanders from node to node).
 * Messages name the method, the value and what was there instead. */
int uplink_choose(const struct options *options, const bool families[FAMILY_COUNT], const struct uplink *home,
	struct uplink *ret, struct err *err);
/* Do two choices differ in anything that the plan or the peers see? */
bool uplink_equal(const struct uplink *a, const struct uplink *b);

/* As the plan reads it; borrows on_link. */
void uplink_for_plan(const struct uplink *uplink, struct plan_uplink *ret);

/* -- the machine as the methods see it; split off for tests -- */
struct plane_link;
struct plane_addr;
struct plane_route;
struct machine {
	struct plane_link *links;
	size_t link_count;
	struct plane_addr *addrs;
	size_t addr_count;
	struct plane_route *routes;
	size_t route_count;
	int (*route_get)(const struct addr *to, struct plane_route *ret, struct err *err);
};
int uplink_choose_on(const struct machine *machine, const struct options *options, const bool families[FAMILY_COUNT],
	const struct uplink *home, struct uplink *ret, struct err *err);
