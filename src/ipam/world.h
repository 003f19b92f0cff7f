/* SPDX-License-Identifier: Apache-2.0
 *
 * What IPAM must know of the cluster before it decides: pools, reservations, settings, and this node's
 * labels, which whoever watches them hands in (allocator_set_world). A request works with the world of the
 * moment it began in. Pure; immutable once made; counted, because requests outlive a change.
 */
#pragma once

#include "base/err.h"
#include "model/ipam_config.h"
#include "model/ippool.h"

#include <stdbool.h>
#include <stddef.h>

struct labels;
struct selector;

#define IPAM_BLOCKS_DEFAULT 20u /* max_blocks_per_host when none is set */

/* What the allocator needs of a struct ippool. */
struct ipam_pool {
	char *name;
	struct prefix cidr;
	uint8_t block_len;
	bool usable; /* enabled and allocatable */
	bool manual;
	bool selects_node;
	bool ipip, vxlan;            /* encapsulates, be it always or across subnets only */
	unsigned uses;               /* enum pool_use */
	struct selector *namespaces; /* null: every one */
};

struct ipam_world {
	unsigned refs;
	struct ipam_config config;
	struct ipam_pool *pools; /* by name */
	size_t pool_count;
	struct prefix *reserved;
	size_t reserved_count;
};

struct ipam_world_inputs {
	const struct ippool *const *pools;
	size_t pool_count;
	const struct ip_reservation *const *reservations;
	size_t reservation_count;
	struct ipam_config config;
	const struct labels *node_labels;
};

int ipam_world_new(const struct ipam_world_inputs *inputs, struct ipam_world **ret, struct err *err);
struct ipam_world *ipam_world_ref(struct ipam_world *world);
/* Null is fine; the pointer is nulled. */
void ipam_world_unref(struct ipam_world **world);

/* -- questions -- */

/* As ipam_reserved of ipam_block.h; ctx is the world. */
bool ipam_world_reserves(const void *ctx, const struct addr *addr);
/* All of the prefix is reserved. */
bool ipam_world_reserves_all(const struct ipam_world *world, const struct prefix *prefix);
/* The pool that addr lies in, whatever it is good for; null: none. */
const struct ipam_pool *ipam_world_pool_of(const struct ipam_world *world, const struct addr *addr);

struct ipam_wish { /* reference/calico.md 3.2, step 3 */
	int family_index;
	enum pool_use use;
	const struct prefix *pools; /* exactly these, selectors or not; null: by selectors */
	size_t pool_count;
	const struct labels *namespace_labels; /* null: none */
};

/* The pools to take addresses from, by name: an array of the world's own, malloc'ed. -EINVAL: a pool that was
 * asked for does not exist or takes none; -ENOSPC: no pool for this node. err says which. */
int ipam_world_choose(const struct ipam_world *world, const struct ipam_wish *wish, const char *node,
	const struct ipam_pool ***ret, size_t *ret_count, struct err *err);
