/* SPDX-License-Identifier: Apache-2.0 */
#include "model/collection.h"

#include "base/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct entry {
	struct collection_item item; /* first: what callers hold */
	void *object;
	unsigned generation;
	UT_hash_handle hh;
};

struct collection {
	const struct collection_kind *kind;
	struct entry *entries;
	unsigned generation;
	uint64_t order; /* 0: the first list is still coming in */
};

struct collection *collection_new(const struct collection_kind *kind)
{
	struct collection *collection = calloc(1, sizeof(*collection));

	if (collection)
		collection->kind = kind;
	return collection;
}

static void entry_remove(struct collection *collection, struct entry *entry)
{
	HASH_DEL(collection->entries, entry);
	collection->kind->free(entry->object);
	free((char *)entry->item.key);
	free(entry);
}

void collection_free(struct collection *collection)
{
	struct entry *entry, *next;

	if (!collection)
		return;
	HASH_ITER (hh, collection->entries, entry, next)
		entry_remove(collection, entry);
	free(collection);
}

static struct entry *entry_find(const struct collection *collection, const char *key)
{
	struct entry *entry;

	HASH_FIND_STR(collection->entries, key, entry);
	return entry;
}

static struct entry *entry_new(struct collection *collection, const char *key)
{
	struct entry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return NULL;
	entry->item.key = strdup(key);
	if (!entry->item.key) {
		free(entry);
		return NULL;
	}
	HASH_ADD_KEYPTR(hh, collection->entries, entry->item.key, strlen(key), entry);
	return entry;
}

void collection_begin(struct collection *collection)
{
	collection->generation++;
}

int collection_put(struct collection *collection, const char *key, void *object)
{
	struct entry *entry = entry_find(collection, key);

	if (entry && collection->kind->equal(entry->object, object)) {
		collection->kind->free(object);
		entry->generation = collection->generation;
		return 0;
	}
	if (!entry)
		entry = entry_new(collection, key);
	if (!entry) {
		collection->kind->free(object);
		return -ENOMEM;
	}
	if (entry->object)
		collection->kind->free(entry->object);
	entry->item.object = entry->object = object;
	entry->item.order = collection->order;
	entry->generation = collection->generation;
	if (collection->order)
		collection->order++;
	return 1;
}

void collection_keep(struct collection *collection, const char *key)
{
	struct entry *entry = entry_find(collection, key);

	if (entry)
		entry->generation = collection->generation;
}

bool collection_del(struct collection *collection, const char *key)
{
	struct entry *entry = entry_find(collection, key);

	if (entry)
		entry_remove(collection, entry);
	return entry != NULL;
}

bool collection_end(struct collection *collection)
{
	bool swept = !collection->order;
	struct entry *entry, *next;

	HASH_ITER (hh, collection->entries, entry, next) {
		if (entry->generation == collection->generation)
			continue;
		entry_remove(collection, entry);
		swept = true;
	}
	if (!collection->order)
		collection->order = 1;
	return swept;
}

bool collection_is_complete(const struct collection *collection)
{
	return collection->order != 0;
}

size_t collection_count(const struct collection *collection)
{
	return HASH_COUNT(collection->entries);
}

const void *collection_find(const struct collection *collection, const char *key)
{
	const struct entry *entry = entry_find(collection, key);

	return entry ? entry->object : NULL;
}

const struct collection_item *collection_next(const struct collection *collection, const struct collection_item *item)
{
	const struct entry *entry = (const struct entry *)item;

	entry = entry ? entry->hh.next : collection->entries;
	return entry ? &entry->item : NULL;
}

const void **collection_list(const struct collection *collection, size_t *ret_count)
{
	const void **objects = calloc(collection_count(collection) + 1, sizeof(*objects));

	*ret_count = 0;
	for (const struct entry *entry = collection->entries; objects && entry; entry = entry->hh.next)
		objects[(*ret_count)++] = entry->object;
	return objects;
}
