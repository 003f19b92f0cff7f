/* SPDX-License-Identifier: Apache-2.0 */
#include "cni_server/cni_conf.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *name, *host_prefix;
	const char *ipam_types[4]; /* what "ipam.type" may say: it is served by our own address management */
} types[CNI_TYPE_COUNT] = {
	[CNI_TYPE_TULLE] = {"tulle", "tul", {"tulle"}},
	[CNI_TYPE_FLANNEL] = {"flannel", "tul", {"host-local", "tulle"}},
	[CNI_TYPE_CALICO] = {"calico", "cali", {"calico-ipam", "host-local", "tulle"}},
};

enum cni_type cni_type_find(const char *name)
{
	enum cni_type type = 0;

	while (type < CNI_TYPE_COUNT && strcmp(types[type].name, name) != 0)
		type++;
	return type;
}

const char *cni_type_name(enum cni_type type)
{
	return types[type].name;
}

const char *cni_type_host_prefix(enum cni_type type)
{
	return type < CNI_TYPE_COUNT ? types[type].host_prefix : types[CNI_TYPE_TULLE].host_prefix;
}

enum cni_type cni_conf_type(const json_t *object, const char *plugin)
{
	const json_t *type = json_find(object, "type");

	return cni_type_find(json_is_string(type) ? json_string_value(type) : plugin);
}

static int parse_type(const json_t *object, const char *plugin, enum cni_type *ret, struct err *err)
{
	const char *name = plugin;
	enum cni_type type;

	if (json_get_string(object, "network configuration", "type", &name, err) < 0)
		return -EINVAL;
	type = cni_type_find(name);
	if (type == CNI_TYPE_COUNT)
		return err_set(err, -EINVAL,
			"network configuration: key \"type\" is \"%.100s\", expected tulle, flannel or "
			"calico",
			name);
	*ret = type;
	return 0;
}

/* Optional numbers of a route: uint32 each. */
static int parse_route_numbers(
	const json_t *object, const char *where, struct attach_route *route, struct err *err)
{
	struct {
		const char *key;
		uint32_t *to;
	} numbers[] = {{"mtu", &route->mtu}, {"advmss", &route->advmss}, {"priority", &route->priority},
		{"table", &route->table}};

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		int64_t n = 0;

		if (json_get_int(object, where, numbers[i].key, 0, UINT32_MAX, &n, err) < 0)
			return -EINVAL;
		*numbers[i].to = (uint32_t)n;
	}
	return 0;
}

static int parse_route(const json_t *object, const char *where, struct attach_route *ret, struct err *err)
{
	struct attach_route route = {0};
	const char *dst = NULL, *gw = "";
	int64_t scope = 0;

	if (!json_is_object(object))
		return err_set(err, -EINVAL, "%s: expected an object with \"dst\"", where);
	if (json_get_string(object, where, "dst", &dst, err) < 0 ||
		json_get_string(object, where, "gw", &gw, err) < 0 ||
		parse_route_numbers(object, where, &route, err) < 0)
		return -EINVAL;
	if (!dst || prefix_parse(dst, &route.dst) < 0)
		return err_set(err, -EINVAL,
			"%s: key \"dst\" is \"%.100s\", expected a prefix such as 10.3.0.0/16", where,
			dst ? dst : "");
	route.dst = prefix_masked(&route.dst);
	if (gw[0] && (addr_parse(gw, &route.via) < 0 || addr_family(&route.via) != route.dst.family))
		return err_set(err, -EINVAL,
			"%s: key \"gw\" is \"%.100s\", expected an address of the family of \"dst\"", where,
			gw);
	if (json_get_int(object, where, "scope", 0, 255, &scope, err) < 0)
		return -EINVAL;
	if (scope != 0)
		return err_set(err, -EINVAL,
			"%s: key \"scope\" is %lld, expected none: all traffic goes by the gateway", where,
			(long long)scope);
	*ret = route;
	return 0;
}

static int parse_routes(const json_t *ipam, struct cni_conf *conf, struct err *err)
{
	json_t *list = NULL;

	if (json_get_array(ipam, "ipam", "routes", &list, err) < 0)
		return -EINVAL;
	for (size_t i = 0; i < json_array_size(list); i++) {
		struct attach_route route;
		char where[48];

		snprintf(where, sizeof(where), "ipam: routes[%zu]", i);
		if (parse_route(json_array_get(list, i), where, &route, err) < 0)
			return -EINVAL;
		/* the default route that the pod has anyway */
		if (conf->default_route && route.dst.len == 0 && !addr_is_set(&route.via) && !route.table)
			continue;
		if (conf->route_count == CNI_ROUTES_MAX)
			return err_set(
				err, -EINVAL, "ipam: key \"routes\" has more than %d routes", CNI_ROUTES_MAX);
		conf->routes[conf->route_count++] = route;
	}
	return 0;
}

static int parse_ipam(const json_t *object, struct cni_conf *conf, struct err *err)
{
	const char *type = NULL;
	json_t *ipam = NULL;

	if (json_get_object(object, "network configuration", "ipam", &ipam, err) < 0)
		return -EINVAL;
	if (!ipam)
		return 0;
	if (json_get_string(ipam, "ipam", "type", &type, err) < 0)
		return -EINVAL;
	for (size_t i = 0; type && type[0] && i < ARRAY_SIZE(types[0].ipam_types); i++) {
		const char *known = types[conf->type].ipam_types[i];

		if (!known)
			return err_set(err, -EINVAL,
				"ipam: key \"type\" is \"%.100s\", expected \"%s\" or none: tulle hands "
				"out the addresses itself",
				type, types[conf->type].ipam_types[0]);
		if (strcmp(known, type) == 0)
			break;
	}
	return parse_routes(ipam, conf, err);
}

static int parse_mtu(const json_t *object, const char *where, struct cni_conf *conf, struct err *err)
{
	int64_t mtu = 0;

	if (json_get_int(object, where, "mtu", 0, 65535, &mtu, err) < 0)
		return -EINVAL;
	if (mtu != 0 && mtu < 68)
		return err_set(err, -EINVAL, "%s: key \"mtu\" is %lld, expected 0 or 68 to 65535", where,
			(long long)mtu);
	conf->mtu = (uint32_t)mtu;
	return 0;
}

/* Masquerading is the agent's, for all pods alike: a single conf cannot turn it on. */
static int parse_ip_masq(const json_t *object, const char *where, bool agent_masquerades, struct err *err)
{
	bool wanted = false;

	if (json_get_bool(object, where, "ipMasq", &wanted, err) < 0)
		return -EINVAL;
	if (wanted && !agent_masquerades)
		return err_set(err, -EINVAL,
			"%s: key \"ipMasq\" is true, but the agent runs without --ip-masq: expected false or "
			"none",
			where);
	return 0;
}

/* Keys of the bridge plugin that are true or a number there and would change what the pod's port is. */
static int refuse_bridge_features(const json_t *delegate, struct err *err)
{
	static const char *const keys[] = {"vlan", "vlanTrunk", "disableContainerInterface"};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const json_t *value = json_find(delegate, keys[i]);

		if (!value || json_is_false(value) ||
			(json_is_integer(value) && json_integer_value(value) == 0) ||
			(json_is_array(value) && json_array_size(value) == 0))
			continue;
		return err_set(err, -EINVAL,
			"delegate: key \"%s\" is set, but pods are routed here, there is no bridge: "
			"expected none",
			keys[i]);
	}
	return 0;
}

static int check_delegate(const json_t *delegate, struct err *err)
{
	const char *type = "bridge", *bridge = "cni0";
	bool hairpin;

	if (json_find(delegate, "name"))
		return err_set(
			err, -EINVAL, "delegate: key \"name\" must not be set: it is that of the network");
	if (json_find(delegate, "ipam"))
		return err_set(err, -EINVAL,
			"delegate: key \"ipam\" must not be set: it belongs beside \"delegate\"");
	if (json_get_string(delegate, "delegate", "type", &type, err) < 0 ||
		json_get_string(delegate, "delegate", "bridge", &bridge, err) < 0 ||
		json_get_bool(delegate, "delegate", "hairpinMode", &hairpin, err) < 0)
		return -EINVAL;
	if (strcmp(type, "bridge") != 0)
		return err_set(err, -EINVAL,
			"delegate: key \"type\" is \"%.100s\", expected \"bridge\" or none: tulle runs no "
			"other plugin",
			type);
	if (strcmp(bridge, "cni0") != 0 && bridge[0])
		return err_set(err, -EINVAL,
			"delegate: key \"bridge\" is \"%.100s\", expected \"cni0\" or none: pods are "
			"routed, there is no bridge to name",
			bridge);
	return refuse_bridge_features(delegate, err);
}

static int parse_flannel(const json_t *object, bool ip_masq, struct cni_conf *conf, struct err *err)
{
	const char *path;
	json_t *delegate = NULL;

	if (json_get_string(object, "network configuration", "subnetFile", &path, err) < 0 ||
		json_get_string(object, "network configuration", "dataDir", &path, err) < 0 ||
		json_get_object(object, "network configuration", "delegate", &delegate, err) < 0)
		return -EINVAL;
	if (!delegate)
		return 0;
	if (check_delegate(delegate, err) < 0 || parse_mtu(delegate, "delegate", conf, err) < 0 ||
		parse_ip_masq(delegate, "delegate", ip_masq, err) < 0)
		return -EINVAL;
	return json_get_bool(delegate, "delegate", "isDefaultGateway", &conf->default_route, err) < 0
		       ? -EINVAL
		       : 0;
}

static int parse_own(const json_t *object, bool ip_masq, struct cni_conf *conf, struct err *err)
{
	static const char where[] = "network configuration";

	conf->default_route = true;
	if (parse_mtu(object, where, conf, err) < 0 || parse_ip_masq(object, where, ip_masq, err) < 0)
		return -EINVAL;
	return json_get_bool(object, where, "isDefaultGateway", &conf->default_route, err) < 0 ? -EINVAL : 0;
}

static int parse_ips(const json_t *object, const char *where, struct cni_wishes *wishes, struct err *err)
{
	json_t *list = NULL;
	char item[64];

	if (json_get_array(object, where, "ips", &list, err) < 0)
		return -EINVAL;
	snprintf(item, sizeof(item), "%s: an item of \"ips\"", where);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (cni_wishes_add_ip(wishes, text ? text : "", item, err) < 0)
			return -EINVAL;
	}
	return 0;
}

/* "ips" and "mac", which args.cni and runtimeConfig both may have. */
static int parse_wishes(const json_t *object, const char *where, struct cni_wishes *wishes, struct err *err)
{
	const char *mac = "";
	char item[64];

	if (parse_ips(object, where, wishes, err) < 0 || json_get_string(object, where, "mac", &mac, err) < 0)
		return -EINVAL;
	snprintf(item, sizeof(item), "%s: key \"mac\"", where);
	return mac[0] ? cni_wishes_set_mac(wishes, mac, item, err) : 0;
}

static int parse_args(const json_t *object, struct cni_conf *conf, struct err *err)
{
	json_t *args = NULL, *cni = NULL;

	if (json_get_object(object, "network configuration", "args", &args, err) < 0)
		return -EINVAL;
	if (!args || json_get_object(args, "args", "cni", &cni, err) < 0)
		return args ? -EINVAL : 0;
	return cni ? parse_wishes(cni, "args.cni", &conf->wishes, err) : 0;
}

static int parse_bandwidth(const json_t *runtime, struct bandwidth *ret, struct err *err)
{
	static const char where[] = "runtimeConfig.bandwidth";
	json_t *object = NULL;
	int64_t n[4] = {0};

	if (json_get_object(runtime, "runtimeConfig", "bandwidth", &object, err) < 0)
		return -EINVAL;
	if (!object)
		return 0;
	if (json_get_int(object, where, "ingressRate", 0, INT64_MAX, &n[0], err) < 0 ||
		json_get_int(object, where, "ingressBurst", 0, INT64_MAX, &n[1], err) < 0 ||
		json_get_int(object, where, "egressRate", 0, INT64_MAX, &n[2], err) < 0 ||
		json_get_int(object, where, "egressBurst", 0, INT64_MAX, &n[3], err) < 0)
		return -EINVAL;
	if ((n[0] && !n[1]) || (n[2] && !n[3]))
		return err_set(err, -EINVAL, "%s: a rate needs a burst beside it", where);
	/* runtimes fill in a burst even for a direction that has no rate */
	*ret = (struct bandwidth){
		.ingress_rate = (uint64_t)n[0], .ingress_burst = n[0] ? (uint64_t)n[1] : 0,
		.egress_rate = (uint64_t)n[2], .egress_burst = n[2] ? (uint64_t)n[3] : 0,
	};
	return 0;
}

static int parse_runtime_config(const json_t *object, struct cni_conf *conf, struct err *err)
{
	json_t *runtime = NULL;

	if (json_get_object(object, "network configuration", "runtimeConfig", &runtime, err) < 0)
		return -EINVAL;
	if (!runtime)
		return 0;
	if (parse_wishes(runtime, "runtimeConfig", &conf->wishes, err) < 0)
		return -EINVAL;
	return parse_bandwidth(runtime, &conf->bandwidth, err);
}

int cni_conf_parse(const json_t *object, const char *plugin, bool ip_masq, const struct cni_wishes *first,
	struct cni_conf *ret, struct err *err)
{
	struct cni_conf conf = {0};
	json_t *dns = NULL;

	if (first)
		conf.wishes = *first;
	if (parse_type(object, plugin, &conf.type, err) < 0)
		return -EINVAL;
	if ((conf.type == CNI_TYPE_FLANNEL ? parse_flannel : parse_own)(object, ip_masq, &conf, err) < 0)
		return -EINVAL;
	if (parse_ipam(object, &conf, err) < 0 || parse_args(object, &conf, err) < 0 ||
		parse_runtime_config(object, &conf, err) < 0 ||
		json_get_object(object, "network configuration", "dns", &dns, err) < 0)
		return -EINVAL;
	conf.dns = dns;
	*ret = conf;
	return 0;
}
