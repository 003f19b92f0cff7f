/* SPDX-License-Identifier: Apache-2.0
 *
 * A peer is known by what it asks, so the same rule of a thousand policies is one peer, and so is a rule with a hundred
 * thousand prefixes. While a table refers to it, its prefixes are in the trie and its selectors are matched.
 */
#include "plan/verdict_internal.h"

#define CONTENT_MAX (1u << 31)

/* -- making one from a rule -- */

static struct net *sorted_nets(const struct prefix *prefixes, size_t count, size_t *ret_count)
{
	struct net *nets;
	size_t kept = 0;

	*ret_count = 0;
	if (!count)
		return NULL;
	nets = verdict_need(calloc(count, sizeof(*nets)));
	for (size_t i = 0; i < count; i++)
		nets[i] = verdict_net(&prefixes[i]);
	qsort(nets, count, sizeof(*nets), verdict_net_compare);
	for (size_t i = 0; i < count; i++)
		if (!kept || verdict_net_compare(&nets[kept - 1], &nets[i]) != 0)
			nets[kept++] = nets[i];
	*ret_count = kept;
	return nets;
}

static void make_term(struct term *term, const struct policy_term *from)
{
	term->nets = sorted_nets(from->nets, from->net_count, &term->net_count);
	term->not_nets = sorted_nets(from->not_nets, from->not_net_count, &term->not_net_count);
	if (from->selector)
		term->selector = selector_share(from->selector);
	if (from->not_selector)
		term->not_selector = selector_share(from->not_selector);
	if (from->service_name)
		term->service_key = verdict_key(from->service_namespace, from->service_name);
}

static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static char **port_names(const struct policy_ports *ports, size_t count, size_t *ret_count)
{
	char **names = verdict_need(calloc(count + 1, sizeof(*names)));
	size_t all = 0, kept = 0;

	for (size_t i = 0; i < count; i++)
		if (ports[i].name)
			names[all++] = verdict_need(strdup(ports[i].name));
	qsort(names, all, sizeof(*names), compare_texts);
	for (size_t i = 0; i < all; i++) {
		if (kept && strcmp(names[kept - 1], names[i]) == 0)
			free(names[i]);
		else
			names[kept++] = names[i];
	}
	*ret_count = kept;
	return names;
}

static struct peer *make_peer(const struct policy_entity *entity, int family, bool destination)
{
	struct peer *peer = verdict_need(calloc(1, sizeof(*peer)));
	size_t numbers = 0;
	bool services = false;

	peer->family = family;
	peer->term_count = entity->term_count ? entity->term_count : 1;
	peer->terms = verdict_need(calloc(peer->term_count, sizeof(*peer->terms)));
	for (size_t i = 0; i < entity->term_count; i++) {
		make_term(&peer->terms[i], &entity->terms[i]);
		services |= entity->terms[i].service_name != NULL;
	}
	peer->service_ports = services && destination;
	peer->names = port_names(entity->ports, entity->port_count, &peer->name_count);
	peer->not_names = port_names(entity->not_ports, entity->not_port_count, &peer->not_name_count);
	for (size_t i = 0; i < entity->port_count; i++)
		numbers += !entity->ports[i].name;
	peer->plain = services || numbers || !peer->name_count;
	return peer;
}

/* -- identity -- */

static void encode_nets(struct buf *bytes, const struct net *nets, size_t count)
{
	verdict_add_number(bytes, count, 8);
	for (size_t i = 0; i < count; i++) {
		buf_add(bytes, nets[i].addr.b, sizeof(nets[i].addr.b));
		verdict_add_number(bytes, nets[i].len, 1);
	}
}

static struct digest term_digest(const struct verdicts *v, const struct term *term)
{
	struct buf bytes = BUF_INIT(CONTENT_MAX);
	struct digest digest;

	encode_nets(&bytes, term->nets, term->net_count);
	encode_nets(&bytes, term->not_nets, term->not_net_count);
	verdict_add_text(&bytes, term->selector ? selector_text(term->selector) : NULL);
	verdict_add_text(&bytes, term->not_selector ? selector_text(term->not_selector) : NULL);
	verdict_add_text(&bytes, term->service_key);
	if (bytes.error)
		abort();
	verdict_digest(v, bytes.data, bytes.len, &digest);
	buf_free(&bytes);
	return digest;
}

static int compare_digests(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct digest));
}

static void encode_names(struct buf *bytes, char *const *names, size_t count)
{
	verdict_add_number(bytes, count, 4);
	for (size_t i = 0; i < count; i++)
		verdict_add_text(bytes, names[i]);
}

/* The order of terms means nothing, nor do doubles. */
static void identify(const struct verdicts *v, struct peer *peer)
{
	struct digest *digests = verdict_need(calloc(peer->term_count, sizeof(*digests)));
	struct buf bytes = BUF_INIT(CONTENT_MAX);

	for (size_t i = 0; i < peer->term_count; i++)
		digests[i] = term_digest(v, &peer->terms[i]);
	qsort(digests, peer->term_count, sizeof(*digests), compare_digests);
	buf_add_str(&bytes, "peer");
	verdict_add_number(&bytes, (uint64_t)peer->family, 4);
	verdict_add_number(&bytes, (uint64_t)(peer->plain | peer->service_ports << 1), 1);
	encode_names(&bytes, peer->names, peer->name_count);
	encode_names(&bytes, peer->not_names, peer->not_name_count);
	for (size_t i = 0; i < peer->term_count; i++)
		if (!i || compare_digests(&digests[i - 1], &digests[i]) != 0)
			buf_add(&bytes, &digests[i], sizeof(digests[i]));
	free(digests);
	if (bytes.error)
		abort();
	peer->number = verdict_digest(v, bytes.data, bytes.len, &peer->digest);
	buf_free(&bytes);
}

static void free_names(char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

static void free_peer(struct peer *peer)
{
	for (size_t i = 0; i < peer->term_count; i++) {
		struct term *term = &peer->terms[i];

		free(term->nets);
		free(term->not_nets);
		selector_free(&term->selector);
		selector_free(&term->not_selector);
		free(term->service_key);
	}
	free(peer->terms);
	free_names(peer->names, peer->name_count);
	free_names(peer->not_names, peer->not_name_count);
	free(peer->classes);
	free(peer->tables);
	free(peer);
}

static bool says_nothing(const struct policy_term *term)
{
	return !term->net_count && !term->not_net_count && !term->selector && !term->not_selector && !term->service_name;
}

static bool is_everyone(const struct policy_entity *entity, int family)
{
	bool open = !entity->term_count;

	for (size_t i = 0; i < entity->term_count; i++)
		open |= says_nothing(&entity->terms[i]);
	for (size_t i = 0; i < entity->port_count; i++)
		open &= !entity->ports[i].name;
	for (size_t i = 0; i < entity->not_port_count; i++)
		open &= !entity->not_ports[i].name;
	return open && !family;
}

struct peer *verdict_peer_get(struct verdicts *v, const struct policy_entity *entity, int family, bool destination)
{
	struct peer *peer, *known;

	if (is_everyone(entity, family))
		return NULL;
	peer = make_peer(entity, family, destination);
	identify(v, peer);
	HASH_FIND(hh, v->peers, &peer->number, sizeof(peer->number), known);
	if (known) {
		if (compare_digests(&known->digest, &peer->digest) != 0)
			verdict_collision(v, "peer", peer->number);
		free_peer(peer);
		known->refs++;
		return known;
	}
	for (size_t i = 0; i < peer->term_count; i++)
		peer->terms[i].peer = peer;
	HASH_ADD(hh, v->peers, number, sizeof(peer->number), peer);
	peer->refs = 1;
	return peer;
}

void verdict_peer_put(struct verdicts *v, struct peer **peer)
{
	struct peer *p = *peer;

	*peer = NULL;
	if (!p || --p->refs)
		return;
	HASH_DEL(v->peers, p);
	free_peer(p);
}

/* -- active ones -- */

/* The namespace's name selects fewer than what all pods have, and a label fewer still. */
static void choose_key(struct atom *atom)
{
	const char *key, *value;

	for (size_t i = 0; selector_requires(atom->selector, i, &key, &value); i++) {
		if (strcmp(key, "projectcalico.org/orchestrator") == 0)
			continue;
		if (atom->key && strcmp(key, "projectcalico.org/namespace") == 0)
			continue;
		atom->key = key;
		atom->value = value;
		if (strcmp(key, "projectcalico.org/namespace") != 0)
			return;
	}
}

static struct atom *get_atom(struct verdicts *v, struct selector *selector)
{
	const char *text;
	struct atom *atom;

	if (!selector)
		return NULL;
	text = selector_text(selector);
	HASH_FIND_STR(v->atoms, text, atom);
	if (!atom) {
		atom = verdict_need(calloc(1, sizeof(*atom)));
		atom->selector = selector_share(selector);
		atom->fresh = true;
		choose_key(atom);
		text = selector_text(atom->selector);
		HASH_ADD_KEYPTR(hh, v->atoms, text, strlen(text), atom);
	}
	atom->users++;
	atom->due = v->atoms_due = true;
	return atom;
}

static void put_atom(struct verdicts *v, struct atom **atom)
{
	if (*atom) {
		(*atom)->due = v->atoms_due = true;
		if (!--(*atom)->users)
			v->unused_atoms = true;
	}
	*atom = NULL;
}

static void drop_term(struct term **terms, size_t *count, const struct term *term)
{
	for (size_t i = 0; i < *count; i++)
		if (terms[i] == term) {
			terms[i] = terms[--*count];
			return;
		}
}

static void roots_due(struct verdicts *v, int family)
{
	for (int f = 0; f < FAMILY_COUNT; f++) {
		const struct spot *root = v->roots[f];
		struct net net = {.addr = root->addr, .len = root->len};

		if (!family || family_index(family) == f)
			verdict_spot_due(v, &net, true);
	}
}

static void backends_due(struct verdicts *v, const struct service_record *service)
{
	for (size_t i = 0; i < service->backend_count; i++) {
		struct net host = verdict_net_host(&service->backends[i].addr);

		verdict_spot_due(v, &host, false);
	}
}

static void mark_nets(struct verdicts *v, struct term *term, void (*change)(struct verdicts *v, const struct net *net,
	const struct mark *mark))
{
	for (size_t i = 0; i < term->net_count; i++)
		change(v, &term->nets[i], &(struct mark){.kind = MARK_NET, .object = term});
	for (size_t i = 0; i < term->not_net_count; i++)
		change(v, &term->not_nets[i], &(struct mark){.kind = MARK_NOT_NET, .object = term});
}

/* A term is looked for by one thing only that it asks for. */
static void activate_term(struct verdicts *v, struct term *term)
{
	term->atom = get_atom(v, term->selector);
	term->not_atom = get_atom(v, term->not_selector);
	mark_nets(v, term, verdict_mark_add);
	if (term->service_key) {
		term->service = verdict_service(v, term->service_key);
		backends_due(v, term->service);
	}
	if (term->atom)
		VERDICT_PUSH(term->atom->terms, term->atom->term_count, term->atom->term_room, term);
	else if (term->service)
		VERDICT_PUSH(term->service->terms, term->service->term_count, term->service->term_room, term);
	if (term->atom || term->service || term->net_count)
		return;
	term->free_index = v->free_term_count;
	VERDICT_PUSH(v->free_terms, v->free_term_count, v->free_term_room, term);
	roots_due(v, term->peer->family);
}

static void deactivate_term(struct verdicts *v, struct term *term)
{
	if (!term->atom && !term->service && !term->net_count) {
		v->free_terms[term->free_index] = v->free_terms[--v->free_term_count];
		v->free_terms[term->free_index]->free_index = term->free_index;
		roots_due(v, term->peer->family);
	}
	mark_nets(v, term, verdict_mark_remove);
	if (term->atom)
		drop_term(term->atom->terms, &term->atom->term_count, term);
	put_atom(v, &term->atom);
	put_atom(v, &term->not_atom);
	if (term->service) {
		backends_due(v, term->service);
		drop_term(term->service->terms, &term->service->term_count, term);
		if (!term->service->term_count && !term->service->backend_count)
			verdict_service_free(v, term->service);
		term->service = NULL;
	}
}

void verdict_peer_activate(struct verdicts *v, struct peer *peer)
{
	peer->refs++;
	if (peer->active++)
		return;
	v->active_peers++;
	for (size_t i = 0; i < peer->term_count; i++)
		activate_term(v, &peer->terms[i]);
}

void verdict_peer_deactivate(struct verdicts *v, struct peer *peer)
{
	if (!--peer->active) {
		v->active_peers--;
		for (size_t i = 0; i < peer->term_count; i++)
			deactivate_term(v, &peer->terms[i]);
	}
	verdict_peer_put(v, &peer);
}
