/* SPDX-License-Identifier: Apache-2.0
 *
 * The truth about one key, or all keys with a prefix, from now on: listed in pages, then watched for ever. A history that
 * was compacted, or went back, leads to a new list; a member that falls silent or loses its leader is left for another.
 * Used by the stores in etcd.
 *
 * Life cycle: a watch is part of its owner; init, etcd_watch_list, done. Events come from the loop; none may end its own
 * watch, but any may begin a new list.
 */
#pragma once

#include "client/etcd_client.h"

#include <event2/event.h>

#define ETCD_KEY_MAX 1024

struct etcd_watch_events {
	/* anew: the store was put back to an earlier state, revisions seen so far mean nothing any more. */
	void (*list_begin)(void *ctx, bool anew);
	void (*list_end)(void *ctx);
	void (*put)(void *ctx, const Etcd__KeyValue *kv);
	void (*gone)(void *ctx, const Etcd__KeyValue *kv); /* its key and mod_revision */
	/* Of the watch called name; "" = that trouble is over. */
	void (*problem)(void *ctx, const char *name, const char *text);
};

struct etcd_watch {
	struct etcd_client *client;
	const struct etcd_watch_events *events;
	void *ctx;
	char key[ETCD_KEY_MAX], end[ETCD_KEY_MAX]; /* filled by the owner; end "": one key */
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

int etcd_watch_init(struct etcd_watch *watch, struct etcd_client *client,
	const struct etcd_watch_events *events, void *ctx, const char *name);
void etcd_watch_list(struct etcd_watch *watch); /* at first, and again */
void etcd_watch_done(struct etcd_watch *watch);
