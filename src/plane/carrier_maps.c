/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/carrier_maps.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "bpf/carrier_layout.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <limits.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>

static const struct shape {
	const char *name;
	enum bpf_map_type type;
	uint32_t key_size, value_size, max_entries, flags;
} shapes[] = {
	{"blocks", BPF_MAP_TYPE_LPM_TRIE, sizeof(struct carrier_block_key), sizeof(struct carrier_block),
		CARRIER_BLOCKS_MAX, BPF_F_NO_PREALLOC},
	{"peers", BPF_MAP_TYPE_HASH, sizeof(struct carrier_addr), sizeof(uint32_t), CARRIER_PEERS_MAX,
		BPF_F_NO_PREALLOC},
	{"counts", BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(uint32_t), sizeof(struct carrier_count), CARRIER_COUNT_MAX, 0},
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
	maps->known_blocks = IMAGE_INIT(sizeof(struct carrier_block_key), sizeof(struct carrier_block));
	maps->known_peers = IMAGE_INIT(sizeof(struct carrier_addr), sizeof(uint32_t));
}

static bool has_shape(int fd, const struct shape *shape)
{
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);

	return !bpf_obj_get_info_by_fd(fd, &info, &len) && info.type == shape->type &&
		info.key_size == shape->key_size && info.value_size == shape->value_size &&
		info.max_entries == shape->max_entries;
}

static int make(const char *path, const struct shape *shape, struct err *err)
{
	DECLARE_LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = shape->flags);
	char name[BPF_OBJ_NAME_LEN];
	_cleanup_close_ int fd = -1;
	int r;

	snprintf(name, sizeof(name), "tulle_%s", shape->name);
	fd = bpf_map_create(shape->type, name, shape->key_size, shape->value_size, shape->max_entries, &opts);
	if (fd < 0)
		return err_set(err, fd, "making BPF map %s: %s", shape->name, strerror(-fd));
	unlink(path);
	r = bpf_obj_pin(fd, path);
	if (r)
		return err_set(err, r, "pinning BPF map %s: %s; expected a mounted bpf file system", path, strerror(-r));
	return TAKE_FD(fd);
}

static int open_one(const char *dir, const struct shape *shape, bool may_make, struct err *err)
{
	char path[PATH_MAX];
	_cleanup_close_ int fd = -1;

	if (snprintf(path, sizeof(path), "%s/%s", dir, shape->name) >= (int)sizeof(path))
		return err_set(err, -ENAMETOOLONG, "%s/%s: path is too long", dir, shape->name);
	fd = bpf_obj_get(path);
	if (fd >= 0 && has_shape(fd, shape))
		return TAKE_FD(fd);
	if (!may_make)
		return err_set(err, fd < 0 ? fd : -EBADMSG, "%s: no BPF map of the expected shape", path);
	return make(path, shape, err);
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
		r = open_one(dir, &shapes[i], may_make, err);
		if (r < 0)
			return r;
		*fd = r;
	}
	return 0;
}

static struct carrier_addr outer(const struct addr *addr)
{
	struct carrier_addr ret;

	memcpy(&ret, addr->b, sizeof(ret));
	return ret;
}

static int add_block(struct image *blocks, const struct prefix *prefix, const struct addr *peer)
{
	struct carrier_block_key key = {.len = prefix->len + (prefix->family == AF_INET ? 96U : 0U),
		.addr = outer(&prefix->addr)};
	struct carrier_block block = {.peer = outer(peer)};

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
		struct carrier_addr peer = outer(&tunnel->peer);

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
	char path[PATH_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++)
		if (snprintf(path, sizeof(path), "%s/%s", dir, shapes[i].name) < (int)sizeof(path))
			unlink(path);
	rmdir(dir);
}
