/* SPDX-License-Identifier: Apache-2.0
 *
 * The plan: what this node's kernel should hold, from what the cluster is. Pure: no I/O, no clock, no kernel;
 * the same input gives the same output, and the tests are text files.
 */
#pragma once

#include "base/err.h"
#include "model/lease.h"
#include "model/network.h"
#include "plan/complaints.h"
#include "plan/wanted.h"

struct plan_uplink {
	char name[IFNAMSIZ];
	uint32_t mtu;
	struct addr addr[FAMILY_COUNT];   /* the interface's own addresses */
	struct addr source[FAMILY_COUNT]; /* of vxlan's outer packets; unset: what we publish */
	const struct prefix *on_link;   /* destinations that the uplink reaches without a gateway */
	size_t on_link_count;
};

/* A pod of this node: its addresses lead to its host-side interface. */
struct plan_pod {
	struct addr addr[FAMILY_COUNT];
	struct mac mac;
	char host_ifname[IFNAMSIZ];
};

struct policy_nft_input;

struct plan_options {
	bool ip_masq;                        /* --ip-masq */
	bool random_fully;                   /* unless --ip-masq-fully-random-disable */
	bool forward_rules;                  /* --iptables-forward-rules */
	bool blackhole;                      /* --ip-blackhole-route: also where somebody else routes (alloc) */
	bool vxlan_guard;                    /* --vxlan-guard: Flannel's vxlan only from nodes' public addresses */
	const struct prefix *non_masquerade; /* destinations that are never masqueraded */
	size_t non_masquerade_count;
	uint32_t mark_mask; /* of kube-proxy: 0x4000 */
	const struct policy_nft_input *policy; /* plan/policy_nft.h; null: no policy */
};

struct plan_input {
	const struct network *network;
	const struct lease *own;          /* null before a lease is held: nothing is wanted */
	const struct lease *const *peers; /* every other lease that the store shows */
	size_t peer_count;
	bool peers_complete; /* the first full list has arrived */
	struct plan_uplink uplink;
	struct addr public_ip[FAMILY_COUNT]; /* what we publish */
	struct mac vtep_mac[FAMILY_COUNT];
	const struct plan_pod *pods;
	size_t pod_count;
	struct plan_options options;
};

struct plan_result {
	struct wanted wanted;
	struct complaints complaints; /* why a peer is left out, altogether or in one family; object: its lease's key */
};

/* 0 or -ENOMEM (ret untouched). A lease that contradicts another (foreign backend, subnet outside the network
 * or overlapping ours or an older lease's, our own public address, a VTEP MAC that is ours or already taken,
 * a host-gw peer that is not on-link, a bad or missing MAC) is left out with a complaint; the others are
 * planned. Each family is judged for itself. Of two leases the one of the lower order counts as the older. Of the
 * same order (the first full list) it is the one that ends first, a reservation last; then the key decides. */
int plan_build(const struct plan_input *input, struct plan_result *ret);
void plan_result_free(struct plan_result *result);

/* Device names: flannel.<VNI>, flannel-v6.<VNI>, flannel0 (udp). Where the VNI makes them longer than an
 * interface's name may be (flanneld fails there): fl.<VNI>, fl-v6.<VNI>. */
void plan_vxlan_name(uint32_t vni, int family_index, char name[IFNAMSIZ]);
#define PLAN_CARRIER_NAME "flannel0"
/* Is it one of these names, of whatever VNI, or one of Calico's (pools.h)? */
bool plan_is_tunnel_name(const char *name);
