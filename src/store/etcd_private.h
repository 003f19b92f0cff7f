/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by the parts of the etcd transport; see etcd.h.
 */
#pragma once

#include "client/etcd_watch.h"
#include "model/lease.h"
#include "store/etcd.h"

struct etcd;

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
	struct etcd_client client;
	char subnets[ETCD_KEY_MAX]; /* "PREFIX/subnets/" */
	struct etcd_watch config, leases;
	bool has_config, had_config;
	struct etcd_write write;
};
