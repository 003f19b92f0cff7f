/* SPDX-License-Identifier: Apache-2.0
 *
 * What the parsers of policies have in common: a policy under construction that is made to deny where it cannot be
 * understood, rules and what they are made of, Kubernetes' label selectors as text of Calico's grammar. Used by
 * policy_*.c only.
 *
 * Functions return 0, -EINVAL with a story in the place's err, or -ENOMEM.
 */
#pragma once

#include "base/buf.h"
#include "resources/policy.h"
#include "resources/read.h"

struct policy_reader {
	struct calico_at at;   /* the whole object */
	struct err story;      /* where every place of the object tells what is wrong */
	struct policy *policy; /* with kind, namespace and name */
	bool unsure;           /* which directions it has: both, then */
};

struct policy_source {
	const char *kind; /* as in struct policy */
	bool namespaced;
};

/* The policy is freed by policy_reader_done unless it was taken. */
int policy_reader_begin(struct policy_reader *r, const json_t *object, const struct policy_source *source,
	const struct calico_remarks *remarks, struct err *err);
void policy_reader_done(struct policy_reader *r);
/* Settles types and selector, and hands the policy over; rc: of what was read. */
int policy_reader_end(struct policy_reader *r, int rc, struct policy **ret, struct err *err);

/* With rc -EINVAL the policy denies in this direction, or with POLICY_DIRECTION_COUNT in all that it has, the story becomes
 * its trouble, and 0 is returned; any other rc goes through. */
int policy_refuse(struct policy_reader *r, enum policy_direction direction, int rc);
/* Are all members of the place among names, which end with null? */
int policy_check_members(const struct calico_at *at, const char *const *names);
/* Members that are none of names are refused, and so is a spec that is no object; ret is empty then. */
int policy_enter_spec(struct policy_reader *r, const char *const *names, struct calico_at *ret);

/* Each element of the list under key, which is an object with these members, is given to read(). What one of them says
 * wrong costs the whole direction. */
typedef int (*policy_rule_reader)(struct policy_reader *r, const struct calico_at *rule, enum policy_direction direction);
struct policy_rules_form {
	const char *key;
	const char *const *members;
	policy_rule_reader read;
};
int policy_read_rules(struct policy_reader *r, const struct calico_at *spec, enum policy_direction direction,
	const struct policy_rules_form *form);
/* Not there, null or without elements; what is no list is not empty. */
bool policy_list_is_empty(const struct calico_at *at, const char *key);
/* The list under key as types; 1 when it says any, 0 when not. One that cannot be understood is refused, as both. */
int policy_read_types(struct policy_reader *r, const struct calico_at *spec, const char *key);

/* -- parts; null: no memory. Pointers last until the next one is added. -- */

/* at: its place, whose path becomes its name; name: what people called it, or null. */
struct policy_rule *policy_add_rule(struct policy_reader *r, const struct calico_at *at, enum policy_direction direction,
	const char *name);
struct policy_term *policy_add_term(struct policy_entity *entity);
struct policy_ports *policy_add_ports(struct policy_ports **ports, size_t *count);
int policy_add_net(const struct calico_at *at, struct prefix **nets, size_t *count, const struct prefix *net);
/* The other end of what a rule is about. */
struct policy_entity *policy_peer(struct policy_rule *rule, enum policy_direction direction);

/* -- selectors -- */

/* Appends ' && term' for each term of the LabelSelector at the place; prefix: before every label, "" or "pcns.". */
int policy_add_label_selector(const struct calico_at *at, const char *prefix, struct buf *text);
int policy_add_namespace(const char *namespace, struct buf *text);
#define POLICY_PODS "projectcalico.org/orchestrator == 'k8s'"
int policy_make_selector(const struct calico_at *at, const struct buf *text, struct selector **ret);

/* Letters, digits, "-", with a letter: RFC 6335 as Kubernetes has it. */
bool policy_port_name_is_good(const char *name);
