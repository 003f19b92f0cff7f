/* SPDX-License-Identifier: Apache-2.0
 *
 * The lease manager behind store.h, over any transport (kv.h): keeps the table of all leases, gets and keeps our
 * own, and tells the agent what changed (reference/flannel.md 3.2, 3.3.4 to 3.3.7, with the defects of section 13
 * mended). Parts: manager.c (life cycle, the configuration), table.c (leases of all nodes), acquire.c (our own).
 *
 * Everything that may lead to a write goes through one deferred step event: a burst of changes is one decision,
 * and no transport is called from inside its own callback.
 */
#pragma once

#include "base/hash.h"
#include "objects/problems.h"
#include "store/kv.h"
#include "store/store_private.h"

#include <event2/event.h>

struct entry {
	UT_hash_handle hh; /* by lease.key */
	uint64_t revision;
	uint64_t handle;
	unsigned generation; /* of the list that last showed it */
	bool readable;       /* lease.subnet and the rest are good; else nothing but key and revision is */
	bool shown;          /* the agent knows it */
	struct lease lease;
};

struct finding {
	struct finding *next;
	struct addr public_ip[FAMILY_COUNT];
	void (*found)(void *ctx, const struct lease *own);
	void *ctx;
};

enum operation { OPERATION_NONE, OPERATION_CREATE, OPERATION_REPLACE, OPERATION_REMOVE, OPERATION_EXPIRY };

struct manager {
	struct store store; /* first: the door hands this out */
	struct event_base *base;
	struct store_events events;
	void *ctx;
	struct kv *kv;
	struct kv_events kv_events;
	int64_t ttl, renew_margin; /* seconds */
	struct problems problems;

	struct network network;
	bool has_network;
	char config_where[256]; /* the object that held the configuration last */

	/* table.c */
	struct entry *entries;
	unsigned generation;
	bool watching; /* kv watch() was called */
	bool synced;   /* the table is complete */
	bool announced; /* peers are shown: our first lease is held */
	struct finding *findings;

	/* acquire.c */
	struct lease want;
	bool has_want;
	struct lease own; /* kept after a loss: the subnet to get back */
	bool held;
	uint64_t own_revision;
	bool renew_due;
	enum operation operation;
	struct lease target;     /* what the write under way is about */
	bool target_gone;        /* its key was deleted meanwhile: before or after the write, who knows */
	unsigned rounds;         /* races lost in a row */
	unsigned failures;       /* failed writes in a row */
	unsigned rewrites;       /* how often somebody else changed our lease of late */
	int64_t last_rewrite_ms;
	struct prefix avoid[10][FAMILY_COUNT]; /* lost to others a moment ago; the table may not show them yet */
	unsigned avoid_count;
	struct event *step;   /* decide what to do next */
	struct event *pause;  /* no decision before it ends */
	struct event *renew;
	struct event *expire;
};

/* Wall-clock seconds; monotonic milliseconds. */
int64_t manager_now(void);
int64_t manager_now_ms(void);
void manager_later(struct event *event, int64_t ms);
/* Tells a problem unless it is told already; "" ends it. */
void manager_problem(struct manager *manager, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* A store still without its transport: the caller makes one with &manager->kv_events and ctx = manager, and puts it into
 * manager->kv. store_free frees both. */
int manager_new(struct event_base *base, const struct store_events *events, void *ctx, int64_t ttl,
	int64_t renew_margin, struct manager **ret, struct err *err);

/* -- table.c -- */
void table_list_begin(void *ctx, bool anew);
void table_list_end(void *ctx);
void table_put(void *ctx, const struct kv_item *item);
void table_gone(void *ctx, const char *key, uint64_t revision);
int64_t table_expires(void *ctx, const char *key, const char *value, size_t len);
bool table_blocks(void *ctx, const char *key, const char *other);
struct entry *table_find(struct manager *manager, const char *key);
/* A lease of this public address: IPv4 if set, else IPv6; one that fits the network is preferred. */
struct entry *table_find_address(struct manager *manager, const struct addr public_ip[FAMILY_COUNT]);
bool table_same_node(const struct addr a[FAMILY_COUNT], const struct addr b[FAMILY_COUNT]);
/* What was just written, before the watch tells it. */
struct entry *table_set(struct manager *manager, const struct lease *lease, uint64_t revision);
void table_forget(struct manager *manager, const char *key);
/* Answers store_find_own, once the table is complete. */
void table_answer(struct manager *manager);
/* Shows or hides one entry, or all, after it became clear whose it is. */
void table_show(struct manager *manager, struct entry *entry);
void table_show_all(struct manager *manager);
/* Begins a new full list; no decision before it is complete. */
void table_refresh(struct manager *manager);
void table_done(struct manager *manager);

/* -- acquire.c -- */
int acquire_init(struct manager *manager);
/* Is this key ours, or about to be? */
bool acquire_is_own(const struct manager *manager, const char *key);
void acquire_own_changed(struct manager *manager, struct entry *entry);
void acquire_own_gone(struct manager *manager, const char *key);
void acquire_step(struct manager *manager);
void acquire_done(struct manager *manager);
