/* SPDX-License-Identifier: Apache-2.0
 *
 * A small cluster in order: one fault each, and what the audit says of it.
 */
#include "ipam/audit.h"
#include "ipam/ipam_block.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define NOW_NS (1785578400LL * 1000000000)
#define CIDR "10.65.0.0/29"

/* Two nodes with a block each; n1, which looks, has the pods web (attached) and db; n2 has far. */
struct world {
	bool pods_known;
	const char *far_node, *far_ip, *far_block_node; /* null: no such pod */
	bool far_finished, no_attachment, no_affinity, stray_affinity, no_handle, tunnel_leaked, no_n2;
	const char *web_handle;
	int web_count;
	bool damage, overlap, outside, not_given;
};

static const struct world in_order = {.pods_known = true, .far_node = "n2", .far_ip = "10.65.0.8", .far_block_node = "n2",
	.web_handle = "net.web", .web_count = 1};

static struct addr addr(const char *text)
{
	struct addr ret = {{0}};

	if (text)
		assert_int_equal(addr_parse(text, &ret), 0);
	return ret;
}

static struct prefix prefix(const char *text)
{
	struct prefix ret;

	assert_int_equal(prefix_parse(text, &ret), 0);
	return ret;
}

static void give(struct ipam_block *block, const char *ip, const char *handle, json_t *attributes)
{
	struct ipam_owner owner = {handle, attributes};
	struct addr a = addr(ip);

	assert_int_equal(ipam_block_take_addr(block, &a, &owner), 0);
	json_decref(attributes);
}

static json_t *pod_of(const char *node, const char *pod)
{
	return json_pack("{s:s, s:s, s:s}", "node", node, "namespace", "shop", "pod", pod);
}

static void add_block(struct audit *audit, struct ipam_block *block, bool damage)
{
	json_t *object = ipam_block_encode(block);

	if (damage)
		json_array_remove(json_object_get(json_object_get(object, "spec"), "unallocated"), 0);
	audit_add_block(audit, object);
	json_decref(object);
	ipam_block_free(&block);
}

static struct ipam_block *block_of(const char *cidr, const char *node)
{
	struct prefix prefix_ = prefix(cidr);

	return ipam_block_new(&prefix_, node, NOW_NS);
}

static void add_blocks(struct audit *audit, const struct world *world)
{
	struct ipam_block *one = block_of(CIDR, "n1"), *two = block_of("10.65.0.8/29", "n2");

	give(one, "10.65.0.0", "vxlan-tunnel-addr-n1", json_pack("{s:s, s:s}", "node", "n1", "type", "vxlanTunnelAddress"));
	if (!world->not_given)
		give(one, "10.65.0.1", world->web_handle, pod_of("n1", "web"));
	give(one, "10.65.0.2", "tulle-reserved-n1", json_pack("{s:s, s:s}", "node", "n1", "type", "vxlanTunnelAddress"));
	if (world->tunnel_leaked)
		give(one, "10.65.0.3", "ipip-tunnel-addr-n1", json_pack("{s:s, s:s}", "node", "n1", "type", "ipipTunnelAddress"));
	give(two, "10.65.0.8", "net.far", pod_of(world->far_block_node, "far"));
	add_block(audit, one, false);
	add_block(audit, two, world->damage);
	if (world->overlap)
		add_block(audit, block_of("10.65.0.4/30", NULL), false);
	if (world->outside)
		add_block(audit, block_of("10.99.0.0/29", NULL), false);
}

static void add_affinity(struct audit *audit, const char *node, const char *cidr)
{
	json_t *object = json_pack("{s:{s:s}, s:{s:s, s:s, s:s, s:s}}", "metadata", "name", node, "spec", "cidr", cidr, "node", node,
		"state", "confirmed", "deleted", "false");

	audit_add_affinity(audit, object);
	json_decref(object);
}

static void add_handle(struct audit *audit, const char *handle, const char *cidr, int count)
{
	json_t *object = json_pack("{s:{s:s}, s:{s:s, s:{s:i}, s:b}}", "metadata", "name", handle, "spec", "handleID", handle, "block",
		cidr, count, "deleted", 0);

	audit_add_handle(audit, object);
	json_decref(object);
}

static void add_living(struct audit *audit, const struct world *world)
{
	struct addr tunnels[2][IPAM_TUNNEL_COUNT] = {{[IPAM_TUNNEL_VXLAN] = addr("10.65.0.0")}, {{{0}}}};
	struct audit_pod web = {"shop", "web", "n1", false, {addr("10.65.0.1")}};
	struct audit_pod far = {"shop", "far", world->far_node, world->far_finished, {addr(world->far_ip)}};

	audit_add_node(audit, "n1", tunnels[0]);
	if (!world->no_n2)
		audit_add_node(audit, "n2", tunnels[1]);
	if (world->pods_known && !world->no_attachment)
		audit_add_pod(audit, &web);
	if (world->pods_known && world->far_node)
		audit_add_pod(audit, &far);
	if (!world->no_attachment)
		audit_add_attachment(audit, "net.web", web.addrs);
}

static struct audit *make(const struct world *world)
{
	struct prefix pool = prefix("10.65.0.0/24");
	struct audit_options options = {.node = "n1", .pools = &pool, .pool_count = 1, .pods_known = world->pods_known};
	struct audit *audit = audit_new(&options);

	add_living(audit, world);
	if (!world->no_affinity)
		add_affinity(audit, "n1", CIDR);
	add_affinity(audit, "n2", "10.65.0.8/29");
	if (world->stray_affinity)
		add_affinity(audit, "n2", "10.65.0.16/29");
	add_blocks(audit, world);
	add_handle(audit, "vxlan-tunnel-addr-n1", CIDR, 1);
	if (world->tunnel_leaked)
		add_handle(audit, "ipip-tunnel-addr-n1", CIDR, 1);
	add_handle(audit, "tulle-reserved-n1", CIDR, 1);
	if (!world->no_handle && !world->not_given)
		add_handle(audit, world->web_handle, CIDR, world->web_count);
	add_handle(audit, "net.far", "10.65.0.8/29", 1);
	assert_int_equal(audit_finish(audit), 0);
	return audit;
}

/* The only finding. */
static void expect(struct world world, enum audit_kind kind, const char *object, const char *text)
{
	struct audit *audit = make(&world);
	size_t count;
	const struct audit_finding *findings = audit_findings(audit, &count);

	for (size_t i = 0; count != 1 && i < count; i++)
		print_message("%s %s: %s\n", audit_kind_name(findings[i].kind), findings[i].object, findings[i].text);
	assert_int_equal(count, 1);
	assert_string_equal(audit_kind_name(findings[0].kind), audit_kind_name(kind));
	assert_string_equal(findings[0].object, object);
	if (!strstr(findings[0].text, text))
		fail_msg("\"%s\" is not in \"%s\"", text, findings[0].text);
	audit_free(audit);
}

/* The cluster in order, but for these. */
#define WITH(...) ({                                  \
	struct world world_ = in_order;               \
	struct world *w = &world_;                    \
	__VA_ARGS__;                                  \
	world_;                                       \
})

static void test_in_order(void **state)
{
	struct world worlds[] = {in_order, WITH(w->pods_known = false), WITH(w->far_ip = NULL)};

	for (size_t i = 0; i < sizeof(worlds) / sizeof(worlds[0]); i++) {
		struct audit *audit = make(&worlds[i]);
		struct audit_counts counts;
		size_t count;

		audit_findings(audit, &count);
		audit_count(audit, &counts);
		assert_int_equal(count, 0);
		assert_int_equal(counts.blocks, 2);
		assert_int_equal(counts.addresses, 4);
		assert_int_equal(counts.handles, 4);
		assert_int_equal(counts.nodes, 2);
		audit_free(audit);
	}
}

static void test_leaks(void **state)
{
	expect(WITH(w->far_node = NULL), AUDIT_LEAKED, "10.65.0.8", "pod shop/far of node n2 does not exist; handle net.far");
	expect(WITH(w->far_finished = true), AUDIT_LEAKED, "10.65.0.8", "pod shop/far of node n2 has ended");
	expect(WITH(w->far_node = "n1"; w->far_ip = NULL), AUDIT_LEAKED, "10.65.0.8", "runs on node n1, not on n2");
	expect(WITH(w->far_ip = "10.99.0.7"), AUDIT_LEAKED, "10.65.0.8", "pod shop/far has 10.99.0.7");
	expect(WITH(w->no_attachment = true), AUDIT_LEAKED, "10.65.0.1", "pod shop/web of node n1 does not exist");
	expect(WITH(w->no_attachment = true; w->pods_known = false), AUDIT_LEAKED, "10.65.0.1", "is not attached to this node");
	expect(WITH(w->tunnel_leaked = true), AUDIT_LEAKED, "10.65.0.3", "ipipTunnelAddress of node n1, which has none");
	expect(WITH(w->far_block_node = "n3"; w->pods_known = false), AUDIT_LEAKED, "10.65.0.8", "of node n3, which does not exist");
}

static void test_blocks(void **state)
{
	expect(WITH(w->damage = true), AUDIT_BLOCK_DAMAGED, "IPAMBlock 10-65-0-8-29", "spec.unallocated: 1 is missing");
	expect(WITH(w->overlap = true), AUDIT_BLOCKS_OVERLAP, "IPAMBlock 10-65-0-4-30", "overlaps block 10.65.0.0/29");
	expect(WITH(w->outside = true), AUDIT_BLOCK_OUTSIDE_POOLS, "IPAMBlock 10-99-0-0-29", "in no IPPool");
	expect(WITH(w->no_affinity = true), AUDIT_BLOCK_WITHOUT_AFFINITY, "IPAMBlock 10-65-0-0-29", "names node n1");
	expect(WITH(w->stray_affinity = true), AUDIT_AFFINITY_WITHOUT_BLOCK, "BlockAffinity n2", "it is confirmed");
	expect(WITH(w->no_n2 = true), AUDIT_BLOCK_WITHOUT_NODE, "IPAMBlock 10-65-0-8-29", "node n2, which does not exist");
}

static void test_handles(void **state)
{
	expect(WITH(w->web_count = 3), AUDIT_HANDLE_COUNT, "IPAMHandle net.web", "it counts 3 in block 10.65.0.0/29, which shows 1");
	expect(WITH(w->no_handle = true), AUDIT_HANDLE_MISSING, "IPAMHandle net.web", "there is no such object");
	expect(WITH(w->web_handle = "net.other"), AUDIT_WRONG_OWNER, "10.65.0.1", "shows handle net.other, expected net.web");
}

static void test_addresses(void **state)
{
	expect(WITH(w->not_given = true), AUDIT_NOT_GIVEN, "10.65.0.1", "pod shop/web of node n1 has it");
	/* the tunnel's address is a pod's as well, and the pod's own is left */
	struct world world = WITH(w->far_ip = "10.65.0.0");
	struct audit *audit = make(&world);
	size_t count;
	const struct audit_finding *findings = audit_findings(audit, &count);

	assert_int_equal(count, 2);
	assert_int_equal(findings[0].kind, AUDIT_LEAKED);
	assert_int_equal(findings[1].kind, AUDIT_USED_TWICE);
	assert_string_equal(findings[1].object, "10.65.0.0");
	audit_free(audit);
}

static void test_kept_is_what_both_found(void **state)
{
	struct world leaked = WITH(w->far_node = NULL), both = WITH(w->far_node = NULL; w->web_count = 2);
	struct audit *first = make(&leaked), *second = make(&both);
	size_t count;

	audit_keep_common(second, first);
	assert_int_equal(audit_findings(second, &count)[0].kind, AUDIT_LEAKED);
	assert_int_equal(count, 1);
	audit_free(first);
	first = make(&in_order);
	audit_keep_common(second, first);
	audit_findings(second, &count);
	assert_int_equal(count, 0);
	audit_free(first);
	audit_free(second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_order),
		cmocka_unit_test(test_leaks),
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_handles),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_kept_is_what_both_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
