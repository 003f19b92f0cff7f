/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/policy_internal.h"

#include "base/cleanup.h"
#include "base/file.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* max_entries of flows is chosen when the map is made. */
static const struct map_shape shapes[POLICY_MAP_COUNT] = {
	[POLICY_MAP_ADDRESSES] = {"addresses", BPF_MAP_TYPE_LPM_TRIE, sizeof(struct packet_prefix),
		sizeof(struct policy_address), POLICY_ADDRESSES_MAX, BPF_F_NO_PREALLOC},
	[POLICY_MAP_PAIRS] = {"pairs", BPF_MAP_TYPE_HASH, sizeof(struct policy_pair), sizeof(uint64_t), POLICY_PAIRS_MAX,
		BPF_F_NO_PREALLOC},
	[POLICY_MAP_PORTS] = {"ports", BPF_MAP_TYPE_LPM_TRIE, sizeof(struct policy_port), sizeof(struct policy_verdict),
		POLICY_PORTS_MAX, BPF_F_NO_PREALLOC},
	[POLICY_MAP_ENDPOINTS] = {"endpoints", BPF_MAP_TYPE_HASH, sizeof(uint32_t), sizeof(struct policy_endpoint),
		POLICY_ENDPOINTS_MAX, BPF_F_NO_PREALLOC},
	[POLICY_MAP_LOCALS] = {"locals", BPF_MAP_TYPE_HASH, sizeof(struct packet_addr), sizeof(uint32_t),
		POLICY_LOCALS_MAX, BPF_F_NO_PREALLOC},
	[POLICY_MAP_SOURCES] = {"sources", BPF_MAP_TYPE_LPM_TRIE, sizeof(struct policy_source), sizeof(uint32_t),
		POLICY_SOURCES_MAX, BPF_F_NO_PREALLOC},
	[POLICY_MAP_FLOWS] = {"flows", BPF_MAP_TYPE_LRU_HASH, sizeof(struct policy_flow_key), sizeof(struct policy_flow),
		0, 0},
	[POLICY_MAP_FRAGMENTS] = {"fragments", BPF_MAP_TYPE_LRU_HASH, sizeof(struct policy_fragment_key),
		sizeof(struct policy_fragment), POLICY_FRAGMENTS_MAX, 0},
	[POLICY_MAP_COUNTS] = {"counts", BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(uint32_t), sizeof(struct packet_count),
		POLICY_COUNT_MAX, 0},
	[POLICY_MAP_STATE] = {"state", BPF_MAP_TYPE_ARRAY, sizeof(uint32_t), sizeof(struct policy_state), 1, 0},
	[POLICY_MAP_HOSTS] = {"hosts", BPF_MAP_TYPE_HASH, sizeof(uint32_t), sizeof(struct policy_host), POLICY_HOSTS_MAX,
		BPF_F_NO_PREALLOC},
	[POLICY_MAP_SLOTS] = {"slots", BPF_MAP_TYPE_ARRAY, sizeof(uint32_t), sizeof(struct express_slot), EXPRESS_SLOTS_MAX, 0},
	[POLICY_MAP_REMOTES] = {"remotes", BPF_MAP_TYPE_LPM_TRIE, sizeof(struct packet_prefix), sizeof(uint32_t),
		EXPRESS_REMOTES_MAX, BPF_F_NO_PREALLOC},
	[POLICY_MAP_EXPRESS] = {"express", BPF_MAP_TYPE_ARRAY, sizeof(uint32_t), sizeof(struct express_config), 1, 0},
	[POLICY_MAP_EXPRESS_COUNTS] = {"express_counts", BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(uint32_t),
		sizeof(struct packet_count), EXPRESS_COUNT_MAX, 0},
	[POLICY_MAP_EVENTS] = {"events", BPF_MAP_TYPE_RINGBUF, 0, 0, POLICY_EVENTS_BYTES, 0},
};

const char *policy_map_name(enum policy_map map)
{
	return shapes[map].name;
}

struct image policy_maps_image(enum policy_map map)
{
	return IMAGE_INIT(shapes[map].key_size, shapes[map].value_size);
}

void policy_maps_init(struct policy_maps *maps)
{
	*maps = (struct policy_maps){0};
	for (size_t i = 0; i < POLICY_MAP_COUNT; i++)
		maps->fd[i] = -1;
}

void policy_maps_done(struct policy_maps *maps)
{
	for (size_t i = 0; i < POLICY_MAP_COUNT; i++)
		if (maps->fd[i] >= 0)
			close(maps->fd[i]);
	policy_maps_init(maps);
}

/* The number of entries of the map that is pinned there; 0: none is. */
static uint32_t pinned_entries(const char *dir, const char *name)
{
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return 0;
	fd = bpf_obj_get(path);
	return fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len) ? info.max_entries : 0;
}

static int open_map(struct policy_maps *maps, enum policy_map map, const char *dir, uint32_t flows_max, bool *adopted,
	struct err *err)
{
	struct map_shape shape = shapes[map];
	uint32_t entries = pinned_entries(dir, shape.name);
	int fd;

	if (map == POLICY_MAP_FLOWS)
		shape.max_entries = flows_max;
	if (entries && map != POLICY_MAP_COUNTS && map != POLICY_MAP_STATE && map < POLICY_MAP_SLOTS)
		shape.max_entries = entries;
	fd = pinned_open(dir, &shape, false, NULL);
	if (fd >= 0)
		*adopted = true;
	else
		fd = pinned_open(dir, &shape, true, err);
	if (fd < 0)
		return fd;
	maps->fd[map] = fd;
	maps->limit[map] = shape.max_entries;
	return 0;
}

int policy_maps_open(struct policy_maps *maps, const char *dir, uint32_t flows_max, bool *ret_fresh, struct err *err)
{
	bool fresh = false;
	int r = file_make_dirs(dir, 0700, err);

	for (int i = 0; i < POLICY_MAP_COUNT && !r; i++) {
		bool adopted = false;

		r = open_map(maps, i, dir, flows_max, &adopted, err);
		if (i <= POLICY_MAP_LOCALS || i == POLICY_MAP_STATE)
			fresh |= !adopted;
	}
	if (r)
		return r;
	*ret_fresh = fresh;
	return 0;
}

void policy_maps_unpin(const char *dir)
{
	pinned_remove(dir, shapes, POLICY_MAP_COUNT);
}

void policy_maps_unpin_others(const char *parent, const char *keep)
{
	pinned_remove_others(parent, keep, shapes, POLICY_MAP_COUNT);
}

int policy_maps_read(struct policy_maps *maps, enum policy_map map, struct image *ret, struct err *err)
{
	struct image image = policy_maps_image(map);
	int r = map_read_all(maps->fd[map], &image, err);

	if (r) {
		image_free(&image);
		return err_wrap(err, "policy map %s", shapes[map].name), r;
	}
	maps->count[map] = image.count;
	maps->counted[map] = true;
	*ret = image;
	return 0;
}

/* -- is there room? -- */

struct parts {
	uint8_t *keys, *values; /* one allocation */
};

/* The kernel wants them apart. */
static int take_apart(const struct image *image, struct parts *ret)
{
	struct parts parts = {.keys = malloc((image->key_size + image->value_size) * (image->count + 1))};

	if (!parts.keys)
		return -ENOMEM;
	parts.values = parts.keys + image->key_size * image->count;
	for (size_t i = 0; i < image->count; i++) {
		const uint8_t *item = image->items + i * (image->key_size + image->value_size);

		memcpy(parts.keys + i * image->key_size, item, image->key_size);
		memcpy(parts.values + i * image->value_size, item + image->key_size, image->value_size);
	}
	*ret = parts;
	return 0;
}

static size_t count_unknown(const struct image *entries, const struct image *known)
{
	size_t item = entries->key_size + entries->value_size, unknown = 0;

	for (size_t i = 0; i < entries->count; i++)
		unknown += !image_find(known, entries->items + i * item);
	return unknown;
}

int policy_maps_check_room(struct policy_maps *maps, enum policy_map map, const struct image *entries, struct err *err)
{
	size_t limit = maps->limit[map], unknown;
	struct image known;
	int r;

	if (!entries->count || (maps->counted[map] && maps->count[map] + entries->count <= limit))
		return 0;
	/* Some of them may be there already. */
	r = policy_maps_read(maps, map, &known, err);
	if (r)
		return r;
	unknown = count_unknown(entries, &known);
	image_free(&known);
	if (maps->count[map] + unknown <= limit)
		return 0;
	return err_set(err, -ENOSPC, "policy map %s is full: it has %zu entries and needs %zu more, expected at most %zu "
		"in all; what was in force stays", shapes[map].name, maps->count[map], unknown, limit);
}

/* -- writing -- */

int policy_maps_put(struct policy_maps *maps, enum policy_map map, const struct image *entries, struct err *err)
{
	struct parts parts;
	int r;

	if (!entries->count)
		return 0;
	r = take_apart(entries, &parts);
	if (r)
		return err_set(err, r, "no memory for %zu entries of policy map %s", entries->count, shapes[map].name);
	/* Counted before: should it fail, the number is still no smaller than the truth. */
	maps->count[map] += entries->count;
	r = map_put_many(maps->fd[map], entries->key_size, parts.keys, entries->value_size, parts.values, entries->count);
	free(parts.keys);
	if (r == -E2BIG || r == -ENOSPC)
		return err_set(err, -ENOSPC, "policy map %s is full: expected at most %u entries; what was in force stays",
			shapes[map].name, maps->limit[map]);
	return r ? err_set(err, r, "writing %zu entries of policy map %s: %s", entries->count, shapes[map].name,
			   strerror(-r)) : 0;
}

int policy_maps_del(struct policy_maps *maps, enum policy_map map, const struct image *entries, struct err *err)
{
	struct parts parts;
	size_t gone = 0;
	int r;

	if (!entries->count)
		return 0;
	r = take_apart(entries, &parts);
	if (r)
		return err_set(err, r, "no memory to delete %zu entries of policy map %s", entries->count,
			shapes[map].name);
	r = map_del_many(maps->fd[map], entries->key_size, parts.keys, entries->count, &gone);
	free(parts.keys);
	maps->count[map] -= gone < maps->count[map] ? gone : maps->count[map];
	return r ? err_set(err, r, "deleting from policy map %s: %s", shapes[map].name, strerror(-r)) : 0;
}
