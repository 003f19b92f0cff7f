/* SPDX-License-Identifier: Apache-2.0 */
#include "attach/ipam.h"

#include "base/hash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define SKIPPED_FRONT 2 /* network address and gateway */
#define TRIES_MAX 65536 /* addresses of others that one request steps over */

struct entry {
	struct addr addr;
	uint64_t owner;            /* 0: resting */
	int64_t since;             /* of the rest */
	struct entry *prev, *next; /* resting ones, longest rest first */
	UT_hash_handle hh;
};

struct ipam {
	struct ipam_options options;
	struct prefix block[FAMILY_COUNT];
	struct addr last[FAMILY_COUNT]; /* handed out */
	struct entry *entries;
	struct entry *resting;
};

int ipam_new(const struct ipam_options *options, struct ipam **ret)
{
	struct ipam *ipam = calloc(1, sizeof(*ipam));

	if (!ipam)
		return -ENOMEM;
	ipam->options = *options;
	*ret = ipam;
	return 0;
}

void ipam_free(struct ipam *ipam)
{
	struct entry *entry, *next;

	if (!ipam)
		return;
	HASH_ITER(hh, ipam->entries, entry, next)
	{
		HASH_DEL(ipam->entries, entry);
		free(entry);
	}
	free(ipam);
}

static struct entry *entry_find(const struct ipam *ipam, const struct addr *addr)
{
	struct entry *entry;

	HASH_FIND(hh, ipam->entries, addr, sizeof(*addr), entry);
	return entry;
}

static struct entry *entry_get(struct ipam *ipam, const struct addr *addr)
{
	struct entry *entry = entry_find(ipam, addr);

	if (entry)
		return entry;
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return NULL;
	entry->addr = *addr;
	HASH_ADD(hh, ipam->entries, addr, sizeof(entry->addr), entry);
	return entry;
}

static void entry_wake(struct ipam *ipam, struct entry *entry)
{
	if (entry->prev)
		DL_DELETE(ipam->resting, entry);
	entry->prev = entry->next = NULL;
}

static void entry_free(struct ipam *ipam, struct entry *entry)
{
	entry_wake(ipam, entry);
	HASH_DEL(ipam->entries, entry);
	free(entry);
}

static int by_since(const struct entry *a, const struct entry *b)
{
	return a->since < b->since ? -1 : a->since > b->since;
}

static void entry_rest(struct ipam *ipam, struct entry *entry, int64_t since)
{
	entry_wake(ipam, entry);
	entry->owner = 0;
	entry->since = since;
	if (!ipam->resting || ipam->resting->prev->since <= since)
		DL_APPEND(ipam->resting, entry);
	else
		DL_INSERT_INORDER(ipam->resting, entry, by_since);
}

/* Those that have rested long enough are free. */
static void expire(struct ipam *ipam, int64_t now)
{
	while (ipam->resting && ipam->resting->since + (int64_t)ipam->options.cooldown_s * 1000 <= now)
		entry_free(ipam, ipam->resting);
}

/* -- the block -- */

static struct addr block_first(const struct prefix *block)
{
	struct addr network = prefix_masked(block).addr;

	return addr_add(&network, SKIPPED_FRONT);
}

static struct addr block_last(const struct prefix *block)
{
	struct addr last = prefix_last(block);

	return block->family == AF_INET ? addr_add(&last, -1) : last;
}

/* How many addresses can be handed out; clamped. */
static size_t block_room(const struct prefix *block)
{
	struct addr first, last;
	int64_t distance;

	if (!prefix_is_set(block))
		return 0;
	/* a block of one or two addresses has none; the arithmetic below would leave it */
	if (block->len + 1 >= (int)prefix_max_len(block))
		return 0;
	first = block_first(block);
	last = block_last(block);
	distance = addr_distance(&first, &last);
	if (distance < 0)
		return 0;
	return distance == INT64_MAX ? SIZE_MAX : (size_t)distance + 1;
}

static bool block_offers(const struct prefix *block, const struct addr *addr)
{
	struct addr first, last;

	if (!block_room(block) || !prefix_contains(block, addr))
		return false;
	first = block_first(block);
	last = block_last(block);
	return addr_compare(&first, addr) <= 0 && addr_compare(addr, &last) <= 0;
}

void ipam_set_block(struct ipam *ipam, int family_index, const struct prefix *block)
{
	ipam->block[family_index] = block ? *block : (struct prefix){0};
}

bool ipam_has_block(const struct ipam *ipam, int family_index)
{
	return prefix_is_set(&ipam->block[family_index]);
}

/* -- taking -- */

static bool is_taken(struct ipam *ipam, const struct addr *addr)
{
	return ipam->options.taken && ipam->options.taken(ipam->options.ctx, addr);
}

static struct addr step(const struct prefix *block, const struct addr *from)
{
	struct addr next = addr_add(from, 1);

	return block_offers(block, from) && block_offers(block, &next) ? next : block_first(block);
}

static int assign(struct ipam *ipam, const struct addr *addr, uint64_t owner, struct err *err)
{
	struct entry *entry = entry_get(ipam, addr);

	if (!entry)
		return err_set(err, -ENOMEM, "no memory for an address");
	entry_wake(ipam, entry);
	entry->owner = owner;
	ipam->last[family_index(addr_family(addr))] = *addr;
	return 0;
}

/* Next fit. True with an address that nobody has; others: how many belong to somebody else. */
static bool find_free(struct ipam *ipam, int family, struct addr *ret, size_t *others)
{
	const struct prefix *block = &ipam->block[family];
	size_t room = block_room(block), limit = HASH_COUNT(ipam->entries) + (size_t)TRIES_MAX;
	struct addr candidate = ipam->last[family];

	*others = 0;
	for (size_t i = 0; i < room && i < limit; i++) {
		candidate = step(block, &candidate);
		if (entry_find(ipam, &candidate))
			continue;
		if (!is_taken(ipam, &candidate)) {
			*ret = candidate;
			return true;
		}
		++*others;
	}
	return false;
}

/* The one of this block that has rested longest; null when none rests. */
static struct entry *longest_rest(struct ipam *ipam, int family)
{
	struct entry *entry;

	DL_FOREACH(ipam->resting, entry)
	{
		if (block_offers(&ipam->block[family], &entry->addr) && !is_taken(ipam, &entry->addr))
			return entry;
	}
	return NULL;
}

static int64_t shortest_rest_ms(const struct ipam *ipam)
{
	unsigned s = ipam->options.cooldown_s < IPAM_REST_MIN_S ? ipam->options.cooldown_s : IPAM_REST_MIN_S;

	return (int64_t)s * 1000;
}

static int exhausted(
	struct ipam *ipam, int family, int64_t now, size_t others, const struct entry *next, struct err *err)
{
	const struct prefix *block = &ipam->block[family];
	size_t in_use = 0, resting = 0;
	char text[PREFIX_TEXT_MAX], when[80];
	struct entry *entry, *following;

	HASH_ITER(hh, ipam->entries, entry, following)
	{
		if (block_offers(block, &entry->addr))
			*(entry->owner ? &in_use : &resting) += 1;
	}
	if (next)
		snprintf(when, sizeof(when), "one becomes free in %lld ms",
			(long long)(next->since + shortest_rest_ms(ipam) - now));
	else
		snprintf(when, sizeof(when), "one becomes free when a pod is deleted");
	return err_set(err, -ENOSPC,
		"block %s: no address is free: %zu in all, %zu in use, %zu resting, %zu of others; %s",
		prefix_format(block, text), block_room(block), in_use, resting, others, when);
}

int ipam_take(
	struct ipam *ipam, int family_index, uint64_t owner, int64_t now, struct addr *ret, struct err *err)
{
	struct entry *rested;
	struct addr found;
	size_t others;
	int rc;

	if (!ipam_has_block(ipam, family_index))
		return err_set(
			err, -EAGAIN, "this node holds no IPv%d block yet", family_index == FAMILY_4 ? 4 : 6);
	expire(ipam, now);
	if (!find_free(ipam, family_index, &found, &others)) {
		rested = longest_rest(ipam, family_index);
		if (!rested || rested->since + shortest_rest_ms(ipam) > now)
			return exhausted(ipam, family_index, now, others, rested, err);
		found = rested->addr;
	}
	rc = assign(ipam, &found, owner, err);
	if (rc == 0)
		*ret = found;
	return rc;
}

int ipam_take_wish(struct ipam *ipam, const struct addr *addr, uint64_t owner, int64_t now, struct err *err)
{
	const struct prefix *block = &ipam->block[family_index(addr_family(addr))];
	char text[ADDR_TEXT_MAX], block_text[PREFIX_TEXT_MAX];
	const struct entry *entry;

	addr_format(addr, text);
	if (!prefix_is_set(block))
		return err_set(
			err, -EINVAL, "requested address %s: this node has no block of that family", text);
	prefix_format(block, block_text);
	if (!prefix_contains(block, addr))
		return err_set(err, -EINVAL, "requested address %s: expected one of this node's block %s",
			text, block_text);
	if (!block_offers(block, addr))
		return err_set(err, -EINVAL,
			"requested address %s: reserved in block %s (network, gateway, broadcast)", text,
			block_text);
	expire(ipam, now);
	entry = entry_find(ipam, addr);
	if (entry && entry->owner)
		return err_set(err, -ENOSPC, "requested address %s: in use by another pod", text);
	if (entry && entry->since + shortest_rest_ms(ipam) > now)
		return err_set(err, -ENOSPC,
			"requested address %s: released just now, it rests for %lld ms more", text,
			(long long)(entry->since + shortest_rest_ms(ipam) - now));
	if (is_taken(ipam, addr))
		return err_set(err, -ENOSPC,
			"requested address %s: taken by another interface or by host-local", text);
	return assign(ipam, addr, owner, err);
}

uint64_t ipam_hold(struct ipam *ipam, const struct addr *addr, uint64_t owner, int *ret_error)
{
	struct entry *entry = entry_get(ipam, addr);
	uint64_t before;

	*ret_error = entry ? 0 : -ENOMEM;
	if (!entry)
		return 0;
	before = entry->owner == owner ? 0 : entry->owner;
	entry_wake(ipam, entry);
	entry->owner = owner;
	ipam->last[family_index(addr_family(addr))] = *addr;
	return before;
}

int ipam_hold_resting(struct ipam *ipam, const struct addr *addr, int64_t since)
{
	struct entry *entry = entry_get(ipam, addr);

	if (!entry)
		return -ENOMEM;
	if (!entry->owner)
		entry_rest(ipam, entry, since);
	return 0;
}

void ipam_rest(struct ipam *ipam, const struct addr *addr, uint64_t owner, int64_t now)
{
	struct entry *entry = entry_find(ipam, addr);

	if (entry && entry->owner == owner)
		entry_rest(ipam, entry, now);
}

void ipam_drop(struct ipam *ipam, const struct addr *addr, uint64_t owner)
{
	struct entry *entry = entry_find(ipam, addr);

	if (entry && entry->owner == owner)
		entry_free(ipam, entry);
}

void ipam_each_resting(const struct ipam *ipam, int64_t now,
	int (*each)(void *ctx, const struct addr *, int64_t since), void *ctx)
{
	const struct entry *entry;

	DL_FOREACH(ipam->resting, entry)
	{
		if (entry->since + (int64_t)ipam->options.cooldown_s * 1000 > now &&
			each(ctx, &entry->addr, entry->since) < 0)
			return;
	}
}

void ipam_count(struct ipam *ipam, int family_index, int64_t now, struct ipam_counts *ret)
{
	const struct prefix *block = &ipam->block[family_index];
	struct ipam_counts counts = {.free = block_room(block)};
	int family = family_index == FAMILY_4 ? AF_INET : AF_INET6;
	struct entry *entry, *next;

	expire(ipam, now);
	HASH_ITER(hh, ipam->entries, entry, next)
	{
		if (addr_family(&entry->addr) != family)
			continue;
		*(entry->owner ? &counts.in_use : &counts.resting) += 1;
		if (counts.free != SIZE_MAX && block_offers(block, &entry->addr))
			counts.free--;
	}
	*ret = counts;
}
