/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * What nearly all packets of express flows are, read and found with the least effort: whole, without options, of a flow that is
 * of this epoch and was seen a moment ago. Everything else takes the longer way and comes back.
 */
#pragma once

#include "express_flow.h"

/* The key of the packet whose IP header is at offset, as the pod that sent it or gets it knows it. 0: look more closely. */
static __always_inline int read_quick4(struct __sk_buff *skb, __u32 offset, int from_pod, struct policy_flow_key *key, __u8 *tcp)
{
	const struct iphdr *ip = start(skb) + offset;
	const struct ports_at *at = start(skb) + offset + sizeof(*ip);

	if (start(skb) + offset + sizeof(*ip) + L4_HEADER > end(skb) || ip->version != 4 || ip->ihl != 5 ||
		ip->frag_off & bpf_htons(IP_MORE_OR_OFFSET))
		return 0;
	key->protocol = ip->protocol;
	if (ip->protocol == IPPROTO_TCP) {
		if (start(skb) + offset + sizeof(*ip) + TCP_HEADER > end(skb))
			return 0;
		*tcp = at->flags;
	} else if (ip->protocol != IPPROTO_UDP) {
		return 0;
	}
	key->local = mapped(from_pod ? ip->saddr : ip->daddr);
	key->remote = mapped(from_pod ? ip->daddr : ip->saddr);
	key->local_port = from_pod ? at->sport : at->dport;
	key->remote_port = from_pod ? at->dport : at->sport;
	return 1;
}

static __always_inline int read_quick6(struct __sk_buff *skb, __u32 offset, int from_pod, struct policy_flow_key *key, __u8 *tcp)
{
	const struct ipv6hdr *ip = start(skb) + offset;
	const struct ports_at *at = start(skb) + offset + sizeof(*ip);

	if (start(skb) + offset + sizeof(*ip) + L4_HEADER > end(skb) || ip->version != 6)
		return 0;
	key->protocol = ip->nexthdr;
	if (ip->nexthdr == IPPROTO_TCP) {
		if (start(skb) + offset + sizeof(*ip) + TCP_HEADER > end(skb))
			return 0;
		*tcp = at->flags;
	} else if (ip->nexthdr != IPPROTO_UDP) {
		return 0;
	}
	key->local = addr6(from_pod ? &ip->saddr : &ip->daddr);
	key->remote = addr6(from_pod ? &ip->daddr : &ip->saddr);
	key->local_port = from_pod ? at->sport : at->dport;
	key->remote_port = from_pod ? at->dport : at->sport;
	return !is_mapped(&key->local) && !is_mapped(&key->remote);
}

/* key is all zero. */
static __always_inline int read_quick(struct __sk_buff *skb, __u32 offset, int from_pod, struct policy_flow_key *key, __u8 *tcp)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return read_quick4(skb, offset, from_pod, key, tcp);
	return skb->protocol == bpf_htons(ETH_P_IPV6) && read_quick6(skb, offset, from_pod, key, tcp);
}

/* 0: the other end of a flow within the node has to be told. */
static __always_inline int note_quick(struct policy_flow *flow, __u8 protocol, __u8 tcp, int from_pod)
{
	const __u8 flags = flags_after(flow->flags, protocol, tcp, from_pod);

	if (flags == flow->flags)
		return 1;
	if (flags & POLICY_FLOW_LOCAL)
		return 0;
	flow->flags = flags;
	return 1;
}

/* An express flow that this packet does not open. The epoch being the same says that pod and policies are, too. */
static __always_inline struct policy_flow *find_quick(const struct policy_flow_key *key, const struct policy_state *now, __u8 tcp)
{
	struct policy_flow *flow;

	if ((tcp & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		return NULL;
	flow = bpf_map_lookup_elem(&flows, key);
	if (!is_express(flow) || flow->epoch != now->epoch || now_short() - flow->seen > REFRESH)
		return NULL;
	return flow;
}
