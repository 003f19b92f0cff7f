/* SPDX-License-Identifier: Apache-2.0 */
#include "store/choose.h"

#include <stdlib.h>

static int compare(const void *a, const void *b)
{
	return prefix_compare(a, b);
}

bool choose_next_block(const struct prefix *block, struct addr *ret)
{
	unsigned len = block->len + (block->family == AF_INET ? 96u : 0u);
	struct addr addr = prefix_masked(block).addr;

	for (unsigned bit = len; bit > (block->family == AF_INET ? 96u : 0u); bit--) {
		uint8_t mask = (uint8_t)(0x80u >> ((bit - 1) % 8));

		addr.b[(bit - 1) / 8] ^= mask;
		if (addr.b[(bit - 1) / 8] & mask) {
			*ret = addr;
			return true;
		}
	}
	return false;
}

/* What of taken reaches up to block: the last address of all that begins before block ends. */
struct walk {
	const struct prefix *taken;
	size_t count, at;
	bool any;
	struct addr last;
};

static bool walk_is_free(struct walk *walk, const struct pool *pool, const struct prefix *block)
{
	struct addr end = prefix_last(block);

	for (; walk->at < walk->count; walk->at++) {
		const struct prefix *taken = &walk->taken[walk->at];
		struct addr last;

		if (taken->family != block->family || prefix_contains_prefix(taken, &pool->cidr))
			continue;
		if (addr_compare(&taken->addr, &end) > 0)
			break;
		last = prefix_last(taken);
		if (!walk->any || addr_compare(&last, &walk->last) > 0)
			walk->last = last;
		walk->any = true;
	}
	return !walk->any || addr_compare(&walk->last, &block->addr) < 0;
}

bool choose_block(const struct pool *pool, struct prefix *taken, size_t count, struct prefix *ret)
{
	struct prefix block = {pool->block_min, pool->block_len, pool->cidr.family};
	struct prefix found[CHOOSE_CANDIDATES];
	struct walk walk = {.taken = taken, .count = count};
	uint32_t n = 0;

	qsort(taken, count, sizeof(*taken), compare);
	while (n < CHOOSE_CANDIDATES && addr_compare(&block.addr, &pool->block_max) <= 0) {
		bool is_free = walk_is_free(&walk, pool, &block);

		if (is_free)
			found[n++] = block;
		else if (addr_compare(&walk.last, &block.addr) > 0)
			/* Jumps over a large foreign prefix in one step. */
			block.addr = prefix_make(&walk.last, block.len).addr;
		if (!choose_next_block(&block, &block.addr))
			break;
	}
	if (n)
		*ret = found[arc4random_uniform(n)];
	return n > 0;
}
