/* SPDX-License-Identifier: Apache-2.0
 *
 * Endpoints, what they inherit, and which of them are attached. Whatever comes marks what is due; nothing is computed here.
 */
#include "plan/verdict_internal.h"

#include <errno.h>

/* -- identity -- */

uint64_t verdict_digest(const struct verdicts *v, const void *bytes, size_t len, struct digest *ret)
{
	uint64_t number = 0;

	if (!EVP_DigestInit_ex(v->sha, v->sha256, NULL) || !EVP_DigestUpdate(v->sha, bytes, len) ||
		!EVP_DigestFinal_ex(v->sha, ret->b, NULL))
		abort();
	for (size_t i = 0; i < sizeof(number); i++)
		number = number << 8 | ret->b[i];
	return number ? number : 1;
}

void verdict_add_number(struct buf *bytes, uint64_t number, size_t size)
{
	uint8_t little[8];

	for (size_t i = 0; i < size; i++)
		little[i] = (uint8_t)(number >> (8 * i));
	buf_add(bytes, little, size);
}

void verdict_add_text(struct buf *bytes, const char *text)
{
	size_t len = text ? strlen(text) : 0;

	verdict_add_number(bytes, text ? len + 1 : 0, 4);
	buf_add(bytes, text ? text : "", len);
}

void verdict_collision(struct verdicts *v, const char *what, uint64_t number)
{
	if (v->failure)
		return;
	v->failure = -EEXIST;
	snprintf(v->failure_text, sizeof(v->failure_text), "%s %016llx stands for two different contents", what,
		(unsigned long long)number);
}

char *verdict_key(const char *first, const char *second)
{
	char *key;

	if (asprintf(&key, "%s/%s", first ? first : "", second) < 0)
		abort();
	return key;
}

/* -- life -- */

int verdicts_new(struct verdicts **ret)
{
	struct verdicts *v = verdict_need(calloc(1, sizeof(*v)));

	v->sha256 = verdict_need(EVP_MD_fetch(NULL, "SHA256", NULL));
	v->sha = verdict_need(EVP_MD_CTX_new());
	v->bucket_count = 64;
	v->buckets = verdict_need(calloc(v->bucket_count, sizeof(*v->buckets)));
	v->members = SLAB_INIT(struct member);
	verdict_trie_init(v);
	*ret = v;
	return 0;
}

/* -- what is inherited -- */

static const struct labels *find_labels(const struct label_record *table, const char *key)
{
	const struct label_record *record;

	HASH_FIND_STR(table, key, record);
	return record ? record->labels : NULL;
}

const struct labels *verdict_namespace(const struct verdicts *v, const char *namespace)
{
	return find_labels(v->namespaces, namespace);
}

struct endpoint_labels verdict_labels(const struct verdicts *v, const struct endpoint *endpoint)
{
	struct endpoint_labels labels = {.endpoint = endpoint, .namespace = verdict_namespace(v, endpoint->namespace)};

	if (v->service_accounts && endpoint->service_account) {
		char *key = verdict_key(endpoint->namespace, endpoint->service_account);

		labels.service_account = find_labels(v->service_accounts, key);
		free(key);
	}
	return labels;
}

/* Those that inherit from a namespace, and from one of its service accounts if that is not null. */
static void heirs_due(struct verdicts *v, const char *namespace, const char *service_account)
{
	for (struct group *g = v->groups; g; g = g->hh.next) {
		if (strcmp(g->key.namespace, namespace) != 0 ||
			(service_account && (!g->key.service_account || strcmp(g->key.service_account, service_account) != 0)))
			continue;
		g->due = v->members_due = true;
		for (struct member *m = g->members; m; m = m->next)
			if (m->attached)
				m->attached->due = v->policies_due = true;
	}
	for (struct set_record *s = v->sets; s; s = s->hh.next)
		if (s->set->namespace && strcmp(s->set->namespace, namespace) == 0)
			s->due = v->members_due = true;
	v->sides_due = true;
}

/* True: what others see has changed. */
static bool put_labels(struct label_record **table, const char *key, const struct labels *labels)
{
	struct label_record *record;
	bool same;

	HASH_FIND_STR(*table, key, record);
	if (!record) {
		record = verdict_need(calloc(1, sizeof(*record)));
		record->key = verdict_need(strdup(key));
		HASH_ADD_KEYPTR(hh, *table, record->key, strlen(record->key), record);
		record->labels = labels;
		return true;
	}
	same = record->labels && labels ? labels_equal(record->labels, labels) : record->labels == labels;
	record->labels = labels;
	return !same;
}

static bool remove_labels(struct label_record **table, const char *key)
{
	struct label_record *record;

	HASH_FIND_STR(*table, key, record);
	if (!record)
		return false;
	HASH_DEL(*table, record);
	free(record->key);
	free(record);
	return true;
}

int verdicts_put_namespace(struct verdicts *v, const char *name, const struct labels *labels)
{
	if (put_labels(&v->namespaces, name, labels))
		heirs_due(v, name, NULL);
	return 0;
}

void verdicts_remove_namespace(struct verdicts *v, const char *name)
{
	if (remove_labels(&v->namespaces, name))
		heirs_due(v, name, NULL);
}

int verdicts_put_service_account(struct verdicts *v, const char *namespace, const char *name, const struct labels *labels)
{
	char *key = verdict_key(namespace, name);

	if (put_labels(&v->service_accounts, key, labels))
		heirs_due(v, namespace, name);
	free(key);
	return 0;
}

void verdicts_remove_service_account(struct verdicts *v, const char *namespace, const char *name)
{
	char *key = verdict_key(namespace, name);

	if (remove_labels(&v->service_accounts, key))
		heirs_due(v, namespace, name);
	free(key);
}

/* -- endpoints; a table of their own: there are many, and uthash takes 56 bytes for each -- */

static size_t member_hash(const char *namespace, const char *name)
{
	uint64_t hash = 14695981039346656037u; /* FNV-1a */

	for (; *namespace; namespace++)
		hash = (hash ^ (uint8_t)*namespace) * 1099511628211u;
	hash = (hash ^ '/') * 1099511628211u;
	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * 1099511628211u;
	return hash ^ hash >> 32;
}

static struct member **member_place(const struct verdicts *v, const char *namespace, const char *name)
{
	struct member **place = &v->buckets[member_hash(namespace, name) & (v->bucket_count - 1)];

	while (*place && (strcmp((*place)->endpoint->name, name) != 0 || strcmp((*place)->endpoint->namespace, namespace) != 0))
		place = &(*place)->chain;
	return place;
}

struct member *verdict_member_find(const struct verdicts *v, const char *namespace, const char *name)
{
	return *member_place(v, namespace, name);
}

static void widen_buckets(struct verdicts *v)
{
	struct member **old = v->buckets;
	size_t old_count = v->bucket_count;

	v->bucket_count = old_count * 2;
	v->buckets = verdict_need(calloc(v->bucket_count, sizeof(*v->buckets)));
	for (size_t i = 0; i < old_count; i++)
		for (struct member *m = old[i], *next; m; m = next) {
			size_t hash = member_hash(m->endpoint->namespace, m->endpoint->name);
			struct member **place = &v->buckets[hash & (v->bucket_count - 1)];

			next = m->chain;
			m->chain = *place;
			*place = m;
		}
	free(old);
}

const struct addr *verdict_member_addr(const struct member *member, int family)
{
	const struct addr *addr = member->attached ? &member->attached->addr[family] : &member->endpoint->addr[family];

	return member->endpoint->host_network || !addr_is_set(addr) ? NULL : addr;
}

static void link_attached(struct verdicts *v, struct member *member)
{
	member->attached = verdict_attached_find(v, member->endpoint->namespace, member->endpoint->name);
	if (member->attached) {
		member->attached->member = member;
		member->attached->due = v->policies_due = true;
	}
}

static void add_member(struct verdicts *v, const struct endpoint *endpoint)
{
	struct member *m = slab_get(&v->members), **place;

	if (v->member_count >= v->bucket_count)
		widen_buckets(v);
	m->endpoint = endpoint;
	place = member_place(v, endpoint->namespace, endpoint->name);
	*place = m;
	v->member_count++;
	verdict_group_add(verdict_group_get(v, endpoint), m);
	link_attached(v, m);
	verdict_member_put(v, m);
}

static bool same_place(const struct endpoint *a, const struct endpoint *b)
{
	return addr_equal(&a->addr[FAMILY_4], &b->addr[FAMILY_4]) && addr_equal(&a->addr[FAMILY_6], &b->addr[FAMILY_6]) &&
	       a->host_network == b->host_network;
}

int verdicts_put_endpoint(struct verdicts *v, const struct endpoint *endpoint)
{
	struct member *m = verdict_member_find(v, endpoint->namespace, endpoint->name);
	struct group *group;
	bool moves;

	if (!m) {
		add_member(v, endpoint);
		return 0;
	}
	moves = !same_place(m->endpoint, endpoint);
	if (moves)
		verdict_member_take(v, m);
	/* The new group before the old one goes: it may be the same. */
	group = verdict_group_get(v, endpoint);
	if (group != m->group) {
		verdict_group_remove(v, m);
		m->endpoint = endpoint;
		verdict_group_add(group, m);
		verdict_member_due(v, m);
		if (m->attached)
			m->attached->due = v->policies_due = true;
	}
	if (moves && m->attached)
		m->attached->due = v->policies_due = true;
	m->endpoint = endpoint;
	if (moves)
		verdict_member_put(v, m);
	return 0;
}

void verdicts_remove_endpoint(struct verdicts *v, const char *namespace, const char *name)
{
	struct member **place = member_place(v, namespace, name), *m = *place;

	if (!m)
		return;
	verdict_member_take(v, m);
	if (m->attached) {
		m->attached->member = NULL;
		m->attached->due = v->policies_due = true;
	}
	verdict_group_remove(v, m);
	*place = m->chain;
	v->member_count--;
	slab_put(&v->members, m);
}

/* -- attached ones -- */

struct attached *verdict_attached_find(const struct verdicts *v, const char *namespace, const char *name)
{
	char *key = verdict_key(namespace, name);
	struct attached *attached;

	HASH_FIND_STR(v->attached, key, attached);
	free(key);
	return attached;
}

int verdicts_attach(struct verdicts *v, const char *namespace, const char *name, const struct addr addr[FAMILY_COUNT])
{
	struct attached *attached = verdict_attached_find(v, namespace, name);
	struct member *m = verdict_member_find(v, namespace, name);

	if (attached && addr_equal(&attached->addr[FAMILY_4], &addr[FAMILY_4]) &&
		addr_equal(&attached->addr[FAMILY_6], &addr[FAMILY_6]))
		return 0;
	if (m)
		verdict_member_take(v, m);
	if (!attached) {
		attached = verdict_need(calloc(1, sizeof(*attached)));
		attached->key = verdict_key(namespace, name);
		HASH_ADD_KEYPTR(hh, v->attached, attached->key, strlen(attached->key), attached);
	}
	memcpy(attached->addr, addr, sizeof(attached->addr));
	attached->due = v->policies_due = true;
	if (m) {
		link_attached(v, m);
		verdict_member_put(v, m);
	}
	return 0;
}

void verdict_attached_free(struct verdicts *v, struct attached *attached)
{
	for (size_t i = 0; i < attached->policy_count; i++)
		attached->policies[i]->uses--;
	verdict_release_tables(v, attached);
	HASH_DEL(v->attached, attached);
	free(attached->policies);
	free(attached->key);
	free(attached);
}

void verdicts_detach(struct verdicts *v, const char *namespace, const char *name)
{
	struct attached *attached = verdict_attached_find(v, namespace, name);
	struct member *m = attached ? attached->member : NULL;

	if (!attached)
		return;
	if (m) {
		verdict_member_take(v, m);
		m->attached = NULL;
		verdict_member_put(v, m);
	}
	/* Policies that are in no use any more let go of what was compiled. */
	v->policies_due = true;
	verdict_attached_free(v, attached);
}

bool verdicts_tables(const struct verdicts *v, const char *namespace, const char *name,
	uint64_t tables[static POLICY_DIRECTION_COUNT])
{
	const struct attached *attached = verdict_attached_find(v, namespace, name);

	if (!attached)
		return false;
	for (int i = 0; i < POLICY_DIRECTION_COUNT; i++)
		tables[i] = attached->tables[i] ? attached->tables[i]->number : 0;
	return true;
}

void verdicts_get_stats(const struct verdicts *v, struct verdict_stats *ret)
{
	*ret = (struct verdict_stats){
		.policies = HASH_COUNT(v->policies),
		.endpoints = v->member_count,
		.attached = HASH_COUNT(v->attached),
		.peers = v->active_peers,
		.classes = HASH_COUNT(v->classes),
		.tables = HASH_COUNT(v->tables),
		.lists = HASH_COUNT(v->lists),
		.pairs = v->living_pairs,
		.ports = v->living_ports,
		.addresses = v->shown_count,
	};
	for (const struct policy_record *p = v->policies; p; p = p->hh.next)
		ret->applied += p->uses > 0;
}

/* -- the end -- */

static void free_labels(struct label_record **table)
{
	while (*table)
		remove_labels(table, (*table)->key);
}

static void free_members(struct verdicts *v)
{
	for (size_t i = 0; i < v->bucket_count; i++)
		while (v->buckets[i]) {
			struct member *m = v->buckets[i];

			v->buckets[i] = m->chain;
			verdict_group_remove(v, m);
			slab_put(&v->members, m);
		}
	free(v->buckets);
	slab_done(&v->members);
}

static void free_tables(struct verdicts *v)
{
	struct pair *pair, *next_pair;
	struct list *list, *next_list;

	while (v->attached)
		verdict_attached_free(v, v->attached);
	while (v->tables)
		verdict_free_table(v, v->tables);
	HASH_ITER(hh, v->pairs, pair, next_pair) {
		HASH_DEL(v->pairs, pair);
		free(pair);
	}
	HASH_ITER(hh, v->lists, list, next_list)
		verdict_list_free(v, list);
	verdict_forget_atoms(v);
}

void verdicts_free(struct verdicts *v)
{
	if (!v)
		return;
	free_tables(v);
	while (v->policies) {
		const struct policy *p = v->policies->policy;

		verdicts_remove_policy(v, p->kind, p->namespace, p->name);
	}
	verdict_trie_done(v);
	while (v->sets)
		verdict_set_free(v, v->sets);
	while (v->tiers)
		verdicts_remove_tier(v, v->tiers->name);
	while (v->nodes)
		verdict_node_free(v, v->nodes);
	while (v->services)
		verdict_service_free(v, v->services);
	free_labels(&v->namespaces);
	free_labels(&v->service_accounts);
	free_members(v);
	while (v->hosts)
		verdict_host_free(v, v->hosts);
	endpoint_pool_free(v->pool);
	while (v->classes)
		verdict_class_free(v, v->classes);
	free(v->ranges);
	free(v->listed);
	free(v->listed_lists);
	free(v->listed_pairs);
	free(v->free_terms);
	free(v->fresh_classes);
	free(v->dead_classes);
	verdict_change_done(v);
	EVP_MD_CTX_free(v->sha);
	EVP_MD_free(v->sha256);
	free(v);
}
