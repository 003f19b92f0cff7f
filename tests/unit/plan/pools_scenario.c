/* SPDX-License-Identifier: Apache-2.0 */
#include "pools_scenario.h"

#include "base/cleanup.h"
#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *copy(const char *text)
{
	char *copied = strdup(text);

	if (!copied)
		abort();
	return copied;
}

static void *make(size_t size)
{
	void *made = calloc(1, size);

	if (!made)
		abort();
	return made;
}

static int read_addr(char **rest, struct addr *ret, struct err *err)
{
	char *text = scenario_word(rest);

	return text && addr_parse(text, ret) == 0 ? 0 : scenario_bad_word("an address", text, err);
}

static int read_prefix(char **rest, struct prefix *ret, struct err *err)
{
	char *text = scenario_word(rest);

	return text && prefix_parse(text, ret) == 0 ? 0 : scenario_bad_word("a prefix", text, err);
}

/* Puts an address where its family belongs. */
static int read_by_family(char **rest, struct addr addrs[FAMILY_COUNT], struct err *err)
{
	struct addr addr = {0};
	int r = read_addr(rest, &addr, err);

	if (r == 0)
		addrs[family_index(addr_family(&addr))] = addr;
	return r;
}

static int read_mac(char **rest, struct mac *ret, struct err *err)
{
	char *text = scenario_word(rest);

	return text && mac_parse(text, ret) == 0 ? 0 : scenario_bad_word("a MAC address", text, err);
}

static uint64_t read_number(char **rest)
{
	char *text = scenario_word(rest);

	return text ? strtoull(text, NULL, 0) : 0;
}

/* -- lines -- */

static int read_name(struct pools_scenario *scenario, char *rest, struct err *err)
{
	char *name = scenario_word(&rest);

	free(scenario->name);
	scenario->name = copy(name ? name : "");
	scenario->input.name = scenario->name;
	return 0;
}

static int read_other(char **rest, struct node *node, struct err *err)
{
	node->others = scenario_grow(node->others, node->other_count, sizeof(*node->others));
	return read_addr(rest, &node->others[node->other_count++], err);
}

static int read_node_words(char *rest, struct plan_node *planned, struct node *node, struct err *err)
{
	struct prefix prefix;
	char *text;
	int r = 0;

	while (r == 0 && (text = scenario_word(&rest))) {
		if (prefix_parse(text, &prefix) == 0)
			node->address[family_index(prefix.family)] = prefix;
		else if (strcmp(text, "ipip") == 0)
			r = read_addr(&rest, &node->ipip_addr, err);
		else if (strcmp(text, "vxlan") == 0)
			r = read_by_family(&rest, node->vxlan_addr, err);
		else if (strcmp(text, "mac") == 0 || strcmp(text, "mac6") == 0)
			r = read_mac(&rest, &node->vxlan_mac[text[3] ? FAMILY_6 : FAMILY_4], err);
		else if (strcmp(text, "other") == 0)
			r = read_other(&rest, node, err);
		else if (strcmp(text, "order") == 0)
			planned->order = read_number(&rest);
		else
			r = scenario_bad_word("a prefix, ipip, vxlan, mac, mac6, other or order", text, err);
	}
	return r;
}

static int read_node(struct pools_scenario *scenario, char *rest, struct err *err)
{
	struct node *node = make(sizeof(*node));
	char *name = scenario_word(&rest);
	struct plan_node *planned;

	scenario->nodes = scenario_grow(scenario->nodes, scenario->input.node_count, sizeof(*scenario->nodes));
	planned = &scenario->nodes[scenario->input.node_count++];
	*planned = (struct plan_node){.node = node};
	scenario->input.nodes = scenario->nodes;
	node->name = copy(name ? name : "");
	for (int f = 0; f < FAMILY_COUNT; f++)
		node->vxlan_mac[f] = node_derive_vxlan_mac(node->name, f);
	return read_node_words(rest, planned, node, err);
}

static int read_guest(char **rest, struct block *block, struct err *err)
{
	struct block_guest *guest;
	char *name;
	int r;

	block->guests = scenario_grow(block->guests, block->guest_count, sizeof(*block->guests));
	guest = &block->guests[block->guest_count++];
	*guest = (struct block_guest){0};
	r = read_addr(rest, &guest->addr, err);
	name = scenario_word(rest);
	guest->node = copy(name ? name : "");
	return r;
}

static int read_block(struct pools_scenario *scenario, char *rest, struct err *err)
{
	struct block *block = make(sizeof(*block));
	struct plan_block *planned;
	char *text;
	int r;

	scenario->blocks = scenario_grow(scenario->blocks, scenario->input.block_count, sizeof(*scenario->blocks));
	planned = &scenario->blocks[scenario->input.block_count++];
	*planned = (struct plan_block){.block = block};
	scenario->input.blocks = scenario->blocks;
	r = read_prefix(&rest, &block->cidr, err);
	text = scenario_word(&rest);
	if (text && strcmp(text, "-") != 0)
		block->node = copy(text);
	while (r == 0 && (text = scenario_word(&rest))) {
		if (strcmp(text, "guest") == 0)
			r = read_guest(&rest, block, err);
		else if (strcmp(text, "order") == 0)
			planned->order = read_number(&rest);
		else
			r = scenario_bad_word("guest or order", text, err);
	}
	return r;
}

static int read_when(char **rest, enum encap_when *ret, struct err *err)
{
	char *text = scenario_word(rest);

	if (text && strcmp(text, "always") == 0)
		*ret = ENCAP_ALWAYS;
	else if (text && strcmp(text, "cross-subnet") == 0)
		*ret = ENCAP_CROSS_SUBNET;
	else
		return scenario_bad_word("always or cross-subnet", text, err);
	return 0;
}

static int read_pool(struct pools_scenario *scenario, char *rest, struct err *err)
{
	struct ippool *pool = make(sizeof(*pool));
	char *text = scenario_word(&rest);
	int r;

	scenario->pools = scenario_grow(scenario->pools, scenario->input.pool_count, sizeof(*scenario->pools));
	scenario->pools[scenario->input.pool_count++] = pool;
	scenario->input.pools = (const struct ippool *const *)scenario->pools;
	pool->name = copy(text ? text : "");
	pool->allocatable = true;
	pool->uses = POOL_USE_WORKLOAD | POOL_USE_TUNNEL;
	r = read_prefix(&rest, &pool->cidr, err);
	while (r == 0 && (text = scenario_word(&rest))) {
		if (strcmp(text, "vxlan") == 0)
			r = read_when(&rest, &pool->vxlan, err);
		else if (strcmp(text, "ipip") == 0)
			r = read_when(&rest, &pool->ipip, err);
		else if (strcmp(text, "nat") == 0)
			pool->nat_outgoing = true;
		else if (strcmp(text, "disabled") == 0)
			pool->disabled = true;
		else if (strcmp(text, "balancer") == 0)
			pool->uses = POOL_USE_LOAD_BALANCER;
		else
			r = scenario_bad_word("vxlan, ipip, nat, disabled or balancer", text, err);
	}
	return r;
}

static int read_tunnel(struct pools_scenario *scenario, char *rest, struct err *err)
{
	char *text = scenario_word(&rest);

	if (text && strcmp(text, "ipip") == 0)
		return read_addr(&rest, &scenario->input.ipip_addr, err);
	if (text && strcmp(text, "vxlan") == 0)
		return read_by_family(&rest, scenario->input.vxlan_addr, err);
	return scenario_bad_word("ipip or vxlan", text, err);
}

static int read_programs(char **rest, enum program_routes *ret, struct err *err)
{
	static const char *const names[] = {[PROGRAM_ALL] = "all", [PROGRAM_NONE] = "none",
		[PROGRAM_IPIP_ONLY] = "ipip", [PROGRAM_NO_ENCAP_ONLY] = "no-encap"};
	char *text = scenario_word(rest);

	for (size_t i = 0; text && i < ARRAY_SIZE(names); i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret = (enum program_routes)i;
			return 0;
		}
	}
	return scenario_bad_word("all, none, ipip or no-encap", text, err);
}

static int read_bgp(struct pools_scenario *scenario, char *rest, struct err *err)
{
	return read_programs(&rest, &scenario->input.bgp_routes, err);
}

/* -- felix: numbers and flags by name, the others by hand -- */

static bool set_number(struct felix *felix, const char *key, char **rest)
{
	const struct {
		const char *key;
		uint32_t *value;
	} numbers[] = {
		{"vxlan-vni", &felix->vxlan_vni},
		{"vxlan-mtu", &felix->vxlan_mtu[FAMILY_4]},
		{"vxlan-mtu6", &felix->vxlan_mtu[FAMILY_6]},
		{"ipip-mtu", &felix->ipip_mtu},
		{"priority", &felix->route_priority[FAMILY_4]},
		{"priority6", &felix->route_priority[FAMILY_6]},
	};

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		if (strcmp(key, numbers[i].key) == 0) {
			*numbers[i].value = (uint32_t)read_number(rest);
			return true;
		}
	}
	return false;
}

static bool set_flag(struct felix *felix, const char *key)
{
	if (strcmp(key, "vxlan-off") == 0)
		felix->vxlan_enabled = TRISTATE_NO;
	else if (strcmp(key, "vxlan-on") == 0)
		felix->vxlan_enabled = TRISTATE_YES;
	else if (strcmp(key, "ipip-off") == 0)
		felix->ipip_enabled = TRISTATE_NO;
	else if (strcmp(key, "ipip-on") == 0)
		felix->ipip_enabled = TRISTATE_YES;
	else if (strcmp(key, "ipv4-only") == 0)
		felix->ipv6 = false;
	else if (strcmp(key, "vxlan-from-workloads") == 0)
		felix->vxlan_from_workloads = true;
	else if (strcmp(key, "ipip-from-workloads") == 0)
		felix->ipip_from_workloads = true;
	else if (strcmp(key, "exclude-hosts") == 0)
		felix->nat_exclusions = NAT_EXCLUDE_POOLS_AND_HOSTS;
	else
		return false;
	return true;
}

static void set_text(char *field, size_t size, char **rest)
{
	char *text = scenario_word(rest);

	snprintf(field, size, "%s", text ? text : "");
}

static int read_felix(struct pools_scenario *scenario, char *rest, struct err *err)
{
	struct felix *felix = &scenario->felix;
	char *key = scenario_word(&rest);

	if (!key)
		return scenario_bad_word("a key", key, err);
	if (set_number(felix, key, &rest) || set_flag(felix, key))
		return 0;
	if (strcmp(key, "programs") == 0)
		return read_programs(&rest, &felix->program_routes, err);
	if (strcmp(key, "external") == 0)
		return read_prefix(&rest, &felix->externals[felix->external_count++], err);
	if (strcmp(key, "nat-address") == 0)
		return read_by_family(&rest, felix->nat_address, err);
	if (strcmp(key, "route-source") == 0)
		return read_by_family(&rest, felix->route_source, err);
	if (strcmp(key, "vxlan-port") == 0)
		felix->vxlan_port = (uint16_t)read_number(&rest);
	else if (strcmp(key, "route-protocol") == 0)
		felix->route_protocol = (uint8_t)read_number(&rest);
	else if (strcmp(key, "interface-prefix") == 0)
		set_text(felix->interface_prefix, sizeof(felix->interface_prefix), &rest);
	else if (strcmp(key, "nat-interfaces") == 0)
		set_text(felix->nat_iface_filter, sizeof(felix->nat_iface_filter), &rest);
	else if (strcmp(key, "nat-ports") == 0) {
		felix->nat_port_min = (uint16_t)read_number(&rest);
		felix->nat_port_max = (uint16_t)read_number(&rest);
	} else {
		return scenario_bad_word("a key of felix", key, err);
	}
	return 0;
}

static int read_kernel_ipip(struct pools_scenario *scenario, char *rest, struct err *err)
{
	scenario->input.kernel_ipip = true;
	return 0;
}

static int read_line(void *ctx, char *line, struct err *err)
{
	struct pools_scenario *scenario = ctx;
	static const struct {
		const char *name;
		int (*read)(struct pools_scenario *scenario, char *rest, struct err *err);
	} lines[] = {
		{"name", read_name},
		{"node", read_node},
		{"block", read_block},
		{"pool", read_pool},
		{"tunnel", read_tunnel},
		{"bgp", read_bgp},
		{"felix", read_felix},
		{"kernel-ipip", read_kernel_ipip},
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		size_t len = strlen(lines[i].name);

		if (strncmp(line, lines[i].name, len) == 0 && (line[len] == ' ' || !line[len]))
			return lines[i].read(scenario, line + len, err);
	}
	return scenario_read_line(&scenario->common, line, err);
}

/* What the lines of scenario.h have set. */
static void take_common(struct pools_scenario *scenario)
{
	const struct plan_input *common = &scenario->common.input;
	struct plan_pools_input *input = &scenario->input;

	input->uplink = common->uplink;
	input->pods = common->pods;
	input->pod_count = common->pod_count;
	input->options = common->options;
	input->complete = common->peers_complete;
	input->felix = &scenario->felix;
	for (size_t i = 0; i < input->node_count; i++)
		if (strcmp(input->nodes[i].node->name, input->name) == 0)
			input->own = input->nodes[i].node;
}

int pools_scenario_read(const char *path, struct pools_scenario *ret, struct err *err)
{
	int r;

	*ret = (struct pools_scenario){.felix = felix_defaults(), .input.bgp_routes = PROGRAM_NO_ENCAP_ONLY};
	r = scenario_read_lines(path, read_line, ret, err);
	if (r == 0 && !ret->input.name)
		r = err_set(err, -EINVAL, "%s: no name", path);
	if (r < 0) {
		pools_scenario_free(ret);
		return r;
	}
	take_common(ret);
	return 0;
}

void pools_scenario_free(struct pools_scenario *scenario)
{
	for (size_t i = 0; i < scenario->input.node_count; i++)
		node_free((struct node **)&scenario->nodes[i].node);
	for (size_t i = 0; i < scenario->input.block_count; i++)
		block_free((struct block **)&scenario->blocks[i].block);
	for (size_t i = 0; i < scenario->input.pool_count; i++)
		ippool_free(&scenario->pools[i]);
	free(scenario->nodes);
	free(scenario->blocks);
	free(scenario->pools);
	free(scenario->name);
	scenario_free(&scenario->common);
	*scenario = (struct pools_scenario){0};
}
