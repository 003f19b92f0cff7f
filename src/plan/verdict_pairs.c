/* SPDX-License-Identifier: Apache-2.0
 *
 * Which list a table has for a class: made when either is new, and kept until either is gone. What was told to the kernel and is
 * not needed any more is remembered until its end is acknowledged.
 */
#include "plan/verdict_internal.h"

/* -- lists -- */

static void list_changed(struct verdicts *v, struct list *list)
{
	if (list->listed)
		return;
	list->listed = true;
	VERDICT_PUSH(v->listed_lists, v->listed_list_count, v->listed_list_room, list);
}

static void put_nexts(struct verdicts *v, struct list **nexts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		verdict_list_put(v, nexts[i]);
	free(nexts);
}

void verdict_list_put(struct verdicts *v, struct list *list)
{
	struct list **nexts = list->nexts;
	size_t count = list->next_count;

	if (--list->refs)
		return;
	v->living_ports -= list->entry_count;
	list->nexts = NULL;
	list->next_count = 0;
	put_nexts(v, nexts, count);
	list_changed(v, list);
}

static uint64_t identify(const struct verdicts *v, const struct list_entry *entries, size_t count, struct digest *ret)
{
	struct buf bytes = BUF_INIT(1u << 30);
	uint64_t number;

	buf_add_str(&bytes, "list");
	for (size_t i = 0; i < count; i++) {
		verdict_add_number(&bytes, entries[i].len, 1);
		verdict_add_number(&bytes, entries[i].protocol, 1);
		verdict_add_number(&bytes, entries[i].port, 2);
		verdict_add_number(&bytes, entries[i].bits, 4);
		verdict_add_number(&bytes, entries[i].next, 8);
	}
	if (bytes.error)
		abort();
	number = verdict_digest(v, bytes.data, bytes.len, ret);
	buf_free(&bytes);
	return number;
}

/* Takes the arrays over. */
struct list *verdict_list_intern(struct verdicts *v, struct list_entry *entries, size_t count, struct list **nexts,
	size_t next_count)
{
	struct digest digest;
	uint64_t number = identify(v, entries, count, &digest);
	struct list *list;

	HASH_FIND(hh, v->lists, &number, sizeof(number), list);
	if (list) {
		if (memcmp(&list->digest, &digest, sizeof(digest)) != 0)
			verdict_collision(v, "list", number);
		free(entries);
	} else {
		list = verdict_need(calloc(1, sizeof(*list)));
		list->number = number;
		list->digest = digest;
		list->entries = entries;
		list->entry_count = count;
		HASH_ADD(hh, v->lists, number, sizeof(list->number), list);
	}
	if (list->refs++) {
		put_nexts(v, nexts, next_count);
		return list;
	}
	list->nexts = nexts;
	list->next_count = next_count;
	v->living_ports += list->entry_count;
	list_changed(v, list);
	return list;
}

void verdict_list_free(struct verdicts *v, struct list *list)
{
	HASH_DEL(v->lists, list);
	free(list->entries);
	free(list->nexts);
	free(list);
}

/* -- pairs -- */

static void pair_changed(struct verdicts *v, struct pair *pair)
{
	if (pair->listed)
		return;
	pair->listed = true;
	VERDICT_PUSH(v->listed_pairs, v->listed_pair_count, v->listed_pair_room, pair);
}

struct pair *verdict_pair_find(const struct verdicts *v, uint64_t table, uint64_t class)
{
	struct pair *pair, key = {.key = {table, class}};

	HASH_FIND(hh, v->pairs, &key.key, sizeof(key.key), pair);
	return pair;
}

static void make_pair(struct verdicts *v, const struct table *table, const struct class *class)
{
	uint64_t class_number = class ? class->number : 0;
	struct pair *pair = verdict_pair_find(v, table->number, class_number);

	if (pair && pair->list)
		return;
	if (!pair) {
		pair = verdict_need(calloc(1, sizeof(*pair)));
		pair->key.table = table->number;
		pair->key.class = class_number;
		HASH_ADD(hh, v->pairs, key, sizeof(pair->key), pair);
	}
	pair->list = verdict_flatten(v, table, class);
	pair->list_number = pair->list->number;
	v->living_pairs++;
	pair_changed(v, pair);
}

static void kill_pair(struct verdicts *v, uint64_t table, uint64_t class)
{
	struct pair *pair = verdict_pair_find(v, table, class);

	if (!pair || !pair->list)
		return;
	verdict_list_put(v, pair->list);
	pair->list = NULL;
	v->living_pairs--;
	pair_changed(v, pair);
}

void verdict_kill_table_pairs(struct verdicts *v, const struct table *table)
{
	kill_pair(v, table->number, 0);
	for (size_t i = 0; i < table->peer_count; i++)
		for (size_t j = 0; j < table->peers[i]->class_count; j++)
			kill_pair(v, table->number, table->peers[i]->classes[j]->number);
}

/* -- what is new -- */

static void kill_class_pairs(struct verdicts *v, const struct class *class)
{
	for (size_t i = 0; i < class->item_count; i++) {
		const struct peer *peer = class->items[i].peer;

		for (size_t j = 0; j < peer->table_count && (!i || peer != class->items[i - 1].peer); j++)
			kill_pair(v, peer->tables[j]->number, class->number);
	}
}

static void bury_classes(struct verdicts *v)
{
	size_t kept = 0;

	for (size_t i = 0; i < v->fresh_class_count; i++)
		if (v->fresh_classes[i]->refs)
			v->fresh_classes[kept++] = v->fresh_classes[i];
	v->fresh_class_count = kept;
	for (size_t i = 0; i < v->dead_class_count; i++) {
		struct class *class = v->dead_classes[i];

		class->dead_listed = false;
		if (class->refs)
			continue;
		kill_class_pairs(v, class);
		verdict_class_free(v, class);
	}
	v->dead_class_count = 0;
}

static void pair_class(struct verdicts *v, struct class *class)
{
	for (size_t i = 0; i < class->item_count; i++) {
		const struct peer *peer = class->items[i].peer;

		for (size_t j = 0; j < peer->table_count && (!i || peer != class->items[i - 1].peer); j++)
			make_pair(v, peer->tables[j], class);
	}
}

static void pair_table(struct verdicts *v, struct table *table)
{
	make_pair(v, table, NULL);
	for (size_t i = 0; i < table->peer_count; i++)
		for (size_t j = 0; j < table->peers[i]->class_count; j++)
			make_pair(v, table, table->peers[i]->classes[j]);
	table->fresh = false;
}

void verdict_make_pairs(struct verdicts *v)
{
	bury_classes(v);
	for (size_t i = 0; i < v->fresh_class_count; i++)
		pair_class(v, v->fresh_classes[i]);
	v->fresh_class_count = 0;
	for (struct table *table = v->tables; table; table = table->hh.next)
		if (table->fresh)
			pair_table(v, table);
}
