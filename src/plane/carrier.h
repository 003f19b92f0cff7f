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

int carrier_new(const char *bpffs, struct carrier **ret, struct err *err); /* adopts what is pinned */
/* Brings programs and maps up to date: attaches where missing, swaps map entries, without a moment of outage.
 * ifindexes resolved by name inside. Cheap when nothing changed. */
int carrier_apply(struct carrier *carrier, const char *name, const struct wanted_carrier *wanted, struct err *err);
/* Are both programs still attached (somebody may have removed the qdisc)? */
bool carrier_check(struct carrier *carrier, const char *name, const char *uplink);
void carrier_free(struct carrier *carrier); /* leaves the kernel as it is */
/* Detaches and unpins everything. */
int carrier_remove(const char *bpffs, struct err *err);
