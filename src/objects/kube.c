/* SPDX-License-Identifier: Apache-2.0 */
#include "objects/kube_private.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "client/json_split.h"
#include "objects/calico_form.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#define REQUEST_MS 15000
#define PAGE 500
#define OBJECT_MAX (16u << 20)

struct kube_objects_call {
	struct objects_remote_call base; /* first */
	struct kube_objects_call *prev, *next;
	struct kube_call *http;   /* null: waits for the catalogue */
	struct json_split *split; /* of a list */
	char *more;               /* where the list goes on */
};

/* -- the two groups -- */

static bool is_v1(const struct objects_kube *kube, enum kind kind)
{
	return kind_info(kind)->v1_name && kube->catalogue.group != GROUP_V3;
}

void kube_objects_path(const struct objects_kube *kube, enum kind kind, const char *namespace, struct buf *ret)
{
	const struct kind_info *info = kind_info(kind);
	bool v1 = is_v1(kube, kind);
	const char *version = v1 ? CALICO_V1 : info->api_version;

	buf_printf(ret, "/%s/%s", strchr(version, '/') ? "apis" : "api", version);
	if (*namespace) {
		buf_add_str(ret, "/namespaces/");
		kube_escape(ret, namespace);
	}
	buf_printf(ret, "/%s", v1 ? info->v1_plural : info->plural);
}

static json_t *with_kind(enum kind kind, const json_t *object)
{
	json_t *copy = json_copy((json_t *)object);

	json_object_set_new(copy, "apiVersion", json_string(kind_info(kind)->api_version));
	json_object_set_new(copy, "kind", json_string(kind_name(kind)));
	return copy;
}

json_t *kube_objects_neutral(const struct objects_kube *kube, enum kind kind, const json_t *object)
{
	return is_v1(kube, kind) ? calico_from_v1(kind, object) : with_kind(kind, object);
}

bool kube_objects_labels_shown(const struct objects_kube *kube, enum kind kind)
{
	return !is_v1(kube, kind) || kind_info(kind)->ipam;
}

/* -- answers -- */

static void call_free(struct objects_remote_call *base)
{
	struct kube_objects_call *call = (struct kube_objects_call *)base;

	DL_DELETE(kube_of(call->base.call.objects)->calls, call);
	kube_call_cancel(call->http);
	json_split_free(call->split);
	free(call->more);
	objects_request_done(&call->base.request);
	free(call);
}

static int code_of(const struct objects_request *request, const struct kube_answer *answer)
{
	switch (answer->status) {
	case 400:
	case 413:
	case 422:
		return -EINVAL;
	case 401:
	case 403:
		return -EACCES;
	case 404:
		return -ENOENT;
	case 409:
		return request->verb == OBJECTS_CREATE && strcmp(answer->reason, "AlreadyExists") == 0 ? -EEXIST : -ESTALE;
	case 0:
		return -EIO;
	default:
		return answer->status < 400 && !*answer->text ? 0 : -EIO;
	}
}

static void on_done(void *ctx, const struct kube_answer *answer)
{
	_cleanup_(json_cleanup) json_t *body = NULL;
	struct kube_objects_call *call = ctx;
	int rc = code_of(&call->base.request, answer);
	json_t *object = NULL;

	call->http = NULL;
	if (rc == 0 && call->base.request.verb != OBJECTS_DELETE) {
		body = json_loadb(answer->body, answer->len, 0, NULL);
		json_object_del(json_object_get(body, "metadata"), "managedFields"); /* nobody needs them, watches have none */
		if (json_is_object(body))
			object = kube_objects_neutral(kube_of(call->base.call.objects), call->base.request.kind, body);
		/* What was asked for has happened, but as what we cannot tell. */
		rc = object ? 0 : -EIO;
	}
	objects_remote_finish(&call->base, rc, object, *answer->text ? answer->text : "the answer of the API server is no object");
}

/* -- lists -- */

static bool send_list(struct kube_objects_call *call);

static int on_item(void *ctx, const char *text, size_t len, bool oversize, struct err *err)
{
	_cleanup_(json_cleanup) json_t *object = NULL, *neutral = NULL;
	struct kube_objects_call *call = ctx;
	struct objects_kube *kube = kube_of(call->base.call.objects);
	const struct objects_request *request = &call->base.request;

	if (call->base.cancelled)
		return -ECANCELED;
	if (oversize)
		return err_set(err, -EFBIG, "a %s of the list is larger than %u bytes", kind_name(request->kind),
			OBJECT_MAX);
	object = json_loadb(text, len, 0, NULL);
	if (!json_is_object(object))
		return err_set(err, -EINVAL, "a %s of the list is no object", kind_name(request->kind));
	neutral = kube_objects_neutral(kube, request->kind, object);
	if (neutral && (kube_objects_labels_shown(kube, request->kind) ||
		objects_label_match(request->label_selector, neutral)))
		request->each(request->ctx, neutral);
	return 0;
}

static int on_data(void *ctx, const char *data, size_t len, struct err *err)
{
	struct kube_objects_call *call = ctx;
	int rc;

	call->base.inside = true;
	rc = json_split_add(call->split, data, len, err);
	call->base.inside = false;
	return call->base.cancelled ? -ECANCELED : rc;
}

/* Where the next page begins; null: that was the last one. */
static char *rest_of(struct kube_objects_call *call)
{
	_cleanup_(json_cleanup) json_t *rest = json_loads(json_split_rest(call->split), 0, NULL);
	const char *more = json_string_value(json_object_get(json_object_get(rest, "metadata"), "continue"));

	return more && *more ? strdup(more) : NULL;
}

static void on_list_done(void *ctx, const struct kube_answer *answer)
{
	struct kube_objects_call *call = ctx;
	int rc = code_of(&call->base.request, answer);
	struct err err = ERR_INIT;

	call->http = NULL;
	if (rc < 0 || call->base.cancelled) {
		objects_remote_finish(&call->base, rc < 0 ? rc : -ECANCELED, NULL, answer->text);
		return;
	}
	if (json_split_end(call->split, &err) < 0) {
		objects_remote_finish(&call->base, -EIO, NULL, err_text(&err));
		return;
	}
	free(call->more);
	call->more = rest_of(call);
	if (!call->more)
		objects_remote_finish(&call->base, 0, NULL, "");
	else if (!send_list(call))
		objects_remote_finish(&call->base, -ENOMEM, NULL, "no memory");
}

static bool send_list(struct kube_objects_call *call)
{
	static const char *const drop[] = {"metadata.managedFields", NULL};
	const struct json_split_options split = {.list = true, .drop = drop, .object_max = OBJECT_MAX,
		.object = on_item, .ctx = call};
	const char *labels = call->base.request.label_selector;
	struct objects_kube *kube = kube_of(call->base.call.objects);
	_cleanup_(buf_free) struct buf path = BUF_INIT(65536);
	struct kube_request http = {.method = "GET", .timeout_ms = 4 * REQUEST_MS, .data = on_data,
		.done = on_list_done, .ctx = call};

	json_split_free(call->split);
	call->split = NULL;
	if (json_split_new(&split, &call->split, NULL) < 0)
		return false;
	kube_objects_path(kube, call->base.request.kind, "", &path);
	buf_printf(&path, "?limit=%d", PAGE);
	if (labels && *labels && kube_objects_labels_shown(kube, call->base.request.kind)) {
		buf_add_str(&path, "&labelSelector=");
		kube_escape(&path, labels);
	}
	if (call->more) {
		buf_add_str(&path, "&continue=");
		kube_escape(&path, call->more);
	}
	http.path = buf_text(&path);
	if (!path.error)
		call->http = kube_call_new(kube->kube, &http);
	return call->http;
}

/* -- single objects -- */

/* Only this very object, as it was read. */
static json_t *delete_options(const struct objects_kube *kube, enum kind kind, const json_t *object)
{
	const char *uid = object_uid(object);
	_cleanup_free_ char *real = strdup(uid);
	json_t *conditions = json_pack("{s:s}", "resourceVersion", object_version(object));

	if (real && *uid) {
		if (is_v1(kube, kind) && !kind_info(kind)->ipam)
			calico_turn_uid(uid, real);
		json_object_set_new(conditions, "uid", json_string(real));
	}
	return json_pack("{s:s, s:s, s:o}", "apiVersion", "v1", "kind", "DeleteOptions", "preconditions", conditions);
}

static json_t *wire_object(const struct objects_kube *kube, const struct objects_request *request)
{
	json_t *wire = is_v1(kube, request->kind) ? calico_to_v1(request->kind, request->object) :
		with_kind(request->kind, request->object);

	if (wire && request->verb == OBJECTS_CREATE) { /* which the server refuses there */
		json_t *metadata = json_copy(json_object_get(wire, "metadata"));

		json_object_del(metadata, "resourceVersion");
		json_object_set_new(wire, "metadata", metadata);
	}
	return wire;
}

static json_t *wire_body(const struct objects_kube *kube, const struct objects_request *request)
{
	if (request->verb == OBJECTS_GET)
		return NULL;
	if (request->verb == OBJECTS_DELETE)
		return delete_options(kube, request->kind, request->object);
	if (request->verb == OBJECTS_ANNOTATE)
		return json_pack("{s:{s:O}}", "metadata", "annotations", request->object);
	return wire_object(kube, request);
}

static bool send_one(struct kube_objects_call *call)
{
	static const char *const methods[] = {[OBJECTS_GET] = "GET", [OBJECTS_CREATE] = "POST",
		[OBJECTS_UPDATE] = "PUT", [OBJECTS_ANNOTATE] = "PATCH", [OBJECTS_DELETE] = "DELETE"};
	const struct objects_request *request = &call->base.request;
	struct objects_kube *kube = kube_of(call->base.call.objects);
	_cleanup_(json_cleanup) json_t *body = wire_body(kube, request);
	_cleanup_(buf_free) struct buf path = BUF_INIT(4096);
	_cleanup_free_ char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	struct kube_request http = {
		.method = methods[request->verb],
		.content_type = request->verb == OBJECTS_ANNOTATE ? "application/merge-patch+json" : "application/json",
		.body = text,
		.len = text ? strlen(text) : 0,
		.timeout_ms = REQUEST_MS,
		.done = on_done,
		.ctx = call,
	};

	if (!text && request->verb != OBJECTS_GET)
		return false;
	kube_objects_path(kube, request->kind, request->namespace, &path);
	if (request->verb != OBJECTS_CREATE) {
		buf_add_str(&path, "/");
		kube_escape(&path, request->name);
	}
	if (request->verb == OBJECTS_ANNOTATE)
		buf_add_str(&path, "/status");
	http.path = buf_text(&path);
	if (!path.error)
		call->http = kube_call_new(kube->kube, &http);
	return call->http;
}

static bool send_call(struct kube_objects_call *call)
{
	return call->base.request.verb == OBJECTS_LIST ? send_list(call) : send_one(call);
}

/* The first call that waits for the catalogue, and how many do. */
static struct kube_objects_call *first_waiting(struct objects_kube *kube, size_t *ret_count)
{
	struct kube_objects_call *call, *first = NULL;

	*ret_count = 0;
	DL_FOREACH(kube->calls, call) {
		if (call->http)
			continue;
		if (!first)
			first = call;
		++*ret_count;
	}
	return first;
}

static void release(struct objects_kube *kube, struct kube_objects_call *call)
{
	_cleanup_free_ char *text = NULL;

	if (catalogue_is_known(kube)) {
		if (!send_call(call))
			objects_remote_finish(&call->base, -ENOMEM, NULL, "no memory");
		return;
	}
	text = kube->catalogue.trouble ? strdup(kube->catalogue.trouble) : NULL;
	objects_remote_finish(&call->base, -EIO, NULL, text ? text : "no memory");
}

/* Callbacks may end others and begin new ones: each round looks anew, and there are no more rounds than now wait. */
static void release_calls(struct objects_kube *kube)
{
	struct kube_objects_call *call;
	size_t rounds, waiting;

	for (call = first_waiting(kube, &rounds); call && rounds; rounds--) {
		release(kube, call);
		call = first_waiting(kube, &waiting);
	}
}

void kube_objects_go_on(struct objects_kube *kube)
{
	release_calls(kube);
	if (kube_objects_watch_look(kube))
		catalogue_read_later(kube);
	else
		kube->catalogue.failures = 0;
}

static struct objects_call *kube_begin(struct objects *objects, const struct objects_request *request)
{
	struct kube_objects_call *call = calloc(1, sizeof(*call));
	struct objects_kube *kube = kube_of(objects);

	if (!call)
		return NULL;
	call->base = (struct objects_remote_call){.call = {objects, objects_remote_cancel}, .free = call_free};
	DL_APPEND(kube->calls, call);
	if (!objects_request_copy(&call->base.request, request)) {
		call_free(&call->base);
		return NULL;
	}
	if (kind_info(request->kind)->v1_name && !catalogue_is_known(kube)) {
		catalogue_read(kube);
	} else if (!send_call(call)) {
		call_free(&call->base);
		return NULL;
	}
	return &call->base.call;
}

/* -- remarks -- */

static void on_events_problem(void *ctx, const char *text)
{
}

static void kube_remark(struct objects *objects, const struct objects_remark *remark)
{
	const struct kind_info *info = kind_info(remark->kind);
	struct objects_kube *kube = kube_of(objects);
	bool v1 = is_v1(kube, remark->kind);
	const char *uid = remark->uid ? remark->uid : "";
	_cleanup_free_ char *real = strdup(uid);
	struct kube_events_about about = {.api_version = v1 ? CALICO_V1 : info->api_version,
		.kind = v1 ? info->v1_name : info->name, .namespace = remark->namespace, .name = remark->name, .uid = real};

	if (real && *uid && v1 && !info->ipam)
		calico_turn_uid(uid, real);
	if (real)
		kube_events_add(kube->events, &about, remark->node, remark->reason, remark->text);
}

/* -- life cycle -- */

static void kube_objects_free(struct objects *objects)
{
	struct objects_kube *kube = kube_of(objects);

	while (kube->calls)
		call_free(&kube->calls->base);
	kube_objects_watch_done(kube);
	catalogue_done(kube);
	kube_events_free(kube->events);
	free(kube);
}

static const struct objects_ops kube_ops = {
	.begin = kube_begin,
	.watch = kube_objects_watch_new,
	.watch_free = kube_objects_watch_free,
	.remark = kube_remark,
	.free = kube_objects_free,
};

int objects_kube_new(struct kube *kube, const char *group, struct event_base *base, struct objects **ret,
	struct err *err)
{
	struct kube_events_options events = {.kube = kube, .problem = on_events_problem};
	struct objects_kube *made = calloc(1, sizeof(*made));

	if (!made)
		return err_set(err, -ENOMEM, "no memory");
	made->objects = (struct objects){.ops = &kube_ops, .base = base};
	made->kube = kube;
	made->events = kube_events_new(&events, base);
	if (!made->events || catalogue_init(made, group) < 0) {
		kube_objects_free(&made->objects);
		return err_set(err, -ENOMEM, "no memory");
	}
	*ret = &made->objects;
	return 0;
}
