/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * Encapsulation: tc egress of the carrier device, and tc ingress of its twin. The first meets packets before the
 * kernel cuts and sums them, and sends most as they are (the uplink finishes them below the outer header). Three kinds
 * cannot go that way:
 * - super-packets other than TCP: the receiver's stack would take the inner UDP header for a tunnel's;
 * - super-packets that came in through a carrier over a virtual uplink and still count as encapsulated;
 * - what goes to a peer that is no carrier (struct carrier_block).
 * They are let through: the device has its offloads switched off, so the kernel finishes them, and they arrive at the
 * twin one by one.
 */
#pragma once

#include "carrier_parse.h"

#define EALREADY_CODE (-114)
#define PUSH_FLAGS (BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L4_UDP)

enum push { PUSH_DONE, PUSH_FINISH_FIRST, PUSH_FAILED };

static __always_inline enum push push(struct __sk_buff *skb, __u32 len, __u64 l3)
{
	long r = bpf_skb_adjust_room(skb, len, BPF_ADJ_ROOM_MAC, PUSH_FLAGS | l3);

	if (r == EALREADY_CODE) {
		if (skb->gso_size)
			return PUSH_FINISH_FIRST;
		/* A single packet needs no notes for segmentation. */
		r = bpf_skb_adjust_room(skb, len, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
	}
	return r ? PUSH_FAILED : PUSH_DONE;
}

/* Lengths that no outer header can state (BIG TCP) are cut, too. */
static __always_inline int must_be_cut(const struct __sk_buff *skb, __u8 protocol, __u32 outer)
{
	return skb->gso_size && (protocol != IPPROTO_TCP || skb->len + outer > 0xffff);
}

static __always_inline int must_be_finished(const struct __sk_buff *skb, const struct carrier_block *block)
{
	return !block->whole && skb->ifindex == config.device;
}

static __always_inline int finish_first(struct __sk_buff *skb)
{
	if (skb->ifindex != config.device)
		return drop(skb, CARRIER_COUNT_TX_PUSH);
	count(skb, CARRIER_COUNT_FINISHED);
	return PASS;
}

static __always_inline int push_failed(struct __sk_buff *skb, enum push result)
{
	return result == PUSH_FINISH_FIRST ? finish_first(skb) : drop(skb, CARRIER_COUNT_TX_PUSH);
}

static __always_inline void fill_udp(struct udphdr *udp, __u32 len)
{
	udp->source = config.port;
	udp->dest = config.port;
	udp->len = bpf_htons(len);
	udp->check = 0; /* the inner packet has its own; IPv6: RFC 6935, RFC 6936 */
}

static __always_inline int leave(struct __sk_buff *skb)
{
	count(skb, CARRIER_COUNT_SENT);
	skb->tc_index = CARRIER_TOKEN;
	return bpf_redirect_neigh(config.uplink, NULL, 0, 0);
}

static __always_inline int send4(struct __sk_buff *skb, __be32 peer, __u8 tos)
{
	enum push result = push(skb, OUTER4, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4);
	__u32 len = skb->len - ETH_HLEN;
	struct iphdr *ip;

	if (result != PUSH_DONE)
		return push_failed(skb, result);
	if (start(skb) + ETH_HLEN + OUTER4 > end(skb))
		return drop(skb, CARRIER_COUNT_TX_PUSH);
	ip = start(skb) + ETH_HLEN;
	ip->version = 4;
	ip->ihl = 5;
	ip->tos = tos; /* RFC 6040: ECN field copied too */
	ip->tot_len = bpf_htons(len);
	ip->id = 0; /* RFC 6864: without meaning while DF is set */
	ip->frag_off = bpf_htons(IP_DF);
	ip->ttl = 64;
	ip->protocol = IPPROTO_UDP;
	ip->check = 0;
	ip->saddr = config.local[0].w[3];
	ip->daddr = peer;
	ip->check = ~header_sum(ip);
	fill_udp((void *)(ip + 1), len - sizeof(*ip));
	return leave(skb);
}

static __always_inline int tx4(struct __sk_buff *skb)
{
	const struct carrier_block *block;
	struct carrier_addr dst;
	struct iphdr *ip;
	__u8 tos;

	if (!ensure(skb, ETH_HLEN + sizeof(*ip)) || start(skb) + ETH_HLEN + sizeof(*ip) > end(skb))
		return drop(skb, CARRIER_COUNT_TX_NOT_IP);
	ip = start(skb) + ETH_HLEN;
	if (ip->version != 4)
		return drop(skb, CARRIER_COUNT_TX_NOT_IP);
	if ((bpf_ntohl(ip->daddr) >> 28) >= 14)
		return drop(skb, CARRIER_COUNT_TX_NOT_UNICAST);
	dst = mapped(ip->daddr);
	tos = ip->tos;
	block = block_find(&dst);
	if (!block || addr_unset(&block->peer))
		return drop(skb, CARRIER_COUNT_TX_NO_PEER);
	if (!config.local[0].w[3])
		return drop(skb, CARRIER_COUNT_TX_NO_FAMILY);
	if (must_be_cut(skb, ip->protocol, OUTER4) || must_be_finished(skb, block))
		return finish_first(skb);
	return send4(skb, block->peer.w[3], tos);
}

static __always_inline int send6(struct __sk_buff *skb, const struct carrier_addr *peer, __u32 class)
{
	__u32 flow = bpf_get_hash_recalc(skb) & 0xfffff; /* RFC 6438: ports are always the same */
	enum push result = push(skb, OUTER6, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6);
	__u32 len = skb->len - ETH_HLEN - sizeof(struct ipv6hdr);
	struct ipv6hdr *ip;

	if (result != PUSH_DONE)
		return push_failed(skb, result);
	if (start(skb) + ETH_HLEN + OUTER6 > end(skb))
		return drop(skb, CARRIER_COUNT_TX_PUSH);
	ip = start(skb) + ETH_HLEN;
	*(__be32 *)ip = bpf_htonl(6u << 28 | class << 20 | flow);
	ip->payload_len = bpf_htons(len);
	ip->nexthdr = IPPROTO_UDP;
	ip->hop_limit = 64;
	*(struct carrier_addr *)&ip->saddr = config.local[1];
	*(struct carrier_addr *)&ip->daddr = *peer;
	fill_udp((void *)(ip + 1), len);
	return leave(skb);
}

static __always_inline int tx6(struct __sk_buff *skb)
{
	const struct carrier_block *block;
	struct carrier_addr dst, local = config.local[1];
	struct ipv6hdr *ip;
	__u32 class;

	if (!ensure(skb, ETH_HLEN + sizeof(*ip)) || start(skb) + ETH_HLEN + sizeof(*ip) > end(skb))
		return drop(skb, CARRIER_COUNT_TX_NOT_IP);
	ip = start(skb) + ETH_HLEN;
	if (ip->version != 6)
		return drop(skb, CARRIER_COUNT_TX_NOT_IP);
	dst = addr6(&ip->daddr);
	if ((dst.w[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000) ||
		(dst.w[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000))
		return drop(skb, CARRIER_COUNT_TX_NOT_UNICAST);
	class = bpf_ntohl(*(__be32 *)ip) >> 20 & 0xff;
	block = block_find(&dst);
	if (!block || addr_unset(&block->peer))
		return drop(skb, CARRIER_COUNT_TX_NO_PEER);
	if (addr_unset(&local))
		return drop(skb, CARRIER_COUNT_TX_NO_FAMILY);
	if (must_be_cut(skb, ip->nexthdr, OUTER6))
		return finish_first(skb);
	return send6(skb, &block->peer, class);
}

SEC("tc")
int carrier_tx(struct __sk_buff *skb)
{
	if (skb->vlan_present)
		return drop(skb, CARRIER_COUNT_TX_NOT_IP);
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return tx4(skb);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return tx6(skb);
	return drop(skb, CARRIER_COUNT_TX_NOT_IP);
}
