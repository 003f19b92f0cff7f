/* SPDX-License-Identifier: Apache-2.0
 *
 * All objects of one kind that a store shows, by key: what a watch keeps up to date and a plan reads. A list that ends
 * sweeps what it has not shown. Objects are immutable and replaced whole.
 *
 * order says for how long an object has been known as it is: 0 since the first full list, more the later it came or
 * changed. Of two that contradict each other the older one is believed.
 *
 * Life cycle: collection_new, begin/put/del/end as the watch says, collection_free.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct collection;

struct collection_kind {
	void (*free)(void *object);
	bool (*equal)(const void *a, const void *b);
};

struct collection *collection_new(const struct collection_kind *kind); /* kind outlives it; null without memory */
void collection_free(struct collection *collection);                   /* null is fine */

/* A full list begins. */
void collection_begin(struct collection *collection);
/* Takes the object over, also on failure. 1: new or changed, 0: as it was, -ENOMEM. */
int collection_put(struct collection *collection, const char *key, void *object);
/* The list shows an object that cannot be used: what was known under its key stays. */
void collection_keep(struct collection *collection, const char *key);
/* True if it was there. */
bool collection_del(struct collection *collection, const char *key);
/* The list is complete. True if something was swept, or this was the first one. */
bool collection_end(struct collection *collection);
/* A first list has ended. */
bool collection_is_complete(const struct collection *collection);

struct collection_item {
	const char *key;
	const void *object;
	uint64_t order;
};

size_t collection_count(const struct collection *collection);
const void *collection_find(const struct collection *collection, const char *key);
/* All of them in no particular order, malloc'ed; borrowed until the collection changes. Null without memory. */
const void **collection_list(const struct collection *collection, size_t *ret_count);
/* One after the other in no particular order: begin with null; null at the end. The collection must not change meanwhile. */
const struct collection_item *collection_next(const struct collection *collection, const struct collection_item *item);
