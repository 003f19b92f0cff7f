/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam/allocator.h"

#include "ipam/call.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

struct allocator {
	struct task_env env;
	char *node;
	uint64_t random;
	struct ipam_world *world;
	struct task *tasks;
	size_t busy;
};

static int64_t system_now(void *ctx)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int allocator_new(struct event_base *base, const struct allocator_options *options, struct allocator **ret)
{
	struct allocator *allocator = calloc(1, sizeof(*allocator));

	if (allocator)
		allocator->node = strdup(options->node);
	if (!allocator || !allocator->node) {
		free(allocator);
		return -ENOMEM;
	}
	allocator->random = ipam_start_index(options->node, UINT64_MAX);
	allocator->env = (struct task_env){
		.base = base,
		.objects = options->objects,
		.node = allocator->node,
		.now = options->now ? options->now : system_now,
		.ctx = options->ctx,
		.backoff_ms = options->backoff_ms,
		.random = &allocator->random,
	};
	*ret = allocator;
	return 0;
}

void allocator_free(struct allocator *allocator)
{
	struct task *task, *next;

	if (!allocator)
		return;
	DL_FOREACH_SAFE(allocator->tasks, task, next)
	{
		task_abandon(task);
		call_free((struct ipam_call *)task);
	}
	ipam_world_unref(&allocator->world);
	free(allocator->node);
	free(allocator);
}

void allocator_set_world(struct allocator *allocator, struct ipam_world *world)
{
	ipam_world_unref(&allocator->world);
	allocator->world = world;
}

const struct ipam_world *allocator_world(const struct allocator *allocator)
{
	return allocator->world;
}

const char *allocator_node(const struct allocator *allocator)
{
	return allocator->node;
}

size_t allocator_busy(const struct allocator *allocator)
{
	return allocator->busy;
}

/* -- what requests have in common -- */

static void work(struct task *task)
{
	struct ipam_call *call = (struct ipam_call *)task;

	if (task->world)
		call->rc = call->work(call, &call->err);
	else
		call->rc = err_set(&call->err, -EAGAIN, "IPAM does not know the pools yet");
}

static void end(struct task *task)
{
	struct ipam_call *call = (struct ipam_call *)task;
	struct ipam_result result = {
		.rc = call->rc,
		.text = call->rc < 0 ? err_text(&call->err) : "",
		.addrs = call->addrs,
		.count = call->count,
		.rcs = call->rcs,
		.looks = call->looks,
		.look_count = call->look_count,
	};

	DL_DELETE(call->allocator->tasks, task);
	call->allocator->busy--;
	if (call->done)
		call->done(call->ctx, &result);
	call_free(call);
}

void *call_new(size_t size, struct allocator *allocator, ipam_done done, void *ctx)
{
	struct ipam_call *call = calloc(1, size);

	if (!call)
		return NULL;
	call->allocator = allocator;
	call->done = done;
	call->ctx = ctx;
	call->task.run = work;
	call->task.end = end;
	return call;
}

struct ipam_call *call_start(struct ipam_call *call)
{
	struct allocator *allocator = call->allocator;

	if (task_start(&call->task, &allocator->env, ipam_world_ref(allocator->world)) < 0) {
		call_free(call);
		return NULL;
	}
	DL_APPEND(allocator->tasks, &call->task);
	allocator->busy++;
	return call;
}

void call_free(struct ipam_call *call)
{
	if (call->clean)
		call->clean(call);
	free(call->addrs);
	for (size_t i = 0; i < call->look_count; i++)
		ipam_block_free(&call->looks[i].block);
	free(call->looks);
	free(call->rcs);
	free(call);
}

void ipam_cancel(struct ipam_call *call)
{
	if (call)
		call->done = NULL;
}

int owner_copy(const struct ipam_owner *from, struct owned_owner *to)
{
	to->handle = from->handle ? strdup(from->handle) : NULL;
	to->attributes = from->handle ? json_deep_copy(from->attributes) : NULL;
	return from->handle && (!to->handle || !to->attributes) ? -ENOMEM : 0;
}

void owned_owner_free(struct owned_owner *owner)
{
	free(owner->handle);
	json_decref(owner->attributes);
	*owner = (struct owned_owner){0};
}

struct ipam_owner owner_borrow(const struct owned_owner *owner)
{
	return (struct ipam_owner){owner->handle, owner->attributes};
}
