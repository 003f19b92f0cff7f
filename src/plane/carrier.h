/* SPDX-License-Identifier: Apache-2.0
 *
 * The carrier: a device of ours for encapsulations that the kernel has no device for (DESIGN.md decision 3). A veth
 * pair NAME / NAME"p", both IFF_NOARP and up; a route into NAME reaches the program at its tc egress, which adds the
 * outer headers and redirects to the uplink (bpf_redirect_neigh); its twin at the uplink's tc ingress removes them and
 * hands the inner packet to the stack as received on NAME. Programs and maps are pinned under bpffs, replaced
 * atomically, and go on working without the agent.
 *
 * Called by the plane when wanted.carrier.enabled, after the link exists.
 */
#pragma once

#include "base/err.h"
#include "plan/wanted.h"

struct carrier;

/* Adopts what is pinned under <bpffs>/carrier; makes nothing there before the first apply. */
int carrier_new(const char *bpffs, struct carrier **ret, struct err *err);
/* Attaches by clsact filters even where the kernel has tcx links. For tests, before the first apply. */
void carrier_use_clsact(struct carrier *carrier);
/* Brings programs and maps up to date: attaches where missing, swaps map entries, without a moment of outage.
 * ifindexes resolved by name inside. Cheap when nothing changed. */
int carrier_apply(struct carrier *carrier, const char *name, const struct wanted_carrier *wanted, struct err *err);
/* Are both programs still attached (somebody may have removed the qdisc)? */
bool carrier_check(struct carrier *carrier, const char *name, const char *uplink);
/* Where packets went, summed over CPUs since the maps were made: each reason with a name for metrics ("rx_no_node"; those
 * with "tx_", "rx_" and "forged" are drops) and a sentence for people. Both texts are constants. */
struct carrier_stat {
	const char *name, *text;
	uint64_t packets, bytes;
};
#define CARRIER_STATS_MAX 32
/* Fills ret and its count; without maps (no apply yet) all are 0. */
int carrier_get_stats(const struct carrier *carrier, struct carrier_stat ret[static CARRIER_STATS_MAX], size_t *ret_count,
	struct err *err);
void carrier_free(struct carrier *carrier); /* leaves the kernel as it is */
/* Detaches and unpins everything. */
int carrier_remove(const char *bpffs, struct err *err);
