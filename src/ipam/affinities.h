/* SPDX-License-Identifier: Apache-2.0
 *
 * Who holds a block: the protocol of reference/calico.md 3.3 between BlockAffinity (what a node intends) and
 * the block (what is true). A crash after any step leaves what the next one, of whichever node, can go on
 * from. Only on a task's fiber.
 */
#pragma once

#include "ipam/blocks.h"

struct affinity {
	json_t *object;
	struct prefix cidr;
};

struct affinities {
	struct affinity *items; /* by CIDR */
	size_t count;
};

/* Those of the task's node of one family, whatever their state. */
int affinities_list(
	struct task *task, const char *node, int family_index, struct affinities *ret, struct err *err);
void affinities_free(struct affinities *affinities);

/* Makes the block this node's and hands it out. -EBUSY: somebody else has it. */
int affinity_claim(struct task *task, const struct prefix *cidr, struct ipam_block **ret, struct err *err);
/* The block of an affinity that was listed, confirmed if it was not. -EBUSY: it names somebody else. */
int affinity_use(
	struct task *task, const struct affinity *affinity, struct ipam_block **ret, struct err *err);

struct affinity_release {
	const char *node;
	struct prefix cidr;
	bool require_empty;
	uint64_t sequence; /* of the block, if it must not have changed since; 0: whatever it is */
};

/* Gives a block up in node's name: an empty one goes, another becomes nobody's. -EBUSY: not empty, or
 * changed. It is fine when there is nothing to release, or when it is another's by now. */
int affinity_release(struct task *task, const struct affinity_release *what, struct err *err);
