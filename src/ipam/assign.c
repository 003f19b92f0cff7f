/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "ipam/affinities.h"
#include "ipam/assign_block.h"
#include "ipam/call.h"
#include "model/selector.h"

#include <errno.h>
#include <string.h>

/* -- the request -- */

void assign_clean(struct ipam_call *call)
{
	struct assign *assign = (struct assign *)call;

	owned_owner_free(&assign->owner);
	free((void *)assign->request.wish.pools);
	if (assign->request.wish.namespace_labels)
		labels_free((struct labels **)&assign->request.wish.namespace_labels);
	free(assign->pools);
	survey_free(&assign->survey);
}

static int copy_labels(const struct labels *from, const struct labels **to)
{
	struct labels *labels = labels_new();

	*to = labels;
	for (size_t i = 0; labels && i < from->count; i++) {
		if (labels_set(labels, from->items[i].key, from->items[i].value) < 0)
			return -ENOMEM;
	}
	return labels ? 0 : -ENOMEM;
}

static int copy_request(const struct ipam_assign *from, struct assign *assign)
{
	struct prefix *pools = NULL;

	assign->request = *from;
	assign->request.wish.pools = NULL;
	assign->request.wish.namespace_labels = NULL;
	if (from->wish.namespace_labels &&
		copy_labels(from->wish.namespace_labels, &assign->request.wish.namespace_labels) < 0)
		return -ENOMEM;
	if (from->wish.pools) {
		pools = calloc(from->wish.pool_count + 1, sizeof(*pools));
		assign->request.wish.pools = pools;
		if (!pools)
			return -ENOMEM;
		for (size_t i = 0; i < from->wish.pool_count; i++)
			pools[i] = from->wish.pools[i];
	}
	assign->call.addrs = calloc(from->count + from->extra + 1, sizeof(*assign->call.addrs));
	return assign->call.addrs ? owner_copy(&from->owner, &assign->owner) : -ENOMEM;
}

/* -- own blocks -- */

static bool in_pools(const struct assign *assign, const struct prefix *cidr)
{
	for (size_t i = 0; i < assign->pool_count; i++) {
		if (prefix_contains_prefix(&assign->pools[i]->cidr, cidr))
			return true;
	}
	return false;
}

/* A block of a pool that does not want this node any more is given up as soon as it is empty. */
static void give_up_strays(struct assign *assign, const struct affinities *affinities)
{
	struct task *task = &assign->call.task;

	for (size_t i = 0; i < affinities->count; i++) {
		const struct prefix *cidr = &affinities->items[i].cidr;
		const struct ipam_pool *pool = ipam_world_pool_of(task->world, &cidr->addr);
		struct affinity_release release = {task->env->node, *cidr, .require_empty = true};

		if (!in_pools(assign, cidr) && pool && !pool->selects_node)
			affinity_release(task, &release, NULL);
	}
}

static int use_own(struct assign *assign, const struct affinities *affinities, struct err *err)
{
	struct task *task = &assign->call.task;

	for (size_t i = 0; i < affinities->count && assign_missing(assign) > 0; i++) {
		const struct affinity *affinity = &affinities->items[i];
		_cleanup_block_ struct ipam_block *block = NULL;
		int rc;

		if (!in_pools(assign, &affinity->cidr))
			continue;
		if (ipam_world_reserves_all(task->world, &affinity->cidr)) {
			assign->own_blocks++;
			continue;
		}
		rc = affinity_use(task, affinity, &block, err);
		if (rc == -EBUSY)
			continue;
		assign->own_blocks++;
		/* one that is damaged does not keep the node from its others */
		if (rc == -EINVAL)
			continue;
		rc = rc < 0 ? rc : assign_from(assign, &block, true, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* -- a new block -- */

static size_t block_limit(const struct assign *assign)
{
	size_t request = assign->request.max_blocks,
	       node = assign->call.task.world->config.max_blocks_per_host;

	if (request && node)
		return request < node ? request : node;
	return request ? request : node ? node : IPAM_BLOCKS_DEFAULT;
}

static int claim(struct assign *assign, const struct prefix *cidr, struct err *err)
{
	_cleanup_block_ struct ipam_block *block = NULL;
	int rc = affinity_claim(&assign->call.task, cidr, &block, err);

	if (rc < 0)
		return rc;
	assign->own_blocks++;
	return assign_from(assign, &block, true, err);
}

/* -EBUSY: somebody was faster with the block; -ENOSPC: there is none. */
static int claim_new(struct assign *assign, struct err *err)
{
	struct prefix cidr;

	if (assign_find_free(assign, &cidr))
		return claim(assign, &cidr, err);
	for (;;) {
		int rc = assign_reclaim(assign, &cidr, err);

		if (rc == 0)
			return claim(assign, &cidr, err);
		if (rc != -EBUSY)
			return rc;
	}
}

static int survey(struct assign *assign, struct err *err)
{
	survey_free(&assign->survey);
	return survey_take(&assign->call.task, assign->request.wish.family_index, &assign->survey, err);
}

static int use_new(struct assign *assign, struct err *err)
{
	struct task *task = &assign->call.task;
	unsigned tries = 0;
	int rc;

	if (!task->world->config.auto_allocate_blocks)
		return err_set(err, -ENOSPC, "node %s: its blocks are full, and autoAllocateBlocks is off",
			task->env->node);
	rc = survey(assign, err);
	while (rc == 0 && assign_missing(assign) > 0) {
		if (assign->own_blocks >= block_limit(assign))
			return err_set(err, -ENOSPC,
				"node %s: its %zu blocks are full, expected maxBlocksPerHost of IPAMConfiguration "
				"default to allow more than %zu",
				task->env->node, assign->own_blocks, block_limit(assign));
		rc = claim_new(assign, err);
		if (rc == -EBUSY)
			rc = task_retry(task, &tries, "new block", err);
		/* what was claimed, or lost, shows in the next look */
		if (rc == 0 && assign_missing(assign) > 0)
			rc = survey(assign, err);
	}
	if (rc != -ENOSPC || task->world->config.strict_affinity)
		return rc;
	return assign_borrow(assign, err);
}

/* -- the whole -- */

int assign_work(struct assign *assign, struct err *err)
{
	struct task *task = &assign->call.task;
	struct affinities affinities = {0};
	int rc = ipam_world_choose(task->world, &assign->request.wish, task->env->node, &assign->pools,
		&assign->pool_count, err);

	if (rc == 0)
		rc = affinities_list(
			task, task->env->node, assign->request.wish.family_index, &affinities, err);
	if (rc < 0)
		return rc;
	give_up_strays(assign, &affinities);
	rc = use_own(assign, &affinities, err);
	affinities_free(&affinities);
	if (rc == 0 && assign_missing(assign) > 0)
		rc = use_new(assign, err);
	return rc;
}

static int assign_run(struct ipam_call *call, struct err *err)
{
	return assign_work((struct assign *)call, err);
}

struct ipam_call *allocator_assign(
	struct allocator *allocator, const struct ipam_assign *request, ipam_done done, void *ctx)
{
	struct assign *assign = call_new(sizeof(*assign), allocator, done, ctx);

	if (!assign)
		return NULL;
	assign->call.work = assign_run;
	assign->call.clean = assign_clean;
	if (copy_request(request, assign) < 0) {
		call_free(&assign->call);
		return NULL;
	}
	return call_start(&assign->call);
}
