/* SPDX-License-Identifier: Apache-2.0
 *
 * FelixConfiguration (reference/calico.md 2.14): a table of parameters, and the objects of a cluster laid over each
 * other. A parameter is the member of spec of its name, or, without one, the annotation
 * config.projectcalico.org/<its name>, whose text is first turned into what the member would be.
 */
#include "resources/read.h"

#include "base/cleanup.h"
#include "base/json.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define RAW_PREFIX "config.projectcalico.org/"
#define NODE_PREFIX "node."
#define UPSTREAM_PROTOCOL 3 /* "boot": upstream's default, and its way to say "none in particular" */

/* How a raw text becomes a JSON value. */
enum raw { RAW_TEXT, RAW_BOOL, RAW_NUMBER, RAW_LIST };

struct parameter {
	const char *name;
	/* 1: taken; 0: absent; negative: at->err tells, felix is untouched. */
	int (*take)(const struct parameter *p, const struct calico_at *at, const char *key, struct felix *felix);
	enum raw raw;
	size_t offset, size; /* of the member of struct felix */
	int64_t min, max;
	const char *const *choices;
};

static void *member(const struct parameter *p, struct felix *felix)
{
	return (char *)felix + p->offset;
}

/* -- kinds of parameters -- */

static int take_bool(const struct parameter *p, const struct calico_at *at, const char *key, struct felix *felix)
{
	return calico_bool(at, key, member(p, felix));
}

static int take_tristate(const struct parameter *p, const struct calico_at *at, const char *key, struct felix *felix)
{
	enum tristate *state = member(p, felix);
	bool value;
	int rc = calico_bool(at, key, &value);

	if (rc == 1)
		*state = value ? TRISTATE_YES : TRISTATE_NO;
	return rc;
}

static int take_number(const struct parameter *p, const struct calico_at *at, const char *key, struct felix *felix)
{
	void *number = member(p, felix);
	int64_t n;
	int rc = calico_int(at, key, p->min, p->max, &n);

	if (rc == 1 && p->size == sizeof(uint16_t))
		*(uint16_t *)number = (uint16_t)n;
	else if (rc == 1)
		*(uint32_t *)number = (uint32_t)n;
	return rc;
}

static int take_protocol(const struct parameter *p, const struct calico_at *at, const char *key, struct felix *felix)
{
	int64_t n;
	int rc = calico_int(at, key, p->min, p->max, &n);

	if (rc == 1)
		felix->route_protocol = n == UPSTREAM_PROTOCOL ? 0 : (uint8_t)n;
	return rc;
}

static int take_choice(const struct parameter *p, const struct calico_at *at, const char *key, struct felix *felix)
{
	int *choice = member(p, felix);

	return calico_choice_any_case(at, key, p->choices, choice);
}

static int take_enabled(const struct parameter *p, const struct calico_at *at, const char *key, struct felix *felix)
{
	static const char *const words[] = {"Disabled", "Enabled", NULL};
	bool *enabled = member(p, felix);
	int index, rc = calico_choice_any_case(at, key, words, &index);

	if (rc == 1)
		*enabled = index;
	return rc;
}

/* p->min: the only family that it may have; 0: the one it has says which one of two members it is. */
static int take_addr(const struct parameter *p, const struct calico_at *at, const char *key, struct felix *felix)
{
	struct addr *addrs = member(p, felix), addr;
	int rc = calico_addr(at, key, &addr);

	if (rc <= 0)
		return rc;
	if (addr_is_multicast(&addr) || addr_is_loopback(&addr))
		return calico_wrong(at, key, "an address of this host");
	if (p->min && p->min != addr_family(&addr))
		return calico_wrong(at, key, "an IPv%d address", p->min == AF_INET ? 4 : 6);
	addrs[p->min ? 0 : family_index(addr_family(&addr))] = addr;
	return 1;
}

/* p->choices[0]: what it may consist of besides letters and digits; null: anything printable. p->min: characters. */
static int take_string(const struct parameter *p, const struct calico_at *at, const char *key, struct felix *felix)
{
	const char *text, *others = p->choices ? p->choices[0] : NULL;
	int rc = calico_text(at, key, &text);
	size_t len;

	if (rc <= 0)
		return rc;
	len = strlen(text);
	if (len >= p->size || len < (size_t)p->min)
		return calico_wrong(at, key, "%lld to %zu characters", (long long)p->min, p->size - 1);
	for (size_t i = 0; i < len; i++)
		if (others ? !isalnum((unsigned char)text[i]) && !strchr(others, text[i]) : !isprint((unsigned char)text[i]))
			return calico_wrong(at, key, "letters, digits and %s", others ? others : "printable characters");
	memset(member(p, felix), 0, p->size);
	memcpy(member(p, felix), text, len);
	return 1;
}

/* "1000:2000", "1000", or the number 1000. */
static int take_ports(const struct parameter *p, const struct calico_at *at, const char *key, struct felix *felix)
{
	const json_t *value = key ? json_object_get(at->json, key) : at->json;
	unsigned min, max;
	const char *text;
	char rest;
	int rc;

	if (json_is_integer(value)) {
		rc = calico_u16(at, key, 0, UINT16_MAX, &felix->nat_port_min);
		felix->nat_port_max = rc == 1 ? felix->nat_port_min : felix->nat_port_max;
		return rc;
	}
	rc = calico_text(at, key, &text);
	if (rc <= 0 || !*text)
		return rc < 0 ? rc : 0;
	if (strspn(text, "0123456789:") != strlen(text) || strlen(text) > 11 ||
		(sscanf(text, "%5u:%5u%c", &min, &max, &rest) != 2 && (max = 0, sscanf(text, "%5u%c", &min, &rest)) != 1))
		return calico_wrong(at, key, "a range of ports such as 10000:20000");
	max = strchr(text, ':') ? max : min;
	if (max > UINT16_MAX || min > max)
		return calico_wrong(at, key, "a range of ports from 0 to 65535, the lower one first");
	felix->nat_port_min = (uint16_t)min;
	felix->nat_port_max = (uint16_t)max;
	return 1;
}

/* Entries stand for themselves: a bad one costs nobody else his tunnel. */
static int take_externals(const struct parameter *p, const struct calico_at *at, const char *key, struct felix *felix)
{
	const json_t *list, *entry;
	int rc = calico_list(at, key, &list);
	size_t i;

	if (rc <= 0)
		return rc;
	felix->external_count = 0;
	json_array_foreach((json_t *)list, i, entry) {
		struct err err = ERR_INIT;
		struct calico_at item;
		struct prefix prefix;

		calico_item(at, key, i, entry, &item);
		item.err = &err;
		if (felix->external_count == FELIX_EXTERNALS_MAX) {
			calico_wrong(&item, NULL, "no entry behind the first %d", FELIX_EXTERNALS_MAX);
			calico_remark_ignored(at, &err);
			break;
		}
		if (calico_prefix_or_addr(&item, NULL, &prefix) == 1)
			felix->externals[felix->external_count++] = prefix_masked(&prefix);
		else if (err.code)
			calico_remark_ignored(at, &err);
	}
	return 1;
}

/* -- failsafe ports -- */

/* Of a raw text: "tcp:22", "tcp:10.0.0.0/8:22", or "22", which is TCP. */
static json_t *failsafe_of(const char *text)
{
	const char *last = strrchr(text, ':'), *first = strchr(text, ':');
	json_t *entry = json_pack("{s:I}", "port", (json_int_t)strtoll(last ? last + 1 : text, NULL, 10));

	if (first)
		json_object_set_new(entry, "protocol", json_stringn(text, (size_t)(first - text)));
	if (first != last)
		json_object_set_new(entry, "net", json_stringn(first + 1, (size_t)(last - first - 1)));
	return entry;
}

static int take_failsafe(const struct calico_at *at, struct failsafe *ret)
{
	static const char *const names[] = {"TCP", "UDP", "SCTP", NULL};
	static const uint8_t numbers[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP};
	struct failsafe one = {0};
	int choice = 0, rc;

	if (!json_is_object(at->json))
		return calico_wrong(at, NULL, "an object with protocol and port");
	rc = calico_choice_any_case(at, "protocol", names, &choice);
	if (rc >= 0)
		rc = calico_u16(at, "port", 1, UINT16_MAX, &one.port);
	if (rc == 0)
		rc = calico_wrong(at, "port", "a number of 1 to 65535");
	if (rc > 0)
		rc = calico_prefix_or_addr(at, "net", &one.net);
	if (rc < 0)
		return rc;
	one.protocol = numbers[choice];
	one.net = prefix_masked(&one.net);
	*ret = one;
	return 1;
}

/* Entries stand for themselves: a bad one must not close the others. */
static int take_failsafes(const struct parameter *p, const struct calico_at *at, const char *key, struct felix *felix)
{
	struct failsafes *all = member(p, felix);
	const json_t *list, *entry;
	int rc = calico_list(at, key, &list);
	size_t i;

	if (rc <= 0)
		return rc;
	all->count = 0;
	json_array_foreach((json_t *)list, i, entry) {
		_cleanup_(json_cleanup) json_t *made = json_is_string(entry) ? failsafe_of(json_string_value(entry)) : NULL;
		struct err err = ERR_INIT;
		struct calico_at item;

		calico_item(at, key, i, made ? made : entry, &item);
		item.err = &err;
		if (all->count == FAILSAFES_MAX)
			calico_wrong(&item, NULL, "no entry behind the first %d", FAILSAFES_MAX);
		else if (take_failsafe(&item, &all->items[all->count]) == 1)
			all->count++;
		if (err.code)
			calico_remark_ignored(at, &err);
	}
	return 1;
}

/* -- the parameters -- */

#define MEMBER(field) .offset = offsetof(struct felix, field), .size = sizeof(((struct felix *)0)->field)
#define PRIORITY_MAX 2147483646

static const char *const programs[] = {
	[PROGRAM_ALL] = "Enabled", [PROGRAM_NONE] = "Disabled", [PROGRAM_IPIP_ONLY] = "EnabledIPIPOnly",
	[PROGRAM_NO_ENCAP_ONLY] = "EnabledNoEncapOnly", NULL,
};
static const char *const exclusions[] = {
	[NAT_EXCLUDE_POOLS] = "IPPoolsOnly", [NAT_EXCLUDE_POOLS_AND_HOSTS] = "IPPoolsAndHostIPs", NULL,
};
static const char *const in_prefixes[] = {"_-.,"}, *const in_interface[] = {"_-.:+*"};

static const struct parameter parameters[] = {
	{"vxlanPort", take_number, RAW_NUMBER, MEMBER(vxlan_port), 1, UINT16_MAX},
	{"vxlanVNI", take_number, RAW_NUMBER, MEMBER(vxlan_vni), 1, (1 << 24) - 1},
	{"vxlanMTU", take_number, RAW_NUMBER, MEMBER(vxlan_mtu[FAMILY_4]), 0, UINT16_MAX},
	{"vxlanMTUV6", take_number, RAW_NUMBER, MEMBER(vxlan_mtu[FAMILY_6]), 0, UINT16_MAX},
	{"ipipMTU", take_number, RAW_NUMBER, MEMBER(ipip_mtu), 0, UINT16_MAX},
	{"vxlanEnabled", take_tristate, RAW_BOOL, MEMBER(vxlan_enabled)},
	{"ipipEnabled", take_tristate, RAW_BOOL, MEMBER(ipip_enabled)},
	{"allowVXLANPacketsFromWorkloads", take_bool, RAW_BOOL, MEMBER(vxlan_from_workloads)},
	{"allowIPIPPacketsFromWorkloads", take_bool, RAW_BOOL, MEMBER(ipip_from_workloads)},
	{"ipv6Support", take_bool, RAW_BOOL, MEMBER(ipv6)},
	{"ipForwarding", take_enabled, RAW_TEXT, MEMBER(ip_forwarding)},
	{"removeExternalRoutes", take_bool, RAW_BOOL, MEMBER(remove_external_routes)},
	{"programClusterRoutes", take_choice, RAW_TEXT, MEMBER(program_routes), .choices = programs},
	{"deviceRouteProtocol", take_protocol, RAW_NUMBER, MEMBER(route_protocol), 0, UINT8_MAX},
	{"deviceRouteSourceAddress", take_addr, RAW_TEXT, MEMBER(route_source[FAMILY_4]), AF_INET},
	{"deviceRouteSourceAddressIPv6", take_addr, RAW_TEXT, MEMBER(route_source[FAMILY_6]), AF_INET6},
	{"ipv4NormalRoutePriority", take_number, RAW_NUMBER, MEMBER(route_priority[FAMILY_4]), 1, PRIORITY_MAX},
	{"ipv6NormalRoutePriority", take_number, RAW_NUMBER, MEMBER(route_priority[FAMILY_6]), 1, PRIORITY_MAX},
	{"mtuIfacePattern", take_string, RAW_TEXT, MEMBER(mtu_iface_pattern), 1},
	{"interfacePrefix", take_string, RAW_TEXT, MEMBER(interface_prefix), 1, .choices = in_prefixes},
	{"natPortRange", take_ports, RAW_TEXT, MEMBER(nat_port_min)},
	{"natOutgoingAddress", take_addr, RAW_TEXT, MEMBER(nat_address)},
	{"natOutgoingExclusions", take_choice, RAW_TEXT, MEMBER(nat_exclusions), .choices = exclusions},
	{"iptablesNATOutgoingInterfaceFilter", take_string, RAW_TEXT, MEMBER(nat_iface_filter), .choices = in_interface},
	{"externalNodesList", take_externals, RAW_LIST, MEMBER(externals)},
	{"failsafeInboundHostPorts", take_failsafes, RAW_LIST, MEMBER(failsafes[POLICY_INGRESS])},
	{"failsafeOutboundHostPorts", take_failsafes, RAW_LIST, MEMBER(failsafes[POLICY_EGRESS])},
};

/* "None": explicitly nothing, where nothing else can be said with the value. */
static bool take_none(const struct parameter *p, const json_t *value, struct felix *felix)
{
	static const struct felix nothing;
	const char *text = json_string_value(value);

	if (!text || strcasecmp(text, "none") != 0)
		return false;
	if (p->take == take_ports)
		felix->nat_port_min = felix->nat_port_max = 0;
	else if (p->take == take_externals)
		felix->external_count = 0;
	else if (p->take == take_failsafes)
		((struct failsafes *)member(p, felix))->count = 0;
	else if (p->take == take_addr || ((p->take == take_string || p->take == take_number) && p->min == 0))
		memcpy(member(p, felix), (const char *)&nothing + p->offset, p->size);
	else
		return false;
	return true;
}

/* -- raw texts -- */

static json_t *bool_of(const char *text)
{
	static const char *const yes[] = {"true", "1", "yes", "y", "t"}, *const no[] = {"false", "0", "no", "n", "f"};

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		if (strcasecmp(text, yes[i]) == 0)
			return json_true();
		if (strcasecmp(text, no[i]) == 0)
			return json_false();
	}
	return json_string(text);
}

static json_t *number_of(const char *text)
{
	size_t len = strlen(text);

	if (!len || len > 18 || strspn(text, "0123456789") != len)
		return json_string(text);
	return json_integer(strtoll(text, NULL, 10));
}

static json_t *list_of(const char *text)
{
	_cleanup_free_ char *copy = strdup(text);
	json_t *list = json_array();

	for (char *save, *word = copy ? strtok_r(copy, ", ", &save) : NULL; word; word = strtok_r(NULL, ", ", &save))
		json_array_append_new(list, json_string(word));
	return list;
}

/* What is no value of its kind stays a text, which the parameter then refuses with the usual words. */
static json_t *value_of(enum raw raw, const char *text)
{
	if (strcasecmp(text, "none") == 0 || raw == RAW_TEXT)
		return json_string(text);
	return raw == RAW_BOOL ? bool_of(text) : raw == RAW_NUMBER ? number_of(text) : list_of(text);
}

/* -- one object -- */

static void take(const struct parameter *p, const struct calico_at *at, const char *key, struct felix *felix)
{
	const json_t *value = key ? json_object_get(at->json, key) : at->json;
	struct calico_at place = *at;
	struct err err = ERR_INIT;

	place.err = &err;
	if (!take_none(p, value, felix) && p->take(p, &place, key, felix) < 0)
		calico_remark_ignored(at, &err);
}

static const char *raw_text(const json_t *object, const char *name, const char **ret_key)
{
	json_t *annotations = json_object_get(json_object_get(object, "metadata"), "annotations"), *value;
	const char *key;

	json_object_foreach(annotations, key, value) {
		if (strncmp(key, RAW_PREFIX, strlen(RAW_PREFIX)) == 0 && strcasecmp(key + strlen(RAW_PREFIX), name) == 0) {
			*ret_key = key;
			return calico_annotation(object, key);
		}
	}
	return NULL;
}

static void take_raw(const struct parameter *p, const struct calico_at *at, const json_t *object, struct felix *felix)
{
	_cleanup_(json_cleanup) json_t *value = NULL;
	struct calico_at place = *at;
	const char *key, *text = raw_text(object, p->name, &key);

	if (!text)
		return;
	value = value_of(p->raw, text);
	place.json = value;
	snprintf(place.path, sizeof(place.path), "annotation %s", key);
	if (value)
		take(p, &place, NULL, felix);
}

static void lay_over(const json_t *object, const struct calico_remarks *remarks, struct felix *felix)
{
	struct err err = ERR_INIT;
	struct calico_at at;

	if (calico_begin(object, "FelixConfiguration", remarks, &err, &at) < 0) {
		calico_remark_ignored(&at, &err);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(parameters); i++) {
		const struct parameter *p = &parameters[i];
		const json_t *value = json_object_get(at.json, p->name);

		if (value && !json_is_null(value))
			take(p, &at, p->name, felix);
		else
			take_raw(p, &at, object, felix);
	}
}

/* -- which objects -- */

struct chosen {
	const json_t *cluster, *selected, *node;
};

static const json_t *selector_of(const json_t *object)
{
	const json_t *value = json_object_get(json_object_get(object, "spec"), "nodeSelector");

	return json_is_null(value) ? NULL : value;
}

/* The oldest, then by name: every agent must choose alike. */
static bool is_before(const json_t *a, const json_t *b)
{
	int64_t x = calico_created(a), y = calico_created(b);

	return x != y ? x < y : strcmp(calico_name(a), calico_name(b)) < 0;
}

static void choose_by_selector(const json_t *object, const struct labels *labels, const struct calico_remarks *remarks,
	struct chosen *chosen)
{
	_cleanup_(selector_free) struct selector *selector = NULL;
	const json_t *loser = object;
	struct err err = ERR_INIT;
	struct calico_at at;
	int rc = calico_begin(object, "FelixConfiguration", remarks, &err, &at);

	if (rc == 0)
		rc = calico_selector(&at, "nodeSelector", &selector);
	if (rc < 0) {
		calico_remark_ignored(&at, &err);
		return;
	}
	if (rc == 0) {
		calico_remark(&at, "has neither the name \"default\" or \"node.<name>\" nor a spec.nodeSelector: it is for nobody");
		return;
	}
	if (!selector_matches_labels(selector, labels))
		return;
	if (!chosen->selected || is_before(object, chosen->selected)) {
		loser = chosen->selected;
		chosen->selected = object;
	}
	if (loser)
		calico_remark(&at, "FelixConfigurations %.120s and %.120s both select this node: the older one "
				   "counts, and that is %.120s",
			calico_name(loser), calico_name(chosen->selected), calico_name(chosen->selected));
}

/* The two reserved kinds of names; a selector of theirs is not looked at. */
static void choose_by_name(const json_t *object, const struct calico_remarks *remarks, const json_t **ret)
{
	struct err err = ERR_INIT;
	struct calico_at at;

	*ret = object;
	if (selector_of(object) && calico_begin(object, "FelixConfiguration", remarks, &err, &at) == 0)
		calico_remark(&at, "spec.nodeSelector may not be in an object of this name; ignored");
}

struct felix calico_felix_merge(const json_t *const *objects, size_t count, const char *node,
	const struct labels *labels, const struct calico_remarks *remarks)
{
	struct felix felix = felix_defaults();
	struct chosen chosen = {0};

	for (size_t i = 0; i < count; i++) {
		const char *name = calico_name(objects[i]);

		if (!name || !calico_name_is_sane(name))
			lay_over(objects[i], remarks, &felix); /* only says what is wrong with it */
		else if (strcmp(name, "default") == 0)
			choose_by_name(objects[i], remarks, &chosen.cluster);
		else if (strncmp(name, NODE_PREFIX, strlen(NODE_PREFIX)) != 0)
			choose_by_selector(objects[i], labels, remarks, &chosen);
		else if (strcmp(name + strlen(NODE_PREFIX), node) == 0)
			choose_by_name(objects[i], remarks, &chosen.node);
	}
	if (chosen.cluster)
		lay_over(chosen.cluster, remarks, &felix);
	if (chosen.selected)
		lay_over(chosen.selected, remarks, &felix);
	if (chosen.node)
		lay_over(chosen.node, remarks, &felix);
	return felix;
}
