/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * Decapsulation from IPv4: tc ingress of the uplink. Takes packets of protocol 4 to this node's own address, and nothing
 * else. The sender must be a node, and the inner source one that this node may send, as with UDP (udp_rx.h). Both are
 * judged before the outer header is touched.
 */
#pragma once

#include "carrier_strip.h"
#include "ipip.h"

/* payload: bytes that the outer header says it carries. */
static __always_inline int ipip_inner(struct __sk_buff *skb, const struct packet_addr *peer, __u32 payload, int congested)
{
	struct packet_addr source, dst;
	struct iphdr *ip;
	__u32 len;
	__u8 tos;

	ip = start(skb) + ETH_HLEN + OUTER_IPIP;
	if ((void *)(ip + 1) > end(skb))
		return drop(skb, CARRIER_COUNT_RX_INNER);
	len = bpf_ntohs(ip->tot_len);
	tos = ip->tos;
	if (ip->version != 4 || ip->ihl < 5 || len < ip->ihl * 4 || len > payload || (skb->gso_size && len != payload))
		return drop(skb, CARRIER_COUNT_RX_INNER);
	source = mapped(ip->saddr);
	dst = mapped(ip->daddr);
	if (!source_fits(block_find(&source), &source, peer, 0))
		return drop(skb, CARRIER_COUNT_RX_FOREIGN);
	if (ip->protocol == IPPROTO_IPIP && is_local(&dst, 0))
		return drop(skb, CARRIER_COUNT_RX_NESTED);
	if (congested && !tell_congestion4(skb, ETH_HLEN + OUTER_IPIP, tos))
		return drop(skb, CARRIER_COUNT_RX_CONGESTED);
	return deliver(skb, OUTER_IPIP);
}

SEC("tc")
int ipip_rx(struct __sk_buff *skb)
{
	struct packet_addr peer;
	struct iphdr *ip;
	__u32 len;

	if (skb->protocol != bpf_htons(ETH_P_IP) || !is_for_us(skb) || !ensure(skb, ETH_HLEN + sizeof(*ip)) ||
		start(skb) + ETH_HLEN + sizeof(*ip) > end(skb))
		return PASS;
	ip = start(skb) + ETH_HLEN;
	if (ip->protocol != IPPROTO_IPIP || ip->daddr != config.local[0].w[3] || !ip->daddr)
		return PASS;
	if (ip->frag_off & bpf_htons(IP_MORE_OR_OFFSET))
		return drop(skb, CARRIER_COUNT_RX_FRAGMENT);
	if (ip->ihl != 5)
		return drop(skb, CARRIER_COUNT_RX_OUTER);
	peer = mapped(ip->saddr);
	if (!bpf_map_lookup_elem(&peers, &peer))
		return drop(skb, CARRIER_COUNT_RX_NO_NODE);
	len = bpf_ntohs(ip->tot_len);
	if (header_sum(ip) != 0xffff || len < 2 * sizeof(*ip) || skb->len < ETH_HLEN + len)
		return drop(skb, CARRIER_COUNT_RX_OUTER);
	if (!ensure(skb, ETH_HLEN + OUTER_IPIP + sizeof(*ip)) || start(skb) + ETH_HLEN + sizeof(*ip) > end(skb))
		return drop(skb, CARRIER_COUNT_RX_INNER);
	ip = start(skb) + ETH_HLEN;
	return ipip_inner(skb, &peer, len - sizeof(*ip), (ip->tos & ECN_MASK) == ECN_CE);
}
