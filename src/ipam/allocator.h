/* SPDX-License-Identifier: Apache-2.0
 *
 * The allocator: Calico's IPAM protocol (reference/calico.md 3) on objects, for one node. There is no daemon
 * and no leader: every agent edits the shared objects by compare-and-swap, and whatever a crash leaves is
 * what another agent, or real Calico, can go on from. Called by reserve.h, repair.h, and whoever assigns
 * single addresses.
 *
 * Life cycle: allocator_new, allocator_set_world as soon as pools and the node are known, then requests,
 * several at a time. Answers come from the loop, never from inside a call. allocator_free lets go of what is
 * under way: done() is not called any more, and what reached the store stays there.
 */
#pragma once

#include "ipam/ipam_block.h"
#include "ipam/ipam_names.h"
#include "ipam/world.h"

struct event_base;
struct objects;
struct allocator;

struct allocator_options {
	struct objects *objects; /* outlives the allocator */
	const char *node;
	unsigned backoff_ms;       /* longest pause before a lost compare-and-swap is tried again; 0: none */
	int64_t (*now)(void *ctx); /* nanoseconds since the epoch; null: the system's clock */
	void *ctx;
};

int allocator_new(struct event_base *base, const struct allocator_options *options, struct allocator **ret);
void allocator_free(struct allocator *allocator);
/* Takes over a reference. Before the first one, requests end with -EAGAIN. */
void allocator_set_world(struct allocator *allocator, struct ipam_world *world);
/* Null before the first one. */
const struct ipam_world *allocator_world(const struct allocator *allocator);
const char *allocator_node(const struct allocator *allocator);
/* Requests under way. */
size_t allocator_busy(const struct allocator *allocator);

/* -- answers -- */

struct ipam_look {
	struct prefix cidr;
	struct ipam_block *block; /* null: there is none */
};

struct ipam_result {
	int rc; /* 0 or negative errno; that of a store that cannot be reached means that nobody knows */
	const char *text; /* the story; "" when rc is 0 */
	const struct addr
		*addrs; /* assigned ones, also when rc is not 0: the caller keeps them or gives them back */
	size_t count;
	const int *rcs;                /* of a request of many parts, one each; else null */
	const struct ipam_look *looks; /* of allocator_look; the result's own */
	size_t look_count;
};
typedef void (*ipam_done)(void *ctx, const struct ipam_result *result);

struct ipam_call;
/* The work goes on to its end, done() does not come. Null is fine; not after done(). */
void ipam_cancel(struct ipam_call *call);

/* -- requests; null without memory. Everything is copied. -- */

struct ipam_assign { /* 3.2 */
	struct ipam_wish wish;
	struct ipam_owner owner;
	size_t count;        /* wanted */
	size_t extra;        /* also, if they are to be had from the same blocks, and these are this node's */
	unsigned max_blocks; /* 0: as configured */
	size_t max_per_handle; /* 0: any number */
};
/* -EINVAL: a pool that cannot serve; -ENOSPC: too few addresses, or the limit of blocks; -EDQUOT: the
 * handle's limit. */
struct ipam_call *allocator_assign(
	struct allocator *allocator, const struct ipam_assign *request, ipam_done done, void *ctx);

/* 3.5: this very address. -EINVAL: in no pool for this use; -EEXIST: somebody has it; -EPERM: in another's
 * block under strict affinity. */
struct ipam_call *allocator_assign_addr(struct allocator *allocator, const struct addr *addr,
	enum pool_use use, const struct ipam_owner *owner, ipam_done done, void *ctx);

/* 3.6. rcs: 1 released, 0 nobody had it, -ESTALE it is another's now: then nothing of its block is released.
 */
struct ipam_call *allocator_release(struct allocator *allocator, const struct ipam_claim *claims,
	size_t count, ipam_done done, void *ctx);
/* -ENOENT: there is no such handle. */
struct ipam_call *allocator_release_handle(
	struct allocator *allocator, const char *handle, ipam_done done, void *ctx);

/* Changes owners in one block with one write. from.handle null: it is free; to null: it becomes free. */
struct ipam_change {
	struct addr addr;
	const char *from;
	struct ipam_owner to;
};
/* rcs: 0 done; -ESTALE: not from's; -ENOENT: there is no such block. -EIO and the like for all: nobody knows.
 */
struct ipam_call *allocator_change(struct allocator *allocator, const struct prefix *cidr,
	const struct ipam_change *changes, size_t count, ipam_done done, void *ctx);

/* 3.3. A node's block is given up: deleted when empty, else nobody's. -EBUSY: not empty, though that was
 * required. */
struct ipam_call *allocator_release_block(struct allocator *allocator, const char *node,
	const struct prefix *cidr, bool require_empty, ipam_done done, void *ctx);

/* 3.7, 5.5: this node's address of a tunnel device. now: the one it has, unset: none. The one that it has is
 * kept if it may be; without any pool that needs it, it is released and the answer has none. */
struct ipam_call *allocator_tunnel(struct allocator *allocator, enum ipam_tunnel tunnel,
	const struct addr *now, ipam_done done, void *ctx);

/* The blocks in which a handle has addresses (null: none), and these: as they are now. A block that is
 * damaged is left out, and makes the answer -EINVAL when all others are there. */
struct ipam_call *allocator_look(struct allocator *allocator, const char *handle, const struct prefix *cidrs,
	size_t count, ipam_done done, void *ctx);
