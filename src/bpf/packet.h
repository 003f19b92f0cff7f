/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * What programs that look into packets have in common: addresses, and access to packet bytes.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "packet_layout.h"

#define IP_DF 0x4000
#define IP_MORE_OR_OFFSET 0x3fff
#define IP_OFFSET 0x1fff
#define NEXTHDR_FRAGMENT 44
#define ECN_MASK 3
#define ECN_ECT_0 2
#define ECN_CE 3

/* The frame is not ours: the next program, then the stack. */
#define PASS TC_ACT_UNSPEC

/* map: per-CPU array of struct packet_count. */
static __always_inline void count_in(void *map, const struct __sk_buff *skb, __u32 index)
{
	struct packet_count *slot = bpf_map_lookup_elem(map, &index);

	if (slot) {
		slot->packets++;
		slot->bytes += skb->len;
	}
}

static __always_inline void *start(const struct __sk_buff *skb)
{
	return (void *)(long)skb->data;
}

static __always_inline void *end(const struct __sk_buff *skb)
{
	return (void *)(long)skb->data_end;
}

/* Makes the first len bytes readable in place; pointers taken before are void then. */
static __always_inline int ensure(struct __sk_buff *skb, __u32 len)
{
	if (start(skb) + len <= end(skb))
		return 1;
	return !bpf_skb_pull_data(skb, len);
}

static __always_inline struct packet_addr mapped(__be32 addr)
{
	return (struct packet_addr){{0, 0, bpf_htonl(0xffff), addr}};
}

static __always_inline struct packet_addr addr6(const struct in6_addr *addr)
{
	const __u32 *w = (const __u32 *)addr;

	return (struct packet_addr){{w[0], w[1], w[2], w[3]}};
}

static __always_inline int addr_equal(const struct packet_addr *a, const struct packet_addr *b)
{
	return a->w[3] == b->w[3] && a->w[2] == b->w[2] && a->w[1] == b->w[1] && a->w[0] == b->w[0];
}

static __always_inline int addr_unset(const struct packet_addr *a)
{
	return !(a->w[0] | a->w[1] | a->w[2] | a->w[3]);
}

/* One's complement sum of an IPv4 header without options, folded; 0xffff when its check field is right. */
static __always_inline __u16 header_sum(const struct iphdr *ip)
{
	const __u16 *half = (const __u16 *)ip;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += half[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}
