/* SPDX-License-Identifier: Apache-2.0 */
#include "store/flannel.h"

bool flannel_lease_fits(const struct lease *lease, const struct network *network)
{
	for (int f = 0; f < FAMILY_COUNT; f++) {
		const struct prefix *subnet = &lease->subnet[f];
		const struct pool *pool = &network->pool[f];

		if (prefix_is_set(subnet) != network_has(network, f))
			return false;
		if (!prefix_is_set(subnet))
			continue;
		if (subnet->len != pool->block_len || addr_compare(&subnet->addr, &pool->block_min) < 0 ||
			addr_compare(&subnet->addr, &pool->block_max) > 0)
			return false;
	}
	return true;
}
