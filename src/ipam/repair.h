/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses that nobody will give back: what pods of this node had that are gone (a killed agent, a journal
 * that a reboot made void), and everything of nodes that were deleted, which one agent does for all
 * (election.h), by the rules of reference/calico.md 3.9. Nothing is released before it was seen for the time
 * of grace without change, and each once more right before: with the sequence number that was judged, so that
 * an address that was given anew meanwhile stays.
 *
 * Life cycle: repair_new, scans begin by themselves; the allocator is freed first, then repair_free. The
 * callbacks run on a small stack (fiber.h): they look something up or write a line, and no more.
 */
#pragma once

#include "ipam/reserve.h"

struct repair;

struct repair_options {
	unsigned period_s; /* between scans; 0: 300 */
	unsigned grace_s;  /* 0: 60 */
	/* Is there an attachment with this handle, or one that is just being made? */
	bool (*lives)(void *ctx, const char *handle, const struct addr *addr);
	/* Is it this agent that cleans up after deleted nodes (election_is_won)? Null: no. */
	bool (*leads)(void *ctx);
	/* One sentence for the log about what was released or could not be read. May be null. */
	void (*report)(void *ctx, const char *text);
	int64_t (*now)(void *ctx); /* milliseconds, as reserve_options; null: CLOCK_BOOTTIME */
	void *ctx;
};

/* reserve: addresses that it knows are its own business; may be null. */
int repair_new(struct event_base *base, struct allocator *allocator, const struct reserve *reserve,
	const struct repair_options *options, struct repair **ret);
void repair_free(struct repair *repair);
/* A scan now, if none is under way. */
void repair_begin(struct repair *repair);

struct repair_counts {
	uint64_t scans, released, affinities;
	size_t candidates, damaged; /* of the last scan */
};
const struct repair_counts *repair_counts(const struct repair *repair);
