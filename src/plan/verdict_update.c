/* SPDX-License-Identifier: Apache-2.0
 *
 * From what is due to what has changed since the last acknowledged update. Whatever changes is listed once and stays listed until
 * it is acknowledged, so an update costs what has changed, and one that was not acknowledged is said again.
 */
#include "plan/verdict_internal.h"

#define LISTED_KEPT 1024

void verdict_change_done(struct verdicts *v)
{
	free(v->new_ports);
	free(v->stale_ports);
	free(v->new_pairs);
	free(v->stale_pairs);
	free(v->addresses);
	v->new_ports = v->stale_ports = NULL;
	v->new_pairs = v->stale_pairs = NULL;
	v->addresses = NULL;
}

/* -- what is told -- */

struct port_array {
	struct verdict_port *items;
	size_t count, room;
};

static void add_entries(struct port_array *ports, const struct list *list)
{
	for (size_t i = 0; i < list->entry_count; i++) {
		const struct list_entry *e = &list->entries[i];

		VERDICT_PUSH(ports->items, ports->count, ports->room,
			(struct verdict_port){.list = list->number, .len = e->len, .protocol = e->protocol, .port = e->port,
				.bits = e->bits, .next = e->next});
	}
}

static void tell_ports(struct verdicts *v, struct verdict_change *ret)
{
	struct port_array now = {0}, stale = {0};

	for (size_t i = 0; i < v->listed_list_count; i++) {
		struct list *list = v->listed_lists[i];

		if (list->refs && !list->acknowledged)
			add_entries(&now, list);
		else if (!list->refs && list->told)
			add_entries(&stale, list);
		list->told |= list->refs > 0;
	}
	ret->new_ports = v->new_ports = now.items;
	ret->new_port_count = now.count;
	ret->stale_ports = v->stale_ports = stale.items;
	ret->stale_port_count = stale.count;
}

static void tell_pairs(struct verdicts *v, struct verdict_change *ret)
{
	v->new_pairs = verdict_need(calloc(v->listed_pair_count + 1, sizeof(*v->new_pairs)));
	v->stale_pairs = verdict_need(calloc(v->listed_pair_count + 1, sizeof(*v->stale_pairs)));
	for (size_t i = 0; i < v->listed_pair_count; i++) {
		struct pair *pair = v->listed_pairs[i];
		struct verdict_pair told = {pair->key.table, pair->key.class, pair->list_number};

		if (pair->list && !pair->acknowledged)
			v->new_pairs[ret->new_pair_count++] = told;
		else if (!pair->list && pair->told)
			v->stale_pairs[ret->stale_pair_count++] = told;
		pair->told |= pair->list != NULL;
	}
	ret->new_pairs = v->new_pairs;
	ret->stale_pairs = v->stale_pairs;
}

static struct verdict_address address_of(const struct spot *spot)
{
	struct net net = {.addr = spot->addr, .len = spot->len};
	struct verdict_address address = {.prefix = verdict_net_prefix(&net)};

	if (!spot->shown)
		return address;
	address.class = spot->class ? spot->class->number : 0;
	address.flags = spot->flags;
	if (!address.class && !address.flags)
		address.flags = VERDICT_ADDRESS_NOBODY;
	return address;
}

static int len_of(const struct verdict_address *address)
{
	return address->prefix.len + (address->prefix.family == AF_INET ? 96 : 0);
}

static bool is_gone(const struct verdict_address *address)
{
	return !address->class && !address->flags;
}

static int compare_steps(const void *a, const void *b)
{
	const struct verdict_address *x = a, *y = b;

	if (is_gone(x) != is_gone(y))
		return is_gone(x) ? 1 : -1;
	if (len_of(x) != len_of(y))
		return is_gone(x) ? len_of(x) - len_of(y) : len_of(y) - len_of(x);
	return prefix_compare(&x->prefix, &y->prefix);
}

static void tell_addresses(struct verdicts *v, struct verdict_change *ret)
{
	v->addresses = verdict_need(calloc(v->listed_count + 1, sizeof(*v->addresses)));
	for (size_t i = 0; i < v->listed_count; i++)
		v->addresses[i] = address_of(v->listed[i]);
	qsort(v->addresses, v->listed_count, sizeof(*v->addresses), compare_steps);
	ret->addresses = v->addresses;
	ret->address_count = v->listed_count;
}

static bool tables_changed(const struct verdicts *v)
{
	for (const struct attached *a = v->attached; a; a = a->hh.next)
		for (int d = 0; d < POLICY_DIRECTION_COUNT; d++)
			if (!a->acknowledged || a->told[d] != (a->tables[d] ? a->tables[d]->number : 0))
				return true;
	return false;
}

static bool any_unused(const struct verdicts *v)
{
	for (const struct table *table = v->tables; table; table = table->hh.next)
		if (!table->refs)
			return true;
	return false;
}

int verdicts_update(struct verdicts *v, struct verdict_change *ret, struct err *err)
{
	struct verdict_change change = {0};

	v->failure = 0;
	verdict_change_done(v);
	verdict_match_policies(v);
	verdict_make_tables(v);
	verdict_match_due(v);
	verdict_walk(v);
	verdict_make_pairs(v);
	verdict_forget_atoms(v);
	if (v->failure)
		return err_set(err, v->failure, "policy: %s", v->failure_text);
	tell_ports(v, &change);
	tell_pairs(v, &change);
	tell_addresses(v, &change);
	change.endpoints = tables_changed(v);
	change.more = any_unused(v);
	*ret = change;
	return 0;
}

/* -- what is acknowledged -- */

static void acknowledge_lists(struct verdicts *v)
{
	for (size_t i = 0; i < v->listed_list_count; i++) {
		struct list *list = v->listed_lists[i];

		list->listed = false;
		list->acknowledged = true;
		if (!list->refs)
			verdict_list_free(v, list);
	}
	v->listed_list_count = 0;
}

static void acknowledge_pairs(struct verdicts *v)
{
	for (size_t i = 0; i < v->listed_pair_count; i++) {
		struct pair *pair = v->listed_pairs[i];

		pair->listed = false;
		pair->acknowledged = true;
		if (pair->list)
			continue;
		HASH_DEL(v->pairs, pair);
		free(pair);
	}
	v->listed_pair_count = 0;
}

static void acknowledge_spots(struct verdicts *v)
{
	struct net *nets = verdict_need(calloc(v->listed_count + 1, sizeof(*nets)));

	for (size_t i = 0; i < v->listed_count; i++) {
		struct spot *spot = v->listed[i];

		spot->listed = false;
		nets[i] = (struct net){.addr = spot->addr, .len = spot->len};
	}
	/* Spots may go with others that lead to them. */
	for (size_t i = 0; i < v->listed_count; i++)
		verdict_spot_prune(v, &nets[i]);
	v->listed_count = 0;
	free(nets);
	/* At the start it was all of them. */
	if (v->listed_room > LISTED_KEPT) {
		free(v->listed);
		v->listed = NULL;
		v->listed_room = 0;
	}
}

static void acknowledge_tables(struct verdicts *v)
{
	struct table *table, *next;

	for (struct attached *a = v->attached; a; a = a->hh.next) {
		a->acknowledged = true;
		for (int d = 0; d < POLICY_DIRECTION_COUNT; d++)
			a->told[d] = a->tables[d] ? a->tables[d]->number : 0;
	}
	HASH_ITER(hh, v->tables, table, next)
		if (!table->refs)
			verdict_free_table(v, table);
}

void verdicts_acknowledge(struct verdicts *v)
{
	acknowledge_lists(v);
	acknowledge_pairs(v);
	acknowledge_spots(v);
	acknowledge_tables(v);
	verdict_change_done(v);
}

/* -- all -- */

static void collect_spots(const struct spot *spot, struct verdict_tables *all)
{
	if (!spot)
		return;
	if (spot->shown)
		all->addresses[all->address_count++] = address_of(spot);
	for (int i = 0; i < 2 && !verdict_spot_is_host(spot); i++)
		collect_spots(spot->child[i], all);
}

static int compare_addresses(const void *a, const void *b)
{
	const struct verdict_address *x = a, *y = b;

	return prefix_compare(&x->prefix, &y->prefix);
}

static int compare_pairs(const void *a, const void *b)
{
	const struct verdict_pair *x = a, *y = b;

	if (x->table != y->table)
		return x->table < y->table ? -1 : 1;
	return (x->class > y->class) - (x->class < y->class);
}

static int compare_ports(const void *a, const void *b)
{
	const struct verdict_port *x = a, *y = b;

	if (x->list != y->list)
		return x->list < y->list ? -1 : 1;
	if (x->protocol != y->protocol)
		return x->protocol - y->protocol;
	return x->len != y->len ? x->len - y->len : x->port - y->port;
}

int verdicts_all(const struct verdicts *v, struct verdict_tables *ret)
{
	struct verdict_tables all = {0};
	struct port_array ports = {0};

	all.addresses = verdict_need(calloc(v->shown_count + 1, sizeof(*all.addresses)));
	all.pairs = verdict_need(calloc(v->living_pairs + 1, sizeof(*all.pairs)));
	for (int i = 0; i < FAMILY_COUNT; i++)
		collect_spots(v->roots[i], &all);
	for (const struct pair *pair = v->pairs; pair; pair = pair->hh.next)
		if (pair->list)
			all.pairs[all.pair_count++] = (struct verdict_pair){pair->key.table, pair->key.class, pair->list_number};
	for (const struct list *list = v->lists; list; list = list->hh.next)
		if (list->refs)
			add_entries(&ports, list);
	all.ports = ports.items;
	all.port_count = ports.count;
	qsort(all.addresses, all.address_count, sizeof(*all.addresses), compare_addresses);
	qsort(all.pairs, all.pair_count, sizeof(*all.pairs), compare_pairs);
	if (all.port_count)
		qsort(all.ports, all.port_count, sizeof(*all.ports), compare_ports);
	*ret = all;
	return 0;
}

void verdict_tables_done(struct verdict_tables *tables)
{
	free(tables->addresses);
	free(tables->pairs);
	free(tables->ports);
	*tables = (struct verdict_tables){0};
}
