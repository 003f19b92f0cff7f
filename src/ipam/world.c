/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam/world.h"

#include "base/cleanup.h"
#include "ipam/ipam_names.h"
#include "model/selector.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* -- life -- */

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct ipam_pool *)a)->name, ((const struct ipam_pool *)b)->name);
}

static int copy_pool(
	const struct ippool *from, const struct labels *node_labels, struct ipam_pool *to, struct err *err)
{
	to->name = strdup(from->name);
	if (!to->name)
		return err_set(err, -ENOMEM, "pool %s: no memory", from->name);
	to->cidr = from->cidr;
	to->block_len = from->block_len;
	to->usable = !from->disabled && from->allocatable;
	to->manual = from->manual;
	to->selects_node = selector_matches_labels(from->node_selector, node_labels);
	to->ipip = from->ipip != ENCAP_NEVER;
	to->vxlan = from->vxlan != ENCAP_NEVER;
	to->uses = from->uses;
	if (!from->namespace_selector)
		return 0;
	return selector_parse(selector_text(from->namespace_selector), &to->namespaces, err);
}

static int copy_reservations(const struct ipam_world_inputs *inputs, struct ipam_world *world)
{
	size_t count = 0;

	for (size_t i = 0; i < inputs->reservation_count; i++)
		count += inputs->reservations[i]->cidr_count;
	world->reserved = calloc(count + 1, sizeof(*world->reserved));
	if (!world->reserved)
		return -ENOMEM;
	for (size_t i = 0; i < inputs->reservation_count; i++) {
		const struct ip_reservation *from = inputs->reservations[i];

		for (size_t j = 0; j < from->cidr_count; j++)
			world->reserved[world->reserved_count++] = from->cidrs[j];
	}
	return 0;
}

static int copy_inputs(const struct ipam_world_inputs *inputs, struct ipam_world *world, struct err *err)
{
	world->config = inputs->config;
	world->pools = calloc(inputs->pool_count + 1, sizeof(*world->pools));
	if (!world->pools || copy_reservations(inputs, world) < 0)
		return err_set(err, -ENOMEM, "no memory for %zu pools", inputs->pool_count);
	for (size_t i = 0; i < inputs->pool_count; i++) {
		world->pool_count++;
		if (copy_pool(inputs->pools[i], inputs->node_labels, &world->pools[i], err) < 0)
			return err->code;
	}
	qsort(world->pools, world->pool_count, sizeof(*world->pools), by_name);
	return 0;
}

int ipam_world_new(const struct ipam_world_inputs *inputs, struct ipam_world **ret, struct err *err)
{
	struct ipam_world *world = calloc(1, sizeof(*world));
	struct err scratch = ERR_INIT;
	int rc;

	err = err ? err : &scratch;
	if (!world)
		return err_set(err, -ENOMEM, "no memory");
	world->refs = 1;
	rc = copy_inputs(inputs, world, err);
	if (rc < 0) {
		ipam_world_unref(&world);
		return rc;
	}
	*ret = world;
	return 0;
}

struct ipam_world *ipam_world_ref(struct ipam_world *world)
{
	if (world)
		world->refs++;
	return world;
}

void ipam_world_unref(struct ipam_world **world)
{
	struct ipam_world *w = *world;

	*world = NULL;
	if (!w || --w->refs > 0)
		return;
	for (size_t i = 0; i < w->pool_count; i++) {
		if (w->pools[i].namespaces)
			selector_free(&w->pools[i].namespaces);
		free(w->pools[i].name);
	}
	free(w->pools);
	free(w->reserved);
	free(w);
}

/* -- questions -- */

bool ipam_world_reserves(const void *ctx, const struct addr *addr)
{
	const struct ipam_world *world = ctx;

	for (size_t i = 0; i < world->reserved_count; i++) {
		if (prefix_contains(&world->reserved[i], addr))
			return true;
	}
	return false;
}

bool ipam_world_reserves_all(const struct ipam_world *world, const struct prefix *prefix)
{
	for (size_t i = 0; i < world->reserved_count; i++) {
		if (prefix_contains_prefix(&world->reserved[i], prefix))
			return true;
	}
	return false;
}

const struct ipam_pool *ipam_world_pool_of(const struct ipam_world *world, const struct addr *addr)
{
	for (size_t i = 0; i < world->pool_count; i++) {
		if (prefix_contains(&world->pools[i].cidr, addr))
			return &world->pools[i];
	}
	return NULL;
}

static bool takes_namespace(const struct ipam_pool *pool, const struct labels *labels)
{
	struct labels *none;
	bool matches;

	if (!pool->namespaces)
		return true;
	if (labels)
		return selector_matches_labels(pool->namespaces, labels);
	none = labels_new();
	matches = none && selector_matches_labels(pool->namespaces, none);
	labels_free(&none);
	return matches;
}

/* Larger than a block may be, or smaller than one: nothing can be taken from it. */
static bool has_blocks(const struct ipam_pool *pool)
{
	return pool->usable && pool->block_len <= prefix_max_len(&pool->cidr) &&
	       prefix_max_len(&pool->cidr) - pool->block_len <= 12 && pool->block_len >= pool->cidr.len;
}

static int choose_named(const struct ipam_world *world, const struct ipam_wish *wish,
	const struct ipam_pool **pools, size_t *count, struct err *err)
{
	char text[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < wish->pool_count; i++) {
		const struct ipam_pool *found = NULL;

		for (size_t j = 0; j < world->pool_count && !found; j++) {
			if (prefix_equal(&world->pools[j].cidr, &wish->pools[i]))
				found = &world->pools[j];
		}
		if (!found || !has_blocks(found))
			return err_set(err, -EINVAL, "pool %s: %s, expected an enabled pool",
				prefix_format(&wish->pools[i], text),
				found ? "it takes no addresses" : "there is none");
		if (found->cidr.family == (wish->family_index == FAMILY_4 ? AF_INET : AF_INET6))
			pools[(*count)++] = found;
	}
	return 0;
}

static void choose_selected(const struct ipam_world *world, const struct ipam_wish *wish,
	const struct ipam_pool **pools, size_t *count)
{
	for (size_t i = 0; i < world->pool_count; i++) {
		const struct ipam_pool *pool = &world->pools[i];

		if (family_index(pool->cidr.family) == wish->family_index && has_blocks(pool) &&
			!pool->manual && pool->selects_node && takes_namespace(pool, wish->namespace_labels))
			pools[(*count)++] = pool;
	}
}

int ipam_world_choose(const struct ipam_world *world, const struct ipam_wish *wish, const char *node,
	const struct ipam_pool ***ret, size_t *ret_count, struct err *err)
{
	size_t room = (wish->pools ? wish->pool_count : world->pool_count) + 1, count = 0, kept = 0;
	_cleanup_free_ const struct ipam_pool **pools = calloc(room, sizeof(struct ipam_pool *));
	int rc;

	if (!pools)
		return err_set(err, -ENOMEM, "no memory");
	if (wish->pools) {
		rc = choose_named(world, wish, pools, &count, err);
		if (rc < 0)
			return rc;
	} else {
		choose_selected(world, wish, pools, &count);
	}
	for (size_t i = 0; i < count; i++) {
		if (pools[i]->uses & (unsigned)wish->use)
			pools[kept++] = pools[i];
	}
	if (kept == 0)
		return err_set(err, -ENOSPC, "node %s: no %s pool %s", node,
			wish->family_index == FAMILY_4 ? "IPv4" : "IPv6",
			wish->pools ? "of those asked for serves this use" : "is there for it");
	*ret = TAKE_PTR(pools);
	*ret_count = kept;
	return 0;
}
