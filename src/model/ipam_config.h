/* SPDX-License-Identifier: Apache-2.0
 *
 * What Calico's smaller resources say to IPAM and to the whole cluster: IPAMConfiguration, IPReservation and
 * ClusterInformation (reference/calico.md 1.3, 2.2, 2.3). Made by the Calico dialect (resources/ipam.c), read by
 * IPAM and the agent. Immutable once published.
 */
#pragma once

#include "base/addr.h"

#include <stddef.h>

struct ipam_config {
	bool strict_affinity;        /* never borrow from another node's block; false */
	bool auto_allocate_blocks;   /* claim new blocks when needed; true */
	uint32_t max_blocks_per_host; /* 0: not said, which is 20 */
	bool vm_address_persistence; /* kubeVirtVMAddressPersistence, true */
	uint32_t cooldown;           /* seconds that a released address stays unusable; 0 */
};

struct ipam_config ipam_config_defaults(void);
bool ipam_config_equal(const struct ipam_config *a, const struct ipam_config *b);

/* Addresses that nobody is given unasked. */
struct ip_reservation {
	char *name;
	struct prefix *cidrs; /* sorted, without host bits */
	size_t cidr_count;
};

void ip_reservation_free(struct ip_reservation **reservation);
bool ip_reservation_equal(const struct ip_reservation *a, const struct ip_reservation *b);
bool ip_reservation_contains(const struct ip_reservation *reservation, const struct addr *addr);

struct cluster_info {
	bool datastore_ready; /* false: nothing is to be changed, a migration is under way */
	char *guid, *type, *version, *variant; /* null: not said */
};

void cluster_info_free(struct cluster_info **info);
bool cluster_info_equal(const struct cluster_info *a, const struct cluster_info *b);
