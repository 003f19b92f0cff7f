/* SPDX-License-Identifier: Apache-2.0
 *
 * Input: one object, given to every parser of Calico's dialect, whatever kind it says it is. A parser that refuses says
 * why in one line and leaves the result alone; what it accepts holds what the model's headers promise, is equal to
 * itself read once more, and survives the judgement of pools. Remarks are one line of printable characters.
 */
#include "remarks.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "model/pools.h"
#include "resources/resources.h"

#include <string.h>

static void check_refusal(int rc, const struct err *err, const void *made)
{
	FUZZ_CHECK(rc < 0 && err->code == rc && !made);
	check_line(err->text);
}

#define TRY(kind, call, call_again, check)                                     \
	static void try_##kind(const json_t *object)                            \
	{                                                                       \
		_cleanup_(kind##_free) struct kind *made = NULL, *again = NULL; \
		struct err err = ERR_INIT;                                      \
		int rc = call;                                                  \
                                                                                \
		if (rc < 0) {                                                   \
			check_refusal(rc, &err, made);                          \
			return;                                                 \
		}                                                               \
		if (!made)                                                      \
			return;                                                 \
		FUZZ_CHECK((call_again) >= 0 && kind##_equal(made, again));     \
		check(made);                                                    \
	}

/* -- what the model promises -- */

static void check_ippool(struct ippool *pool)
{
	const struct ippool *both[] = {pool, pool};
	struct pools *pools = pools_judge(both, 2, NULL);

	FUZZ_CHECK(prefix_is_set(&pool->cidr) && !prefix_has_host_bits(&pool->cidr));
	FUZZ_CHECK(pool->disabled || pool->block_len >= pool->cidr.len);
	FUZZ_CHECK(pool->block_len <= prefix_max_len(&pool->cidr));
	FUZZ_CHECK(pool->ipip == ENCAP_NEVER || (pool->vxlan == ENCAP_NEVER && pool->cidr.family == AF_INET));
	FUZZ_CHECK(pool->node_selector && pool->uses && !(pool->uses & ~7u));
	FUZZ_CHECK(pools && pools->count == 1 && pools->complaint_count == 1);
	check_line(pools->complaints[0].text);
	FUZZ_CHECK(pools_find(pools, &pool->cidr.addr) == pool || !addr_is_set(&pool->cidr.addr));
	pools_free(&pools);
}

static void check_ip_reservation(struct ip_reservation *reservation)
{
	for (size_t i = 0; i < reservation->cidr_count; i++)
		FUZZ_CHECK(!prefix_has_host_bits(&reservation->cidrs[i]));
}

static void check_cluster_info(struct cluster_info *info)
{
}

static void check_block(struct block *block)
{
	FUZZ_CHECK(prefix_is_set(&block->cidr) && !prefix_has_host_bits(&block->cidr));
	for (size_t i = 0; i < block->guest_count; i++) {
		FUZZ_CHECK(prefix_contains(&block->cidr, &block->guests[i].addr));
		FUZZ_CHECK(block->guests[i].node && (!block->node || strcmp(block->node, block->guests[i].node) != 0));
		FUZZ_CHECK(!i || addr_compare(&block->guests[i - 1].addr, &block->guests[i].addr) < 0);
	}
}

static void check_node(struct node *node)
{
	FUZZ_CHECK(node->labels && mac_is_set(&node->vxlan_mac[FAMILY_4]) && mac_is_set(&node->vxlan_mac[FAMILY_6]));
	FUZZ_CHECK(!prefix_is_set(&node->address[FAMILY_4]) || node->address[FAMILY_4].family == AF_INET);
	FUZZ_CHECK(!prefix_is_set(&node->address[FAMILY_6]) || node->address[FAMILY_6].family == AF_INET6);
	FUZZ_CHECK(!addr_is_set(&node->ipip_addr) || addr_is_4(&node->ipip_addr));
}

static void check_bgp_peer(struct bgp_peer *peer)
{
	FUZZ_CHECK(!(peer->node && peer->node_selector));
	FUZZ_CHECK(addr_is_set(&peer->peer_ip) != !!peer->peer_selector);
	FUZZ_CHECK(!!peer->as_number != !!peer->peer_selector);
	for (size_t i = 0; i < peer->filter_count; i++)
		FUZZ_CHECK(peer->filters[i] && *peer->filters[i]);
}

static void check_rules(const struct bgp_filter_rule *rules, size_t count, int family)
{
	for (size_t i = 0; i < count; i++) {
		FUZZ_CHECK((rules[i].match == MATCH_NONE) == !prefix_is_set(&rules[i].cidr));
		FUZZ_CHECK(rules[i].match == MATCH_NONE || rules[i].cidr.family == family);
		FUZZ_CHECK(!strpbrk(rules[i].interface, "\"\\\n"));
		FUZZ_CHECK(rules[i].accept || !rules[i].operation_count);
		FUZZ_CHECK(rules[i].operation_count <= 10);
	}
}

static void check_bgp_filter(struct bgp_filter *filter)
{
	static const int families[] = {[FAMILY_4] = AF_INET, [FAMILY_6] = AF_INET6};

	for (int f = 0; f < FAMILY_COUNT; f++) {
		check_rules(filter->import[f], filter->import_count[f], families[f]);
		check_rules(filter->export[f], filter->export_count[f], families[f]);
	}
}

static void check_service(struct service *service)
{
	FUZZ_CHECK(service->name && service->namespace);
}

static void check_endpoint_slice(struct endpoint_slice *slice)
{
	FUZZ_CHECK(slice->family || !slice->endpoint_count);
	for (size_t i = 0; i < slice->endpoint_count; i++)
		FUZZ_CHECK(addr_family(&slice->endpoints[i].addr) == slice->family);
}

TRY(ippool, calico_ippool_parse(object, &remarks, &made, &err), calico_ippool_parse(object, NULL, &again, NULL),
	check_ippool)
TRY(ip_reservation, calico_ip_reservation_parse(object, &remarks, &made, &err),
	calico_ip_reservation_parse(object, NULL, &again, NULL), check_ip_reservation)
TRY(cluster_info, calico_cluster_info_parse(object, &made, &err), calico_cluster_info_parse(object, &again, NULL),
	check_cluster_info)
TRY(block, calico_block_parse(object, &remarks, &made, &err), calico_block_parse(object, NULL, &again, NULL),
	check_block)
TRY(node, calico_node_parse(object, &remarks, &made, &err), calico_node_parse(object, NULL, &again, NULL), check_node)
TRY(bgp_peer, calico_bgp_peer_parse(object, &remarks, &made, &err), calico_bgp_peer_parse(object, NULL, &again, NULL),
	check_bgp_peer)
TRY(bgp_filter, calico_bgp_filter_parse(object, &made, &err), calico_bgp_filter_parse(object, &again, NULL),
	check_bgp_filter)
TRY(service, calico_service_parse(object, &remarks, &made, &err), calico_service_parse(object, NULL, &again, NULL),
	check_service)
TRY(endpoint_slice, calico_endpoint_slice_parse(object, &remarks, &made, &err),
	calico_endpoint_slice_parse(object, NULL, &again, NULL), check_endpoint_slice)

/* -- what is merged -- */

static void try_bgp_config(const json_t *object)
{
	_cleanup_(bgp_config_free) struct bgp_config *cluster = NULL, *node = NULL;
	struct err err = ERR_INIT;
	int rc = calico_bgp_config_merge(object, object, &remarks, &cluster, &err);

	if (rc < 0)
		check_refusal(rc, &err, cluster);
	else
		FUZZ_CHECK(cluster->as_number && cluster->listen_port && bgp_config_equal(cluster, cluster));
	FUZZ_CHECK(calico_bgp_config_merge(NULL, object, &remarks, &node, &err) == 0);
	FUZZ_CHECK(node->as_number == 64512 && node->mesh);
	calico_bgp_listen_port(object, &remarks);
}

static void try_felix(const json_t *object)
{
	_cleanup_(labels_free) struct labels *labels = labels_new();
	const json_t *objects[] = {object, object};
	struct felix felix = calico_felix_merge(objects, 2, "node-a", labels, &remarks);

	FUZZ_CHECK(felix.vxlan_port && felix.vxlan_vni && felix.vxlan_vni < 1 << 24 && felix.interface_prefix[0]);
	FUZZ_CHECK(felix.nat_port_min <= felix.nat_port_max && felix.external_count <= FELIX_EXTERNALS_MAX);
	FUZZ_CHECK(felix_equal(&felix, &felix));
}

static void try_ipam_config(const json_t *object)
{
	struct ipam_config config;
	struct err err = ERR_INIT;
	int rc = calico_ipam_config_parse(object, &config, &err);

	if (rc < 0)
		check_refusal(rc, &err, NULL);
	else
		FUZZ_CHECK(config.strict_affinity || config.auto_allocate_blocks);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(json_cleanup) json_t *object = json_loadb((const char *)data, size, JSON_ALLOW_NUL, NULL);

	if (!object)
		return 0;
	try_ippool(object);
	try_ip_reservation(object);
	try_ipam_config(object);
	try_cluster_info(object);
	try_block(object);
	try_node(object);
	try_felix(object);
	try_bgp_config(object);
	try_bgp_peer(object);
	try_bgp_filter(object);
	try_service(object);
	try_endpoint_slice(object);
	return 0;
}
