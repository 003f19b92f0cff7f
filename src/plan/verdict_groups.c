/* SPDX-License-Identifier: Apache-2.0
 *
 * Selectors are matched once for all endpoints of the same labels, and again only when either is new.
 */
#include "plan/verdict_internal.h"

/* -- groups -- */

struct group *verdict_group_get(struct verdicts *v, const struct endpoint *endpoint)
{
	struct group *group, key = {.key = {endpoint->shape, endpoint->namespace, endpoint->service_account}};

	HASH_FIND(hh, v->groups, &key.key, sizeof(key.key), group);
	if (group)
		return group;
	group = verdict_need(calloc(1, sizeof(*group)));
	group->key = key.key;
	group->due = v->members_due = true;
	HASH_ADD(hh, v->groups, key, sizeof(group->key), group);
	return group;
}

void verdict_group_add(struct group *group, struct member *member)
{
	member->group = group;
	member->previous = NULL;
	member->next = group->members;
	if (group->members)
		group->members->previous = member;
	group->members = member;
}

void verdict_group_remove(struct verdicts *v, struct member *member)
{
	struct group *group = member->group;

	if (member->previous)
		member->previous->next = member->next;
	else
		group->members = member->next;
	if (member->next)
		member->next->previous = member->previous;
	member->group = NULL;
	if (group->members)
		return;
	HASH_DEL(v->groups, group);
	free(group->atoms);
	free(group);
}

static int compare_pointers(const void *a, const void *b)
{
	uintptr_t x = (uintptr_t)*(void *const *)a, y = (uintptr_t)*(void *const *)b;

	return (x > y) - (x < y);
}

bool verdict_group_has(const struct group *group, const struct atom *atom)
{
	return group->atom_count &&
	       bsearch(&atom, group->atoms, group->atom_count, sizeof(struct atom *), compare_pointers);
}

/* -- matching -- */

bool verdict_selects(const struct verdicts *v, const struct selector *selector, const struct endpoint *endpoint)
{
	struct endpoint_labels labels = verdict_labels(v, endpoint);

	return selector_matches(selector, endpoint_label, &labels);
}

struct set_labels {
	const struct labels *own, *namespace;
	const char *name; /* of the namespace; null: none */
};

/* A set of a namespace inherits the namespace's labels, as endpoints do (7.3). */
static const char *set_label(const void *ctx, const char *key)
{
	const struct set_labels *labels = ctx;

	if (strcmp(key, "projectcalico.org/namespace") == 0)
		return labels->name;
	if (strncmp(key, "pcns.", 5) == 0) {
		if (!labels->name)
			return NULL;
		return strcmp(key + 5, "projectcalico.org/name") == 0 ? labels->name : labels_get(labels->namespace, key + 5);
	}
	return labels_get(labels->own, key);
}

static struct set_labels labels_of_set(const struct verdicts *v, const struct network_set *set)
{
	return (struct set_labels){set->labels, set->namespace ? verdict_namespace(v, set->namespace) : NULL, set->namespace};
}

bool verdict_selects_set(const struct verdicts *v, const struct selector *selector, const struct network_set *set)
{
	struct set_labels labels = labels_of_set(v, set);

	return selector_matches(selector, set_label, &labels);
}

struct matching {
	struct verdicts *v;
	selector_lookup lookup;
	const void *ctx;
	struct atom ***atoms;
	size_t *count, *room;
};

static bool match(const struct matching *m, struct atom *atom)
{
	if (atom->key) {
		const char *value = m->lookup(m->ctx, atom->key);

		if (!value || strcmp(value, atom->value) != 0)
			return false;
	}
	if (!selector_matches(atom->selector, m->lookup, m->ctx))
		return false;
	VERDICT_PUSH(*m->atoms, *m->count, *m->room, atom);
	return true;
}

static bool match_all(const struct matching *m, bool only_fresh)
{
	bool found = false;

	for (struct atom *atom = m->v->atoms; atom; atom = atom->hh.next)
		if ((!only_fresh || atom->fresh) && match(m, atom))
			found = true;
	if (*m->count)
		qsort(*m->atoms, *m->count, sizeof(struct atom *), compare_pointers);
	return found;
}

/* True: it is selected by others than before. */
static bool rematch(const struct matching *m)
{
	size_t count = *m->count;
	struct atom **old = verdict_need(malloc((count + 1) * sizeof(struct atom *)));
	bool changed;

	if (count)
		memcpy(old, *m->atoms, count * sizeof(struct atom *));
	*m->count = 0;
	match_all(m, false);
	changed = *m->count != count || (count && memcmp(old, *m->atoms, count * sizeof(struct atom *)) != 0);
	free(old);
	return changed;
}

static bool any_due(struct atom *const *atoms, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (atoms[i]->due)
			return true;
	return false;
}

/* What is new among the atoms, or all of them. True: what lives there has to be looked at again. */
static bool match_record(const struct matching *m, bool *due)
{
	bool changed = false;

	if (*due)
		changed = rematch(m);
	else if (m->v->atoms_due)
		changed = match_all(m, true);
	*due = false;
	return changed || (m->v->atoms_due && any_due(*m->atoms, *m->count));
}

static void match_group(struct verdicts *v, struct group *group)
{
	struct endpoint_labels labels = verdict_labels(v, group->members->endpoint);
	struct matching m = {v, endpoint_label, &labels, &group->atoms, &group->atom_count, &group->atom_room};

	if (match_record(&m, &group->due))
		for (const struct member *member = group->members; member; member = member->next)
			verdict_member_due(v, member);
}

static void match_set(struct verdicts *v, struct set_record *record)
{
	struct set_labels labels = labels_of_set(v, record->set);
	struct matching m = {v, set_label, &labels, &record->atoms, &record->atom_count, &record->atom_room};
	bool changed = match_record(&m, &record->due);

	for (size_t i = 0; changed && i < record->net_count; i++)
		verdict_spot_due(v, &record->nets[i], true);
}

void verdict_match_due(struct verdicts *v)
{
	if (!v->atoms_due && !v->members_due)
		return;
	for (struct group *g = v->groups; g; g = g->hh.next)
		match_group(v, g);
	for (struct set_record *s = v->sets; s; s = s->hh.next)
		match_set(v, s);
	for (struct atom *atom = v->atoms; atom; atom = atom->hh.next)
		atom->fresh = atom->due = false;
	v->atoms_due = v->members_due = false;
}

static void keep_used(struct atom **atoms, size_t *count)
{
	size_t kept = 0;

	for (size_t i = 0; i < *count; i++)
		if (atoms[i]->users)
			atoms[kept++] = atoms[i];
	*count = kept;
}

/* Their terms are gone already, and what they held was marked. */
void verdict_forget_atoms(struct verdicts *v)
{
	struct atom *atom, *next;

	if (!v->unused_atoms)
		return;
	for (struct group *g = v->groups; g; g = g->hh.next)
		keep_used(g->atoms, &g->atom_count);
	for (struct set_record *s = v->sets; s; s = s->hh.next)
		keep_used(s->atoms, &s->atom_count);
	HASH_ITER(hh, v->atoms, atom, next) {
		if (atom->users)
			continue;
		HASH_DEL(v->atoms, atom);
		selector_free(&atom->selector);
		free(atom->terms);
		free(atom->not_terms);
		free(atom);
	}
	v->unused_atoms = false;
}
