/* SPDX-License-Identifier: Apache-2.0
 *
 * All that is not an endpoint: tiers, policies, sets, nodes, Services, ranges.
 */
#include "plan/verdict_internal.h"

/* -- tiers -- */

static void all_tables_due(struct verdicts *v)
{
	for (struct attached *a = v->attached; a; a = a->hh.next)
		a->table_due = true;
	v->tables_due = true;
}

int verdicts_put_tier(struct verdicts *v, const struct tier *tier)
{
	struct tier_record *record;

	HASH_FIND_STR(v->tiers, tier->name, record);
	if (!record) {
		record = verdict_need(calloc(1, sizeof(*record)));
		record->name = verdict_need(strdup(tier->name));
		HASH_ADD_KEYPTR(hh, v->tiers, record->name, strlen(record->name), record);
	} else if (tier_equal(record->tier, tier)) {
		record->tier = tier;
		return 0;
	}
	record->tier = tier;
	all_tables_due(v);
	return 0;
}

void verdicts_remove_tier(struct verdicts *v, const char *name)
{
	struct tier_record *record;

	HASH_FIND_STR(v->tiers, name, record);
	if (!record)
		return;
	HASH_DEL(v->tiers, record);
	free(record->name);
	free(record);
	all_tables_due(v);
}

const struct tier *verdict_tier(const struct verdicts *v, const char *name, bool *ret_missing)
{
	const struct tier_record *record;
	const struct tier *tier;

	HASH_FIND_STR(v->tiers, name, record);
	tier = record ? record->tier : tier_builtin(name);
	*ret_missing = !tier;
	return tier;
}

/* -- policies -- */

static char *policy_key(const char *kind, const char *namespace, const char *name)
{
	char *key;

	if (asprintf(&key, "%s %s/%s", kind, namespace ? namespace : "", name) < 0)
		abort();
	return key;
}

int verdicts_put_policy(struct verdicts *v, const struct policy *policy)
{
	char *key = policy_key(policy->kind, policy->namespace, policy->name);
	struct policy_record *record;

	HASH_FIND_STR(v->policies, key, record);
	if (record) {
		bool same = policy_equal(record->policy, policy);

		free(key);
		record->policy = policy;
		if (same)
			return 0;
		verdict_drop_compiled(v, record);
	} else {
		record = verdict_need(calloc(1, sizeof(*record)));
		record->key = key;
		record->policy = policy;
		HASH_ADD_KEYPTR(hh, v->policies, record->key, strlen(record->key), record);
	}
	record->fresh = v->policies_due = true;
	return 0;
}

void verdicts_remove_policy(struct verdicts *v, const char *kind, const char *namespace, const char *name)
{
	char *key = policy_key(kind, namespace, name);
	struct policy_record *record;

	HASH_FIND_STR(v->policies, key, record);
	free(key);
	if (!record)
		return;
	verdict_forget_policy(v, record);
	verdict_drop_compiled(v, record);
	HASH_DEL(v->policies, record);
	free(record->key);
	free(record);
}

/* -- sets -- */

static struct net *copy_nets(const struct prefix *prefixes, size_t count)
{
	struct net *nets = verdict_need(calloc(count + 1, sizeof(*nets)));

	for (size_t i = 0; i < count; i++)
		nets[i] = verdict_net(&prefixes[i]);
	qsort(nets, count, sizeof(*nets), verdict_net_compare);
	return nets;
}

/* From the old ones to the new ones; both are sorted. */
static void change_nets(struct verdicts *v, const struct mark *mark, const struct net *old, size_t old_count,
	const struct net *now, size_t count)
{
	size_t i = 0, j = 0;

	while (i < old_count || j < count) {
		int order = i == old_count ? 1 : j == count ? -1 : verdict_net_compare(&old[i], &now[j]);

		if (order < 0)
			verdict_mark_remove(v, &old[i], mark);
		else if (order > 0)
			verdict_mark_add(v, &now[j], mark);
		i += order <= 0;
		j += order >= 0;
	}
}

static void set_nets(struct verdicts *v, struct set_record *record, const struct prefix *prefixes, size_t count)
{
	struct mark mark = {.kind = MARK_SET, .object = record};
	struct net *nets = copy_nets(prefixes, count);

	change_nets(v, &mark, record->nets, record->net_count, nets, count);
	free(record->nets);
	record->nets = nets;
	record->net_count = count;
}

int verdicts_put_set(struct verdicts *v, const struct network_set *set)
{
	char *key = verdict_key(set->namespace, set->name);
	struct set_record *record;

	HASH_FIND_STR(v->sets, key, record);
	if (record) {
		free(key);
	} else {
		record = verdict_need(calloc(1, sizeof(*record)));
		record->key = key;
		HASH_ADD_KEYPTR(hh, v->sets, record->key, strlen(record->key), record);
	}
	record->set = set;
	record->due = v->members_due = v->sides_due = true;
	set_nets(v, record, set->nets, set->net_count);
	return 0;
}

void verdict_set_free(struct verdicts *v, struct set_record *record)
{
	HASH_DEL(v->sets, record);
	free(record->nets);
	free(record->atoms);
	free(record->key);
	free(record);
}

void verdicts_remove_set(struct verdicts *v, const char *namespace, const char *name)
{
	char *key = verdict_key(namespace, name);
	struct set_record *record;

	HASH_FIND_STR(v->sets, key, record);
	free(key);
	if (!record)
		return;
	set_nets(v, record, NULL, 0);
	v->sides_due = true;
	verdict_set_free(v, record);
}

/* -- nodes -- */

const struct addr *verdict_node_first(const struct node_record *node, int family)
{
	for (size_t i = 0; i < node->addr_count; i++)
		if (addr_family(&node->addrs[i]) == family)
			return &node->addrs[i];
	return NULL;
}

static void mark_node(struct verdicts *v, struct node_record *node, void (*change)(struct verdicts *v, const struct net *net,
	const struct mark *mark))
{
	for (size_t i = 0; i < node->addr_count; i++) {
		const struct addr *addr = &node->addrs[i];
		bool first = addr == verdict_node_first(node, addr_family(addr));
		struct net host = verdict_net_host(addr);

		change(v, &host, &(struct mark){.kind = first ? MARK_FIRST : MARK_OTHER, .object = node});
		if (node->own)
			change(v, &host, &(struct mark){.kind = MARK_OWN, .object = node});
	}
}

static void copy_addrs(struct node_record *node, const struct addr *addrs, size_t count)
{
	node->addrs = verdict_need(calloc(count + 1, sizeof(*addrs)));
	node->addr_count = 0;
	for (size_t i = 0; i < count; i++)
		if (addr_is_set(&addrs[i]))
			node->addrs[node->addr_count++] = addrs[i];
}

int verdicts_put_node(struct verdicts *v, const char *name, bool own, const struct addr *addrs, size_t count)
{
	struct node_record *node;

	HASH_FIND_STR(v->nodes, name, node);
	if (node && node->own == own && node->addr_count == count && !memcmp(node->addrs, addrs, count * sizeof(*addrs)))
		return 0;
	if (node) {
		mark_node(v, node, verdict_mark_remove);
		free(node->addrs);
	} else {
		node = verdict_need(calloc(1, sizeof(*node)));
		node->name = verdict_need(strdup(name));
		HASH_ADD_KEYPTR(hh, v->nodes, node->name, strlen(node->name), node);
	}
	node->own = own;
	copy_addrs(node, addrs, count);
	mark_node(v, node, verdict_mark_add);
	v->sides_due = true;
	return 0;
}

void verdict_node_free(struct verdicts *v, struct node_record *node)
{
	HASH_DEL(v->nodes, node);
	free(node->addrs);
	free(node->name);
	free(node);
}

void verdicts_remove_node(struct verdicts *v, const char *name)
{
	struct node_record *node;

	HASH_FIND_STR(v->nodes, name, node);
	if (!node)
		return;
	mark_node(v, node, verdict_mark_remove);
	verdict_node_free(v, node);
	v->sides_due = true;
}

/* -- Services -- */

struct service_record *verdict_service(struct verdicts *v, const char *key)
{
	struct service_record *service;

	HASH_FIND_STR(v->services, key, service);
	if (!service) {
		service = verdict_need(calloc(1, sizeof(*service)));
		service->key = verdict_need(strdup(key));
		HASH_ADD_KEYPTR(hh, v->services, service->key, strlen(service->key), service);
	}
	return service;
}

void verdict_service_free(struct verdicts *v, struct service_record *service)
{
	HASH_DEL(v->services, service);
	free(service->backends);
	free(service->terms);
	free(service->key);
	free(service);
}

static void mark_backends(struct verdicts *v, struct service_record *service, void (*change)(struct verdicts *v,
	const struct net *net, const struct mark *mark))
{
	for (size_t i = 0; i < service->backend_count; i++) {
		const struct verdict_backend *b = &service->backends[i];
		struct net host = verdict_net_host(&b->addr);

		change(v, &host,
			&(struct mark){.kind = MARK_BACKEND, .object = service, .protocol = b->protocol, .port = b->port});
	}
}

int verdicts_set_backends(struct verdicts *v, const char *namespace, const char *name,
	const struct verdict_backend *backends, size_t count)
{
	char *key = verdict_key(namespace, name);
	struct service_record *service = verdict_service(v, key);

	free(key);
	mark_backends(v, service, verdict_mark_remove);
	free(service->backends);
	service->backends = verdict_need(calloc(count + 1, sizeof(*backends)));
	service->backend_count = 0;
	for (size_t i = 0; i < count; i++)
		if (addr_is_set(&backends[i].addr))
			service->backends[service->backend_count++] = backends[i];
	mark_backends(v, service, verdict_mark_add);
	v->sides_due = true;
	if (!service->backend_count && !service->term_count)
		verdict_service_free(v, service);
	return 0;
}

/* -- ranges of pods -- */

int verdicts_set_ranges(struct verdicts *v, const struct prefix *ranges, size_t count)
{
	struct net *nets = copy_nets(ranges, count);

	change_nets(v, &(struct mark){.kind = MARK_RANGE}, v->ranges, v->range_count, nets, count);
	free(v->ranges);
	v->ranges = nets;
	v->range_count = count;
	return 0;
}
