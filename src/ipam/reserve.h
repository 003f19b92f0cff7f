/* SPDX-License-Identifier: Apache-2.0
 *
 * The batch of addresses that a node keeps reserved under a handle of its own, so that a pod gets one without
 * a round trip to the store (DESIGN.md, decision 7). Called by pod attachment, synchronously; what a pod's
 * address is in the store (handle and attributes) is written behind, many pods in one write. docs/ipam.md
 * says what is guaranteed when.
 *
 * The rule: an address is handed out only if the block in the store was last seen to show it as this node's,
 * be it under the batch's handle or under that of a pod of this node that is gone.
 *
 * Life cycle: reserve_new; reserve_hold and reserve_hold_resting for what the journal has; reserve_start once
 * the allocator knows the world; then take, rest, drop. One operation on the store is under way at a time.
 * reserve_free before the allocator; what it has not written yet it writes after the next start, from the
 * journal.
 */
#pragma once

#include "ipam/allocator.h"

struct event_base;
struct reserve;

#define RESERVE_REST_MIN_S 5

struct reserve_options {
	/* Free addresses for one set of pools: below low it is filled up to high. 0: 8 and 16, or a 64th and a 32nd of small
	 * pools, down to none, so that what few addresses there are do not lie idle on nodes; after a burst that used
	 * it up for ten minutes twice as many, up to 16 and 64. */
	size_t low, high;
	/* How long an address that a pod had is not given to another; RESERVE_REST_MIN_S when there is no other one. */
	unsigned rest_s;
	/* So long after an address was taken or given back the store is told, if nothing is under way then: pods that come
	 * together are one write, and none waits for that of the one before. */
	unsigned behind_ms;
	/* So long an address that was asked for by name and that somebody has is asked for again: its pod may just have been
	 * deleted on another node, which gives it back behind its answer. */
	unsigned taken_ms;
	int64_t (*now)(void *ctx); /* milliseconds of a clock that never goes back; null: CLOCK_BOOTTIME */
	/* Somebody else has this address in the store now, though the owner uses it. Once for each. May be
	 * null. */
	void (*lost)(void *ctx, const struct addr *addr, uint64_t owner);
	/* Who got -EAGAIN may try again: addresses came, or have rested, or it is known that there are none.
	 * Called only when somebody got it since the last time. May be null. */
	void (*ready)(void *ctx);
	/* For the log, "": that trouble is over. May be null. */
	void (*report)(void *ctx, const char *text);
	void *ctx;
};

int reserve_new(struct event_base *base, struct allocator *allocator, const struct reserve_options *options,
	struct reserve **ret);
void reserve_free(struct reserve *reserve);

/* -- what the journal has; owner is a number other than 0, pod is copied -- */

/* -EINVAL: the address lies in no pool. Returns the owner that it is taken from by ret_before (0: none). */
int reserve_hold(struct reserve *reserve, const struct addr *addr, uint64_t owner,
	const struct ipam_owner *pod, uint64_t *ret_before);
/* It may not be handed out before then; whether it is this node's shows later. until: milliseconds, as now.
 */
int reserve_hold_resting(struct reserve *reserve, const struct addr *addr, int64_t until);

/* Finds what earlier runs have reserved, and begins to work. */
void reserve_start(struct reserve *reserve);
/* The world has changed (after allocator_set_world), or the store can be reached again: what waits after a
 * failure is tried now. */
void reserve_retry(struct reserve *reserve);
/* A batch for these pools is wanted from now on. 0, or as ipam_world_choose. */
int reserve_want(struct reserve *reserve, const struct ipam_wish *wish, struct err *err);
/* What reserve_want has asked for is not wanted any more, but for what pods draw from. */
void reserve_want_none(struct reserve *reserve);

/* -- pods -- */

/* -EAGAIN: none at hand, more are being fetched, ready() tells; -ENOSPC: there are none; -EINVAL: no such
 * pool. */
int reserve_take(struct reserve *reserve, const struct ipam_wish *wish, uint64_t owner,
	const struct ipam_owner *pod, struct addr *ret, struct err *err);
/* This very one, of whatever pool is for this use, rested or not. -EAGAIN: it is being fetched, and is kept for who asks
 * next; -ENOSPC: somebody has it, and did not give it back in time; -EINVAL: it lies in no pool for this use. */
int reserve_take_wish(struct reserve *reserve, const struct addr *addr, enum pool_use use, uint64_t owner,
	const struct ipam_owner *pod, struct err *err);
/* What one has, another has from now on: nothing changes in the store. Nothing happens when it is not from's. */
void reserve_pass(struct reserve *reserve, const struct addr *addr, uint64_t from, uint64_t to);
/* The owner gave it back: it rests, then it is free for another pod. Nothing happens when it is not the
 * owner's. */
void reserve_rest(struct reserve *reserve, const struct addr *addr, uint64_t owner);
/* As reserve_rest, but the address is wished by name and may be wished elsewhere next: it goes back to its pool. */
void reserve_return(struct reserve *reserve, const struct addr *addr, uint64_t owner);
/* The owner never used it: it is free at once. */
void reserve_drop(struct reserve *reserve, const struct addr *addr, uint64_t owner);

/* -- what is seen of the store (a watch); may be old, may be repeated -- */

void reserve_block_put(struct reserve *reserve, const json_t *object);
void reserve_block_gone(struct reserve *reserve, const struct prefix *cidr);
/* For a while nothing could be seen: everything is read again before it is given out. */
void reserve_block_unseen(struct reserve *reserve);

/* -- questions -- */

/* The address is this node's business: in use by a pod of it, in the batch, or on its way. */
bool reserve_knows(const struct reserve *reserve, const struct addr *addr);
/* Who has it here; 0: nobody. */
uint64_t reserve_owner(const struct reserve *reserve, const struct addr *addr);
/* Nothing is left to be written. */
bool reserve_is_settled(const struct reserve *reserve);
struct reserve_counts {
	size_t in_use, resting, free, behind; /* behind: the store does not show yet whose it is */
};
void reserve_count(const struct reserve *reserve, int family_index, struct reserve_counts *ret);
void reserve_each_resting(const struct reserve *reserve,
	int (*each)(void *ctx, const struct addr *addr, int64_t until), void *ctx);
