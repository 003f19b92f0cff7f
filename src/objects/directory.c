/* SPDX-License-Identifier: Apache-2.0 */
#include "objects/directory_private.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

#define CALLS_A_TURN 64
#define LOCK_AGAIN_MS 32
#define PATH_LIMIT (PATH_MAX - 2 * NAME_MAX - sizeof("/" OBJECTS_DIR "/"))

struct directory_call {
	struct objects_call call; /* first */
	struct directory_call *prev, *next;
	struct objects_request request; /* its texts are ours */
};

void directory_soon(struct event *event, int64_t ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_add(event, &tv);
}

int64_t directory_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void call_free(struct directory_call *call)
{
	objects_request_done(&call->request);
	free(call);
}

static void call_cancel(struct objects_call *call)
{
	struct objects_directory *directory = directory_of(call->objects);
	struct directory_call *mine = (struct directory_call *)call;

	if (directory->running == mine) {
		directory->running_gone = true;
		return;
	}
	DL_DELETE(directory->calls, mine);
	call_free(mine);
}

/* -- answers -- */

static void answer(struct directory_call *call, int rc, json_t *object, const char *text)
{
	struct objects_answer answer = {rc, json_incref(object), ""};
	struct objects_directory *directory = directory_of(call->call.objects);

	if (rc < 0)
		answer.text = text;
	if (!directory->running_gone)
		call->request.done(call->request.ctx, &answer);
	json_decref(answer.object);
}

static void list(struct objects_directory *directory, struct directory_call *call)
{
	const struct objects_request *request = &call->request;

	for (struct entry *entry = directory->entries; entry && !directory->running_gone; entry = entry->hh.next) {
		json_t *object = index_entry_object(entry);

		if (object && entry->kind == request->kind && objects_label_match(request->label_selector, object))
			request->each(request->ctx, object);
	}
	answer(call, 0, NULL, "");
}

static void read_out(struct objects_directory *directory, struct directory_call *call)
{
	const struct objects_request *request = &call->request;
	char title[OBJECT_TITLE_MAX], text[OBJECT_TITLE_MAX + 32];
	struct err err = ERR_INIT;
	json_t *object;

	if (scan_drain(directory, &err) < 0) {
		answer(call, -EIO, NULL, err_text(&err));
		return;
	}
	if (request->verb == OBJECTS_LIST) {
		list(directory, call);
		return;
	}
	object = index_entry_object(index_entry_find(directory, request->kind, request->namespace, request->name));
	snprintf(text, sizeof(text), "%s: is not there", objects_title(request->kind, request->namespace,
		request->name, title));
	answer(call, object ? 0 : -ENOENT, object, text);
}

/* -- the queue -- */

/* Somebody else holds the lock: waits without blocking the loop, as long as it takes. */
static void wait_for_lock(struct objects_directory *directory)
{
	uint32_t most = 1u << directory->lock_tries;

	if (!directory->locked_since_ms)
		directory->locked_since_ms = directory_now_ms();
	if (most < LOCK_AGAIN_MS)
		directory->lock_tries++;
	else if (!event_pending(directory->settle, EV_TIMEOUT, NULL))
		directory_soon(directory->settle, 1000); /* it may become a story */
	directory_soon(directory->turn, 1 + arc4random_uniform(most));
}

/* False: it has to wait. */
static bool run(struct objects_directory *directory, struct directory_call *call)
{
	const struct objects_request *request = &call->request;
	const struct directory_write write = {request->verb, request->kind, request->namespace, request->name,
		request->object};
	bool reads = request->verb == OBJECTS_GET || request->verb == OBJECTS_LIST;
	struct err err = ERR_INIT;
	json_t *object = NULL;
	int rc = 0;

	directory->running = call;
	directory->running_gone = false;
	if (!reads)
		rc = write_perform(directory, &write, &object, &err);
	if (rc == -EWOULDBLOCK && !directory->running_gone) {
		directory->running = NULL;
		wait_for_lock(directory);
		return false;
	}
	directory->lock_tries = 0;
	directory->locked_since_ms = 0;
	DL_DELETE(directory->calls, call);
	if (reads)
		read_out(directory, call);
	else
		answer(call, rc, object, err_text(&err));
	directory->running = NULL;
	call_free(call);
	return true;
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct objects_directory *directory = arg;

	watch_begin_all(directory);
	for (int i = 0; i < CALLS_A_TURN && directory->calls; i++)
		if (!run(directory, directory->calls))
			return;
	if (directory->calls)
		directory_soon(directory->turn, 0);
}

static struct objects_call *directory_begin(struct objects *objects, const struct objects_request *request)
{
	struct objects_directory *directory = directory_of(objects);
	struct directory_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->call = (struct objects_call){objects, call_cancel};
	if (!objects_request_copy(&call->request, request)) {
		call_free(call);
		return NULL;
	}
	DL_APPEND(directory->calls, call);
	if (!event_pending(directory->turn, EV_TIMEOUT, NULL))
		directory_soon(directory->turn, 0);
	return &call->call;
}

/* -- life cycle -- */

static void directory_free(struct objects *objects)
{
	struct objects_directory *directory = directory_of(objects);
	struct directory_call *call, *next;

	DL_FOREACH_SAFE(directory->calls, call, next) {
		DL_DELETE(directory->calls, call);
		call_free(call);
	}
	watch_done(directory);
	scan_done(directory);
	index_done(directory);
	if (directory->turn)
		event_free(directory->turn);
	free(directory);
}

static const struct objects_ops directory_ops = {
	.begin = directory_begin,
	.watch = directory_watch_new,
	.watch_free = directory_watch_free,
	.free = directory_free,
};

int objects_directory_new(const char *path, struct event_base *base, struct objects **ret, struct err *err)
{
	struct objects_directory *directory;
	int rc;

	if (!path || !*path || strlen(path) >= PATH_LIMIT)
		return err_set(err, -EINVAL, "directory store: path is \"%.100s\", expected that of a directory",
			path ? path : "");
	directory = calloc(1, sizeof(*directory));
	if (!directory)
		return err_set(err, -ENOMEM, "directory %s: no memory", path);
	directory->objects = (struct objects){.ops = &directory_ops, .base = base};
	directory->inotify = -1;
	snprintf(directory->path, sizeof(directory->path), "%s", path);
	directory->turn = event_new(base, -1, 0, on_turn, directory);
	rc = directory->turn ? scan_init(directory, err) : err_set(err, -ENOMEM, "directory %s: no memory", path);
	if (rc < 0) {
		directory_free(&directory->objects);
		return rc;
	}
	*ret = &directory->objects;
	return 0;
}
