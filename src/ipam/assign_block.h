/* SPDX-License-Identifier: Apache-2.0
 *
 * The halves of an automatic assignment (reference/calico.md 3.2 to 3.4): assign.c decides which way to go,
 * assign_block.c finds blocks and takes addresses from them. Nobody else includes it. Only on a task's fiber.
 */
#pragma once

#include "ipam/call.h"
#include "ipam/survey.h"

struct assign {
	struct ipam_call call; /* first; addrs and count grow */
	struct ipam_assign request;
	struct owned_owner owner;
	const struct ipam_pool **pools; /* chosen; the world's */
	size_t pool_count;
	size_t own_blocks; /* in these pools */
	struct survey survey;
};

/* The whole of it, and what frees what an assignment holds (assign.c). */
int assign_work(struct assign *assign, struct err *err);
void assign_clean(struct ipam_call *call);

/* Wanted and not there yet. */
size_t assign_missing(const struct assign *assign);
/* Takes what is missing, or as much as the block has, in as many tries as it needs; own: the block must be
 * this node's, and gives extra ones too. The block may be read again. */
int assign_from(struct assign *assign, struct ipam_block **block, bool own, struct err *err);
/* A block that does not exist yet, or is this node's and has room. */
bool assign_find_free(struct assign *assign, struct prefix *ret);
/* Takes an empty block away from the node that has it. -EBUSY: this one could not be had, try again; -ENOSPC:
 * there is none. */
int assign_reclaim(struct assign *assign, struct prefix *ret, struct err *err);
/* Single addresses of whatever blocks exist. -ENOSPC: still too few. */
int assign_borrow(struct assign *assign, struct err *err);
