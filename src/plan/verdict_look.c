/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernel's look-ups, over the same tables.
 */
#include "plan/verdict_internal.h"

static bool is_shown(const struct spot *spot)
{
	return spot->shown;
}

static uint64_t class_of(const struct verdicts *v, const struct addr *addr)
{
	const struct spot *spot = NULL;

	if (addr_is_4(addr))
		spot = verdict_spot_longest(v->roots[FAMILY_4], addr, is_shown);
	if (!spot)
		spot = verdict_spot_longest(v->roots[FAMILY_6], addr, is_shown);
	return spot && spot->class ? spot->class->number : 0;
}

static const struct list *list_of(const struct verdicts *v, uint64_t table, uint64_t class)
{
	const struct pair *pair = verdict_pair_find(v, table, class);

	if (!pair || !pair->list)
		pair = verdict_pair_find(v, table, 0);
	return pair ? pair->list : NULL;
}

static bool entry_holds(const struct list_entry *entry, uint8_t protocol, uint16_t port)
{
	if (entry->len == 64)
		return true;
	if (entry->protocol != protocol)
		return false;
	return entry->len == 72 || (entry->port ^ port) >> (96 - entry->len) == 0;
}

static const struct list_entry *entry_of(const struct list *list, uint8_t protocol, uint16_t port)
{
	const struct list_entry *best = NULL;

	for (size_t i = 0; list && i < list->entry_count; i++)
		if (entry_holds(&list->entries[i], protocol, port) && (!best || best->len < list->entries[i].len))
			best = &list->entries[i];
	return best;
}

/* enum verdict_bit; a look-up that finds nothing denies. */
static uint32_t bits_of(const struct verdicts *v, const struct table *table, const struct verdict_flow *flow)
{
	const struct addr *remote = table->direction == POLICY_INGRESS ? &flow->src : &flow->dst;
	const struct list *list = list_of(v, table->number, class_of(v, remote));
	const struct list_entry *entry = entry_of(list, flow->protocol, flow->dport);

	if (entry && entry->bits & VERDICT_NEXT) {
		HASH_FIND(hh, v->lists, &entry->next, sizeof(entry->next), list);
		entry = entry_of(list, flow->protocol, flow->sport);
	}
	return entry ? entry->bits : 0;
}

bool verdicts_allow(const struct verdicts *v, const char *namespace, const char *name, enum policy_direction direction,
	const struct verdict_flow *flow)
{
	const struct attached *attached = verdict_attached_find(v, namespace, name);

	return attached && (!attached->tables[direction] || bits_of(v, attached->tables[direction], flow) & VERDICT_ALLOW);
}

enum verdict_answer verdicts_judge_host(const struct verdicts *v, const char *name, enum verdict_traffic traffic,
	enum policy_direction direction, const struct verdict_flow *flow)
{
	const struct attached *attached = verdict_host_attached(v, name, verdict_scope(traffic));
	uint32_t bits;

	if (!attached)
		return VERDICT_DENIED;
	if (!attached->tables[direction])
		return traffic == VERDICT_LOCAL || traffic == VERDICT_FORWARD ? VERDICT_ALLOWED : VERDICT_LEFT;
	bits = bits_of(v, attached->tables[direction], flow);
	return bits & VERDICT_ALLOW ? VERDICT_ALLOWED : bits & VERDICT_ON ? VERDICT_LEFT : VERDICT_DENIED;
}

const struct endpoint *verdicts_endpoint_at(const struct verdicts *v, const struct addr *addr)
{
	const struct spot *spot = verdict_host_find(v, addr);
	const struct member *member = spot ? spot->member : NULL;

	while (member && member->endpoint->host)
		member = member->beside[family_index(addr_family(addr))];
	return member ? member->endpoint : NULL;
}
