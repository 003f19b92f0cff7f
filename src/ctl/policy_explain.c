/* SPDX-License-Identifier: Apache-2.0
 *
 * tullectl policy explain: may FROM reach TO, and which tier, policy, rule and selector say so, on each side. In the world of
 * files, or by the agent's own.
 */
#include "ctl/policy.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "ctl/client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char usage[] =
	"usage: tullectl policy explain FROM TO PROTOCOL[/PORT] [--file=CASE [--step=N] | --directory=PATH]";

struct question {
	const char *word[3]; /* from, to, protocol and port */
	const char *file, *directory, *step;
	struct policy_protocol protocol;
};

struct place { /* a world, and what holds it */
	struct endpoint_pool *pool;
	struct policy_world *world;
	struct netpol_step *step; /* null: the world is not of a case */
	struct policy_engine *engine;
};

/* -- the question -- */

static int parse(const struct ctl *ctl, struct question *question)
{
	size_t words = 0;

	for (int i = 1; i < ctl->argc; i++) {
		if (policy_flag(ctl, &i, "--file", &question->file) || policy_flag(ctl, &i, "--directory", &question->directory) ||
			policy_flag(ctl, &i, "--step", &question->step))
			continue;
		if (ctl->argv[i][0] == '-')
			return ctl_fail(CTL_USAGE, "policy explain: \"%s\" is none of its flags; %s", ctl->argv[i], usage);
		if (words == ARRAY_SIZE(question->word))
			return ctl_fail(CTL_USAGE, "%s", usage);
		question->word[words++] = ctl->argv[i];
	}
	if (words < ARRAY_SIZE(question->word) || (question->file && question->directory))
		return ctl_fail(CTL_USAGE, "%s", usage);
	return policy_protocol_parse(question->word[2], &question->protocol);
}

/* -- the world -- */

static void close_place(struct place *place)
{
	policy_engine_free(place->engine);
	if (!place->step)
		policy_world_free(&place->world);
	netpol_step_free(&place->step);
	endpoint_pool_free(place->pool);
}

static int open_case(const struct question *question, struct place *place, struct err *err)
{
	_cleanup_(netpol_case_free) struct netpol_case *file = NULL;
	unsigned step = 0;

	if (policy_read_case(question->file, &file) != CTL_OK)
		return -EALREADY;
	if (question->step && (policy_number(question->step, UINT16_MAX, &step) < 0 || step >= netpol_case_step_count(file)))
		return err_set(err, -EINVAL, "--step: the value is \"%s\", expected a number below %zu", question->step,
			netpol_case_step_count(file));
	if (netpol_case_step(file, step, place->pool, &policy_remarks_on_stderr, &place->step, err) < 0)
		return err->code;
	place->world = place->step->world;
	return 0;
}

static int open_directory(const struct question *question, struct place *place, struct err *err)
{
	int rc = policy_world_new(place->pool, &place->world);

	if (rc == 0)
		rc = policy_read_directory(question->directory, place->world, err);
	if (rc == 0)
		rc = policy_world_finish(place->world, err);
	return rc;
}

static int open_place(const struct question *question, struct place *place)
{
	struct err err = ERR_INIT;
	int rc;

	place->pool = endpoint_pool_new();
	rc = !place->pool ? err_set(&err, -ENOMEM, "out of memory")
	     : question->file ? open_case(question, place, &err)
			      : open_directory(question, place, &err);
	if (rc == 0)
		rc = policy_engine_new(&place->engine);
	if (rc == 0)
		rc = policy_engine_load(place->engine, place->world, &err);
	if (rc == -EALREADY)
		return CTL_USAGE;
	return rc < 0 ? ctl_fail(CTL_USAGE, "%s", err_text(&err)) : CTL_OK;
}

/* An address is nobody, unless a pod has it. */
static struct policy_end *end_of_address(const struct policy_world *world, const struct addr *addr)
{
	char text[ADDR_TEXT_MAX];
	const struct policy_end *end;
	struct policy_end *made;

	for (end = world->ends; end; end = end->hh.next)
		if (end->endpoint && addr_equal(&end->addr[family_index(addr_family(addr))], addr))
			break;
	made = calloc(1, sizeof(*made) + ADDR_TEXT_MAX);
	if (!made)
		return NULL;
	made->node = end ? end->node : SIZE_MAX;
	made->endpoint = end ? end->endpoint : NULL;
	made->addr[family_index(addr_family(addr))] = *addr;
	strcpy(made->name, addr_format(addr, text));
	return made;
}

static int find_end(const struct policy_world *world, const char *word, struct policy_end **made, const struct policy_end **ret)
{
	struct addr addr;

	*ret = policy_world_end(world, word);
	if (!*ret && addr_parse(word, &addr) == 0)
		*ret = *made = end_of_address(world, &addr);
	if (*ret)
		return CTL_OK;
	return ctl_fail(CTL_USAGE, "\"%s\" is nobody of this world, expected namespace/pod, node:NAME, external:NAME or an address", word);
}

/* -- the answer, as JSON; what is printed for people is read from it -- */

static json_t *side_json(const struct policy_engine *engine, const struct netpol_probe *probe, enum netpol_side side)
{
	const struct policy_end *end = side == NETPOL_EGRESS ? probe->from : probe->to;
	struct verdict_why why = {0};
	json_t *json;

	if (!policy_engine_why(engine, probe, side, &why))
		return json_pack("{s:s, s:b, s:s}", "of", end->name, "allowed", true, "reason",
			probe->from == probe->to ? "self" : probe->exempt ? "own-node" : "no-pod");
	json = policy_words_why(&why);
	json_object_set_new(json, "of", json_string(end->name));
	return json;
}

static json_t *path_json(const struct policy_world *world, const struct netpol_probe *probe)
{
	const struct policy_end *ends[] = {probe->from, probe->to};
	json_t *path = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		const char *name = ends[i]->node < world->node_count ? world->nodes[ends[i]->node].name : "outside";
		const char *last = json_string_value(json_array_get(path, json_array_size(path) - 1));

		if (!last || strcmp(last, name) != 0)
			json_array_append_new(path, json_string(name));
	}
	return path;
}

static json_t *flow_json(const struct place *place, const struct question *question, const struct netpol_probe *probe)
{
	char src[ADDR_TEXT_MAX], dst[ADDR_TEXT_MAX];
	json_t *egress = side_json(place->engine, probe, NETPOL_EGRESS);
	json_t *ingress = side_json(place->engine, probe, NETPOL_INGRESS);
	bool allowed = json_is_true(json_object_get(egress, "allowed")) && json_is_true(json_object_get(ingress, "allowed"));

	addr_format(&probe->src, src);
	addr_format(&probe->dst, dst);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:b, s:o, s:o, s:o}", "from", probe->from->name, "from_ip", src,
		"to", probe->to->name, "to_ip", dst, "protocol", question->protocol.name, "port",
		policy_protocol_has_ports(&question->protocol) ? question->protocol.port : question->protocol.port >> 8, "allowed", allowed,
		"egress", egress, "ingress", ingress, "path", path_json(place->world, probe));
}

/* One flow for each family that both ends have. */
static json_t *answer(const struct place *place, const struct question *question, const struct policy_end *from,
	const struct policy_end *to)
{
	json_t *flows = json_array();

	for (int f = 0; f < FAMILY_COUNT; f++) {
		struct netpol_probe probe = {.from = from, .to = to, .src = from->addr[f], .dst = to->addr[f],
			.protocol = question->protocol.number, .dport = question->protocol.port, .sport = NETPOL_SOURCE_PORT};

		if (!addr_is_set(&probe.src) || !addr_is_set(&probe.dst) ||
			(question->protocol.number == IPPROTO_ICMP && f == FAMILY_6) || (question->protocol.number == IPPROTO_ICMPV6 && f == FAMILY_4))
			continue;
		netpol_probe_exempt(place->world, &probe);
		json_array_append_new(flows, flow_json(place, question, &probe));
	}
	return flows;
}

/* -- or of the agent -- */

static int ask_agent(const struct ctl *ctl, const struct question *question)
{
	_cleanup_(buf_free) struct buf path = BUF_INIT(8192);
	_cleanup_(json_cleanup) json_t *answer = NULL;
	struct err err = ERR_INIT;

	buf_add_str(&path, "/v1/policy/explain?from=");
	client_add_query(&path, question->word[0]);
	buf_add_str(&path, "&to=");
	client_add_query(&path, question->word[1]);
	buf_printf(&path, "&protocol=%u&port=%u", question->protocol.number, question->protocol.port);
	if (path.error)
		return ctl_fail(CTL_USAGE, "FROM and TO: expected names of pods or nodes, or addresses");
	if (client_get(ctl->socket_path, buf_text(&path), &answer, &err) < 0)
		return ctl_fail(CTL_FAILED, "%s", err_text(&err));
	return policy_show_flows(ctl, answer);
}

static int ask_files(const struct ctl *ctl, const struct question *question)
{
	_cleanup_(close_place) struct place place = {0};
	_cleanup_free_ struct policy_end *made_from = NULL, *made_to = NULL;
	_cleanup_(json_cleanup) json_t *whole = NULL;
	const struct policy_end *from, *to;
	int status = open_place(question, &place);

	if (status == CTL_OK)
		status = find_end(place.world, question->word[0], &made_from, &from);
	if (status == CTL_OK)
		status = find_end(place.world, question->word[1], &made_to, &to);
	if (status != CTL_OK)
		return status;
	whole = json_pack("{s:o}", "flows", answer(&place, question, from, to));
	return policy_show_flows(ctl, whole);
}

int policy_explain(const struct ctl *ctl)
{
	struct question question = {0};
	int status = parse(ctl, &question);

	if (status != CTL_OK)
		return status;
	return question.file || question.directory ? ask_files(ctl, &question) : ask_agent(ctl, &question);
}
