/* SPDX-License-Identifier: Apache-2.0
 *
 * The cluster's address pools and how packets travel between nodes: what Flannel writes in net-conf.json and
 * Calico in IPPools, in one form. Made by a dialect (store/), read by the plan. Plain values, copied freely.
 */
#pragma once

#include "base/addr.h"

enum encap {
	ENCAP_NONE,  /* plain routes: the next hop is the peer's own address (Flannel: host-gw) */
	ENCAP_VXLAN, /* RFC 7348, the kernel's device */
	ENCAP_UDP,   /* the IP packet itself is the UDP payload (Flannel: udp) */
};

struct pool {
	struct prefix cidr;    /* not set: this family is not enabled */
	uint8_t block_len;     /* length of a node's block (Flannel: SubnetLen) */
	struct addr block_min; /* first and last block that may be handed out, as network addresses */
	struct addr block_max;
};

struct network {
	struct pool pool[FAMILY_COUNT];
	char backend[16];    /* the dialect's word for it: "vxlan", "host-gw", "udp", "alloc" */
	enum encap encap;
	bool routed;         /* false: addresses only, somebody else routes (Flannel: alloc) */
	bool direct_routing; /* peers that are on-link get plain routes */
	uint32_t vni;        /* vxlan: 1 .. 2^24-1 */
	uint16_t port;       /* host order; 0 = the backend's default: 8472 (vxlan), 8285 (udp) */
	bool gbp;            /* vxlan: group policy extension */
	bool learning;       /* vxlan: the kernel learns MAC addresses */
	uint32_t mtu;        /* of the outer packet; 0 = that of the uplink */
};

/* The port that is in force, host order; 0 for encapsulations without one. */
uint16_t network_port(const struct network *network);
/* Bytes that the encapsulation takes from the outer MTU. family: AF_INET or AF_INET6 of the outer packet
 * (vxlan: 50 or 70, udp: 28 or 48, none: 0). */
unsigned network_overhead(const struct network *network, int family);
/* MTU of pods: outer MTU less the overhead of the larger enabled family (reference/flannel.md 4.0, 13.8). */
unsigned network_pod_mtu(const struct network *network, unsigned uplink_mtu);
bool network_has(const struct network *network, int family_index);
bool network_equal(const struct network *a, const struct network *b);
