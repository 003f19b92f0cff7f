/* SPDX-License-Identifier: Apache-2.0
 *
 * What is not handed out is a list through its first bytes. The address sanitizer sees it as freed.
 */
#include "base/slab.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(memory, size) ((void)(memory), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(memory, size) ((void)(memory), (void)(size))
#endif

#define BLOCK_BYTES 65500 /* with what malloc adds still less than its threshold for memory of its own */

struct slab_block {
	struct slab_block *next;
	char things[];
};

struct unused {
	struct unused *next;
};

static void add_block(struct slab *slab)
{
	size_t count = (BLOCK_BYTES - sizeof(struct slab_block)) / slab->size;
	struct slab_block *block;

	assert(slab->size >= sizeof(struct unused) && slab->size % sizeof(void *) == 0 && count);
	block = malloc(sizeof(*block) + count * slab->size);
	if (!block)
		abort();
	block->next = slab->blocks;
	slab->blocks = block;
	for (size_t i = count; i-- > 0;)
		slab_put(slab, block->things + i * slab->size);
}

void *slab_get(struct slab *slab)
{
	struct unused *thing;

	if (!slab->unused)
		add_block(slab);
	thing = slab->unused;
	ASAN_UNPOISON_MEMORY_REGION(thing, slab->size);
	slab->unused = thing->next;
	return memset(thing, 0, slab->size);
}

void slab_put(struct slab *slab, void *thing)
{
	struct unused *unused = thing;

	unused->next = slab->unused;
	slab->unused = unused;
	ASAN_POISON_MEMORY_REGION(thing, slab->size);
}

void slab_done(struct slab *slab)
{
	while (slab->blocks) {
		struct slab_block *block = slab->blocks;

		slab->blocks = block->next;
		free(block);
	}
	slab->unused = NULL;
}
