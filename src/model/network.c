/* SPDX-License-Identifier: Apache-2.0 */
#include "model/network.h"

#include <string.h>

#define VXLAN_PORT 8472
#define UDP_PORT 8285

#define IP4_HEADER 20
#define IP6_HEADER 40
#define UDP_HEADER 8
#define VXLAN_HEADER 8
#define ETHERNET_HEADER 14

uint16_t network_port(const struct network *network)
{
	if (!network->routed)
		return 0;
	switch (network->encap) {
	case ENCAP_VXLAN:
		return network->port ? network->port : VXLAN_PORT;
	case ENCAP_UDP:
		return network->port ? network->port : UDP_PORT;
	case ENCAP_NONE:
		break;
	}
	return 0;
}

unsigned network_overhead(const struct network *network, int family)
{
	unsigned outer = (family == AF_INET6 ? IP6_HEADER : IP4_HEADER) + UDP_HEADER;

	switch (network->encap) {
	case ENCAP_VXLAN:
		return outer + VXLAN_HEADER + ETHERNET_HEADER;
	case ENCAP_UDP:
		return outer;
	case ENCAP_NONE:
		break;
	}
	return 0;
}

unsigned network_pod_mtu(const struct network *network, unsigned uplink_mtu)
{
	unsigned outer = network->mtu ? network->mtu : uplink_mtu;
	unsigned overhead = network_overhead(network, network_has(network, FAMILY_6) ? AF_INET6 : AF_INET);

	return outer > overhead ? outer - overhead : 0;
}

bool network_has(const struct network *network, int family_index)
{
	return prefix_is_set(&network->pool[family_index].cidr);
}

static bool pool_equal(const struct pool *a, const struct pool *b)
{
	return prefix_equal(&a->cidr, &b->cidr) && a->block_len == b->block_len &&
	       addr_equal(&a->block_min, &b->block_min) && addr_equal(&a->block_max, &b->block_max);
}

bool network_equal(const struct network *a, const struct network *b)
{
	return pool_equal(&a->pool[FAMILY_4], &b->pool[FAMILY_4]) &&
	       pool_equal(&a->pool[FAMILY_6], &b->pool[FAMILY_6]) && strcmp(a->backend, b->backend) == 0 &&
	       a->encap == b->encap && a->routed == b->routed && a->direct_routing == b->direct_routing &&
	       a->vni == b->vni && a->port == b->port && a->gbp == b->gbp && a->learning == b->learning &&
	       a->mtu == b->mtu;
}
