/* SPDX-License-Identifier: Apache-2.0
 *
 * The verdict engine: from policies, endpoints and sets to the tables by which eBPF judges every packet
 * (bpf/policy_layout.h says how they are read), and the same judgement in user space. Pure. Called by the agent, which
 * applies the difference to the kernel, and by "tullectl policy eval".
 *
 *   rule's peer    what a rule asks of the remote address: an interned set of terms. Only rules of policies that apply to
 *                  an attached endpoint count.
 *   class          the set of peers that an address is one of, with the ports that names and Services mean there;
 *                  its number is a hash of this content. Class 0: of none.
 *   table          what applies to an endpoint in one direction: tiers, their rules in order, with all that concerns the
 *                  endpoint's own side settled. Number 0: no policy applies.
 *   list           flattened: protocol and port -> verdict.
 *
 * The tables are a function of what was put in, whatever the order.
 *
 * Life cycle: verdicts_new; put and remove as things come and go; verdicts_attach for each endpoint whose packets this node
 * judges; verdicts_update computes what is due and says what has changed since the last one that was acknowledged;
 * verdicts_free.
 */
#pragma once

#include "base/err.h"
#include "model/endpoint.h"
#include "model/failsafe.h"
#include "model/host_endpoint.h"
#include "model/policy.h"

#include <stdint.h>

struct verdicts;

int verdicts_new(struct verdicts **ret);
void verdicts_free(struct verdicts *verdicts); /* null is fine */

/* -- the world; objects are borrowed: they stay as they are until they are replaced or removed, and are not looked at
 * any more afterwards. Each returns 0 (without memory there is no way on, as in base/hash.h). -- */

int verdicts_put_tier(struct verdicts *verdicts, const struct tier *tier);
void verdicts_remove_tier(struct verdicts *verdicts, const char *name);
int verdicts_put_policy(struct verdicts *verdicts, const struct policy *policy);
void verdicts_remove_policy(struct verdicts *verdicts, const char *kind, const char *namespace, const char *name);
int verdicts_put_set(struct verdicts *verdicts, const struct network_set *set);
void verdicts_remove_set(struct verdicts *verdicts, const char *namespace, const char *name);
int verdicts_put_endpoint(struct verdicts *verdicts, const struct endpoint *endpoint);
void verdicts_remove_endpoint(struct verdicts *verdicts, const char *namespace, const char *name);
int verdicts_put_namespace(struct verdicts *verdicts, const char *name, const struct labels *labels);
void verdicts_remove_namespace(struct verdicts *verdicts, const char *name);
int verdicts_put_service_account(struct verdicts *verdicts, const char *namespace, const char *name, const struct labels *labels);
void verdicts_remove_service_account(struct verdicts *verdicts, const char *namespace, const char *name);

/* As peers under their addresses, those of all nodes. */
int verdicts_put_host(struct verdicts *verdicts, const struct host_endpoint *host);
void verdicts_remove_host(struct verdicts *verdicts, const char *name); /* detached, too */

/* A node's addresses: wherever a prefix holds the first of them of a family, the others of that family count as held, too:
 * tunnel addresses are the node (DESIGN.md decision 4). own: this node. Copied. */
int verdicts_put_node(struct verdicts *verdicts, const char *name, bool own, const struct addr *addrs, size_t count);
void verdicts_remove_node(struct verdicts *verdicts, const char *name);

/* Backends of a Service, all slices of it together. Copied. count 0: it has none (any more). */
struct verdict_backend {
	struct addr addr;
	uint8_t protocol;
	uint16_t port; /* host order */
};
int verdicts_set_backends(struct verdicts *verdicts, const char *namespace, const char *service,
	const struct verdict_backend *backends, size_t count);

/* Ranges of pods' addresses, to which nothing is translated (POLICY_ADDRESS_FINAL). Copied. */
int verdicts_set_ranges(struct verdicts *verdicts, const struct prefix *ranges, size_t count);

/* -- attached endpoints -- */

/* May come before the endpoint itself is known: until then both its tables deny everything. addr: what the pod has in
 * fact; an endpoint that says other addresses is matched by these. */
int verdicts_attach(struct verdicts *verdicts, const char *namespace, const char *name, const struct addr addr[FAMILY_COUNT]);
void verdicts_detach(struct verdicts *verdicts, const char *namespace, const char *name);
/* After verdicts_update. tables of an endpoint, by enum policy_direction. False: not attached. */
bool verdicts_tables(const struct verdicts *verdicts, const char *namespace, const char *name, uint64_t tables[static POLICY_DIRECTION_COUNT]);

/* -- attached host endpoints (reference/calico.md 7.6, 7.10) -- */

enum verdict_traffic {
	VERDICT_LOCAL,     /* of the node itself */
	VERDICT_FORWARD,   /* what the node passes on: policies with applyOnForward alone */
	VERDICT_PRE_DNAT,  /* what comes in, before it is translated: ingress alone */
	VERDICT_UNTRACKED, /* before connections are tracked: every packet, in both directions */
	VERDICT_TRAFFIC_COUNT
};
/* -ENOENT: it is not known. */
int verdicts_attach_host(struct verdicts *verdicts, const char *name);
void verdicts_detach_host(struct verdicts *verdicts, const char *name);
struct verdict_host_tables {
	uint64_t tables[VERDICT_TRAFFIC_COUNT][POLICY_DIRECTION_COUNT]; /* 0: nothing is said; passes, or is left to what follows */
	/* A rule asks for addresses of the host endpoint's own side, of which this traffic has more than one: its policy denies in
	 * that direction. The first such policy, or null. */
	const struct policy *unsettled;
};
/* After verdicts_update. False: not attached. */
bool verdicts_host_tables(const struct verdicts *verdicts, const char *name, struct verdict_host_tables *ret);

/* -- tables -- */

/* The values of bpf/policy_layout.h, which plan/ does not see; plane/ asserts that they are the same. */
enum verdict_address_flag {
	VERDICT_ADDRESS_OWN = 1,   /* POLICY_ADDRESS_OWN */
	VERDICT_ADDRESS_FINAL = 2, /* POLICY_ADDRESS_FINAL */
	/* A peer of no rule, unlike what holds it ("except"): means nothing to the kernel, but an entry says something. */
	VERDICT_ADDRESS_NOBODY = 4,
};
enum verdict_bit {
	VERDICT_ALLOW = 1, /* POLICY_VERDICT_ALLOW */
	VERDICT_NEXT = 2,  /* POLICY_VERDICT_NEXT */
	VERDICT_LOG = 4,   /* POLICY_VERDICT_LOG */
	VERDICT_ON = 8,    /* POLICY_VERDICT_ON */
};

struct verdict_address { /* class 0 and flags 0: goes */
	struct prefix prefix;
	uint64_t class;
	uint32_t flags; /* enum verdict_address_flag */
};
struct verdict_pair {
	uint64_t table, class, list;
};
struct verdict_port {
	uint64_t list;
	uint8_t len; /* as struct policy_port: 64, 72, 80 to 96 */
	uint8_t protocol;
	uint16_t port; /* host order */
	uint32_t bits; /* enum verdict_bit */
	uint64_t next;
};
/* To be applied in this order. New: what was not there at the last acknowledged update; stale: what is not needed any more. */
struct verdict_change {
	const struct verdict_port *new_ports;
	size_t new_port_count;
	const struct verdict_pair *new_pairs;
	size_t new_pair_count;
	/* New, changed and gone ones, one after the other: new and changed ones come first, the longest of them first, then those
	 * that are gone, the shortest first. In this order no address is ever matched by what it had neither before nor after. */
	const struct verdict_address *addresses;
	size_t address_count;
	bool endpoints; /* tables of attached endpoints have changed */
	const struct verdict_pair *stale_pairs;
	size_t stale_pair_count;
	const struct verdict_port *stale_ports;
	size_t stale_port_count;
	/* Once this is acknowledged, another update can take away what the tables in force so far needed. It is right
	 * without, too, and whatever comes next does it. */
	bool more;
};
/* Computes what is due. Borrowed until the next call. 0; -EEXIST: two contents have one number, which err names; what is
 * in force should stay. */
int verdicts_update(struct verdicts *verdicts, struct verdict_change *ret, struct err *err);
/* The kernel has it: the next update starts from here. Otherwise the next one says all of it again. */
void verdicts_acknowledge(struct verdicts *verdicts);
/* All that there is now, in key order: for a kernel whose content is not known, and for tests. The arrays are the
 * caller's to free. */
struct verdict_tables {
	struct verdict_address *addresses;
	size_t address_count;
	struct verdict_pair *pairs;
	size_t pair_count;
	struct verdict_port *ports;
	size_t port_count;
};
int verdicts_all(const struct verdicts *verdicts, struct verdict_tables *ret);
void verdict_tables_done(struct verdict_tables *tables);

/* -- judgement -- */

struct verdict_flow {
	struct addr src, dst; /* after translation */
	uint8_t protocol;
	uint16_t sport, dport; /* host order; ICMP: dport is type << 8 | code */
};
/* By the tables, exactly as the kernel does it: may this flow pass this side? Neither the node's own exemption nor traffic of
 * a pod to itself is looked at. False also when the endpoint is not attached. */
bool verdicts_allow(const struct verdicts *verdicts, const char *namespace, const char *name, enum policy_direction direction,
	const struct verdict_flow *flow);

/* The same for a host endpoint; failsafe ports are not looked at. VERDICT_LEFT: before translation or tracking, no policy has decided. */
enum verdict_answer { VERDICT_DENIED, VERDICT_ALLOWED, VERDICT_LEFT };
enum verdict_answer verdicts_judge_host(const struct verdicts *verdicts, const char *name, enum verdict_traffic traffic,
	enum policy_direction direction, const struct verdict_flow *flow);

/* What decides, by walking the rules themselves. Borrowed. */
enum verdict_reason {
	VERDICT_RULE,     /* rule of policy */
	VERDICT_TIER_END, /* no rule of tier's policies, one of which applies: its default */
	VERDICT_OPEN,     /* no policy applies */
	VERDICT_PASSED,   /* policies apply, and all tiers let it through to the profile, which allows */
	VERDICT_TROUBLE,  /* policy could not be understood */
	VERDICT_UNKNOWN,  /* the endpoint is not known */
	VERDICT_PROFILE,  /* of a host endpoint: no tier decides, and it has no profile that allows */
	VERDICT_UNDECIDED, /* VERDICT_LEFT */
	VERDICT_SAFE,      /* a failsafe port of a host endpoint */
};
struct verdict_why {
	bool allow;
	enum verdict_reason reason;
	const struct tier *tier;
	const struct policy *policy; /* with VERDICT_TIER_END: the first one that applies */
	const struct policy_rule *rule;
	const struct host_endpoint *host; /* whose policies were asked; null: an endpoint's */
};
void verdicts_why(const struct verdicts *verdicts, const char *namespace, const char *name, enum policy_direction direction,
	const struct verdict_flow *flow, struct verdict_why *ret);
/* Which of two policies of one tier comes first: below 0, a. */
int verdicts_compare(const struct policy *a, const struct policy *b);
/* The policies of a tier that apply to an endpoint in this direction, in order: at most max of them into ret, borrowed. Returns
 * how many there are. */
size_t verdicts_applied(const struct verdicts *verdicts, const char *namespace, const char *name, enum policy_direction direction,
	const char *tier, const struct policy **ret, size_t max);
/* Whose node's address it is, and a set that holds it; borrowed, or null. */
const char *verdicts_node_at(const struct verdicts *verdicts, const struct addr *addr);
const struct network_set *verdicts_set_at(const struct verdicts *verdicts, const struct addr *addr);
void verdicts_why_host(const struct verdicts *verdicts, const char *name, enum verdict_traffic traffic,
	enum policy_direction direction, const struct verdict_flow *flow, struct verdict_why *ret);
/* A packet that crosses an interface of a node, by all that its host endpoint says: failsafe ports, and every kind of traffic in
 * its turn. */
struct verdict_crossing {
	const struct host_endpoint *host; /* that was put in */
	enum policy_direction direction;  /* into the node, or out of it */
	bool forwarded;                   /* to or from somebody else than the node itself */
	const struct failsafes *safe;     /* of this direction */
};
bool verdicts_crosses(const struct verdicts *verdicts, const struct verdict_crossing *crossing, const struct verdict_flow *flow);
void verdicts_why_crossing(const struct verdicts *verdicts, const struct verdict_crossing *crossing, const struct verdict_flow *flow,
	struct verdict_why *ret);
/* Who lives there: "namespace/name" of an endpoint (several share an address only while one is leaving), or null. */
const struct endpoint *verdicts_endpoint_at(const struct verdicts *verdicts, const struct addr *addr);

/* For metrics and bench. */
struct verdict_stats {
	size_t policies, applied, endpoints, attached, peers, classes, tables, lists, pairs, ports, addresses;
};
void verdicts_get_stats(const struct verdicts *verdicts, struct verdict_stats *ret);
