/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of src/agent/calico/; nobody else includes it.
 */
#pragma once

#include "agent/agent.h"
#include "agent/calico/calico.h"
#include "client/kube.h"
#include "ipam/election.h"
#include "ipam/repair.h"
#include "ipam/reserve.h"
#include "model/pools.h"
#include "plan/pools.h"
#include "resources/cluster.h"

struct calico_kube;
struct pod_addresses;
struct calico_bgp;
struct ipam_ask;
struct annotate;

/* A tunnel device's address of ours. */
struct calico_tunnel {
	struct calico *calico;
	enum ipam_tunnel kind;
	struct addr addr;        /* as allocated; unset: none */
	struct ipam_call *call;  /* under way */
	bool due;                /* to be asked for again: something that it depends on has changed */
	bool settled;            /* has been answered once */
};

struct calico {
	struct agent *agent;
	struct kube *kube; /* null: not on Kubernetes */
	struct objects *objects;
	struct cluster *store;
	struct allocator *allocator;
	struct reserve *reserve;   /* batch.c */
	struct election *election; /* repair.c */
	struct repair *repair;
	bool batch_held, batch_started;
	unsigned changed; /* bits by enum cluster_part, since the last pass */
	bool uplink_due;  /* the kernel may have another one than the last pass saw */

	/* what the pass has made of it */
	struct pools *pools;
	struct ippool *flannel[FAMILY_COUNT]; /* net-conf.json's, if there is one */
	struct felix felix;
	const struct bgp_config *bgp; /* the store's */
	bool families[FAMILY_COUNT];
	struct labels *labels;        /* of our Node, as IPAM knows them */
	struct calico_tunnel tunnels[IPAM_TUNNEL_COUNT];
	bool kernel_ipip;
	uint32_t pod_mtu;

	/* node.c */
	struct objects_call *node_call;
	struct event *node_retry;
	json_t *node_written; /* the annotations that we wrote last */
	bool node_exists;

	struct pod_addresses *pods; /* pods.c */
	struct calico_bgp *bgp_unit; /* bird.c; null: --bird=off */
	struct calico_takeover *takeover; /* takeover.c */
	struct calico_kube *kube_unit;    /* kube.c; null: not on Kubernetes */
	struct calico_claims *claims;     /* claims.c */
	struct ipam_ask *ipam_asks; /* ipam.c: who waits for an answer */
	struct annotate *annotate;  /* annotate.c; null: not on Kubernetes */
	char not_ready[512];
};

/* -- node.c -- */
/* Makes our Node show what is true; goes on by itself. */
int calico_node_init(struct calico *calico);
void calico_node_done(struct calico *calico);
void calico_node_publish(struct calico *calico);
const struct node *calico_node_own(const struct calico *calico);

/* -- world.c -- */
/* The pools have changed: what was judged before is not there any more. */
void calico_world_judge(struct calico *calico);
void calico_world_refresh(struct calico *calico);
void calico_world_done(struct calico *calico);
/* All tunnel addresses that pools ask for have been answered. */
bool calico_tunnels_settled(const struct calico *calico);
bool calico_tunnels_asked(const struct calico *calico);

/* -- plan.c -- */
int calico_plan_apply(struct calico *calico, struct err *err);

/* -- bird.c -- */
int calico_bgp_init(struct calico *calico, struct err *err);
void calico_bgp_free(struct calico *calico);
void calico_bgp_apply(struct calico *calico);

/* -- batch.c -- */
int calico_batch_init(struct calico *calico);
void calico_batch_free(struct calico *calico);
/* IPAM's world is new. */
void calico_batch_world(struct calico *calico);
/* Begins to work when everything is known that it needs; nothing happens before, nor again. */
void calico_batch_start(struct calico *calico);
/* As cluster_events.block. */
void calico_batch_block(struct calico *calico, const char *name, const json_t *object);
/* A pod has given this address back: nobody cares any more who else has it. */
void calico_batch_forget(struct calico *calico, const struct addr *addr);

/* What the store is told about a pod that has an address. */
struct calico_owner {
	char handle[IPAM_HANDLE_MAX];
	json_t *attributes;
};
int calico_owner_make(const struct calico *calico, const char *network, const char *container_id, const char *pod_namespace,
	const char *pod_name, struct calico_owner *ret, struct err *err);
void calico_owner_done(struct calico_owner *owner);

/* -- repair.c -- */
int calico_repair_init(struct calico *calico);
/* When IPAM knows its world; nothing happens before, nor again. */
void calico_election_start(struct calico *calico);
/* Before the allocator is freed, and after it. */
void calico_election_free(struct calico *calico);
void calico_repair_free(struct calico *calico);

/* -- wishes.c -- */
struct calico_wishes {
	const struct workload *pod, *namespace; /* null: not objects of the store */
	bool families[FAMILY_COUNT];            /* that the pod gets addresses of */
	struct addr addr[FAMILY_COUNT];         /* these very ones; unset: any */
};
/* What annotations and the runtime ask for. -EINPROGRESS: the store has not shown the pod yet. Borrows from the
 * collections. */
int calico_wishes_find(const struct calico *calico, const struct attach_request *request, struct calico_wishes *ret,
	struct err *err);
/* The CIDRs of the pools that are asked for by name or CIDR; *ret is null when none are. */
int calico_wishes_pools(const struct calico *calico, const struct calico_wishes *wishes, int f, struct prefix **ret,
	size_t *ret_count, struct err *err);

/* -- pods.c -- */
int calico_pods_init(struct calico *calico);
void calico_pods_free(struct calico *calico);
extern const struct attach_source calico_pods_source; /* ctx is left to fill in */

/* ClusterInformation says that a migration is under way: what is there stays, nothing is changed. */
bool calico_is_locked(const struct calico *calico);

/* -- annotate.c -- */
int calico_annotate_init(struct calico *calico);
void calico_annotate_free(struct calico *calico);
/* Pods came or went. */
void calico_annotate_go(struct calico *calico);

/* -- ipam.c -- */
/* Before the allocator: whoever waits is told that it ends. */
void calico_ipam_free(struct calico *calico);

static inline bool calico_has_changed(const struct calico *calico, enum cluster_part part)
{
	return calico->changed & 1u << part;
}
