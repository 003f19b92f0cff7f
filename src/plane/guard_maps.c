/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/guard_maps.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "bpf/guard_layout.h"
#include "plane/pinned.h"

#include <errno.h>
#include <string.h>

static const struct map_shape shapes[] = {
	{"sources", BPF_MAP_TYPE_LPM_TRIE, sizeof(struct packet_prefix), sizeof(struct guard_source), GUARD_SOURCES_MAX,
		BPF_F_NO_PREALLOC},
	{"nodes", BPF_MAP_TYPE_HASH, sizeof(struct packet_addr), sizeof(uint32_t), GUARD_NODES_MAX, BPF_F_NO_PREALLOC},
	{"externals", BPF_MAP_TYPE_LPM_TRIE, sizeof(struct packet_prefix), sizeof(uint32_t), GUARD_EXTERNALS_MAX,
		BPF_F_NO_PREALLOC},
	{"counts", BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(uint32_t), sizeof(struct packet_count), GUARD_COUNT_MAX, 0},
	{"state", BPF_MAP_TYPE_ARRAY, sizeof(uint32_t), sizeof(struct guard_state), 1, 0},
};

static int *fd_of(struct guard_maps *maps, size_t i)
{
	return i < GUARD_MAP_CONTENT ? &maps->content[i] : i == GUARD_MAP_CONTENT ? &maps->counts : &maps->state;
}

static struct image image_like(size_t i)
{
	return IMAGE_INIT(shapes[i].key_size, shapes[i].value_size);
}

void guard_maps_init(struct guard_maps *maps)
{
	*maps = (struct guard_maps){0};
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++)
		*fd_of(maps, i) = -1;
	for (size_t i = 0; i < GUARD_MAP_CONTENT; i++)
		maps->known[i] = image_like(i);
}

int guard_maps_open(struct guard_maps *maps, const char *dir, bool make, struct err *err)
{
	int r = make ? file_make_dirs(dir, 0700, err) : 0;

	for (size_t i = 0; i < ARRAY_SIZE(shapes) && r >= 0; i++) {
		int *fd = fd_of(maps, i);

		if (*fd >= 0)
			continue;
		r = pinned_open(dir, &shapes[i], make, err);
		if (r >= 0)
			*fd = r;
	}
	return r < 0 ? r : 0;
}

/* A source that makes no sense is told and left out; the others are entered. */
static int check_source(const struct wanted_tunnel *source, struct err *err)
{
	char dst[PREFIX_TEXT_MAX];

	if (addr_is_set(&source->peer))
		return 0;
	return err_set(err, -EINVAL, "guard: source %s has no node address, expected one",
		prefix_format(&source->dst, dst));
}

static int add_sources(const struct wanted_guard *wanted, struct image *sources, int *bad, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < wanted->source_count && !r; i++) {
		const struct wanted_tunnel *source = &wanted->sources[i];
		struct packet_prefix key = packet_prefix_of(&source->dst);
		struct guard_source value = {.node = packet_addr_of(&source->peer)};

		if (check_source(source, *bad ? NULL : err))
			*bad = -EINVAL;
		else
			r = image_add(sources, &key, &value);
	}
	return r;
}

static int compare_dst(const void *prefix, const void *source)
{
	return prefix_compare(prefix, &((const struct wanted_tunnel *)source)->dst);
}

/* Pools are sources of nobody, unless a node has the whole of one. */
static int add_pools(const struct wanted_guard *wanted, struct image *sources)
{
	const struct guard_source nobody = {0};
	int r = 0;

	for (size_t i = 0; i < wanted->pool_count && !r; i++) {
		struct packet_prefix key = packet_prefix_of(&wanted->pools[i]);

		if (wanted->source_count && bsearch(&wanted->pools[i], wanted->sources, wanted->source_count,
			sizeof(*wanted->sources), compare_dst))
			continue;
		r = image_add(sources, &key, &nobody);
	}
	return r;
}

static int add_senders(const struct wanted_guard *wanted, struct image *nodes, struct image *externals)
{
	const uint32_t nothing = 0;
	int r = 0;

	for (size_t i = 0; i < wanted->node_count && !r; i++) {
		struct packet_addr key = packet_addr_of(&wanted->nodes[i]);

		r = image_add(nodes, &key, &nothing);
	}
	for (size_t i = 0; i < wanted->external_count && !r; i++) {
		struct packet_prefix key = packet_prefix_of(&wanted->externals[i]);

		r = image_add(externals, &key, &nothing);
	}
	return r;
}

static int build(const struct wanted_guard *wanted, struct image images[GUARD_MAP_CONTENT], struct err *err)
{
	int bad = 0, r = add_sources(wanted, &images[GUARD_MAP_SOURCES], &bad, err);

	if (!r)
		r = add_pools(wanted, &images[GUARD_MAP_SOURCES]);
	if (!r)
		r = add_senders(wanted, &images[GUARD_MAP_NODES], &images[GUARD_MAP_EXTERNALS]);
	if (r)
		return err_set(err, r, "no memory for the guard's %zu sources", wanted->source_count);
	for (size_t i = 0; i < GUARD_MAP_CONTENT; i++)
		image_finish(&images[i]);
	return bad;
}

static int read_known(struct guard_maps *maps, struct err *err)
{
	int r = 0;

	if (maps->is_known)
		return 0;
	for (size_t i = 0; i < GUARD_MAP_CONTENT && !r; i++) {
		image_free(&maps->known[i]);
		r = image_read(maps->content[i], &maps->known[i], err);
	}
	return r;
}

/* Sources first: a sender that is let in finds what it may send. Going away, senders first. */
static int write_difference(struct guard_maps *maps, const struct image images[GUARD_MAP_CONTENT], bool keep_stale,
	struct err *err)
{
	int first = 0;

	for (int i = 0; i < GUARD_MAP_CONTENT; i++) {
		int r = image_put_new(maps->content[i], &maps->known[i], &images[i], first ? NULL : err);

		first = first ? first : r;
	}
	for (int i = GUARD_MAP_CONTENT - 1; i >= 0 && !keep_stale; i--) {
		int r = image_del_stale(maps->content[i], &maps->known[i], &images[i], first ? NULL : err);

		first = first ? first : r;
	}
	return first;
}

static bool all_equal(const struct guard_maps *maps, const struct image images[GUARD_MAP_CONTENT])
{
	for (size_t i = 0; i < GUARD_MAP_CONTENT; i++)
		if (!image_equal(&maps->known[i], &images[i]))
			return false;
	return true;
}

static int sync_images(struct guard_maps *maps, struct image images[GUARD_MAP_CONTENT], bool keep_stale, struct err *err)
{
	int r = read_known(maps, err);

	if (r)
		return r;
	maps->is_known = true;
	if (all_equal(maps, images))
		return 0;
	r = write_difference(maps, images, keep_stale, err);
	if (r || keep_stale) {
		maps->is_known = false; /* some of it, or more: read again next time */
		return r ? err_wrap(err, "guard"), r : 0;
	}
	for (size_t i = 0; i < GUARD_MAP_CONTENT; i++) {
		struct image keep = maps->known[i];

		maps->known[i] = images[i];
		images[i] = keep;
	}
	return 0;
}

int guard_maps_sync(struct guard_maps *maps, const struct wanted_guard *wanted, struct err *err)
{
	struct image images[GUARD_MAP_CONTENT];
	int bad, r;

	for (size_t i = 0; i < GUARD_MAP_CONTENT; i++)
		images[i] = image_like(i);
	bad = build(wanted, images, err);
	r = bad && bad != -EINVAL ? bad : sync_images(maps, images, wanted->keep_stale, bad ? NULL : err);
	for (size_t i = 0; i < GUARD_MAP_CONTENT; i++)
		image_free(&images[i]);
	return r ? r : bad;
}

int guard_maps_get_state(const struct guard_maps *maps, struct guard_state *ret)
{
	const uint32_t zero = 0;

	return bpf_map_lookup_elem(maps->state, &zero, ret);
}

int guard_maps_set_state(const struct guard_maps *maps, const struct guard_state *state, struct err *err)
{
	const uint32_t zero = 0;
	int r = bpf_map_update_elem(maps->state, &zero, state, BPF_ANY);

	return r ? err_set(err, r, "writing the guard's state map: %s", strerror(-r)) : 0;
}

void guard_maps_done(struct guard_maps *maps)
{
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++)
		if (*fd_of(maps, i) >= 0)
			close(*fd_of(maps, i));
	for (size_t i = 0; i < GUARD_MAP_CONTENT; i++)
		image_free(&maps->known[i]);
	guard_maps_init(maps);
}

void guard_maps_unpin(const char *dir)
{
	pinned_remove(dir, shapes, ARRAY_SIZE(shapes));
}

void guard_maps_unpin_others(const char *parent, const char *keep)
{
	pinned_remove_others(parent, keep, shapes, ARRAY_SIZE(shapes));
}
