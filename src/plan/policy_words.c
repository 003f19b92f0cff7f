/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/policy_words.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

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

const char *policy_words_protocol(uint8_t protocol)
{
	static const char *const names[256] = {[IPPROTO_ICMP] = "ICMP", [IPPROTO_TCP] = "TCP", [IPPROTO_UDP] = "UDP",
		[IPPROTO_ICMPV6] = "ICMPv6", [IPPROTO_SCTP] = "SCTP", [IPPROTO_UDPLITE] = "UDPLite"};

	return names[protocol];
}

static void add_protocol(const struct policy_rule *rule, struct buf *text)
{
	if (rule->family)
		buf_add_str(text, rule->family == AF_INET ? " IPv4" : " IPv6");
	if (rule->protocol_sense == POLICY_ANY)
		return;
	buf_add_str(text, rule->protocol_sense == POLICY_IS ? " " : " not ");
	if (policy_words_protocol(rule->protocol))
		buf_add_str(text, policy_words_protocol(rule->protocol));
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

/* -- what decides, as JSON -- */

static json_t *text_of(struct buf *text)
{
	json_t *json = json_string(buf_text(text));

	buf_free(text);
	return json;
}

static json_t *name_json(const struct policy *policy)
{
	struct buf text = BUF_INIT(4096);

	policy_words_name(policy, &text);
	return text_of(&text);
}

static json_t *rule_json(const struct policy_rule *rule)
{
	struct buf text = BUF_INIT(1 << 20);

	policy_words_rule(rule, &text);
	return text_of(&text);
}

static void add_policy(json_t *json, const struct verdict_why *why)
{
	json_object_set_new(json, "tier", json_string(why->tier ? why->tier->name : why->policy->tier));
	json_object_set_new(json, "policy", name_json(why->policy));
	json_object_set_new(json, "selector", json_string(selector_text(why->policy->selector)));
	if (why->policy->trouble && why->reason == VERDICT_TROUBLE)
		json_object_set_new(json, "trouble", json_string(why->policy->trouble));
	if (!why->rule)
		return;
	json_object_set_new(json, "rule", json_string(why->rule->name));
	json_object_set_new(json, "says", rule_json(why->rule));
}

json_t *policy_words_why(const struct verdict_why *why)
{
	static const char *const reasons[] = {[VERDICT_RULE] = "rule", [VERDICT_TIER_END] = "tier-end", [VERDICT_OPEN] = "no-policy",
		[VERDICT_PASSED] = "passed", [VERDICT_TROUBLE] = "trouble", [VERDICT_UNKNOWN] = "unknown",
		[VERDICT_PROFILE] = "profile", [VERDICT_UNDECIDED] = "undecided", [VERDICT_SAFE] = "failsafe"};
	json_t *json = json_pack("{s:b, s:s}", "allowed", why->allow, "reason", reasons[why->reason]);

	if (json && why->host)
		json_object_set_new(json, "hostEndpoint", json_string(why->host->name));
	if (json && why->policy)
		add_policy(json, why);
	return json;
}

/* -- and back, for a screen -- */

static const char *member(const json_t *json, const char *key)
{
	const char *text = json_string_value(json_object_get(json, key));

	return text ? text : "";
}

/* Those that apply, of the tier whose end it is; where nobody has asked for them, the first. */
static void add_applied(const json_t *side, struct buf *text)
{
	const json_t *names = json_object_get(side, "policies"), *name;
	size_t i;

	if (!json_array_size(names))
		buf_add_str(text, member(side, "policy"));
	json_array_foreach(names, i, name)
		buf_printf(text, "%s%s", i ? ", " : "", json_string_value(name));
}

void policy_words_side(const json_t *side, struct buf *text)
{
	static const struct {
		const char *reason, *text;
	} texts[] = {{"self", "a pod always reaches itself"}, {"own-node", "a pod and its own node always reach each other"},
		{"no-pod", "not a pod that policy is about"}, {"no-policy", "no policy applies"},
		{"passed", "all tiers pass it on"}, {"unknown", "the pod is not known"},
		{"other-node", "nothing is known here of a pod there, nor of its policies"},
		{"profile", "no tier decides, and no profile allows it"}, {"undecided", "left to what comes later"},
		{"failsafe", "a failsafe port, which always passes"}};
	const char *reason = member(side, "reason"), *host = member(side, "hostEndpoint");

	if (*host)
		buf_printf(text, "host endpoint %s: ", host);
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		if (strcmp(reason, texts[i].reason) == 0)
			buf_add_str(text, texts[i].text);
	if (!json_object_get(side, "policy"))
		return;
	buf_printf(text, "tier %s, ", member(side, "tier"));
	if (strcmp(reason, "tier-end") == 0) {
		buf_add_str(text, "denied by default, for no rule matches of what applies: ");
		add_applied(side, text);
		return;
	}
	buf_add_str(text, member(side, "policy"));
	if (strcmp(reason, "rule") == 0)
		buf_printf(text, ", %s: %s", member(side, "rule"), member(side, "says"));
	else if (strcmp(reason, "trouble") == 0)
		buf_printf(text, " could not be understood: %s", member(side, "trouble"));
}
