/* SPDX-License-Identifier: Apache-2.0
 *
 * The store as the agent sees it: where the network configuration and the leases of all nodes live. A directory, etcd
 * and the Kubernetes API stand behind this one door.
 *
 * Life cycle: one of store_directory_new, store_etcd_new and store_kubernetes_new, then store_start; then events arrive from the event loop until
 * store_free. All calls return at once; nothing blocks the loop longer than a local file operation. Lost
 * connections are retried inside with back-off and jitter, forever; problems are told by the event, once for
 * each change of the story.
 *
 * Order of events: network (again whenever the configuration changed and is valid), then after store_acquire
 * acquired; lease/lease_gone for every *other* node's lease with synced after each full list: leases that are gone
 * since the last list have had their lease_gone before synced. The own lease (by key) never appears among them.
 */
#pragma once

#include "base/err.h"
#include "model/lease.h"
#include "model/network.h"

struct event_base;
struct store;

struct store_events {
	/* The addresses that this node's operator wants published (Kubernetes: annotations node-public-ip and
	 * node-public-ipv6), unset where there is no wish; before network, and again when they change. May be null. */
	void (*public_ip)(void *ctx, const struct addr public_ip[FAMILY_COUNT]);
	/* A valid configuration, the first or a changed one. A bad edit gives a problem and keeps the last good one. */
	void (*network)(void *ctx, const struct network *network);
	/* cni-conf.json next to it (directory store: ConfigMap); text is borrowed. May be null. */
	void (*cni_conf)(void *ctx, const char *text);
	/* Our lease is held: first acquisition and every later change of subnet, with the expiry in force. */
	void (*acquired)(void *ctx, const struct lease *own);
	/* Somebody deleted our lease, or it ran out: the agent acquires again (reference: Flannel exits instead). */
	void (*lost)(void *ctx);
	void (*lease)(void *ctx, const struct lease *lease); /* new or changed peer; copied by the receiver */
	void (*lease_gone)(void *ctx, const char *key);
	void (*synced)(void *ctx);
	/* key: the object it is about ("" = the store as a whole); text "" = that trouble is over. */
	void (*problem)(void *ctx, const char *key, const char *text);
};

struct store_directory_options {
	const char *path; /* holds net-conf.json or a ConfigMap manifest, and leases/ */
	int64_t ttl;      /* seconds a lease lives, 86400 */
	int64_t renew_margin; /* seconds before its end at which it is renewed, 3600 */
};

struct store_etcd_options {
	const char *endpoints; /* comma list of http:// or https:// URLs */
	const char *prefix;    /* "/coreos.com/network" */
	const char *keyfile, *certfile, *cafile; /* paths; null or "" = none */
	const char *username, *password;
	int64_t ttl;
	int64_t renew_margin;
};

/* Kubernetes: blocks are the podCIDRs that the controller manager assigns; a node announces itself by annotations
 * (reference/flannel.md 3.4). See client/kube.h for the ways to the API server. */
struct store_kubernetes_options {
	const char *api_url, *kubeconfig; /* null or "" = none; neither: in-cluster */
	const char *node_name;            /* "" or null: spec.nodeName of the pod below */
	const char *pod_namespace, *pod_name;
	const char *annotation_prefix;    /* "flannel.alpha.coreos.com" */
	const char *net_config;           /* path of net-conf.json, watched; cni-conf.json is looked for beside it */
	bool set_condition;               /* the node's NetworkUnavailable=False, once the data path stands */
};

int store_directory_new(const struct store_directory_options *options, struct event_base *base,
	const struct store_events *events, void *ctx, struct store **ret, struct err *err);
int store_etcd_new(const struct store_etcd_options *options, struct event_base *base,
	const struct store_events *events, void *ctx, struct store **ret, struct err *err);

int store_kubernetes_new(const struct store_kubernetes_options *options, struct event_base *base,
	const struct store_events *events, void *ctx, struct store **ret, struct err *err);

/* Begins: reads and watches the configuration. */
void store_start(struct store *store);

/* Gets a lease for this node and keeps it (renewal included) until store_free; call it after the first network
 * event, and again whenever the attributes change (public address, MAC, backend). want: public_ip, backend, vni,
 * vtep_mac are used; its subnet fields are the previous subnet to be preferred, or unset (3.3.4 step 3).
 * Then watches all leases. */
void store_acquire(struct store *store, const struct lease *want);

/* Our own last published lease as the store has it, before store_acquire: answers once with the lease of this
 * public address, or null; used to keep the MAC. */
void store_find_own(struct store *store, const struct addr public_ip[FAMILY_COUNT],
	void (*found)(void *ctx, const struct lease *own), void *ctx);

/* This node's data path stands: pods may come. Stores that publish such a thing do so. */
void store_stands(struct store *store);
/* A remark about the lease under key, for the people who look after it (Kubernetes: an Event on the node). */
void store_remark(struct store *store, const char *key, const char *text);

struct store_counters {
	uint64_t received_bytes; /* of lists and watches */
	uint64_t objects;
	uint64_t lists;          /* begun, first ones included */
};
/* False: this kind of store does not count. */
bool store_counters(const struct store *store, struct store_counters *ret);

/* At any time, but not from inside one of the events. Null is fine. */
void store_free(struct store *store);
