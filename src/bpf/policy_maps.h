/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * The maps of policy (policy_layout.h), and what all three hooks do with them: count, tell, remember what they found out
 * about a packet.
 */
#pragma once

#include "packet.h"

#include "policy_layout.h"
#include "policy_parse.h"

const volatile struct policy_config config = {};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, POLICY_ADDRESSES_MAX);
	__type(key, struct packet_prefix);
	__type(value, struct policy_address);
} addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, POLICY_PAIRS_MAX);
	__type(key, struct policy_pair);
	__type(value, __u64); /* list */
} pairs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, POLICY_PORTS_MAX);
	__type(key, struct policy_port);
	__type(value, struct policy_verdict);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, POLICY_ENDPOINTS_MAX);
	__type(key, __u32);
	__type(value, struct policy_endpoint);
} endpoints SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, POLICY_LOCALS_MAX);
	__type(key, struct packet_addr);
	__type(value, __u32); /* interface index */
} locals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, POLICY_SOURCES_MAX);
	__type(key, struct policy_source);
	__type(value, __u32); /* nothing */
} sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, POLICY_HOSTS_MAX);
	__type(key, __u32);
	__type(value, struct policy_host);
} hosts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, POLICY_FLOWS_MAX);
	__type(key, struct policy_flow_key);
	__type(value, struct policy_flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, POLICY_FRAGMENTS_MAX);
	__type(key, struct policy_fragment_key);
	__type(value, struct policy_fragment);
} fragments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, POLICY_COUNT_MAX);
	__type(key, __u32);
	__type(value, struct packet_count);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct policy_state);
} state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, POLICY_EVENTS_BYTES);
} events SEC(".maps");

/* What is known about a packet while one of the programs looks at it. */
struct scene {
	struct packet packet;
	struct policy_flow_key key;
	/* Whom the judgement is about, and its result. */
	struct packet_addr peer;
	__be16 peer_port;
	__u8 bits;
	__u8 side; /* enum side */
	__u8 express; /* the packet is of an express flow */
	__u8 stray; /* in the middle of a flow of which nobody knows who began: nothing is remembered */
	__u32 ifindex; /* of the pod whose policy it is */
	__u32 flags;   /* of the peer's address */
	__u64 table, class, list;
	__u64 now;
};

enum side { SIDE_TO_POD, SIDE_FROM_POD, SIDE_EXIT };

/* Bits of 2^-20 s or so: what the maps keep times in. As exact as the kernel's tick, and for that at next to no cost. */
static __always_inline __u64 now_short(void)
{
	return bpf_ktime_get_coarse_ns() >> 20;
}
#define SECONDS(n) ((n) * 1000000000ULL >> 20)

static __noinline int tell(struct __sk_buff *skb, const struct scene *scene, __u32 kind, __u32 reason)
{
	struct policy_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event)
		return 0;
	event->time = bpf_ktime_get_boot_ns();
	event->kind = kind;
	event->reason = reason;
	event->ifindex = scene->ifindex;
	event->direction = scene->side != SIDE_TO_POD;
	event->src = scene->packet.src;
	event->dst = scene->packet.dst;
	event->sport = scene->packet.sport;
	event->dport = scene->packet.port;
	event->protocol = scene->packet.protocol;
	event->bits = scene->bits;
	event->length = skb->len;
	event->table = scene->table;
	event->class = scene->class;
	event->list = scene->list;
	event->peer = scene->peer;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

static __noinline int drop(struct __sk_buff *skb, const struct scene *scene, const struct policy_state *now, __u32 reason)
{
	count_in(&counts, skb, reason);
	if (now->watch)
		tell(skb, scene, POLICY_EVENT_DROP, reason);
	return TC_ACT_SHOT;
}

static __always_inline struct policy_state *get_state(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&state, &zero);
}

static __always_inline int count_allowed(struct __sk_buff *skb, int reason)
{
	if (reason == OK)
		count_in(&counts, skb, POLICY_COUNT_ALLOWED);
	return reason;
}
