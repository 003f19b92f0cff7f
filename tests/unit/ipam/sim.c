/* SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#include "ipam/ipam_names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct thing {
	enum kind kind;
	char name[260];
	json_t *object; /* null: deleted; its versions go on */
	uint64_t version, hash;
	struct thing *next;
};

struct sim {
	struct thing *things; /* in order of kind and name */
	struct objects *doors;
	uint64_t deletions[KIND_COUNT];
};

enum op { OP_GET, OP_LIST, OP_CREATE, OP_UPDATE, OP_DELETE };

struct objects_call {
	struct objects *door;
	enum op op;
	enum kind kind;
	char name[260], labels[IPAM_AFFINITY_LABELS_MAX], text[600];
	json_t *object;
	void (*each)(void *ctx, const json_t *object);
	objects_done done;
	void *ctx;
	struct objects_call *prev, *next;
};

struct objects {
	struct sim *sim;
	struct objects_call *calls;
	struct heard {
		const void *who;
		uint64_t what;             /* call, result, content */
		const struct thing *thing; /* null: none was told of */
		uint64_t version;
	} * heard;
	size_t heard_count;
	struct objects *next;
};

uint64_t sim_mix(uint64_t hash, const void *data, size_t len)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ bytes[i]) * 1099511628211u;
	return hash ^ hash >> 29;
}

/* -- what there is -- */

static struct thing *find(const struct sim *sim, enum kind kind, const char *name)
{
	struct thing *thing = sim->things;

	while (thing && (thing->kind != kind || strcmp(thing->name, name) != 0))
		thing = thing->next;
	return thing;
}

static struct thing *find_or_add(struct sim *sim, enum kind kind, const char *name)
{
	struct thing *thing = find(sim, kind, name), **at = &sim->things;

	if (thing)
		return thing;
	while (*at && ((*at)->kind < kind || ((*at)->kind == kind && strcmp((*at)->name, name) < 0)))
		at = &(*at)->next;
	thing = calloc(1, sizeof(*thing));
	thing->kind = kind;
	snprintf(thing->name, sizeof(thing->name), "%s", name);
	thing->next = *at;
	*at = thing;
	return thing;
}

/* What the object says, but for numbers that are compared and nothing else: whether one is still the stored
 * one is what counts, see sim_hash_door. */
static uint64_t content_hash(const struct thing *thing)
{
	uint64_t hash = sim_mix(14695981039346656037u, thing->name, strlen(thing->name));
	json_t *copy = json_copy(thing->object), *spec = json_copy(json_object_get(copy, "spec"));
	char *text;

	json_object_del(copy, "metadata");
	json_object_del(spec, "sequenceNumber");
	json_object_del(spec, "sequenceNumberForAllocation");
	json_object_set_new(copy, "spec", spec);
	text = json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS);
	hash = sim_mix(hash, text, strlen(text));
	free(text);
	json_decref(copy);
	return hash;
}

static void store(struct thing *thing, const json_t *object)
{
	char version[24];

	json_decref(thing->object);
	thing->object = object ? json_deep_copy(object) : NULL;
	thing->version++;
	if (!object)
		return;
	snprintf(version, sizeof(version), "%llu", (unsigned long long)thing->version);
	json_object_set_new(
		json_object_get(thing->object, "metadata"), "resourceVersion", json_string(version));
	thing->hash = content_hash(thing);
}

json_t *sim_object(const struct sim *sim, enum kind kind, const char *name)
{
	struct thing *thing = find(sim, kind, name);

	return thing ? thing->object : NULL;
}

void sim_each(const struct sim *sim, enum kind kind, void (*each)(void *ctx, json_t *object), void *ctx)
{
	for (struct thing *thing = sim->things; thing; thing = thing->next) {
		if (thing->kind == kind && thing->object)
			each(ctx, thing->object);
	}
}

static const char *name_of(const json_t *object)
{
	return json_string_value(json_object_get(json_object_get(object, "metadata"), "name"));
}

static const char *version_of(const json_t *object)
{
	const char *version =
		json_string_value(json_object_get(json_object_get(object, "metadata"), "resourceVersion"));

	return version ? version : "";
}

void sim_put(struct sim *sim, enum kind kind, const json_t *object)
{
	store(find_or_add(sim, kind, name_of(object)), object);
}

void sim_remove(struct sim *sim, enum kind kind, const char *name)
{
	struct thing *thing = find(sim, kind, name);

	if (thing)
		store(thing, NULL);
}

uint64_t sim_hash(const struct sim *sim)
{
	uint64_t hash = 14695981039346656037u;

	for (struct thing *thing = sim->things; thing; thing = thing->next) {
		if (thing->object)
			hash = sim_mix(hash, &thing->hash, sizeof(thing->hash));
	}
	return hash;
}

uint64_t sim_deletions(const struct sim *sim, enum kind kind)
{
	return sim->deletions[kind];
}

/* -- what happens -- */

static bool selected(const struct objects_call *call, const json_t *object)
{
	json_t *labels = json_object_get(json_object_get(object, "metadata"), "labels");
	char text[IPAM_AFFINITY_LABELS_MAX], *save = NULL;

	snprintf(text, sizeof(text), "%s", call->labels);
	for (char *term = strtok_r(text, ",", &save); term; term = strtok_r(NULL, ",", &save)) {
		char *value = strchr(term, '=');
		const char *has;

		*value++ = '\0';
		has = json_string_value(json_object_get(labels, term));
		if (!has || strcmp(has, value) != 0)
			return false;
	}
	return true;
}

static void hear(struct objects_call *call, int rc, const struct thing *thing)
{
	struct objects *door = call->door;
	struct heard heard = {call->ctx, 14695981039346656037u, thing, thing ? thing->version : 0};

	heard.what = sim_mix(heard.what, call->text, strlen(call->text));
	heard.what = sim_mix(heard.what, &rc, sizeof(rc));
	if (thing)
		heard.what = sim_mix(heard.what, &thing->hash, sizeof(thing->hash));
	if ((door->heard_count & (door->heard_count + 1)) == 0)
		door->heard = realloc(door->heard, (door->heard_count * 2 + 2) * sizeof(heard));
	door->heard[door->heard_count++] = heard;
}

void sim_forget(struct objects *door, const void *who)
{
	size_t kept = 0;

	for (size_t i = 0; i < door->heard_count; i++) {
		if (who && door->heard[i].who != who)
			door->heard[kept++] = door->heard[i];
	}
	/* room as hear() expects it */
	door->heard_count = kept;
	for (size_t size = 1;; size *= 2) {
		if (size > kept) {
			door->heard = realloc(door->heard, (size * 2 + 2) * sizeof(*door->heard));
			break;
		}
	}
}

/* The order of what different requests heard does not matter to either. */
uint64_t sim_hash_door(const struct objects *door)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < door->heard_count; i++) {
		const void *who = door->heard[i].who;
		uint64_t hash = 14695981039346656037u;
		bool first = true;

		for (size_t j = 0; j < i && first; j++)
			first = door->heard[j].who != who;
		for (size_t j = i; first && j < door->heard_count; j++) {
			const struct heard *heard = &door->heard[j];
			bool fresh = heard->thing && heard->thing->object &&
				     heard->thing->version == heard->version;

			if (heard->who != who)
				continue;
			hash = sim_mix(hash, &heard->what, sizeof(heard->what));
			hash = sim_mix(hash, &fresh, sizeof(fresh));
		}
		sum += first ? hash : 0;
	}
	return sum;
}

static int list(struct objects_call *call, bool tell)
{
	struct objects *door = call->door;

	for (struct thing *thing = door->sim->things; thing; thing = thing->next) {
		if (thing->kind != call->kind || !thing->object || !selected(call, thing->object))
			continue;
		hear(call, 0, thing);
		if (tell)
			call->each(call->ctx, thing->object);
	}
	return 0;
}

static int write_thing(struct objects_call *call, struct thing *thing)
{
	bool there = thing && thing->object;

	if (call->op == OP_CREATE) {
		if (there)
			return -EEXIST;
		store(find_or_add(call->door->sim, call->kind, call->name), call->object);
		return 0;
	}
	if (!there)
		return -ENOENT;
	if (strcmp(version_of(thing->object), version_of(call->object)) != 0)
		return -ESTALE;
	store(thing, call->op == OP_DELETE ? NULL : call->object);
	call->door->sim->deletions[call->kind] += call->op == OP_DELETE;
	return 0;
}

static int happen(struct objects_call *call, bool tell, json_t **ret)
{
	struct thing *thing = find(call->door->sim, call->kind, call->name);
	int rc;

	if (call->op == OP_LIST)
		return list(call, tell);
	rc = call->op == OP_GET ? (thing && thing->object ? 0 : -ENOENT) : write_thing(call, thing);
	thing = find(call->door->sim, call->kind, call->name);
	*ret = rc == 0 && thing ? thing->object : NULL;
	return rc;
}

static void call_free(struct objects_call *call)
{
	json_decref(call->object);
	free(call);
}

static struct objects_call *nth(const struct objects *door, size_t i)
{
	struct objects_call *call = door->calls;

	while (i-- > 0)
		call = call->next;
	return call;
}

void sim_execute(struct objects *door, size_t i, enum sim_fate fate)
{
	struct objects_call *call = nth(door, i);
	struct objects_answer answer = {.text = ""};
	json_t *object = NULL;
	int rc = 0;

	if (fate != SIM_REFUSED)
		rc = happen(call, fate == SIM_DONE, &object);
	if (fate == SIM_SILENT)
		return; /* who asked cancels it */
	DL_DELETE(door->calls, call);
	if (fate != SIM_DONE) {
		rc = -EIO;
		object = NULL;
	}
	hear(call, rc, object ? find(door->sim, call->kind, call->name) : NULL);
	answer.rc = rc;
	answer.object = json_deep_copy(object);
	answer.text = rc < 0 ? call->text : "";
	call->done(call->ctx, &answer);
	json_decref(answer.object);
	call_free(call);
}

size_t sim_pending(const struct objects *door)
{
	size_t count = 0;

	for (struct objects_call *call = door->calls; call; call = call->next)
		count++;
	return count;
}

const char *sim_describe(const struct objects *door, size_t i)
{
	return nth(door, i)->text;
}

void sim_drop(struct objects *door)
{
	while (door->calls)
		objects_cancel(door->calls);
}

/* -- the door -- */

const char *kind_name(enum kind kind)
{
	static const char *const names[KIND_COUNT] = {
		[KIND_IPAM_BLOCK] = "IPAMBlock",
		[KIND_BLOCK_AFFINITY] = "BlockAffinity",
		[KIND_IPAM_HANDLE] = "IPAMHandle",
		[KIND_NODE] = "Node",
		[KIND_POD] = "Pod",
	};

	return names[kind] ? names[kind] : "object";
}

static struct objects_call *ask(struct objects *door, enum op op, enum kind kind, const char *name,
	const json_t *object, objects_done done, void *ctx)
{
	static const char *const ops[] = {"get", "list", "create", "update", "delete"};
	struct objects_call *call = calloc(1, sizeof(*call));

	call->door = door;
	call->op = op;
	call->kind = kind;
	snprintf(call->name, sizeof(call->name), "%s", name);
	snprintf(call->text, sizeof(call->text), "%s %s %s", ops[op], kind_name(kind), name);
	call->object = object ? json_deep_copy(object) : NULL;
	call->done = done;
	call->ctx = ctx;
	DL_APPEND(door->calls, call);
	return call;
}

struct objects_call *objects_get(
	struct objects *objects, const struct object_key *key, objects_done done, void *ctx)
{
	return ask(objects, OP_GET, key->kind, key->name, NULL, done, ctx);
}

struct objects_call *objects_list(struct objects *objects, enum kind kind, const char *label_selector,
	void (*each)(void *ctx, const json_t *object), objects_done done, void *ctx)
{
	struct objects_call *call = ask(objects, OP_LIST, kind, "", NULL, done, ctx);

	call->each = each;
	snprintf(call->labels, sizeof(call->labels), "%s", label_selector ? label_selector : "");
	return call;
}

struct objects_call *objects_create(
	struct objects *objects, enum kind kind, const json_t *object, objects_done done, void *ctx)
{
	return ask(objects, OP_CREATE, kind, name_of(object), object, done, ctx);
}

struct objects_call *objects_update(
	struct objects *objects, enum kind kind, const json_t *object, objects_done done, void *ctx)
{
	return ask(objects, OP_UPDATE, kind, name_of(object), object, done, ctx);
}

struct objects_call *objects_delete(
	struct objects *objects, enum kind kind, const json_t *object, objects_done done, void *ctx)
{
	return ask(objects, OP_DELETE, kind, name_of(object), object, done, ctx);
}

void objects_cancel(struct objects_call *call)
{
	if (!call)
		return;
	DL_DELETE(call->door->calls, call);
	call_free(call);
}

/* -- life -- */

struct sim *sim_new(void)
{
	return calloc(1, sizeof(struct sim));
}

struct objects *sim_door(struct sim *sim)
{
	struct objects *door = calloc(1, sizeof(*door));

	door->sim = sim;
	LL_PREPEND(sim->doors, door);
	return door;
}

void sim_free(struct sim *sim)
{
	struct thing *thing, *next_thing;
	struct objects *door, *next;

	LL_FOREACH_SAFE(sim->doors, door, next)
	{
		sim_drop(door);
		free(door->heard);
		free(door);
	}
	LL_FOREACH_SAFE(sim->things, thing, next_thing)
	{
		json_decref(thing->object);
		free(thing);
	}
	free(sim);
}
