/* SPDX-License-Identifier: Apache-2.0
 *
 * objects/objects.h in memory, for several agents, with a conductor: what an agent asks waits until the test
 * says that it happens, and how. Everything is deterministic, so that a run can be repeated from the choices
 * that were made.
 */
#pragma once

#include "objects/objects.h"

#include <stddef.h>
#include <stdint.h>

struct sim;

struct sim *sim_new(void);
void sim_free(struct sim *sim);
/* An agent's door. Freed by sim_free. */
struct objects *sim_door(struct sim *sim);

/* -- what waits -- */

size_t sim_pending(const struct objects *door);
enum sim_fate {
	SIM_DONE,    /* it happens, and the agent is told */
	SIM_LOST,    /* it happens, but the answer is "nobody knows" */
	SIM_REFUSED, /* it does not happen, and nobody knows */
	SIM_SILENT,  /* it happens, and the agent, which ends now, is not told */
};
/* The i-th that waits; its done() is called, unless the fate is silent. */
void sim_execute(struct objects *door, size_t i, enum sim_fate fate);
/* "update IPAMBlock 10-0-0-0-31", for people. */
const char *sim_describe(const struct objects *door, size_t i);
/* Nothing that waits happens any more; nobody is told. */
void sim_drop(struct objects *door);

/* -- what there is -- */

/* Borrowed; null: there is none. */
json_t *sim_object(const struct sim *sim, enum kind kind, const char *name);
void sim_each(const struct sim *sim, enum kind kind, void (*each)(void *ctx, json_t *object), void *ctx);
/* Puts an object, or removes it, as somebody else would. */
void sim_put(struct sim *sim, enum kind kind, const json_t *object);
void sim_remove(struct sim *sim, enum kind kind, const char *name);
/* Of all that is stored. */
uint64_t sim_hash(const struct sim *sim);
/* Of all that this agent's requests were answered, and whether it still holds; what a request (its
 * objects_done's ctx) knows can be forgotten when it has ended. null: all. */
uint64_t sim_hash_door(const struct objects *door);
void sim_forget(struct objects *door, const void *who);
/* Objects of this kind that were deleted so far. */
uint64_t sim_deletions(const struct sim *sim, enum kind kind);
uint64_t sim_mix(uint64_t hash, const void *data, size_t len);
