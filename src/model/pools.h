/* SPDX-License-Identifier: Apache-2.0
 *
 * Judgements that need all pools at once: which of them count, and which one an address belongs to. Called by IPAM and
 * the plan whenever a pool has changed.
 *
 * Of two pools that overlap the older one counts (creationTimestamp, then name). net-conf.json's pools come before all:
 * an IPPool of the very same CIDR replaces one, any other overlap with it refuses the IPPool.
 *
 * Life cycle: pools_judge, questions, pools_free. The pools themselves stay the caller's and outlive it.
 */
#pragma once

#include "model/ippool.h"
#include "model/selector.h"

struct network;

#define POOL_COMPLAINT_MAX 512

struct pool_complaint {
	const struct ippool *pool;      /* that does not count */
	const struct ippool *because;   /* the other one; null: the pool itself is bad */
	char text[POOL_COMPLAINT_MAX];  /* one line that names both */
};

struct pools {
	const struct ippool **items; /* those that count: sorted by CIDR, disjoint */
	size_t count;
	struct pool_complaint *complaints;
	size_t complaint_count;
};

/* flannel: net-conf.json's pools as ippool_from_network makes them, or null. Null without memory. */
struct pools *pools_judge(const struct ippool *const *ippools, size_t count,
	struct ippool *const flannel[FAMILY_COUNT]);
void pools_free(struct pools **pools);

/* The pool that contains it, disabled ones included; null: none. */
const struct ippool *pools_find(const struct pools *pools, const struct addr *addr);
/* The pool that contains all of it; null: none. */
const struct ippool *pools_find_prefix(const struct pools *pools, const struct prefix *prefix);
const struct ippool *pools_find_name(const struct pools *pools, const char *name);

/* May a node with these labels take blocks from it for this use (POOL_USE_…) unasked, as things are? */
bool ippool_serves(const struct ippool *pool, const struct labels *node, enum pool_use use);
/* Is there a pool, even a disabled one, that has this mode? (What Felix' vxlanEnabled and ipipEnabled mean by auto.) */
bool pools_have_vxlan(const struct pools *pools, int family_index);
bool pools_have_ipip(const struct pools *pools);

/* One family of net-conf.json as a pool named "net-conf.json": *ret is null for a family that it does not have.
 * -ENOTSUP: backend udp, which no IPPool knows. */
int ippool_from_network(const struct network *network, int family_index, struct ippool **ret);
