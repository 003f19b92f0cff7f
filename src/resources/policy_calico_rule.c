/* SPDX-License-Identifier: Apache-2.0 */
#include "resources/policy_calico.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define SELECTOR_TEXT_MAX (1u << 20)
#define PORT_NAME_MAX 128

const struct selector_words policy_of_namespace = {
	"pcns.", "has(projectcalico.org/namespace)", "!has(projectcalico.org/namespace)",
};
const struct selector_words policy_of_service_account = {
	"pcsa.", "has(projectcalico.org/serviceaccount)", "!has(projectcalico.org/serviceaccount)",
};

const char *const policy_calico_rule_members[] = {
	"action", "ipVersion", "protocol", "notProtocol", "icmp", "notICMP", "source", "destination", "http", "metadata", NULL,
};

static const struct {
	const char *name;
	uint8_t number;
	bool has_ports;
} protocols[] = {
	{"TCP", IPPROTO_TCP, true}, {"UDP", IPPROTO_UDP, true}, {"SCTP", IPPROTO_SCTP, true},
	{"UDPLite", IPPROTO_UDPLITE, true}, {"ICMP", IPPROTO_ICMP, false}, {"ICMPv6", IPPROTO_ICMPV6, false},
};

/* -- selectors -- */

static void add_and(struct buf *text)
{
	if (text->len)
		buf_add_str(text, " && ");
}

static bool says(const struct calico_at *at, const char *key)
{
	const json_t *value = json_object_get(at->json, key);

	return value && !json_is_null(value) && !(json_is_string(value) && json_string_length(value) == 0);
}

static int add_rewritten(const struct calico_at *at, const char *key, const struct selector_words *words, struct buf *text)
{
	struct err err = ERR_INIT;
	const char *said = "";
	int rc = calico_text(at, key, &said);

	if (rc >= 0 && strlen(said) > CALICO_SELECTOR_MAX)
		rc = calico_wrong(at, key, "at most %d characters", CALICO_SELECTOR_MAX);
	if (rc < 0)
		return rc;
	add_and(text);
	rc = selector_rewrite(said, words, text, &err);
	if (rc == -EINVAL)
		return calico_wrong(at, key, "a selector: %s", err_text(&err));
	return rc < 0 ? calico_no_memory(at) : 1;
}

int policy_calico_selector(const struct calico_at *at, const char *key, const struct selector_words *words, struct buf *text)
{
	_cleanup_(selector_free) struct selector *selector = NULL;
	int rc;

	if (!says(at, key))
		return 0;
	if (words)
		return add_rewritten(at, key, words, text);
	rc = calico_selector(at, key, &selector);
	if (rc < 0)
		return rc;
	add_and(text);
	buf_add_str(text, selector_text(selector));
	return 1;
}

/* Names are checked: they stand between quotes. */
static int add_account_names(const struct calico_at *accounts, struct buf *text)
{
	const json_t *list = NULL, *item;
	int rc = calico_list(accounts, "names", &list);
	size_t i;

	if (rc <= 0 || json_array_size(list) == 0)
		return rc < 0 ? rc : 0;
	add_and(text);
	buf_add_str(text, "projectcalico.org/serviceaccount in {");
	json_array_foreach((json_t *)list, i, item) {
		struct calico_at place;
		const char *name = "";

		calico_item(accounts, "names", i, item, &place);
		rc = calico_text(&place, NULL, &name);
		if (rc >= 0 && !calico_name_is_sane(name))
			rc = calico_wrong(&place, NULL, "the name of a ServiceAccount");
		if (rc < 0)
			return rc;
		buf_printf(text, "%s'%s'", i ? ", " : "", name);
	}
	buf_add_str(text, "}");
	return 0;
}

static int add_accounts(const struct calico_at *at, struct buf *text)
{
	static const char *const members[] = {"names", "selector", NULL};
	struct calico_at accounts;
	int rc = calico_enter(at, "serviceAccounts", &accounts);

	if (rc <= 0)
		return rc;
	rc = policy_check_members(&accounts, members);
	if (rc >= 0)
		rc = add_account_names(&accounts, text);
	if (rc >= 0)
		rc = policy_calico_selector(&accounts, "selector", &policy_of_service_account, text);
	return rc < 0 ? rc : 0;
}

/* A policy of a namespace means endpoints and sets there, unless the rule chooses namespaces. */
static int add_positive(const struct policy_reader *r, const struct calico_at *at, struct buf *text)
{
	bool about_somebody = says(at, "selector") || says(at, "notSelector") || says(at, "serviceAccounts");
	int rc = policy_calico_selector(at, "namespaceSelector", &policy_of_namespace, text);

	if (rc == 0 && r->policy->namespace && about_somebody)
		policy_add_namespace(r->policy->namespace, text);
	if (rc >= 0)
		rc = policy_calico_selector(at, "selector", NULL, text);
	if (rc >= 0)
		rc = add_accounts(at, text);
	return rc < 0 ? rc : 0;
}

static int read_selectors(const struct policy_reader *r, const struct calico_at *at, struct policy_term *term)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT(SELECTOR_TEXT_MAX), negative = BUF_INIT(SELECTOR_TEXT_MAX);
	int rc = add_positive(r, at, &text);

	if (rc >= 0)
		rc = policy_calico_selector(at, "notSelector", NULL, &negative);
	if (rc < 0)
		return rc;
	if (negative.len && !text.len)
		return policy_make_selector(at, &negative, &term->not_selector);
	if (negative.len)
		buf_printf(&text, " && !(%s)", buf_text(&negative));
	return text.len || text.error ? policy_make_selector(at, &text, &term->selector) : 0;
}

/* -- addresses and Services -- */

static int read_nets(const struct calico_at *at, const char *key, struct prefix **nets, size_t *count)
{
	const json_t *list = NULL, *item;
	int rc = calico_list(at, key, &list);
	size_t i;

	json_array_foreach((json_t *)list, i, item) {
		struct calico_at place;
		struct prefix net;

		calico_item(at, key, i, item, &place);
		rc = calico_prefix_or_addr(&place, NULL, &net);
		if (rc == 0)
			rc = calico_wrong(&place, NULL, "a CIDR such as 10.0.0.0/8, or an address");
		if (rc >= 0)
			rc = policy_add_net(&place, nets, count, &net);
		if (rc < 0)
			break;
	}
	return rc < 0 ? rc : 0;
}

static int read_service_names(const struct policy_reader *r, const struct calico_at *services, struct policy_term *term)
{
	const char *name = "", *namespace = r->policy->namespace ? r->policy->namespace : "";
	int rc = calico_text(services, "name", &name);

	if (rc >= 0 && says(services, "namespace"))
		rc = calico_text(services, "namespace", &namespace);
	if (rc >= 0 && !calico_name_is_sane(name))
		rc = calico_wrong(services, "name", "the name of a Service");
	if (rc >= 0 && !calico_name_is_sane(namespace))
		rc = calico_wrong(services, "namespace", "the namespace of the Service");
	if (rc < 0)
		return rc;
	term->service_name = strdup(name);
	term->service_namespace = strdup(namespace);
	return term->service_name && term->service_namespace ? 0 : calico_no_memory(services);
}

static int read_services(const struct policy_reader *r, const struct calico_at *at, bool is_destination,
	struct policy_term *term)
{
	static const char *const members[] = {"name", "namespace", NULL};
	static const char *const others[] = {
		"selector", "notSelector", "namespaceSelector", "serviceAccounts", "nets", "notNets", "ports", "notPorts",
	};
	struct calico_at services;
	int rc = calico_enter(at, "services", &services);

	if (rc <= 0)
		return rc;
	rc = policy_check_members(&services, members);
	for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(others) - (is_destination ? 0 : 2); i++)
		if (says(at, others[i]) && !policy_list_is_empty(at, others[i]))
			rc = calico_wrong(at, others[i], "nothing beside services");
	return rc < 0 ? rc : read_service_names(r, &services, term);
}

/* -- ports -- */

static bool parse_number(const char *text, size_t len, uint16_t *ret)
{
	unsigned n = 0;

	if (!len || len > 5)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!isdigit((unsigned char)text[i]))
			return false;
		n = n * 10 + (unsigned)(text[i] - '0');
	}
	if (!n || n > UINT16_MAX)
		return false;
	*ret = (uint16_t)n;
	return true;
}

static bool is_name(const char *text)
{
	size_t len = strlen(text);
	bool other = false;

	for (const char *p = text; *p; p++) {
		if (!isalnum((unsigned char)*p) && !strchr("_.-", *p))
			return false;
		other |= !isdigit((unsigned char)*p);
	}
	return other && len <= PORT_NAME_MAX;
}

/* "80", "80:90", "http" */
static int parse_port(const struct calico_at *at, const char *text, struct policy_ports *ret)
{
	const char *colon = strchr(text, ':');

	if (colon && parse_number(text, (size_t)(colon - text), &ret->first) &&
		parse_number(colon + 1, strlen(colon + 1), &ret->last) && ret->first <= ret->last)
		return 0;
	if (!colon && parse_number(text, strlen(text), &ret->first)) {
		ret->last = ret->first;
		return 0;
	}
	if (colon || !is_name(text))
		return calico_wrong(at, NULL, "a port from 1 to 65535, a range such as \"80:90\", or a port's name");
	ret->name = strdup(text);
	return ret->name ? 0 : calico_no_memory(at);
}

static int read_ports(const struct calico_at *at, const char *key, struct policy_ports **ports, size_t *count)
{
	const json_t *list = NULL, *item;
	int rc = calico_list(at, key, &list);
	size_t i;

	json_array_foreach((json_t *)list, i, item) {
		struct policy_ports *port = policy_add_ports(ports, count);
		struct calico_at place;
		const char *text = "";

		if (!port)
			return calico_no_memory(at);
		calico_item(at, key, i, item, &place);
		if (json_is_string(item)) {
			rc = calico_text(&place, NULL, &text);
			rc = rc < 0 ? rc : parse_port(&place, text, port);
		} else {
			rc = calico_u16(&place, NULL, 1, UINT16_MAX, &port->first);
			if (rc == 0)
				rc = calico_wrong(&place, NULL, "a port from 1 to 65535, a range such as \"80:90\", or a port's name");
			port->last = port->first;
		}
		if (rc < 0)
			return rc;
	}
	return rc < 0 ? rc : 0;
}

/* -- one end -- */

static bool term_says(const struct policy_term *term)
{
	return term->net_count || term->not_net_count || term->selector || term->not_selector || term->service_name;
}

static int read_entity(const struct policy_reader *r, const struct calico_at *rule, const char *key,
	struct policy_entity *entity)
{
	static const char *const members[] = {
		"nets", "notNets", "selector", "notSelector", "namespaceSelector", "ports", "notPorts", "serviceAccounts",
		"services", NULL,
	};
	struct policy_term *term;
	struct calico_at at;
	int rc = calico_enter(rule, key, &at);

	if (rc <= 0)
		return rc;
	term = policy_add_term(entity);
	if (!term)
		return calico_no_memory(rule);
	rc = policy_check_members(&at, members);
	if (rc == 0)
		rc = read_nets(&at, "nets", &term->nets, &term->net_count);
	if (rc == 0)
		rc = read_nets(&at, "notNets", &term->not_nets, &term->not_net_count);
	if (rc == 0)
		rc = read_services(r, &at, strcmp(key, "destination") == 0, term);
	if (rc == 0)
		rc = read_selectors(r, &at, term);
	if (rc == 0)
		rc = read_ports(&at, "ports", &entity->ports, &entity->port_count);
	if (rc == 0)
		rc = read_ports(&at, "notPorts", &entity->not_ports, &entity->not_port_count);
	if (!term_says(term))
		entity->term_count = 0; /* every address */
	return rc;
}

/* -- protocols -- */

/* A name, or a number, also as a text. */
static int read_protocol(const struct calico_at *at, const char *key, uint8_t *ret)
{
	static const char expected[] = "TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite or a number from 1 to 255";
	const json_t *value = json_object_get(at->json, key);
	uint16_t number = 0;
	const char *text;
	int64_t n = 0;
	int rc;

	if (!json_is_string(value)) {
		rc = calico_int(at, key, 1, UINT8_MAX, &n);
		*ret = (uint8_t)n;
		return rc;
	}
	rc = calico_text(at, key, &text);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++)
		if (strcasecmp(text, protocols[i].name) == 0) {
			*ret = protocols[i].number;
			return 1;
		}
	if (!parse_number(text, strlen(text), &number) || number > UINT8_MAX)
		return calico_wrong(at, key, "%s", expected);
	*ret = (uint8_t)number;
	return 1;
}

/* 1: no packet can be meant. */
static int read_protocols(const struct calico_at *at, struct policy_rule *rule)
{
	uint8_t is = 0, is_not = 0;
	int has = read_protocol(at, "protocol", &is), has_not = has < 0 ? has : read_protocol(at, "notProtocol", &is_not);

	if (has_not < 0)
		return has_not;
	if (has && has_not && is == is_not)
		return 1;
	rule->protocol_sense = has ? POLICY_IS : has_not ? POLICY_IS_NOT : POLICY_ANY;
	rule->protocol = has ? is : is_not;
	return 0;
}

static int read_family(const struct calico_at *at, struct policy_rule *rule)
{
	int64_t version = 0;
	int rc = calico_int(at, "ipVersion", 4, 6, &version);

	if (rc == 1 && version == 5)
		rc = calico_wrong(at, "ipVersion", "4 or 6");
	if (rc == 1)
		rule->family = version == 4 ? AF_INET : AF_INET6;
	return rc < 0 ? rc : 0;
}

/* Types mean something in one protocol and family only. */
static int check_icmp(const struct calico_at *at, const char *key, const struct policy_rule *rule)
{
	bool four = rule->protocol == IPPROTO_ICMP, six = rule->protocol == IPPROTO_ICMPV6;

	if (rule->protocol_sense != POLICY_IS || (!four && !six))
		return calico_wrong(at, key, "no such member without protocol ICMP or ICMPv6");
	if (rule->family && rule->family != (four ? AF_INET : AF_INET6))
		return calico_wrong(at, "ipVersion", "%d with this protocol", four ? 4 : 6);
	return 0;
}

static int read_icmp(const struct calico_at *rule_at, const char *key, enum policy_sense sense,
	const struct policy_rule *rule, struct policy_icmp *ret)
{
	static const char *const members[] = {"type", "code", NULL};
	int64_t type = 0, code = -1;
	struct calico_at at;
	int rc = calico_enter(rule_at, key, &at), has_type;

	if (rc <= 0)
		return rc;
	rc = check_icmp(rule_at, key, rule);
	if (rc >= 0)
		rc = policy_check_members(&at, members);
	if (rc >= 0)
		rc = calico_int(&at, "type", 0, 254, &type);
	has_type = rc;
	if (rc >= 0)
		rc = calico_int(&at, "code", 0, 255, &code);
	if (rc == 1 && !has_type)
		rc = calico_wrong(&at, "code", "no such member without type");
	if (rc < 0)
		return rc;
	if (has_type)
		*ret = (struct policy_icmp){sense, (uint8_t)type, (int16_t)code};
	return 0;
}

static bool has_ports(const struct policy_rule *rule)
{
	return rule->source.port_count || rule->source.not_port_count || rule->destination.port_count ||
	       rule->destination.not_port_count;
}

static int check_ports(const struct calico_at *at, const struct policy_rule *rule)
{
	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++)
		if (rule->protocol_sense == POLICY_IS && rule->protocol == protocols[i].number && protocols[i].has_ports)
			return 0;
	return has_ports(rule) ? calico_wrong(at, "protocol", "TCP, UDP, SCTP or UDPLite beside ports") : 0;
}

/* -- the rule -- */

static int read_action(const struct calico_at *at, enum policy_action *ret)
{
	static const char *const actions[] = {
		[POLICY_ALLOW] = "Allow", [POLICY_DENY] = "Deny", [POLICY_PASS] = "Pass", [POLICY_LOG] = "Log", NULL,
	};
	int action = 0, rc = calico_choice(at, "action", actions, &action);

	*ret = (enum policy_action)action;
	return rc == 0 ? calico_wrong(at, "action", "one of Allow, Deny, Pass, Log") : rc < 0 ? rc : 0;
}

/* The name that people gave it. */
static const char *given_name(const struct calico_at *at)
{
	const json_t *metadata = json_object_get(at->json, "metadata");

	return json_string_value(json_object_get(json_object_get(metadata, "annotations"), "name"));
}

static int read_rule(const struct policy_reader *r, const struct calico_at *at, struct policy_rule *rule)
{
	int rc = read_action(at, &rule->action);

	if (rc == 0 && says(at, "http"))
		rc = calico_wrong(at, "http", "no such member: Tulle does not look into HTTP, and without it more would be meant");
	if (rc == 0)
		rc = read_family(at, rule);
	if (rc == 0)
		rc = read_icmp(at, "icmp", POLICY_IS, rule, &rule->icmp[0]);
	if (rc == 0)
		rc = read_icmp(at, "notICMP", POLICY_IS_NOT, rule, &rule->icmp[1]);
	if (rc == 0)
		rc = read_entity(r, at, "source", &rule->source);
	if (rc == 0)
		rc = read_entity(r, at, "destination", &rule->destination);
	return rc < 0 ? rc : check_ports(at, rule);
}

int policy_calico_rule(struct policy_reader *r, const struct calico_at *at, enum policy_direction direction)
{
	struct policy_rule *rule = policy_add_rule(r, at, direction, given_name(at));
	int rc, never;

	if (!rule)
		return calico_no_memory(at);
	rc = never = read_protocols(at, rule);
	if (rc >= 0)
		rc = read_rule(r, at, rule);
	if (rc == 0 && never) {
		calico_remark(at, "%s has no effect: protocol and notProtocol are the same", at->path);
		policy_rule_done(rule);
		r->policy->rule_count[direction]--;
	}
	return rc;
}
