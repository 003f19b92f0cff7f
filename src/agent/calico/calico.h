/* SPDX-License-Identifier: Apache-2.0
 *
 * The agent where the cluster speaks Calico: pools, blocks and BGP instead of Flannel's one network and leases. Takes the
 * place of agent_store.c and agent_plan.c; everything else of the agent is the same. Parts: calico.c (life cycle, what the
 * store says), node.c (our own Node object), world.c (pools, IPAM, tunnel addresses), plan.c (one
 * pass), pods.c (addresses of pods, from batch.c by wishes.c), repair.c (what nobody gives back).
 *
 * What happens: the first lists come in -> pools are judged, the uplink is chosen, our Node shows its addresses -> IPAM gets
 * its world, tunnel addresses are allocated -> the batch is filled, plan and plane -> CNI configuration, readiness. As in
 * Flannel's half, every change only marks the agent dirty.
 */
#pragma once

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>

struct agent;
struct calico;
struct attach_request;

/* Begins to watch. */
int calico_new(struct agent *agent, struct calico **ret, struct err *err);
void calico_free(struct calico *calico); /* null is fine */

/* One pass. */
void calico_replan(struct calico *calico);
/* Links, addresses or default routes of the machine may have changed: the next pass looks at them. */
void calico_uplink_due(struct calico *calico);
/* Why pods cannot be added; null when they can. */
const char *calico_not_ready(struct calico *calico);
/* As cni_server_options.admit. */
int calico_admit(struct calico *calico, const struct attach_request *request, struct err *err);
/* For "tullectl status": pools, own blocks, tunnel addresses; a new object. */
json_t *calico_status(const struct calico *calico);

/* The door that this half uses; stays its own. */
struct objects;
struct objects *calico_objects(const struct calico *calico);
bool calico_is_kubernetes(const struct calico *calico);
/* The CIDRs of all pools, malloc'ed; none while they have not been read. 0 or -ENOMEM. */
struct prefix;
int calico_ranges(const struct calico *calico, struct prefix **ret, size_t *ret_count);
/* What FelixConfiguration says; Calico's defaults while it has not been read. */
struct felix;
const struct felix *calico_felix(const struct calico *calico);
/* Does a pod that has src go to dst, which may be a node's, by another address, this node's (natOutgoing)? */
struct addr;
bool calico_masquerades(const struct calico *calico, const struct addr *src, const struct addr *dst, bool node, const char *device);

/* The node whose pods have such an address, by its blocks; null: nobody's, as far as is known. Borrowed. */
const char *calico_holder(const struct calico *calico, const struct addr *addr);
/* Those of a node that is known; ret is untouched otherwise. */
void calico_node_addrs(const struct calico *calico, const char *name, struct addr *ret);

/* For "tullectl bgp": null where no BGP is spoken; a new object. */
json_t *calico_bgp_status(const struct calico *calico);
struct http_request;
void calico_bgp_routes(struct calico *calico, struct http_request *request); /* answers it */
/* From time to time: passwords may have changed. */
void calico_bgp_resync(struct calico *calico);

/* For /metrics. */
struct buf;
void calico_metrics(const struct calico *calico, struct buf *buf);

/* For "tullectl ipam": each answers its request, later. */
void calico_ipam_show(struct calico *calico, struct http_request *request);
void calico_ipam_check(struct calico *calico, struct http_request *request);
void calico_ipam_release(struct calico *calico, struct http_request *request);
