/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/entry.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct plane_link *devices_find(struct devices *devices, const char *name)
{
	if (devices->last < devices->count && strcmp(devices->links[devices->last].name, name) == 0)
		return &devices->links[devices->last];
	for (size_t i = 0; i < devices->count; i++) {
		if (strcmp(devices->links[i].name, name) == 0) {
			devices->last = i;
			return &devices->links[i];
		}
	}
	return NULL;
}

struct plane_link *devices_find_index(const struct devices *devices, uint32_t index)
{
	for (size_t i = 0; i < devices->count; i++)
		if (devices->links[i].index == index)
			return &devices->links[i];
	return NULL;
}

bool devices_is_own(const struct devices *devices, uint32_t index)
{
	for (size_t i = 0; i < devices->own_count; i++)
		if (devices->own[i] == index)
			return true;
	return false;
}

int entry_list_add(struct entry_list *list, const struct entry *entry)
{
	if (list->count == list->room) {
		size_t room = list->room ? list->room * 2 : 32;
		struct entry *bigger = reallocarray(list->entries, room, sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		list->entries = bigger;
		list->room = room;
	}
	list->entries[list->count++] = *entry;
	return 0;
}

static void entry_list_free(struct entry_list *list)
{
	free(list->entries);
	*list = (struct entry_list){0};
}

/* Mostly sorted already: what comes from the plan is, but for the devices' names. */
static void entry_list_sort(struct entry_list *list, const struct table_kind *kind)
{
	for (size_t i = 1; i < list->count; i++) {
		if (kind->compare(&list->entries[i - 1], &list->entries[i]) > 0) {
			qsort(list->entries, list->count, sizeof(*list->entries), kind->compare);
			return;
		}
	}
}

void table_init(struct table *table, const struct table_kind *kind)
{
	*table = (struct table){.kind = kind, .dirty = true};
}

void table_free(struct table *table)
{
	entry_list_free(&table->known);
	entry_list_free(&table->next);
}

/* First entry whose key is not below that of entry. */
static size_t lower_bound(const struct table *table, const struct entry *entry)
{
	size_t low = 0, high = table->known.count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (table->kind->compare(&table->known.entries[middle], entry) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool same_key(const struct table *table, size_t i, const struct entry *entry)
{
	return i < table->known.count && table->kind->compare(&table->known.entries[i], entry) == 0;
}

/* What was known and is not in the scan was removed by somebody. */
static int keep_lost(struct table *table, struct entry_list *scanned)
{
	size_t found = scanned->count;
	size_t j = 0;

	for (size_t i = 0; i < table->known.count; i++) {
		struct entry entry = table->known.entries[i];

		while (j < found && table->kind->compare(&scanned->entries[j], &entry) < 0)
			j++;
		if (j < found && table->kind->compare(&scanned->entries[j], &entry) == 0)
			continue;
		entry.state = ENTRY_LOST;
		if (entry_list_add(scanned, &entry) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int table_scan(struct table *table, struct nl *nl, const struct devices *devices, struct err *err)
{
	_cleanup_(entry_list_free) struct entry_list scanned = {0};
	int r = table->kind->scan(nl, devices, &scanned, err);

	if (r < 0)
		return r;
	entry_list_sort(&scanned, table->kind);
	if (keep_lost(table, &scanned) < 0)
		return err_set(err, -ENOMEM, "%s table: out of memory", table->kind->name);
	entry_list_sort(&scanned, table->kind);
	entry_list_free(&table->known);
	table->known = scanned;
	scanned = (struct entry_list){0};
	table->dirty = false;
	return 0;
}

static int resolve(struct table *table, const struct wanted *wanted, struct devices *devices, struct entry_list *ret)
{
	size_t count = table->kind->wanted_count(wanted);

	table->waiting = 0;
	for (size_t i = 0; i < count; i++) {
		struct entry entry = {.state = ENTRY_PUT};

		if (!table->kind->wanted(wanted, i, devices, &entry))
			table->waiting++;
		else if (entry_list_add(ret, &entry) < 0)
			return -ENOMEM;
	}
	entry_list_sort(ret, table->kind);
	return 0;
}

static void push(struct table *table, const struct entry *entry, enum entry_state state)
{
	struct entry *place = &table->next.entries[table->next.count++];

	*place = *entry;
	place->state = (uint8_t)state;
}

/* An entry that is known and not wanted. */
static void push_stale(struct table *table, const struct entry *entry, bool sweep)
{
	if (entry->state != ENTRY_LOST)
		push(table, entry, sweep ? ENTRY_DELETE : ENTRY_PRESENT);
}

/* One wanted entry against the known ones of its key, from i on; returns the first one behind them. */
static size_t push_wanted(struct table *table, size_t i, const struct entry *wanted)
{
	const struct table_kind *kind = table->kind;
	bool found = false, lost = false;

	for (; same_key(table, i, wanted); i++) {
		const struct entry *entry = &table->known.entries[i];

		if (entry->state == ENTRY_LOST) {
			lost = true;
		} else if (!found && kind->equal(entry, wanted)) {
			found = true;
			push(table, entry, ENTRY_PRESENT);
		} else if (kind->survives(entry, wanted)) {
			push(table, entry, ENTRY_DELETE);
		}
	}
	if (!found)
		push(table, wanted, lost ? ENTRY_REPAIR : ENTRY_PUT);
	return i;
}

static int walk(struct table *table, const struct entry_list *wanted, bool sweep)
{
	size_t room = table->known.count + wanted->count;
	size_t i = 0;

	entry_list_free(&table->next);
	table->next.entries = room ? malloc(room * sizeof(struct entry)) : NULL;
	if (room && !table->next.entries)
		return -ENOMEM;
	table->next.room = room;
	for (size_t w = 0; w < wanted->count; w++) {
		for (; i < table->known.count &&
			table->kind->compare(&table->known.entries[i], &wanted->entries[w]) < 0; i++)
			push_stale(table, &table->known.entries[i], sweep);
		i = push_wanted(table, i, &wanted->entries[w]);
	}
	for (; i < table->known.count; i++)
		push_stale(table, &table->known.entries[i], sweep);
	return 0;
}

static int additions(struct table *table, struct nl *nl)
{
	for (size_t i = 0; i < table->next.count; i++) {
		struct entry *entry = &table->next.entries[i];

		if (entry->state != ENTRY_PUT && entry->state != ENTRY_REPAIR)
			continue;
		if (nl_batch_add(nl, table->kind->put(nl, entry), entry) < 0) {
			entry->state = ENTRY_FAILED;
			table->dirty = true;
			return -ENOMEM;
		}
	}
	return 0;
}

int table_diff(struct table *table, struct nl *nl, const struct wanted *wanted, struct devices *devices,
	struct err *err)
{
	_cleanup_(entry_list_free) struct entry_list resolved = {0};
	int r = table->dirty ? table_scan(table, nl, devices, err) : 0;

	if (r < 0)
		return r;
	r = resolve(table, wanted, devices, &resolved);
	if (r == 0)
		r = walk(table, &resolved, wanted->sweep);
	if (r == 0)
		r = additions(table, nl);
	return r < 0 ? err_set(err, r, "%s table: out of memory", table->kind->name) : 0;
}

static int second_try(struct table *table, struct nl *nl, struct entry *entry)
{
	entry->state = ENTRY_SECOND;
	if (nl_batch_add(nl, table->kind->stepping_stone(nl, entry), NULL) < 0)
		return -ENOMEM;
	return nl_batch_add(nl, table->kind->put(nl, entry), entry);
}

int table_deletions(struct table *table, struct nl *nl, struct err *err)
{
	struct entry_list *next = &table->next;
	int r = 0;

	for (size_t i = 0; r == 0 && i < next->count; i++)
		if (next->entries[i].state == ENTRY_DELETE)
			r = nl_batch_add(nl, table->kind->del(nl, &next->entries[i]), &next->entries[i]);
	for (size_t i = 0; r == 0 && i < next->count; i++)
		if (next->entries[i].state == ENTRY_RETRY)
			r = second_try(table, nl, &next->entries[i]);
	if (r == 0)
		return 0;
	table->dirty = true;
	return err_set(err, r, "%s table: out of memory", table->kind->name);
}

bool entry_done(struct table *table, struct entry *entry, int error)
{
	bool gone = error == -ESRCH || error == -ENOENT || error == -ENODEV;

	if (entry->state == ENTRY_DELETE) {
		entry->state = error == 0 || gone ? ENTRY_FAILED : ENTRY_PRESENT;
		return error == 0 || gone;
	}
	if (error && entry->state != ENTRY_SECOND && table->kind->hard && table->kind->hard(entry, error)) {
		entry->state = ENTRY_RETRY;
		return true;
	}
	entry->state = error ? ENTRY_FAILED : ENTRY_PRESENT;
	/* what stood in its place may still be there */
	table->dirty |= error != 0;
	return error == 0;
}

void table_settle(struct table *table)
{
	struct entry_list *next = &table->next;
	size_t count = 0;

	if (!next->entries && table->known.count)
		return; /* there was no diff, or nothing is left of it */
	for (size_t i = 0; i < next->count; i++)
		if (next->entries[i].state != ENTRY_FAILED)
			next->entries[count++] = next->entries[i];
	next->count = count;
	if (count < next->room) {
		struct entry *smaller = realloc(next->entries, (count ? count : 1) * sizeof(*smaller));

		if (smaller)
			*next = (struct entry_list){.entries = smaller, .count = count, .room = count ? count : 1};
	}
	entry_list_free(&table->known);
	table->known = *next;
	*next = (struct entry_list){0};
}

bool table_has_key(const struct table *table, const struct entry *entry)
{
	return same_key(table, lower_bound(table, entry), entry);
}

bool table_removed(struct table *table, const struct entry *entry)
{
	for (size_t i = lower_bound(table, entry); same_key(table, i, entry); i++) {
		struct entry *known = &table->known.entries[i];

		if (known->state == ENTRY_LOST)
			continue;
		if (!entry->type || table->kind->equal(known, entry)) {
			known->state = ENTRY_LOST;
			return true;
		}
	}
	return false;
}

static bool table_insert(struct table *table, size_t i, const struct entry *entry)
{
	struct entry_list *known = &table->known;

	if (entry_list_add(known, entry) < 0) {
		table->dirty = true;
		return true;
	}
	memmove(known->entries + i + 1, known->entries + i, (known->count - 1 - i) * sizeof(*entry));
	known->entries[i] = *entry;
	known->entries[i].state = ENTRY_PRESENT;
	return true;
}

bool table_appeared(struct table *table, const struct entry *entry)
{
	size_t i = lower_bound(table, entry);

	if (!entry->type)
		return table_removed(table, entry);
	if (!same_key(table, i, entry))
		return table_insert(table, i, entry);
	for (size_t j = i; same_key(table, j, entry); j++) {
		struct entry *known = &table->known.entries[j];

		if (!table->kind->equal(known, entry))
			continue;
		known->state = ENTRY_PRESENT;
		return false;
	}
	if (table->kind->one_per_key) {
		table->known.entries[i] = *entry;
		table->known.entries[i].state = ENTRY_PRESENT;
	} else {
		table->dirty = true;
	}
	return true;
}

void table_forget_device(struct table *table, uint32_t index)
{
	for (size_t i = 0; i < table->known.count; i++)
		if (table->known.entries[i].index == index)
			table->known.entries[i].state = ENTRY_LOST;
}

bool table_uses_device(const struct table *table, uint32_t index)
{
	for (size_t i = 0; i < table->known.count; i++)
		if (table->known.entries[i].index == index)
			return true;
	return false;
}

size_t table_present(const struct table *table)
{
	size_t count = 0;

	for (size_t i = 0; i < table->known.count; i++)
		count += table->known.entries[i].state == ENTRY_PRESENT;
	return count;
}
