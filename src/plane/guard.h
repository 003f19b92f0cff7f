/* SPDX-License-Identifier: Apache-2.0
 *
 * The guard: a program at the uplink's ingress that lets packets of tunnels (VXLAN with our port and VNI, IPIP) reach this
 * node's devices only if a node sent them, with an inner source that this node may have (struct wanted_guard says which).
 * It runs before the carrier's program there. Program and maps are pinned under bpffs, replaced atomically, and go on
 * working without the agent.
 *
 * Called by the plane when wanted.guard asks for it, before the routes.
 *
 * Life cycle: guard_new adopts what is pinned; guard_apply any number of times; guard_free leaves the kernel as it is;
 * guard_remove takes everything away.
 */
#pragma once

#include "base/err.h"
#include "plan/wanted.h"

struct guard;

int guard_new(const char *bpffs, struct guard **ret, struct err *err);
/* Attaches by a clsact filter even where the kernel has tcx links. For tests, before the first apply. */
void guard_use_clsact(struct guard *guard);
/* Does the wanted state ask for a guard at all? */
bool guard_is_wanted(const struct wanted_guard *wanted);
/* Brings program and maps up to date, without a moment in which an entry that stays is missing. A source that cannot be
 * entered is told and left out. Cheap when nothing changed. */
int guard_apply(struct guard *guard, const struct wanted_guard *wanted, struct err *err);
/* Is the program still attached there? */
bool guard_check(const struct guard *guard, const char *uplink);
/* What became of packets of tunnels, summed over CPUs since the maps were made; every name but "accepted" is a reason to
 * drop. Texts are constants. Without maps (no apply yet) all are 0. */
struct guard_stat {
	const char *name, *text;
	uint64_t packets, bytes;
};
#define GUARD_STATS_MAX 16
int guard_get_stats(const struct guard *guard, struct guard_stat ret[static GUARD_STATS_MAX], size_t *ret_count,
	struct err *err);
void guard_free(struct guard *guard);
int guard_remove(const char *bpffs, struct err *err);
