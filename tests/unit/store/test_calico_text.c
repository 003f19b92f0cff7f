/* SPDX-License-Identifier: Apache-2.0 */
#include "test_calico_text.h"

#include <string.h>

/* -- words -- */

static const char *const modes[] = {"never", "always", "across subnets"};
static const char *const programs[] = {"all", "none", "ipip only", "no encapsulation only"};

static void add_addr(struct buf *out, const char *word, const struct addr *addr)
{
	char text[ADDR_TEXT_MAX];

	if (addr_is_set(addr))
		buf_printf(out, "%s%s", word, addr_format(addr, text));
}

static void add_prefix(struct buf *out, const char *word, const struct prefix *prefix)
{
	char text[PREFIX_TEXT_MAX];

	if (prefix_is_set(prefix))
		buf_printf(out, "%s%s", word, prefix_format(prefix, text));
}

static void add_flag(struct buf *out, bool set, const char *word)
{
	if (set)
		buf_add_str(out, word);
}

static void add_prefixes(struct buf *out, const char *what, const struct prefix *prefixes, size_t count)
{
	add_flag(out, count, what);
	for (size_t i = 0; i < count; i++)
		add_prefix(out, " ", &prefixes[i]);
	add_flag(out, count, "\n");
}

static void add_addrs(struct buf *out, const char *what, const struct addr *addrs, size_t count)
{
	add_flag(out, count, what);
	for (size_t i = 0; i < count; i++)
		add_addr(out, " ", &addrs[i]);
	add_flag(out, count, "\n");
}

static void add_number(struct buf *out, const char *word, unsigned long long n, unsigned long long usual)
{
	if (n != usual)
		buf_printf(out, "  %s %llu\n", word, n);
}

static void add_community(struct buf *out, const struct community *community)
{
	buf_printf(out, " %u:%u", community->part[0], community->part[1]);
	if (community->large)
		buf_printf(out, ":%u", community->part[2]);
}

static void add_secret(struct buf *out, const char *word, const struct secret_ref *secret)
{
	if (secret->name)
		buf_printf(out, "  %s in Secret %s, %s%s\n", word, secret->name, secret->key, secret->optional ? ", optional" : "");
}

/* -- pools and IPAM -- */

void text_ippool(struct buf *out, const struct ippool *pool)
{
	buf_printf(out, "pool %s", pool->name);
	add_prefix(out, " ", &pool->cidr);
	buf_printf(out, ", blocks /%u, ipip %s, vxlan %s\n  for", pool->block_len, modes[pool->ipip], modes[pool->vxlan]);
	add_flag(out, pool->uses & POOL_USE_WORKLOAD, " workloads");
	add_flag(out, pool->uses & POOL_USE_TUNNEL, " tunnels");
	add_flag(out, pool->uses & POOL_USE_LOAD_BALANCER, " balancers");
	buf_printf(out, ", nodes %s", selector_text(pool->node_selector));
	if (pool->namespace_selector)
		buf_printf(out, ", namespaces %s", selector_text(pool->namespace_selector));
	buf_add_str(out, "\n");
	add_flag(out, pool->nat_outgoing, "  nat outgoing\n");
	add_flag(out, pool->disabled, "  disabled\n");
	add_flag(out, pool->disable_bgp_export, "  no BGP export\n");
	add_flag(out, pool->manual, "  only when asked for\n");
	add_flag(out, !pool->allocatable, "  not allocatable\n");
	if (pool->created)
		buf_printf(out, "  created %lld\n", (long long)pool->created);
}

void text_ip_reservation(struct buf *out, const struct ip_reservation *reservation)
{
	buf_printf(out, "reservation %s\n", reservation->name);
	add_prefixes(out, " ", reservation->cidrs, reservation->cidr_count);
}

void text_ipam_config(struct buf *out, const struct ipam_config *config)
{
	buf_printf(out, "ipam: %s borrowing, %s new blocks, at most %u blocks, cooldown %u s%s\n",
		config->strict_affinity ? "no" : "with", config->auto_allocate_blocks ? "with" : "no", config->max_blocks_per_host,
		config->cooldown, config->vm_address_persistence ? "" : ", VMs keep no address");
}

void text_cluster_info(struct buf *out, const struct cluster_info *info)
{
	const char *const names[] = {"guid", "type", "version", "variant"};
	const char *const values[] = {info->guid, info->type, info->version, info->variant};

	buf_printf(out, "cluster: datastore %s\n", info->datastore_ready ? "ready" : "locked");
	for (int i = 0; i < 4; i++)
		if (values[i])
			buf_printf(out, "  %s %s\n", names[i], values[i]);
}

void text_block(struct buf *out, const struct block *block)
{
	add_prefix(out, "block ", &block->cidr);
	buf_printf(out, " of %s\n", block->node ? block->node : "nobody");
	for (size_t i = 0; i < block->guest_count; i++) {
		add_addr(out, "  guest ", &block->guests[i].addr);
		buf_printf(out, " on %s\n", block->guests[i].node);
	}
}

/* -- nodes -- */

void text_node(struct buf *out, const struct node *node)
{
	char mac[MAC_TEXT_MAX];

	buf_printf(out, "node %s", node->name);
	for (int f = 0; f < FAMILY_COUNT; f++)
		add_prefix(out, " ", &node->address[f]);
	buf_add_str(out, "\n");
	for (int f = 0; f < FAMILY_COUNT; f++) {
		add_addr(out, f ? "  vxlan6 " : "  vxlan4 ", &node->vxlan_addr[f]);
		buf_printf(out, "%s mac %s\n", addr_is_set(&node->vxlan_addr[f]) ? "" : f ? "  vxlan6" : "  vxlan4",
			mac_format(&node->vxlan_mac[f], mac));
	}
	add_addrs(out, "  ipip", &node->ipip_addr, addr_is_set(&node->ipip_addr));
	add_number(out, "as", node->as_number, 0);
	add_addrs(out, "  reflector", &node->cluster_id, addr_is_set(&node->cluster_id));
	add_addrs(out, "  others", node->others, node->other_count);
	for (int f = 0; f < FAMILY_COUNT; f++)
		add_prefixes(out, "  pods", &node->pod_cidr[f], prefix_is_set(&node->pod_cidr[f]));
	for (size_t i = 0; i < node->labels->count; i++)
		buf_printf(out, "  label %s=%s\n", node->labels->items[i].key, node->labels->items[i].value);
	add_flag(out, node->exclude_from_balancers, "  announces no services\n");
}

static void add_felix_family(struct buf *out, const struct felix *felix, int f)
{
	add_number(out, f ? "vxlanMTUV6" : "vxlanMTU", felix->vxlan_mtu[f], 0);
	add_number(out, f ? "routePriority6" : "routePriority4", felix->route_priority[f], 1024);
	add_addrs(out, "  route source", &felix->route_source[f], addr_is_set(&felix->route_source[f]));
	add_addrs(out, "  nat address", &felix->nat_address[f], addr_is_set(&felix->nat_address[f]));
}

static void add_tristate(struct buf *out, const char *word, enum tristate state)
{
	if (state != TRISTATE_AUTO)
		buf_printf(out, "  %s %s\n", word, state == TRISTATE_YES ? "yes" : "no");
}

static void add_failsafes(struct buf *out, int direction, const struct failsafes *all)
{
	buf_printf(out, "  failsafe %s:", direction == POLICY_INGRESS ? "in" : "out");
	for (size_t i = 0; i < all->count; i++) {
		buf_printf(out, " %u/%u", all->items[i].protocol, all->items[i].port);
		if (prefix_is_set(&all->items[i].net))
			add_prefix(out, " of ", &all->items[i].net);
	}
	buf_add_str(out, "\n");
}

void text_felix(struct buf *out, const struct felix *felix)
{
	struct felix usual = felix_defaults();

	buf_add_str(out, felix_equal(felix, &usual) ? "felix: defaults\n" : "felix:\n");
	add_number(out, "vxlanPort", felix->vxlan_port, 4789);
	add_number(out, "vxlanVNI", felix->vxlan_vni, 4096);
	add_number(out, "ipipMTU", felix->ipip_mtu, 0);
	add_tristate(out, "vxlanEnabled", felix->vxlan_enabled);
	add_tristate(out, "ipipEnabled", felix->ipip_enabled);
	add_flag(out, felix->vxlan_from_workloads, "  vxlan from workloads\n");
	add_flag(out, felix->ipip_from_workloads, "  ipip from workloads\n");
	add_flag(out, !felix->ipv6, "  no ipv6\n");
	add_flag(out, !felix->ip_forwarding, "  no forwarding\n");
	add_flag(out, !felix->remove_external_routes, "  external routes stay\n");
	if (felix->program_routes != usual.program_routes)
		buf_printf(out, "  programs %s\n", programs[felix->program_routes]);
	add_number(out, "route protocol", felix->route_protocol, 0);
	for (int f = 0; f < FAMILY_COUNT; f++)
		add_felix_family(out, felix, f);
	if (strcmp(felix->mtu_iface_pattern, usual.mtu_iface_pattern) != 0)
		buf_printf(out, "  mtu interfaces %s\n", felix->mtu_iface_pattern);
	if (strcmp(felix->interface_prefix, usual.interface_prefix) != 0)
		buf_printf(out, "  interface prefix %s\n", felix->interface_prefix);
	if (felix->nat_port_max)
		buf_printf(out, "  nat ports %u to %u\n", felix->nat_port_min, felix->nat_port_max);
	add_flag(out, felix->nat_exclusions == NAT_EXCLUDE_POOLS_AND_HOSTS, "  nat neither to pools nor to hosts\n");
	if (felix->nat_iface_filter[0])
		buf_printf(out, "  nat interfaces %s\n", felix->nat_iface_filter);
	add_prefixes(out, "  externals", felix->externals, felix->external_count);
	for (int d = 0; d < POLICY_DIRECTION_COUNT; d++)
		if (!failsafes_equal(&felix->failsafes[d], &usual.failsafes[d]))
			add_failsafes(out, d, &felix->failsafes[d]);
}

/* -- BGP -- */

static void add_advertisements(struct buf *out, const struct bgp_config *config)
{
	for (size_t i = 0; i < config->advertisement_count; i++) {
		const struct bgp_advertisement *a = &config->advertisements[i];

		add_prefix(out, "  advertises ", &a->cidr);
		for (size_t j = 0; j < a->community_count; j++)
			add_community(out, &a->communities[j]);
		buf_add_str(out, "\n");
	}
}

void text_bgp_config(struct buf *out, const struct bgp_config *config)
{
	static const char *const logs[] = {"trace", "debug", "info", "warning", "error", "fatal"};

	buf_printf(out, "bgp: as %u, port %u, %s, log %s, programs %s\n", config->as_number, config->listen_port,
		config->mesh ? "mesh" : "no mesh", logs[config->log], programs[config->program_routes]);
	add_flag(out, config->bind_node_ip, "  listens on the node's address only\n");
	add_secret(out, "mesh password", &config->mesh_password);
	add_number(out, "mesh restart time", config->mesh_restart_time, 0);
	add_prefixes(out, "  cluster addresses", config->cluster_ips, config->cluster_ip_count);
	add_prefixes(out, "  external addresses", config->external_ips, config->external_ip_count);
	add_prefixes(out, "  balancer addresses", config->balancer_ips, config->balancer_ip_count);
	add_flag(out, !config->balancer_aggregation, "  balancer addresses one by one\n");
	add_advertisements(out, config);
	for (size_t i = 0; i < config->ignored_interface_count; i++)
		buf_printf(out, "  ignores interface %s\n", config->ignored_interfaces[i]);
	add_number(out, "priority4", config->route_priority[FAMILY_4], 1024);
	add_number(out, "priority6", config->route_priority[FAMILY_6], 1024);
	for (int f = 0; f < FAMILY_COUNT; f++)
		add_addrs(out, "  workload peering", &config->workload_peering[f], addr_is_set(&config->workload_peering[f]));
}

static void add_peer_ends(struct buf *out, const struct bgp_peer *peer)
{
	buf_printf(out, "peer %s: ", peer->name);
	if (peer->node)
		buf_printf(out, "node %s", peer->node);
	else
		buf_printf(out, "nodes %s", peer->node_selector ? selector_text(peer->node_selector) : "all");
	add_addr(out, " with ", &peer->peer_ip);
	if (peer->peer_port)
		buf_printf(out, " port %u", peer->peer_port);
	if (peer->peer_selector)
		buf_printf(out, " with nodes %s", selector_text(peer->peer_selector));
	buf_add_str(out, "\n");
	add_number(out, "as", peer->as_number, 0);
	add_number(out, "own as", peer->local_as_number, 0);
}

void text_bgp_peer(struct buf *out, const struct bgp_peer *peer)
{
	static const char *const hops[] = {"", "  next hop self\n", "  next hop keep\n"};

	add_peer_ends(out, peer);
	buf_add_str(out, hops[peer->next_hop]);
	add_flag(out, peer->keep_original_next_hop, "  keeps the original next hop\n");
	add_secret(out, "password", &peer->password);
	add_flag(out, !peer->source_node_ip, "  any source address\n");
	add_number(out, "restart time", peer->restart_time, 0);
	add_number(out, "keepalive time", peer->keepalive_time, 0);
	add_number(out, "own AS allowed", peer->allowed_local_as, 0);
	add_number(out, "ttl security", peer->ttl_security, 0);
	add_addrs(out, "  reachable by", &peer->reachable_by, addr_is_set(&peer->reachable_by));
	for (size_t i = 0; i < peer->filter_count; i++)
		buf_printf(out, "  filter %s\n", peer->filters[i]);
	add_flag(out, !peer->reverse_peering, "  no reverse peering\n");
	if (peer->bfd)
		buf_printf(out, "  bfd tx %u rx %u multiplier %u\n", peer->bfd_min_tx_ms, peer->bfd_min_rx_ms, peer->bfd_multiplier);
}

static void add_path(struct buf *out, const char *word, const uint32_t *path, size_t len)
{
	add_flag(out, len, word);
	for (size_t i = 0; i < len; i++)
		buf_printf(out, " %u", path[i]);
}

static void add_operation(struct buf *out, const struct bgp_filter_operation *operation)
{
	if (operation->kind == FILTER_ADD_COMMUNITY) {
		buf_add_str(out, ", add");
		add_community(out, &operation->community);
	} else if (operation->kind == FILTER_PREPEND_AS_PATH) {
		add_path(out, ", prepend", operation->as_path, operation->as_path_len);
	} else {
		buf_printf(out, ", priority %u", operation->priority);
	}
}

static void add_rule(struct buf *out, const char *direction, const struct bgp_filter_rule *rule)
{
	static const char *const matches[] = {"", " equal", " not equal", " in", " not in"};

	buf_printf(out, "  %s%s", direction, matches[rule->match]);
	add_prefix(out, " ", &rule->cidr);
	if (rule->min_len >= 0 || rule->max_len >= 0)
		buf_printf(out, " length %d to %d", rule->min_len, rule->max_len);
	add_flag(out, rule->remote_peers, " from peers");
	if (rule->interface[0])
		buf_printf(out, " interface %s", rule->interface);
	add_flag(out, rule->peer_type == FILTER_EBGP, " ebgp");
	add_flag(out, rule->peer_type == FILTER_IBGP, " ibgp");
	if (rule->has_community) {
		buf_add_str(out, " community");
		add_community(out, &rule->community);
	}
	add_path(out, " path", rule->as_path, rule->as_path_len);
	if (rule->priority)
		buf_printf(out, " priority %u", rule->priority);
	buf_add_str(out, rule->accept ? ": accept" : ": reject");
	for (size_t i = 0; i < rule->operation_count; i++)
		add_operation(out, &rule->operations[i]);
	buf_add_str(out, "\n");
}

void text_bgp_filter(struct buf *out, const struct bgp_filter *filter)
{
	buf_printf(out, "filter %s\n", filter->name);
	for (int f = 0; f < FAMILY_COUNT; f++) {
		for (size_t i = 0; i < filter->import_count[f]; i++)
			add_rule(out, f ? "import6" : "import4", &filter->import[f][i]);
		for (size_t i = 0; i < filter->export_count[f]; i++)
			add_rule(out, f ? "export6" : "export4", &filter->export[f][i]);
	}
}

/* -- services -- */

void text_service(struct buf *out, const struct service *service)
{
	static const char *const types[] = {"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"};

	buf_printf(out, "service %s/%s %s%s%s\n", service->namespace, service->name, types[service->type],
		service->external_local ? ", external traffic stays local" : "",
		service->internal_local ? ", internal traffic stays local" : "");
	add_addrs(out, "  cluster", service->cluster_ips, service->cluster_ip_count);
	add_addrs(out, "  external", service->external_ips, service->external_ip_count);
	add_addrs(out, "  balancer", service->balancer_ips, service->balancer_ip_count);
}

void text_endpoint_slice(struct buf *out, const struct endpoint_slice *slice)
{
	buf_printf(out, "slice %s/%s of %s, %s\n", slice->namespace, slice->name, slice->service ? slice->service : "nobody",
		slice->family == AF_INET ? "IPv4" : slice->family == AF_INET6 ? "IPv6" : "names");
	for (size_t i = 0; i < slice->endpoint_count; i++) {
		const struct service_endpoint *endpoint = &slice->endpoints[i];

		add_addr(out, "  ", &endpoint->addr);
		buf_printf(out, "%s%s%s\n", endpoint->node ? " on " : "", endpoint->node ? endpoint->node : "",
			endpoint->ready ? "" : ", not ready");
	}
}
