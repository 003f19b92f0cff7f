/* SPDX-License-Identifier: Apache-2.0 */
#include "bird_scenario.h"

#include "model/selector.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(const char *what, const char *text)
{
	fprintf(stderr, "scenario: %s %s\n", what, text);
	exit(2);
}

static void *keep(struct bird_scenario *scenario, size_t size)
{
	void *p = calloc(1, size ? size : 1);

	scenario->kept = realloc(scenario->kept, (scenario->kept_count + 1) * sizeof(void *));
	if (!p || !scenario->kept)
		abort();
	scenario->kept[scenario->kept_count++] = p;
	return p;
}

static char *text_of(const json_t *object, const char *key)
{
	return (char *)json_string_value(json_object_get(object, key));
}

static bool is(const json_t *object, const char *key, const char *value)
{
	const char *text = text_of(object, key);

	return text && strcmp(text, value) == 0;
}

static uint32_t number(const json_t *object, const char *key, uint32_t otherwise)
{
	const json_t *value = json_object_get(object, key);

	return value ? (uint32_t)json_integer_value(value) : otherwise;
}

static struct addr addr_of(const json_t *object, const char *key)
{
	const char *text = text_of(object, key);
	struct addr addr = {0};

	if (text && addr_parse(text, &addr) < 0)
		fail(key, text);
	return addr;
}

static struct prefix prefix_text(const char *text)
{
	struct prefix prefix = {0};

	if (text && prefix_parse(text, &prefix) < 0)
		fail("prefix", text);
	return prefix;
}

static struct addr *addr_list(struct bird_scenario *scenario, const json_t *list, size_t *ret)
{
	struct addr *addrs = keep(scenario, json_array_size(list) * sizeof(*addrs));

	*ret = json_array_size(list);
	for (size_t i = 0; i < *ret; i++)
		if (addr_parse(json_string_value(json_array_get(list, i)), &addrs[i]) < 0)
			fail("address", json_string_value(json_array_get(list, i)));
	return addrs;
}

static struct prefix *prefix_list(struct bird_scenario *scenario, const json_t *list, size_t *ret)
{
	struct prefix *prefixes = keep(scenario, json_array_size(list) * sizeof(*prefixes));

	*ret = json_array_size(list);
	for (size_t i = 0; i < *ret; i++)
		prefixes[i] = prefix_text(json_string_value(json_array_get(list, i)));
	return prefixes;
}

static struct selector *selector_of(const json_t *object, const char *key)
{
	const char *text = text_of(object, key);
	struct selector *selector = NULL;
	struct err err = ERR_INIT;

	if (text && selector_parse(text, &selector, &err) < 0)
		fail(key, err_text(&err));
	return selector;
}

static struct secret_ref secret_of(const json_t *object, const char *key)
{
	const json_t *ref = json_object_get(object, key);

	return (struct secret_ref){.name = text_of(ref, "name"), .key = text_of(ref, "key"),
		.optional = json_is_true(json_object_get(ref, "optional"))};
}

/* "65000:1" or "65000:1:2". */
static struct community community_of(const char *text)
{
	struct community community = {0};
	int n = sscanf(text, "%u:%u:%u", &community.part[0], &community.part[1], &community.part[2]);

	if (n < 2)
		fail("community", text);
	community.large = n == 3;
	return community;
}

static enum program_routes program_of(const json_t *object)
{
	if (is(object, "programClusterRoutes", "Enabled"))
		return PROGRAM_ALL;
	if (is(object, "programClusterRoutes", "Disabled"))
		return PROGRAM_NONE;
	return is(object, "programClusterRoutes", "EnabledIPIPOnly") ? PROGRAM_IPIP_ONLY : PROGRAM_NO_ENCAP_ONLY;
}

/* -- objects -- */

static void *read_node(struct bird_scenario *scenario, const json_t *json)
{
	struct node *node = keep(scenario, sizeof(*node));
	const char *key;
	json_t *value;

	node->name = text_of(json, "name");
	node->labels = labels_new();
	json_object_foreach(json_object_get(json, "labels"), key, value)
		labels_set(node->labels, key, json_string_value(value));
	node->address[FAMILY_4] = prefix_text(text_of(json, "ipv4Address"));
	node->address[FAMILY_6] = prefix_text(text_of(json, "ipv6Address"));
	node->as_number = number(json, "asNumber", 0);
	node->cluster_id = addr_of(json, "routeReflectorClusterID");
	node->exclude_from_balancers = json_is_true(json_object_get(json, "exclude"));
	return node;
}

static enum encap_when when_of(const json_t *json, const char *key)
{
	return is(json, key, "Always") ? ENCAP_ALWAYS : is(json, key, "CrossSubnet") ? ENCAP_CROSS_SUBNET : ENCAP_NEVER;
}

static void *read_pool(struct bird_scenario *scenario, const json_t *json)
{
	struct ippool *pool = keep(scenario, sizeof(*pool));

	pool->name = text_of(json, "name");
	pool->cidr = prefix_text(text_of(json, "cidr"));
	pool->ipip = when_of(json, "ipipMode");
	pool->vxlan = when_of(json, "vxlanMode");
	pool->disabled = json_is_true(json_object_get(json, "disabled"));
	pool->disable_bgp_export = json_is_true(json_object_get(json, "disableBGPExport"));
	return pool;
}

static void *read_block(struct bird_scenario *scenario, const json_t *json)
{
	struct block *block = keep(scenario, sizeof(*block));
	const json_t *guests = json_object_get(json, "guests");
	const char *key;
	json_t *value;

	block->cidr = prefix_text(text_of(json, "cidr"));
	block->node = text_of(json, "node");
	block->guests = keep(scenario, json_object_size(guests) * sizeof(*block->guests));
	json_object_foreach((json_t *)guests, key, value) {
		struct block_guest *guest = &block->guests[block->guest_count++];

		addr_parse(key, &guest->addr);
		guest->node = (char *)json_string_value(value);
	}
	return block;
}

static void read_next_hop(struct bgp_peer *peer, const json_t *json)
{
	peer->next_hop = is(json, "nextHopMode", "Self") ? NEXT_HOP_SELF
		: is(json, "nextHopMode", "Keep")        ? NEXT_HOP_KEEP
							 : NEXT_HOP_AUTO;
	peer->keep_original_next_hop = json_is_true(json_object_get(json, "keepOriginalNextHop"));
}

static void read_bfd(struct bgp_peer *peer, const json_t *bfd)
{
	peer->bfd = bfd;
	peer->bfd_min_tx_ms = number(bfd, "minTx", 0);
	peer->bfd_min_rx_ms = number(bfd, "minRx", 0);
	peer->bfd_multiplier = (uint8_t)number(bfd, "multiplier", 0);
}

static void *read_peer(struct bird_scenario *scenario, const json_t *json)
{
	struct bgp_peer *peer = keep(scenario, sizeof(*peer));
	const json_t *filters = json_object_get(json, "filters");

	peer->name = text_of(json, "name");
	peer->node = text_of(json, "node");
	peer->node_selector = selector_of(json, "nodeSelector");
	peer->peer_ip = addr_of(json, "peerIP");
	peer->peer_port = (uint16_t)number(json, "port", 0);
	peer->peer_selector = selector_of(json, "peerSelector");
	peer->as_number = number(json, "asNumber", 0);
	peer->local_as_number = number(json, "localASNumber", 0);
	read_next_hop(peer, json);
	peer->password = secret_of(json, "password");
	peer->source_node_ip = !is(json, "sourceAddress", "None");
	peer->restart_time = number(json, "maxRestartTime", 0);
	peer->keepalive_time = number(json, "keepaliveTime", 0);
	peer->allowed_local_as = number(json, "numAllowedLocalASNumbers", 0);
	peer->ttl_security = (uint8_t)number(json, "ttlSecurity", 0);
	peer->reachable_by = addr_of(json, "reachableBy");
	peer->reverse_peering = !is(json, "reversePeering", "Manual");
	read_bfd(peer, json_object_get(json, "bfd"));
	peer->filter_count = json_array_size(filters);
	peer->filters = keep(scenario, peer->filter_count * sizeof(char *));
	for (size_t i = 0; i < peer->filter_count; i++)
		peer->filters[i] = (char *)json_string_value(json_array_get(filters, i));
	return peer;
}

static enum match_operator operator_of(const json_t *json)
{
	static const char *const names[] = {"", "Equal", "NotEqual", "In", "NotIn"};

	for (int i = 1; i < 5; i++)
		if (is(json, "matchOperator", names[i]))
			return (enum match_operator)i;
	return MATCH_NONE;
}

static void read_operation(struct bgp_filter_operation *operation, const json_t *json)
{
	const json_t *prepend = json_object_get(json, "prependASPath");

	if (text_of(json, "addCommunity")) {
		operation->kind = FILTER_ADD_COMMUNITY;
		operation->community = community_of(text_of(json, "addCommunity"));
	} else if (prepend) {
		operation->kind = FILTER_PREPEND_AS_PATH;
		for (; operation->as_path_len < json_array_size(prepend); operation->as_path_len++)
			operation->as_path[operation->as_path_len] =
				(uint32_t)json_integer_value(json_array_get(prepend, operation->as_path_len));
	} else {
		operation->kind = FILTER_SET_PRIORITY;
		operation->priority = number(json, "setPriority", 0);
	}
}

static void read_rule(struct bird_scenario *scenario, struct bgp_filter_rule *rule, const json_t *json)
{
	const json_t *path = json_object_get(json, "asPathPrefix"), *operations = json_object_get(json, "operations");

	rule->cidr = prefix_text(text_of(json, "cidr"));
	rule->match = operator_of(json);
	rule->min_len = (int)number(json, "min", (uint32_t)-1);
	rule->max_len = (int)number(json, "max", (uint32_t)-1);
	rule->remote_peers = is(json, "source", "RemotePeers");
	snprintf(rule->interface, sizeof(rule->interface), "%s", text_of(json, "interface") ? text_of(json, "interface") : "");
	rule->peer_type = is(json, "peerType", "eBGP") ? FILTER_EBGP : is(json, "peerType", "iBGP") ? FILTER_IBGP : FILTER_ANY_PEER;
	rule->has_community = text_of(json, "community");
	if (rule->has_community)
		rule->community = community_of(text_of(json, "community"));
	rule->as_path = keep(scenario, json_array_size(path) * sizeof(uint32_t));
	for (; rule->as_path_len < json_array_size(path); rule->as_path_len++)
		rule->as_path[rule->as_path_len] = (uint32_t)json_integer_value(json_array_get(path, rule->as_path_len));
	rule->priority = number(json, "priority", 0);
	rule->accept = is(json, "action", "Accept");
	for (; rule->operation_count < json_array_size(operations); rule->operation_count++)
		read_operation(&rule->operations[rule->operation_count], json_array_get(operations, rule->operation_count));
}

static struct bgp_filter_rule *read_rules(struct bird_scenario *scenario, const json_t *list, size_t *ret)
{
	struct bgp_filter_rule *rules = keep(scenario, json_array_size(list) * sizeof(*rules));

	*ret = json_array_size(list);
	for (size_t i = 0; i < *ret; i++)
		read_rule(scenario, &rules[i], json_array_get(list, i));
	return rules;
}

static void *read_filter(struct bird_scenario *scenario, const json_t *json)
{
	static const char *const import[] = {"importV4", "importV6"}, *const export[] = {"exportV4", "exportV6"};
	struct bgp_filter *filter = keep(scenario, sizeof(*filter));

	filter->name = text_of(json, "name");
	for (int f = 0; f < FAMILY_COUNT; f++) {
		filter->import[f] = read_rules(scenario, json_object_get(json, import[f]), &filter->import_count[f]);
		filter->export[f] = read_rules(scenario, json_object_get(json, export[f]), &filter->export_count[f]);
	}
	return filter;
}

static void *read_service(struct bird_scenario *scenario, const json_t *json)
{
	struct service *service = keep(scenario, sizeof(*service));

	service->namespace = "default";
	service->name = text_of(json, "name");
	service->type = is(json, "type", "ExternalName") ? SERVICE_EXTERNAL_NAME : SERVICE_CLUSTER_IP;
	service->external_local = is(json, "externalTrafficPolicy", "Local");
	service->cluster_ips = addr_list(scenario, json_object_get(json, "clusterIPs"), &service->cluster_ip_count);
	service->external_ips = addr_list(scenario, json_object_get(json, "externalIPs"), &service->external_ip_count);
	service->balancer_ips = addr_list(scenario, json_object_get(json, "ingress"), &service->balancer_ip_count);
	return service;
}

static void *read_slice(struct bird_scenario *scenario, const json_t *json)
{
	struct endpoint_slice *slice = keep(scenario, sizeof(*slice));
	json_t *list = json_object_get(json, "endpoints"), *item;
	size_t i;

	slice->namespace = "default";
	slice->name = slice->service = text_of(json, "service");
	slice->endpoints = keep(scenario, json_array_size(list) * sizeof(*slice->endpoints));
	slice->endpoint_count = json_array_size(list);
	json_array_foreach(list, i, item) {
		slice->endpoints[i].addr = addr_of(item, "address");
		slice->endpoints[i].node = text_of(item, "node");
		slice->endpoints[i].ready = !json_is_false(json_object_get(item, "ready"));
		slice->family = addr_family(&slice->endpoints[i].addr);
	}
	return slice;
}

static void *read_list(struct bird_scenario *scenario, const char *key,
	void *(*read_one)(struct bird_scenario *scenario, const json_t *json), size_t *ret)
{
	json_t *list = json_object_get(scenario->json, key), *item;
	void **items = keep(scenario, json_array_size(list) * sizeof(void *));
	size_t i;

	json_array_foreach(list, i, item)
		items[i] = read_one(scenario, item);
	*ret = json_array_size(list);
	return items;
}

static void read_advertisements(struct bird_scenario *scenario, const json_t *list)
{
	struct bgp_config *config = &scenario->config;

	config->advertisement_count = json_array_size(list);
	config->advertisements = keep(scenario, config->advertisement_count * sizeof(*config->advertisements));
	for (size_t i = 0; i < config->advertisement_count; i++) {
		struct bgp_advertisement *advertisement = &config->advertisements[i];
		const json_t *item = json_array_get(list, i), *values = json_object_get(item, "communities");

		advertisement->cidr = prefix_text(text_of(item, "cidr"));
		advertisement->community_count = json_array_size(values);
		advertisement->communities = keep(scenario, json_array_size(values) * sizeof(struct community));
		for (size_t j = 0; j < advertisement->community_count; j++)
			advertisement->communities[j] = community_of(json_string_value(json_array_get(values, j)));
	}
}

static void read_config(struct bird_scenario *scenario, const json_t *json)
{
	struct bgp_config *config = &scenario->config;
	const json_t *ignored = json_object_get(json, "ignoredInterfaces");

	config->mesh = !json_is_false(json_object_get(json, "nodeToNodeMeshEnabled"));
	config->as_number = number(json, "asNumber", 64512);
	config->listen_port = (uint16_t)number(json, "listenPort", 179);
	config->bind_node_ip = is(json, "bindMode", "NodeIP");
	config->mesh_password = secret_of(json, "nodeMeshPassword");
	config->mesh_restart_time = number(json, "nodeMeshMaxRestartTime", 0);
	config->cluster_ips = prefix_list(scenario, json_object_get(json, "serviceClusterIPs"), &config->cluster_ip_count);
	config->external_ips = prefix_list(scenario, json_object_get(json, "serviceExternalIPs"), &config->external_ip_count);
	config->balancer_ips = prefix_list(scenario, json_object_get(json, "serviceLoadBalancerIPs"), &config->balancer_ip_count);
	config->balancer_aggregation = !is(json, "serviceLoadBalancerAggregation", "Disabled");
	config->program_routes = program_of(json);
	config->route_priority[FAMILY_4] = number(json, "ipv4NormalRoutePriority", 1024);
	config->route_priority[FAMILY_6] = number(json, "ipv6NormalRoutePriority", 1024);
	read_advertisements(scenario, json_object_get(json, "prefixAdvertisements"));
	config->ignored_interface_count = json_array_size(ignored);
	config->ignored_interfaces = keep(scenario, config->ignored_interface_count * IFNAMSIZ);
	for (size_t i = 0; i < config->ignored_interface_count; i++)
		snprintf(config->ignored_interfaces[i], IFNAMSIZ, "%s", json_string_value(json_array_get(ignored, i)));
}

static const char *secret(void *ctx, const struct secret_ref *ref)
{
	const struct bird_scenario *scenario = ctx;

	return json_string_value(json_object_get(json_object_get(json_object_get(scenario->json, "secrets"), ref->name), ref->key));
}

static void complain(void *ctx, const char *object, const char *text)
{
	struct bird_scenario *scenario = ctx;

	buf_printf(&scenario->complaints, "# complaint: %s: %s\n", object, text);
}

static void read_ports(struct bird_scenario *scenario)
{
	json_t *ports = json_object_get(scenario->json, "ports"), *value;
	struct bgp_port *list = keep(scenario, json_object_size(ports) * sizeof(*list));
	const char *key;

	json_object_foreach(ports, key, value)
		list[scenario->input.port_count++] = (struct bgp_port){key, (uint16_t)json_integer_value(value)};
	scenario->input.ports = list;
}

static void read_services(struct bird_scenario *scenario)
{
	struct bird_input *input = &scenario->input;
	struct bird_services services;

	services.services = read_list(scenario, "services", read_service, &services.service_count);
	services.slices = read_list(scenario, "slices", read_slice, &services.slice_count);
	for (size_t i = 0; i < input->node_count; i++)
		if (strcmp(input->nodes[i]->name, input->node_name) == 0 &&
			bird_services(&scenario->config, input->nodes[i], &services, &scenario->prefixes) < 0)
			abort();
	input->services = scenario->prefixes.items;
	input->service_count = scenario->prefixes.count;
}

void bird_scenario_read(const char *path, struct bird_scenario *ret)
{
	json_error_t error;
	struct bird_input *input = &ret->input;

	*ret = (struct bird_scenario){.json = json_load_file(path, 0, &error)};
	if (!ret->json)
		fail(path, error.text);
	snprintf(ret->felix.interface_prefix, sizeof(ret->felix.interface_prefix), "cali");
	read_config(ret, json_object_get(ret->json, "config"));
	input->node_name = text_of(ret->json, "node");
	input->nodes = read_list(ret, "nodes", read_node, &input->node_count);
	input->pools = read_list(ret, "pools", read_pool, &input->pool_count);
	input->blocks = read_list(ret, "blocks", read_block, &input->block_count);
	input->peers = read_list(ret, "peers", read_peer, &input->peer_count);
	input->filters = read_list(ret, "filters", read_filter, &input->filter_count);
	input->config = &ret->config;
	input->felix = &ret->felix;
	input->import_limit = number(ret->json, "importLimit", 0);
	input->log_path = text_of(ret->json, "log");
	input->secret = secret;
	input->complain = complain;
	input->secret_ctx = input->complain_ctx = ret;
	read_ports(ret);
	read_services(ret);
}

void bird_scenario_free(struct bird_scenario *scenario)
{
	for (size_t i = 0; i < scenario->input.node_count; i++)
		labels_free(&((struct node *)scenario->input.nodes[i])->labels);
	for (size_t i = 0; i < scenario->input.peer_count; i++) {
		struct bgp_peer *peer = (struct bgp_peer *)scenario->input.peers[i];

		selector_free(&peer->node_selector);
		selector_free(&peer->peer_selector);
	}
	for (size_t i = 0; i < scenario->kept_count; i++)
		free(scenario->kept[i]);
	free(scenario->kept);
	bird_prefixes_free(&scenario->prefixes);
	buf_free(&scenario->complaints);
	json_decref(scenario->json);
}
