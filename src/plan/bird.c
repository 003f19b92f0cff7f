/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/bird_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ORDER(function, type, expression)                                     \
	static int function(const void *a, const void *b)                     \
	{                                                                     \
		const struct type *x = *(const struct type *const *)a;        \
		const struct type *y = *(const struct type *const *)b;        \
		return expression;                                            \
	}

ORDER(node_order, node, strcmp(x->name, y->name))
ORDER(pool_order, ippool, prefix_compare(&x->cidr, &y->cidr))
ORDER(block_order, block, prefix_compare(&x->cidr, &y->cidr))
ORDER(peer_order, bgp_peer, strcmp(x->name, y->name))
ORDER(filter_order, bgp_filter, strcmp(x->name, y->name))

/* A sorted copy of an array of pointers; never null but without memory. */
static void *sorted(const void *items, size_t count, int (*order)(const void *, const void *))
{
	void *copy = malloc((count ? count : 1) * sizeof(void *));

	if (copy && count) {
		memcpy(copy, items, count * sizeof(void *));
		qsort(copy, count, sizeof(void *), order);
	}
	return copy;
}

static int sort_all(struct bird_plan *plan)
{
	const struct bird_input *input = plan->input;

	plan->nodes = sorted(input->nodes, input->node_count, node_order);
	plan->pools = sorted(input->pools, input->pool_count, pool_order);
	plan->blocks = sorted(input->blocks, input->block_count, block_order);
	plan->peers = sorted(input->peers, input->peer_count, peer_order);
	plan->filters = sorted(input->filters, input->filter_count, filter_order);
	plan->filter_bad = calloc(input->filter_count + 1, sizeof(bool));
	return plan->nodes && plan->pools && plan->blocks && plan->peers && plan->filters && plan->filter_bad ? 0
													     : -ENOMEM;
}

static void plan_done(struct bird_plan *plan)
{
	HASH_CLEAR(hh, plan->place_table);
	HASH_CLEAR(hh, plan->session_table);
	for (size_t i = 0; i < plan->session_count; i++)
		free(plan->sessions[i]);
	free(plan->sessions);
	free(plan->places);
	free(plan->nodes);
	free(plan->pools);
	free(plan->blocks);
	free(plan->peers);
	free(plan->filters);
	free(plan->filter_bad);
}

static void find_own(struct bird_plan *plan)
{
	for (size_t i = 0; i < plan->input->node_count && !plan->own; i++)
		if (strcmp(plan->nodes[i]->name, plan->input->node_name) == 0)
			plan->own = plan->nodes[i];
}

/* An IPv6-only node has no number that fits: one from its name, as Calico's "hash". */
static struct addr router_id(const struct bird_plan *plan)
{
	uint32_t hash;

	if (addr_is_set(&plan->input->router_id) && addr_is_4(&plan->input->router_id))
		return plan->input->router_id;
	if (plan->own && prefix_is_set(&plan->own->address[FAMILY_4]))
		return plan->own->address[FAMILY_4].addr;
	hash = bird_hash(plan->input->node_name);
	return addr_from_4(hash ? hash : 1);
}

static void put_head(struct bird_plan *plan)
{
	const char *log = plan->input->log_path;
	struct addr id = router_id(plan);
	char text[ADDR_TEXT_MAX], name[256];

	bird_name_shown(plan->input->node_name, name, sizeof(name));
	buf_printf(plan->out, "# BIRD 2 on node %s; written by tulled, changes are lost\n\n", name);
	if (log && bird_text_is_plain(log))
		buf_printf(plan->out, "log \"%s\" { info, remote, warning, error, auth, fatal, bug };\n", log);
	else
		buf_add_str(plan->out, "log stderr { info, remote, warning, error, auth, fatal, bug };\n");
	buf_printf(plan->out, "router id %s;\n", addr_format(&id, text));
	buf_add_str(plan->out, "timeformat protocol iso long;\ntimeformat route iso long;\n");
	buf_add_str(plan->out, "graceful restart wait 120;\n\n");
}

static bool put_interfaces(struct bird_plan *plan, const char *list)
{
	char name[IFNAMSIZ + 1];
	bool all = true;

	while (*list) {
		size_t len = strcspn(list, ",");

		if (len && len < IFNAMSIZ - 1) {
			snprintf(name, sizeof(name), "%.*s*", (int)len, list);
			if (bird_interface_is_plain(name))
				buf_printf(plan->out, "-\"%s\", ", name);
			else
				all = false;
		}
		list += len + (list[len] == ',');
	}
	return all;
}

/* Without the direct protocol BIRD does not know the way to next hops on the link. */
static void put_direct(struct bird_plan *plan)
{
	const struct bgp_config *config = plan->config;

	buf_add_str(plan->out, "protocol device device1 {\n\tscan time 10;\n}\n\n");
	buf_add_str(plan->out, "protocol direct direct1 {\n\tipv4;\n\tipv6;\n\tinterface ");
	if (!put_interfaces(plan, plan->input->felix->interface_prefix))
		bird_complain(plan, "FelixConfiguration", "spec.interfacePrefix %s: expected names of interfaces",
			plan->input->felix->interface_prefix);
	for (size_t i = 0; i < config->ignored_interface_count; i++) {
		if (bird_interface_is_plain(config->ignored_interfaces[i]))
			buf_printf(plan->out, "-\"%s\", ", config->ignored_interfaces[i]);
		else
			bird_complain(plan, "BGPConfiguration default",
				"spec.ignoredInterfaces[%zu] %s: expected a name of an interface, with * and ? as wildcards", i,
				config->ignored_interfaces[i]);
	}
	buf_add_str(plan->out, "-\"tul*\", -\"kube-ipvs*\", \"*\";\n}\n\n");
}

static void put_all(struct bird_plan *plan)
{
	put_head(plan);
	put_direct(plan);
	for (int family = 0; family < FAMILY_COUNT; family++)
		bird_put_rules(plan, family);
	bird_put_filters(plan);
	for (int family = 0; family < FAMILY_COUNT; family++)
		bird_put_protocols(plan, family);
	bird_put_sessions(plan);
}

int bird_build(const struct bird_input *input, struct buf *ret)
{
	struct bird_plan plan = {.input = input, .config = input->config, .out = ret};
	int r = sort_all(&plan);

	if (r == 0) {
		find_own(&plan);
		if (!plan.own)
			bird_complain(&plan, "BGP", "Node %s: not among the cluster's nodes, so no session is made",
				input->node_name);
		else
			r = bird_plan_sessions(&plan);
	}
	if (r == 0) {
		put_all(&plan);
		r = ret->error;
	}
	plan_done(&plan);
	return r;
}
