/* SPDX-License-Identifier: Apache-2.0
 *
 * Policy's share of table inet tulle. That the kernel takes it, and what it does: tests/unit/plane/test_policy_nft.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "plan/plan.h"
#include "plan/policy_nft.h"

#include <netinet/in.h>
#include <string.h>

static const char *const exits[] = {"flannel.1", "eth0", "flannel.1", "a name", "x\"; flush ruleset", "eth*"};
static const char *const pods[] = {"tul", "cali"};
static const struct policy_nft_input input = {.mark_pending = 0x00100000, .mark_host = 0x00200000, .exits = exits,
	.exit_count = ARRAY_SIZE(exits), .pods = pods, .pod_count = ARRAY_SIZE(pods)};

static void test_chains(void **state)
{
	static const char expected[] =
		"\tchain policy_output {\n"
		"\t\ttype filter hook output priority -150; policy accept;\n"
		"\t\tmeta mark set meta mark | 0x00200000 comment \"sent by this node\"\n"
		"\t}\n"
		"\tchain policy_prerouting {\n"
		"\t\ttype filter hook prerouting priority -310; policy accept;\n"
		"\t\tmeta mark & 0x00300000 == 0x00000000 return\n"
		"\t\tiifname \"tul*\" meta mark set meta mark & 0xffdfffff return\n"
		"\t\tiifname \"cali*\" meta mark set meta mark & 0xffdfffff return\n"
		"\t\tmeta mark set meta mark & 0xffcfffff comment \"nobody else's business\"\n"
		"\t}\n"
		"\tchain policy_exit {\n"
		"\t\ttype filter hook postrouting priority 110; policy accept;\n"
		"\t\tmeta mark & 0x00100000 == 0x00000000 accept\n"
		"\t\toifname \"tul*\" accept\n"
		"\t\toifname \"cali*\" accept\n"
		"\t\toifname { \"eth0\", \"flannel.1\" } accept\n"
		"\t\tcounter drop comment \"egress of a pod, which nobody judges at this interface\"\n"
		"\t}\n";
	_cleanup_(buf_free) struct buf buf = BUF_INIT(0);

	assert_int_equal(policy_nft_add(&buf, &input), 0);
	assert_string_equal(buf_text(&buf), expected);
}

static void test_without_exits_nothing_leaves(void **state)
{
	_cleanup_(buf_free) struct buf buf = BUF_INIT(0);
	struct policy_nft_input none = input;

	none.exit_count = none.pod_count = 0;
	assert_int_equal(policy_nft_add(&buf, &none), 0);
	assert_null(strstr(buf_text(&buf), "oifname"));
	assert_non_null(strstr(buf_text(&buf), "counter drop"));
}

static struct policy_nft_input with_hosts(void)
{
	static const char *const hosts[] = {"eth1", "eth*", "eth0"};
	struct policy_nft_input with = input;

	with.hosts = hosts;
	with.host_count = ARRAY_SIZE(hosts);
	with.failsafes[POLICY_INGRESS] = (struct failsafes){
		.items = {{.protocol = IPPROTO_TCP, .port = 22}, {.protocol = IPPROTO_UDP, .port = 68}}, .count = 2};
	with.failsafes[POLICY_EGRESS] = (struct failsafes){.items = {{.protocol = IPPROTO_UDP, .port = 53}}, .count = 1};
	prefix_parse("192.0.2.0/24", &with.failsafes[POLICY_INGRESS].items[1].net);
	with.tunnel_port = 8472;
	with.forwards = true;
	return with;
}

static void test_host_endpoints(void **state)
{
	static const char expected[] =
		"\tchain policy_input {\n"
		"\t\ttype filter hook input priority -5; policy accept;\n"
		"\t\tmeta mark & 0x00100000 == 0x00000000 accept\n"
		"\t\tiifname != { \"eth0\", \"eth1\" } accept\n"
		"\t\tct state related accept\n"
		"\t\tct direction reply accept\n"
		"\t\tmeta l4proto tcp th dport 22 accept\n"
		"\t\tmeta l4proto udp ip saddr 192.0.2.0/24 th dport 68 accept\n"
		"\t\tmeta l4proto 4 accept\n"
		"\t\tudp dport 8472 accept\n"
		"\t\tcounter drop comment \"denied to this node by policy of a host endpoint\"\n"
		"\t}\n"
		"\tchain policy_forward_in {\n"
		"\t\tct state related meta mark set meta mark & 0xffcfffff return\n"
		"\t\tct direction reply meta mark set meta mark & 0xffcfffff return\n"
		"\t\tmeta l4proto tcp ct original proto-dst 22 meta mark set meta mark & 0xffdfffff\n"
		"\t\tmeta l4proto udp ip saddr 192.0.2.0/24 ct original proto-dst 68 meta mark set meta mark & 0xffdfffff\n"
		"\t\tmeta mark & 0x00200000 != 0x00000000 counter drop comment \"denied early by policy of a host endpoint\"\n"
		"\t\tmeta mark set meta mark & 0xffcfffff\n"
		"\t\tmeta mark set meta mark | 0x00100000\n"
		"\t}\n"
		"\tchain policy_forward {\n"
		"\t\ttype filter hook forward priority -5; policy accept;\n"
		"\t\tiifname { \"eth0\", \"eth1\" } jump policy_forward_in\n"
		"\t\tct state related accept\n"
		"\t\tct direction reply accept\n"
		"\t\toifname { \"eth0\", \"eth1\" } meta mark set meta mark | 0x00100000\n"
		"\t}\n"
		"\tchain policy_leave {\n"
		"\t\ttype filter hook postrouting priority 105; policy accept;\n"
		"\t\tmeta mark & 0x00200000 == 0x00000000 accept\n"
		"\t\toifname != { \"eth0\", \"eth1\" } accept\n"
		"\t\tct state related accept\n"
		"\t\tct direction reply accept\n"
		"\t\tmeta l4proto udp th dport 53 accept\n"
		"\t\tmeta l4proto 4 accept\n"
		"\t\tudp dport 8472 accept\n"
		"\t\tmeta mark set meta mark | 0x00100000\n"
		"\t}\n";
	_cleanup_(buf_free) struct buf buf = BUF_INIT(0);
	struct policy_nft_input with = with_hosts();

	assert_int_equal(policy_nft_add(&buf, &with), 0);
	assert_string_equal(strstr(buf_text(&buf), "\tchain policy_input"), expected);
	/* what their program says of a packet is not taken away */
	assert_non_null(strstr(buf_text(&buf), "\t\tiifname { \"eth0\", \"eth1\" } goto policy_raw_in\n\t\tiifname \"tul*\""));
	assert_non_null(strstr(buf_text(&buf),
		"\tchain policy_raw_in {\n"
		"\t\tmeta mark & 0x00300000 != 0x00200000 return\n"
		"\t\tmeta mark set meta mark & 0xffdfffff\n"
		"\t\tmeta l4proto tcp th dport 22 return\n"
		"\t\tmeta l4proto udp ip saddr 192.0.2.0/24 th dport 68 return\n"
		"\t\tmeta l4proto udp th sport 53 return\n"
		"\t\tnotrack\n"
		"\t}\n"));
}

static size_t count_of(const struct policy_nft_input *what, const char *word)
{
	_cleanup_(buf_free) struct buf buf = BUF_INIT(0);
	size_t count = 0;

	assert_int_equal(policy_nft_add(&buf, what), 0);
	for (const char *at = buf_text(&buf); (at = strstr(at, word)); at++)
		count++;
	return count;
}

/* Connections that stand: all are judged, those that are forwarded only where somebody judges them, or none. */
static void test_what_stands(void **state)
{
	struct policy_nft_input with = with_hosts();

	assert_int_equal(count_of(&with, "ct direction reply"), 4);
	assert_int_equal(count_of(&with, "ct state established"), 0);
	with.forwards = false;
	assert_int_equal(count_of(&with, "ct direction reply"), 3);
	assert_int_equal(count_of(&with, "ct state established meta mark set meta mark & 0xffcfffff return"), 1);
	assert_int_equal(count_of(&with, "ct state established,related accept"), 1);
	with.keep = true;
	assert_int_equal(count_of(&with, "ct direction reply"), 0);
	assert_int_equal(count_of(&with, "ct state established,related"), 4);
	assert_int_equal(count_of(&with, "ct state established meta"), 0);
}

static void test_full_buffer_is_told(void **state)
{
	_cleanup_(buf_free) struct buf buf = BUF_INIT(100);

	assert_int_not_equal(policy_nft_add(&buf, &input), 0);
}

/* Policy alone is reason enough for a table. */
static void test_plan_has_it_when_asked(void **state)
{
	struct network network = {.backend = "host-gw", .routed = true};
	struct lease own = {.backend = "host-gw"};
	struct plan_input plan = {.network = &network, .own = &own, .uplink = {.name = "eth0", .mtu = 1500}};
	struct plan_result result = {0};

	assert_int_equal(plan_build(&plan, &result), 0);
	assert_int_equal(result.wanted.nft.len, 0);
	plan_result_free(&result);
	plan.options.policy = &input;
	assert_int_equal(plan_build(&plan, &result), 0);
	assert_non_null(strstr(buf_text(&result.wanted.nft), "chain policy_exit {"));
	plan_result_free(&result);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chains),
		cmocka_unit_test(test_without_exits_nothing_leaves),
		cmocka_unit_test(test_host_endpoints),
		cmocka_unit_test(test_what_stands),
		cmocka_unit_test(test_full_buffer_is_told),
		cmocka_unit_test(test_plan_has_it_when_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
