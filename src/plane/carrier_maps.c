/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/carrier_maps.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "bpf/carrier_layout.h"
#include "plane/pinned.h"

#include <errno.h>
#include <string.h>

static const struct map_shape shapes[] = {
	{"blocks", BPF_MAP_TYPE_LPM_TRIE, sizeof(struct packet_prefix), sizeof(struct carrier_block),
		CARRIER_BLOCKS_MAX, BPF_F_NO_PREALLOC},
	{"peers", BPF_MAP_TYPE_HASH, sizeof(struct packet_addr), sizeof(uint32_t), CARRIER_PEERS_MAX,
		BPF_F_NO_PREALLOC},
	{"counts", BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(uint32_t), sizeof(struct packet_count), CARRIER_COUNT_MAX, 0},
	{"state", BPF_MAP_TYPE_ARRAY, sizeof(uint32_t), sizeof(struct carrier_state), 1, 0},
};

static int *fd_of(struct carrier_maps *maps, size_t i)
{
	int *const fds[] = {&maps->blocks, &maps->peers, &maps->counts, &maps->state};

	return fds[i];
}

void carrier_maps_init(struct carrier_maps *maps)
{
	*maps = (struct carrier_maps){.blocks = -1, .peers = -1, .counts = -1, .state = -1};
	maps->known_blocks = IMAGE_INIT(sizeof(struct packet_prefix), sizeof(struct carrier_block));
	maps->known_peers = IMAGE_INIT(sizeof(struct packet_addr), sizeof(uint32_t));
}

int carrier_maps_open(struct carrier_maps *maps, const char *dir, bool may_make, struct err *err)
{
	int r = may_make ? file_make_dirs(dir, 0700, err) : 0;

	if (r)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
		int *fd = fd_of(maps, i);

		if (*fd >= 0)
			continue;
		r = pinned_open(dir, &shapes[i], may_make, err);
		if (r < 0)
			return r;
		*fd = r;
	}
	return 0;
}

static int add_block(struct image *blocks, const struct prefix *prefix, const struct addr *peer)
{
	struct packet_prefix key = packet_prefix_of(prefix);
	struct carrier_block block = {.peer = packet_addr_of(peer)};

	return image_add(blocks, &key, &block);
}

static bool is_own(const struct wanted_carrier *wanted, const struct prefix *prefix)
{
	return prefix_equal(prefix, &wanted->own[FAMILY_4]) || prefix_equal(prefix, &wanted->own[FAMILY_6]);
}

/* A tunnel that cannot be carried is told and left out; the others are carried. */
static int check_tunnel(const struct wanted_tunnel *tunnel, struct err *err)
{
	char dst[PREFIX_TEXT_MAX], peer[ADDR_TEXT_MAX];

	if (addr_is_set(&tunnel->peer) && addr_family(&tunnel->peer) == tunnel->dst.family)
		return 0;
	return err_set(err, -EINVAL, "carrier: block %s has peer address \"%s\", expected one of the same family",
		prefix_format(&tunnel->dst, dst), addr_format(&tunnel->peer, peer));
}

static int build(const struct wanted_carrier *wanted, struct image *blocks, struct image *peers, struct err *err)
{
	const struct addr none = {0};
	const uint32_t nothing = 0;
	int bad = 0, r = 0;

	for (int f = 0; f < FAMILY_COUNT && !r; f++)
		if (prefix_is_set(&wanted->own[f]))
			r = add_block(blocks, &wanted->own[f], &none);
	for (size_t i = 0; i < wanted->tunnel_count && !r; i++) {
		const struct wanted_tunnel *tunnel = &wanted->tunnels[i];
		struct packet_addr peer = packet_addr_of(&tunnel->peer);

		if (is_own(wanted, &tunnel->dst))
			continue;
		if (check_tunnel(tunnel, bad ? NULL : err)) {
			bad = -EINVAL;
			continue;
		}
		r = add_block(blocks, &tunnel->dst, &tunnel->peer);
		if (!r)
			r = image_add(peers, &peer, &nothing);
	}
	if (r)
		return err_set(err, r, "no memory for %zu tunnels", wanted->tunnel_count);
	image_finish(blocks);
	image_finish(peers);
	return bad;
}

/* What the program noted about a peer is not ours to compare, or to write back. */
static void forget_notes(struct image *blocks)
{
	for (size_t i = 0; i < blocks->count; i++) {
		struct carrier_block *block = image_value(blocks, i);

		block->whole = 0;
	}
}

static int read_known(struct carrier_maps *maps, struct err *err)
{
	int r;

	if (maps->known)
		return 0;
	image_free(&maps->known_blocks);
	image_free(&maps->known_peers);
	r = image_read(maps->blocks, &maps->known_blocks, err);
	forget_notes(&maps->known_blocks);
	return r ? r : image_read(maps->peers, &maps->known_peers, err);
}

/* A peer is known before the first block leads to it, and until the last one has gone. */
static int write_difference(struct carrier_maps *maps, const struct image *blocks, const struct image *peers,
	bool keep_stale, struct err *err)
{
	int r = image_put_new(maps->peers, &maps->known_peers, peers, err);
	int s = image_put_new(maps->blocks, &maps->known_blocks, blocks, r ? NULL : err);

	r = r ? r : s;
	if (keep_stale)
		return r;
	s = image_del_stale(maps->blocks, &maps->known_blocks, blocks, r ? NULL : err);
	r = r ? r : s;
	s = image_del_stale(maps->peers, &maps->known_peers, peers, r ? NULL : err);
	return r ? r : s;
}

static void swap(struct image *a, struct image *b)
{
	struct image keep = *a;

	*a = *b;
	*b = keep;
}

int carrier_maps_sync(struct carrier_maps *maps, const struct wanted_carrier *wanted, struct err *err)
{
	_cleanup_(image_free) struct image blocks = IMAGE_INIT(maps->known_blocks.key_size, maps->known_blocks.value_size);
	_cleanup_(image_free) struct image peers = IMAGE_INIT(maps->known_peers.key_size, maps->known_peers.value_size);
	int bad = build(wanted, &blocks, &peers, err), r;

	if (bad && bad != -EINVAL)
		return bad;
	r = read_known(maps, bad ? NULL : err);
	if (r)
		return r;
	maps->known = true;
	if (image_equal(&blocks, &maps->known_blocks) && image_equal(&peers, &maps->known_peers))
		return bad;
	r = write_difference(maps, &blocks, &peers, wanted->keep_stale, bad ? NULL : err);
	if (r || wanted->keep_stale) {
		maps->known = false; /* some of it, or more: read again next time */
		return r ? r : bad;
	}
	swap(&blocks, &maps->known_blocks);
	swap(&peers, &maps->known_peers);
	return bad;
}

int carrier_maps_get_state(const struct carrier_maps *maps, struct carrier_state *ret)
{
	const uint32_t zero = 0;

	return bpf_map_lookup_elem(maps->state, &zero, ret);
}

int carrier_maps_set_state(const struct carrier_maps *maps, const struct carrier_state *state, struct err *err)
{
	const uint32_t zero = 0;
	int r = bpf_map_update_elem(maps->state, &zero, state, BPF_ANY);

	return r ? err_set(err, r, "writing the carrier's state map: %s", strerror(-r)) : 0;
}

void carrier_maps_done(struct carrier_maps *maps)
{
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++)
		if (*fd_of(maps, i) >= 0)
			close(*fd_of(maps, i));
	image_free(&maps->known_blocks);
	image_free(&maps->known_peers);
	carrier_maps_init(maps);
}

void carrier_maps_unpin(const char *dir)
{
	pinned_remove(dir, shapes, ARRAY_SIZE(shapes));
}

void carrier_maps_unpin_others(const char *parent, const char *keep)
{
	pinned_remove_others(parent, keep, shapes, ARRAY_SIZE(shapes));
}
