/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes in front of a packet: what a tunnel device of the kernel, or a carrier, would send to a node. Called by express.c. Pure.
 */
#pragma once

#include "bpf/express_layout.h"
#include "plan/express.h"

#include <stdbool.h>

/* By which device and neighbour this node reaches another one. */
struct express_underlay {
	uint32_t device, mtu;
	struct addr next, source;
};

/* False: that cannot be done. */
bool express_slot_make(const struct express_plan *plan, const struct express_block *block, const struct express_underlay *underlay,
	struct express_slot *ret);
/* own: this node's address at the uplink. */
void express_slot_config(const struct express_plan *plan, const struct addr *own, struct express_config *ret);
/* Outer source of a slot with a tunnel, as it is in the header. */
uint32_t express_slot_source(const struct express_slot *slot);
