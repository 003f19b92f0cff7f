/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * The express path's own maps (express_layout.h), and its counters.
 */
#pragma once

#include "express_layout.h"
#include "policy_maps.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EXPRESS_SLOTS_MAX);
	__type(key, __u32);
	__type(value, struct express_slot);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, EXPRESS_REMOTES_MAX);
	__type(key, struct packet_prefix);
	__type(value, __u32); /* slot */
} remotes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct express_config);
} express SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EXPRESS_COUNT_MAX);
	__type(key, __u32);
	__type(value, struct packet_count);
} express_counts SEC(".maps");

static __always_inline void express_count(const struct __sk_buff *skb, __u32 index)
{
	count_in(&express_counts, skb, index);
}

static __always_inline struct express_slot *find_slot(__u32 index)
{
	return index ? bpf_map_lookup_elem(&slots, &index) : NULL;
}

/* The way to a pod of another node; 0: none. */
static __noinline __u32 find_remote(const struct packet_addr *addr)
{
	struct packet_prefix key = {.len = 128, .addr = *addr};
	__u32 *slot = bpf_map_lookup_elem(&remotes, &key);

	return slot ? *slot : 0;
}
