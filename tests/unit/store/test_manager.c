/* SPDX-License-Identifier: Apache-2.0
 *
 * The lease manager over a transport made of memory: for failures that no real store can be brought to show at will.
 */
#include "nodes.h"

#include "store/manager.h"

#include <errno.h>

struct fake {
	struct kv kv; /* first */
	char key[LEASE_KEY_MAX];  /* the write under way; "" = none */
	char value[1024];
	char kind;                /* c, r, d */
	int64_t ttl;
	uint64_t guard, revision; /* revision: of the last write */
	kv_done done;
	int watches, frees;
};

static struct manager *manager_of(struct node *node)
{
	return (struct manager *)node->store;
}

static struct fake *fake_of(struct node *node)
{
	return (struct fake *)manager_of(node)->kv;
}

static void fake_write(struct kv *kv, char kind, const char *key, const char *value, size_t len, int64_t ttl,
	uint64_t guard, kv_done done)
{
	struct fake *fake = (struct fake *)kv;

	assert_int_equal(fake->kind, 0); /* one at a time */
	fake->kind = kind;
	snprintf(fake->key, sizeof(fake->key), "%s", key);
	snprintf(fake->value, sizeof(fake->value), "%.*s", (int)len, value);
	fake->ttl = ttl;
	fake->guard = guard;
	fake->done = done;
}

static void fake_create(struct kv *kv, const char *key, const char *value, size_t len, int64_t ttl, kv_done done)
{
	fake_write(kv, 'c', key, value, len, ttl, 0, done);
}

static void fake_replace(struct kv *kv, const char *key, const char *value, size_t len, int64_t ttl, uint64_t revision,
	kv_done done)
{
	fake_write(kv, 'r', key, value, len, ttl, revision, done);
}

static void fake_remove(struct kv *kv, const char *key, uint64_t revision, kv_done done)
{
	fake_write(kv, 'd', key, "", 0, 0, revision, done);
}

static void fake_start(struct kv *kv)
{
}

static void fake_watch(struct kv *kv)
{
	((struct fake *)kv)->watches++;
}

static void fake_free(struct kv *kv)
{
	free(kv);
}

static const struct kv_ops fake_ops = {
	.start = fake_start,
	.watch = fake_watch,
	.create = fake_create,
	.replace = fake_replace,
	.remove = fake_remove,
	.free = fake_free,
};

/* Ends the write under way. */
static void answer(struct node *node, int rc)
{
	struct fake *fake = fake_of(node);
	struct kv_result result = {.rc = rc, .text = "the fake says no"};

	assert_int_not_equal(fake->kind, 0);
	if (rc == 0) {
		result.revision = ++fake->revision;
		result.expires = fake->ttl ? manager_now() + fake->ttl : 0;
	}
	fake->kind = 0;
	fake->done(fake->kv.ctx, &result);
}

static void put(struct node *node, const char *key, const char *value, uint64_t revision, int64_t expires)
{
	struct kv_item item = {key, value, strlen(value), revision, expires ? 1 : 0, expires};
	struct kv *kv = manager_of(node)->kv;

	kv->events->put(kv->ctx, &item);
}

static void list_anew(struct node *node, bool anew)
{
	manager_of(node)->kv->events->list_begin(manager_of(node)->kv->ctx, anew);
}

static void list_begin(struct node *node)
{
	list_anew(node, false);
}

static void list_end(struct node *node)
{
	manager_of(node)->kv->events->list_end(manager_of(node)->kv->ctx);
}

static void gone(struct node *node, const char *key, uint64_t revision)
{
	manager_of(node)->kv->events->gone(manager_of(node)->kv->ctx, key, revision);
}

struct world {
	struct event_base *base;
	struct node node;
};

static void configure(struct node *node, const char *text)
{
	manager_of(node)->kv->events->config(manager_of(node)->kv->ctx, text, strlen(text), "net-conf.json");
}

static int begin_ttl(void **state, int64_t ttl, int64_t margin)
{
	struct world *world = calloc(1, sizeof(*world));
	struct fake *fake = calloc(1, sizeof(*fake));
	struct manager *manager = NULL;
	struct err err = ERR_INIT;

	world->base = event_base_new();
	world->node.want = node_want(1);
	world->node.acquire_at_once = true;
	if (manager_new(world->base, &node_events, &world->node, ttl, margin, &manager, &err) < 0)
		return -1;
	fake->kv = (struct kv){&fake_ops, &manager->kv_events, manager, false, true};
	manager->kv = &fake->kv;
	world->node.store = &manager->store;
	store_start(world->node.store);
	configure(&world->node, "{\"Network\":\"10.3.0.0/16\"}");
	*state = world;
	return 0;
}

static int begin(void **state)
{
	return begin_ttl(state, 86400, 3600);
}

static int begin_short(void **state)
{
	return begin_ttl(state, 3, 2);
}

static int end(void **state)
{
	struct world *world = *state;

	store_free(world->node.store);
	event_base_free(world->base);
	free(world);
	return 0;
}

/* Up to a lease that is held. */
static void acquire(struct world *world)
{
	struct node *node = &world->node;

	list_begin(node);
	list_end(node);
	WAIT(world->base, fake_of(node)->kind == 'c');
	fake_of(node)->revision = 100;
	answer(node, 0);
	assert_int_equal(node->acquired, 1);
}

static void a_lost_race_is_run_again(void **state)
{
	struct world *world = *state;
	struct node *node = &world->node;
	char keys[30][LEASE_KEY_MAX];

	list_begin(node);
	list_end(node);
	for (int i = 0; i < 25; i++) {
		WAIT(world->base, fake_of(node)->kind == 'c' || fake_of(node)->watches > 1);
		if (fake_of(node)->kind != 'c') { /* ten in a row: it looks again */
			fake_of(node)->watches = 1;
			list_begin(node);
			list_end(node);
			continue;
		}
		snprintf(keys[i], LEASE_KEY_MAX, "%s", fake_of(node)->key);
		/* Each tenth loss is followed by a look, which takes a turn of its own and forgets what was lost. */
		for (int j = i - i % 11; j < i; j++)
			assert_string_not_equal(keys[i], keys[j]);
		answer(node, -EEXIST);
	}
	WAIT(world->base, fake_of(node)->kind == 'c');
	answer(node, 0);
	assert_int_equal(node->acquired, 1);
	assert_int_equal(node->problems, 0);
}

/* The answer to a creation is lost, but it happened: the key is found again, and no second one is made. */
static void an_unknown_end_is_looked_up(void **state)
{
	struct world *world = *state;
	struct node *node = &world->node;
	char key[LEASE_KEY_MAX], value[1024];

	list_begin(node);
	list_end(node);
	WAIT(world->base, fake_of(node)->kind == 'c');
	snprintf(key, sizeof(key), "%s", fake_of(node)->key);
	snprintf(value, sizeof(value), "%s", fake_of(node)->value);
	answer(node, -EIO);
	assert_non_null(node_story(node, ""));
	test_run(world->base, 0.6);
	assert_int_equal(fake_of(node)->kind, 0); /* nothing before it has looked */
	assert_int_equal(fake_of(node)->watches, 2);
	list_begin(node);
	put(node, key, value, 101, KV_EXPIRES_UNKNOWN);
	list_end(node);
	WAIT(world->base, fake_of(node)->kind == 'r');
	assert_string_equal(fake_of(node)->key, key);
	assert_int_equal(fake_of(node)->guard, 101);
	fake_of(node)->revision = 101;
	answer(node, 0);
	assert_int_equal(node->acquired, 1);
	assert_null(node_story(node, ""));
}

static void snapshots_are_compared(void **state)
{
	struct world *world = *state;
	struct node *node = &world->node;

	acquire(world);
	list_begin(node);
	put(node, node->own.key, fake_of(node)->value, 101, KV_EXPIRES_UNKNOWN);
	put(node, "10.3.210.0-24", "{\"PublicIP\":\"192.0.2.10\"}", 50, 0);
	put(node, "10.3.211.0-24", "{\"PublicIP\":\"192.0.2.11\"}", 51, 0);
	put(node, "10.3.212.0-24", "{\"PublicIP\":\"192.0.2.12\"}", 52, 0);
	list_end(node);
	assert_int_equal(node->peer_count, 3);
	node->lease_events = 0;
	list_begin(node);
	put(node, node->own.key, fake_of(node)->value, 101, KV_EXPIRES_UNKNOWN);
	put(node, "10.3.210.0-24", "{\"PublicIP\":\"192.0.2.10\"}", 60, 0);
	put(node, "10.3.211.0-24", "{\"PublicIP\":\"192.0.2.11\",\"BackendType\":\"vxlan\"}", 61, 0);
	assert_int_equal(node->gone_events, 0);
	list_end(node);
	assert_int_equal(node->lease_events, 1);
	assert_string_equal(node_peer(node, "10.3.211.0-24")->backend, "vxlan");
	assert_int_equal(node->gone_events, 1);
	assert_null(node_peer(node, "10.3.212.0-24"));
	assert_int_equal(node->lost, 0);
	/* One of a list that is missing ourselves. */
	list_begin(node);
	list_end(node);
	assert_int_equal(node->lost, 1);
	assert_int_equal(node->peer_count, 0);
}

static void late_events_are_told_from_new_ones(void **state)
{
	struct world *world = *state;
	struct node *node = &world->node;

	acquire(world);
	gone(node, node->own.key, 99); /* of the key's former life */
	put(node, node->own.key, "{\"PublicIP\":\"192.0.2.77\"}", 98, 0);
	test_run(world->base, 0.1);
	assert_int_equal(node->lost, 0);
	assert_int_equal(node->peer_count, 0);
	gone(node, node->own.key, 102);
	assert_int_equal(node->lost, 1);
}

/* A store that was restored from a backup: its revisions are smaller, and they are the truth. */
static void revisions_may_start_over(void **state)
{
	struct world *world = *state;
	struct node *node = &world->node;
	char value[1024];

	acquire(world);
	snprintf(value, sizeof(value), "%s", fake_of(node)->value);
	put(node, "10.3.210.0-24", "{\"PublicIP\":\"192.0.2.10\"}", 150, 0);
	list_anew(node, true);
	put(node, node->own.key, value, 20, KV_EXPIRES_UNKNOWN);
	put(node, "10.3.210.0-24", "{\"PublicIP\":\"192.0.2.11\"}", 15, 0);
	list_end(node);
	assert_int_equal(node->lost, 0);
	assert_true(addr_to_4(&node->peers[0].public_ip[FAMILY_4]) == 0xc000020bu);
	/* The next write is guarded by the new revision. */
	node->want.vtep_mac[FAMILY_4].b[0] = 6;
	store_acquire(node->store, &node->want);
	WAIT(world->base, fake_of(node)->kind == 'r');
	assert_int_equal(fake_of(node)->guard, 20);
}

static void a_failed_renewal_is_tried_again_until_the_end(void **state)
{
	struct world *world = *state;
	struct node *node = &world->node;
	int tries = 0;

	acquire(world);
	while (!node->lost) {
		WAIT(world->base, fake_of(node)->kind == 'r' || fake_of(node)->watches > 1 || node->lost);
		if (fake_of(node)->kind == 'r') {
			tries++;
			answer(node, -EIO);
			continue;
		}
		fake_of(node)->watches = 1;
		list_begin(node);
		put(node, node->own.key, fake_of(node)->value, 101, KV_EXPIRES_UNKNOWN);
		list_end(node);
	}
	assert_true(tries >= 2);
	assert_int_equal(node->lost, 1);
	assert_non_null(node_story(node, ""));
	/* The store is well again. */
	list_begin(node);
	list_end(node);
	WAIT(world->base, fake_of(node)->kind == 'c');
	answer(node, 0);
	assert_int_equal(node->acquired, 2);
	assert_null(node_story(node, ""));
}

/* The key is deleted while its renewal is under way: nobody knows in which order, so it looks. */
static void a_deletion_during_a_renewal(void **state)
{
	struct world *world = *state;
	struct node *node = &world->node;

	acquire(world);
	WAIT(world->base, fake_of(node)->kind == 'r');
	gone(node, node->own.key, 150);
	assert_int_equal(node->lost, 0);
	answer(node, 0);
	assert_int_equal(node->lost, 1);
	assert_int_equal(fake_of(node)->watches, 2);
	list_begin(node);
	list_end(node);
	WAIT(world->base, fake_of(node)->kind == 'c');
	answer(node, 0);
	assert_int_equal(node->acquired, 2);
}

/* Two nodes with one address rewrite each other's lease: told, and slowed down instead of a storm. */
static void a_clone_is_told_and_slows_us_down(void **state)
{
	struct world *world = *state;
	struct node *node = &world->node;
	uint64_t revision = 200;
	int writes = 0;

	acquire(world);
	for (double stop = test_now() + 3; test_now() < stop;) {
		put(node, node->own.key, "{\"PublicIP\":\"192.0.2.1\",\"BackendType\":\"host-gw\"}", revision, 0);
		fake_of(node)->revision = revision;
		test_run(world->base, 0.05);
		if (fake_of(node)->kind) {
			answer(node, 0);
			writes++;
		}
		revision = fake_of(node)->revision + 1;
	}
	assert_in_range(writes, 1, 5);
	assert_non_null(node_story(node, node->own.key));
	assert_int_equal(node->lost, 0);
}

static void free_at_any_time(void **state)
{
	struct world *world = *state;
	struct node *node = &world->node;

	store_find_own(node->store, node->want.public_ip, node_found, node);
	list_begin(node);
	put(node, "10.3.210.0-24", "{\"PublicIP\":\"192.0.2.10\"}", 50, 0);
	list_end(node);
	WAIT(world->base, fake_of(node)->kind == 'c');
	assert_int_equal(node->found, 1);
	store_find_own(node->store, node->want.public_ip, node_found, node);
	/* end() frees it with a write and a question under way */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
#define TEST_SHORT(f) cmocka_unit_test_setup_teardown(f, begin_short, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_lost_race_is_run_again),
		TEST(an_unknown_end_is_looked_up),
		TEST(snapshots_are_compared),
		TEST(late_events_are_told_from_new_ones),
		TEST(revisions_may_start_over),
		TEST_SHORT(a_failed_renewal_is_tried_again_until_the_end),
		TEST_SHORT(a_deletion_during_a_renewal),
		TEST(a_clone_is_told_and_slows_us_down),
		TEST(free_at_any_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
