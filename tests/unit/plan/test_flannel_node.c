/* SPDX-License-Identifier: Apache-2.0
 *
 * Nodes as leases and back: reference/flannel.md 3.4.2, 3.4.3 and 3.4.5.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "flannel/flannel.h"
#include "flannel/node.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define P "flannel.alpha.coreos.com/"

static struct network network_of(const char *text)
{
	struct network network = {0};
	struct err err = ERR_INIT;

	if (flannel_network_parse_pod_cidrs(text, strlen(text), "net-conf.json", &network, &err) < 0)
		fail_msg("%s", err_text(&err));
	return network;
}

static const char v4[] = "{\"Network\":\"10.244.0.0/16\",\"Backend\":{\"Type\":\"vxlan\"}}";
static const char dual[] = "{\"Network\":\"10.244.0.0/16\",\"EnableIPv6\":true,\"IPv6Network\":\"fd00:42::/56\","
	"\"Backend\":{\"Type\":\"vxlan\"}}";
static const char v6[] = "{\"EnableIPv4\":false,\"EnableIPv6\":true,\"IPv6Network\":\"fd00:42::/56\","
	"\"Backend\":{\"Type\":\"host-gw\"}}";

/* annotations: pairs in JSON without prefix, '!' stands for it. */
static json_t *node_of(const char *cidrs, const char *annotations)
{
	char text[8192], full[4096];
	size_t n = 0;
	json_t *node;

	for (; *annotations; annotations++)
		n += (size_t)snprintf(full + n, sizeof(full) - n, "%s", *annotations == '!' ? P : (char[]){*annotations, 0});
	full[n] = 0;
	snprintf(text, sizeof(text), "{\"metadata\":{\"name\":\"node-7\",\"annotations\":{%s}},\"spec\":{%s}}", full, cidrs);
	node = json_loads(text, 0, NULL);
	if (!node)
		fail_msg("%s", text);
	return node;
}

#define CIDR4 "\"podCIDR\":\"10.244.7.0/24\",\"podCIDRs\":[\"10.244.7.0/24\"]"
#define CIDR46 "\"podCIDR\":\"10.244.7.0/24\",\"podCIDRs\":[\"10.244.7.0/24\",\"fd00:42:0:7::/64\"]"
#define MARK "\"!kube-subnet-manager\":\"true\""
#define VXLAN4 MARK ",\"!backend-type\":\"vxlan\",\"!public-ip\":\"192.0.2.7\"," \
	"\"!backend-data\":\"{\\\"VNI\\\":1,\\\"VtepMAC\\\":\\\"02:00:5e:10:00:07\\\"}\""
#define VXLAN6 "\"!public-ipv6\":\"2001:db8::7\"," \
	"\"!backend-v6-data\":\"{\\\"VNI\\\":1,\\\"VtepMAC\\\":\\\"02:00:5e:10:00:08\\\"}\""

static int parse(const char *conf, const char *cidrs, const char *annotations, struct lease *ret, struct err *err)
{
	_cleanup_(json_cleanup) json_t *node = node_of(cidrs, annotations);
	struct network network = network_of(conf);

	return flannel_node_parse(node, P, &network, ret, err);
}

static void prefixes(void **state)
{
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{"flannel.alpha.coreos.com", "flannel.alpha.coreos.com/"},
		{"flannel.alpha.coreos.com/", "flannel.alpha.coreos.com/"},
		{"flannel.alpha.coreos.com/prefix", "flannel.alpha.coreos.com/prefix-"},
		{"flannel.alpha.coreos.com/prefix-", "flannel.alpha.coreos.com/prefix-"},
		{"org.com/9", "org.com/9-"},
		{"org", NULL}, {"org/", NULL}, {"org/prefix", NULL}, {"org.COM", NULL}, {"org.com/PREFIX", NULL}, {"", NULL},
		{"org.com/a/b", NULL}, {".org", NULL}, {"org.", NULL}, {"org.com/a\nb", NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char got[FLANNEL_PREFIX_MAX] = "untouched";
		struct err err = ERR_INIT;
		int rc = flannel_node_prefix(cases[i].text, got, &err);

		assert_int_equal(rc, cases[i].expected ? 0 : -EINVAL);
		assert_string_equal(got, cases[i].expected ? cases[i].expected : "untouched");
	}
}

static void keys(void **state)
{
	char long_a[KUBE_NAME_MAX], long_b[KUBE_NAME_MAX], a[LEASE_KEY_MAX], b[LEASE_KEY_MAX];

	assert_string_equal(flannel_node_key("node-1", a), "node-1");
	memset(long_a, 'a', sizeof(long_a));
	long_a[sizeof(long_a) - 1] = 0;
	memcpy(long_b, long_a, sizeof(long_a));
	long_b[sizeof(long_b) - 2] = 'b';
	flannel_node_key(long_a, a);
	flannel_node_key(long_b, b);
	assert_int_equal(strlen(a), LEASE_KEY_MAX - 1);
	assert_string_not_equal(a, b);
	assert_string_equal(flannel_node_key(long_b, a), b);
}

static void one_family(void **state)
{
	char text[PREFIX_TEXT_MAX];
	struct lease lease;

	assert_int_equal(parse(v4, CIDR4, VXLAN4, &lease, NULL), 1);
	assert_string_equal(lease.key, "node-7");
	assert_string_equal(prefix_format(&lease.subnet[FAMILY_4], text), "10.244.7.0/24");
	assert_false(prefix_is_set(&lease.subnet[FAMILY_6]));
	assert_string_equal(addr_format(&lease.public_ip[FAMILY_4], text), "192.0.2.7");
	assert_string_equal(mac_format(&lease.vtep_mac[FAMILY_4], text), "02:00:5e:10:00:07");
	assert_string_equal(lease.backend, "vxlan");
	assert_true(lease.has_vni && lease.vni == 1 && lease.expires == 0);
	/* podCIDR alone, as old clusters have it */
	assert_int_equal(parse(v4, "\"podCIDR\":\"10.244.7.0/24\"", VXLAN4, &lease, NULL), 1);
	/* a dual-stack node in an IPv4 network: its IPv6 is nobody's affair */
	assert_int_equal(parse(v4, CIDR46, VXLAN4 ",\"!public-ipv6\":\"nonsense\"", &lease, NULL), 1);
	assert_false(prefix_is_set(&lease.subnet[FAMILY_6]));
}

static void both_families(void **state)
{
	char text[PREFIX_TEXT_MAX];
	struct lease lease;

	assert_int_equal(parse(dual, CIDR46, VXLAN4 "," VXLAN6, &lease, NULL), 1);
	assert_string_equal(prefix_format(&lease.subnet[FAMILY_6], text), "fd00:42:0:7::/64");
	assert_string_equal(mac_format(&lease.vtep_mac[FAMILY_6], text), "02:00:5e:10:00:08");
	/* a node of one family in a dual-stack network is reached by that family */
	assert_int_equal(parse(dual, CIDR4, VXLAN4, &lease, NULL), 1);
	assert_true(prefix_is_set(&lease.subnet[FAMILY_4]) && !prefix_is_set(&lease.subnet[FAMILY_6]));
	assert_int_equal(parse(dual, CIDR46, MARK ",\"!backend-type\":\"vxlan\"," VXLAN6, &lease, NULL), 1);
	assert_true(!prefix_is_set(&lease.subnet[FAMILY_4]) && prefix_is_set(&lease.subnet[FAMILY_6]));
}

static void other_backends(void **state)
{
	struct lease lease;

	assert_int_equal(parse(v6, "\"podCIDRs\":[\"fd00:42:0:7::/64\"]", MARK ",\"!backend-type\":\"host-gw\","
		"\"!public-ip\":\"0.0.0.0\",\"!backend-data\":\"null\",\"!public-ipv6\":\"2001:db8::7\","
		"\"!backend-v6-data\":\"null\"", &lease, NULL), 1);
	assert_string_equal(lease.backend, "host-gw");
	assert_false(addr_is_set(&lease.public_ip[FAMILY_4]));
	assert_int_equal(parse(v4, CIDR4, MARK ",\"!backend-type\":\"\",\"!backend-data\":\"null\",\"!public-ip\":\"192.0.2.7\"",
		&lease, NULL), 1);
	assert_string_equal(lease.backend, "");
}

static void takes_no_part(void **state)
{
	struct lease lease;

	assert_int_equal(parse(v4, CIDR4, "", &lease, NULL), 0);
	assert_int_equal(parse(v4, CIDR4, "\"!kube-subnet-manager\":\"True\"", &lease, NULL), 0);
	assert_int_equal(parse(v4, "", VXLAN4, &lease, NULL), 0);
	assert_int_equal(parse(v4, "\"podCIDR\":\"\"", VXLAN4, &lease, NULL), 0);
}

#define PUBLIC(text) MARK ",\"!backend-type\":\"host-gw\",\"!public-ip\":\"" text "\""

static void refused(void **state)
{
	static const struct {
		const char *cidrs, *annotations, *says;
	} cases[] = {
		{CIDR4, PUBLIC("192.0.2.7; reboot"), "192.0.2.7; reboot"},
		{CIDR4, PUBLIC("192.0.2.7\\n10.0.0.1"), "192.0.2.7?10.0.0.1"},
		{CIDR4, PUBLIC("2001:db8::7"), "expected the node's IPv4 address"},
		{CIDR4, PUBLIC("127.0.0.1"), P "public-ip"},
		{CIDR4, PUBLIC("224.0.0.1"), P "public-ip"},
		{CIDR4, PUBLIC("$(id)"), "$(id)"},
		{CIDR4, MARK, "share no family"},
		{CIDR4, MARK ",\"!backend-type\":\"VX LAN\",\"!public-ip\":\"192.0.2.7\"", "backend-type"},
		{CIDR4, MARK ",\"!backend-type\":\"vxlan\",\"!public-ip\":\"192.0.2.7\",\"!backend-data\":\"[1]\"", "backend-data"},
		{CIDR4, MARK ",\"!backend-type\":\"vxlan\",\"!public-ip\":\"192.0.2.7\",\"!backend-data\":\"{\"", "backend-data"},
		{CIDR4, MARK ",\"!backend-type\":\"vxlan\",\"!public-ip\":\"192.0.2.7\",\"!backend-data\":"
			"\"{\\\"VtepMAC\\\":7}\"", "VtepMAC"},
		{CIDR4, MARK ",\"!backend-type\":\"vxlan\",\"!public-ip\":\"192.0.2.7\",\"!backend-data\":"
			"\"{\\\"VNI\\\":\\\"one\\\",\\\"VtepMAC\\\":\\\"02:00:5e:10:00:07\\\"}\"", "VNI"},
		{CIDR4, MARK ",\"!backend-type\":\"vxlan\",\"!public-ip\":\"192.0.2.7\",\"!backend-data\":"
			"\"{\\\"VtepMAC\\\":\\\"02:00:5e:10:00:07 dev eth0\\\"}\"", "VtepMAC"},
		{"\"podCIDRs\":[\"10.244.7.0/24\",\"10.244.8.0/24\"]", VXLAN4, "second one"},
		{"\"podCIDRs\":[\"10.244.7.0/33\"]", VXLAN4, "10.244.7.0/33"},
		{"\"podCIDRs\":[7]", VXLAN4, "entry 0"},
		{"\"podCIDRs\":[\"0.0.0.0/0\"]", VXLAN4, "podCIDR"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct err err = ERR_INIT;
		struct lease lease;

		assert_int_equal(parse(v4, cases[i].cidrs, cases[i].annotations, &lease, &err), -EINVAL);
		if (!strstr(err_text(&err), cases[i].says) || strchr(err_text(&err), '\n'))
			fail_msg("case %zu: \"%s\" does not say \"%s\"", i, err_text(&err), cases[i].says);
	}
}

static void huge_annotation(void **state)
{
	_cleanup_(json_cleanup) json_t *node = node_of(CIDR4, VXLAN4);
	json_t *annotations = json_object_get(json_object_get(node, "metadata"), "annotations");
	_cleanup_free_ char *text = malloc((1 << 20) + 1);
	struct network network = network_of(v4);
	struct err err = ERR_INIT;
	struct lease lease;

	memset(text, 'x', 1 << 20);
	text[1 << 20] = 0;
	json_object_set_new(annotations, P "backend-data", json_string(text));
	assert_int_equal(flannel_node_parse(node, P, &network, &lease, &err), -EMSGSIZE);
	assert_non_null(strstr(err_text(&err), "1048576 bytes"));
}

static void assert_formatted(const struct lease *lease, const char *expected)
{
	_cleanup_(json_cleanup) json_t *got = flannel_node_format(lease);
	_cleanup_free_ char *text = json_dumps(got, JSON_COMPACT | JSON_SORT_KEYS);

	assert_string_equal(text, expected);
}

/* The table of section 3.4.3; null: not set. */
static void formats(void **state)
{
	struct lease lease = {.backend = "vxlan", .has_vni = true, .vni = 1};
	struct prefix cidr4, cidr6;

	prefix_parse("10.244.7.0/24", &cidr4);
	prefix_parse("fd00:42:0:7::/64", &cidr6);
	addr_parse("192.0.2.7", &lease.public_ip[FAMILY_4]);
	addr_parse("2001:db8::7", &lease.public_ip[FAMILY_6]);
	mac_parse("02:00:5e:10:00:07", &lease.vtep_mac[FAMILY_4]);
	mac_parse("02:00:5e:10:00:08", &lease.vtep_mac[FAMILY_6]);
	lease.subnet[FAMILY_4] = cidr4;
	assert_formatted(&lease, "{\"backend-data\":\"{\\\"VNI\\\":1,\\\"VtepMAC\\\":\\\"02:00:5e:10:00:07\\\"}\","
		"\"backend-type\":\"vxlan\",\"backend-v6-data\":null,\"kube-subnet-manager\":\"true\","
		"\"public-ip\":\"192.0.2.7\",\"public-ipv6\":null}");
	lease.subnet[FAMILY_6] = cidr6;
	assert_formatted(&lease, "{\"backend-data\":\"{\\\"VNI\\\":1,\\\"VtepMAC\\\":\\\"02:00:5e:10:00:07\\\"}\","
		"\"backend-type\":\"vxlan\",\"backend-v6-data\":\"{\\\"VNI\\\":1,\\\"VtepMAC\\\":\\\"02:00:5e:10:00:08\\\"}\","
		"\"kube-subnet-manager\":\"true\",\"public-ip\":\"192.0.2.7\",\"public-ipv6\":\"2001:db8::7\"}");
	lease.subnet[FAMILY_4] = (struct prefix){0};
	assert_formatted(&lease, "{\"backend-data\":null,\"backend-type\":\"vxlan\","
		"\"backend-v6-data\":\"{\\\"VNI\\\":1,\\\"VtepMAC\\\":\\\"02:00:5e:10:00:08\\\"}\","
		"\"kube-subnet-manager\":\"true\",\"public-ip\":null,\"public-ipv6\":\"2001:db8::7\"}");
	strcpy(lease.backend, "host-gw");
	assert_formatted(&lease, "{\"backend-data\":\"null\",\"backend-type\":\"host-gw\",\"backend-v6-data\":\"null\","
		"\"kube-subnet-manager\":\"true\",\"public-ip\":\"0.0.0.0\",\"public-ipv6\":\"2001:db8::7\"}");
	lease.subnet[FAMILY_4] = cidr4;
	lease.subnet[FAMILY_6] = (struct prefix){0};
	lease.backend[0] = 0;
	assert_formatted(&lease, "{\"backend-data\":\"null\",\"backend-type\":\"\",\"backend-v6-data\":null,"
		"\"kube-subnet-manager\":\"true\",\"public-ip\":\"192.0.2.7\",\"public-ipv6\":null}");
}

/* podCIDRs have no length that the configuration knows, and SubnetLen is nobody's affair. */
static void pod_cidr_network(void **state)
{
	struct network network = network_of("{\"Network\":\"10.244.0.0/30\",\"SubnetLen\":99,\"Backend\":{\"Type\":\"udp\"}}");

	assert_int_equal(network.pool[FAMILY_4].cidr.len, 30);
	assert_int_equal(network.pool[FAMILY_4].block_len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prefixes),
		cmocka_unit_test(keys),
		cmocka_unit_test(one_family),
		cmocka_unit_test(both_families),
		cmocka_unit_test(other_backends),
		cmocka_unit_test(takes_no_part),
		cmocka_unit_test(refused),
		cmocka_unit_test(huge_annotation),
		cmocka_unit_test(formats),
		cmocka_unit_test(pod_cidr_network),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
