/* SPDX-License-Identifier: Apache-2.0
 *
 * What each thing that a rule can say means, one row each: a pod "red/web" (10.0.0.1, fd00::1; port http is TCP 8080) with one
 * policy, and a flow to or from it.
 */
#include "plan/verdict.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
	struct endpoint_pool *pool;
	struct endpoint *endpoints[4];
	struct labels *namespaces[2];
	struct network_set *set;
	struct verdicts *v;
};

static struct addr address(const char *text)
{
	struct addr addr = {0};

	if (text)
		assert_int_equal(addr_parse(text, &addr), 0);
	return addr;
}

static struct prefix prefix(const char *text)
{
	struct prefix ret;

	assert_int_equal(prefix_parse(text, &ret), 0);
	return ret;
}

static struct endpoint *pod(struct fixture *f, const char *namespace, const char *name, const char *app, const char *four,
	const char *six)
{
	static const struct endpoint_port ports[] = {{"http", IPPROTO_TCP, 8080}, {"dns", IPPROTO_UDP, 53}};
	struct labels *labels = labels_new();
	struct endpoint_parts parts = {.namespace = namespace, .name = name, .service_account = "default", .node = "one",
		.labels = labels, .ports = ports, .port_count = 2, .addr = {address(four), address(six)}};
	struct endpoint *endpoint;

	labels_set(labels, "app", app);
	endpoint = endpoint_new(f->pool, &parts);
	labels_free(&labels);
	assert_int_equal(verdicts_put_endpoint(f->v, endpoint), 0);
	return endpoint;
}

static void add_set(struct fixture *f)
{
	f->set = calloc(1, sizeof(*f->set));
	f->set->name = strdup("partners");
	f->set->labels = labels_new();
	labels_set(f->set->labels, "kind", "partner");
	f->set->nets = calloc(1, sizeof(struct prefix));
	f->set->nets[0] = prefix("203.0.113.0/24");
	f->set->net_count = 1;
	verdicts_put_set(f->v, f->set);
}

static void set_up(struct fixture *f)
{
	struct addr one[] = {address("192.168.0.1"), address("10.9.0.1")};
	struct verdict_backend backends[] = {{address("10.0.0.3"), IPPROTO_TCP, 9000}};
	struct addr web[FAMILY_COUNT] = {address("10.0.0.1"), address("fd00::1")};

	*f = (struct fixture){.pool = endpoint_pool_new()};
	assert_int_equal(verdicts_new(&f->v), 0);
	f->endpoints[0] = pod(f, "red", "web", "web", "10.0.0.1", "fd00::1");
	f->endpoints[1] = pod(f, "red", "client", "client", "10.0.0.2", "fd00::2");
	f->endpoints[2] = pod(f, "green", "client", "client", "10.0.0.3", "fd00::3");
	for (int i = 0; i < 2; i++)
		f->namespaces[i] = labels_new();
	labels_set(f->namespaces[0], "team", "one");
	verdicts_put_namespace(f->v, "red", f->namespaces[0]);
	verdicts_put_namespace(f->v, "green", f->namespaces[1]);
	add_set(f);
	verdicts_put_node(f->v, "one", true, one, 2);
	verdicts_set_backends(f->v, "green", "api", backends, 1);
	verdicts_attach(f->v, "red", "web", web);
}

static void tear_down(struct fixture *f)
{
	verdicts_free(f->v);
	for (int i = 0; i < 4; i++)
		if (f->endpoints[i])
			endpoint_free(f->pool, &f->endpoints[i]);
	for (int i = 0; i < 2; i++)
		labels_free(&f->namespaces[i]);
	network_set_free(&f->set);
	endpoint_pool_free(f->pool);
}

/* -- one policy with one rule -- */

/* A term, or none if nothing is said. */
struct said {
	const char *nets[2], *not_net, *selector, *not_selector, *service;
	const char *port_name;
	uint16_t first, last, not_port;
};

struct row {
	const char *about;
	enum policy_direction direction;
	enum policy_action action;
	int family;
	enum policy_sense protocol_sense;
	uint8_t protocol;
	struct policy_icmp icmp, not_icmp;
	struct said source, destination;
	/* the flow: the other's address, and what it is */
	const char *remote;
	uint8_t flow_protocol;
	uint16_t sport, dport;
	bool allow;
};

static struct selector *parse(const char *text)
{
	struct selector *selector = NULL;

	if (text)
		assert_int_equal(selector_parse(text, &selector, NULL), 0);
	return selector;
}

static void fill_term(struct policy_term *term, const struct said *said)
{
	term->nets = calloc(2, sizeof(struct prefix));
	for (int i = 0; i < 2 && said->nets[i]; i++)
		term->nets[term->net_count++] = prefix(said->nets[i]);
	term->not_nets = calloc(1, sizeof(struct prefix));
	if (said->not_net)
		term->not_nets[term->not_net_count++] = prefix(said->not_net);
	term->selector = parse(said->selector);
	term->not_selector = parse(said->not_selector);
	if (said->service) {
		term->service_namespace = strdup("green");
		term->service_name = strdup(said->service);
	}
}

static void fill_entity(struct policy_entity *entity, const struct said *said)
{
	if (said->nets[0] || said->not_net || said->selector || said->not_selector || said->service) {
		entity->terms = calloc(1, sizeof(struct policy_term));
		entity->term_count = 1;
		fill_term(entity->terms, said);
	}
	if (said->port_name || said->last) {
		entity->ports = calloc(1, sizeof(struct policy_ports));
		entity->port_count = 1;
		entity->ports[0] = (struct policy_ports){said->first, said->last, said->port_name ? strdup(said->port_name) : NULL};
	}
	if (said->not_port) {
		entity->not_ports = calloc(1, sizeof(struct policy_ports));
		entity->not_port_count = 1;
		entity->not_ports[0] = (struct policy_ports){said->not_port, said->not_port, NULL};
	}
}

static struct policy *new_policy(const char *name, const char *tier, double order, enum policy_direction direction)
{
	struct policy *policy = calloc(1, sizeof(*policy));

	policy->kind = strdup("GlobalNetworkPolicy");
	policy->name = strdup(name);
	policy->tier = strdup(tier);
	policy->order = order;
	policy->selector = parse("app == \"web\"");
	policy->types[direction] = true;
	return policy;
}

static struct policy_rule *new_rules(struct policy *policy, enum policy_direction direction, size_t count)
{
	policy->rules[direction] = calloc(count, sizeof(struct policy_rule));
	policy->rule_count[direction] = count;
	for (size_t i = 0; i < count; i++)
		policy->rules[direction][i].name = strdup("rule");
	return policy->rules[direction];
}

static struct policy *policy_of(const struct row *row)
{
	struct policy *policy = new_policy("one", "default", 1000, row->direction);
	struct policy_rule *rule = new_rules(policy, row->direction, 1);

	rule->action = row->action;
	rule->family = row->family;
	rule->protocol_sense = row->protocol_sense;
	rule->protocol = row->protocol;
	rule->icmp[0] = row->icmp;
	rule->icmp[1] = row->not_icmp;
	fill_entity(&rule->source, &row->source);
	fill_entity(&rule->destination, &row->destination);
	return policy;
}

static void update(struct verdicts *v)
{
	struct verdict_change change;

	do {
		assert_int_equal(verdicts_update(v, &change, NULL), 0);
		verdicts_acknowledge(v);
	} while (change.more);
}

static struct verdict_flow flow_of(enum policy_direction direction, const char *remote, uint8_t protocol, uint16_t sport,
	uint16_t dport)
{
	struct addr other = address(remote), own = address(addr_is_4(&other) ? "10.0.0.1" : "fd00::1");

	return (struct verdict_flow){direction == POLICY_INGRESS ? other : own, direction == POLICY_INGRESS ? own : other, protocol,
		sport, dport};
}

static bool allows(const struct fixture *f, enum policy_direction direction, const struct verdict_flow *flow)
{
	bool allow = verdicts_allow(f->v, "red", "web", direction, flow);
	struct verdict_why why;

	verdicts_why(f->v, "red", "web", direction, flow, &why);
	assert_int_equal(why.allow, allow);
	return allow;
}

#define TCP .protocol_sense = POLICY_IS, .protocol = IPPROTO_TCP
#define FLOW(address, to) .remote = address, .flow_protocol = IPPROTO_TCP, .sport = 40000, .dport = to
#define EGRESS .direction = POLICY_EGRESS

static const struct row rows[] = {
	{"everything", FLOW("8.8.8.8", 80), .allow = true},
	{"deny", .action = POLICY_DENY, FLOW("8.8.8.8", 80)},
	{"pass out of the last tier", .action = POLICY_PASS, FLOW("8.8.8.8", 80), .allow = true},
	{"log decides nothing", .action = POLICY_LOG, FLOW("8.8.8.8", 80)},
	{"net", .source.nets = {"8.0.0.0/8"}, FLOW("8.8.8.8", 80), .allow = true},
	{"other net", .source.nets = {"9.0.0.0/8"}, FLOW("8.8.8.8", 80)},
	{"one of two nets", .source.nets = {"9.0.0.0/8", "8.8.8.0/24"}, FLOW("8.8.8.8", 80), .allow = true},
	{"except", .source = {.nets = {"8.0.0.0/8"}, .not_net = "8.8.0.0/16"}, FLOW("8.8.8.8", 80)},
	{"beside except", .source = {.nets = {"8.0.0.0/8"}, .not_net = "8.8.0.0/16"}, FLOW("8.9.8.8", 80), .allow = true},
	{"only except", .source.not_net = "8.8.0.0/16", FLOW("8.8.8.8", 80)},
	{"beside only except", .source.not_net = "8.8.0.0/16", FLOW("fd00::9", 80), .allow = true},
	{"::/0 is no IPv4", .source.nets = {"::/0"}, FLOW("8.8.8.8", 80)},
	{"::/0", .source.nets = {"::/0"}, FLOW("2001:db8::1", 80), .allow = true},
	{"0.0.0.0/0 is no IPv6", .source.nets = {"0.0.0.0/0"}, FLOW("2001:db8::1", 80)},
	{"family", .family = AF_INET, FLOW("8.8.8.8", 80), .allow = true},
	{"other family", .family = AF_INET6, FLOW("8.8.8.8", 80)},
	{"node's tunnel", .source.nets = {"192.168.0.1/32"}, FLOW("10.9.0.1", 80), .allow = true},
	{"except node's tunnel", .source = {.nets = {"0.0.0.0/0"}, .not_net = "192.168.0.0/24"}, FLOW("10.9.0.1", 80)},
	{"selector", .source.selector = "app == \"client\"", FLOW("10.0.0.3", 80), .allow = true},
	{"selector, IPv6", .source.selector = "app == \"client\"", FLOW("fd00::3", 80), .allow = true},
	{"selector and nobody", .source.selector = "all()", FLOW("8.8.8.8", 80)},
	{"selector of namespace", .source.selector = "projectcalico.org/namespace == \"red\"", FLOW("10.0.0.3", 80)},
	{"selector of namespace's label", .source.selector = "pcns.team == \"one\"", FLOW("10.0.0.2", 80), .allow = true},
	{"not selector", .source.not_selector = "app == \"client\"", FLOW("10.0.0.2", 80)},
	{"not selector and nobody", .source.not_selector = "app == \"client\"", FLOW("8.8.8.8", 80), .allow = true},
	{"selector and net", .source = {.nets = {"10.0.0.2/32"}, .selector = "app == \"client\""}, FLOW("10.0.0.3", 80)},
	{"set", .source.selector = "kind == \"partner\"", FLOW("203.0.113.7", 80), .allow = true},
	{"not set", .source.not_selector = "kind == \"partner\"", FLOW("203.0.113.7", 80)},
	{"source Service", .source.service = "api", FLOW("10.0.0.3", 80), .allow = true},
	{"no such Service", .source.service = "other", FLOW("10.0.0.3", 80)},
	{"Service", EGRESS, .destination.service = "api", FLOW("10.0.0.3", 9000), .allow = true},
	{"Service, other port", EGRESS, .destination.service = "api", FLOW("10.0.0.3", 9001)},
	{"protocol", TCP, FLOW("8.8.8.8", 80), .allow = true},
	{"other protocol", .protocol_sense = POLICY_IS, .protocol = IPPROTO_UDP, FLOW("8.8.8.8", 80)},
	{"not protocol", .protocol_sense = POLICY_IS_NOT, .protocol = IPPROTO_TCP, FLOW("8.8.8.8", 80)},
	{"not other protocol", .protocol_sense = POLICY_IS_NOT, .protocol = IPPROTO_UDP, FLOW("8.8.8.8", 80), .allow = true},
	{"number of protocol", .protocol_sense = POLICY_IS, .protocol = 47, .remote = "8.8.8.8", .flow_protocol = 47, .allow = true},
	{"port", TCP, .destination = {.first = 80, .last = 80}, FLOW("8.8.8.8", 80), .allow = true},
	{"other port", TCP, .destination = {.first = 80, .last = 80}, FLOW("8.8.8.8", 81)},
	{"begin of range", TCP, .destination = {.first = 1000, .last = 2001}, FLOW("8.8.8.8", 1000), .allow = true},
	{"end of range", TCP, .destination = {.first = 1000, .last = 2001}, FLOW("8.8.8.8", 2001), .allow = true},
	{"before range", TCP, .destination = {.first = 1000, .last = 2001}, FLOW("8.8.8.8", 999)},
	{"behind range", TCP, .destination = {.first = 1000, .last = 2001}, FLOW("8.8.8.8", 2002)},
	{"last port", TCP, .destination = {.first = 1, .last = 65535}, FLOW("8.8.8.8", 65535), .allow = true},
	{"port 0", TCP, .destination = {.first = 1, .last = 65535}, FLOW("8.8.8.8", 0)},
	{"not port", TCP, .destination.not_port = 80, FLOW("8.8.8.8", 80)},
	{"not other port", TCP, .destination.not_port = 80, FLOW("8.8.8.8", 81), .allow = true},
	{"range without port", TCP, .destination = {.first = 1, .last = 100, .not_port = 80}, FLOW("8.8.8.8", 80)},
	{"source port", TCP, .source = {.first = 40000, .last = 40000}, FLOW("8.8.8.8", 80), .allow = true},
	{"other source port", TCP, .source = {.first = 4000, .last = 39999}, FLOW("8.8.8.8", 80)},
	{"both ports", TCP, .source = {.first = 40000, .last = 40001}, .destination = {.first = 80, .last = 80}, FLOW("8.8.8.8", 80),
		.allow = true},
	{"source port, other destination", TCP, .source = {.first = 40000, .last = 40001}, .destination = {.first = 80, .last = 80},
		FLOW("8.8.8.8", 81)},
	{"own named port", TCP, .destination.port_name = "http", FLOW("8.8.8.8", 8080), .allow = true},
	{"own named port, number", TCP, .destination.port_name = "http", FLOW("8.8.8.8", 80)},
	{"named port of other protocol", TCP, .destination.port_name = "dns", FLOW("8.8.8.8", 53)},
	{"unknown name", TCP, .destination.port_name = "ftp", FLOW("8.8.8.8", 21)},
	{"named port there", EGRESS, TCP, .destination.port_name = "http", FLOW("10.0.0.2", 8080), .allow = true},
	{"named port of nobody", EGRESS, TCP, .destination.port_name = "http", FLOW("8.8.8.8", 8080)},
	{"named port of another", EGRESS, TCP, .destination = {.port_name = "http", .selector = "projectcalico.org/namespace == \"red\""},
		FLOW("10.0.0.3", 8080)},
	{"own side", .destination.selector = "app == \"web\"", FLOW("8.8.8.8", 80), .allow = true},
	{"own side of others", .destination.selector = "app == \"client\"", FLOW("8.8.8.8", 80)},
	{"own net", .destination.nets = {"10.0.0.1/32"}, FLOW("8.8.8.8", 80), .allow = true},
	{"own net of the other family", .destination.nets = {"10.0.0.1/32"}, FLOW("fd00::2", 80)},
	{"ICMP type", .protocol_sense = POLICY_IS, .protocol = IPPROTO_ICMP, .icmp = {POLICY_IS, 8, -1}, .remote = "8.8.8.8",
		.flow_protocol = IPPROTO_ICMP, .dport = 8 << 8 | 3, .allow = true},
	{"other ICMP type", .protocol_sense = POLICY_IS, .protocol = IPPROTO_ICMP, .icmp = {POLICY_IS, 8, -1}, .remote = "8.8.8.8",
		.flow_protocol = IPPROTO_ICMP, .dport = 9 << 8},
	{"ICMP code", .protocol_sense = POLICY_IS, .protocol = IPPROTO_ICMP, .icmp = {POLICY_IS, 3, 4}, .remote = "8.8.8.8",
		.flow_protocol = IPPROTO_ICMP, .dport = 3 << 8 | 4, .allow = true},
	{"other ICMP code", .protocol_sense = POLICY_IS, .protocol = IPPROTO_ICMP, .icmp = {POLICY_IS, 3, 4}, .remote = "8.8.8.8",
		.flow_protocol = IPPROTO_ICMP, .dport = 3 << 8 | 5},
	{"not ICMP type", .protocol_sense = POLICY_IS, .protocol = IPPROTO_ICMPV6, .not_icmp = {POLICY_IS_NOT, 128, -1},
		.remote = "fd00::2", .flow_protocol = IPPROTO_ICMPV6, .dport = 128 << 8},
	{"not other ICMP type", .protocol_sense = POLICY_IS, .protocol = IPPROTO_ICMPV6, .not_icmp = {POLICY_IS_NOT, 128, -1},
		.remote = "fd00::2", .flow_protocol = IPPROTO_ICMPV6, .dport = 129 << 8, .allow = true},
};

static void each_thing_that_a_rule_says(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct verdict_flow flow = flow_of(rows[i].direction, rows[i].remote, rows[i].flow_protocol, rows[i].sport, rows[i].dport);
		struct policy *policy = policy_of(&rows[i]);
		struct fixture f;

		set_up(&f);
		verdicts_put_policy(f.v, policy);
		update(f.v);
		if (allows(&f, rows[i].direction, &flow) != rows[i].allow)
			fail_msg("%s: expected %s", rows[i].about, rows[i].allow ? "allow" : "deny");
		/* The other direction is open. */
		flow = flow_of(!rows[i].direction, "8.8.8.8", IPPROTO_TCP, 1, 1);
		assert_true(allows(&f, !rows[i].direction, &flow));
		tear_down(&f);
		policy_free(&policy);
	}
}

/* -- tiers and order -- */

static struct policy *simple(const char *name, const char *tier, double order, enum policy_action action)
{
	struct policy *policy = new_policy(name, tier, order, POLICY_INGRESS);

	new_rules(policy, POLICY_INGRESS, 1)->action = action;
	return policy;
}

static bool decide(struct policy **policies, size_t count, const struct tier *tiers, size_t tier_count)
{
	struct verdict_flow flow = flow_of(POLICY_INGRESS, "8.8.8.8", IPPROTO_TCP, 1, 80);
	struct fixture f;
	bool allow;

	set_up(&f);
	for (size_t i = 0; i < tier_count; i++)
		verdicts_put_tier(f.v, &tiers[i]);
	for (size_t i = 0; i < count; i++)
		verdicts_put_policy(f.v, policies[i]);
	update(f.v);
	allow = allows(&f, POLICY_INGRESS, &flow);
	tear_down(&f);
	for (size_t i = 0; i < count; i++)
		policy_free(&policies[i]);
	return allow;
}

static void order_decides(void **state)
{
	struct policy *by_order[] = {simple("a", "default", 20, POLICY_DENY), simple("b", "default", 10, POLICY_ALLOW)};
	struct policy *by_name[] = {simple("b", "default", 10, POLICY_DENY), simple("a", "default", 10, POLICY_ALLOW)};
	struct policy *last[] = {simple("a", "default", HUGE_VAL, POLICY_DENY), simple("b", "default", 10, POLICY_ALLOW)};

	assert_true(decide(by_order, 2, NULL, 0));
	assert_true(decide(by_name, 2, NULL, 0));
	assert_true(decide(last, 2, NULL, 0));
}

static void tiers_decide(void **state)
{
	const struct tier tiers[] = {{"first", 10, false}, {"open", 20, true}, {"last", HUGE_VAL, false}};
	struct policy *pass[] = {simple("a", "first", 1, POLICY_PASS), simple("b", "first", 2, POLICY_DENY),
		simple("c", "last", 1, POLICY_ALLOW)};
	struct policy *end[] = {simple("a", "first", 1, POLICY_LOG), simple("c", "last", 1, POLICY_ALLOW)};
	struct policy *open[] = {simple("a", "open", 1, POLICY_LOG), simple("c", "last", 1, POLICY_ALLOW)};
	struct policy *missing[] = {simple("a", "nowhere", 1, POLICY_DENY), simple("c", "last", 1, POLICY_ALLOW)};
	struct policy *staged[] = {simple("a", "first", 1, POLICY_DENY)};
	struct policy *trouble[] = {simple("a", "first", 1, POLICY_ALLOW)};

	staged[0]->staged = true;
	trouble[0]->denies[POLICY_INGRESS] = true;
	assert_true(decide(pass, 3, tiers, 3));
	assert_false(decide(end, 2, tiers, 3));
	assert_true(decide(open, 2, tiers, 3));
	assert_true(decide(missing, 2, tiers, 3)); /* "last" exists */
	assert_true(decide(staged, 1, tiers, 3));
	assert_false(decide(trouble, 1, tiers, 3));
}

/* -- attached, but not known -- */

static void unknown_is_closed(void **state)
{
	struct verdict_flow flow = flow_of(POLICY_INGRESS, "8.8.8.8", IPPROTO_TCP, 1, 80);
	uint64_t tables[POLICY_DIRECTION_COUNT];
	struct verdict_why why;
	struct fixture f;

	set_up(&f);
	verdicts_remove_endpoint(f.v, "red", "web");
	update(f.v);
	assert_true(verdicts_tables(f.v, "red", "web", tables));
	assert_true(tables[POLICY_INGRESS] && tables[POLICY_EGRESS]);
	assert_false(verdicts_allow(f.v, "red", "web", POLICY_INGRESS, &flow));
	verdicts_why(f.v, "red", "web", POLICY_INGRESS, &flow, &why);
	assert_int_equal(why.reason, VERDICT_UNKNOWN);
	assert_false(verdicts_tables(f.v, "red", "client", tables));
	assert_false(verdicts_allow(f.v, "red", "client", POLICY_INGRESS, &flow));
	verdicts_put_endpoint(f.v, f.endpoints[0]);
	update(f.v);
	assert_true(verdicts_allow(f.v, "red", "web", POLICY_INGRESS, &flow));
	assert_ptr_equal(verdicts_endpoint_at(f.v, &flow.dst), f.endpoints[0]);
	assert_null(verdicts_endpoint_at(f.v, &flow.src));
	tear_down(&f);
}

/* -- the tables themselves -- */

static void one_entry_for_tcp(void **state)
{
	struct row row = {TCP, .source.nets = {"8.0.0.0/8"}};
	struct policy *policy = policy_of(&row);
	struct verdict_tables all;
	struct fixture f;
	size_t whole = 0;

	set_up(&f);
	verdicts_put_policy(f.v, policy);
	update(f.v);
	verdicts_all(f.v, &all);
	for (size_t i = 0; i < all.port_count; i++)
		whole += all.ports[i].len == 72 && all.ports[i].protocol == IPPROTO_TCP && all.ports[i].bits == VERDICT_ALLOW;
	assert_int_equal(whole, 1);
	assert_int_equal(all.port_count, 3); /* two lists: nothing, and TCP */
	assert_int_equal(all.pair_count, 2);
	verdict_tables_done(&all);
	tear_down(&f);
	policy_free(&policy);
}

static void except_shadows(void **state)
{
	struct row row = {.source = {.nets = {"8.0.0.0/8"}, .not_net = "8.8.0.0/16"}};
	struct policy *policy = policy_of(&row);
	struct prefix except = prefix("8.8.0.0/16");
	struct verdict_tables all;
	struct fixture f;
	bool found = false;

	set_up(&f);
	verdicts_put_policy(f.v, policy);
	update(f.v);
	verdicts_all(f.v, &all);
	for (size_t i = 0; i < all.address_count; i++)
		if (prefix_equal(&all.addresses[i].prefix, &except))
			found = !all.addresses[i].class && all.addresses[i].flags == VERDICT_ADDRESS_NOBODY;
	assert_true(found);
	verdict_tables_done(&all);
	tear_down(&f);
	policy_free(&policy);
}

static void log_marks_what_follows(void **state)
{
	struct policy *policy = new_policy("log", "default", 1, POLICY_INGRESS);
	struct policy_rule *rules = new_rules(policy, POLICY_INGRESS, 2);
	struct verdict_tables all;
	struct fixture f;

	rules[0].action = POLICY_LOG;
	rules[0].protocol_sense = POLICY_IS;
	rules[0].protocol = IPPROTO_TCP;
	set_up(&f);
	verdicts_put_policy(f.v, policy);
	update(f.v);
	verdicts_all(f.v, &all);
	assert_int_equal(all.port_count, 2);
	assert_int_equal(all.ports[0].bits, VERDICT_ALLOW);
	assert_int_equal(all.ports[1].bits, VERDICT_ALLOW | VERDICT_LOG);
	assert_int_equal(all.ports[1].len, 72);
	verdict_tables_done(&all);
	tear_down(&f);
	policy_free(&policy);
}

static void nothing_is_left(void **state)
{
	struct row row = {.source = {.nets = {"8.0.0.0/8"}, .not_net = "8.8.0.0/16"}};
	struct policy *policy = policy_of(&row);
	struct verdict_tables all;
	struct verdict_stats stats;
	struct fixture f;

	set_up(&f);
	verdicts_put_policy(f.v, policy);
	update(f.v);
	verdicts_remove_policy(f.v, policy->kind, policy->namespace, policy->name);
	update(f.v);
	verdicts_get_stats(f.v, &stats);
	assert_true(!stats.peers && !stats.classes && !stats.tables && !stats.lists && !stats.pairs && !stats.ports);
	verdicts_all(f.v, &all);
	assert_int_equal(all.address_count, 2); /* the node's own */
	for (size_t i = 0; i < all.address_count; i++)
		assert_int_equal(all.addresses[i].flags, VERDICT_ADDRESS_OWN);
	verdict_tables_done(&all);
	tear_down(&f);
	policy_free(&policy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_thing_that_a_rule_says),
		cmocka_unit_test(order_decides),
		cmocka_unit_test(tiers_decide),
		cmocka_unit_test(unknown_is_closed),
		cmocka_unit_test(one_entry_for_tcp),
		cmocka_unit_test(except_shadows),
		cmocka_unit_test(log_marks_what_follows),
		cmocka_unit_test(nothing_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
