/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/verdict_internal.h"

#include <netinet/in.h>

bool verdict_has_ports(int protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP || protocol == IPPROTO_UDPLITE;
}

void verdict_ports_add(struct port_set *set, uint8_t protocol, uint16_t first, uint16_t last)
{
	VERDICT_PUSH(set->ranges, set->count, set->room, (struct port_range){protocol, first, last});
}

bool verdict_ports_hold(const struct port_set *set, int protocol, uint16_t port)
{
	if (set->any)
		return true;
	for (size_t i = 0; i < set->count; i++) {
		const struct port_range *range = &set->ranges[i];

		if ((range->protocol ? range->protocol == protocol : verdict_has_ports(protocol)) && range->first <= port &&
			port <= range->last)
			return true;
	}
	return false;
}

static int compare_ranges(const void *a, const void *b)
{
	const struct port_range *x = a, *y = b;

	if (x->protocol != y->protocol)
		return x->protocol - y->protocol;
	return x->first != y->first ? x->first - y->first : x->last - y->last;
}

/* The same ports have the same bytes: sorted, ranges that meet are one. */
void verdict_ports_encode(const struct port_set *set, struct buf *bytes)
{
	struct port_range *ranges = verdict_need(malloc((set->count + 1) * sizeof(*ranges)));
	size_t kept = 0;

	if (set->count)
		memcpy(ranges, set->ranges, set->count * sizeof(*ranges));
	qsort(ranges, set->count, sizeof(*ranges), compare_ranges);
	for (size_t i = 0; i < set->count; i++) {
		struct port_range *last = kept ? &ranges[kept - 1] : NULL;

		if (last && last->protocol == ranges[i].protocol && ranges[i].first <= (uint32_t)last->last + 1)
			last->last = ranges[i].last > last->last ? ranges[i].last : last->last;
		else
			ranges[kept++] = ranges[i];
	}
	verdict_add_number(bytes, set->any, 1);
	verdict_add_number(bytes, set->any ? 0 : kept, 4);
	for (size_t i = 0; i < kept && !set->any; i++) {
		verdict_add_number(bytes, ranges[i].protocol, 1);
		verdict_add_number(bytes, ranges[i].first, 2);
		verdict_add_number(bytes, ranges[i].last, 2);
	}
	free(ranges);
}
