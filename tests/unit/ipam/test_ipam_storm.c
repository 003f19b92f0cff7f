/* SPDX-License-Identifier: Apache-2.0
 *
 * Twenty agents and ten thousand pods on a store in memory, in an order that a seed decides: agents are
 * killed, with and without their journal, answers are lost, blocks run out. No address twice, and after
 * repair none is lost. TULLE_SEED repeats a run, TULLE_OPERATIONS makes it longer.
 */
#include "ipam/repair.h"
#include "ipam/reserve_work.h"
#include "sim.h"

#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

#include <cmocka.h>

#define AGENTS 20
#define PODS 12 /* of one agent at a time: 20 * 12 and the batches fill the pool */
#define POOL "10.0.0.0/24"
#define BLOCK_LEN 28

static struct event_base *base;
static struct sim *sim;
static uint64_t random_state;
static int64_t clock_ms;

struct agent {
	char node[16];
	struct objects *door;
	struct allocator *allocator;
	struct reserve *reserve;
	struct repair *repair;
	struct pod {
		struct addr addr; /* unset: none */
		unsigned number;
		bool lost;
	} pods[PODS];
	unsigned numbers;
	bool gone;
};

static struct agent agents[AGENTS];
static struct {
	unsigned takes, waits, none, rests, kills, reboots, losses;
} counts;

static unsigned below(unsigned limit)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(random_state >> 33) % limit;
}

static int64_t now_ns(void *ctx)
{
	return (1785578400000 + clock_ms) * 1000000;
}

static int64_t now_ms(void *ctx)
{
	return clock_ms;
}

static void handle_of(const struct agent *agent, const struct pod *pod, char handle[static 64])
{
	snprintf(handle, 64, "net.%s-%u", agent->node, pod->number);
}

static json_t *attributes_of(const struct agent *agent, const char *handle)
{
	return json_pack("{s:s, s:s, s:s}", "node", agent->node, "pod", handle, "namespace", "ns");
}

static void lost(void *ctx, const struct addr *addr, uint64_t owner)
{
	counts.losses++;
	((struct agent *)ctx)->pods[owner - 1].lost = true;
}

static bool lives(void *ctx, const char *handle, const struct addr *addr)
{
	struct agent *agent = ctx;

	for (unsigned i = 0; i < PODS; i++) {
		char own[64];

		handle_of(agent, &agent->pods[i], own);
		if (addr_is_set(&agent->pods[i].addr) && strcmp(own, handle) == 0)
			return true;
	}
	return false;
}

static bool leads(void *ctx)
{
	return ctx == &agents[0];
}

static struct ipam_world *world_new(void)
{
	struct ipam_world *world = calloc(1, sizeof(*world));

	world->refs = 1;
	world->config.auto_allocate_blocks = true;
	world->pools = calloc(1, sizeof(*world->pools));
	world->pool_count = 1;
	world->pools[0] = (struct ipam_pool){.name = strdup("pool"),
		.block_len = BLOCK_LEN,
		.usable = true,
		.selects_node = true,
		.uses = POOL_USE_WORKLOAD};
	prefix_parse(POOL, &world->pools[0].cidr);
	return world;
}

static void boot(struct agent *agent)
{
	struct allocator_options options = {.objects = agent->door, .node = agent->node, .now = now_ns};
	struct reserve_options batch = {
		.low = 1, .high = 2, .rest_s = 1, .now = now_ms, .lost = lost, .ctx = agent};
	struct repair_options repair = {
		.grace_s = 1, .lives = lives, .leads = leads, .now = now_ms, .ctx = agent};
	struct ipam_wish wish = {.family_index = FAMILY_4, .use = POOL_USE_WORKLOAD};
	uint64_t before;

	allocator_new(base, &options, &agent->allocator);
	allocator_set_world(agent->allocator, world_new());
	reserve_new(base, agent->allocator, &batch, &agent->reserve);
	repair_new(base, agent->allocator, agent->reserve, &repair, &agent->repair);
	for (unsigned i = 0; i < PODS; i++) {
		struct pod *pod = &agent->pods[i];
		char handle[64];
		json_t *attributes;
		struct ipam_owner owner;

		handle_of(agent, pod, handle);
		attributes = attributes_of(agent, handle);
		owner = (struct ipam_owner){handle, attributes};
		if (addr_is_set(&pod->addr))
			reserve_hold(agent->reserve, &pod->addr, i + 1, &owner, &before);
		json_decref(attributes);
	}
	reserve_want(agent->reserve, &wish, NULL);
	reserve_start(agent->reserve);
}

static void kill_agent(struct agent *agent)
{
	if (sim_pending(agent->door) && below(2))
		sim_execute(agent->door, 0, SIM_SILENT);
	reserve_free(agent->reserve);
	allocator_free(agent->allocator);
	repair_free(agent->repair);
	agent->allocator = NULL;
}

/* -- what must hold -- */

static void check_given(const struct agent *agent, const struct pod *pod)
{
	struct prefix cidr = ipam_block_of(&pod->addr, BLOCK_LEN);
	char name[IPAM_CIDR_NAME_MAX], text[ADDR_TEXT_MAX];
	struct ipam_block *block = NULL;
	const struct ipam_attr *attr;

	addr_format(&pod->addr, text);
	assert_int_equal(ipam_block_decode(
				 sim_object(sim, KIND_IPAM_BLOCK, ipam_cidr_name(&cidr, name)), &block, NULL),
		0);
	attr = ipam_block_owner(block, (unsigned)ipam_block_ordinal(block, &pod->addr));
	if (!ipam_attr_in_use(attr) || strcmp(ipam_attr_get(attr, "node"), agent->node) != 0)
		fail_msg("%s gives %s out, which the store gives to %s", agent->node, text,
			attr ? attr->handle : "nobody");
	ipam_block_free(&block);
	for (unsigned i = 0; i < AGENTS; i++) {
		for (unsigned j = 0; j < PODS; j++) {
			if (&agents[i].pods[j] != pod && !agents[i].gone &&
				addr_equal(&agents[i].pods[j].addr, &pod->addr))
				fail_msg("%s gives %s out, which %s has given to %u", agent->node, text,
					agents[i].node, agents[i].pods[j].number);
		}
	}
}

static struct agent *agent_of(const char *node)
{
	for (unsigned i = 0; i < AGENTS; i++) {
		if (strcmp(agents[i].node, node) == 0)
			return &agents[i];
	}
	return NULL;
}

static void check_end_block(void *ctx, json_t *object)
{
	struct ipam_block *block = NULL;

	assert_int_equal(ipam_block_decode(object, &block, NULL), 0);
	for (unsigned i = 0; i < block->count; i++) {
		const struct ipam_attr *attr = ipam_block_owner(block, i);
		struct addr addr = ipam_block_addr(block, i);
		struct agent *agent = ipam_attr_in_use(attr) ? agent_of(ipam_attr_get(attr, "node")) : NULL;
		struct slot *slot = agent && !agent->gone ? slot_find(agent->reserve, &addr) : NULL;
		char text[ADDR_TEXT_MAX];

		if (!ipam_attr_in_use(attr))
			continue;
		if (!slot ||
			strcmp(slot->owner ? slot->pod.handle : agent->reserve->handle, attr->handle) != 0)
			fail_msg("%s is lost: the store gives it to %s of %s", addr_format(&addr, text),
				attr->handle, agent ? agent->node : "nobody");
	}
	if (block->affinity && (!agent_of(block->affinity + 5) || agent_of(block->affinity + 5)->gone))
		fail_msg("%s still belongs to %s",
			json_string_value(json_object_get(json_object_get(object, "spec"), "cidr")),
			block->affinity);
	ipam_block_free(&block);
}

/* -- what happens -- */

static void settle(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
}

static void take(struct agent *agent)
{
	struct ipam_wish wish = {.family_index = FAMILY_4, .use = POOL_USE_WORKLOAD};
	struct pod *pod = &agent->pods[below(PODS)];
	struct ipam_owner owner;
	json_t *attributes;
	char handle[64];
	int rc;

	if (addr_is_set(&pod->addr))
		return;
	pod->number = ++agent->numbers;
	handle_of(agent, pod, handle);
	attributes = attributes_of(agent, handle);
	owner = (struct ipam_owner){handle, attributes};
	rc = reserve_take(agent->reserve, &wish, (uint64_t)(pod - agent->pods) + 1, &owner, &pod->addr, NULL);
	json_decref(attributes);
	if (rc < 0) {
		assert_true(rc == -EAGAIN || rc == -ENOSPC);
		*(rc == -EAGAIN ? &counts.waits : &counts.none) += 1;
		return;
	}
	counts.takes++;
	check_given(agent, pod);
}

static void rest(struct agent *agent)
{
	struct pod *pod = &agent->pods[below(PODS)];

	if (!addr_is_set(&pod->addr))
		return;
	counts.rests++;
	if (below(2))
		reserve_rest(agent->reserve, &pod->addr, (uint64_t)(pod - agent->pods) + 1);
	else
		reserve_drop(agent->reserve, &pod->addr, (uint64_t)(pod - agent->pods) + 1);
	pod->addr = (struct addr){{0}};
	pod->lost = false;
}

static void trouble(struct agent *agent)
{
	bool reboot = below(4) == 0;

	kill_agent(agent);
	for (unsigned i = 0; reboot && i < PODS; i++)
		agent->pods[i].addr = (struct addr){{0}}; /* the journal is void, the pods are gone */
	*(reboot ? &counts.reboots : &counts.kills) += 1;
	boot(agent);
}

static void turn(bool troubles)
{
	struct agent *agent = &agents[below(AGENTS)];
	size_t pending;

	clock_ms += 5;
	if (agent->gone)
		return;
	pending = sim_pending(agent->door);
	if (pending && below(10) < 8) {
		unsigned fate = troubles ? below(200) : 2;

		sim_execute(agent->door, below((unsigned)pending),
			fate == 0   ? SIM_LOST
			: fate == 1 ? SIM_REFUSED
				    : SIM_DONE);
	} else if (troubles && below(400) == 0) {
		trouble(agent);
	} else if (troubles && below(60) == 0) {
		repair_begin(agent->repair);
	} else if (troubles) {
		below(2) ? take(agent) : rest(agent);
	}
	if (agent->reserve->paused || below(20) == 0)
		reserve_retry(agent->reserve); /* the clock of the loop stands still */
	settle();
}

static void come_to_rest(void)
{
	for (unsigned round = 0; round < 4; round++) {
		size_t busy = 1;

		for (unsigned i = 0; i < AGENTS; i++) {
			if (!agents[i].gone)
				repair_begin(agents[i].repair);
		}
		for (unsigned n = 0; busy && n < 2000000; n++) {
			turn(false);
			busy = 0;
			for (unsigned i = 0; n % 64 == 0 && i < AGENTS; i++)
				busy += !agents[i].gone && (sim_pending(agents[i].door) > 0 ||
								   !reserve_is_settled(agents[i].reserve));
			busy = n % 64 ? 1 : busy;
		}
		assert_int_equal(busy, 0);
		clock_ms += 100000;
	}
}

static void start(void)
{
	sim = sim_new();
	for (unsigned i = 0; i < AGENTS; i++) {
		json_t *node;

		snprintf(agents[i].node, sizeof(agents[i].node), "node-%u", i);
		node = json_pack("{s:{s:s}}", "metadata", "name", agents[i].node);
		sim_put(sim, KIND_NODE, node);
		json_decref(node);
		agents[i].door = sim_door(sim);
		boot(&agents[i]);
	}
}

static void test_storm(void **state)
{
	const char *seed = getenv("TULLE_SEED"), *operations = getenv("TULLE_OPERATIONS");
	unsigned most = operations ? (unsigned)atoi(operations) : 10000;

	random_state = seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
	print_message("TULLE_SEED=%llu\n", (unsigned long long)random_state);
	start();
	while (counts.takes + counts.rests < most)
		turn(true);
	/* one node is switched off, and its Node object is gone */
	kill_agent(&agents[AGENTS - 1]);
	agents[AGENTS - 1].gone = true;
	sim_remove(sim, KIND_NODE, agents[AGENTS - 1].node);
	come_to_rest();
	sim_each(sim, KIND_IPAM_BLOCK, check_end_block, NULL);
	print_message(
		"%u given, %u given back, %u had to wait, %u times none, %u kills, %u reboots, %u lost\n",
		counts.takes, counts.rests, counts.waits, counts.none, counts.kills, counts.reboots,
		counts.losses);
	assert_int_equal(counts.losses, 0);
	assert_true(counts.kills > 0 && counts.none + counts.waits > 0);
	for (unsigned i = 0; i < AGENTS; i++) {
		if (!agents[i].gone)
			kill_agent(&agents[i]);
	}
	sim_free(sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_storm)};
	int rc;

	base = event_base_new();
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	event_base_free(base);
	return rc;
}
