/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by the parts of the store of objects in etcd (docs/objects.md): etcd.c (requests and life cycle),
 * etcd_list.c, etcd_watch.c. Keys and values are calico_form.h's.
 */
#pragma once

#include "client/etcd_watch.h"
#include "objects/calico_form.h"
#include "objects/private.h"

#include <string.h>

struct etcd_objects_watch;

struct etcd_objects_call {
	struct objects_remote_call base; /* first */
	struct etcd_objects_call *prev, *next;
	struct etcd_rpc *rpc;
	char key[CALICO_KEY_MAX]; /* of a change */
	char *value;              /* as it is to become */
	unsigned tries;           /* of annotate */
	/* Of a list. */
	char *next_key;
	int64_t revision, page_size;
};

struct objects_etcd {
	struct objects objects; /* first */
	struct etcd_client client;
	struct etcd_objects_call *calls;
	struct etcd_objects_watch *watches;
};

static inline struct objects_etcd *etcd_of(struct objects *objects)
{
	return (struct objects_etcd *)objects;
}

static inline ProtobufCBinaryData etcd_text(const char *text)
{
	return (ProtobufCBinaryData){strlen(text), (uint8_t *)text};
}

/* -- etcd.c -- */
int etcd_objects_code(const struct grpc_status *status);
/* The object behind a key; as calico_from_etcd. */
int etcd_objects_parse(enum kind kind, const Etcd__KeyValue *kv, json_t **ret, struct err *err);
/* False: it cannot be a key of ours. */
bool etcd_objects_key(const Etcd__KeyValue *kv, char ret[static CALICO_KEY_MAX]);

/* -- etcd_list.c -- */
bool etcd_objects_list(struct etcd_objects_call *call); /* false: no memory */

/* -- etcd_watch.c -- */
struct objects_watch *etcd_objects_watch_new(struct objects *objects, const struct objects_watch_options *options,
	const struct objects_events *events, void *ctx);
void etcd_objects_watch_free(struct objects_watch *watch);
void etcd_objects_watch_done(struct objects_etcd *etcd);
