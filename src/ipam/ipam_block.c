/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam/ipam_block.h"

#include "ipam/ipam_block_json.h"
#include "ipam/ipam_names.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct ipam_block *ipam_block_alloc(const struct prefix *cidr)
{
	struct ipam_block *block = calloc(1, sizeof(*block));

	if (!block)
		return NULL;
	block->cidr = *cidr;
	block->count = (size_t)1 << (prefix_max_len(cidr) - cidr->len);
	block->allocations = calloc(block->count, sizeof(*block->allocations));
	block->sequences = calloc(block->count, sizeof(*block->sequences));
	block->unallocated = calloc(block->count, sizeof(*block->unallocated));
	block->object = json_object();
	if (!block->allocations || !block->sequences || !block->unallocated || !block->object)
		ipam_block_free(&block);
	for (size_t i = 0; block && i < block->count; i++)
		block->allocations[i] = -1;
	return block;
}

struct ipam_block *ipam_block_new(const struct prefix *cidr, const char *node, int64_t now)
{
	struct ipam_block *block = ipam_block_alloc(cidr);

	if (!block)
		return NULL;
	if (node && asprintf(&block->affinity, "host:%s", node) < 0) {
		block->affinity = NULL;
		ipam_block_free(&block);
		return NULL;
	}
	block->claim_time = node ? now / 1000000000 : 0;
	block->sequence = (uint64_t)now;
	block->free_count = block->count;
	for (size_t i = 0; i < block->count; i++)
		block->unallocated[i] = (unsigned)i;
	return block;
}

void ipam_block_free(struct ipam_block **block)
{
	struct ipam_block *b = *block;

	*block = NULL;
	if (!b)
		return;
	for (size_t i = 0; i < b->attr_count; i++)
		json_decref(b->attrs[i].json);
	json_decref(b->object);
	free(b->affinity);
	free(b->allocations);
	free(b->sequences);
	free(b->unallocated);
	free(b->attrs);
	free(b);
}

/* -- questions -- */

bool ipam_block_is_of(const struct ipam_block *block, const char *node)
{
	return block->affinity && strncmp(block->affinity, "host:", 5) == 0 &&
	       strcmp(block->affinity + 5, node) == 0;
}

int ipam_block_ordinal(const struct ipam_block *block, const struct addr *addr)
{
	if (!prefix_contains(&block->cidr, addr))
		return -1;
	return (int)addr_distance(&block->cidr.addr, addr);
}

struct addr ipam_block_addr(const struct ipam_block *block, unsigned ordinal)
{
	return addr_add(&block->cidr.addr, ordinal);
}

const struct ipam_attr *ipam_block_owner(const struct ipam_block *block, unsigned ordinal)
{
	int index = block->allocations[ordinal];

	return index < 0 ? NULL : &block->attrs[index];
}

const char *ipam_attr_get(const struct ipam_attr *attr, const char *key)
{
	return json_string_value(json_object_get(json_object_get(attr->json, "secondary"), key));
}

bool ipam_attr_in_use(const struct ipam_attr *attr)
{
	return attr && attr->released_at == 0;
}

bool ipam_block_is_empty(const struct ipam_block *block)
{
	for (size_t i = 0; i < block->count; i++) {
		const struct ipam_attr *attr = ipam_block_owner(block, (unsigned)i);

		if (attr && !(attr->handle && ipam_handle_equal(attr->handle, IPAM_WINDOWS_HANDLE)))
			return false;
	}
	return true;
}

static bool is_held_by(const struct ipam_block *block, size_t ordinal, const char *handle)
{
	const struct ipam_attr *attr = ipam_block_owner(block, (unsigned)ordinal);

	return ipam_attr_in_use(attr) && attr->handle && ipam_handle_equal(attr->handle, handle);
}

size_t ipam_block_held(const struct ipam_block *block, const char *handle)
{
	size_t count = 0;

	for (size_t i = 0; i < block->count; i++)
		count += is_held_by(block, i, handle);
	return count;
}

/* -- attributes -- */

static int attr_append(struct ipam_block *block, json_t *json, const char *handle, int64_t released_at)
{
	struct ipam_attr *attrs;

	if (!json)
		return -ENOMEM;
	attrs = realloc(block->attrs, (block->attr_count + 1) * sizeof(*attrs));
	if (!attrs) {
		json_decref(json);
		return -ENOMEM;
	}
	block->attrs = attrs;
	attrs[block->attr_count] = (struct ipam_attr){json, handle, released_at};
	return (int)block->attr_count++;
}

/* One entry for all addresses of the same owner. Entries with members beyond handle and attributes are left
 * alone: what they say of their addresses need not be true of ours. */
static int attr_find(struct ipam_block *block, const struct ipam_owner *owner)
{
	for (size_t i = 0; i < block->attr_count; i++) {
		const struct ipam_attr *attr = &block->attrs[i];

		if (attr->released_at == 0 && attr->handle && json_object_size(attr->json) == 2 &&
			strcmp(attr->handle, owner->handle) == 0 &&
			json_equal(json_object_get(attr->json, "secondary"), owner->attributes))
			return (int)i;
	}
	return -1;
}

static int attr_get(struct ipam_block *block, const struct ipam_owner *owner)
{
	int index = attr_find(block, owner);
	json_t *json;

	if (index >= 0)
		return index;
	json = json_pack(
		"{s:s, s:o}", "handle_id", owner->handle, "secondary", json_deep_copy(owner->attributes));
	return attr_append(block, json, json_string_value(json_object_get(json, "handle_id")), 0);
}

static int attr_get_released(struct ipam_block *block, int64_t now)
{
	char text[IPAM_TIME_MAX];

	for (size_t i = 0; i < block->attr_count; i++) {
		if (block->attrs[i].released_at == now)
			return (int)i;
	}
	return attr_append(block, json_pack("{s:s}", "releasedAt", ipam_time_format(now, text)), NULL, now);
}

bool ipam_block_prune(struct ipam_block *block)
{
	size_t kept = 0;
	int *map;

	if (block->attr_count == 0)
		return false;
	map = calloc(block->attr_count, sizeof(*map));
	if (!map)
		return false; /* unused entries do no harm */
	for (size_t i = 0; i < block->count; i++) {
		if (block->allocations[i] >= 0)
			map[block->allocations[i]] = 1;
	}
	for (size_t i = 0; i < block->attr_count; i++) {
		if (!map[i]) {
			json_decref(block->attrs[i].json);
			continue;
		}
		map[i] = (int)kept;
		block->attrs[kept++] = block->attrs[i];
	}
	for (size_t i = 0; i < block->count; i++) {
		if (block->allocations[i] >= 0)
			block->allocations[i] = map[block->allocations[i]];
	}
	free(map);
	if (kept == block->attr_count)
		return false;
	block->attr_count = kept;
	return true;
}

/* -- changes -- */

static void give(struct ipam_block *block, unsigned ordinal, int attr)
{
	block->allocations[ordinal] = attr;
	block->sequences[ordinal] = block->sequence;
}

static void remove_free(struct ipam_block *block, size_t at)
{
	block->free_count--;
	memmove(&block->unallocated[at], &block->unallocated[at + 1],
		(block->free_count - at) * sizeof(*block->unallocated));
}

int ipam_block_take(struct ipam_block *block, const struct ipam_owner *owner, ipam_reserved reserved,
	const void *ctx, size_t want, struct addr *ret)
{
	size_t at = 0, taken = 0;
	int attr = -1;

	while (taken < want && at < block->free_count) {
		unsigned ordinal = block->unallocated[at];
		struct addr addr = ipam_block_addr(block, ordinal);

		if (reserved && reserved(ctx, &addr)) {
			at++;
			continue;
		}
		if (attr < 0)
			attr = attr_get(block, owner);
		if (attr < 0)
			return attr;
		remove_free(block, at);
		give(block, ordinal, attr);
		ret[taken++] = addr;
	}
	return (int)taken;
}

size_t ipam_block_count_free(const struct ipam_block *block, ipam_reserved reserved, const void *ctx)
{
	size_t count = 0;

	for (size_t i = 0; i < block->free_count; i++) {
		struct addr addr = ipam_block_addr(block, block->unallocated[i]);

		count += !reserved || !reserved(ctx, &addr);
	}
	return count;
}

int ipam_block_take_addr(struct ipam_block *block, const struct addr *addr, const struct ipam_owner *owner)
{
	int ordinal = ipam_block_ordinal(block, addr), attr;
	size_t at = 0;

	if (ordinal < 0)
		return -ERANGE;
	while (at < block->free_count && block->unallocated[at] != (unsigned)ordinal)
		at++;
	if (at == block->free_count)
		return -EEXIST;
	attr = attr_get(block, owner);
	if (attr < 0)
		return attr;
	remove_free(block, at);
	give(block, (unsigned)ordinal, attr);
	return 0;
}

static int cool(struct ipam_block *block, unsigned ordinal, int64_t now)
{
	int attr = attr_get_released(block, now);

	if (attr < 0)
		return attr;
	give(block, ordinal, attr);
	return 1;
}

int ipam_block_release(struct ipam_block *block, const struct ipam_claim *claim, int64_t now)
{
	int ordinal = ipam_block_ordinal(block, &claim->addr);
	const struct ipam_attr *attr;

	if (ordinal < 0)
		return -ERANGE;
	attr = ipam_block_owner(block, (unsigned)ordinal);
	if (!ipam_attr_in_use(attr))
		return 0;
	if (claim->sequence && claim->sequence != block->sequences[ordinal])
		return -ESTALE;
	if (claim->handle && !(attr->handle && ipam_handle_equal(attr->handle, claim->handle)))
		return -ESTALE;
	return cool(block, (unsigned)ordinal, now);
}

int ipam_block_release_handle(struct ipam_block *block, const char *handle, int64_t now)
{
	int count = 0;

	for (size_t i = 0; i < block->count; i++) {
		if (!is_held_by(block, i, handle))
			continue;
		if (cool(block, (unsigned)i, now) < 0)
			return -ENOMEM;
		count++;
	}
	return count;
}

int ipam_block_move(
	struct ipam_block *block, const struct addr *addr, const char *from, const struct ipam_owner *to)
{
	int ordinal = ipam_block_ordinal(block, addr), attr;

	if (ordinal < 0)
		return -ERANGE;
	if (!is_held_by(block, (size_t)ordinal, from))
		return -ESTALE;
	attr = attr_get(block, to);
	if (attr < 0)
		return attr;
	give(block, (unsigned)ordinal, attr);
	return 0;
}

bool ipam_block_collect(struct ipam_block *block, int64_t now, unsigned cooldown_s)
{
	bool changed = false;

	for (size_t i = 0; i < block->count; i++) {
		const struct ipam_attr *attr = ipam_block_owner(block, (unsigned)i);

		/* a writer whose clock is ahead does not keep it cooling for longer than the time that was
		 * set */
		if (!attr || attr->released_at == 0 ||
			(attr->released_at + cooldown_s > now &&
				attr->released_at <= now + IPAM_COOLDOWN_MAX))
			continue;
		block->allocations[i] = -1;
		block->sequences[i] = 0;
		block->unallocated[block->free_count++] = (unsigned)i;
		changed = true;
	}
	return ipam_block_prune(block) || changed;
}

void ipam_block_orphan(struct ipam_block *block)
{
	free(block->affinity);
	block->affinity = NULL;
	block->claim_time = 0;
}
