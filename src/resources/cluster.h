/* SPDX-License-Identifier: Apache-2.0
 *
 * The cluster in Calico's words, kept up to date: watches the objects (objects/objects.h), reads them (resources/resources.h) and
 * keeps the model's structs. Used by the agent, which reads the collections when it plans.
 *
 * An object that cannot be used is told as a problem under its kind and name, and what was known under that name stays.
 *
 * Life cycle: cluster_new begins to watch at once; events come from the loop until cluster_free. objects stays
 * the caller's and outlives it.
 */
#pragma once

#include "model/bgp.h"
#include "model/collection.h"
#include "model/felix.h"
#include "model/ipam_config.h"
#include "objects/objects.h"

struct labels;
struct cluster;

/* What the collections hold; keys are names, for the last four "namespace/name" where there is a namespace. */
enum cluster_part {
	CLUSTER_INFO,         /* struct cluster_info: "default" */
	CLUSTER_POOLS,        /* struct ippool */
	CLUSTER_RESERVATIONS, /* struct ip_reservation */
	CLUSTER_IPAM,         /* struct ipam_config: "default" */
	CLUSTER_FELIX,        /* json_t: cluster_felix reads them together */
	CLUSTER_BGP,          /* json_t: cluster_bgp does */
	CLUSTER_PEERS,        /* struct bgp_peer */
	CLUSTER_FILTERS,      /* struct bgp_filter */
	CLUSTER_NODES,        /* struct node */
	CLUSTER_BLOCKS,       /* struct block; the key is the object's name */
	CLUSTER_NAMESPACES,   /* struct workload */
	CLUSTER_PODS,         /* struct workload: those of this node */
	CLUSTER_SERVICES,     /* struct service; empty unless followed */
	CLUSTER_SLICES,       /* struct endpoint_slice; the same */
	CLUSTER_PART_COUNT
};

struct cluster_events {
	/* A list of a part has ended, or an object of it is new, another one or gone; what was read from the collection before
	 * may not be there any more. */
	void (*changed)(void *ctx, enum cluster_part part);
	/* An IPAMBlock as it is, before changed; null object: gone. Null name: a list has ended, and of what was gone before
	 * it nothing was told. May be null. */
	void (*block)(void *ctx, const char *name, const json_t *object);
	/* key: "IPPool blue", or "" for a watch as a whole; "" = that trouble is over. */
	void (*problem)(void *ctx, const char *key, const char *text);
};

int cluster_new(struct objects *objects, const char *node, const struct cluster_events *events, void *ctx,
	struct cluster **ret, struct err *err);
void cluster_free(struct cluster *store); /* null is fine */

/* Tells people about an object ("IPPool blue", as problem() names it) where they look for it; see objects_remark. */
void cluster_remark(struct cluster *store, const char *object, const char *text);

const struct collection *cluster_part(const struct cluster *store, enum cluster_part part);
/* The first lists of all that routes depend on are there: info, pools, nodes, blocks, settings. */
bool cluster_is_complete(const struct cluster *store);

/* What the settings say for this node; problems are told. labels: of the node, or null. */
struct felix cluster_felix(struct cluster *store, const struct labels *labels);
/* The last good one; the store's own. 0 or -ENOMEM. */
int cluster_bgp(struct cluster *store, const struct bgp_config **ret);
/* The ports that nodes listen on by a BGPConfiguration of their own; malloc'ed, names are borrowed until the part changes.
 * 0 or -ENOMEM. */
int cluster_bgp_ports(const struct cluster *store, struct bgp_port **ret, size_t *ret_count);
/* Services are many and change often: they are watched only while somebody announces them. */
void cluster_follow_services(struct cluster *store, bool follow);
