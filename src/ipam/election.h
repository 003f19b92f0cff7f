/* SPDX-License-Identifier: Apache-2.0
 *
 * Which agent does what one agent does for all: a Lease object (coordination.k8s.io) that its holder renews
 * by compare-and-swap, and that another takes over when it was not renewed for its duration, by the other's
 * own clock. Two may believe to hold it for a moment (a clock that runs slow, an agent that was stopped): it
 * saves work, and nothing may depend on it for being right. Used by repair.h.
 *
 * Life cycle: election_new, rounds begin by themselves; election_free before the allocator.
 */
#pragma once

#include "ipam/allocator.h"

struct election;

struct election_options {
	const char *namespace, *name; /* of the Lease */
	unsigned duration_s;          /* 0: 30 */
	/* For the log, "": that trouble is over. May be null. */
	void (*report)(void *ctx, const char *text);
	void *ctx;
};

int election_new(struct event_base *base, struct allocator *allocator, const struct election_options *options,
	struct election **ret);
void election_free(struct election *election);
bool election_is_won(const struct election *election);
