/* SPDX-License-Identifier: Apache-2.0 */
#include "test_policy_text.h"

#include "base/cleanup.h"

#include <math.h>

static const char *const directions[] = {[POLICY_INGRESS] = "ingress", [POLICY_EGRESS] = "egress"};
static const char *const actions[] = {
	[POLICY_ALLOW] = "allow", [POLICY_DENY] = "deny", [POLICY_PASS] = "pass", [POLICY_LOG] = "log",
};

static void add_order(struct buf *out, double order)
{
	if (order == HUGE_VAL)
		buf_add_str(out, " last");
	else
		buf_printf(out, " order %.17g", order);
}

static void add_nets(struct buf *out, const char *word, const struct prefix *nets, size_t count)
{
	char text[PREFIX_TEXT_MAX];

	if (count)
		buf_add_str(out, word);
	for (size_t i = 0; i < count; i++)
		buf_printf(out, " %s", prefix_format(&nets[i], text));
}

static void add_selector(struct buf *out, const char *word, const struct selector *selector)
{
	if (selector)
		buf_printf(out, "%s %s", word, selector_text(selector));
}

static void add_ports(struct buf *out, const char *word, const struct policy_ports *ports, size_t count)
{
	if (count)
		buf_add_str(out, word);
	for (size_t i = 0; i < count; i++)
		if (ports[i].name)
			buf_printf(out, " %s", ports[i].name);
		else if (ports[i].first == ports[i].last)
			buf_printf(out, " %u", ports[i].first);
		else
			buf_printf(out, " %u-%u", ports[i].first, ports[i].last);
}

static void add_entity(struct buf *out, const char *word, const struct policy_entity *entity)
{
	for (size_t i = 0; i < entity->term_count; i++) {
		const struct policy_term *term = &entity->terms[i];

		buf_printf(out, "    %s", word);
		add_nets(out, " nets", term->nets, term->net_count);
		add_nets(out, " not nets", term->not_nets, term->not_net_count);
		add_selector(out, " who", term->selector);
		add_selector(out, " not who", term->not_selector);
		if (term->service_name)
			buf_printf(out, " service %s/%s", term->service_namespace, term->service_name);
		buf_add_str(out, "\n");
	}
	if (!entity->port_count && !entity->not_port_count)
		return;
	buf_printf(out, "    %s", word);
	add_ports(out, " ports", entity->ports, entity->port_count);
	add_ports(out, " not ports", entity->not_ports, entity->not_port_count);
	buf_add_str(out, "\n");
}

static void add_icmp(struct buf *out, const struct policy_icmp *icmp)
{
	if (icmp->sense == POLICY_ANY)
		return;
	buf_printf(out, "%s type %u", icmp->sense == POLICY_IS_NOT ? " not" : "", icmp->type);
	if (icmp->code >= 0)
		buf_printf(out, " code %d", icmp->code);
}

static void add_rule(struct buf *out, const struct policy_rule *rule)
{
	buf_printf(out, "  %s: %s", rule->name, actions[rule->action]);
	if (rule->family)
		buf_add_str(out, rule->family == AF_INET ? " IPv4" : " IPv6");
	if (rule->protocol_sense != POLICY_ANY)
		buf_printf(out, "%s protocol %u", rule->protocol_sense == POLICY_IS_NOT ? " not" : "", rule->protocol);
	add_icmp(out, &rule->icmp[0]);
	add_icmp(out, &rule->icmp[1]);
	buf_add_str(out, "\n");
	add_entity(out, "from", &rule->source);
	add_entity(out, "to", &rule->destination);
}

void text_policy(struct buf *out, const struct policy *policy)
{
	buf_printf(out, "%s %s%s%s: tier %s", policy->kind, policy->namespace ? policy->namespace : "",
		policy->namespace ? "/" : "", policy->name, policy->tier);
	add_order(out, policy->order);
	buf_printf(out, "%s%s%s%s\n", policy->staged ? " staged" : "", policy->do_not_track ? " do-not-track" : "",
		policy->pre_dnat ? " pre-dnat" : "", policy->apply_on_forward ? " apply-on-forward" : "");
	if (policy->trouble)
		buf_printf(out, "  trouble: %s\n", policy->trouble);
	add_selector(out, "  selects", policy->selector);
	buf_add_str(out, "\n");
	for (int d = 0; d < POLICY_DIRECTION_COUNT; d++) {
		if (policy->types[d])
			buf_printf(out, "  %s%s\n", directions[d], policy->denies[d] ? ": denies everything" : "");
		for (size_t i = 0; i < policy->rule_count[d]; i++)
			add_rule(out, &policy->rules[d][i]);
	}
}

void text_tier(struct buf *out, const struct tier *tier)
{
	buf_printf(out, "tier %s", tier->name);
	add_order(out, tier->order);
	buf_add_str(out, tier->default_pass ? " pass\n" : " deny\n");
}

void text_labels(struct buf *out, const struct labels *labels)
{
	for (size_t i = 0; i < labels->count; i++)
		buf_printf(out, "  label %s=%s\n", labels->items[i].key, labels->items[i].value);
}

void text_network_set(struct buf *out, const struct network_set *set)
{
	buf_printf(out, "set %s%s%s:", set->namespace ? set->namespace : "", set->namespace ? "/" : "", set->name);
	add_nets(out, "", set->nets, set->net_count);
	buf_add_str(out, "\n");
	text_labels(out, set->labels);
}

void text_host_endpoint(struct buf *out, const struct host_endpoint *host)
{
	char text[ADDR_TEXT_MAX];

	buf_printf(out, "host %s: %s of %s,%s", host->name, host->interface ? host->interface : "by address", host->node,
		host->open ? " open," : "");
	for (size_t i = 0; i < host->addr_count; i++)
		buf_printf(out, " %s", addr_format(&host->addrs[i], text));
	buf_add_str(out, "\n");
	for (size_t i = 0; i < host->port_count; i++)
		buf_printf(out, "  port %s %u/%u\n", host->ports[i].name, host->ports[i].port, host->ports[i].protocol);
	text_labels(out, host->labels);
}

void text_auto_hosts(struct buf *out, const struct auto_hosts *hosts)
{
	static const char *const addresses[] = {"192.0.2.1", "10.0.0.1", "2001:db8::1"};
	struct host_endpoint **made = NULL;
	struct addr addrs[ARRAY_SIZE(addresses)];
	struct labels *labels = labels_new();
	size_t count = 0;

	labels_set(labels, "a", "b");
	labels_set(labels, "rack", "r1");
	for (size_t i = 0; i < ARRAY_SIZE(addrs); i++)
		addr_parse(addresses[i], &addrs[i]);
	buf_printf(out, "automatic host endpoints: %s\n", hosts->on ? "on" : "off");
	if (hosts->trouble)
		buf_printf(out, "trouble: %s\n", hosts->trouble);
	auto_hosts_make(hosts, &(struct auto_host_node){"n1", labels, addrs, ARRAY_SIZE(addrs)}, &made, &count);
	for (size_t i = 0; i < count; i++) {
		text_host_endpoint(out, made[i]);
		host_endpoint_free(&made[i]);
	}
	free(made);
	labels_free(&labels);
}

void text_endpoint(struct buf *out, const struct endpoint *endpoint)
{
	char text[ADDR_TEXT_MAX];

	buf_printf(out, "pod %s/%s: account %s on \"%s\"%s", endpoint->namespace, endpoint->name, endpoint->service_account,
		endpoint->node, endpoint->host_network ? ", on the host's network" : "");
	for (int f = 0; f < FAMILY_COUNT; f++)
		if (addr_is_set(&endpoint->addr[f]))
			buf_printf(out, " %s", addr_format(&endpoint->addr[f], text));
	buf_add_str(out, "\n");
	add_nets(out, "  may claim", endpoint->allowed_sources, endpoint->allowed_source_count);
	if (endpoint->allowed_source_count)
		buf_add_str(out, "\n");
	text_labels(out, endpoint->shape->labels);
	for (size_t i = 0; i < endpoint->shape->port_count; i++)
		buf_printf(out, "  port %s %u/%u\n", endpoint->shape->ports[i].name, endpoint->shape->ports[i].port,
			endpoint->shape->ports[i].protocol);
}
