/* SPDX-License-Identifier: Apache-2.0
 *
 * Which blocks are believed: those inside a pool that take no node's address away and overlap no block of
 * ours or older than them. What a damaged object says costs nobody else anything. All of it costs O(n log n).
 */
#include "plan/pools_internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

/* -- pools, one inside the other where they overlap -- */

static int ring_compare(const void *a, const void *b)
{
	const struct ippool *one = ((const struct poolplan_ring *)a)->pool,
			    *other = ((const struct poolplan_ring *)b)->pool;
	int d = prefix_compare(&one->cidr, &other->cidr);

	/* of the same prefix the last one is found */
	if (d == 0)
		d = (int)one->allocatable - (int)other->allocatable;
	return d ? d : -strcmp(one->name, other->name);
}

static size_t around(const struct poolplan *plan, size_t i, const struct prefix *cidr)
{
	while (i != SIZE_MAX && !prefix_contains_prefix(&plan->rings[i].pool->cidr, cidr))
		i = plan->rings[i].outer;
	return i;
}

int poolplan_sort_rings(struct poolplan *plan)
{
	const struct plan_pools_input *input = plan->input;

	plan->rings = calloc(input->pool_count + 1, sizeof(*plan->rings));
	if (!plan->rings)
		return -ENOMEM;
	plan->ring_count = input->pool_count;
	for (size_t i = 0; i < input->pool_count; i++)
		plan->rings[i].pool = input->pools[i];
	qsort(plan->rings, plan->ring_count, sizeof(*plan->rings), ring_compare);
	for (size_t i = 0; i < plan->ring_count; i++)
		plan->rings[i].outer = around(plan, i ? i - 1 : SIZE_MAX, &plan->rings[i].pool->cidr);
	return 0;
}

/* The innermost around it, or null. What is around it comes before it, and before that only what is inside
 * that. */
static const struct ippool *find_pool(const struct poolplan *plan, const struct prefix *cidr)
{
	size_t low = 0, high = plan->ring_count, i;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (prefix_compare(&plan->rings[middle].pool->cidr, cidr) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	i = around(plan, low ? low - 1 : SIZE_MAX, cidr);
	return i == SIZE_MAX ? NULL : plan->rings[i].pool;
}

/* -- one block by itself: 1 sound, 0 not, or -ENOMEM -- */

static bool takes_over_nodes(const struct poolplan *plan, const struct prefix *cidr)
{
	const struct plan_uplink *uplink = &plan->input->uplink;

	if (poolplan_any_inside(plan->taken, plan->taken_count, cidr))
		return true;
	for (size_t i = 0; i < uplink->on_link_count; i++)
		if (prefix_contains_prefix(cidr, &uplink->on_link[i]))
			return true;
	return false;
}

static int refuse(struct poolplan *plan, const struct poolplan_block *block, const char *expected)
{
	char text[PREFIX_TEXT_MAX];
	int r = poolplan_complain(
		plan, "block", prefix_format(&block->cidr, text), "cidr is %s, expected %s", text, expected);

	return r < 0 ? r : 0;
}

static int judge_block(struct poolplan *plan, struct poolplan_block *block)
{
	const struct prefix *cidr = &block->cidr;

	if (!prefix_is_set(cidr) || prefix_has_host_bits(cidr))
		return refuse(plan, block, "a prefix without host bits");
	block->pool = find_pool(plan, cidr);
	/* before the first full lists the pool may only not be here yet */
	if (!block->pool)
		return plan->input->complete ? refuse(plan, block, "a part of an IPPool") : 0;
	if (takes_over_nodes(plan, cidr))
		return refuse(plan, block, "one beside the nodes' own addresses");
	return 1;
}

static int judge_holder(struct poolplan *plan, struct poolplan_block *block)
{
	const char *name = block->block->node;
	char text[PREFIX_TEXT_MAX];

	if (!name || block->own)
		return 0;
	block->node = poolplan_find_node(plan, name);
	if (block->node || !plan->input->complete)
		return 0;
	return poolplan_complain(plan, "block", prefix_format(&block->cidr, text),
		"affinity is \"host:%s\", expected a node of the cluster", name);
}

/* -- against each other -- */

/* The older one first, and ours are the oldest. */
static int seniority_compare(const struct poolplan_block *one, const struct poolplan_block *other)
{
	int d;

	if (one->own != other->own)
		return one->own ? -1 : 1;
	if (one->order != other->order)
		return one->order < other->order ? -1 : 1;
	d = prefix_compare(&one->cidr, &other->cidr);
	if (d)
		return d;
	return strcmp(one->block->node ? one->block->node : "", other->block->node ? other->block->node : "");
}

static int by_seniority(const void *a, const void *b)
{
	return seniority_compare(*(struct poolplan_block *const *)a, *(struct poolplan_block *const *)b);
}

static int by_prefix(const void *a, const void *b)
{
	const struct poolplan_block *one = a, *other = b;
	int d = prefix_compare(&one->cidr, &other->cidr);

	return d ? d : seniority_compare(one, other);
}

static size_t find_place(struct poolplan_block *const *kept, size_t count, const struct prefix *cidr)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (prefix_compare(&kept[middle]->cidr, cidr) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int complain_overlap(
	struct poolplan *plan, struct poolplan_block *block, const struct poolplan_block *holder)
{
	char text[PREFIX_TEXT_MAX], other[PREFIX_TEXT_MAX];

	block->believed = false;
	return poolplan_complain(plan, "block", prefix_format(&block->cidr, text),
		"cidr is %s, expected one that does not overlap %s block %s", text,
		holder->own ? "this node's" : "the older", prefix_format(&holder->cidr, other));
}

/* Some of these overlap: the older ones first, each is kept if it overlaps none that is kept already. */
static int resolve_overlaps(struct poolplan *plan, struct poolplan_block **group, size_t count)
{
	_cleanup_free_ struct poolplan_block **kept = reallocarray(NULL, count, sizeof(*kept));
	size_t n = 0;
	int r = 0;

	if (!kept)
		return -ENOMEM;
	qsort(group, count, sizeof(*group), by_seniority);
	for (size_t i = 0; i < count && r == 0; i++) {
		const struct prefix *cidr = &group[i]->cidr;
		size_t at = find_place(kept, n, cidr);

		if (at > 0 && prefix_overlaps(&kept[at - 1]->cidr, cidr)) {
			r = complain_overlap(plan, group[i], kept[at - 1]);
		} else if (at < n && prefix_overlaps(&kept[at]->cidr, cidr)) {
			r = complain_overlap(plan, group[i], kept[at]);
		} else {
			memmove(kept + at + 1, kept + at, (n++ - at) * sizeof(*kept));
			kept[at] = group[i];
		}
	}
	return r;
}

/* Sorted by prefix, what overlaps stands together behind the widest of them. */
static int judge_overlaps(struct poolplan *plan, struct poolplan_block **some, size_t count)
{
	size_t end;
	int r = 0;

	for (size_t start = 0; start < count && r == 0; start = end) {
		struct addr last = prefix_last(&some[start]->cidr);

		for (end = start + 1; end < count; end++)
			if (addr_compare(&some[end]->cidr.addr, &last) > 0)
				break;
		if (end > start + 1)
			r = resolve_overlaps(plan, some + start, end - start);
	}
	return r;
}

/* -- all -- */

static int list_blocks(struct poolplan *plan)
{
	const struct plan_pools_input *input = plan->input;
	bool sorted = true;

	plan->blocks = calloc(input->block_count + 1, sizeof(*plan->blocks));
	plan->kept = calloc(input->block_count + 1, sizeof(*plan->kept));
	if (!plan->blocks || !plan->kept)
		return -ENOMEM;
	plan->block_count = input->block_count;
	for (size_t i = 0; i < input->block_count; i++) {
		const struct block *block = input->blocks[i].block;

		plan->blocks[i] = (struct poolplan_block){
			.cidr = block->cidr, .block = block, .order = input->blocks[i].order};
		plan->blocks[i].own = block->node && strcmp(block->node, input->name) == 0;
		sorted = sorted && (i == 0 || by_prefix(&plan->blocks[i - 1], &plan->blocks[i]) <= 0);
	}
	if (!sorted)
		qsort(plan->blocks, plan->block_count, sizeof(*plan->blocks), by_prefix);
	return 0;
}

static void keep_believed(struct poolplan *plan)
{
	plan->kept_count = 0;
	for (size_t i = 0; i < plan->block_count; i++)
		if (plan->blocks[i].believed)
			plan->kept[plan->kept_count++] = &plan->blocks[i];
}

int poolplan_judge_blocks(struct poolplan *plan)
{
	int r = list_blocks(plan);

	for (size_t i = 0; i < plan->block_count && r >= 0; i++) {
		r = judge_block(plan, &plan->blocks[i]);
		plan->blocks[i].believed = r > 0;
	}
	if (r < 0)
		return r;
	keep_believed(plan);
	r = judge_overlaps(plan, plan->kept, plan->kept_count);
	keep_believed(plan);
	for (size_t i = 0; i < plan->kept_count && r == 0; i++)
		r = judge_holder(plan, plan->kept[i]);
	return r;
}

bool poolplan_holds(const struct poolplan_block *block)
{
	const struct block *given = block->block;

	for (size_t i = 0; i < given->guest_count && block->cidr.len == prefix_max_len(&block->cidr); i++)
		if (addr_equal(&given->guests[i].addr, &block->cidr.addr))
			return false;
	return true;
}

const struct poolplan_block *poolplan_find_block(const struct poolplan *plan, const struct addr *addr)
{
	struct prefix host = prefix_host(addr);
	size_t at = find_place(plan->kept, plan->kept_count, &host);

	if (at < plan->kept_count && prefix_contains(&plan->kept[at]->cidr, addr))
		return plan->kept[at];
	return at > 0 && prefix_contains(&plan->kept[at - 1]->cidr, addr) ? plan->kept[at - 1] : NULL;
}
