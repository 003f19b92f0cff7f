/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * Encapsulation in UDP: tc egress of the carrier device, and tc ingress of its twin. What the kernel has to finish first
 * (carrier_push.h), beside what was encapsulated before:
 * - super-packets other than TCP: the receiver's stack would take the inner UDP header for a tunnel's;
 * - what goes to a peer that is no carrier (struct carrier_block).
 */
#pragma once

#include "carrier_push.h"
#include "udp.h"

#define ENCAP4 (BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP)
#define ENCAP6 (BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP)

/* Lengths that no outer header can state (BIG TCP) are cut, too. */
static __always_inline int must_be_cut(const struct __sk_buff *skb, __u8 protocol, __u32 outer)
{
	return skb->gso_size && (protocol != IPPROTO_TCP || skb->len + outer > 0xffff);
}

static __always_inline int must_be_finished(const struct __sk_buff *skb, const struct carrier_block *block)
{
	return !block->whole && skb->ifindex == config.device;
}

static __always_inline void fill_udp(struct udphdr *udp, __u32 len)
{
	udp->source = config.port;
	udp->dest = config.port;
	udp->len = bpf_htons(len);
	udp->check = 0; /* the inner packet has its own; IPv6: RFC 6935, RFC 6936 */
}

static __always_inline int send4(struct __sk_buff *skb, __be32 peer, __u8 tos)
{
	enum push result = push(skb, OUTER4, ENCAP4);
	__u32 len = skb->len - ETH_HLEN;
	struct iphdr *ip;

	if (result != PUSH_DONE)
		return push_failed(skb, result);
	if (start(skb) + ETH_HLEN + OUTER4 > end(skb))
		return drop(skb, CARRIER_COUNT_TX_PUSH);
	ip = start(skb) + ETH_HLEN;
	ip->tos = tos; /* RFC 6040: ECN field copied too */
	ip->id = 0; /* RFC 6864: without meaning while DF is set */
	ip->frag_off = bpf_htons(IP_DF);
	ip->ttl = 64;
	ip->protocol = IPPROTO_UDP;
	finish_ip4(ip, len, peer);
	fill_udp((void *)(ip + 1), len - sizeof(*ip));
	return leave(skb);
}

static __always_inline int tx4(struct __sk_buff *skb)
{
	const struct carrier_block *block;
	struct packet_addr dst;
	struct iphdr *ip;
	__u8 tos;

	if (!ensure(skb, ETH_HLEN + sizeof(*ip)) || start(skb) + ETH_HLEN + sizeof(*ip) > end(skb))
		return drop(skb, CARRIER_COUNT_TX_NOT_IP);
	ip = start(skb) + ETH_HLEN;
	if (ip->version != 4)
		return drop(skb, CARRIER_COUNT_TX_NOT_IP);
	if (!is_unicast4(ip->daddr))
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

static __always_inline int send6(struct __sk_buff *skb, const struct packet_addr *peer, __u32 class)
{
	__u32 flow = bpf_get_hash_recalc(skb) & 0xfffff; /* RFC 6438: ports are always the same */
	enum push result = push(skb, OUTER6, ENCAP6);
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
	*(struct packet_addr *)&ip->saddr = config.local[1];
	*(struct packet_addr *)&ip->daddr = *peer;
	fill_udp((void *)(ip + 1), len);
	return leave(skb);
}

static __always_inline int tx6(struct __sk_buff *skb)
{
	const struct carrier_block *block;
	struct packet_addr dst, local = config.local[1];
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
int udp_tx(struct __sk_buff *skb)
{
	if (skb->vlan_present)
		return drop(skb, CARRIER_COUNT_TX_NOT_IP);
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return tx4(skb);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return tx6(skb);
	return drop(skb, CARRIER_COUNT_TX_NOT_IP);
}
