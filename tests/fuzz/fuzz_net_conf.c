/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include "flannel/flannel.h"

/* What is accepted obeys every limit of reference/flannel.md 2.3 and 2.4. */
static void check_pool(const struct pool *pool)
{
	if (!prefix_is_set(&pool->cidr))
		return;
	FUZZ_CHECK(!prefix_has_host_bits(&pool->cidr) && pool->cidr.len > 0);
	FUZZ_CHECK(
		pool->block_len >= pool->cidr.len + 2 && pool->block_len <= prefix_max_len(&pool->cidr) - 2);
	FUZZ_CHECK(prefix_contains(&pool->cidr, &pool->block_min) &&
		   prefix_contains(&pool->cidr, &pool->block_max));
	FUZZ_CHECK(addr_compare(&pool->block_min, &pool->block_max) <= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = ERR_INIT;
	struct network network;

	if (flannel_network_parse((const char *)data, size, "net-conf.json", &network, &err) < 0) {
		FUZZ_CHECK(err.code < 0 && err.text[0]);
		return 0;
	}
	FUZZ_CHECK(network_has(&network, FAMILY_4) || network_has(&network, FAMILY_6));
	check_pool(&network.pool[FAMILY_4]);
	check_pool(&network.pool[FAMILY_6]);
	FUZZ_CHECK(network.encap != ENCAP_VXLAN || (network.vni >= 1 && network.vni < 1 << 24));
	FUZZ_CHECK(network.mtu <= UINT16_MAX && network_pod_mtu(&network, 1500) >= 500);
	return 0;
}
