/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam/affinities.h"
#include "ipam/call.h"
#include "ipam/handles.h"

#include <errno.h>
#include <stdlib.h>

/* The block that the address lies in, this node's if it did not exist. */
static int get_block(struct task *task, const struct prefix *cidr, struct ipam_block **ret, struct err *err)
{
	unsigned tries = 0;
	int rc;

	do {
		rc = block_get(task, cidr, ret, err);
		if (rc != -ENOENT)
			return rc;
		rc = affinity_claim(task, cidr, ret, err);
		if (rc != -EBUSY)
			return rc;
		rc = task_retry(task, &tries, "IPAMBlock", err);
	} while (rc == 0);
	return rc;
}

static int take(struct task *task, struct ipam_block *block, const struct addr *addr,
	const struct ipam_owner *owner, struct err *err)
{
	char text[ADDR_TEXT_MAX];
	int rc;

	addr_format(addr, text);
	if (task->world->config.strict_affinity && !ipam_block_is_of(block, task->env->node))
		return err_set(err, -EPERM,
			"address %s: its block is not of node %s, and strictAffinity is on", text,
			task->env->node);
	rc = ipam_block_take_addr(block, addr, owner);
	if (rc == -EEXIST)
		return err_set(err, rc, "address %s: somebody has it already", text);
	return rc < 0 ? err_set(err, rc, "address %s: cannot be taken", text) : block_write(task, block, err);
}

static int assign_in(struct task *task, const struct prefix *cidr, const struct addr *addr,
	const struct ipam_owner *owner, struct err *err)
{
	unsigned tries = 0;
	int rc;

	do {
		_cleanup_block_ struct ipam_block *block = NULL;

		rc = get_block(task, cidr, &block, err);
		if (rc == 0)
			rc = take(task, block, addr, owner, err);
		if (rc != -ESTALE)
			return rc;
		rc = task_retry(task, &tries, "IPAMBlock", err);
	} while (rc == 0);
	return rc;
}

int call_assign_addr(struct task *task, const struct addr *addr, enum pool_use use,
	const struct ipam_owner *owner, struct err *err)
{
	const struct ipam_pool *pool = ipam_world_pool_of(task->world, addr);
	char text[ADDR_TEXT_MAX];
	struct prefix cidr;
	int rc;

	addr_format(addr, text);
	if (!pool || !pool->usable || pool->block_len < pool->cidr.len)
		return err_set(err, -EINVAL, "address %s: expected one of an enabled pool", text);
	if (!(pool->uses & (unsigned)use))
		return err_set(err, -EINVAL, "address %s: its pool %s is not for this use", text, pool->name);
	cidr = ipam_block_of(addr, pool->block_len);
	rc = handle_raise(task, owner->handle, &cidr, 1, 0, err);
	if (rc < 0)
		return rc;
	rc = assign_in(task, &cidr, addr, owner, err);
	if (rc == -EEXIST || rc == -EPERM || rc == -EAGAIN)
		handle_lower(task, owner->handle, &cidr, 1, NULL);
	return rc;
}

/* -- the request -- */

struct assign_addr {
	struct ipam_call call; /* first */
	struct addr addr;
	enum pool_use use;
	struct owned_owner owner;
};

static void clean(struct ipam_call *call)
{
	owned_owner_free(&((struct assign_addr *)call)->owner);
}

static int assign_addr_run(struct ipam_call *call, struct err *err)
{
	struct assign_addr *assign = (struct assign_addr *)call;
	struct ipam_owner owner = owner_borrow(&assign->owner);
	int rc = call_assign_addr(&call->task, &assign->addr, assign->use, &owner, err);

	if (rc == 0)
		call->addrs[call->count++] = assign->addr;
	return rc;
}

struct ipam_call *allocator_assign_addr(struct allocator *allocator, const struct addr *addr,
	enum pool_use use, const struct ipam_owner *owner, ipam_done done, void *ctx)
{
	struct assign_addr *assign = call_new(sizeof(*assign), allocator, done, ctx);

	if (!assign)
		return NULL;
	assign->call.work = assign_addr_run;
	assign->call.clean = clean;
	assign->call.addrs = calloc(1, sizeof(*assign->call.addrs));
	assign->addr = *addr;
	assign->use = use;
	if (!assign->call.addrs || owner_copy(owner, &assign->owner) < 0) {
		call_free(&assign->call);
		return NULL;
	}
	return call_start(&assign->call);
}
