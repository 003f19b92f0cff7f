/* SPDX-License-Identifier: Apache-2.0 */
#include "objects/etcd_private.h"

#include "base/cleanup.h"
#include "base/json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#define ANNOTATE_TRIES 100 /* with somebody else always faster */

/* -- answers -- */

static void call_free(struct objects_remote_call *base)
{
	struct etcd_objects_call *call = (struct etcd_objects_call *)base;

	DL_DELETE(etcd_of(call->base.call.objects)->calls, call);
	etcd_rpc_cancel(call->rpc);
	objects_request_done(&call->base.request);
	free(call->value);
	free(call->next_key);
	free(call);
}

static void finish_with(struct etcd_objects_call *call, int rc, const char *what)
{
	const struct objects_request *request = &call->base.request;
	char title[OBJECT_TITLE_MAX], text[OBJECT_TITLE_MAX + 64];

	snprintf(text, sizeof(text), "%s: %s", objects_title(request->kind, request->namespace, request->name,
		title), what);
	objects_remote_finish(&call->base, rc, NULL, text);
}

static void finish_without_memory(struct etcd_objects_call *call)
{
	objects_remote_finish(&call->base, -ENOMEM, NULL, "no memory");
}

int etcd_objects_code(const struct grpc_status *status)
{
	switch (status->code) {
	case GRPC_PERMISSION_DENIED:
	case GRPC_UNAUTHENTICATED:
		return -EACCES;
	case GRPC_INVALID_ARGUMENT:
		return -EINVAL;
	default:
		return -EIO;
	}
}

bool etcd_objects_key(const Etcd__KeyValue *kv, char ret[static CALICO_KEY_MAX])
{
	if (kv->key.len >= CALICO_KEY_MAX || memchr(kv->key.data, 0, kv->key.len))
		return false;
	memcpy(ret, kv->key.data, kv->key.len);
	ret[kv->key.len] = 0;
	return true;
}

int etcd_objects_parse(enum kind kind, const Etcd__KeyValue *kv, json_t **ret, struct err *err)
{
	char key[CALICO_KEY_MAX];

	if (!etcd_objects_key(kv, key))
		return -ENOENT;
	return calico_from_etcd(kind, key, kv->value.len ? (const char *)kv->value.data : "", kv->value.len,
		kv->mod_revision, ret, err);
}

/* -- reading one object -- */

/* The first of the answers that is the object. -ENOENT: none. */
static int find(const struct objects_request *request, const Etcd__TxnResponse *answer, json_t **ret,
	struct err *err)
{
	int rc = -ENOENT;

	for (size_t i = 0; i < answer->n_responses && rc == -ENOENT; i++) {
		const Etcd__RangeResponse *range = answer->responses[i]->response_range;
		json_t *object = NULL;

		if (answer->responses[i]->response_case != ETCD__RESPONSE_OP__RESPONSE_RESPONSE_RANGE || !range ||
			!range->n_kvs)
			continue;
		rc = etcd_objects_parse(request->kind, range->kvs[0], &object, err);
		if (rc == 0 && strcmp(object_name(object), request->name) == 0)
			*ret = object;
		else
			json_decref(object);
		rc = rc == 0 && !*ret ? -ENOENT : rc;
	}
	return rc;
}

static int prepare(struct etcd_objects_call *call, const json_t *object, struct err *err);
static bool send_change(struct etcd_objects_call *call, int64_t version);
static int64_t version_of(const json_t *object);

static void annotate(struct etcd_objects_call *call, const json_t *object)
{
	_cleanup_(json_cleanup) json_t *next = objects_annotated(object, call->base.request.object);
	struct err err = ERR_INIT;
	int rc = prepare(call, next, &err);

	if (rc < 0)
		objects_remote_finish(&call->base, rc, NULL, err_text(&err));
	else if (!send_change(call, version_of(object)))
		finish_without_memory(call);
}

static void on_read(void *ctx, const struct grpc_status *status, const ProtobufCMessage *message)
{
	const Etcd__TxnResponse *answer = (const Etcd__TxnResponse *)message;
	_cleanup_(json_cleanup) json_t *object = NULL;
	struct etcd_objects_call *call = ctx;
	struct err err = ERR_INIT;
	int rc;

	call->rpc = NULL;
	if (!answer) {
		objects_remote_finish(&call->base, etcd_objects_code(status), NULL, status->text);
		return;
	}
	rc = find(&call->base.request, answer, &object, &err);
	if (rc == -ENOENT) {
		finish_with(call, rc, "is not there");
	} else if (rc < 0) {
		objects_remote_finish(&call->base, rc, NULL, err_text(&err));
	} else if (call->base.request.verb == OBJECTS_GET) {
		objects_remote_finish(&call->base, 0, TAKE_PTR(object), "");
	} else {
		annotate(call, object);
	}
}

/* Several keys may be the object's: an affinity's name is ambiguous. */
static bool read_one(struct etcd_objects_call *call)
{
	Etcd__RangeRequest ranges[CALICO_KEYS_MAX];
	Etcd__RequestOp ops[CALICO_KEYS_MAX], *list[CALICO_KEYS_MAX];
	const struct objects_request *request = &call->base.request;
	const struct object_key key = {request->kind, request->namespace, request->name};
	Etcd__TxnRequest txn = ETCD__TXN_REQUEST__INIT;
	char keys[CALICO_KEYS_MAX][CALICO_KEY_MAX];

	txn.n_success = calico_etcd_keys(&key, keys);
	for (size_t i = 0; i < txn.n_success; i++) {
		etcd__range_request__init(&ranges[i]);
		etcd__request_op__init(&ops[i]);
		ranges[i].key = etcd_text(keys[i]);
		ops[i].request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_RANGE;
		ops[i].request_range = &ranges[i];
		list[i] = &ops[i];
	}
	txn.success = list;
	call->rpc = etcd_rpc_new(&etcd_of(call->base.call.objects)->client, &etcd_txn, &txn.base, on_read, call);
	return call->rpc;
}

/* -- changing one object -- */

/* Was there anything under the key when the change was refused? */
static bool saw_object(const Etcd__TxnResponse *answer)
{
	for (size_t i = 0; i < answer->n_responses; i++)
		if (answer->responses[i]->response_case == ETCD__RESPONSE_OP__RESPONSE_RESPONSE_RANGE &&
			answer->responses[i]->response_range && answer->responses[i]->response_range->n_kvs)
			return true;
	return false;
}

static void refused(struct etcd_objects_call *call, const Etcd__TxnResponse *answer)
{
	if (call->base.request.verb == OBJECTS_ANNOTATE && ++call->tries < ANNOTATE_TRIES) {
		if (!read_one(call))
			finish_without_memory(call);
	} else if (call->base.request.verb == OBJECTS_CREATE) {
		finish_with(call, -EEXIST, "is there already");
	} else if (saw_object(answer)) {
		finish_with(call, -ESTALE, "was changed since it was read");
	} else {
		finish_with(call, -ENOENT, "is not there any more");
	}
}

static void on_changed(void *ctx, const struct grpc_status *status, const ProtobufCMessage *message)
{
	const Etcd__TxnResponse *answer = (const Etcd__TxnResponse *)message;
	struct etcd_objects_call *call = ctx;
	json_t *object = NULL;
	int rc = 0;

	call->rpc = NULL;
	if (!answer || !answer->header) {
		objects_remote_finish(&call->base, answer ? -EIO : etcd_objects_code(status), NULL, status->text);
		return;
	}
	if (!answer->succeeded) {
		refused(call, answer);
		return;
	}
	if (call->value)
		rc = calico_from_etcd(call->base.request.kind, call->key, call->value, strlen(call->value),
			answer->header->revision, &object, NULL);
	objects_remote_finish(&call->base, rc < 0 ? -EIO : 0, object, "etcd: what was written cannot be read");
}

/* version: the mod_revision that was read, 0: there must be none. call->value null: delete. */
static bool send_change(struct etcd_objects_call *call, int64_t version)
{
	Etcd__Compare compare = ETCD__COMPARE__INIT, *compares[] = {&compare};
	Etcd__RequestOp change = ETCD__REQUEST_OP__INIT, *changes[] = {&change};
	Etcd__RequestOp look = ETCD__REQUEST_OP__INIT, *looks[] = {&look};
	Etcd__DeleteRangeRequest delete = ETCD__DELETE_RANGE_REQUEST__INIT;
	Etcd__TxnRequest txn = ETCD__TXN_REQUEST__INIT;
	Etcd__RangeRequest range = ETCD__RANGE_REQUEST__INIT;
	Etcd__PutRequest put = ETCD__PUT_REQUEST__INIT;

	compare.key = put.key = delete.key = range.key = etcd_text(call->key);
	compare.result = ETCD__COMPARE__COMPARE_RESULT__EQUAL;
	compare.target = ETCD__COMPARE__COMPARE_TARGET__MOD; /* 0 where there is no key */
	compare.target_union_case = ETCD__COMPARE__TARGET_UNION_MOD_REVISION;
	compare.mod_revision = version;
	change.request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
	change.request_delete_range = &delete;
	if (call->value) {
		put.value = etcd_text(call->value);
		change.request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_PUT;
		change.request_put = &put;
	}
	range.keys_only = true;
	look.request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_RANGE;
	look.request_range = &range;
	txn.compare = compares;
	txn.success = changes;
	txn.failure = looks;
	txn.n_compare = txn.n_success = txn.n_failure = 1;
	call->rpc = etcd_rpc_new(&etcd_of(call->base.call.objects)->client, &etcd_txn, &txn.base, on_changed, call);
	return call->rpc;
}

/* What was read here is a number; anything else was read elsewhere. */
static int64_t version_of(const json_t *object)
{
	const char *text = object_version(object);

	return strlen(text) < 19 && !text[strspn(text, "0123456789")] ? strtoll(text, NULL, 10) : INT64_MAX;
}

/* Key and value of what the object is to become. */
static int prepare(struct etcd_objects_call *call, const json_t *object, struct err *err)
{
	const struct objects_request *request = &call->base.request;
	_cleanup_(json_cleanup) json_t *copy = NULL, *value = NULL;
	int rc = calico_etcd_key(request->kind, object, call->key, err);

	if (rc < 0 || request->verb == OBJECTS_DELETE)
		return rc;
	copy = json_deep_copy(object);
	if (request->verb == OBJECTS_CREATE)
		rc = objects_add_birth(json_object_get(copy, "metadata"), err);
	if (rc < 0)
		return rc;
	value = calico_to_etcd(request->kind, copy);
	free(call->value);
	call->value = value ? json_dumps(value, JSON_COMPACT) : NULL;
	return call->value ? 0 : err_set(err, -ENOMEM, "no memory");
}

/* -- requests -- */

/* What is wrong with it before anything is sent. */
static int check(const struct objects_request *request, struct err *err)
{
	const struct object_key key = {request->kind, request->namespace, request->name};
	char keys[CALICO_KEYS_MAX][CALICO_KEY_MAX], title[OBJECT_TITLE_MAX];

	if (request->verb == OBJECTS_LIST)
		return 0;
	if (request->verb != OBJECTS_GET && request->verb != OBJECTS_ANNOTATE)
		return calico_etcd_key(request->kind, request->object, keys[0], err);
	if (!calico_etcd_keys(&key, keys))
		return err_set(err, -ENOENT, "%s: is not there: an object of this kind cannot have this name",
			objects_title(request->kind, request->namespace, request->name, title));
	return 0;
}

static bool start(struct etcd_objects_call *call)
{
	const json_t *object = call->base.request.object;

	switch (call->base.request.verb) {
	case OBJECTS_LIST:
		return etcd_objects_list(call);
	case OBJECTS_GET:
	case OBJECTS_ANNOTATE:
		return read_one(call);
	case OBJECTS_CREATE:
		return prepare(call, object, NULL) == 0 && send_change(call, 0);
	case OBJECTS_UPDATE:
	case OBJECTS_DELETE:
		return prepare(call, object, NULL) == 0 && send_change(call, version_of(object));
	}
	return false;
}

static struct objects_call *etcd_begin(struct objects *objects, const struct objects_request *request)
{
	struct objects_etcd *etcd = etcd_of(objects);
	struct etcd_objects_call *call;
	struct err err = ERR_INIT;
	int rc = check(request, &err);

	if (rc < 0)
		return objects_answer_later(objects, rc, err_text(&err), request->done, request->ctx);
	call = calloc(1, sizeof(*call));
	if (!call)
		return NULL;
	call->base = (struct objects_remote_call){.call = {objects, objects_remote_cancel}, .free = call_free};
	DL_APPEND(etcd->calls, call);
	if (!objects_request_copy(&call->base.request, request) || !start(call)) {
		call_free(&call->base);
		return NULL;
	}
	return &call->base.call;
}

/* -- life cycle -- */

static void etcd_objects_free(struct objects *objects)
{
	struct objects_etcd *etcd = etcd_of(objects);

	while (etcd->calls)
		call_free(&etcd->calls->base);
	etcd_objects_watch_done(etcd);
	etcd_client_done(&etcd->client);
	free(etcd);
}

static const struct objects_ops etcd_ops = {
	.begin = etcd_begin,
	.watch = etcd_objects_watch_new,
	.watch_free = etcd_objects_watch_free,
	.free = etcd_objects_free,
};

int objects_etcd_new(const struct etcd_client_options *options, struct event_base *base, struct objects **ret,
	struct err *err)
{
	struct objects_etcd *etcd = calloc(1, sizeof(*etcd));
	int rc;

	if (!etcd)
		return err_set(err, -ENOMEM, "etcd: no memory");
	etcd->objects = (struct objects){.ops = &etcd_ops, .base = base};
	rc = etcd_client_init(&etcd->client, options, base, err);
	if (rc < 0) {
		etcd_objects_free(&etcd->objects);
		return rc;
	}
	*ret = &etcd->objects;
	return 0;
}
