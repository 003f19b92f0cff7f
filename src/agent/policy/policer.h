/* SPDX-License-Identifier: Apache-2.0
 *
 * Policy in the agent: watches what policies are made of, feeds the verdict engine (plan/verdict.h), brings its tables into
 * the kernel (plane/policy.h) and holds each ADD back until the pod's own tables are there. The same for both dialects.
 * Parts: policer.c (life cycle, the pass), world.c (watches), parts.c (what is watched, and how it is read), pods.c (pods of
 * this node, the gate), places.c (interfaces, nodes, ranges), nodes.c (what is known of nodes), report.c (status, metrics),
 * events.c and drops.c (what the programs tell), explain.c, ends.c, way.c, path.c and who.c (why).
 *
 * Life cycle: policer_new when the store has said what it speaks; policer_follow after each pass of the agent; everything else
 * comes from the loop. policer_free leaves the kernel as it is: what was in force stays.
 */
#pragma once

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>

struct agent;
struct attach_request;
struct buf;
struct objects;
struct http_request;
struct policer;

/* objects: of the store, or null where it has none; stays the caller's and outlives it. kubernetes: pods are objects there, or
 * will be in a moment. With --policy=on a negative errno where there can be no policy; with auto it is off then. */
int policer_new(struct agent *agent, struct objects *objects, bool kubernetes, struct policer **ret, struct err *err);
void policer_free(struct policer *policer); /* null is fine */

/* As cni_server_options.admit. policer null: not yet known what there will be. */
int policer_admit(struct policer *policer, const struct attach_request *request, struct err *err);
/* Addresses of nodes, ranges of pods, interfaces may be others. */
void policer_follow(struct policer *policer);
/* The plan that is in the kernel now. policer may be null. */
struct wanted;
void policer_ways(struct policer *policer, const struct wanted *wanted);
/* Links or addresses of the machine may have changed. */
void policer_links_due(struct policer *policer);
/* The set of attachments has changed. */
void policer_pods_due(struct policer *policer);

/* For the plan, borrowed until the loop goes on; null: no policy. policer may be null. */
struct policy_nft_input;
const struct policy_nft_input *policer_nft(struct policer *policer);

/* For "tullectl status": a new object. policer may be null. */
json_t *policer_status(const struct policer *policer);
void policer_metrics(const struct policer *policer, struct buf *buf);

/* For "tullectl drops" (drops.c): packets and bytes by reason, a new list; and a stream that ends when the client goes away.
 * Answers the request. policer may be null. */
json_t *policer_drops(const struct policer *policer);
void policer_watch_drops(struct policer *policer, struct http_request *request);
size_t policer_watchers(const struct policer *policer);
/* For "tullectl policy explain" and, with path, "tullectl path" (explain.c, path.c): also without policy, and with the flows that
 * there are. Answers the request. policer may be null. */
void policer_explain(struct policer *policer, struct http_request *request, bool path);
