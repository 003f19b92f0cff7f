/* SPDX-License-Identifier: Apache-2.0
 *
 * Things of one size, of which there may be a hundred thousand: cut from blocks of some 64 KiB, without what malloc adds to each.
 * For the verdict engine. Without memory there is no way on, as in base/hash.h.
 *
 * Life cycle: a struct slab of SLAB_INIT; slab_get and slab_put; slab_done takes all that is left at once. Blocks stay
 * until then: what has been put back is handed out again.
 */
#pragma once

#include <stddef.h>

struct slab_block;
struct slab {
	size_t size; /* of one thing, a multiple of a pointer's */
	struct slab_block *blocks;
	void *unused;
};

#define SLAB_INIT(type) ((struct slab){.size = sizeof(type)})

void *slab_get(struct slab *slab); /* all bytes are 0 */
void slab_put(struct slab *slab, void *thing);
void slab_done(struct slab *slab);
