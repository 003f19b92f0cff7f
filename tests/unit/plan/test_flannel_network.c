/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "flannel/flannel.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct network good(const char *text)
{
	struct network network = {0};
	struct err err = ERR_INIT;

	if (flannel_network_parse(text, strlen(text), "net-conf.json", &network, &err) < 0)
		fail_msg("%s\n%s", text, err_text(&err));
	return network;
}

/* min, max and cidr of one family as "10.3.0.0/16 24 10.3.1.0 10.3.255.0" */
static void assert_pool(const struct network *network, int f, const char *expected)
{
	const struct pool *pool = &network->pool[f];
	char cidr[PREFIX_TEXT_MAX], min[ADDR_TEXT_MAX], max[ADDR_TEXT_MAX], text[256] = "none";

	if (network_has(network, f))
		snprintf(text, sizeof(text), "%s %u %s %s", prefix_format(&pool->cidr, cidr), pool->block_len,
			addr_format(&pool->block_min, min), addr_format(&pool->block_max, max));
	assert_string_equal(text, expected);
}

static void pools(void **state)
{
	static const struct {
		const char *text, *v4, *v6;
	} cases[] = {
		{"{\"Network\":\"10.3.0.0/16\"}", "10.3.0.0/16 24 10.3.1.0 10.3.255.0", "none"},
		{"{\"network\":\"10.42.3.9/16\"}", "10.42.0.0/16 24 10.42.1.0 10.42.255.0", "none"},
		{"{\"NETWORK\":\"10.3.0.0/22\"}", "10.3.0.0/22 24 10.3.1.0 10.3.3.0", "none"},
		{"{\"Network\":\"10.3.0.0/23\"}", "10.3.0.0/23 25 10.3.0.128 10.3.1.128", "none"},
		{"{\"Network\":\"10.3.0.0/28\"}", "10.3.0.0/28 30 10.3.0.4 10.3.0.12", "none"},
		{"{\"Network\":\"10.0.0.0/"
		 "8\",\"SubnetLen\":20,\"SubnetMin\":\"10.10.0.0\",\"SubnetMax\":\"10.99.0.0\"}",
			"10.0.0.0/8 20 10.10.0.0 10.99.0.0", "none"},
		{"{\"network\":\"10.3.0.0/16\",\"subnetlen\":28,\"subnetmin\":\"10.3.0.0\"}",
			"10.3.0.0/16 28 10.3.0.0 10.3.255.240", "none"},
		{"{\"Network\":\"10.3.0.0/16\",\"SubnetLen\":0,\"SubnetMin\":\"0.0.0.0\"}",
			"10.3.0.0/16 24 10.3.1.0 10.3.255.0", "none"},
		/* a later duplicate wins, whatever its spelling; null does not count for plain values */
		{"{\"Network\":\"10.1.0.0/16\",\"network\":\"10.2.0.0/16\"}",
			"10.2.0.0/16 24 10.2.1.0 10.2.255.0", "none"},
		{"{\"network\":\"10.1.0.0/16\",\"Network\":\"10.2.0.0/16\"}",
			"10.2.0.0/16 24 10.2.1.0 10.2.255.0", "none"},
		{"{\"Network\":\"10.3.0.0/16\",\"SubnetLen\":26,\"subnetlen\":null}",
			"10.3.0.0/16 26 10.3.0.64 10.3.255.192", "none"},
		{"{\"Network\":\"10.3.0.0/16\",\"SubnetLen\":null,\"EnableIPv4\":null}",
			"10.3.0.0/16 24 10.3.1.0 10.3.255.0", "none"},
		{"{\"EnableIPv4\":false,\"EnableIPv6\":true,\"IPv6Network\":\"fc00::/48\"}", "none",
			"fc00::/48 64 fc00:0:0:1:: fc00:0:0:ffff::"},
		{"{\"EnableIPv4\":false,\"Network\":\"10.3.0.0/"
		 "16\",\"EnableIPv6\":true,\"IPv6Network\":\"fd00:42::/56\"}",
			"none", "fd00:42::/56 64 fd00:42:0:1:: fd00:42:0:ff::"},
		{"{\"Network\":\"10.3.0.0/16\",\"EnableIPv6\":true,\"IPv6Network\":\"fd00:42::/"
		 "62\",\"unknown\":{\"a\":[1]}}",
			"10.3.0.0/16 24 10.3.1.0 10.3.255.0", "fd00:42::/62 64 fd00:42:0:1:: fd00:42:0:3::"},
		{"{\"Network\":\"10.3.0.0/16\",\"EnableIPv6\":true,\"IPv6Network\":\"fd00::/63\"}",
			"10.3.0.0/16 24 10.3.1.0 10.3.255.0",
			"fd00::/63 65 fd00::8000:0:0:0 fd00:0:0:1:8000::"},
		{"{\"Network\":\"10.3.0.0/16\",\"EnableIPv6\":true,\"IPv6Network\":\"fd00::/"
		 "64\",\"IPv6SubnetLen\":80,"
		 "\"IPv6SubnetMin\":\"fd00::4:0:0:0\",\"IPv6SubnetMax\":\"fd00::8:0:0:0\"}",
			"10.3.0.0/16 24 10.3.1.0 10.3.255.0", "fd00::/64 80 fd00::4:0:0:0 fd00::8:0:0:0"},
		{"{\"Network\":\"10.3.0.0/16\",\"EnableIPv6\":false,\"IPv6Network\":\"fd00::/127\"}",
			"10.3.0.0/16 24 10.3.1.0 10.3.255.0", "none"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct network network = good(cases[i].text);

		assert_pool(&network, FAMILY_4, cases[i].v4);
		assert_pool(&network, FAMILY_6, cases[i].v6);
	}
}

static void issue_example(void **state)
{
	struct network network = good(
		"{\"Network\":\"10.244.0.0/16\",\"Backend\":{\"Type\":\"vxlan\",\"VNI\":1,\"Port\":8472}}");

	assert_pool(&network, FAMILY_4, "10.244.0.0/16 24 10.244.1.0 10.244.255.0");
	assert_string_equal(network.backend, "vxlan");
	assert_int_equal(network.encap, ENCAP_VXLAN);
	assert_true(network.routed);
	assert_int_equal(network.vni, 1);
	assert_int_equal(network.port, 8472);
}

#define WITH(backend) "{\"Network\":\"10.3.0.0/16\",\"Backend\":" backend "}"
#define DUAL(backend)                                                                   \
	"{\"Network\":\"10.3.0.0/16\",\"EnableIPv6\":true,\"IPv6Network\":\"fd00:42::/" \
	"56\",\"Backend\":" backend "}"

static void backends(void **state)
{
	struct network network;

	network = good("{\"Network\":\"10.3.0.0/16\"}");
	assert_string_equal(network.backend, "udp");
	assert_int_equal(network.encap, ENCAP_UDP);
	assert_int_equal(network_port(&network), 8285);

	network = good(WITH(
		"{\"Type\":\"VXLAN\",\"vni\":16777215,\"gbp\":true,\"LEARNING\":true,\"DirectRouting\":true,"
		"\"MTU\":1400,\"MacPrefix\":\"0E-2A\",\"Name\":\"x\"}"));
	assert_string_equal(network.backend, "vxlan");
	assert_int_equal(network.vni, 16777215);
	assert_true(network.gbp && network.learning && network.direct_routing);
	assert_int_equal(network.mtu, 1400);
	assert_int_equal(network.port, 0);
	assert_int_equal(network_port(&network), 8472);

	network = good(WITH("{\"Type\":\"vxlan\"}"));
	assert_int_equal(network.vni, 1);
	assert_false(network.gbp || network.learning || network.direct_routing);

	network = good(WITH("{\"Type\":\"vxlan\",\"VNI\":4096,\"Port\":null,\"MTU\":576}"));
	assert_int_equal(network.vni, 4096);
	assert_int_equal(network.mtu, 576);

	network = good(WITH("{\"Type\":\"Host-GW\",\"VNI\":\"ignored here\"}"));
	assert_string_equal(network.backend, "host-gw");
	assert_int_equal(network.encap, ENCAP_NONE);
	assert_true(network.routed);
	assert_int_equal(network_port(&network), 0);

	network = good(WITH("{\"Type\":\"udp\",\"Port\":9000}"));
	assert_int_equal(network_port(&network), 9000);

	network = good(WITH("{\"Type\":\"alloc\"}"));
	assert_false(network.routed);
	assert_string_equal(network.backend, "alloc");

	network = good(DUAL("{\"Type\":\"vxlan\",\"MTU\":1350}"));
	assert_int_equal(network.mtu, 1350);
}

/* Every message names the key, the value and what was expected. */
static void refused(void **state)
{
	static const struct {
		const char *text, *words[3];
	} cases[] = {
		{"", {"JSON"}},
		{"{", {"JSON", "line 1"}},
		{"{\"Network\":\"10.3.0.0/16\"", {"JSON"}},
		{"{\"Network\":\"10.3.0.0/16\"} x", {"JSON"}},
		{"[]", {"no object"}},
		{"\"10.3.0.0/16\"", {"no object"}},
		{"null", {"no object"}},
		{"{}", {"\"Network\"", "missing", "10.244.0.0/16"}},
		{"{\"Network\":null}", {"\"Network\"", "null", "CIDR"}},
		{"{\"Network\":\"10.3.0.0/16\",\"network\":null}", {"\"Network\"", "null"}},
		{"{\"Network\":7}", {"\"Network\"", "number", "string"}},
		{"{\"Network\":\"\"}", {"\"Network\"", "CIDR"}},
		{"{\"Network\":\"10.3.0.0\"}", {"\"Network\"", "10.3.0.0", "CIDR"}},
		{"{\"Network\":\"10.3.0.0/33\"}", {"\"Network\"", "10.3.0.0/33", "CIDR"}},
		{"{\"Network\":\"10.03.0.0/16\"}", {"\"Network\"", "10.03.0.0/16"}},
		{"{\"Network\":\" 10.3.0.0/16\"}", {"\"Network\"", " 10.3.0.0/16"}},
		{"{\"Network\":\"fd00::/48\"}", {"\"Network\"", "fd00::/48", "IPv4"}},
		{"{\"Network\":\"0.0.0.0/0\"}", {"\"Network\"", "0.0.0.0/0"}},
		{"{\"Network\":\"127.0.0.0/8\"}", {"\"Network\"", "127.0.0.0/8", "unicast"}},
		{"{\"Network\":\"224.0.0.0/8\"}", {"\"Network\"", "224.0.0.0/8", "unicast"}},
		{"{\"Network\":\"10.3.0.0/29\"}", {"\"Network\"", "10.3.0.0/29", "28"}},
		{"{\"Network\":\"10.3.0.0/29\",\"SubnetLen\":31}", {"\"Network\"", "10.3.0.0/29", "28"}},
		{"{\"Network\":\"10.3.0.0/16\",\"SubnetLen\":31}", {"\"SubnetLen\"", "31", "18 to 30"}},
		{"{\"Network\":\"10.3.0.0/16\",\"SubnetLen\":17}", {"\"SubnetLen\"", "17", "18 to 30"}},
		{"{\"Network\":\"10.3.0.0/16\",\"SubnetLen\":-1}", {"\"SubnetLen\"", "-1"}},
		{"{\"Network\":\"10.3.0.0/16\",\"SubnetLen\":4294967320}", {"\"SubnetLen\"", "4294967320"}},
		{"{\"Network\":\"10.3.0.0/16\",\"SubnetLen\":\"24\"}", {"\"SubnetLen\"", "\"24\"", "number"}},
		{"{\"Network\":\"10.3.0.0/16\",\"SubnetLen\":24.5}", {"\"SubnetLen\"", "fraction", "number"}},
		{"{\"Network\":\"10.3.0.0/16\",\"SubnetMin\":null}", {"\"SubnetMin\"", "null", "IPv4"}},
		{"{\"Network\":\"10.3.0.0/16\",\"SubnetMin\":\"10.4.1.0\"}",
			{"\"SubnetMin\"", "10.4.1.0", "10.3.0.0/16"}},
		{"{\"Network\":\"10.3.0.0/16\",\"SubnetMax\":\"10.2.1.0\"}",
			{"\"SubnetMax\"", "10.2.1.0", "10.3.0.0/16"}},
		{"{\"Network\":\"10.3.0.0/16\",\"SubnetMin\":\"10.3.1.7\"}",
			{"\"SubnetMin\"", "10.3.1.7", "10.3.1.0"}},
		{"{\"Network\":\"10.3.0.0/16\",\"SubnetMax\":\"10.3.1.128\"}",
			{"\"SubnetMax\"", "10.3.1.128", "/24"}},
		{"{\"Network\":\"10.3.0.0/16\",\"SubnetMin\":\"10.3.9.0\",\"SubnetMax\":\"10.3.8.0\"}",
			{"\"SubnetMin\"", "10.3.9.0", "10.3.8.0"}},
		{"{\"Network\":\"10.3.0.0/16\",\"SubnetMin\":\"fd00::\"}",
			{"\"SubnetMin\"", "fd00::", "IPv4"}},
		{"{\"Network\":\"10.3.0.0/16\",\"EnableIPv6\":true}", {"\"IPv6Network\"", "missing"}},
		{"{\"Network\":\"10.3.0.0/16\",\"EnableIPv6\":\"yes\"}",
			{"\"EnableIPv6\"", "\"yes\"", "true or false"}},
		{"{\"Network\":\"10.3.0.0/16\",\"EnableIPv6\":1}",
			{"\"EnableIPv6\"", "number", "true or false"}},
		{"{\"Network\":\"10.3.0.0/16\",\"EnableNFTables\":1}",
			{"\"EnableNFTables\"", "true or false"}},
		{"{\"Network\":\"10.3.0.0/16\",\"IPv6Network\":\"bad\"}",
			{"\"IPv6Network\"", "bad", "IPv6 CIDR"}},
		{"{\"Network\":\"10.3.0.0/16\",\"EnableIPv4\":false}",
			{"\"EnableIPv4\"", "\"EnableIPv6\"", "both false"}},
		{"{\"EnableIPv4\":false,\"EnableIPv6\":true,\"IPv6Network\":\"fd00::/125\"}",
			{"\"IPv6Network\"", "fd00::/125", "124"}},
		{"{\"EnableIPv4\":false,\"EnableIPv6\":true,\"IPv6Network\":\"fd00::/"
		 "56\",\"IPv6SubnetLen\":127}",
			{"\"IPv6SubnetLen\"", "127", "58 to 126"}},
		{"{\"EnableIPv4\":false,\"EnableIPv6\":true,\"IPv6Network\":\"fd00::/"
		 "56\",\"IPv6SubnetMin\":\"fe00::\"}",
			{"\"IPv6SubnetMin\"", "fe00::", "fd00::/56"}},
		{"{\"EnableIPv4\":false,\"EnableIPv6\":true,\"IPv6Network\":\"::/0\"}",
			{"\"IPv6Network\"", "::/0"}},
		{WITH("null"), {"\"Backend\"", "null", "Type"}},
		{WITH("\"vxlan\""), {"\"Backend\"", "vxlan", "object"}},
		{WITH("[]"), {"\"Backend\"", "list", "object"}},
		{WITH("{}"), {"\"Type\"", "missing", "vxlan, host-gw, udp, alloc"}},
		{WITH("{\"Type\":\"\"}"), {"\"Type\"", "empty", "vxlan"}},
		{WITH("{\"Type\":null}"), {"\"Type\"", "missing", "vxlan"}},
		{WITH("{\"Type\":7}"), {"\"Type\"", "number", "string"}},
		{WITH("{\"Type\":\"vxlam\"}"), {"\"Type\"", "\"vxlam\"", "vxlan, host-gw, udp, alloc"}},
		{WITH("{\"Type\":\"WireGuard\"}"), {"\"Type\"", "\"wireguard\"", "Tulle has not yet"}},
		{WITH("{\"Type\":\"ipip\"}"), {"\"Type\"", "\"ipip\"", "Tulle has not yet"}},
		{WITH("{\"Type\":\"ipsec\"}"), {"\"Type\"", "\"ipsec\"", "Tulle has not yet"}},
		{WITH("{\"Type\":\"extension\"}"), {"\"Type\"", "\"extension\"", "Tulle has not yet"}},
		{WITH("{\"Type\":\"tencent-vpc\"}"), {"\"Type\"", "\"tencent-vpc\"", "Tulle has not yet"}},
		{WITH("{\"Type\":\"vxlan\",\"VNI\":0}"), {"\"VNI\"", "0", "1 to 16777215"}},
		{WITH("{\"Type\":\"vxlan\",\"VNI\":16777216}"), {"\"VNI\"", "16777216", "1 to 16777215"}},
		{WITH("{\"Type\":\"vxlan\",\"VNI\":\"1\"}"), {"\"VNI\"", "\"1\"", "number"}},
		{WITH("{\"Type\":\"vxlan\",\"Port\":65536}"), {"\"Port\"", "65536", "0 to 65535"}},
		{WITH("{\"Type\":\"udp\",\"Port\":-1}"), {"\"Port\"", "-1", "0 to 65535"}},
		{WITH("{\"Type\":\"vxlan\",\"GBP\":\"on\"}"), {"\"GBP\"", "\"on\"", "true or false"}},
		{WITH("{\"Type\":\"vxlan\",\"DirectRouting\":{}}"),
			{"\"DirectRouting\"", "object", "true or false"}},
		{WITH("{\"Type\":\"vxlan\",\"MTU\":100000}"), {"\"MTU\"", "100000", "65535"}},
		{WITH("{\"Type\":\"vxlan\",\"MTU\":99999999999999999999}"), {"JSON", "integer"}},
		{WITH("{\"Type\":\"vxlan\",\"MTU\":575}"), {"\"MTU\"", "575", "576 to 65535"}},
		{WITH("{\"Type\":\"vxlan\",\"MTU\":-5}"), {"\"MTU\"", "-5"}},
		{DUAL("{\"Type\":\"vxlan\",\"MTU\":1349}"), {"\"MTU\"", "1349", "1350 to 65535"}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct network network;
		struct network before;
		struct err err = ERR_INIT;

		memset(&network, 0x5a, sizeof(network));
		before = network;
		if (flannel_network_parse(
			    cases[i].text, strlen(cases[i].text), "net-conf.json", &network, &err) >= 0)
			fail_msg("accepted: %s", cases[i].text);
		assert_memory_equal(&network, &before, sizeof(network));
		assert_int_not_equal(err.code, 0);
		if (!strstr(err_text(&err), "net-conf.json"))
			fail_msg("%s\nno file name in: %s", cases[i].text, err_text(&err));
		for (size_t w = 0; w < ARRAY_SIZE(cases[i].words) && cases[i].words[w]; w++)
			if (!strstr(err_text(&err), cases[i].words[w]))
				fail_msg("%s\n\"%s\" is not in: %s", cases[i].text, cases[i].words[w],
					err_text(&err));
	}
}

static void truncated_anywhere(void **state)
{
	static const char text[] = DUAL("{\"Type\":\"vxlan\",\"VNI\":1,\"Port\":8472}");
	struct network network = {0};

	for (size_t len = 0; len < sizeof(text) - 1; len++)
		assert_true(flannel_network_parse(text, len, "t", &network, NULL) < 0);
	assert_int_equal(flannel_network_parse(text, sizeof(text) - 1, "t", &network, NULL), 0);
}

static void nested_and_huge(void **state)
{
	size_t depth = 10000, len = 2 * depth + 100;
	_cleanup_free_ char *text = malloc(len);
	_cleanup_free_ char *huge = malloc(11u << 20);
	struct network network = {0};
	struct err err = ERR_INIT;
	int n;

	n = sprintf(text, "{\"Network\":\"10.3.0.0/16\",\"x\":");
	memset(text + n, '[', depth);
	memset(text + n + depth, ']', depth);
	text[(size_t)n + 2 * depth] = '}';
	assert_int_equal(
		flannel_network_parse(text, (size_t)n + 2 * depth + 1, "t", &network, &err), -EINVAL);
	assert_non_null(strstr(err_text(&err), "depth"));

	memset(huge, ' ', 11u << 20);
	assert_int_equal(flannel_network_parse(huge, 11u << 20, "t", &network, &err), -EMSGSIZE);
	assert_non_null(strstr(err_text(&err), "11534336 bytes"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pools),
		cmocka_unit_test(issue_example),
		cmocka_unit_test(backends),
		cmocka_unit_test(refused),
		cmocka_unit_test(truncated_anywhere),
		cmocka_unit_test(nested_and_huge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
