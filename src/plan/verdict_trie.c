/* SPDX-License-Identifier: Apache-2.0
 *
 * A path-compressed binary trie of all prefixes that something is said about, one for each family, so that an IPv6 prefix never
 * holds an IPv4 address. A spot that changes is marked, and so is the way to it: the walk (verdict_classes.c) visits nothing
 * else.
 */
#include "plan/verdict_internal.h"

#include <assert.h>

#define HOST_LEN 128
#define MAPPED_LEN 96

/* -- prefixes -- */

static bool bit_at(const struct addr *addr, unsigned i)
{
	return addr->b[i / 8] >> (7 - i % 8) & 1;
}

static unsigned common_len(const struct addr *a, const struct addr *b, unsigned max)
{
	unsigned i = 0;

	while (i < max && i / 8 < 16 && a->b[i / 8] == b->b[i / 8])
		i = (i / 8 + 1) * 8;
	while (i < max && bit_at(a, i) == bit_at(b, i))
		i++;
	return i < max ? i : max;
}

static void mask(struct addr *addr, unsigned len)
{
	for (unsigned i = 0; i < 16; i++) {
		unsigned keep = len > i * 8 ? len - i * 8 : 0;

		if (keep < 8)
			addr->b[i] &= (uint8_t)(0xff00u >> keep);
	}
}

struct net verdict_net(const struct prefix *prefix)
{
	struct net net = {.addr = prefix->addr, .len = prefix->len};

	if (prefix->family == AF_INET)
		net.len = (uint8_t)(prefix->len + MAPPED_LEN);
	mask(&net.addr, net.len);
	return net;
}

struct net verdict_net_host(const struct addr *addr)
{
	return (struct net){.addr = *addr, .len = HOST_LEN};
}

bool verdict_net_is_4(const struct net *net)
{
	return net->len >= MAPPED_LEN && addr_is_4(&net->addr);
}

struct prefix verdict_net_prefix(const struct net *net)
{
	bool is_4 = verdict_net_is_4(net);

	return (struct prefix){
		.addr = net->addr,
		.len = (uint8_t)(is_4 ? net->len - MAPPED_LEN : net->len),
		.family = is_4 ? AF_INET : AF_INET6,
	};
}

bool verdict_net_holds(const struct net *net, const struct addr *addr)
{
	return verdict_net_is_4(net) == addr_is_4(addr) && common_len(&net->addr, addr, net->len) == net->len;
}

int verdict_net_compare(const void *a, const void *b)
{
	const struct net *x = a, *y = b;
	int order = addr_compare(&x->addr, &y->addr);

	return order ? order : (int)x->len - (int)y->len;
}

/* -- spots -- */

static_assert(sizeof(struct spot) == 56, "two spots for each pod's address");

static struct spot *new_spot(struct verdicts *v, const struct addr *addr, unsigned len)
{
	struct spot *spot = slab_get(&v->spots);

	spot->addr = *addr;
	spot->len = (uint8_t)len;
	mask(&spot->addr, len);
	return spot;
}

void verdict_trie_init(struct verdicts *v)
{
	struct addr mapped = addr_from_4(0), none = {0};

	v->spots = SLAB_INIT(struct spot);
	v->marks = SLAB_INIT(struct mark);
	v->roots[FAMILY_4] = new_spot(v, &mapped, MAPPED_LEN);
	v->roots[FAMILY_6] = new_spot(v, &none, 0);
}

bool verdict_spot_says(const struct spot *spot)
{
	return spot->marks || (verdict_spot_is_host(spot) && spot->member);
}

bool verdict_spot_is_host(const struct spot *spot)
{
	return spot->len == HOST_LEN;
}

void verdict_trie_done(struct verdicts *v)
{
	slab_done(&v->spots);
	slab_done(&v->marks);
	v->roots[FAMILY_4] = v->roots[FAMILY_6] = NULL;
}

static struct spot **root_of(struct verdicts *v, const struct net *net)
{
	return &v->roots[verdict_net_is_4(net) ? FAMILY_4 : FAMILY_6];
}

static bool spot_holds(const struct spot *spot, const struct net *net)
{
	return spot->len <= net->len && common_len(&spot->addr, &net->addr, spot->len) == spot->len;
}

/* The next one on the way to net; null: it ends here. */
static struct spot *toward(const struct spot *spot, const struct net *net)
{
	return spot->len >= net->len ? NULL : spot->child[bit_at(&net->addr, spot->len)];
}

struct spot *verdict_spot_find(struct verdicts *v, const struct net *net)
{
	struct spot *spot = *root_of(v, net);

	while (spot && spot_holds(spot, net) && spot->len < net->len)
		spot = toward(spot, net);
	return spot && spot->len == net->len && spot_holds(spot, net) ? spot : NULL;
}

const struct spot *verdict_spot_longest(const struct spot *root, const struct addr *addr,
	bool (*wanted)(const struct spot *spot))
{
	const struct spot *found = NULL;

	for (const struct spot *s = root; s && common_len(&s->addr, addr, s->len) == s->len;) {
		if (wanted(s))
			found = s;
		s = verdict_spot_is_host(s) ? NULL : s->child[bit_at(addr, s->len)];
	}
	return found;
}

static bool is_host(const struct spot *spot)
{
	return verdict_spot_is_host(spot);
}

const struct spot *verdict_host_find(const struct verdicts *v, const struct addr *addr)
{
	return verdict_spot_longest(v->roots[family_index(addr_family(addr))], addr, is_host);
}

/* Between place and what is there. */
static struct spot *insert_above(struct verdicts *v, struct spot **place, const struct addr *addr, unsigned len)
{
	struct spot *below = *place, *spot = new_spot(v, addr, len);

	spot->child[bit_at(&below->addr, len)] = below;
	spot->due_below = below->due || below->due_all || below->due_below;
	*place = spot;
	return spot;
}

struct spot *verdict_spot_get(struct verdicts *v, const struct net *net)
{
	struct spot **place = root_of(v, net);

	while (*place) {
		struct spot *spot = *place;
		unsigned max = spot->len < net->len ? spot->len : net->len;
		unsigned common = common_len(&spot->addr, &net->addr, max);

		if (common < spot->len) {
			spot = insert_above(v, place, &net->addr, common);
			if (common == net->len)
				return spot;
		} else if (spot->len == net->len) {
			return spot;
		}
		place = &spot->child[bit_at(&net->addr, spot->len)];
	}
	*place = new_spot(v, &net->addr, net->len);
	return *place;
}

void verdict_spot_due(struct verdicts *v, const struct net *net, bool all)
{
	struct spot *spot = *root_of(v, net);

	while (spot && spot->len < net->len) {
		spot->due_below = true;
		spot = toward(spot, net);
	}
	if (!spot || spot->len != net->len)
		return;
	spot->due = true;
	spot->due_all |= all;
}

static bool is_needed(const struct spot *spot)
{
	return verdict_spot_says(spot) || spot->shown || spot->listed || spot->due || spot->due_all;
}

void verdict_spot_trim(struct verdicts *v, struct spot **place)
{
	struct spot *spot = *place, *only = NULL;

	if (spot == v->roots[FAMILY_4] || spot == v->roots[FAMILY_6] || is_needed(spot))
		return;
	if (!verdict_spot_is_host(spot)) {
		if (spot->child[0] && spot->child[1])
			return;
		only = spot->child[0] ? spot->child[0] : spot->child[1];
	}
	assert(!spot->class);
	*place = only;
	slab_put(&v->spots, spot);
}

static void prune(struct verdicts *v, struct spot **place, const struct net *net)
{
	struct spot *spot = *place;

	if (spot->len < net->len) {
		struct spot **next = &spot->child[bit_at(&net->addr, spot->len)];

		if (*next && spot_holds(*next, net))
			prune(v, next, net);
	}
	verdict_spot_trim(v, place);
}

void verdict_spot_prune(struct verdicts *v, const struct net *net)
{
	prune(v, root_of(v, net), net);
}

/* -- what is said about them -- */

static bool is_inherited(const struct mark *mark)
{
	return mark->kind == MARK_NET || mark->kind == MARK_NOT_NET || mark->kind == MARK_SET || mark->kind == MARK_RANGE;
}

void verdict_mark_add(struct verdicts *v, const struct net *net, const struct mark *mark)
{
	struct spot *spot = verdict_spot_get(v, net);
	struct mark *own = slab_get(&v->marks);

	*own = *mark;
	own->next = spot->marks;
	spot->marks = own;
	verdict_spot_due(v, net, is_inherited(mark));
}

void verdict_mark_remove(struct verdicts *v, const struct net *net, const struct mark *mark)
{
	struct spot *spot = verdict_spot_find(v, net);
	struct mark **place = spot ? &spot->marks : NULL;

	while (place && *place &&
		((*place)->kind != mark->kind || (*place)->object != mark->object || (*place)->protocol != mark->protocol ||
			(*place)->port != mark->port))
		place = &(*place)->next;
	if (!place || !*place)
		return;
	struct mark *gone = *place;

	*place = gone->next;
	slab_put(&v->marks, gone);
	verdict_spot_due(v, net, is_inherited(mark));
}

/* -- endpoints at their addresses -- */

void verdict_member_put(struct verdicts *v, struct member *member)
{
	for (int f = 0; f < FAMILY_COUNT; f++) {
		const struct addr *addr = verdict_member_addr(member, f);
		struct net host;
		struct spot *spot;

		if (!addr)
			continue;
		host = verdict_net_host(addr);
		spot = verdict_spot_get(v, &host);
		member->beside[f] = spot->member;
		spot->member = member;
		v->sides_due |= member->beside[f] != NULL;
		verdict_spot_due(v, &host, false);
	}
}

void verdict_member_take(struct verdicts *v, struct member *member)
{
	for (int f = 0; f < FAMILY_COUNT; f++) {
		const struct addr *addr = verdict_member_addr(member, f);
		struct net host = verdict_net_host(addr ? addr : &(struct addr){0});
		struct spot *spot = addr ? verdict_spot_find(v, &host) : NULL;
		struct member **place = spot ? &spot->member : NULL;

		while (place && *place && *place != member)
			place = &(*place)->beside[f];
		if (!place || !*place)
			continue;
		v->sides_due |= spot->member->beside[f] != NULL;
		*place = member->beside[f];
		member->beside[f] = NULL;
		verdict_spot_due(v, &host, false);
	}
}

void verdict_member_due(struct verdicts *v, const struct member *member)
{
	for (int f = 0; f < FAMILY_COUNT; f++) {
		const struct addr *addr = verdict_member_addr(member, f);
		struct net host = verdict_net_host(addr ? addr : &(struct addr){0});

		const struct spot *spot = addr ? verdict_spot_find(v, &host) : NULL;

		if (!spot)
			continue;
		/* What somebody else at an attached endpoint's address is like, concerns rules about its own side. */
		v->sides_due |= spot->member && spot->member->beside[f];
		verdict_spot_due(v, &host, false);
	}
}
