/* SPDX-License-Identifier: Apache-2.0
 *
 * One request to the allocator while it runs: a fiber that asks the store and waits for the answer. Used
 * inside src/ipam only; what the protocol does is in blocks.h, handles.h and affinities.h, one request each
 * in assign.c and the like.
 *
 * Life cycle: task_start; run() is called from the loop, on the fiber; when it returns, end() is called from
 * the loop (not after task_abandon), and must free the task. Everything asked for after task_abandon answers
 * -ECANCELED, and nothing reaches the store any more.
 */
#pragma once

#include "base/err.h"
#include "ipam/world.h"
#include "objects/objects.h"

#include <jansson.h>
#include <stdint.h>

struct event;
struct event_base;
struct fiber;

/* What tasks share; set once. */
struct task_env {
	struct event_base *base;
	struct objects *objects;
	const char *node;
	int64_t (*now)(void *ctx); /* nanoseconds since the epoch */
	void *ctx;
	unsigned backoff_ms; /* longest pause before a lost compare-and-swap is tried again */
	uint64_t *random;    /* state, for spreading pauses */
};

struct task {
	const struct task_env *env;
	struct ipam_world *world; /* owned */
	void (*run)(struct task *task);
	void (*end)(struct task *task);
	struct fiber *fiber;
	struct event *wake;
	struct task *prev, *next; /* the allocator's list */
	bool abandoned;
	/* what it waits for */
	struct task_request {
		enum task_op {
			TASK_NONE,
			TASK_GET,
			TASK_LIST,
			TASK_CREATE,
			TASK_UPDATE,
			TASK_DELETE,
			TASK_PAUSE
		} op;
		enum kind kind;
		const char *name, *namespace, *labels;
		const json_t *object;
		void (*each)(void *ctx, const json_t *object);
		void *ctx;
		unsigned pause_ms;
	} request;
	struct objects_call *call;
	int rc;
	json_t *object;
	struct err *err;
};

/* The caller has set run and end; takes over a reference to world. -ENOMEM: nothing happens. */
int task_start(struct task *task, const struct task_env *env, struct ipam_world *world);
/* Lets the function run to its end without the store. Not from inside it. Frees what task_start made; end()
 * is not called. */
void task_abandon(struct task *task);

int64_t task_now(const struct task *task); /* nanoseconds since the epoch */
int64_t task_now_seconds(const struct task *task);

/* -- only on the fiber -- */

/* rc as struct objects_answer has it; err then says what and why. ret: new reference. Where an object is
 * given by json_t **, it is replaced by what the store has now, and untouched on failure. */
int task_get(struct task *task, enum kind kind, const char *namespace, const char *name, json_t **ret,
	struct err *err);
int task_list(struct task *task, enum kind kind, const char *labels,
	void (*each)(void *ctx, const json_t *object), void *ctx, struct err *err);
int task_create(struct task *task, enum kind kind, json_t **object, struct err *err);
int task_update(struct task *task, enum kind kind, json_t **object, struct err *err);
/* In two steps, as IPAM's kinds are deleted (reference/calico.md 2.15): spec.deleted, then it goes. -ESTALE:
 * somebody has changed it; -ENOENT does not happen: gone is gone. */
int task_remove(struct task *task, enum kind kind, const json_t *object, struct err *err);

/* After a lost compare-and-swap: 0, try again (after a pause, from the third time on); -EAGAIN: often enough.
 */
int task_retry(struct task *task, unsigned *tries, const char *what, struct err *err);
int task_pause(struct task *task, unsigned ms, struct err *err);
