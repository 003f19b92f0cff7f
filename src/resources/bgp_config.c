/* SPDX-License-Identifier: Apache-2.0
 *
 * BGPConfiguration (reference/calico.md 2.4): the cluster's, and what a node's own may change of it.
 */
#include "resources/read.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

#define KIND "BGPConfiguration"
#define ADVERTISEMENTS_MAX 500
#define COMMUNITIES_MAX 50
#define RESTART_TIME_MAX 4095 /* seconds: 12 bits on the wire, RFC 4724 section 3 */
#define PRIORITY_MAX 2147483646

static const char *const members[] = {
	"logSeverityScreen", "nodeToNodeMeshEnabled", "asNumber", "serviceClusterIPs", "serviceExternalIPs",
	"serviceLoadBalancerIPs", "serviceLoadBalancerAggregation", "communities", "prefixAdvertisements", "listenPort",
	"nodeMeshPassword", "nodeMeshMaxRestartTime", "bindMode", "ignoredInterfaces", "localWorkloadPeeringIPV4",
	"localWorkloadPeeringIPV6", "programClusterRoutes", "ipv4NormalRoutePriority", "ipv6NormalRoutePriority", NULL,
};

static int read_log(const struct calico_at *at, struct bgp_config *config)
{
	static const char *const severities[] = {"Trace", "Debug", "Info", "Warning", "Error", "Fatal", NULL};
	int severity = (int)config->log, rc = calico_choice_any_case(at, "logSeverityScreen", severities, &severity);

	config->log = (enum bgp_log)severity;
	return rc;
}

static int read_port(const struct calico_at *at, struct bgp_config *config)
{
	return calico_u16(at, "listenPort", 1, UINT16_MAX, &config->listen_port);
}

/* -- members that are one value -- */

static int read_session(const struct calico_at *at, struct bgp_config *config)
{
	static const char *const bind_modes[] = {"None", "NodeIP", NULL};
	int bind = 0, rc = calico_bool(at, "nodeToNodeMeshEnabled", &config->mesh);

	if (rc >= 0)
		rc = calico_as_number(at, "asNumber", &config->as_number);
	if (rc >= 0)
		rc = calico_choice(at, "bindMode", bind_modes, &bind);
	config->bind_node_ip = bind;
	if (rc >= 0)
		rc = calico_secret(at, "nodeMeshPassword", &config->mesh_password);
	if (rc >= 0)
		rc = calico_seconds(at, "nodeMeshMaxRestartTime", 1, RESTART_TIME_MAX, &config->mesh_restart_time);
	return rc;
}

static int read_routes(const struct calico_at *at, struct bgp_config *config)
{
	static const char *const programs[] = {
		[PROGRAM_ALL] = "Enabled", [PROGRAM_NONE] = "Disabled", [PROGRAM_IPIP_ONLY] = "EnabledIPIPOnly",
		[PROGRAM_NO_ENCAP_ONLY] = "EnabledNoEncapOnly", NULL,
	};
	static const char *const aggregations[] = {"Disabled", "Enabled", NULL};
	int program = (int)config->program_routes, aggregation = config->balancer_aggregation;
	int rc = calico_choice(at, "programClusterRoutes", programs, &program);

	config->program_routes = (enum program_routes)program;
	if (rc >= 0)
		rc = calico_choice(at, "serviceLoadBalancerAggregation", aggregations, &aggregation);
	config->balancer_aggregation = aggregation;
	if (rc >= 0)
		rc = calico_u32(at, "ipv4NormalRoutePriority", 1, PRIORITY_MAX, &config->route_priority[FAMILY_4]);
	if (rc >= 0)
		rc = calico_u32(at, "ipv6NormalRoutePriority", 1, PRIORITY_MAX, &config->route_priority[FAMILY_6]);
	return rc;
}

static int read_peering_addr(const struct calico_at *at, const char *key, int family, struct addr *ret)
{
	struct addr addr = {0};
	int rc = calico_addr(at, key, &addr);

	if (rc == 1 && addr_family(&addr) != family)
		rc = calico_wrong(at, key, "an IPv%d address", family == AF_INET ? 4 : 6);
	if (rc == 1)
		*ret = addr;
	return rc;
}

static int read_workload_peering(const struct calico_at *at, struct bgp_config *config)
{
	int rc = read_peering_addr(at, "localWorkloadPeeringIPV4", AF_INET, &config->workload_peering[FAMILY_4]);

	if (rc >= 0)
		rc = read_peering_addr(at, "localWorkloadPeeringIPV6", AF_INET6, &config->workload_peering[FAMILY_6]);
	return rc;
}

/* -- lists, whose members stand for themselves -- */

/* ret: room for as many as the list has. */
static int open_list(const struct calico_at *at, const char *key, size_t size, const json_t **list, void *ret)
{
	int rc = calico_list(at, key, list);

	if (rc <= 0)
		return rc;
	*(void **)ret = calloc(json_array_size(*list) + 1, size);
	return *(void **)ret ? 1 : calico_no_memory(at);
}

static int read_service_ips(const struct calico_at *at, const char *key, struct prefix **ret, size_t *ret_count)
{
	const json_t *list, *entry;
	int rc = open_list(at, key, sizeof(**ret), &list, ret);
	size_t i;

	if (rc <= 0)
		return rc;
	json_array_foreach((json_t *)list, i, entry) {
		struct err err = ERR_INIT;
		struct calico_at item;
		struct prefix cidr;

		calico_item(at, key, i, entry, &item);
		item.err = &err;
		rc = json_is_object(entry) ? calico_prefix(&item, "cidr", &cidr)
					   : calico_wrong(&item, NULL, "an object with cidr");
		if (rc == 0)
			rc = calico_wrong(&item, "cidr", "a CIDR such as 10.96.0.0/12");
		if (rc == 1)
			(*ret)[(*ret_count)++] = prefix_masked(&cidr);
		else
			calico_remark_ignored(at, &err);
	}
	return 1;
}

static int read_ignored_interfaces(const struct calico_at *at, struct bgp_config *config)
{
	const json_t *list, *entry;
	int rc = open_list(at, "ignoredInterfaces", IFNAMSIZ, &list, &config->ignored_interfaces);
	size_t i;

	if (rc <= 0)
		return rc;
	json_array_foreach((json_t *)list, i, entry) {
		struct err err = ERR_INIT;
		struct calico_at item;

		calico_item(at, "ignoredInterfaces", i, entry, &item);
		item.err = &err;
		rc = calico_interface(&item, NULL, config->ignored_interfaces[config->ignored_interface_count]);
		if (rc == 1)
			config->ignored_interface_count++;
		else if (rc < 0)
			calico_remark_ignored(at, &err);
	}
	return 1;
}

/* -- prefix advertisements -- */

/* spec.communities of this object, then of the cluster's. */
static const char *find_community(const json_t *spec, const json_t *cluster, const char *name)
{
	const json_t *const lists[] = {json_object_get(spec, "communities"), json_object_get(cluster, "communities")};
	const json_t *entry;
	size_t i;

	for (size_t l = 0; l < ARRAY_SIZE(lists); l++)
		json_array_foreach((json_t *)lists[l], i, entry) {
			const char *text = json_string_value(json_object_get(entry, "name"));

			if (text && strcmp(text, name) == 0)
				return json_string_value(json_object_get(entry, "value"));
		}
	return NULL;
}

static int read_communities(const struct calico_at *at, const json_t *spec, const json_t *cluster,
	struct bgp_advertisement *ret)
{
	const json_t *list, *entry;
	int rc = open_list(at, "communities", sizeof(*ret->communities), &list, &ret->communities);
	size_t i;

	if (rc <= 0)
		return rc;
	if (json_array_size(list) > COMMUNITIES_MAX)
		return calico_wrong(at, "communities", "at most %d", COMMUNITIES_MAX);
	json_array_foreach((json_t *)list, i, entry) {
		const char *text = "", *value;
		struct calico_at item;

		calico_item(at, "communities", i, entry, &item);
		rc = calico_text(&item, NULL, &text);
		if (rc < 0)
			return rc;
		value = find_community(spec, cluster, text);
		if (!calico_parse_community(value ? value : text, &ret->communities[i]))
			return calico_wrong(&item, NULL, "a community such as 65000:100 or 65000:1:2, or the name of one in "
				"spec.communities");
		ret->community_count++;
	}
	return 1;
}

static int read_advertisement(const struct calico_at *at, const json_t *spec, const json_t *cluster,
	struct bgp_advertisement *ret)
{
	int rc = json_is_object(at->json) ? calico_prefix(at, "cidr", &ret->cidr)
					  : calico_wrong(at, NULL, "an object with cidr");

	if (rc == 0)
		rc = calico_wrong(at, "cidr", "a CIDR such as 10.244.0.0/16");
	if (rc < 0)
		return rc;
	ret->cidr = prefix_masked(&ret->cidr);
	return read_communities(at, spec, cluster, ret);
}

static void clear_advertisements(struct bgp_config *config)
{
	for (size_t i = 0; i < config->advertisement_count; i++)
		free(config->advertisements[i].communities);
	free(config->advertisements);
	config->advertisements = NULL;
	config->advertisement_count = 0;
}

static int read_advertisements(const struct calico_at *at, const json_t *cluster, struct bgp_config *config)
{
	struct bgp_advertisement *room;
	const json_t *list, *entry;
	int rc = open_list(at, "prefixAdvertisements", sizeof(*room), &list, &room);
	size_t i;

	if (rc <= 0)
		return rc;
	clear_advertisements(config);
	config->advertisements = room;
	json_array_foreach((json_t *)list, i, entry) {
		struct bgp_advertisement *advertisement = &room[config->advertisement_count];
		struct err err = ERR_INIT;
		struct calico_at item;

		calico_item(at, "prefixAdvertisements", i, entry, &item);
		item.err = &err;
		if (i >= ADVERTISEMENTS_MAX) {
			calico_remark(at, "spec.prefixAdvertisements has %zu entries, expected at most %d: the others are ignored",
				json_array_size(list), ADVERTISEMENTS_MAX);
			break;
		}
		if (read_advertisement(&item, at->json, cluster, advertisement) >= 0) {
			config->advertisement_count++;
			continue;
		}
		free(advertisement->communities);
		*advertisement = (struct bgp_advertisement){0};
		calico_remark_ignored(at, &err);
	}
	return 1;
}

/* -- objects -- */

static int read_lists(const struct calico_at *at, struct bgp_config *config)
{
	int rc = read_service_ips(at, "serviceClusterIPs", &config->cluster_ips, &config->cluster_ip_count);

	if (rc >= 0)
		rc = read_service_ips(at, "serviceExternalIPs", &config->external_ips, &config->external_ip_count);
	if (rc >= 0)
		rc = read_service_ips(at, "serviceLoadBalancerIPs", &config->balancer_ips, &config->balancer_ip_count);
	if (rc >= 0)
		rc = read_ignored_interfaces(at, config);
	if (rc >= 0)
		rc = read_advertisements(at, NULL, config);
	return rc;
}

static int read_cluster(const json_t *object, const struct calico_remarks *remarks, struct bgp_config *config,
	struct err *err)
{
	int (*const steps[])(const struct calico_at *, struct bgp_config *) = {
		read_log, read_port, read_session, read_routes, read_workload_peering, read_lists,
	};
	struct calico_at at;
	int rc = calico_begin(object, KIND, remarks, err, &at);

	for (size_t i = 0; rc >= 0 && i < ARRAY_SIZE(steps); i++)
		rc = steps[i](&at, config);
	if (rc < 0)
		return rc;
	calico_remark_unknown(&at, members);
	return 0;
}

/* Only three members count in a node's own object, each for itself. */
static void read_node(const json_t *object, const json_t *cluster, const struct calico_remarks *remarks,
	struct bgp_config *config)
{
	struct err err = ERR_INIT;
	struct calico_at at;

	if (calico_begin(object, KIND, remarks, &err, &at) < 0) {
		calico_remark_ignored(&at, &err);
		return;
	}
	if (read_log(&at, config) < 0)
		calico_remark_ignored(&at, &err);
	if (read_port(&at, config) < 0)
		calico_remark_ignored(&at, &err);
	if (read_advertisements(&at, json_object_get(cluster, "spec"), config) < 0)
		calico_remark_ignored(&at, &err);
}

int calico_bgp_config_merge(const json_t *cluster, const json_t *node, const struct calico_remarks *remarks,
	struct bgp_config **ret, struct err *err)
{
	_cleanup_(bgp_config_free) struct bgp_config *config = bgp_config_new_default();
	int rc = 0;

	if (!config)
		return err_set(err, -ENOMEM, KIND ": out of memory");
	if (cluster)
		rc = read_cluster(cluster, remarks, config, err);
	if (rc < 0)
		return rc;
	if (node)
		read_node(node, cluster, remarks, config);
	*ret = TAKE_PTR(config);
	return 0;
}

uint16_t calico_bgp_listen_port(const json_t *object, const struct calico_remarks *remarks)
{
	struct err err = ERR_INIT;
	struct calico_at at;
	uint16_t port = 0;

	if (calico_begin(object, KIND, remarks, &err, &at) < 0 || calico_u16(&at, "listenPort", 1, UINT16_MAX, &port) < 0)
		calico_remark_ignored(&at, &err);
	return port;
}
