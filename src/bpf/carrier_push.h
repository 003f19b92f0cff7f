/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * Putting an outer header in front of a packet, of whatever encapsulation, and sending it. Called at tc egress of the
 * carrier device, and at tc ingress of its twin. The first meets packets before the kernel cuts and sums them, and sends
 * most as they are (the uplink finishes them below the outer header). Which cannot go that way depends on the
 * encapsulation; always super-packets that came in through a carrier over a virtual uplink and still count as
 * encapsulated. They are let through: the device has its offloads switched off, so the kernel finishes them, and they
 * arrive at the twin one by one.
 */
#pragma once

#include "carrier_parse.h"

#define EALREADY_CODE (-114)

enum push { PUSH_DONE, PUSH_FINISH_FIRST, PUSH_FAILED };

/* flags: BPF_F_ADJ_ROOM_ENCAP_*, the kernel's notes for segmentation. Fixed: the device's MTU leaves room for the outer
 * header, so segments keep their size. */
static __always_inline enum push push(struct __sk_buff *skb, __u32 len, __u64 flags)
{
	long r = bpf_skb_adjust_room(skb, len, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO | flags);

	if (r == EALREADY_CODE) {
		if (skb->gso_size)
			return PUSH_FINISH_FIRST;
		/* A single packet needs no notes for segmentation. */
		r = bpf_skb_adjust_room(skb, len, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
	}
	return r ? PUSH_FAILED : PUSH_DONE;
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

/* The fields that every outer IPv4 header has; the others are set before. */
static __always_inline void finish_ip4(struct iphdr *ip, __u32 len, __be32 peer)
{
	ip->version = 4;
	ip->ihl = 5;
	ip->tot_len = bpf_htons(len);
	ip->check = 0;
	ip->saddr = config.local[0].w[3];
	ip->daddr = peer;
	ip->check = ~header_sum(ip);
}

static __always_inline int leave(struct __sk_buff *skb)
{
	count(skb, CARRIER_COUNT_SENT);
	skb->tc_index = CARRIER_TOKEN;
	return bpf_redirect_neigh(config.uplink, NULL, 0, 0);
}

static __always_inline int is_unicast4(__be32 addr)
{
	return (bpf_ntohl(addr) >> 28) < 14;
}
