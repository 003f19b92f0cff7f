/* SPDX-License-Identifier: Apache-2.0
 *
 * What the requests of inspect.h have in common. Nobody else includes it.
 */
#pragma once

#include "ipam/call.h"
#include "ipam/inspect.h"

struct inspection {
	struct ipam_call call; /* first */
	inspect_done done;
	void *ctx;
	struct buf answer;
};

/* A request of this size, zeroed; its clean, if it sets another one, ends with inspection_clean. */
void *inspection_new(size_t size, struct allocator *allocator, inspect_done done, void *ctx);
void inspection_clean(struct ipam_call *call);

/* The block that addr lies in: the known one if it is set, else its pool's, or as it most likely was when the pool was
 * there. */
struct prefix inspect_block_of(const struct task *task, const struct addr *addr, const struct prefix *known);
/* "pod shop/web of node n1", for people; "" for null. */
const char *inspect_owner(const struct ipam_attr *attr, char *text, size_t size);
