/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables of untracked egress as chains of nft: which packets are not tracked, in the order in which the programs look.
 */
#include "plan/policy_untracked.h"

#include "base/cleanup.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct failsafes failsafes[POLICY_DIRECTION_COUNT];

static struct verdict_address at(const char *text, uint64_t class)
{
	struct verdict_address address = {.class = class};

	assert_int_equal(prefix_parse(text, &address.prefix), 0);
	return address;
}

static int make(struct buf *nft, const struct verdict_tables *tables, const struct policy_untracked *all, size_t count)
{
	failsafes[POLICY_INGRESS] = (struct failsafes){.items = {{.protocol = IPPROTO_TCP, .port = 22}}, .count = 1};
	failsafes[POLICY_EGRESS] = (struct failsafes){.items = {{.protocol = IPPROTO_UDP, .port = 53}}, .count = 1};
	return policy_untracked_add(nft, all, count, tables, failsafes);
}

static void test_chains(void **state)
{
	static const char expected[] =
		"\tchain policy_table_0000000000000007 {\n"
		"\t\tip daddr { 10.1.2.3/32, 10.1.2.4/32 } goto policy_to_0000000000000021\n"
		"\t\tip daddr { 10.1.0.0/16 } goto policy_to_0000000000000020\n"
		"\t\tip6 daddr { 2001:db8::/32 } goto policy_to_0000000000000020\n"
		"\t\tgoto policy_to_000000000000001f\n"
		"\t}\n"
		"\tchain policy_to_000000000000001f {\n"
		"\t\treturn\n"
		"\t}\n"
		"\tchain policy_to_0000000000000021 {\n"
		"\t\tmeta l4proto 17 notrack return\n"
		"\t\tmeta l4proto 6 th dport 80-95 return\n"
		"\t\tmeta l4proto 6 notrack return\n"
		"\t}\n"
		"\tchain policy_to_0000000000000020 {\n"
		"\t\tmeta l4proto 6 goto policy_from_0000000000000022\n"
		"\t\treturn\n"
		"\t}\n"
		"\tchain policy_from_0000000000000022 {\n"
		"\t\tmeta l4proto 6 th sport 443-443 notrack return\n"
		"\t\treturn\n"
		"\t}\n"
		"\tchain policy_raw_out {\n"
		"\t\ttype filter hook output priority -310; policy accept;\n"
		"\t\tmeta l4proto 17 th dport 53 return\n"
		"\t\tmeta l4proto 6 th sport 22 return\n"
		"\t\toifname \"eth0\" jump policy_table_0000000000000007\n"
		"\t\toifname \"eth1\" jump policy_table_0000000000000007\n"
		"\t}\n";
	struct verdict_address addresses[] = {at("10.1.0.0/16", 2), at("10.1.2.3/32", 3), at("10.1.2.4/32", 3), at("10.9.0.0/16", 4),
		at("2001:db8::/32", 2), at("::/0", 2)};
	struct verdict_pair pairs[] = {{5, 0, 0x30}, {5, 2, 0x31}, {7, 0, 0x1f}, {7, 2, 0x20}, {7, 3, 0x21}};
	struct verdict_port ports[] = {{.list = 0x1f, .len = 64}, {.list = 0x20, .len = 64},
		{.list = 0x20, .len = 72, .protocol = 6, .bits = VERDICT_NEXT, .next = 0x22},
		{.list = 0x21, .len = 72, .protocol = 6, .bits = VERDICT_ALLOW},
		{.list = 0x21, .len = 92, .protocol = 6, .port = 80}, {.list = 0x21, .len = 72, .protocol = 17, .bits = VERDICT_ALLOW},
		{.list = 0x21, .len = 96, .protocol = 58, .port = 128 << 8, .bits = VERDICT_ALLOW}, {.list = 0x22, .len = 64},
		{.list = 0x22, .len = 96, .protocol = 6, .port = 443, .bits = VERDICT_ALLOW}};
	const struct verdict_tables tables = {addresses, 6, pairs, 5, ports, 9};
	const struct policy_untracked all[] = {{"eth0", 7}, {"eth1", 7}};
	_cleanup_(buf_free) struct buf nft = BUF_INIT(0);

	assert_int_equal(make(&nft, &tables, all, 2), 0);
	assert_string_equal(buf_text(&nft), expected);
}

static void test_too_many_are_left_out(void **state)
{
	const size_t count = POLICY_UNTRACKED_MAX + 1;
	struct verdict_address *addresses = calloc(count, sizeof(*addresses));
	struct verdict_pair pairs[] = {{7, 1, 0x20}};
	struct verdict_port ports[] = {{.list = 0x20, .len = 64, .bits = VERDICT_ALLOW}};
	struct verdict_tables tables = {addresses, count, pairs, 1, ports, 1};
	const struct policy_untracked all[] = {{"eth0", 7}, {"eth1", 7}};
	_cleanup_(buf_free) struct buf nft = BUF_INIT(0), good = BUF_INIT(0);

	for (size_t i = 0; i < count; i++)
		addresses[i] = (struct verdict_address){.prefix = {.addr = addr_from_4(0x0a000000u + (uint32_t)i), .family = AF_INET,
			.len = 32}, .class = 1};
	assert_int_equal(make(&nft, &tables, all, 2), 2);
	assert_null(strstr(buf_text(&nft), "jump"));
	tables.address_count = POLICY_UNTRACKED_MAX;
	assert_int_equal(make(&good, &tables, all, 2), 0);
	assert_non_null(strstr(buf_text(&good), "oifname \"eth1\" jump policy_table_0000000000000007"));
	free(addresses);
}

static void test_full_buffer_is_told(void **state)
{
	struct verdict_pair pairs[] = {{7, 0, 0x20}};
	struct verdict_port ports[] = {{.list = 0x20, .len = 64, .bits = VERDICT_ALLOW}};
	const struct verdict_tables tables = {NULL, 0, pairs, 1, ports, 1};
	const struct policy_untracked all[] = {{"eth0", 7}};
	_cleanup_(buf_free) struct buf nft = BUF_INIT(50);

	assert_true(make(&nft, &tables, all, 1) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chains),
		cmocka_unit_test(test_too_many_are_left_out),
		cmocka_unit_test(test_full_buffer_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
