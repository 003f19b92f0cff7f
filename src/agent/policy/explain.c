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

/* -- a side -- */

static json_t *judge(const struct policer *policer, const struct flow_end *own, const struct flow_end *other, enum policy_direction direction,
	const struct verdict_flow *flow)
{
	const char *reason = ends_are_same_pod(own, other) ? "self"
		: !ends_is_pod(own) ? (strcmp(own->who.kind, "pod-address") != 0 ? "no-pod" : own->node && !own->here ? "other-node" : "unknown")
		: strcmp(other->who.kind, "node") == 0 && own->node && other->node && strcmp(own->node, other->node) == 0 ? "own-node" : NULL;

	return reason ? json_pack("{s:b, s:s}", "allowed", strcmp(reason, "unknown") != 0, "reason", reason)
		      : explain_why(policer, own->who.namespace, own->who.name, direction, flow);
}

/* By the interface through which this node reaches the other end: what the host endpoint there says. False: nobody is asked. */
static bool crosses(struct policer *policer, const struct flow_end *own, const struct flow_end *other, enum policy_direction direction,
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

static json_t *side_json(struct policer *policer, const struct flow_end *own, const struct flow_end *other, enum policy_direction direction,
	const struct verdict_flow *flow)
{
	json_t *json = judge(policer, own, other, direction, flow);
	struct verdict_why host;

	if (json_is_true(json_object_get(json, "allowed")) && crosses(policer, own, other, direction, flow, &host)) {
		json_decref(json);
		json = policy_words_why(&host);
	}

	json_object_set_new(json, "of", json_string(own->text));
	if (!ends_is_pod(own) && (strcmp(own->who.kind, "pod-address") != 0 || !own->node))
		return json;
	json_object_set_new(json, "here", json_boolean(own->here));
	if (own->node)
		json_object_set_new(json, "node", json_string(own->node));
	return json;
}

/* -- the answer -- */

struct question {
	struct flow_end from, to;
	uint8_t protocol;
	uint16_t port; /* ICMP: type << 8 | code */
	bool now;      /* also which flows there are */
};

static bool is_icmp(const struct question *question)
{
	return question->protocol == IPPROTO_ICMP || question->protocol == IPPROTO_ICMPV6;
}

static bool is_allowed(const json_t *side)
{
	return !side || json_is_true(json_object_get(side, "allowed"));
}

static json_t *flow_json(struct policer *policer, const struct question *question, int f)
{
	struct verdict_flow flow = {question->from.addr[f], question->to.addr[f], question->protocol, SOURCE_PORT, question->port};
	const char *name = policy_words_protocol(question->protocol);
	char src[ADDR_TEXT_MAX], dst[ADDR_TEXT_MAX], number[8];
	json_t *egress = *policer->off ? NULL : side_json(policer, &question->from, &question->to, POLICY_EGRESS, &flow);
	json_t *ingress = *policer->off ? NULL : side_json(policer, &question->to, &question->from, POLICY_INGRESS, &flow);
	json_t *way = way_json(policer, &question->from, &question->to, &flow.src, &flow.dst);
	const struct path_question path = {&question->from, &question->to, &flow, .allowed = is_allowed(egress) && is_allowed(ingress),
		.masqueraded = json_is_true(json_object_get(way, "masqueraded"))};

	snprintf(number, sizeof(number), "%u", question->protocol);
	return json_pack("{s:s, s:s, s:o, s:s, s:s, s:o, s:s, s:i, s:b, s:o*, s:o*, s:o, s:o, s:o}", "from", question->from.text, "from_ip",
		addr_format(&flow.src, src), "from_end", ends_json(&question->from), "to", question->to.text, "to_ip",
		addr_format(&flow.dst, dst), "to_end", ends_json(&question->to), "protocol", name ? name : number,
		"port", is_icmp(question) ? question->port >> 8 : question->port, "allowed", path.allowed, "egress", egress, "ingress", ingress,
		"path", way_nodes(&question->from, &question->to, way), "way", way, "data_path", path_json(policer, &path, question->now));
}

/* One flow for each family that both ends have. */
static json_t *answer_of(struct policer *policer, const struct question *question)
{
	json_t *flows = json_array();

	for (int f = 0; f < FAMILY_COUNT; f++)
		if (addr_is_set(&question->from.addr[f]) && addr_is_set(&question->to.addr[f]) &&
			!(question->protocol == IPPROTO_ICMP && f == FAMILY_6) && !(question->protocol == IPPROTO_ICMPV6 && f == FAMILY_4))
			json_array_append_new(flows, flow_json(policer, question, f));
	return json_pack("{s:o, s:s, s:s, s:s}", "flows", flows, "node", policer->agent->options.node_name, "state",
		*policer->off ? "off" : policer->in_force ? "on" : "waiting", "why",
		*policer->off ? policer->off : policer->in_force ? "" : policer->waiting);
}

static int read_number(struct http_request *request, const char *key, long max, long *ret, struct err *err)
{
	_cleanup_free_ char *text = http_query(request, key);
	char *end = NULL;

	*ret = text ? strtol(text, &end, 10) : -1;
	return text && *text && !*end && *ret >= 0 && *ret <= max ? 0
		: err_set(err, -EINVAL, "%s: the value is \"%s\", expected a number up to %ld", key, text ? text : "", max);
}

static int ask(struct policer *policer, struct http_request *request, bool now, json_t **ret, struct err *err)
{
	_cleanup_free_ char *from = http_query(request, "from"), *to = http_query(request, "to");
	struct question question = {.now = now};
	long protocol, port;
	int rc = from && to ? 0 : err_set(err, -EINVAL, "from and to: expected both");

	if (rc == 0)
		rc = read_number(request, "protocol", 255, &protocol, err);
	if (rc == 0)
		rc = read_number(request, "port", 65535, &port, err);
	if (rc == 0)
		rc = ends_find(policer, from, &question.from, err);
	if (rc == 0)
		rc = ends_find(policer, to, &question.to, err);
	if (rc < 0)
		return rc;
	question.protocol = (uint8_t)protocol;
	question.port = (uint16_t)port;
	*ret = answer_of(policer, &question);
	return 0;
}

static void reply(struct http_request *request, int rc, const json_t *json, const struct err *err)
{
	struct http_answer answer = {.status = 200, .content_type = "application/json", .body = BUF_INIT((size_t)4 << 20)};
	_cleanup_free_ char *text = rc < 0 ? strdup(err_text(err)) : json_dumps(json, JSON_INDENT(2));

	if (rc < 0) {
		answer.status = rc == -ENOENT ? 404 : rc == -EINVAL ? 400 : 503;
		answer.content_type = "text/plain; charset=utf-8";
	}
	if (text)
		buf_printf(&answer.body, "%s\n", text);
	else
		answer.status = 500;
	http_reply(request, &answer);
	buf_free(&answer.body);
}

void policer_explain(struct policer *policer, struct http_request *request, bool path)
{
	_cleanup_(json_cleanup) json_t *json = NULL;
	struct err err = ERR_INIT;
	int rc = !policer ? err_set(&err, -EAGAIN, "policy: it is not known yet what the store speaks")
	    : *policer->off && !path ? err_set(&err, -EAGAIN, "policy is off, every flow passes: %s", policer->off)
				     : ask(policer, request, path, &json, &err);

	reply(request, rc, json, &err);
}
