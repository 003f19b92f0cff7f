/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/policy_lint.h"

#include <netinet/in.h>
#include <string.h>

/* -- does one rule match whatever another does? -- */

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_selector(const struct selector *a, const struct selector *b)
{
	return a && b ? selector_equal(a, b) : a == b;
}

static bool inside(const struct prefix *net, const struct prefix *nets, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (prefix_contains_prefix(&nets[i], net))
			return true;
	return false;
}

static bool all_inside(const struct prefix *inner, size_t inner_count, const struct prefix *outer, size_t outer_count)
{
	for (size_t i = 0; i < inner_count; i++)
		if (!inside(&inner[i], outer, outer_count))
			return false;
	return true;
}

/* Of a label that inner must have, outer asks for another value. */
static bool contradicts(const struct selector *inner, const char *outer_key, const char *outer_value)
{
	const char *key, *value;

	for (size_t i = 0; selector_requires(inner, i, &key, &value); i++)
		if (strcmp(key, outer_key) == 0 && strcmp(value, outer_value) != 0)
			return true;
	return false;
}

bool lint_selects_more(const struct selector *outer, const struct selector *inner)
{
	const char *key, *value;

	if (!outer || !inner)
		return false;
	/* Most of two that have nothing in common are told apart by this, a proof takes long. */
	for (size_t i = 0; selector_requires(outer, i, &key, &value); i++)
		if (contradicts(inner, key, value))
			return false;
	return selector_covers(outer, inner);
}

static bool term_covers(const struct policy_term *a, const struct policy_term *b)
{
	if (a->selector && !lint_selects_more(a->selector, b->selector))
		return false;
	/* What a leaves out, b leaves out too. */
	if (a->not_selector && !lint_selects_more(b->not_selector, a->not_selector))
		return false;
	if (a->service_name && (!same_text(a->service_name, b->service_name) || !same_text(a->service_namespace, b->service_namespace)))
		return false;
	if (a->net_count && (!b->net_count || !all_inside(b->nets, b->net_count, a->nets, a->net_count)))
		return false;
	return all_inside(a->not_nets, a->not_net_count, b->not_nets, b->not_net_count);
}

static bool terms_cover(const struct policy_entity *a, const struct policy_entity *b)
{
	if (a->term_count == 0)
		return true;
	if (b->term_count == 0)
		return false;
	for (size_t i = 0; i < b->term_count; i++) {
		bool covered = false;

		for (size_t j = 0; j < a->term_count && !covered; j++)
			covered = term_covers(&a->terms[j], &b->terms[i]);
		if (!covered)
			return false;
	}
	return true;
}

static bool port_among(const struct policy_ports *port, const struct policy_ports *ports, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (port->name ? same_text(port->name, ports[i].name)
			       : !ports[i].name && ports[i].first <= port->first && port->last <= ports[i].last)
			return true;
	return false;
}

static bool ports_among(const struct policy_ports *inner, size_t inner_count, const struct policy_ports *outer, size_t outer_count)
{
	for (size_t i = 0; i < inner_count; i++)
		if (!port_among(&inner[i], outer, outer_count))
			return false;
	return true;
}

/* What a name means depends on whom the entity is about: what is left out by a name can be compared only where nobody is named. */
static bool leaves_out_by_name(const struct policy_entity *entity)
{
	for (size_t i = 0; i < entity->not_port_count; i++)
		if (entity->not_ports[i].name)
			return true;
	return false;
}

static bool entity_ports_cover(const struct policy_entity *a, const struct policy_entity *b)
{
	if (a->port_count && (!b->port_count || !ports_among(b->ports, b->port_count, a->ports, a->port_count)))
		return false;
	if (leaves_out_by_name(a) && (a->term_count || b->term_count))
		return false;
	return ports_among(a->not_ports, a->not_port_count, b->not_ports, b->not_port_count);
}

static bool icmp_covers(const struct policy_icmp *a, const struct policy_icmp *b)
{
	return a->sense == POLICY_ANY || (a->sense == b->sense && a->type == b->type && a->code == b->code);
}

static bool protocol_covers(const struct policy_rule *a, const struct policy_rule *b)
{
	if (a->protocol_sense == POLICY_IS_NOT && b->protocol_sense == POLICY_IS)
		return a->protocol != b->protocol;
	return a->protocol_sense == POLICY_ANY || (a->protocol_sense == b->protocol_sense && a->protocol == b->protocol);
}

bool lint_rule_covers(const struct policy_rule *a, const struct policy_rule *b)
{
	return (a->family == 0 || a->family == b->family) && protocol_covers(a, b) &&
	       icmp_covers(&a->icmp[0], &b->icmp[0]) && icmp_covers(&a->icmp[1], &b->icmp[1]) &&
	       entity_ports_cover(&a->source, &b->source) && entity_ports_cover(&a->destination, &b->destination) &&
	       terms_cover(&a->source, &b->source) && terms_cover(&a->destination, &b->destination);
}

static bool entity_says_nothing(const struct policy_entity *entity)
{
	return !entity->term_count && !entity->port_count && !entity->not_port_count;
}

bool lint_rule_is_unconditional(const struct policy_rule *rule)
{
	return !rule->family && rule->protocol_sense == POLICY_ANY && rule->icmp[0].sense == POLICY_ANY &&
	       rule->icmp[1].sense == POLICY_ANY && entity_says_nothing(&rule->source) && entity_says_nothing(&rule->destination);
}

/* -- rules that contradict themselves -- */

static bool other_family(const struct prefix *nets, size_t count, int family)
{
	for (size_t i = 0; i < count; i++)
		if (nets[i].family == family)
			return false;
	return count > 0 && family != 0;
}

static bool term_is_empty(const struct policy_term *term, int family)
{
	if (other_family(term->nets, term->net_count, family))
		return true;
	if (term->net_count && all_inside(term->nets, term->net_count, term->not_nets, term->not_net_count))
		return true;
	return term->selector && same_selector(term->selector, term->not_selector);
}

static bool entity_is_empty(const struct policy_entity *entity, int family)
{
	size_t empty = 0;

	for (size_t i = 0; i < entity->term_count; i++)
		empty += term_is_empty(&entity->terms[i], family);
	return (entity->term_count && empty == entity->term_count) ||
	       (entity->port_count && ports_among(entity->ports, entity->port_count, entity->not_ports, entity->not_port_count));
}

static const char *contradiction(const struct policy_rule *rule)
{
	bool is = rule->protocol_sense == POLICY_IS;

	if (is && rule->protocol == IPPROTO_ICMP && rule->family == AF_INET6)
		return "ICMP is IPv4's, ICMPv6 is the other";
	if (is && rule->protocol == IPPROTO_ICMPV6 && rule->family == AF_INET)
		return "ICMPv6 is IPv6's, ICMP is the other";
	if (entity_is_empty(&rule->source, rule->family))
		return "what its source asks for it excludes, or is of another family";
	if (entity_is_empty(&rule->destination, rule->family))
		return "what its destination asks for it excludes, or is of another family";
	return NULL;
}

/* -- rules behind others -- */

/* A rule for each protocol was one when it was written: they have one name, and what is said holds for all of them. */
size_t lint_rule_end(const struct policy *policy, int d, size_t at)
{
	const struct policy_rule *rules = policy->rules[d];
	size_t end = at + 1;

	while (end < policy->rule_count[d] && strcmp(rules[end].name, rules[at].name) == 0)
		end++;
	return end;
}

static const struct policy_rule *covering(const struct policy_rule *rules, size_t count, const struct policy_rule *rule)
{
	for (size_t i = 0; i < count; i++)
		if (rules[i].action != POLICY_LOG && lint_rule_covers(&rules[i], rule))
			return &rules[i];
	return NULL;
}

const struct policy_rule *lint_covering(const struct policy_rule *rules, size_t count, const struct policy_rule *written, size_t parts)
{
	const struct policy_rule *first = NULL;

	for (size_t i = 0; i < parts; i++) {
		const struct policy_rule *found = covering(rules, count, &written[i]);

		if (!found)
			return NULL;
		first = first ? first : found;
	}
	return first;
}

static const char *common_contradiction(const struct policy_rule *written, size_t parts)
{
	const char *why = NULL;

	for (size_t i = 0; i < parts; i++) {
		why = contradiction(&written[i]);
		if (!why)
			return NULL;
	}
	return why;
}

void lint_rules(struct lint *lint, size_t index)
{
	const struct policy *policy = lint->world->policies[index];

	for (int d = 0; d < POLICY_DIRECTION_COUNT; d++)
		for (size_t at = 0, end; at < policy->rule_count[d]; at = end) {
			const struct policy_rule *rules = policy->rules[d], *before;
			const char *why;

			end = lint_rule_end(policy, d, at);
			why = common_contradiction(&rules[at], end - at);
			before = lint_covering(rules, at, &rules[at], end - at);
			if (why)
				lint_tell(lint, lint->origin[index], policy, rules[at].name, "never-matches", "can never match: %s", why);
			if (before)
				lint_tell(lint, lint->origin[index], policy, rules[at].name, "never-reached",
					"makes no difference: %s, which comes before, matches all of it", before->name);
		}
}

/* -- selectors that select nothing -- */

static const struct labels *owner_labels(const struct policy_owner *owners, size_t count, const char *namespace, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (same_text(owners[i].namespace, namespace) && strcmp(owners[i].name, name) == 0)
			return owners[i].labels;
	return NULL;
}

static bool selects_pod(const struct policy_world *world, const struct selector *selector)
{
	for (size_t i = 0; i < world->endpoint_count; i++) {
		const struct endpoint *endpoint = world->endpoints[i];
		const struct endpoint_labels labels = {
			.endpoint = endpoint,
			.namespace = owner_labels(world->namespaces, world->namespace_count, NULL, endpoint->namespace),
			.service_account = owner_labels(world->accounts, world->account_count, endpoint->namespace, endpoint->service_account),
		};

		if (!endpoint->host_network && selector_matches(selector, endpoint_label, &labels))
			return true;
	}
	return false;
}

struct set_labels {
	const struct network_set *set;
	const struct labels *namespace;
};

/* As an endpoint's (model/endpoint.h). */
static const char *set_label(const void *ctx, const char *key)
{
	const struct set_labels *labels = ctx;

	if (strcmp(key, "projectcalico.org/namespace") == 0 || strcmp(key, "pcns.projectcalico.org/name") == 0)
		return labels->set->namespace;
	return strncmp(key, "pcns.", 5) == 0 ? labels_get(labels->namespace, key + 5) : labels_get(labels->set->labels, key);
}

static bool selects_set(const struct policy_world *world, const struct selector *selector)
{
	for (size_t i = 0; i < world->set_count; i++) {
		const struct network_set *set = world->sets[i];
		const struct set_labels labels = {set,
			set->namespace ? owner_labels(world->namespaces, world->namespace_count, NULL, set->namespace) : NULL};

		if (selector_matches(selector, set_label, &labels))
			return true;
	}
	return false;
}

static void lint_terms(struct lint *lint, size_t index, const struct policy_rule *rule, const struct policy_entity *entity)
{
	for (size_t i = 0; i < entity->term_count; i++) {
		const struct selector *selector = entity->terms[i].selector;

		if (selector && !selects_pod(lint->world, selector) && !selects_set(lint->world, selector))
			lint_tell(lint, lint->origin[index], lint->world->policies[index], rule->name, "selects-nothing",
				"%s selects no pod of these files", selector_text(selector));
	}
}

/* A rule for each protocol was one when it was written. */
static bool is_first(const struct policy_rule *rules, size_t at)
{
	return at == 0 || strcmp(rules[at].name, rules[at - 1].name) != 0;
}

void lint_selectors(struct lint *lint, size_t index)
{
	const struct policy *policy = lint->world->policies[index];

	if (lint->world->endpoint_count == 0)
		return;
	if (!selects_pod(lint->world, policy->selector))
		lint_tell(lint, lint->origin[index], policy, NULL, "selects-nothing", "applies to no pod of these files: %s",
			selector_text(policy->selector));
	for (int d = 0; d < POLICY_DIRECTION_COUNT; d++)
		for (size_t i = 0; i < policy->rule_count[d]; i++) {
			const struct policy_rule *rule = &policy->rules[d][i];

			if (!is_first(policy->rules[d], i))
				continue;
			lint_terms(lint, index, rule, &rule->source);
			lint_terms(lint, index, rule, &rule->destination);
		}
}
