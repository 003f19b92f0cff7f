/* SPDX-License-Identifier: Apache-2.0
 *
 * One walk over what is due: on the way down, terms and atoms count by how many prefixes and endpoints they are held; at each
 * spot those that could hold are asked. The walk is the only one who computes a class.
 */
#include "plan/verdict_internal.h"

/* -- classes -- */

static int compare_items(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	if (x->peer != y->peer)
		return x->peer->number < y->peer->number ? -1 : 1;
	if (x->slot != y->slot)
		return x->slot - y->slot;
	return x->protocol != y->protocol ? x->protocol - y->protocol : (int)x->port - (int)y->port;
}

struct item_list {
	struct item *items;
	size_t count, room;
};

static void sort_items(struct item_list *list)
{
	size_t kept = 0;

	if (list->count > 1)
		qsort(list->items, list->count, sizeof(*list->items), compare_items);
	for (size_t i = 0; i < list->count; i++)
		if (!kept || compare_items(&list->items[kept - 1], &list->items[i]) != 0)
			list->items[kept++] = list->items[i];
	list->count = kept;
}

/* Peers stand in each other's way by their order; a class is entered once under each. */
static bool first_of_peer(const struct class *class, size_t i)
{
	return i == 0 || class->items[i - 1].peer != class->items[i].peer;
}

static struct class *new_class(struct verdicts *v, const struct item_list *list, uint64_t number, const struct digest *digest)
{
	struct class *class = verdict_need(calloc(1, sizeof(*class)));

	class->number = number;
	class->digest = *digest;
	class->item_count = list->count;
	class->items = verdict_need(malloc(list->count * sizeof(*class->items)));
	memcpy(class->items, list->items, list->count * sizeof(*class->items));
	class->fresh = true;
	HASH_ADD(hh, v->classes, number, sizeof(class->number), class);
	for (size_t i = 0; i < list->count; i++) {
		struct peer *peer = class->items[i].peer;

		peer->refs++;
		if (first_of_peer(class, i))
			VERDICT_PUSH(peer->classes, peer->class_count, peer->class_room, class);
	}
	VERDICT_PUSH(v->fresh_classes, v->fresh_class_count, v->fresh_class_room, class);
	return class;
}

static bool is_made_of(const struct class *class, const struct item_list *list)
{
	if (class->item_count != list->count)
		return false;
	for (size_t i = 0; i < list->count; i++)
		if (compare_items(&class->items[i], &list->items[i]) != 0)
			return false;
	return true;
}

static struct class *intern_class(struct verdicts *v, const struct item_list *list, struct buf *bytes)
{
	struct digest digest;
	struct class *class;
	uint64_t number;

	if (!list->count)
		return NULL;
	buf_reset(bytes);
	buf_add_str(bytes, "class");
	for (size_t i = 0; i < list->count; i++) {
		const struct item *item = &list->items[i];

		buf_add(bytes, &item->peer->digest, sizeof(item->peer->digest));
		verdict_add_number(bytes, item->slot, 1);
		verdict_add_number(bytes, item->protocol, 1);
		verdict_add_number(bytes, item->port, 2);
	}
	if (bytes->error)
		abort();
	number = verdict_digest(v, bytes->data, bytes->len, &digest);
	HASH_FIND(hh, v->classes, &number, sizeof(number), class);
	if (class && memcmp(&class->digest, &digest, sizeof(digest)) != 0)
		verdict_collision(v, "class", number);
	return class ? class : new_class(v, list, number, &digest);
}

static void drop_class(struct peer *peer, const struct class *class)
{
	for (size_t i = peer->class_count; i-- > 0;)
		if (peer->classes[i] == class) {
			peer->classes[i] = peer->classes[--peer->class_count];
			return;
		}
}

void verdict_class_free(struct verdicts *v, struct class *class)
{
	HASH_DEL(v->classes, class);
	for (size_t i = 0; i < class->item_count; i++)
		if (first_of_peer(class, i))
			drop_class(class->items[i].peer, class);
	for (size_t i = 0; i < class->item_count; i++) {
		struct peer *peer = class->items[i].peer;

		verdict_peer_put(v, &peer);
	}
	free(class->items);
	free(class);
}

/* -- on the way down -- */

struct walk {
	struct verdicts *v;
	int family;
	struct term **terms; /* found by prefixes that hold this */
	size_t term_count, term_room;
	struct atom **atoms; /* that something here has */
	size_t atom_count, atom_room;
	const struct mark **backends;
	size_t backend_count, backend_room;
	uint32_t ranges;
	bool again; /* only what the first pass made due */
	struct class *last; /* neighbours are often the same */
	struct item_list found;
	struct buf bytes;
};

/* What a spot says, and takes back: sign is 1 or -1, as counters are unsigned. */
static void count_atoms(struct walk *w, struct atom *const *atoms, size_t count, uint32_t sign)
{
	for (size_t i = 0; i < count; i++) {
		if (sign == 1 && !atoms[i]->held)
			VERDICT_PUSH(w->atoms, w->atom_count, w->atom_room, atoms[i]);
		atoms[i]->held += sign;
	}
}

static void count_net(struct walk *w, struct term *term, uint32_t sign)
{
	if (sign == 1 && !term->in_nets && !term->atom && !term->service)
		VERDICT_PUSH(w->terms, w->term_count, w->term_room, term);
	term->in_nets += sign;
}

static void count_mark(struct walk *w, const struct mark *mark, uint32_t sign)
{
	const struct set_record *set = mark->object;
	struct term *term = mark->object;

	switch (mark->kind) {
	case MARK_NET:
		count_net(w, term, sign);
		break;
	case MARK_NOT_NET:
		term->in_not_nets += sign;
		break;
	case MARK_SET:
		count_atoms(w, set->atoms, set->atom_count, sign);
		break;
	}
}

static void count_marks(struct walk *w, const struct spot *spot, uint32_t sign)
{
	for (const struct mark *mark = spot->marks; mark; mark = mark->next) {
		count_mark(w, mark, sign);
		w->ranges += mark->kind == MARK_RANGE ? sign : 0;
	}
}

/* All that holds a node's first address holds its other ones. */
static void count_way(struct walk *w, const struct addr *addr, uint32_t sign)
{
	const struct spot *spot = w->v->roots[w->family];
	struct net host = verdict_net_host(addr);

	while (spot) {
		struct net net = {.addr = spot->addr, .len = spot->len};

		if (!verdict_net_holds(&net, addr))
			return;
		for (const struct mark *mark = spot->marks; mark; mark = mark->next)
			count_mark(w, mark, sign);
		spot = verdict_spot_is_host(spot) ? NULL : spot->child[host.addr.b[spot->len / 8] >> (7 - spot->len % 8) & 1];
	}
}

static void count_host(struct walk *w, const struct spot *spot, uint32_t sign)
{
	for (const struct member *m = spot->member; m; m = m->beside[w->family])
		count_atoms(w, m->group->atoms, m->group->atom_count, sign);
	for (const struct mark *mark = spot->marks; mark; mark = mark->next) {
		const struct addr *first;

		if (mark->kind == MARK_OTHER) {
			first = verdict_node_first(mark->object, w->family ? AF_INET6 : AF_INET);
			count_way(w, first, sign);
		} else if (mark->kind == MARK_BACKEND) {
			if (sign == 1)
				VERDICT_PUSH(w->backends, w->backend_count, w->backend_room, mark);
			((struct service_record *)mark->object)->held += sign;
		}
	}
}

/* -- asking -- */

static void find_item(struct walk *w, struct peer *peer, enum item_slot slot, uint8_t protocol, uint16_t port)
{
	VERDICT_PUSH(w->found.items, w->found.count, w->found.room,
		(struct item){.peer = peer, .slot = (uint8_t)slot, .protocol = protocol, .port = port});
}

static bool is_named(char *const *names, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

static void find_named(struct walk *w, struct peer *peer, const struct endpoint_shape *shape)
{
	for (size_t i = 0; i < shape->port_count; i++) {
		const struct endpoint_port *port = &shape->ports[i];

		if (is_named(peer->names, peer->name_count, port->name))
			find_item(w, peer, SLOT_NAMED, port->protocol, port->port);
		if (is_named(peer->not_names, peer->not_name_count, port->name))
			find_item(w, peer, SLOT_NOT_NAMED, port->protocol, port->port);
	}
}

static bool holds(const struct walk *w, const struct term *term)
{
	int family = term->peer->family;

	return (!family || family_index(family) == w->family) && (!term->net_count || term->in_nets) &&
	       !term->in_not_nets && (!term->atom || term->atom->held) && (!term->not_atom || !term->not_atom->held) &&
	       (!term->service || term->service->held);
}

static void ask(struct walk *w, const struct spot *spot, const struct term *term)
{
	struct peer *peer = term->peer;

	if (!holds(w, term))
		return;
	if (term->service && peer->service_ports) {
		for (size_t i = 0; i < w->backend_count; i++)
			if (w->backends[i]->object == term->service)
				find_item(w, peer, SLOT_SERVICE, w->backends[i]->protocol, w->backends[i]->port);
	} else if (peer->plain) {
		find_item(w, peer, SLOT_PLAIN, 0, 0);
	}
	if (!verdict_spot_is_host(spot) || (!peer->name_count && !peer->not_name_count))
		return;
	for (const struct member *m = spot->member; m; m = m->beside[w->family])
		if (!term->atom || verdict_group_has(m->group, term->atom))
			find_named(w, peer, m->group->key.shape);
}

static void ask_all(struct walk *w, const struct spot *spot)
{
	const struct verdicts *v = w->v;

	w->found.count = 0;
	for (size_t i = 0; i < v->free_term_count; i++)
		ask(w, spot, v->free_terms[i]);
	for (size_t i = 0; i < w->term_count; i++)
		ask(w, spot, w->terms[i]);
	for (size_t i = 0; i < w->atom_count; i++)
		for (size_t j = 0; j < w->atoms[i]->term_count; j++)
			ask(w, spot, w->atoms[i]->terms[j]);
	for (size_t i = 0; i < w->backend_count; i++) {
		const struct service_record *service = w->backends[i]->object;

		for (size_t j = 0; j < service->term_count; j++)
			ask(w, spot, service->terms[j]);
	}
	sort_items(&w->found);
}

/* -- what a spot becomes -- */

/* What the nearest spot above it, that says something, gives. */
struct cover {
	struct class *class;
	uint8_t flags;
};

static void list_spot(struct verdicts *v, struct spot *spot)
{
	if (spot->listed)
		return;
	spot->listed = true;
	VERDICT_PUSH(v->listed, v->listed_count, v->listed_room, spot);
}

static void set_class(struct verdicts *v, struct spot *spot, struct class *class)
{
	struct class *old = spot->class;

	if (old == class)
		return;
	spot->class = class;
	if (spot->shown)
		list_spot(v, spot);
	if (class)
		class->refs++;
	if (old && !--old->refs && !old->dead_listed) {
		old->dead_listed = true;
		VERDICT_PUSH(v->dead_classes, v->dead_class_count, v->dead_class_room, old);
	}
}

static void show(struct verdicts *v, struct spot *spot, bool shown)
{
	if (spot->shown == shown)
		return;
	v->shown_count += (size_t)shown - (size_t)spot->shown;
	spot->shown = shown;
	list_spot(v, spot);
}

static void set_flags(struct verdicts *v, struct spot *spot, uint8_t flags)
{
	if (spot->flags == flags)
		return;
	spot->flags = flags;
	if (spot->shown)
		list_spot(v, spot);
}

static uint8_t flags_of(const struct walk *w, const struct spot *spot)
{
	uint8_t flags = w->ranges ? VERDICT_ADDRESS_FINAL : 0;

	for (const struct mark *mark = spot->marks; mark; mark = mark->next)
		if (mark->kind == MARK_OWN)
			flags |= VERDICT_ADDRESS_OWN;
	return flags;
}

/* Addresses of the node follow its first one. */
static void others_due(struct walk *w, const struct spot *spot)
{
	for (const struct mark *mark = spot->marks; mark; mark = mark->next) {
		const struct node_record *node = mark->object;

		for (size_t i = 0; mark->kind == MARK_FIRST && i < node->addr_count; i++) {
			struct net host = verdict_net_host(&node->addrs[i]);

			if (family_index(addr_family(&node->addrs[i])) == w->family &&
				!addr_equal(&node->addrs[i], &spot->addr))
				verdict_spot_due(w->v, &host, false);
		}
	}
}

static void compute(struct walk *w, struct spot *spot, const struct cover *cover)
{
	bool is_root = spot == w->v->roots[w->family];

	if (!verdict_spot_says(spot) && !is_root) {
		set_class(w->v, spot, NULL);
		show(w->v, spot, false);
		return;
	}
	ask_all(w, spot);
	if (!w->last || !is_made_of(w->last, &w->found))
		w->last = intern_class(w->v, &w->found, &w->bytes);
	set_class(w->v, spot, w->last);
	set_flags(w->v, spot, flags_of(w, spot));
	/* Not the root of IPv4: what holds it in the kernel's trie is IPv6's. */
	if (!is_root || w->family == FAMILY_6)
		show(w->v, spot, spot->class != cover->class || spot->flags != cover->flags);
	if (!w->again)
		others_due(w, spot);
}

static void visit(struct walk *w, struct spot **place, struct cover cover, bool all);

static void visit_children(struct walk *w, struct spot *spot, struct cover cover, bool all)
{
	for (int i = 0; i < 2; i++)
		if (spot->child[i])
			visit(w, &spot->child[i], cover, all);
}

static void visit(struct walk *w, struct spot **place, struct cover cover, bool all)
{
	struct spot *spot = *place;
	size_t terms = w->term_count, atoms = w->atom_count, backends = w->backend_count;
	bool due = spot->due, below = spot->due_below, host = verdict_spot_is_host(spot);

	all |= spot->due_all;
	if (!due && !below && !all)
		return;
	spot->due = spot->due_all = spot->due_below = false;
	count_marks(w, spot, 1);
	if (host)
		count_host(w, spot, 1);
	if (due || all)
		compute(w, spot, &cover);
	if (verdict_spot_says(spot) || spot == w->v->roots[w->family])
		cover = (struct cover){spot->class, spot->flags};
	if (!host && (below || all))
		visit_children(w, spot, cover, all);
	if (host)
		count_host(w, spot, -1u);
	count_marks(w, spot, -1u);
	w->term_count = terms;
	w->atom_count = atoms;
	w->backend_count = backends;
	verdict_spot_trim(w->v, place);
}

static bool is_due(const struct spot *spot)
{
	return spot->due || spot->due_all || spot->due_below;
}

static void walk_family(struct verdicts *v, int family)
{
	struct walk w = {.v = v, .family = family, .bytes = BUF_INIT(1u << 30)};

	while (is_due(v->roots[family])) {
		visit(&w, &v->roots[family], (struct cover){0}, false);
		w.again = true; /* nodes' other addresses; they are never anything that others follow */
	}
	free(w.terms);
	free(w.atoms);
	free(w.backends);
	free(w.found.items);
	buf_free(&w.bytes);
}

static bool says_or_is_root(const struct spot *spot)
{
	return verdict_spot_says(spot) || !spot->len;
}

/* In the kernel's one trie short IPv6 prefixes hold the mapped addresses, too. */
static void shade_4(struct verdicts *v)
{
	struct spot *root = v->roots[FAMILY_4];
	const struct spot *holder = verdict_spot_longest(v->roots[FAMILY_6], &root->addr, says_or_is_root);

	show(v, root, root->class != holder->class || root->flags != holder->flags);
}

void verdict_walk(struct verdicts *v)
{
	walk_family(v, FAMILY_4);
	walk_family(v, FAMILY_6);
	shade_4(v);
}
