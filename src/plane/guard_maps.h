/* SPDX-License-Identifier: Apache-2.0
 *
 * The guard's pinned maps (layout: bpf/guard_layout.h) and their content. Used by plane/guard.c only.
 *
 * Life cycle: guard_maps_init; guard_maps_open, once, adopts or makes the pins; guard_maps_sync at each apply;
 * guard_maps_done closes and leaves the pins.
 */
#pragma once

#include "base/err.h"
#include "plan/wanted.h"
#include "plane/bpfmap.h"

/* What the program is attached to now; kept in a map of its own so that a successor can clean up. */
struct guard_state {
	uint32_t kind; /* enum hook_kind; 0: nothing attached yet */
	uint32_t uplink;
};

enum guard_map { GUARD_MAP_SOURCES, GUARD_MAP_NODES, GUARD_MAP_EXTERNALS, GUARD_MAP_CONTENT };

struct guard_maps {
	int content[GUARD_MAP_CONTENT], counts, state; /* -1: not open */
	struct image known[GUARD_MAP_CONTENT];         /* what the kernel has */
	bool is_known;
};

void guard_maps_init(struct guard_maps *maps);
/* make: missing ones (and such of another shape) are made; otherwise -ENOENT. */
int guard_maps_open(struct guard_maps *maps, const char *dir, bool make, struct err *err);
int guard_maps_sync(struct guard_maps *maps, const struct wanted_guard *wanted, struct err *err);
int guard_maps_get_state(const struct guard_maps *maps, struct guard_state *ret);
int guard_maps_set_state(const struct guard_maps *maps, const struct guard_state *state, struct err *err);
void guard_maps_done(struct guard_maps *maps);
void guard_maps_unpin(const char *dir);
/* Those of other layouts, once no program uses them. */
void guard_maps_unpin_others(const char *parent, const char *keep);
