/* SPDX-License-Identifier: Apache-2.0
 *
 * "tullectl policy explain": what this agent's policies say of a flow, and which way it takes. The other side may be another
 * node's to judge: then it is told what that node should say, by what this agent knows.
 */
#include "agent/policy/internal.h"

#include "base/cleanup.h"
#include "plan/policy_words.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define APPLIED_MAX 32 /* policies that are named */
#define SOURCE_PORT 40000

json_t *explain_why(const struct policer *policer, const char *namespace, const char *name, enum policy_direction direction,
	const struct verdict_flow *flow)
{
	const struct policy *applied[APPLIED_MAX];
	struct verdict_why why;
	json_t *json, *list;
	size_t count;

	verdicts_why(policer->verdicts, namespace, name, direction, flow, &why);
	json = policy_words_why(&why);
	if (!json || why.reason != VERDICT_TIER_END)
		return json;
	count = verdicts_applied(policer->verdicts, namespace, name, direction, why.policy->tier, applied, APPLIED_MAX);
	list = json_array();
	for (size_t i = 0; i < count && i < APPLIED_MAX; i++) {
		_cleanup_(buf_free) struct buf text = BUF_INIT(4096);

		policy_words_name(applied[i], &text);
		json_array_append_new(list, json_string(buf_text(&text)));
	}
	json_object_set_new(json, "policies", list);
	return json;
}

/* -- who is meant -- */

struct end {
	struct who who;
	struct addr addr[FAMILY_COUNT];
	const char *node; /* null: none, or not known */
	bool here;        /* on this node, or this node itself */
	const char *interface; /* of a pod of this node */
	char text[600];
};

static const char *own_name(const struct policer *policer)
{
	return policer->agent->options.node_name;
}

static const struct local_pod *find_local(const struct policer *policer, const char *namespace, const char *name)
{
	for (const struct local_pod *local = policer->pods; local; local = local->hh.next)
		if (strcmp(local->namespace, namespace) == 0 && strcmp(local->name, name) == 0)
			return local;
	return NULL;
}

static void set_node(const struct policer *policer, const char *node, struct end *ret)
{
	ret->node = node && *node ? node : NULL;
	ret->here = ret->node && strcmp(node, own_name(policer)) == 0;
}

/* A pod of the node's network is its node, for every policy. */
static void set_endpoint(const struct policer *policer, const struct endpoint *endpoint, struct end *ret)
{
	const struct local_pod *local = find_local(policer, endpoint->namespace, endpoint->name);

	ret->who = endpoint->host_network ? (struct who){.kind = "node", .name = endpoint->node}
					  : (struct who){.kind = "pod", .namespace = endpoint->namespace, .name = endpoint->name};
	memcpy(ret->addr, local ? local->pod.addr : endpoint->addr, sizeof(ret->addr));
	set_node(policer, local ? own_name(policer) : endpoint->node, ret);
	ret->interface = local ? local->host_ifname : NULL;
}

static int find_pod(struct policer *policer, const char *word, struct end *ret, struct err *err)
{
	const struct endpoint *endpoint = world_find(policer, WORLD_LOCAL_PODS, word);
	_cleanup_(buf_free) struct buf near = BUF_INIT(4096);

	if (!endpoint)
		endpoint = world_find(policer, WORLD_PODS, word);
	for (const struct local_pod *local = policer->pods; local && !endpoint; local = local->hh.next)
		if (local->made && snprintf(ret->text, sizeof(ret->text), "%s/%s", local->namespace, local->name) > 0 &&
			strcmp(ret->text, word) == 0)
			endpoint = local->made;
	if (endpoint) {
		set_endpoint(policer, endpoint, ret);
		return 0;
	}
	near_names(policer, word, &near);
	return err_set(err, -ENOENT, "\"%s\": this agent knows no such pod%s%s%s", word, near.len ? "; near it are " : "", buf_text(&near),
		policer->needs.pods ? "" : ". No policy asks for pods of other nodes, so it knows those of its own only: give the address "
					   "of another one");
}

static bool find_node(const struct policer *policer, const char *name, struct end *ret)
{
	const struct known_node *node = world_find(policer, WORLD_NODES, name);
	const struct lease_node *lease;

	HASH_FIND_STR(policer->leases, name, lease);
	for (size_t i = policer->own_count; i-- > 0;)
		if (strcmp(name, own_name(policer)) == 0)
			ret->addr[family_index(addr_family(&policer->own[i]))] = policer->own[i];
	for (int f = 0; f < FAMILY_COUNT; f++)
		if (!addr_is_set(&ret->addr[f]) && known_node_first(node, f))
			ret->addr[f] = *known_node_first(node, f);
	for (size_t i = lease ? lease->count : 0; i-- > 0;)
		ret->addr[family_index(addr_family(&lease->addrs[i]))] = lease->addrs[i];
	return addr_is_set(&ret->addr[FAMILY_4]) || addr_is_set(&ret->addr[FAMILY_6]);
}

static void set_address(const struct policer *policer, const struct addr *addr, struct end *ret)
{
	const struct endpoint *endpoint;

	who_at(policer, addr, &ret->who);
	endpoint = verdicts_endpoint_at(policer->verdicts, addr);
	if (strcmp(ret->who.kind, "pod") == 0 && endpoint)
		set_endpoint(policer, endpoint, ret);
	else if (strcmp(ret->who.kind, "node") == 0)
		set_node(policer, ret->who.name, ret);
	memset(ret->addr, 0, sizeof(ret->addr));
	ret->addr[family_index(addr_family(addr))] = *addr;
}

static int find_end(struct policer *policer, const char *word, struct end *ret, struct err *err)
{
	const char *name = strncmp(word, "node:", 5) == 0 ? word + 5 : word;
	struct addr addr;
	int rc = 0;

	*ret = (struct end){0};
	if (addr_parse(word, &addr) == 0) {
		set_address(policer, &addr, ret);
	} else if (strchr(word, '/')) {
		rc = find_pod(policer, word, ret, err);
	} else if (find_node(policer, name, ret)) {
		ret->who = (struct who){.kind = "node", .name = name};
		set_node(policer, name, ret);
	} else {
		rc = err_set(err, -ENOENT, "\"%s\": this agent knows no such node; expected NAMESPACE/POD, an address or the name of a node", word);
	}
	snprintf(ret->text, sizeof(ret->text), "%s", name);
	return rc;
}

/* -- a side -- */

static bool is_pod(const struct end *end)
{
	return strcmp(end->who.kind, "pod") == 0;
}

static bool is_same_pod(const struct end *a, const struct end *b)
{
	return is_pod(a) && is_pod(b) && strcmp(a->who.namespace, b->who.namespace) == 0 && strcmp(a->who.name, b->who.name) == 0;
}

static json_t *judge(const struct policer *policer, const struct end *own, const struct end *other, enum policy_direction direction,
	const struct verdict_flow *flow)
{
	const char *reason = is_same_pod(own, other) ? "self"
		: !is_pod(own) ? (strcmp(own->who.kind, "pod-address") == 0 ? "unknown" : "no-pod")
		: strcmp(other->who.kind, "node") == 0 && own->node && other->node && strcmp(own->node, other->node) == 0 ? "own-node" : NULL;

	return reason ? json_pack("{s:b, s:s}", "allowed", strcmp(reason, "unknown") != 0, "reason", reason)
		      : explain_why(policer, own->who.namespace, own->who.name, direction, flow);
}

/* By the interface through which this node reaches the other end: what the host endpoint there says. False: nobody is asked. */
static bool crosses(struct policer *policer, const struct end *own, const struct end *other, enum policy_direction direction,
	const struct verdict_flow *flow, struct verdict_why *ret)
{
	bool forwarded = strcmp(own->who.kind, "node") != 0;
	const struct host_place *place;
	struct verdict_crossing crossing = {.direction = direction, .forwarded = forwarded};
	struct plane_route route = {0};
	struct felix felix;

	if (!own->here || other->here || !policer->host_count ||
		plane_route_get(direction == POLICY_EGRESS ? &flow->dst : &flow->src, &route, NULL) < 0)
		return false;
	place = hosts_at(policer, route.index);
	crossing.host = place ? auto_hosts_find(policer, place->host) : NULL;
	if (!crossing.host)
		return false;
	felix = hosts_felix(policer);
	crossing.safe = &felix.failsafes[direction];
	verdicts_why_crossing(policer->verdicts, &crossing, flow, ret);
	return !forwarded || !ret->allow;
}

static json_t *side_json(struct policer *policer, const struct end *own, const struct end *other, enum policy_direction direction,
	const struct verdict_flow *flow)
{
	json_t *json = judge(policer, own, other, direction, flow);
	struct verdict_why host;

	if (json_is_true(json_object_get(json, "allowed")) && crosses(policer, own, other, direction, flow, &host)) {
		json_decref(json);
		json = policy_words_why(&host);
	}

	json_object_set_new(json, "of", json_string(own->text));
	if (!is_pod(own))
		return json;
	json_object_set_new(json, "here", json_boolean(own->here));
	if (own->node)
		json_object_set_new(json, "node", json_string(own->node));
	return json;
}

/* -- the way -- */

static bool is_masqueraded(const struct policer *policer, const struct addr *src, const struct addr *dst, bool node, const char *device)
{
	const struct agent *agent = policer->agent;
	const struct prefix *cidr = &agent->network.pool[family_index(addr_family(src))].cidr;

	if (agent->calico)
		return calico_masquerades(agent->calico, src, dst, node, device);
	if (!agent->options.ip_masq || !agent->have_network || !prefix_is_set(cidr) || !prefix_contains(cidr, src) ||
		prefix_contains(cidr, dst) || addr_is_multicast(dst))
		return false;
	for (size_t i = 0; i < agent->non_masquerade_count; i++)
		if (prefix_contains(&agent->non_masquerade[i], dst))
			return false;
	return true;
}

static const char *encapsulation_of(const struct plane_link *link)
{
	if (strcmp(link->name, PLAN_CARRIER_NAME) == 0)
		return "udp";
	if (strcmp(link->name, "tunl0") == 0)
		return "ipip";
	return strcmp(link->kind, "vxlan") == 0 ? "vxlan" : strcmp(link->kind, "wireguard") == 0 ? "wireguard" : "none";
}

static void add_device(json_t *json, uint32_t index)
{
	_cleanup_free_ struct plane_link *links = NULL;
	size_t count = 0;

	json_object_set_new(json, "device", json_string(""));
	if (plane_list_links(&links, &count, NULL) < 0)
		return;
	for (size_t i = 0; i < count; i++)
		if (links[i].index == index) {
			json_object_set_new(json, "device", json_string(links[i].name));
			json_object_set_new(json, "encapsulation", json_string(encapsulation_of(&links[i])));
		}
}

/* By the kernel's own routes, from this node on. */
static json_t *way_out(const struct policer *policer, const struct end *to, const struct addr *src, const struct addr *dst)
{
	struct plane_route route = {0};
	struct err err = ERR_INIT;
	char text[ADDR_TEXT_MAX];
	const char *node = to->node;
	json_t *json;

	if (plane_route_get(dst, &route, &err) < 0)
		return json_pack("{s:s, s:s}", "kind", "none", "why", err_text(&err));
	json = json_pack("{s:s}", "kind", "route");
	add_device(json, route.index);
	if (addr_is_set(&route.via))
		json_object_set_new(json, "via", json_string(addr_format(&route.via, text)));
	if (!node && addr_is_set(&route.via))
		node = verdicts_node_at(policer->verdicts, &route.via);
	if (node)
		json_object_set_new(json, "node", json_string(node));
	json_object_set_new(json, "masqueraded", json_boolean(is_masqueraded(policer, src, dst, strcmp(to->who.kind, "node") == 0,
		json_string_value(json_object_get(json, "device")))));
	return json;
}

static json_t *way_json(const struct policer *policer, const struct end *from, const struct end *to, const struct addr *src,
	const struct addr *dst)
{
	json_t *json;

	if (from->here && !to->here)
		return way_out(policer, to, src, dst);
	if (!from->here && !to->here)
		return json_pack("{s:s}", "kind", "elsewhere");
	json = json_pack("{s:s}", "kind", from->here ? "same-node" : "from-outside");
	if (from->interface)
		json_object_set_new(json, "from", json_string(from->interface));
	if (to->interface)
		json_object_set_new(json, "to", json_string(to->interface));
	return json;
}

static json_t *path_json(const struct end *from, const struct end *to, const json_t *way)
{
	const char *next = json_string_value(json_object_get(way, "node"));
	const char *first = from->node ? from->node : strcmp(from->who.kind, "outside") == 0 ? "outside" : "?";
	const char *last = to->node ? to->node : next ? next : strcmp(to->who.kind, "pod-address") == 0 ? "?" : "outside";
	json_t *path = json_array();

	json_array_append_new(path, json_string(first));
	if (strcmp(first, last) != 0)
		json_array_append_new(path, json_string(last));
	return path;
}

/* -- the answer -- */

struct question {
	struct end from, to;
	uint8_t protocol;
	uint16_t port; /* ICMP: type << 8 | code */
};

static json_t *flow_json(struct policer *policer, const struct question *question, int f)
{
	struct verdict_flow flow = {question->from.addr[f], question->to.addr[f], question->protocol, SOURCE_PORT, question->port};
	bool icmp = question->protocol == IPPROTO_ICMP || question->protocol == IPPROTO_ICMPV6;
	const char *name = policy_words_protocol(question->protocol);
	char src[ADDR_TEXT_MAX], dst[ADDR_TEXT_MAX], number[8];
	json_t *egress = side_json(policer, &question->from, &question->to, POLICY_EGRESS, &flow);
	json_t *ingress = side_json(policer, &question->to, &question->from, POLICY_INGRESS, &flow);
	json_t *way = way_json(policer, &question->from, &question->to, &flow.src, &flow.dst);
	bool allowed = json_is_true(json_object_get(egress, "allowed")) && json_is_true(json_object_get(ingress, "allowed"));

	snprintf(number, sizeof(number), "%u", question->protocol);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:b, s:o, s:o, s:o, s:o}", "from", question->from.text, "from_ip",
		addr_format(&flow.src, src), "to", question->to.text, "to_ip", addr_format(&flow.dst, dst), "protocol", name ? name : number,
		"port", icmp ? question->port >> 8 : question->port, "allowed", allowed, "egress", egress, "ingress", ingress, "path",
		path_json(&question->from, &question->to, way), "way", way);
}

/* One flow for each family that both ends have. */
static json_t *answer_of(struct policer *policer, const struct question *question)
{
	json_t *flows = json_array();

	for (int f = 0; f < FAMILY_COUNT; f++)
		if (addr_is_set(&question->from.addr[f]) && addr_is_set(&question->to.addr[f]) &&
			!(question->protocol == IPPROTO_ICMP && f == FAMILY_6) && !(question->protocol == IPPROTO_ICMPV6 && f == FAMILY_4))
			json_array_append_new(flows, flow_json(policer, question, f));
	return json_pack("{s:o, s:s, s:s, s:s}", "flows", flows, "node", own_name(policer), "state", policer->in_force ? "on" : "waiting",
		"why", policer->in_force ? "" : policer->waiting);
}

static int read_number(struct http_request *request, const char *key, long max, long *ret, struct err *err)
{
	_cleanup_free_ char *text = http_query(request, key);
	char *end = NULL;

	*ret = text ? strtol(text, &end, 10) : -1;
	return text && *text && !*end && *ret >= 0 && *ret <= max ? 0
		: err_set(err, -EINVAL, "%s: the value is \"%s\", expected a number up to %ld", key, text ? text : "", max);
}

static int ask(struct policer *policer, struct http_request *request, json_t **ret, struct err *err)
{
	_cleanup_free_ char *from = http_query(request, "from"), *to = http_query(request, "to");
	struct question question = {0};
	long protocol, port;
	int rc = from && to ? 0 : err_set(err, -EINVAL, "from and to: expected both");

	if (rc == 0)
		rc = read_number(request, "protocol", 255, &protocol, err);
	if (rc == 0)
		rc = read_number(request, "port", 65535, &port, err);
	if (rc == 0)
		rc = find_end(policer, from, &question.from, err);
	if (rc == 0)
		rc = find_end(policer, to, &question.to, err);
	if (rc < 0)
		return rc;
	question.protocol = (uint8_t)protocol;
	question.port = (uint16_t)port;
	*ret = answer_of(policer, &question);
	return 0;
}

void policer_explain(struct policer *policer, struct http_request *request)
{
	struct http_answer answer = {.status = 200, .content_type = "application/json", .body = BUF_INIT((size_t)4 << 20)};
	_cleanup_(json_cleanup) json_t *json = NULL;
	_cleanup_free_ char *text = NULL;
	struct err err = ERR_INIT;
	int rc = !policer ? err_set(&err, -EAGAIN, "policy: it is not known yet what the store speaks")
	    : *policer->off ? err_set(&err, -EAGAIN, "policy is off, every flow passes: %s", policer->off)
			    : ask(policer, request, &json, &err);

	if (rc < 0) {
		answer.status = rc == -ENOENT ? 404 : rc == -EINVAL ? 400 : 503;
		answer.content_type = "text/plain; charset=utf-8";
	}
	text = rc < 0 ? strdup(err_text(&err)) : json_dumps(json, JSON_INDENT(2));
	if (text)
		buf_printf(&answer.body, "%s\n", text);
	else
		answer.status = 500;
	http_reply(request, &answer);
	buf_free(&answer.body);
}
