/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/mapbatch.h"

#include "base/cleanup.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define KERNEL_ENOTSUPP 524 /* not of user space's errno.h */
#define READ_ENTRIES 4096   /* more than a hash's bucket can hold: then the kernel would ask for more room */

static bool has_no_batches(int r)
{
	return r == -EINVAL || r == -KERNEL_ENOTSUPP || r == -EOPNOTSUPP;
}

static const void *at(const void *array, size_t size, size_t i)
{
	return (const char *)array + size * i;
}

int map_put_many(int map_fd, size_t key_size, const void *keys, size_t value_size, const void *values, size_t count)
{
	DECLARE_LIBBPF_OPTS(bpf_map_batch_opts, opts, .elem_flags = BPF_ANY);
	uint32_t done = (uint32_t)count;
	int r;

	if (!count)
		return 0;
	r = bpf_map_update_batch(map_fd, keys, values, &done, &opts);
	if (!has_no_batches(r))
		return r;
	r = 0;
	for (size_t i = 0; i < count && !r; i++)
		r = bpf_map_update_elem(map_fd, at(keys, key_size, i), at(values, value_size, i), BPF_ANY);
	return r;
}

static int del_each(int map_fd, size_t key_size, const void *keys, size_t count, size_t *gone)
{
	int r = 0;

	for (size_t i = 0; i < count && (!r || r == -ENOENT); i++) {
		r = bpf_map_delete_elem(map_fd, at(keys, key_size, i));
		*gone += !r;
	}
	return r == -ENOENT ? 0 : r;
}

int map_del_many(int map_fd, size_t key_size, const void *keys, size_t count, size_t *ret_gone)
{
	size_t gone = 0;
	int r = 0;

	for (size_t i = 0; i < count && !r;) {
		uint32_t done = (uint32_t)(count - i);

		r = bpf_map_delete_batch(map_fd, at(keys, key_size, i), &done, NULL);
		if (has_no_batches(r)) {
			r = del_each(map_fd, key_size, at(keys, key_size, i), count - i, &gone);
			break;
		}
		gone += done;
		i += done;
		/* It stops at one that is not there. */
		if (r == -ENOENT) {
			i++;
			r = 0;
		}
	}
	if (ret_gone)
		*ret_gone = gone;
	return r;
}

struct reader {
	uint8_t *keys, *values, *position; /* one allocation */
};

static int tell_all(const struct reader *reader, const struct map_walk *walk, uint32_t count)
{
	int r = 0;

	for (uint32_t i = 0; i < count && !r; i++)
		r = walk->each(walk->ctx, at(reader->keys, walk->key_size, i), at(reader->values, walk->value_size, i));
	return r;
}

static int walk_batches(int map_fd, const struct reader *reader, const struct map_walk *walk)
{
	void *from = NULL;

	for (;;) {
		uint32_t count = READ_ENTRIES;
		int r = bpf_map_lookup_batch(map_fd, from, reader->position, reader->keys, reader->values, &count, NULL), s;

		if (r && r != -ENOENT)
			return r;
		s = tell_all(reader, walk, count);
		if (s || r == -ENOENT)
			return s;
		from = reader->position;
	}
}

int map_walk(int map_fd, const struct map_walk *walk)
{
	size_t position = walk->key_size < sizeof(uint32_t) ? sizeof(uint32_t) : walk->key_size;
	_cleanup_free_ uint8_t *room = malloc((walk->key_size + walk->value_size) * READ_ENTRIES + position);
	struct reader reader = {.keys = room};

	if (!room)
		return -ENOMEM;
	reader.values = reader.keys + walk->key_size * READ_ENTRIES;
	reader.position = reader.values + walk->value_size * READ_ENTRIES;
	return walk_batches(map_fd, &reader, walk);
}

static int add_one(void *ctx, const void *key, const void *value)
{
	return image_add(ctx, key, value);
}

int map_read_all(int map_fd, struct image *image, struct err *err)
{
	const struct map_walk walk = {image->key_size, image->value_size, add_one, image};
	int r = map_walk(map_fd, &walk);

	if (has_no_batches(r)) {
		image->count = 0;
		return image_read(map_fd, image, err);
	}
	if (r)
		return err_set(err, r, "reading a BPF map: %s", strerror(-r));
	image_finish(image);
	return 0;
}
