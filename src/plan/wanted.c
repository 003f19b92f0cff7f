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

/* Where equal entries meet, the one at the lower address was added first. */
static int compare_slots(const void *a, const void *b, void *ctx)
{
	int (*const *compare)(const void *, const void *) = ctx;
	const char *one = *(const char *const *)a, *other = *(const char *const *)b;
	int d = (*compare)(one, other);

	return d ? d : one < other ? -1 : one > other;
}

/* Sorts, keeps the first of equal entries, gives back unused memory. */
static int sort_unique(
	void **array, size_t *count, size_t *room, size_t size, int (*compare)(const void *, const void *))
{
	_cleanup_free_ const char **slots = NULL;
	char *sorted;
	size_t n = 0;

	if (*count == 0)
		return 0;
	slots = reallocarray(NULL, *count, sizeof(*slots));
	sorted = reallocarray(NULL, *count, size);
	if (!slots || !sorted) {
		free(sorted);
		return -ENOMEM;
	}
	for (size_t i = 0; i < *count; i++)
		slots[i] = (const char *)*array + i * size;
	qsort_r(slots, *count, sizeof(*slots), compare_slots, &compare);
	for (size_t i = 0; i < *count; i++)
		if (n == 0 || compare(sorted + (n - 1) * size, slots[i]) != 0)
			memcpy(sorted + n++ * size, slots[i], size);
	free(*array);
	*array = sorted;
	*room = *count;
	*count = n;
	return 0;
}

int wanted_finish(struct wanted *wanted)
{
	struct wanted_carrier *carrier = &wanted->carrier;
	int r;

	r = sort_unique((void **)&wanted->links, &wanted->link_count, &wanted->links_room,
		sizeof(*wanted->links), link_compare);
	if (r == 0)
		r = sort_unique((void **)&wanted->routes, &wanted->route_count, &wanted->routes_room,
			sizeof(*wanted->routes), wanted_route_compare);
	if (r == 0)
		r = sort_unique((void **)&wanted->neighs, &wanted->neigh_count, &wanted->neighs_room,
			sizeof(*wanted->neighs), wanted_neigh_compare);
	if (r == 0)
		r = sort_unique((void **)&wanted->fdbs, &wanted->fdb_count, &wanted->fdbs_room,
			sizeof(*wanted->fdbs), wanted_fdb_compare);
	if (r == 0)
		r = sort_unique((void **)&carrier->tunnels, &carrier->tunnel_count, &wanted->tunnels_room,
			sizeof(*carrier->tunnels), tunnel_compare);
	return r;
}

void wanted_free(struct wanted *wanted)
{
	free(wanted->links);
	free(wanted->routes);
	free(wanted->neighs);
	free(wanted->fdbs);
	free(wanted->carrier.tunnels);
	buf_free(&wanted->nft);
	wanted_init(wanted);
}
