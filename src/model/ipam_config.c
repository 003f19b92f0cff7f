/* SPDX-License-Identifier: Apache-2.0 */
#include "model/ipam_config.h"

#include "model/equal.h"

#include <stdlib.h>

struct ipam_config ipam_config_defaults(void)
{
	return (struct ipam_config){.auto_allocate_blocks = true, .vm_address_persistence = true};
}

bool ipam_config_equal(const struct ipam_config *a, const struct ipam_config *b)
{
	return a->strict_affinity == b->strict_affinity && a->auto_allocate_blocks == b->auto_allocate_blocks &&
	       a->max_blocks_per_host == b->max_blocks_per_host &&
	       a->vm_address_persistence == b->vm_address_persistence && a->cooldown == b->cooldown;
}

void ip_reservation_free(struct ip_reservation **reservation)
{
	if (!*reservation)
		return;
	free((*reservation)->name);
	free((*reservation)->cidrs);
	free(*reservation);
	*reservation = NULL;
}

bool ip_reservation_equal(const struct ip_reservation *a, const struct ip_reservation *b)
{
	return text_equal(a->name, b->name) && prefixes_equal(a->cidrs, a->cidr_count, b->cidrs, b->cidr_count);
}

bool ip_reservation_contains(const struct ip_reservation *reservation, const struct addr *addr)
{
	for (size_t i = 0; i < reservation->cidr_count; i++)
		if (prefix_contains(&reservation->cidrs[i], addr))
			return true;
	return false;
}

void cluster_info_free(struct cluster_info **info)
{
	if (!*info)
		return;
	free((*info)->guid);
	free((*info)->type);
	free((*info)->version);
	free((*info)->variant);
	free(*info);
	*info = NULL;
}

bool cluster_info_equal(const struct cluster_info *a, const struct cluster_info *b)
{
	return a->datastore_ready == b->datastore_ready && text_equal(a->guid, b->guid) && text_equal(a->type, b->type) &&
	       text_equal(a->version, b->version) && text_equal(a->variant, b->variant);
}
