/* SPDX-License-Identifier: Apache-2.0
 *
 * An address pool in Calico's words (reference/calico.md 2.1): where blocks come from, which nodes may take them, and
 * how packets reach them. Made by the Calico dialect (resources/ippool.c), read by IPAM and the plan. Immutable once
 * published; a change replaces the whole.
 */
#pragma once

#include "base/addr.h"

struct selector;

/* When packets to other nodes' blocks are encapsulated. */
enum encap_when { ENCAP_NEVER, ENCAP_ALWAYS, ENCAP_CROSS_SUBNET };

enum pool_use { POOL_USE_WORKLOAD = 1, POOL_USE_TUNNEL = 2, POOL_USE_LOAD_BALANCER = 4 };

struct ippool {
	char *name;
	struct prefix cidr;                  /* without host bits */
	uint8_t block_len;                   /* not shorter than cidr's, unless disabled */
	enum encap_when ipip, vxlan;         /* at most one is not ENCAP_NEVER; ipip only for IPv4 */
	bool nat_outgoing;
	bool disabled;                       /* no new addresses; still a pool for NAT and routes */
	bool disable_bgp_export;
	bool manual;                         /* assignmentMode: only when asked for by name */
	bool allocatable;                    /* neither being deleted nor with condition Allocatable=False */
	int64_t created;                     /* seconds since the epoch; 0: not known, counts as the oldest */
	unsigned uses;                       /* enum pool_use, or'ed; never 0 */
	struct selector *node_selector;      /* never null */
	struct selector *namespace_selector; /* null: every namespace */
};

/* Null is fine; the pointer is nulled. */
void ippool_free(struct ippool **pool);
bool ippool_equal(const struct ippool *a, const struct ippool *b);
