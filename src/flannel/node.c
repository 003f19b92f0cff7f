/* SPDX-License-Identifier: Apache-2.0 */
#include "flannel/node.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "flannel/flannel.h"
#include "flannel/json.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MARKER "kube-subnet-manager"
#define ANNOTATION_MAX 4096 /* bytes; the longest that means anything has 60 */

/* The two families' annotations. */
static const struct family_names {
	int family;
	const char *word, *public_ip, *data;
} names[FAMILY_COUNT] = {
	[FAMILY_4] = {AF_INET, "IPv4", "public-ip", "backend-data"},
	[FAMILY_6] = {AF_INET6, "IPv6", "public-ipv6", "backend-v6-data"},
};

/* -- names -- */

static bool all_of(const char *text, size_t len, const char *others)
{
	for (size_t i = 0; i < len; i++)
		if (!islower((unsigned char)text[i]) && !isdigit((unsigned char)text[i]) && !strchr(others, text[i]))
			return false;
	return true;
}

int flannel_node_prefix(const char *text, char ret[static FLANNEL_PREFIX_MAX], struct err *err)
{
	const char *slash = strchr(text, '/');
	size_t domain = slash ? (size_t)(slash - text) : strlen(text);
	const char *rest = slash ? slash + 1 : "";
	const char *dot = memchr(text, '.', domain);
	char last;

	if (strlen(text) > FLANNEL_PREFIX_MAX - 32 || !dot || !isalnum((unsigned char)text[0]) || dot == text ||
		!isalnum((unsigned char)text[domain - 1]) || !all_of(text, domain, ".-") || !all_of(rest, strlen(rest), "_-"))
		return err_set(err, -EINVAL, "annotation prefix is \"%.100s\", expected a dotted lower-case name, then at most "
			"one \"/\" with lower-case letters, digits, \"_\" and \"-\" behind it, such as flannel.alpha.coreos.com",
			text);
	snprintf(ret, FLANNEL_PREFIX_MAX, "%s%s", text, slash ? "" : "/");
	last = ret[strlen(ret) - 1];
	if (last != '/' && last != '-')
		strncat(ret, "-", FLANNEL_PREFIX_MAX - strlen(ret) - 1);
	return 0;
}

/* FNV-1a, 64 bits: tells long names with one beginning apart, no more. */
static uint64_t hash(const char *text)
{
	uint64_t value = 0xcbf29ce484222325u;

	for (; *text; text++)
		value = (value ^ (uint8_t)*text) * 0x100000001b3u;
	return value;
}

const char *flannel_node_key(const char *name, char ret[static LEASE_KEY_MAX])
{
	if (strlen(name) < LEASE_KEY_MAX)
		snprintf(ret, LEASE_KEY_MAX, "%s", name);
	else
		snprintf(ret, LEASE_KEY_MAX, "%.*s~%016llx", LEASE_KEY_MAX - 18, name, (unsigned long long)hash(name));
	return ret;
}

const char *flannel_node_name(const json_t *node)
{
	const char *name = json_string_value(json_object_get(json_object_get(node, "metadata"), "name"));

	return name && *name && strlen(name) < KUBE_NAME_MAX && all_of(name, strlen(name), ".-") ? name : NULL;
}

const char *flannel_node_annotation(const json_t *node, const char *prefix, const char *name)
{
	const json_t *annotations = json_object_get(json_object_get(node, "metadata"), "annotations");
	char full[FLANNEL_PREFIX_MAX + 32];

	snprintf(full, sizeof(full), "%s%s", prefix, name);
	return json_string_value(json_object_get(annotations, full));
}

/* -- node to lease -- */

/* What somebody wrote, fit for a log line: control characters would let it forge others. */
static const char *quoted(const char *text, char ret[static 64])
{
	size_t n = 0;

	for (; text[n] && n < 60; n++)
		ret[n] = text[n] >= 0x20 && text[n] < 0x7f ? text[n] : '?';
	ret[n] = 0;
	return ret;
}

static int take_cidr(const char *text, struct prefix ret[FAMILY_COUNT], struct err *err)
{
	struct prefix prefix;
	char shown[64];

	if (prefix_parse(text, &prefix) < 0 || !prefix.len)
		return err_set(err, -EINVAL, "podCIDR is \"%s\", expected a CIDR such as 10.244.1.0/24", quoted(text, shown));
	if (prefix_is_set(&ret[family_index(prefix.family)]))
		return err_set(err, -EINVAL, "podCIDRs has a second one of its family, \"%s\": expected at most one of each",
			quoted(text, shown));
	ret[family_index(prefix.family)] = prefix_masked(&prefix);
	return 0;
}

int flannel_node_pod_cidrs(const json_t *node, struct prefix ret[FAMILY_COUNT], struct err *err)
{
	const json_t *spec = json_object_get(node, "spec");
	const json_t *list = json_object_get(spec, "podCIDRs");
	const char *one = json_string_value(json_object_get(spec, "podCIDR"));
	struct prefix found[FAMILY_COUNT] = {0};
	json_t *item;
	size_t i;
	int rc = 0;

	json_array_foreach((json_t *)list, i, item) {
		if (!json_is_string(item))
			return err_set(err, -EINVAL, "podCIDRs: entry %zu is no text, expected a CIDR", i);
		rc = take_cidr(json_string_value(item), found, err);
		if (rc < 0)
			return rc;
	}
	if (!json_array_size(list) && one && *one)
		rc = take_cidr(one, found, err);
	if (rc < 0)
		return rc;
	memcpy(ret, found, sizeof(found));
	return prefix_is_set(&found[FAMILY_4]) || prefix_is_set(&found[FAMILY_6]);
}

/* Text of an annotation with its full name for messages; too long is as bad as unreadable. */
static int annotation(const json_t *node, const char *prefix, const char *name, const char **ret, struct err *err)
{
	*ret = flannel_node_annotation(node, prefix, name);
	if (*ret && strlen(*ret) > ANNOTATION_MAX)
		return err_set(err, -EMSGSIZE, "annotation %s%s has %zu bytes, expected at most %d", prefix, name, strlen(*ret),
			ANNOTATION_MAX);
	return 0;
}

static int parse_public_ip(const json_t *node, const char *prefix, int f, struct addr *ret, struct err *err)
{
	struct addr addr;
	const char *text;
	char shown[64];
	int rc = annotation(node, prefix, names[f].public_ip, &text, err);

	if (rc < 0 || !text || !*text || strcmp(text, "0.0.0.0") == 0)
		return rc;
	if (addr_parse(text, &addr) < 0 || addr_family(&addr) != names[f].family || addr_is_multicast(&addr) ||
		addr_is_loopback(&addr))
		return err_set(err, -EINVAL, "annotation %s%s is \"%s\", expected the node's %s address", prefix,
			names[f].public_ip, quoted(text, shown), names[f].word);
	*ret = addr;
	return 0;
}

/* The two words of vxlan's data, by the lease object's own parser. */
static int parse_vxlan_data(const json_t *node, const char *prefix, int f, struct lease *lease, struct err *err)
{
	_cleanup_(json_cleanup) json_t *data = NULL;
	const char *mac = NULL;
	char where[FLANNEL_PREFIX_MAX + 48], shown[64];
	const char *text;
	int64_t vni;
	int rc = annotation(node, prefix, names[f].data, &text, err);

	if (rc < 0 || !text || !*text || strcmp(text, "null") == 0)
		return rc;
	snprintf(where, sizeof(where), "annotation %s%s", prefix, names[f].data);
	rc = flannel_object_parse(text, strlen(text), where, &data, err);
	if (rc == 0)
		rc = flannel_get_int(data, where, "VNI", 0, UINT32_MAX, &vni, err);
	if (rc > 0) {
		lease->has_vni = true;
		lease->vni = (uint32_t)vni;
	}
	if (rc >= 0)
		rc = flannel_get_string(data, where, "VtepMAC", &mac, err);
	if (rc < 0)
		return rc;
	if (!mac || mac_parse(mac, &lease->vtep_mac[f]) < 0)
		return err_set(err, -EINVAL, "%s: key \"VtepMAC\" is \"%s\", expected one such as aa:bb:cc:dd:ee:ff", where,
			mac ? quoted(mac, shown) : "missing");
	return 0;
}

static int parse_backend(const json_t *node, const char *prefix, struct lease *lease, struct err *err)
{
	char shown[64];
	const char *text;
	int rc = annotation(node, prefix, "backend-type", &text, err);

	if (rc < 0 || !text)
		return rc;
	if (strlen(text) >= sizeof(lease->backend) || !all_of(text, strlen(text), "-"))
		return err_set(err, -EINVAL, "annotation %sbackend-type is \"%s\", expected a backend such as vxlan", prefix,
			quoted(text, shown));
	memcpy(lease->backend, text, strlen(text) + 1);
	return 0;
}

static int parse_family(const json_t *node, const char *prefix, int f, const struct prefix *cidr, struct lease *lease,
	struct err *err)
{
	int rc = parse_public_ip(node, prefix, f, &lease->public_ip[f], err);

	if (rc == 0 && strcmp(lease->backend, "vxlan") == 0)
		rc = parse_vxlan_data(node, prefix, f, lease, err);
	if (rc == 0 && prefix_is_set(cidr) && addr_is_set(&lease->public_ip[f]))
		lease->subnet[f] = *cidr;
	return rc;
}

int flannel_node_parse(const json_t *node, const char *prefix, const struct network *network, struct lease *ret,
	struct err *err)
{
	const char *marker = flannel_node_annotation(node, prefix, MARKER);
	struct prefix cidrs[FAMILY_COUNT];
	struct lease lease = {0};
	bool served = false;
	int rc;

	if (!marker || strcmp(marker, "true") != 0)
		return 0;
	rc = flannel_node_pod_cidrs(node, cidrs, err);
	if (rc <= 0)
		return rc;
	flannel_node_key(flannel_node_name(node), lease.key);
	rc = parse_backend(node, prefix, &lease, err);
	for (int f = 0; f < FAMILY_COUNT && rc == 0; f++) {
		if (!network_has(network, f))
			continue;
		rc = parse_family(node, prefix, f, &cidrs[f], &lease, err);
		served = served || prefix_is_set(&lease.subnet[f]);
	}
	if (rc < 0)
		return rc;
	if (!served)
		return err_set(err, -EINVAL, "podCIDRs and the annotations %spublic-ip and %spublic-ipv6 share no family that "
			"the network configuration enables", prefix, prefix);
	*ret = lease;
	return 1;
}

/* -- lease to annotations -- */

static json_t *data_text(const struct lease *lease, int f)
{
	char text[80], mac[MAC_TEXT_MAX];

	if (strcmp(lease->backend, "vxlan") != 0)
		return json_string("null"); /* these four letters (section 3.4.3) */
	snprintf(text, sizeof(text), "{\"VNI\":%u,\"VtepMAC\":\"%s\"}", lease->vni, mac_format(&lease->vtep_mac[f], mac));
	return json_string(text);
}

json_t *flannel_node_format(const struct lease *lease)
{
	bool vxlan = strcmp(lease->backend, "vxlan") == 0;
	json_t *ret = json_object();
	char text[ADDR_TEXT_MAX];
	int failed = 0;

	failed |= json_object_set_new(ret, MARKER, json_string("true"));
	failed |= json_object_set_new(ret, "backend-type", json_string(lease->backend));
	for (int f = 0; f < FAMILY_COUNT; f++) {
		bool served = prefix_is_set(&lease->subnet[f]);
		bool zero = !served && f == FAMILY_4 && !vxlan; /* what Flannel writes for want of an address */

		failed |= json_object_set_new(ret, names[f].public_ip, served ?
			json_string(addr_format(&lease->public_ip[f], text)) : zero ? json_string("0.0.0.0") : json_null());
		failed |= json_object_set_new(ret, names[f].data, served || zero ? data_text(lease, f) : json_null());
	}
	if (failed) {
		json_decref(ret);
		return NULL;
	}
	return ret;
}
