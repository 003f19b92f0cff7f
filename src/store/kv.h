/* SPDX-License-Identifier: Apache-2.0
 *
 * A transport: a small set of keys with revisions and expiry, watched. The lease manager (manager.h) is its only
 * caller; directory.h and etcd.h make one. Keys are lease keys, bare ("10.5.72.0-24"): prefix, path and suffix are
 * the transport's own affair. It never looks into a value, except by kv_events.expires.
 *
 * Life cycle: made with its events; start() begins to deliver the configuration, watch() begins to deliver leases;
 * free() at any time, after which nothing is called any more. Every callback runs from the event loop, never from
 * inside a call of the transport, so a callback may call anything but free(). One write is under way at a time.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kv;

/* kv_item.expires: when the transport cannot tell without asking, see kv_ops.expiry. */
#define KV_EXPIRES_UNKNOWN INT64_MAX

struct kv_item {
	const char *key;   /* borrowed, as is value */
	const char *value; /* not terminated */
	size_t len;
	uint64_t revision; /* guards a write; equal revisions of one key mean equal content */
	uint64_t handle;   /* for kv_ops.expiry; 0 = the key never expires */
	int64_t expires;   /* seconds since the epoch, 0 = never, or KV_EXPIRES_UNKNOWN */
};

struct kv_events {
	/* The network configuration, on start and when it changed; where names it in messages. text null: there is
	 * none, or none that can be read; why is told by problem(). */
	void (*config)(void *ctx, const char *text, size_t len, const char *where);
	void (*cni_conf)(void *ctx, const char *text);
	/* list_begin, any number of put, list_end: the whole truth, at first and after every gap in the watch. anew: the
	 * store was put back to an earlier state, revisions seen so far mean nothing any more. */
	void (*list_begin)(void *ctx, bool anew);
	void (*list_end)(void *ctx);
	void (*put)(void *ctx, const struct kv_item *item);
	void (*gone)(void *ctx, const char *key, uint64_t revision); /* revision: 0 where they have no order */
	/* As store_events.problem. */
	void (*problem)(void *ctx, const char *key, const char *text);
	/* When a value that carries its own expiry ends: seconds since the epoch, 0 = never, -1 = it cannot be read. */
	int64_t (*expires)(void *ctx, const char *key, const char *value, size_t len);
	/* Would a new lease under key stand in the way of the lease under other? Asked at the moment of create(). */
	bool (*blocks)(void *ctx, const char *key, const char *other);
};

/* The end of a write. rc: 0; -EEXIST (create: the key or another in its way is there); -ESTALE (replace, remove: the
 * key is no longer at the guarded revision); any other negative errno: it is not known whether the write happened. */
struct kv_result {
	int rc;
	uint64_t revision; /* of the key as written */
	int64_t expires;
	const char *text;  /* what went wrong; never null, borrowed */
};
typedef void (*kv_done)(void *ctx, const struct kv_result *result);

/* ttl: seconds, 0 = for ever. Values are copied. */
struct kv_ops {
	void (*start)(struct kv *kv);
	void (*watch)(struct kv *kv);  /* again: list once more */
	void (*create)(struct kv *kv, const char *key, const char *value, size_t len, int64_t ttl, kv_done done);
	void (*replace)(struct kv *kv, const char *key, const char *value, size_t len, int64_t ttl, uint64_t revision,
		kv_done done);
	void (*remove)(struct kv *kv, const char *key, uint64_t revision, kv_done done);
	/* Asks when the handle of an item ends; result.expires, rc as above. Null where items always know. */
	void (*expiry)(struct kv *kv, uint64_t handle, kv_done done);
	void (*free)(struct kv *kv);
};

/* Every transport begins with this. */
struct kv {
	const struct kv_ops *ops;
	const struct kv_events *events;
	void *ctx;            /* of events and of kv_done */
	bool value_has_expiry; /* the writer puts the expiry into the value itself */
	bool ordered;          /* a larger revision is a later one: what comes late can be told */
};
