/* SPDX-License-Identifier: Apache-2.0 */
#include "objects/calico_etcd_node.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "projectcalico.org/"

static const struct member {
	const char *annotation;          /* behind the prefix */
	const char *first, *second, *third; /* spec or status; the member of it, or an object; its member */
} members[] = {
	{"IPv4Address", "spec", "bgp", "ipv4Address"},
	{"IPv6Address", "spec", "bgp", "ipv6Address"},
	{"ASNumber", "spec", "bgp", "asNumber"},
	{"IPv4IPIPTunnelAddr", "spec", "bgp", "ipv4IPIPTunnelAddr"},
	{"RouteReflectorClusterID", "spec", "bgp", "routeReflectorClusterID"},
	{"IPv4VXLANTunnelAddr", "spec", "ipv4VXLANTunnelAddr", NULL},
	{"IPv6VXLANTunnelAddr", "spec", "ipv6VXLANTunnelAddr", NULL},
	{"VXLANTunnelMACAddr", "spec", "vxlanTunnelMACAddr", NULL},
	{"VXLANTunnelMACAddrV6", "spec", "vxlanTunnelMACAddrV6", NULL},
	{"IPv4WireguardInterfaceAddr", "spec", "wireguard", "interfaceIPv4Address"},
	{"IPv6WireguardInterfaceAddr", "spec", "wireguard", "interfaceIPv6Address"},
	{"WireguardPublicKey", "status", "wireguardPublicKey", NULL},
	{"WireguardPublicKeyV6", "status", "wireguardPublicKeyV6", NULL},
};

/* The object under key, made if it is not there. */
static json_t *below(json_t *object, const char *key)
{
	if (!json_is_object(json_object_get(object, key)))
		json_object_set_new(object, key, json_object());
	return json_object_get(object, key);
}

static void drop_if_empty(json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (json_is_object(value) && !json_object_size(value))
		json_object_del(object, key);
}

/* An AS number is a number there and a text here. */
static json_t *as_text(const json_t *value)
{
	char text[24];

	if (!json_is_integer(value))
		return json_incref((json_t *)value);
	snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(value));
	return json_string(text);
}

static json_t *as_value(const struct member *member, const json_t *text)
{
	const char *digits = json_string_value(text);

	if (strcmp(member->annotation, "ASNumber") == 0 && digits && *digits && strlen(digits) < 11 &&
		!digits[strspn(digits, "0123456789")])
		return json_integer(atoll(digits));
	return json_incref((json_t *)text);
}

/* object.from moves to object's other half. */
static void move(json_t *node, const char *from, const char *to, const char *key)
{
	json_t *value = json_incref(json_object_get(json_object_get(node, from), key));

	if (!value)
		return;
	json_object_set_new(below(node, to), key, value);
	json_object_del(json_object_get(node, from), key);
}

json_t *calico_node_from_etcd(const json_t *node)
{
	json_t *ret = json_deep_copy(node), *annotations = below(below(ret, "metadata"), "annotations");
	char key[64];

	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		const struct member *member = &members[i];
		json_t *half = json_object_get(ret, member->first);
		json_t *holder = member->third ? json_object_get(half, member->second) : half;
		json_t *value = json_object_get(holder, member->third ? member->third : member->second);

		if (!value)
			continue;
		snprintf(key, sizeof(key), PREFIX "%s", member->annotation);
		json_object_set_new(annotations, key, as_text(value));
		json_object_del(holder, member->third ? member->third : member->second);
		if (member->third)
			drop_if_empty(half, member->second);
	}
	move(ret, "spec", "status", "addresses");
	move(ret, "status", "spec", "podCIDRs");
	drop_if_empty(json_object_get(ret, "metadata"), "annotations");
	json_object_set_new(ret, "apiVersion", json_string("v1"));
	return ret;
}

json_t *calico_node_to_etcd(const json_t *node)
{
	json_t *ret = json_deep_copy(node), *metadata = below(ret, "metadata");
	json_t *annotations = below(metadata, "annotations");
	char key[64];

	move(ret, "status", "spec", "addresses");
	move(ret, "spec", "status", "podCIDRs");
	json_object_del(json_object_get(ret, "spec"), "podCIDR"); /* the first of them */
	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		const struct member *member = &members[i];
		json_t *holder, *value;

		snprintf(key, sizeof(key), PREFIX "%s", member->annotation);
		value = json_object_get(annotations, key);
		if (!value)
			continue;
		holder = below(ret, member->first);
		if (member->third)
			holder = below(holder, member->second);
		json_object_set_new(holder, member->third ? member->third : member->second, as_value(member, value));
		json_object_del(annotations, key);
	}
	drop_if_empty(metadata, "annotations");
	return ret;
}
