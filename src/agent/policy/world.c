/* SPDX-License-Identifier: Apache-2.0
 *
 * What the store shows of what policies are made of: watched, read, kept, and handed to the engine, which borrows it. An
 * object that cannot be used leaves what was known under its name.
 */
#include "agent/policy/internal.h"

#include "model/auto_hosts.h"
#include "objects/kind.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void make_key(const json_t *object, char ret[static WORLD_KEY_MAX])
{
	const char *namespace = object_namespace(object);

	snprintf(ret, WORLD_KEY_MAX, "%s%s%s", namespace, *namespace ? "/" : "", object_name(object));
}

/* True: it is news. */
static bool tell(struct world *world, const char *key, const char *text)
{
	char object[600];

	snprintf(object, sizeof(object), "%s%s%s", kind_title(world_traits[world->part].kind), *key ? " " : "", key);
	return policer_problem(world->policer, object, text);
}

/* Where its owner looks for it. */
static void remark(struct world *world, const json_t *object, const char *text)
{
	const struct objects_remark what = {.kind = world_traits[world->part].kind, .namespace = object_namespace(object),
		.name = object_name(object), .uid = object_uid(object), .node = world->policer->agent->options.node_name,
		.reason = "BadConfiguration", .text = text};

	objects_remark(world->policer->objects, &what);
}

/* -- one object -- */

static void *object_at(const struct world *world, size_t index)
{
	void *thing = world->things.entries[index].thing;

	return world_traits[world->part].key ? thing : ((struct world_item *)thing)->object;
}

static void key_at(const struct world *world, size_t index, char ret[static WORLD_KEY_MAX])
{
	const struct world_traits *traits = &world_traits[world->part];

	if (traits->key)
		traits->key(object_at(world, index), ret);
	else
		snprintf(ret, WORLD_KEY_MAX, "%s", ((struct world_item *)world->things.entries[index].thing)->key);
}

static uint32_t hash_of(const char *key)
{
	return roster_hash(0, key, strlen(key));
}

struct sought {
	const struct world_traits *traits;
	const char *key;
};

static bool is_sought(const void *thing, const void *ctx)
{
	const struct sought *sought = ctx;
	char key[WORLD_KEY_MAX];

	if (!sought->traits->key)
		return strcmp(((const struct world_item *)thing)->key, sought->key) == 0;
	sought->traits->key(thing, key);
	return strcmp(key, sought->key) == 0;
}

static size_t find(const struct world *world, const char *key)
{
	const struct sought sought = {&world_traits[world->part], key};

	return roster_find(&world->things, hash_of(key), is_sought, &sought);
}

/* Out of the roster. Returns the object, which is the caller's. */
static void *take_out(struct world *world, size_t index)
{
	void *thing = world->things.entries[index].thing, *object = object_at(world, index);

	roster_remove(&world->things, index);
	if (thing != object)
		free(thing);
	return object;
}

static void drop(struct world *world, size_t index)
{
	const struct world_traits *traits = &world_traits[world->part];
	char key[WORLD_KEY_MAX];
	void *object;

	key_at(world, index, key);
	object = take_out(world, index);
	tell(world, key, "");
	traits->remove(world->policer, key, object);
	traits->free(world->policer, object);
	policer_mark(world->policer);
}

/* What stands in the roster for a new object. */
static void *new_thing(const struct world *world, const char *key, void *object)
{
	size_t len = strlen(key);
	struct world_item *item;

	if (world_traits[world->part].key)
		return object;
	item = malloc(sizeof(*item) + len + 1);
	if (!item)
		return NULL;
	item->object = object;
	memcpy(item->key, key, len + 1);
	return item;
}

static int put_new(struct world *world, const char *key, void *object)
{
	const struct world_traits *traits = &world_traits[world->part];
	void *thing = new_thing(world, key, object);

	if (thing && traits->put(world->policer, key, object, NULL) == 0) {
		roster_add(&world->things, thing, hash_of(key))->marked = true;
		return 0;
	}
	if (thing != object)
		free(thing);
	return -1;
}

static int put_over(struct world *world, size_t index, const char *key, void *object)
{
	const struct world_traits *traits = &world_traits[world->part];
	struct roster_entry *entry = &world->things.entries[index];
	void *old = object_at(world, index);

	if (traits->put(world->policer, key, object, old) < 0)
		return -1;
	if (traits->key)
		entry->thing = object;
	else
		((struct world_item *)entry->thing)->object = object;
	entry->marked = true;
	traits->free(world->policer, old);
	return 0;
}

/* The engine looks at the old one no more once it has the new one. */
static int take(struct world *world, const char *key, void *object)
{
	size_t index = find(world, key);
	int rc = index == ROSTER_NONE ? put_new(world, key, object) : put_over(world, index, key, object);

	if (rc < 0)
		world_traits[world->part].free(world->policer, object);
	else
		policer_mark(world->policer);
	return rc;
}

static bool is_of_people(const struct world *world)
{
	return world->part <= WORLD_CONTROLLERS;
}

static const char *trouble_of(const struct world *world, const char *key)
{
	bool is_policy = world->part >= WORLD_NETWORK_POLICIES && world->part <= WORLD_GLOBAL_POLICIES;
	bool may = is_policy || world->part == WORLD_HOSTS || world->part == WORLD_CONTROLLERS;
	size_t index = may ? find(world, key) : ROSTER_NONE;
	const char *trouble = NULL;

	if (is_policy && index != ROSTER_NONE)
		trouble = ((const struct policy *)object_at(world, index))->trouble;
	if (world->part == WORLD_HOSTS && index != ROSTER_NONE)
		trouble = ((const struct host_endpoint *)object_at(world, index))->trouble;
	if (world->part == WORLD_CONTROLLERS && index != ROSTER_NONE)
		trouble = ((const struct auto_hosts *)object_at(world, index))->trouble;
	return trouble ? trouble : "";
}

static void on_put(void *ctx, const json_t *object)
{
	struct world *world = ctx;
	const struct world_traits *traits = &world_traits[world->part];
	struct err err = ERR_INIT;
	const char *text;
	void *read = NULL;
	char key[WORLD_KEY_MAX];
	int rc = traits->read(world->policer, object, &read, &err);
	size_t index;

	make_key(object, key);
	index = find(world, key);
	if (index != ROSTER_NONE)
		world->things.entries[index].marked = true;
	if (rc == 1 && index != ROSTER_NONE && traits->equal(object_at(world, index), read)) {
		traits->free(world->policer, read);
	} else if (rc == 1) {
		if (take(world, key, read) < 0)
			rc = err_set(&err, -ENOMEM, "out of memory");
	} else if (rc == 0 && index != ROSTER_NONE) {
		drop(world, index);
	}
	text = rc < 0 ? err_text(&err) : rc == 1 ? trouble_of(world, key) : "";
	if (tell(world, key, text) && *text && is_of_people(world))
		remark(world, object, text);
	if ((world->part == WORLD_LOCAL_PODS || world->part == WORLD_NAMESPACES) && world->complete)
		cni_server_kick(world->policer->agent->cni);
}

static void on_gone(void *ctx, const json_t *object)
{
	struct world *world = ctx;
	char key[WORLD_KEY_MAX];
	size_t index;

	make_key(object, key);
	index = find(world, key);
	tell(world, key, "");
	if (index != ROSTER_NONE)
		drop(world, index);
}

/* -- lists -- */

static void on_begin(void *ctx, bool anew)
{
	struct world *world = ctx;

	for (size_t i = 0; i < world->things.count; i++)
		world->things.entries[i].marked = false;
}

static void on_end(void *ctx)
{
	struct world *world = ctx;

	for (size_t i = world->things.count; i-- > 0;)
		if (!world->things.entries[i].marked)
			drop(world, i);
	world->complete = true;
	world->policer->links_due |= world->part == WORLD_HOSTS; /* which interface has which */
	world->policer->auto_hosts_due = true;
	policer_mark(world->policer);
}

/* Most clusters without pools of Calico's do not have FelixConfiguration either; what else is wrong other watches tell. */
static void on_problem(void *ctx, const char *key, const char *text)
{
	const struct world *world = ctx;

	if (world->part != WORLD_FELIX || *key)
		tell(ctx, key, text);
}

static const struct objects_events watch_events = {.begin = on_begin, .put = on_put, .gone = on_gone, .end = on_end,
	.problem = on_problem};

/* -- life -- */

/* What a watch already shows stays until the list of the new one has ended. */
static void follow(struct world *world)
{
	const struct world_traits *traits = &world_traits[world->part];
	struct objects_watch_options options = {.kind = traits->kind, .drop = traits->drop};
	struct objects_watch *before = world->watch;
	char selector[300];

	if (world->part == WORLD_LOCAL_PODS || (world->part == WORLD_NODES && !world->wide)) {
		snprintf(selector, sizeof(selector), "%s=%s", world->part == WORLD_NODES ? "metadata.name" : "spec.nodeName",
			world->policer->agent->options.node_name);
		options.field_selector = selector;
	}
	world->watch = objects_watch_new(world->policer->objects, &options, &watch_events, world);
	objects_watch_free(before);
	if (!world->watch)
		tell(world, "", "out of memory");
}

static void forget(struct world *world)
{
	const struct world_traits *traits = &world_traits[world->part];
	char key[WORLD_KEY_MAX];

	objects_watch_free(world->watch);
	world->watch = NULL;
	world->complete = world->wide = false;
	while (world->things.count) {
		size_t last = world->things.count - 1;
		void *object;

		key_at(world, last, key);
		object = take_out(world, last);
		if (world->policer->verdicts)
			traits->remove(world->policer, key, object);
		traits->free(world->policer, object);
	}
	roster_free(&world->things);
}

void world_begin(struct policer *policer)
{
	for (int i = 0; i < WORLD_PODS; i++)
		follow(&policer->world[i]);
}

void world_end(struct policer *policer)
{
	for (int i = 0; i < WORLD_PART_COUNT; i++)
		forget(&policer->world[i]);
}

static bool is_needed(const struct policer *policer, enum world_part part)
{
	switch (part) {
	case WORLD_PODS:
		return policer->needs.pods;
	case WORLD_ACCOUNTS:
		return policer->needs.accounts;
	case WORLD_SLICES:
		return policer->needs.services;
	case WORLD_FELIX:
		return !policer->agent->calico;
	default:
		return true;
	}
}

static bool policies_are_known(const struct policer *policer)
{
	for (int i = WORLD_NETWORK_POLICIES; i <= WORLD_GLOBAL_POLICIES; i++)
		if (!policer->world[i].complete)
			return false;
	return true;
}

/* Other nodes matter once there is anybody who asks for addresses, and their labels, a dozen each, once they are host
 * endpoints. */
static void adjust_nodes(struct policer *policer)
{
	struct world *nodes = &policer->world[WORLD_NODES];
	bool labels = auto_hosts_are_on(policer);
	size_t asking = labels + world_count(policer, WORLD_HOSTS);

	for (int i = WORLD_NETWORK_POLICIES; i <= WORLD_GLOBAL_POLICIES; i++)
		asking += world_count(policer, i);
	if (policer->node_labels != labels)
		forget(nodes);
	else if (nodes->wide == (asking > 0))
		return;
	policer->node_labels = labels;
	nodes->wide = asking > 0;
	nodes->complete &= !nodes->wide;
	follow(nodes);
}

/* Not from inside a watch's events. */
void world_adjust(struct policer *policer)
{
	if (!policies_are_known(policer))
		return;
	if (policer->world[WORLD_CONTROLLERS].complete)
		adjust_nodes(policer);
	for (int i = WORLD_PODS; i < WORLD_PART_COUNT; i++) {
		struct world *world = &policer->world[i];
		bool has = world->watch || world->complete;

		if (is_needed(policer, i) && !has)
			follow(world);
		else if (!is_needed(policer, i) && has)
			forget(world);
	}
}

bool world_is_complete(struct policer *policer, char *waiting, size_t size)
{
	*waiting = 0;
	for (int i = 0; i < WORLD_PART_COUNT; i++) {
		if (policer->world[i].complete || !is_needed(policer, i))
			continue;
		snprintf(waiting, size, "the first list of %ss is not complete", kind_title(world_traits[i].kind));
		return false;
	}
	if (policer->node_labels == auto_hosts_are_on(policer))
		return true;
	snprintf(waiting, size, "Nodes are about to be read with their labels, for automatic host endpoints");
	return false;
}

const void *world_find(const struct policer *policer, enum world_part part, const char *key)
{
	const struct world *world = &policer->world[part];
	size_t index = find(world, key);

	return index == ROSTER_NONE ? NULL : object_at(world, index);
}

const void *world_object(const struct policer *policer, enum world_part part, size_t index)
{
	return object_at(&policer->world[part], index);
}

size_t world_count(const struct policer *policer, enum world_part part)
{
	return policer->world[part].things.count;
}
