/* SPDX-License-Identifier: Apache-2.0
 *
 * The express path's slots and the trie that leads to them. A slot to which anything refers is never changed: new slots first,
 * then the trie, then the epoch, and then those that nothing refers to any more are free.
 */
#include "plane/policy_internal.h"

#include "base/cleanup.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

struct held_slot {
	UT_hash_handle hh;
	struct express_slot slot; /* the key; whole is 0 */
	uint32_t index;
	bool used;
};

struct policy_slots {
	struct held_slot *held;
	struct image remotes;
	struct express_config config;
	bool taken[EXPRESS_SLOTS_MAX];
};

static struct held_slot *find(const struct policy_slots *slots, const struct express_slot *slot)
{
	struct held_slot *held;

	HASH_FIND(hh, slots->held, slot, sizeof(*slot), held);
	return held;
}

static int hold(struct policy_slots *slots, const struct express_slot *slot, uint32_t index, struct held_slot **ret)
{
	struct held_slot *held = calloc(1, sizeof(*held));

	if (!held)
		return -ENOMEM;
	held->slot = *slot;
	held->slot.whole = 0;
	held->index = index;
	slots->taken[index] = true;
	HASH_ADD(hh, slots->held, slot, sizeof(held->slot), held);
	*ret = held;
	return 0;
}

static void slots_free(struct policy_slots *slots)
{
	struct held_slot *held, *next;

	HASH_ITER(hh, slots->held, held, next) {
		HASH_DEL(slots->held, held);
		free(held);
	}
	image_free(&slots->remotes);
	free(slots);
}

void policy_express_done(struct policy_plane *plane)
{
	if (plane->slots)
		slots_free(plane->slots);
	plane->slots = NULL;
}

/* -- what is there at start -- */

static int read_slots(struct policy_plane *plane, struct policy_slots *slots)
{
	for (size_t i = 0; i < slots->remotes.count; i++) {
		struct express_slot slot;
		struct held_slot *held;
		uint32_t index;

		memcpy(&index, image_value(&slots->remotes, i), sizeof(index));
		if (!index || index >= EXPRESS_SLOTS_MAX || slots->taken[index])
			continue;
		if (bpf_map_lookup_elem(plane->maps.fd[POLICY_MAP_SLOTS], &index, &slot))
			continue;
		slot.whole = 0;
		slots->taken[index] = true;
		if (!find(slots, &slot) && hold(slots, &slot, index, &held))
			return -ENOMEM;
	}
	return 0;
}

static int read_all(struct policy_plane *plane, struct err *err)
{
	struct policy_slots *slots = calloc(1, sizeof(*slots));
	const uint32_t zero = 0;
	int r;

	if (!slots)
		return err_set(err, -ENOMEM, "no memory for the express path's ways");
	slots->remotes = policy_maps_image(POLICY_MAP_REMOTES);
	r = policy_maps_read(&plane->maps, POLICY_MAP_REMOTES, &slots->remotes, err);
	if (!r && read_slots(plane, slots))
		r = err_set(err, -ENOMEM, "no memory for the express path's ways");
	if (!r && bpf_map_lookup_elem(plane->maps.fd[POLICY_MAP_EXPRESS], &zero, &slots->config))
		r = err_set(err, -errno, "reading policy map express: %s", strerror(errno));
	if (r) {
		slots_free(slots);
		return r;
	}
	plane->slots = slots;
	return 0;
}

/* -- a change -- */

static uint32_t free_index(const struct policy_slots *slots, uint32_t from)
{
	for (uint32_t i = from; i < EXPRESS_SLOTS_MAX; i++)
		if (!slots->taken[i])
			return i;
	return 0;
}

static int enter(struct policy_plane *plane, const struct express_slot *slot, uint32_t *from, struct held_slot **ret, struct err *err)
{
	uint32_t index = free_index(plane->slots, *from);
	int r;

	if (!index)
		return err_set(err, -ENOSPC, "express path: no slot is left for other nodes, expected at most %d", EXPRESS_SLOTS_MAX - 1);
	*from = index + 1;
	r = bpf_map_update_elem(plane->maps.fd[POLICY_MAP_SLOTS], &index, slot, BPF_ANY);
	if (r)
		return err_set(err, r, "writing policy map slots: %s", strerror(-r));
	return hold(plane->slots, slot, index, ret) ? err_set(err, -ENOMEM, "no memory for the express path's ways") : 0;
}

/* What does not fit takes the kernel's path, the rest is made. */
static int make_remotes(struct policy_plane *plane, const struct policy_way *ways, size_t count, struct image *ret, struct err *err)
{
	uint32_t from = 1;
	int first = 0;

	for (size_t i = 0; i < count; i++) {
		struct prefix dst = prefix_masked(&ways[i].dst);
		struct packet_prefix key = packet_prefix_of(&dst);
		struct held_slot *held = find(plane->slots, &ways[i].slot);
		int r = held ? 0 : enter(plane, &ways[i].slot, &from, &held, first ? NULL : err);

		if (!r && image_add(ret, &key, &held->index))
			r = err_set(first ? NULL : err, -ENOMEM, "no memory for the express path's ways");
		if (!r)
			held->used = true;
		first = first ? first : r;
	}
	image_finish(ret);
	return first;
}

static void free_unused(struct policy_plane *plane)
{
	static const struct express_slot nothing;
	struct held_slot *held, *next;

	HASH_ITER(hh, plane->slots->held, held, next) {
		if (held->used)
			continue;
		bpf_map_update_elem(plane->maps.fd[POLICY_MAP_SLOTS], &held->index, &nothing, BPF_ANY);
		plane->slots->taken[held->index] = false;
		HASH_DEL(plane->slots->held, held);
		free(held);
	}
}

static int write_config(struct policy_plane *plane, const struct express_config *config, struct err *err)
{
	const uint32_t zero = 0;
	int r = bpf_map_update_elem(plane->maps.fd[POLICY_MAP_EXPRESS], &zero, config, BPF_ANY);

	if (r)
		return err_set(err, r, "writing policy map express: %s", strerror(-r));
	plane->slots->config = *config;
	return 0;
}

static int bring(struct policy_plane *plane, struct image *remotes, const struct express_config *config, struct err *err)
{
	struct policy_slots *slots = plane->slots;
	int fd = plane->maps.fd[POLICY_MAP_REMOTES];
	struct image old;
	int r;

	if (image_equal(&slots->remotes, remotes) && !memcmp(&slots->config, config, sizeof(*config)))
		return 0;
	r = image_put_new(fd, &slots->remotes, remotes, err);
	if (!r)
		r = image_del_stale(fd, &slots->remotes, remotes, err);
	if (!r)
		r = write_config(plane, config, err);
	if (!r)
		r = policy_plane_raise_epoch(plane, err);
	if (r)
		return r;
	old = slots->remotes;
	slots->remotes = *remotes;
	*remotes = old;
	free_unused(plane);
	return 0;
}

int policy_plane_set_ways(struct policy_plane *plane, const struct policy_way *ways, size_t count,
	const struct express_config *config, struct err *err)
{
	struct image remotes = policy_maps_image(POLICY_MAP_REMOTES);
	int r = plane->slots ? 0 : read_all(plane, err), bad;

	if (r)
		return r;
	for (struct held_slot *held = plane->slots->held; held; held = held->hh.next)
		held->used = false;
	bad = make_remotes(plane, ways, count, &remotes, err);
	r = bring(plane, &remotes, config, bad ? NULL : err);
	/* What the kernel has by now is not known: it is read again. */
	if (r)
		policy_express_done(plane);
	image_free(&remotes);
	return bad ? bad : r;
}

/* -- seeing -- */

int policy_plane_get_express_counts(const struct policy_plane *plane, struct policy_count ret[static EXPRESS_COUNT_MAX], struct err *err)
{
	static const struct policy_count names[EXPRESS_COUNT_MAX] = {
#define X(id, label, sentence) [EXPRESS_COUNT_##id] = {.name = label, .text = sentence},
		EXPRESS_COUNTS(X)
#undef X
	};
	struct policy_count counts[EXPRESS_COUNT_MAX];

	memcpy(counts, names, sizeof(counts));
	for (uint32_t i = 0; i < EXPRESS_COUNT_MAX; i++) {
		int r = counter_sum(plane->maps.fd[POLICY_MAP_EXPRESS_COUNTS], i, &counts[i].packets, &counts[i].bytes);

		if (r)
			return err_set(err, r, "reading the express path's counter %s: %s", counts[i].name, strerror(-r));
	}
	memcpy(ret, counts, sizeof(counts));
	return 0;
}
