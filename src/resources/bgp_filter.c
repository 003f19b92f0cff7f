/* SPDX-License-Identifier: Apache-2.0
 *
 * BGPFilter (reference/calico.md 2.6). One bad rule refuses the filter: what it would have let through or kept out is
 * not known.
 */
#include "resources/read.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

#define AS_PATH_MAX 255
#define PRIORITY_MAX 2147483646

/* -- what a rule matches -- */

static int read_lengths(const struct calico_at *at, struct bgp_filter_rule *rule)
{
	int64_t min = -1, max = -1, longest = prefix_max_len(&rule->cidr);
	struct calico_at lengths;
	int rc = calico_enter(at, "prefixLength", &lengths);

	if (rc <= 0)
		return rc;
	if (!prefix_is_set(&rule->cidr))
		return calico_wrong(at, "prefixLength", "nothing without cidr");
	rc = calico_int(&lengths, "min", 0, longest, &min);
	if (rc >= 0)
		rc = calico_int(&lengths, "max", 0, longest, &max);
	if (rc >= 0 && min >= 0 && max >= 0 && min > max)
		rc = calico_wrong(&lengths, "max", "at least min, %lld", (long long)min);
	rule->min_len = (int)min;
	rule->max_len = (int)max;
	return rc;
}

static int read_cidr(const struct calico_at *at, int family, struct bgp_filter_rule *rule)
{
	static const char *const operators[] = {"Equal", "NotEqual", "In", "NotIn", NULL};
	const char *cidr = json_string_value(json_object_get(at->json, "cidr"));
	int match = 0, rc, matched = calico_choice(at, "matchOperator", operators, &match);

	if (matched < 0)
		return matched;
	rc = cidr && !*cidr ? 0 : calico_prefix(at, "cidr", &rule->cidr);
	if (rc == 1 && rule->cidr.family != family)
		rc = calico_wrong(at, "cidr", "an IPv%d CIDR", family == AF_INET ? 4 : 6);
	if (rc < 0)
		return rc;
	if (rc == 1 && !matched)
		return calico_wrong(at, "matchOperator", "Equal, NotEqual, In or NotIn, because cidr is given");
	if (rc == 0 && matched)
		return calico_wrong(at, "cidr", "a CIDR, because matchOperator is given");
	if (rc == 1) {
		rule->cidr = prefix_masked(&rule->cidr);
		rule->match = (enum match_operator)(MATCH_EQUAL + match);
	}
	return read_lengths(at, rule);
}

static int read_origin(const struct calico_at *at, struct bgp_filter_rule *rule)
{
	static const char *const sources[] = {"RemotePeers", NULL}, *const types[] = {"eBGP", "iBGP", NULL};
	int source, type, rc = calico_choice(at, "source", sources, &source);

	rule->remote_peers = rc == 1;
	if (rc >= 0)
		rc = calico_interface(at, "interface", rule->interface);
	if (rc >= 0)
		rc = calico_choice(at, "peerType", types, &type);
	if (rc == 1)
		rule->peer_type = type ? FILTER_IBGP : FILTER_EBGP;
	return rc;
}

static int read_community_match(const struct calico_at *at, struct bgp_filter_rule *rule)
{
	struct calico_at communities, item;
	const json_t *values = NULL;
	int rc = calico_enter(at, "communities", &communities);

	if (rc <= 0)
		return rc;
	rc = calico_list(&communities, "values", &values);
	if (rc < 0)
		return rc;
	if (json_array_size(values) != 1)
		return calico_wrong(&communities, "values", "exactly one community");
	calico_item(&communities, "values", 0, json_array_get(values, 0), &item);
	rc = calico_community(&item, NULL, &rule->community);
	if (rc == 0)
		rc = calico_wrong(&item, NULL, "a community such as 65000:100 or 65000:1:2");
	rule->has_community = rc == 1;
	return rc;
}

/* ret: room for max numbers. An empty list is none. */
static int read_as_path(const struct calico_at *at, const char *key, size_t max, uint32_t *ret, size_t *ret_len)
{
	const json_t *list = NULL, *entry;
	int rc = calico_list(at, key, &list);
	size_t i;

	if (rc <= 0)
		return rc;
	if (json_array_size(list) > max)
		return calico_wrong(at, key, "at most %zu AS numbers", max);
	json_array_foreach((json_t *)list, i, entry) {
		struct calico_at item;

		calico_item(at, key, i, entry, &item);
		rc = calico_as_number(&item, NULL, &ret[i]);
		if (rc == 0)
			rc = calico_wrong(&item, NULL, "an AS number from 1 to 4294967295");
		if (rc < 0)
			return rc;
	}
	*ret_len = json_array_size(list);
	return 1;
}

static int read_path_match(const struct calico_at *at, struct bgp_filter_rule *rule)
{
	uint32_t path[AS_PATH_MAX];
	int rc = read_as_path(at, "asPathPrefix", AS_PATH_MAX, path, &rule->as_path_len);

	if (rc <= 0 || !rule->as_path_len)
		return rc;
	rule->as_path = malloc(rule->as_path_len * sizeof(*path));
	if (!rule->as_path)
		return calico_no_memory(at);
	memcpy(rule->as_path, path, rule->as_path_len * sizeof(*path));
	return 1;
}

/* -- what it does -- */

static int read_operation_members(const struct calico_at *at, struct bgp_filter_operation *ret, int *count)
{
	struct calico_at member;
	int rc = calico_enter(at, "addCommunity", &member);

	if (rc == 1) {
		ret->kind = FILTER_ADD_COMMUNITY;
		rc = calico_community(&member, "value", &ret->community);
		if (rc == 0)
			rc = calico_wrong(&member, "value", "a community such as 65000:100 or 65000:1:2");
		(*count)++;
	}
	if (rc >= 0 && (rc = calico_enter(at, "prependASPath", &member)) == 1) {
		ret->kind = FILTER_PREPEND_AS_PATH;
		rc = read_as_path(&member, "prefix", ARRAY_SIZE(ret->as_path), ret->as_path, &ret->as_path_len);
		if (rc >= 0 && !ret->as_path_len)
			rc = calico_wrong(&member, "prefix", "1 to %zu AS numbers", ARRAY_SIZE(ret->as_path));
		(*count)++;
	}
	if (rc >= 0 && (rc = calico_enter(at, "setPriority", &member)) == 1) {
		ret->kind = FILTER_SET_PRIORITY;
		rc = calico_u32(&member, "value", 1, PRIORITY_MAX, &ret->priority);
		if (rc == 0)
			rc = calico_wrong(&member, "value", "1 to %d", PRIORITY_MAX);
		(*count)++;
	}
	return rc;
}

static int read_operation(const struct calico_at *at, struct bgp_filter_operation *ret)
{
	int count = 0, rc = json_is_object(at->json) ? read_operation_members(at, ret, &count) : 0;

	if (rc >= 0 && count != 1)
		rc = calico_wrong(at, NULL, "an object with one of addCommunity, prependASPath, setPriority");
	return rc;
}

static int read_operations(const struct calico_at *at, struct bgp_filter_rule *rule)
{
	const json_t *list = NULL, *entry;
	int rc = calico_list(at, "operations", &list);
	size_t i, max = ARRAY_SIZE(rule->operations);

	if (rc <= 0)
		return rc;
	if (!json_array_size(list) || json_array_size(list) > max)
		return calico_wrong(at, "operations", "1 to %zu of them", max);
	if (!rule->accept)
		return calico_wrong(at, "operations", "none, because action is Reject");
	json_array_foreach((json_t *)list, i, entry) {
		struct calico_at item;

		calico_item(at, "operations", i, entry, &item);
		rc = read_operation(&item, &rule->operations[i]);
		if (rc < 0)
			return rc;
	}
	rule->operation_count = json_array_size(list);
	return 1;
}

static int read_action(const struct calico_at *at, struct bgp_filter_rule *rule)
{
	static const char *const actions[] = {"Reject", "Accept", NULL};
	int action, rc = calico_choice(at, "action", actions, &action);

	if (rc == 0)
		rc = calico_wrong(at, "action", "Accept or Reject");
	if (rc < 0)
		return rc;
	rule->accept = action;
	return read_operations(at, rule);
}

/* -- rules -- */

/* A condition that is not known, or misspelt, would make the rule match what it was not meant for. */
static int check_members(const struct calico_at *at)
{
	static const char *const members[] = {
		"cidr", "matchOperator", "prefixLength", "source", "interface", "peerType", "communities", "asPathPrefix",
		"priority", "action", "operations", NULL,
	};
	const char *unknown;

	if (!json_is_object(at->json))
		return calico_wrong(at, NULL, "an object");
	unknown = calico_unknown(at, members);
	return unknown ? calico_wrong(at, unknown, "nothing: no such member is known here") : 0;
}

static int read_rule(const struct calico_at *at, int family, struct bgp_filter_rule *rule)
{
	int rc = check_members(at);

	rule->min_len = rule->max_len = -1;
	if (rc >= 0)
		rc = read_cidr(at, family, rule);
	if (rc >= 0)
		rc = read_origin(at, rule);
	if (rc >= 0)
		rc = read_community_match(at, rule);
	if (rc >= 0)
		rc = read_path_match(at, rule);
	if (rc >= 0)
		rc = calico_u32(at, "priority", 1, PRIORITY_MAX, &rule->priority);
	if (rc >= 0)
		rc = read_action(at, rule);
	return rc < 0 ? rc : 0;
}

static int read_rules(const struct calico_at *at, const char *key, int family, struct bgp_filter_rule **ret,
	size_t *ret_count)
{
	const json_t *list = NULL, *entry;
	int rc = calico_list(at, key, &list);
	size_t i;

	if (rc <= 0)
		return rc;
	*ret = calloc(json_array_size(list) + 1, sizeof(**ret));
	if (!*ret)
		return calico_no_memory(at);
	/* counted before it is read: a rule that breaks off has something to free already */
	json_array_foreach((json_t *)list, i, entry) {
		struct calico_at item;

		calico_item(at, key, i, entry, &item);
		*ret_count = i + 1;
		rc = read_rule(&item, family, &(*ret)[i]);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int calico_bgp_filter_parse(const json_t *object, struct bgp_filter **ret, struct err *err)
{
	_cleanup_(bgp_filter_free) struct bgp_filter *f = calloc(1, sizeof(*f));
	struct calico_at at;
	int rc = calico_begin(object, "BGPFilter", NULL, err, &at);

	if (rc < 0)
		return rc;
	if (!f || !(f->name = strdup(calico_name(object))))
		return calico_no_memory(&at);
	rc = read_rules(&at, "importV4", AF_INET, &f->import[FAMILY_4], &f->import_count[FAMILY_4]);
	if (rc >= 0)
		rc = read_rules(&at, "importV6", AF_INET6, &f->import[FAMILY_6], &f->import_count[FAMILY_6]);
	if (rc >= 0)
		rc = read_rules(&at, "exportV4", AF_INET, &f->export[FAMILY_4], &f->export_count[FAMILY_4]);
	if (rc >= 0)
		rc = read_rules(&at, "exportV6", AF_INET6, &f->export[FAMILY_6], &f->export_count[FAMILY_6]);
	if (rc < 0)
		return rc;
	*ret = TAKE_PTR(f);
	return 0;
}
