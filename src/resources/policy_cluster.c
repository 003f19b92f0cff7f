/* SPDX-License-Identifier: Apache-2.0
 *
 * ClusterNetworkPolicy of policy.networking.k8s.io/v1alpha2 (reference/calico.md 7.2).
 *
 * A rule's protocols are several, the model's rule has one: it becomes a rule for each protocol with its ports, in the
 * order TCP, UDP, SCTP. A named port is of any of the three.
 */
#include "resources/policy_read.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

#define SELECTOR_TEXT_MAX (1u << 20)
#define PRIORITY_MAX 1000

static const struct {
	const char *key;
	uint8_t number;
} protocols[] = {{"tcp", IPPROTO_TCP}, {"udp", IPPROTO_UDP}, {"sctp", IPPROTO_SCTP}};

/* -- who -- */

static int add_required(const struct calico_at *at, const char *key, const char *prefix, struct buf *text)
{
	struct calico_at selector;
	int rc = calico_enter(at, key, &selector);

	if (rc == 0)
		rc = calico_wrong(at, key, "a label selector, {} for all");
	return rc < 0 ? rc : policy_add_label_selector(&selector, prefix, text);
}

static int add_pods(const struct calico_at *at, struct buf *text)
{
	static const char *const members[] = {"namespaceSelector", "podSelector", NULL};
	struct calico_at pods;
	int rc = calico_enter(at, "pods", &pods);

	if (rc >= 0)
		rc = policy_check_members(&pods, members);
	if (rc >= 0)
		rc = add_required(&pods, "namespaceSelector", "pcns.", text);
	if (rc >= 0)
		rc = add_required(&pods, "podSelector", "", text);
	return rc;
}

static bool says(const struct calico_at *at, const char *key)
{
	const json_t *value = json_object_get(at->json, key);

	return value && !json_is_null(value);
}

/* Of a subject or a peer that has one of namespaces and pods. */
static int read_pods(const struct calico_at *at, struct selector **ret)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT(SELECTOR_TEXT_MAX);
	int rc;

	buf_add_str(&text, POLICY_PODS);
	rc = says(at, "pods") ? add_pods(at, &text) : add_required(at, "namespaces", "pcns.", &text);
	return rc < 0 ? rc : policy_make_selector(at, &text, ret);
}

static int read_networks(const struct calico_at *peer, struct policy_term *term)
{
	const json_t *list = NULL, *item;
	int rc = calico_list(peer, "networks", &list);
	size_t i;

	if (rc >= 0 && json_array_size(list) == 0)
		return calico_wrong(peer, "networks", "one CIDR or more");
	json_array_foreach((json_t *)list, i, item) {
		struct calico_at place;
		struct prefix net;

		calico_item(peer, "networks", i, item, &place);
		rc = calico_prefix(&place, NULL, &net);
		if (rc == 0)
			rc = calico_wrong(&place, NULL, "a CIDR such as 10.0.0.0/8 or 2001:db8::/32");
		if (rc >= 0)
			rc = policy_add_net(&place, &term->nets, &term->net_count, &net);
		if (rc < 0)
			break;
	}
	return rc < 0 ? rc : 0;
}

/* An unknown kind of peer is a member that nobody knows. */
static int read_peer(const struct calico_at *peer, enum policy_direction direction, struct policy_entity *entity)
{
	static const char *const from[] = {"namespaces", "pods", NULL}, *const to[] = {"namespaces", "pods", "networks", NULL};
	bool networks = says(peer, "networks");
	int rc = policy_check_members(peer, direction == POLICY_INGRESS ? from : to);
	struct policy_term *term;

	if (rc == 0 && networks + says(peer, "namespaces") + says(peer, "pods") != 1)
		rc = calico_wrong(peer, NULL, "exactly one of namespaces, pods%s", direction == POLICY_INGRESS ? "" : ", networks");
	if (rc < 0)
		return rc;
	term = policy_add_term(entity);
	if (!term)
		return calico_no_memory(peer);
	return networks ? read_networks(peer, term) : read_pods(peer, &term->selector);
}

static int read_peers(const struct calico_at *rule, enum policy_direction direction, struct policy_entity *entity)
{
	const char *key = direction == POLICY_INGRESS ? "from" : "to";
	const json_t *list = NULL, *item;
	int rc = calico_list(rule, key, &list);
	size_t i;

	if (rc >= 0 && json_array_size(list) == 0)
		return calico_wrong(rule, key, "one peer or more");
	json_array_foreach((json_t *)list, i, item) {
		struct calico_at peer;

		calico_item(rule, key, i, item, &peer);
		rc = json_is_object(item) ? read_peer(&peer, direction, entity) : calico_wrong(&peer, NULL, "an object");
		if (rc < 0)
			break;
	}
	return rc < 0 ? rc : 0;
}

/* -- which ports -- */

/* Of one protocol, as read from all entries. */
struct ports {
	bool found, all;
	struct policy_ports *items;
	size_t count;
};

static void ports_done(struct ports *ports)
{
	for (size_t i = 0; i < ports->count; i++)
		free(ports->items[i].name);
	free(ports->items);
}

static int read_range(const struct calico_at *port, struct policy_ports *ret)
{
	static const char *const members[] = {"start", "end", NULL};
	struct calico_at range;
	int rc = calico_enter(port, "range", &range);

	if (rc >= 0)
		rc = policy_check_members(&range, members);
	if (rc >= 0)
		rc = calico_u16(&range, "start", 1, UINT16_MAX, &ret->first);
	if (rc == 0)
		rc = calico_wrong(&range, "start", "1 to 65535");
	if (rc >= 0)
		rc = calico_u16(&range, "end", ret->first, UINT16_MAX, &ret->last);
	return rc == 0 ? calico_wrong(&range, "end", "%u to 65535", ret->first) : rc < 0 ? rc : 0;
}

static int read_port(const struct calico_at *at, struct policy_ports *ret)
{
	static const char *const members[] = {"number", "range", NULL};
	int rc = policy_check_members(at, members);

	if (rc == 0 && says(at, "number") == says(at, "range"))
		rc = calico_wrong(at, NULL, "exactly one of number, range");
	if (rc < 0)
		return rc;
	if (says(at, "range"))
		return read_range(at, ret);
	rc = calico_u16(at, "number", 1, UINT16_MAX, &ret->first);
	ret->last = ret->first;
	return rc < 0 ? rc : 0;
}

static int read_protocol(const struct calico_at *entry, const char *key, struct ports *ports)
{
	static const char *const members[] = {"destinationPort", NULL};
	struct calico_at protocol, port;
	struct policy_ports *one;
	int rc = calico_enter(entry, key, &protocol);

	if (rc <= 0)
		return rc;
	ports->found = true;
	rc = policy_check_members(&protocol, members);
	if (rc >= 0)
		rc = calico_enter(&protocol, "destinationPort", &port);
	if (rc <= 0) {
		ports->all |= rc == 0;
		return rc;
	}
	one = policy_add_ports(&ports->items, &ports->count);
	return one ? read_port(&port, one) : calico_no_memory(entry);
}

static int read_named(const struct calico_at *entry, struct ports *ports)
{
	const char *name = NULL;
	int rc = calico_text(entry, "destinationNamedPort", &name);
	struct policy_ports *one;

	if (rc <= 0)
		return rc;
	if (!policy_port_name_is_good(name))
		return calico_wrong(entry, "destinationNamedPort", "a port's name");
	ports->found = true;
	one = policy_add_ports(&ports->items, &ports->count);
	if (!one || !(one->name = strdup(name)))
		return calico_no_memory(entry);
	return 0;
}

/* Those of one protocol. */
static int read_ports(const struct calico_at *rule, size_t protocol, struct ports *ports)
{
	static const char *const members[] = {"tcp", "udp", "sctp", "destinationNamedPort", NULL};
	const json_t *item;
	size_t i;
	int rc = 0;

	json_array_foreach(json_object_get(rule->json, "protocols"), i, item) {
		struct calico_at entry;

		calico_item(rule, "protocols", i, item, &entry);
		rc = json_is_object(item) ? policy_check_members(&entry, members) : calico_wrong(&entry, NULL, "an object");
		if (rc == 0 && says(&entry, "tcp") + says(&entry, "udp") + says(&entry, "sctp") +
			says(&entry, "destinationNamedPort") != 1)
			rc = calico_wrong(&entry, NULL, "exactly one of tcp, udp, sctp, destinationNamedPort");
		if (rc == 0)
			rc = read_protocol(&entry, protocols[protocol].key, ports);
		if (rc == 0)
			rc = read_named(&entry, ports);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* -- rules -- */

static int add_rule(struct policy_reader *r, const struct calico_at *at, enum policy_direction direction,
	struct policy_rule **ret)
{
	static const char *const words[] = {"Accept", "Deny", "Pass", NULL};
	static const enum policy_action actions[] = {POLICY_ALLOW, POLICY_DENY, POLICY_PASS};
	const char *name = NULL;
	int action = 0, rc = calico_text(at, "name", &name);

	if (rc < 0)
		return rc;
	*ret = policy_add_rule(r, at, direction, name);
	if (!*ret)
		return calico_no_memory(at);
	rc = calico_choice(at, "action", words, &action);
	if (rc == 0)
		rc = calico_wrong(at, "action", "one of Accept, Deny, Pass");
	if (rc < 0)
		return rc;
	(*ret)->action = actions[action];
	return read_peers(at, direction, policy_peer(*ret, direction));
}

static int read_protocol_rule(struct policy_reader *r, const struct calico_at *at, enum policy_direction direction,
	size_t protocol)
{
	_cleanup_(ports_done) struct ports ports = {0};
	struct policy_rule *rule;
	int rc = read_ports(at, protocol, &ports);

	if (rc < 0 || !ports.found)
		return rc;
	rc = add_rule(r, at, direction, &rule);
	if (rc < 0)
		return rc;
	rule->protocol_sense = POLICY_IS;
	rule->protocol = protocols[protocol].number;
	if (!ports.all) {
		rule->destination.ports = TAKE_PTR(ports.items);
		rule->destination.port_count = ports.count;
		ports.count = 0;
	}
	return 0;
}

static int read_rule(struct policy_reader *r, const struct calico_at *at, enum policy_direction direction)
{
	const json_t *list = NULL;
	struct policy_rule *rule;
	int rc = calico_list(at, "protocols", &list);

	if (rc == 0)
		return add_rule(r, at, direction, &rule);
	if (rc == 1 && json_array_size(list) == 0)
		rc = calico_wrong(at, "protocols", "one protocol or more, or no such member");
	if (rc < 0)
		return rc;
	rc = 0;
	for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(protocols); i++)
		rc = read_protocol_rule(r, at, direction, i);
	return rc;
}

/* -- the whole -- */

static int read_place(struct policy_reader *r, const struct calico_at *spec)
{
	static const char *const words[] = {"Admin", "Baseline", NULL}, *const tiers[] = {"kube-admin", "kube-baseline"};
	int64_t priority = 0;
	int tier = 0, rc = calico_choice(spec, "tier", words, &tier);

	if (rc == 0)
		rc = calico_wrong(spec, "tier", "Admin or Baseline");
	if (rc < 0)
		tier = 0; /* where nothing can come before it */
	r->policy->order = 0;
	r->policy->tier = strdup(tiers[tier]);
	if (!r->policy->tier)
		return calico_no_memory(spec);
	if (rc < 0)
		return rc;
	rc = calico_int(spec, "priority", 0, PRIORITY_MAX, &priority);
	if (rc == 0)
		rc = calico_wrong(spec, "priority", "0 to %d", PRIORITY_MAX);
	r->policy->order = (double)priority;
	return rc < 0 ? rc : 0;
}

static int read_subject(struct policy_reader *r, const struct calico_at *spec)
{
	static const char *const members[] = {"namespaces", "pods", NULL};
	struct calico_at subject;
	int rc = calico_enter(spec, "subject", &subject);

	if (rc == 0)
		rc = calico_wrong(spec, "subject", "namespaces or pods in it");
	if (rc >= 0)
		rc = policy_check_members(&subject, members);
	if (rc >= 0 && says(&subject, "namespaces") == says(&subject, "pods"))
		rc = calico_wrong(&subject, NULL, "exactly one of namespaces, pods");
	return rc < 0 ? rc : read_pods(&subject, &r->policy->selector);
}

static int read_policy(struct policy_reader *r)
{
	static const char *const members[] = {"tier", "priority", "subject", "ingress", "egress", NULL};
	static const char *const ingress[] = {"name", "action", "from", "protocols", NULL};
	static const char *const egress[] = {"name", "action", "to", "protocols", NULL};
	static const struct policy_rules_form forms[] = {
		[POLICY_INGRESS] = {"ingress", ingress, read_rule},
		[POLICY_EGRESS] = {"egress", egress, read_rule},
	};
	struct calico_at spec;
	int rc = policy_enter_spec(r, members, &spec);

	for (int d = 0; d < POLICY_DIRECTION_COUNT; d++)
		r->policy->types[d] = !policy_list_is_empty(&spec, forms[d].key);
	if (rc == 0)
		rc = policy_refuse(r, POLICY_DIRECTION_COUNT, read_place(r, &spec));
	if (rc == 0)
		rc = policy_refuse(r, POLICY_DIRECTION_COUNT, read_subject(r, &spec));
	for (int d = 0; rc == 0 && d < POLICY_DIRECTION_COUNT; d++)
		rc = policy_read_rules(r, &spec, (enum policy_direction)d, &forms[d]);
	return rc;
}

int policy_parse_cluster(const json_t *object, const struct calico_remarks *remarks, struct policy **ret, struct err *err)
{
	static const struct policy_source source = {"ClusterNetworkPolicy", false};
	_cleanup_(policy_reader_done) struct policy_reader r;
	int rc = policy_reader_begin(&r, object, &source, remarks, err);

	return rc < 0 ? rc : policy_reader_end(&r, read_policy(&r), ret, err);
}
