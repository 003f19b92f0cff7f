/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * What the carrier's three programs have in common: their maps, counting, addresses, and access to packet bytes.
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

#include "carrier_layout.h"

#define IP_DF 0x4000
#define IP_MORE_OR_OFFSET 0x3fff
#define IP_OFFSET 0x1fff
#define NEXTHDR_FRAGMENT 44
#define ECN_MASK 3
#define ECN_CE 3

#define OUTER4 (sizeof(struct iphdr) + sizeof(struct udphdr))
#define OUTER6 (sizeof(struct ipv6hdr) + sizeof(struct udphdr))

/* The frame is not ours: the next program, then the stack. */
#define PASS TC_ACT_UNSPEC

const volatile struct carrier_config config = {};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, CARRIER_BLOCKS_MAX);
	__type(key, struct carrier_block_key);
	__type(value, struct carrier_block);
} blocks SEC(".maps");

/* Outer addresses of all nodes but this one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, CARRIER_PEERS_MAX);
	__type(key, struct carrier_addr);
	__type(value, __u32);
} peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CARRIER_COUNT_MAX);
	__type(key, __u32);
	__type(value, struct carrier_count);
} counts SEC(".maps");

static __always_inline void count(const struct __sk_buff *skb, __u32 index)
{
	struct carrier_count *slot = bpf_map_lookup_elem(&counts, &index);

	if (slot) {
		slot->packets++;
		slot->bytes += skb->len;
	}
}

static __always_inline int drop(const struct __sk_buff *skb, __u32 index)
{
	count(skb, index);
	return TC_ACT_SHOT;
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

static __always_inline struct carrier_addr mapped(__be32 addr)
{
	return (struct carrier_addr){{0, 0, bpf_htonl(0xffff), addr}};
}

static __always_inline struct carrier_addr addr6(const struct in6_addr *addr)
{
	const __u32 *w = (const __u32 *)addr;

	return (struct carrier_addr){{w[0], w[1], w[2], w[3]}};
}

static __always_inline int addr_equal(const struct carrier_addr *a, const struct carrier_addr *b)
{
	return a->w[3] == b->w[3] && a->w[2] == b->w[2] && a->w[1] == b->w[1] && a->w[0] == b->w[0];
}

static __always_inline int addr_unset(const struct carrier_addr *a)
{
	return !(a->w[0] | a->w[1] | a->w[2] | a->w[3]);
}

static __always_inline int is_local(const struct carrier_addr *addr, int family)
{
	struct carrier_addr local = config.local[family];

	return addr_equal(addr, &local);
}

static __always_inline struct carrier_block *block_find(const struct carrier_addr *addr)
{
	struct carrier_block_key key = {.len = 128, .addr = *addr};

	return bpf_map_lookup_elem(&blocks, &key);
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
