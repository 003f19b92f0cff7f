/* SPDX-License-Identifier: Apache-2.0 */
#include "objects/etcd_private.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "objects/problems.h"

#include <errno.h>
#include <string.h>
#include <utlist.h>

struct etcd_objects_watch {
	struct objects_watch common; /* first */
	struct etcd_objects_watch *prev, *next;
	struct etcd_watch under;
	struct objects_shown *shown; /* what was put, where there is a selector */
	struct problems problems;
};

static void tell(struct etcd_objects_watch *watch, const char *key, const char *text)
{
	if (problems_news(&watch->problems, key, text))
		watch->common.events->problem(watch->common.ctx, key, text);
}

static bool wants(const struct etcd_objects_watch *watch, const json_t *object)
{
	return objects_field_match(watch->common.fields, object) && objects_label_match(watch->common.labels, object);
}

static void on_begin(void *ctx, bool anew)
{
	struct etcd_objects_watch *watch = ctx;

	watch->common.events->begin(watch->common.ctx, anew);
}

static void on_end(void *ctx)
{
	struct etcd_objects_watch *watch = ctx;

	watch->common.events->end(watch->common.ctx);
}

static void on_put(void *ctx, const Etcd__KeyValue *kv)
{
	_cleanup_(json_cleanup) json_t *object = NULL;
	struct etcd_objects_watch *watch = ctx;
	struct err err = ERR_INIT;
	char key[CALICO_KEY_MAX];
	int rc = etcd_objects_parse(watch->common.kind, kv, &object, &err);

	if (rc == -ENOENT || !etcd_objects_key(kv, key))
		return; /* other things lie under the prefix as well */
	tell(watch, key, rc < 0 ? err_text(&err) : "");
	if (rc < 0)
		return; /* what it was before stays in force */
	if (wants(watch, object)) {
		objects_shown_add(&watch->shown, object);
		watch->common.events->put(watch->common.ctx, object);
	} else if (objects_shown_del(&watch->shown, object)) {
		watch->common.events->gone(watch->common.ctx, object);
	}
}

static void on_gone(void *ctx, const Etcd__KeyValue *kv)
{
	_cleanup_(json_cleanup) json_t *object = NULL;
	struct etcd_objects_watch *watch = ctx;
	char key[CALICO_KEY_MAX];

	if (!etcd_objects_key(kv, key))
		return;
	object = calico_etcd_key_object(watch->common.kind, key);
	tell(watch, key, "");
	if (object && objects_shown_del(&watch->shown, object))
		watch->common.events->gone(watch->common.ctx, object);
}

static void on_problem(void *ctx, const char *name, const char *text)
{
	tell(ctx, "", text);
}

static const struct etcd_watch_events under_events = {on_begin, on_end, on_put, on_gone, on_problem};

static void watch_free(struct etcd_objects_watch *watch)
{
	DL_DELETE(etcd_of(watch->common.objects)->watches, watch);
	etcd_watch_done(&watch->under);
	objects_shown_free(&watch->shown);
	problems_done(&watch->problems);
	objects_watch_done(&watch->common);
	free(watch);
}

struct objects_watch *etcd_objects_watch_new(struct objects *objects, const struct objects_watch_options *options,
	const struct objects_events *events, void *ctx)
{
	struct etcd_objects_watch *watch = calloc(1, sizeof(*watch));
	struct objects_etcd *etcd = etcd_of(objects);

	if (!watch)
		return NULL;
	DL_APPEND(etcd->watches, watch);
	calico_etcd_range(options->kind, watch->under.key, watch->under.end);
	if (!objects_watch_init(&watch->common, objects, options, events, ctx) ||
		etcd_watch_init(&watch->under, &etcd->client, &under_events, watch, kind_name(watch->common.kind)) < 0) {
		watch_free(watch);
		return NULL;
	}
	etcd_watch_list(&watch->under);
	return &watch->common;
}

void etcd_objects_watch_free(struct objects_watch *watch)
{
	watch_free((struct etcd_objects_watch *)watch);
}

void etcd_objects_watch_done(struct objects_etcd *etcd)
{
	while (etcd->watches)
		watch_free(etcd->watches);
}
