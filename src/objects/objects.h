/* SPDX-License-Identifier: Apache-2.0
 *
 * The cluster's objects behind one door, whichever store holds them: the Kubernetes API (either of Calico's groups),
 * etcd (Calico's keys), or a directory of manifests. Whoever calls sees one form: the object as
 * projectcalico.org/v3 (or the core group) has it, with metadata.name, .namespace, .labels, .annotations,
 * .resourceVersion and .uid; what the dialects wrap or spell otherwise is translated at the edge
 * (reference/calico.md 1.4, 1.5, 2.15). Unknown members pass through unharmed, and numbers are 64-bit.
 *
 * Compare-and-swap: update and delete carry the metadata.resourceVersion that was read; it means nothing but "as read".
 *
 * Life cycle: made by one of the three …_new, then requests and watches; all answers come from the event loop, never
 * from inside a call, and a callback may call anything but objects_free. objects_free ends everything; nothing is
 * called any more.
 */
#pragma once

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>

struct event_base;

enum kind {
	KIND_CLUSTER_INFORMATION,
	KIND_IPPOOL,
	KIND_IP_RESERVATION,
	KIND_IPAM_CONFIG, /* IPAMConfiguration in v3, IPAMConfig in v1 */
	KIND_FELIX_CONFIG,
	KIND_BGP_CONFIG,
	KIND_BGP_PEER,
	KIND_BGP_FILTER,
	KIND_IPAM_BLOCK,
	KIND_BLOCK_AFFINITY,
	KIND_IPAM_HANDLE,
	KIND_CALICO_NETWORK_POLICY, /* "NetworkPolicy", too; namespaced, as KIND_NETWORK_SET */
	KIND_GLOBAL_NETWORK_POLICY,
	KIND_TIER,
	KIND_NETWORK_SET,
	KIND_GLOBAL_NETWORK_SET,
	KIND_HOST_ENDPOINT,
	KIND_KUBE_CONTROLLERS_CONFIG,
	/* Kubernetes' own. In a directory they are manifests like the others. */
	KIND_NODE,
	KIND_NAMESPACE,
	KIND_POD,
	KIND_SERVICE,
	KIND_ENDPOINT_SLICE,
	KIND_SECRET,
	KIND_LEASE, /* coordination.k8s.io: who does what only one should do; not a lease of addresses */
	KIND_SERVICE_ACCOUNT,
	KIND_NETWORK_POLICY,         /* networking.k8s.io */
	KIND_CLUSTER_NETWORK_POLICY, /* policy.networking.k8s.io, where it is installed */
	KIND_COUNT
};

/* "IPPool", "BGPPeer", …: as in the v3 group. */
const char *kind_name(enum kind kind);
const char *kind_title(enum kind kind); /* for people: no two kinds have the same */
bool kind_is_namespaced(enum kind kind);

struct objects;

/* -- requests -- */

struct objects_answer {
	int rc;           /* 0; -ENOENT; -EEXIST (create); -ESTALE (update, delete: no longer as read); -EACCES (may not);
			     -EINVAL (the store refuses it as it is); any other negative errno: nobody knows whether it happened */
	json_t *object;   /* borrowed: as the store has it now, with its new version; null after a delete and on failure */
	const char *text; /* for people: what went wrong, with the object; "" when rc is 0 */
};
typedef void (*objects_done)(void *ctx, const struct objects_answer *answer);

struct object_key {
	enum kind kind;
	const char *namespace; /* null where the kind has none */
	const char *name;
};

struct objects_call; /* under way; gone once done() was called */

/* Null without memory: done() is not called then. Objects are copied. */
struct objects_call *objects_get(struct objects *objects, const struct object_key *key, objects_done done, void *ctx);
/* One after the other by each(), then done(); a list that breaks off ends with an error, and what it gave so far is no
 * list. label_selector: Kubernetes' form, "a=b,c=d", or null. */
struct objects_call *objects_list(struct objects *objects, enum kind kind, const char *label_selector,
	void (*each)(void *ctx, const json_t *object), objects_done done, void *ctx);
struct objects_call *objects_create(struct objects *objects, enum kind kind, const json_t *object, objects_done done, void *ctx);
struct objects_call *objects_update(struct objects *objects, enum kind kind, const json_t *object, objects_done done, void *ctx);
/* Annotations of a Node or Pod by its status subresource, a null value removes one; nothing else is touched. */
struct objects_call *objects_annotate(struct objects *objects, const struct object_key *key, const json_t *annotations,
	objects_done done, void *ctx);
/* By version, and by uid where the store has one. */
struct objects_call *objects_delete(struct objects *objects, enum kind kind, const json_t *object, objects_done done, void *ctx);
/* done() does not come; whether it happened nobody knows. Null is fine. */
void objects_cancel(struct objects_call *call);

/* -- watches -- */

/* As client/kube_watch.h: begin, put for each, end; what was not put is gone; then put and gone as things change. */
struct objects_events {
	void (*begin)(void *ctx, bool anew);
	void (*put)(void *ctx, const json_t *object);
	void (*gone)(void *ctx, const json_t *object); /* at least metadata.name and .namespace */
	void (*end)(void *ctx);
	/* "" = that trouble is over. key: the object it is about, or "" for the watch as a whole. */
	void (*problem)(void *ctx, const char *key, const char *text);
};

struct objects_watch_options {
	enum kind kind;
	const char *field_selector, *label_selector; /* null: none; a directory and etcd know "metadata.name=" and "spec.nodeName=" */
	const char *const *drop;                     /* members that nobody needs, see kube_watch_options.drop */
};

struct objects_watch *objects_watch_new(struct objects *objects, const struct objects_watch_options *options,
	const struct objects_events *events, void *ctx);
/* Not from inside its own events. Null is fine. */
void objects_watch_free(struct objects_watch *watch);

/* -- remarks -- */

struct objects_remark {
	enum kind kind;
	const char *namespace; /* null or "": none */
	const char *name;
	const char *uid;  /* as read; "" or null: not known */
	const char *node; /* who says it */
	const char *reason, *text;
};

/* Tells people what is wrong with an object, where they look for it: an Event in Kubernetes, once in the cluster whoever
 * sees it; elsewhere nothing. */
void objects_remark(struct objects *objects, const struct objects_remark *remark);

/* -- the three stores -- */

struct kube;
struct etcd_client_options;

/* kube stays the caller's and outlives it. group: "projectcalico.org/v3", any other text for v1, null or "": found out
 * (reference/calico.md 1.1). */
int objects_kube_new(struct kube *kube, const char *group, struct event_base *base, struct objects **ret, struct err *err);
int objects_etcd_new(const struct etcd_client_options *options, struct event_base *base, struct objects **ret, struct err *err);
/* Everyone's manifests in path, of any file name; what Tulle itself writes lies in path/objects/KIND/NAME.json. */
int objects_directory_new(const char *path, struct event_base *base, struct objects **ret, struct err *err);
void objects_free(struct objects *objects);
