/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of src/agent/calico*.c; nobody else includes it.
 */
#pragma once

#include "agent/agent.h"
#include "agent/calico.h"
#include "client/kube.h"
#include "ipam/allocator.h"
#include "model/pools.h"
#include "plan/pools.h"
#include "store/calico_store.h"

struct pod_addresses;
struct calico_bgp;

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
	struct calico_store *store;
	struct allocator *allocator;
	unsigned changed; /* bits by enum calico_part, since the last pass */

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

	/* calico_node.c */
	struct objects_call *node_call;
	struct event *node_retry;
	json_t *node_written; /* the annotations that we wrote last */
	bool node_exists;

	struct pod_addresses *pods; /* calico_pods.c */
	struct calico_bgp *bgp_unit; /* calico_bird.c; null: --bird=off */
	char not_ready[512];
};

/* -- calico_node.c -- */
/* Makes our Node show what is true; goes on by itself. */
int calico_node_init(struct calico *calico);
void calico_node_done(struct calico *calico);
void calico_node_publish(struct calico *calico);
const struct node *calico_node_own(const struct calico *calico);

/* -- calico_world.c -- */
/* The pools have changed: what was judged before is not there any more. */
void calico_world_judge(struct calico *calico);
void calico_world_refresh(struct calico *calico);
void calico_world_done(struct calico *calico);
/* All tunnel addresses that pools ask for have been answered. */
bool calico_tunnels_settled(const struct calico *calico);

/* -- calico_plan.c -- */
int calico_plan_apply(struct calico *calico, struct err *err);

/* -- calico_bird.c -- */
int calico_bgp_init(struct calico *calico, struct err *err);
void calico_bgp_free(struct calico *calico);
void calico_bgp_apply(struct calico *calico);

/* -- calico_pods.c -- */
int calico_pods_init(struct calico *calico);
void calico_pods_free(struct calico *calico);
extern const struct attach_source calico_pods_source; /* ctx is left to fill in */

static inline bool calico_has_changed(const struct calico *calico, enum calico_part part)
{
	return calico->changed & 1u << part;
}
