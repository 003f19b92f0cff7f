/* SPDX-License-Identifier: Apache-2.0
 *
 * Pods of this node: their entries, addresses and further sources. What the kernel has is read once, at start.
 */
#include "plane/policy_internal.h"

#include "base/cleanup.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#define IFINDEX_BITS 32

struct policy_local {
	UT_hash_handle hh;
	uint32_t ifindex;
	bool known; /* the kernel has endpoint; without: only sources, which somebody left */
	struct policy_endpoint endpoint;
	struct image sources;
};

static struct policy_local *find(const struct policy_plane *plane, uint32_t ifindex)
{
	struct policy_local *local;

	HASH_FIND(hh, plane->pods, &ifindex, sizeof(ifindex), local);
	return local;
}

static struct policy_local *find_or_add(struct policy_plane *plane, uint32_t ifindex)
{
	struct policy_local *local = find(plane, ifindex);

	if (local)
		return local;
	local = calloc(1, sizeof(*local));
	if (!local)
		return NULL;
	local->ifindex = ifindex;
	local->sources = policy_maps_image(POLICY_MAP_SOURCES);
	HASH_ADD(hh, plane->pods, ifindex, sizeof(local->ifindex), local);
	return local;
}

static void forget(struct policy_plane *plane, struct policy_local *local)
{
	HASH_DEL(plane->pods, local);
	image_free(&local->sources);
	free(local);
}

void policy_pods_done(struct policy_plane *plane)
{
	struct policy_local *local, *next;

	HASH_ITER(hh, plane->pods, local, next)
		forget(plane, local);
}

bool policy_pods_has(const struct policy_plane *plane, uint32_t ifindex)
{
	const struct policy_local *local = find(plane, ifindex);

	return local && local->known;
}

/* -- what is there at start -- */

static int note_endpoint(struct policy_plane *plane, const uint8_t *key, const void *value)
{
	struct policy_local *local;
	uint32_t ifindex;

	memcpy(&ifindex, key, sizeof(ifindex));
	local = find_or_add(plane, ifindex);
	if (!local)
		return -ENOMEM;
	memcpy(&local->endpoint, value, sizeof(local->endpoint));
	local->known = true;
	return 0;
}

static int note_source(struct policy_plane *plane, const uint8_t *item, const void *value)
{
	struct policy_local *local;
	struct policy_source key;

	memcpy(&key, item, sizeof(key));
	local = find_or_add(plane, key.ifindex);
	return local ? image_add(&local->sources, &key, value) : -ENOMEM;
}

static int read_map(struct policy_plane *plane, enum policy_map map,
	int (*note)(struct policy_plane *plane, const uint8_t *key, const void *value), struct err *err)
{
	struct image image;
	int r = policy_maps_read(&plane->maps, map, &image, err);

	if (r)
		return r;
	for (size_t i = 0; i < image.count && !r; i++)
		r = note(plane, image.items + i * (image.key_size + image.value_size), image_value(&image, i));
	image_free(&image);
	return r ? err_set(err, r, "no memory for policy map %s", policy_map_name(map)) : 0;
}

int policy_pods_read(struct policy_plane *plane, struct err *err)
{
	struct policy_local *local, *next;
	int r = read_map(plane, POLICY_MAP_ENDPOINTS, note_endpoint, err);

	if (!r)
		r = read_map(plane, POLICY_MAP_SOURCES, note_source, err);
	HASH_ITER(hh, plane->pods, local, next)
		image_finish(&local->sources);
	return r;
}

/* -- entries -- */

static struct policy_endpoint endpoint_of(const struct policy_pod *pod)
{
	struct policy_endpoint endpoint = {.flags = pod->flags, .serial = pod->serial};

	for (int d = 0; d < POLICY_DIRECTION_COUNT; d++)
		endpoint.table[d] = pod->tables[d];
	for (int f = 0; f < FAMILY_COUNT; f++)
		endpoint.addr[f] = packet_addr_of(&pod->addr[f]);
	memcpy(endpoint.mac, pod->mac.b, sizeof(endpoint.mac));
	return endpoint;
}

static int sources_of(const struct policy_pod *pod, struct image *ret)
{
	const uint32_t nothing = 0;
	int r = 0;

	*ret = policy_maps_image(POLICY_MAP_SOURCES);
	for (size_t i = 0; i < pod->allowed_source_count && !r; i++) {
		struct prefix prefix = prefix_masked(&pod->allowed_sources[i]);
		struct packet_prefix packet = packet_prefix_of(&prefix);
		struct policy_source key = {.len = IFINDEX_BITS + packet.len, .ifindex = pod->ifindex, .addr = packet.addr};

		r = image_add(ret, &key, &nothing);
	}
	image_finish(ret);
	return r;
}

static bool is_set(const struct packet_addr *addr)
{
	return addr->w[0] | addr->w[1] | addr->w[2] | addr->w[3];
}

static bool has_addr(const struct policy_endpoint *endpoint, const struct packet_addr *addr)
{
	return !memcmp(&endpoint->addr[0], addr, sizeof(*addr)) || !memcmp(&endpoint->addr[1], addr, sizeof(*addr));
}

static int put_one(struct policy_plane *plane, enum policy_map map, const void *key, const void *value, uint32_t ifindex,
	struct err *err)
{
	int r = bpf_map_update_elem(plane->maps.fd[map], key, value, BPF_ANY);

	if (r == -E2BIG || r == -ENOSPC)
		return err_set(err, -ENOSPC, "interface %u: policy map %s is full, expected at most %u entries", ifindex,
			policy_map_name(map), plane->maps.limit[map]);
	return r ? err_set(err, r, "interface %u: writing policy map %s: %s", ifindex, policy_map_name(map), strerror(-r)) : 0;
}

static int put_locals(struct policy_plane *plane, uint32_t ifindex, const struct policy_endpoint *endpoint,
	struct err *err)
{
	int r = 0;

	for (int f = 0; f < FAMILY_COUNT && !r; f++)
		if (is_set(&endpoint->addr[f]))
			r = put_one(plane, POLICY_MAP_LOCALS, &endpoint->addr[f], &ifindex, ifindex, err);
	return r;
}

/* An address that another pod has by now stays his. */
static void drop_locals(struct policy_plane *plane, uint32_t ifindex, const struct policy_endpoint *endpoint,
	const struct policy_endpoint *keep)
{
	int fd = plane->maps.fd[POLICY_MAP_LOCALS];

	for (int f = 0; f < FAMILY_COUNT; f++) {
		const struct packet_addr *addr = &endpoint->addr[f];
		uint32_t owner;

		if (!is_set(addr) || (keep && has_addr(keep, addr)))
			continue;
		if (!bpf_map_lookup_elem(fd, addr, &owner) && owner == ifindex)
			bpf_map_delete_elem(fd, addr);
	}
}

static int drop_sources(struct policy_plane *plane, const struct image *old, const struct image *keep, struct err *err)
{
	return image_del_stale(plane->maps.fd[POLICY_MAP_SOURCES], old, keep, err);
}

/* -- put -- */

/* What the entry leads to is there before the entry. */
static int write_pod(struct policy_plane *plane, const struct policy_local *local, const struct policy_endpoint *endpoint,
	const struct image *sources, struct err *err)
{
	int r = policy_maps_check_room(&plane->maps, POLICY_MAP_SOURCES, sources, err);

	if (!r)
		r = policy_maps_put(&plane->maps, POLICY_MAP_SOURCES, sources, err);
	if (r)
		return err_wrap(err, "interface %u", local->ifindex), r;
	r = put_locals(plane, local->ifindex, endpoint, err);
	return r ? r : put_one(plane, POLICY_MAP_ENDPOINTS, &local->ifindex, endpoint, local->ifindex, err);
}

static int replace(struct policy_plane *plane, struct policy_local *local, const struct policy_endpoint *endpoint,
	struct image *sources, struct err *err)
{
	bool was_known = local->known;
	struct policy_endpoint old = local->endpoint;
	struct image old_sources = local->sources;
	int r;

	local->endpoint = *endpoint;
	local->known = true;
	local->sources = *sources;
	*sources = old_sources;
	if (was_known)
		drop_locals(plane, local->ifindex, &old, endpoint);
	r = drop_sources(plane, &old_sources, &local->sources, err);
	/* Another pod, or other tables: even if those were there already, so that nothing else changes with them. */
	return r || !was_known ? r : policy_plane_raise_epoch(plane, err);
}

/* There was no entry, and there is none. */
static void undo(struct policy_plane *plane, struct policy_local *local, const struct policy_endpoint *endpoint,
	const struct image *sources)
{
	static const struct image nothing = {0};

	drop_locals(plane, local->ifindex, endpoint, NULL);
	drop_sources(plane, sources, &nothing, NULL);
	drop_sources(plane, &local->sources, &nothing, NULL);
	forget(plane, local);
}

int policy_plane_put_pod(struct policy_plane *plane, const struct policy_pod *pod, struct err *err)
{
	struct policy_endpoint endpoint = endpoint_of(pod);
	struct policy_local *local = find_or_add(plane, pod->ifindex);
	struct image sources;
	int r;

	if (!local || sources_of(pod, &sources))
		return err_set(err, -ENOMEM, "no memory for the pod of interface %u", pod->ifindex);
	if (local->known && !memcmp(&endpoint, &local->endpoint, sizeof(endpoint)) &&
		image_equal(&sources, &local->sources)) {
		image_free(&sources);
		return plane->behind ? policy_hooks_update_pod(plane, pod->ifindex, err) : 0;
	}
	r = write_pod(plane, local, &endpoint, &sources, err);
	if (!r)
		r = replace(plane, local, &endpoint, &sources, err);
	else if (!local->known)
		undo(plane, local, &endpoint, &sources);
	image_free(&sources);
	if (!r && plane->behind)
		r = policy_hooks_update_pod(plane, pod->ifindex, err);
	return r;
}

/* -- remove -- */

static int remove_local(struct policy_plane *plane, struct policy_local *local, struct err *err)
{
	static const struct image nothing = {0};
	int r = bpf_map_delete_elem(plane->maps.fd[POLICY_MAP_ENDPOINTS], &local->ifindex);

	if (r && r != -ENOENT)
		return err_set(err, r, "interface %u: deleting from policy map endpoints: %s", local->ifindex, strerror(-r));
	drop_locals(plane, local->ifindex, &local->endpoint, NULL);
	r = drop_sources(plane, &local->sources, &nothing, err);
	if (!r)
		r = policy_plane_raise_epoch(plane, err);
	if (r)
		return r;
	policy_hooks_leave(plane, local->ifindex);
	forget(plane, local);
	return 0;
}

int policy_plane_remove_pod(struct policy_plane *plane, uint32_t ifindex, struct err *err)
{
	struct policy_local *local = find(plane, ifindex);

	if (local)
		return remove_local(plane, local, err);
	policy_hooks_leave(plane, ifindex);
	return 0;
}

static bool is_kept(const uint32_t *ifindexes, size_t count, uint32_t ifindex)
{
	for (size_t i = 0; i < count; i++)
		if (ifindexes[i] == ifindex)
			return true;
	return false;
}

int policy_plane_keep_pods(struct policy_plane *plane, const uint32_t *ifindexes, size_t count, struct err *err)
{
	struct policy_local *local, *next;
	int first = 0;

	HASH_ITER(hh, plane->pods, local, next) {
		int r = is_kept(ifindexes, count, local->ifindex) ? 0 : remove_local(plane, local, first ? NULL : err);

		first = first ? first : r;
	}
	policy_hooks_sweep(plane);
	return first;
}
