/* SPDX-License-Identifier: Apache-2.0
 *
 * A set of things that know their own names, of which there may be a hundred thousand: a row of pointers and a table into
 * it, 20 bytes for each where a node of uthash takes 56 and its own copy of the name. For what the agent keeps of the
 * store's objects. Without memory there is no way on, as in base/hash.h.
 *
 * Life cycle: a zeroed struct; things are added and removed as they come and go, and belong to the caller all the time;
 * roster_free. Who removes while walking walks from the end: the last thing takes the place of the one that goes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct roster_entry {
	void *thing;
	uint32_t hash : 31;
	uint32_t marked : 1; /* the caller's */
	uint32_t next;       /* of the same bucket, counted from 1; 0: none */
};
struct roster {
	struct roster_entry *entries;
	size_t count, room;
	uint32_t *buckets; /* first ones, counted from 1 */
	size_t bucket_count; /* a power of 2 */
};

#define ROSTER_NONE SIZE_MAX

/* Of a name in parts: start with 0, or with what the part before gave. */
uint32_t roster_hash(uint32_t hash, const char *text, size_t len);

/* Where it is in entries, until the next change; ROSTER_NONE. is: does the thing have the name that key stands for? */
size_t roster_find(const struct roster *roster, uint32_t hash, bool (*is)(const void *thing, const void *key), const void *key);
/* There must be none of its name. Returns its entry, until the next change. */
struct roster_entry *roster_add(struct roster *roster, void *thing, uint32_t hash);
void roster_remove(struct roster *roster, size_t index);
void roster_free(struct roster *roster); /* is empty then */
