/* SPDX-License-Identifier: Apache-2.0
 *
 * The agent: wires store, plan, plane, pod attachment and the CNI server on one libevent loop. This header is the
 * inside of src/agent/agent*.c; nobody else includes it but main.c.
 *
 * What happens: the store gives the network configuration -> the uplink is chosen -> a lease is acquired -> the plan is
 * made and applied (own device and rules first) -> subnet.env, the CNI configuration, readiness -> peers. Every later
 * change, of whatever kind, only marks the agent dirty; before the loop sleeps the plan is made again and the plane
 * sends the difference.
 */
#pragma once

#include "agent/calico/calico.h"
#include "agent/dialect.h"
#include "agent/http.h"
#include "agent/options.h"
#include "agent/peers.h"
#include "agent/policy/policer.h"
#include "agent/problems.h"
#include "agent/uplink.h"
#include "attach/attach.h"
#include "base/log.h"
#include "cni_server/cni_server.h"
#include "plane/plane.h"
#include "store/store.h"

#include <event2/event.h>

struct agent_counters {
	uint64_t plans;
	uint64_t plan_failures;
	uint64_t last_plan_us;     /* from mark to applied, microseconds */
	int64_t started_us;        /* monotonic */
	int64_t peers_applied_us;  /* first complete list programmed: microseconds after start */
};

struct agent {
	struct options options;
	struct event_base *base;
	struct event *dirty, *retry, *resync, *on_term, *on_int;
	struct event *claim;       /* null: somebody who is not root sits on the name */
	struct owner *owner;       /* null: no DaemonSet is known */
	struct dialect *dialect;
	struct calico *calico;     /* null: the store speaks Flannel (store, peers, network), or has not said yet */
	struct store *store;       /* null: the other way round */
	struct policer *policer;   /* null: not yet known what the store speaks */
	struct kube *policy_kube;  /* Flannel's half: the door to objects that only policy needs */
	struct objects *policy_objects;
	struct plane *plane;
	struct attacher *attacher;
	struct cni_server *cni;
	struct http_server *health, *control;
	struct problems *problems;

	struct network network;
	bool have_network;
	struct addr wish[FAMILY_COUNT]; /* addresses that the store says are to be published */
	struct uplink uplink;
	struct uplink home;        /* the uplink of the start */
	bool have_uplink;
	struct mac vtep_mac[FAMILY_COUNT];
	struct lease own;
	bool have_own;
	struct peers *peers;
	bool peers_complete;
	struct prefix *non_masquerade;
	size_t non_masquerade_count;
	char *cni_conf;            /* cni-conf.json as the store gave it, or null */

	bool ready;
	char not_ready[512];       /* why not */
	struct buf subnet_env;     /* as last written */
	struct buf cni_written;
	unsigned installed;        /* plugins that were compared, bits by enum cni_type */
	bool takeover_told;
	int64_t dirty_since_us;
	struct agent_counters counters;
	int exit_code;
	bool again;                /* the process is to begin anew */
};

int agent_init(struct agent *agent, struct err *err);
/* Runs until a signal; returns the exit status. */
int agent_run(struct agent *agent);
void agent_free(struct agent *agent);

/* Something changed: plan again before the loop sleeps. */
void agent_mark(struct agent *agent);
int64_t agent_now_us(void);

/* The store's objects, as --store and its flags say. *ret_kube is the caller's, to be freed after them; null where it is not
 * Kubernetes. On failure both are as they were, but for *ret_kube, which is to be freed if it is set. */
struct kube;
struct objects;
int agent_open_objects(const struct agent *agent, struct kube **ret_kube, struct objects **ret, struct err *err);

/* agent_store.c: the store's events */
extern const struct store_events agent_store_events;
/* Looks at the interfaces again and publishes a changed address. At start a failure ends the agent. */
void agent_look_at_uplink(struct agent *agent);

/* agent_plan.c */
void agent_replan(struct agent *agent);
/* A pass failed: another one in a moment. */
void agent_retry_later(struct agent *agent);

/* agent_ready.c: what the node sees of us. 0 when all is written. */
int agent_publish(struct agent *agent, struct err *err);
/* cni-conf.json as the store has it, copied; null: there is none. */
void agent_take_cni_conf(struct agent *agent, const char *text);
/* Writes text to path unless it is what we wrote last and the file still stands. 1: written, 0: it stands. */
int agent_write_changed(const char *path, const struct buf *text, struct buf *last, struct err *err);

/* agent_install.c: plugin and CNI configuration, where --cni-bin-dir and --cni-conf-dir say so. */
int agent_install(struct agent *agent, struct err *err);
/* Null when pods may be added. */
const char *agent_not_ready(void *ctx);

/* agent_remove.c: --owner-daemonset */
int agent_owner_open(struct agent *agent, struct err *err);
/* While all is well: are we let ask? */
void agent_owner_look(struct agent *agent);
/* On the way out. True: the loop ends when the answer is there; false: nobody is to be asked. */
bool agent_owner_ask(struct agent *agent);

/* agent_ipam.c: "tullectl ipam"; each answers its request */
void agent_ipam_show(void *ctx, struct http_request *request);
void agent_ipam_check(void *ctx, struct http_request *request);
void agent_ipam_release(void *ctx, struct http_request *request);
/* The own lease's blocks: used, resting, free. A new list. */
json_t *agent_ipam_blocks(const struct agent *agent);

/* agent_metrics.c: the answer to /metrics, and parts of it */
void agent_metrics(void *ctx, struct http_answer *answer);
void agent_metric(struct buf *buf, const char *name, const char *type, const char *help, double value);
void agent_metric_head(struct buf *buf, const char *name, const char *type, const char *help); /* lines follow */

/* agent_report.c: tables of the two HTTP doors */
extern const struct http_route agent_health_routes[];
extern const struct http_route agent_control_routes[];
