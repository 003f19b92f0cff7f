/* SPDX-License-Identifier: Apache-2.0 */
#include "cni_server/cni_result.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const dns_keys[] = {"nameservers", "domain", "search", "options"};

static bool text_is_6(const json_t *text)
{
	const char *s = json_string_value(text);

	return s && strchr(s, ':');
}

static void copy_member(json_t *to, const json_t *from, const char *key)
{
	json_t *value = json_find(from, key);

	if (value)
		json_object_set(to, key, value);
}

/* -- reading -- */

static void read_interfaces(json_t *to, const json_t *prev)
{
	size_t i;
	json_t *item;

	json_array_foreach(json_find(prev, "interfaces"), i, item) {
		json_t *copy = json_is_object(item) ? json_copy(item) : json_object();

		json_array_append_new(to, copy);
	}
}

static json_t *read_ip(const json_t *item, size_t interface_count)
{
	const json_t *index = json_find(item, "interface");
	json_t *ip = json_object();

	copy_member(ip, item, "address");
	copy_member(ip, item, "gateway");
	if (json_is_integer(index) && json_integer_value(index) >= 0 &&
		(uint64_t)json_integer_value(index) < interface_count)
		json_object_set_new(ip, "interface", json_integer(json_integer_value(index)));
	return ip;
}

static void read_route(json_t *to, const json_t *item)
{
	static const char *const keys[] = {"dst", "gw", "mtu", "advmss", "priority", "table", "scope"};
	json_t *route = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		copy_member(route, item, keys[i]);
	json_array_append_new(to, route);
}

static void read_routes(json_t *to, const json_t *list)
{
	size_t i;
	json_t *item;

	json_array_foreach(list, i, item)
		if (json_is_string(json_find(item, "dst")))
			read_route(to, item);
}

/* "ip4" and "ip6" of 0.1.0 and 0.2.0 */
static void read_old(json_t *ips, json_t *routes, const json_t *prev, const char *key)
{
	const json_t *old = json_find(prev, key);
	json_t *ip;

	if (!json_is_string(json_find(old, "ip")))
		return;
	ip = json_object();
	json_object_set(ip, "address", json_find(old, "ip"));
	copy_member(ip, old, "gateway");
	json_array_append_new(ips, ip);
	read_routes(routes, json_find(old, "routes"));
}

json_t *cni_result_read(const json_t *prev)
{
	json_t *interfaces = json_array(), *ips = json_array(), *routes = json_array(), *dns = json_object();
	const json_t *old_dns = json_find(prev, "dns");
	size_t i;
	json_t *item;

	read_interfaces(interfaces, prev);
	json_array_foreach(json_find(prev, "ips"), i, item)
		if (json_is_string(json_find(item, "address")))
			json_array_append_new(ips, read_ip(item, json_array_size(interfaces)));
	read_old(ips, routes, prev, "ip4");
	read_old(ips, routes, prev, "ip6");
	read_routes(routes, json_find(prev, "routes"));
	for (i = 0; i < ARRAY_SIZE(dns_keys); i++)
		copy_member(dns, old_dns, dns_keys[i]);
	return json_pack(
		"{s:o, s:o, s:o, s:o}", "interfaces", interfaces, "ips", ips, "routes", routes, "dns", dns);
}

/* -- adding -- */

static void add_interface(
	json_t *list, const char *name, const struct mac *mac, uint32_t mtu, const char *sandbox)
{
	char text[MAC_TEXT_MAX];
	json_t *item = json_pack("{s:s, s:s}", "name", name, "mac", mac_format(mac, text));

	if (mtu)
		json_object_set_new(item, "mtu", json_integer(mtu));
	if (sandbox)
		json_object_set_new(item, "sandbox", json_string(sandbox));
	json_array_append_new(list, item);
}

static const char *gateway_of(int f)
{
	return f == FAMILY_4 ? ATTACH_GATEWAY_4 : ATTACH_GATEWAY_6;
}

static void add_number(json_t *route, const char *key, uint32_t value)
{
	if (value)
		json_object_set_new(route, key, json_integer(value));
}

static void add_route(json_t *list, const struct attach_route *route, int f)
{
	char dst[PREFIX_TEXT_MAX], gw[ADDR_TEXT_MAX];
	json_t *item;

	if (family_index(route->dst.family) != f)
		return;
	item = json_pack("{s:s, s:s}", "dst", prefix_format(&route->dst, dst), "gw",
		addr_is_set(&route->via) ? addr_format(&route->via, gw) : gateway_of(f));
	add_number(item, "mtu", route->mtu);
	add_number(item, "advmss", route->advmss);
	add_number(item, "priority", route->priority);
	add_number(item, "table", route->table);
	json_array_append_new(list, item);
}

static void add_family(json_t *result, const struct attachment *attachment, int f, size_t interface)
{
	static const char *const everything[FAMILY_COUNT] = {"0.0.0.0/0", "::/0"};
	struct prefix host = prefix_host(&attachment->addr[f]);
	json_t *routes = json_object_get(result, "routes");
	struct attach_route all = {0};
	char text[PREFIX_TEXT_MAX];

	json_array_append_new(json_object_get(result, "ips"),
		json_pack("{s:s, s:s, s:I}", "address", prefix_format(&host, text), "gateway", gateway_of(f),
			"interface", (json_int_t)interface));
	prefix_parse(everything[f], &all.dst);
	if (attachment->default_route)
		add_route(routes, &all, f);
	for (size_t i = 0; i < attachment->route_count; i++)
		add_route(routes, &attachment->routes[i], f);
}

int cni_result_add(
	json_t *result, const struct attachment *attachment, const char *sandbox, const json_t *dns)
{
	json_t *interfaces = json_object_get(result, "interfaces"), *to = json_object_get(result, "dns");

	add_interface(interfaces, attachment->host_ifname, &attachment->host_mac, attachment->mtu, NULL);
	add_interface(interfaces, attachment->ifname, &attachment->mac, attachment->mtu, sandbox);
	for (int f = 0; f < FAMILY_COUNT; f++)
		if (addr_is_set(&attachment->addr[f]))
			add_family(result, attachment, f, json_array_size(interfaces) - 1);
	for (size_t i = 0; dns && i < ARRAY_SIZE(dns_keys); i++)
		copy_member(to, dns, dns_keys[i]);
	return json_array_size(interfaces) ? 0 : -ENOMEM;
}

/* -- writing -- */

static void remove_keys(json_t *list, const char *const *keys)
{
	size_t i;
	json_t *item;

	json_array_foreach(list, i, item)
		for (const char *const *key = keys; *key; key++)
			json_object_del(item, *key);
}

static void add_versions(json_t *ips)
{
	size_t i;
	json_t *item;

	json_array_foreach(ips, i, item) json_object_set_new(
		item, "version", json_string(text_is_6(json_object_get(item, "address")) ? "6" : "4"));
}

static void drop_empty(json_t *result, const char *key)
{
	json_t *value = json_object_get(result, key);

	if (json_array_size(value) == 0 && json_object_size(value) == 0)
		json_object_del(result, key);
}

/* 0.3.0 and later */
static json_t *write_lists(const json_t *result, enum cni_version version)
{
	static const char *const interface_keys[] = {"mtu", "socketPath", "pciID", NULL};
	static const char *const route_keys[] = {"mtu", "advmss", "priority", "table", "scope", NULL};
	_cleanup_(json_cleanup) json_t *lists = json_deep_copy(result);
	json_t *written = json_pack("{s:s}", "cniVersion", cni_version_name(version));

	if (version < CNI_1_1_0) {
		remove_keys(json_object_get(lists, "interfaces"), interface_keys);
		remove_keys(json_object_get(lists, "routes"), route_keys);
	}
	if (version < CNI_1_0_0)
		add_versions(json_object_get(lists, "ips"));
	drop_empty(lists, "interfaces");
	drop_empty(lists, "routes");
	if (version >= CNI_1_0_0)
		drop_empty(lists, "dns"); /* older libraries always print it */
	json_object_update(written, lists);
	return written;
}

static json_t *write_old_routes(const json_t *routes, bool v6)
{
	json_t *list = json_array();
	size_t i;
	json_t *item;

	json_array_foreach(routes, i, item) {
		json_t *route;

		if (text_is_6(json_object_get(item, "dst")) != v6)
			continue;
		route = json_object();
		copy_member(route, item, "dst");
		copy_member(route, item, "gw");
		json_array_append_new(list, route);
	}
	return list;
}

/* 0.1.0 and 0.2.0: the first address of each family */
static json_t *write_old(const json_t *result, enum cni_version version, struct err *err)
{
	static const char *const names[FAMILY_COUNT] = {"ip4", "ip6"};
	json_t *written = json_pack("{s:s}", "cniVersion", cni_version_name(version));
	size_t i;
	json_t *item;

	json_array_foreach(json_object_get(result, "ips"), i, item) {
		bool v6 = text_is_6(json_object_get(item, "address"));
		json_t *old;

		if (json_object_get(written, names[v6]))
			continue;
		old = json_pack("{s:O}", "ip", json_object_get(item, "address"));
		copy_member(old, item, "gateway");
		json_object_set_new(old, "routes", write_old_routes(json_object_get(result, "routes"), v6));
		drop_empty(old, "routes");
		json_object_set_new(written, names[v6], old);
	}
	if (json_object_size(written) == 1) {
		json_decref(written);
		err_set(err, -EINVAL, "result: has no address, CNI %s cannot say that",
			cni_version_name(version));
		return NULL;
	}
	json_object_set(written, "dns", json_object_get(result, "dns"));
	return written;
}

json_t *cni_result_write(const json_t *result, enum cni_version version, struct err *err)
{
	json_t *written =
		version < CNI_0_3_0 ? write_old(result, version, err) : write_lists(result, version);

	if (!written && version >= CNI_0_3_0)
		err_set(err, -ENOMEM, "result: out of memory");
	return written;
}

/* -- comparing -- */

static int compare_interface(const json_t *result, const struct attachment *attachment, struct err *err)
{
	json_t *list = json_object_get(result, "interfaces"), *item;
	char text[MAC_TEXT_MAX];
	size_t i;

	if (json_array_size(list) == 0)
		return 0; /* 0.1.0 and 0.2.0 know no interfaces; a result converted from them has none */
	json_array_foreach(list, i, item) {
		const char *name = json_string_value(json_find(item, "name"));
		const char *sandbox = json_string_value(json_find(item, "sandbox"));
		const char *mac_text = json_string_value(json_find(item, "mac"));
		struct mac mac;

		if (!name || strcmp(name, attachment->ifname) != 0 || !sandbox || !sandbox[0])
			continue;
		if (mac_text && mac_text[0] &&
			(mac_parse(mac_text, &mac) < 0 || !mac_equal(&mac, &attachment->mac)))
			return err_set(err, -EINVAL,
				"prevResult: interface %s has MAC \"%.40s\", expected %s", name, mac_text,
				mac_format(&attachment->mac, text));
		return 0;
	}
	return err_set(err, -EINVAL, "prevResult: has no interface %s with a sandbox", attachment->ifname);
}

static bool has_address(const json_t *result, const struct addr *addr)
{
	size_t i;
	json_t *item;

	json_array_foreach(json_object_get(result, "ips"), i, item) {
		const char *text = json_string_value(json_find(item, "address"));
		struct prefix prefix;

		if (text && prefix_parse(text, &prefix) == 0 && addr_equal(&prefix.addr, addr))
			return true;
	}
	return false;
}

int cni_result_compare(const json_t *result, const struct attachment *attachment, struct err *err)
{
	char text[ADDR_TEXT_MAX];
	/* Calico's older plugins named the host end only: nothing to compare for what was adopted from them */
	int rc = attachment->netns_ino ? compare_interface(result, attachment, err) : 0;

	for (int f = 0; rc == 0 && f < FAMILY_COUNT; f++)
		if (addr_is_set(&attachment->addr[f]) && !has_address(result, &attachment->addr[f]))
			rc = err_set(err, -EINVAL, "prevResult: \"ips\" lacks %s",
				addr_format(&attachment->addr[f], text));
	return rc;
}
