/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * Decapsulation from UDP: tc ingress of the uplink. Takes UDP packets to this node's own address and the carrier's port, and
 * nothing else. The sender must be a node, and the inner source one that this node may send: an address of its own
 * blocks, or one that belongs to no node (clients outside that are routed through it). Both are judged before the outer
 * header is touched. The inner packet is then received on the carrier device.
 */
#pragma once

#include "carrier_strip.h"
#include "udp.h"

/* And remembers whether the peer is a carrier. */
static __always_inline int udp_source_fits(const struct packet_addr *source, const struct packet_addr *peer, int family,
	__u32 whole)
{
	struct carrier_block *block = block_find(source);

	if (!source_fits(block, source, peer, family))
		return 0;
	if (block && block->whole != whole)
		block->whole = whole;
	return 1;
}

static __always_inline int tell_congestion6(struct __sk_buff *skb, __u32 first)
{
	__be32 marked = bpf_htonl(first | ECN_CE << 20);

	if (!(first >> 20 & ECN_MASK))
		return 0;
	return !bpf_skb_store_bytes(skb, ETH_HLEN + OUTER6, &marked, 4, BPF_F_RECOMPUTE_CSUM);
}

/* A UDP packet to us that the outer header's fields do not let us read in place. Only a first fragment, or a header with
 * options, shows a port; what is not ours is the stack's. */
static __always_inline int odd_outer(struct __sk_buff *skb, __u32 udp_offset, __u32 reason)
{
	__be16 port;

	if (bpf_skb_load_bytes(skb, udp_offset + 2, &port, sizeof(port)) || port != config.port)
		return PASS;
	return drop(skb, reason);
}

static __always_inline int nested(__u8 protocol, const struct udphdr *udp)
{
	return protocol == IPPROTO_UDP && udp->dest == config.port;
}

struct outer {
	struct packet_addr peer;
	__u32 payload; /* bytes */
	__u32 whole;   /* struct carrier_block */
	int congested;
};

static __always_inline int inner4(struct __sk_buff *skb, const struct outer *outer)
{
	struct packet_addr source, dst;
	struct iphdr *ip;
	__u32 len;
	__u8 tos;

	if (outer->payload < sizeof(*ip) || !ensure(skb, ETH_HLEN + OUTER4 + sizeof(*ip)) ||
		start(skb) + ETH_HLEN + OUTER4 + sizeof(*ip) > end(skb))
		return drop(skb, CARRIER_COUNT_RX_INNER);
	ip = start(skb) + ETH_HLEN + OUTER4;
	len = bpf_ntohs(ip->tot_len);
	tos = ip->tos;
	if (ip->version != 4 || ip->ihl < 5 || len < ip->ihl * 4 || len > outer->payload ||
		(skb->gso_size && len != outer->payload))
		return drop(skb, CARRIER_COUNT_RX_INNER);
	source = mapped(ip->saddr);
	dst = mapped(ip->daddr);
	if (!udp_source_fits(&source, &outer->peer, 0, outer->whole))
		return drop(skb, CARRIER_COUNT_RX_FOREIGN);
	if (is_local(&dst, 0)) {
		struct udphdr udp = {};

		bpf_skb_load_bytes(skb, ETH_HLEN + OUTER4 + ip->ihl * 4, &udp, sizeof(udp));
		ip = start(skb) + ETH_HLEN + OUTER4;
		if ((void *)(ip + 1) > end(skb) || nested(ip->protocol, &udp))
			return drop(skb, CARRIER_COUNT_RX_NESTED);
	}
	if (outer->congested && !tell_congestion4(skb, ETH_HLEN + OUTER4, tos))
		return drop(skb, CARRIER_COUNT_RX_CONGESTED);
	return deliver(skb, OUTER4);
}

static __always_inline int rx4(struct __sk_buff *skb)
{
	struct outer outer;
	struct udphdr *udp;
	struct iphdr *ip;
	__u32 len, udp_len;

	if (!ensure(skb, ETH_HLEN + sizeof(*ip)) || start(skb) + ETH_HLEN + sizeof(*ip) > end(skb))
		return PASS;
	ip = start(skb) + ETH_HLEN;
	if (ip->protocol != IPPROTO_UDP || ip->daddr != config.local[0].w[3] || !ip->daddr)
		return PASS;
	if (ip->frag_off & bpf_htons(IP_MORE_OR_OFFSET)) {
		if (ip->frag_off & bpf_htons(IP_OFFSET))
			return PASS;
		return odd_outer(skb, ETH_HLEN + ip->ihl * 4, CARRIER_COUNT_RX_FRAGMENT);
	}
	if (ip->ihl != 5)
		return odd_outer(skb, ETH_HLEN + ip->ihl * 4, CARRIER_COUNT_RX_OUTER);
	if (!ensure(skb, ETH_HLEN + OUTER4) || start(skb) + ETH_HLEN + OUTER4 > end(skb))
		return PASS;
	ip = start(skb) + ETH_HLEN;
	udp = (void *)(ip + 1);
	if (udp->dest != config.port)
		return PASS;
	outer.peer = mapped(ip->saddr);
	if (!bpf_map_lookup_elem(&peers, &outer.peer))
		return drop(skb, CARRIER_COUNT_RX_NO_NODE);
	len = bpf_ntohs(ip->tot_len);
	udp_len = bpf_ntohs(udp->len);
	if (header_sum(ip) != 0xffff || udp_len < sizeof(*udp) || len < sizeof(*ip) + udp_len ||
		skb->len < ETH_HLEN + len)
		return drop(skb, CARRIER_COUNT_RX_OUTER);
	outer.payload = udp_len - sizeof(*udp);
	outer.whole = !udp->check;
	outer.congested = (ip->tos & ECN_MASK) == ECN_CE;
	return inner4(skb, &outer);
}

static __always_inline int inner6(struct __sk_buff *skb, const struct outer *outer)
{
	struct packet_addr source, dst;
	struct ipv6hdr *ip;
	__u32 first, len;

	if (outer->payload < sizeof(*ip) || !ensure(skb, ETH_HLEN + OUTER6 + sizeof(*ip)) ||
		start(skb) + ETH_HLEN + OUTER6 + sizeof(*ip) > end(skb))
		return drop(skb, CARRIER_COUNT_RX_INNER);
	ip = start(skb) + ETH_HLEN + OUTER6;
	len = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	first = bpf_ntohl(*(__be32 *)ip);
	if (ip->version != 6 || len > outer->payload ||
		(skb->gso_size && len != outer->payload))
		return drop(skb, CARRIER_COUNT_RX_INNER);
	source = addr6(&ip->saddr);
	dst = addr6(&ip->daddr);
	if (!udp_source_fits(&source, &outer->peer, 1, outer->whole))
		return drop(skb, CARRIER_COUNT_RX_FOREIGN);
	if (is_local(&dst, 1)) {
		struct udphdr udp = {};

		bpf_skb_load_bytes(skb, ETH_HLEN + OUTER6 + sizeof(*ip), &udp, sizeof(udp));
		ip = start(skb) + ETH_HLEN + OUTER6;
		if ((void *)(ip + 1) > end(skb) || nested(ip->nexthdr, &udp))
			return drop(skb, CARRIER_COUNT_RX_NESTED);
	}
	if (outer->congested && !tell_congestion6(skb, first))
		return drop(skb, CARRIER_COUNT_RX_CONGESTED);
	return deliver(skb, OUTER6);
}

/* Behind a fragment header: offset and flags at +2, the UDP header at +8 of the first one. */
static __always_inline int fragment6(struct __sk_buff *skb)
{
	const __u32 offset = ETH_HLEN + sizeof(struct ipv6hdr);
	__be16 place;
	__u8 next;

	if (bpf_skb_load_bytes(skb, offset, &next, 1) || next != IPPROTO_UDP ||
		bpf_skb_load_bytes(skb, offset + 2, &place, 2) || place & bpf_htons(0xfff8))
		return PASS;
	return odd_outer(skb, offset + 8, CARRIER_COUNT_RX_FRAGMENT);
}

static __always_inline int rx6(struct __sk_buff *skb)
{
	struct packet_addr dst;
	struct outer outer;
	struct ipv6hdr *ip;
	struct udphdr *udp;
	__u32 len, udp_len;

	if (!ensure(skb, ETH_HLEN + sizeof(*ip)) || start(skb) + ETH_HLEN + sizeof(*ip) > end(skb))
		return PASS;
	ip = start(skb) + ETH_HLEN;
	if (ip->nexthdr != IPPROTO_UDP && ip->nexthdr != NEXTHDR_FRAGMENT)
		return PASS;
	dst = addr6(&ip->daddr);
	if (addr_unset(&dst) || !is_local(&dst, 1))
		return PASS;
	if (ip->nexthdr == NEXTHDR_FRAGMENT)
		return fragment6(skb);
	if (!ensure(skb, ETH_HLEN + OUTER6) || start(skb) + ETH_HLEN + OUTER6 > end(skb))
		return PASS;
	ip = start(skb) + ETH_HLEN;
	udp = (void *)(ip + 1);
	if (udp->dest != config.port)
		return PASS;
	outer.peer = addr6(&ip->saddr);
	if (!bpf_map_lookup_elem(&peers, &outer.peer))
		return drop(skb, CARRIER_COUNT_RX_NO_NODE);
	len = bpf_ntohs(ip->payload_len);
	udp_len = bpf_ntohs(udp->len);
	if (udp_len < sizeof(*udp) || len < udp_len || skb->len < ETH_HLEN + sizeof(*ip) + len)
		return drop(skb, CARRIER_COUNT_RX_OUTER);
	outer.payload = udp_len - sizeof(*udp);
	outer.whole = !udp->check;
	outer.congested = (bpf_ntohl(*(__be32 *)ip) >> 20 & ECN_MASK) == ECN_CE;
	return inner6(skb, &outer);
}

SEC("tc")
int udp_rx(struct __sk_buff *skb)
{
	if (!is_for_us(skb))
		return PASS;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return rx4(skb);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return rx6(skb);
	return PASS;
}
