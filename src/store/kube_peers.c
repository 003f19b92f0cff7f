/* SPDX-License-Identifier: Apache-2.0 */
#include "store/kube_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct kube_peer *peer_find(const struct kube_store *store, const char *name)
{
	struct kube_peer *peer;

	HASH_FIND(hh, store->peers, name, strlen(name), peer);
	return peer;
}

static struct kube_peer *peer_add(struct kube_store *store, const char *name)
{
	size_t len = strlen(name);
	struct kube_peer *peer = calloc(1, sizeof(*peer) + len + 1);

	if (!peer)
		return NULL;
	memcpy(peer->name, name, len + 1);
	HASH_ADD_KEYPTR(hh, store->peers, peer->name, len, peer);
	return peer;
}

static void tell(struct kube_store *store, const char *name, const char *text)
{
	char key[KUBE_NAME_MAX + 8];

	snprintf(key, sizeof(key), "node %s", name);
	if (kube_problem(store, key, "%s", text) && *text)
		kube_remark_add(store, name, "BadNetworkAnnotations", text);
}

static void hide(struct kube_store *store, struct kube_peer *peer)
{
	char key[LEASE_KEY_MAX];

	if (!peer->shown)
		return;
	peer->shown = false;
	flannel_node_key(peer->name, key);
	store->events.lease_gone(store->ctx, key);
}

static void drop(struct kube_store *store, struct kube_peer *peer)
{
	tell(store, peer->name, "");
	hide(store, peer);
	HASH_DEL(store->peers, peer);
	free(peer);
}

/* What cannot be read takes nothing away: a node that was known stays as it was until it goes (reference/flannel.md
 * 13.2); one that was not is left out. */
static void on_put(void *ctx, const json_t *object)
{
	const char *name = flannel_node_name(object);
	struct kube_store *store = ctx;
	struct err err = ERR_INIT;
	struct kube_peer *peer;
	struct lease lease;
	int rc;

	if (!name || strcmp(name, store->node) == 0)
		return;
	rc = flannel_node_parse(object, store->prefix, &store->network, &lease, &err);
	peer = peer_find(store, name);
	if (rc == 0) {
		if (peer)
			drop(store, peer);
		return;
	}
	if (!peer)
		peer = peer_add(store, name);
	if (!peer)
		return;
	peer->generation = store->generation;
	tell(store, name, rc < 0 ? err_text(&err) : "");
	if (rc < 0)
		return;
	peer->shown = true;
	store->events.lease(store->ctx, &lease);
}

static void on_gone(void *ctx, const json_t *object)
{
	const char *name = flannel_node_name(object);
	struct kube_store *store = ctx;
	struct kube_peer *peer = name ? peer_find(store, name) : NULL;

	if (peer)
		drop(store, peer);
}

static void on_begin(void *ctx, bool anew)
{
	struct kube_store *store = ctx;

	store->generation++;
}

static void on_end(void *ctx)
{
	struct kube_store *store = ctx;
	struct kube_peer *peer, *next;

	HASH_ITER(hh, store->peers, peer, next)
		if (peer->generation != store->generation)
			drop(store, peer);
	store->events.synced(store->ctx);
}

static void on_problem(void *ctx, const char *text)
{
	kube_problem(ctx, "nodes", "%s", text);
}

static const struct kube_watch_events peers_events = {on_begin, on_put, on_gone, on_end, on_problem};

static const char *const peers_drop[] = {"metadata.managedFields", "metadata.labels", "status", NULL};

void kube_peers_start(struct kube_store *store)
{
	struct kube_watch_options options = {.path = "/api/v1/nodes", .drop = peers_drop};

	kube_watch_free(store->peers_watch);
	store->peers_watch = kube_watch_new(store->kube, store->base, &options, &peers_events, store);
	if (!store->peers_watch)
		kube_problem(store, "nodes", "no memory");
}

const char *kube_peers_name(const struct kube_store *store, const char *key)
{
	struct kube_peer *peer = peer_find(store, key);
	char other[LEASE_KEY_MAX];

	if (peer)
		return peer->name;
	/* Names longer than a key are rare. */
	for (peer = strchr(key, '~') ? store->peers : NULL; peer; peer = peer->hh.next)
		if (strcmp(flannel_node_key(peer->name, other), key) == 0)
			return peer->name;
	return NULL;
}

void kube_peers_done(struct kube_store *store)
{
	struct kube_peer *peer, *next;

	kube_watch_free(store->peers_watch);
	store->peers_watch = NULL;
	HASH_ITER(hh, store->peers, peer, next) {
		HASH_DEL(store->peers, peer);
		free(peer);
	}
}
