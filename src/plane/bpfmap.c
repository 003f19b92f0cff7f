/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/bpfmap.h"

#include "base/cleanup.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

static size_t item_size(const struct image *image)
{
	return image->key_size + image->value_size;
}

static uint8_t *item_at(const struct image *image, size_t i)
{
	return image->items + i * item_size(image);
}

void *image_value(const struct image *image, size_t i)
{
	return item_at(image, i) + image->key_size;
}

int image_add(struct image *image, const void *key, const void *value)
{
	uint8_t *item;

	if (image->count == image->room) {
		size_t room = image->room ? image->room * 2 : 64;
		uint8_t *items = reallocarray(image->items, room, item_size(image));

		if (!items)
			return -ENOMEM;
		image->items = items;
		image->room = room;
	}
	item = item_at(image, image->count++);
	memcpy(item, key, image->key_size);
	memcpy(item + image->key_size, value, image->value_size);
	return 0;
}

static int compare_keys(const void *a, const void *b, void *key_size)
{
	return memcmp(a, b, *(const size_t *)key_size);
}

void image_finish(struct image *image)
{
	size_t kept = 0;

	if (!image->count)
		return;
	qsort_r(image->items, image->count, item_size(image), compare_keys, &image->key_size);
	for (size_t i = 1; i < image->count; i++) {
		if (!memcmp(item_at(image, i), item_at(image, kept), image->key_size))
			continue;
		if (++kept != i)
			memcpy(item_at(image, kept), item_at(image, i), item_size(image));
	}
	image->count = kept + 1;
}

const void *image_find(const struct image *image, const void *key)
{
	size_t low = 0, high = image->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = memcmp(key, item_at(image, middle), image->key_size);

		if (!order)
			return item_at(image, middle);
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

bool image_equal(const struct image *a, const struct image *b)
{
	return a->count == b->count && (!a->count || !memcmp(a->items, b->items, a->count * item_size(a)));
}

void image_free(struct image *image)
{
	free(image->items);
	image->items = NULL;
	image->count = image->room = 0;
}

int image_read(int map_fd, struct image *image, struct err *err)
{
	_cleanup_free_ uint8_t *key = malloc(image->key_size), *value = malloc(image->value_size);
	int r;

	if (!key || !value)
		return err_set(err, -ENOMEM, "no memory to read a BPF map");
	for (r = bpf_map_get_next_key(map_fd, NULL, key); !r; r = bpf_map_get_next_key(map_fd, key, key)) {
		r = bpf_map_lookup_elem(map_fd, key, value);
		if (!r)
			r = image_add(image, key, value);
		if (r)
			return err_set(err, r, "reading a BPF map: %s", strerror(-r));
	}
	if (r != -ENOENT)
		return err_set(err, r, "walking a BPF map: %s", strerror(-r));
	image_finish(image);
	return 0;
}

/* Calls each item of a: with the item of the same key in b, or null. Both are sorted. */
static int walk(const struct image *a, const struct image *b,
	int (*each)(int map_fd, const struct image *image, const uint8_t *item, const uint8_t *other), int map_fd)
{
	int first = 0;
	size_t j = 0;

	for (size_t i = 0; i < a->count; i++) {
		const uint8_t *item = item_at(a, i), *other = NULL;
		int order = 1, r;

		while (j < b->count && (order = memcmp(item_at(b, j), item, a->key_size)) < 0)
			j++;
		if (j < b->count && order == 0)
			other = item_at(b, j);
		r = each(map_fd, a, item, other);
		if (r && !first)
			first = r;
	}
	return first;
}

static int put_new(int map_fd, const struct image *image, const uint8_t *item, const uint8_t *other)
{
	if (other && !memcmp(item, other, item_size(image)))
		return 0;
	return bpf_map_update_elem(map_fd, item, item + image->key_size, BPF_ANY);
}

static int del_stale(int map_fd, const struct image *image, const uint8_t *item, const uint8_t *other)
{
	int r = other ? 0 : bpf_map_delete_elem(map_fd, item);

	return r == -ENOENT ? 0 : r;
}

int image_put_new(int map_fd, const struct image *actual, const struct image *wanted, struct err *err)
{
	int r = walk(wanted, actual, put_new, map_fd);

	return r ? err_set(err, r, "writing a BPF map of %zu entries: %s", wanted->count, strerror(-r)) : 0;
}

int image_del_stale(int map_fd, const struct image *actual, const struct image *wanted, struct err *err)
{
	int r = walk(actual, wanted, del_stale, map_fd);

	return r ? err_set(err, r, "deleting from a BPF map: %s", strerror(-r)) : 0;
}
