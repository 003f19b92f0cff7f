/* SPDX-License-Identifier: Apache-2.0 */
#include "model/node.h"

#include "model/equal.h"

#include <stdlib.h>

void node_free(struct node **node)
{
	if (!*node)
		return;
	free((*node)->name);
	labels_free(&(*node)->labels);
	free((*node)->others);
	free(*node);
	*node = NULL;
}

static bool same_addresses(const struct node *a, const struct node *b)
{
	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (!prefix_equal(&a->address[f], &b->address[f]) || !addr_equal(&a->vxlan_addr[f], &b->vxlan_addr[f]) ||
			!mac_equal(&a->vxlan_mac[f], &b->vxlan_mac[f]) || !prefix_equal(&a->pod_cidr[f], &b->pod_cidr[f]))
			return false;
	}
	return addr_equal(&a->ipip_addr, &b->ipip_addr) && addrs_equal(a->others, a->other_count, b->others, b->other_count);
}

bool node_equal(const struct node *a, const struct node *b)
{
	return text_equal(a->name, b->name) && a->as_number == b->as_number &&
	       addr_equal(&a->cluster_id, &b->cluster_id) && a->exclude_from_balancers == b->exclude_from_balancers &&
	       same_addresses(a, b) && labels_equal(a->labels, b->labels);
}
