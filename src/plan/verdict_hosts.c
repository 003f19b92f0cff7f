/* SPDX-License-Identifier: Apache-2.0
 *
 * Host endpoints. As a peer, one lives at each of its addresses: its faces are endpoints of its labels and ports, NAME,
 * "NAME#1" and so on, without a namespace. Attached, it is one subject for each kind of traffic.
 */
#include "plan/verdict_internal.h"

#include <errno.h>

/* -- faces -- */

static struct host_record *find_host(const struct verdicts *v, const char *name)
{
	struct host_record *record;

	HASH_FIND_STR(v->hosts, name, record);
	return record;
}

static size_t count_family(const struct host_endpoint *host, int family)
{
	size_t count = 0;

	for (size_t i = 0; i < host->addr_count; i++)
		count += family_index(addr_family(&host->addrs[i])) == family;
	return count;
}

/* The index'th one of the family; unset: it has not so many. */
static struct addr addr_of(const struct host_endpoint *host, int family, size_t index)
{
	for (size_t i = 0; i < host->addr_count; i++)
		if (family_index(addr_family(&host->addrs[i])) == family && index-- == 0)
			return host->addrs[i];
	return (struct addr){0};
}

static struct endpoint *make_face(struct verdicts *v, const struct host_endpoint *host, size_t index)
{
	struct endpoint_parts parts = {.namespace = "", .service_account = "", .node = host->node, .labels = host->labels,
		.ports = host->ports, .port_count = host->port_count, .host = true};
	struct endpoint *face;
	char *name;

	if (asprintf(&name, index ? "%s#%zu" : "%s", host->name, index) < 0)
		abort();
	parts.name = name;
	for (int f = 0; f < FAMILY_COUNT; f++)
		parts.addr[f] = addr_of(host, f, index);
	face = verdict_need(endpoint_new(v->pool, &parts));
	free(name);
	return face;
}

static void drop_faces(struct verdicts *v, struct endpoint **faces, size_t count)
{
	for (size_t i = 0; i < count; i++)
		endpoint_free(v->pool, &faces[i]);
	free(faces);
}

/* The engine has the new ones before the old ones go. */
static void set_faces(struct verdicts *v, struct host_record *record, const struct host_endpoint *host)
{
	size_t v4 = count_family(host, FAMILY_4), v6 = count_family(host, FAMILY_6), count = v4 > v6 ? v4 : v6, old_count;
	struct endpoint **old = record->faces;

	if (!v->pool)
		v->pool = verdict_need(endpoint_pool_new());
	old_count = record->face_count;
	record->face_count = count ? count : 1;
	record->faces = verdict_need(calloc(record->face_count, sizeof(struct endpoint *)));
	for (size_t i = 0; i < record->face_count; i++) {
		record->faces[i] = make_face(v, host, i);
		verdicts_put_endpoint(v, record->faces[i]);
	}
	for (size_t i = record->face_count; i < old_count; i++)
		verdicts_remove_endpoint(v, "", old[i]->name);
	drop_faces(v, old, old_count);
}

/* -- attached ones -- */

static char *host_key(const char *name, enum scope scope)
{
	char *key;

	/* no namespace is called so */
	if (asprintf(&key, "#%d/%s", (int)scope, name) < 0)
		abort();
	return key;
}

struct attached *verdict_host_attached(const struct verdicts *v, const char *name, enum scope scope)
{
	struct attached *attached;
	char *key = host_key(name, scope);

	HASH_FIND_STR(v->attached, key, attached);
	free(key);
	return attached;
}

static void mark_attached(struct verdicts *v, struct host_record *record)
{
	for (int scope = SCOPE_LOCAL; scope < SCOPE_COUNT; scope++) {
		struct attached *attached = verdict_host_attached(v, record->host->name, scope);

		if (!attached)
			continue;
		attached->member = verdict_member_find(v, "", record->faces[0]->name);
		memcpy(attached->addr, record->faces[0]->addr, sizeof(attached->addr));
		attached->due = v->policies_due = true;
	}
}

int verdicts_attach_host(struct verdicts *v, const char *name)
{
	struct host_record *record = find_host(v, name);

	if (!record)
		return -ENOENT;
	for (int scope = SCOPE_LOCAL; scope < SCOPE_COUNT; scope++) {
		struct attached *attached;

		if (verdict_host_attached(v, name, scope))
			return 0;
		attached = verdict_need(calloc(1, sizeof(*attached)));
		attached->key = host_key(name, scope);
		attached->scope = scope;
		attached->host = record;
		HASH_ADD_KEYPTR(hh, v->attached, attached->key, strlen(attached->key), attached);
	}
	mark_attached(v, record);
	return 0;
}

void verdicts_detach_host(struct verdicts *v, const char *name)
{
	for (int scope = SCOPE_LOCAL; scope < SCOPE_COUNT; scope++) {
		struct attached *attached = verdict_host_attached(v, name, scope);

		if (!attached)
			return;
		v->policies_due = true;
		verdict_attached_free(v, attached);
	}
}

/* -- what is put in -- */

int verdicts_put_host(struct verdicts *v, const struct host_endpoint *host)
{
	struct host_record *record = find_host(v, host->name);

	if (record && host_endpoint_equal(record->host, host)) {
		HASH_DEL(v->hosts, record);
		record->host = host;
		HASH_ADD_KEYPTR(hh, v->hosts, host->name, strlen(host->name), record);
		return 0;
	}
	if (record)
		HASH_DEL(v->hosts, record);
	else
		record = verdict_need(calloc(1, sizeof(*record)));
	record->host = host;
	HASH_ADD_KEYPTR(hh, v->hosts, host->name, strlen(host->name), record);
	set_faces(v, record, host);
	v->sides_due = true;
	mark_attached(v, record);
	return 0;
}

void verdict_host_free(struct verdicts *v, struct host_record *record)
{
	HASH_DEL(v->hosts, record);
	drop_faces(v, record->faces, record->face_count);
	free(record);
}

void verdicts_remove_host(struct verdicts *v, const char *name)
{
	struct host_record *record = find_host(v, name);

	if (!record)
		return;
	verdicts_detach_host(v, name);
	for (size_t i = 0; i < record->face_count; i++)
		verdicts_remove_endpoint(v, "", record->faces[i]->name);
	v->sides_due = true;
	verdict_host_free(v, record);
}

/* -- tables -- */

enum table_end verdict_end(enum scope scope, const struct host_endpoint *host)
{
	if (scope == SCOPE_PRE_DNAT || scope == SCOPE_UNTRACKED)
		return END_LEFT;
	return scope == SCOPE_LOCAL && !host->open ? END_DENY : END_ALLOW;
}

static const struct policy_entity *own_of(const struct policy_rule *rule, enum policy_direction direction)
{
	return direction == POLICY_INGRESS ? &rule->destination : &rule->source;
}

/* Does an entity hold for all addresses of a family, or for none of them? */
static bool is_alike(const struct verdicts *v, const struct policy_entity *own, const struct host_endpoint *host, int family)
{
	size_t held = 0, asked = 0;

	for (size_t i = 0; i < host->addr_count; i++) {
		bool holds = false;

		if (family_index(addr_family(&host->addrs[i])) != family)
			continue;
		for (size_t t = 0; t < own->term_count && !holds; t++)
			holds = verdict_term_holds(v, &own->terms[t], &host->addrs[i]);
		asked++;
		held += holds;
	}
	return !held || held == asked;
}

static bool has_names(const struct policy_ports *ports, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (ports[i].name)
			return true;
	return false;
}

/* The own end of what is only passed on, or not translated yet, may be anybody's. */
static bool is_settled(const struct verdicts *v, const struct policy_entity *own, enum scope scope, const struct host_endpoint *host)
{
	if (scope != SCOPE_LOCAL && (has_names(own->ports, own->port_count) || has_names(own->not_ports, own->not_port_count)))
		return false;
	if (!own->term_count)
		return true;
	if (scope != SCOPE_LOCAL || !host->addr_count)
		return false;
	return is_alike(v, own, host, FAMILY_4) && is_alike(v, own, host, FAMILY_6);
}

bool verdict_is_unsettled(const struct verdicts *v, const struct policy *policy, enum scope scope, const struct host_record *host,
	enum policy_direction direction)
{
	for (size_t i = 0; i < policy->rule_count[direction]; i++)
		if (!is_settled(v, own_of(&policy->rules[direction][i], direction), scope, host->host))
			return true;
	return false;
}

static void look_for_unsettled(const struct verdicts *v, const struct attached *attached, struct verdict_host_tables *ret)
{
	for (int d = 0; d < POLICY_DIRECTION_COUNT; d++)
		for (size_t i = 0; i < attached->policy_count && !ret->unsettled; i++) {
			const struct policy *policy = attached->policies[i]->policy;

			if (policy->types[d] && verdict_is_unsettled(v, policy, attached->scope, attached->host, d))
				ret->unsettled = policy;
		}
}

bool verdicts_host_tables(const struct verdicts *v, const char *name, struct verdict_host_tables *ret)
{
	*ret = (struct verdict_host_tables){.unsettled = NULL};
	for (int traffic = 0; traffic < VERDICT_TRAFFIC_COUNT; traffic++) {
		const struct attached *attached = verdict_host_attached(v, name, verdict_scope(traffic));

		if (!attached)
			return false;
		for (int d = 0; d < POLICY_DIRECTION_COUNT; d++)
			ret->tables[traffic][d] = attached->tables[d] ? attached->tables[d]->number : 0;
		look_for_unsettled(v, attached, ret);
	}
	return true;
}
