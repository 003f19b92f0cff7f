/* SPDX-License-Identifier: Apache-2.0 */
#include "store/manager.h"

#include "flannel/flannel.h"
#include "store/choose.h"

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
	struct manager *manager = arg;

	acquire_step(manager);
}

static void renew_is_due(evutil_socket_t fd, short what, void *arg)
{
	struct manager *manager = arg;

	manager->renew_due = true;
	acquire_step(manager);
}

static void let_go(struct manager *manager)
{
	manager->held = false;
	manager->renew_due = false;
	event_del(manager->renew);
	event_del(manager->expire);
}

static void lose(struct manager *manager)
{
	struct entry *entry = table_find(manager, manager->own.key);

	let_go(manager);
	manager->events.lost(manager->ctx);
	/* What is there under our old key may be somebody else's now. */
	if (entry && !table_same_node(manager->want.public_ip, entry->lease.public_ip))
		table_show(manager, entry);
	manager_later(manager->step, 0);
}

static void has_expired(evutil_socket_t fd, short what, void *arg)
{
	lose(arg);
}

bool acquire_is_own(const struct manager *manager, const char *key)
{
	if (manager->held && strcmp(key, manager->own.key) == 0)
		return true;
	return manager->operation != OPERATION_NONE && strcmp(key, manager->target.key) == 0;
}

/* Timers of a lease that is held: renewal before its end, and the end. */
static void arm(struct manager *manager)
{
	int64_t left = (manager->own.expires - manager_now()) * 1000;
	int64_t margin = manager->renew_margin * 1000;

	event_del(manager->renew);
	event_del(manager->expire);
	if (!manager->own.expires)
		return;
	if (left < 0)
		left = 0;
	if (margin >= left)
		margin = left / 2;
	manager_later(manager->renew, left - margin);
	manager_later(manager->expire, left);
}

static void hold(struct manager *manager, const struct lease *lease, uint64_t revision)
{
	bool news = !manager->held || !lease_equal(lease, &manager->own);

	if (manager->held && strcmp(manager->own.key, lease->key) == 0 && !manager->rewrites)
		manager_problem(manager, lease->key, "%s", "");
	manager->own = *lease;
	manager->own_revision = revision;
	manager->held = true;
	manager->renew_due = false;
	manager->rounds = manager->failures = manager->avoid_count = 0;
	arm(manager);
	manager_problem(manager, "", "%s", "");
	table_set(manager, lease, revision);
	if (news)
		manager->events.acquired(manager->ctx, &manager->own);
	if (manager->announced)
		return;
	manager->announced = true;
	table_show_all(manager);
	if (manager->synced)
		manager->events.synced(manager->ctx);
}

static void pause_after_failure(struct manager *manager)
{
	int64_t longest = manager->held ? PAUSE_RENEW_MS : PAUSE_ACQUIRE_MS;
	int64_t ms = PAUSE_FIRST_MS;

	for (unsigned i = 0; i < manager->failures && ms < longest; i++)
		ms *= 2;
	manager->failures++;
	if (ms > longest)
		ms = longest;
	manager_later(manager->pause, ms / 2 + arc4random_uniform((uint32_t)(ms / 2) + 1));
}

static void lost_race(struct manager *manager)
{
	if (manager->avoid_count < ROUNDS_MAX)
		memcpy(manager->avoid[manager->avoid_count++], manager->target.subnet, sizeof(manager->target.subnet));
	if (++manager->rounds < ROUNDS_MAX)
		return;
	manager->rounds = 0;
	pause_after_failure(manager);
	table_refresh(manager);
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

static void write_failed(struct manager *manager, enum operation operation, const struct kv_result *result)
{
	if (operation == OPERATION_CREATE && result->rc == -EEXIST) {
		lost_race(manager);
		return;
	}
	if (result->rc != -ESTALE)
		manager_problem(manager, "", "our lease %s cannot be %s: %s", manager->target.key,
			operation_name(operation), result->text);
	/* It is not known what the store holds now: look before the next decision. */
	pause_after_failure(manager);
	table_refresh(manager);
}

/* When a lease that somebody else wrote for us ends. */
static void expiry_known(struct manager *manager, const struct kv_result *result)
{
	if (!manager->held)
		return;
	if (result->rc < 0)
		manager->renew_due = true;
	else
		manager->own.expires = result->expires;
	arm(manager);
}

static void written(struct manager *manager, struct lease *target, const struct kv_result *result)
{
	target->expires = result->expires;
	if (!manager->target_gone) {
		hold(manager, target, result->revision);
		return;
	}
	if (manager->held)
		lose(manager);
	table_refresh(manager);
}

static void removed(struct manager *manager, const struct lease *target)
{
	if (manager->held && strcmp(target->key, manager->own.key) == 0)
		let_go(manager);
	table_forget(manager, target->key);
}

static void operation_done(void *ctx, const struct kv_result *result)
{
	struct manager *manager = ctx;
	enum operation operation = manager->operation;
	struct lease target = manager->target;
	struct entry *entry;

	manager->operation = OPERATION_NONE;
	if (operation == OPERATION_EXPIRY)
		expiry_known(manager, result);
	else if (result->rc < 0)
		write_failed(manager, operation, result);
	else if (operation == OPERATION_REMOVE)
		removed(manager, &target);
	else
		written(manager, &target, result);
	entry = table_find(manager, target.key);
	if (entry)
		table_show(manager, entry);
	manager_later(manager->step, 0);
}

static void fill_from_want(const struct manager *manager, struct lease *lease)
{
	struct lease full = manager->want;

	memcpy(full.key, lease->key, sizeof(full.key));
	memcpy(full.subnet, lease->subnet, sizeof(full.subnet));
	full.expires = lease->expires;
	*lease = full;
}

static void begin(struct manager *manager, enum operation operation, const struct lease *target, uint64_t revision)
{
	struct buf value = BUF_INIT(65536);
	int64_t ttl = manager->ttl;

	manager->operation = operation;
	manager->target = *target;
	manager->target_gone = false;
	if (operation == OPERATION_REPLACE && !target->expires)
		ttl = 0; /* a reservation stays one */
	manager->target.expires = ttl ? manager_now() + ttl : 0;
	flannel_lease_format(&manager->target, manager->kv->value_has_expiry && ttl, &value);
	if (operation == OPERATION_CREATE)
		manager->kv->ops->create(manager->kv, target->key, buf_text(&value), value.len, ttl, operation_done);
	else if (operation == OPERATION_REPLACE)
		manager->kv->ops->replace(manager->kv, target->key, buf_text(&value), value.len, ttl, revision,
			operation_done);
	else
		manager->kv->ops->remove(manager->kv, target->key, revision, operation_done);
	buf_free(&value);
}

static bool overlaps_any(struct manager *manager, const struct prefix subnet[FAMILY_COUNT])
{
	struct entry *entry, *next;

	HASH_ITER(hh, manager->entries, entry, next)
		for (int f = 0; f < FAMILY_COUNT; f++)
			if (prefix_is_set(&subnet[f]) && prefix_is_set(&entry->lease.subnet[f]) &&
				prefix_overlaps(&subnet[f], &entry->lease.subnet[f]) &&
				!prefix_contains_prefix(&entry->lease.subnet[f], &manager->network.pool[f].cidr))
				return true;
	for (unsigned i = 0; i < manager->avoid_count; i++)
		for (int f = 0; f < FAMILY_COUNT; f++)
			if (prefix_is_set(&subnet[f]) && prefix_is_set(&manager->avoid[i][f]) &&
				prefix_overlaps(&subnet[f], &manager->avoid[i][f]))
				return true;
	return false;
}

static bool may_have(struct manager *manager, const struct lease *lease)
{
	return (prefix_is_set(&lease->subnet[FAMILY_4]) || prefix_is_set(&lease->subnet[FAMILY_6])) &&
		flannel_lease_fits(lease, &manager->network) && !overlaps_any(manager, lease->subnet);
}

static struct prefix *all_taken(struct manager *manager, size_t *ret_count)
{
	size_t room = (HASH_COUNT(manager->entries) + manager->avoid_count + 1) * FAMILY_COUNT, n = 0;
	struct prefix *taken = calloc(room, sizeof(*taken));
	struct entry *entry, *next;

	if (!taken)
		return NULL;
	HASH_ITER(hh, manager->entries, entry, next)
		for (int f = 0; f < FAMILY_COUNT; f++)
			if (prefix_is_set(&entry->lease.subnet[f]))
				taken[n++] = entry->lease.subnet[f];
	for (unsigned i = 0; i < manager->avoid_count; i++)
		for (int f = 0; f < FAMILY_COUNT; f++)
			if (prefix_is_set(&manager->avoid[i][f]))
				taken[n++] = manager->avoid[i][f];
	*ret_count = n;
	return taken;
}

/* The family's block of before, when it may be had: this node's pods hold addresses of it. */
static bool keep_block(struct manager *manager, int f, const struct prefix *before, struct prefix *ret)
{
	struct prefix alone[FAMILY_COUNT] = {0};

	alone[f] = *before;
	if (!prefix_is_set(before) || !flannel_subnet_fits(before, &manager->network.pool[f]) ||
		overlaps_any(manager, alone))
		return false;
	*ret = *before;
	return true;
}

/* Each family for itself, so that one that comes or goes does not cost the other its block: that of before, else by
 * chance out of what is free. False and a problem when a family has nothing left. */
static bool choose(struct manager *manager, struct lease *lease)
{
	size_t count = 0;
	struct prefix *taken = all_taken(manager, &count);
	bool good = taken != NULL;

	memset(lease->subnet, 0, sizeof(lease->subnet));
	for (int f = 0; good && f < FAMILY_COUNT; f++) {
		char text[PREFIX_TEXT_MAX];

		if (!network_has(&manager->network, f))
			continue;
		good = keep_block(manager, f, &manager->own.subnet[f], &lease->subnet[f]) ||
			keep_block(manager, f, &manager->want.subnet[f], &lease->subnet[f]) ||
			choose_block(&manager->network.pool[f], taken, count, &lease->subnet[f]);
		if (!good)
			manager_problem(manager, "", "out of subnets: every /%u of %s is taken",
				manager->network.pool[f].block_len,
				prefix_format(&manager->network.pool[f].cidr, text));
	}
	free(taken);
	return good;
}

static void create(struct manager *manager)
{
	struct lease lease = manager->own;

	/* The subnet we had a moment ago, that of the last run, any other. */
	if (!may_have(manager, &lease))
		memcpy(lease.subnet, manager->want.subnet, sizeof(lease.subnet));
	if (!may_have(manager, &lease) && !choose(manager, &lease)) {
		pause_after_failure(manager);
		return;
	}
	flannel_key_format(lease.subnet, lease.key);
	fill_from_want(manager, &lease);
	begin(manager, OPERATION_CREATE, &lease, 0);
}

/* A lease with our public address, or the one we hold: keep it or give it back. True when that needs a write. */
static bool settle(struct manager *manager, struct entry *entry)
{
	struct lease lease = entry->lease;
	bool fits = flannel_lease_fits(&lease, &manager->network);

	if (!fits && !lease.expires && entry->readable) {
		manager_problem(manager, lease.key, "this reservation for our address does not fit the network "
			"configuration: it is left alone, and another subnet is taken");
		if (manager->held && strcmp(lease.key, manager->own.key) == 0)
			let_go(manager);
		return false;
	}
	if (!fits) {
		begin(manager, OPERATION_REMOVE, &lease, entry->revision);
		return true;
	}
	fill_from_want(manager, &lease);
	if (manager->held && !manager->renew_due && entry->readable && lease_equal(&lease, &entry->lease) &&
		entry->revision == manager->own_revision)
		return true;
	begin(manager, OPERATION_REPLACE, &lease, entry->revision);
	return true;
}

static bool has_addresses(struct manager *manager)
{
	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (!network_has(&manager->network, f) || addr_is_set(&manager->want.public_ip[f]))
			continue;
		manager_problem(manager, "", "the network configuration enables %s, but this node has no public %s "
			"address", f == FAMILY_4 ? "IPv4" : "IPv6", f == FAMILY_4 ? "IPv4" : "IPv6");
		return false;
	}
	return true;
}

void acquire_step(struct manager *manager)
{
	struct entry *entry;

	if (manager->synced)
		table_answer(manager);
	if (!manager->has_want || !manager->has_network || !manager->synced || manager->operation != OPERATION_NONE)
		return;
	if (event_pending(manager->pause, EV_TIMEOUT, NULL) || !has_addresses(manager))
		return;
	if (manager->held)
		entry = table_find(manager, manager->own.key);
	else
		entry = table_find_address(manager, manager->want.public_ip);
	if (!entry || !settle(manager, entry))
		create(manager);
}

/* Our lease was written by somebody else: the administrator, a clone of this node, or a write of ours whose answer
 * was lost. */
void acquire_own_changed(struct manager *manager, struct entry *entry)
{
	int64_t now = manager_now_ms();
	struct lease wanted = entry->lease;

	if (!manager->held || manager->operation != OPERATION_NONE || entry->revision == manager->own_revision)
		return;
	if (entry->readable && !table_same_node(manager->want.public_ip, entry->lease.public_ip)) {
		manager_problem(manager, entry->lease.key, "our lease was taken over by another node");
		lose(manager);
		return;
	}
	fill_from_want(manager, &wanted);
	manager->own.expires = entry->lease.expires;
	if (entry->readable && lease_equal(&wanted, &entry->lease)) {
		manager->own_revision = entry->revision;
		arm(manager);
		if (entry->handle && manager->kv->ops->expiry) {
			manager->operation = OPERATION_EXPIRY;
			manager->target = manager->own;
			manager->kv->ops->expiry(manager->kv, entry->handle, operation_done);
		}
		return;
	}
	manager->rewrites = now - manager->last_rewrite_ms > REWRITE_QUIET_MS ? 0 : manager->rewrites + 1;
	manager->last_rewrite_ms = now;
	if (!manager->rewrites)
		return; /* the step that follows publishes our attributes again */
	manager_problem(manager, entry->lease.key, "our lease is being rewritten by somebody else: is there another "
		"node with our public address?");
	manager_later(manager->pause, manager->rewrites < 7 ? 500 << manager->rewrites : PAUSE_RENEW_MS);
}

void acquire_own_gone(struct manager *manager, const char *key)
{
	if (manager->operation != OPERATION_NONE && strcmp(key, manager->target.key) == 0)
		manager->target_gone = true;
	else if (manager->held && strcmp(key, manager->own.key) == 0)
		lose(manager);
}

int acquire_init(struct manager *manager)
{
	manager->step = event_new(manager->base, -1, 0, decide_soon, manager);
	manager->pause = event_new(manager->base, -1, 0, decide_soon, manager);
	manager->renew = event_new(manager->base, -1, 0, renew_is_due, manager);
	manager->expire = event_new(manager->base, -1, 0, has_expired, manager);
	return manager->step && manager->pause && manager->renew && manager->expire ? 0 : -ENOMEM;
}

void acquire_done(struct manager *manager)
{
	struct event *events[] = {manager->step, manager->pause, manager->renew, manager->expire};

	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		if (events[i])
			event_free(events[i]);
}
