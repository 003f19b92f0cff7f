/* SPDX-License-Identifier: Apache-2.0
 *
 * What the two HTTP doors show: health, and the JSON behind tullectl. (Metrics: agent_metrics.c, "tullectl ipam": agent_ipam.c.)
 */
#include "agent/agent.h"

#include "base/cleanup.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* -- health -- */

static void get_healthz(void *ctx, struct http_answer *answer)
{
	buf_add_str(&answer->body, "tulled is running\n");
}

static void get_readyz(void *ctx, struct http_answer *answer)
{
	const char *why = agent_not_ready(ctx);

	answer->status = why ? 503 : 200;
	buf_printf(&answer->body, "%s%s\n", why ? "tulled is not ready yet: " : "tulled is ready", why ? why : "");
}

/* -- JSON for tullectl -- */

static void answer_json(struct http_answer *answer, json_t *json)
{
	char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;

	answer->content_type = "application/json";
	if (text)
		buf_printf(&answer->body, "%s\n", text);
	else
		answer->status = 500;
	free(text);
	json_decref(json);
}

static json_t *json_addr(const struct addr *addr)
{
	char text[ADDR_TEXT_MAX];

	return addr_is_set(addr) ? json_string(addr_format(addr, text)) : json_null();
}

static json_t *json_prefix(const struct prefix *prefix)
{
	char text[PREFIX_TEXT_MAX];

	return prefix_is_set(prefix) ? json_string(prefix_format(prefix, text)) : json_null();
}

static json_t *json_mac(const struct mac *mac)
{
	char text[MAC_TEXT_MAX];

	return mac_is_set(mac) ? json_string(mac_format(mac, text)) : json_null();
}

static json_t *json_lease(const struct agent *agent, const struct lease *lease, bool own)
{
	json_t *json = json_object();
	char object[LEASE_KEY_MAX + 8];
	const char *problem;

	snprintf(object, sizeof(object), "lease %s", lease->key);
	problem = problems_text(agent->problems, object);
	json_object_set_new(json, "key", json_string(lease->key));
	json_object_set_new(json, "own", json_boolean(own));
	json_object_set_new(json, "subnet", json_prefix(&lease->subnet[FAMILY_4]));
	json_object_set_new(json, "ipv6Subnet", json_prefix(&lease->subnet[FAMILY_6]));
	json_object_set_new(json, "publicIP", json_addr(&lease->public_ip[FAMILY_4]));
	json_object_set_new(json, "publicIPv6", json_addr(&lease->public_ip[FAMILY_6]));
	json_object_set_new(json, "backend", json_string(lease->backend));
	json_object_set_new(json, "vtepMAC", json_mac(&lease->vtep_mac[FAMILY_4]));
	json_object_set_new(json, "vtepMACv6", json_mac(&lease->vtep_mac[FAMILY_6]));
	json_object_set_new(json, "expires", lease->expires ? json_integer(lease->expires) : json_null());
	json_object_set_new(json, "problem", problem ? json_string(problem) : json_null());
	return json;
}

static void get_leases(void *ctx, struct http_answer *answer)
{
	struct agent *agent = ctx;
	_cleanup_free_ const struct lease **peers = peers_list(agent->peers);
	size_t count = peers ? peers_count(agent->peers) : 0;
	json_t *list = json_array();

	if (agent->have_own)
		json_array_append_new(list, json_lease(agent, &agent->own, true));
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_lease(agent, peers[i], false));
	answer_json(answer, json_pack("{s:o}", "leases", list));
}

static void add_pod(void *ctx, const struct attachment *attachment)
{
	json_t *json = json_object();

	json_object_set_new(json, "containerID", json_string(attachment->container_id));
	json_object_set_new(json, "network", json_string(attachment->network));
	json_object_set_new(json, "ifname", json_string(attachment->ifname));
	json_object_set_new(json, "hostInterface", json_string(attachment->host_ifname));
	json_object_set_new(json, "ip", json_addr(&attachment->addr[FAMILY_4]));
	json_object_set_new(json, "ipv6", json_addr(&attachment->addr[FAMILY_6]));
	json_object_set_new(json, "mac", json_mac(&attachment->mac));
	json_object_set_new(json, "mtu", json_integer(attachment->mtu));
	json_object_set_new(json, "netns", json_string(attachment->netns_path));
	json_array_append_new(ctx, json);
}

static void get_pods(void *ctx, struct http_answer *answer)
{
	struct agent *agent = ctx;
	json_t *list = json_array();

	attach_each(agent->attacher, add_pod, list);
	answer_json(answer, json_pack("{s:o}", "pods", list));
}

static json_t *json_uplink(const struct agent *agent)
{
	if (!agent->have_uplink)
		return json_null();
	return json_pack("{s:s,s:i,s:o,s:o,s:o,s:o}", "interface", agent->uplink.name, "mtu", (int)agent->uplink.mtu,
		"ip", json_addr(&agent->uplink.addr[FAMILY_4]), "ipv6", json_addr(&agent->uplink.addr[FAMILY_6]),
		"publicIP", json_addr(&agent->uplink.public_ip[FAMILY_4]),
		"publicIPv6", json_addr(&agent->uplink.public_ip[FAMILY_6]));
}

static void add_guard_count(void *ctx, const char *name, uint64_t packets, uint64_t bytes)
{
	json_object_set_new(ctx, name, json_integer((json_int_t)packets));
}

/* What became of packets of tunnels at the uplink; an empty object without a guard. */
static json_t *json_guard(const struct agent *agent)
{
	json_t *counts = json_object();

	plane_each_guard_counter(agent->plane, add_guard_count, counts);
	return counts;
}

static void get_status(void *ctx, struct http_answer *answer)
{
	struct agent *agent = ctx;
	const char *why = agent_not_ready(agent);
	struct attach_stats pods;
	struct plane_stats plane;
	json_t *json = json_object();

	attach_get_stats(agent->attacher, &pods);
	plane_get_stats(agent->plane, &plane);
	json_object_set_new(json, "version", json_string(TULLE_VERSION));
	json_object_set_new(json, "node", json_string(agent->options.node_name));
	json_object_set_new(json, "ready", json_boolean(!why));
	json_object_set_new(json, "notReady", why ? json_string(why) : json_null());
	json_object_set_new(json, "store", json_string(agent->options.store));
	json_object_set_new(json, "backend", agent->have_network ? json_string(agent->network.backend) : json_null());
	json_object_set_new(json, "network", json_prefix(&agent->network.pool[FAMILY_4].cidr));
	json_object_set_new(json, "ipv6Network", json_prefix(&agent->network.pool[FAMILY_6].cidr));
	json_object_set_new(json, "podMTU", agent->have_uplink ?
		json_integer(network_pod_mtu(&agent->network, agent->uplink.mtu)) : json_null());
	json_object_set_new(json, "uplink", json_uplink(agent));
	json_object_set_new(json, "lease", agent->have_own ? json_lease(agent, &agent->own, true) : json_null());
	json_object_set_new(json, "peers", json_integer((json_int_t)peers_count(agent->peers)));
	json_object_set_new(json, "peersSynced", json_boolean(agent->peers_complete));
	json_object_set_new(json, "pods", json_integer((json_int_t)pods.attached));
	json_object_set_new(json, "blocks", agent_ipam_blocks(agent));
	json_object_set_new(json, "calico", agent->calico ? calico_status(agent->calico) : json_null());
	json_object_set_new(json, "policy", policer_status(agent->policer));
	json_object_set_new(json, "kernel", json_pack("{s:I,s:I,s:I,s:I}", "routes", (json_int_t)plane.routes,
		"neighbours", (json_int_t)plane.neighs, "fdb", (json_int_t)plane.fdbs, "repairs", (json_int_t)plane.repairs));
	json_object_set_new(json, "guard", json_guard(agent));
	json_object_set_new(json, "forwardNote", json_string(plane_forward_note(agent->plane)));
	json_object_set_new(json, "problems", problems_json(agent->problems));
	answer_json(answer, json);
}

static void get_bgp_status(void *ctx, struct http_answer *answer)
{
	struct agent *agent = ctx;
	json_t *json = agent->calico ? calico_bgp_status(agent->calico) : NULL;

	if (json) {
		answer_json(answer, json);
		return;
	}
	answer->status = 404;
	buf_add_str(&answer->body, "this agent speaks no BGP: the store does not speak Calico, or --bird is off\n");
}

static void begin_bgp_routes(void *ctx, struct http_request *request)
{
	struct agent *agent = ctx;
	struct http_answer answer = {.status = 404, .content_type = "text/plain; charset=utf-8", .body = BUF_INIT(4096)};

	if (agent->calico) {
		calico_bgp_routes(agent->calico, request);
		return;
	}
	buf_add_str(&answer.body, "this agent speaks no BGP: the store does not speak Calico\n");
	http_reply(request, &answer);
	buf_free(&answer.body);
}

/* -- policy -- */

static void get_drops(void *ctx, struct http_answer *answer)
{
	struct agent *agent = ctx;

	answer_json(answer, json_pack("{s:o, s:o}", "drops", policer_drops(agent->policer), "policy", policer_status(agent->policer)));
}

static void begin_drops(void *ctx, struct http_request *request)
{
	struct agent *agent = ctx;

	policer_watch_drops(agent->policer, request);
}

static void begin_explain(void *ctx, struct http_request *request)
{
	struct agent *agent = ctx;

	policer_explain(agent->policer, request, false);
}

static void begin_path(void *ctx, struct http_request *request)
{
	struct agent *agent = ctx;

	policer_explain(agent->policer, request, true);
}

const struct http_route agent_health_routes[] = {
	{"/healthz", get_healthz},
	{"/readyz", get_readyz},
	{"/metrics", agent_metrics},
	{NULL, NULL},
};

const struct http_route agent_control_routes[] = {
	{"/healthz", get_healthz},
	{"/readyz", get_readyz},
	{"/metrics", agent_metrics},
	{"/v1/status", get_status},
	{"/v1/leases", get_leases},
	{"/v1/pods", get_pods},
	{"/v1/ipam", .begin = agent_ipam_show},
	{"/v1/ipam/check", .begin = agent_ipam_check},
	{"/v1/ipam/release", .begin = agent_ipam_release, .post = true},
	{"/v1/bgp/status", get_bgp_status},
	{"/v1/bgp/routes", .begin = begin_bgp_routes},
	{"/v1/policy/drops", get_drops},
	{"/v1/policy/drops/watch", .begin = begin_drops},
	{"/v1/policy/explain", .begin = begin_explain},
	{"/v1/path", .begin = begin_path},
	{NULL, NULL},
};
