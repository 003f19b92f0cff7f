/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * Flows that have been judged: found, kept fresh, entered. How long one lives without packets is less than conntrack gives
 * it where packets are translated: what conntrack has forgotten may be translated to somewhere else.
 */
#pragma once

#include "policy_maps.h"

#define TCP_OPEN_LIFE SECONDS(86400)
#define TCP_LIFE SECONDS(60)
#define UDP_REPLIED_LIFE SECONDS(118)
#define UDP_LIFE SECONDS(28)
#define ECHO_LIFE SECONDS(28)
#define OTHER_LIFE SECONDS(600)
#define REFRESH SECONDS(1)
#define FRAGMENT_LIFE SECONDS(30)

static __always_inline int is_echo(const struct packet *packet)
{
	return packet->icmp == ICMP_ASK || packet->icmp == ICMP_ANSWER;
}

/* Anything but ICMP other than echo. */
static __always_inline int has_flow(const struct packet *packet)
{
	return !packet->icmp || is_echo(packet);
}

static __always_inline int is_opening(const struct packet *packet)
{
	return packet->protocol == IPPROTO_TCP && (packet->tcp & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* Can kube-proxy and the like send it somewhere else? */
static __always_inline int is_translatable(const struct packet *packet)
{
	return packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP || packet->protocol == PROTOCOL_SCTP;
}

/* key is all zero. */
static __always_inline void set_key(struct policy_flow_key *key, const struct packet *packet, int from_pod)
{
	key->protocol = packet->protocol;
	if (is_echo(packet))
		key->echo = (packet->icmp == ICMP_ASK) == !!from_pod ? 1 : 2;
	if (from_pod) {
		key->local = packet->src;
		key->remote = packet->dst;
		key->local_port = packet->sport;
		key->remote_port = packet->dport;
	} else {
		key->local = packet->dst;
		key->remote = packet->src;
		key->local_port = packet->dport;
		key->remote_port = packet->sport;
	}
}

static __always_inline __u64 life_of(const struct policy_flow *flow, __u8 protocol)
{
	if (protocol == IPPROTO_TCP)
		return flow->flags & POLICY_FLOW_OPEN ? TCP_OPEN_LIFE : TCP_LIFE;
	if (protocol == IPPROTO_UDP)
		return flow->flags & POLICY_FLOW_REPLIED ? UDP_REPLIED_LIFE : UDP_LIFE;
	if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6)
		return ECHO_LIFE;
	return OTHER_LIFE;
}

/* Null: not known, or another pod's, or too long ago. */
static __always_inline struct policy_flow *find_flow(const struct policy_flow_key *key, __u32 serial, __u64 now)
{
	struct policy_flow *flow = bpf_map_lookup_elem(&flows, key);

	if (!flow || flow->serial != serial || (__s64)(now - flow->seen) > (__s64)life_of(flow, key->protocol))
		return NULL;
	return flow;
}

static __always_inline __u8 flags_after(__u8 flags, __u8 protocol, __u8 tcp, int from_pod)
{
	if (!!(flags & POLICY_FLOW_FROM_POD) != !!from_pod)
		flags |= POLICY_FLOW_REPLIED;
	if (protocol == IPPROTO_TCP) {
		if (tcp & (TCP_FIN | TCP_RST))
			flags = (flags | POLICY_FLOW_CLOSING) & ~POLICY_FLOW_OPEN;
		else if ((flags & (POLICY_FLOW_REPLIED | POLICY_FLOW_CLOSING)) == POLICY_FLOW_REPLIED)
			flags |= POLICY_FLOW_OPEN;
	}
	return flags;
}

/* Written to only where something changes: another CPU may have the same flow. */
static __always_inline void touch(struct policy_flow *flow, const struct packet *packet, int from_pod, __u64 now)
{
	const __u8 flags = flags_after(flow->flags, packet->protocol, packet->tcp, from_pod);

	if (flags != flow->flags)
		flow->flags = flags;
	if ((__s64)(now - flow->seen) > (__s64)REFRESH)
		flow->seen = now;
}

/* The scene's flow with these flags, about the scene's peer. OK, or why not. */
static __noinline int remember(const struct scene *scene, __u32 serial, __u32 epoch, __u32 flags)
{
	struct policy_flow flow = {.seen = scene->now, .epoch = epoch, .serial = serial, .peer = scene->peer,
		.peer_port = scene->peer_port, .flags = flags};

	if (!has_flow(&scene->packet) || scene->stray)
		return OK;
	return bpf_map_update_elem(&flows, &scene->key, &flow, BPF_ANY) ? POLICY_COUNT_FLOWS_FULL : OK;
}

/* -- fragments -- */

static __always_inline struct policy_fragment_key fragment_key(const struct packet *packet, __u32 ifindex, __u8 side)
{
	return (struct policy_fragment_key){.src = packet->src, .dst = packet->dst, .id = packet->id, .ifindex = ifindex,
		.protocol = packet->is6 ? 0 : packet->protocol, .direction = side};
}

/* What comes behind a first fragment that passed. */
static __noinline int find_fragment(const struct scene *scene, __u32 ifindex, __u32 *ret_pending)
{
	struct policy_fragment_key key = fragment_key(&scene->packet, ifindex, scene->side);
	struct policy_fragment *found = bpf_map_lookup_elem(&fragments, &key);

	if (!found || (__s64)(scene->now - found->seen) > (__s64)FRAGMENT_LIFE)
		return POLICY_COUNT_FRAGMENT;
	*ret_pending = found->pending;
	return OK;
}

static __noinline int remember_fragment(const struct scene *scene, __u32 ifindex, __u32 pending)
{
	struct policy_fragment_key key = fragment_key(&scene->packet, ifindex, scene->side);
	struct policy_fragment value = {.seen = scene->now, .pending = pending};

	return bpf_map_update_elem(&fragments, &key, &value, BPF_ANY) ? POLICY_COUNT_FLOWS_FULL : OK;
}
