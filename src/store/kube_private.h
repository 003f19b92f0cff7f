/* SPDX-License-Identifier: Apache-2.0
 *
 * The Kubernetes store behind store.h: nodes are leases, the controller manager hands out the blocks, and what a node
 * announces stands in its annotations (reference/flannel.md 3.4, with the defects of section 13 mended). Parts:
 * kube_store.c (life cycle, configuration), kube_own.c (our own node: what it says and what we write into it),
 * kube_peers.c (all other nodes), kube_events.c (Events).
 *
 * Everything that may lead to a write goes through one deferred step event, as in the lease manager.
 */
#pragma once

#include "base/hash.h"
#include "client/kube_watch.h"
#include "flannel/node.h"
#include "objects/kube_events.h"
#include "objects/problems.h"
#include "store/kv.h"
#include "store/store_private.h"

#include <event2/event.h>
#include <stdarg.h>

struct kube_finding {
	struct kube_finding *next;
	void (*found)(void *ctx, const struct lease *own);
	void *ctx;
};

/* A node that takes part, or did something wrong: enough to know when it goes. */
struct kube_peer {
	UT_hash_handle hh;   /* by name */
	unsigned generation; /* of the list that last showed it */
	bool shown;          /* the agent knows its lease */
	char name[];
};

enum kube_write { KUBE_WRITE_NONE, KUBE_WRITE_ANNOTATIONS, KUBE_WRITE_CONDITION };

struct kube_store {
	struct store store; /* first */
	struct event_base *base;
	struct store_events events;
	void *ctx;
	struct kube *kube;
	struct problems problems;
	struct kv *config; /* the configuration's file */
	struct kv_events config_events;
	struct network network;
	bool has_network;
	bool announced;    /* the agent was given it: our node is known */

	/* kube_own.c */
	char node[KUBE_NAME_MAX]; /* "" until our pod has told it */
	char pod_path[600];       /* of that pod; "" when the name was given */
	char prefix[FLANNEL_PREFIX_MAX];
	bool set_condition;
	struct kube_watch *own_watch;
	json_t *own;              /* our Node as last seen, with what we wrote since; null: not there */
	bool own_seen;            /* in the list that is coming in */
	struct addr wish[FAMILY_COUNT]; /* node-public-ip of either family, as told */
	bool wish_told;
	struct kube_finding *findings;
	struct lease want;
	bool has_want;
	struct lease held;
	bool holds;
	bool stands;              /* the data path: the condition may be set */
	struct kube_call *call;   /* the write (or look-up of our pod) under way */
	enum kube_write write;
	unsigned failures;        /* in a row */
	unsigned rewrites;        /* by somebody else, of late */
	int64_t last_rewrite_ms;
	struct event *step;
	struct event *pause;      /* no write before it ends */

	/* kube_peers.c */
	struct kube_watch *peers_watch;
	struct kube_peer *peers;
	unsigned generation;

	struct kube_events *remarks; /* Events about nodes */
};

int64_t kube_now_ms(void);
void kube_later(struct event *event, int64_t ms);
/* Tells a problem unless it is told already; "" ends it. True when it was news. */
bool kube_problem(struct kube_store *store, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* -- kube_own.c -- */
int kube_own_init(struct kube_store *store);
/* Finds out our node's name if need be, then watches it. */
void kube_own_start(struct kube_store *store);
void kube_own_find(struct kube_store *store, void (*found)(void *ctx, const struct lease *own), void *ctx);
void kube_own_done(struct kube_store *store);

/* -- kube_peers.c -- */
/* Lists and watches all nodes, from the start again if that is under way. */
void kube_peers_start(struct kube_store *store);
/* The node's name of a lease key. */
const char *kube_peers_name(const struct kube_store *store, const char *key);
void kube_peers_done(struct kube_store *store);

/* An Event about a node. */
void kube_remark_add(struct kube_store *store, const char *node, const char *reason, const char *text);
