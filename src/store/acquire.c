/* SPDX-License-Identifier: Apache-2.0 */
#include "store/manager.h"

#include "store/choose.h"
#include "store/flannel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS_MAX 10           /* races lost before a longer pause */
#define PAUSE_FIRST_MS 200
#define PAUSE_ACQUIRE_MS 5000   /* longest pause without a lease */
#define PAUSE_RENEW_MS 60000    /* with one, as Flannel's */
#define REWRITE_QUIET_MS 600000 /* after this long, a rewrite by somebody else is a first one again */

static void decide_soon(evutil_socket_t fd, short what, void *arg)
{
	struct store *store = arg;

	acquire_step(store);
}

static void renew_is_due(evutil_socket_t fd, short what, void *arg)
{
	struct store *store = arg;

	store->renew_due = true;
	acquire_step(store);
}

static void let_go(struct store *store)
{
	store->held = false;
	store->renew_due = false;
	event_del(store->renew);
	event_del(store->expire);
}

static void lose(struct store *store)
{
	struct entry *entry = table_find(store, store->own.key);

	let_go(store);
	store->events.lost(store->ctx);
	/* What is there under our old key may be somebody else's now. */
	if (entry && !table_same_node(store->want.public_ip, entry->lease.public_ip))
		table_show(store, entry);
	manager_later(store->step, 0);
}

static void has_expired(evutil_socket_t fd, short what, void *arg)
{
	lose(arg);
}

bool acquire_is_own(const struct store *store, const char *key)
{
	if (store->held && strcmp(key, store->own.key) == 0)
		return true;
	return store->operation != OPERATION_NONE && strcmp(key, store->target.key) == 0;
}

/* Timers of a lease that is held: renewal before its end, and the end. */
static void arm(struct store *store)
{
	int64_t left = (store->own.expires - manager_now()) * 1000;
	int64_t margin = store->renew_margin * 1000;

	event_del(store->renew);
	event_del(store->expire);
	if (!store->own.expires)
		return;
	if (left < 0)
		left = 0;
	if (margin >= left)
		margin = left / 2;
	manager_later(store->renew, left - margin);
	manager_later(store->expire, left);
}

static void hold(struct store *store, const struct lease *lease, uint64_t revision)
{
	bool news = !store->held || !lease_equal(lease, &store->own);

	if (store->held && strcmp(store->own.key, lease->key) == 0 && !store->rewrites)
		manager_problem(store, lease->key, "%s", "");
	store->own = *lease;
	store->own_revision = revision;
	store->held = true;
	store->renew_due = false;
	store->rounds = store->failures = store->avoid_count = 0;
	arm(store);
	manager_problem(store, "", "%s", "");
	table_set(store, lease, revision);
	if (news)
		store->events.acquired(store->ctx, &store->own);
	if (store->announced)
		return;
	store->announced = true;
	table_show_all(store);
	if (store->synced)
		store->events.synced(store->ctx);
}

static void pause_after_failure(struct store *store)
{
	int64_t longest = store->held ? PAUSE_RENEW_MS : PAUSE_ACQUIRE_MS;
	int64_t ms = PAUSE_FIRST_MS;

	for (unsigned i = 0; i < store->failures && ms < longest; i++)
		ms *= 2;
	store->failures++;
	if (ms > longest)
		ms = longest;
	manager_later(store->pause, ms / 2 + arc4random_uniform((uint32_t)(ms / 2) + 1));
}

static void lost_race(struct store *store)
{
	if (store->avoid_count < ROUNDS_MAX)
		memcpy(store->avoid[store->avoid_count++], store->target.subnet, sizeof(store->target.subnet));
	if (++store->rounds < ROUNDS_MAX)
		return;
	store->rounds = 0;
	pause_after_failure(store);
	table_refresh(store);
}

static const char *operation_name(enum operation operation)
{
	static const char *const names[] = {
		[OPERATION_NONE] = "kept",
		[OPERATION_CREATE] = "created",
		[OPERATION_REPLACE] = "written",
		[OPERATION_REMOVE] = "removed",
		[OPERATION_EXPIRY] = "read",
	};

	return names[operation];
}

static void write_failed(struct store *store, enum operation operation, const struct kv_result *result)
{
	if (operation == OPERATION_CREATE && result->rc == -EEXIST) {
		lost_race(store);
		return;
	}
	if (result->rc != -ESTALE)
		manager_problem(store, "", "our lease %s cannot be %s: %s", store->target.key,
			operation_name(operation), result->text);
	/* It is not known what the store holds now: look before the next decision. */
	pause_after_failure(store);
	table_refresh(store);
}

/* When a lease that somebody else wrote for us ends. */
static void expiry_known(struct store *store, const struct kv_result *result)
{
	if (!store->held)
		return;
	if (result->rc < 0)
		store->renew_due = true;
	else
		store->own.expires = result->expires;
	arm(store);
}

static void written(struct store *store, struct lease *target, const struct kv_result *result)
{
	target->expires = result->expires;
	if (!store->target_gone) {
		hold(store, target, result->revision);
		return;
	}
	if (store->held)
		lose(store);
	table_refresh(store);
}

static void removed(struct store *store, const struct lease *target)
{
	if (store->held && strcmp(target->key, store->own.key) == 0)
		let_go(store);
	table_forget(store, target->key);
}

static void operation_done(void *ctx, const struct kv_result *result)
{
	struct store *store = ctx;
	enum operation operation = store->operation;
	struct lease target = store->target;
	struct entry *entry;

	store->operation = OPERATION_NONE;
	if (operation == OPERATION_EXPIRY)
		expiry_known(store, result);
	else if (result->rc < 0)
		write_failed(store, operation, result);
	else if (operation == OPERATION_REMOVE)
		removed(store, &target);
	else
		written(store, &target, result);
	entry = table_find(store, target.key);
	if (entry)
		table_show(store, entry);
	manager_later(store->step, 0);
}

static void fill_from_want(const struct store *store, struct lease *lease)
{
	struct lease full = store->want;

	memcpy(full.key, lease->key, sizeof(full.key));
	memcpy(full.subnet, lease->subnet, sizeof(full.subnet));
	full.expires = lease->expires;
	*lease = full;
}

static void begin(struct store *store, enum operation operation, const struct lease *target, uint64_t revision)
{
	struct buf value = BUF_INIT(65536);
	int64_t ttl = store->ttl;

	store->operation = operation;
	store->target = *target;
	store->target_gone = false;
	if (operation == OPERATION_REPLACE && !target->expires)
		ttl = 0; /* a reservation stays one */
	store->target.expires = ttl ? manager_now() + ttl : 0;
	flannel_lease_format(&store->target, store->kv->value_has_expiry && ttl, &value);
	if (operation == OPERATION_CREATE)
		store->kv->ops->create(store->kv, target->key, buf_text(&value), value.len, ttl, operation_done);
	else if (operation == OPERATION_REPLACE)
		store->kv->ops->replace(store->kv, target->key, buf_text(&value), value.len, ttl, revision,
			operation_done);
	else
		store->kv->ops->remove(store->kv, target->key, revision, operation_done);
	buf_free(&value);
}

static bool overlaps_any(struct store *store, const struct prefix subnet[FAMILY_COUNT])
{
	struct entry *entry, *next;

	HASH_ITER(hh, store->entries, entry, next)
		for (int f = 0; f < FAMILY_COUNT; f++)
			if (prefix_is_set(&subnet[f]) && prefix_is_set(&entry->lease.subnet[f]) &&
				prefix_overlaps(&subnet[f], &entry->lease.subnet[f]) &&
				!prefix_contains_prefix(&entry->lease.subnet[f], &store->network.pool[f].cidr))
				return true;
	for (unsigned i = 0; i < store->avoid_count; i++)
		for (int f = 0; f < FAMILY_COUNT; f++)
			if (prefix_is_set(&subnet[f]) && prefix_is_set(&store->avoid[i][f]) &&
				prefix_overlaps(&subnet[f], &store->avoid[i][f]))
				return true;
	return false;
}

static bool may_have(struct store *store, const struct lease *lease)
{
	return (prefix_is_set(&lease->subnet[FAMILY_4]) || prefix_is_set(&lease->subnet[FAMILY_6])) &&
		flannel_lease_fits(lease, &store->network) && !overlaps_any(store, lease->subnet);
}

static struct prefix *all_taken(struct store *store, size_t *ret_count)
{
	size_t room = (HASH_COUNT(store->entries) + store->avoid_count + 1) * FAMILY_COUNT, n = 0;
	struct prefix *taken = calloc(room, sizeof(*taken));
	struct entry *entry, *next;

	if (!taken)
		return NULL;
	HASH_ITER(hh, store->entries, entry, next)
		for (int f = 0; f < FAMILY_COUNT; f++)
			if (prefix_is_set(&entry->lease.subnet[f]))
				taken[n++] = entry->lease.subnet[f];
	for (unsigned i = 0; i < store->avoid_count; i++)
		for (int f = 0; f < FAMILY_COUNT; f++)
			if (prefix_is_set(&store->avoid[i][f]))
				taken[n++] = store->avoid[i][f];
	*ret_count = n;
	return taken;
}

/* The family's block of before, when it may be had: this node's pods hold addresses of it. */
static bool keep_block(struct store *store, int f, const struct prefix *before, struct prefix *ret)
{
	struct prefix alone[FAMILY_COUNT] = {0};

	alone[f] = *before;
	if (!prefix_is_set(before) || !flannel_subnet_fits(before, &store->network.pool[f]) ||
		overlaps_any(store, alone))
		return false;
	*ret = *before;
	return true;
}

/* Each family for itself, so that one that comes or goes does not cost the other its block: that of before, else by
 * chance out of what is free. False and a problem when a family has nothing left. */
static bool choose(struct store *store, struct lease *lease)
{
	size_t count = 0;
	struct prefix *taken = all_taken(store, &count);
	bool good = taken != NULL;

	memset(lease->subnet, 0, sizeof(lease->subnet));
	for (int f = 0; good && f < FAMILY_COUNT; f++) {
		char text[PREFIX_TEXT_MAX];

		if (!network_has(&store->network, f))
			continue;
		good = keep_block(store, f, &store->own.subnet[f], &lease->subnet[f]) ||
			keep_block(store, f, &store->want.subnet[f], &lease->subnet[f]) ||
			choose_block(&store->network.pool[f], taken, count, &lease->subnet[f]);
		if (!good)
			manager_problem(store, "", "out of subnets: every /%u of %s is taken",
				store->network.pool[f].block_len,
				prefix_format(&store->network.pool[f].cidr, text));
	}
	free(taken);
	return good;
}

static void create(struct store *store)
{
	struct lease lease = store->own;

	/* The subnet we had a moment ago, that of the last run, any other. */
	if (!may_have(store, &lease))
		memcpy(lease.subnet, store->want.subnet, sizeof(lease.subnet));
	if (!may_have(store, &lease) && !choose(store, &lease)) {
		pause_after_failure(store);
		return;
	}
	flannel_key_format(lease.subnet, lease.key);
	fill_from_want(store, &lease);
	begin(store, OPERATION_CREATE, &lease, 0);
}

/* A lease with our public address, or the one we hold: keep it or give it back. True when that needs a write. */
static bool settle(struct store *store, struct entry *entry)
{
	struct lease lease = entry->lease;
	bool fits = flannel_lease_fits(&lease, &store->network);

	if (!fits && !lease.expires && entry->readable) {
		manager_problem(store, lease.key, "this reservation for our address does not fit the network "
			"configuration: it is left alone, and another subnet is taken");
		if (store->held && strcmp(lease.key, store->own.key) == 0)
			let_go(store);
		return false;
	}
	if (!fits) {
		begin(store, OPERATION_REMOVE, &lease, entry->revision);
		return true;
	}
	fill_from_want(store, &lease);
	if (store->held && !store->renew_due && entry->readable && lease_equal(&lease, &entry->lease) &&
		entry->revision == store->own_revision)
		return true;
	begin(store, OPERATION_REPLACE, &lease, entry->revision);
	return true;
}

static bool has_addresses(struct store *store)
{
	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (!network_has(&store->network, f) || addr_is_set(&store->want.public_ip[f]))
			continue;
		manager_problem(store, "", "the network configuration enables %s, but this node has no public %s "
			"address", f == FAMILY_4 ? "IPv4" : "IPv6", f == FAMILY_4 ? "IPv4" : "IPv6");
		return false;
	}
	return true;
}

void acquire_step(struct store *store)
{
	struct entry *entry;

	if (store->synced)
		table_answer(store);
	if (!store->has_want || !store->has_network || !store->synced || store->operation != OPERATION_NONE)
		return;
	if (event_pending(store->pause, EV_TIMEOUT, NULL) || !has_addresses(store))
		return;
	if (store->held)
		entry = table_find(store, store->own.key);
	else
		entry = table_find_address(store, store->want.public_ip);
	if (!entry || !settle(store, entry))
		create(store);
}

/* Our lease was written by somebody else: the administrator, a clone of this node, or a write of ours whose answer
 * was lost. */
void acquire_own_changed(struct store *store, struct entry *entry)
{
	int64_t now = manager_now_ms();
	struct lease wanted = entry->lease;

	if (!store->held || store->operation != OPERATION_NONE || entry->revision == store->own_revision)
		return;
	if (entry->readable && !table_same_node(store->want.public_ip, entry->lease.public_ip)) {
		manager_problem(store, entry->lease.key, "our lease was taken over by another node");
		lose(store);
		return;
	}
	fill_from_want(store, &wanted);
	store->own.expires = entry->lease.expires;
	if (entry->readable && lease_equal(&wanted, &entry->lease)) {
		store->own_revision = entry->revision;
		arm(store);
		if (entry->handle && store->kv->ops->expiry) {
			store->operation = OPERATION_EXPIRY;
			store->target = store->own;
			store->kv->ops->expiry(store->kv, entry->handle, operation_done);
		}
		return;
	}
	store->rewrites = now - store->last_rewrite_ms > REWRITE_QUIET_MS ? 0 : store->rewrites + 1;
	store->last_rewrite_ms = now;
	if (!store->rewrites)
		return; /* the step that follows publishes our attributes again */
	manager_problem(store, entry->lease.key, "our lease is being rewritten by somebody else: is there another "
		"node with our public address?");
	manager_later(store->pause, store->rewrites < 7 ? 500 << store->rewrites : PAUSE_RENEW_MS);
}

void acquire_own_gone(struct store *store, const char *key)
{
	if (store->operation != OPERATION_NONE && strcmp(key, store->target.key) == 0)
		store->target_gone = true;
	else if (store->held && strcmp(key, store->own.key) == 0)
		lose(store);
}

int acquire_init(struct store *store)
{
	store->step = event_new(store->base, -1, 0, decide_soon, store);
	store->pause = event_new(store->base, -1, 0, decide_soon, store);
	store->renew = event_new(store->base, -1, 0, renew_is_due, store);
	store->expire = event_new(store->base, -1, 0, has_expired, store);
	return store->step && store->pause && store->renew && store->expire ? 0 : -ENOMEM;
}

void acquire_done(struct store *store)
{
	struct event *events[] = {store->step, store->pause, store->renew, store->expire};

	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		if (events[i])
			event_free(events[i]);
}
