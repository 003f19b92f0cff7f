/* SPDX-License-Identifier: Apache-2.0
 *
 * What requests to the allocator have in common: the task that does it, the answer that grows meanwhile, the
 * way back to the caller. Used inside src/ipam only.
 */
#pragma once

#include "ipam/allocator.h"
#include "ipam/task.h"

struct ipam_call {
	struct task task; /* first */
	struct allocator *allocator;
	ipam_done done;
	void *ctx;
	int (*work)(struct ipam_call *call, struct err *err); /* on the fiber */
	void (*clean)(struct ipam_call *call);                /* what the request itself holds; may be null */
	int rc;
	struct err err;
	struct addr *addrs;
	size_t count;
	int *rcs;
	struct ipam_look *looks;
	size_t look_count;
};

/* A request of this size, zeroed. */
void *call_new(size_t size, struct allocator *allocator, ipam_done done, void *ctx);
/* Begins it; null (and it is freed) without memory. Without a world it ends with -EAGAIN. */
struct ipam_call *call_start(struct ipam_call *call);
void call_free(struct ipam_call *call);

/* An owner that is the request's own. */
struct owned_owner {
	char *handle;
	json_t *attributes;
};
int owner_copy(const struct ipam_owner *from, struct owned_owner *to);
void owned_owner_free(struct owned_owner *owner);
struct ipam_owner owner_borrow(const struct owned_owner *owner);

/* -- steps that several requests take; on the fiber -- */

/* After addresses of a block were released: one that is nobody's and empty goes, one of this node that its
 * pool does not give it any more is given up when empty (3.6). Best effort. */
void call_tidy_block(struct task *task, struct ipam_block *block);
/* One address under an owner (3.5). */
int call_assign_addr(struct task *task, const struct addr *addr, enum pool_use use,
	const struct ipam_owner *owner, struct err *err);
/* All addresses of a handle, and the handle itself (3.6). */
int call_release_handle(struct task *task, const char *handle, struct err *err);
/* The handle's object goes if no block has an address of it: a crash can leave it with a count that nobody lowers. */
int call_drop_handle(struct task *task, const char *handle, struct err *err);
/* One address, guarded. As ipam_block_release. */
int call_release_addr(struct task *task, const struct ipam_claim *claim, struct err *err);
/* The same where the block is known, which need not be of the size that its pool has now. */
int call_release_addr_in(
	struct task *task, const struct prefix *cidr, const struct ipam_claim *claim, struct err *err);
