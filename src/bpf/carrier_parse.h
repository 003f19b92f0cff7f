/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * What the carrier's programs have in common, of whatever encapsulation: their maps, counting, whose an address is.
 */
#pragma once

#include "carrier_layout.h"
#include "packet.h"

const volatile struct carrier_config config = {};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, CARRIER_BLOCKS_MAX);
	__type(key, struct packet_prefix);
	__type(value, struct carrier_block);
} blocks SEC(".maps");

/* Outer addresses of all nodes but this one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, CARRIER_PEERS_MAX);
	__type(key, struct packet_addr);
	__type(value, __u32);
} peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CARRIER_COUNT_MAX);
	__type(key, __u32);
	__type(value, struct packet_count);
} counts SEC(".maps");

static __always_inline void count(const struct __sk_buff *skb, __u32 index)
{
	count_in(&counts, skb, index);
}

static __always_inline int drop(const struct __sk_buff *skb, __u32 index)
{
	count(skb, index);
	return TC_ACT_SHOT;
}

static __always_inline int is_local(const struct packet_addr *addr, int family)
{
	struct packet_addr local = config.local[family];

	return addr_equal(addr, &local);
}

static __always_inline struct carrier_block *block_find(const struct packet_addr *addr)
{
	struct packet_prefix key = {.len = 128, .addr = *addr};

	return bpf_map_lookup_elem(&blocks, &key);
}

/* May this peer send packets with this source? block: what block_find says of the source. */
static __always_inline int source_fits(const struct carrier_block *block, const struct packet_addr *source,
	const struct packet_addr *peer, int family)
{
	if (block)
		return addr_equal(&block->peer, peer);
	if (addr_equal(source, peer))
		return 1;
	return !is_local(source, family) && !bpf_map_lookup_elem(&peers, source);
}
