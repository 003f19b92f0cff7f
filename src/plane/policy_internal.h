/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of plane/policy*.c share.
 *
 *   policy.c         life cycle, state (epoch, marks), counters
 *   policy_maps.c    the pinned maps
 *   policy_tables.c  addresses, pairs and ports: apply and compare
 *   policy_pods.c    endpoints, locals and sources
 *   policy_hosts.c   host endpoints
 *   policy_express.c ways to other nodes, for the express path
 *   policy_hooks.c   programs, and where they are attached
 *   policy_events.c  the ring buffer
 *   policy_look.c    what the programs would find, and what they remember
 */
#pragma once

#include "base/hash.h"
#include "bpf/express_layout.h"
#include "plane/hook.h"
#include "plane/mapbatch.h"
#include "plane/pinned.h"
#include "plane/policy.h"

#include <limits.h>

enum policy_map {
	POLICY_MAP_ADDRESSES,
	POLICY_MAP_PAIRS,
	POLICY_MAP_PORTS,
	POLICY_MAP_ENDPOINTS,
	POLICY_MAP_LOCALS,
	POLICY_MAP_SOURCES,
	POLICY_MAP_FLOWS,
	POLICY_MAP_FRAGMENTS,
	POLICY_MAP_COUNTS,
	POLICY_MAP_STATE,
	POLICY_MAP_EVENTS,
	POLICY_MAP_HOSTS,
	POLICY_MAP_SLOTS,
	POLICY_MAP_REMOTES,
	POLICY_MAP_EXPRESS,
	POLICY_MAP_EXPRESS_COUNTS,
	POLICY_MAP_COUNT,
};

struct policy_maps {
	int fd[POLICY_MAP_COUNT]; /* -1: not open */
	uint32_t limit[POLICY_MAP_COUNT];
	/* How many entries the tables have, at most; only meaningful where counted. */
	size_t count[POLICY_MAP_COUNT];
	bool counted[POLICY_MAP_COUNT];
};

/* -- policy_maps.c -- */

void policy_maps_init(struct policy_maps *maps);
void policy_maps_done(struct policy_maps *maps);
/* Adopts or makes the pins in dir. A map that is pinned there with another number of entries keeps it. ret_fresh: some
 * of those that the agent fills are new, without entries. */
int policy_maps_open(struct policy_maps *maps, const char *dir, uint32_t flows_max, bool *ret_fresh, struct err *err);
void policy_maps_unpin(const char *dir);
void policy_maps_unpin_others(const char *parent, const char *keep);
const char *policy_map_name(enum policy_map map);
struct image policy_maps_image(enum policy_map map);
int policy_maps_read(struct policy_maps *maps, enum policy_map map, struct image *ret, struct err *err);
/* -ENOSPC, and nothing is written, if these cannot be added to what is there. */
int policy_maps_check_room(struct policy_maps *maps, enum policy_map map, const struct image *entries, struct err *err);
int policy_maps_put(struct policy_maps *maps, enum policy_map map, const struct image *entries, struct err *err);
int policy_maps_del(struct policy_maps *maps, enum policy_map map, const struct image *entries, struct err *err);

/* -- the plane -- */

struct policy_local; /* a pod that has an entry */
struct policy_slots; /* the express path's slots, as the kernel has them */

struct policy_plane {
	struct policy_plane_options options; /* bpffs is not valid any more */
	char dir[PATH_MAX - 128];            /* <bpffs>/policy */
	char maps_dir[PATH_MAX - 96];
	char links_dir[PATH_MAX - 96];
	enum hook_kind pod_kind, exit_kind;
	struct policy_maps maps;
	struct policy_state state;
	/* The maps are new, but programs of an earlier layout are attached: they go on judging by their own maps until
	 * ours are filled. */
	bool behind;
	bool changed; /* since the epoch was raised */
	bool conntrack;
	struct policy_local *pods;
	int *program_fds; /* by role; null: not loaded */
	uint32_t *leaving; /* interfaces whose pods were removed, and whose pins are still there */
	size_t leaving_count, leaving_room;
	struct policy_slots *slots; /* null: not read yet */
	struct ring_buffer *ring;
	unsigned polled; /* events of this call */
};

/* -- policy.c -- */

int policy_plane_write_state(struct policy_plane *plane, struct err *err);
int policy_plane_raise_epoch(struct policy_plane *plane, struct err *err);

/* -- policy_pods.c -- */

int policy_pods_read(struct policy_plane *plane, struct err *err);
void policy_pods_done(struct policy_plane *plane);
bool policy_pods_has(const struct policy_plane *plane, uint32_t ifindex);

/* -- policy_hooks.c -- */

int policy_hooks_load(struct policy_plane *plane, struct err *err);
void policy_hooks_done(struct policy_plane *plane);
/* Puts our programs into the place of all that are attached, and forgets interfaces that are gone. */
int policy_hooks_update_all(struct policy_plane *plane, struct err *err);
int policy_hooks_update_pod(struct policy_plane *plane, uint32_t ifindex, struct err *err);
/* The program of host endpoints. */
int policy_hooks_guard_host(struct policy_plane *plane, uint32_t ifindex, struct err *err);
int policy_hooks_release_host(struct policy_plane *plane, uint32_t ifindex, struct err *err);
bool policy_hooks_any(const struct policy_plane *plane);
void policy_hooks_sweep(struct policy_plane *plane); /* pins of interfaces that are gone */
void policy_hooks_leave(struct policy_plane *plane, uint32_t ifindex);
int policy_hooks_remove(struct policy_plane *plane, struct err *err);

/* -- policy_express.c -- */

void policy_express_done(struct policy_plane *plane);

/* -- policy_events.c -- */

int policy_events_open(struct policy_plane *plane, struct err *err);
void policy_events_done(struct policy_plane *plane);
