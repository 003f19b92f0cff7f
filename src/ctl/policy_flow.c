/* SPDX-License-Identifier: Apache-2.0
 *
 * What "tullectl policy explain" prints, whoever has answered: read from the answer's JSON.
 */
#include "ctl/policy.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <string.h>

static const char *member(const json_t *json, const char *key)
{
	const char *text = json_string_value(json_object_get(json, key));

	return text ? text : "";
}

static bool is_true(const json_t *json, const char *key)
{
	return json_is_true(json_object_get(json, key));
}

static void print_side(const json_t *flow, const char *key)
{
	const json_t *side = json_object_get(flow, key);
	_cleanup_(buf_free) struct buf text = BUF_INIT((size_t)4 << 20);

	printf("  %s of %s: %s\n", key, member(side, "of"), is_true(side, "allowed") ? "allowed" : "denied");
	policy_words_side(side, &text);
	printf("    %s\n", buf_text(&text));
	if (json_object_get(side, "policy") && strcmp(member(side, "reason"), "tier-end") != 0)
		printf("    which applies to %s\n", member(side, "selector"));
	if (json_is_false(json_object_get(side, "here")))
		printf("    judged on %s%s; this is what the agent here knows of it\n", *member(side, "node") ? "node " : "its own node",
			member(side, "node"));
}

static void print_route(const json_t *way)
{
	const char *encapsulation = member(way, "encapsulation");

	printf(": %s", strcmp(encapsulation, "none") == 0 ? "by a plain route, device " : "");
	if (strcmp(encapsulation, "none") != 0)
		printf("in %s, device ", encapsulation);
	fputs(member(way, "device"), stdout);
	if (*member(way, "via"))
		printf(", next hop %s", member(way, "via"));
	if (is_true(way, "masqueraded"))
		fputs(", masqueraded: it leaves with this node's address", stdout);
}

static void print_way(const json_t *way)
{
	const char *kind = member(way, "kind");

	if (strcmp(kind, "route") == 0)
		print_route(way);
	else if (strcmp(kind, "none") == 0)
		printf(": no way: %s", member(way, "why"));
	else if (strcmp(kind, "elsewhere") == 0)
		fputs(": not by this node; the sender's knows the way", stdout);
	else if (strcmp(kind, "same-node") == 0 && *member(way, "from") && *member(way, "to"))
		printf(": within the node, in by %s, out by %s", member(way, "from"), member(way, "to"));
	else if (*member(way, "to"))
		printf(": out by %s", member(way, "to"));
}

static void print_flow(const json_t *flow)
{
	const json_t *path = json_object_get(flow, "path"), *step;
	size_t i;

	printf("%s (%s) -> %s (%s), %s", member(flow, "from"), member(flow, "from_ip"), member(flow, "to"), member(flow, "to_ip"),
		member(flow, "protocol"));
	if (strncmp(member(flow, "protocol"), "ICMP", 4) == 0)
		printf(" type %lld", json_integer_value(json_object_get(flow, "port")));
	else if (json_integer_value(json_object_get(flow, "port")))
		printf(" port %lld", json_integer_value(json_object_get(flow, "port")));
	printf(": %s\n", is_true(flow, "allowed") ? "allowed" : "denied");
	print_side(flow, "egress");
	print_side(flow, "ingress");
	printf("  path:");
	json_array_foreach(path, i, step)
		printf("%s %s", i ? " ->" : "", json_string_value(step));
	print_way(json_object_get(flow, "way"));
	puts(strcmp(member(json_object_get(flow, "data_path"), "path"), "express") == 0 ? ", by the express path" : "");
}

int policy_show_flows(const struct ctl *ctl, const json_t *answer)
{
	const json_t *flows = json_object_get(answer, "flows"), *flow;
	size_t i;

	if (!flows)
		return ctl_fail(CTL_FAILED, "out of memory");
	if (json_array_size(flows) == 0)
		return ctl_fail(CTL_USAGE, "both ends have no address of a family in common");
	if (ctl->json) {
		json_dumpf(answer, stdout, JSON_INDENT(2));
		putchar('\n');
		return CTL_OK;
	}
	json_array_foreach(flows, i, flow)
		print_flow(flow);
	if (strcmp(member(answer, "state"), "waiting") == 0)
		printf("This is not in force yet: %s\n", member(answer, "why"));
	return CTL_OK;
}
