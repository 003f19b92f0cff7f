/* SPDX-License-Identifier: Apache-2.0
 *
 * Policies, whatever they were written as: Kubernetes NetworkPolicy, ClusterNetworkPolicy, Calico's NetworkPolicy and
 * GlobalNetworkPolicy (reference/calico.md 7). Parsers (src/resources/policy_*.c) make them, the verdict engine
 * (plan/verdict.h) reads them. Immutable once published.
 *
 * Selectors are whole: what a policy's or a rule's namespace, service account and kind add (7.1, 7.3) is part of their text.
 * They look at an endpoint's labels as model/endpoint.h shows them: "pcns." and "pcsa." are inherited.
 */
#pragma once

#include "base/addr.h"
#include "model/selector.h"

enum policy_action { POLICY_ALLOW, POLICY_DENY, POLICY_PASS, POLICY_LOG };
enum policy_direction { POLICY_INGRESS, POLICY_EGRESS, POLICY_DIRECTION_COUNT };
enum policy_sense { POLICY_ANY, POLICY_IS, POLICY_IS_NOT };

/* Ports of TCP, UDP, SCTP, UDPLite: a range, or a name that endpoints give to one of theirs. */
struct policy_ports {
	uint16_t first, last; /* host order, both included; with a name unused */
	char *name;           /* null: the range */
};

/* All that is said must hold. A term that says nothing matches every address. */
struct policy_term {
	struct prefix *nets; /* in any of them; none: anywhere */
	size_t net_count;
	struct prefix *not_nets; /* in none of them */
	size_t not_net_count;
	struct selector *selector;     /* an endpoint, or a member of a set, that it selects; null: not asked */
	struct selector *not_selector; /* no endpoint or set's member that it selects: addresses of nobody pass; null: not asked */
	char *service_namespace, *service_name; /* a backend of this Service; null: not asked. At the destination its port counts, too */
};

struct policy_entity {
	struct policy_term *terms; /* any of them; none: every address */
	size_t term_count;
	struct policy_ports *ports; /* any of them; none: every port, and protocols without ports */
	size_t port_count;
	struct policy_ports *not_ports; /* none of them */
	size_t not_port_count;
};

struct policy_icmp {
	enum policy_sense sense;
	uint8_t type;
	int16_t code; /* -1: any */
};

struct policy_rule {
	char *name; /* for people: "ingress[2]", with the name that it was given; never null */
	enum policy_action action;
	int family; /* AF_INET, AF_INET6; 0: both */
	enum policy_sense protocol_sense;
	uint8_t protocol;        /* IPPROTO_*; with ports the rule's protocol has ports and its sense is POLICY_IS */
	struct policy_icmp icmp[2]; /* "icmp" and "notICMP"; each POLICY_ANY, POLICY_IS or POLICY_IS_NOT */
	struct policy_entity source, destination;
};

struct policy {
	char *kind;      /* "NetworkPolicy", "ClusterNetworkPolicy", "CalicoNetworkPolicy", "GlobalNetworkPolicy" */
	char *namespace; /* null: none */
	char *name, *tier;
	double order; /* HUGE_VAL: last of its tier; -HUGE_VAL: first, because what it says could not be understood */
	struct selector *selector; /* the endpoints that it applies to; never null */
	bool types[POLICY_DIRECTION_COUNT];
	struct policy_rule *rules[POLICY_DIRECTION_COUNT];
	size_t rule_count[POLICY_DIRECTION_COUNT];
	/* Something in it could not be understood: in this direction it denies all that it selects, whatever its rules say.
	 * trouble says what, for conditions, Events and metrics; null: all is well. A selector that cannot be understood is
	 * all() of the policy's namespace. */
	bool denies[POLICY_DIRECTION_COUNT];
	char *trouble;
	bool staged; /* evaluated for people, never enforced */
	/* Host endpoints. */
	bool do_not_track, pre_dnat, apply_on_forward;
};

struct tier {
	char *name;
	double order; /* HUGE_VAL: last */
	bool default_pass; /* what no policy of it decides goes on to the next tier, instead of being denied */
};

/* Calico's NetworkSet and GlobalNetworkSet: prefixes with labels. */
struct network_set {
	char *namespace; /* null: global */
	char *name;
	struct labels *labels; /* never null */
	struct prefix *nets;   /* sorted, each once */
	size_t net_count;
};

/* Tiers that are there without an object: "default", "kube-admin", "kube-baseline" (reference/calico.md 2.7). Constants;
 * null: none of that name. */
const struct tier *tier_builtin(const char *name);

void policy_free(struct policy **policy);
bool policy_equal(const struct policy *a, const struct policy *b);
void policy_rule_done(struct policy_rule *rule); /* what it holds, not itself */
bool policy_rule_equal(const struct policy_rule *a, const struct policy_rule *b);
void tier_free(struct tier **tier);
bool tier_equal(const struct tier *a, const struct tier *b);
void network_set_free(struct network_set **set);
bool network_set_equal(const struct network_set *a, const struct network_set *b);
