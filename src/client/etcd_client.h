/* SPDX-License-Identifier: Apache-2.0
 *
 * An etcd cluster, as whoever keeps something in it needs it: single requests with user authentication (etcd_client.c), on
 * client/grpc.h. What lies under which key is the caller's affair. Lists and watches are in etcd_watch.h.
 *
 * Life cycle: a client is part of its owner; init, requests, done. Answers come from the event loop, never from inside a
 * call, and may call anything but etcd_client_done, which ends all requests without an answer.
 */
#pragma once

#include "client/etcd_options.h"
#include "client/grpc.h"
#include "etcd.pb-c.h"

struct event_base;
struct etcd_rpc;

struct etcd_auth {
	char *username, *password;
	char *token_header;     /* "token: ..."; null: none yet, or the cluster asks for none */
	unsigned generation;    /* counts the tokens */
	bool off;               /* the cluster does not authenticate */
	struct grpc_call *call; /* Authenticate is under way */
};

struct etcd_client {
	struct event_base *base;
	struct grpc *grpc;
	struct etcd_auth auth;
	struct etcd_rpc *rpcs;
};

/* On failure etcd_client_done is still due. */
int etcd_client_init(struct etcd_client *client, const struct etcd_client_options *options, struct event_base *base,
	struct err *err);
void etcd_client_done(struct etcd_client *client);

/* answer is null unless status->code is GRPC_OK; it is freed behind the call. */
typedef void (*etcd_answered)(void *ctx, const struct grpc_status *status, const ProtobufCMessage *answer);

struct etcd_method {
	const char *name;
	const ProtobufCMessageDescriptor *answer;
};
extern const struct etcd_method etcd_range, etcd_txn, etcd_lease_grant, etcd_lease_revoke, etcd_lease_ttl;

/* Null when there is no memory: answered() is not called. Freed by itself after answered(). */
struct etcd_rpc *etcd_rpc_new(struct etcd_client *client, const struct etcd_method *method,
	const ProtobufCMessage *request, etcd_answered answered, void *ctx);
void etcd_rpc_cancel(struct etcd_rpc *rpc); /* null is fine */
/* Must a new token be had before this may work? If so, the one that was used is forgotten. */
bool etcd_auth_expired(struct etcd_client *client, const struct grpc_status *status, unsigned generation);
/* Packs into malloc'ed memory. */
uint8_t *etcd_pack(const ProtobufCMessage *message, size_t *ret_len);
