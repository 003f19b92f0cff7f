/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * A packet of an express flow leaves its pod: into another pod of this node, or by the uplink behind a header that is ready but
 * for a few fields. Whatever cannot go that way is left as it is, for the kernel's path.
 */
#pragma once

#include "carrier_layout.h"
#include "express_flow.h"
#include "express_quick.h"

#define OUTER_VXLAN 50
#define OUTER_UDP 28
#define OUTER_IPIP 20
#define ENCAP_IP4 (BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4)
#define EALREADY_CODE (-114)
#define HOST_MAC 0xee /* every byte of the MAC that the node has at pods' interfaces */

static __always_inline int stay(const struct __sk_buff *skb, __u32 why)
{
	express_count(skb, why);
	return NOT_EXPRESS;
}

static __always_inline void one_hop_less(struct iphdr *ip)
{
	__u32 check = ip->check + bpf_htons(0x0100);

	ip->check = check + (check >= 0xffff);
	ip->ttl--;
}

/* mac: aligned to words, and the frame to half of them. */
static __always_inline void set_macs(void *frame, const __u8 *mac)
{
	__u16 *to = frame;

#pragma unroll
	for (int i = 0; i < 3; i++) {
		to[i] = ((const __u16 *)mac)[i];
		to[i + 3] = HOST_MAC << 8 | HOST_MAC;
	}
}

/* -- within this node -- */

static __always_inline int send_local(struct __sk_buff *skb, __u32 ifindex, int six)
{
	struct policy_endpoint *pod = find_pod(ifindex);
	void *frame = start(skb);

	if (!pod || frame + ETH_HLEN + (six ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) > end(skb))
		return stay(skb, EXPRESS_COUNT_NO_WAY);
	set_macs(frame, pod->mac);
	if (six)
		((struct ipv6hdr *)(frame + ETH_HLEN))->hop_limit--;
	else
		one_hop_less(frame + ETH_HLEN);
	express_count(skb, EXPRESS_COUNT_LOCAL);
	if (skb->mark)
		skb->mark = 0;
	return bpf_redirect_peer(ifindex, 0);
}

/* -- to other nodes -- */

/* Of a super-packet each segment. l4: bytes of its header, as far as it matters. */
static __always_inline int fits(const struct __sk_buff *skb, const struct express_slot *slot, __u32 l3, __u32 l4)
{
	return skb->gso_size ? skb->gso_size + l3 + l4 <= slot->mtu : skb->len - ETH_HLEN <= slot->mtu;
}

static __always_inline int go(struct __sk_buff *skb, struct express_slot *slot)
{
	express_count(skb, EXPRESS_COUNT_OUT);
	return bpf_redirect_neigh(slot->device, (struct bpf_redir_neigh *)&slot->next_family, sizeof(struct bpf_redir_neigh), 0);
}

/* What the outer header takes from the inner one. */
struct inner4 {
	__u8 tos, ttl;
	__be16 df;
};

/* RFC 6040, compatibility mode, which is the kernel's for its own devices. */
static __always_inline __u8 compatible_ecn(__u8 tos)
{
	return (tos & ECN_MASK) == ECN_CE ? ECN_ECT_0 : tos & ECN_MASK;
}

/* By addresses and ports, which are where TCP and UDP over IPv4 without options have them. */
static __always_inline __u32 flow_hash(const struct __sk_buff *skb)
{
	const __u32 *words = start(skb) + ETH_HLEN + 12;

	if ((void *)(words + 3) > end(skb))
		return 1;
	return ((words[0] * 0x9e3779b1u ^ words[1]) * 0x85ebca77u ^ words[2]) * 0xc2b2ae3du;
}

static __always_inline __be16 vxlan_source(struct __sk_buff *skb, const struct express_slot *slot)
{
	__u32 hash = skb->hash;

	/* Of datagrams nobody has made one yet, and the kernel's way to do it costs more than all the rest here. */
	if (!hash)
		hash = flow_hash(skb);
	hash ^= hash << 16;
	return bpf_htons(slot->port_min + (__u32)((__u64)hash * slot->port_range >> 32));
}

static __always_inline int add_room(struct __sk_buff *skb, __u32 len, __u64 flags)
{
	long r = bpf_skb_adjust_room(skb, len, BPF_ADJ_ROOM_MAC, flags);

	/* It came in by a tunnel and still counts as encapsulated: a single packet needs no notes for segmentation. */
	if (r == EALREADY_CODE && !skb->gso_size)
		r = bpf_skb_adjust_room(skb, len, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
	return r == 0;
}

/* kind and outer are constants. */
static __always_inline int push_header(struct __sk_buff *skb, struct express_slot *slot, const struct inner4 *inner, int kind, __u32 outer,
	__u64 flags)
{
	const __u32 len = skb->len - ETH_HLEN + outer;
	__be16 sport = kind == EXPRESS_VXLAN ? vxlan_source(skb, slot) : 0;
	struct udphdr *udp;
	struct iphdr *ip;
	void *frame;
	__u32 sum;

	if (!add_room(skb, outer, flags))
		return stay(skb, EXPRESS_COUNT_REFUSED);
	frame = start(skb);
	if (frame + ETH_HLEN + outer + sizeof(*ip) > end(skb)) {
		express_count(skb, EXPRESS_COUNT_LOST);
		return TC_ACT_SHOT;
	}
#pragma unroll
	for (__u32 i = 0; i < (ETH_HLEN + outer) / 8; i++)
		((__u64 *)frame)[i] = slot->header[i];
	if ((ETH_HLEN + outer) % 8) /* 2 in each case */
		*(__u16 *)(frame + (ETH_HLEN + outer) / 8 * 8) = *(__u16 *)&slot->header[(ETH_HLEN + outer) / 8];
	one_hop_less(frame + ETH_HLEN + outer);
	ip = frame + ETH_HLEN;
	ip->tot_len = bpf_htons(len);
	sum = slot->sum + ip->tot_len;
	if (kind != EXPRESS_UDP) {
		ip->id = bpf_get_prandom_u32();
		ip->tos = compatible_ecn(inner->tos);
		sum += ip->id;
	} else {
		ip->tos = inner->tos;
	}
	sum += bpf_htons(ip->tos);
	if (kind == EXPRESS_IPIP) {
		ip->frag_off = inner->df;
		ip->ttl = inner->ttl;
		sum += inner->df + bpf_htons(inner->ttl << 8);
	}
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = ~((sum & 0xffff) + (sum >> 16));
	if (kind != EXPRESS_IPIP) {
		udp = (void *)(ip + 1);
		udp->len = bpf_htons(len - sizeof(*ip));
		if (kind == EXPRESS_VXLAN)
			udp->source = sport;
	}
	if (kind != EXPRESS_VXLAN)
		skb->tc_index = CARRIER_TOKEN;
	return OK;
}

static __always_inline int push(struct __sk_buff *skb, struct express_slot *slot, const struct inner4 *inner)
{
	if (slot->kind == EXPRESS_VXLAN)
		return push_header(skb, slot, inner, EXPRESS_VXLAN, OUTER_VXLAN, ENCAP_IP4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP |
			BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH);
	if (slot->kind == EXPRESS_UDP)
		return push_header(skb, slot, inner, EXPRESS_UDP, OUTER_UDP, ENCAP_IP4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP);
	return push_header(skb, slot, inner, EXPRESS_IPIP, OUTER_IPIP, ENCAP_IP4);
}

/* -- the two families -- */

static __always_inline __u32 tcp_header(const struct __sk_buff *skb, __u32 offset)
{
	const __u8 *length = start(skb) + offset + 12;

	return (void *)(length + 1) > end(skb) ? 60 : (*length >> 4) * 4;
}

static __always_inline int send4(struct __sk_buff *skb, const struct policy_flow *flow)
{
	struct iphdr *ip = start(skb) + ETH_HLEN;
	struct express_slot *slot;
	struct inner4 inner;
	int r, tcp;

	if ((void *)(ip + 1) > end(skb) || ip->ihl != 5 || ip->frag_off & bpf_htons(IP_MORE_OR_OFFSET))
		return stay(skb, EXPRESS_COUNT_ODD);
	if (ip->ttl <= 1)
		return stay(skb, EXPRESS_COUNT_TTL);
	if (flow->flags & POLICY_FLOW_LOCAL)
		return send_local(skb, flow->way.slot, 0);
	slot = find_slot(flow->way.slot);
	if (!slot || !slot->kind)
		return stay(skb, EXPRESS_COUNT_NO_WAY);
	tcp = ip->protocol == IPPROTO_TCP;
	if (!fits(skb, slot, sizeof(*ip), tcp && skb->gso_size ? tcp_header(skb, ETH_HLEN + sizeof(*ip)) : L4_HEADER))
		return stay(skb, EXPRESS_COUNT_LONG);
	if (slot->kind == EXPRESS_PLAIN) {
		one_hop_less(ip);
	} else {
		if (slot->kind == EXPRESS_UDP && !slot->whole)
			return stay(skb, EXPRESS_COUNT_UNFINISHED);
		if (skb->gso_size && ((!tcp && slot->kind != EXPRESS_IPIP) || skb->len + OUTER_VXLAN > 0xffff))
			return stay(skb, EXPRESS_COUNT_GSO);
		inner = (struct inner4){.tos = ip->tos, .ttl = ip->ttl - 1, .df = ip->frag_off & bpf_htons(IP_DF)};
		r = push(skb, slot, &inner);
		if (r != OK)
			return r;
	}
	return go(skb, slot);
}

static __always_inline int send6(struct __sk_buff *skb, const struct policy_flow *flow)
{
	struct ipv6hdr *ip = start(skb) + ETH_HLEN;
	struct express_slot *slot;

	if ((void *)(ip + 1) > end(skb) || (ip->nexthdr != IPPROTO_TCP && ip->nexthdr != IPPROTO_UDP))
		return stay(skb, EXPRESS_COUNT_ODD);
	if (ip->hop_limit <= 1)
		return stay(skb, EXPRESS_COUNT_TTL);
	if (flow->flags & POLICY_FLOW_LOCAL)
		return send_local(skb, flow->way.slot, 1);
	slot = find_slot(flow->way.slot);
	if (!slot || slot->kind != EXPRESS_PLAIN)
		return stay(skb, EXPRESS_COUNT_NO_WAY);
	if (!fits(skb, slot, sizeof(*ip), ip->nexthdr == IPPROTO_TCP && skb->gso_size ? tcp_header(skb, ETH_HLEN + sizeof(*ip)) : L4_HEADER))
		return stay(skb, EXPRESS_COUNT_LONG);
	ip->hop_limit--;
	return go(skb, slot);
}

/* What a tc program returns, or NOT_EXPRESS: by the kernel's path, marked. */
static __noinline int express_send(struct __sk_buff *skb, const struct policy_flow *flow)
{
	return skb->protocol == bpf_htons(ETH_P_IP) ? send4(skb, flow) : send6(skb, flow);
}

/* After everything else has been looked at. */
static __always_inline int express_leave(struct __sk_buff *skb, const struct scene *scene)
{
	struct policy_flow *flow = bpf_map_lookup_elem(&flows, &scene->key);

	return is_express(flow) ? express_send(skb, flow) : NOT_EXPRESS;
}

/* -- the quick way: nothing about the flow is to be changed -- */

static __noinline struct policy_flow *find_quick_from_pod(struct __sk_buff *skb, const struct policy_state *now)
{
	const struct ethhdr *eth = start(skb);
	struct policy_flow_key key = {};
	struct policy_flow *flow;
	__u8 tcp = 0, differ = 0;

	if (skb->vlan_present || !read_quick(skb, ETH_HLEN, 1, &key, &tcp))
		return NULL;
	flow = find_quick(&key, now, tcp);
	eth = start(skb);
	if (!flow || flow->way.ifindex != skb->ifindex || (void *)(eth + 1) > end(skb))
		return NULL;
#pragma unroll
	for (int i = 0; i < ETH_ALEN; i++)
		differ |= eth->h_source[i] ^ flow->way.mac[i];
	return !differ && note_quick(flow, key.protocol, tcp, 1) ? flow : NULL;
}
