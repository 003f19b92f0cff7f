/* SPDX-License-Identifier: Apache-2.0 */
#include "verdict_world.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t random_below(struct random *random, uint32_t n)
{
	random->state = random->state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(random->state >> 33) % n;
}

static bool chance(struct random *random, uint32_t percent)
{
	return random_below(random, 100) < percent;
}

size_t world_slots(enum slot_kind kind)
{
	static const size_t counts[SLOT_KIND_COUNT] = {
		[SLOT_POLICY] = 8, [SLOT_TIER] = 3, [SLOT_SET] = 4, [SLOT_ENDPOINT] = 8, [SLOT_NAMESPACE] = 3, [SLOT_ACCOUNT] = 4,
		[SLOT_NODE] = 3, [SLOT_BACKENDS] = 3, [SLOT_RANGES] = 1, [SLOT_ATTACH] = 8,
	};

	return counts[kind];
}

const char *world_namespace(size_t i)
{
	static const char *const names[] = {"red", "green", "blue"};

	return names[i % 3];
}

const char *world_name(size_t i, char text[static 16])
{
	snprintf(text, 16, "pod-%zu", i);
	return text;
}

static struct addr parse(const char *text)
{
	struct addr addr;

	if (addr_parse(text, &addr) < 0)
		abort();
	return addr;
}

static struct prefix parse_prefix(const char *text)
{
	struct prefix prefix;

	if (prefix_parse(text, &prefix) < 0)
		abort();
	return prefix_masked(&prefix);
}

static struct addr pod_addr(size_t i, int family)
{
	char text[64];

	snprintf(text, sizeof(text), family ? "fd00:10::%zu" : "10.0.0.%zu", i + 1);
	return parse(text);
}

static struct addr node_addr(size_t node, size_t i)
{
	static const char *const texts[][3] = {{"192.168.0.1", "192.168.0.2", "192.168.0.3"}, {"10.1.1.0", "10.1.2.0", "10.1.3.0"},
		{"fd00:99::1", "fd00:99::2", "fd00:99::3"}, {"fd00:10:0:1::", "fd00:10:0:2::", "fd00:10:0:3::"}};

	return parse(texts[i][node]);
}

struct addr world_addr(struct random *random, int family)
{
	static const char *const others[FAMILY_COUNT][6] = {
		{"8.8.8.8", "10.0.0.77", "192.168.0.9", "10.1.7.0", "127.0.0.1", "255.255.255.255"},
		{"2001:db8::1", "fd00:10::77", "fd00:99::9", "::1", "fe80::1", "fd00:10:0:7::"}};
	uint32_t dice = random_below(random, 20);

	if (dice < 12)
		return pod_addr(random_below(random, 8), family);
	if (dice < 16)
		return node_addr(random_below(random, 3), (size_t)family * 2 + random_below(random, 2));
	return parse(others[family][random_below(random, 6)]);
}

static struct prefix random_net(struct random *random)
{
	static const char *const nets[] = {"0.0.0.0/0", "::/0", "10.0.0.0/8", "10.0.0.0/24", "10.0.0.0/30", "10.1.0.0/16",
		"192.168.0.0/24", "192.168.0.1/32", "fd00:10::/64", "fd00:10::/16", "fd00:99::/64", "fd00:10::2/128", "8.0.0.0/5",
		"128.0.0.0/1", "::/1", "10.0.0.4/31"};

	if (chance(random, 30)) {
		struct addr addr = world_addr(random, (int)random_below(random, 2));

		return prefix_host(&addr);
	}
	return parse_prefix(nets[random_below(random, sizeof(nets) / sizeof(nets[0]))]);
}

static struct prefix *random_nets(struct random *random, size_t count)
{
	struct prefix *nets = calloc(count + 1, sizeof(*nets));

	for (size_t i = 0; i < count; i++)
		nets[i] = random_net(random);
	return nets;
}

static struct selector *random_selector(struct random *random)
{
	static const char *const texts[] = {"all()", "app == \"a\"", "app == \"b\"", "app != \"a\"", "has(tier)",
		"app in {\"a\", \"b\"} && tier == \"x\"", "projectcalico.org/namespace == \"red\"",
		"projectcalico.org/namespace == \"green\" && app == \"a\"", "pcns.team == \"one\"", "!has(pcns.team)",
		"pcsa.role == \"boss\"", "projectcalico.org/orchestrator == \"k8s\" && tier == \"x\"",
		"app == \"c\" || projectcalico.org/namespace == \"blue\"", "has(projectcalico.org/namespace)", "tier contains \"y\"",
		"projectcalico.org/serviceaccount == \"one\""};
	struct selector *selector;

	if (selector_parse(texts[random_below(random, sizeof(texts) / sizeof(texts[0]))], &selector, NULL) < 0)
		abort();
	return selector;
}

static void set_label(struct labels *labels, const char *key, const char *value)
{
	if (labels_set(labels, key, value) < 0)
		abort();
}

static struct labels *random_labels(struct random *random)
{
	static const char *const apps[] = {"a", "b", "c"}, *const tiers[] = {"x", "y", "xyz"};
	struct labels *labels = labels_new();

	if (chance(random, 80))
		set_label(labels, "app", apps[random_below(random, 3)]);
	if (chance(random, 50))
		set_label(labels, "tier", tiers[random_below(random, 3)]);
	return labels;
}

/* -- policies -- */

static const uint8_t with_ports[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP};
static const uint16_t some_ports[] = {80, 81, 443, 1000, 5000, 8080, 65535};

static uint16_t random_port(struct random *random)
{
	return some_ports[random_below(random, sizeof(some_ports) / sizeof(some_ports[0]))];
}

static void random_term(struct random *random, struct policy_term *term)
{
	switch (random_below(random, 8)) {
	case 0:
	case 1:
		term->net_count = 1 + random_below(random, 3);
		term->nets = random_nets(random, term->net_count);
		break;
	case 2:
	case 3:
	case 4:
		term->selector = random_selector(random);
		break;
	case 5:
		term->service_namespace = strdup("red");
		term->service_name = strdup(chance(random, 50) ? "web" : "dns");
		break;
	}
	if (chance(random, 25)) {
		term->not_net_count = 1 + random_below(random, 2);
		term->not_nets = random_nets(random, term->not_net_count);
	}
	if (chance(random, 15))
		term->not_selector = random_selector(random);
	if (term->nets && chance(random, 20))
		term->selector = random_selector(random);
}

static struct policy_ports *random_ports(struct random *random, size_t count)
{
	static const char *const names[] = {"http", "metrics", "dns"};
	struct policy_ports *ports = calloc(count, sizeof(*ports));

	for (size_t i = 0; i < count; i++) {
		if (chance(random, 35)) {
			ports[i].name = strdup(names[random_below(random, 3)]);
			continue;
		}
		ports[i].first = ports[i].last = random_port(random);
		if (chance(random, 30))
			ports[i].last = (uint16_t)(ports[i].first + random_below(random, 65536u - ports[i].first));
	}
	return ports;
}

static void random_entity(struct random *random, struct policy_entity *entity, uint32_t likely, bool ports)
{
	if (chance(random, likely)) {
		entity->term_count = 1 + (random_below(random, 3) == 0);
		entity->terms = calloc(entity->term_count, sizeof(*entity->terms));
		for (size_t i = 0; i < entity->term_count; i++)
			random_term(random, &entity->terms[i]);
	}
	if (ports && chance(random, likely)) {
		entity->port_count = 1 + random_below(random, 2);
		entity->ports = random_ports(random, entity->port_count);
	}
	if (ports && chance(random, likely / 4)) {
		entity->not_port_count = 1;
		entity->not_ports = random_ports(random, 1);
	}
}

static void random_icmp(struct random *random, struct policy_rule *rule)
{
	rule->protocol_sense = POLICY_IS;
	rule->protocol = chance(random, 60) ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	for (int i = 0; i < 2; i++)
		if (chance(random, 60))
			rule->icmp[i] = (struct policy_icmp){i ? POLICY_IS_NOT : POLICY_IS, chance(random, 50) ? 8 : 3,
				(int16_t)(chance(random, 50) ? -1 : (int)random_below(random, 2))};
}

static void random_rule(struct random *random, struct policy_rule *rule, enum policy_direction direction, size_t index)
{
	static const enum policy_action actions[] = {POLICY_ALLOW, POLICY_ALLOW, POLICY_ALLOW, POLICY_DENY, POLICY_DENY, POLICY_PASS,
		POLICY_LOG};
	bool ports = false;

	if (asprintf(&rule->name, "rule[%zu]", index) < 0)
		abort();
	rule->action = actions[random_below(random, 7)];
	rule->family = chance(random, 80) ? 0 : chance(random, 50) ? AF_INET : AF_INET6;
	switch (random_below(random, 6)) {
	case 0:
	case 1:
	case 2:
		rule->protocol_sense = POLICY_IS;
		rule->protocol = with_ports[random_below(random, 3)];
		ports = chance(random, 80);
		break;
	case 3:
		random_icmp(random, rule);
		break;
	case 4:
		rule->protocol_sense = chance(random, 50) ? POLICY_IS_NOT : POLICY_ANY;
		rule->protocol = IPPROTO_TCP;
		break;
	}
	random_entity(random, &rule->source, direction == POLICY_INGRESS ? 75 : 15, ports && chance(random, 35));
	random_entity(random, &rule->destination, direction == POLICY_EGRESS ? 75 : 15, ports);
}

static struct policy *random_policy(struct random *random, size_t index)
{
	static const char *const kinds[] = {"NetworkPolicy", "CalicoNetworkPolicy", "GlobalNetworkPolicy"};
	static const char *const tiers[] = {"default", "tier-0", "tier-1", "tier-2", "tier-none"};
	struct policy *policy = calloc(1, sizeof(*policy));

	/* Key and slot belong together. */
	if (asprintf(&policy->name, "policy-%zu", index / 3) < 0)
		abort();
	policy->kind = strdup(kinds[index % 3]);
	policy->namespace = index % 3 == 2 ? NULL : strdup(world_namespace(index));
	policy->tier = strdup(tiers[random_below(random, 5)]);
	policy->order = chance(random, 20) ? HUGE_VAL : (double)(random_below(random, 3) * 500);
	policy->selector = random_selector(random);
	for (int d = 0; d < POLICY_DIRECTION_COUNT; d++) {
		policy->types[d] = chance(random, 70);
		policy->denies[d] = chance(random, 4);
		policy->rule_count[d] = random_below(random, 4);
		policy->rules[d] = calloc(policy->rule_count[d] + 1, sizeof(struct policy_rule));
		for (size_t i = 0; i < policy->rule_count[d]; i++)
			random_rule(random, &policy->rules[d][i], d, i);
	}
	policy->staged = chance(random, 8);
	policy->pre_dnat = chance(random, 2);
	return policy;
}

static struct tier *random_tier(struct random *random, size_t index)
{
	struct tier *tier = calloc(1, sizeof(*tier));

	if (asprintf(&tier->name, "tier-%zu", index) < 0)
		abort();
	tier->order = chance(random, 20) ? HUGE_VAL : (double)(random_below(random, 4) * 500000);
	tier->default_pass = chance(random, 40);
	return tier;
}

/* -- the rest -- */

static int by_prefix(const void *a, const void *b)
{
	return prefix_compare(a, b);
}

static struct network_set *random_set(struct random *random, size_t index)
{
	struct network_set *set = calloc(1, sizeof(*set));
	size_t count = random_below(random, 4);

	set->namespace = index % 2 ? strdup(world_namespace(index)) : NULL;
	if (asprintf(&set->name, "set-%zu", index) < 0)
		abort();
	set->labels = random_labels(random);
	set->nets = random_nets(random, count);
	qsort(set->nets, count, sizeof(*set->nets), by_prefix);
	for (size_t i = 0; i < count; i++)
		if (!set->net_count || !prefix_equal(&set->nets[set->net_count - 1], &set->nets[i]))
			set->nets[set->net_count++] = set->nets[i];
	return set;
}

static struct endpoint *random_endpoint(struct random *random, struct endpoint_pool *pool, size_t index)
{
	static const struct endpoint_port ports[] = {{"http", IPPROTO_TCP, 80}, {"http", IPPROTO_TCP, 8080},
		{"metrics", IPPROTO_TCP, 1000}, {"dns", IPPROTO_UDP, 5000}, {"http", IPPROTO_UDP, 80}};
	char name[16];
	struct labels *labels = random_labels(random);
	size_t first = random_below(random, 5);
	struct endpoint_parts parts = {
		.namespace = world_namespace(index),
		.name = world_name(index, name),
		.service_account = chance(random, 50) ? "one" : "two",
		.node = "node-0",
		.labels = labels,
		.ports = ports + first,
		.port_count = random_below(random, (uint32_t)(6 - first)),
		.host_network = chance(random, 5),
	};
	struct endpoint *endpoint;

	for (int f = 0; f < FAMILY_COUNT; f++)
		if (chance(random, 85))
			parts.addr[f] = pod_addr(chance(random, 90) ? index : random_below(random, 8), f);
	endpoint = endpoint_new(pool, &parts);
	labels_free(&labels);
	return endpoint;
}

static struct labels *random_inherited(struct random *random)
{
	struct labels *labels = labels_new();

	if (chance(random, 70))
		set_label(labels, "team", chance(random, 50) ? "one" : "two");
	if (chance(random, 50))
		set_label(labels, "role", chance(random, 50) ? "boss" : "clerk");
	return labels;
}

static void random_node(struct random *random, struct node_content *node, size_t index)
{
	*node = (struct node_content){.there = true, .own = index == 0 && chance(random, 80)};
	for (size_t i = 0; i < 4; i++)
		if (chance(random, 80))
			node->addrs[node->count++] = node_addr(index, i);
}

static void random_backends(struct random *random, struct backends_content *backends)
{
	backends->count = random_below(random, 5);
	for (size_t i = 0; i < backends->count; i++)
		backends->items[i] = (struct verdict_backend){world_addr(random, (int)random_below(random, 2)),
			with_ports[random_below(random, 2)], random_port(random)};
}

static void random_attach(struct random *random, struct attach_content *attached, size_t index)
{
	*attached = (struct attach_content){.there = true};
	for (int f = 0; f < FAMILY_COUNT; f++)
		if (chance(random, 90))
			attached->addr[f] = pod_addr(index, f);
}

/* -- worlds -- */

void world_init(struct world *world, uint64_t seed)
{
	*world = (struct world){.seed = seed, .random.state = seed * 0x9e3779b97f4a7c15u + 1, .pool = endpoint_pool_new()};
}

static void free_object(struct world *world, enum slot_kind kind, void *object)
{
	struct policy *policy = object;
	struct tier *tier = object;
	struct network_set *set = object;
	struct endpoint *endpoint = object;
	struct labels *labels = object;

	if (!object)
		return;
	switch (kind) {
	case SLOT_POLICY:
		policy_free(&policy);
		break;
	case SLOT_TIER:
		tier_free(&tier);
		break;
	case SLOT_SET:
		network_set_free(&set);
		break;
	case SLOT_ENDPOINT:
		endpoint_free(world->pool, &endpoint);
		break;
	default:
		labels_free(&labels);
		break;
	}
}

static void forget_old(struct world *world)
{
	free_object(world, world->old_kind, world->old);
	world->old = NULL;
}

void world_done(struct world *world)
{
	forget_old(world);
	for (size_t i = 0; i < SLOT_MAX; i++) {
		free_object(world, SLOT_POLICY, world->policies[i]);
		free_object(world, SLOT_TIER, world->tiers[i]);
		free_object(world, SLOT_SET, world->sets[i]);
		free_object(world, SLOT_ENDPOINT, world->endpoints[i]);
		free_object(world, SLOT_NAMESPACE, world->namespaces[i]);
		free_object(world, SLOT_ACCOUNT, world->accounts[i]);
	}
	endpoint_pool_free(world->pool);
}

#define REPLACE(slot, object)             \
	do {                              \
		world->old = (slot);      \
		world->old_kind = kind;   \
		(slot) = (object);        \
	} while (0)

void world_change(struct world *world, enum slot_kind kind, size_t i)
{
	struct random *random = &world->random;
	bool there = chance(random, 75);

	forget_old(world);
	switch (kind) {
	case SLOT_POLICY:
		REPLACE(world->policies[i], there ? random_policy(random, i) : NULL);
		break;
	case SLOT_TIER:
		REPLACE(world->tiers[i], there ? random_tier(random, i) : NULL);
		break;
	case SLOT_SET:
		REPLACE(world->sets[i], there ? random_set(random, i) : NULL);
		break;
	case SLOT_ENDPOINT:
		REPLACE(world->endpoints[i], there ? random_endpoint(random, world->pool, i) : NULL);
		break;
	case SLOT_NAMESPACE:
		REPLACE(world->namespaces[i], there ? random_inherited(random) : NULL);
		break;
	case SLOT_ACCOUNT:
		REPLACE(world->accounts[i], there ? random_inherited(random) : NULL);
		break;
	case SLOT_NODE:
		world->nodes[i] = (struct node_content){0};
		if (there)
			random_node(random, &world->nodes[i], i);
		break;
	case SLOT_BACKENDS:
		random_backends(random, &world->backends[i]);
		break;
	case SLOT_RANGES:
		world->ranges.count = random_below(random, 4);
		for (size_t j = 0; j < world->ranges.count; j++)
			world->ranges.items[j] = random_net(random);
		break;
	case SLOT_ATTACH:
		world->attached[i] = (struct attach_content){0};
		if (there)
			random_attach(random, &world->attached[i], i);
		break;
	default:
		break;
	}
}

static void apply_named(const struct world *world, enum slot_kind kind, size_t i, struct verdicts *v)
{
	static const char *const kinds[] = {"NetworkPolicy", "CalicoNetworkPolicy", "GlobalNetworkPolicy"};
	char name[32];

	switch (kind) {
	case SLOT_POLICY:
		snprintf(name, sizeof(name), "policy-%zu", i / 3);
		if (world->policies[i])
			verdicts_put_policy(v, world->policies[i]);
		else
			verdicts_remove_policy(v, kinds[i % 3], i % 3 == 2 ? NULL : world_namespace(i), name);
		break;
	case SLOT_TIER:
		snprintf(name, sizeof(name), "tier-%zu", i);
		if (world->tiers[i])
			verdicts_put_tier(v, world->tiers[i]);
		else
			verdicts_remove_tier(v, name);
		break;
	case SLOT_SET:
		snprintf(name, sizeof(name), "set-%zu", i);
		if (world->sets[i])
			verdicts_put_set(v, world->sets[i]);
		else
			verdicts_remove_set(v, i % 2 ? world_namespace(i) : NULL, name);
		break;
	case SLOT_NODE:
		snprintf(name, sizeof(name), "node-%zu", i);
		if (world->nodes[i].there)
			verdicts_put_node(v, name, world->nodes[i].own, world->nodes[i].addrs, world->nodes[i].count);
		else
			verdicts_remove_node(v, name);
		break;
	default:
		break;
	}
}

void world_apply(const struct world *world, enum slot_kind kind, size_t i, struct verdicts *v)
{
	static const char *const services[] = {"web", "dns", "else"};
	const char *account = i % 2 ? "two" : "one";
	char name[16];

	switch (kind) {
	case SLOT_ENDPOINT:
		if (world->endpoints[i])
			verdicts_put_endpoint(v, world->endpoints[i]);
		else
			verdicts_remove_endpoint(v, world_namespace(i), world_name(i, name));
		break;
	case SLOT_NAMESPACE:
		if (world->namespaces[i])
			verdicts_put_namespace(v, world_namespace(i), world->namespaces[i]);
		else
			verdicts_remove_namespace(v, world_namespace(i));
		break;
	case SLOT_ACCOUNT:
		if (world->accounts[i])
			verdicts_put_service_account(v, world_namespace(i / 2), account, world->accounts[i]);
		else
			verdicts_remove_service_account(v, world_namespace(i / 2), account);
		break;
	case SLOT_BACKENDS:
		verdicts_set_backends(v, "red", services[i], world->backends[i].items, world->backends[i].count);
		break;
	case SLOT_RANGES:
		verdicts_set_ranges(v, world->ranges.items, world->ranges.count);
		break;
	case SLOT_ATTACH:
		if (world->attached[i].there)
			verdicts_attach(v, world_namespace(i), world_name(i, name), world->attached[i].addr);
		else
			verdicts_detach(v, world_namespace(i), world_name(i, name));
		break;
	default:
		apply_named(world, kind, i, v);
		break;
	}
}

struct verdict_flow world_flow(struct random *random, const struct world *world, size_t endpoint,
	enum policy_direction direction)
{
	static const uint8_t protocols[] = {IPPROTO_TCP, IPPROTO_TCP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDP, IPPROTO_SCTP, 47};
	int family = addr_is_set(&world->attached[endpoint].addr[FAMILY_4]) && chance(random, 50) ? FAMILY_4 : FAMILY_6;
	struct addr own, remote = world_addr(random, family);
	struct verdict_flow flow;

	if (!addr_is_set(&world->attached[endpoint].addr[family]))
		family = FAMILY_4;
	own = world->attached[endpoint].addr[family];
	remote = world_addr(random, family);
	flow = (struct verdict_flow){.protocol = protocols[random_below(random, 7)], .sport = random_port(random),
		.dport = random_port(random)};
	if (chance(random, 15)) {
		flow.protocol = chance(random, 60) ? IPPROTO_ICMP : IPPROTO_ICMPV6;
		flow.dport = (uint16_t)((chance(random, 50) ? 8 : 3) << 8 | random_below(random, 2));
		flow.sport = 0;
	} else if (flow.protocol == 47) {
		flow.sport = flow.dport = 0;
	}
	flow.src = direction == POLICY_INGRESS ? remote : own;
	flow.dst = direction == POLICY_INGRESS ? own : remote;
	return flow;
}
