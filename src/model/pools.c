/* SPDX-License-Identifier: Apache-2.0
 *
 * The pools that count are kept sorted and disjoint while they are judged, the oldest first: so a new one can only
 * overlap with its neighbours, and a look-up is a binary search.
 */
#include "model/pools.h"

#include "base/cleanup.h"
#include "model/network.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NET_CONF "net-conf.json"

/* -- judging -- */

static int compare_age(const void *a, const void *b)
{
	const struct ippool *x = *(const struct ippool *const *)a, *y = *(const struct ippool *const *)b;

	if (x->created != y->created)
		return x->created < y->created ? -1 : 1;
	return strcmp(x->name, y->name);
}

/* Number of pools that begin before prefix. */
static size_t place_of(const struct pools *pools, const struct prefix *prefix)
{
	size_t low = 0, high = pools->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (prefix_compare(&pools->items[middle]->cidr, prefix) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Pools are disjoint, so whoever contains a prefix's first address or lies inside it stands right beside its place. */
static const struct ippool *overlapping(const struct pools *pools, const struct prefix *prefix)
{
	size_t place = place_of(pools, prefix);

	for (size_t i = place ? place - 1 : 0; i < pools->count && i <= place; i++)
		if (prefix_overlaps(&pools->items[i]->cidr, prefix))
			return pools->items[i];
	return NULL;
}

static void insert(struct pools *pools, const struct ippool *pool)
{
	size_t place = place_of(pools, &pool->cidr);

	memmove(&pools->items[place + 1], &pools->items[place], (pools->count - place) * sizeof(*pools->items));
	pools->items[place] = pool;
	pools->count++;
}

static struct pool_complaint *complain(struct pools *pools, const struct ippool *pool, const struct ippool *because)
{
	struct pool_complaint *complaint = &pools->complaints[pools->complaint_count++];

	*complaint = (struct pool_complaint){.pool = pool, .because = because};
	return complaint;
}

/* Overlaps are told with both CIDRs: they need not be equal. */
static void complain_overlap(struct pools *pools, const struct ippool *pool, const struct ippool *other,
	const char *why)
{
	struct pool_complaint *complaint = complain(pools, pool, other);
	char cidr[PREFIX_TEXT_MAX], other_cidr[PREFIX_TEXT_MAX];

	snprintf(complaint->text, sizeof(complaint->text),
		"IPPool %.120s: spec.cidr is %s, expected one that overlaps with no other pool; %.120s has %s and %s, so %.120s is "
		"ignored", pool->name, prefix_format(&pool->cidr, cidr), other->name, prefix_format(&other->cidr, other_cidr), why,
		pool->name);
}

/* What makes a pool bad all by itself. The dialect refuses such objects; pools may also come from elsewhere. */
static const char *own_fault(const struct ippool *pool)
{
	if (pool->ipip != ENCAP_NEVER && pool->vxlan != ENCAP_NEVER)
		return "has both an ipipMode and a vxlanMode, expected Never for one of them";
	if (pool->ipip != ENCAP_NEVER && pool->cidr.family == AF_INET6)
		return "has an ipipMode on IPv6, expected Never";
	if (pool->block_len < pool->cidr.len && !pool->disabled)
		return "has blocks larger than itself, expected a blockSize not less than the CIDR's length";
	return NULL;
}

static void judge(struct pools *pools, const struct ippool *pool)
{
	const struct ippool *other = overlapping(pools, &pool->cidr);
	const char *fault = own_fault(pool);
	struct pool_complaint *complaint;

	if (fault) {
		complaint = complain(pools, pool, NULL);
		snprintf(complaint->text, sizeof(complaint->text), "IPPool %.200s %s; it is ignored", pool->name, fault);
	} else if (other) {
		complain_overlap(pools, pool, other, "is older");
	} else {
		insert(pools, pool);
	}
}

/* Does an IPPool stand for net-conf.json's pool, or does it only overlap with it? */
static bool is_replaced(const struct ippool *flannel, const struct ippool *const *ippools, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (prefix_equal(&ippools[i]->cidr, &flannel->cidr) && !own_fault(ippools[i]))
			return true;
	return false;
}

static void judge_beside_flannel(struct pools *pools, const struct ippool *pool,
	const struct ippool *const held[FAMILY_COUNT])
{
	const struct ippool *flannel = held[family_index(pool->cidr.family)];

	if (flannel && prefix_overlaps(&pool->cidr, &flannel->cidr) && !prefix_equal(&pool->cidr, &flannel->cidr))
		complain_overlap(pools, pool, flannel, "only the very same CIDR could replace it");
	else
		judge(pools, pool);
}

struct pools *pools_judge(const struct ippool *const *ippools, size_t count, struct ippool *const flannel[FAMILY_COUNT])
{
	_cleanup_(pools_free) struct pools *pools = calloc(1, sizeof(*pools));
	_cleanup_free_ const struct ippool **by_age = calloc(count + 1, sizeof(*by_age));
	const struct ippool *held[FAMILY_COUNT] = {0};

	if (!pools || !by_age)
		return NULL;
	pools->items = calloc(count + FAMILY_COUNT, sizeof(*pools->items));
	pools->complaints = calloc(count + 1, sizeof(*pools->complaints));
	if (!pools->items || !pools->complaints)
		return NULL;
	for (int f = 0; flannel && f < FAMILY_COUNT; f++) {
		held[f] = flannel[f];
		if (held[f] && !is_replaced(held[f], ippools, count))
			insert(pools, held[f]);
	}
	if (count)
		memcpy(by_age, ippools, count * sizeof(*by_age));
	qsort(by_age, count, sizeof(*by_age), compare_age);
	for (size_t i = 0; i < count; i++)
		judge_beside_flannel(pools, by_age[i], held);
	return TAKE_PTR(pools);
}

void pools_free(struct pools **pools)
{
	if (!*pools)
		return;
	free((*pools)->items);
	free((*pools)->complaints);
	free(*pools);
	*pools = NULL;
}

/* -- questions -- */

const struct ippool *pools_find_prefix(const struct pools *pools, const struct prefix *prefix)
{
	const struct ippool *pool = overlapping(pools, prefix);

	return pool && prefix_contains_prefix(&pool->cidr, prefix) ? pool : NULL;
}

const struct ippool *pools_find(const struct pools *pools, const struct addr *addr)
{
	struct prefix host = prefix_host(addr);

	return pools_find_prefix(pools, &host);
}

const struct ippool *pools_find_name(const struct pools *pools, const char *name)
{
	for (size_t i = 0; i < pools->count; i++)
		if (strcmp(pools->items[i]->name, name) == 0)
			return pools->items[i];
	return NULL;
}

bool ippool_serves(const struct ippool *pool, const struct labels *node, enum pool_use use)
{
	return !pool->disabled && pool->allocatable && !pool->manual && (pool->uses & use) &&
	       selector_matches_labels(pool->node_selector, node);
}

bool pools_have_vxlan(const struct pools *pools, int family)
{
	for (size_t i = 0; i < pools->count; i++)
		if (pools->items[i]->vxlan != ENCAP_NEVER && family_index(pools->items[i]->cidr.family) == family)
			return true;
	return false;
}

bool pools_have_ipip(const struct pools *pools)
{
	for (size_t i = 0; i < pools->count; i++)
		if (pools->items[i]->ipip != ENCAP_NEVER)
			return true;
	return false;
}

/* -- net-conf.json -- */

int ippool_from_network(const struct network *network, int family_index, struct ippool **ret)
{
	_cleanup_(ippool_free) struct ippool *pool = NULL;

	if (!network_has(network, family_index)) {
		*ret = NULL;
		return 0;
	}
	if (network->encap == ENCAP_UDP)
		return -ENOTSUP;
	pool = calloc(1, sizeof(*pool));
	if (!pool)
		return -ENOMEM;
	*pool = (struct ippool){
		.name = strdup(NET_CONF),
		.cidr = network->pool[family_index].cidr,
		.block_len = network->pool[family_index].block_len,
		.allocatable = true,
		.uses = POOL_USE_WORKLOAD | POOL_USE_TUNNEL,
	};
	if (network->encap == ENCAP_VXLAN)
		pool->vxlan = network->direct_routing ? ENCAP_CROSS_SUBNET : ENCAP_ALWAYS;
	if (!pool->name || selector_parse("", &pool->node_selector, NULL) < 0)
		return -ENOMEM;
	*ret = TAKE_PTR(pool);
	return 0;
}
