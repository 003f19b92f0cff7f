/* SPDX-License-Identifier: Apache-2.0
 *
 * NetworkPolicy of networking.k8s.io/v1 (reference/calico.md 7.1).
 *
 * A rule's ports are of several protocols, the model's of one: it becomes a rule for each protocol. Blocks of addresses
 * without exceptions are one term, however many they are.
 */
#include "resources/policy_read.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

#define ORDER 1000 /* in tier default */
#define SELECTOR_TEXT_MAX (1u << 20)

static const struct {
	const char *name;
	uint8_t number;
} protocols[] = {{"TCP", IPPROTO_TCP}, {"UDP", IPPROTO_UDP}, {"SCTP", IPPROTO_SCTP}};

/* -- who -- */

/* plain: the entity's term of blocks without exceptions, counted from 1; 0: none yet. */
static int add_plain(const struct calico_at *at, const struct prefix *net, struct policy_entity *entity, size_t *plain)
{
	struct policy_term *term;

	if (!*plain) {
		if (!policy_add_term(entity))
			return calico_no_memory(at);
		*plain = entity->term_count;
	}
	term = &entity->terms[*plain - 1];
	return policy_add_net(at, &term->nets, &term->net_count, net);
}

static int add_excepts(const struct calico_at *block, const json_t *list, const struct prefix *net, struct policy_term *term)
{
	int rc = policy_add_net(block, &term->nets, &term->net_count, net);
	const json_t *item;
	size_t i;

	json_array_foreach((json_t *)list, i, item) {
		struct calico_at place;
		struct prefix except = {0};

		if (rc < 0)
			return rc;
		calico_item(block, "except", i, item, &place);
		rc = calico_prefix(&place, NULL, &except);
		if (rc >= 0 && !prefix_contains_prefix(net, &except))
			rc = calico_wrong(&place, NULL, "a CIDR inside of cidr");
		if (rc >= 0)
			rc = policy_add_net(&place, &term->not_nets, &term->not_net_count, &except);
	}
	return rc < 0 ? rc : 0;
}

static int read_block(const struct calico_at *peer, struct policy_entity *entity, size_t *plain)
{
	static const char *const members[] = {"cidr", "except", NULL};
	const json_t *excepts = NULL;
	struct policy_term *term;
	struct calico_at block;
	struct prefix net = {0};
	int rc = calico_enter(peer, "ipBlock", &block);

	if (rc >= 0)
		rc = policy_check_members(&block, members);
	if (rc == 0)
		rc = calico_prefix(&block, "cidr", &net);
	if (rc == 0)
		rc = calico_wrong(&block, "cidr", "a CIDR such as 10.0.0.0/8 or 2001:db8::/32");
	if (rc >= 0)
		rc = calico_list(&block, "except", &excepts);
	if (rc < 0)
		return rc;
	if (json_array_size(excepts) == 0)
		return add_plain(&block, &net, entity, plain);
	term = policy_add_term(entity);
	return term ? add_excepts(&block, excepts, &net, term) : calico_no_memory(peer);
}

/* What lists of a hundred thousand are made of: nothing but a good CIDR. */
static bool is_plain_block(const json_t *peer, struct prefix *ret)
{
	const json_t *block = json_object_get(peer, "ipBlock");
	const json_t *cidr = json_object_get(block, "cidr");
	const char *text = json_string_value(cidr);

	return json_object_size(peer) == 1 && json_object_size(block) == 1 && text &&
	       strlen(text) == json_string_length(cidr) && prefix_parse(text, ret) == 0;
}

static int read_selectors(const struct policy_reader *r, const struct calico_at *peer, struct policy_entity *entity)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT(SELECTOR_TEXT_MAX);
	struct calico_at pods, namespaces;
	int has_pods = calico_enter(peer, "podSelector", &pods), rc = has_pods;
	int has_namespaces = rc < 0 ? 0 : calico_enter(peer, "namespaceSelector", &namespaces);
	struct policy_term *term;

	if (has_namespaces < 0)
		rc = has_namespaces;
	else if (rc == 0 && !has_namespaces)
		rc = calico_wrong(peer, NULL, "podSelector, namespaceSelector or ipBlock in it");
	buf_add_str(&text, POLICY_PODS);
	if (rc >= 0 && has_namespaces)
		rc = policy_add_label_selector(&namespaces, "pcns.", &text);
	else if (rc >= 0)
		policy_add_namespace(r->policy->namespace, &text);
	if (rc >= 0 && has_pods)
		rc = policy_add_label_selector(&pods, "", &text);
	if (rc < 0)
		return rc;
	term = policy_add_term(entity);
	return term ? policy_make_selector(peer, &text, &term->selector) : calico_no_memory(peer);
}

static int read_peer(const struct policy_reader *r, const struct calico_at *peer, struct policy_entity *entity, size_t *plain)
{
	static const char *const members[] = {"podSelector", "namespaceSelector", "ipBlock", NULL};
	static const char *const block_alone[] = {"ipBlock", NULL};
	const json_t *block = json_object_get(peer->json, "ipBlock");
	bool is_block = block && !json_is_null(block);
	int rc = json_is_object(peer->json) ? policy_check_members(peer, is_block ? block_alone : members)
					    : calico_wrong(peer, NULL, "an object");

	if (rc < 0)
		return rc;
	return is_block ? read_block(peer, entity, plain) : read_selectors(r, peer, entity);
}

static int read_peers(const struct policy_reader *r, const struct calico_at *rule, const char *key,
	struct policy_entity *entity)
{
	const json_t *list = NULL, *item;
	int rc = calico_list(rule, key, &list);
	size_t i, plain = 0;

	json_array_foreach((json_t *)list, i, item) {
		struct calico_at peer;
		struct prefix net;

		if (is_plain_block(item, &net)) {
			rc = add_plain(rule, &net, entity, &plain);
		} else {
			calico_item(rule, key, i, item, &peer);
			rc = read_peer(r, &peer, entity, &plain);
		}
		if (rc < 0)
			break;
	}
	return rc < 0 ? rc : 0;
}

/* -- which ports -- */

/* Index into protocols. */
static int read_protocol(const struct calico_at *port, size_t *ret)
{
	static const char *const names[] = {"TCP", "UDP", "SCTP", NULL};
	int index = 0, rc = calico_choice(port, "protocol", names, &index);

	*ret = (size_t)index;
	return rc < 0 ? rc : 0;
}

static int read_numbers(const struct calico_at *at, struct policy_ports *ports)
{
	uint16_t first = 0, last;
	int rc = calico_u16(at, "port", 1, UINT16_MAX, &first);

	last = first;
	if (rc >= 0)
		rc = calico_u16(at, "endPort", first, UINT16_MAX, &last);
	if (rc < 0)
		return rc;
	ports->first = first;
	ports->last = last;
	return 0;
}

static int read_name(const struct calico_at *at, struct policy_ports *ports)
{
	const char *name = "";
	int rc = calico_text(at, "port", &name);

	if (rc >= 0 && !policy_port_name_is_good(name))
		return calico_wrong(at, "port", "a number from 1 to 65535, or a port's name");
	if (rc >= 0 && !json_is_null(json_object_get(at->json, "endPort")) && json_object_get(at->json, "endPort"))
		return calico_wrong(at, "endPort", "no such member beside a port's name");
	if (rc < 0)
		return rc;
	ports->name = strdup(name);
	return ports->name ? 0 : calico_no_memory(at);
}

/* all: the entry says the protocol only. */
static int read_port(const struct calico_at *at, struct policy_entity *entity, bool *all)
{
	const json_t *port = json_object_get(at->json, "port"), *end = json_object_get(at->json, "endPort");
	struct policy_ports *ports;

	if (!port || json_is_null(port)) {
		*all = true;
		return !end || json_is_null(end) ? 0 : calico_wrong(at, "endPort", "no such member without port");
	}
	ports = policy_add_ports(&entity->ports, &entity->port_count);
	if (!ports)
		return calico_no_memory(at);
	return json_is_string(port) ? read_name(at, ports) : read_numbers(at, ports);
}

/* Those of one protocol. Returns 1 when there are any. */
static int read_ports(const struct calico_at *rule, size_t protocol, struct policy_entity *entity, bool *all)
{
	static const char *const members[] = {"protocol", "port", "endPort", NULL};
	const json_t *list = json_object_get(rule->json, "ports"), *item;
	int rc = 0, found = 0;
	size_t i;

	json_array_foreach((json_t *)list, i, item) {
		struct calico_at at;
		size_t which = 0;

		calico_item(rule, "ports", i, item, &at);
		rc = json_is_object(item) ? policy_check_members(&at, members) : calico_wrong(&at, NULL, "an object");
		if (rc == 0)
			rc = read_protocol(&at, &which);
		if (rc == 0 && which == protocol) {
			found = 1;
			rc = read_port(&at, entity, all);
		}
		if (rc < 0)
			return rc;
	}
	return found;
}

static void drop_ports(struct policy_entity *entity)
{
	for (size_t i = 0; i < entity->port_count; i++)
		free(entity->ports[i].name);
	free(entity->ports);
	entity->ports = NULL;
	entity->port_count = 0;
}

/* -- rules -- */

static int add_rule(struct policy_reader *r, const struct calico_at *at, enum policy_direction direction,
	struct policy_rule **ret)
{
	*ret = policy_add_rule(r, at, direction, NULL);
	if (!*ret)
		return calico_no_memory(at);
	(*ret)->action = POLICY_ALLOW;
	return read_peers(r, at, direction == POLICY_INGRESS ? "from" : "to", policy_peer(*ret, direction));
}

/* A protocol that no port names has no rule. */
static int read_protocol_rule(struct policy_reader *r, const struct calico_at *at, enum policy_direction direction,
	size_t protocol)
{
	struct policy_entity entity = {0};
	struct policy_rule *rule;
	bool all = false;
	int found = read_ports(at, protocol, &entity, &all), rc;

	if (found <= 0) {
		drop_ports(&entity);
		return found;
	}
	if (all)
		drop_ports(&entity);
	rc = add_rule(r, at, direction, &rule);
	if (rc < 0) {
		drop_ports(&entity);
		return rc;
	}
	rule->protocol_sense = POLICY_IS;
	rule->protocol = protocols[protocol].number;
	rule->destination.ports = entity.ports;
	rule->destination.port_count = entity.port_count;
	return 0;
}

static int read_rule(struct policy_reader *r, const struct calico_at *at, enum policy_direction direction)
{
	const json_t *ports;
	struct policy_rule *rule;
	int rc = calico_list(at, "ports", &ports);

	if (rc < 0)
		return rc;
	if (policy_list_is_empty(at, "ports"))
		return add_rule(r, at, direction, &rule);
	rc = 0;
	for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(protocols); i++)
		rc = read_protocol_rule(r, at, direction, i);
	return rc;
}

/* -- the whole -- */

static int read_selector(struct policy_reader *r, const struct calico_at *spec)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT(SELECTOR_TEXT_MAX);
	struct calico_at selector;
	int rc = calico_enter(spec, "podSelector", &selector);

	buf_add_str(&text, POLICY_PODS);
	policy_add_namespace(r->policy->namespace, &text);
	if (rc == 1)
		rc = policy_add_label_selector(&selector, "", &text);
	return rc < 0 ? rc : policy_make_selector(spec, &text, &r->policy->selector);
}

/* What the API server fills in. */
static int read_types(struct policy_reader *r, const struct calico_at *spec)
{
	int rc = policy_read_types(r, spec, "policyTypes");

	if (rc != 0)
		return rc < 0 ? rc : 0;
	r->policy->types[POLICY_INGRESS] = true;
	r->policy->types[POLICY_EGRESS] = !policy_list_is_empty(spec, "egress");
	return 0;
}

static int read_policy(struct policy_reader *r)
{
	static const char *const members[] = {"podSelector", "policyTypes", "ingress", "egress", NULL};
	static const char *const ingress[] = {"from", "ports", NULL}, *const egress[] = {"to", "ports", NULL};
	static const struct policy_rules_form forms[] = {
		[POLICY_INGRESS] = {"ingress", ingress, read_rule},
		[POLICY_EGRESS] = {"egress", egress, read_rule},
	};
	struct calico_at spec;
	int rc = policy_enter_spec(r, members, &spec);

	r->policy->order = ORDER;
	if (rc == 0)
		rc = read_types(r, &spec);
	if (rc == 0)
		rc = policy_refuse(r, POLICY_DIRECTION_COUNT, read_selector(r, &spec));
	for (int d = 0; rc == 0 && d < POLICY_DIRECTION_COUNT; d++)
		rc = policy_read_rules(r, &spec, (enum policy_direction)d, &forms[d]);
	return rc;
}

int policy_parse_kubernetes(const json_t *object, const struct calico_remarks *remarks, struct policy **ret, struct err *err)
{
	static const struct policy_source source = {"NetworkPolicy", true};
	_cleanup_(policy_reader_done) struct policy_reader r;
	int rc = policy_reader_begin(&r, object, &source, remarks, err);

	return rc < 0 ? rc : policy_reader_end(&r, read_policy(&r), ret, err);
}
