/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam/ipam_block.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define NOW 1785578400
#define NOW_NS (NOW * 1000000000LL)

static struct addr addr(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

static struct ipam_block *fresh(const char *text)
{
	struct prefix cidr;
	struct ipam_block *block;

	assert_int_equal(prefix_parse(text, &cidr), 0);
	block = ipam_block_new(&cidr, "node-a", NOW_NS);
	assert_non_null(block);
	return block;
}

static struct ipam_owner owner(const char *handle, const char *node)
{
	return (struct ipam_owner){handle, json_pack("{s:s}", "node", node)};
}

static void done(struct ipam_owner *owner)
{
	json_decref(owner->attributes);
}

static json_t *json(const char *text)
{
	json_error_t error;
	json_t *value = json_loads(text, JSON_DECODE_ANY, &error);

	if (!value)
		fail_msg("%s", error.text);
	return value;
}

static void assert_text(json_t *value, const char *expected)
{
	char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);

	assert_string_equal(text, expected);
	free(text);
}

static void test_new(void **state)
{
	struct ipam_block *block = fresh("10.0.0.0/30");
	json_t *object = ipam_block_encode(block);

	assert_text(object,
		"{\"apiVersion\":\"projectcalico.org/v3\",\"kind\":\"IPAMBlock\",\"metadata\":{\"name\":"
		"\"10-0-0-0-30\"},\"spec\":{\"affinity\":\"host:node-a\",\"affinityClaimTime\":\"2026-08-"
		"01T10:00:00Z\","
		"\"allocations\":[null,null,null,null],\"attributes\":[],\"cidr\":\"10.0.0.0/"
		"30\",\"deleted\":false,"
		"\"sequenceNumber\":1785578400000000000,\"sequenceNumberForAllocation\":{},"
		"\"strictAffinity\":false,"
		"\"unallocated\":[0,1,2,3]}}");
	assert_true(ipam_block_is_of(block, "node-a"));
	assert_false(ipam_block_is_of(block, "node"));
	assert_true(ipam_block_is_empty(block));
	json_decref(object);
	ipam_block_free(&block);
}

static bool is_first(const void *ctx, const struct addr *a)
{
	return addr_equal(ctx, a);
}

static void test_take(void **state)
{
	struct ipam_block *block = fresh("10.0.0.0/30");
	struct addr got[4], reserved = addr("10.0.0.0"), last = addr("10.0.0.3"), outside = addr("10.0.0.4");
	struct ipam_owner a = owner("A", "node-a"), b = owner("B", "node-a");
	json_t *object;

	assert_int_equal(ipam_block_count_free(block, is_first, &reserved), 3);
	assert_int_equal(ipam_block_take(block, &a, is_first, &reserved, 2, got), 2);
	assert_true(
		addr_equal(&got[0], &(struct addr){{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1}}));
	assert_int_equal(ipam_block_take_addr(block, &last, &b), 0);
	assert_int_equal(ipam_block_take_addr(block, &last, &b), -EEXIST);
	assert_int_equal(ipam_block_take_addr(block, &outside, &b), -ERANGE);
	assert_int_equal(ipam_block_take(block, &a, is_first, &reserved, 2, got), 0);
	assert_int_equal(ipam_block_held(block, "A"), 2);
	assert_int_equal(block->attr_count, 2);
	object = ipam_block_encode_next(block);
	assert_text(json_object_get(json_object_get(object, "spec"), "allocations"), "[null,0,0,1]");
	assert_text(json_object_get(json_object_get(object, "spec"), "unallocated"), "[0]");
	assert_text(json_object_get(json_object_get(object, "spec"), "sequenceNumberForAllocation"),
		"{\"1\":1785578400000000000,\"2\":1785578400000000000,\"3\":1785578400000000000}");
	assert_text(
		json_object_get(json_object_get(object, "spec"), "sequenceNumber"), "1785578400000000001");
	json_decref(object);
	done(&a);
	done(&b);
	ipam_block_free(&block);
}

static void test_release(void **state)
{
	struct ipam_block *block = fresh("10.0.0.0/30");
	struct ipam_owner a = owner("A", "node-a"), b = owner("B", "node-a");
	struct ipam_claim claim = {.addr = addr("10.0.0.0"), .handle = "B"};
	struct addr got[4];

	assert_int_equal(ipam_block_take(block, &a, NULL, NULL, 1, got), 1);
	block->sequence++;
	assert_int_equal(ipam_block_take(block, &b, NULL, NULL, 2, got), 2);
	assert_int_equal(ipam_block_release(block, &claim, NOW), -ESTALE);
	claim.handle = "A";
	claim.sequence = block->sequence;
	assert_int_equal(ipam_block_release(block, &claim, NOW), -ESTALE);
	claim.sequence--;
	assert_int_equal(ipam_block_release(block, &claim, NOW), 1);
	assert_int_equal(ipam_block_release(block, &claim, NOW), 0); /* it cools down already */
	assert_false(ipam_block_is_empty(block));
	assert_int_equal(ipam_block_held(block, "A"), 0);
	assert_true(ipam_block_collect(block, NOW + 29, 30)); /* A's attributes go, and B's are renumbered */
	assert_int_equal(block->free_count, 1);
	assert_int_equal(ipam_block_held(block, "B"), 2);
	assert_true(ipam_block_collect(block, NOW + 30, 30));
	assert_int_equal(block->free_count, 2);
	assert_int_equal(block->unallocated[1], 0); /* comes last */
	assert_int_equal(block->sequences[0], 0);
	assert_false(ipam_block_collect(block, NOW + 31, 30));
	assert_int_equal(ipam_block_release_handle(block, "B", NOW), 2);
	assert_true(ipam_block_collect(block, NOW, 0));
	assert_true(ipam_block_is_empty(block));
	assert_int_equal(block->attr_count, 0);
	done(&a);
	done(&b);
	ipam_block_free(&block);
}

static void test_move(void **state)
{
	struct ipam_block *block = fresh("fd00::/126");
	struct ipam_owner a = owner("A", "node-a"), b = owner("B", "node-b");
	struct addr got[4];
	uint64_t before;

	assert_int_equal(ipam_block_take(block, &a, NULL, NULL, 3, got), 3);
	before = block->sequence++;
	assert_int_equal(ipam_block_move(block, &got[1], "B", &a), -ESTALE);
	assert_int_equal(ipam_block_move(block, &got[1], "A", &b), 0);
	assert_string_equal(ipam_block_owner(block, 1)->handle, "B");
	assert_string_equal(ipam_attr_get(ipam_block_owner(block, 1), "node"), "node-b");
	assert_int_equal(block->sequences[0], before);
	assert_int_equal(block->sequences[1], before + 1); /* who believed it was A's cannot release it */
	done(&a);
	done(&b);
	ipam_block_free(&block);
}

/* reference/calico.md 2.15, with members that nobody here knows. */
static const char foreign[] =
	"{\"apiVersion\":\"projectcalico.org/v3\",\"kind\":\"IPAMBlock\",\"future\":1,"
	"\"metadata\":{\"name\":\"10-65-1-64-30\",\"resourceVersion\":\"7\",\"uid\":\"u\"},"
	"\"spec\":{\"cidr\":\"10.65.1.64/"
	"30\",\"affinity\":\"host:node-a\",\"affinityClaimTime\":\"2026-08-01T10:00:00.5Z\","
	"\"allocations\":[2,0,1,null],\"unallocated\":[3],"
	"\"attributes\":[{\"handle_id\":\"vm\",\"secondary\":{\"node\":\"node-a\"},\"alternateOwnerAttrs\":{"
	"\"node\":\"x\"}},"
	"{\"releasedAt\":\"2026-08-01T10:00:00Z\",\"note\":\"n\"},"
	"{\"handle_id\":\"windows-reserved-ipam-handle\",\"secondary\":{\"note\":\"windows host rsvd\"}}],"
	"\"sequenceNumber\":1754042400000000005,\"more\":{\"a\":[1]},"
	"\"sequenceNumberForAllocation\":{\"0\":1754042400000000000,\"1\":1754042400000000003,\"3\":1},"
	"\"strictAffinity\":false,\"deleted\":false}}";

static void test_foreign(void **state)
{
	json_t *object = json(foreign), *again, *expected = json(foreign);
	struct ipam_claim claim = {
		.addr = addr("10.65.1.65"), .handle = "vm", .sequence = 1754042400000000003};
	struct ipam_block *block = NULL;
	struct err err = ERR_INIT;

	assert_int_equal(ipam_block_decode(object, &block, &err), 0);
	assert_false(ipam_block_collect(block, NOW + 5, 10));
	again = ipam_block_encode(block);
	json_object_del(
		json_object_get(json_object_get(expected, "spec"), "sequenceNumberForAllocation"), "3");
	assert_true(json_equal(again, expected));
	assert_int_equal(ipam_block_release(block, &claim, NOW + 20), 1);
	assert_true(ipam_block_collect(block, NOW + 40, 10));
	assert_true(ipam_block_is_empty(block)); /* Windows' own does not count */
	assert_int_equal(block->free_count, 3);
	json_decref(again);
	json_decref(object);
	json_decref(expected);
	ipam_block_free(&block);
}

static void refuse(const char *path, const char *value, const char *field)
{
	json_t *object = json(foreign), *spec = json_object_get(object, "spec");
	struct ipam_block *block = NULL;
	struct err err = ERR_INIT;

	json_object_set_new(spec, path, json(value));
	assert_int_equal(ipam_block_decode(object, &block, &err), -EINVAL);
	assert_null(block);
	if (!strstr(err.text, "IPAMBlock 10-65-1-64-30") || !strstr(err.text, field))
		fail_msg("%s = %s: %s", path, value, err.text);
	json_decref(object);
}

static void test_damaged(void **state)
{
	refuse("cidr", "\"10.65.1.64\"", "spec.cidr");
	refuse("cidr", "\"10.65.1.65/30\"", "spec.cidr");
	refuse("cidr", "\"10.65.1.68/30\"", "spec.cidr");
	refuse("cidr", "\"10.0.0.0/8\"", "spec.cidr");
	refuse("cidr", "7", "spec.cidr");
	refuse("affinity", "7", "affinity");
	refuse("affinityClaimTime", "\"yesterday\"", "affinityClaimTime");
	refuse("allocations", "[null,null,null]", "spec.allocations");
	refuse("allocations", "[2,0,1,3]", "spec.allocations[3]");
	refuse("allocations", "[2,0,1,-1]", "spec.allocations[3]");
	refuse("allocations", "[2,0,\"1\",null]", "spec.allocations[2]");
	refuse("allocations", "{}", "allocations");
	refuse("unallocated", "[3,3]", "spec.unallocated[1]");
	refuse("unallocated", "[3,4]", "spec.unallocated[1]");
	refuse("unallocated", "[3,0]", "spec.unallocated[1]");
	refuse("unallocated", "[3,1.0]", "spec.unallocated[1]");
	refuse("unallocated", "[]", "spec.unallocated");
	refuse("attributes", "[{},7,{}]", "spec.attributes[1]");
	refuse("attributes", "[{},{\"handle_id\":7},{}]", "handle_id");
	refuse("attributes", "[{},{\"releasedAt\":\"x\"},{}]", "releasedAt");
	refuse("sequenceNumber", "\"5\"", "sequenceNumber");
	refuse("sequenceNumber", "-5", "sequenceNumber");
	refuse("sequenceNumberForAllocation", "{\"9\":1}", "sequenceNumberForAllocation");
	refuse("sequenceNumberForAllocation", "{\"1\":\"1\"}", "sequenceNumberForAllocation");
	refuse("sequenceNumberForAllocation", "{\"x\":1}", "sequenceNumberForAllocation");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new),
		cmocka_unit_test(test_take),
		cmocka_unit_test(test_release),
		cmocka_unit_test(test_move),
		cmocka_unit_test(test_foreign),
		cmocka_unit_test(test_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
