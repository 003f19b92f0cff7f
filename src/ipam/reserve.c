/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam/reserve_work.h"

#include "base/cleanup.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <utlist.h>

#define LOW_DEFAULT 8u
#define HIGH_DEFAULT 16u
#define LOW_MOST 16u /* after bursts */
#define HIGH_MOST 64u
#define LOW_SHARE 64u
#define HIGH_SHARE 32u

int64_t reserve_now(const struct reserve *reserve)
{
	struct timespec now;

	if (reserve->options.now)
		return reserve->options.now(reserve->options.ctx);
	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void reserve_report(struct reserve *reserve, const char *text)
{
	if (reserve->options.report)
		reserve->options.report(reserve->options.ctx, text);
}

/* -- slots -- */

struct slot *slot_find(const struct reserve *reserve, const struct addr *addr)
{
	struct slot *slot;

	HASH_FIND(hh, reserve->slots, addr, sizeof(*addr), slot);
	return slot;
}

struct slot *slot_add(struct reserve *reserve, const struct addr *addr)
{
	const struct ipam_world *world = allocator_world(reserve->allocator);
	const struct ipam_pool *pool = world ? ipam_world_pool_of(world, addr) : NULL;
	struct slot *slot = pool ? calloc(1, sizeof(*slot)) : NULL;

	if (!slot)
		return NULL;
	slot->addr = *addr;
	slot->block = ipam_block_of(addr, pool->block_len);
	HASH_ADD(hh, reserve->slots, addr, sizeof(slot->addr), slot);
	DL_APPEND(reserve->turn, slot);
	return slot;
}

void slot_free(struct reserve *reserve, struct slot *slot)
{
	HASH_DEL(reserve->slots, slot);
	DL_DELETE(reserve->turn, slot);
	owned_owner_free(&slot->pod);
	free(slot->shown);
	free(slot->maybe);
	free(slot->writing);
	free(slot);
}

static bool slot_is_ours(const struct slot *slot)
{
	return !slot->owner && slot->shown && !slot->doubt && !slot->surplus && !slot->writing && !slot->lost;
}

bool slot_is_ready_at(const struct slot *slot, int64_t now)
{
	return slot_is_ours(slot) && slot->rest_until <= now && slot->kept_until <= now;
}

bool slot_is_ready(const struct reserve *reserve, const struct slot *slot, bool wish)
{
	int64_t now = reserve_now(reserve);

	return slot_is_ours(slot) && slot->rest_until <= now && (wish || slot->kept_until <= now);
}

bool slot_suits(const struct reserve *reserve, const struct slot *slot, const struct demand *demand)
{
	if (ipam_world_reserves(allocator_world(reserve->allocator), &slot->addr))
		return false;
	for (size_t i = 0; i < demand->pool_count; i++) {
		if (prefix_contains(&demand->pools[i], &slot->addr))
			return true;
	}
	return false;
}

/* -- life -- */

static void timer_ran(evutil_socket_t fd, short what, void *ctx)
{
	struct reserve *reserve = ctx;

	reserve->paused = reserve->soon = false;
	reserve_tell(reserve); /* something may have rested for long enough */
	reserve_step(reserve);
}

static int make_owners(struct reserve *reserve)
{
	static const enum ipam_tunnel tunnels[FAMILY_COUNT] = {IPAM_TUNNEL_VXLAN, IPAM_TUNNEL_VXLAN_6};
	const char *node = allocator_node(reserve->allocator);

	if (ipam_reserve_handle(node, reserve->handle) < 0)
		return -EMSGSIZE;
	/* Real kube-controllers judge an address of such a type by the existence of its node, which is what
	 * we want: no pod has it, and it must go with the node (reference/calico.md 3.9). */
	for (int f = 0; f < FAMILY_COUNT; f++) {
		reserve->owner[f].handle = reserve->handle;
		reserve->owner[f].attributes =
			json_pack("{s:s, s:s}", "node", node, "type", ipam_tunnel_type(tunnels[f]));
		if (!reserve->owner[f].attributes)
			return -ENOMEM;
	}
	return 0;
}

int reserve_new(struct event_base *base, struct allocator *allocator, const struct reserve_options *options,
	struct reserve **ret)
{
	struct reserve *reserve = calloc(1, sizeof(*reserve));
	int rc = -ENOMEM;

	if (!reserve)
		return rc;
	reserve->options = *options;
	reserve->allocator = allocator;
	reserve->look_all = true;
	reserve->timer = evtimer_new(base, timer_ran, reserve);
	if (reserve->timer)
		rc = make_owners(reserve);
	if (rc < 0) {
		reserve_free(reserve);
		return rc;
	}
	*ret = reserve;
	return 0;
}

void demand_free(struct reserve *reserve, struct demand *demand)
{
	DL_DELETE(reserve->demands, demand);
	free(demand->pools);
	free(demand);
}

void reserve_free(struct reserve *reserve)
{
	struct fetch *fetch, *next;

	if (!reserve)
		return;
	ipam_cancel(reserve->call);
	while (reserve->turn)
		slot_free(reserve, reserve->turn);
	while (reserve->demands)
		demand_free(reserve, reserve->demands);
	DL_FOREACH_SAFE(reserve->fetches, fetch, next)
	free(fetch);
	DL_FOREACH_SAFE(reserve->refused, fetch, next)
	free(fetch);
	for (int f = 0; f < FAMILY_COUNT; f++)
		json_decref(reserve->owner[f].attributes);
	if (reserve->timer)
		event_free(reserve->timer);
	free(reserve);
}

/* -- what the journal has -- */

int reserve_hold(struct reserve *reserve, const struct addr *addr, uint64_t owner,
	const struct ipam_owner *pod, uint64_t *ret_before)
{
	struct slot *slot = slot_find(reserve, addr);
	struct owned_owner copy = {0};

	if (owner_copy(pod, &copy) < 0) {
		owned_owner_free(&copy);
		return -ENOMEM;
	}
	if (!slot)
		slot = slot_add(reserve, addr);
	if (!slot) {
		owned_owner_free(&copy);
		return -EINVAL;
	}
	*ret_before = slot->owner == owner ? 0 : slot->owner;
	owned_owner_free(&slot->pod);
	slot->owner = owner;
	slot->pod = copy;
	slot->doubt = true;
	return 0;
}

int reserve_hold_resting(struct reserve *reserve, const struct addr *addr, int64_t until)
{
	struct slot *slot = slot_find(reserve, addr);

	if (!slot)
		slot = slot_add(reserve, addr);
	if (!slot)
		return -EINVAL;
	slot->doubt = true;
	if (!slot->owner)
		slot->rest_until = until;
	return 0;
}

void reserve_start(struct reserve *reserve)
{
	reserve->started = true;
	reserve_step(reserve);
}

/* -- sets of pools -- */

static struct demand *demand_find(
	const struct reserve *reserve, int family_index, const struct ipam_pool *const *pools, size_t count)
{
	struct demand *demand;

	DL_FOREACH(reserve->demands, demand)
	{
		bool same = demand->family_index == family_index && demand->pool_count == count;

		for (size_t i = 0; same && i < count; i++)
			same = prefix_equal(&demand->pools[i], &pools[i]->cidr);
		if (same)
			return demand;
	}
	return NULL;
}

static size_t lesser(uint64_t a, size_t b)
{
	return a < b ? (size_t)a : b;
}

void demand_choose_size(const struct reserve *reserve, struct demand *demand)
{
	uint64_t room = 0;

	for (size_t i = 0; i < demand->pool_count; i++) {
		unsigned bits = (demand->pools[i].family == AF_INET ? 32u : 128u) - demand->pools[i].len;

		room += UINT64_C(1) << (bits < 32 ? bits : 32);
	}
	demand->low = reserve->options.low;
	demand->high = reserve->options.high;
	if (demand->low == 0)
		demand->low = lesser(room / LOW_SHARE, LOW_DEFAULT);
	if (demand->high == 0)
		demand->high = lesser(room / HIGH_SHARE, HIGH_DEFAULT);
	demand->most = reserve->options.high ? demand->high : lesser(room / HIGH_SHARE, HIGH_MOST);
	demand->grown = 0;
}

/* A burst of pods has used it up: the next one finds twice as many. */
static void grow(const struct reserve *reserve, struct demand *demand)
{
	if (!demand->served || demand->asked || demand->most <= HIGH_DEFAULT)
		return;
	demand->high = lesser(demand->high * 2, demand->most);
	demand->low = lesser(demand->high / 2, LOW_MOST);
	demand->grown = reserve_now(reserve);
}

/* The set that a wish means as things are, new if it must be. */
static int demand_get(
	struct reserve *reserve, const struct ipam_wish *wish, struct demand **ret, struct err *err)
{
	const struct ipam_world *world = allocator_world(reserve->allocator);
	_cleanup_free_ const struct ipam_pool **pools = NULL;
	struct demand *demand;
	size_t count = 0;
	int rc;

	if (!world)
		return err_set(err, -EAGAIN, "IPAM does not know the pools yet");
	rc = ipam_world_choose(world, wish, allocator_node(reserve->allocator), &pools, &count, err);
	if (rc < 0)
		return rc;
	demand = demand_find(reserve, wish->family_index, pools, count);
	if (!demand) {
		demand = calloc(1, sizeof(*demand));
		if (demand)
			demand->pools = calloc(count, sizeof(*demand->pools));
		if (!demand || !demand->pools) {
			free(demand);
			return err_set(err, -ENOMEM, "no memory for a set of pools");
		}
		demand->family_index = wish->family_index;
		for (size_t i = 0; i < count; i++)
			demand->pools[demand->pool_count++] = pools[i]->cidr;
		demand_choose_size(reserve, demand);
		DL_APPEND(reserve->demands, demand);
	}
	demand->used = reserve_now(reserve);
	*ret = demand;
	return 0;
}

int reserve_want(struct reserve *reserve, const struct ipam_wish *wish, struct err *err)
{
	struct demand *demand = NULL;
	int rc = demand_get(reserve, wish, &demand, err);

	if (rc < 0)
		return rc;
	demand->wanted = true;
	reserve_step(reserve);
	return 0;
}

void reserve_want_none(struct reserve *reserve)
{
	struct demand *demand;

	DL_FOREACH(reserve->demands, demand)
	demand->wanted = false;
}

/* -- pods -- */

static int give(struct reserve *reserve, struct slot *slot, uint64_t owner, const struct ipam_owner *pod,
	struct err *err)
{
	struct owned_owner copy = {0};

	if (owner_copy(pod, &copy) < 0) {
		owned_owner_free(&copy);
		return err_set(err, -ENOMEM, "no memory for an address");
	}
	slot->owner = owner;
	slot->pod = copy;
	slot->kept_until = 0;
	reserve_step_soon(reserve);
	return 0;
}

/* What has rested longest comes first. ahead: as things will be so many milliseconds from now. */
static struct slot *find_ready(const struct reserve *reserve, const struct demand *demand, int64_t ahead)
{
	struct slot *slot;

	DL_FOREACH(reserve->turn, slot)
	{
		if (slot_is_ready_at(slot, reserve_now(reserve) + ahead) && slot_suits(reserve, slot, demand))
			return slot;
	}
	return NULL;
}

/* There is no other one: an address may rest for less. */
static int64_t spared_rest(const struct reserve *reserve)
{
	unsigned rest_s = reserve->options.rest_s;

	return rest_s > RESERVE_REST_MIN_S ? (int64_t)(rest_s - RESERVE_REST_MIN_S) * 1000 : 0;
}

/* One is on its way back from a pod, and will have rested in a moment. */
static bool comes_back(const struct reserve *reserve, const struct demand *demand)
{
	int64_t soon = reserve_now(reserve) + spared_rest(reserve) + RESERVE_REST_MIN_S * 1000;
	const struct slot *slot;

	DL_FOREACH(reserve->turn, slot)
	{
		if (!slot->owner && !slot->lost && slot->rest_until <= soon && slot_suits(reserve, slot, demand))
			return true;
	}
	return false;
}

int reserve_take(struct reserve *reserve, const struct ipam_wish *wish, uint64_t owner,
	const struct ipam_owner *pod, struct addr *ret, struct err *err)
{
	struct demand *demand = NULL;
	struct slot *slot;
	bool failed;
	int rc = demand_get(reserve, wish, &demand, err);

	if (rc < 0)
		return rc;
	failed = demand->failed && demand->failed + RESERVE_FAILED_MS > reserve_now(reserve);
	slot = find_ready(reserve, demand, 0);
	if (!slot && failed)
		slot = find_ready(reserve, demand, spared_rest(reserve));
	if (slot) {
		demand->asked = false;
		rc = give(reserve, slot, owner, pod, err);
		if (rc < 0)
			return rc;
		*ret = slot->addr;
		if (reserve_is_low(reserve, demand))
			reserve_step(reserve); /* before a burst empties it */
		return 0;
	}
	/* who is told to wait waits for seconds; what rests for longer is none */
	if (failed && !comes_back(reserve, demand))
		return err_set(
			err, demand->err.code == -EINVAL ? -EINVAL : -ENOSPC, "%s", err_text(&demand->err));
	grow(reserve, demand);
	reserve->starved = demand->asked = true;
	reserve_step(reserve);
	return err_set(err, -EAGAIN, "no address at hand, the store is being asked for more");
}

static int fetch(struct reserve *reserve, const struct addr *addr, enum pool_use use, struct err *err)
{
	struct fetch *fetch;
	char text[ADDR_TEXT_MAX];

	DL_FOREACH(reserve->refused, fetch)
	{
		if (addr_equal(&fetch->addr, addr) && fetch->refused + RESERVE_FAILED_MS > reserve_now(reserve))
			return err_set(err, fetch->err.code == -EEXIST ? -ENOSPC : fetch->err.code, "%s", err_text(&fetch->err));
	}
	reserve->starved = true;
	DL_FOREACH(reserve->fetches, fetch)
	{
		if (addr_equal(&fetch->addr, addr))
			return err_set(err, -EAGAIN, "address %s: the store is being asked for it",
				addr_format(addr, text));
	}
	fetch = calloc(1, sizeof(*fetch));
	if (!fetch)
		return err_set(err, -ENOMEM, "no memory for an address");
	fetch->addr = *addr;
	fetch->use = use;
	DL_APPEND(reserve->fetches, fetch);
	reserve_step(reserve);
	return err_set(err, -EAGAIN, "address %s: the store is being asked for it", addr_format(addr, text));
}

int reserve_take_wish(struct reserve *reserve, const struct addr *addr, enum pool_use use, uint64_t owner,
	const struct ipam_owner *pod, struct err *err)
{
	const struct ipam_world *world = allocator_world(reserve->allocator);
	const struct ipam_pool *pool = world ? ipam_world_pool_of(world, addr) : NULL;
	struct slot *slot = slot_find(reserve, addr);
	char text[ADDR_TEXT_MAX];

	addr_format(addr, text);
	if (!world)
		return err_set(err, -EAGAIN, "IPAM does not know the pools yet");
	if (!pool || !pool->usable || !(pool->uses & (unsigned)use))
		return err_set(err, -EINVAL,
			"requested address %s: expected one of an enabled pool for this use", text);
	if (!slot)
		return fetch(reserve, addr, use, err);
	if (slot->owner)
		return err_set(err, -ENOSPC, "requested address %s: in use by another pod", text);
	if (slot->lost || (!slot->shown && !slot->doubt))
		return err_set(err, -ENOSPC, "requested address %s: somebody has it already", text);
	if (slot->doubt || slot->writing) {
		reserve->starved = true;
		return err_set(err, -EAGAIN, "requested address %s: the store is being asked for it", text);
	}
	slot->surplus = false;
	return give(reserve, slot, owner, pod, err);
}

static void let_go(struct reserve *reserve, const struct addr *addr, uint64_t owner, unsigned rest_s, bool surplus)
{
	struct slot *slot = slot_find(reserve, addr);

	if (!slot || slot->owner != owner)
		return;
	slot->owner = 0;
	owned_owner_free(&slot->pod);
	slot->rest_until = rest_s ? reserve_now(reserve) + (int64_t)rest_s * 1000 : 0;
	slot->surplus = surplus;
	if (slot->lost || (!slot->shown && !slot->doubt && !slot->writing)) {
		slot_free(reserve, slot);
		return;
	}
	/* to the end of the queue: what was released last is used last */
	DL_DELETE(reserve->turn, slot);
	DL_APPEND(reserve->turn, slot);
	reserve_step_soon(reserve);
}

void reserve_pass(struct reserve *reserve, const struct addr *addr, uint64_t from, uint64_t to)
{
	struct slot *slot = slot_find(reserve, addr);

	if (slot && slot->owner == from)
		slot->owner = to;
}

/* Some set of pools of which addresses are kept has it. */
static bool is_of_batch(const struct reserve *reserve, const struct slot *slot)
{
	const struct demand *demand;

	if (!allocator_world(reserve->allocator))
		return true;
	DL_FOREACH(reserve->demands, demand)
	{
		if (demand->low && slot_suits(reserve, slot, demand))
			return true;
	}
	return false;
}

void reserve_rest(struct reserve *reserve, const struct addr *addr, uint64_t owner)
{
	struct slot *slot = slot_find(reserve, addr);
	unsigned rest_s = reserve->options.rest_s;

	/* of a small pool somebody elsewhere may wait for it */
	if (slot && !is_of_batch(reserve, slot) && rest_s > RESERVE_REST_MIN_S)
		rest_s = RESERVE_REST_MIN_S;
	let_go(reserve, addr, owner, rest_s, false);
}

void reserve_return(struct reserve *reserve, const struct addr *addr, uint64_t owner)
{
	let_go(reserve, addr, owner, 0, true);
}

void reserve_drop(struct reserve *reserve, const struct addr *addr, uint64_t owner)
{
	let_go(reserve, addr, owner, 0, false);
}

/* -- what is seen of the store -- */

static bool is_as_believed(const struct slot *slot, const struct ipam_block *block)
{
	int ordinal = ipam_block_ordinal(block, &slot->addr);
	const struct ipam_attr *attr = ordinal < 0 ? NULL : ipam_block_owner(block, (unsigned)ordinal);

	return slot->shown && ipam_attr_in_use(attr) && attr->handle &&
	       ipam_handle_equal(attr->handle, slot->shown);
}

/* Old news look like a change: whether it is one, the store itself must say. */
static void raise_doubts(struct reserve *reserve, const struct prefix *cidr, const struct ipam_block *block)
{
	struct slot *slot;
	bool doubt = false;

	DL_FOREACH(reserve->turn, slot)
	{
		if (slot->lost || !prefix_contains(cidr, &slot->addr) ||
			(block && is_as_believed(slot, block)))
			continue;
		slot->doubt = doubt = true;
	}
	if (doubt)
		reserve_step(reserve);
}

/* Blocks of all nodes are told: most are none of ours. */
static bool concerns(const struct reserve *reserve, const json_t *object)
{
	const char *text = json_string_value(json_object_get(json_object_get(object, "spec"), "cidr"));
	const struct slot *slot;
	struct prefix cidr;

	if (!text || prefix_parse(text, &cidr) < 0)
		return false;
	DL_FOREACH(reserve->turn, slot)
	{
		if (prefix_contains(&cidr, &slot->addr))
			return true;
	}
	return false;
}

void reserve_block_put(struct reserve *reserve, const json_t *object)
{
	struct ipam_block *block = NULL;

	if (!concerns(reserve, object) || ipam_block_decode(object, &block, NULL) < 0)
		return;
	raise_doubts(reserve, &block->cidr, block);
	ipam_block_free(&block);
}

void reserve_block_gone(struct reserve *reserve, const struct prefix *cidr)
{
	raise_doubts(reserve, cidr, NULL);
}

void reserve_block_unseen(struct reserve *reserve)
{
	struct slot *slot;

	DL_FOREACH(reserve->turn, slot)
	slot->doubt = slot->doubt || !slot->lost;
	reserve->look_all = true;
	reserve_step(reserve);
}

/* -- questions -- */

uint64_t reserve_owner(const struct reserve *reserve, const struct addr *addr)
{
	const struct slot *slot = slot_find(reserve, addr);

	return slot ? slot->owner : 0;
}

bool reserve_knows(const struct reserve *reserve, const struct addr *addr)
{
	/* while addresses are being fetched nobody knows which ones */
	return slot_find(reserve, addr) || reserve->filling || reserve->fetching || reserve->look_all;
}

void reserve_count(const struct reserve *reserve, int family_index, struct reserve_counts *ret)
{
	struct reserve_counts counts = {0};
	const struct slot *slot;

	DL_FOREACH(reserve->turn, slot)
	{
		if (addr_is_4(&slot->addr) != (family_index == FAMILY_4))
			continue;
		counts.in_use += slot->owner != 0;
		counts.free += slot_is_ready(reserve, slot, true);
		counts.resting += !slot->owner && slot->rest_until > reserve_now(reserve);
		counts.behind += slot->owner && !slot->lost &&
				 (!slot->shown || !ipam_handle_equal(slot->shown, slot->pod.handle));
	}
	*ret = counts;
}

void reserve_each_resting(const struct reserve *reserve,
	int (*each)(void *ctx, const struct addr *addr, int64_t until), void *ctx)
{
	const struct slot *slot;

	DL_FOREACH(reserve->turn, slot)
	{
		if (!slot->owner && slot->rest_until > reserve_now(reserve) &&
			each(ctx, &slot->addr, slot->rest_until) < 0)
			return;
	}
}
