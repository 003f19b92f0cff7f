/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/policy.h"

#include <netinet/in.h>
#include <stdio.h>

#define NETS_SHOWN 4 /* of a list */

void policy_words_name(const struct policy *policy, struct buf *text)
{
	buf_printf(text, "%s %s%s%s", policy->kind, policy->namespace ? policy->namespace : "", policy->namespace ? "/" : "",
		policy->name);
}

static void add_nets(const struct prefix *nets, size_t count, struct buf *text)
{
	char net[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < count && i < NETS_SHOWN; i++)
		buf_printf(text, "%s%s", i ? ", " : "", prefix_format(&nets[i], net));
	if (count > NETS_SHOWN)
		buf_printf(text, " and %zu more", count - NETS_SHOWN);
}

static void add_term(const struct policy_term *term, struct buf *text)
{
	const char *and = "";

	if (term->selector) {
		buf_add_str(text, selector_text(term->selector));
		and = ", in ";
	}
	if (term->net_count) {
		buf_add_str(text, and);
		add_nets(term->nets, term->net_count, text);
	}
	if (term->service_name)
		buf_printf(text, "Service %s/%s", term->service_namespace, term->service_name);
	if (!term->selector && !term->net_count && !term->service_name)
		buf_add_str(text, "anywhere");
	if (term->not_net_count) {
		buf_add_str(text, " but not in ");
		add_nets(term->not_nets, term->not_net_count, text);
	}
	if (term->not_selector)
		buf_printf(text, " but not %s", selector_text(term->not_selector));
}

static void add_ports(const struct policy_ports *ports, size_t count, struct buf *text)
{
	for (size_t i = 0; i < count; i++) {
		buf_add_str(text, i ? ", " : "");
		if (ports[i].name)
			buf_printf(text, "\"%s\"", ports[i].name);
		else if (ports[i].first == ports[i].last)
			buf_printf(text, "%u", ports[i].first);
		else
			buf_printf(text, "%u-%u", ports[i].first, ports[i].last);
	}
}

void policy_words_entity(const struct policy_entity *entity, const char *side, struct buf *text)
{
	if (!entity->term_count && !entity->port_count && !entity->not_port_count)
		return;
	buf_printf(text, " %s ", side);
	for (size_t i = 0; i < entity->term_count; i++) {
		buf_add_str(text, i ? " or " : "");
		add_term(&entity->terms[i], text);
	}
	if (!entity->term_count)
		buf_add_str(text, "anywhere");
	if (entity->port_count) {
		buf_add_str(text, " port ");
		add_ports(entity->ports, entity->port_count, text);
	}
	if (entity->not_port_count) {
		buf_add_str(text, " port not ");
		add_ports(entity->not_ports, entity->not_port_count, text);
	}
}

static void add_protocol(const struct policy_rule *rule, struct buf *text)
{
	static const char *const names[256] = {[IPPROTO_ICMP] = "ICMP", [IPPROTO_TCP] = "TCP", [IPPROTO_UDP] = "UDP",
		[IPPROTO_ICMPV6] = "ICMPv6", [IPPROTO_SCTP] = "SCTP", [IPPROTO_UDPLITE] = "UDPLite"};

	if (rule->family)
		buf_add_str(text, rule->family == AF_INET ? " IPv4" : " IPv6");
	if (rule->protocol_sense == POLICY_ANY)
		return;
	buf_add_str(text, rule->protocol_sense == POLICY_IS ? " " : " not ");
	if (names[rule->protocol])
		buf_add_str(text, names[rule->protocol]);
	else
		buf_printf(text, "protocol %u", rule->protocol);
}

void policy_words_rule(const struct policy_rule *rule, struct buf *text)
{
	static const char *const actions[] = {[POLICY_ALLOW] = "allow", [POLICY_DENY] = "deny", [POLICY_PASS] = "pass",
		[POLICY_LOG] = "log"};

	buf_add_str(text, actions[rule->action]);
	add_protocol(rule, text);
	for (size_t i = 0; i < 2; i++)
		if (rule->icmp[i].sense != POLICY_ANY) {
			buf_printf(text, " type %s%u", rule->icmp[i].sense == POLICY_IS ? "" : "not ", rule->icmp[i].type);
			if (rule->icmp[i].code >= 0)
				buf_printf(text, " code %d", rule->icmp[i].code);
		}
	policy_words_entity(&rule->source, "from", text);
	policy_words_entity(&rule->destination, "to", text);
}
