/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "base/json.h"
#include "ipam/assign_block.h"
#include "ipam/blocks.h"
#include "ipam/handles.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Tunnel addresses are assigned like others, but for where they come from: a call of this kind is an
 * assignment first. */
struct tunnel {
	struct assign assign; /* first */
	enum ipam_tunnel tunnel;
	struct addr now;
	char handle[IPAM_HANDLE_MAX];
	json_t *attributes;
};

static void clean(struct ipam_call *call)
{
	struct tunnel *tunnel = (struct tunnel *)call;

	json_decref(tunnel->attributes);
	assign_clean(call);
}

static bool serves(const struct ipam_pool *pool, enum ipam_tunnel tunnel)
{
	int family = tunnel == IPAM_TUNNEL_VXLAN_6 ? AF_INET6 : AF_INET;

	return pool->usable && pool->selects_node && (pool->uses & POOL_USE_TUNNEL) &&
	       pool->cidr.family == family && (tunnel == IPAM_TUNNEL_IPIP ? pool->ipip : pool->vxlan);
}

/* What people keep for those who ask by name is taken only if there is nothing else: without an address for its tunnel
 * this node would reach none of the pods in such pools. */
static bool may_take_from(const struct tunnel *tunnel, const struct ipam_pool *pool)
{
	const struct ipam_world *world = tunnel->assign.call.task.world;

	for (size_t i = 0; pool->manual && i < world->pool_count; i++)
		if (!world->pools[i].manual && serves(&world->pools[i], tunnel->tunnel))
			return false;
	return serves(pool, tunnel->tunnel);
}

static bool may_be(const struct tunnel *tunnel, const struct addr *addr)
{
	const struct ipam_pool *pool = ipam_world_pool_of(tunnel->assign.call.task.world, addr);

	return pool && serves(pool, tunnel->tunnel);
}

static void found(struct tunnel *tunnel, const struct addr *addr)
{
	tunnel->assign.call.addrs[0] = *addr;
	tunnel->assign.call.count = 1;
}

/* One of the block's addresses that this tunnel of ours has. */
static bool find_in(struct tunnel *tunnel, const struct prefix *cidr, const struct addr *wanted)
{
	_cleanup_block_ struct ipam_block *block = NULL;

	if (block_get(&tunnel->assign.call.task, cidr, &block, NULL) < 0)
		return false;
	for (unsigned i = 0; i < block->count; i++) {
		const struct ipam_attr *attr = ipam_block_owner(block, i);
		struct addr addr = ipam_block_addr(block, i);

		if (ipam_attr_in_use(attr) && attr->handle &&
			ipam_handle_equal(attr->handle, tunnel->handle) && may_be(tunnel, &addr) &&
			(!wanted || addr_equal(wanted, &addr))) {
			found(tunnel, &addr);
			return true;
		}
	}
	return false;
}

/* The address that the handle has, of whichever run. */
static int find_held(struct tunnel *tunnel, const struct addr *wanted, struct err *err)
{
	struct task *task = &tunnel->assign.call.task;
	_cleanup_(json_cleanup) json_t *object = NULL;
	_cleanup_free_ struct prefix *blocks = NULL;
	size_t count = 0;
	int rc = handle_get(task, tunnel->handle, &object, err);

	if (rc == 0)
		rc = handle_blocks(object, &blocks, &count, err);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		if (find_in(tunnel, &blocks[i], wanted))
			return 0;
	}
	return rc == 0 || rc == -ENOENT ? -ENOENT : rc;
}

static int set_request(struct tunnel *tunnel, struct err *err)
{
	struct assign *assign = &tunnel->assign;
	const struct ipam_world *world = assign->call.task.world;
	struct prefix *pools = calloc(world->pool_count + 1, sizeof(*pools));

	if (!pools)
		return err_set(err, -ENOMEM, "no memory");
	assign->request.wish = (struct ipam_wish){
		.family_index = tunnel->tunnel == IPAM_TUNNEL_VXLAN_6 ? FAMILY_6 : FAMILY_4,
		.use = POOL_USE_TUNNEL,
		.pools = pools,
	};
	assign->request.count = 1;
	for (size_t i = 0; i < world->pool_count; i++) {
		if (may_take_from(tunnel, &world->pools[i]))
			pools[assign->request.wish.pool_count++] = world->pools[i].cidr;
	}
	return 0;
}

static int assign_new(struct tunnel *tunnel, struct err *err)
{
	struct ipam_owner owner = {tunnel->handle, tunnel->attributes};
	struct task *task = &tunnel->assign.call.task;

	/* it was ours and nobody took it since: keep the address that the other nodes know */
	if (addr_is_set(&tunnel->now) && may_be(tunnel, &tunnel->now) &&
		call_assign_addr(task, &tunnel->now, POOL_USE_TUNNEL, &owner, NULL) == 0) {
		found(tunnel, &tunnel->now);
		return 0;
	}
	return assign_work(&tunnel->assign, err);
}

static int tunnel_run(struct ipam_call *call, struct err *err)
{
	struct tunnel *tunnel = (struct tunnel *)call;
	int rc = set_request(tunnel, err);

	if (rc < 0)
		return rc;
	if (tunnel->assign.request.wish.pool_count == 0) {
		rc = call_release_handle(&call->task, tunnel->handle, err);
		return rc == -ENOENT ? 0 : rc;
	}
	rc = addr_is_set(&tunnel->now) ? find_held(tunnel, &tunnel->now, err) : -ENOENT;
	if (rc == -ENOENT)
		rc = find_held(tunnel, NULL, err);
	if (rc != -ENOENT)
		return rc;
	/* what the handle still has lies where it may not be any more */
	rc = call_release_handle(&call->task, tunnel->handle, err);
	return rc < 0 && rc != -ENOENT ? rc : assign_new(tunnel, err);
}

struct ipam_call *allocator_tunnel(
	struct allocator *allocator, enum ipam_tunnel kind, const struct addr *now, ipam_done done, void *ctx)
{
	struct tunnel *tunnel = call_new(sizeof(*tunnel), allocator, done, ctx);
	struct ipam_owner owner;

	if (!tunnel)
		return NULL;
	tunnel->assign.call.work = tunnel_run;
	tunnel->assign.call.clean = clean;
	tunnel->tunnel = kind;
	tunnel->now = *now;
	tunnel->attributes =
		json_pack("{s:s, s:s}", "node", allocator_node(allocator), "type", ipam_tunnel_type(kind));
	tunnel->assign.call.addrs = calloc(2, sizeof(struct addr));
	owner = (struct ipam_owner){tunnel->handle, tunnel->attributes};
	if (!tunnel->attributes || !tunnel->assign.call.addrs ||
		ipam_tunnel_handle(kind, allocator_node(allocator), tunnel->handle) < 0 ||
		owner_copy(&owner, &tunnel->assign.owner) < 0) {
		call_free(&tunnel->assign.call);
		return NULL;
	}
	return call_start(&tunnel->assign.call);
}
