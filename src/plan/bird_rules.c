/* SPDX-License-Identifier: Apache-2.0
 *
 * Which routes exist, go out, come in and reach the kernel (reference/calico.md 5.3), for one family.
 */
#include "plan/bird_internal.h"
#include "plan/wanted.h"

#include <stdio.h>
#include <string.h>

#define ROUTE_PROTOCOL_CALICO 80

/* A set of prefixes in the text, as a condition: nothing at all where it would be empty. */
struct set_text {
	struct buf *out;
	const char *before;
	bool any;
};

/* mark: "" the prefix itself, "+" it and what is in it. */
static void set_add(struct set_text *set, const struct prefix *prefix, const char *mark)
{
	char text[PREFIX_TEXT_MAX];
	struct prefix masked = prefix_masked(prefix);

	buf_add_str(set->out, set->any ? ", " : set->before);
	buf_printf(set->out, "%s%s", prefix_format(&masked, text), mark);
	set->any = true;
}

static void set_end(struct set_text *set, const char *after)
{
	if (set->any)
		buf_printf(set->out, " ] then %s\n", after);
}

static bool pool_is_of(const struct ippool *pool, int family)
{
	return bird_family_of(&pool->cidr) == family;
}

static bool pool_encapsulates(const struct ippool *pool)
{
	return pool->ipip != ENCAP_NEVER || pool->vxlan != ENCAP_NEVER;
}

/* What leaves this node of routes inside a pool. */
enum export_as { EXPORT_ALL, EXPORT_BLOCKS, EXPORT_NOTHING };

static enum export_as export_of(const struct ippool *pool)
{
	return pool->disable_bgp_export ? EXPORT_NOTHING : pool->disabled ? EXPORT_BLOCKS : EXPORT_ALL;
}

static bool block_is_own(const struct bird_plan *plan, const struct block *block)
{
	return block->node && strcmp(block->node, plan->input->node_name) == 0;
}

static uint32_t normal_metric(const struct bird_plan *plan, int family)
{
	uint32_t metric = plan->config->route_priority[family];

	return metric && metric < BIRD_METRIC_TOP ? metric : 1024;
}

/* -- priorities: the kernel's metric and LOCAL_PREF tell the same story -- */

static void put_priorities(struct bird_plan *plan, int family)
{
	struct buf *out = plan->out;
	char digit = bird_digit(family);

	buf_printf(out, "function metric_from_preference%c()\n{\n\tif bgp_local_pref < %u then krt_metric = %u - "
		"bgp_local_pref;\n\telse krt_metric = 1;\n}\n\n", digit, BIRD_METRIC_TOP, BIRD_METRIC_TOP);
	buf_printf(out, "function import_priority%c()\n{\n\tif defined(bgp_local_pref) then "
		"metric_from_preference%c();\n}\n\n", digit, digit);
	buf_printf(out, "function export_priority%c()\n{\n\tif source = RTS_BGP && defined(bgp_local_pref) then "
		"metric_from_preference%c();\n\telse {\n\t\tif ! defined(krt_metric) then krt_metric = %u;\n"
		"\t\tif krt_metric >= %u then krt_metric = %u;\n\t\tbgp_local_pref = %u - krt_metric;\n\t}\n}\n\n", digit, digit,
		normal_metric(plan, family), BIRD_METRIC_TOP, BIRD_METRIC_TOP - 1, BIRD_METRIC_TOP);
}

/* A route of better than normal priority (a machine that is moving here) beats our own. */
static void put_import(struct bird_plan *plan, int family)
{
	buf_printf(plan->out, "function import%c()\n{\n\tif defined(bgp_local_pref) && bgp_local_pref > %u then "
		"preference = 200;\n\taccept;\n}\n\n", bird_digit(family), BIRD_METRIC_TOP - normal_metric(plan, family));
}

/* -- what goes out -- */

static void put_communities(struct bird_plan *plan, const struct bgp_advertisement *advertisement, int family)
{
	char text[PREFIX_TEXT_MAX];
	struct prefix masked = prefix_masked(&advertisement->cidr);

	if (bird_family_of(&advertisement->cidr) != family || !advertisement->community_count)
		return;
	buf_printf(plan->out, "\tif net ~ [ %s+ ] then {\n", prefix_format(&masked, text));
	for (size_t i = 0; i < advertisement->community_count; i++) {
		const struct community *community = &advertisement->communities[i];

		if (community->large)
			buf_printf(plan->out, "\t\tbgp_large_community.add((%u, %u, %u));\n", community->part[0],
				community->part[1], community->part[2]);
		else if (community->part[0] <= 0xffff && community->part[1] <= 0xffff)
			buf_printf(plan->out, "\t\tbgp_community.add((%u, %u));\n", community->part[0], community->part[1]);
		else
			bird_complain(plan, "BGPConfiguration default", "spec.prefixAdvertisements %s: community %u:%u: expected "
				"numbers up to 65535", text, community->part[0], community->part[1]);
	}
	buf_add_str(plan->out, "\t}\n");
}

static void put_own_blocks(struct bird_plan *plan, int family)
{
	static const char *const marks[] = {"", "+"};
	char more[80];

	snprintf(more, sizeof(more), "{ if krt_metric < %u then accept; reject; }", normal_metric(plan, family));
	for (int i = 0; i < 2; i++) {
		struct set_text set = {plan->out, "\tif net ~ [ ", false};

		for (size_t j = 0; j < plan->input->block_count; j++)
			if (block_is_own(plan, plan->blocks[j]) && bird_family_of(&plan->blocks[j]->cidr) == family)
				set_add(&set, &plan->blocks[j]->cidr, marks[i]);
		set_end(&set, i == 0 ? "accept;" : more);
	}
}

static void put_prefixes_of(struct set_text *set, const struct prefix *prefixes, size_t count, int family)
{
	for (size_t i = 0; i < count; i++)
		if (bird_family_of(&prefixes[i]) == family)
			set_add(set, &prefixes[i], "+");
}

/* A reflector passes on the services of others. */
static void put_reflected_services(struct bird_plan *plan, int family)
{
	struct set_text set = {plan->out, "\tif net ~ [ ", false};

	if (!plan->own || !addr_is_set(&plan->own->cluster_id))
		return;
	put_prefixes_of(&set, plan->config->balancer_ips, plan->config->balancer_ip_count, family);
	put_prefixes_of(&set, plan->config->external_ips, plan->config->external_ip_count, family);
	set_end(&set, "accept;");
}

static void put_pools(struct bird_plan *plan, int family, enum export_as as, const char *before, const char *action)
{
	struct set_text set = {plan->out, before, false};

	for (size_t i = 0; i < plan->input->pool_count; i++)
		if (pool_is_of(plan->pools[i], family) && export_of(plan->pools[i]) == as)
			set_add(&set, &plan->pools[i]->cidr, "+");
	set_end(&set, action);
}

/* A disabled pool often stands for a network that is none of ours, which shall only not be translated to: what this node
 * itself knows of it stays here. Addresses that pods still have in one are in blocks; a reflector passes on others'. */
static void put_disabled_pools(struct bird_plan *plan, int family)
{
	char before[80];

	snprintf(before, sizeof(before), "\tif (proto = \"blocks%c\"%s) && net ~ [ ", bird_digit(family),
		plan->own && addr_is_set(&plan->own->cluster_id) ? " || source = RTS_BGP" : "");
	put_pools(plan, family, EXPORT_BLOCKS, before, "accept;");
}

static void put_export(struct bird_plan *plan, int family)
{
	struct buf *out = plan->out;

	buf_printf(out, "function export%c(bool is_internal)\n{\n", bird_digit(family));
	put_pools(plan, family, EXPORT_NOTHING, "\tif net ~ [ ", "reject;");
	/* what another agent has programmed from blocks is for each node to find out itself */
	buf_add_str(out, "\tif is_internal && source != RTS_BGP && (ifname ~ \"*.cali\" || ifname ~ \"*.calico\" || "
		"ifname = \"tunl0\") then reject;\n\tif ifname ~ \"bpf*.cali\" then reject;\n");
	for (size_t i = 0; i < plan->config->advertisement_count; i++)
		put_communities(plan, &plan->config->advertisements[i], family);
	put_own_blocks(plan, family);
	buf_printf(out, "\tif proto = \"services%c\" then accept;\n", bird_digit(family));
	put_reflected_services(plan, family);
	put_pools(plan, family, EXPORT_ALL, "\tif net ~ [ ", "accept;");
	put_disabled_pools(plan, family);
	buf_add_str(out, "\treject;\n}\n\n");
}

/* -- what reaches the kernel -- */

static void put_kernel_services(struct bird_plan *plan, int family)
{
	struct set_text set = {plan->out, "\tif net ~ [ ", false};
	const struct bgp_config *config = plan->config;

	put_prefixes_of(&set, config->cluster_ips, config->cluster_ip_count, family);
	put_prefixes_of(&set, config->external_ips, config->external_ip_count, family);
	put_prefixes_of(&set, config->balancer_ips, config->balancer_ip_count, family);
	set_end(&set, "reject;");
}

static void put_kernel_pools(struct bird_plan *plan, int family)
{
	struct set_text set = {plan->out, "\tif net ~ [ ", false};
	bool none = plan->config->program_routes == PROGRAM_NONE || plan->config->program_routes == PROGRAM_IPIP_ONLY;

	for (size_t i = 0; i < plan->input->pool_count; i++)
		if (pool_is_of(plan->pools[i], family) && (none || pool_encapsulates(plan->pools[i])))
			set_add(&set, &plan->pools[i]->cidr, "+");
	set_end(&set, "reject;");
}

/* The kernel gives an IPv6 route without metric 1024, and that is what the agent's routes have: BIRD's are behind. */
static void put_to_kernel(struct bird_plan *plan, int family)
{
	struct buf *out = plan->out;
	char digit = bird_digit(family);

	buf_printf(out, "filter to_kernel%c\n{\n\tif proto = \"gateways%c\" then accept;\n", digit, digit);
	buf_add_str(out, "\tif source != RTS_BGP then reject;\n");
	put_kernel_services(plan, family);
	put_kernel_pools(plan, family);
	buf_printf(out, "\tmetric_from_preference%c();\n", digit);
	if (family == FAMILY_6)
		buf_add_str(out, "\tkrt_metric = krt_metric + 1;\n");
	buf_add_str(out, "\taccept;\n}\n\n");
}

static void put_from_kernel(struct bird_plan *plan, int family)
{
	uint8_t protocol = plan->input->felix->route_protocol;
	struct buf *out = plan->out;

	buf_printf(out, "filter from_kernel%c\n{\n\tif krt_source = %d || krt_source = %d", bird_digit(family),
		ROUTE_PROTOCOL_TULLE, ROUTE_PROTOCOL_CALICO);
	if (protocol > 4 && protocol != ROUTE_PROTOCOL_TULLE && protocol != ROUTE_PROTOCOL_CALICO)
		buf_printf(out, " || krt_source = %u", protocol);
	buf_add_str(out, " then reject;\n\tif ifname ~ \"cali*\" || ifname ~ \"tul*\" || ifname ~ \"kube-ipvs*\" then "
		"reject;\n\taccept;\n}\n\n");
}

void bird_put_rules(struct bird_plan *plan, int family)
{
	put_priorities(plan, family);
	put_import(plan, family);
	put_export(plan, family);
	put_from_kernel(plan, family);
	put_to_kernel(plan, family);
}

/* -- protocols with routes -- */

static void put_route(struct bird_plan *plan, const struct prefix *prefix, const char *what)
{
	char text[PREFIX_TEXT_MAX];
	struct prefix masked = prefix_masked(prefix);

	buf_printf(plan->out, "\troute %s %s;\n", prefix_format(&masked, text), what);
}

static void put_static_head(struct bird_plan *plan, const char *name, int family)
{
	char digit = bird_digit(family);

	buf_printf(plan->out, "protocol static %s%c {\n\tipv%c;\n", name, digit, digit);
}

/* Addresses that this node has from others' blocks; they go out one by one. */
static bool is_guest_here(const struct bird_plan *plan, const struct block *block, const struct block_guest *guest)
{
	return !block_is_own(plan, block) && guest->node && strcmp(guest->node, plan->input->node_name) == 0;
}

static void put_blocks(struct bird_plan *plan, int family)
{
	put_static_head(plan, "blocks", family);
	for (size_t i = 0; i < plan->input->block_count; i++) {
		const struct block *block = plan->blocks[i];

		if (bird_family_of(&block->cidr) != family)
			continue;
		if (block_is_own(plan, block))
			put_route(plan, &block->cidr, "blackhole");
		for (size_t j = 0; j < block->guest_count; j++) {
			struct prefix host = prefix_host(&block->guests[j].addr);

			if (is_guest_here(plan, block, &block->guests[j]))
				put_route(plan, &host, "blackhole");
		}
	}
	buf_add_str(plan->out, "}\n\n");
}

static void put_services(struct bird_plan *plan, int family)
{
	put_static_head(plan, "services", family);
	for (size_t i = 0; i < plan->input->service_count; i++)
		if (bird_family_of(&plan->input->services[i]) == family)
			put_route(plan, &plan->input->services[i], "blackhole");
	buf_add_str(plan->out, "}\n\n");
}

static bool session_has_gateway(const struct session *session, int family)
{
	const struct bgp_peer *peer = session->peer;

	return peer && !peer->peer_selector && addr_is_set(&peer->reachable_by) &&
		family_index(addr_family(&session->key.remote)) == family;
}

/* Two ports of one address have one way. */
static bool is_first_of_address(const struct bird_plan *plan, size_t index)
{
	for (size_t i = 0; i < index; i++)
		if (plan->sessions[i]->peer && addr_is_set(&plan->sessions[i]->peer->reachable_by) &&
			addr_equal(&plan->sessions[i]->key.remote, &plan->sessions[index]->key.remote))
			return false;
	return true;
}

static void put_gateway(struct bird_plan *plan, const struct session *session)
{
	struct prefix host = prefix_host(&session->key.remote);
	char text[ADDR_TEXT_MAX], way[ADDR_TEXT_MAX + 8];

	addr_format(&session->peer->reachable_by, text);
	if (addr_family(&session->peer->reachable_by) != addr_family(&session->key.remote)) {
		bird_complain(plan, session->origin, "spec.reachableBy %s: is not of peerIP's family", text);
		return;
	}
	snprintf(way, sizeof(way), "via %s", text);
	put_route(plan, &host, way);
}

static void put_gateways(struct bird_plan *plan, int family)
{
	bool any = false;

	for (size_t i = 0; i < plan->session_count; i++) {
		if (!session_has_gateway(plan->sessions[i], family) || !is_first_of_address(plan, i))
			continue;
		if (!any)
			put_static_head(plan, "gateways", family);
		any = true;
		put_gateway(plan, plan->sessions[i]);
	}
	if (any)
		buf_add_str(plan->out, "}\n\n");
}

static void put_kernel(struct bird_plan *plan, int family)
{
	char digit = bird_digit(family);

	buf_printf(plan->out, "protocol kernel kernel%c {\n\tlearn;\n\tpersist;\n\tscan time 10;\n\tmetric 0;\n"
		"\tmerge paths on;\n\tgraceful restart on;\n\tipv%c {\n\t\timport filter from_kernel%c;\n"
		"\t\texport filter to_kernel%c;\n\t};\n}\n\n", digit, digit, digit, digit);
}

void bird_put_protocols(struct bird_plan *plan, int family)
{
	put_kernel(plan, family);
	put_blocks(plan, family);
	put_services(plan, family);
	put_gateways(plan, family);
}
