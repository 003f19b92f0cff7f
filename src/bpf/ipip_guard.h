/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * The guard of IPIP: tc egress of the uplink. As udp_guard.h for UDP: only the carrier sends protocol 4 to a node, no
 * process or pod with a raw socket. A fragment that the kernel made of the carrier's packet has lost the token, but the
 * carrier's device is too small for that to happen.
 */
#pragma once

#include "carrier_parse.h"
#include "ipip.h"

SEC("tc")
int ipip_guard(struct __sk_buff *skb)
{
	struct packet_addr dst;
	struct iphdr *ip;

	if (skb->tc_index == CARRIER_TOKEN || skb->protocol != bpf_htons(ETH_P_IP))
		return PASS;
	if (!ensure(skb, ETH_HLEN + sizeof(*ip)) || start(skb) + ETH_HLEN + sizeof(*ip) > end(skb))
		return PASS;
	ip = start(skb) + ETH_HLEN;
	if (ip->protocol != IPPROTO_IPIP)
		return PASS;
	dst = mapped(ip->daddr);
	return bpf_map_lookup_elem(&peers, &dst) ? drop(skb, CARRIER_COUNT_FORGED) : PASS;
}
