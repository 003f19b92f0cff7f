/* SPDX-License-Identifier: Apache-2.0 */
#include "model/selector.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct labels *labels_new(void)
{
	return calloc(1, sizeof(struct labels));
}

/* Index of the first label whose key is not less than key. */
static size_t place_of(const struct labels *labels, const char *key)
{
	size_t low = 0, high = labels->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(labels->items[middle].key, key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_at(const struct labels *labels, size_t i, const char *key)
{
	return i < labels->count && strcmp(labels->items[i].key, key) == 0;
}

static int insert(struct labels *labels, size_t i, char *key, char *value)
{
	struct label *items = realloc(labels->items, (labels->count + 1) * sizeof(*items));

	if (!items)
		return -ENOMEM;
	memmove(&items[i + 1], &items[i], (labels->count - i) * sizeof(*items));
	items[i] = (struct label){key, value};
	labels->items = items;
	labels->count++;
	return 0;
}

int labels_set(struct labels *labels, const char *key, const char *value)
{
	size_t i = place_of(labels, key);
	char *copy = strdup(value), *name;

	if (!copy)
		return -ENOMEM;
	if (is_at(labels, i, key)) {
		free(labels->items[i].value);
		labels->items[i].value = copy;
		return 0;
	}
	name = strdup(key);
	if (!name || insert(labels, i, name, copy) < 0) {
		free(name);
		free(copy);
		return -ENOMEM;
	}
	return 0;
}

const char *labels_get(const struct labels *labels, const char *key)
{
	size_t i = labels ? place_of(labels, key) : 0;

	return labels && is_at(labels, i, key) ? labels->items[i].value : NULL;
}

bool labels_equal(const struct labels *a, const struct labels *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (strcmp(a->items[i].key, b->items[i].key) != 0 || strcmp(a->items[i].value, b->items[i].value) != 0)
			return false;
	return true;
}

void labels_free(struct labels **labels)
{
	if (!*labels)
		return;
	for (size_t i = 0; i < (*labels)->count; i++) {
		free((*labels)->items[i].key);
		free((*labels)->items[i].value);
	}
	free((*labels)->items);
	free(*labels);
	*labels = NULL;
}
