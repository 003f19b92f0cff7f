/* SPDX-License-Identifier: Apache-2.0
 *
 * The allocator's protocol in every order of events: a few agents, a few addresses, an agent that is killed,
 * an answer that is lost. What must hold in every state and at every end is in check().
 */
#include "explore.h"
#include "ipam/allocator.h"
#include "sim.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define AGENTS 3
#define STEPS 4
#define HELD 8
#define NOW 1785578400000000000LL

enum verb { END, ASSIGN, FREE, FREE_GUARDED, GIVE_UP, MOVE };

struct step {
	enum verb verb;
	const char *handle; /* GIVE_UP: the node whose blocks are released */
	const char *to;     /* MOVE */
	size_t count;
};

struct scenario {
	const char *name;
	size_t agents;
	struct step before[AGENTS][STEPS]; /* done one after the other, without trouble */
	struct step steps[AGENTS][STEPS];
	const char *pool;
	uint8_t block_len;
	bool strict, parallel; /* parallel: an agent begins all its steps at once */
	unsigned crashes, faults, cooldown;
	unsigned max_blocks;
	int64_t later_s; /* between before and steps */
	bool may_fail;   /* there are too few addresses */
	bool large;      /* ten thousand states: too many to go through them under a sanitizer */
};

static struct event_base *base;

struct run;

struct held {
	struct addr addr;
	char handle[32];
};

struct agent {
	struct run *run;
	const char *node;
	struct objects *door;
	struct allocator *allocator;
	size_t at, under_way;
	bool crashed;
	struct held held[HELD];
	size_t held_count;
	char doubtful[STEPS * 2][32]; /* handles of what a crash or a fault cut off */
	size_t doubtful_count;
};

struct request {
	struct agent *agent;
	struct step step;
	bool cleaning;
	struct ipam_call *call;
};

struct run {
	const struct scenario *scenario;
	struct sim *sim;
	struct agent agents[AGENTS];
	struct request *requests[64]; /* freed at the end: a crash leaves them */
	size_t request_count;
	unsigned crashes, faults;
	bool before;
	char wrong[512];
};

static int64_t sim_now(void *ctx)
{
	struct run *run = ctx;
	int64_t deletions = (int64_t)sim_deletions(run->sim, KIND_IPAM_BLOCK);

	/* a block that was just claimed is not taken away for a minute, or agents could do so to each other
	 * for ever */
	return NOW + (run->before ? 0 : run->scenario->later_s * 1000000000) + deletions;
}

static void settle(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
}

/* -- agents -- */

static void proceed(struct agent *agent);

static struct ipam_world *world_of(const struct scenario *scenario)
{
	struct ipam_world *world = calloc(1, sizeof(*world));

	world->refs = 1;
	world->config.strict_affinity = scenario->strict;
	world->config.auto_allocate_blocks = true;
	world->config.max_blocks_per_host = scenario->max_blocks;
	world->config.cooldown = scenario->cooldown;
	world->pools = calloc(1, sizeof(*world->pools));
	world->pool_count = 1;
	world->pools[0] = (struct ipam_pool){.name = strdup("pool"),
		.block_len = scenario->block_len,
		.usable = true,
		.selects_node = true,
		.uses = POOL_USE_WORKLOAD};
	prefix_parse(scenario->pool, &world->pools[0].cidr);
	return world;
}

static void boot(struct agent *agent)
{
	struct allocator_options options = {
		.objects = agent->door, .node = agent->node, .now = sim_now, .ctx = agent->run};

	allocator_new(base, &options, &agent->allocator);
	allocator_set_world(agent->allocator, world_of(agent->run->scenario));
}

static void __attribute__((format(printf, 2, 3))) wrong(struct run *run, const char *fmt, ...)
{
	va_list ap;

	if (run->wrong[0])
		return;
	va_start(ap, fmt);
	vsnprintf(run->wrong, sizeof(run->wrong), fmt, ap);
	va_end(ap);
}

static const struct ipam_attr *stored_owner(struct run *run, const struct addr *addr, struct ipam_block **ret)
{
	struct prefix cidr = ipam_block_of(addr, run->scenario->block_len);
	char name[IPAM_CIDR_NAME_MAX];
	json_t *object = sim_object(run->sim, KIND_IPAM_BLOCK, ipam_cidr_name(&cidr, name));

	*ret = NULL;
	if (!object || ipam_block_decode(object, ret, NULL) < 0)
		return NULL;
	return ipam_block_owner(*ret, (unsigned)ipam_block_ordinal(*ret, addr));
}

/* An address is given out: nobody else may have it, and the store must show it. */
static void hold(struct agent *agent, const struct addr *addr, const char *handle)
{
	struct run *run = agent->run;
	struct held *held = &agent->held[agent->held_count++];
	struct ipam_block *block;
	const struct ipam_attr *attr = stored_owner(run, addr, &block);
	char text[ADDR_TEXT_MAX];

	addr_format(addr, text);
	for (size_t i = 0; i < run->scenario->agents; i++) {
		for (size_t j = 0; j < run->agents[i].held_count; j++) {
			if (&run->agents[i].held[j] != held && addr_equal(&run->agents[i].held[j].addr, addr))
				wrong(run, "%s: %s gets %s, which %s has", agent->node, handle, text,
					run->agents[i].node);
		}
	}
	if (!attr || !attr->handle || strcmp(attr->handle, handle) != 0)
		wrong(run, "%s: %s gets %s, which the store does not show as its own", agent->node, handle,
			text);
	held->addr = *addr;
	snprintf(held->handle, sizeof(held->handle), "%s", handle);
	ipam_block_free(&block);
}

static void let_go(struct agent *agent, const char *handle)
{
	size_t kept = 0;

	for (size_t i = 0; i < agent->held_count; i++) {
		if (strcmp(agent->held[i].handle, handle) != 0)
			agent->held[kept++] = agent->held[i];
	}
	agent->held_count = kept;
}

static void doubt(struct agent *agent, const char *handle)
{
	snprintf(agent->doubtful[agent->doubtful_count++], 32, "%s", handle);
}

static void ended(void *ctx, const struct ipam_result *result)
{
	struct request *request = ctx;
	struct agent *agent = request->agent;
	const struct step *step = &request->step;
	bool failed = result->rc < 0;

	agent->under_way--;
	sim_forget(agent->door, request->call);
	if (step->verb == ASSIGN && !request->cleaning && !failed) {
		for (size_t i = 0; i < result->count; i++)
			hold(agent, &result->addrs[i], step->handle);
		if (result->count != step->count)
			wrong(agent->run, "%s: %s got %zu addresses", agent->node, step->handle,
				result->count);
	} else if (failed && result->rc != -ENOENT && step->verb != GIVE_UP) {
		if (result->rc != -EIO && !(result->rc == -ENOSPC && agent->run->scenario->may_fail))
			wrong(agent->run, "%s: %s: %s", agent->node, step->handle, result->text);
		doubt(agent, step->handle);
	}
	if (step->verb == MOVE && !failed && result->rcs[0] == 0)
		hold(agent, &request->agent->run->agents[0].held[HELD - 1].addr, step->to);
	request->step.verb = END;
	proceed(agent);
}

static struct request *request_new(struct agent *agent, const struct step *step, bool cleaning)
{
	struct request *request = calloc(1, sizeof(*request));

	request->agent = agent;
	request->step = *step;
	request->cleaning = cleaning;
	agent->run->requests[agent->run->request_count++] = request;
	agent->under_way++;
	return request;
}

static void begin_assign(struct agent *agent, const struct step *step, struct request *request)
{
	json_t *attributes = json_pack("{s:s}", "node", agent->node);
	struct ipam_assign assign = {
		.wish = {.family_index = FAMILY_4, .use = POOL_USE_WORKLOAD},
		.owner = {step->handle, attributes},
		.count = step->count,
	};

	request->call = allocator_assign(agent->allocator, &assign, ended, request);
	json_decref(attributes);
}

static void begin_free_guarded(struct agent *agent, const struct step *step, struct request *request)
{
	struct ipam_claim claims[HELD];
	size_t count = 0;

	for (size_t i = 0; i < agent->held_count; i++) {
		if (strcmp(agent->held[i].handle, step->handle) == 0)
			claims[count++] =
				(struct ipam_claim){.addr = agent->held[i].addr, .handle = step->handle};
	}
	let_go(agent, step->handle);
	request->call = allocator_release(agent->allocator, claims, count, ended, request);
}

/* All the blocks that another node has, as if it were no more. */
static void begin_give_up(struct agent *agent, const struct step *step, struct request *request)
{
	struct prefix cidr;

	prefix_parse(step->to, &cidr);
	request->call = allocator_release_block(agent->allocator, step->handle, &cidr, false, ended, request);
}

static void begin(struct agent *agent, const struct step *step, bool cleaning)
{
	struct request *request = request_new(agent, step, cleaning);

	if (step->verb == GIVE_UP && !cleaning) {
		begin_give_up(agent, step, request);
	} else if (step->verb == ASSIGN && !cleaning) {
		begin_assign(agent, step, request);
	} else if (step->verb == FREE_GUARDED && !cleaning) {
		begin_free_guarded(agent, step, request);
	} else {
		let_go(agent, step->handle);
		request->call = allocator_release_handle(agent->allocator, step->handle, ended, request);
	}
}

/* What was cut off is undone first, as the DEL of a pod whose ADD failed does it. */
static void proceed(struct agent *agent)
{
	const struct scenario *scenario = agent->run->scenario;
	size_t index = (size_t)(agent - agent->run->agents);
	const struct step *steps = agent->run->before ? scenario->before[index] : scenario->steps[index];

	if (agent->under_way > 0)
		return;
	if (agent->doubtful_count > 0) {
		struct step step = {.verb = FREE, .handle = agent->doubtful[--agent->doubtful_count]};

		begin(agent, &step, true);
		return;
	}
	while (agent->at < STEPS && steps[agent->at].verb != END) {
		begin(agent, &steps[agent->at++], false);
		if (!scenario->parallel)
			return;
	}
}

static void crash(struct agent *agent, bool last_one_happens)
{
	struct run *run = agent->run;

	if (last_one_happens)
		sim_execute(agent->door, 0, SIM_SILENT);
	allocator_free(agent->allocator);
	agent->crashed = true;
	agent->under_way = 0;
	for (size_t i = 0; i < run->request_count; i++) {
		struct request *request = run->requests[i];

		if (request->agent == agent && request->step.verb != END && request->step.verb != GIVE_UP)
			doubt(agent, request->step.handle);
		if (request->agent == agent)
			request->step.verb = END;
	}
	sim_forget(agent->door, NULL);
	boot(agent);
	proceed(agent);
}

/* -- a run -- */

static void do_before(struct run *run)
{
	run->before = true;
	for (size_t i = 0; i < run->scenario->agents; i++) {
		struct agent *agent = &run->agents[i];

		proceed(agent);
		settle();
		while (sim_pending(agent->door) > 0) {
			sim_execute(agent->door, 0, SIM_DONE);
			settle();
		}
		agent->at = 0;
	}
	run->before = false;
}

static void *run_begin(void *ctx)
{
	static const char *const nodes[AGENTS] = {"a", "b", "c"};
	struct run *run = calloc(1, sizeof(*run));

	run->scenario = ctx;
	run->sim = sim_new();
	run->crashes = run->scenario->crashes;
	run->faults = run->scenario->faults;
	for (size_t i = 0; i < run->scenario->agents; i++) {
		run->agents[i] = (struct agent){.run = run, .node = nodes[i], .door = sim_door(run->sim)};
		boot(&run->agents[i]);
	}
	do_before(run);
	for (size_t i = 0; i < run->scenario->agents; i++)
		proceed(&run->agents[i]);
	settle();
	return run;
}

static void run_finish(void *ctx)
{
	struct run *run = ctx;

	for (size_t i = 0; i < run->scenario->agents; i++)
		allocator_free(run->agents[i].allocator);
	for (size_t i = 0; i < run->request_count; i++)
		free(run->requests[i]);
	sim_free(run->sim);
	free(run);
}

enum what { HAPPENS, LOST, REFUSED, CRASH, CRASH_AFTER, NOTHING };

/* The choice-th thing that can happen. */
static enum what find(struct run *run, size_t choice, struct agent **ret_agent, size_t *ret_call)
{
	for (size_t i = 0; i < run->scenario->agents; i++) {
		struct agent *agent = &run->agents[i];
		size_t pending = sim_pending(agent->door);

		*ret_agent = agent;
		for (*ret_call = 0; *ret_call < pending; (*ret_call)++) {
			if (choice-- == 0)
				return HAPPENS;
			if (run->faults && choice-- == 0)
				return LOST;
			if (run->faults && choice-- == 0)
				return REFUSED;
		}
		*ret_call = 0;
		if (!pending || !run->crashes)
			continue;
		if (choice-- == 0)
			return CRASH;
		if (choice-- == 0)
			return CRASH_AFTER;
	}
	return NOTHING;
}

static size_t run_choices(void *ctx)
{
	struct agent *agent;
	size_t call, count = 0;

	while (find(ctx, count, &agent, &call) != NOTHING)
		count++;
	return count;
}

static void run_choose(void *ctx, size_t choice)
{
	static const enum sim_fate fates[] = {
		[HAPPENS] = SIM_DONE, [LOST] = SIM_LOST, [REFUSED] = SIM_REFUSED};
	struct run *run = ctx;
	struct agent *agent;
	size_t call;
	enum what what = find(run, choice, &agent, &call);

	if (what == CRASH || what == CRASH_AFTER) {
		run->crashes--;
		crash(agent, what == CRASH_AFTER);
	} else {
		run->faults -= what != HAPPENS;
		sim_execute(agent->door, call, fates[what]);
	}
	settle();
}

static void run_describe(void *ctx, size_t choice, char *text, size_t size)
{
	static const char *const names[] = {
		"", ", answer lost", ", it did not happen, answer lost", ", killed before", ", killed after"};
	struct agent *agent;
	size_t call;
	enum what what = find(ctx, choice, &agent, &call);

	snprintf(text, size, "%s: %s%s", agent->node, sim_describe(agent->door, call), names[what]);
}

static uint64_t run_hash(void *ctx)
{
	struct run *run = ctx;
	uint64_t hash = sim_hash(run->sim);

	hash = sim_mix(hash, &run->crashes, sizeof(run->crashes));
	hash = sim_mix(hash, &run->faults, sizeof(run->faults));
	for (size_t i = 0; i < run->scenario->agents; i++) {
		struct agent *agent = &run->agents[i];
		uint64_t heard;

		heard = sim_hash_door(agent->door);
		hash = sim_mix(hash, &heard, sizeof(heard));
		hash = sim_mix(hash, &agent->at, sizeof(agent->at));
		hash = sim_mix(hash, agent->held, agent->held_count * sizeof(agent->held[0]));
		hash = sim_mix(hash, agent->doubtful, agent->doubtful_count * sizeof(agent->doubtful[0]));
		for (size_t j = 0; j < sim_pending(agent->door); j++)
			hash = sim_mix(
				hash, sim_describe(agent->door, j), strlen(sim_describe(agent->door, j)));
	}
	return hash;
}

/* -- what must hold -- */

static bool is_held(struct run *run, const struct addr *addr, const char *handle)
{
	for (size_t i = 0; i < run->scenario->agents; i++) {
		for (size_t j = 0; j < run->agents[i].held_count; j++) {
			const struct held *held = &run->agents[i].held[j];

			if (addr_equal(&held->addr, addr) && strcmp(held->handle, handle) == 0)
				return true;
		}
	}
	return false;
}

static json_int_t handle_count(struct run *run, const char *handle, const struct prefix *cidr)
{
	char name[IPAM_HANDLE_MAX], text[PREFIX_TEXT_MAX];
	json_t *object = sim_object(run->sim, KIND_IPAM_HANDLE, ipam_handle_name(handle, name));
	json_t *counts = json_object_get(json_object_get(object, "spec"), "block");

	return json_integer_value(json_object_get(counts, prefix_format(cidr, text)));
}

static void check_block(void *ctx, json_t *object)
{
	struct run *run = ctx;
	struct ipam_block *block = NULL;
	struct err err = ERR_INIT;

	if (ipam_block_decode(object, &block, &err) < 0) {
		wrong(run, "%s", err.text);
		return;
	}
	for (unsigned i = 0; i < block->count; i++) {
		const struct ipam_attr *attr = ipam_block_owner(block, i);

		if (attr && attr->handle &&
			(size_t)handle_count(run, attr->handle, &block->cidr) <
				ipam_block_held(block, attr->handle))
			wrong(run, "handle %s counts too few addresses", attr->handle);
	}
	ipam_block_free(&block);
}

static void check_end_block(void *ctx, json_t *object)
{
	struct run *run = ctx;
	struct ipam_block *block = NULL;
	struct addr addr;
	char text[ADDR_TEXT_MAX];

	if (ipam_block_decode(object, &block, NULL) < 0)
		return;
	for (unsigned i = 0; i < block->count; i++) {
		const struct ipam_attr *attr = ipam_block_owner(block, i);

		addr = ipam_block_addr(block, i);
		if (ipam_attr_in_use(attr) && !is_held(run, &addr, attr->handle))
			wrong(run, "%s is lost: the store gives it to %s, which nobody has",
				addr_format(&addr, text), attr->handle);
	}
	ipam_block_free(&block);
}

/* A confirmed affinity speaks the truth when nothing is under way. */
static void check_end_affinity(void *ctx, json_t *object)
{
	struct run *run = ctx;
	json_t *spec = json_object_get(object, "spec"), *block;
	const char *state = json_string_value(json_object_get(spec, "state"));
	const char *node = json_string_value(json_object_get(spec, "node")), *affinity;
	char name[IPAM_CIDR_NAME_MAX];
	struct prefix cidr;

	if (!state || strcmp(state, "confirmed") != 0)
		return;
	prefix_parse(json_string_value(json_object_get(spec, "cidr")), &cidr);
	block = sim_object(run->sim, KIND_IPAM_BLOCK, ipam_cidr_name(&cidr, name));
	affinity = json_string_value(json_object_get(json_object_get(block, "spec"), "affinity"));
	if (!affinity || strcmp(affinity + 5, node) != 0)
		wrong(run, "node %s has a confirmed affinity of block %s, which names %s", node, name,
			affinity ? affinity : "nobody");
}

/* Only what went wrong may leave a handle that counts too many. */
static void check_end_handle(void *ctx, json_t *object)
{
	struct run *run = ctx;
	json_t *spec = json_object_get(object, "spec"), *value;
	const char *handle = json_string_value(json_object_get(spec, "handleID")), *key;

	if (run->crashes < run->scenario->crashes || run->faults < run->scenario->faults)
		return;
	json_object_foreach (json_object_get(spec, "block"), key, value) {
		char name[IPAM_CIDR_NAME_MAX];
		struct ipam_block *block = NULL;
		struct prefix cidr;
		size_t held = 0;

		prefix_parse(key, &cidr);
		if (ipam_block_decode(sim_object(run->sim, KIND_IPAM_BLOCK, ipam_cidr_name(&cidr, name)),
			    &block, NULL) == 0)
			held = ipam_block_held(block, handle);
		if (held != (size_t)json_integer_value(value))
			wrong(run, "handle %s counts %lld addresses of block %s, which has %zu", handle,
				(long long)json_integer_value(value), key, held);
		ipam_block_free(&block);
	}
}

static void check_held(struct run *run)
{
	for (size_t i = 0; i < run->scenario->agents; i++) {
		for (size_t j = 0; j < run->agents[i].held_count; j++) {
			const struct held *held = &run->agents[i].held[j];
			struct ipam_block *block;
			const struct ipam_attr *attr = stored_owner(run, &held->addr, &block);
			char text[ADDR_TEXT_MAX];

			if (!attr || !attr->handle || strcmp(attr->handle, held->handle) != 0)
				wrong(run, "%s has %s, which the store gives to %s", held->handle,
					addr_format(&held->addr, text),
					attr && attr->handle ? attr->handle : "nobody");
			ipam_block_free(&block);
		}
	}
}

static const char *run_check(void *ctx, bool end)
{
	struct run *run = ctx;

	sim_each(run->sim, KIND_IPAM_BLOCK, check_block, run);
	check_held(run);
	if (end) {
		sim_each(run->sim, KIND_IPAM_BLOCK, check_end_block, run);
		sim_each(run->sim, KIND_BLOCK_AFFINITY, check_end_affinity, run);
		sim_each(run->sim, KIND_IPAM_HANDLE, check_end_handle, run);
		for (size_t i = 0; i < run->scenario->agents; i++) {
			if (run->agents[i].under_way > 0)
				wrong(run, "%s waits for ever", run->agents[i].node);
		}
	}
	return run->wrong[0] ? run->wrong : NULL;
}

/* -- scenarios -- */

static const struct explore_run how = {
	run_begin, run_choices, run_choose, run_describe, run_hash, run_check, run_finish};

#define POOL .pool = "10.0.0.0/30", .block_len = 31

static const struct scenario scenarios[] = {
	{"two claim, one is killed", 2, .steps = {{{ASSIGN, "A", .count = 1}}, {{ASSIGN, "B", .count = 1}}},
		POOL, .crashes = 1},
	{"two claim, an answer is lost", 2,
		.steps = {{{ASSIGN, "A", .count = 1}}, {{ASSIGN, "B", .count = 1}}}, POOL, .faults = 1},
	{"two fight for one block", 2, .steps = {{{ASSIGN, "A", .count = 1}}, {{ASSIGN, "B", .count = 1}}},
		.pool = "10.0.0.0/31", .block_len = 31, .crashes = 1},
	{"the second borrows", 2, .before = {{{ASSIGN, "A", .count = 1}}},
		.steps = {{{ASSIGN, "A2", .count = 1}, {FREE, "A"}}, {{ASSIGN, "B", .count = 1}}},
		.pool = "10.0.0.0/31", .block_len = 31, .crashes = 1, .may_fail = true},
	{"strict affinity", 2, .before = {{{ASSIGN, "A", .count = 1}}}, .strict = true,
		.steps = {{{ASSIGN, "A2", .count = 1}}, {{ASSIGN, "B", .count = 1}}}, .pool = "10.0.0.0/31",
		.block_len = 31, .crashes = 1, .may_fail = true},
	{"an empty block is taken away", 2, .before = {{{ASSIGN, "A", .count = 2}, {FREE, "A"}}},
		.steps = {{{ASSIGN, "A2", .count = 1}}, {{ASSIGN, "B", .count = 1}}}, .pool = "10.0.0.0/31",
		.block_len = 31, .later_s = 100, .large = true, .may_fail = true},
	{"a node's block is given up while it uses it", 2, .before = {{{ASSIGN, "A", .count = 1}}},
		.steps = {{{ASSIGN, "A2", .count = 1}}, {{GIVE_UP, "a", "10.0.0.0/31"}}},
		.pool = "10.0.0.0/31", .block_len = 31, .crashes = 1},
	{"a node's empty block is given up while it needs it", 2,
		.before = {{{ASSIGN, "A", .count = 1}, {FREE, "A"}}},
		.steps = {{{ASSIGN, "A2", .count = 1}}, {{GIVE_UP, "a", "10.0.0.0/31"}}},
		.pool = "10.0.0.0/31", .block_len = 31, .crashes = 1},
	{"a full block is given up and emptied", 2, .before = {{{ASSIGN, "A", .count = 2}}},
		.steps = {{{FREE, "A"}}, {{GIVE_UP, "a", "10.0.0.0/31"}}}, .pool = "10.0.0.0/31",
		.block_len = 31, .crashes = 1},
	{"one agent, two requests", 1, .parallel = true,
		.steps = {{{ASSIGN, "A", .count = 1}, {ASSIGN, "A2", .count = 1}}}, POOL, .crashes = 1},
	{"given and taken back", 2,
		.steps = {{{ASSIGN, "A", .count = 1}, {FREE, "A"}, {ASSIGN, "A2", .count = 2}},
			{{ASSIGN, "B", .count = 1}, {FREE_GUARDED, "B"}}},
		POOL},
	{"three nodes, two blocks", 3,
		.steps = {{{ASSIGN, "A", .count = 1}}, {{ASSIGN, "B", .count = 1}},
			{{ASSIGN, "C", .count = 1}}},
		POOL, .large = true},
};

#if defined(__SANITIZE_ADDRESS__)
#define SKIP_LARGE true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SKIP_LARGE true
#endif
#endif
#ifndef SKIP_LARGE
#define SKIP_LARGE false
#endif

static void test_scenarios(void **state)
{
	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
		if (SKIP_LARGE && scenarios[i].large)
			print_message("%-45s skipped\n", scenarios[i].name);
		else
			explore_scenario(&how, i, scenarios[i].name, (void *)&scenarios[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_scenarios)};
	int rc;

	base = event_base_new();
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	event_base_free(base);
	return rc;
}
