/* SPDX-License-Identifier: Apache-2.0
 *
 * Which addresses of this node's blocks are in use, which rest, which are free. Used by pod attachment only;
 * it holds no state of its own beyond memory: the journal's records rebuild it at start.
 *
 * Addresses are handed out in turn (next fit), so that one that was released comes last; beside that a
 * released address rests for the cool-down time. Never handed out: the block's network address (the tunnel
 * device's), the first one after it (Flannel's gateway on cni0), an IPv4 block's broadcast address, and what
 * the owner's taken() says. When a block has no free address but a resting one, the rest may be cut to
 * IPAM_REST_MIN_S.
 *
 * An address in use may lie outside of the present blocks: it was handed out before the lease changed.
 * Times are milliseconds of a clock that never goes back; an address has one owner, a number other than 0.
 */
#pragma once

#include "base/addr.h"
#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#define IPAM_REST_MIN_S 5

struct ipam;

struct ipam_options {
	unsigned cooldown_s;
	/* True when somebody else has this address (another interface, host-local's files). May be null. */
	bool (*taken)(void *ctx, const struct addr *addr);
	void *ctx;
};

int ipam_new(const struct ipam_options *options, struct ipam **ret);
void ipam_free(struct ipam *ipam);

/* The block of one family to hand out from; null or unset: none. */
void ipam_set_block(struct ipam *ipam, int family_index, const struct prefix *block);
bool ipam_has_block(const struct ipam *ipam, int family_index);

/* The next free address. -ENOSPC names block, counts and when one becomes free. */
int ipam_take(
	struct ipam *ipam, int family_index, uint64_t owner, int64_t now, struct addr *ret, struct err *err);
/* This very address. -EINVAL: not in a block, or reserved; -ENOSPC: in use, resting or somebody else's. */
int ipam_take_wish(struct ipam *ipam, const struct addr *addr, uint64_t owner, int64_t now, struct err *err);

/* -- for the replay of the journal: no checks but for doubles -- */

/* In use by owner. Returns the owner that it is taken from, 0 when there was none. -ENOMEM never shows as an
 * owner: ret_error gets it. */
uint64_t ipam_hold(struct ipam *ipam, const struct addr *addr, uint64_t owner, int *ret_error);
/* Resting since a time, if nobody uses it. */
int ipam_hold_resting(struct ipam *ipam, const struct addr *addr, int64_t since);

/* The owner gave it back: it rests. Nothing happens when it is not the owner's. */
void ipam_rest(struct ipam *ipam, const struct addr *addr, uint64_t owner, int64_t now);
/* The owner never used it: it is free at once. */
void ipam_drop(struct ipam *ipam, const struct addr *addr, uint64_t owner);

/* Calls each resting address that still has to rest. */
void ipam_each_resting(const struct ipam *ipam, int64_t now,
	int (*each)(void *ctx, const struct addr *, int64_t since), void *ctx);

struct ipam_counts {
	size_t in_use, resting; /* inside and outside of the block */
	size_t free;            /* of the block; SIZE_MAX when larger */
};
void ipam_count(struct ipam *ipam, int family_index, int64_t now, struct ipam_counts *ret);
