/* SPDX-License-Identifier: Apache-2.0 */
#include "store/manager.h"

#include "flannel/flannel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry *table_find(struct manager *manager, const char *key)
{
	struct entry *entry;

	HASH_FIND_STR(manager->entries, key, entry);
	return entry;
}

bool table_same_node(const struct addr a[FAMILY_COUNT], const struct addr b[FAMILY_COUNT])
{
	/* IPv6 decides only for nodes without IPv4 (reference/flannel.md 13.9). */
	int f = addr_is_set(&a[FAMILY_4]) ? FAMILY_4 : FAMILY_6;

	return addr_is_set(&a[f]) && addr_equal(&a[f], &b[f]);
}

struct entry *table_find_address(struct manager *manager, const struct addr public_ip[FAMILY_COUNT])
{
	struct entry *entry, *next, *best = NULL;
	bool best_fits = false;

	HASH_ITER(hh, manager->entries, entry, next) {
		bool fits;

		if (!entry->readable || !table_same_node(public_ip, entry->lease.public_ip))
			continue;
		fits = manager->has_network && flannel_lease_fits(&entry->lease, &manager->network);
		if (!best || (fits && !best_fits) ||
			(fits == best_fits && strcmp(entry->lease.key, best->lease.key) < 0)) {
			best = entry;
			best_fits = fits;
		}
	}
	return best;
}

void table_show(struct manager *manager, struct entry *entry)
{
	bool show = manager->announced && entry->readable && !acquire_is_own(manager, entry->lease.key);

	if (show == entry->shown)
		return;
	entry->shown = show;
	if (show)
		manager->events.lease(manager->ctx, &entry->lease);
	else
		manager->events.lease_gone(manager->ctx, entry->lease.key);
}

void table_show_all(struct manager *manager)
{
	struct entry *entry, *next;

	HASH_ITER(hh, manager->entries, entry, next)
		table_show(manager, entry);
}

static struct entry *entry_new(struct manager *manager, const char *key)
{
	struct entry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return NULL;
	memcpy(entry->lease.key, key, strlen(key));
	HASH_ADD_STR(manager->entries, lease.key, entry);
	return entry;
}

struct entry *table_set(struct manager *manager, const struct lease *lease, uint64_t revision)
{
	struct entry *entry = table_find(manager, lease->key);

	if (!entry)
		entry = entry_new(manager, lease->key);
	if (!entry)
		return NULL;
	entry->lease = *lease;
	entry->revision = revision;
	entry->generation = manager->generation;
	entry->readable = true;
	table_show(manager, entry);
	return entry;
}

void table_forget(struct manager *manager, const char *key)
{
	struct entry *entry = table_find(manager, key);

	if (!entry)
		return;
	HASH_DEL(manager->entries, entry);
	free(entry);
}

void table_answer(struct manager *manager)
{
	struct finding *finding = manager->findings;

	manager->findings = NULL;
	while (finding) {
		struct finding *next = finding->next;
		struct entry *entry = table_find_address(manager, finding->public_ip);

		finding->found(finding->ctx, entry ? &entry->lease : NULL);
		free(finding);
		finding = next;
	}
}

static void entry_drop(struct manager *manager, struct entry *entry)
{
	struct lease lease = entry->lease;
	bool shown = entry->shown;

	HASH_DEL(manager->entries, entry);
	free(entry);
	manager_problem(manager, lease.key, "%s", "");
	if (shown)
		manager->events.lease_gone(manager->ctx, lease.key);
	else
		acquire_own_gone(manager, lease.key);
}

/* A value that cannot be read takes nothing away: a node that was known stays known (reference/flannel.md 13.2). */
static void put_unreadable(struct manager *manager, const struct kv_item *item, const char *text)
{
	struct entry *entry = table_find(manager, item->key);

	manager_problem(manager, item->key, "%s", text);
	if (!entry && strlen(item->key) < LEASE_KEY_MAX) {
		entry = entry_new(manager, item->key);
		if (entry)
			flannel_key_parse(item->key, entry->lease.subnet, NULL);
	}
	if (!entry)
		return;
	entry->generation = manager->generation;
	entry->revision = item->revision;
	if (acquire_is_own(manager, item->key))
		acquire_own_changed(manager, entry);
}

static void put_lease(struct manager *manager, struct entry *entry, const struct lease *lease,
	const struct kv_item *item)
{
	bool changed = !entry->readable || !lease_equal(&entry->lease, lease);

	entry->lease = *lease;
	entry->readable = true;
	entry->revision = item->revision;
	entry->handle = item->handle;
	entry->generation = manager->generation;
	if (acquire_is_own(manager, lease->key))
		acquire_own_changed(manager, entry);
	else if (entry->shown && changed)
		manager->events.lease(manager->ctx, &entry->lease);
	else
		table_show(manager, entry);
}

void table_put(void *ctx, const struct kv_item *item)
{
	struct manager *manager = ctx;
	struct err err = ERR_INIT;
	struct entry *entry;
	struct lease lease;

	entry = table_find(manager, item->key);
	if (entry && manager->kv->ordered && item->revision < entry->revision) {
		entry->generation = manager->generation;
		return;
	}
	if (strchr(item->key, '/')) {
		put_unreadable(manager, item, "no lease lies so deep");
		return;
	}
	memset(&lease, 0, sizeof(lease));
	if (flannel_lease_parse(item->key, item->value, item->len, &lease, &err) < 0) {
		put_unreadable(manager, item, err_text(&err));
		return;
	}
	snprintf(lease.key, sizeof(lease.key), "%s", item->key);
	/* What is not known is bounded: nobody grants more than one ttl at a time, and each renewal is seen. */
	if (!manager->kv->value_has_expiry)
		lease.expires = item->expires == KV_EXPIRES_UNKNOWN ? manager_now() + manager->ttl : item->expires;
	if (!entry)
		entry = entry_new(manager, lease.key);
	if (!entry) {
		manager_problem(manager, item->key, "no memory for this lease");
		return;
	}
	if (!acquire_is_own(manager, item->key))
		manager_problem(manager, item->key, "%s", "");
	put_lease(manager, entry, &lease, item);
	manager_later(manager->step, 0);
}

void table_gone(void *ctx, const char *key, uint64_t revision)
{
	struct manager *manager = ctx;
	struct entry *entry = table_find(manager, key);

	if (entry && manager->kv->ordered && revision < entry->revision)
		return;
	if (entry)
		entry_drop(manager, entry);
	else
		manager_problem(manager, key, "%s", "");
	manager_later(manager->step, 0);
}

void table_list_begin(void *ctx, bool anew)
{
	struct manager *manager = ctx;
	struct entry *entry, *next;

	manager->generation++;
	manager->synced = false;
	if (!anew)
		return;
	manager->own_revision = 0;
	HASH_ITER(hh, manager->entries, entry, next)
		entry->revision = 0;
}

void table_list_end(void *ctx)
{
	struct manager *manager = ctx;
	struct entry *entry, *next;

	HASH_ITER(hh, manager->entries, entry, next)
		if (entry->generation != manager->generation)
			entry_drop(manager, entry);
	manager->synced = true;
	manager->avoid_count = 0;
	if (manager->announced)
		manager->events.synced(manager->ctx);
	manager_later(manager->step, 0);
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
	struct manager *manager = ctx;

	if (flannel_key_parse(key, a, NULL) < 0 || flannel_key_parse(other, b, NULL) < 0)
		return false;
	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (!prefix_is_set(&a[f]) || !prefix_is_set(&b[f]) || !prefix_overlaps(&a[f], &b[f]))
			continue;
		/* As choose_block: what covers the whole pool is no block of it. */
		if (!network_has(&manager->network, f) || !prefix_contains_prefix(&b[f], &manager->network.pool[f].cidr))
			return true;
	}
	return false;
}

void table_refresh(struct manager *manager)
{
	manager->synced = false;
	manager->watching = true;
	manager->kv->ops->watch(manager->kv);
}

void table_done(struct manager *manager)
{
	struct entry *entry, *next;
	struct finding *finding;

	HASH_ITER(hh, manager->entries, entry, next) {
		HASH_DEL(manager->entries, entry);
		free(entry);
	}
	while ((finding = manager->findings)) {
		manager->findings = finding->next;
		free(finding);
	}
}
