/* SPDX-License-Identifier: Apache-2.0
 *
 * BGPFilters as BIRD functions (reference/calico.md 2.6): the first rule that matches ends the whole filter, none lets
 * the route go on to the built-in rules. A filter with a rule that cannot be expressed is not there at all, and
 * sessions that name it exchange nothing: half a filter would let through what it was made to stop.
 */
#include "plan/bird_internal.h"

#include <stdio.h>
#include <string.h>

/* Where a rule is, for messages, and the text that its conditions make. */
struct rule_text {
	struct bird_plan *plan;
	const struct bgp_filter_rule *rule;
	int family;
	bool import;
	bool any;         /* a condition is there already */
	const char *fault; /* what cannot be expressed; null: nothing */
};

int bird_find_filter(const struct bird_plan *plan, const char *name)
{
	size_t low = 0, high = plan->input->filter_count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		int order = strcmp(name, plan->filters[middle]->name);

		if (order == 0)
			return (int)middle;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return -1;
}

static struct buf *condition(struct rule_text *text)
{
	buf_add_str(text->plan->out, text->any ? " && " : "");
	text->any = true;
	return text->plan->out;
}

/* Equal and NotEqual with lengths: the prefix has one length, so they are true or false beforehand. */
static void put_equal(struct rule_text *text, const char *cidr, int low, int high)
{
	const struct bgp_filter_rule *rule = text->rule;
	bool possible = rule->cidr.len >= low && rule->cidr.len <= high;

	if (possible)
		buf_printf(condition(text), "net %s %s", rule->match == MATCH_EQUAL ? "=" : "!=", cidr);
	else
		buf_add_str(condition(text), rule->match == MATCH_EQUAL ? "false" : "true");
}

static void put_cidr(struct rule_text *text)
{
	const struct bgp_filter_rule *rule = text->rule;
	int top = text->family == FAMILY_4 ? 32 : 128;
	int low = rule->min_len > rule->cidr.len ? rule->min_len : rule->cidr.len;
	int high = rule->max_len >= 0 && rule->max_len < top ? rule->max_len : top;
	struct prefix masked = prefix_masked(&rule->cidr);
	char cidr[PREFIX_TEXT_MAX];

	prefix_format(&masked, cidr);
	if (bird_family_of(&rule->cidr) != text->family) {
		text->fault = "cidr: is of the other family";
		return;
	}
	if (rule->match == MATCH_EQUAL || rule->match == MATCH_NOT_EQUAL)
		put_equal(text, cidr, rule->min_len >= 0 ? rule->min_len : 0, high);
	else if (rule->match != MATCH_IN && rule->match != MATCH_NOT_IN)
		text->fault = "matchOperator: expected Equal, NotEqual, In or NotIn beside cidr";
	else if (low > high)
		buf_add_str(condition(text), rule->match == MATCH_IN ? "false" : "true");
	else
		buf_printf(condition(text), "net %s [ %s{%d,%d} ]", rule->match == MATCH_IN ? "~" : "!~", cidr, low, high);
}

static void put_community_value(struct buf *out, const struct community *community)
{
	if (community->large)
		buf_printf(out, "(%u, %u, %u)", community->part[0], community->part[1], community->part[2]);
	else
		buf_printf(out, "(%u, %u)", community->part[0], community->part[1]);
}

static bool community_fits(const struct community *community)
{
	return community->large || (community->part[0] <= 0xffff && community->part[1] <= 0xffff);
}

static void put_community_match(struct rule_text *text)
{
	const struct community *community = &text->rule->community;

	if (!community_fits(community)) {
		text->fault = "communities: expected a:b with numbers up to 65535, or a:b:c";
		return;
	}
	put_community_value(condition(text), community);
	buf_add_str(text->plan->out, community->large ? " ~ bgp_large_community" : " ~ bgp_community");
}

static void put_as_path_match(struct rule_text *text)
{
	struct buf *out = condition(text);

	buf_add_str(out, "bgp_path ~ [=");
	for (size_t i = 0; i < text->rule->as_path_len; i++)
		buf_printf(out, " %u", text->rule->as_path[i]);
	buf_add_str(out, " * =]");
}

static void put_conditions(struct rule_text *text)
{
	const struct bgp_filter_rule *rule = text->rule;

	if (prefix_is_set(&rule->cidr))
		put_cidr(text);
	if (rule->remote_peers)
		buf_add_str(condition(text), "source = RTS_BGP");
	if (rule->interface[0] && bird_interface_is_plain(rule->interface))
		buf_printf(condition(text), "ifname ~ \"%s\"", rule->interface);
	else if (rule->interface[0])
		text->fault = "interface: expected a name of an interface, with * and ? as wildcards";
	if (rule->peer_type != FILTER_ANY_PEER)
		buf_add_str(condition(text), rule->peer_type == FILTER_IBGP ? "is_internal" : "! is_internal");
	if (rule->has_community)
		put_community_match(text);
	if (rule->as_path_len)
		put_as_path_match(text);
	if (rule->priority)
		buf_printf(condition(text), "krt_metric = %u", rule->priority);
	if (!text->any)
		buf_add_str(text->plan->out, "true");
}

static void put_operation(struct rule_text *text, const struct bgp_filter_operation *operation)
{
	struct buf *out = text->plan->out;

	switch (operation->kind) {
	case FILTER_ADD_COMMUNITY:
		if (!community_fits(&operation->community))
			text->fault = "addCommunity: expected a:b with numbers up to 65535, or a:b:c";
		buf_printf(out, "\t\t%s.add(", operation->community.large ? "bgp_large_community" : "bgp_community");
		put_community_value(out, &operation->community);
		buf_add_str(out, ");\n");
		break;
	case FILTER_PREPEND_AS_PATH:
		/* the path shall begin with the list as it stands */
		for (size_t i = operation->as_path_len; i-- > 0;)
			buf_printf(out, "\t\tbgp_path.prepend(%u);\n", operation->as_path[i]);
		break;
	case FILTER_SET_PRIORITY:
		if (!operation->priority || operation->priority >= BIRD_METRIC_TOP)
			text->fault = "setPriority: expected 1 to 2147483646";
		buf_printf(out, "\t\tkrt_metric = %u;\n\t\tbgp_local_pref = %u - krt_metric;\n", operation->priority,
			BIRD_METRIC_TOP);
		break;
	}
}

static void put_rule(struct rule_text *text)
{
	const struct bgp_filter_rule *rule = text->rule;
	struct buf *out = text->plan->out;

	buf_add_str(out, "\tif ");
	put_conditions(text);
	buf_add_str(out, " then {\n");
	for (size_t i = 0; rule->accept && i < rule->operation_count; i++)
		put_operation(text, &rule->operations[i]);
	/* routes that come in still get their preference */
	if (rule->accept && text->import)
		buf_printf(out, "\t\timport%c();\n", bird_digit(text->family));
	else
		buf_printf(out, "\t\t%s;\n", rule->accept ? "accept" : "reject");
	buf_add_str(out, "\t}\n");
}

/* False: it cannot be expressed, and nothing of it is in the text. */
static bool put_function(struct bird_plan *plan, const struct bgp_filter *filter, bool import, int family)
{
	const struct bgp_filter_rule *rules = (import ? filter->import : filter->export)[family];
	size_t count = (import ? filter->import_count : filter->export_count)[family], start = plan->out->len;
	const char *direction = import ? "import" : "export";
	char name[BIRD_NAME_MAX], object[300];

	if (!count)
		return true;
	bird_function_name(filter->name, direction, family, name);
	buf_printf(plan->out, "function '%s'(bool is_internal)\n{\n", name);
	for (size_t i = 0; i < count; i++) {
		struct rule_text text = {.plan = plan, .rule = &rules[i], .family = family, .import = import};

		put_rule(&text);
		if (!text.fault)
			continue;
		snprintf(object, sizeof(object), "BGPFilter %.250s", filter->name);
		bird_complain(plan, object, "spec.%sV%c[%zu].%s; sessions with this filter exchange no routes", direction,
			bird_digit(family), i, text.fault);
		if (!plan->out->error && plan->out->len > start) {
			plan->out->len = start;
			plan->out->data[start] = 0;
		}
		return false;
	}
	buf_add_str(plan->out, "}\n\n");
	return true;
}

static bool is_used(const struct bird_plan *plan, const char *name)
{
	for (size_t i = 0; i < plan->session_count; i++) {
		const struct bgp_peer *peer = plan->sessions[i]->peer;

		for (size_t j = 0; peer && j < peer->filter_count; j++)
			if (strcmp(peer->filters[j], name) == 0)
				return true;
	}
	return false;
}

void bird_put_filters(struct bird_plan *plan)
{
	for (size_t i = 0; i < plan->input->filter_count; i++) {
		const struct bgp_filter *filter = plan->filters[i];
		bool good = bird_name_is_plain(filter->name);

		if (!good)
			bird_complain(plan, "BGPFilter", "metadata.name %s: expected letters, digits, '-' and '.'", filter->name);
		/* not used: still judged, so that its author hears of it */
		for (int family = 0; family < FAMILY_COUNT && good; family++) {
			size_t start = plan->out->len;

			good = put_function(plan, filter, true, family) && put_function(plan, filter, false, family);
			if ((!good || !is_used(plan, filter->name)) && !plan->out->error && plan->out->len > start) {
				plan->out->len = start;
				plan->out->data[start] = 0;
			}
		}
		plan->filter_bad[i] = !good;
	}
}
