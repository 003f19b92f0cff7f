/* SPDX-License-Identifier: Apache-2.0
 *
 * Rules in order, as they concern one class, become a list: protocol and port -> verdict. For each protocol that a rule
 * names, the ports are cut where any rule begins or ends, and the rules are painted over the pieces, the first one that decides
 * wins. Where source ports matter too, the same is done with them for the piece alone, in a list of its own.
 *
 * All that no rule names has one verdict, that of "other" protocols.
 */
#include "plan/verdict_internal.h"

#include <netinet/in.h>

#define OTHER (-1)
#define PORT_COUNT 65536u

struct span { /* ports, sorted, each once: first and behind the last */
	uint32_t *cuts;
	size_t count, room;
};

struct hit { /* a rule that concerns the class */
	const struct table_rule *rule;
	const struct item *items; /* of its peer */
	size_t item_count;
};

struct region { /* of a rule, for one protocol */
	const struct table_rule *rule;
	struct span dst, src;
	bool every_src;
};

struct flattening {
	struct verdicts *v;
	const struct table *table;
	struct hit *hits;
	size_t hit_count, hit_room;
	struct region *regions;
	size_t region_count;
	struct list_entry *entries;
	size_t entry_count, entry_room;
	struct list **nexts;
	size_t next_count, next_room;
};

/* -- ports of a rule -- */

static int compare_cuts(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void add_cut(struct span *span, uint32_t cut)
{
	VERDICT_PUSH(span->cuts, span->count, span->room, cut);
}

/* Ranges in any order -> sorted, apart from each other. */
static void tidy(struct span *span)
{
	struct range {
		uint32_t first, behind;
	} *ranges = (struct range *)span->cuts;
	size_t kept = 0, count = span->count / 2;

	if (count)
		qsort(ranges, count, sizeof(*ranges), compare_cuts);
	for (size_t i = 0; i < count; i++) {
		if (kept && ranges[i].first <= ranges[kept - 1].behind) {
			if (ranges[i].behind > ranges[kept - 1].behind)
				ranges[kept - 1].behind = ranges[i].behind;
		} else {
			ranges[kept++] = ranges[i];
		}
	}
	span->count = kept * 2;
}

static void add_range(struct span *span, uint32_t first, uint32_t behind)
{
	add_cut(span, first);
	add_cut(span, behind);
}

static void span_all(struct span *span)
{
	span->count = 0;
	add_range(span, 0, PORT_COUNT);
}

static bool is_all(const struct span *span)
{
	return span->count == 2 && span->cuts[0] == 0 && span->cuts[1] == PORT_COUNT;
}

/* From span and another one what both hold, or what only span holds. */
static void combine(struct span *span, const struct span *other, bool inverse)
{
	struct span result = {0};
	size_t i = 0, j = 0;
	bool in = false, out = inverse, was = false;

	while (i < span->count || j < other->count) {
		uint32_t a = i < span->count ? span->cuts[i] : UINT32_MAX, b = j < other->count ? other->cuts[j] : UINT32_MAX;
		uint32_t at = a < b ? a : b;

		if (a == at) {
			in = !in;
			i++;
		}
		if (b == at) {
			out = !out;
			j++;
		}
		if ((in && out) != was) {
			was = !was;
			add_cut(&result, at);
		}
	}
	free(span->cuts);
	*span = result;
}

static void set_ranges(struct span *span, const struct port_set *set, int protocol)
{
	for (size_t i = 0; i < set->count; i++) {
		const struct port_range *range = &set->ranges[i];

		if (range->protocol ? range->protocol == protocol : verdict_has_ports(protocol))
			add_range(span, range->first, (uint32_t)range->last + 1);
	}
}

static void item_ranges(struct span *span, const struct hit *hit, enum item_slot slot, int protocol)
{
	for (size_t i = 0; i < hit->item_count; i++)
		if (hit->items[i].slot == slot && hit->items[i].protocol == protocol)
			add_range(span, hit->items[i].port, (uint32_t)hit->items[i].port + 1);
}

static void restrict_to(struct span *span, const struct port_set *set, int protocol)
{
	struct span other = {0};

	if (set->any)
		return;
	set_ranges(&other, set, protocol);
	tidy(&other);
	combine(span, &other, false);
	free(other.cuts);
}

static void own_ports(struct span *span, const struct table_rule *rule, int protocol)
{
	struct span not = {0};

	restrict_to(span, &rule->own, protocol);
	restrict_to(span, &rule->own_service, protocol);
	set_ranges(&not, &rule->own_not, protocol);
	tidy(&not);
	combine(span, &not, true);
	free(not.cuts);
}

static bool has_slot(const struct hit *hit, enum item_slot slot)
{
	for (size_t i = 0; i < hit->item_count; i++)
		if (hit->items[i].slot == slot)
			return true;
	return false;
}

static void remote_ports(struct span *span, const struct hit *hit, int protocol)
{
	const struct table_rule *rule = hit->rule;
	struct span some = {0};

	/* Only a Service's ports, unless it is the peer otherwise, too. */
	if (has_slot(hit, SLOT_SERVICE) && !has_slot(hit, SLOT_PLAIN)) {
		item_ranges(&some, hit, SLOT_SERVICE, protocol);
		tidy(&some);
		combine(span, &some, false);
		some.count = 0;
	}
	if (!rule->remote.any) {
		set_ranges(&some, &rule->remote, protocol);
		item_ranges(&some, hit, SLOT_NAMED, protocol);
		tidy(&some);
		combine(span, &some, false);
		some.count = 0;
	}
	set_ranges(&some, &rule->remote_not, protocol);
	item_ranges(&some, hit, SLOT_NOT_NAMED, protocol);
	tidy(&some);
	combine(span, &some, true);
	free(some.cuts);
}

/* -- protocols of a rule -- */

static bool is_icmp(int protocol)
{
	return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;
}

static bool speaks(const struct table_rule *rule, int protocol)
{
	bool ports_asked = !rule->own.any || !rule->remote.any || rule->own_not_asked || rule->remote_not_asked;

	if (rule->protocol_sense == POLICY_IS && rule->protocol != protocol)
		return false;
	if (rule->protocol_sense == POLICY_IS_NOT && rule->protocol == protocol)
		return false;
	for (int i = 0; i < 2; i++)
		if (rule->icmp[i].sense == POLICY_IS && !is_icmp(protocol))
			return false;
	return !ports_asked || verdict_has_ports(protocol);
}

static void icmp_ports(struct span *span, const struct table_rule *rule, int protocol)
{
	for (int i = 0; i < 2; i++) {
		const struct policy_icmp *icmp = &rule->icmp[i];
		uint32_t first = (uint32_t)icmp->type << 8, behind = first + 256;
		struct span types = {0};

		if (icmp->sense == POLICY_ANY || !is_icmp(protocol))
			continue;
		if (icmp->code >= 0) {
			first += (uint8_t)icmp->code;
			behind = first + 1;
		}
		add_range(&types, first, behind);
		combine(span, &types, icmp->sense == POLICY_IS_NOT);
		free(types.cuts);
	}
}

static void add_region(struct flattening *f, const struct hit *hit, int protocol)
{
	struct region region = {.rule = hit->rule};
	bool ingress = f->table->direction == POLICY_INGRESS;

	if (!speaks(hit->rule, protocol))
		return;
	span_all(&region.dst);
	span_all(&region.src);
	own_ports(ingress ? &region.dst : &region.src, hit->rule, protocol);
	remote_ports(ingress ? &region.src : &region.dst, hit, protocol);
	icmp_ports(&region.dst, hit->rule, protocol);
	region.every_src = is_all(&region.src);
	if (!region.dst.count || !region.src.count) {
		free(region.dst.cuts);
		free(region.src.cuts);
		return;
	}
	f->regions[f->region_count++] = region;
}

static void drop_regions(struct flattening *f)
{
	for (size_t i = 0; i < f->region_count; i++) {
		free(f->regions[i].dst.cuts);
		free(f->regions[i].src.cuts);
	}
	f->region_count = 0;
}

/* -- painting -- */

enum paint { PAINT_OPEN, PAINT_PASSED, PAINT_DECIDED, PAINT_SPLIT };

struct piece {
	uint32_t first; /* up to the next one's */
	enum paint paint;
	uint32_t bits;
	uint64_t next;
};

struct pieces {
	struct piece *items;
	size_t count;
};

static const struct span *span_of(const struct region *region, bool src)
{
	return src ? &region->src : &region->dst;
}

static struct pieces cut(const struct flattening *f, bool src)
{
	struct pieces pieces;
	struct span cuts = {0};

	add_cut(&cuts, 0);
	for (size_t i = 0; i < f->region_count; i++)
		for (size_t j = 0; j < span_of(&f->regions[i], src)->count; j++)
			add_cut(&cuts, span_of(&f->regions[i], src)->cuts[j]);
	qsort(cuts.cuts, cuts.count, sizeof(*cuts.cuts), compare_cuts);
	pieces.items = verdict_need(calloc(cuts.count, sizeof(*pieces.items)));
	pieces.count = 0;
	for (size_t i = 0; i < cuts.count && cuts.cuts[i] < PORT_COUNT; i++)
		if (!i || cuts.cuts[i] != cuts.cuts[i - 1])
			pieces.items[pieces.count++].first = cuts.cuts[i];
	free(cuts.cuts);
	return pieces;
}

static size_t piece_at(const struct pieces *pieces, uint32_t first)
{
	size_t low = 0, high = pieces->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (pieces->items[middle].first < first)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void paint_piece(struct piece *piece, enum policy_action action, bool split)
{
	if (piece->paint != PAINT_OPEN)
		return;
	if (split) {
		piece->paint = PAINT_SPLIT;
		return;
	}
	switch (action) {
	case POLICY_ALLOW:
		piece->bits |= VERDICT_ALLOW;
		piece->paint = PAINT_DECIDED;
		break;
	case POLICY_DENY:
		piece->paint = PAINT_DECIDED;
		break;
	case POLICY_PASS:
		piece->paint = PAINT_PASSED;
		break;
	case POLICY_LOG:
		piece->bits |= VERDICT_LOG;
		break;
	}
}

static void paint_region(struct pieces *pieces, const struct region *region, bool src)
{
	const struct span *span = span_of(region, src);

	for (size_t i = 0; i < span->count; i += 2)
		for (size_t p = piece_at(pieces, span->cuts[i]);
			p < pieces->count && pieces->items[p].first < span->cuts[i + 1]; p++)
			paint_piece(&pieces->items[p], region->rule->action, !src && !region->every_src);
}

static void end_tier(struct pieces *pieces, bool denies)
{
	for (size_t i = 0; i < pieces->count; i++) {
		struct piece *piece = &pieces->items[i];

		if (piece->paint == PAINT_PASSED)
			piece->paint = PAINT_OPEN;
		else if (piece->paint == PAINT_OPEN && denies)
			piece->paint = PAINT_DECIDED;
	}
}

static void paint_all(const struct flattening *f, struct pieces *pieces, bool src, const struct region *const *regions,
	size_t count)
{
	static const uint32_t end_bits[] = {[END_ALLOW] = VERDICT_ALLOW, [END_DENY] = 0, [END_LEFT] = VERDICT_ON};
	size_t done = 0;

	for (uint32_t tier = 0; tier < f->table->tier_count; tier++) {
		for (; done < count && regions[done]->rule->tier == tier; done++)
			paint_region(pieces, regions[done], src);
		end_tier(pieces, f->table->tier_denies[tier]);
	}
	for (size_t i = 0; i < pieces->count; i++)
		if (pieces->items[i].paint == PAINT_OPEN) {
			pieces->items[i].bits |= end_bits[f->table->end];
			pieces->items[i].paint = PAINT_DECIDED;
		}
}

static bool same_verdict(const struct piece *a, const struct piece *b)
{
	return a->bits == b->bits && a->next == b->next;
}

/* Neighbours with the same verdict are one. */
static void join(struct pieces *pieces)
{
	size_t kept = 0;

	for (size_t i = 0; i < pieces->count; i++)
		if (!kept || !same_verdict(&pieces->items[kept - 1], &pieces->items[i]))
			pieces->items[kept++] = pieces->items[i];
	pieces->count = kept;
}

/* -- entries -- */

struct sink {
	struct list_entry *entries;
	size_t count, room;
};

static void emit(struct sink *sink, unsigned len, int protocol, uint32_t port, const struct piece *verdict)
{
	VERDICT_PUSH(sink->entries, sink->count, sink->room,
		(struct list_entry){.next = verdict->next, .bits = verdict->bits, .port = (uint16_t)port, .len = (uint8_t)len,
			.protocol = (uint8_t)(protocol == OTHER ? 0 : protocol)});
}

static void emit_range(struct sink *sink, int protocol, uint32_t first, uint32_t behind, const struct piece *verdict)
{
	while (first < behind) {
		unsigned bits = 0;

		while (bits < 16 && !(first & 1u << bits) && first + (2u << bits) <= behind)
			bits++;
		emit(sink, 96 - bits, protocol, first, verdict);
		first += 1u << bits;
	}
}

static uint32_t behind_piece(const struct pieces *pieces, size_t i)
{
	return i + 1 < pieces->count ? pieces->items[i + 1].first : PORT_COUNT;
}

static void emit_around(struct sink *sink, int protocol, const struct pieces *pieces, const struct piece *ground,
	bool say_ground)
{
	sink->count = 0;
	if (say_ground)
		emit(sink, 72, protocol, 0, ground);
	for (size_t i = 0; i < pieces->count; i++)
		if (!same_verdict(&pieces->items[i], ground))
			emit_range(sink, protocol, pieces->items[i].first, behind_piece(pieces, i), &pieces->items[i]);
}

static const struct piece *widest(const struct pieces *pieces)
{
	size_t best = 0;

	for (size_t i = 1; i < pieces->count; i++)
		if (behind_piece(pieces, i) - pieces->items[i].first > behind_piece(pieces, best) - pieces->items[best].first)
			best = i;
	return &pieces->items[best];
}

/* On the ground of what other protocols have, or of the widest piece: whichever takes fewer entries. */
static void emit_protocol(struct flattening *f, int protocol, const struct pieces *pieces, const struct piece *other)
{
	struct sink on_other = {0}, on_widest = {0};
	const struct sink *best;

	emit_around(&on_other, protocol, pieces, other, false);
	emit_around(&on_widest, protocol, pieces, widest(pieces), !same_verdict(widest(pieces), other));
	best = on_widest.count <= on_other.count ? &on_widest : &on_other;
	for (size_t i = 0; i < best->count; i++)
		VERDICT_PUSH(f->entries, f->entry_count, f->entry_room, best->entries[i]);
	free(on_other.entries);
	free(on_widest.entries);
}

/* -- source ports -- */

static bool span_holds(const struct span *span, uint32_t port)
{
	for (size_t i = 0; i < span->count; i += 2)
		if (span->cuts[i] <= port && port < span->cuts[i + 1])
			return true;
	return false;
}

/* For one piece of the destination's ports. */
static void split_piece(struct flattening *f, int protocol, struct piece *piece)
{
	const struct region **regions = verdict_need(calloc(f->region_count, sizeof(*regions)));
	struct pieces pieces = cut(f, true);
	struct flattening sub = {.v = f->v, .table = f->table};
	struct list *next;
	size_t count = 0;

	for (size_t i = 0; i < f->region_count; i++)
		if (span_holds(&f->regions[i].dst, piece->first))
			regions[count++] = &f->regions[i];
	paint_all(f, &pieces, true, regions, count);
	free(regions);
	join(&pieces);
	if (pieces.count == 1) {
		piece->bits = pieces.items[0].bits;
		free(pieces.items);
		return;
	}
	const struct piece ground = *widest(&pieces);

	VERDICT_PUSH(sub.entries, sub.entry_count, sub.entry_room, (struct list_entry){.bits = ground.bits, .len = 64});
	emit_protocol(&sub, protocol, &pieces, &ground);
	free(pieces.items);
	next = verdict_list_intern(f->v, sub.entries, sub.entry_count, NULL, 0);
	piece->bits = VERDICT_NEXT;
	piece->next = next->number;
	VERDICT_PUSH(f->nexts, f->next_count, f->next_room, next);
}

/* -- all of it -- */

static struct pieces flatten_protocol(struct flattening *f, int protocol)
{
	const struct region **regions = verdict_need(calloc(f->hit_count + 1, sizeof(*regions)));
	struct pieces pieces;

	for (size_t i = 0; i < f->hit_count; i++)
		add_region(f, &f->hits[i], protocol);
	for (size_t i = 0; i < f->region_count; i++)
		regions[i] = &f->regions[i];
	pieces = cut(f, false);
	paint_all(f, &pieces, false, regions, f->region_count);
	for (size_t i = 0; i < pieces.count; i++)
		if (pieces.items[i].paint == PAINT_SPLIT)
			split_piece(f, protocol, &pieces.items[i]);
	join(&pieces);
	free(regions);
	drop_regions(f);
	return pieces;
}

static void name_protocols(const struct flattening *f, bool named[256])
{
	static const uint8_t with_ports[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP, IPPROTO_UDPLITE};

	for (size_t i = 0; i < f->hit_count; i++) {
		const struct table_rule *rule = f->hits[i].rule;
		bool ports = !rule->own.any || !rule->own_service.any || !rule->remote.any || rule->own_not_asked ||
			     rule->remote_not_asked;

		if (rule->protocol_sense != POLICY_ANY)
			named[rule->protocol] = true;
		for (size_t j = 0; ports && rule->protocol_sense != POLICY_IS && j < sizeof(with_ports); j++)
			named[with_ports[j]] = true;
		if (rule->icmp[0].sense != POLICY_ANY || rule->icmp[1].sense != POLICY_ANY)
			named[IPPROTO_ICMP] = named[IPPROTO_ICMPV6] = true;
		for (size_t j = 0; j < rule->own_service.count; j++)
			named[rule->own_service.ranges[j].protocol] = true;
		for (size_t j = 0; j < f->hits[i].item_count; j++)
			if (f->hits[i].items[j].slot == SLOT_SERVICE)
				named[f->hits[i].items[j].protocol] = true;
	}
}

static int compare_hits(const void *a, const void *b)
{
	const struct hit *x = a, *y = b;

	return (x->rule > y->rule) - (x->rule < y->rule);
}

static const struct table_use *first_use(const struct table *table, uint64_t peer)
{
	size_t low = 0, high = table->use_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (table->uses[middle].peer < peer)
			low = middle + 1;
		else
			high = middle;
	}
	return table->uses + low;
}

static void add_hits(struct flattening *f, const struct item *items, size_t count)
{
	const struct table_use *use = first_use(f->table, items->peer->number);

	for (; use < f->table->uses + f->table->use_count && use->peer == items->peer->number; use++)
		VERDICT_PUSH(f->hits, f->hit_count, f->hit_room, (struct hit){&f->table->rules[use->rule], items, count});
}

static void find_hits(struct flattening *f, const struct class *class)
{
	for (size_t i = 0; i < f->table->open_count; i++)
		VERDICT_PUSH(f->hits, f->hit_count, f->hit_room, (struct hit){.rule = &f->table->rules[f->table->open[i]]});
	for (size_t i = 0, end; class && i < class->item_count; i = end) {
		for (end = i; end < class->item_count && class->items[end].peer == class->items[i].peer;)
			end++;
		add_hits(f, &class->items[i], end - i);
	}
	if (f->hit_count)
		qsort(f->hits, f->hit_count, sizeof(*f->hits), compare_hits);
}

struct list *verdict_flatten(struct verdicts *v, const struct table *table, const struct class *class)
{
	struct flattening f = {.v = v, .table = table};
	bool named[256] = {false};
	struct pieces other;

	find_hits(&f, class);
	f.regions = verdict_need(calloc(f.hit_count + 1, sizeof(*f.regions)));
	name_protocols(&f, named);
	other = flatten_protocol(&f, OTHER);
	VERDICT_PUSH(f.entries, f.entry_count, f.entry_room, (struct list_entry){.bits = other.items[0].bits, .len = 64});
	for (int protocol = 0; protocol < 256; protocol++) {
		struct pieces pieces;

		if (!named[protocol])
			continue;
		pieces = flatten_protocol(&f, protocol);
		emit_protocol(&f, protocol, &pieces, &other.items[0]);
		free(pieces.items);
	}
	free(other.items);
	free(f.hits);
	free(f.regions);
	return verdict_list_intern(v, f.entries, f.entry_count, f.nexts, f.next_count);
}
