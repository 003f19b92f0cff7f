/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * Encapsulation in IPv4: tc egress of the carrier device, and tc ingress of its twin. The kernel knows how to cut and sum
 * such packets below the outer header, whatever they carry, and every peer is a kernel: nothing has to be finished first
 * but what carrier_push.h names.
 */
#pragma once

#include "carrier_push.h"
#include "ipip.h"

/* What of the inner header the outer one repeats. */
struct inner {
	__be16 df;
	__u8 ttl, ecn;
};

/* RFC 6040, compatibility mode, which is the kernel's: the outer header never begins with congestion. DSCP stays 0. */
static __always_inline __u8 outer_ecn(__u8 tos)
{
	return (tos & ECN_MASK) == ECN_CE ? ECN_ECT_0 : tos & ECN_MASK;
}

static __always_inline int send_ipip(struct __sk_buff *skb, __be32 peer, const struct inner *inner)
{
	enum push result = push(skb, OUTER_IPIP, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4);
	__u32 len = skb->len - ETH_HLEN;
	struct iphdr *ip;

	if (result != PUSH_DONE)
		return push_failed(skb, result);
	if (start(skb) + ETH_HLEN + OUTER_IPIP > end(skb))
		return drop(skb, CARRIER_COUNT_TX_PUSH);
	ip = start(skb) + ETH_HLEN;
	ip->tos = inner->ecn;
	ip->id = bpf_get_prandom_u32();
	ip->frag_off = inner->df;
	ip->ttl = inner->ttl;
	ip->protocol = IPPROTO_IPIP;
	finish_ip4(ip, len, peer);
	return leave(skb);
}

SEC("tc")
int ipip_tx(struct __sk_buff *skb)
{
	const struct carrier_block *block;
	struct packet_addr dst;
	struct inner inner;
	struct iphdr *ip;

	if (skb->vlan_present || skb->protocol != bpf_htons(ETH_P_IP) || !ensure(skb, ETH_HLEN + sizeof(*ip)) ||
		start(skb) + ETH_HLEN + sizeof(*ip) > end(skb))
		return drop(skb, CARRIER_COUNT_TX_NOT_IP);
	ip = start(skb) + ETH_HLEN;
	if (ip->version != 4)
		return drop(skb, CARRIER_COUNT_TX_NOT_IP);
	if (!is_unicast4(ip->daddr))
		return drop(skb, CARRIER_COUNT_TX_NOT_UNICAST);
	dst = mapped(ip->daddr);
	inner = (struct inner){.df = ip->frag_off & bpf_htons(IP_DF), .ttl = ip->ttl, .ecn = outer_ecn(ip->tos)};
	block = block_find(&dst);
	if (!block || addr_unset(&block->peer))
		return drop(skb, CARRIER_COUNT_TX_NO_PEER);
	if (!config.local[0].w[3])
		return drop(skb, CARRIER_COUNT_TX_NO_FAMILY);
	/* A length that no outer header can state (BIG TCP). */
	if (skb->gso_size && skb->len - ETH_HLEN + OUTER_IPIP > 0xffff)
		return finish_first(skb);
	return send_ipip(skb, block->peer.w[3], &inner);
}
