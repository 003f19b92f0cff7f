/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "base/json.h"
#include "ipam/affinities.h"
#include "ipam/call.h"
#include "ipam/handles.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void call_tidy_block(struct task *task, struct ipam_block *block)
{
	struct affinity_release release = {task->env->node, block->cidr, .require_empty = true};
	const struct ipam_pool *pool = ipam_world_pool_of(task->world, &block->cidr.addr);

	if (!ipam_block_is_empty(block))
		return;
	/* a load balancer's block is nobody's who would use it again */
	if (!block->affinity || strncmp(block->affinity, "virtual:", 8) == 0)
		block_remove(task, block, NULL);
	else if (ipam_block_is_of(block, task->env->node) && pool && !pool->selects_node)
		affinity_release(task, &release, NULL);
}

static int write_released(struct task *task, struct ipam_block *block, struct err *err)
{
	ipam_block_collect(block, task_now_seconds(task), task->world->config.cooldown);
	return block_write(task, block, err);
}

static struct prefix block_of(const struct task *task, const struct addr *addr)
{
	const struct ipam_pool *pool = ipam_world_pool_of(task->world, addr);

	/* without a pool: as it most likely was when the pool was there */
	return ipam_block_of(addr, pool ? pool->block_len : addr_is_4(addr) ? 26 : 122);
}

static int release_addr_once(struct task *task, const struct prefix *cidr, const struct ipam_claim *claim,
	struct ipam_block **block, struct err *err)
{
	int rc = block_get(task, cidr, block, err);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	rc = ipam_block_release(*block, claim, task_now_seconds(task));
	if (rc <= 0)
		return rc == -ESTALE ? -EPERM : rc;
	rc = write_released(task, *block, err);
	return rc < 0 ? rc : 1;
}

int call_release_addr(struct task *task, const struct ipam_claim *claim, struct err *err)
{
	struct prefix cidr = block_of(task, &claim->addr);

	return call_release_addr_in(task, &cidr, claim, err);
}

int call_release_addr_in(
	struct task *task, const struct prefix *cidr, const struct ipam_claim *claim, struct err *err)
{
	unsigned tries = 0;
	int rc;

	do {
		_cleanup_block_ struct ipam_block *block = NULL;

		rc = release_addr_once(task, cidr, claim, &block, err);
		if (rc == 1) {
			if (claim->handle)
				handle_lower(task, claim->handle, &block->cidr, 1, NULL);
			call_tidy_block(task, block);
		}
		if (rc != -ESTALE)
			return rc == -EPERM ? -ESTALE : rc;
		rc = task_retry(task, &tries, "IPAMBlock", err);
	} while (rc == 0);
	return rc;
}

/* -- addresses, each guarded -- */

struct release {
	struct ipam_call call; /* first; rcs */
	struct ipam_claim *claims;
	char **handles;
	char **owners; /* of each: whose it was */
	size_t count;
};

static void clean(struct ipam_call *call)
{
	struct release *release = (struct release *)call;

	for (size_t i = 0; i < release->count; i++) {
		free(release->handles[i]);
		free(release->owners[i]);
	}
	free(release->handles);
	free(release->owners);
	free(release->claims);
}

static bool is_in(const struct release *release, size_t i, const struct prefix *cidr)
{
	return prefix_contains(cidr, &release->claims[i].addr);
}

static void set_all(struct release *release, const struct prefix *cidr, int rc)
{
	for (size_t i = 0; i < release->count; i++) {
		if (is_in(release, i, cidr))
			release->call.rcs[i] = rc;
	}
}

static int note_owner(struct release *release, size_t i, const struct ipam_block *block)
{
	int ordinal = ipam_block_ordinal(block, &release->claims[i].addr);
	const struct ipam_attr *attr = ordinal < 0 ? NULL : ipam_block_owner(block, (unsigned)ordinal);

	free(release->owners[i]);
	release->owners[i] = attr && attr->handle ? strdup(attr->handle) : NULL;
	return attr && attr->handle && !release->owners[i] ? -ENOMEM : 0;
}

/* All that lie in the block, or none. Returns how many. */
static int release_in(struct release *release, struct ipam_block *block)
{
	int64_t now = task_now_seconds(&release->call.task);
	int count = 0;

	for (size_t i = 0; i < release->count; i++) {
		int rc;

		if (!is_in(release, i, &block->cidr))
			continue;
		rc = note_owner(release, i, block);
		if (rc == 0)
			rc = ipam_block_release(block, &release->claims[i], now);
		if (rc < 0)
			return rc;
		release->call.rcs[i] = rc;
		count += rc;
	}
	return count;
}

static void lower_handles(struct release *release, const struct prefix *cidr)
{
	for (size_t i = 0; i < release->count; i++) {
		size_t by = 0;

		if (!is_in(release, i, cidr) || release->call.rcs[i] != 1 || !release->owners[i])
			continue;
		for (size_t j = release->count; j-- > i;) {
			if (!is_in(release, j, cidr) || release->call.rcs[j] != 1 || !release->owners[j] ||
				strcmp(release->owners[j], release->owners[i]) != 0)
				continue;
			by++;
			if (j > i) {
				free(release->owners[j]);
				release->owners[j] = NULL;
			}
		}
		handle_lower(&release->call.task, release->owners[i], cidr, by, NULL);
	}
}

static int release_once(struct release *release, const struct prefix *cidr, struct err *err)
{
	struct task *task = &release->call.task;
	_cleanup_block_ struct ipam_block *block = NULL;
	char text[PREFIX_TEXT_MAX];
	int rc = block_get(task, cidr, &block, err);

	if (rc == -ENOENT) {
		set_all(release, cidr, 0);
		return 0;
	}
	if (rc < 0)
		return rc;
	rc = release_in(release, block);
	if (rc < 0)
		return err_set(err, rc == -ESTALE ? -EPERM : rc,
			"block %s: an address has been given to somebody else in the meantime",
			prefix_format(cidr, text));
	if (rc == 0)
		return 0;
	rc = write_released(task, block, err);
	if (rc < 0)
		return rc;
	lower_handles(release, cidr);
	call_tidy_block(task, block);
	return 0;
}

static int release_block(struct release *release, const struct prefix *cidr, struct err *err)
{
	unsigned tries = 0;
	int rc;

	do {
		rc = release_once(release, cidr, err);
		if (rc != -ESTALE)
			break;
		rc = task_retry(&release->call.task, &tries, "IPAMBlock", err);
	} while (rc == 0);
	if (rc < 0)
		set_all(release, cidr, rc == -EPERM ? -ESTALE : rc);
	return rc == -EPERM ? 0 : rc;
}

static int release_run(struct ipam_call *call, struct err *err)
{
	struct release *release = (struct release *)call;
	int rc = 0;

	for (size_t i = 0; i < release->count; i++)
		call->rcs[i] = INT32_MIN;
	for (size_t i = 0; i < release->count; i++) {
		struct prefix cidr;
		int one;

		if (call->rcs[i] != INT32_MIN)
			continue;
		cidr = block_of(&call->task, &release->claims[i].addr);
		one = release_block(release, &cidr, err);
		rc = rc < 0 ? rc : one;
	}
	return rc;
}

static int copy_claims(const struct ipam_claim *claims, size_t count, struct release *release)
{
	release->claims = calloc(count + 1, sizeof(*release->claims));
	release->handles = calloc(count + 1, sizeof(*release->handles));
	release->owners = calloc(count + 1, sizeof(*release->owners));
	release->call.rcs = calloc(count + 1, sizeof(*release->call.rcs));
	if (!release->claims || !release->handles || !release->owners || !release->call.rcs)
		return -ENOMEM;
	release->count = count;
	release->call.count = 0;
	for (size_t i = 0; i < count; i++) {
		release->claims[i] = claims[i];
		if (!claims[i].handle)
			continue;
		release->handles[i] = strdup(claims[i].handle);
		release->claims[i].handle = release->handles[i];
		if (!release->handles[i])
			return -ENOMEM;
	}
	return 0;
}

struct ipam_call *allocator_release(
	struct allocator *allocator, const struct ipam_claim *claims, size_t count, ipam_done done, void *ctx)
{
	struct release *release = call_new(sizeof(*release), allocator, done, ctx);

	if (!release)
		return NULL;
	release->call.work = release_run;
	release->call.clean = clean;
	if (copy_claims(claims, count, release) < 0) {
		call_free(&release->call);
		return NULL;
	}
	return call_start(&release->call);
}

/* -- a whole handle -- */

static int release_handle_in(
	struct task *task, const char *handle, const struct prefix *cidr, struct err *err)
{
	unsigned tries = 0;
	int rc;

	do {
		_cleanup_block_ struct ipam_block *block = NULL;

		rc = block_get(task, cidr, &block, err);
		if (rc < 0)
			return rc == -ENOENT ? 0 : rc;
		rc = ipam_block_release_handle(block, handle, task_now_seconds(task));
		if (rc <= 0)
			return rc;
		rc = write_released(task, block, err);
		if (rc == 0)
			call_tidy_block(task, block);
		if (rc != -ESTALE)
			return rc;
		rc = task_retry(task, &tries, "IPAMBlock", err);
	} while (rc == 0);
	return rc;
}

/* Each block that the handle names, as long as each() says 0; then the handle goes. Not count by count: what a crash has left
 * of the count would stay for ever. Who takes an address raises the handle before the block is written, and makes this fail. */
static int clear_handle(struct task *task, const char *handle,
	int (*each)(struct task *task, const char *handle, const struct prefix *cidr, struct err *err), struct err *err)
{
	_cleanup_(json_cleanup) json_t *object = NULL;
	_cleanup_free_ struct prefix *blocks = NULL;
	size_t count = 0;
	int rc = handle_get(task, handle, &object, err);

	if (rc == 0)
		rc = handle_blocks(object, &blocks, &count, err);
	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = each(task, handle, &blocks[i], err);
	return rc ? rc : task_remove(task, KIND_IPAM_HANDLE, object, err);
}

int call_release_handle(struct task *task, const char *handle, struct err *err)
{
	unsigned tries = 0;
	int rc;

	do {
		rc = clear_handle(task, handle, release_handle_in, err);
		if (rc != -ESTALE)
			return rc;
		rc = task_retry(task, &tries, "IPAMHandle", err);
	} while (rc == 0);
	return rc;
}

static int held_in(struct task *task, const char *handle, const struct prefix *cidr, struct err *err)
{
	_cleanup_block_ struct ipam_block *block = NULL;
	int rc = block_get(task, cidr, &block, err);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	return ipam_block_held(block, handle) > 0;
}

int call_drop_handle(struct task *task, const char *handle, struct err *err)
{
	int rc = clear_handle(task, handle, held_in, err);

	return rc == -ENOENT || rc == -ESTALE || rc > 0 ? 0 : rc;
}

struct release_handle {
	struct ipam_call call;
	char *handle;
};

static void clean_handle(struct ipam_call *call)
{
	free(((struct release_handle *)call)->handle);
}

static int release_handle_run(struct ipam_call *call, struct err *err)
{
	return call_release_handle(&call->task, ((struct release_handle *)call)->handle, err);
}

struct ipam_call *allocator_release_handle(
	struct allocator *allocator, const char *handle, ipam_done done, void *ctx)
{
	struct release_handle *release = call_new(sizeof(*release), allocator, done, ctx);

	if (!release)
		return NULL;
	release->call.work = release_handle_run;
	release->call.clean = clean_handle;
	release->handle = strdup(handle);
	if (!release->handle) {
		call_free(&release->call);
		return NULL;
	}
	return call_start(&release->call);
}

/* -- a node's block -- */

struct release_block {
	struct ipam_call call;
	struct affinity_release what;
	char *node;
};

static void clean_block(struct ipam_call *call)
{
	free(((struct release_block *)call)->node);
}

static int release_block_run(struct ipam_call *call, struct err *err)
{
	return affinity_release(&call->task, &((struct release_block *)call)->what, err);
}

struct ipam_call *allocator_release_block(struct allocator *allocator, const char *node,
	const struct prefix *cidr, bool require_empty, ipam_done done, void *ctx)
{
	struct release_block *release = call_new(sizeof(*release), allocator, done, ctx);

	if (!release)
		return NULL;
	release->call.work = release_block_run;
	release->call.clean = clean_block;
	release->node = strdup(node);
	release->what = (struct affinity_release){release->node, *cidr, .require_empty = require_empty};
	if (!release->node) {
		call_free(&release->call);
		return NULL;
	}
	return call_start(&release->call);
}
