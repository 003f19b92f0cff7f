/* SPDX-License-Identifier: Apache-2.0
 *
 * The cluster in Calico's words, kept up to date: watches the objects (store/objects.h), reads them (store/calico.h) and
 * keeps the model's structs. Used by the agent, which reads the collections when it plans.
 *
 * An object that cannot be used is told as a problem under its kind and name, and what was known under that name stays.
 *
 * Life cycle: calico_store_new begins to watch at once; events come from the loop until calico_store_free. objects stays
 * the caller's and outlives it.
 */
#pragma once

#include "model/bgp.h"
#include "model/collection.h"
#include "model/felix.h"
#include "model/ipam_config.h"
#include "store/objects.h"

struct labels;
struct calico_store;

/* What the collections hold; keys are names, for the last four "namespace/name" where there is a namespace. */
enum calico_part {
	CALICO_INFO,         /* struct cluster_info: "default" */
	CALICO_POOLS,        /* struct ippool */
	CALICO_RESERVATIONS, /* struct ip_reservation */
	CALICO_IPAM,         /* struct ipam_config: "default" */
	CALICO_FELIX,        /* json_t: calico_store_felix reads them together */
	CALICO_BGP,          /* json_t: calico_store_bgp does */
	CALICO_PEERS,        /* struct bgp_peer */
	CALICO_FILTERS,      /* struct bgp_filter */
	CALICO_NODES,        /* struct node */
	CALICO_BLOCKS,       /* struct block; the key is the object's name */
	CALICO_NAMESPACES,   /* struct workload */
	CALICO_PODS,         /* struct workload: those of this node */
	CALICO_SERVICES,     /* struct service; empty unless followed */
	CALICO_SLICES,       /* struct endpoint_slice; the same */
	CALICO_PART_COUNT
};

struct calico_store_events {
	/* A list of a part has ended, or an object of it is new, another one or gone; what was read from the collection before
	 * may not be there any more. */
	void (*changed)(void *ctx, enum calico_part part);
	/* An IPAMBlock as it is, before changed; null object: gone. Null name: a list has ended, and of what was gone before
	 * it nothing was told. May be null. */
	void (*block)(void *ctx, const char *name, const json_t *object);
	/* key: "IPPool blue", or "" for a watch as a whole; "" = that trouble is over. */
	void (*problem)(void *ctx, const char *key, const char *text);
};

int calico_store_new(struct objects *objects, const char *node, const struct calico_store_events *events, void *ctx,
	struct calico_store **ret, struct err *err);
void calico_store_free(struct calico_store *store); /* null is fine */

/* Tells people about an object ("IPPool blue", as problem() names it) where they look for it; see objects_remark. */
void calico_store_remark(struct calico_store *store, const char *object, const char *text);

const struct collection *calico_store_part(const struct calico_store *store, enum calico_part part);
/* The first lists of all that routes depend on are there: info, pools, nodes, blocks, settings. */
bool calico_store_is_complete(const struct calico_store *store);

/* What the settings say for this node; problems are told. labels: of the node, or null. */
struct felix calico_store_felix(struct calico_store *store, const struct labels *labels);
/* The last good one; the store's own. 0 or -ENOMEM. */
int calico_store_bgp(struct calico_store *store, const struct bgp_config **ret);
/* Services are many and change often: they are watched only while somebody announces them. */
void calico_store_follow_services(struct calico_store *store, bool follow);
