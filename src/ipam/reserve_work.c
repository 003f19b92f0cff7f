/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam/reserve_work.h"

#include "base/cleanup.h"

#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define CHANGES_MAX 64u
#define IDLE_MS 600000 /* a set of pools that nobody drew from for this long needs no batch */
#define EMPTY_MS 30000
#define PAUSE_MS 100u
#define PAUSE_MAX_MS 10000u

static bool same_handle(const char *a, const char *b)
{
	return a && b ? ipam_handle_equal(a, b) : a == b;
}

/* What the store ought to show; null: nothing. */
static const char *wanted_handle(const struct reserve *reserve, const struct slot *slot)
{
	if (slot->owner)
		return slot->pod.handle;
	return slot->surplus ? NULL : reserve->handle;
}

static bool is_behind(const struct reserve *reserve, const struct slot *slot)
{
	return !slot->lost && !slot->doubt && !same_handle(slot->shown, wanted_handle(reserve, slot));
}

/* -- ends -- */

static void pause_for(struct reserve *reserve, unsigned ms)
{
	struct timeval wait = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

	reserve->paused = true;
	reserve->soon = false;
	evtimer_add(reserve->timer, &wait);
}

/* Nobody knows what happened: the store is read again, after a while. */
static void failed(struct reserve *reserve, const char *text)
{
	unsigned ms = PAUSE_MS << (reserve->failures < 7 ? reserve->failures : 7);

	if (!reserve->troubled)
		reserve_report(reserve, text);
	reserve->troubled = true;
	reserve->failures++;
	reserve->look_all = true;
	pause_for(reserve, ms < PAUSE_MAX_MS ? ms : PAUSE_MAX_MS);
}

static void succeeded(struct reserve *reserve)
{
	if (reserve->troubled)
		reserve_report(reserve, "");
	reserve->troubled = false;
	reserve->failures = 0;
}

static bool is_final(int rc)
{
	return rc == -EINVAL || rc == -ENOSPC || rc == -EEXIST || rc == -EPERM || rc == -EDQUOT;
}

/* A refusal is an answer, too: the store works. */
static void note(struct reserve *reserve, const struct ipam_result *result)
{
	if (result->rc < 0 && !is_final(result->rc))
		failed(reserve, result->text);
	else
		succeeded(reserve);
}

void reserve_tell(struct reserve *reserve)
{
	bool starved = reserve->starved;

	reserve->starved = false;
	if (starved && reserve->options.ready)
		reserve->options.ready(reserve->options.ctx);
}

static int show(struct slot *slot, const char *handle)
{
	char *copy = handle ? strdup(handle) : NULL;

	if (handle && !copy)
		return -ENOMEM;
	free(slot->shown);
	slot->shown = copy;
	slot->homeless = slot->homeless && !copy;
	return 0;
}

static void set_lost(struct reserve *reserve, struct slot *slot)
{
	show(slot, NULL);
	slot->lost = true;
	if (reserve->options.lost)
		reserve->options.lost(reserve->options.ctx, &slot->addr, slot->owner);
}

/* -- look: what does the store show? -- */

/* This node's, under a handle that we may replace. What the store showed before is known while we run; after
 * a start it may be any pod's that this node had: the journal says whose the address is now. */
static bool is_ours(const struct reserve *reserve, const struct slot *slot, const struct ipam_attr *attr)
{
	const char *node = ipam_attr_get(attr, "node");

	if (same_handle(attr->handle, reserve->handle) || same_handle(attr->handle, slot->shown) ||
		(slot->maybe && same_handle(attr->handle, slot->maybe)) ||
		(slot->owner && same_handle(attr->handle, slot->pod.handle)))
		return true;
	return !slot->shown && attr->handle && node &&
	       strcmp(node, allocator_node(reserve->allocator)) == 0 && !ipam_attr_get(attr, "type");
}

static void judge(struct reserve *reserve, struct slot *slot, const struct ipam_block *block)
{
	int ordinal = block ? ipam_block_ordinal(block, &slot->addr) : -1;
	const struct ipam_attr *attr = ordinal < 0 ? NULL : ipam_block_owner(block, (unsigned)ordinal);

	if (ipam_attr_in_use(attr) && is_ours(reserve, slot, attr)) {
		slot->doubt = show(slot, attr->handle) < 0;
		free(slot->maybe);
		slot->maybe = NULL;
		return;
	}
	slot->doubt = false;
	slot->homeless = !block;
	if (!slot->owner)
		slot_free(reserve, slot);
	else if (ipam_attr_in_use(attr))
		set_lost(reserve, slot);
	else
		show(slot, NULL); /* nobody's: the pod takes it again */
}

/* Addresses that an earlier run has reserved, or a request whose answer was lost. */
static void adopt(struct reserve *reserve, const struct ipam_block *block)
{
	for (unsigned i = 0; i < block->count; i++) {
		const struct ipam_attr *attr = ipam_block_owner(block, i);
		struct addr addr = ipam_block_addr(block, i);
		struct slot *slot;

		if (!ipam_attr_in_use(attr) || !same_handle(attr->handle, reserve->handle) ||
			slot_find(reserve, &addr))
			continue;
		slot = slot_add(reserve, &addr);
		if (slot && show(slot, reserve->handle) < 0)
			slot_free(reserve, slot);
	}
}

static void judge_block(struct reserve *reserve, const struct ipam_look *look)
{
	struct slot *slot, *next;

	DL_FOREACH_SAFE(reserve->turn, slot, next)
	{
		if (prefix_equal(&slot->block, &look->cidr) && !slot->lost)
			judge(reserve, slot, look->block);
	}
	if (look->block)
		adopt(reserve, look->block);
}

/* What lies in a block that is damaged keeps its doubts, and must not keep the others from going on. */
static void put_off(struct reserve *reserve, const struct ipam_result *result)
{
	struct slot *slot;

	DL_FOREACH(reserve->turn, slot)
	{
		if (slot->doubt)
			slot->look_after = reserve_now(reserve) + PAUSE_MAX_MS;
	}
	if (reserve->damaged != (result->rc < 0))
		reserve_report(reserve, result->text);
	reserve->damaged = result->rc < 0;
}

static void looked(void *ctx, const struct ipam_result *result)
{
	struct reserve *reserve = ctx;

	reserve->call = NULL;
	if (result->rc < 0 && result->rc != -EINVAL) {
		failed(reserve, result->text);
		return;
	}
	for (size_t i = 0; i < result->look_count; i++)
		judge_block(reserve, &result->looks[i]);
	reserve->look_all = false;
	succeeded(reserve);
	put_off(reserve, result);
	reserve_tell(reserve);
	reserve_step(reserve);
}

static bool needs_look(const struct reserve *reserve, const struct slot *slot)
{
	return slot->doubt && slot->look_after <= reserve_now(reserve);
}

static bool begin_look(struct reserve *reserve)
{
	_cleanup_free_ struct prefix *cidrs = calloc(HASH_COUNT(reserve->slots) + 1, sizeof(*cidrs));
	struct slot *slot;
	size_t count = 0;

	DL_FOREACH(reserve->turn, slot)
	{
		bool known = false;

		for (size_t i = 0; i < count && !known; i++)
			known = prefix_equal(&cidrs[i], &slot->block);
		if (cidrs && !known && (needs_look(reserve, slot) || reserve->look_all))
			cidrs[count++] = slot->block;
	}
	if (!cidrs || (count == 0 && !reserve->look_all))
		return false;
	reserve->call = allocator_look(reserve->allocator, reserve->look_all ? reserve->handle : NULL, cidrs,
		count, looked, reserve);
	return true;
}

/* -- fill: more addresses for a set of pools -- */

static void add_addresses(struct reserve *reserve, const struct ipam_result *result, bool kept)
{
	for (size_t i = 0; i < result->count; i++) {
		struct slot *slot = slot_find(reserve, &result->addrs[i]);

		if (!slot)
			slot = slot_add(reserve, &result->addrs[i]);
		if (!slot || show(slot, reserve->handle) < 0) {
			reserve->look_all = true;
			continue;
		}
		slot->doubt = false;
		if (kept)
			slot->kept_until = reserve_now(reserve) + 60000;
	}
}

static void filled(void *ctx, const struct ipam_result *result)
{
	struct reserve *reserve = ctx;
	struct demand *demand = reserve->filling;

	reserve->call = NULL;
	reserve->filling = NULL;
	add_addresses(reserve, result, false);
	demand->asked = false;
	demand->failed = is_final(result->rc) ? reserve_now(reserve) : 0;
	demand->served |= result->rc == 0;
	if (demand->failed)
		err_set(&demand->err, result->rc, "%s", result->text);
	note(reserve, result);
	/* its pools are gone or closed: whoever still wants them says so again */
	if (result->rc == -EINVAL && !demand->wanted)
		demand_free(reserve, demand);
	reserve_tell(reserve);
	reserve_step(reserve);
}

/* Free, or free as soon as it is written. */
static size_t count_batch(const struct reserve *reserve, const struct demand *demand)
{
	int64_t now = reserve_now(reserve);
	const struct slot *slot;
	size_t count = 0;

	DL_FOREACH(reserve->turn, slot)
	{
		if (!slot->owner && !slot->surplus && !slot->lost && !slot->doubt &&
			slot->kept_until <= now && slot->rest_until <= now &&
			slot_suits(reserve, slot, demand))
			count++;
	}
	return count;
}

bool reserve_is_low(const struct reserve *reserve, const struct demand *demand)
{
	return count_batch(reserve, demand) < demand->low;
}

/* Pools that are used up are asked for again soon only if somebody waits. */
static int64_t fill_again(const struct demand *demand)
{
	return demand->asked ? RESERVE_FAILED_MS : EMPTY_MS;
}

static bool begin_fill(struct reserve *reserve)
{
	int64_t now = reserve_now(reserve);
	struct demand *demand;

	DL_FOREACH(reserve->demands, demand)
	{
		size_t have = count_batch(reserve, demand), low = demand->low, high = demand->high;
		bool strict = allocator_world(reserve->allocator)->config.strict_affinity;
		struct ipam_assign request = {
			.wish = {demand->family_index, POOL_USE_WORKLOAD, demand->pools, demand->pool_count,
				NULL},
			.owner = reserve->owner[demand->family_index],
		};

		if (low == 0 && demand->asked)
			low = 1;
		if (have >= low || (demand->failed && demand->failed + fill_again(demand) > now))
			continue;
		/* for the sake of a full batch no new block is claimed and none is borrowed from */
		request.count = low - have;
		request.extra = high > low ? high - low : 0;
		if (strict)
			request.extra = IPAM_BLOCK_MAX; /* nobody else may have them anyway */
		reserve->filling = demand;
		reserve->call = allocator_assign(reserve->allocator, &request, filled, reserve);
		return true;
	}
	return false;
}

/* -- fetch: one address that was asked for -- */

/* Somebody has it, and may be about to give it back. */
static bool is_worth_waiting(const struct reserve *reserve, struct fetch *fetch, int rc)
{
	int64_t now = reserve_now(reserve);

	if (rc != -EEXIST)
		return false;
	if (!fetch->taken)
		fetch->taken = now;
	fetch->again = now + RESERVE_TAKEN_EVERY_MS;
	return fetch->again <= fetch->taken + reserve->options.taken_ms;
}

static void fetched(void *ctx, const struct ipam_result *result)
{
	struct reserve *reserve = ctx;
	struct fetch *fetch = reserve->fetching;

	reserve->call = NULL;
	reserve->fetching = NULL;
	add_addresses(reserve, result, true);
	if (is_worth_waiting(reserve, fetch, result->rc)) {
		succeeded(reserve);
		reserve_step(reserve);
		return;
	}
	DL_DELETE(reserve->fetches, fetch);
	if (is_final(result->rc)) {
		fetch->refused = reserve_now(reserve);
		err_set(&fetch->err, result->rc, "%s", result->text);
		DL_APPEND(reserve->refused, fetch);
	} else {
		free(fetch);
	}
	note(reserve, result);
	reserve_tell(reserve);
	reserve_step(reserve);
}

static bool begin_fetch(struct reserve *reserve)
{
	int64_t now = reserve_now(reserve);
	struct fetch *fetch;

	DL_FOREACH(reserve->fetches, fetch)
	{
		if (fetch->again <= now)
			break;
	}
	if (!fetch)
		return false;
	reserve->fetching = fetch;
	reserve->call = allocator_assign_addr(reserve->allocator, &fetch->addr, fetch->use,
		&reserve->owner[family_index(addr_family(&fetch->addr))], fetched, reserve);
	return true;
}

/* -- change: whose they are, many in one write -- */

static void end_change(struct reserve *reserve, struct slot *slot, int rc)
{
	_cleanup_free_ char *written = TAKE_PTR(slot->writing);

	if (rc == -ESTALE && !slot->shown && slot->owner) {
		set_lost(reserve, slot); /* it was nobody's, and somebody was faster */
	} else if (rc == -ENOENT && !slot->shown && slot->owner) {
		slot->homeless = true; /* there is not even a block */
	} else if (rc < 0) {
		slot->doubt = true;
		free(slot->maybe);
		slot->maybe = TAKE_PTR(written);
	} else if (!*written) {
		/* given back; a pod that came meanwhile cannot be: surplus is not handed out */
		slot_free(reserve, slot);
	} else {
		free(slot->shown);
		slot->shown = TAKE_PTR(written);
	}
}

static void changed(void *ctx, const struct ipam_result *result)
{
	struct reserve *reserve = ctx;
	struct slot *slot, *next;

	reserve->call = NULL;
	DL_FOREACH_SAFE(reserve->turn, slot, next)
	{
		if (slot->writing)
			end_change(reserve, slot, result->rc < 0 ? result->rc : result->rcs[slot->change]);
	}
	if (result->rc < 0)
		failed(reserve, result->text);
	else
		succeeded(reserve);
	reserve_tell(reserve);
	reserve_step(reserve);
}

static int mark(struct reserve *reserve, struct slot *slot, struct ipam_change *change)
{
	const char *handle = wanted_handle(reserve, slot);

	slot->writing = strdup(handle ? handle : "");
	if (!slot->writing)
		return -ENOMEM;
	change->addr = slot->addr;
	change->from = slot->shown;
	if (slot->owner)
		change->to = owner_borrow(&slot->pod);
	else if (handle)
		change->to = reserve->owner[family_index(addr_family(&slot->addr))];
	return 0;
}

static bool begin_change(struct reserve *reserve)
{
	struct ipam_change changes[CHANGES_MAX] = {0};
	struct prefix block = {0};
	struct slot *slot;
	size_t count = 0;

	DL_FOREACH(reserve->turn, slot)
	{
		if (!is_behind(reserve, slot) || slot->homeless || count == CHANGES_MAX ||
			(count && !prefix_equal(&block, &slot->block)))
			continue;
		block = slot->block;
		if (mark(reserve, slot, &changes[count]) < 0)
			break;
		slot->change = count++;
	}
	if (count == 0)
		return false;
	reserve->call = allocator_change(reserve->allocator, &block, changes, count, changed, reserve);
	return true;
}

/* -- claim: a pod's address that is in no block, as after another IPAM had given it -- */

static void claimed(void *ctx, const struct ipam_result *result)
{
	struct reserve *reserve = ctx;
	struct slot *slot;

	reserve->call = NULL;
	DL_FOREACH(reserve->turn, slot)
	{
		if (slot->writing)
			break;
	}
	slot->homeless = false;
	if (is_final(result->rc) && slot->owner) {
		free(slot->writing);
		slot->writing = NULL;
		set_lost(reserve, slot);
	} else {
		end_change(reserve, slot, result->rc);
	}
	note(reserve, result);
	reserve_tell(reserve);
	reserve_step(reserve);
}

static bool begin_claim(struct reserve *reserve)
{
	struct ipam_change change = {0};
	struct slot *slot;

	DL_FOREACH(reserve->turn, slot)
	{
		if (slot->homeless && slot->owner && is_behind(reserve, slot))
			break;
	}
	if (!slot || mark(reserve, slot, &change) < 0)
		return false;
	reserve->call = allocator_assign_addr(
		reserve->allocator, &slot->addr, POOL_USE_WORKLOAD, &change.to, claimed, reserve);
	return true;
}

/* -- what nobody needs -- */

static bool is_wanted(struct reserve *reserve, const struct slot *slot)
{
	struct demand *demand;

	DL_FOREACH(reserve->demands, demand)
	{
		if (slot_suits(reserve, slot, demand))
			return true;
	}
	return false;
}

static void trim_demand(struct reserve *reserve, struct demand *demand)
{
	size_t have = count_batch(reserve, demand), most = demand->high * 2;
	struct slot *slot;

	if (allocator_world(reserve->allocator)->config.strict_affinity)
		return;
	/* the longest free ones first: they have rested, and go to the end of the block's queue */
	DL_FOREACH(reserve->turn, slot)
	{
		if (have <= most)
			return;
		if (!slot_is_ready(reserve, slot, false) || !slot_suits(reserve, slot, demand))
			continue;
		slot->surplus = true;
		have--;
	}
}

static void trim_refused(struct reserve *reserve)
{
	struct fetch *fetch, *next;

	DL_FOREACH_SAFE(reserve->refused, fetch, next)
	{
		if (fetch->refused + RESERVE_FAILED_MS > reserve_now(reserve))
			continue;
		DL_DELETE(reserve->refused, fetch);
		free(fetch);
	}
}

static void trim(struct reserve *reserve)
{
	int64_t now = reserve_now(reserve);
	struct demand *demand, *next;
	struct slot *slot, *next_slot;

	trim_refused(reserve);

	DL_FOREACH_SAFE(reserve->demands, demand, next)
	{
		if (!demand->wanted && demand->used + IDLE_MS < now) {
			demand_free(reserve, demand);
			continue;
		}
		if (demand->grown && demand->grown + IDLE_MS < now)
			demand_choose_size(reserve, demand);
		trim_demand(reserve, demand);
	}
	DL_FOREACH_SAFE(reserve->turn, slot, next_slot)
	{
		if (slot->lost && !slot->owner && slot->kept_until <= now)
			slot_free(reserve, slot);
		else if (slot_is_ready(reserve, slot, false) && !is_wanted(reserve, slot))
			slot->surplus = true;
	}
}

/* -- one thing after the other -- */

/* What becomes due by itself: addresses that have rested, sets of pools to be asked again. */
static void sleep_until_due(struct reserve *reserve)
{
	struct timeval wait = {.tv_sec = 1};

	if (reserve->starved || reserve->fetches)
		wait = (struct timeval){.tv_usec = RESERVE_TAKEN_EVERY_MS * 1000};
	if (!reserve->soon && (reserve->slots || reserve->demands || reserve->refused || reserve->fetches))
		evtimer_add(reserve->timer, &wait);
}

/* There was no memory to ask the store. */
static void abandon(struct reserve *reserve)
{
	struct slot *slot;

	reserve->filling = NULL;
	reserve->fetching = NULL;
	DL_FOREACH(reserve->turn, slot)
	{
		free(slot->writing);
		slot->writing = NULL;
	}
	failed(reserve, "no memory for a request to the store");
}

void reserve_step(struct reserve *reserve)
{
	if (!reserve->started || reserve->call || reserve->paused || !allocator_world(reserve->allocator))
		return;
	if (!begin_look(reserve)) {
		trim(reserve);
		if (!begin_fetch(reserve) && !begin_fill(reserve) && !begin_change(reserve) && !begin_claim(reserve)) {
			sleep_until_due(reserve);
			return;
		}
	}
	if (!reserve->call)
		abandon(reserve);
}

void reserve_step_soon(struct reserve *reserve)
{
	struct timeval wait = {.tv_usec = (suseconds_t)reserve->options.behind_ms * 1000};

	if (reserve->options.behind_ms == 0) {
		reserve_step(reserve);
		return;
	}
	if (reserve->soon || reserve->call || reserve->paused)
		return; /* what ends first goes on with it */
	reserve->soon = true;
	evtimer_add(reserve->timer, &wait);
}

void reserve_retry(struct reserve *reserve)
{
	struct demand *demand;

	DL_FOREACH(reserve->demands, demand)
	demand->failed = 0;
	reserve->paused = false;
	reserve->failures = 0;
	reserve_step(reserve);
}

bool reserve_is_settled(const struct reserve *reserve)
{
	const struct slot *slot;

	if (!reserve->started || reserve->call || reserve->look_all || reserve->fetches)
		return false;
	DL_FOREACH(reserve->turn, slot)
	{
		if (slot->doubt || is_behind(reserve, slot))
			return false;
	}
	return true;
}
