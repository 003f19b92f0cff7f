/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "base/json.h"
#include "client/kube_watch_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INITIAL_END "k8s.io/initial-events-end"

/* -- problems -- */

void kube_watch_show_problem(struct kube_watch *watch)
{
	if (watch->problem || watch->bad_count || !watch->told)
		return;
	watch->told = false;
	watch->events.problem(watch->ctx, "");
}

/* Of one kind, refusals that say something else (another verb, for example) count as another one; what failing
 * connections say is full of milliseconds. */
static bool is_known(const struct kube_watch *watch, int problem, const char *text)
{
	if (problem != watch->problem)
		return false;
	return problem < 400 || problem >= 500 || (watch->problem_text && strcmp(watch->problem_text, text) == 0);
}

void kube_watch_set_problem(struct kube_watch *watch, int problem, const char *text)
{
	if (is_known(watch, problem, text))
		return;
	watch->problem = problem;
	free(watch->problem_text);
	watch->problem_text = problem ? strdup(text) : NULL;
	if (problem) {
		watch->told = true;
		watch->events.problem(watch->ctx, text);
	} else {
		kube_watch_show_problem(watch);
	}
}

void kube_watch_forget_bad(struct kube_watch *watch)
{
	while (watch->bad_count)
		free(watch->bad[--watch->bad_count]);
}

static void add_bad(struct kube_watch *watch, const char *name, const char *why)
{
	char text[768];

	for (size_t i = 0; i < watch->bad_count; i++)
		if (strcmp(watch->bad[i], name) == 0)
			return;
	if (watch->bad_count < KUBE_BAD_MAX && (watch->bad[watch->bad_count] = strdup(name)))
		watch->bad_count++;
	snprintf(text, sizeof(text), "%s: %s: %.300s: %s; it is left out", kube_server(watch->kube), watch->path,
		*name ? name : "an object", why);
	watch->told = true;
	watch->events.problem(watch->ctx, text);
}

static void remove_bad(struct kube_watch *watch, const char *name)
{
	for (size_t i = 0; i < watch->bad_count; i++) {
		if (strcmp(watch->bad[i], name) != 0)
			continue;
		free(watch->bad[i]);
		watch->bad[i] = watch->bad[--watch->bad_count];
		if (!watch->listing)
			kube_watch_show_problem(watch);
		return;
	}
}

static void join_name(char *ret, size_t size, const char *namespace, const char *name)
{
	snprintf(ret, size, "%s%s%s", namespace ? namespace : "", namespace && *namespace ? "/" : "", name ? name : "");
}

/* Null when it has none. */
static const char *name_of(const json_t *object, char *ret, size_t size)
{
	const json_t *metadata = json_object_get(object, "metadata");
	const char *name = json_string_value(json_object_get(metadata, "name"));

	if (!name || !*name)
		return NULL;
	join_name(ret, size, json_string_value(json_object_get(metadata, "namespace")), name);
	return ret;
}

/* -- objects that are too large: their beginning usually says which one it is -- */

static bool find_text(const char *text, size_t len, const char *key, char *ret, size_t size)
{
	const char *at = memmem(text, len, key, strlen(key)), *end;

	if (!at)
		return false;
	at += strlen(key);
	end = memchr(at, '"', len - (size_t)(at - text));
	if (!end || (size_t)(end - at) >= size || memchr(at, '\\', (size_t)(end - at)))
		return false;
	memcpy(ret, at, (size_t)(end - at));
	ret[end - at] = 0;
	return true;
}

static int take_oversize(struct kube_watch *watch, const char *text, size_t len)
{
	static const char deleted[] = "{\"type\":\"DELETED\"";
	char namespace[254] = "", name[254] = "", whole[512], why[100];
	const char *metadata = memmem(text, len, "\"metadata\":{", 12);
	bool gone = watch->step == KUBE_STEP_WATCH || watch->step == KUBE_STEP_STREAM;

	gone = gone && len > sizeof(deleted) && memcmp(text, deleted, sizeof(deleted) - 1) == 0;
	if (metadata) {
		len -= (size_t)(metadata - text);
		find_text(metadata, len, "\"name\":\"", name, sizeof(name));
		find_text(metadata, len, "\"namespace\":\"", namespace, sizeof(namespace));
	}
	join_name(whole, sizeof(whole), namespace, name);
	if (!gone) {
		snprintf(why, sizeof(why), "larger than %zu bytes", watch->object_max);
		add_bad(watch, whole, why);
		return 0;
	}
	if (!*name) { /* only a list tells what is left */
		watch->verdict = KUBE_VERDICT_EXPIRED;
		return -ECANCELED;
	}
	_cleanup_(json_cleanup) json_t *object = json_pack("{s:{s:s, s:s}}", "metadata", "name", name, "namespace", namespace);

	if (!*namespace)
		json_object_del(json_object_get(object, "metadata"), "namespace");
	watch->events.gone(watch->ctx, object);
	remove_bad(watch, whole);
	return 0;
}

/* -- events -- */

void kube_watch_begin_list(struct kube_watch *watch)
{
	if (watch->begun)
		return;
	watch->begun = watch->listing = true;
	watch->counters.lists++;
	kube_watch_forget_bad(watch);
	watch->events.begin(watch->ctx, watch->anew);
}

static void put(struct kube_watch *watch, json_t *object)
{
	char name[512];

	if (!name_of(object, name, sizeof(name))) {
		add_bad(watch, "", "key \"metadata.name\" is missing, expected its name");
		return;
	}
	if (watch->drop_annotations)
		json_object_del(json_object_get(object, "metadata"), "annotations");
	watch->counters.objects++;
	watch->events.put(watch->ctx, object);
	if (watch->bad_count)
		remove_bad(watch, name);
}

static void gone(struct kube_watch *watch, json_t *object)
{
	char name[512];

	if (!name_of(object, name, sizeof(name)))
		return;
	watch->events.gone(watch->ctx, object);
	if (watch->bad_count)
		remove_bad(watch, name);
}

static int stop(struct kube_watch *watch, enum kube_verdict verdict)
{
	watch->verdict = verdict;
	return -ECANCELED;
}

/* The watch was refused after all. A streamed list that fails otherwise than for the moment is one that this server
 * cannot give: with an older etcd behind it, for example. */
static int take_error(struct kube_watch *watch, const json_t *object)
{
	kube_status_read(object, &watch->status);
	if (watch->status.code == 410)
		return stop(watch, KUBE_VERDICT_EXPIRED);
	if (watch->step == KUBE_STEP_STREAM && !watch->version[0] && watch->status.code != 429 && watch->status.code != 503 &&
		watch->status.code != 504)
		return stop(watch, KUBE_VERDICT_PAGES);
	return stop(watch, KUBE_VERDICT_ERROR);
}

static bool ends_list(const json_t *object)
{
	const json_t *annotations = json_object_get(json_object_get(object, "metadata"), "annotations");
	const json_t *mark = json_object_get(annotations, INITIAL_END);

	return json_is_string(mark) && strcmp(json_string_value(mark), "true") == 0;
}

static int take_event(struct kube_watch *watch, const char *type, json_t *object)
{
	const char *version = json_string_value(json_object_get(json_object_get(object, "metadata"), "resourceVersion"));
	bool bookmark = strcmp(type, "BOOKMARK") == 0;

	if (strcmp(type, "ERROR") == 0)
		return take_error(watch, object);
	/* The events of a list come in any order, so their versions say nothing. */
	if (watch->version[0] && version && !kube_watch_version(watch, version))
		return stop(watch, KUBE_VERDICT_WENT_BACK);
	if (!watch->version[0])
		kube_watch_begin_list(watch);
	if (bookmark && !watch->version[0] && ends_list(object))
		return kube_watch_list_end(watch, version ? version : "");
	if (strcmp(type, "ADDED") == 0 || strcmp(type, "MODIFIED") == 0)
		put(watch, object);
	else if (strcmp(type, "DELETED") == 0)
		gone(watch, object);
	return 0;
}

int kube_watch_take_object(void *ctx, const char *text, size_t len, bool oversize, struct err *err)
{
	_cleanup_(json_cleanup) json_t *json = NULL;
	struct kube_watch *watch = ctx;
	struct err bad = ERR_INIT;
	const char *type;
	json_t *object;

	watch->heard_event = true;
	if (watch->step == KUBE_STEP_CHECK)
		return 0;
	if (watch->step == KUBE_STEP_PAGE)
		kube_watch_begin_list(watch);
	if (oversize)
		return take_oversize(watch, text, len);
	if (json_parse(text, len, "the object", &json, &bad) < 0) {
		char namespace[254] = "", name[254] = "", whole[512];

		find_text(text, len, "\"name\":\"", name, sizeof(name));
		find_text(text, len, "\"namespace\":\"", namespace, sizeof(namespace));
		join_name(whole, sizeof(whole), namespace, name);
		if (watch->step == KUBE_STEP_PAGE || memmem(text, len, "\"metadata\"", 10)) {
			add_bad(watch, whole, err_text(&bad));
			return 0;
		}
		return err_set(err, -EPROTO, "%s", err_text(&bad));
	}
	if (watch->step == KUBE_STEP_PAGE) {
		put(watch, json);
		return 0;
	}
	type = json_string_value(json_object_get(json, "type"));
	object = json_object_get(json, "object");
	if (!type || !json_is_object(object))
		return err_set(err, -EPROTO, "a watch line without \"type\" or \"object\"");
	return take_event(watch, type, object);
}
