/* SPDX-License-Identifier: Apache-2.0
 *
 * What the allocator does when nothing goes wrong, request by request; what happens when something does is in
 * test_ipam_model.c.
 */
#include "base/json.h"
#include "ipam/election.h"
#include "ipam/reserve.h"
#include "model/node.h"
#include "sim.h"

#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW 1785578400LL

static struct event_base *base;
static json_t *pod_attributes;

struct bed {
	struct sim *sim;
	struct objects *doors[2];
	struct allocator *allocators[2]; /* nodes a and b */
	int64_t now;                     /* seconds */
	int rc;                          /* of the last request */
	char text[800];
	struct addr addrs[64];
	size_t count;
	int rcs[8];
};

static int64_t bed_now(void *ctx)
{
	return ((struct bed *)ctx)->now * 1000000000;
}

static struct ipam_world *world_new(
	const struct ipam_pool *pools, size_t count, const struct ipam_config *config)
{
	struct ipam_world *world = calloc(1, sizeof(*world));

	world->refs = 1;
	world->config = *config;
	world->pools = calloc(count, sizeof(*pools));
	world->pool_count = count;
	for (size_t i = 0; i < count; i++) {
		world->pools[i] = pools[i];
		world->pools[i].name = strdup(pools[i].name);
	}
	return world;
}

static struct ipam_pool pool(const char *cidr, uint8_t block_len)
{
	struct ipam_pool pool = {.name = (char *)cidr,
		.block_len = block_len,
		.usable = true,
		.selects_node = true,
		.vxlan = true,
		.uses = POOL_USE_WORKLOAD | POOL_USE_TUNNEL};

	assert_int_equal(prefix_parse(cidr, &pool.cidr), 0);
	return pool;
}

static void set_world(struct bed *bed, struct ipam_pool one, struct ipam_config config)
{
	for (size_t i = 0; i < 2; i++)
		allocator_set_world(bed->allocators[i], world_new(&one, 1, &config));
}

static const struct ipam_config plain = {.auto_allocate_blocks = true};

static int set_up(void **state)
{
	struct bed *bed = calloc(1, sizeof(*bed));

	bed->sim = sim_new();
	bed->now = NOW;
	for (size_t i = 0; i < 2; i++) {
		struct allocator_options options = {.node = i ? "b" : "a", .now = bed_now, .ctx = bed};

		bed->doors[i] = options.objects = sim_door(bed->sim);
		allocator_new(base, &options, &bed->allocators[i]);
	}
	set_world(bed, pool("10.0.0.0/28", 30), plain);
	*state = bed;
	return 0;
}

static int tear_down(void **state)
{
	struct bed *bed = *state;

	allocator_free(bed->allocators[0]);
	allocator_free(bed->allocators[1]);
	sim_free(bed->sim);
	free(bed);
	return 0;
}

static void done(void *ctx, const struct ipam_result *result)
{
	struct bed *bed = ctx;

	bed->rc = result->rc;
	snprintf(bed->text, sizeof(bed->text), "%s", result->text);
	bed->count = result->count;
	for (size_t i = 0; i < result->count; i++)
		bed->addrs[i] = result->addrs[i];
	for (size_t i = 0; result->rcs && i < 8; i++)
		bed->rcs[i] = result->rcs[0];
}

static void run(struct bed *bed)
{
	bed->rc = 1000;
	for (unsigned i = 0; bed->rc == 1000 && i < 10000; i++) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		for (size_t j = 0; j < 2; j++) {
			if (sim_pending(bed->doors[j]))
				sim_execute(bed->doors[j], 0, SIM_DONE);
		}
	}
	assert_int_not_equal(bed->rc, 1000);
}

static int assign(struct bed *bed, size_t node, const char *handle, size_t count)
{
	json_t *attributes = json_pack("{s:s}", "node", node ? "b" : "a");
	struct ipam_assign request = {.wish = {.family_index = FAMILY_4, .use = POOL_USE_WORKLOAD},
		.owner = {handle, attributes},
		.count = count};

	assert_non_null(allocator_assign(bed->allocators[node], &request, done, bed));
	json_decref(attributes);
	run(bed);
	return bed->rc;
}

static int assign_addr(struct bed *bed, size_t node, const char *text, enum pool_use use)
{
	json_t *attributes = json_pack("{s:s}", "node", node ? "b" : "a");
	struct ipam_owner owner = {"wish", attributes};
	struct addr addr;

	assert_int_equal(addr_parse(text, &addr), 0);
	allocator_assign_addr(bed->allocators[node], &addr, use, &owner, done, bed);
	json_decref(attributes);
	run(bed);
	return bed->rc;
}

static int release_handle(struct bed *bed, size_t node, const char *handle)
{
	allocator_release_handle(bed->allocators[node], handle, done, bed);
	run(bed);
	return bed->rc;
}

static json_t *spec(struct bed *bed, enum kind kind, const char *name)
{
	return json_object_get(sim_object(bed->sim, kind, name), "spec");
}

static struct ipam_block *block(struct bed *bed, const char *name)
{
	struct ipam_block *block = NULL;

	assert_int_equal(ipam_block_decode(sim_object(bed->sim, KIND_IPAM_BLOCK, name), &block, NULL), 0);
	return block;
}

static void count_one(void *ctx, json_t *object)
{
	++*(size_t *)ctx;
}

static size_t count_of(struct bed *bed, enum kind kind)
{
	size_t count = 0;

	sim_each(bed->sim, kind, count_one, &count);
	return count;
}

/* -- tests -- */

static void test_first_address(void **state)
{
	struct bed *bed = *state;
	char hash[NODE_NAME_HASH_MAX], name[IPAM_CIDR_NAME_MAX], affinity[IPAM_NAME_MAX];
	struct prefix cidr;
	json_t *labels;

	assert_int_equal(assign(bed, 0, "H", 2), 0);
	assert_int_equal(bed->count, 2);
	cidr = ipam_block_of(&bed->addrs[0], 30);
	assert_true(addr_equal(&cidr.addr, &bed->addrs[0])); /* the block's very first address counts */
	ipam_cidr_name(&cidr, name);
	ipam_affinity_name("a", &cidr, affinity);
	labels = json_object_get(
		json_object_get(sim_object(bed->sim, KIND_BLOCK_AFFINITY, affinity), "metadata"), "labels");
	assert_string_equal(json_string_value(json_object_get(labels, IPAM_LABEL_HOSTNAME_HASH)),
		node_name_hash("a", hash));
	assert_string_equal(json_string_value(json_object_get(labels, IPAM_LABEL_IP_VERSION)), "4");
	assert_string_equal(
		json_string_value(json_object_get(spec(bed, KIND_BLOCK_AFFINITY, affinity), "state")),
		"confirmed");
	assert_string_equal(
		json_string_value(json_object_get(spec(bed, KIND_IPAM_BLOCK, name), "affinity")), "host:a");
	assert_string_equal(
		json_string_value(json_object_get(spec(bed, KIND_IPAM_HANDLE, "h"), "handleID")), "H");
	assert_int_equal(json_integer_value(json_object_iter_value(json_object_iter(
				 json_object_get(spec(bed, KIND_IPAM_HANDLE, "h"), "block")))),
		2);
	assert_int_equal(release_handle(bed, 0, "H"), 0);
	assert_int_equal(count_of(bed, KIND_IPAM_HANDLE), 0);
	assert_int_equal(count_of(bed, KIND_IPAM_BLOCK), 1); /* the node keeps its block */
	assert_int_equal(release_handle(bed, 0, "H"), -ENOENT);
}

static void test_limits(void **state)
{
	struct bed *bed = *state;

	set_world(bed, pool("10.0.0.0/28", 30),
		(struct ipam_config){.auto_allocate_blocks = true, .max_blocks_per_host = 2});
	assert_int_equal(assign(bed, 0, "H", 9), -ENOSPC);
	assert_int_equal(bed->count, 8);
	assert_non_null(strstr(bed->text, "2 blocks"));
	assert_int_equal(count_of(bed, KIND_IPAM_BLOCK), 2);
	set_world(bed, pool("10.0.0.0/28", 30), (struct ipam_config){.strict_affinity = true});
	assert_int_equal(assign(bed, 1, "B", 1), -ENOSPC);
	assert_non_null(strstr(bed->text, "autoAllocateBlocks"));
}

static void test_borrowing(void **state)
{
	struct bed *bed = *state;

	set_world(bed, pool("10.0.0.0/30", 30), plain);
	assert_int_equal(assign(bed, 0, "A", 1), 0);
	assert_int_equal(assign(bed, 1, "B", 2), 0);
	assert_int_equal(bed->count, 2);
	set_world(bed, pool("10.0.0.0/30", 30),
		(struct ipam_config){.strict_affinity = true, .auto_allocate_blocks = true});
	assert_int_equal(assign(bed, 1, "B", 1), -ENOSPC);
	assert_int_equal(bed->count, 0);
	set_world(bed, pool("10.0.0.0/30", 30), plain);
	assert_int_equal(assign(bed, 1, "B", 2), -ENOSPC);
	assert_int_equal(bed->count, 1); /* what there was; the caller gives it back */
}

static void test_reservations_and_cooldown(void **state)
{
	struct bed *bed = *state;
	struct ipam_config config = {.auto_allocate_blocks = true, .cooldown = 30};
	struct ipam_pool one = pool("10.0.0.0/30", 30);

	for (size_t i = 0; i < 2; i++) {
		struct ipam_world *world = world_new(&one, 1, &config);

		world->reserved = calloc(1, sizeof(*world->reserved));
		world->reserved_count = 1;
		prefix_parse("10.0.0.0/31", &world->reserved[0]);
		allocator_set_world(bed->allocators[i], world);
	}
	assert_int_equal(assign(bed, 0, "A", 3), -ENOSPC);
	assert_int_equal(bed->count, 2);
	assert_int_equal(
		assign_addr(bed, 0, "10.0.0.1", POOL_USE_WORKLOAD), 0); /* asked for by name it may be had */
	assert_int_equal(release_handle(bed, 0, "A"), 0);
	bed->now += 29;
	assert_int_equal(assign(bed, 0, "A", 1), -ENOSPC);
	bed->now += 1;
	assert_int_equal(assign(bed, 0, "A", 1), 0);
}

static void test_one_address(void **state)
{
	struct bed *bed = *state;

	assert_int_equal(assign_addr(bed, 0, "10.0.0.6", POOL_USE_WORKLOAD), 0);
	assert_int_equal(assign_addr(bed, 1, "10.0.0.6", POOL_USE_WORKLOAD), -EEXIST);
	assert_int_equal(assign_addr(bed, 0, "10.0.1.6", POOL_USE_WORKLOAD), -EINVAL);
	assert_int_equal(assign_addr(bed, 0, "10.0.0.7", POOL_USE_LOAD_BALANCER), -EINVAL);
	set_world(bed, pool("10.0.0.0/28", 30),
		(struct ipam_config){.strict_affinity = true, .auto_allocate_blocks = true});
	assert_int_equal(assign_addr(bed, 1, "10.0.0.7", POOL_USE_WORKLOAD), -EPERM);
	/* what failed leaves no count behind */
	assert_int_equal(
		json_integer_value(json_object_get(
			json_object_get(spec(bed, KIND_IPAM_HANDLE, "wish"), "block"), "10.0.0.4/30")),
		1);
}

static void test_guarded_release(void **state)
{
	struct bed *bed = *state;
	struct ipam_claim claim = {.handle = "A", .sequence = 5};
	struct ipam_block *stored;
	char name[IPAM_CIDR_NAME_MAX];
	struct prefix cidr;

	assert_int_equal(assign(bed, 0, "A", 1), 0);
	claim.addr = bed->addrs[0];
	cidr = ipam_block_of(&claim.addr, 30);
	allocator_release(bed->allocators[1], &claim, 1, done, bed);
	run(bed);
	assert_int_equal(bed->rcs[0], -ESTALE);
	stored = block(bed, ipam_cidr_name(&cidr, name));
	claim.sequence = stored->sequences[0];
	ipam_block_free(&stored);
	allocator_release(bed->allocators[1], &claim, 1, done, bed);
	run(bed);
	assert_int_equal(bed->rcs[0], 1);
	assert_int_equal(count_of(bed, KIND_IPAM_HANDLE), 0);
	allocator_release(bed->allocators[1], &claim, 1, done, bed);
	run(bed);
	assert_int_equal(bed->rcs[0], 0);
}

static void test_given_up(void **state)
{
	struct bed *bed = *state;
	struct prefix cidr;
	char name[IPAM_CIDR_NAME_MAX];
	struct ipam_block *stored;

	assert_int_equal(assign(bed, 0, "A", 1), 0);
	cidr = ipam_block_of(&bed->addrs[0], 30);
	allocator_release_block(bed->allocators[1], "a", &cidr, true, done, bed);
	run(bed);
	assert_int_equal(bed->rc, -EBUSY);
	allocator_release_block(bed->allocators[1], "a", &cidr, false, done, bed);
	run(bed);
	assert_int_equal(bed->rc, 0);
	assert_int_equal(count_of(bed, KIND_BLOCK_AFFINITY), 0);
	stored = block(bed, ipam_cidr_name(&cidr, name));
	assert_null(stored->affinity);
	assert_int_equal(stored->claim_time, 0);
	ipam_block_free(&stored);
	assert_int_equal(release_handle(bed, 1, "A"), 0); /* nobody's and empty: it goes */
	assert_int_equal(count_of(bed, KIND_IPAM_BLOCK), 0);
}

static void test_damaged(void **state)
{
	struct bed *bed = *state;
	json_t *object, *before;
	struct prefix cidr;
	char name[IPAM_CIDR_NAME_MAX];

	assert_int_equal(assign(bed, 0, "A", 1), 0);
	cidr = ipam_block_of(&bed->addrs[0], 30);
	ipam_cidr_name(&cidr, name);
	object = json_deep_copy(sim_object(bed->sim, KIND_IPAM_BLOCK, name));
	json_object_set_new(json_object_get(object, "spec"), "unallocated", json_pack("[i,i]", 1, 1));
	sim_put(bed->sim, KIND_IPAM_BLOCK, object);
	json_decref(object);
	before = json_deep_copy(sim_object(bed->sim, KIND_IPAM_BLOCK, name));
	assert_int_equal(release_handle(bed, 0, "A"), -EINVAL);
	assert_non_null(strstr(bed->text, name));
	assert_non_null(strstr(bed->text, "spec.unallocated[1]"));
	assert_int_equal(assign(bed, 0, "B", 1), 0); /* from another block */
	assert_false(prefix_contains(&cidr, &bed->addrs[0]));
	assert_int_equal(assign(bed, 1, "C", 1), 0);
	assert_true(json_equal(before, sim_object(bed->sim, KIND_IPAM_BLOCK, name)));
	json_decref(before);
}

static void test_tunnel(void **state)
{
	struct bed *bed = *state;
	struct addr none = {{0}}, first;
	struct ipam_pool one = pool("10.0.0.0/28", 30);
	struct ipam_claim claim = {.handle = NULL};
	char name[IPAM_CIDR_NAME_MAX];
	struct ipam_block *stored;
	struct prefix cidr;

	allocator_tunnel(bed->allocators[0], IPAM_TUNNEL_VXLAN, &none, done, bed);
	run(bed);
	assert_int_equal(bed->rc, 0);
	assert_int_equal(bed->count, 1);
	first = bed->addrs[0];
	cidr = ipam_block_of(&first, 30);
	stored = block(bed, ipam_cidr_name(&cidr, name));
	assert_string_equal(ipam_block_owner(stored, 0)->handle, "vxlan-tunnel-addr-a");
	assert_string_equal(ipam_attr_get(ipam_block_owner(stored, 0), "type"), "vxlanTunnelAddress");
	ipam_block_free(&stored);
	/* known or not, it is kept; released by somebody, it is taken again */
	allocator_tunnel(bed->allocators[0], IPAM_TUNNEL_VXLAN, &none, done, bed);
	run(bed);
	assert_true(addr_equal(&bed->addrs[0], &first));
	claim.addr = first;
	allocator_release(bed->allocators[1], &claim, 1, done, bed);
	run(bed);
	assert_int_equal(assign(bed, 0, "A", 1), 0);
	allocator_tunnel(bed->allocators[0], IPAM_TUNNEL_VXLAN, &first, done, bed);
	run(bed);
	assert_true(addr_equal(&bed->addrs[0], &first));
	/* no pool needs it any more */
	one.vxlan = false;
	set_world(bed, one, plain);
	allocator_tunnel(bed->allocators[0], IPAM_TUNNEL_VXLAN, &first, done, bed);
	run(bed);
	assert_int_equal(bed->rc, 0);
	assert_int_equal(bed->count, 0);
	assert_null(sim_object(bed->sim, KIND_IPAM_HANDLE, "vxlan-tunnel-addr-a"));
}

static void test_no_world(void **state)
{
	struct bed *bed = *state;

	allocator_set_world(bed->allocators[0], NULL);
	assert_int_equal(assign(bed, 0, "A", 1), -EAGAIN);
}

static void settle(struct bed *bed, const struct reserve *reserve)
{
	for (unsigned i = 0; i < 10000 && (i < 10 || !reserve_is_settled(reserve)); i++) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		if (sim_pending(bed->doors[0]))
			sim_execute(bed->doors[0], 0, SIM_DONE);
	}
}

static struct prefix take_pod(struct bed *bed, struct reserve *reserve, uint64_t owner)
{
	struct ipam_wish wish = {.family_index = FAMILY_4, .use = POOL_USE_WORKLOAD};
	json_t *attributes = json_pack("{s:s, s:s}", "node", "a", "pod", "p");
	struct ipam_owner pod = {owner == 1 ? "net.1" : "net.2", attributes};
	struct addr addr;
	struct err err = ERR_INIT;

	if (reserve_take(reserve, &wish, owner, &pod, &addr, &err) < 0)
		fail_msg("%s", err.text);
	json_decref(attributes);
	settle(bed, reserve);
	return ipam_block_of(&addr, 30);
}

static void test_batch_beside_a_damaged_block(void **state)
{
	struct bed *bed = *state;
	struct reserve_options options = {.low = 1, .high = 1};
	struct ipam_wish wish = {.family_index = FAMILY_4, .use = POOL_USE_WORKLOAD};
	struct prefix first, second;
	struct reserve *reserve;
	char name[IPAM_CIDR_NAME_MAX];
	json_t *object;

	assert_int_equal(reserve_new(base, bed->allocators[0], &options, &reserve), 0);
	assert_int_equal(reserve_want(reserve, &wish, NULL), 0);
	reserve_start(reserve);
	settle(bed, reserve);
	first = take_pod(bed, reserve, 1);
	object = json_deep_copy(sim_object(bed->sim, KIND_IPAM_BLOCK, ipam_cidr_name(&first, name)));
	json_object_set_new(json_object_get(object, "spec"), "attributes", json_integer(7));
	sim_put(bed->sim, KIND_IPAM_BLOCK, object);
	json_decref(object);
	reserve_block_gone(reserve, &first); /* whatever raises a doubt */
	settle(bed, reserve);
	second = take_pod(bed, reserve, 2);
	assert_false(prefix_equal(&first, &second));
	reserve_free(reserve);
}

static int64_t millis(void *ctx)
{
	return ((struct bed *)ctx)->now * 1000;
}

static struct reserve *reserve_of(struct bed *bed, size_t node, unsigned rest_s)
{
	struct reserve_options options = {.low = 1, .high = 1, .rest_s = rest_s, .now = millis, .ctx = bed};
	struct reserve *reserve = NULL;

	assert_int_equal(reserve_new(base, bed->allocators[node], &options, &reserve), 0);
	reserve_start(reserve);
	settle(bed, reserve);
	return reserve;
}

static int take_wish(struct bed *bed, struct reserve *reserve, const char *text, uint64_t owner, struct err *err)
{
	struct ipam_owner pod = {owner == 1 ? "net.1" : "net.2", pod_attributes};
	struct addr addr;
	int rc = -EAGAIN;

	assert_int_equal(addr_parse(text, &addr), 0);
	for (int i = 0; rc == -EAGAIN && i < 3; i++) {
		rc = reserve_take_wish(reserve, &addr, POOL_USE_WORKLOAD, owner, &pod, err);
		settle(bed, reserve);
	}
	return rc;
}

/* Whatever the store says no with is told to who asks again, until it may be otherwise. */
static void test_refused_wishes(void **state)
{
	struct ipam_config strict = {.auto_allocate_blocks = true, .strict_affinity = true};
	struct bed *bed = *state;
	struct reserve *reserve;
	struct err err = ERR_INIT;

	set_world(bed, pool("10.0.0.0/28", 30), strict);
	assert_int_equal(assign_addr(bed, 1, "10.0.0.5", POOL_USE_WORKLOAD), 0);
	reserve = reserve_of(bed, 0, 0);
	assert_int_equal(take_wish(bed, reserve, "10.0.0.5", 1, &err), -EPERM);
	assert_int_equal(take_wish(bed, reserve, "10.0.0.6", 1, &err), -EPERM);
	assert_int_equal(take_wish(bed, reserve, "10.9.0.6", 1, &err), -EINVAL);
	set_world(bed, pool("10.0.0.0/28", 30), plain);
	bed->now += 3;
	assert_int_equal(take_wish(bed, reserve, "10.0.0.5", 1, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "10.0.0.5"));
	assert_int_equal(take_wish(bed, reserve, "10.0.0.6", 1, &err), 0);
	assert_int_equal(take_wish(bed, reserve, "10.0.0.6", 2, &err), -ENOSPC);
	reserve_free(reserve);
}

/* Its pod was deleted on another node a moment ago, which has not given it back yet: who asks for it by name waits. */
static void test_a_wish_waits_for_the_other_node(void **state)
{
	struct bed *bed = *state;
	struct reserve_options options = {.low = 1, .high = 1, .taken_ms = 2000, .now = millis, .ctx = bed};
	struct reserve *reserve = NULL;
	struct err err = ERR_INIT;

	assert_int_equal(assign_addr(bed, 1, "10.0.0.5", POOL_USE_WORKLOAD), 0);
	assert_int_equal(reserve_new(base, bed->allocators[0], &options, &reserve), 0);
	reserve_start(reserve);
	settle(bed, reserve);
	assert_int_equal(take_wish(bed, reserve, "10.0.0.5", 1, &err), -EAGAIN);
	bed->now += 1;
	reserve_retry(reserve);
	assert_int_equal(take_wish(bed, reserve, "10.0.0.5", 1, &err), -EAGAIN);
	assert_int_equal(release_handle(bed, 1, "wish"), 0);
	bed->now += 1;
	reserve_retry(reserve);
	settle(bed, reserve);
	assert_int_equal(take_wish(bed, reserve, "10.0.0.5", 1, &err), 0);

	assert_int_equal(assign_addr(bed, 1, "10.0.0.6", POOL_USE_WORKLOAD), 0);
	assert_int_equal(take_wish(bed, reserve, "10.0.0.6", 2, &err), -EAGAIN);
	bed->now += 3;
	reserve_retry(reserve);
	settle(bed, reserve);
	assert_int_equal(take_wish(bed, reserve, "10.0.0.6", 2, &err), -ENOSPC);
	reserve_free(reserve);
}

/* Numbers that an ADD has before it is an attachment: the address passes to the attachment's. */
static void test_passed_on(void **state)
{
	struct bed *bed = *state;
	struct reserve *reserve = reserve_of(bed, 0, 60);
	struct reserve_counts counts;
	struct addr addr;

	assert_int_equal(addr_parse("10.0.0.2", &addr), 0);
	assert_int_equal(reserve_owner(reserve, &addr), 0);
	assert_int_equal(take_wish(bed, reserve, "10.0.0.2", 1, NULL), 0);
	reserve_pass(reserve, &addr, 2, 7);
	assert_int_equal(reserve_owner(reserve, &addr), 1);
	reserve_pass(reserve, &addr, 1, 7);
	assert_int_equal(reserve_owner(reserve, &addr), 7);
	reserve_rest(reserve, &addr, 1);
	assert_int_equal(reserve_owner(reserve, &addr), 7);
	reserve_rest(reserve, &addr, 7);
	reserve_count(reserve, FAMILY_4, &counts);
	assert_int_equal(counts.in_use, 0);
	assert_int_equal(counts.resting, 1);
	reserve_free(reserve);
}

static int take_any(struct bed *bed, struct reserve *reserve, uint64_t owner, struct addr *ret)
{
	struct ipam_wish wish = {.family_index = FAMILY_4, .use = POOL_USE_WORKLOAD};
	struct ipam_owner pod = {owner == 1 ? "net.1" : "net.2", pod_attributes};
	int rc = reserve_take(reserve, &wish, owner, &pod, ret, NULL);

	settle(bed, reserve);
	return rc;
}

/* A pool of one address: its pod is gone, the next one waits, but not for all of the rest. */
static void test_shorter_rest(void **state)
{
	struct bed *bed = *state;
	struct reserve *reserve;
	struct addr addr, next;

	set_world(bed, pool("10.0.0.0/32", 32), plain);
	reserve = reserve_of(bed, 0, 60);
	assert_int_equal(take_any(bed, reserve, 1, &addr), -EAGAIN);
	assert_int_equal(take_any(bed, reserve, 1, &addr), 0);
	assert_int_equal(take_any(bed, reserve, 2, &next), -ENOSPC);
	reserve_rest(reserve, &addr, 1);
	settle(bed, reserve);
	assert_int_equal(take_any(bed, reserve, 2, &next), -EAGAIN);
	bed->now += RESERVE_REST_MIN_S - 1;
	assert_int_equal(take_any(bed, reserve, 2, &next), -EAGAIN);
	bed->now += 1;
	settle(bed, reserve);
	assert_int_equal(take_any(bed, reserve, 2, &next), 0);
	assert_true(addr_equal(&addr, &next));
	reserve_free(reserve);
}

/* Pods come and go faster than their addresses rest: what rests is no reason to give back what is free, or to claim more
 * blocks. */
static void test_many_rest(void **state)
{
	struct bed *bed = *state;
	struct reserve *reserve;
	struct reserve_counts counts;
	struct addr addr;

	set_world(bed, pool("10.0.0.0/22", 26), plain);
	reserve = reserve_of(bed, 0, 60);
	take_any(bed, reserve, 1, &addr);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(take_any(bed, reserve, 1, &addr), 0);
		reserve_rest(reserve, &addr, 1);
		settle(bed, reserve);
		reserve_count(reserve, FAMILY_4, &counts);
		assert_int_equal(counts.free, 1);
	}
	assert_int_equal(counts.resting, 20);
	assert_int_equal(count_of(bed, KIND_IPAM_BLOCK), 1);
	bed->now += 61;
	reserve_retry(reserve);
	settle(bed, reserve);
	reserve_count(reserve, FAMILY_4, &counts);
	assert_in_range(counts.free, 1, 2);
	reserve_free(reserve);
}

/* The pools that were wanted are not: what was kept of them is given back. */
static void test_wanted_no_more(void **state)
{
	struct ipam_wish wish = {.family_index = FAMILY_4, .use = POOL_USE_WORKLOAD};
	struct bed *bed = *state;
	struct reserve *reserve = reserve_of(bed, 0, 0);
	struct reserve_counts counts;

	assert_int_equal(reserve_want(reserve, &wish, NULL), 0);
	settle(bed, reserve);
	reserve_count(reserve, FAMILY_4, &counts);
	assert_int_equal(counts.free, 1);
	reserve_want_none(reserve);
	bed->now += 3600;
	reserve_retry(reserve);
	settle(bed, reserve);
	reserve_count(reserve, FAMILY_4, &counts);
	assert_int_equal(counts.free, 0);
	assert_int_equal(count_of(bed, KIND_IPAM_HANDLE), 0);
	reserve_free(reserve);
}

/* The watch was away while somebody took what was free: nothing is handed out before it was read again. */
static void test_unseen(void **state)
{
	struct ipam_wish wish = {.family_index = FAMILY_4, .use = POOL_USE_WORKLOAD};
	struct bed *bed = *state;
	struct reserve *reserve = reserve_of(bed, 0, 0);
	struct addr addr;

	assert_int_equal(reserve_want(reserve, &wish, NULL), 0);
	settle(bed, reserve);
	assert_int_equal(release_handle(bed, 1, "tulle-reserved-a"), 0);
	reserve_block_unseen(reserve);
	assert_int_equal(reserve_take(reserve, &wish, 1, &(struct ipam_owner){"net.1", pod_attributes}, &addr, NULL), -EAGAIN);
	settle(bed, reserve);
	assert_int_equal(take_any(bed, reserve, 1, &addr), 0);
	reserve_free(reserve);
}

static void test_election(void **state)
{
	struct bed *bed = *state;
	struct election_options options = {.namespace = "kube-system", .name = "tulle-ipam", .duration_s = 2};
	struct election *elections[2];

	for (size_t i = 0; i < 2; i++)
		assert_int_equal(election_new(base, bed->allocators[i], &options, &elections[i]), 0);
	for (unsigned i = 0; i < 100000 && !(election_is_won(elections[0]) || election_is_won(elections[1]));
		i++) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		for (size_t j = 0; j < 2; j++) {
			if (sim_pending(bed->doors[j]))
				sim_execute(bed->doors[j], 0, SIM_DONE);
		}
	}
	assert_int_not_equal(election_is_won(elections[0]), election_is_won(elections[1]));
	election_free(elections[0]);
	election_free(elections[1]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_first_address),
		TEST(test_limits),
		TEST(test_borrowing),
		TEST(test_reservations_and_cooldown),
		TEST(test_one_address),
		TEST(test_guarded_release),
		TEST(test_given_up),
		TEST(test_damaged),
		TEST(test_tunnel),
		TEST(test_no_world),
		TEST(test_batch_beside_a_damaged_block),
		TEST(test_refused_wishes),
		TEST(test_a_wish_waits_for_the_other_node),
		TEST(test_passed_on),
		TEST(test_shorter_rest),
		TEST(test_many_rest),
		TEST(test_wanted_no_more),
		TEST(test_unseen),
		TEST(test_election),
	};
	int rc;

	base = event_base_new();
	pod_attributes = json_pack("{s:s, s:s}", "node", "a", "pod", "p");
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	json_decref(pod_attributes);
	event_base_free(base);
	return rc;
}
