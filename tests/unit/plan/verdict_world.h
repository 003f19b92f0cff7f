/* SPDX-License-Identifier: Apache-2.0
 *
 * Small random worlds for the verdict engine's tests: slots that hold an object or none. A change gives one slot another
 * content, and is applied to any number of engines.
 */
#pragma once

#include "plan/verdict.h"

struct random {
	uint64_t state;
};
uint32_t random_below(struct random *random, uint32_t n);

enum slot_kind { SLOT_POLICY, SLOT_TIER, SLOT_SET, SLOT_ENDPOINT, SLOT_NAMESPACE, SLOT_ACCOUNT, SLOT_NODE, SLOT_BACKENDS,
	SLOT_RANGES, SLOT_ATTACH, SLOT_KIND_COUNT };
#define SLOT_MAX 8

struct node_content {
	bool there, own;
	struct addr addrs[4];
	size_t count;
};
struct backends_content {
	struct verdict_backend items[4];
	size_t count;
};
struct ranges_content {
	struct prefix items[3];
	size_t count;
};
struct attach_content {
	bool there;
	struct addr addr[FAMILY_COUNT];
};

struct world {
	uint64_t seed;
	struct random random;
	struct endpoint_pool *pool;
	struct policy *policies[SLOT_MAX];
	struct tier *tiers[SLOT_MAX];
	struct network_set *sets[SLOT_MAX];
	struct endpoint *endpoints[SLOT_MAX];
	struct labels *namespaces[SLOT_MAX], *accounts[SLOT_MAX];
	struct node_content nodes[SLOT_MAX];
	struct backends_content backends[SLOT_MAX];
	struct ranges_content ranges;
	struct attach_content attached[SLOT_MAX];
	void *old; /* what the last change replaced; freed by the next one */
	enum slot_kind old_kind;
};

size_t world_slots(enum slot_kind kind);
void world_init(struct world *world, uint64_t seed);
void world_done(struct world *world);
/* Another content for the slot, often none. */
void world_change(struct world *world, enum slot_kind kind, size_t index);
void world_apply(const struct world *world, enum slot_kind kind, size_t index, struct verdicts *verdicts);
const char *world_namespace(size_t endpoint);
const char *world_name(size_t endpoint, char text[static 16]);
/* An address that means something in such worlds, most of the time. */
struct addr world_addr(struct random *random, int family);
struct verdict_flow world_flow(struct random *random, const struct world *world, size_t endpoint,
	enum policy_direction direction);
