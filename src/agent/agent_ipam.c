/* SPDX-License-Identifier: Apache-2.0
 *
 * "tullectl ipam": each of the store's two dialects has its own IPAM. Flannel's is this node's lease, and which addresses
 * of it pods have only this node knows; Calico's is calico/ipam.c.
 */
#include "agent/agent.h"

#include "base/cleanup.h"

#include <jansson.h>

static void answer(struct http_request *request, int status, json_t *json, const char *text)
{
	struct http_answer answer = {.status = status, .content_type = json ? "application/json" : "text/plain; charset=utf-8",
		.body = BUF_INIT((size_t)1 << 20)};
	_cleanup_free_ char *dumped = json ? json_dumps(json, JSON_INDENT(2)) : NULL;

	buf_add_str(&answer.body, dumped ? dumped : text ? text : "{}");
	buf_add_str(&answer.body, "\n");
	http_reply(request, &answer);
	buf_free(&answer.body);
	json_decref(json);
}

/* -- Flannel's: this node's lease -- */

json_t *agent_ipam_blocks(const struct agent *agent)
{
	json_t *list = json_array();
	struct attach_stats stats;
	char text[PREFIX_TEXT_MAX];

	attach_get_stats(agent->attacher, &stats);
	for (int f = 0; f < FAMILY_COUNT; f++)
		if (agent->have_own && prefix_is_set(&agent->own.subnet[f]))
			json_array_append_new(list, json_pack("{s:s,s:I,s:I,s:I}", "block", prefix_format(&agent->own.subnet[f], text),
				"used", (json_int_t)stats.in_use[f], "resting", (json_int_t)stats.resting[f], "free",
				(json_int_t)(stats.free[f] > INT64_MAX ? INT64_MAX : (json_int_t)stats.free[f])));
	return list;
}

struct search {
	struct addr addr;
	const struct attachment *found;
};

static void look_at_pod(void *ctx, const struct attachment *attachment)
{
	struct search *search = ctx;

	for (int f = 0; f < FAMILY_COUNT; f++)
		if (addr_equal(&attachment->addr[f], &search->addr))
			search->found = attachment;
}

static json_t *who_has(const struct agent *agent, const struct addr *addr)
{
	struct search search = {.addr = *addr};
	char text[PREFIX_TEXT_MAX];
	json_t *json = json_pack("{s:s}", "ip", addr_format(addr, text));
	bool own = false;

	for (int f = 0; f < FAMILY_COUNT; f++)
		if (agent->have_own && prefix_contains(&agent->own.subnet[f], addr)) {
			json_object_set_new(json, "block", json_string(prefix_format(&agent->own.subnet[f], text)));
			own = true;
		}
	attach_each(agent->attacher, look_at_pod, &search);
	json_object_set_new(json, "state", json_string(search.found ? "in use" : own ? "not in use" : "not of this node's lease"));
	if (search.found)
		json_object_set_new(json, "attributes", json_pack("{s:s, s:s, s:s, s:s}", "node", agent->options.node_name,
			"network", search.found->network, "containerID", search.found->container_id, "hostInterface",
			search.found->host_ifname));
	return json;
}

static void show_lease(struct agent *agent, struct http_request *request)
{
	_cleanup_free_ char *ip = http_query(request, "ip");
	struct addr addr;

	if (ip && addr_parse(ip, &addr) < 0)
		answer(request, 400, NULL, "ip: expected an address");
	else
		answer(request, 200, ip ? who_has(agent, &addr) : json_pack("{s:o}", "blocks", agent_ipam_blocks(agent)), NULL);
}

/* -- both -- */

void agent_ipam_show(void *ctx, struct http_request *request)
{
	struct agent *agent = ctx;

	if (agent->calico)
		calico_ipam_show(agent->calico, request);
	else
		show_lease(agent, request);
}

static void refuse(const struct agent *agent, struct http_request *request)
{
	answer(request, agent->store ? 404 : 503, NULL, agent->store ?
		"the store speaks Flannel: each node hands out the addresses of its own lease, and the store holds nothing about them; "
		"tullectl ipam show has this node's" : "which dialect the store speaks is not known yet");
}

void agent_ipam_check(void *ctx, struct http_request *request)
{
	struct agent *agent = ctx;

	if (agent->calico)
		calico_ipam_check(agent->calico, request);
	else
		refuse(agent, request);
}

void agent_ipam_release(void *ctx, struct http_request *request)
{
	struct agent *agent = ctx;

	if (agent->calico)
		calico_ipam_release(agent->calico, request);
	else
		refuse(agent, request);
}
