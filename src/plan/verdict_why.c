/* SPDX-License-Identifier: Apache-2.0
 *
 * The judgement as the documents tell it, from the objects themselves: slow, for people, and for tests to compare with.
 */
#include "plan/verdict_internal.h"

#include <netinet/in.h>

/* -- who lives at an address -- */

static const struct member *members_at(const struct verdicts *v, const struct addr *addr)
{
	const struct spot *spot = verdict_host_find(v, addr);

	return spot ? spot->member : NULL;
}

static const struct member *beside(const struct member *member, const struct addr *addr)
{
	return member->beside[family_index(addr_family(addr))];
}

/* The first address of the node that has this one as another; null: none has. */
static const struct addr *first_of_node(const struct verdicts *v, const struct addr *addr, const struct node_record **node)
{
	for (*node = *node ? (*node)->hh.next : v->nodes; *node; *node = (*node)->hh.next) {
		const struct addr *first = verdict_node_first(*node, addr_family(addr));

		for (size_t i = 0; i < (*node)->addr_count; i++)
			if (addr_equal(&(*node)->addrs[i], addr) && first && !addr_equal(first, addr))
				return first;
	}
	return NULL;
}

static bool prefixes_hold(const struct prefix *prefixes, size_t count, const struct addr *addr)
{
	for (size_t i = 0; i < count; i++) {
		struct net net = verdict_net(&prefixes[i]);

		if (verdict_net_holds(&net, addr))
			return true;
	}
	return false;
}

static bool nets_hold(const struct verdicts *v, const struct prefix *prefixes, size_t count, const struct addr *addr)
{
	const struct node_record *node = NULL;
	const struct addr *first;

	if (prefixes_hold(prefixes, count, addr))
		return true;
	while ((first = first_of_node(v, addr, &node)))
		if (prefixes_hold(prefixes, count, first))
			return true;
	return false;
}

static bool selects_address(const struct verdicts *v, const struct selector *selector, const struct addr *addr)
{
	for (const struct member *m = members_at(v, addr); m; m = beside(m, addr))
		if (verdict_selects(v, selector, m->endpoint))
			return true;
	for (const struct set_record *s = v->sets; s; s = s->hh.next)
		if (nets_hold(v, s->set->nets, s->set->net_count, addr) && verdict_selects_set(v, selector, s->set))
			return true;
	return false;
}

static const struct service_record *service_of(const struct verdicts *v, const struct policy_term *term)
{
	char *key = verdict_key(term->service_namespace, term->service_name);
	const struct service_record *service;

	HASH_FIND_STR(v->services, key, service);
	free(key);
	return service;
}

void verdict_backend_ports(const struct verdicts *v, const struct policy_term *term, const struct addr *addr,
	struct port_set *ports)
{
	const struct service_record *service = service_of(v, term);

	for (size_t i = 0; service && i < service->backend_count; i++) {
		const struct verdict_backend *b = &service->backends[i];

		if (addr_equal(&b->addr, addr))
			verdict_ports_add(ports, b->protocol, b->port, b->port);
	}
}

static bool is_backend(const struct verdicts *v, const struct policy_term *term, const struct addr *addr)
{
	struct port_set ports = {0};

	verdict_backend_ports(v, term, addr, &ports);
	free(ports.ranges);
	return ports.count > 0;
}

bool verdict_term_holds(const struct verdicts *v, const struct policy_term *term, const struct addr *addr)
{
	if (term->net_count && !nets_hold(v, term->nets, term->net_count, addr))
		return false;
	if (nets_hold(v, term->not_nets, term->not_net_count, addr))
		return false;
	if (term->selector && !selects_address(v, term->selector, addr))
		return false;
	if (term->not_selector && selects_address(v, term->not_selector, addr))
		return false;
	return !term->service_name || is_backend(v, term, addr);
}

/* -- ports -- */

static bool range_holds(const struct policy_ports *ports, uint16_t port)
{
	return !ports->name && ports->first <= port && port <= ports->last;
}

static bool shape_names(const struct endpoint_shape *shape, const char *name, uint8_t protocol, uint16_t port)
{
	for (size_t i = 0; i < shape->port_count; i++)
		if (shape->ports[i].protocol == protocol && shape->ports[i].port == port &&
			strcmp(shape->ports[i].name, name) == 0)
			return true;
	return false;
}

bool verdict_means(const struct verdicts *v, const struct policy_entity *entity, const struct addr *addr,
	const struct endpoint *endpoint)
{
	for (size_t i = 0; i < entity->term_count; i++) {
		const struct policy_term *term = &entity->terms[i];

		if (verdict_term_holds(v, term, addr) && (!term->selector || verdict_selects(v, term->selector, endpoint)))
			return true;
	}
	return !entity->term_count;
}

static bool name_holds(const struct verdicts *v, const struct policy_entity *entity, const char *name, const struct addr *addr,
	uint8_t protocol, uint16_t port)
{
	for (const struct member *m = members_at(v, addr); m; m = beside(m, addr))
		if (verdict_means(v, entity, addr, m->endpoint) && shape_names(m->endpoint->shape, name, protocol, port))
			return true;
	return false;
}

struct side {
	const struct policy_entity *entity;
	const struct addr *addr;
	const struct endpoint *own; /* null: the remote side */
	uint16_t port;
	bool destination;
};

static bool any_port(const struct verdicts *v, const struct side *side, const struct policy_ports *ports, size_t count,
	uint8_t protocol)
{
	for (size_t i = 0; i < count; i++) {
		if (range_holds(&ports[i], side->port))
			return true;
		if (!ports[i].name)
			continue;
		if (side->own ? verdict_means(v, side->entity, side->addr, side->own) &&
					shape_names(side->own->shape, ports[i].name, protocol, side->port)
			      : name_holds(v, side->entity, ports[i].name, side->addr, protocol, side->port))
			return true;
	}
	return false;
}

static bool ports_hold(const struct verdicts *v, const struct side *side, uint8_t protocol)
{
	const struct policy_entity *entity = side->entity;

	if ((entity->port_count || entity->not_port_count) && !verdict_has_ports(protocol))
		return false;
	if (entity->port_count && !any_port(v, side, entity->ports, entity->port_count, protocol))
		return false;
	return !any_port(v, side, entity->not_ports, entity->not_port_count, protocol);
}

static bool term_and_port_hold(const struct verdicts *v, const struct side *side, const struct policy_term *term,
	uint8_t protocol)
{
	struct port_set ports = {0};
	bool holds;

	if (!verdict_term_holds(v, term, side->addr))
		return false;
	if (!term->service_name || !side->destination)
		return true;
	verdict_backend_ports(v, term, side->addr, &ports);
	holds = verdict_ports_hold(&ports, protocol, side->port);
	free(ports.ranges);
	return holds;
}

static bool side_holds(const struct verdicts *v, const struct side *side, uint8_t protocol)
{
	bool holds = !side->entity->term_count;

	for (size_t i = 0; i < side->entity->term_count && !holds; i++)
		holds = term_and_port_hold(v, side, &side->entity->terms[i], protocol);
	return holds && ports_hold(v, side, protocol);
}

/* -- rules -- */

static bool icmp_holds(const struct policy_icmp *icmp, const struct verdict_flow *flow)
{
	bool is_icmp = flow->protocol == IPPROTO_ICMP || flow->protocol == IPPROTO_ICMPV6;
	bool is = is_icmp && flow->dport >> 8 == icmp->type && (icmp->code < 0 || (flow->dport & 255) == icmp->code);

	return icmp->sense == POLICY_ANY || (icmp->sense == POLICY_IS) == is;
}

static bool rule_holds(const struct verdicts *v, const struct policy_rule *rule, const struct endpoint *own,
	enum policy_direction direction, const struct verdict_flow *flow)
{
	bool ingress = direction == POLICY_INGRESS;
	struct side src = {&rule->source, &flow->src, ingress ? NULL : own, flow->sport, false};
	struct side dst = {&rule->destination, &flow->dst, ingress ? own : NULL, flow->dport, true};

	if (rule->family && rule->family != addr_family(ingress ? &flow->src : &flow->dst))
		return false;
	if (rule->protocol_sense != POLICY_ANY && (rule->protocol_sense == POLICY_IS) != (rule->protocol == flow->protocol))
		return false;
	return icmp_holds(&rule->icmp[0], flow) && icmp_holds(&rule->icmp[1], flow) && side_holds(v, &src, flow->protocol) &&
	       side_holds(v, &dst, flow->protocol);
}

/* What a policy's rules say. False: nothing, or Pass. */
static bool judge_policy(const struct verdicts *v, const struct policy *policy, const struct endpoint *own,
	enum policy_direction direction, const struct verdict_flow *flow, bool *ret_pass, struct verdict_why *ret)
{
	if (policy->denies[direction]) {
		ret->reason = VERDICT_TROUBLE;
		ret->allow = false;
		ret->policy = policy;
		return true;
	}
	for (size_t i = 0; i < policy->rule_count[direction]; i++) {
		const struct policy_rule *rule = &policy->rules[direction][i];

		if (rule->action == POLICY_LOG || !rule_holds(v, rule, own, direction, flow))
			continue;
		if (rule->action == POLICY_PASS) {
			*ret_pass = true;
			return false;
		}
		*ret = (struct verdict_why){rule->action == POLICY_ALLOW, VERDICT_RULE, ret->tier, policy, rule};
		return true;
	}
	return false;
}

/* What is judged: an endpoint, in a scope. */
struct subject {
	const struct endpoint *own;
	enum scope scope;
	const struct host_record *host; /* null: a pod */
};

static bool is_unsettled(const struct verdicts *v, const struct subject *subject, const struct policy *policy,
	enum policy_direction direction)
{
	return subject->host && verdict_is_unsettled(v, policy, subject->scope, subject->host, direction);
}

static void end_of_tiers(enum table_end end, bool any, struct verdict_why *ret)
{
	static const enum verdict_reason reasons[] = {[END_ALLOW] = VERDICT_PASSED, [END_DENY] = VERDICT_PROFILE,
		[END_LEFT] = VERDICT_UNDECIDED};

	*ret = (struct verdict_why){.allow = end == END_ALLOW, .reason = end == END_ALLOW && !any ? VERDICT_OPEN : reasons[end]};
}

static void judge(const struct verdicts *v, struct policy_record *const *policies, size_t count, const struct subject *subject,
	enum policy_direction direction, const struct verdict_flow *flow, struct verdict_why *ret)
{
	enum table_end table_end = verdict_end(subject->scope, subject->host ? subject->host->host : NULL);

	for (size_t i = 0, end; i < count; i = end) {
		bool pass = false, missing;
		const struct tier *tier = verdict_tier(v, policies[i]->policy->tier, &missing);

		ret->tier = tier;
		for (end = i; end < count && verdict_same_tier(policies[i]->policy, policies[end]->policy); end++) {
			const struct policy *policy = policies[end]->policy;

			if (!pass && is_unsettled(v, subject, policy, direction)) {
				*ret = (struct verdict_why){false, VERDICT_TROUBLE, tier, policy, NULL};
				return;
			}
			if (!pass && judge_policy(v, policy, subject->own, direction, flow, &pass, ret))
				return;
		}
		if (!pass && table_end != END_LEFT && (!tier || !tier->default_pass)) {
			*ret = (struct verdict_why){false, VERDICT_TIER_END, tier, policies[i]->policy, NULL};
			return;
		}
	}
	end_of_tiers(table_end, count, ret);
}

/* What applies to it, in order. The caller frees it. */
static struct policy_record **ordered_for(const struct verdicts *v, const struct subject *subject, enum policy_direction direction,
	size_t *ret_count)
{
	struct policy_record **policies = verdict_need(calloc(HASH_COUNT(v->policies) + 1, sizeof(*policies))), **ordered;
	struct endpoint_labels labels = verdict_labels(v, subject->own);
	size_t count = 0;

	for (struct policy_record *p = v->policies; p; p = p->hh.next)
		if (verdict_applies(p->policy, subject->scope, &labels))
			policies[count++] = p;
	ordered = verdict_ordered(v, policies, count, direction, ret_count);
	free(policies);
	return ordered;
}

static void why(const struct verdicts *v, const struct subject *subject, enum policy_direction direction,
	const struct verdict_flow *flow, struct verdict_why *ret)
{
	size_t count;
	struct policy_record **ordered = ordered_for(v, subject, direction, &count);

	judge(v, ordered, count, subject, direction, flow, ret);
	free(ordered);
}

void verdicts_why(const struct verdicts *v, const char *namespace, const char *name, enum policy_direction direction,
	const struct verdict_flow *flow, struct verdict_why *ret)
{
	const struct member *m = verdict_member_find(v, namespace, name);

	*ret = (struct verdict_why){.reason = VERDICT_UNKNOWN};
	if (m)
		why(v, &(struct subject){.own = m->endpoint}, direction, flow, ret);
}

void verdicts_why_host(const struct verdicts *v, const char *name, enum verdict_traffic traffic,
	enum policy_direction direction, const struct verdict_flow *flow, struct verdict_why *ret)
{
	const struct host_record *host;

	HASH_FIND_STR(v->hosts, name, host);
	*ret = (struct verdict_why){.reason = VERDICT_UNKNOWN};
	if (host)
		why(v, &(struct subject){host->faces[0], verdict_scope(traffic), host}, direction, flow, ret);
	if (host)
		ret->host = host->host;
}

size_t verdicts_applied(const struct verdicts *v, const char *namespace, const char *name, enum policy_direction direction,
	const char *tier, const struct policy **ret, size_t max)
{
	const struct member *m = verdict_member_find(v, namespace, name);
	struct policy_record **ordered;
	size_t count, found = 0;

	if (!m)
		return 0;
	ordered = ordered_for(v, &(struct subject){.own = m->endpoint}, direction, &count);
	for (size_t i = 0; i < count; i++)
		if (strcmp(ordered[i]->policy->tier, tier) == 0 && found++ < max)
			ret[found - 1] = ordered[i]->policy;
	free(ordered);
	return found;
}

const char *verdicts_node_at(const struct verdicts *v, const struct addr *addr)
{
	for (const struct node_record *node = v->nodes; node; node = node->hh.next)
		for (size_t i = 0; i < node->addr_count; i++)
			if (addr_equal(&node->addrs[i], addr))
				return node->name;
	return NULL;
}

const struct network_set *verdicts_set_at(const struct verdicts *v, const struct addr *addr)
{
	for (const struct set_record *s = v->sets; s; s = s->hh.next)
		if (prefixes_hold(s->set->nets, s->set->net_count, addr))
			return s->set;
	return NULL;
}
