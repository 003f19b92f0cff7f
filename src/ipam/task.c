/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam/task.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "ipam/fiber.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#define RETRIES 100u
#define RETRIES_AT_ONCE 3u

int64_t task_now(const struct task *task)
{
	return task->env->now(task->env->ctx);
}

int64_t task_now_seconds(const struct task *task)
{
	return task_now(task) / 1000000000;
}

/* -- outside of the fiber -- */

static void step(struct task *task);

static void wake_soon(struct task *task, unsigned ms)
{
	struct timeval wait = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

	if (ms == 0)
		event_active(task->wake, EV_TIMEOUT, 0);
	else
		evtimer_add(task->wake, &wait);
}

static void answered(void *ctx, const struct objects_answer *answer)
{
	struct task *task = ctx;

	task->call = NULL;
	task->rc = answer->rc;
	task->object = json_incref(answer->object);
	if (answer->rc < 0)
		err_set(task->err, answer->rc, "%s", answer->text);
	step(task);
}

static void listed(void *ctx, const json_t *object)
{
	struct task *task = ctx;

	task->request.each(task->request.ctx, object);
}

static void ask(struct task *task)
{
	const struct task_request *request = &task->request;
	struct object_key key = {
		.kind = request->kind, .namespace = request->namespace, .name = request->name};
	struct objects *objects = task->env->objects;

	if (request->op == TASK_PAUSE) {
		wake_soon(task, request->pause_ms);
		return;
	}
	if (request->op == TASK_GET)
		task->call = objects_get(objects, &key, answered, task);
	else if (request->op == TASK_LIST)
		task->call = objects_list(objects, request->kind, request->labels, listed, answered, task);
	else if (request->op == TASK_CREATE)
		task->call = objects_create(objects, request->kind, request->object, answered, task);
	else if (request->op == TASK_UPDATE)
		task->call = objects_update(objects, request->kind, request->object, answered, task);
	else
		task->call = objects_delete(objects, request->kind, request->object, answered, task);
	if (task->call)
		return;
	task->rc = err_set(task->err, -ENOMEM, "%s: no memory", kind_name(request->kind));
	wake_soon(task, 0);
}

static void drop(struct task *task)
{
	if (task->wake)
		event_free(task->wake);
	fiber_free(task->fiber);
	ipam_world_unref(&task->world);
	task->wake = NULL;
	task->fiber = NULL;
}

static void step(struct task *task)
{
	if (!fiber_resume(task->fiber)) {
		ask(task);
		return;
	}
	drop(task);
	task->end(task);
}

static void woken(evutil_socket_t fd, short what, void *ctx)
{
	step(ctx);
}

static void enter(void *ctx)
{
	struct task *task = ctx;

	task->run(task);
}

int task_start(struct task *task, const struct task_env *env, struct ipam_world *world)
{
	task->env = env;
	task->fiber = fiber_new(enter, task);
	task->wake = evtimer_new(env->base, woken, task);
	if (!task->fiber || !task->wake) {
		drop(task);
		return -ENOMEM;
	}
	task->world = world;
	wake_soon(task, 0);
	return 0;
}

void task_abandon(struct task *task)
{
	bool begun = task->request.op != TASK_NONE;

	task->abandoned = true;
	objects_cancel(task->call);
	task->call = NULL;
	if (begun) {
		task->rc = err_set(task->err, -ECANCELED, "the agent ends");
		while (!fiber_resume(task->fiber))
			;
	}
	drop(task);
}

/* -- on the fiber -- */

/* Returns rc; *ret_object (may be null) gets the answer's object. */
static int wait_for(struct task *task, struct task_request request, json_t **ret_object, struct err *err)
{
	struct err scratch = ERR_INIT;
	json_t *object;

	task->err = err ? err : &scratch;
	if (task->abandoned)
		return err_set(task->err, -ECANCELED, "the agent ends");
	task->request = request;
	task->rc = 0;
	task->object = NULL;
	fiber_pause(task->fiber);
	object = task->object;
	task->object = NULL;
	task->err = NULL;
	if (task->rc == 0 && ret_object)
		*ret_object = object;
	else
		json_decref(object);
	return task->rc;
}

int task_get(struct task *task, enum kind kind, const char *namespace, const char *name, json_t **ret,
	struct err *err)
{
	struct task_request request = {.op = TASK_GET, .kind = kind, .namespace = namespace, .name = name};

	return wait_for(task, request, ret, err);
}

int task_list(struct task *task, enum kind kind, const char *labels,
	void (*each)(void *ctx, const json_t *object), void *ctx, struct err *err)
{
	struct task_request request = {
		.op = TASK_LIST, .kind = kind, .labels = labels, .each = each, .ctx = ctx};

	return wait_for(task, request, NULL, err);
}

static int put(struct task *task, enum task_op op, enum kind kind, json_t **object, struct err *err)
{
	struct task_request request = {.op = op, .kind = kind, .object = *object};
	json_t *stored = NULL;
	int rc = wait_for(task, request, &stored, err);

	if (rc < 0)
		return rc;
	json_decref(*object);
	*object = stored;
	return 0;
}

int task_create(struct task *task, enum kind kind, json_t **object, struct err *err)
{
	return put(task, TASK_CREATE, kind, object, err);
}

int task_update(struct task *task, enum kind kind, json_t **object, struct err *err)
{
	return put(task, TASK_UPDATE, kind, object, err);
}

static int mark_deleted(struct task *task, enum kind kind, json_t **object, struct err *err)
{
	json_t *spec = json_object_get(*object, "spec");

	if (json_is_true(json_object_get(spec, "deleted")))
		return 0;
	if (json_object_set_new(spec, "deleted", json_true()) < 0)
		return err_set(err, -ENOMEM, "%s: no memory", kind_name(kind));
	return task_update(task, kind, object, err);
}

int task_remove(struct task *task, enum kind kind, const json_t *object, struct err *err)
{
	_cleanup_(json_cleanup) json_t *copy = json_deep_copy(object);
	struct task_request request = {.op = TASK_DELETE, .kind = kind};
	int rc = mark_deleted(task, kind, &copy, err);

	if (rc == 0) {
		request.object = copy;
		rc = wait_for(task, request, NULL, err);
		/* once it is marked everybody may finish the deletion */
		if (rc == -ESTALE)
			rc = 0;
	}
	return rc == -ENOENT ? 0 : rc;
}

int task_retry(struct task *task, unsigned *tries, const char *what, struct err *err)
{
	unsigned limit = task->env->backoff_ms, most = 1u << (*tries < 12 ? *tries : 12);
	struct task_request request = {.op = TASK_PAUSE};

	if (++*tries > RETRIES)
		return err_set(err, -EAGAIN, "%s: others were faster %u times", what, RETRIES);
	if (*tries <= RETRIES_AT_ONCE || limit == 0)
		return 0;
	*task->env->random = *task->env->random * 6364136223846793005u + 1442695040888963407u;
	request.pause_ms = (unsigned)(*task->env->random >> 33) % (most < limit ? most : limit) + 1;
	return wait_for(task, request, NULL, err);
}

int task_pause(struct task *task, unsigned ms, struct err *err)
{
	struct task_request request = {.op = TASK_PAUSE, .pause_ms = ms};

	return wait_for(task, request, NULL, err);
}
