/* SPDX-License-Identifier: Apache-2.0 */
#include "store/manager.h"

#include "store/flannel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry *table_find(struct store *store, const char *key)
{
	struct entry *entry;

	HASH_FIND_STR(store->entries, key, entry);
	return entry;
}

bool table_same_node(const struct addr a[FAMILY_COUNT], const struct addr b[FAMILY_COUNT])
{
	/* IPv6 decides only for nodes without IPv4 (reference/flannel.md 13.9). */
	int f = addr_is_set(&a[FAMILY_4]) ? FAMILY_4 : FAMILY_6;

	return addr_is_set(&a[f]) && addr_equal(&a[f], &b[f]);
}

struct entry *table_find_address(struct store *store, const struct addr public_ip[FAMILY_COUNT])
{
	struct entry *entry, *next, *best = NULL;
	bool best_fits = false;

	HASH_ITER(hh, store->entries, entry, next) {
		bool fits;

		if (!entry->readable || !table_same_node(public_ip, entry->lease.public_ip))
			continue;
		fits = store->has_network && flannel_lease_fits(&entry->lease, &store->network);
		if (!best || (fits && !best_fits) ||
			(fits == best_fits && strcmp(entry->lease.key, best->lease.key) < 0)) {
			best = entry;
			best_fits = fits;
		}
	}
	return best;
}

void table_show(struct store *store, struct entry *entry)
{
	bool show = store->announced && entry->readable && !acquire_is_own(store, entry->lease.key);

	if (show == entry->shown)
		return;
	entry->shown = show;
	if (show)
		store->events.lease(store->ctx, &entry->lease);
	else
		store->events.lease_gone(store->ctx, entry->lease.key);
}

void table_show_all(struct store *store)
{
	struct entry *entry, *next;

	HASH_ITER(hh, store->entries, entry, next)
		table_show(store, entry);
}

static struct entry *entry_new(struct store *store, const char *key)
{
	struct entry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return NULL;
	memcpy(entry->lease.key, key, strlen(key));
	HASH_ADD_STR(store->entries, lease.key, entry);
	return entry;
}

struct entry *table_set(struct store *store, const struct lease *lease, uint64_t revision)
{
	struct entry *entry = table_find(store, lease->key);

	if (!entry)
		entry = entry_new(store, lease->key);
	if (!entry)
		return NULL;
	entry->lease = *lease;
	entry->revision = revision;
	entry->generation = store->generation;
	entry->readable = true;
	table_show(store, entry);
	return entry;
}

void table_forget(struct store *store, const char *key)
{
	struct entry *entry = table_find(store, key);

	if (!entry)
		return;
	HASH_DEL(store->entries, entry);
	free(entry);
}

void table_answer(struct store *store)
{
	struct finding *finding = store->findings;

	store->findings = NULL;
	while (finding) {
		struct finding *next = finding->next;
		struct entry *entry = table_find_address(store, finding->public_ip);

		finding->found(finding->ctx, entry ? &entry->lease : NULL);
		free(finding);
		finding = next;
	}
}

static void entry_drop(struct store *store, struct entry *entry)
{
	struct lease lease = entry->lease;
	bool shown = entry->shown;

	HASH_DEL(store->entries, entry);
	free(entry);
	manager_problem(store, lease.key, "%s", "");
	if (shown)
		store->events.lease_gone(store->ctx, lease.key);
	else
		acquire_own_gone(store, lease.key);
}

/* A value that cannot be read takes nothing away: a node that was known stays known (reference/flannel.md 13.2). */
static void put_unreadable(struct store *store, const struct kv_item *item, const char *text)
{
	struct entry *entry = table_find(store, item->key);

	manager_problem(store, item->key, "%s", text);
	if (!entry && strlen(item->key) < LEASE_KEY_MAX) {
		entry = entry_new(store, item->key);
		if (entry)
			flannel_key_parse(item->key, entry->lease.subnet, NULL);
	}
	if (!entry)
		return;
	entry->generation = store->generation;
	entry->revision = item->revision;
	if (acquire_is_own(store, item->key))
		acquire_own_changed(store, entry);
}

static void put_lease(struct store *store, struct entry *entry, const struct lease *lease,
	const struct kv_item *item)
{
	bool changed = !entry->readable || !lease_equal(&entry->lease, lease);

	entry->lease = *lease;
	entry->readable = true;
	entry->revision = item->revision;
	entry->handle = item->handle;
	entry->generation = store->generation;
	if (acquire_is_own(store, lease->key))
		acquire_own_changed(store, entry);
	else if (entry->shown && changed)
		store->events.lease(store->ctx, &entry->lease);
	else
		table_show(store, entry);
}

void table_put(void *ctx, const struct kv_item *item)
{
	struct store *store = ctx;
	struct err err = ERR_INIT;
	struct entry *entry;
	struct lease lease;

	entry = table_find(store, item->key);
	if (entry && store->kv->ordered && item->revision < entry->revision) {
		entry->generation = store->generation;
		return;
	}
	if (strchr(item->key, '/')) {
		put_unreadable(store, item, "no lease lies so deep");
		return;
	}
	memset(&lease, 0, sizeof(lease));
	if (flannel_lease_parse(item->key, item->value, item->len, &lease, &err) < 0) {
		put_unreadable(store, item, err_text(&err));
		return;
	}
	snprintf(lease.key, sizeof(lease.key), "%s", item->key);
	/* What is not known is bounded: nobody grants more than one ttl at a time, and each renewal is seen. */
	if (!store->kv->value_has_expiry)
		lease.expires = item->expires == KV_EXPIRES_UNKNOWN ? manager_now() + store->ttl : item->expires;
	if (!entry)
		entry = entry_new(store, lease.key);
	if (!entry) {
		manager_problem(store, item->key, "no memory for this lease");
		return;
	}
	if (!acquire_is_own(store, item->key))
		manager_problem(store, item->key, "%s", "");
	put_lease(store, entry, &lease, item);
	manager_later(store->step, 0);
}

void table_gone(void *ctx, const char *key, uint64_t revision)
{
	struct store *store = ctx;
	struct entry *entry = table_find(store, key);

	if (entry && store->kv->ordered && revision < entry->revision)
		return;
	if (entry)
		entry_drop(store, entry);
	else
		manager_problem(store, key, "%s", "");
	manager_later(store->step, 0);
}

void table_list_begin(void *ctx, bool anew)
{
	struct store *store = ctx;
	struct entry *entry, *next;

	store->generation++;
	store->synced = false;
	if (!anew)
		return;
	store->own_revision = 0;
	HASH_ITER(hh, store->entries, entry, next)
		entry->revision = 0;
}

void table_list_end(void *ctx)
{
	struct store *store = ctx;
	struct entry *entry, *next;

	HASH_ITER(hh, store->entries, entry, next)
		if (entry->generation != store->generation)
			entry_drop(store, entry);
	store->synced = true;
	store->avoid_count = 0;
	if (store->announced)
		store->events.synced(store->ctx);
	manager_later(store->step, 0);
}

int64_t table_expires(void *ctx, const char *key, const char *value, size_t len)
{
	struct lease lease;

	memset(&lease, 0, sizeof(lease));
	return flannel_lease_parse(key, value, len, &lease, NULL) < 0 ? -1 : lease.expires;
}

bool table_blocks(void *ctx, const char *key, const char *other)
{
	struct prefix a[FAMILY_COUNT] = {{{{0}}, 0, 0}}, b[FAMILY_COUNT] = {{{{0}}, 0, 0}};
	struct store *store = ctx;

	if (flannel_key_parse(key, a, NULL) < 0 || flannel_key_parse(other, b, NULL) < 0)
		return false;
	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (!prefix_is_set(&a[f]) || !prefix_is_set(&b[f]) || !prefix_overlaps(&a[f], &b[f]))
			continue;
		/* As choose_block: what covers the whole pool is no block of it. */
		if (!network_has(&store->network, f) || !prefix_contains_prefix(&b[f], &store->network.pool[f].cidr))
			return true;
	}
	return false;
}

void table_refresh(struct store *store)
{
	store->synced = false;
	store->watching = true;
	store->kv->ops->watch(store->kv);
}

void table_done(struct store *store)
{
	struct entry *entry, *next;
	struct finding *finding;

	HASH_ITER(hh, store->entries, entry, next) {
		HASH_DEL(store->entries, entry);
		free(entry);
	}
	while ((finding = store->findings)) {
		store->findings = finding->next;
		free(finding);
	}
}
