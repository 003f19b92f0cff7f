/* SPDX-License-Identifier: Apache-2.0
 *
 * The carrier's pinned maps (layout: bpf/carrier_layout.h) and their content. Used by plane/carrier.c only.
 *
 * Life cycle: carrier_maps_init; carrier_maps_open, once, adopts or makes the pins; carrier_maps_sync at each apply;
 * carrier_maps_done closes and leaves the pins.
 */
#pragma once

#include "base/err.h"
#include "plan/wanted.h"
#include "plane/bpfmap.h"

/* What the programs are attached to now; kept in a map of its own so that a successor can clean up. */
struct carrier_state {
	uint32_t kind; /* enum hook_kind; 0: nothing attached yet */
	uint32_t device, device_twin, uplink;
};

struct carrier_maps {
	int blocks, peers, counts, state;           /* -1: not open */
	struct image known_blocks, known_peers;     /* what the kernel has */
	bool known;
};

void carrier_maps_init(struct carrier_maps *maps);
/* make: missing ones (and such of another shape) are made; otherwise -ENOENT. */
int carrier_maps_open(struct carrier_maps *maps, const char *dir, bool make, struct err *err);
/* Brings blocks and peers to what is wanted, without a moment in which an entry that stays is missing. */
int carrier_maps_sync(struct carrier_maps *maps, const struct wanted_carrier *wanted, struct err *err);
int carrier_maps_get_state(const struct carrier_maps *maps, struct carrier_state *ret);
int carrier_maps_set_state(const struct carrier_maps *maps, const struct carrier_state *state, struct err *err);
void carrier_maps_done(struct carrier_maps *maps);
/* Removes the pins of this directory. */
void carrier_maps_unpin(const char *dir);
/* Those of other layouts, once no program uses them. */
void carrier_maps_unpin_others(const char *parent, const char *keep);
