/* SPDX-License-Identifier: Apache-2.0
 *
 * A lease: the block (of each family) that one node holds, and how to reach that node. Flannel's subnet lease,
 * a node's podCIDRs with its annotations, and Calico's blocks with the node's addresses all become this.
 * Immutable once published; a change replaces the whole.
 */
#pragma once

#include "base/addr.h"

/* Flannel's longest key: an IPv4 and an IPv6 subnet, 62 characters. Each peer pays for it. */
#define LEASE_KEY_MAX 72

struct lease {
	char key[LEASE_KEY_MAX];               /* the store's name of it: unique, never changes */
	struct prefix subnet[FAMILY_COUNT];    /* unset for a family that the node does not serve */
	struct addr public_ip[FAMILY_COUNT];   /* where encapsulated packets go */
	char backend[16];                      /* "vxlan", "host-gw"; "" for udp and alloc */
	bool has_vni;                          /* peers before Flannel 0.14 publish none */
	uint32_t vni;
	struct mac vtep_mac[FAMILY_COUNT];     /* vxlan: inner destination MAC */
	int64_t expires;                       /* seconds since the epoch; 0 = a reservation, never */
	uint64_t order;                        /* lower: this node has known it, as it is, for longer */
};

bool lease_equal(const struct lease *a, const struct lease *b); /* everything but expires and order */
