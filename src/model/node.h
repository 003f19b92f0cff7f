/* SPDX-License-Identifier: Apache-2.0
 *
 * A node of the cluster as Calico's annotations on the Kubernetes Node describe it (reference/calico.md 2.16). Made by
 * the Calico dialect (resources/node.c), read by IPAM and the plan. Immutable once published.
 */
#pragma once

#include "base/addr.h"
#include "model/selector.h"

struct node {
	char *name;
	struct labels *labels;                   /* never null */
	struct prefix address[FAMILY_COUNT];     /* with host bits; its length says what "same subnet" means; unset: none */
	struct addr *others;                     /* InternalIP and ExternalIP of the Node's status */
	size_t other_count;
	uint32_t as_number;                      /* 0: the cluster's */
	struct addr cluster_id;                  /* set: a route reflector */
	struct addr ipip_addr;                   /* tunnel addresses; unset: none */
	struct addr vxlan_addr[FAMILY_COUNT];
	struct mac vxlan_mac[FAMILY_COUNT];      /* published, or derived from the name: never unset */
	struct prefix pod_cidr[FAMILY_COUNT];
	bool exclude_from_balancers;             /* label node.kubernetes.io/exclude-from-external-load-balancers=true */
};

void node_free(struct node **node);
bool node_equal(const struct node *a, const struct node *b);
/* Calico's rule (5.5): 0x66 and the first five bytes of SHA-1(name), for IPv6 SHA-1(name "-v6"). */
struct mac node_derive_vxlan_mac(const char *name, int family_index);

/* What stands for the node's name in labels of its IPAM objects: the SHA3-256 in base32 without padding
 * (reference/calico.md 2.15, RFC 4648). */
#define NODE_NAME_HASH_MAX 53
const char *node_name_hash(const char *name, char hash[static NODE_NAME_HASH_MAX]);
