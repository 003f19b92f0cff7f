/* SPDX-License-Identifier: Apache-2.0
 *
 * Random worlds: the tables say what the rules say, whatever the order of events, and while a change is written, too.
 */
#include "verdict_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static size_t rounds(size_t usual)
{
	return getenv("TULLE_SOAK") ? usual * 100 : usual;
}

/* Until nothing is left of what was. */
static void settle(struct verdicts *v)
{
	struct verdict_change change;

	do {
		assert_int_equal(verdicts_update(v, &change, NULL), 0);
		verdicts_acknowledge(v);
	} while (change.more);
}

static void random_slot(struct world *world, enum slot_kind *kind, size_t *index)
{
	static const enum slot_kind often[] = {SLOT_POLICY, SLOT_ENDPOINT, SLOT_SET};

	*kind = random_below(&world->random, 2) ? often[random_below(&world->random, 3)]
					       : random_below(&world->random, SLOT_KIND_COUNT);
	*index = random_below(&world->random, (uint32_t)world_slots(*kind));
}

static void fill(struct world *world, struct verdicts *v)
{
	for (enum slot_kind kind = 0; kind < SLOT_KIND_COUNT; kind++)
		for (size_t i = 0; i < world_slots(kind); i++) {
			world_change(world, kind, i);
			world_apply(world, kind, i, v);
		}
}

/* -- by the rules and by the tables -- */

static void describe(const struct world *world, size_t endpoint, enum policy_direction direction,
	const struct verdict_flow *flow, const struct verdict_why *why)
{
	char src[ADDR_TEXT_MAX], dst[ADDR_TEXT_MAX];

	print_error("seed %llu: pod-%zu %s %s -> %s protocol %u ports %u %u: the rules say %d (reason %d, %s %s)\n",
		(unsigned long long)world->seed, endpoint, direction ? "egress" : "ingress", addr_format(&flow->src, src),
		addr_format(&flow->dst, dst), flow->protocol, flow->sport, flow->dport, why->allow, why->reason,
		why->policy ? why->policy->name : "-", why->rule ? why->rule->name : "-");
}

static void compare(struct world *world, const struct verdicts *v, size_t flows)
{
	for (size_t n = 0; n < flows; n++) {
		size_t i = random_below(&world->random, (uint32_t)world_slots(SLOT_ATTACH));
		enum policy_direction direction = random_below(&world->random, 2);
		struct verdict_flow flow;
		struct verdict_why why;
		char name[16];

		if (!world->attached[i].there)
			continue;
		flow = world_flow(&world->random, world, i, direction);
		if (!addr_is_set(&flow.src) || !addr_is_set(&flow.dst))
			continue;
		verdicts_why(v, world_namespace(i), world_name(i, name), direction, &flow, &why);
		if (verdicts_allow(v, world_namespace(i), name, direction, &flow) == why.allow)
			continue;
		describe(world, i, direction, &flow, &why);
		fail();
	}
}

static void tables_say_what_rules_say(void **state)
{
	for (size_t seed = 0; seed < rounds(60); seed++) {
		struct world world;
		struct verdicts *v;

		world_init(&world, seed);
		assert_int_equal(verdicts_new(&v), 0);
		fill(&world, v);
		for (int step = 0; step < 12; step++) {
			enum slot_kind kind;
			size_t index;

			settle(v);
			compare(&world, v, 150);
			random_slot(&world, &kind, &index);
			world_change(&world, kind, index);
			world_apply(&world, kind, index, v);
		}
		verdicts_free(v);
		world_done(&world);
	}
}

/* -- order -- */

static void assert_same_addresses(const struct world *world, const struct verdict_tables *x, const struct verdict_tables *y)
{
	for (size_t i = 0; i < x->address_count && i < y->address_count; i++) {
		const struct verdict_address *p = &x->addresses[i], *q = &y->addresses[i];
		char text[PREFIX_TEXT_MAX], other[PREFIX_TEXT_MAX];

		if (prefix_equal(&p->prefix, &q->prefix) && p->class == q->class && p->flags == q->flags)
			continue;
		print_error("seed %llu: %s is %llx flags %u, or %s %llx flags %u\n", (unsigned long long)world->seed,
			prefix_format(&p->prefix, text), (unsigned long long)p->class, p->flags, prefix_format(&q->prefix, other),
			(unsigned long long)q->class, q->flags);
		fail();
	}
	assert_int_equal(x->address_count, y->address_count);
}

static void assert_same(const struct world *world, const struct verdicts *a, const struct verdicts *b)
{
	struct verdict_tables x, y;

	verdicts_all(a, &x);
	verdicts_all(b, &y);
	assert_same_addresses(world, &x, &y);
	assert_int_equal(x.pair_count, y.pair_count);
	assert_int_equal(x.port_count, y.port_count);
	for (size_t i = 0; i < x.pair_count; i++)
		assert_memory_equal(&x.pairs[i], &y.pairs[i], sizeof(x.pairs[i]));
	for (size_t i = 0; i < x.port_count; i++) {
		const struct verdict_port *p = &x.ports[i], *q = &y.ports[i];

		assert_true(p->list == q->list && p->len == q->len && p->protocol == q->protocol && p->port == q->port &&
			    p->bits == q->bits && p->next == q->next);
	}
	verdict_tables_done(&x);
	verdict_tables_done(&y);
	for (size_t i = 0; i < world_slots(SLOT_ATTACH); i++) {
		uint64_t p[POLICY_DIRECTION_COUNT] = {0}, q[POLICY_DIRECTION_COUNT] = {0};
		char name[16];

		world_name(i, name);
		assert_int_equal(verdicts_tables(a, world_namespace(i), name, p), verdicts_tables(b, world_namespace(i), name, q));
		assert_memory_equal(p, q, sizeof(p));
	}
}

struct event {
	enum slot_kind kind;
	size_t index;
};

static size_t all_events(struct event *events)
{
	size_t count = 0;

	for (enum slot_kind kind = 0; kind < SLOT_KIND_COUNT; kind++)
		for (size_t i = 0; i < world_slots(kind); i++)
			events[count++] = (struct event){kind, i};
	return count;
}

static void shuffle(struct random *random, struct event *events, size_t count)
{
	for (size_t i = count; i > 1; i--) {
		size_t j = random_below(random, (uint32_t)i);
		struct event swap = events[i - 1];

		events[i - 1] = events[j];
		events[j] = swap;
	}
}

/* One engine goes through all that happens, updated now and then; another one sees only the end, in some order. */
static void history_does_not_matter(void **state)
{
	for (size_t seed = 0; seed < rounds(60); seed++) {
		struct event events[64];
		size_t count = all_events(events);
		struct verdicts *old, *new;
		struct verdict_change change;
		struct world world;

		world_init(&world, seed + 1000);
		verdicts_new(&old);
		fill(&world, old);
		for (int step = 0; step < 40; step++) {
			enum slot_kind kind;
			size_t index;

			random_slot(&world, &kind, &index);
			world_change(&world, kind, index);
			world_apply(&world, kind, index, old);
			if (random_below(&world.random, 3) == 0)
				assert_int_equal(verdicts_update(old, &change, NULL), 0);
			if (random_below(&world.random, 4) == 0)
				settle(old);
		}
		settle(old);
		verdicts_new(&new);
		shuffle(&world.random, events, count);
		for (size_t i = 0; i < count; i++) {
			world_apply(&world, events[i].kind, events[i].index, new);
			if (random_below(&world.random, 20) == 0)
				settle(new);
		}
		settle(new);
		assert_same(&world, old, new);
		verdicts_free(old);
		verdicts_free(new);
		world_done(&world);
	}
}

static void permute(struct event *events, size_t n, size_t count, const struct world *world, const struct verdicts *wanted,
	size_t *tried)
{
	struct verdicts *v;

	for (size_t i = n; i < count; i++) {
		struct event swap = events[n];

		events[n] = events[i];
		events[i] = swap;
		permute(events, n + 1, count, world, wanted, tried);
		swap = events[n];
		events[n] = events[i];
		events[i] = swap;
	}
	if (n < count)
		return;
	verdicts_new(&v);
	for (size_t i = 0; i < count; i++) {
		struct verdict_change change;

		world_apply(world, events[i].kind, events[i].index, v);
		if (i % 2)
			verdicts_update(v, &change, NULL);
	}
	settle(v);
	assert_same(world, v, wanted);
	verdicts_free(v);
	++*tried;
}

static void every_order_of_seven_events(void **state)
{
	struct event events[] = {{SLOT_POLICY, 0}, {SLOT_POLICY, 2}, {SLOT_ENDPOINT, 0}, {SLOT_ENDPOINT, 1}, {SLOT_NAMESPACE, 0},
		{SLOT_SET, 1}, {SLOT_ATTACH, 0}};
	struct verdicts *wanted;
	struct verdict_stats stats;
	struct world world;
	size_t tried = 0;
	uint64_t seed = 0;

	/* A world in which all of them are something. */
	for (;; seed++) {
		world_init(&world, seed);
		for (size_t i = 0; i < 7; i++)
			world_change(&world, events[i].kind, events[i].index);
		verdicts_new(&wanted);
		for (size_t i = 0; i < 7; i++)
			world_apply(&world, events[i].kind, events[i].index, wanted);
		settle(wanted);
		verdicts_get_stats(wanted, &stats);
		if (stats.applied == 2 && stats.peers >= 2 && stats.classes >= 2 && stats.attached)
			break;
		verdicts_free(wanted);
		world_done(&world);
	}
	permute(events, 0, 7, &world, wanted, &tried);
	assert_int_equal(tried, 5040);
	verdicts_free(wanted);
	world_done(&world);
}

/* -- a model of the kernel's maps -- */

struct maps {
	struct verdict_address addresses[512];
	size_t address_count;
	struct verdict_pair pairs[16384];
	size_t pair_count;
	struct verdict_port ports[65536];
	size_t port_count;
	uint64_t tables[SLOT_MAX][POLICY_DIRECTION_COUNT];
	bool attached[SLOT_MAX];
};

static void put_address(struct maps *m, const struct verdict_address *address)
{
	bool gone = !address->class && !address->flags;

	for (size_t i = 0; i < m->address_count; i++)
		if (prefix_equal(&m->addresses[i].prefix, &address->prefix)) {
			m->addresses[i] = gone ? m->addresses[--m->address_count] : *address;
			return;
		}
	assert_true(m->address_count < 512);
	if (!gone)
		m->addresses[m->address_count++] = *address;
}

static void put_pair(struct maps *m, const struct verdict_pair *pair, bool stale)
{
	for (size_t i = 0; i < m->pair_count; i++)
		if (m->pairs[i].table == pair->table && m->pairs[i].class == pair->class) {
			assert_true(m->pairs[i].list == pair->list); /* what stands under a number never changes */
			if (stale)
				m->pairs[i] = m->pairs[--m->pair_count];
			return;
		}
	assert_true(m->pair_count < 16384);
	if (!stale)
		m->pairs[m->pair_count++] = *pair;
}

static void put_port(struct maps *m, const struct verdict_port *port, bool stale)
{
	for (size_t i = 0; i < m->port_count; i++) {
		const struct verdict_port *p = &m->ports[i];

		if (p->list != port->list || p->len != port->len || p->protocol != port->protocol || p->port != port->port)
			continue;
		assert_true(p->bits == port->bits && p->next == port->next);
		if (stale)
			m->ports[i] = m->ports[--m->port_count];
		return;
	}
	assert_true(m->port_count < 65536);
	if (!stale)
		m->ports[m->port_count++] = *port;
}

static unsigned bits_of(const struct prefix *prefix)
{
	return prefix->len + (prefix->family == AF_INET ? 96u : 0);
}

static bool kernel_holds(const struct prefix *prefix, const struct addr *addr)
{
	for (unsigned i = 0; i < bits_of(prefix); i++)
		if ((prefix->addr.b[i / 8] ^ addr->b[i / 8]) >> (7 - i % 8) & 1)
			return false;
	return true;
}

static uint64_t model_class(const struct maps *m, const struct addr *addr)
{
	const struct verdict_address *best = NULL;

	for (size_t i = 0; i < m->address_count; i++)
		if (kernel_holds(&m->addresses[i].prefix, addr) &&
			(!best || bits_of(&best->prefix) < bits_of(&m->addresses[i].prefix)))
			best = &m->addresses[i];
	return best ? best->class : 0;
}

static uint64_t model_list(const struct maps *m, uint64_t table, uint64_t class)
{
	for (size_t i = 0; i < m->pair_count; i++)
		if (m->pairs[i].table == table && m->pairs[i].class == class)
			return m->pairs[i].list;
	return class ? model_list(m, table, 0) : 0;
}

static const struct verdict_port *model_port(const struct maps *m, uint64_t list, uint8_t protocol, uint16_t port)
{
	const struct verdict_port *best = NULL;

	for (size_t i = 0; i < m->port_count; i++) {
		const struct verdict_port *p = &m->ports[i];

		if (p->list == list && (p->len == 64 || p->protocol == protocol) &&
			(p->len <= 72 || (p->port ^ port) >> (96 - p->len) == 0) && (!best || best->len < p->len))
			best = p;
	}
	return best;
}

static bool model_allow(const struct maps *m, size_t endpoint, enum policy_direction direction, const struct verdict_flow *flow)
{
	uint64_t table = m->tables[endpoint][direction];
	const struct verdict_port *port;

	if (!m->attached[endpoint])
		return false;
	if (!table)
		return true;
	port = model_port(m, model_list(m, table, model_class(m, direction ? &flow->dst : &flow->src)), flow->protocol, flow->dport);
	if (port && port->bits & VERDICT_NEXT)
		port = model_port(m, port->next, flow->protocol, flow->sport);
	return port && port->bits & VERDICT_ALLOW;
}

/* -- while a change is written -- */

#define WATCHED 24

struct watch {
	const struct maps *maps;
	size_t endpoint[WATCHED];
	enum policy_direction direction[WATCHED];
	struct verdict_flow flow[WATCHED];
	bool before[WATCHED], after[WATCHED];
	size_t count;
	bool strict;
};

static void watch_some(struct watch *w, struct world *world, const struct verdicts *v)
{
	w->count = 0;
	for (size_t n = 0; n < WATCHED; n++) {
		size_t i = random_below(&world->random, (uint32_t)world_slots(SLOT_ATTACH));
		char name[16];

		w->direction[w->count] = random_below(&world->random, 2);
		if (!world->attached[i].there || !w->maps->attached[i])
			continue;
		w->endpoint[w->count] = i;
		w->flow[w->count] = world_flow(&world->random, world, i, w->direction[w->count]);
		w->before[w->count] = model_allow(w->maps, i, w->direction[w->count], &w->flow[w->count]);
		w->after[w->count] = verdicts_allow(v, world_namespace(i), world_name(i, name), w->direction[w->count],
			&w->flow[w->count]);
		w->count++;
	}
}

static void look(const struct watch *w)
{
	for (size_t i = 0; w->strict && i < w->count; i++) {
		bool now = model_allow(w->maps, w->endpoint[i], w->direction[i], &w->flow[i]);

		assert_true(now == w->before[i] || now == w->after[i]);
	}
}

static void take_tables(struct maps *m, const struct world *world, const struct verdicts *v, const struct watch *w)
{
	for (size_t i = 0; i < world_slots(SLOT_ATTACH); i++) {
		char name[16];

		m->attached[i] = verdicts_tables(v, world_namespace(i), world_name(i, name), m->tables[i]);
		look(w);
	}
}

static void write_change(struct maps *m, const struct world *world, const struct verdicts *v,
	const struct verdict_change *change, const struct watch *w)
{
	for (size_t i = 0; i < change->new_port_count; i++)
		put_port(m, &change->new_ports[i], false);
	for (size_t i = 0; i < change->new_pair_count; i++)
		put_pair(m, &change->new_pairs[i], false);
	look(w);
	for (size_t i = 0; i < change->address_count; i++) {
		put_address(m, &change->addresses[i]);
		look(w);
	}
	take_tables(m, world, v, w);
	for (size_t i = 0; i < change->stale_pair_count; i++)
		put_pair(m, &change->stale_pairs[i], true);
	for (size_t i = 0; i < change->stale_port_count; i++)
		put_port(m, &change->stale_ports[i], true);
	look(w);
}

static void assert_maps(const struct maps *m, const struct verdicts *v)
{
	struct verdict_tables all;

	verdicts_all(v, &all);
	assert_int_equal(all.address_count, m->address_count);
	assert_int_equal(all.pair_count, m->pair_count);
	assert_int_equal(all.port_count, m->port_count);
	for (size_t i = 0; i < all.address_count; i++)
		assert_true(model_class(m, &all.addresses[i].prefix.addr) == all.addresses[i].class ||
			    i + 1 < all.address_count); /* the first address of a prefix may have an entry of its own */
	for (size_t i = 0; i < all.pair_count; i++)
		assert_true(model_list(m, all.pairs[i].table, all.pairs[i].class) == all.pairs[i].list);
	verdict_tables_done(&all);
}

/* What changes tables and addresses at once is written one after the other, so a third state is seen between. */
static bool is_strict(enum slot_kind kind)
{
	return kind == SLOT_POLICY || kind == SLOT_TIER || kind == SLOT_RANGES;
}

static void no_moment_between(void **state)
{
	struct maps *m = calloc(1, sizeof(*m));

	for (size_t seed = 0; seed < rounds(25); seed++) {
		struct verdicts *v;
		struct world world;
		struct watch w = {.maps = m};
		struct verdict_change change;

		memset(m, 0, sizeof(*m));
		world_init(&world, seed + 5000);
		verdicts_new(&v);
		fill(&world, v);
		for (int step = 0; step < 25; step++) {
			enum slot_kind kind = SLOT_KIND_COUNT;
			size_t index;

			if (step) {
				random_slot(&world, &kind, &index);
				world_change(&world, kind, index);
				world_apply(&world, kind, index, v);
			}
			do {
				bool lost = random_below(&world.random, 5) == 0;

				assert_int_equal(verdicts_update(v, &change, NULL), 0);
				w.strict = is_strict(kind);
				watch_some(&w, &world, v);
				write_change(m, &world, v, &change, &w);
				if (!lost)
					verdicts_acknowledge(v);
			} while (change.more);
			assert_int_equal(verdicts_update(v, &change, NULL), 0);
			w.strict = true;
			watch_some(&w, &world, v);
			write_change(m, &world, v, &change, &w);
			verdicts_acknowledge(v);
			assert_maps(m, v);
		}
		verdicts_free(v);
		world_done(&world);
	}
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_say_what_rules_say),
		cmocka_unit_test(history_does_not_matter),
		cmocka_unit_test(every_order_of_seven_events),
		cmocka_unit_test(no_moment_between),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
