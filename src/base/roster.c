/* SPDX-License-Identifier: Apache-2.0 */
#include "base/roster.h"

#include <stdlib.h>

#define ROOM_MIN 16

uint32_t roster_hash(uint32_t hash, const char *text, size_t len)
{
	uint64_t wide = hash ^ 14695981039346656037u; /* FNV-1a */

	for (size_t i = 0; i < len; i++)
		wide = (wide ^ (uint8_t)text[i]) * 1099511628211u;
	return (uint32_t)(wide ^ wide >> 32);
}

static uint32_t kept(uint32_t hash)
{
	return hash & 0x7fffffffu;
}

/* Where the number of the bucket's first one is. */
static uint32_t *bucket_of(const struct roster *roster, uint32_t hash)
{
	return &roster->buckets[kept(hash) & (roster->bucket_count - 1)];
}

/* One bucket for each entry that there is room for. */
static void resize(struct roster *roster, size_t room)
{
	struct roster_entry *entries = reallocarray(roster->entries, room, sizeof(*entries));

	free(roster->buckets);
	roster->buckets = calloc(room, sizeof(*roster->buckets));
	if (!entries || !roster->buckets)
		abort();
	roster->entries = entries;
	roster->room = roster->bucket_count = room;
	for (size_t i = 0; i < roster->count; i++) {
		uint32_t *first = bucket_of(roster, entries[i].hash);

		entries[i].next = *first;
		*first = (uint32_t)i + 1;
	}
}

size_t roster_find(const struct roster *roster, uint32_t hash, bool (*is)(const void *thing, const void *key), const void *key)
{
	if (!roster->count)
		return ROSTER_NONE;
	for (uint32_t n = *bucket_of(roster, hash); n; n = roster->entries[n - 1].next) {
		const struct roster_entry *entry = &roster->entries[n - 1];

		if (entry->hash == kept(hash) && is(entry->thing, key))
			return n - 1;
	}
	return ROSTER_NONE;
}

struct roster_entry *roster_add(struct roster *roster, void *thing, uint32_t hash)
{
	size_t index = roster->count;
	uint32_t *first;

	if (index >= UINT32_MAX / 2)
		abort();
	if (index == roster->room)
		resize(roster, index ? index * 2 : ROOM_MIN);
	first = bucket_of(roster, hash);
	roster->entries[index] = (struct roster_entry){.thing = thing, .hash = kept(hash), .next = *first};
	*first = (uint32_t)index + 1;
	roster->count++;
	return &roster->entries[index];
}

/* What leads to an entry. */
static uint32_t *place_of(const struct roster *roster, size_t index)
{
	uint32_t *place = bucket_of(roster, roster->entries[index].hash);

	while (*place != index + 1)
		place = &roster->entries[*place - 1].next;
	return place;
}

void roster_remove(struct roster *roster, size_t index)
{
	size_t last = roster->count - 1;

	*place_of(roster, index) = roster->entries[index].next;
	if (index != last) {
		*place_of(roster, last) = (uint32_t)index + 1;
		roster->entries[index] = roster->entries[last];
	}
	roster->count--;
	if (roster->room > ROOM_MIN && roster->count < roster->room / 4)
		resize(roster, roster->room / 2);
}

void roster_free(struct roster *roster)
{
	free(roster->entries);
	free(roster->buckets);
	*roster = (struct roster){0};
}
