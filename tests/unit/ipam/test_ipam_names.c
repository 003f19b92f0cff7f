/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam/ipam_names.h"
#include "model/node.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct prefix cidr(const char *text)
{
	struct prefix prefix;

	assert_int_equal(prefix_parse(text, &prefix), 0);
	return prefix;
}

static void test_objects(void **state)
{
	char name[IPAM_CIDR_NAME_MAX], affinity[IPAM_NAME_MAX], handle[IPAM_HANDLE_MAX];
	struct prefix four = cidr("10.65.1.64/26"), six = cidr("fd00::40/122");

	assert_string_equal(ipam_cidr_name(&four, name), "10-65-1-64-26");
	assert_string_equal(ipam_cidr_name(&six, name), "fd00--40-122");
	assert_string_equal(ipam_affinity_name("node-a", &four, affinity), "node-a-10-65-1-64-26");
	assert_string_equal(ipam_handle_name("k8s-Pod-Network.AbC\rold", handle), "k8s-pod-network.abc");
	assert_true(ipam_handle_equal("a.b\r{}", "a.b"));
	assert_false(ipam_handle_equal("a.b", "a.bc"));
}

static void test_long_node(void **state)
{
	struct prefix four = cidr("10.65.1.64/26");
	char node[241], name[IPAM_NAME_MAX];

	memset(node, 'n', 240);
	node[239] = '\0'; /* 239 + 1 + 13 = 253: too long */
	ipam_affinity_name(node, &four, name);
	assert_int_equal(strlen(name), 252);
	assert_memory_equal(name + 252 - 12 - 14, "-10-65-1-64-26-", 15);
	node[238] = '\0';
	ipam_affinity_name(node, &four, name);
	assert_int_equal(strlen(name), 252);
	assert_string_equal(name + 238, "-10-65-1-64-26");
	/* two long names that differ at their ends only do not meet */
	node[238] = 'a';
	node[239] = '\0';
	ipam_affinity_name(node, &four, name);
	node[238] = 'b';
	{
		char other[IPAM_NAME_MAX];

		ipam_affinity_name(node, &four, other);
		assert_string_not_equal(name, other);
		assert_memory_equal(name, other, 200);
	}
}

static void test_labels(void **state)
{
	char hash[NODE_NAME_HASH_MAX], labels[IPAM_AFFINITY_LABELS_MAX];

	/* printf node-a | openssl sha3-256 -binary | base32 */
	assert_string_equal(
		node_name_hash("node-a", hash), "PY3TQE2E3XMTETLM2MJO3UITKPFB27YUJ4T4E5XGPEJON3SM4QAA");
	assert_string_equal(ipam_affinity_labels("node-a", FAMILY_6, labels),
		"projectcalico.org/hostname-hash=PY3TQE2E3XMTETLM2MJO3UITKPFB27YUJ4T4E5XGPEJON3SM4QAA,"
		"projectcalico.org/affinity-type=host,projectcalico.org/ip-version=6");
}

static void test_handles(void **state)
{
	char handle[IPAM_HANDLE_MAX], longer[IPAM_HANDLE_MAX + 1];

	assert_int_equal(ipam_pod_handle("k8s-pod-network", "0123", handle), 0);
	assert_string_equal(handle, "k8s-pod-network.0123");
	assert_int_equal(ipam_tunnel_handle(IPAM_TUNNEL_VXLAN_6, "n", handle), 0);
	assert_string_equal(handle, "vxlan-v6-tunnel-addr-n");
	assert_true(ipam_is_tunnel_type(ipam_tunnel_type(IPAM_TUNNEL_IPIP)));
	assert_true(ipam_is_tunnel_type("wireguardV6TunnelAddress"));
	assert_false(ipam_is_tunnel_type("LoadBalancer"));
	memset(longer, 'x', IPAM_HANDLE_MAX);
	longer[IPAM_HANDLE_MAX] = '\0';
	assert_int_equal(ipam_pod_handle("n", longer, handle), -EMSGSIZE);
	assert_string_equal(handle, "");
}

static void assert_block(const char *pool, uint8_t len, uint64_t index, const char *expected)
{
	struct prefix p = cidr(pool), block = ipam_block_at(&p, len, index);
	char text[PREFIX_TEXT_MAX];

	assert_string_equal(prefix_format(&block, text), expected);
}

static void test_blocks(void **state)
{
	struct prefix four = cidr("10.244.0.0/16"), six = cidr("fd00::/48"), all = cidr("::/0"),
		      tiny = cidr("10.0.0.0/26");

	assert_int_equal(ipam_block_count(&four, 26), 1024);
	assert_int_equal(ipam_block_count(&tiny, 26), 1);
	assert_int_equal(ipam_block_count(&tiny, 25), 0);
	assert_true(ipam_block_count(&six, 122) == (uint64_t)1 << 62);
	assert_true(ipam_block_count(&all, 128) == (uint64_t)1 << 62);
	assert_block("10.244.0.0/16", 26, 0, "10.244.0.0/26");
	assert_block("10.244.0.0/16", 26, 1023, "10.244.255.192/26");
	assert_block("10.244.0.0/16", 32, 65535, "10.244.255.255/32");
	assert_block("fd00::/48", 122, 1, "fd00::40/122");
	assert_block("fd00::/48", 122, (uint64_t)1 << 61, "fd00:0:0:8::/122");
}

static void test_start(void **state)
{
	uint64_t first = ipam_start_index("node-1", 1024);
	unsigned near = 0;

	assert_int_equal(ipam_start_index("node-1", 1024), first);
	assert_int_equal(ipam_start_index("node-1", 0), 0);
	/* nodes of one name pattern start apart: not more neighbours than chance would have */
	for (int i = 0; i < 100; i++) {
		char name[16];
		uint64_t at;

		snprintf(name, sizeof(name), "node-%d", i);
		at = ipam_start_index(name, 1 << 20);
		assert_true(at < 1 << 20);
		for (int j = 0; j < i; j++) {
			uint64_t other;

			snprintf(name, sizeof(name), "node-%d", j);
			other = ipam_start_index(name, 1 << 20);
			near += (at > other ? at - other : other - at) < 64;
		}
	}
	assert_true(near < 10);
}

static void test_times(void **state)
{
	char text[IPAM_TIME_MAX];
	int64_t time = 0;

	assert_string_equal(ipam_time_format(1785578400, text), "2026-08-01T10:00:00Z");
	assert_int_equal(ipam_time_parse("2026-08-01T10:00:00Z", &time), 0);
	assert_int_equal(time, 1785578400);
	assert_int_equal(ipam_time_parse("2026-08-01T12:00:00.123456789+02:00", &time), 0);
	assert_int_equal(time, 1785578400);
	assert_int_equal(ipam_time_parse("2026-08-01", &time), -EINVAL);
	assert_int_equal(ipam_time_parse("2026-08-01T10:00:00", &time), -EINVAL);
	assert_int_equal(ipam_time_parse("2026-08-01T10:00:00Zx", &time), -EINVAL);
	assert_string_equal(ipam_timestamp(1785578401200000000, text), "2026-08-01 10:00:01.2 +0000 UTC");
	assert_string_equal(ipam_timestamp(1785578410000000000, text), "2026-08-01 10:00:10 +0000 UTC");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_objects),
		cmocka_unit_test(test_long_node),
		cmocka_unit_test(test_labels),
		cmocka_unit_test(test_handles),
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_start),
		cmocka_unit_test(test_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
