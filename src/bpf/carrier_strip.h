/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * Taking an outer header off, of whatever encapsulation. Called at tc ingress of the uplink, once sender and inner source
 * have been judged. The inner packet is then received on the carrier device.
 */
#pragma once

#include "carrier_parse.h"

/* RFC 6040 4.2: congestion met by the outer packet is told to the inner one, at offset. 0: it cannot be told, drop. */
static __always_inline int tell_congestion4(struct __sk_buff *skb, __u32 offset, __u8 tos)
{
	__u8 marked = tos | ECN_CE;

	if (!(tos & ECN_MASK))
		return 0;
	if (marked == tos)
		return 1;
	/* The check field is changed by the helper from the two halves of the header's first word. */
	if (bpf_l3_csum_replace(skb, offset + __builtin_offsetof(struct iphdr, check), bpf_htons(tos),
		bpf_htons(marked), 2))
		return 0;
	return !bpf_skb_store_bytes(skb, offset + 1, &marked, 1, 0);
}

static __always_inline int deliver(struct __sk_buff *skb, __s32 outer)
{
	struct ethhdr *eth;

	if (start(skb) + sizeof(*eth) > end(skb))
		return drop(skb, CARRIER_COUNT_RX_STRIP);
	/* Before the strip, which moves these 14 bytes: no pointer has to be checked again. */
	eth = start(skb);
	for (int i = 0; i < ETH_ALEN; i++)
		eth->h_dest[i] = config.mac[i]; /* memcpy would read the volatile as the zeros it is compiled with */
	if (bpf_skb_adjust_room(skb, -outer, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return drop(skb, CARRIER_COUNT_RX_STRIP);
	skb->tc_index = 0;
	count(skb, CARRIER_COUNT_RECEIVED);
	return bpf_redirect(config.device, BPF_F_INGRESS);
}

/* A tagged frame belongs to a VLAN device above; one to another host is seen in promiscuous mode only. */
static __always_inline int is_for_us(const struct __sk_buff *skb)
{
	return !skb->vlan_present && skb->pkt_type == PACKET_HOST;
}
