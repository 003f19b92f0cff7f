/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "ipam/blocks.h"
#include "ipam/call.h"
#include "ipam/handles.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct one {
	struct addr addr;
	char *from;
	struct owned_owner to;
};

struct change {
	struct ipam_call call; /* first; rcs */
	struct prefix cidr;
	struct one *items;
	size_t count;
};

static void clean(struct ipam_call *call)
{
	struct change *change = (struct change *)call;

	for (size_t i = 0; i < change->count; i++) {
		free(change->items[i].from);
		owned_owner_free(&change->items[i].to);
	}
	free(change->items);
}

/* -- handles: each once, by how many of the changes concern it -- */

static const char *handle_of(const struct change *change, size_t i, bool to)
{
	return to ? change->items[i].to.handle : change->items[i].from;
}

/* Of the changes that pass: how many have the handle of the i-th; 0 when an earlier one of them has it too.
 */
static size_t count_handle(const struct change *change, size_t i, bool to, bool (*passes)(int rc))
{
	const char *handle = handle_of(change, i, to);
	size_t count = 0;

	for (size_t j = 0; handle && j < change->count; j++) {
		const char *other = handle_of(change, j, to);

		if (!other || strcmp(other, handle) != 0 || !passes(change->call.rcs[j]))
			continue;
		if (j < i)
			return 0;
		count++;
	}
	return count;
}

static bool any(int rc)
{
	return true;
}

static bool succeeded(int rc)
{
	return rc == 0;
}

static bool failed(int rc)
{
	return rc < 0;
}

static int raise_handles(struct change *change, struct err *err)
{
	for (size_t i = 0; i < change->count; i++) {
		size_t by = count_handle(change, i, true, any);
		int rc = by ? handle_raise(&change->call.task, change->items[i].to.handle, &change->cidr, by,
				      0, err)
			    : 0;

		if (rc < 0)
			return rc;
	}
	return 0;
}

static void lower_handles(struct change *change, bool to, bool (*passes)(int rc))
{
	for (size_t i = 0; i < change->count; i++) {
		/* the first of its kind may be one that does not pass */
		size_t by = passes(change->call.rcs[i]) ? count_handle(change, i, to, passes) : 0;

		if (by)
			handle_lower(&change->call.task, handle_of(change, i, to), &change->cidr, by, NULL);
	}
}

/* -- the block -- */

static int apply_one(const struct change *change, const struct one *one, struct ipam_block *block)
{
	struct ipam_claim claim = {.addr = one->addr, .handle = one->from};
	struct ipam_owner to = owner_borrow(&one->to);
	int rc;

	if (one->from && one->to.handle)
		return ipam_block_move(block, &one->addr, one->from, &to);
	if (one->to.handle)
		rc = ipam_block_take_addr(block, &one->addr, &to);
	else
		rc = ipam_block_release(block, &claim, task_now_seconds(&change->call.task));
	if (!one->to.handle && rc >= 0)
		return rc == 1 ? 0 : -ESTALE;
	return rc == -EEXIST ? -ESTALE : rc;
}

static int change_once(struct change *change, struct ipam_block **ret_block, struct err *err)
{
	struct task *task = &change->call.task;
	_cleanup_block_ struct ipam_block *block = NULL;
	size_t done = 0;
	int rc = block_get(task, &change->cidr, &block, err);

	for (size_t i = 0; i < change->count && (rc == 0 || rc == -ENOENT); i++) {
		change->call.rcs[i] = block ? apply_one(change, &change->items[i], block) : -ENOENT;
		done += change->call.rcs[i] == 0;
	}
	if (rc < 0 || done == 0)
		return rc == -ENOENT ? 0 : rc;
	ipam_block_collect(block, task_now_seconds(task), task->world->config.cooldown);
	rc = block_write(task, block, err);
	if (rc == 0)
		*ret_block = TAKE_PTR(block);
	return rc;
}

static int change_run(struct ipam_call *call, struct err *err)
{
	struct change *change = (struct change *)call;
	_cleanup_block_ struct ipam_block *block = NULL;
	unsigned tries = 0;
	int rc = raise_handles(change, err);

	while (rc == 0) {
		rc = change_once(change, &block, err);
		if (rc != -ESTALE)
			break;
		rc = task_retry(&call->task, &tries, "IPAMBlock", err);
	}
	if (rc < 0) {
		/* whether the block was written is not known, or of no use: handles may count too many */
		for (size_t i = 0; i < change->count; i++)
			call->rcs[i] = rc;
		return rc;
	}
	lower_handles(change, true, failed);
	lower_handles(change, false, succeeded);
	if (block)
		call_tidy_block(&call->task, block);
	return 0;
}

/* -- the request -- */

static int copy_changes(const struct ipam_change *changes, size_t count, struct change *change)
{
	change->items = calloc(count + 1, sizeof(*change->items));
	change->call.rcs = calloc(count + 1, sizeof(*change->call.rcs));
	if (!change->items || !change->call.rcs)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		struct one *one = &change->items[i];

		change->count++;
		one->addr = changes[i].addr;
		one->from = changes[i].from ? strdup(changes[i].from) : NULL;
		if ((changes[i].from && !one->from) || owner_copy(&changes[i].to, &one->to) < 0)
			return -ENOMEM;
	}
	return 0;
}

struct ipam_call *allocator_change(struct allocator *allocator, const struct prefix *cidr,
	const struct ipam_change *changes, size_t count, ipam_done done, void *ctx)
{
	struct change *change = call_new(sizeof(*change), allocator, done, ctx);

	if (!change)
		return NULL;
	change->call.work = change_run;
	change->call.clean = clean;
	change->cidr = *cidr;
	if (copy_changes(changes, count, change) < 0) {
		call_free(&change->call);
		return NULL;
	}
	return call_start(&change->call);
}
