/* SPDX-License-Identifier: Apache-2.0
 *
 * BGP as Calico's resources BGPConfiguration, BGPPeer and BGPFilter say it (reference/calico.md 2.4 to 2.6). Made by
 * the Calico dialect (resources/bgp_*.c), read by the plan that writes BIRD's configuration. Immutable once
 * published. AS numbers are host order; times are seconds, 0 = not said.
 */
#pragma once

#include "base/addr.h"
#include "model/felix.h"

#include <net/if.h>

struct selector;

/* A password is somewhere else: in a Secret of the agent's namespace. name null: none. */
struct secret_ref {
	char *name, *key;
	bool optional;
};

struct community {
	uint32_t part[3]; /* aa:nn, or aa:nn:mm */
	bool large;
};

struct bgp_community {
	char *name;
	struct community value;
};

struct bgp_advertisement {
	struct prefix cidr;
	struct community *communities; /* names are resolved */
	size_t community_count;
};

/* logSeverityScreen */
enum bgp_log { BGP_LOG_TRACE, BGP_LOG_DEBUG, BGP_LOG_INFO, BGP_LOG_WARNING, BGP_LOG_ERROR, BGP_LOG_FATAL };

struct bgp_config {
	enum bgp_log log;                    /* BGP_LOG_INFO */
	bool mesh;                           /* nodeToNodeMeshEnabled, true */
	uint32_t as_number;                  /* 64512 */
	uint16_t listen_port;                /* host order; 179 */
	bool bind_node_ip;                   /* bindMode NodeIP */
	struct secret_ref mesh_password;
	uint32_t mesh_restart_time;
	struct prefix *cluster_ips, *external_ips, *balancer_ips; /* service…IPs[].cidr */
	size_t cluster_ip_count, external_ip_count, balancer_ip_count;
	bool balancer_aggregation;           /* serviceLoadBalancerAggregation, true */
	struct bgp_advertisement *advertisements;
	size_t advertisement_count;
	char (*ignored_interfaces)[IFNAMSIZ]; /* BIRD's wildcards */
	size_t ignored_interface_count;
	enum program_routes program_routes;  /* programClusterRoutes; upstream PROGRAM_NO_ENCAP_ONLY */
	uint32_t route_priority[FAMILY_COUNT]; /* 1024 */
	struct addr workload_peering[FAMILY_COUNT]; /* localWorkloadPeeringIPV4, …IPV6; unset: none */
};

/* A node's listenPort, from its own BGPConfiguration "node.NAME". */
struct bgp_port {
	const char *node; /* borrowed */
	uint16_t port;    /* host order */
};

enum next_hop_mode { NEXT_HOP_AUTO, NEXT_HOP_SELF, NEXT_HOP_KEEP };

struct bgp_peer {
	char *name;
	/* Which of our nodes: node xor node_selector; neither: all. */
	char *node;
	struct selector *node_selector;
	/* Whom they peer with: peer_ip xor peer_selector. */
	struct addr peer_ip;
	uint16_t peer_port;                  /* host order; 0: not said */
	struct selector *peer_selector;
	uint32_t as_number;                  /* 0 only with peer_selector */
	uint32_t local_as_number;            /* 0: the node's */
	enum next_hop_mode next_hop;         /* keepOriginalNextHop is NEXT_HOP_KEEP for eBGP */
	bool keep_original_next_hop;
	struct secret_ref password;
	bool source_node_ip;                 /* sourceAddress UseNodeIP, true */
	uint32_t restart_time, keepalive_time;
	uint32_t allowed_local_as;           /* numAllowedLocalASNumbers */
	uint8_t ttl_security;                /* hops; 0: off */
	struct addr reachable_by;
	char **filters;                      /* names, in order */
	size_t filter_count;
	bool reverse_peering;                /* Auto, true */
	/* BFD (annotation tulle/bfd on the BGPPeer: "true", or JSON with the members below): Calico has none. */
	bool bfd;
	uint32_t bfd_min_tx_ms, bfd_min_rx_ms; /* 0: 50 */
	uint8_t bfd_multiplier;              /* 0: 3 */
};

enum match_operator { MATCH_NONE, MATCH_EQUAL, MATCH_NOT_EQUAL, MATCH_IN, MATCH_NOT_IN };
enum filter_peer_type { FILTER_ANY_PEER, FILTER_EBGP, FILTER_IBGP };
enum filter_operation_kind { FILTER_ADD_COMMUNITY, FILTER_PREPEND_AS_PATH, FILTER_SET_PRIORITY };

struct bgp_filter_operation {
	enum filter_operation_kind kind;
	struct community community;
	uint32_t as_path[10];
	size_t as_path_len;
	uint32_t priority;
};

struct bgp_filter_rule {
	struct prefix cidr;                  /* unset: any */
	enum match_operator match;
	int min_len, max_len;                /* prefixLength; -1: not said */
	bool remote_peers;                   /* source RemotePeers */
	char interface[IFNAMSIZ];            /* BIRD's wildcards; "": any */
	enum filter_peer_type peer_type;
	bool has_community;
	struct community community;
	uint32_t *as_path;                   /* asPathPrefix */
	size_t as_path_len;
	uint32_t priority;                   /* 0: not said */
	bool accept;
	struct bgp_filter_operation operations[10];
	size_t operation_count;
};

struct bgp_filter {
	char *name;
	struct bgp_filter_rule *import[FAMILY_COUNT], *export[FAMILY_COUNT];
	size_t import_count[FAMILY_COUNT], export_count[FAMILY_COUNT];
};

struct bgp_config *bgp_config_new_default(void);
void bgp_config_free(struct bgp_config **config);
void bgp_peer_free(struct bgp_peer **peer);
void bgp_filter_free(struct bgp_filter **filter);
bool bgp_config_equal(const struct bgp_config *a, const struct bgp_config *b);
bool bgp_peer_equal(const struct bgp_peer *a, const struct bgp_peer *b);
bool bgp_filter_equal(const struct bgp_filter *a, const struct bgp_filter *b);
