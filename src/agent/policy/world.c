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

#define KEY_MAX 512

static void make_key(const json_t *object, char ret[static KEY_MAX])
{
	const char *namespace = object_namespace(object);

	snprintf(ret, KEY_MAX, "%s%s%s", namespace, *namespace ? "/" : "", object_name(object));
}

/* True: it is news. */
static bool tell(struct world *world, const char *key, const char *text)
{
	char object[600];

	snprintf(object, sizeof(object), "%s%s%s", kind_name(world_traits[world->part].kind), *key ? " " : "", key);
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

static struct world_item *find(const struct world *world, const char *key)
{
	struct world_item *item;

	HASH_FIND_STR(world->items, key, item);
	return item;
}

static void drop(struct world *world, struct world_item *item)
{
	const struct world_traits *traits = &world_traits[world->part];

	HASH_DEL(world->items, item);
	tell(world, item->key, "");
	traits->remove(world->policer, item->key, item->object);
	traits->free(world->policer, item->object);
	free(item);
	policer_mark(world->policer);
}

/* No byte more than it needs: there may be a hundred thousand. */
static struct world_item *new_item(const char *key, size_t len)
{
	size_t need = offsetof(struct world_item, key) + len + 1;
	struct world_item *item = calloc(1, need > sizeof(*item) ? need : sizeof(*item));

	if (item)
		memcpy(item->key, key, len + 1);
	return item;
}

/* The engine looks at the old one no more once it has the new one. */
static int take(struct world *world, const char *key, void *object)
{
	const struct world_traits *traits = &world_traits[world->part];
	struct world_item *item = find(world, key);
	size_t len = strlen(key);
	void *old = item ? item->object : NULL;

	if (!item)
		item = new_item(key, len);
	if (!item || traits->put(world->policer, key, object, old) < 0) {
		traits->free(world->policer, object);
		if (item && !old)
			free(item);
		return -1;
	}
	item->object = object;
	item->seen = true;
	if (old)
		traits->free(world->policer, old);
	else
		HASH_ADD_KEYPTR(hh, world->items, item->key, len, item);
	policer_mark(world->policer);
	return 0;
}

static bool is_of_people(const struct world *world)
{
	return world->part <= WORLD_CONTROLLERS;
}

static const char *trouble_of(const struct world *world, const struct world_item *item)
{
	bool is_policy = world->part >= WORLD_NETWORK_POLICIES && world->part <= WORLD_GLOBAL_POLICIES;
	const char *trouble = is_policy && item ? ((const struct policy *)item->object)->trouble : NULL;

	if (world->part == WORLD_CONTROLLERS && item)
		trouble = ((const struct auto_hosts *)item->object)->trouble;

	return trouble ? trouble : "";
}

static void on_put(void *ctx, const json_t *object)
{
	struct world *world = ctx;
	const struct world_traits *traits = &world_traits[world->part];
	struct err err = ERR_INIT;
	struct world_item *item;
	const char *text;
	void *read = NULL;
	char key[KEY_MAX];
	int rc = traits->read(world->policer, object, &read, &err);

	make_key(object, key);
	item = find(world, key);
	if (item)
		item->seen = true;
	if (rc == 1 && item && traits->equal(item->object, read)) {
		traits->free(world->policer, read);
	} else if (rc == 1) {
		if (take(world, key, read) < 0)
			rc = err_set(&err, -ENOMEM, "out of memory");
	} else if (rc == 0 && item) {
		drop(world, item);
	}
	text = rc < 0 ? err_text(&err) : rc == 1 ? trouble_of(world, find(world, key)) : "";
	if (tell(world, key, text) && *text && is_of_people(world))
		remark(world, object, text);
	if ((world->part == WORLD_LOCAL_PODS || world->part == WORLD_NAMESPACES) && world->complete)
		cni_server_kick(world->policer->agent->cni);
}

static void on_gone(void *ctx, const json_t *object)
{
	struct world *world = ctx;
	struct world_item *item;
	char key[KEY_MAX];

	make_key(object, key);
	item = find(world, key);
	tell(world, key, "");
	if (item)
		drop(world, item);
}

/* -- lists -- */

static void on_begin(void *ctx, bool anew)
{
	struct world *world = ctx;

	for (struct world_item *item = world->items; item; item = item->hh.next)
		item->seen = false;
}

static void on_end(void *ctx)
{
	struct world *world = ctx;
	struct world_item *item, *next;

	HASH_ITER (hh, world->items, item, next)
		if (!item->seen)
			drop(world, item);
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
	struct world_item *item, *next;

	objects_watch_free(world->watch);
	world->watch = NULL;
	world->complete = world->wide = false;
	HASH_ITER (hh, world->items, item, next) {
		HASH_DEL(world->items, item);
		if (world->policer->verdicts)
			world_traits[world->part].remove(world->policer, item->key, item->object);
		world_traits[world->part].free(world->policer, item->object);
		free(item);
	}
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
		snprintf(waiting, size, "the first list of %ss is not complete", kind_name(world_traits[i].kind));
		return false;
	}
	if (policer->node_labels == auto_hosts_are_on(policer))
		return true;
	snprintf(waiting, size, "Nodes are about to be read with their labels, for automatic host endpoints");
	return false;
}

const void *world_find(const struct policer *policer, enum world_part part, const char *key)
{
	const struct world_item *item = find(&policer->world[part], key);

	return item ? item->object : NULL;
}

size_t world_count(const struct policer *policer, enum world_part part)
{
	return HASH_COUNT(policer->world[part].items);
}
