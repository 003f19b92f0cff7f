/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/wanted.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void wanted_init(struct wanted *wanted)
{
	*wanted = (struct wanted){0};
}

/* Appends one entry of the given size to a growing array. */
static int append(void **array, size_t *count, size_t *room, const void *entry, size_t size)
{
	if (*count == *room) {
		size_t more = *room ? *room + *room / 2 : 16;
		void *bigger = reallocarray(*array, more, size);

		if (!bigger)
			return -ENOMEM;
		*array = bigger;
		*room = more;
	}
	memcpy((char *)*array + *count * size, entry, size);
	++*count;
	return 0;
}

int wanted_add_link(struct wanted *wanted, const struct wanted_link *link)
{
	return append((void **)&wanted->links, &wanted->link_count, &wanted->links_room, link, sizeof(*link));
}

int wanted_add_route(struct wanted *wanted, const struct wanted_route *route)
{
	return append(
		(void **)&wanted->routes, &wanted->route_count, &wanted->routes_room, route, sizeof(*route));
}

int wanted_add_neigh(struct wanted *wanted, const struct wanted_neigh *neigh)
{
	return append(
		(void **)&wanted->neighs, &wanted->neigh_count, &wanted->neighs_room, neigh, sizeof(*neigh));
}

int wanted_add_fdb(struct wanted *wanted, const struct wanted_fdb *fdb)
{
	return append((void **)&wanted->fdbs, &wanted->fdb_count, &wanted->fdbs_room, fdb, sizeof(*fdb));
}

int wanted_add_tunnel(struct wanted *wanted, const struct wanted_tunnel *tunnel)
{
	return append((void **)&wanted->carrier.tunnels, &wanted->carrier.tunnel_count, &wanted->tunnels_room,
		tunnel, sizeof(*tunnel));
}

int wanted_add_forward(struct wanted *wanted, const struct prefix *prefix)
{
	return append((void **)&wanted->forwards, &wanted->forward_count, &wanted->forwards_room, prefix,
		sizeof(*prefix));
}

int wanted_add_source(struct wanted *wanted, const struct prefix *dst, const struct addr *peer)
{
	struct wanted_guard *guard = &wanted->guard;
	struct wanted_tunnel source = {.dst = *dst, .peer = *peer};

	return append((void **)&guard->sources, &guard->source_count, &wanted->sources_room, &source, sizeof(source));
}

int wanted_add_pool(struct wanted *wanted, const struct prefix *pool)
{
	struct wanted_guard *guard = &wanted->guard;

	return append((void **)&guard->pools, &guard->pool_count, &wanted->pools_room, pool, sizeof(*pool));
}

int wanted_add_node(struct wanted *wanted, const struct addr *addr)
{
	struct wanted_guard *guard = &wanted->guard;

	return append((void **)&guard->nodes, &guard->node_count, &wanted->nodes_room, addr, sizeof(*addr));
}

int wanted_add_external(struct wanted *wanted, const struct prefix *external)
{
	struct wanted_guard *guard = &wanted->guard;

	return append((void **)&guard->externals, &guard->external_count, &wanted->externals_room, external,
		sizeof(*external));
}

static int link_compare(const void *a, const void *b)
{
	return strcmp(((const struct wanted_link *)a)->name, ((const struct wanted_link *)b)->name);
}

int wanted_route_compare(const void *a, const void *b)
{
	return prefix_compare(&((const struct wanted_route *)a)->dst, &((const struct wanted_route *)b)->dst);
}

int wanted_neigh_compare(const void *a, const void *b)
{
	const struct wanted_neigh *one = a, *other = b;
	int d = strcmp(one->dev, other->dev);

	return d ? d : addr_compare(&one->addr, &other->addr);
}

int wanted_fdb_compare(const void *a, const void *b)
{
	const struct wanted_fdb *one = a, *other = b;
	int d = strcmp(one->dev, other->dev);

	return d ? d : memcmp(&one->mac, &other->mac, sizeof(one->mac));
}

static int tunnel_compare(const void *a, const void *b)
{
	return prefix_compare(
		&((const struct wanted_tunnel *)a)->dst, &((const struct wanted_tunnel *)b)->dst);
}

static int by_prefix(const void *a, const void *b)
{
	return prefix_compare(a, b);
}

static int by_addr(const void *a, const void *b)
{
	return addr_compare(a, b);
}

/* What is added is mostly in order already: where the sorted runs end, and how many there are. */
static size_t find_runs(const char *array, size_t count, size_t size, int (*compare)(const void *, const void *),
	size_t *ends)
{
	size_t n = 0;

	for (size_t i = 1; i < count; i++)
		if (compare(array + (i - 1) * size, array + i * size) > 0)
			ends[n++] = i;
	ends[n++] = count;
	return n;
}

/* Of equal entries those of the earlier run come first. */
static void merge(const char **to, const char *const *a, const char *const *a_end, const char *const *b,
	const char *const *b_end, int (*compare)(const void *, const void *))
{
	while (a < a_end && b < b_end)
		*to++ = compare(*a, *b) <= 0 ? *a++ : *b++;
	while (a < a_end)
		*to++ = *a++;
	while (b < b_end)
		*to++ = *b++;
}

/* Neighbouring runs are merged until one is left; returns which of the two arrays it is in. */
static const char **merge_runs(const char **from, const char **to, size_t *ends, size_t runs,
	int (*compare)(const void *, const void *))
{
	while (runs > 1) {
		const char **other = from;
		size_t start = 0, n = 0;

		for (size_t i = 0; i < runs; i += 2) {
			size_t end = ends[i + 1 < runs ? i + 1 : i];

			merge(to + start, from + start, from + ends[i], from + ends[i], from + end, compare);
			ends[n++] = start = end;
		}
		runs = n;
		from = to;
		to = other;
	}
	return from;
}

/* Sorts, keeps the first of equal entries, gives back unused memory. */
static int sort_unique(
	void **array, size_t *count, size_t *room, size_t size, int (*compare)(const void *, const void *))
{
	_cleanup_free_ const char **slots = NULL;
	_cleanup_free_ size_t *ends = NULL;
	const char **ordered;
	char *sorted;
	size_t n = 0;

	if (*count == 0)
		return 0;
	slots = reallocarray(NULL, *count, 2 * sizeof(*slots));
	ends = reallocarray(NULL, *count, sizeof(*ends));
	sorted = reallocarray(NULL, *count, size);
	if (!slots || !ends || !sorted) {
		free(sorted);
		return -ENOMEM;
	}
	for (size_t i = 0; i < *count; i++)
		slots[i] = (const char *)*array + i * size;
	ordered = merge_runs(
		slots, slots + *count, ends, find_runs(*array, *count, size, compare, ends), compare);
	for (size_t i = 0; i < *count; i++)
		if (n == 0 || compare(sorted + (n - 1) * size, ordered[i]) != 0)
			memcpy(sorted + n++ * size, ordered[i], size);
	free(*array);
	*array = sorted;
	*room = *count;
	*count = n;
	return 0;
}

int wanted_finish(struct wanted *wanted)
{
	struct wanted_carrier *carrier = &wanted->carrier;
	struct wanted_guard *guard = &wanted->guard;
	const struct {
		void **array;
		size_t *count, *room, size;
		int (*compare)(const void *, const void *);
	} arrays[] = {
#define ARRAY(array, count, room, compare)                                                              \
	{                                                                                               \
		(void **)&(array), &(count), &(room), sizeof(*(array)), compare                         \
	}
		ARRAY(wanted->links, wanted->link_count, wanted->links_room, link_compare),
		ARRAY(wanted->routes, wanted->route_count, wanted->routes_room, wanted_route_compare),
		ARRAY(wanted->neighs, wanted->neigh_count, wanted->neighs_room, wanted_neigh_compare),
		ARRAY(wanted->fdbs, wanted->fdb_count, wanted->fdbs_room, wanted_fdb_compare),
		ARRAY(wanted->forwards, wanted->forward_count, wanted->forwards_room, by_prefix),
		ARRAY(carrier->tunnels, carrier->tunnel_count, wanted->tunnels_room, tunnel_compare),
		ARRAY(guard->sources, guard->source_count, wanted->sources_room, tunnel_compare),
		ARRAY(guard->pools, guard->pool_count, wanted->pools_room, by_prefix),
		ARRAY(guard->nodes, guard->node_count, wanted->nodes_room, by_addr),
		ARRAY(guard->externals, guard->external_count, wanted->externals_room, by_prefix),
#undef ARRAY
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(arrays) && r == 0; i++)
		r = sort_unique(arrays[i].array, arrays[i].count, arrays[i].room, arrays[i].size, arrays[i].compare);
	return r;
}

void wanted_free(struct wanted *wanted)
{
	free(wanted->links);
	free(wanted->routes);
	free(wanted->neighs);
	free(wanted->fdbs);
	free(wanted->forwards);
	free(wanted->carrier.tunnels);
	free(wanted->guard.sources);
	free(wanted->guard.pools);
	free(wanted->guard.nodes);
	free(wanted->guard.externals);
	buf_free(&wanted->nft);
	wanted_init(wanted);
}
