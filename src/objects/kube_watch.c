/* SPDX-License-Identifier: Apache-2.0 */
#include "objects/kube_private.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/json.h"
#include "client/kube_watch.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#define DROPS_MAX 32
#define OBJECT_MAX (16u << 20) /* bytes of one object */

/* Of v1's objects: which policy they are. While Calico renames its policies there are two objects for one
 * (reference/calico.md 1.4), and it is there until both are gone. */
struct alias {
	UT_hash_handle hh;
	char *meant; /* "namespace/name" */
	char name[]; /* "namespace/name" of the object */
};

struct kube_objects_watch {
	struct objects_watch common; /* first */
	struct kube_objects_watch *prev, *next;
	char *drops[DROPS_MAX + 1];
	struct objects_shown *shown; /* what was put, where the server cannot choose by labels */
	struct alias *aliases;       /* of policies in v1 */
	struct kube_watch *under;  /* null: the catalogue is awaited, or has no such kind */
	enum calico_group group;   /* of under */
	bool begun;                /* a list has been told, so that an end must be, too */
	bool suspicious;           /* under has trouble: the catalogue may tell why */
	char *story;               /* the problem that is told; null: none */
	bool dead;
};

static void tell(struct kube_objects_watch *watch, const char *text)
{
	const char *old = watch->story ? watch->story : "";

	if (strcmp(old, text) == 0)
		return;
	free(watch->story);
	watch->story = *text ? strdup(text) : NULL;
	watch->common.events->problem(watch->common.ctx, "", text);
}

/* -- what v1's names mean -- */

#define ALIAS_MAX (2 * OBJECT_NAME_MAX + 2)

static bool has_aliases(const struct kube_objects_watch *watch)
{
	enum kind kind = watch->common.kind;

	return kube_of(watch->common.objects)->catalogue.group == GROUP_V1 &&
	       (kind == KIND_CALICO_NETWORK_POLICY || kind == KIND_GLOBAL_NETWORK_POLICY);
}

static void full_name(const json_t *object, char ret[static ALIAS_MAX])
{
	snprintf(ret, ALIAS_MAX, "%.253s/%.253s", object_namespace(object), object_name(object));
}

static void alias_del(struct kube_objects_watch *watch, struct alias *alias)
{
	HASH_DEL(watch->aliases, alias);
	free(alias->meant);
	free(alias);
}

static void forget_aliases(struct kube_objects_watch *watch)
{
	struct alias *alias, *next;

	HASH_ITER(hh, watch->aliases, alias, next)
		alias_del(watch, alias);
}

static void forget_alias(struct kube_objects_watch *watch, const json_t *object)
{
	char name[ALIAS_MAX];
	struct alias *alias;

	full_name(object, name);
	HASH_FIND(hh, watch->aliases, name, strlen(name), alias);
	if (alias)
		alias_del(watch, alias);
}

static void add_alias(struct kube_objects_watch *watch, const json_t *object, const json_t *neutral)
{
	char name[ALIAS_MAX], meant[ALIAS_MAX];
	struct alias *alias;

	if (!has_aliases(watch))
		return;
	forget_alias(watch, object);
	full_name(object, name);
	full_name(neutral, meant);
	alias = calloc(1, sizeof(*alias) + strlen(name) + 1);
	if (!alias || !(alias->meant = strdup(meant))) {
		free(alias);
		return;
	}
	memcpy(alias->name, name, strlen(name) + 1);
	HASH_ADD_KEYPTR(hh, watch->aliases, alias->name, strlen(name), alias);
}

static bool is_still_meant(struct kube_objects_watch *watch, const json_t *object, const json_t *neutral)
{
	char meant[ALIAS_MAX];
	struct alias *alias, *next;

	forget_alias(watch, object);
	full_name(neutral, meant);
	HASH_ITER(hh, watch->aliases, alias, next)
		if (strcmp(alias->meant, meant) == 0)
			return true;
	return false;
}

/* -- events of the watch below -- */

static void on_begin(void *ctx, bool anew)
{
	struct kube_objects_watch *watch = ctx;

	forget_aliases(watch);
	watch->begun = true;
	watch->common.events->begin(watch->common.ctx, anew);
}

static void on_put(void *ctx, const json_t *object)
{
	struct kube_objects_watch *watch = ctx;
	struct objects_kube *kube = kube_of(watch->common.objects);
	_cleanup_(json_cleanup) json_t *neutral = kube_objects_neutral(kube, watch->common.kind, object);

	if (!neutral)
		return;
	add_alias(watch, object, neutral);
	if (kube_objects_labels_shown(kube, watch->common.kind)) {
		watch->common.events->put(watch->common.ctx, neutral);
	} else if (objects_label_match(watch->common.labels, neutral)) {
		objects_shown_add(&watch->shown, neutral);
		watch->common.events->put(watch->common.ctx, neutral);
	} else if (objects_shown_del(&watch->shown, neutral)) {
		watch->common.events->gone(watch->common.ctx, neutral);
	}
}

static void on_gone(void *ctx, const json_t *object)
{
	struct kube_objects_watch *watch = ctx;
	struct objects_kube *kube = kube_of(watch->common.objects);
	_cleanup_(json_cleanup) json_t *neutral = kube_objects_neutral(kube, watch->common.kind, object);

	if (neutral && is_still_meant(watch, object, neutral))
		return;
	if (neutral && (objects_shown_del(&watch->shown, neutral) || kube_objects_labels_shown(kube, watch->common.kind)))
		watch->common.events->gone(watch->common.ctx, neutral);
}

static void on_end(void *ctx)
{
	struct kube_objects_watch *watch = ctx;

	watch->common.events->end(watch->common.ctx);
}

static void on_problem(void *ctx, const char *text)
{
	struct kube_objects_watch *watch = ctx;

	watch->suspicious = *text && catalogue_is_about(watch->common.kind);
	if (watch->suspicious)
		catalogue_read_later(kube_of(watch->common.objects));
	tell(watch, text);
}

static const struct kube_watch_events under_events = {on_begin, on_put, on_gone, on_end, on_problem};

/* -- as the catalogue says -- */

static void start(struct objects_kube *kube, struct kube_objects_watch *watch)
{
	_cleanup_(buf_free) struct buf path = BUF_INIT(4096);
	struct kube_watch_options options = {
		.field_selector = *watch->common.fields ? watch->common.fields : NULL,
		.drop = (const char *const *)watch->drops,
		.object_max = OBJECT_MAX,
	};

	kube_objects_path(kube, watch->common.kind, "", &path);
	options.path = buf_text(&path);
	if (*watch->common.labels && kube_objects_labels_shown(kube, watch->common.kind))
		options.label_selector = watch->common.labels;
	watch->group = kube->catalogue.group;
	watch->suspicious = false;
	tell(watch, "");
	watch->under = kube_watch_new(kube->kube, kube->objects.base, &options, &under_events, watch);
	if (!watch->under)
		tell(watch, "no memory");
}

static void stop(struct kube_objects_watch *watch)
{
	kube_watch_free(watch->under);
	watch->under = NULL;
	watch->suspicious = false;
}

/* Nothing is there, which is a list as well. */
static void tell_absence(struct objects_kube *kube, struct kube_objects_watch *watch, bool anew)
{
	const struct kind_info *info = kind_info(watch->common.kind);
	char text[256];

	if (anew || !watch->begun) {
		watch->begun = true;
		watch->common.events->begin(watch->common.ctx, false);
		watch->common.events->end(watch->common.ctx);
	}
	if (info->optional) {
		tell(watch, "");
		return;
	}
	snprintf(text, sizeof(text), "%s knows no %s.projectcalico.org: expected a CustomResourceDefinition, in group "
		"projectcalico.org or crd.projectcalico.org", kube_server(kube->kube), info->plural);
	tell(watch, text);
}

/* True: it waits for the catalogue to change. */
static bool look(struct objects_kube *kube, struct kube_objects_watch *watch)
{
	int has = catalogue_has(kube, watch->common.kind);
	bool moved = watch->under && kind_info(watch->common.kind)->v1_name && watch->group != kube->catalogue.group;

	if (has < 0) {
		if (kube->catalogue.trouble)
			tell(watch, kube->catalogue.trouble);
		return true;
	}
	if (has > 0 && (!watch->under || moved)) {
		stop(watch);
		start(kube, watch);
	} else if (has == 0) {
		bool was = watch->under;

		stop(watch);
		tell_absence(kube, watch, was);
	}
	return has == 0 || watch->suspicious || !watch->under;
}

static void watch_free(struct kube_objects_watch *watch)
{
	kube_watch_free(watch->under);
	objects_shown_free(&watch->shown);
	forget_aliases(watch);
	for (size_t i = 0; i < DROPS_MAX; i++)
		free(watch->drops[i]);
	objects_watch_done(&watch->common);
	free(watch->story);
	free(watch);
}

static void sweep(struct objects_kube *kube)
{
	struct kube_objects_watch *watch, *next;

	if (kube->walking)
		return;
	DL_FOREACH_SAFE(kube->watches, watch, next) {
		if (!watch->dead)
			continue;
		DL_DELETE(kube->watches, watch);
		watch_free(watch);
	}
}

bool kube_objects_watch_look(struct objects_kube *kube)
{
	struct kube_objects_watch *watch;
	bool waiting = false;

	kube->walking++;
	DL_FOREACH(kube->watches, watch)
		if (!watch->dead && look(kube, watch))
			waiting = true;
	kube->walking--;
	sweep(kube);
	return waiting;
}

/* -- life cycle -- */

static bool copy_drops(struct kube_objects_watch *watch, const char *const *drop)
{
	size_t count = 0;

	watch->drops[count++] = strdup("metadata.managedFields");
	for (; drop && *drop && count < DROPS_MAX; drop++)
		if (strcmp(*drop, watch->drops[0] ? watch->drops[0] : "") != 0)
			watch->drops[count++] = strdup(*drop);
	while (count)
		if (!watch->drops[--count])
			return false;
	return true;
}

struct objects_watch *kube_objects_watch_new(struct objects *objects, const struct objects_watch_options *options,
	const struct objects_events *events, void *ctx)
{
	struct kube_objects_watch *watch = calloc(1, sizeof(*watch));
	struct objects_kube *kube = kube_of(objects);

	if (!watch)
		return NULL;
	if (!objects_watch_init(&watch->common, objects, options, events, ctx) || !copy_drops(watch, options->drop)) {
		watch_free(watch);
		return NULL;
	}
	DL_APPEND(kube->watches, watch);
	if (catalogue_has(kube, watch->common.kind) > 0)
		start(kube, watch);
	else
		catalogue_read(kube); /* what is missing may have come */
	return &watch->common;
}

void kube_objects_watch_free(struct objects_watch *watch)
{
	struct kube_objects_watch *mine = (struct kube_objects_watch *)watch;
	struct objects_kube *kube = kube_of(watch->objects);

	mine->dead = true;
	stop(mine);
	sweep(kube);
}

void kube_objects_watch_done(struct objects_kube *kube)
{
	struct kube_objects_watch *watch, *next;

	DL_FOREACH_SAFE(kube->watches, watch, next) {
		DL_DELETE(kube->watches, watch);
		watch_free(watch);
	}
}
