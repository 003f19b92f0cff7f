/* SPDX-License-Identifier: Apache-2.0
 *
 * What tullectl's requests to IPAM do when the store changes under them, fails, or the agent ends: step by step, on a
 * store in memory.
 */
#include "base/json.h"
#include "ipam/inspect.h"
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
#define BLOCK "10-0-0-0-30"
#define HANDLE "net.gone"

struct bed {
	struct event_base *base;
	struct sim *sim;
	struct objects *door;
	struct allocator *allocator;
	struct addr addr; /* of a pod that nobody has attached */
	bool ended, attached;
	int rc;
	char text[800], answer[4096];
};

static int64_t bed_now(void *ctx)
{
	return NOW * 1000000000;
}

static struct ipam_world *make_world(void)
{
	struct ipam_world *world = calloc(1, sizeof(*world));

	world->refs = 1;
	world->config.auto_allocate_blocks = true;
	world->pools = calloc(1, sizeof(*world->pools));
	world->pool_count = 1;
	world->pools[0] = (struct ipam_pool){.name = strdup("pool"), .block_len = 30, .usable = true, .selects_node = true,
		.uses = POOL_USE_WORKLOAD};
	assert_int_equal(prefix_parse("10.0.0.0/30", &world->pools[0].cidr), 0);
	return world;
}

/* Everything that waits happens, until step (0: all) requests have; true: the request has ended. */
static bool run(struct bed *bed, unsigned steps)
{
	for (unsigned i = 0; i < 1000 && !bed->ended; i++) {
		event_base_loop(bed->base, EVLOOP_NONBLOCK);
		if (!sim_pending(bed->door))
			continue;
		if (steps && steps-- == 1)
			return false;
		sim_execute(bed->door, 0, SIM_DONE);
	}
	return bed->ended;
}

/* Until a request waits that begins so. */
static void run_to(struct bed *bed, const char *request)
{
	for (unsigned i = 0; i < 1000; i++) {
		event_base_loop(bed->base, EVLOOP_NONBLOCK);
		if (!sim_pending(bed->door))
			continue;
		if (strncmp(sim_describe(bed->door, 0), request, strlen(request)) == 0)
			return;
		sim_execute(bed->door, 0, SIM_DONE);
	}
	fail_msg("\"%s\" was never asked for", request);
}

static void assigned(void *ctx, const struct ipam_result *result)
{
	struct bed *bed = ctx;

	assert_int_equal(result->rc, 0);
	bed->addr = result->addrs[0];
	bed->ended = true;
}

static void done(void *ctx, int rc, const char *text, const struct buf *answer)
{
	struct bed *bed = ctx;

	assert_false(bed->ended);
	bed->ended = true;
	bed->rc = rc;
	snprintf(bed->text, sizeof(bed->text), "%s", text);
	snprintf(bed->answer, sizeof(bed->answer), "%s", buf_text(answer));
}

static void give_to_a_pod(struct bed *bed)
{
	struct ipam_assign assign = {.wish = {.use = POOL_USE_WORKLOAD}, .count = 1, .owner = {.handle = HANDLE}};

	assign.owner.attributes = json_pack("{s:s, s:s, s:s}", "node", "a", "namespace", "shop", "pod", "gone");
	bed->ended = false;
	assert_non_null(allocator_assign(bed->allocator, &assign, assigned, bed));
	json_decref(assign.owner.attributes);
	assert_true(run(bed, 0));
	bed->ended = false;
}

static int set_up(void **state)
{
	struct bed *bed = calloc(1, sizeof(*bed));
	struct allocator_options options = {.node = "a", .now = bed_now, .ctx = bed};

	bed->base = event_base_new();
	bed->sim = sim_new();
	bed->door = options.objects = sim_door(bed->sim);
	allocator_new(bed->base, &options, &bed->allocator);
	allocator_set_world(bed->allocator, make_world());
	give_to_a_pod(bed);
	*state = bed;
	return 0;
}

static int tear_down(void **state)
{
	struct bed *bed = *state;

	allocator_free(bed->allocator);
	sim_free(bed->sim);
	event_base_free(bed->base);
	free(bed);
	return 0;
}

static void add_nodes(void *ctx, struct audit *audit)
{
	const struct addr none[IPAM_TUNNEL_COUNT] = {{{0}}};

	audit_add_node(audit, "a", none);
}

static void add_attachments(void *ctx, struct audit *audit)
{
	struct bed *bed = ctx;
	struct addr addrs[FAMILY_COUNT] = {bed->addr};

	if (bed->attached)
		audit_add_attachment(audit, HANDLE, addrs);
}

static void ask(struct bed *bed, bool by_handle, bool force)
{
	struct inspect_source source = {.nodes = add_nodes, .attachments = add_attachments, .ctx = bed};
	struct inspect_release what = {.addr = by_handle ? NULL : &bed->addr, .handle = by_handle ? HANDLE : NULL, .force = force};

	bed->ended = false;
	assert_non_null(inspect_release(bed->allocator, &source, &what, done, bed));
}

static void audit(struct bed *bed)
{
	struct inspect_source source = {.nodes = add_nodes, .attachments = add_attachments, .ctx = bed};

	bed->ended = false;
	assert_non_null(inspect_audit(bed->allocator, &source, done, bed));
}

static bool is_given(const struct bed *bed)
{
	struct ipam_block *block = NULL;
	bool given;

	assert_int_equal(ipam_block_decode(sim_object(bed->sim, KIND_IPAM_BLOCK, BLOCK), &block, NULL), 0);
	given = ipam_block_held(block, HANDLE) == 1;
	ipam_block_free(&block);
	return given;
}

/* Somebody releases the address, and the same handle gets it again. */
static void give_anew(struct bed *bed)
{
	json_t *object = json_deep_copy(sim_object(bed->sim, KIND_IPAM_BLOCK, BLOCK)), *sequences, *value;
	const char *key;
	void *next;

	sequences = json_object_get(json_object_get(object, "spec"), "sequenceNumberForAllocation");
	json_object_foreach_safe(sequences, next, key, value)
		json_object_set_new(sequences, key, json_integer(json_integer_value(value) + 7));
	sim_put(bed->sim, KIND_IPAM_BLOCK, object);
	json_decref(object);
}

static void test_released(void **state)
{
	for (int by_handle = 0; by_handle < 2; by_handle++) {
		struct bed *bed = *state;

		if (by_handle)
			give_to_a_pod(bed);
		ask(bed, by_handle, false);
		assert_true(run(bed, 0));
		assert_int_equal(bed->rc, 0);
		assert_non_null(strstr(bed->answer, "pod shop/gone of node a"));
		assert_false(is_given(bed));
		assert_null(sim_object(bed->sim, KIND_IPAM_HANDLE, HANDLE));
	}
}

static void test_what_lives_is_refused(void **state)
{
	struct bed *bed = *state;

	bed->attached = true;
	for (int by_handle = 0; by_handle < 2; by_handle++) {
		ask(bed, by_handle, false);
		assert_true(run(bed, 0));
		assert_int_equal(bed->rc, -EBUSY);
		assert_true(is_given(bed));
	}
	ask(bed, false, true);
	assert_true(run(bed, 0));
	assert_int_equal(bed->rc, 0);
	assert_false(is_given(bed));
}

/* Between the judgement and the write: it stays. */
static void test_given_anew_meanwhile(void **state)
{
	struct bed *bed = *state;

	ask(bed, false, false);
	run_to(bed, "update IPAMBlock " BLOCK);
	give_anew(bed);
	assert_true(run(bed, 0));
	assert_int_equal(bed->rc, -ESTALE);
	assert_true(is_given(bed));
}

/* A pod that is attached in the first look and gone in the second, or the other way round, is no finding. */
static void test_what_only_one_look_sees(void **state)
{
	struct bed *bed = *state;

	audit(bed);
	run_to(bed, "list IPAMHandle");
	bed->attached = true;
	assert_true(run(bed, 0));
	assert_int_equal(bed->rc, 0);
	assert_non_null(strstr(bed->answer, "\"problems\": []"));
	bed->attached = false;
	audit(bed);
	assert_true(run(bed, 0));
	assert_non_null(strstr(bed->answer, "\"kind\":\"leaked\""));
}

/* The agent may end at any step; nothing is told then. */
static void test_the_agent_ends(void **state)
{
	for (unsigned steps = 1; steps < 40; steps++) {
		struct bed *bed = NULL;
		bool over;

		set_up((void **)&bed);
		if (steps % 2)
			audit(bed);
		else
			ask(bed, steps % 4, false);
		over = run(bed, steps);
		tear_down((void **)&bed);
		if (over && steps > 20)
			return;
	}
	fail_msg("the requests never end");
}

/* Whatever cannot be read ends it with a story, and nothing is released. */
static void test_the_store_fails(void **state)
{
	for (unsigned steps = 1; steps < 40; steps++) {
		struct bed *bed = NULL;
		bool over;

		set_up((void **)&bed);
		ask(bed, true, false);
		over = run(bed, steps);
		if (!over && strncmp(sim_describe(bed->door, 0), "update", 6) != 0 &&
			strncmp(sim_describe(bed->door, 0), "delete", 6) != 0 && is_given(bed)) {
			sim_execute(bed->door, 0, SIM_REFUSED);
			assert_true(run(bed, 0));
			assert_true(bed->rc < 0 && bed->text[0]);
			assert_true(is_given(bed));
		}
		tear_down((void **)&bed);
		if (over)
			return;
	}
	fail_msg("the release never ends");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_released, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_lives_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_given_anew_meanwhile, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_only_one_look_sees, set_up, tear_down),
		cmocka_unit_test(test_the_agent_ends),
		cmocka_unit_test(test_the_store_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
