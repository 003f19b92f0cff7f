/* SPDX-License-Identifier: Apache-2.0
 *
 * The Kubernetes Node as Calico sees it (reference/calico.md 2.16), or Calico's own Node, which etcd has. Annotations are
 * written by the nodes themselves: a bad one costs what it says and nothing else.
 */
#include "resources/read.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "flannel/node.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PREFIX "projectcalico.org/"
#define EXCLUDE_LABEL "node.kubernetes.io/exclude-from-external-load-balancers"

/* -- annotations -- */

static bool is_usable(const struct addr *addr)
{
	return !addr_is_multicast(addr) && !addr_is_loopback(addr);
}

/* With its length, or alone: then no other address is in its subnet. */
static bool parse_address(const char *text, int family, struct prefix *ret)
{
	struct prefix prefix;
	struct addr addr;

	if (addr_parse(text, &addr) == 0)
		prefix = prefix_host(&addr);
	else if (prefix_parse(text, &prefix) < 0)
		return false;
	if (prefix.family != family || !addr_is_set(&prefix.addr) || !is_usable(&prefix.addr))
		return false;
	*ret = prefix;
	return true;
}

static bool parse_address_4(const char *text, void *ret)
{
	return parse_address(text, AF_INET, ret);
}

static bool parse_address_6(const char *text, void *ret)
{
	return parse_address(text, AF_INET6, ret);
}

static bool parse_addr(const char *text, int family, struct addr *ret)
{
	struct addr addr;

	if (addr_parse(text, &addr) < 0 || addr_family(&addr) != family || !is_usable(&addr))
		return false;
	*ret = addr;
	return true;
}

static bool parse_addr_4(const char *text, void *ret)
{
	return parse_addr(text, AF_INET, ret);
}

static bool parse_addr_6(const char *text, void *ret)
{
	return parse_addr(text, AF_INET6, ret);
}

static bool parse_mac(const char *text, void *ret)
{
	struct mac mac;

	if (mac_parse(text, &mac) < 0 || !mac_is_set(&mac) || (mac.b[0] & 1))
		return false;
	*(struct mac *)ret = mac;
	return true;
}

static bool parse_as_number(const char *text, void *ret)
{
	return calico_parse_as_number(text, ret);
}

static const struct annotation {
	const char *name;
	const char *group, *member; /* what Calico's own Node (etcd) has instead, below spec; group null: right there */
	bool (*parse)(const char *text, void *ret);
	size_t offset;
	const char *expected;
} annotations[] = {
	{"IPv4Address", "bgp", "ipv4Address", parse_address_4, offsetof(struct node, address[FAMILY_4]),
		"an IPv4 address with its length, such as 192.0.2.5/24"},
	{"IPv6Address", "bgp", "ipv6Address", parse_address_6, offsetof(struct node, address[FAMILY_6]),
		"an IPv6 address with its length, such as 2001:db8::5/64"},
	{"ASNumber", "bgp", "asNumber", parse_as_number, offsetof(struct node, as_number),
		"an AS number from 1 to 4294967295"},
	{"RouteReflectorClusterID", "bgp", "routeReflectorClusterID", parse_addr_4, offsetof(struct node, cluster_id),
		"an ID that looks like an IPv4 address"},
	{"IPv4IPIPTunnelAddr", "bgp", "ipv4IPIPTunnelAddr", parse_addr_4, offsetof(struct node, ipip_addr),
		"an IPv4 address"},
	{"IPv4VXLANTunnelAddr", NULL, "ipv4VXLANTunnelAddr", parse_addr_4, offsetof(struct node, vxlan_addr[FAMILY_4]),
		"an IPv4 address"},
	{"IPv6VXLANTunnelAddr", NULL, "ipv6VXLANTunnelAddr", parse_addr_6, offsetof(struct node, vxlan_addr[FAMILY_6]),
		"an IPv6 address"},
	{"VXLANTunnelMACAddr", NULL, "vxlanTunnelMACAddr", parse_mac, offsetof(struct node, vxlan_mac[FAMILY_4]),
		"a unicast MAC address"},
	{"VXLANTunnelMACAddrV6", NULL, "vxlanTunnelMACAddrV6", parse_mac, offsetof(struct node, vxlan_mac[FAMILY_6]),
		"a unicast MAC address"},
};

static bool is_said(const json_t *value)
{
	return value && !json_is_null(value) && !(json_is_string(value) && !json_string_length(value));
}

/* ret: at the annotation, or at the member of Calico's own Node. False: neither says anything. */
static bool find_value(const struct calico_at *at, const json_t *object, const struct annotation *a, struct calico_at *ret)
{
	const json_t *spec = json_object_get(object, "spec");
	char key[64];

	*ret = *at;
	snprintf(key, sizeof(key), PREFIX "%s", a->name);
	snprintf(ret->path, sizeof(ret->path), "annotation %s", key);
	ret->json = json_object_get(json_object_get(json_object_get(object, "metadata"), "annotations"), key);
	if (is_said(ret->json))
		return true;
	snprintf(ret->path, sizeof(ret->path), "spec.%s%s%s", a->group ? a->group : "", a->group ? "." : "", a->member);
	ret->json = json_object_get(a->group ? json_object_get(spec, a->group) : spec, a->member);
	return is_said(ret->json);
}

static bool parse_value(const struct annotation *a, const json_t *value, struct node *node)
{
	const char *text = json_string_value(value);
	char number[32];

	if (text && strlen(text) != json_string_length(value))
		return false;
	if (json_is_integer(value) && a->group) {
		snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
		text = number;
	}
	return text && a->parse(text, (char *)node + a->offset);
}

static void read_annotations(const struct calico_at *at, const json_t *object, struct node *node)
{
	for (size_t i = 0; i < ARRAY_SIZE(annotations); i++) {
		struct err err = ERR_INIT;
		struct calico_at place;

		if (!find_value(at, object, &annotations[i], &place) || parse_value(&annotations[i], place.json, node))
			continue;
		place.err = &err;
		calico_wrong(&place, NULL, "%s", annotations[i].expected);
		calico_remark_ignored(at, &err);
	}
}

/* -- labels -- */

static int set_labels(const struct calico_at *at, const json_t *object, struct labels *labels)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)object, key, value)
		if (json_is_string(value) && labels_set(labels, key, json_string_value(value)) < 0)
			return calico_no_memory(at);
	return 0;
}

/* Those that only Calico knows lie in an annotation; Kubernetes' own count where both have one. */
static int read_labels(const struct calico_at *at, const json_t *object, struct node *node)
{
	const char *text = calico_annotation(object, PREFIX "labels");
	_cleanup_(json_cleanup) json_t *more = text && *text ? json_loads(text, 0, NULL) : NULL;
	const char *exclude;
	int rc;

	node->labels = labels_new();
	if (!node->labels)
		return calico_no_memory(at);
	if (text && *text && !json_is_object(more))
		calico_remark(at, "annotation " PREFIX "labels is no object of labels in JSON; ignored");
	rc = set_labels(at, more, node->labels);
	if (rc == 0)
		rc = set_labels(at, json_object_get(json_object_get(object, "metadata"), "labels"), node->labels);
	exclude = labels_get(node->labels, EXCLUDE_LABEL);
	node->exclude_from_balancers = exclude && strcmp(exclude, "true") == 0;
	return rc;
}

/* -- status and spec -- */

/* Calico's own Node has lengths behind its addresses. */
static void add_other(const struct calico_at *at, const json_t *entry, size_t index, struct node *node)
{
	const char *type = json_string_value(json_object_get(entry, "type"));
	struct prefix prefix;
	struct calico_at place;
	struct err err = ERR_INIT;
	int rc;

	if (!type || (strcmp(type, "InternalIP") != 0 && strcmp(type, "ExternalIP") != 0))
		return;
	calico_item(at, "addresses", index, entry, &place);
	place.err = &err;
	rc = calico_prefix_or_addr(&place, "address", &prefix);
	if (rc == 1 && addr_is_set(&prefix.addr))
		node->others[node->other_count++] = prefix.addr;
	else if (rc < 0)
		calico_remark_ignored(at, &err);
}

static int read_others(const struct calico_at *at, const json_t *object, struct node *node)
{
	const json_t *list = json_object_get(json_object_get(object, "status"), "addresses"), *entry;
	struct calico_at place = *at;
	bool is_core = json_array_size(list);
	size_t i;

	snprintf(place.path, sizeof(place.path), is_core ? "status" : "spec");
	if (!is_core)
		list = json_object_get(json_object_get(object, "spec"), "addresses");
	if (!json_array_size(list))
		return 0;
	node->others = calloc(json_array_size(list), sizeof(*node->others));
	if (!node->others)
		return calico_no_memory(at);
	json_array_foreach((json_t *)list, i, entry)
		add_other(&place, entry, i, node);
	return 0;
}

/* status.podCIDRs is where Calico's own Node has what the Kubernetes Node has in spec. */
static void read_pod_cidrs(const struct calico_at *at, const json_t *object, struct node *node)
{
	const json_t *status = json_object_get(object, "status");
	_cleanup_(json_cleanup) json_t *own = json_pack("{s:{s:O*}}", "spec", "podCIDRs", json_object_get(status, "podCIDRs"));
	struct err err = ERR_INIT;
	int rc = flannel_node_pod_cidrs(object, node->pod_cidr, &err);

	if (rc == 0 && own)
		rc = flannel_node_pod_cidrs(own, node->pod_cidr, &err);
	if (rc < 0)
		calico_remark(at, "%s; ignored", err_text(&err));
}

int calico_node_parse(const json_t *object, const struct calico_remarks *remarks, struct node **ret, struct err *err)
{
	_cleanup_(node_free) struct node *node = calloc(1, sizeof(*node));
	struct calico_at at;
	int rc = calico_begin(object, "Node", remarks, err, &at);

	if (rc < 0)
		return rc;
	if (!node || !(node->name = strdup(calico_name(object))))
		return calico_no_memory(&at);
	read_annotations(&at, object, node);
	for (int f = 0; f < FAMILY_COUNT; f++)
		if (!mac_is_set(&node->vxlan_mac[f]))
			node->vxlan_mac[f] = node_derive_vxlan_mac(node->name, f);
	read_pod_cidrs(&at, object, node);
	rc = read_labels(&at, object, node);
	if (rc == 0)
		rc = read_others(&at, object, node);
	if (rc < 0)
		return rc;
	*ret = TAKE_PTR(node);
	return 0;
}
