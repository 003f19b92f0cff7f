/* SPDX-License-Identifier: Apache-2.0
 *
 * Foreign FORWARD chains that drop (Docker sets that policy): an accept in our own table cannot override them, so two
 * commented accepts for each prefix go into DOCKER-USER if there is one, else to the end of FORWARD, by iptables-nft or
 * iptables-legacy, whichever holds the chain. They are taken back when they are no longer needed. Base chains of other
 * nftables tables cannot be helped that way: they are named in the note.
 */
#pragma once

#include "base/addr.h"
#include "base/buf.h"
#include "plane/nft.h"

struct forward {
	struct prefix *prefixes; /* served by the last check */
	size_t count;
	struct buf note;
	int64_t checked_ms; /* monotonic; 0: never */
	bool due;
};

void forward_init(struct forward *forward);
void forward_done(struct forward *forward);
/* Checks if due, or if the prefixes changed; not more than once a second: *ret_wait_ms says how long the next one has to
 * wait, 0 when none is due. */
int forward_apply(struct forward *forward, const struct prefix *prefixes, size_t count, struct children *children,
	int *ret_wait_ms, struct err *err);
/* Takes all of them back (dry: only tells); one line for each in report. */
int forward_remove(struct children *children, bool dry, struct buf *report, struct err *err);
