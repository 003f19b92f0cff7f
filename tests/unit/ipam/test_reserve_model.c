/* SPDX-License-Identifier: Apache-2.0
 *
 * The batch in every order of events: pods that come and go while the store is being written, an agent that
 * is killed and finds its journal again, an answer that is lost, somebody who takes an address away. The
 * rule: what a pod is given the store shows as this node's at that moment, and at the end as that pod's.
 */
#include "explore.h"
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

#define AGENTS 2
#define STEPS 6
#define NOW 1785578400000000000LL

enum verb { END, TAKE, REST, DROP, ROB, WISH, RETURN, RAZE, UNSEEN };

struct step {
	enum verb verb;
	unsigned pod; /* 1.. */
	const char *addr;
};

struct scenario {
	const char *name;
	size_t agents;
	struct step steps[AGENTS][STEPS];
	const char *pool;
	uint8_t block_len;
	bool strict;
	size_t low, high;
	unsigned crashes, faults, rest_s;
};

static struct event_base *base;

struct run;

struct agent {
	struct run *run;
	const char *node;
	struct objects *door;
	struct allocator *allocator;
	struct reserve *reserve;
	size_t at;
	struct addr held[STEPS + 1]; /* by pod: the journal */
	bool lost[STEPS + 1];
	const void *call; /* under way */
	bool tried;       /* the next step was tried in this state and must wait */
};

struct run {
	const struct scenario *scenario;
	struct sim *sim;
	struct agent agents[AGENTS];
	unsigned crashes, faults;
	char wrong[512];
};

static int64_t sim_now(void *ctx)
{
	return NOW + (int64_t)sim_deletions(((struct run *)ctx)->sim, KIND_IPAM_BLOCK);
}

static int64_t still(void *ctx)
{
	return 1000;
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

static struct ipam_owner pod_owner(
	struct agent *agent, unsigned pod, char handle[static 64], json_t **attributes)
{
	snprintf(handle, 64, "net.%s%u", agent->node, pod);
	*attributes = json_pack("{s:s, s:s}", "node", agent->node, "pod", handle);
	return (struct ipam_owner){handle, *attributes};
}

static void lost(void *ctx, const struct addr *addr, uint64_t owner)
{
	((struct agent *)ctx)->lost[owner] = true;
}

static struct ipam_world *world_of(const struct scenario *scenario)
{
	struct ipam_world *world = calloc(1, sizeof(*world));

	world->refs = 1;
	world->config.strict_affinity = scenario->strict;
	world->config.auto_allocate_blocks = true;
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
	const struct scenario *scenario = agent->run->scenario;
	struct allocator_options options = {
		.objects = agent->door, .node = agent->node, .now = sim_now, .ctx = agent->run};
	struct reserve_options batch = {.low = scenario->low,
		.high = scenario->high,
		.rest_s = scenario->rest_s,
		.now = still,
		.lost = lost,
		.ctx = agent};
	struct ipam_wish wish = {.family_index = FAMILY_4, .use = POOL_USE_WORKLOAD};
	uint64_t before;

	allocator_new(base, &options, &agent->allocator);
	allocator_set_world(agent->allocator, world_of(scenario));
	reserve_new(base, agent->allocator, &batch, &agent->reserve);
	for (unsigned pod = 1; pod <= STEPS; pod++) {
		char handle[64];
		json_t *attributes;
		struct ipam_owner owner = pod_owner(agent, pod, handle, &attributes);

		if (addr_is_set(&agent->held[pod]))
			reserve_hold(agent->reserve, &agent->held[pod], pod, &owner, &before);
		json_decref(attributes);
	}
	reserve_want(agent->reserve, &wish, NULL);
	reserve_start(agent->reserve);
}

static void settle(struct run *run)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
	for (size_t i = 0; i < run->scenario->agents; i++) {
		struct agent *agent = &run->agents[i];

		/* what a request heard matters no more once it has ended; the next one begins before it is
		 * freed */
		if (agent->reserve->call != agent->call)
			sim_forget(agent->door, agent->call);
		agent->call = agent->reserve->call;
		if (agent->reserve->paused) {
			reserve_retry(agent->reserve);
			event_base_loop(base, EVLOOP_NONBLOCK);
		}
	}
}

/* -- the store -- */

static const char *stored(
	struct run *run, const struct addr *addr, char handle[static 128], char node[static 64])
{
	struct prefix cidr = ipam_block_of(addr, run->scenario->block_len);
	char name[IPAM_CIDR_NAME_MAX];
	json_t *object = sim_object(run->sim, KIND_IPAM_BLOCK, ipam_cidr_name(&cidr, name));
	struct ipam_block *block = NULL;
	const struct ipam_attr *attr;

	handle[0] = node[0] = '\0';
	if (!object || ipam_block_decode(object, &block, NULL) < 0)
		return handle;
	attr = ipam_block_owner(block, (unsigned)ipam_block_ordinal(block, addr));
	if (ipam_attr_in_use(attr)) {
		snprintf(handle, 128, "%s", attr->handle);
		snprintf(node, 64, "%s", ipam_attr_get(attr, "node"));
	}
	ipam_block_free(&block);
	return handle;
}

static void check_given(struct agent *agent, unsigned pod)
{
	char handle[128], node[64], text[ADDR_TEXT_MAX];

	addr_format(&agent->held[pod], text);
	stored(agent->run, &agent->held[pod], handle, node);
	if (strcmp(node, agent->node) != 0)
		wrong(agent->run, "%s gives %s to pod %u, the store gives it to %s of node %s", agent->node,
			text, pod, handle, node);
	for (size_t i = 0; i < agent->run->scenario->agents; i++) {
		for (unsigned j = 1; j <= STEPS; j++) {
			struct agent *other = &agent->run->agents[i];

			if (addr_equal(&other->held[j], &agent->held[pod]) && (other != agent || j != pod))
				wrong(agent->run, "%s gives %s to pod %u, pod %u of %s has it", agent->node,
					text, pod, j, other->node);
		}
	}
}

/* Somebody deletes the block in which a pod's address lies, with all that was given of it. */
static void raze(struct agent *agent, unsigned pod)
{
	struct prefix cidr = ipam_block_of(&agent->held[pod], agent->run->scenario->block_len);
	char name[IPAM_CIDR_NAME_MAX];

	sim_remove(agent->run->sim, KIND_IPAM_BLOCK, ipam_cidr_name(&cidr, name));
	reserve_block_gone(agent->reserve, &cidr);
}

/* Somebody releases an address by hand, a pod's or (0) the first free one of the batch; the watch tells, or was away. */
static void rob(struct agent *agent, unsigned pod, bool seen)
{
	struct slot *slot;

	DL_FOREACH(agent->reserve->turn, slot)
	{
		struct ipam_claim claim = {.addr = slot->addr};
		char name[IPAM_CIDR_NAME_MAX];
		json_t *object =
			sim_object(agent->run->sim, KIND_IPAM_BLOCK, ipam_cidr_name(&slot->block, name));
		struct ipam_block *block = NULL;

		if (slot->owner != pod)
			continue;
		if (!object || ipam_block_decode(object, &block, NULL) < 0)
			continue;
		ipam_block_release(block, &claim, NOW / 1000000000);
		ipam_block_collect(block, NOW / 1000000000, 0);
		object = ipam_block_encode_next(block);
		sim_put(agent->run->sim, KIND_IPAM_BLOCK, object);
		ipam_block_free(&block);
		if (seen)
			reserve_block_put(agent->reserve, object);
		else
			reserve_block_unseen(agent->reserve);
		json_decref(object);
		return;
	}
}

/* -- a run -- */

static void *run_begin(void *ctx)
{
	static const char *const nodes[AGENTS] = {"a", "b"};
	struct run *run = calloc(1, sizeof(*run));

	run->scenario = ctx;
	run->sim = sim_new();
	run->crashes = run->scenario->crashes;
	run->faults = run->scenario->faults;
	for (size_t i = 0; i < run->scenario->agents; i++) {
		run->agents[i] = (struct agent){.run = run, .node = nodes[i], .door = sim_door(run->sim)};
		boot(&run->agents[i]);
	}
	settle(run);
	return run;
}

static void run_finish(void *ctx)
{
	struct run *run = ctx;

	for (size_t i = 0; i < run->scenario->agents; i++) {
		reserve_free(run->agents[i].reserve);
		allocator_free(run->agents[i].allocator);
	}
	sim_free(run->sim);
	free(run);
}

/* Time passes: what was refused may be asked for again. */
static bool forget_refused(struct reserve *reserve)
{
	struct fetch *fetch;
	bool any = false;

	DL_FOREACH(reserve->refused, fetch)
	{
		any |= fetch->refused > 0;
		fetch->refused = -RESERVE_FAILED_MS;
	}
	return any;
}

static void take(struct agent *agent, const struct step *step)
{
	struct ipam_wish wish = {.family_index = FAMILY_4, .use = POOL_USE_WORKLOAD};
	struct err err = ERR_INIT;
	char handle[64];
	json_t *attributes;
	struct ipam_owner owner = pod_owner(agent, step->pod, handle, &attributes);
	struct addr addr;
	int rc;

	if (step->verb == WISH) {
		addr_parse(step->addr, &addr);
		rc = reserve_take_wish(agent->reserve, &addr, POOL_USE_WORKLOAD, step->pod, &owner, &err);
	} else {
		rc = reserve_take(agent->reserve, &wish, step->pod, &owner, &addr, &err);
	}
	json_decref(attributes);
	agent->tried = rc < 0 && !forget_refused(agent->reserve);
	if (rc < 0)
		return;
	agent->held[step->pod] = addr;
	agent->at++;
	check_given(agent, step->pod);
}

static void act(struct agent *agent)
{
	const struct step *step = &agent->run->scenario->steps[agent - agent->run->agents][agent->at];
	struct addr addr = agent->held[step->pod];

	if (step->verb == TAKE || step->verb == WISH) {
		take(agent, step);
		return;
	}
	agent->at++;
	if (step->verb == ROB || step->verb == UNSEEN) {
		rob(agent, step->pod, step->verb == ROB);
		return;
	}
	if (step->verb == RAZE) {
		raze(agent, step->pod);
		return;
	}
	agent->held[step->pod] = (struct addr){{0}};
	agent->lost[step->pod] = false;
	if (step->verb == REST)
		reserve_rest(agent->reserve, &addr, step->pod);
	else if (step->verb == RETURN)
		reserve_return(agent->reserve, &addr, step->pod);
	else
		reserve_drop(agent->reserve, &addr, step->pod);
}

static void crash(struct agent *agent, bool last_one_happens)
{
	if (last_one_happens)
		sim_execute(agent->door, 0, SIM_SILENT);
	reserve_free(agent->reserve);
	allocator_free(agent->allocator);
	sim_forget(agent->door, NULL);
	boot(agent);
}

/* Only what may come to something is tried: a pod that has to wait asks again when there is an address. */
static bool may_act(const struct agent *agent, const struct step *step)
{
	const struct slot *slot;

	if (step->verb != TAKE)
		return step->verb != END && !agent->tried;
	DL_FOREACH(agent->reserve->turn, slot)
	{
		if (slot_is_ready(agent->reserve, slot, false))
			return true;
	}
	return false;
}

enum what { ACTS, HAPPENS, LOST, REFUSED, CRASH, CRASH_AFTER, NOTHING };

static enum what find(struct run *run, size_t choice, struct agent **ret_agent)
{
	for (size_t i = 0; i < run->scenario->agents; i++) {
		struct agent *agent = &run->agents[i];

		*ret_agent = agent;
		if (agent->at < STEPS && may_act(agent, &run->scenario->steps[i][agent->at]) && choice-- == 0)
			return ACTS;
		if (sim_pending(agent->door) == 0)
			continue;
		if (choice-- == 0)
			return HAPPENS;
		if (run->faults && choice-- == 0)
			return LOST;
		if (run->faults && choice-- == 0)
			return REFUSED;
		if (run->crashes && choice-- == 0)
			return CRASH;
		if (run->crashes && choice-- == 0)
			return CRASH_AFTER;
	}
	return NOTHING;
}

static size_t run_choices(void *ctx)
{
	struct agent *agent;
	size_t count = 0;

	while (find(ctx, count, &agent) != NOTHING)
		count++;
	return count;
}

static void run_choose(void *ctx, size_t choice)
{
	struct run *run = ctx;
	struct agent *agent;
	enum what what = find(run, choice, &agent);

	if (what != ACTS)
		agent->tried = false;
	if (what == ACTS) {
		act(agent);
	} else if (what == CRASH || what == CRASH_AFTER) {
		run->crashes--;
		crash(agent, what == CRASH_AFTER);
	} else {
		run->faults -= what != HAPPENS;
		sim_execute(agent->door, 0,
			what == HAPPENS ? SIM_DONE
			: what == LOST  ? SIM_LOST
					: SIM_REFUSED);
	}
	settle(run);
}

static void run_describe(void *ctx, size_t choice, char *text, size_t size)
{
	static const char *const names[] = {"", "", ", answer lost", ", it did not happen, answer lost",
		", killed before", ", killed after"};
	static const char *const verbs[] = {
		"", "takes for", "rests of", "drops of", "is robbed", "wishes for", "returns of",
		"loses the block of", "is robbed unseen"};
	struct agent *agent;
	enum what what = find(ctx, choice, &agent);
	const struct step *step =
		&agent->run->scenario->steps[agent - agent->run->agents][agent->at < STEPS ? agent->at : 0];

	if (what == ACTS)
		snprintf(text, size, "%s: %s pod %u", agent->node, verbs[step->verb], step->pod);
	else
		snprintf(text, size, "%s: %s%s", agent->node, sim_describe(agent->door, 0), names[what]);
}

static uint64_t mix_text(uint64_t hash, const char *text)
{
	return text ? sim_mix(hash, text, strlen(text) + 1) : sim_mix(hash, "-", 1);
}

static uint64_t hash_reserve(uint64_t hash, const struct reserve *reserve)
{
	const struct slot *slot;
	bool flags[] = {
		reserve->look_all, reserve->paused, reserve->filling, reserve->fetching, reserve->fetches,
		reserve->refused};

	DL_FOREACH(reserve->turn, slot)
	{
		bool slot_flags[] = {slot->doubt, slot->surplus, slot->lost, slot->rest_until > 1000,
			slot->kept_until > 1000, slot->homeless};

		hash = sim_mix(hash, &slot->addr, sizeof(slot->addr));
		hash = sim_mix(hash, &slot->owner, sizeof(slot->owner));
		hash = sim_mix(hash, slot_flags, sizeof(slot_flags));
		hash = mix_text(mix_text(hash, slot->shown), slot->writing);
	}
	return sim_mix(hash, flags, sizeof(flags));
}

static uint64_t run_hash(void *ctx)
{
	struct run *run = ctx;
	uint64_t hash = sim_hash(run->sim);

	hash = sim_mix(hash, &run->crashes, sizeof(run->crashes));
	hash = sim_mix(hash, &run->faults, sizeof(run->faults));
	for (size_t i = 0; i < run->scenario->agents; i++) {
		struct agent *agent = &run->agents[i];
		uint64_t heard = sim_hash_door(agent->door);

		hash = sim_mix(hash, &heard, sizeof(heard));
		hash = sim_mix(hash, &agent->at, sizeof(agent->at));
		hash = sim_mix(hash, &agent->tried, sizeof(agent->tried));
		hash = sim_mix(hash, agent->held, sizeof(agent->held));
		hash = sim_mix(hash, agent->lost, sizeof(agent->lost));
		hash = hash_reserve(hash, agent->reserve);
		if (sim_pending(agent->door))
			hash = mix_text(hash, sim_describe(agent->door, 0));
	}
	return hash;
}

/* -- what must hold -- */

static void check_end_slots(struct agent *agent)
{
	const struct slot *slot;

	if (!reserve_is_settled(agent->reserve))
		wrong(agent->run, "%s has work left, and waits for nothing", agent->node);
	DL_FOREACH(agent->reserve->turn, slot)
	{
		char handle[128], node[64], text[ADDR_TEXT_MAX];

		stored(agent->run, &slot->addr, handle, node);
		if (!slot->lost &&
			!ipam_handle_equal(handle, slot->owner ? slot->pod.handle : agent->reserve->handle))
			wrong(agent->run, "%s: the store gives %s to %s, which is not as it is", agent->node,
				addr_format(&slot->addr, text), handle);
	}
}

static void check_end_block(void *ctx, json_t *object)
{
	struct run *run = ctx;
	struct ipam_block *block = NULL;

	ipam_block_decode(object, &block, NULL);
	for (unsigned i = 0; i < block->count; i++) {
		const struct ipam_attr *attr = ipam_block_owner(block, i);
		struct addr addr = ipam_block_addr(block, i);
		char text[ADDR_TEXT_MAX];

		for (size_t j = 0; ipam_attr_in_use(attr) && j < run->scenario->agents; j++) {
			struct agent *agent = &run->agents[j];

			/* what the pod of a killed agent had, which its journal does not know any more,
			 * repair.h frees */
			if (ipam_attr_get(attr, "pod") && run->crashes < run->scenario->crashes)
				continue;
			if (strcmp(ipam_attr_get(attr, "node"), agent->node) == 0 &&
				!slot_find(agent->reserve, &addr))
				wrong(run, "%s is lost: the store gives it to %s", addr_format(&addr, text),
					attr->handle);
		}
	}
	ipam_block_free(&block);
}

static const char *run_check(void *ctx, bool end)
{
	struct run *run = ctx;

	for (size_t i = 0; i < run->scenario->agents; i++) {
		struct agent *agent = &run->agents[i];

		if (!end)
			continue;
		if (agent->at < STEPS && run->scenario->steps[i][agent->at].verb != END &&
			run->crashes == run->scenario->crashes)
			wrong(run, "%s does not get on with step %zu", agent->node, agent->at + 1);
		for (unsigned pod = 1; pod <= STEPS; pod++) {
			if (addr_is_set(&agent->held[pod]) && agent->lost[pod])
				wrong(run, "%s: pod %u lost its address", agent->node, pod);
		}
		check_end_slots(agent);
	}
	if (end)
		sim_each(run->sim, KIND_IPAM_BLOCK, check_end_block, run);
	return run->wrong[0] ? run->wrong : NULL;
}

static const struct explore_run how = {
	run_begin, run_choices, run_choose, run_describe, run_hash, run_check, run_finish};

static const struct scenario scenarios[] = {
	{"a pod comes and goes, the agent is killed", 1, {{{TAKE, 1}, {REST, 1}, {TAKE, 2}}}, "10.0.0.0/30",
		30, .low = 1, .high = 2, .crashes = 1},
	{"a pod comes and goes, an answer is lost", 1, {{{TAKE, 1}, {REST, 1}, {TAKE, 2}}}, "10.0.0.0/30", 30,
		.low = 1, .high = 2, .faults = 1},
	{"killed twice", 1, {{{TAKE, 1}, {DROP, 1}, {TAKE, 2}}}, "10.0.0.0/30", 30, .low = 1, .high = 1,
		.crashes = 2},
	{"killed, and an answer lost", 1, {{{TAKE, 1}, {DROP, 1}, {TAKE, 2}}}, "10.0.0.0/30", 30, .low = 1,
		.high = 1, .crashes = 1, .faults = 1},
	{"somebody takes away", 1, {{{TAKE, 1}, {ROB, 0}, {TAKE, 2}, {ROB, 1}}}, "10.0.0.0/30", 30, .low = 1,
		.high = 2},
	{"a wish", 1, {{{WISH, 1, "10.0.0.2"}, {DROP, 1}, {WISH, 2, "10.0.0.2"}}}, "10.0.0.0/30", 30,
		.low = 1, .high = 1, .crashes = 1},
	{"a wish that is given back", 1, {{{WISH, 1, "10.0.0.2"}, {RETURN, 1}, {WISH, 2, "10.0.0.2"}}}, "10.0.0.0/30", 30,
		.low = 1, .high = 1, .crashes = 1},
	{"a wish that is given back, an answer is lost", 1, {{{WISH, 1, "10.0.0.2"}, {RETURN, 1}, {WISH, 2, "10.0.0.2"}}},
		"10.0.0.0/30", 30, .low = 1, .high = 1, .faults = 1},
	{"somebody deletes the block", 1, {{{TAKE, 1}, {RAZE, 1}, {TAKE, 2}, {REST, 1}}}, "10.0.0.0/30", 30, .low = 1,
		.high = 1, .crashes = 1},
	{"the watch was away", 1, {{{TAKE, 1}, {UNSEEN, 0}, {TAKE, 2}, {UNSEEN, 1}}}, "10.0.0.0/30", 30, .low = 1,
		.high = 2, .faults = 1},
	{"strict affinity", 1, {{{TAKE, 1}, {TAKE, 2}, {REST, 1}}}, "10.0.0.0/30", 30, .strict = true,
		.low = 1, .high = 1, .crashes = 1},
	{"two nodes, one block", 2, {{{TAKE, 1}}, {{END}}}, "10.0.0.0/30", 30, .low = 1, .high = 1},
};

static void test_scenarios(void **state)
{
	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
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
