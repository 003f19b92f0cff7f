/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of an endpoint in one direction: rules in order, without what cannot hold on the endpoint's own side. For
 * ingress the own side is the destination, so its ports are the flow's destination ports; for egress it is the source.
 */
#include "plan/verdict_internal.h"

/* -- what is kept of a policy -- */

enum { VARIANT_BOTH, VARIANT_4, VARIANT_6, VARIANT_COUNT };

/* The peer of each rule, once asked for: own sides may restrict the family. */
struct compiled_rule {
	bool made[VARIANT_COUNT];
	struct peer *peers[VARIANT_COUNT];
};

struct compiled {
	size_t count;
	struct compiled_rule rules[];
};

void verdict_drop_compiled(struct verdicts *v, struct policy_record *record)
{
	for (int d = 0; d < POLICY_DIRECTION_COUNT; d++) {
		struct compiled *compiled = record->compiled[d];

		for (size_t i = 0; compiled && i < compiled->count; i++)
			for (int f = 0; f < VARIANT_COUNT; f++)
				verdict_peer_put(v, &compiled->rules[i].peers[f]);
		free(compiled);
		record->compiled[d] = NULL;
	}
}

static const struct policy_entity *remote_of(const struct policy_rule *rule, enum policy_direction direction)
{
	return direction == POLICY_INGRESS ? &rule->source : &rule->destination;
}

static const struct policy_entity *own_of(const struct policy_rule *rule, enum policy_direction direction)
{
	return direction == POLICY_INGRESS ? &rule->destination : &rule->source;
}

static struct peer *rule_peer(struct verdicts *v, struct policy_record *record, enum policy_direction direction, size_t index,
	int family)
{
	size_t count = record->policy->rule_count[direction];
	struct compiled *compiled = record->compiled[direction];
	struct compiled_rule *rule;
	int variant = !family ? VARIANT_BOTH : family == AF_INET ? VARIANT_4 : VARIANT_6;

	if (!compiled) {
		compiled = verdict_need(calloc(1, sizeof(*compiled) + count * sizeof(compiled->rules[0])));
		compiled->count = count;
		record->compiled[direction] = compiled;
	}
	rule = &compiled->rules[index];
	if (!rule->made[variant]) {
		const struct policy_entity *remote = remote_of(&record->policy->rules[direction][index], direction);

		rule->peers[variant] = verdict_peer_get(v, remote, family, direction == POLICY_EGRESS);
		rule->made[variant] = true;
	}
	return rule->peers[variant];
}

/* -- the own side -- */

static bool looks_at_labels(const struct policy_entity *own)
{
	for (size_t i = 0; i < own->term_count; i++)
		if (own->terms[i].selector || own->terms[i].not_selector || own->terms[i].service_name)
			return true;
	return false;
}

static bool names_service(const struct policy_entity *own)
{
	for (size_t i = 0; i < own->term_count; i++)
		if (own->terms[i].service_name)
			return true;
	return false;
}

/* Does the own side hold for one address? Ports of a Service at the destination are added to ret_service; any: none are
 * asked for. */
static bool own_holds(const struct verdicts *v, const struct policy_entity *own, const struct addr *addr,
	enum policy_direction direction, struct port_set *ret_service)
{
	bool holds = false;

	for (size_t i = 0; i < own->term_count; i++) {
		const struct policy_term *term = &own->terms[i];

		if (!verdict_term_holds(v, term, addr))
			continue;
		holds = true;
		if (term->service_name && direction == POLICY_INGRESS)
			verdict_backend_ports(v, term, addr, ret_service);
		else
			ret_service->any = true;
	}
	return holds;
}

/* Of which families: those of the asked one, or of both, whose address holds. False: of none. */
static bool settle_own(struct verdicts *v, const struct attached *attached, const struct policy_entity *own,
	enum policy_direction direction, int family, int *ret_family, struct port_set *ret_service)
{
	bool holds[FAMILY_COUNT] = {false, false};

	*ret_family = family;
	if (!own->term_count) {
		ret_service->any = true;
		return true;
	}
	v->sides_asked |= looks_at_labels(own);
	for (int f = 0; f < FAMILY_COUNT; f++) {
		const struct addr *addr = &attached->addr[f];

		if (addr_is_set(addr) && (!family || family_index(family) == f))
			holds[f] = own_holds(v, own, addr, direction, ret_service);
	}
	if (!holds[FAMILY_4] && !holds[FAMILY_6])
		return false;
	if (holds[FAMILY_4] != holds[FAMILY_6])
		*ret_family = holds[FAMILY_4] ? AF_INET : AF_INET6;
	return true;
}

static void add_named(struct port_set *set, const struct endpoint_shape *shape, const char *name)
{
	for (size_t i = 0; i < shape->port_count; i++)
		if (strcmp(shape->ports[i].name, name) == 0)
			verdict_ports_add(set, shape->ports[i].protocol, shape->ports[i].port, shape->ports[i].port);
}

static bool means_own(const struct verdicts *v, const struct attached *attached, const struct policy_entity *own, int family)
{
	for (int f = 0; f < FAMILY_COUNT; f++)
		if (addr_is_set(&attached->addr[f]) && (!family || family_index(family) == f) &&
			verdict_means(v, own, &attached->addr[f], attached->member->endpoint))
			return true;
	return false;
}

/* shape null: names are left to the class, or nobody has any. */
static void add_ports(struct port_set *set, const struct policy_ports *ports, size_t count,
	const struct endpoint_shape *shape)
{
	for (size_t i = 0; i < count; i++)
		if (!ports[i].name)
			verdict_ports_add(set, 0, ports[i].first, ports[i].last);
		else if (shape)
			add_named(set, shape, ports[i].name);
}

/* -- rules -- */

static void rule_done(struct table_rule *rule)
{
	free(rule->own.ranges);
	free(rule->own_not.ranges);
	free(rule->own_service.ranges);
	free(rule->remote.ranges);
	free(rule->remote_not.ranges);
}

static bool has_names(const struct policy_ports *ports, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (ports[i].name)
			return true;
	return false;
}

static void add_rule(struct verdicts *v, struct table *table, const struct attached *attached, struct policy_record *record,
	size_t index, int asked_family)
{
	const struct policy_rule *rule = &record->policy->rules[table->direction][index];
	const struct policy_entity *own = own_of(rule, table->direction), *remote = remote_of(rule, table->direction);
	const struct endpoint_shape *shape;
	struct table_rule made = {
		.action = rule->action,
		.protocol_sense = rule->protocol_sense,
		.protocol = rule->protocol_sense == POLICY_ANY ? 0 : rule->protocol,
		.icmp = {rule->icmp[0], rule->icmp[1]},
		.own.any = !own->port_count,
		.remote.any = !remote->port_count,
		.remote_names = has_names(remote->ports, remote->port_count),
		.tier = (uint32_t)table->tier_count - 1,
	};
	int family;

	if (!settle_own(v, attached, own, table->direction, asked_family, &family, &made.own_service)) {
		rule_done(&made);
		return;
	}
	shape = means_own(v, attached, own, family) ? attached->member->endpoint->shape : NULL;
	add_ports(&made.own, own->ports, own->port_count, shape);
	add_ports(&made.own_not, own->not_ports, own->not_port_count, shape);
	made.own_not_asked = own->not_port_count > 0;
	add_ports(&made.remote, remote->ports, remote->port_count, NULL);
	add_ports(&made.remote_not, remote->not_ports, remote->not_port_count, NULL);
	made.remote_not_asked = remote->not_port_count > 0;
	made.peer = rule_peer(v, record, table->direction, index, family);
	VERDICT_PUSH(table->rules, table->rule_count, table->rule_room, made);
}

static void add_deny(struct table *table)
{
	VERDICT_PUSH(table->rules, table->rule_count, table->rule_room,
		(struct table_rule){.action = POLICY_DENY, .own.any = true, .own_service.any = true, .remote.any = true,
			.tier = (uint32_t)table->tier_count - 1});
}

static void add_tier(struct table *table, bool denies)
{
	VERDICT_PUSH(table->tier_denies, table->tier_count, table->tier_room, denies);
}

/* -- identity -- */

static void encode_icmp(struct buf *bytes, const struct policy_icmp *icmp)
{
	bool asked = icmp->sense != POLICY_ANY;

	verdict_add_number(bytes, icmp->sense, 1);
	verdict_add_number(bytes, asked ? icmp->type : 0, 1);
	verdict_add_number(bytes, asked ? (uint16_t)icmp->code : 0, 2);
}

static void encode_rule(struct buf *bytes, const struct table_rule *rule)
{
	static const struct digest nobody;

	verdict_add_number(bytes, rule->tier, 4);
	verdict_add_number(bytes, rule->action, 1);
	verdict_add_number(bytes, rule->protocol_sense, 1);
	verdict_add_number(bytes, rule->protocol, 1);
	encode_icmp(bytes, &rule->icmp[0]);
	encode_icmp(bytes, &rule->icmp[1]);
	buf_add(bytes, rule->peer ? &rule->peer->digest : &nobody, sizeof(nobody));
	verdict_add_number(bytes, (uint64_t)(rule->remote_names | rule->own_not_asked << 1 | rule->remote_not_asked << 2), 1);
	verdict_ports_encode(&rule->own, bytes);
	verdict_ports_encode(&rule->own_not, bytes);
	verdict_ports_encode(&rule->own_service, bytes);
	verdict_ports_encode(&rule->remote, bytes);
	verdict_ports_encode(&rule->remote_not, bytes);
}

static void identify(const struct verdicts *v, struct table *table)
{
	struct buf bytes = BUF_INIT(1u << 30);

	buf_add_str(&bytes, "table");
	verdict_add_number(&bytes, table->direction, 1);
	verdict_add_number(&bytes, table->tier_count, 4);
	if (table->end != END_ALLOW)
		buf_add_str(&bytes, table->end == END_DENY ? "else denied" : "else left");
	for (size_t i = 0; i < table->tier_count; i++)
		verdict_add_number(&bytes, table->tier_denies[i], 1);
	for (size_t i = 0; i < table->rule_count; i++)
		encode_rule(&bytes, &table->rules[i]);
	if (bytes.error)
		abort();
	table->number = verdict_digest(v, bytes.data, bytes.len, &table->digest);
	buf_free(&bytes);
}

static void table_done(struct table *table)
{
	for (size_t i = 0; i < table->rule_count; i++)
		rule_done(&table->rules[i]);
	free(table->rules);
	free(table->tier_denies);
	free(table->uses);
	free(table->open);
	free(table->peers);
	free(table);
}

static int compare_uses(const void *a, const void *b)
{
	const struct table_use *x = a, *y = b;

	if (x->peer != y->peer)
		return x->peer < y->peer ? -1 : 1;
	return x->rule < y->rule ? -1 : 1;
}

/* Which rules ask for which peer; each peer is active once for the table. */
static void index_rules(struct verdicts *v, struct table *table)
{
	table->uses = verdict_need(calloc(table->rule_count + 1, sizeof(*table->uses)));
	table->open = verdict_need(calloc(table->rule_count + 1, sizeof(*table->open)));
	table->peers = verdict_need(calloc(table->rule_count + 1, sizeof(*table->peers)));
	for (uint32_t i = 0; i < table->rule_count; i++) {
		const struct peer *peer = table->rules[i].peer;

		if (peer)
			table->uses[table->use_count++] = (struct table_use){peer->number, i};
		else
			table->open[table->open_count++] = i;
	}
	qsort(table->uses, table->use_count, sizeof(*table->uses), compare_uses);
	for (size_t i = 0; i < table->use_count; i++) {
		struct peer *peer = table->rules[table->uses[i].rule].peer;

		if (i && table->uses[i - 1].peer == table->uses[i].peer)
			continue;
		table->peers[table->peer_count++] = peer;
		verdict_peer_activate(v, peer);
		VERDICT_PUSH(peer->tables, peer->table_count, peer->table_room, table);
	}
}

static struct table *intern(struct verdicts *v, struct table *table)
{
	struct table *known;

	identify(v, table);
	HASH_FIND(hh, v->tables, &table->number, sizeof(table->number), known);
	if (known) {
		if (memcmp(&known->digest, &table->digest, sizeof(known->digest)) != 0)
			verdict_collision(v, "table", table->number);
		table_done(table);
	} else {
		index_rules(v, table);
		table->fresh = true;
		HASH_ADD(hh, v->tables, number, sizeof(table->number), table);
		known = table;
	}
	known->refs++;
	return known;
}

void verdict_free_table(struct verdicts *v, struct table *table)
{
	verdict_kill_table_pairs(v, table);
	HASH_DEL(v->tables, table);
	for (size_t i = 0; i < table->peer_count; i++) {
		struct peer *peer = table->peers[i];

		for (size_t j = 0; j < peer->table_count; j++)
			if (peer->tables[j] == table) {
				peer->tables[j] = peer->tables[--peer->table_count];
				break;
			}
		verdict_peer_deactivate(v, peer);
	}
	table_done(table);
}

static bool entity_asks(const struct policy_entity *own)
{
	return own->term_count || has_names(own->ports, own->port_count) || has_names(own->not_ports, own->not_port_count);
}

static bool asks_own_side(const struct policy *policy)
{
	for (int d = 0; d < POLICY_DIRECTION_COUNT; d++)
		for (size_t i = 0; i < policy->rule_count[d]; i++)
			if (entity_asks(own_of(&policy->rules[d][i], d)))
				return true;
	return false;
}

/* -- endpoints -- */

static void add_policy(struct verdicts *v, struct table *table, const struct attached *attached, struct policy_record *record)
{
	bool unsettled;

	v->sides_asked |= attached->host && asks_own_side(record->policy);
	unsettled = attached->host && verdict_is_unsettled(v, record->policy, attached->scope, attached->host, table->direction);

	if (unsettled || record->policy->denies[table->direction]) {
		add_deny(table);
		return;
	}
	for (size_t i = 0; i < record->policy->rule_count[table->direction]; i++) {
		const struct policy_rule *rule = &record->policy->rules[table->direction][i];

		/* A Service may have other ports at each of the two addresses. */
		if (!rule->family && names_service(own_of(rule, table->direction))) {
			add_rule(v, table, attached, record, i, AF_INET);
			add_rule(v, table, attached, record, i, AF_INET6);
		} else {
			add_rule(v, table, attached, record, i, rule->family);
		}
	}
}

/* Policies before translation or tracking leave to those behind them what they do not decide (7.6). */
static bool tier_denies(const struct verdicts *v, const struct policy *policy, enum table_end end)
{
	bool missing;
	const struct tier *tier = verdict_tier(v, policy->tier, &missing);

	return end != END_LEFT && (!tier || !tier->default_pass);
}

static struct table *make_table(struct verdicts *v, const struct attached *attached, enum policy_direction direction)
{
	enum table_end end = verdict_end(attached->scope, attached->host ? attached->host->host : NULL);
	struct table *table;
	struct policy_record **records;
	size_t count;

	if (attached->member && attached->member->endpoint->host_network)
		return NULL;
	records = verdict_ordered(v, attached->policies, attached->policy_count, direction, &count);
	if (attached->member && !count && end != END_DENY) {
		free(records);
		return NULL;
	}
	table = verdict_need(calloc(1, sizeof(*table)));
	table->direction = direction;
	table->end = end;
	if (!attached->member)
		add_tier(table, true); /* nothing is known about it, so nothing passes */
	for (size_t i = 0; i < count; i++) {
		if (!i || !verdict_same_tier(records[i - 1]->policy, records[i]->policy))
			add_tier(table, tier_denies(v, records[i]->policy, end));
		add_policy(v, table, attached, records[i]);
	}
	free(records);
	return intern(v, table);
}

/* -- endpoints to which the same policies apply -- */

/* Tables made in this update for a set of policies, if no endpoint's own side matters to them. */
struct made {
	enum scope scope;
	enum table_end end;
	struct policy_record **policies; /* sorted by address */
	size_t count;
	struct table *tables[POLICY_DIRECTION_COUNT];
};
struct made_list {
	struct made *items;
	size_t count, room;
};

static int compare_addresses(const void *a, const void *b)
{
	uintptr_t x = (uintptr_t)*(void *const *)a, y = (uintptr_t)*(void *const *)b;

	return (x > y) - (x < y);
}

/* Their order means nothing. */
static const struct made *find_made(const struct made_list *list, struct attached *attached)
{
	enum table_end end = verdict_end(attached->scope, attached->host ? attached->host->host : NULL);

	if (!attached->member || attached->member->endpoint->host_network || !attached->policy_count)
		return NULL;
	qsort(attached->policies, attached->policy_count, sizeof(struct policy_record *), compare_addresses);
	for (size_t i = 0; i < list->count; i++)
		if (list->items[i].scope == attached->scope && list->items[i].end == end &&
			list->items[i].count == attached->policy_count &&
			memcmp(list->items[i].policies, attached->policies,
				attached->policy_count * sizeof(struct policy_record *)) == 0)
			return &list->items[i];
	return NULL;
}

static void keep_made(struct made_list *list, const struct attached *attached, struct table *const *tables)
{
	struct made made = {.scope = attached->scope, .count = attached->policy_count,
		.end = verdict_end(attached->scope, attached->host ? attached->host->host : NULL)};

	if (!attached->member || attached->member->endpoint->host_network || !attached->policy_count)
		return;
	for (size_t i = 0; i < attached->policy_count; i++)
		if (asks_own_side(attached->policies[i]->policy))
			return;
	memcpy(made.tables, tables, sizeof(made.tables));
	made.policies = verdict_need(malloc(made.count * sizeof(struct policy_record *)));
	memcpy(made.policies, attached->policies, made.count * sizeof(struct policy_record *));
	VERDICT_PUSH(list->items, list->count, list->room, made);
}

static void make_both(struct verdicts *v, struct made_list *list, struct attached *attached, struct table **ret)
{
	const struct made *made = find_made(list, attached);

	for (int d = 0; d < POLICY_DIRECTION_COUNT; d++) {
		ret[d] = made ? made->tables[d] : make_table(v, attached, d);
		if (made && ret[d])
			ret[d]->refs++;
	}
	if (!made)
		keep_made(list, attached, ret);
}

void verdict_make_tables(struct verdicts *v)
{
	bool all = v->sides_due && v->sides_asked;
	struct made_list list = {0};

	v->sides_due = false;
	if (!v->tables_due && !all)
		return;
	for (struct attached *a = v->attached; a; a = a->hh.next) {
		struct table *tables[POLICY_DIRECTION_COUNT];

		if (!a->table_due && !all)
			continue;
		make_both(v, &list, a, tables);
		verdict_release_tables(v, a);
		memcpy(a->tables, tables, sizeof(tables));
		a->table_due = false;
	}
	for (size_t i = 0; i < list.count; i++)
		free(list.items[i].policies);
	free(list.items);
	v->tables_due = false;
}

/* They stay until it is acknowledged that they are out of use. */
void verdict_release_tables(struct verdicts *v, struct attached *attached)
{
	for (int d = 0; d < POLICY_DIRECTION_COUNT; d++) {
		if (attached->tables[d])
			attached->tables[d]->refs--;
		attached->tables[d] = NULL;
	}
}
