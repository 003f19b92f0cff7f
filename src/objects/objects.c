/* SPDX-License-Identifier: Apache-2.0 */
#include "objects/private.h"

#include "base/cleanup.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

const char *objects_title(enum kind kind, const char *namespace, const char *name,
	char ret[static OBJECT_TITLE_MAX])
{
	snprintf(ret, OBJECT_TITLE_MAX, "%s %.260s%s%.260s", kind_title(kind), namespace, *namespace ? "/" : "", name);
	return ret;
}

/* -- answers that are known at once -- */

struct objects_answer_later {
	struct objects_call call; /* first */
	struct objects_answer_later *prev, *next;
	struct event *event;
	objects_done done;
	void *ctx;
	int rc;
	char text[];
};

static void later_free(struct objects_call *call)
{
	struct objects_answer_later *later = (struct objects_answer_later *)call;

	DL_DELETE(call->objects->later, later);
	event_free(later->event);
	free(later);
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
	struct objects_answer_later *later = arg;
	struct objects_answer answer = {later->rc, NULL, later->text};

	/* done() may cancel other calls, not this one: it is over. */
	DL_DELETE(later->call.objects->later, later);
	later->done(later->ctx, &answer);
	event_free(later->event);
	free(later);
}

struct objects_call *objects_answer_later(struct objects *objects, int rc, const char *text,
	objects_done done, void *ctx)
{
	size_t len = strlen(text);
	struct objects_answer_later *later = calloc(1, sizeof(*later) + len + 1);

	if (!later)
		return NULL;
	later->event = event_new(objects->base, -1, 0, on_later, later);
	if (!later->event) {
		free(later);
		return NULL;
	}
	later->call = (struct objects_call){objects, later_free};
	later->done = done;
	later->ctx = ctx;
	later->rc = rc;
	memcpy(later->text, text, len + 1);
	DL_APPEND(objects->later, later);
	event_active(later->event, 0, 0);
	return &later->call;
}

/* -- what stores without a server do themselves -- */

int objects_add_birth(json_t *metadata, struct err *err)
{
	time_t now = time(NULL);
	unsigned char b[16];
	char text[64];
	struct tm tm;

	if (RAND_bytes(b, sizeof(b)) != 1)
		return err_set(err, -EIO, "no random numbers for a UID");
	b[6] = (b[6] & 0x0f) | 0x40; /* RFC 4122, version 4 */
	b[8] = (b[8] & 0x3f) | 0x80;
	snprintf(text, sizeof(text), "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
		b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
	json_object_set_new(metadata, "uid", json_string(text));
	gmtime_r(&now, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	json_object_set_new(metadata, "creationTimestamp", json_string(text));
	return 0;
}

json_t *objects_annotated(const json_t *object, const json_t *annotations)
{
	json_t *copy = json_deep_copy(object), *metadata = json_object_get(copy, "metadata"), *all, *value;
	const char *key;

	if (!json_is_object(json_object_get(metadata, "annotations")))
		json_object_set_new(metadata, "annotations", json_object());
	all = json_object_get(metadata, "annotations");
	json_object_foreach((json_t *)annotations, key, value) {
		if (json_is_null(value))
			json_object_del(all, key);
		else
			json_object_set(all, key, value);
	}
	return copy;
}

/* -- requests -- */

bool objects_request_copy(struct objects_request *to, const struct objects_request *from)
{
	*to = *from;
	to->namespace = strdup(from->namespace);
	to->name = strdup(from->name);
	to->label_selector = from->label_selector ? strdup(from->label_selector) : NULL;
	to->object = from->object ? json_deep_copy(from->object) : NULL;
	return to->namespace && to->name && !to->label_selector == !from->label_selector &&
		!to->object == !from->object;
}

void objects_request_done(struct objects_request *request)
{
	free((char *)request->namespace);
	free((char *)request->name);
	free((char *)request->label_selector);
	json_decref((json_t *)request->object);
}

static int check_name(const struct objects_request *request, struct err *err)
{
	char title[OBJECT_TITLE_MAX];

	if (request->verb == OBJECTS_LIST)
		return objects_label_check(request->label_selector, err);
	objects_title(request->kind, request->namespace, request->name, title);
	if (!object_name_is_good(request->name))
		return err_set(err, -EINVAL,
			"%s: metadata.name is \"%.260s\", expected a name of at most %d characters", title, request->name,
			OBJECT_NAME_MAX);
	if (kind_is_namespaced(request->kind) && !object_name_is_good(request->namespace))
		return err_set(err, -EINVAL, "%s: metadata.namespace is \"%.260s\", expected the name of one", title,
			request->namespace);
	if ((request->verb == OBJECTS_UPDATE || request->verb == OBJECTS_DELETE) && !*object_version(request->object))
		return err_set(err, -EINVAL, "%s: metadata.resourceVersion is missing, expected that which was read",
			title);
	if (request->verb == OBJECTS_ANNOTATE && request->kind != KIND_NODE && request->kind != KIND_POD)
		return err_set(err, -EINVAL, "%s: has no annotations beside it, expected a Node or a Pod", title);
	return 0;
}

static struct objects_call *begin(struct objects *objects, const struct objects_request *request)
{
	struct err err = ERR_INIT;

	if (check_name(request, &err) < 0)
		return objects_answer_later(objects, -EINVAL, err_text(&err), request->done, request->ctx);
	return objects->ops->begin(objects, request);
}

static struct objects_call *begin_key(struct objects *objects, enum objects_verb verb, const struct object_key *key,
	const json_t *object, objects_done done, void *ctx)
{
	const struct objects_request request = {
		.verb = verb,
		.kind = key->kind,
		.namespace = key->namespace && kind_is_namespaced(key->kind) ? key->namespace : "",
		.name = key->name ? key->name : "",
		.object = object,
		.done = done,
		.ctx = ctx,
	};

	return begin(objects, &request);
}

static struct objects_call *begin_object(struct objects *objects, enum objects_verb verb, enum kind kind,
	const json_t *object, objects_done done, void *ctx)
{
	const struct object_key key = {kind, object_namespace(object), object_name(object)};

	return begin_key(objects, verb, &key, object, done, ctx);
}

struct objects_call *objects_get(struct objects *objects, const struct object_key *key, objects_done done,
	void *ctx)
{
	return begin_key(objects, OBJECTS_GET, key, NULL, done, ctx);
}

struct objects_call *objects_list(struct objects *objects, enum kind kind, const char *label_selector,
	void (*each)(void *ctx, const json_t *object), objects_done done, void *ctx)
{
	const struct objects_request request = {
		.verb = OBJECTS_LIST,
		.kind = kind,
		.namespace = "",
		.name = "",
		.label_selector = label_selector,
		.each = each,
		.done = done,
		.ctx = ctx,
	};

	return begin(objects, &request);
}

struct objects_call *objects_create(struct objects *objects, enum kind kind, const json_t *object,
	objects_done done, void *ctx)
{
	return begin_object(objects, OBJECTS_CREATE, kind, object, done, ctx);
}

struct objects_call *objects_update(struct objects *objects, enum kind kind, const json_t *object,
	objects_done done, void *ctx)
{
	return begin_object(objects, OBJECTS_UPDATE, kind, object, done, ctx);
}

struct objects_call *objects_annotate(struct objects *objects, const struct object_key *key,
	const json_t *annotations, objects_done done, void *ctx)
{
	return begin_key(objects, OBJECTS_ANNOTATE, key, annotations, done, ctx);
}

struct objects_call *objects_delete(struct objects *objects, enum kind kind, const json_t *object,
	objects_done done, void *ctx)
{
	return begin_object(objects, OBJECTS_DELETE, kind, object, done, ctx);
}

void objects_remote_cancel(struct objects_call *call)
{
	struct objects_remote_call *mine = (struct objects_remote_call *)call;

	if (mine->inside)
		mine->cancelled = true;
	else
		mine->free(mine);
}

void objects_remote_finish(struct objects_remote_call *call, int rc, json_t *object, const char *text)
{
	_cleanup_free_ char *copy = rc < 0 ? strdup(text) : NULL; /* it may belong to what is freed */
	const struct objects_answer answer = {rc, object, copy ? copy : ""};
	objects_done done = call->request.done;
	void *ctx = call->request.ctx;
	bool cancelled = call->cancelled;

	call->free(call);
	if (!cancelled)
		done(ctx, &answer);
	json_decref(object);
}

void objects_cancel(struct objects_call *call)
{
	if (call)
		call->cancel(call);
}

/* -- watches and end -- */

bool objects_watch_init(struct objects_watch *watch, struct objects *objects, const struct objects_watch_options *options,
	const struct objects_events *events, void *ctx)
{
	*watch = (struct objects_watch){
		.objects = objects,
		.kind = options->kind,
		.fields = strdup(options->field_selector ? options->field_selector : ""),
		.labels = strdup(options->label_selector ? options->label_selector : ""),
		.events = events,
		.ctx = ctx,
	};
	return watch->fields && watch->labels;
}

void objects_watch_done(struct objects_watch *watch)
{
	free(watch->fields);
	free(watch->labels);
}

struct objects_watch *objects_watch_new(struct objects *objects, const struct objects_watch_options *options,
	const struct objects_events *events, void *ctx)
{
	return objects->ops->watch(objects, options, events, ctx);
}

void objects_watch_free(struct objects_watch *watch)
{
	if (watch)
		watch->objects->ops->watch_free(watch);
}

void objects_remark(struct objects *objects, const struct objects_remark *remark)
{
	bool has_namespace = remark->namespace && object_name_is_good(remark->namespace);

	if (objects->ops->remark && kind_is_namespaced(remark->kind) == has_namespace)
		objects->ops->remark(objects, remark);
}

void objects_free(struct objects *objects)
{
	if (!objects)
		return;
	while (objects->later)
		later_free(&objects->later->call);
	objects->ops->free(objects);
}
