/* SPDX-License-Identifier: Apache-2.0
 *
 * The programs' look-ups, unrolled: the longest prefix of the address first, then the longest of protocol and port. Chains are
 * named by the numbers of tables and lists.
 */
#include "plan/policy_untracked.h"

#include "base/cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* -- what belongs to a table -- */

static int by_table(const void *a, const void *b)
{
	const struct verdict_pair *x = a, *y = b;

	if (x->table != y->table)
		return x->table < y->table ? -1 : 1;
	return (x->class > y->class) - (x->class < y->class);
}

/* Pairs are sorted. 0: of no list of its own. */
static uint64_t list_of(const struct verdict_tables *tables, uint64_t table, uint64_t class)
{
	const struct verdict_pair key = {.table = table, .class = class};
	const struct verdict_pair *pair = tables->pair_count
		? bsearch(&key, tables->pairs, tables->pair_count, sizeof(key), by_table) : NULL;

	return pair ? pair->list : 0;
}

struct place { /* an address, and where its packets are looked up */
	struct prefix prefix;
	uint64_t list;
};

static int by_length(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->prefix.family != y->prefix.family)
		return x->prefix.family < y->prefix.family ? -1 : 1;
	if (x->prefix.len != y->prefix.len)
		return x->prefix.len > y->prefix.len ? -1 : 1;
	if (x->list != y->list)
		return x->list < y->list ? -1 : 1;
	return addr_compare(&x->prefix.addr, &y->prefix.addr);
}

/* Those that differ from nobody's; nft has no set of everything. -E2BIG: too many. */
static int find_places(const struct verdict_tables *tables, uint64_t table, struct place **ret, size_t *ret_count)
{
	_cleanup_free_ struct place *places = calloc(POLICY_UNTRACKED_MAX, sizeof(*places));
	uint64_t nobody = list_of(tables, table, 0);
	size_t count = 0;

	if (!places)
		return -ENOMEM;
	for (size_t i = 0; i < tables->address_count; i++) {
		uint64_t list = list_of(tables, table, tables->addresses[i].class);

		if (!list || list == nobody || !tables->addresses[i].prefix.len)
			continue;
		if (count == POLICY_UNTRACKED_MAX)
			return -E2BIG;
		places[count++] = (struct place){tables->addresses[i].prefix, list};
	}
	if (count)
		qsort(places, count, sizeof(*places), by_length);
	*ret = TAKE_PTR(places);
	*ret_count = count;
	return 0;
}

/* -- chains of lists -- */

static void add_ports(struct buf *nft, const struct verdict_port *entry, const char *side)
{
	if (entry->len > 64)
		buf_printf(nft, "meta l4proto %u ", entry->protocol);
	if (entry->len > 80) {
		uint16_t rest = (uint16_t)(0xffffu >> (entry->len - 80));

		buf_printf(nft, "th %s %u-%u ", side, entry->port & (uint16_t)~rest, entry->port | rest);
	}
}

static bool is_icmp(const struct verdict_port *entry)
{
	return entry->len > 64 && (entry->protocol == IPPROTO_ICMP || entry->protocol == IPPROTO_ICMPV6);
}

/* Entries of a list are together, the shortest first. */
static void add_list(struct buf *nft, const struct verdict_tables *tables, uint64_t list, bool source)
{
	buf_printf(nft, "\tchain policy_%s_%016" PRIx64 " {\n", source ? "from" : "to", list);
	for (size_t i = tables->port_count; i-- > 0;) {
		const struct verdict_port *entry = &tables->ports[i];

		if (entry->list != list || is_icmp(entry))
			continue;
		buf_add_str(nft, "\t\t");
		add_ports(nft, entry, source ? "sport" : "dport");
		if (entry->bits & VERDICT_NEXT)
			buf_printf(nft, "goto policy_from_%016" PRIx64 "\n", entry->next);
		else
			buf_add_str(nft, entry->bits & VERDICT_ALLOW ? "notrack return\n" : "return\n");
	}
	buf_add_str(nft, "\t}\n");
}

struct numbers {
	uint64_t *items;
	size_t count, room;
};

static bool has(const struct numbers *numbers, uint64_t number)
{
	for (size_t i = 0; i < numbers->count; i++)
		if (numbers->items[i] == number)
			return true;
	return false;
}

static int note(struct numbers *numbers, uint64_t number)
{
	uint64_t *more;

	if (!number || has(numbers, number))
		return 0;
	more = reallocarray(numbers->items, numbers->count + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	numbers->items = more;
	numbers->items[numbers->count++] = number;
	return 0;
}

/* What the lists lead to by source ports. */
static int find_nexts(const struct verdict_tables *tables, const struct numbers *lists, struct numbers *nexts)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < tables->port_count; i++)
		if (tables->ports[i].bits & VERDICT_NEXT && has(lists, tables->ports[i].list))
			rc = note(nexts, tables->ports[i].next);
	return rc;
}

/* -- the chain of an interface -- */

/* All of one length and list are one set; they do not overlap. */
static void add_places(struct buf *nft, const struct place *places, size_t count)
{
	char text[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < count; i++) {
		const struct place *was = i ? &places[i - 1] : NULL, *now = &places[i];
		bool same = was && was->prefix.family == now->prefix.family && was->prefix.len == now->prefix.len && was->list == now->list;

		if (!same && was)
			buf_printf(nft, " } goto policy_to_%016" PRIx64 "\n", was->list);
		buf_printf(nft, same ? ", %s" : now->prefix.family == AF_INET ? "\t\tip daddr { %s" : "\t\tip6 daddr { %s",
			prefix_format(&now->prefix, text));
	}
	if (count)
		buf_printf(nft, " } goto policy_to_%016" PRIx64 "\n", places[count - 1].list);
}

static int add_table(struct buf *nft, const struct verdict_tables *tables, uint64_t table, struct numbers *lists)
{
	_cleanup_free_ struct place *places = NULL;
	uint64_t nobody = list_of(tables, table, 0);
	size_t count = 0;
	int rc = find_places(tables, table, &places, &count);

	if (rc == 0)
		rc = note(lists, nobody);
	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = note(lists, places[i].list);
	if (rc < 0)
		return rc;
	buf_printf(nft, "\tchain policy_table_%016" PRIx64 " {\n", table);
	add_places(nft, places, count);
	if (nobody)
		buf_printf(nft, "\t\tgoto policy_to_%016" PRIx64 "\n", nobody);
	buf_add_str(nft, "\t}\n");
	return 0;
}

/* -- all of them -- */

static void add_failsafes(struct buf *nft, const struct failsafes *all, const char *side)
{
	for (size_t i = 0; i < all->count; i++)
		buf_printf(nft, "\t\tmeta l4proto %u th %s %u return\n", all->items[i].protocol, side, all->items[i].port);
}

static void add_base(struct buf *nft, const struct policy_untracked *all, size_t count, const struct numbers *tables,
	const struct failsafes failsafes[static POLICY_DIRECTION_COUNT])
{
	buf_add_str(nft, "\tchain policy_raw_out {\n\t\ttype filter hook output priority -310; policy accept;\n");
	add_failsafes(nft, &failsafes[POLICY_EGRESS], "dport");
	add_failsafes(nft, &failsafes[POLICY_INGRESS], "sport");
	for (size_t i = 0; i < count; i++)
		if (has(tables, all[i].table))
			buf_printf(nft, "\t\toifname \"%s\" jump policy_table_%016" PRIx64 "\n", all[i].link, all[i].table);
	buf_add_str(nft, "\t}\n");
}

static void numbers_done(struct numbers *numbers)
{
	free(numbers->items);
}

int policy_untracked_add(struct buf *nft, const struct policy_untracked *all, size_t count, const struct verdict_tables *tables,
	const struct failsafes failsafes[static POLICY_DIRECTION_COUNT])
{
	_cleanup_(numbers_done) struct numbers lists = {0}, nexts = {0}, good = {0}, large = {0};
	int rc = 0, left_out = 0;

	for (size_t i = 0; i < count && rc == 0; i++) {
		if (!has(&good, all[i].table) && !has(&large, all[i].table)) {
			rc = add_table(nft, tables, all[i].table, &lists);
			rc = rc == -E2BIG ? note(&large, all[i].table) : rc < 0 ? rc : note(&good, all[i].table);
		}
		left_out += has(&large, all[i].table);
	}
	if (rc == 0)
		rc = find_nexts(tables, &lists, &nexts);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < lists.count; i++)
		add_list(nft, tables, lists.items[i], false);
	for (size_t i = 0; i < nexts.count; i++)
		add_list(nft, tables, nexts.items[i], true);
	add_base(nft, all, count, &good, failsafes);
	return nft->error ? nft->error : left_out;
}
