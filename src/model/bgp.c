/* SPDX-License-Identifier: Apache-2.0 */
#include "model/bgp.h"

#include "model/equal.h"

#include <stdlib.h>

static bool same_secret(const struct secret_ref *a, const struct secret_ref *b)
{
	return text_equal(a->name, b->name) && text_equal(a->key, b->key) && a->optional == b->optional;
}

static void free_secret(struct secret_ref *secret)
{
	free(secret->name);
	free(secret->key);
}

static bool same_community(const struct community *a, const struct community *b)
{
	return a->large == b->large && memcmp(a->part, b->part, sizeof(a->part)) == 0;
}

/* -- configuration -- */

struct bgp_config *bgp_config_new_default(void)
{
	struct bgp_config *config = calloc(1, sizeof(*config));

	if (config)
		*config = (struct bgp_config){
			.log = BGP_LOG_INFO,
			.mesh = true,
			.as_number = 64512,
			.listen_port = 179,
			.balancer_aggregation = true,
			.program_routes = PROGRAM_NO_ENCAP_ONLY,
			.route_priority = {1024, 1024},
		};
	return config;
}

void bgp_config_free(struct bgp_config **config)
{
	struct bgp_config *c = *config;

	if (!c)
		return;
	for (size_t i = 0; i < c->advertisement_count; i++)
		free(c->advertisements[i].communities);
	free(c->advertisements);
	free_secret(&c->mesh_password);
	free(c->cluster_ips);
	free(c->external_ips);
	free(c->balancer_ips);
	free(c->ignored_interfaces);
	free(c);
	*config = NULL;
}

static bool same_advertisements(const struct bgp_config *a, const struct bgp_config *b)
{
	if (a->advertisement_count != b->advertisement_count)
		return false;
	for (size_t i = 0; i < a->advertisement_count; i++) {
		const struct bgp_advertisement *x = &a->advertisements[i], *y = &b->advertisements[i];

		if (!prefix_equal(&x->cidr, &y->cidr) || x->community_count != y->community_count)
			return false;
		for (size_t j = 0; j < x->community_count; j++)
			if (!same_community(&x->communities[j], &y->communities[j]))
				return false;
	}
	return true;
}

static bool same_interfaces(const struct bgp_config *a, const struct bgp_config *b)
{
	if (a->ignored_interface_count != b->ignored_interface_count)
		return false;
	for (size_t i = 0; i < a->ignored_interface_count; i++)
		if (strcmp(a->ignored_interfaces[i], b->ignored_interfaces[i]) != 0)
			return false;
	return true;
}

static bool same_session(const struct bgp_config *a, const struct bgp_config *b)
{
	return a->log == b->log && a->mesh == b->mesh && a->as_number == b->as_number &&
	       a->listen_port == b->listen_port && a->bind_node_ip == b->bind_node_ip &&
	       same_secret(&a->mesh_password, &b->mesh_password) && a->mesh_restart_time == b->mesh_restart_time;
}

static bool same_services(const struct bgp_config *a, const struct bgp_config *b)
{
	return prefixes_equal(a->cluster_ips, a->cluster_ip_count, b->cluster_ips, b->cluster_ip_count) &&
	       prefixes_equal(a->external_ips, a->external_ip_count, b->external_ips, b->external_ip_count) &&
	       prefixes_equal(a->balancer_ips, a->balancer_ip_count, b->balancer_ips, b->balancer_ip_count) &&
	       a->balancer_aggregation == b->balancer_aggregation;
}

bool bgp_config_equal(const struct bgp_config *a, const struct bgp_config *b)
{
	for (int f = 0; f < FAMILY_COUNT; f++)
		if (a->route_priority[f] != b->route_priority[f] ||
			!addr_equal(&a->workload_peering[f], &b->workload_peering[f]))
			return false;
	return same_session(a, b) && same_services(a, b) && same_advertisements(a, b) && same_interfaces(a, b) &&
	       a->program_routes == b->program_routes;
}

/* -- peers -- */

void bgp_peer_free(struct bgp_peer **peer)
{
	struct bgp_peer *p = *peer;

	if (!p)
		return;
	free(p->name);
	free(p->node);
	selector_free(&p->node_selector);
	selector_free(&p->peer_selector);
	free_secret(&p->password);
	for (size_t i = 0; i < p->filter_count; i++)
		free(p->filters[i]);
	free(p->filters);
	free(p);
	*peer = NULL;
}

static bool same_ends(const struct bgp_peer *a, const struct bgp_peer *b)
{
	return text_equal(a->name, b->name) && text_equal(a->node, b->node) &&
	       selector_equal_or_none(a->node_selector, b->node_selector) && addr_equal(&a->peer_ip, &b->peer_ip) &&
	       a->peer_port == b->peer_port && selector_equal_or_none(a->peer_selector, b->peer_selector) &&
	       a->as_number == b->as_number && a->local_as_number == b->local_as_number;
}

static bool same_options(const struct bgp_peer *a, const struct bgp_peer *b)
{
	return a->next_hop == b->next_hop && a->keep_original_next_hop == b->keep_original_next_hop &&
	       same_secret(&a->password, &b->password) && a->source_node_ip == b->source_node_ip &&
	       a->restart_time == b->restart_time && a->keepalive_time == b->keepalive_time &&
	       a->allowed_local_as == b->allowed_local_as && a->ttl_security == b->ttl_security &&
	       addr_equal(&a->reachable_by, &b->reachable_by) && a->reverse_peering == b->reverse_peering;
}

static bool same_bfd(const struct bgp_peer *a, const struct bgp_peer *b)
{
	return a->bfd == b->bfd && a->bfd_min_tx_ms == b->bfd_min_tx_ms && a->bfd_min_rx_ms == b->bfd_min_rx_ms &&
	       a->bfd_multiplier == b->bfd_multiplier;
}

bool bgp_peer_equal(const struct bgp_peer *a, const struct bgp_peer *b)
{
	if (!same_ends(a, b) || !same_options(a, b) || !same_bfd(a, b) || a->filter_count != b->filter_count)
		return false;
	for (size_t i = 0; i < a->filter_count; i++)
		if (strcmp(a->filters[i], b->filters[i]) != 0)
			return false;
	return true;
}

/* -- filters -- */

static void free_rules(struct bgp_filter_rule *rules, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(rules[i].as_path);
	free(rules);
}

void bgp_filter_free(struct bgp_filter **filter)
{
	struct bgp_filter *f = *filter;

	if (!f)
		return;
	for (int i = 0; i < FAMILY_COUNT; i++) {
		free_rules(f->import[i], f->import_count[i]);
		free_rules(f->export[i], f->export_count[i]);
	}
	free(f->name);
	free(f);
	*filter = NULL;
}

static bool same_path(const uint32_t *a, size_t a_len, const uint32_t *b, size_t b_len)
{
	return a_len == b_len && (!a_len || memcmp(a, b, a_len * sizeof(*a)) == 0);
}

static bool same_operation(const struct bgp_filter_operation *a, const struct bgp_filter_operation *b)
{
	return a->kind == b->kind && same_community(&a->community, &b->community) && a->priority == b->priority &&
	       same_path(a->as_path, a->as_path_len, b->as_path, b->as_path_len);
}

static bool same_conditions(const struct bgp_filter_rule *a, const struct bgp_filter_rule *b)
{
	return prefix_equal(&a->cidr, &b->cidr) && a->match == b->match && a->min_len == b->min_len &&
	       a->max_len == b->max_len && a->remote_peers == b->remote_peers &&
	       strcmp(a->interface, b->interface) == 0 && a->peer_type == b->peer_type &&
	       a->has_community == b->has_community && same_community(&a->community, &b->community) &&
	       same_path(a->as_path, a->as_path_len, b->as_path, b->as_path_len) && a->priority == b->priority;
}

static bool same_rule(const struct bgp_filter_rule *a, const struct bgp_filter_rule *b)
{
	if (!same_conditions(a, b) || a->accept != b->accept || a->operation_count != b->operation_count)
		return false;
	for (size_t i = 0; i < a->operation_count; i++)
		if (!same_operation(&a->operations[i], &b->operations[i]))
			return false;
	return true;
}

static bool same_rules(const struct bgp_filter_rule *a, size_t a_count, const struct bgp_filter_rule *b, size_t b_count)
{
	if (a_count != b_count)
		return false;
	for (size_t i = 0; i < a_count; i++)
		if (!same_rule(&a[i], &b[i]))
			return false;
	return true;
}

bool bgp_filter_equal(const struct bgp_filter *a, const struct bgp_filter *b)
{
	for (int i = 0; i < FAMILY_COUNT; i++)
		if (!same_rules(a->import[i], a->import_count[i], b->import[i], b->import_count[i]) ||
			!same_rules(a->export[i], a->export_count[i], b->export[i], b->export_count[i]))
			return false;
	return text_equal(a->name, b->name);
}
