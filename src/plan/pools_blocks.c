/* SPDX-License-Identifier: Apache-2.0
 *
 * Which blocks are believed: those inside a pool that take no node's address away and overlap no block of ours or older
 * than them. What a damaged object says costs nobody else anything. All of it costs O(n log n).
 */
#include "plan/pools_internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

/* -- pools, one inside the other where they overlap -- */

static int ring_compare(const void *a, const void *b)
{
	const struct ippool *one = ((const struct pools_ring *)a)->pool, *other = ((const struct pools_ring *)b)->pool;
	int d = prefix_compare(&one->cidr, &other->cidr);

	/* of the same prefix the last one is found */
	if (d == 0)
		d = (int)one->allocatable - (int)other->allocatable;
	return d ? d : -strcmp(one->name, other->name);
}

static size_t around(const struct pools *pools, size_t i, const struct prefix *cidr)
{
	while (i != SIZE_MAX && !prefix_contains_prefix(&pools->rings[i].pool->cidr, cidr))
		i = pools->rings[i].outer;
	return i;
}

int pools_sort_rings(struct pools *pools)
{
	const struct plan_pools_input *input = pools->input;

	pools->rings = calloc(input->pool_count + 1, sizeof(*pools->rings));
	if (!pools->rings)
		return -ENOMEM;
	pools->ring_count = input->pool_count;
	for (size_t i = 0; i < input->pool_count; i++)
		pools->rings[i].pool = input->pools[i];
	qsort(pools->rings, pools->ring_count, sizeof(*pools->rings), ring_compare);
	for (size_t i = 0; i < pools->ring_count; i++)
		pools->rings[i].outer = around(pools, i ? i - 1 : SIZE_MAX, &pools->rings[i].pool->cidr);
	return 0;
}

/* The innermost around it, or null. What is around it comes before it, and before that only what is inside that. */
static const struct ippool *find_pool(const struct pools *pools, const struct prefix *cidr)
{
	size_t low = 0, high = pools->ring_count, i;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (prefix_compare(&pools->rings[middle].pool->cidr, cidr) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	i = around(pools, low ? low - 1 : SIZE_MAX, cidr);
	return i == SIZE_MAX ? NULL : pools->rings[i].pool;
}

/* -- one block by itself: 1 sound, 0 not, or -ENOMEM -- */

static bool takes_over_nodes(const struct pools *pools, const struct prefix *cidr)
{
	const struct plan_uplink *uplink = &pools->input->uplink;

	if (pools_any_inside(pools->taken, pools->taken_count, cidr))
		return true;
	for (int f = 0; f < FAMILY_COUNT; f++)
		if (prefix_contains(cidr, &uplink->addr[f]) ||
			(pools->active[f] && prefix_contains(cidr, &pools->input->own->address[f].addr)))
			return true;
	for (size_t i = 0; i < uplink->on_link_count; i++)
		if (prefix_contains_prefix(cidr, &uplink->on_link[i]))
			return true;
	return false;
}

static int refuse(struct pools *pools, const struct pools_block *block, const char *expected)
{
	char text[PREFIX_TEXT_MAX];
	int r = pools_complain(pools, "block", prefix_format(&block->block->cidr, text), "cidr is %s, expected %s", text,
		expected);

	return r < 0 ? r : 0;
}

static int judge_block(struct pools *pools, struct pools_block *block)
{
	const struct prefix *cidr = &block->block->cidr;

	if (!prefix_is_set(cidr) || prefix_has_host_bits(cidr))
		return refuse(pools, block, "a prefix without host bits");
	block->pool = find_pool(pools, cidr);
	/* before the first full lists the pool may only not be here yet */
	if (!block->pool)
		return pools->input->complete ? refuse(pools, block, "a part of an IPPool") : 0;
	if (takes_over_nodes(pools, cidr))
		return refuse(pools, block, "one beside the nodes' own addresses");
	return 1;
}

static int judge_holder(struct pools *pools, struct pools_block *block)
{
	const char *name = block->block->node;
	char text[PREFIX_TEXT_MAX];

	if (!name || block->own)
		return 0;
	block->node = pools_find_node(pools, name);
	if (block->node || !pools->input->complete)
		return 0;
	return pools_complain(pools, "block", prefix_format(&block->block->cidr, text),
		"affinity is \"host:%s\", expected a node of the cluster", name);
}

/* -- against each other; a lower address among the blocks means an older block, and ours are the oldest -- */

static int seniority_compare(const void *a, const void *b)
{
	const struct pools_block *one = a, *other = b;
	int d;

	if (one->own != other->own)
		return one->own ? -1 : 1;
	if (one->order != other->order)
		return one->order < other->order ? -1 : 1;
	d = prefix_compare(&one->block->cidr, &other->block->cidr);
	if (d)
		return d;
	return strcmp(one->block->node ? one->block->node : "", other->block->node ? other->block->node : "");
}

static int by_seniority(const void *a, const void *b)
{
	const struct pools_block *one = *(struct pools_block *const *)a, *other = *(struct pools_block *const *)b;

	return one < other ? -1 : one > other;
}

static int by_prefix(const void *a, const void *b)
{
	const struct pools_block *one = *(struct pools_block *const *)a, *other = *(struct pools_block *const *)b;
	int d = prefix_compare(&one->block->cidr, &other->block->cidr);

	return d ? d : one < other ? -1 : one > other;
}

static size_t find_place(struct pools_block *const *kept, size_t count, const struct prefix *cidr)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (prefix_compare(&kept[middle]->block->cidr, cidr) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int complain_overlap(struct pools *pools, struct pools_block *block, const struct pools_block *holder)
{
	char text[PREFIX_TEXT_MAX], other[PREFIX_TEXT_MAX];

	block->believed = false;
	return pools_complain(pools, "block", prefix_format(&block->block->cidr, text),
		"cidr is %s, expected one that does not overlap %s block %s", text,
		holder->own ? "this node's" : "the older", prefix_format(&holder->block->cidr, other));
}

/* Some of these overlap: the older ones first, each is kept if it overlaps none that is kept already. */
static int resolve_overlaps(struct pools *pools, struct pools_block **group, size_t count)
{
	_cleanup_free_ struct pools_block **kept = reallocarray(NULL, count, sizeof(*kept));
	size_t n = 0;
	int r = 0;

	if (!kept)
		return -ENOMEM;
	qsort(group, count, sizeof(*group), by_seniority);
	for (size_t i = 0; i < count && r == 0; i++) {
		const struct prefix *cidr = &group[i]->block->cidr;
		size_t at = find_place(kept, n, cidr);

		if (at > 0 && prefix_overlaps(&kept[at - 1]->block->cidr, cidr)) {
			r = complain_overlap(pools, group[i], kept[at - 1]);
		} else if (at < n && prefix_overlaps(&kept[at]->block->cidr, cidr)) {
			r = complain_overlap(pools, group[i], kept[at]);
		} else {
			memmove(kept + at + 1, kept + at, (n++ - at) * sizeof(*kept));
			kept[at] = group[i];
		}
	}
	return r;
}

/* Sorted by prefix, what overlaps stands together behind the widest of them. */
static int judge_overlaps(struct pools *pools, struct pools_block **some, size_t count)
{
	size_t end;
	int r = 0;

	for (size_t start = 0; start < count && r == 0; start = end) {
		const struct prefix *widest = &some[start]->block->cidr;

		for (end = start + 1; end < count; end++)
			if (!prefix_overlaps(widest, &some[end]->block->cidr))
				break;
		if (end > start + 1)
			r = resolve_overlaps(pools, some + start, end - start);
	}
	return r;
}

/* -- all -- */

static int list_blocks(struct pools *pools)
{
	const struct plan_pools_input *input = pools->input;

	pools->blocks = calloc(input->block_count + 1, sizeof(*pools->blocks));
	pools->kept = calloc(input->block_count + 1, sizeof(*pools->kept));
	if (!pools->blocks || !pools->kept)
		return -ENOMEM;
	pools->block_count = input->block_count;
	for (size_t i = 0; i < input->block_count; i++) {
		const struct block *block = input->blocks[i].block;

		pools->blocks[i] = (struct pools_block){.block = block, .order = input->blocks[i].order};
		pools->blocks[i].own = block->node && strcmp(block->node, input->name) == 0;
	}
	qsort(pools->blocks, pools->block_count, sizeof(*pools->blocks), seniority_compare);
	return 0;
}

static size_t keep_believed(struct pools *pools)
{
	size_t n = 0;

	for (size_t i = 0; i < pools->block_count; i++)
		if (pools->blocks[i].believed)
			pools->kept[n++] = &pools->blocks[i];
	qsort(pools->kept, n, sizeof(*pools->kept), by_prefix);
	return n;
}

int pools_judge_blocks(struct pools *pools)
{
	int r = list_blocks(pools);
	size_t n;

	for (size_t i = 0; i < pools->block_count && r >= 0; i++) {
		r = judge_block(pools, &pools->blocks[i]);
		pools->blocks[i].believed = r > 0;
	}
	if (r < 0)
		return r;
	n = keep_believed(pools);
	r = judge_overlaps(pools, pools->kept, n);
	pools->kept_count = keep_believed(pools);
	for (size_t i = 0; i < pools->kept_count && r == 0; i++)
		r = judge_holder(pools, pools->kept[i]);
	return r;
}

const struct pools_block *pools_find_block(const struct pools *pools, const struct addr *addr)
{
	struct prefix host = prefix_host(addr);
	size_t at = find_place(pools->kept, pools->kept_count, &host);

	if (at < pools->kept_count && prefix_contains(&pools->kept[at]->block->cidr, addr))
		return pools->kept[at];
	return at > 0 && prefix_contains(&pools->kept[at - 1]->block->cidr, addr) ? pools->kept[at - 1] : NULL;
}
