/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * The guard of UDP: tc egress of the uplink. A node trusts what other nodes send to the carrier's port, so nobody else on this
 * node may send there: neither a process with a UDP socket nor a pod that is masqueraded to the node's address. Only
 * whole UDP packets matter; a receiving carrier takes no fragments, options or extension headers.
 */
#pragma once

#include "carrier_parse.h"
#include "udp.h"

static __always_inline int to_peer(const struct packet_addr *dst, __be16 port)
{
	return port == config.port && bpf_map_lookup_elem(&peers, dst);
}

static __always_inline int guard4(struct __sk_buff *skb)
{
	struct packet_addr dst;
	struct udphdr *udp;
	struct iphdr *ip;

	if (!ensure(skb, ETH_HLEN + OUTER4) || start(skb) + ETH_HLEN + OUTER4 > end(skb))
		return PASS;
	ip = start(skb) + ETH_HLEN;
	udp = (void *)(ip + 1);
	if (ip->protocol != IPPROTO_UDP || ip->ihl != 5 || ip->frag_off & bpf_htons(IP_MORE_OR_OFFSET))
		return PASS;
	dst = mapped(ip->daddr);
	return to_peer(&dst, udp->dest) ? drop(skb, CARRIER_COUNT_FORGED) : PASS;
}

static __always_inline int guard6(struct __sk_buff *skb)
{
	struct packet_addr dst;
	struct ipv6hdr *ip;
	struct udphdr *udp;

	if (!ensure(skb, ETH_HLEN + OUTER6) || start(skb) + ETH_HLEN + OUTER6 > end(skb))
		return PASS;
	ip = start(skb) + ETH_HLEN;
	udp = (void *)(ip + 1);
	if (ip->nexthdr != IPPROTO_UDP)
		return PASS;
	dst = addr6(&ip->daddr);
	return to_peer(&dst, udp->dest) ? drop(skb, CARRIER_COUNT_FORGED) : PASS;
}

SEC("tc")
int udp_guard(struct __sk_buff *skb)
{
	if (skb->tc_index == CARRIER_TOKEN)
		return PASS;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return guard4(skb);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return guard6(skb);
	return PASS;
}
