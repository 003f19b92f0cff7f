/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam/assign_block.h"

#include "ipam/affinities.h"
#include "ipam/handles.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SETTLE_S 60           /* an empty block is left to who claimed it for this long */
#define RESERVED_SKIPS 65536u /* blocks of a pool that are reserved and looked past */

size_t assign_missing(const struct assign *assign)
{
	return assign->call.count < assign->request.count ? assign->request.count - assign->call.count : 0;
}

/* -- addresses of one block -- */

static size_t wanted_from(const struct assign *assign, const struct ipam_block *block, bool own)
{
	size_t want = own ? assign->request.count + assign->request.extra - assign->call.count
			  : assign_missing(assign);
	size_t free = ipam_block_count_free(block, ipam_world_reserves, assign->call.task.world);

	return want < free ? want : free;
}

static int take(struct assign *assign, struct ipam_block *block, size_t want, struct err *err)
{
	struct ipam_owner owner = owner_borrow(&assign->owner);
	struct task *task = &assign->call.task;
	int taken = ipam_block_take(block, &owner, ipam_world_reserves, task->world, want,
		assign->call.addrs + assign->call.count);
	int rc;

	if (taken < 0)
		return err_set(err, taken, "no memory for addresses");
	rc = block_write(task, block, err);
	return rc < 0 ? rc : taken;
}

/* After a lost compare-and-swap. -ENOENT: nothing can be taken from it any more. */
static int read_again(struct assign *assign, struct ipam_block **block, bool own, struct err *err)
{
	struct prefix cidr = (*block)->cidr;
	int rc;

	ipam_block_free(block);
	rc = block_get(&assign->call.task, &cidr, block, err);
	if (rc == 0 && own && !ipam_block_is_of(*block, assign->call.task.env->node))
		return err_set(err, -ENOENT, "the block is another's now");
	return rc;
}

/* Returns how many; raised: for how many the handle was raised. */
static int take_tries(
	struct assign *assign, struct ipam_block **block, bool own, size_t *raised, struct err *err)
{
	struct task *task = &assign->call.task;
	unsigned tries = 0;
	int rc;

	for (;;) {
		size_t want = wanted_from(assign, *block, own);

		if (want == 0)
			return 0;
		if (want > *raised) {
			rc = handle_raise(task, assign->owner.handle, &(*block)->cidr, want - *raised,
				assign->request.max_per_handle, err);
			if (rc < 0)
				return rc;
			*raised = want;
		}
		rc = take(assign, *block, want, err);
		if (rc == -ESTALE)
			rc = task_retry(task, &tries, "IPAMBlock", err);
		else
			return rc;
		rc = rc < 0 ? rc : read_again(assign, block, own, err);
		if (rc < 0)
			return rc == -ENOENT ? 0 : rc;
	}
}

int assign_from(struct assign *assign, struct ipam_block **block, bool own, struct err *err)
{
	struct prefix cidr = (*block)->cidr;
	size_t raised = 0;
	int rc = take_tries(assign, block, own, &raised, err);

	if (rc > 0)
		assign->call.count += (size_t)rc;
	/* when it is not known whether the block was written, the handle had better count too many */
	if (rc >= 0 || rc == -EAGAIN || rc == -EDQUOT)
		handle_lower(&assign->call.task, assign->owner.handle, &cidr,
			raised - (size_t)(rc > 0 ? rc : 0), NULL);
	return rc < 0 ? rc : 0;
}

/* -- blocks -- */

static uint64_t start_of(const struct assign *assign, const struct ipam_pool *pool)
{
	const struct task *task = &assign->call.task;
	uint64_t count = ipam_block_count(&pool->cidr, pool->block_len);

	/* single addresses: the place does not matter later on, and nodes that start there together collide
	 */
	if (pool->block_len == prefix_max_len(&pool->cidr))
		return (uint64_t)task_now(task) % count;
	return ipam_start_index(task->env->node, count);
}

static bool is_of(const struct survey_block *block, const char *node)
{
	return block->affinity && strncmp(block->affinity, "host:", 5) == 0 &&
	       strcmp(block->affinity + 5, node) == 0;
}

static bool find_free_in(const struct assign *assign, const struct ipam_pool *pool, struct prefix *ret)
{
	uint64_t count = ipam_block_count(&pool->cidr, pool->block_len), start = start_of(assign, pool);
	const struct task *task = &assign->call.task;
	unsigned skipped = 0;

	for (uint64_t i = 0; i < count && skipped < RESERVED_SKIPS; i++) {
		uint64_t left = count - start;
		struct prefix cidr =
			ipam_block_at(&pool->cidr, pool->block_len, i < left ? start + i : i - left);
		const struct survey_block *block = survey_find(&assign->survey, &cidr);

		if (!block && !ipam_world_reserves_all(task->world, &cidr)) {
			*ret = cidr;
			return true;
		}
		skipped += !block;
		if (block && prefix_equal(&block->cidr, &cidr) && is_of(block, task->env->node) &&
			block->space) {
			*ret = cidr;
			return true;
		}
	}
	return false;
}

bool assign_find_free(struct assign *assign, struct prefix *ret)
{
	for (size_t i = 0; i < assign->pool_count; i++) {
		if (find_free_in(assign, assign->pools[i], ret))
			return true;
	}
	return false;
}

static bool is_of_pool(const struct survey_block *block, const struct ipam_pool *pool)
{
	return block->cidr.len == pool->block_len && prefix_contains_prefix(&pool->cidr, &block->cidr);
}

static struct survey_block *find_empty(struct assign *assign)
{
	int64_t now = task_now_seconds(&assign->call.task);

	for (size_t i = 0; i < assign->survey.count; i++) {
		struct survey_block *block = &assign->survey.items[i];

		if (block->damaged || !block->empty || !block->space ||
			(block->affinity && strncmp(block->affinity, "host:", 5) != 0) ||
			is_of(block, assign->call.task.env->node) || block->claim_time + SETTLE_S > now)
			continue;
		for (size_t j = 0; j < assign->pool_count; j++) {
			if (is_of_pool(block, assign->pools[j]))
				return block;
		}
	}
	return NULL;
}

/* Nobody's and empty: who emptied it did not come to removing it. */
static int remove_orphan(struct task *task, const struct survey_block *seen, struct err *err)
{
	_cleanup_block_ struct ipam_block *block = NULL;
	int rc = block_get(task, &seen->cidr, &block, err);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	if (block->affinity || !ipam_block_is_empty(block))
		return -EBUSY;
	rc = block_remove(task, block, err);
	return rc == -ESTALE ? -EBUSY : rc;
}

int assign_reclaim(struct assign *assign, struct prefix *ret, struct err *err)
{
	struct survey_block *block = find_empty(assign);
	struct affinity_release release = {.require_empty = true};
	int rc;

	if (!block)
		return err_set(err, -ENOSPC, "node %s: no block is free", assign->call.task.env->node);
	block->empty = false; /* once */
	release.cidr = block->cidr;
	release.sequence = block->sequence;
	if (block->affinity) {
		release.node = block->affinity + 5;
		rc = affinity_release(&assign->call.task, &release, err);
	} else {
		rc = remove_orphan(&assign->call.task, block, err);
	}
	if (rc == 0)
		*ret = block->cidr;
	return rc;
}

/* -- borrowing -- */

static int borrow_from(struct assign *assign, const struct survey_block *seen, struct err *err)
{
	_cleanup_block_ struct ipam_block *block = NULL;
	int rc;

	if (!seen->space || seen->damaged)
		return 0;
	rc = block_get(&assign->call.task, &seen->cidr, &block, err);
	if (rc < 0)
		return rc == -ENOENT || rc == -EINVAL ? 0 : rc;
	return assign_from(assign, &block, false, err);
}

/* The first block at or behind this node's place in the pool. */
static size_t first_of(const struct assign *assign, const struct ipam_pool *pool)
{
	struct prefix start = ipam_block_at(&pool->cidr, pool->block_len, start_of(assign, pool));
	size_t first = 0;

	while (first < assign->survey.count && prefix_compare(&assign->survey.items[first].cidr, &start) < 0)
		first++;
	return first;
}

int assign_borrow(struct assign *assign, struct err *err)
{
	size_t count = assign->survey.count;

	for (size_t i = 0; i < assign->pool_count; i++) {
		size_t first = first_of(assign, assign->pools[i]);

		for (size_t j = 0; j < count && assign_missing(assign) > 0; j++) {
			const struct survey_block *seen = &assign->survey.items[(first + j) % count];
			int rc = 0;

			if (prefix_contains_prefix(&assign->pools[i]->cidr, &seen->cidr))
				rc = borrow_from(assign, seen, err);
			if (rc < 0)
				return rc;
		}
	}
	if (assign_missing(assign) == 0)
		return 0;
	return err_set(err, -ENOSPC,
		"node %s: %zu of %zu addresses could be had, all blocks of its pools are full",
		assign->call.task.env->node, assign->call.count, assign->request.count);
}
