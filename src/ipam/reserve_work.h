/* SPDX-License-Identifier: Apache-2.0
 *
 * Between reserve.c (what pods see) and reserve_work.c (what the store sees): nobody else includes it.
 *
 * Each address has a slot: who has it here, and whose it was in the store when that was last seen. Where the
 * two differ there is something to write. Whatever raises a doubt is read again before anything else happens.
 */
#pragma once

#include "base/hash.h"
#include "ipam/call.h"
#include "ipam/reserve.h"

/* What had nothing, or was refused, is not asked for again for this long; who asks is told what was said then. */
#define RESERVE_FAILED_MS 2000

/* A single address that somebody has is asked for again this often (reserve_options.taken_ms). */
#define RESERVE_TAKEN_EVERY_MS 100

struct event;

struct slot {
	struct addr addr;
	struct prefix block;
	uint64_t owner;         /* 0: free */
	struct owned_owner pod; /* the owner's */
	char *shown; /* handle that the store shows, always one of this node's; null: not this node's */
	int64_t rest_until;       /* milliseconds */
	int64_t kept_until;       /* for the one who asked for this very address */
	bool doubt;               /* what the store shows must be read again */
	int64_t look_after;       /* its block is damaged: not to be read again before then */
	bool surplus;             /* to be given back */
	bool homeless;            /* a pod has it, and there is no block: to be claimed */
	bool lost;                /* somebody else has it: nothing is written any more */
	char *maybe;              /* handle that was being written when an answer was lost; null: none */
	char *writing;            /* handle being written, "" for none; null: nothing is */
	size_t change;            /* which part of the request that is */
	struct slot *prev, *next; /* in turn */
	UT_hash_handle hh;
};

struct demand { /* a set of pools that pods draw from */
	struct prefix *pools;
	size_t pool_count;
	int family_index;
	size_t low, high, most; /* most: what high may grow to */
	int64_t grown;          /* milliseconds; 0: low and high are the usual ones */
	bool served;            /* it has been filled before */
	bool asked; /* somebody got -EAGAIN: if none are kept, one is wanted all the same */
	int64_t used, failed; /* last: milliseconds; failed 0: never */
	bool wanted;          /* for good, see reserve_want */
	struct err err;       /* of the last failure */
	struct demand *prev, *next;
};

struct fetch { /* a single address that was asked for */
	struct addr addr;
	enum pool_use use;
	int64_t taken, again; /* since when somebody has it, and when it is asked for again: milliseconds; 0: not known to be */
	int64_t refused;      /* when it was: milliseconds */
	struct err err;       /* why */
	struct fetch *prev, *next;
};

struct reserve {
	struct reserve_options options;
	struct allocator *allocator;
	char handle[IPAM_HANDLE_MAX];
	struct ipam_owner owner[FAMILY_COUNT]; /* of the batch */
	struct slot *slots, *turn;
	struct demand *demands;
	struct fetch *fetches, *refused; /* to be asked for; told no, so that who asks again is told so */
	struct event *timer; /* after a failure, and when something rests no longer */
	struct ipam_call *call;
	struct demand *filling;
	struct fetch *fetching;
	bool started, look_all, paused;
	bool soon;     /* the timer is set for what was put off (reserve_step_soon) */
	bool troubled; /* it failed last, and that is told */
	bool damaged; /* a block could not be read, and it is told */
	bool starved; /* somebody got -EAGAIN since ready() was called */
	unsigned failures;
};

int64_t reserve_now(const struct reserve *reserve);
struct slot *slot_find(const struct reserve *reserve, const struct addr *addr);
/* Null without memory, or when it lies in no pool. */
struct slot *slot_add(struct reserve *reserve, const struct addr *addr);
void slot_free(struct reserve *reserve, struct slot *slot);
/* Free, and may be handed out now; wish: to the one who asked for this very address. */
bool slot_is_ready(const struct reserve *reserve, const struct slot *slot, bool wish);
/* The same for anybody, at that time if nothing happens until then. */
bool slot_is_ready_at(const struct slot *slot, int64_t now);
/* Of this set of pools, and not reserved by anybody. */
bool slot_suits(const struct reserve *reserve, const struct slot *slot, const struct demand *demand);
void demand_free(struct reserve *reserve, struct demand *demand);

/* There are fewer free addresses than are to be kept. */
bool reserve_is_low(const struct reserve *reserve, const struct demand *demand);
/* As many as usual. */
void demand_choose_size(const struct reserve *reserve, struct demand *demand);
/* Begins whatever is to be done next, if nothing is under way. */
void reserve_step(struct reserve *reserve);
/* The same, a little later. */
void reserve_step_soon(struct reserve *reserve);
/* Calls ready() if somebody waits for it. */
void reserve_tell(struct reserve *reserve);
void reserve_report(struct reserve *reserve, const char *text);
