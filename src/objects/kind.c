/* SPDX-License-Identifier: Apache-2.0 */
#include "objects/kind.h"

#include "base/cleanup.h"

#include <string.h>

#define BOTH(kind, kinds) .name = kind, .plural = kinds, .v1_name = kind, .v1_plural = kinds
#define CALICO(kind, kinds) {BOTH(kind, kinds), .api_version = CALICO_V3}
#define IPAM(kind, kinds) {BOTH(kind, kinds), .api_version = CALICO_V3, .ipam = true}
#define POLICY(kind, kinds) {BOTH(kind, kinds), .api_version = CALICO_V3, .optional = true}
#define NAMESPACED_POLICY(kind, kinds) {BOTH(kind, kinds), .api_version = CALICO_V3, .optional = true, .namespaced = true}
#define CORE(kind, kinds, version) {.name = kind, .plural = kinds, .api_version = version}
#define NAMESPACED(kind, kinds, version) {.name = kind, .plural = kinds, .api_version = version, .namespaced = true}

static const struct kind_info kinds[KIND_COUNT] = {
	[KIND_CLUSTER_INFORMATION] = CALICO("ClusterInformation", "clusterinformations"),
	[KIND_IPPOOL] = CALICO("IPPool", "ippools"),
	[KIND_IP_RESERVATION] = CALICO("IPReservation", "ipreservations"),
	[KIND_IPAM_CONFIG] = {.name = "IPAMConfiguration", .plural = "ipamconfigurations", .v1_name = "IPAMConfig",
		.v1_plural = "ipamconfigs", .api_version = CALICO_V3, .ipam = true},
	[KIND_FELIX_CONFIG] = CALICO("FelixConfiguration", "felixconfigurations"),
	[KIND_BGP_CONFIG] = CALICO("BGPConfiguration", "bgpconfigurations"),
	[KIND_BGP_PEER] = CALICO("BGPPeer", "bgppeers"),
	[KIND_BGP_FILTER] = CALICO("BGPFilter", "bgpfilters"),
	[KIND_IPAM_BLOCK] = IPAM("IPAMBlock", "ipamblocks"),
	[KIND_BLOCK_AFFINITY] = IPAM("BlockAffinity", "blockaffinities"),
	[KIND_IPAM_HANDLE] = IPAM("IPAMHandle", "ipamhandles"),
	[KIND_CALICO_NETWORK_POLICY] = {BOTH("NetworkPolicy", "networkpolicies"), .api_version = CALICO_V3,
		.folder = "networkpolicies.projectcalico.org", .optional = true, .namespaced = true},
	[KIND_GLOBAL_NETWORK_POLICY] = POLICY("GlobalNetworkPolicy", "globalnetworkpolicies"),
	[KIND_TIER] = POLICY("Tier", "tiers"),
	[KIND_NETWORK_SET] = NAMESPACED_POLICY("NetworkSet", "networksets"),
	[KIND_GLOBAL_NETWORK_SET] = POLICY("GlobalNetworkSet", "globalnetworksets"),
	[KIND_HOST_ENDPOINT] = POLICY("HostEndpoint", "hostendpoints"),
	[KIND_KUBE_CONTROLLERS_CONFIG] = POLICY("KubeControllersConfiguration", "kubecontrollersconfigurations"),
	[KIND_NODE] = CORE("Node", "nodes", "v1"),
	[KIND_NAMESPACE] = CORE("Namespace", "namespaces", "v1"),
	[KIND_POD] = NAMESPACED("Pod", "pods", "v1"),
	[KIND_SERVICE] = NAMESPACED("Service", "services", "v1"),
	[KIND_ENDPOINT_SLICE] = NAMESPACED("EndpointSlice", "endpointslices", "discovery.k8s.io/v1"),
	[KIND_SECRET] = NAMESPACED("Secret", "secrets", "v1"),
	[KIND_LEASE] = NAMESPACED("Lease", "leases", "coordination.k8s.io/v1"),
	[KIND_SERVICE_ACCOUNT] = NAMESPACED("ServiceAccount", "serviceaccounts", "v1"),
	[KIND_NETWORK_POLICY] = NAMESPACED("NetworkPolicy", "networkpolicies", "networking.k8s.io/v1"),
	[KIND_CLUSTER_NETWORK_POLICY] = {.name = "ClusterNetworkPolicy", .plural = "clusternetworkpolicies",
		.api_version = CLUSTER_POLICY_VERSION, .optional = true},
};

const struct kind_info *kind_info(enum kind kind)
{
	return &kinds[kind];
}

const char *kind_name(enum kind kind)
{
	return kinds[kind].name;
}

const char *kind_title(enum kind kind)
{
	return kind == KIND_CALICO_NETWORK_POLICY ? "Calico NetworkPolicy" : kinds[kind].name;
}

const char *kind_folder(enum kind kind)
{
	return kinds[kind].folder ? kinds[kind].folder : kinds[kind].plural;
}

bool kind_is_namespaced(enum kind kind)
{
	return kinds[kind].namespaced;
}

enum kind kind_find(const char *api_version, const char *name)
{
	for (enum kind kind = 0; kind < KIND_COUNT; kind++) {
		const struct kind_info *info = &kinds[kind];

		if (strcmp(info->name, name) == 0 && strcmp(info->api_version, api_version) == 0)
			return kind;
		if (info->v1_name && strcmp(info->v1_name, name) == 0 && strcmp(api_version, CALICO_V1) == 0)
			return kind;
	}
	return KIND_COUNT;
}

static const char *metadata_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(json_object_get(object, "metadata"), key));

	return text ? text : "";
}

const char *object_name(const json_t *object)
{
	return metadata_text(object, "name");
}

const char *object_namespace(const json_t *object)
{
	return metadata_text(object, "namespace");
}

const char *object_version(const json_t *object)
{
	return metadata_text(object, "resourceVersion");
}

const char *object_uid(const json_t *object)
{
	return metadata_text(object, "uid");
}

bool object_name_is_good(const char *name)
{
	if (!*name || *name == '.' || strlen(name) > OBJECT_NAME_MAX)
		return false;
	for (const char *p = name; *p; p++)
		if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f || *p == '/')
			return false;
	return true;
}
