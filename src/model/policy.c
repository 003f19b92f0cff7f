/* SPDX-License-Identifier: Apache-2.0 */
#include "model/policy.h"

#include "base/cleanup.h"
#include "model/equal.h"

/* -- terms and entities -- */

static void term_done(struct policy_term *term)
{
	free(term->nets);
	free(term->not_nets);
	selector_free(&term->selector);
	selector_free(&term->not_selector);
	free(term->service_namespace);
	free(term->service_name);
}

static bool same_term(const struct policy_term *a, const struct policy_term *b)
{
	return prefixes_equal(a->nets, a->net_count, b->nets, b->net_count) &&
	       prefixes_equal(a->not_nets, a->not_net_count, b->not_nets, b->not_net_count) &&
	       selector_equal_or_none(a->selector, b->selector) &&
	       selector_equal_or_none(a->not_selector, b->not_selector) &&
	       text_equal(a->service_namespace, b->service_namespace) && text_equal(a->service_name, b->service_name);
}

static void free_ports(struct policy_ports *ports, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(ports[i].name);
	free(ports);
}

static bool same_ports(const struct policy_ports *a, size_t a_count, const struct policy_ports *b, size_t b_count)
{
	if (a_count != b_count)
		return false;
	for (size_t i = 0; i < a_count; i++)
		if (!text_equal(a[i].name, b[i].name) ||
			(!a[i].name && (a[i].first != b[i].first || a[i].last != b[i].last)))
			return false;
	return true;
}

static void entity_done(struct policy_entity *entity)
{
	for (size_t i = 0; i < entity->term_count; i++)
		term_done(&entity->terms[i]);
	free(entity->terms);
	free_ports(entity->ports, entity->port_count);
	free_ports(entity->not_ports, entity->not_port_count);
}

static bool same_entity(const struct policy_entity *a, const struct policy_entity *b)
{
	if (a->term_count != b->term_count)
		return false;
	for (size_t i = 0; i < a->term_count; i++)
		if (!same_term(&a->terms[i], &b->terms[i]))
			return false;
	return same_ports(a->ports, a->port_count, b->ports, b->port_count) &&
	       same_ports(a->not_ports, a->not_port_count, b->not_ports, b->not_port_count);
}

/* -- rules -- */

void policy_rule_done(struct policy_rule *rule)
{
	free(rule->name);
	entity_done(&rule->source);
	entity_done(&rule->destination);
	*rule = (struct policy_rule){0};
}

static bool same_icmp(const struct policy_icmp *a, const struct policy_icmp *b)
{
	return a->sense == b->sense && (a->sense == POLICY_ANY || (a->type == b->type && a->code == b->code));
}

bool policy_rule_equal(const struct policy_rule *a, const struct policy_rule *b)
{
	return text_equal(a->name, b->name) && a->action == b->action && a->family == b->family &&
	       a->protocol_sense == b->protocol_sense &&
	       (a->protocol_sense == POLICY_ANY || a->protocol == b->protocol) &&
	       same_icmp(&a->icmp[0], &b->icmp[0]) && same_icmp(&a->icmp[1], &b->icmp[1]) &&
	       same_entity(&a->source, &b->source) && same_entity(&a->destination, &b->destination);
}

/* -- policies -- */

void policy_free(struct policy **policy)
{
	struct policy *p = *policy;

	if (!p)
		return;
	for (int d = 0; d < POLICY_DIRECTION_COUNT; d++) {
		for (size_t i = 0; i < p->rule_count[d]; i++)
			policy_rule_done(&p->rules[d][i]);
		free(p->rules[d]);
	}
	free(p->kind);
	free(p->namespace);
	free(p->name);
	free(p->tier);
	selector_free(&p->selector);
	free(p->trouble);
	free(p);
	*policy = NULL;
}

static bool same_direction(const struct policy *a, const struct policy *b, enum policy_direction d)
{
	if (a->types[d] != b->types[d] || a->denies[d] != b->denies[d] || a->rule_count[d] != b->rule_count[d])
		return false;
	for (size_t i = 0; i < a->rule_count[d]; i++)
		if (!policy_rule_equal(&a->rules[d][i], &b->rules[d][i]))
			return false;
	return true;
}

bool policy_equal(const struct policy *a, const struct policy *b)
{
	return text_equal(a->kind, b->kind) && text_equal(a->namespace, b->namespace) && text_equal(a->name, b->name) &&
	       text_equal(a->tier, b->tier) && a->order == b->order &&
	       selector_equal_or_none(a->selector, b->selector) && same_direction(a, b, POLICY_INGRESS) &&
	       same_direction(a, b, POLICY_EGRESS) && text_equal(a->trouble, b->trouble) && a->staged == b->staged &&
	       a->do_not_track == b->do_not_track && a->pre_dnat == b->pre_dnat &&
	       a->apply_on_forward == b->apply_on_forward;
}

/* -- tiers -- */

const struct tier *tier_builtin(const char *name)
{
	static const struct tier tiers[] = {
		{(char *)"kube-admin", 1000, true},
		{(char *)"default", 1000000, false},
		{(char *)"kube-baseline", 10000000, true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(tiers); i++)
		if (strcmp(tiers[i].name, name) == 0)
			return &tiers[i];
	return NULL;
}

void tier_free(struct tier **tier)
{
	if (*tier)
		free((*tier)->name);
	free(*tier);
	*tier = NULL;
}

bool tier_equal(const struct tier *a, const struct tier *b)
{
	return text_equal(a->name, b->name) && a->order == b->order && a->default_pass == b->default_pass;
}

/* -- sets -- */

void network_set_free(struct network_set **set)
{
	struct network_set *s = *set;

	if (!s)
		return;
	free(s->namespace);
	free(s->name);
	labels_free(&s->labels);
	free(s->nets);
	free(s);
	*set = NULL;
}

bool network_set_equal(const struct network_set *a, const struct network_set *b)
{
	return text_equal(a->namespace, b->namespace) && text_equal(a->name, b->name) &&
	       labels_equal(a->labels, b->labels) && prefixes_equal(a->nets, a->net_count, b->nets, b->net_count);
}
