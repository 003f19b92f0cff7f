/* SPDX-License-Identifier: Apache-2.0
 *
 * Which packets of this node are not to be tracked, for table inet tulle: what the egress of doNotTrack policies allows, written as
 * chains. Netfilter has to know before the programs see the packet; they judge it all the same, so that a packet too many or too
 * few here is none that passes. Called by the agent when tables have changed. Pure.
 */
#pragma once

#include "base/buf.h"
#include "model/failsafe.h"
#include "plan/verdict.h"

#define POLICY_UNTRACKED_MAX 4096 /* addresses that one table may tell apart; beyond, what leaves is tracked */

struct policy_untracked {
	const char *link; /* good as a name in nft */
	uint64_t table;   /* VERDICT_UNTRACKED, egress; never 0 */
};
/* Appends chains "policy_raw_out" and what it needs. Returns how many of the interfaces are left out as too large, or -ENOMEM. */
int policy_untracked_add(struct buf *nft, const struct policy_untracked *all, size_t count, const struct verdict_tables *tables,
	const struct failsafes failsafes[static POLICY_DIRECTION_COUNT]);
