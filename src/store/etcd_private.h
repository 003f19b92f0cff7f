/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by the parts of the etcd transport; see etcd.h.
 */
#pragma once

#include "etcd.pb-c.h"
#include "model/lease.h"
#include "store/etcd.h"
#include "client/grpc.h"

#include <event2/event.h>

#define ETCD_DEADLINE_MS 5000
#define ETCD_KEY_MAX 1024

struct etcd;

/* -- etcd_rpc.c: one answer to one request -- */

struct etcd_rpc;
/* answer is null unless status->code is GRPC_OK; it is freed behind the call. */
typedef void (*etcd_answered)(void *ctx, const struct grpc_status *status, const ProtobufCMessage *answer);

struct etcd_method {
	const char *name;
	const ProtobufCMessageDescriptor *answer;
};
extern const struct etcd_method etcd_range, etcd_txn, etcd_lease_grant, etcd_lease_revoke, etcd_lease_ttl;

struct etcd_auth {
	char *username, *password;
	char *token_header;     /* "token: ..."; null: none yet, or the cluster asks for none */
	unsigned generation;    /* counts the tokens */
	bool off;               /* the cluster does not authenticate */
	struct grpc_call *call; /* Authenticate is under way */
	bool answered;
};

/* Null when there is no memory: answered() is not called. Freed by itself after answered(). */
struct etcd_rpc *etcd_rpc_new(struct etcd *etcd, const struct etcd_method *method, const ProtobufCMessage *request,
	etcd_answered answered, void *ctx);
void etcd_rpc_cancel(struct etcd_rpc *rpc); /* null is fine */
/* Must a new token be had before this may work? If so, the one that was used is forgotten. */
bool etcd_auth_expired(struct etcd *etcd, const struct grpc_status *status, unsigned generation);
void etcd_auth_done(struct etcd *etcd);
/* Packs into malloc'ed memory. */
uint8_t *etcd_pack(const ProtobufCMessage *message, size_t *ret_len);

/* -- etcd_watch.c: the truth about one key or prefix, from now on -- */

struct etcd_watch_events {
	void (*list_begin)(struct etcd *etcd, bool anew);
	void (*list_end)(struct etcd *etcd);
	void (*put)(struct etcd *etcd, const Etcd__KeyValue *kv);
	void (*gone)(struct etcd *etcd, const Etcd__KeyValue *kv);
};

struct etcd_watch {
	struct etcd *etcd;
	const struct etcd_watch_events *events;
	char key[ETCD_KEY_MAX], end[ETCD_KEY_MAX]; /* end "": one key */
	const char *name; /* for stories */

	struct etcd_rpc *page;    /* a Range is under way */
	int64_t list_revision;    /* all pages are of this one; 0: the first is on its way */
	int64_t page_size;
	uint8_t *next_key;        /* of the next page; null: the first */
	size_t next_key_len;

	struct grpc_call *stream;
	unsigned token_generation;
	int64_t revision; /* where the watch goes on; 0: list first */
	int64_t seen;     /* the latest revision that we know of */
	bool heard;       /* something came since the last look */
	bool asked;       /* a progress request is out */
	unsigned failures;
	int told;         /* code of the story that was told; 0 = none */
	struct event *retry, *alive;
};

int etcd_watch_init(struct etcd_watch *watch, struct etcd *etcd, const struct etcd_watch_events *events,
	const char *name);
void etcd_watch_list(struct etcd_watch *watch); /* at first, and again */
void etcd_watch_done(struct etcd_watch *watch);

/* -- etcd_write.c -- */

enum etcd_write_kind { ETCD_WRITE_NONE, ETCD_WRITE_CREATE, ETCD_WRITE_REPLACE, ETCD_WRITE_REMOVE, ETCD_WRITE_EXPIRY };

struct etcd_write {
	enum etcd_write_kind kind;
	struct etcd_rpc *rpc;
	char key[LEASE_KEY_MAX];
	uint8_t *value;
	size_t len;
	uint64_t revision;
	int64_t lease, expires;
	kv_done done;
	struct event *give_up; /* answers later when a call cannot even begin */
};

int etcd_write_init(struct etcd *etcd);
void etcd_create(struct kv *kv, const char *key, const char *value, size_t len, int64_t ttl, kv_done done);
void etcd_replace(struct kv *kv, const char *key, const char *value, size_t len, int64_t ttl, uint64_t revision,
	kv_done done);
void etcd_remove(struct kv *kv, const char *key, uint64_t revision, kv_done done);
void etcd_expiry(struct kv *kv, uint64_t handle, kv_done done);
void etcd_write_done(struct etcd *etcd);

/* -- all together -- */

struct etcd {
	struct kv kv; /* first */
	struct event_base *base;
	struct grpc *grpc;
	struct etcd_auth auth;
	struct etcd_rpc *rpcs;
	char subnets[ETCD_KEY_MAX]; /* "PREFIX/subnets/" */
	struct etcd_watch config, leases;
	bool has_config, had_config;
	struct etcd_write write;
};
