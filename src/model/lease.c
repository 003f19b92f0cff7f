/* SPDX-License-Identifier: Apache-2.0 */
#include "model/lease.h"

#include <string.h>

bool lease_equal(const struct lease *a, const struct lease *b)
{
	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (!prefix_equal(&a->subnet[f], &b->subnet[f]) ||
			!addr_equal(&a->public_ip[f], &b->public_ip[f]) ||
			!mac_equal(&a->vtep_mac[f], &b->vtep_mac[f]))
			return false;
	}
	return strcmp(a->key, b->key) == 0 && strcmp(a->backend, b->backend) == 0 &&
	       a->has_vni == b->has_vni && a->vni == b->vni;
}
