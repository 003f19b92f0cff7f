/* SPDX-License-Identifier: Apache-2.0
 *
 * tullectl path: who the two ends of a flow are, which route leads from one to the other, what policy says, whether its packets go by
 * the express path or the kernel's, and which such flows there are. All of it is the agent's answer (agent/policy/explain.c).
 */
#include "ctl/policy.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "ctl/client.h"

#include <stdio.h>
#include <string.h>

static const char usage[] = "usage: tullectl path FROM TO [PROTOCOL[/PORT]] [--family=4|6], PROTOCOL[/PORT] being TCP/80 if not said";

struct question {
	const char *word[3];
	const char *family;
	struct policy_protocol protocol;
};

/* -- asking -- */

static int parse(const struct ctl *ctl, struct question *question)
{
	size_t words = 0;

	for (int i = 0; i < ctl->argc; i++) {
		if (policy_flag(ctl, &i, "--family", &question->family)) {
			if (strcmp(question->family, "4") != 0 && strcmp(question->family, "6") != 0)
				return ctl_fail(CTL_USAGE, "--family: the value is \"%s\", expected 4 or 6", question->family);
			continue;
		}
		if (ctl->argv[i][0] == '-')
			return ctl_fail(CTL_USAGE, "path: \"%s\" is none of its flags; %s", ctl->argv[i], usage);
		if (words == ARRAY_SIZE(question->word))
			return ctl_fail(CTL_USAGE, "%s", usage);
		question->word[words++] = ctl->argv[i];
	}
	if (words < 2)
		return ctl_fail(CTL_USAGE, "%s", usage);
	return policy_protocol_parse(words > 2 ? question->word[2] : "TCP/80", &question->protocol);
}

static int ask(const struct ctl *ctl, const struct question *question, json_t **ret)
{
	_cleanup_(buf_free) struct buf path = BUF_INIT(8192);
	struct err err = ERR_INIT;

	buf_add_str(&path, "/v1/path?from=");
	client_add_query(&path, question->word[0]);
	buf_add_str(&path, "&to=");
	client_add_query(&path, question->word[1]);
	buf_printf(&path, "&protocol=%u&port=%u", question->protocol.number, question->protocol.port);
	if (path.error)
		return ctl_fail(CTL_USAGE, "FROM and TO: expected names of pods or nodes, or addresses");
	return client_get(ctl->socket_path, buf_text(&path), ret, &err) < 0 ? ctl_fail(CTL_FAILED, "%s", err_text(&err)) : CTL_OK;
}

/* -- showing -- */

static const char *member(const json_t *json, const char *key)
{
	const char *text = json_string_value(json_object_get(json, key));

	return text ? text : "";
}

static void print_end(const char *label, const json_t *end)
{
	static const struct {
		const char *kind, *text;
	} kinds[] = {{"pod", "pod "}, {"node", "node "}, {"host-endpoint", "host endpoint "}, {"network-set", "an address of network set "},
		{"pod-address", "a pod's address, of a pod that is not known here"}, {"outside", "outside, or a Service's address"}};

	printf("  %-8s", label);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strcmp(kinds[i].kind, member(end, "kind")) == 0)
			printf("%s%s", kinds[i].text, member(end, "name"));
	if (*member(end, "node") && strcmp(member(end, "kind"), "node") != 0)
		printf(", on node %s", member(end, "node"));
	if (*member(end, "interface"))
		printf(", interface %s", member(end, "interface"));
	putchar('\n');
}

static void print_hop(const json_t *hop)
{
	printf("device %s", member(hop, "device"));
	if (*member(hop, "via"))
		printf(", next hop %s", member(hop, "via"));
}

static void print_route(const json_t *way)
{
	const json_t *underlay = json_object_get(way, "underlay");
	const char *kind = member(way, "kind");

	printf("  %-8s", "route");
	if (strcmp(kind, "none") == 0) {
		printf("none: %s\n", member(way, "why"));
		return;
	}
	if (strcmp(kind, "route") != 0) {
		puts(strcmp(kind, "same-node") == 0 ? "within this node" : strcmp(kind, "elsewhere") == 0
			? "not by this node; the sender's knows it" : "it comes to this node from outside; the sender's node knows the way");
		return;
	}
	print_hop(way);
	if (strcmp(member(way, "encapsulation"), "none") == 0)
		fputs(", not encapsulated", stdout);
	else
		printf(", in %s", member(way, "encapsulation"));
	printf(", MTU %lld", json_integer_value(json_object_get(way, "mtu")));
	if (underlay) {
		printf("; its packets to %s by ", member(underlay, "to"));
		print_hop(underlay);
	}
	putchar('\n');
	if (json_is_true(json_object_get(way, "masqueraded")))
		printf("  %-8sthe packets leave with this node's address\n", "NAT");
}

static void print_side(const char *label, const char *side, const json_t *flow)
{
	const json_t *says = json_object_get(flow, side);
	_cleanup_(buf_free) struct buf text = BUF_INIT((size_t)4 << 20);

	policy_words_side(says, &text);
	printf("  %-8s%s of %s: %s: %s", label, side, member(says, "of"), json_is_true(json_object_get(says, "allowed")) ? "allowed" : "denied",
		buf_text(&text));
	if (json_is_false(json_object_get(says, "here")))
		printf(" (judged on %s%s; this is what is known here)", *member(says, "node") ? "node " : "its own node", member(says, "node"));
	putchar('\n');
}

static void print_path(const json_t *path)
{
	const char *name = member(path, "path"), *encapsulation = member(path, "encapsulation");

	printf("  %-8s%s", "path", strcmp(name, "elsewhere") == 0 ? "not known here" : name);
	if (*member(path, "why"))
		printf(": %s", member(path, "why"));
	else if (*member(path, "interface"))
		printf(": into interface %s, round the host's stack", member(path, "interface"));
	else if (strcmp(encapsulation, "none") == 0)
		printf(": straight to device %s, for node %s, packets of up to %lld bytes", member(path, "device"), member(path, "to"),
			json_integer_value(json_object_get(path, "mtu")));
	else
		printf(": behind a ready %s header to device %s, for node %s, packets of up to %lld bytes", encapsulation, member(path, "device"),
			member(path, "to"), json_integer_value(json_object_get(path, "mtu")));
	putchar('\n');
}

static void print_flows(const json_t *path)
{
	const json_t *flows = json_object_get(path, "flows"), *flow;
	json_int_t more = json_integer_value(json_object_get(path, "more_flows"));
	size_t i;

	json_array_foreach(flows, i, flow)
		printf("  %-8sfrom port %lld: %s, %s, last packet %lld s ago%s\n", i ? "" : "now", json_integer_value(json_object_get(flow, "from_port")),
			member(flow, "path"), member(flow, "state"), json_integer_value(json_object_get(flow, "idle_ms")) / 1000,
			json_is_true(json_object_get(flow, "judged")) ? "" : "; policy or ways have changed since: its next packet is judged again");
	if (more)
		printf("  %-8sand %lld more\n", "", more);
	if (json_array_size(flows) == 0 && strcmp(member(path, "path"), "express") == 0)
		printf("  %-8sno such flow at the moment\n", "now");
}

static void print_flow(const json_t *flow, const json_t *answer)
{
	const json_t *path = json_object_get(flow, "data_path");

	printf("%s (%s) -> %s (%s), %s", member(flow, "from"), member(flow, "from_ip"), member(flow, "to"), member(flow, "to_ip"),
		member(flow, "protocol"));
	if (json_integer_value(json_object_get(flow, "port")))
		printf(" %s %lld", strncmp(member(flow, "protocol"), "ICMP", 4) == 0 ? "type" : "port",
			json_integer_value(json_object_get(flow, "port")));
	puts(strcmp(member(path, "path"), "express") == 0 ? ": by the express path" : strcmp(member(path, "path"), "kernel") == 0
		? ": by the kernel's path" : strcmp(member(path, "path"), "none") == 0 ? ": none of its packets arrive" : ": not by this node");
	print_end("from", json_object_get(flow, "from_end"));
	print_end("to", json_object_get(flow, "to_end"));
	print_route(json_object_get(flow, "way"));
	if (json_object_get(flow, "egress")) {
		print_side("policy", "egress", flow);
		print_side("", "ingress", flow);
	} else {
		printf("  %-8soff: %s\n", "policy", member(answer, "why"));
	}
	print_path(path);
	print_flows(path);
}

static void keep_family(json_t *flows, bool six)
{
	for (size_t i = json_array_size(flows); i-- > 0;)
		if (six != !!strchr(member(json_array_get(flows, i), "from_ip"), ':'))
			json_array_remove(flows, i);
}

static int show(const struct ctl *ctl, const json_t *answer)
{
	const json_t *flows = json_object_get(answer, "flows"), *flow;
	size_t i;

	if (json_array_size(flows) == 0)
		return ctl_fail(CTL_USAGE, "both ends have no address of such a family in common");
	if (ctl->json) {
		json_dumpf(answer, stdout, JSON_INDENT(2));
		putchar('\n');
		return CTL_OK;
	}
	json_array_foreach(flows, i, flow)
		print_flow(flow, answer);
	if (strcmp(member(answer, "state"), "waiting") == 0)
		printf("Policy is not in force yet: %s\n", member(answer, "why"));
	return CTL_OK;
}

int ctl_path(const struct ctl *ctl)
{
	_cleanup_(json_cleanup) json_t *answer = NULL;
	struct question question = {0};
	int status;

	if (ctl->argc && (strcmp(ctl->argv[0], "--help") == 0 || strcmp(ctl->argv[0], "-h") == 0)) {
		puts(usage);
		return CTL_OK;
	}
	status = parse(ctl, &question);
	if (status == CTL_OK)
		status = ask(ctl, &question, &answer);
	if (status != CTL_OK)
		return status;
	if (question.family)
		keep_family(json_object_get(answer, "flows"), question.family[0] == '6');
	return show(ctl, answer);
}
