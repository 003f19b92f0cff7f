/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * Packets of express flows that come from other nodes, at tc ingress of the uplink: before the guard, since what is taken here
 * comes from the very node that the inner source belongs to. Everything else goes on unchanged.
 */
#pragma once

#include "express_push.h"

struct vxlan {
	__be32 flags;
	__be32 vni; /* and 8 reserved bits */
};
#define VXLAN_ONLY_VNI 0x08000000

/* Where a packet came from, and to whom it goes. */
struct arrival {
	struct packet_addr sender; /* outer source */
	__u32 outer; /* bytes in front of the inner packet, behind the Ethernet header */
	__u32 kind;  /* enum express_kind */
	__u32 ifindex;
	__u8 mac[6];
	__u8 six;
	__u8 marked; /* it stays, but its flow is express */
};

enum { ARRIVAL_STAYS, ARRIVAL_TAKEN, ARRIVAL_DENIED };

static __always_inline int slot_fits(__u32 index, const struct arrival *arrival)
{
	const struct express_slot *slot = find_slot(index);

	return slot && slot->kind == arrival->kind &&
		(arrival->kind == EXPRESS_PLAIN || addr_equal(&slot->node, &arrival->sender));
}

/* Sums that are left to the receiver: a socket always fills in the outer one. */
static __always_inline void tell_whole(__u32 index, __u8 whole)
{
	struct express_slot *slot = find_slot(index);

	if (slot && slot->kind == EXPRESS_UDP && slot->whole != whole)
		slot->whole = whole;
}

/* The first packet of a flow, as its sender made it. */
static __noinline int open_arrival(struct __sk_buff *skb, struct scene *scene, __u32 slot, const struct policy_endpoint *pod,
	const struct policy_state *now)
{
	const struct packet *packet = &scene->packet;
	struct question question = {.table = pod->table[0], .port = packet->port, .sport = packet->sport, .protocol = packet->protocol};

	scene->peer = packet->src;
	scene->peer_port = packet->sport;
	classify(scene);
	if (scene->flags & POLICY_ADDRESS_OWN)
		return NOT_EXPRESS;
	tell_whole(slot, 1);
	if (question.table && !judge(skb, scene, &question))
		return POLICY_COUNT_INGRESS;
	return remember_express(scene, pod, now->epoch, 0, slot);
}

static __always_inline int renew_arrival(struct __sk_buff *skb, struct scene *scene, struct policy_flow *flow,
	const struct policy_endpoint *pod, const struct policy_state *now)
{
	int reason = rejudge(skb, scene, flow, pod, now);

	if (reason != OK)
		return reason;
	flow->way.slot = find_remote(&scene->key.remote);
	flow->flags &= ~POLICY_FLOW_LOCAL;
	return OK;
}

static __always_inline int look_at_arrival(struct __sk_buff *skb, struct scene *scene, struct arrival *arrival,
	const struct policy_endpoint *pod, const struct policy_state *now)
{
	struct policy_flow *flow;
	int reason = OK;
	__u32 slot;

	set_key(&scene->key, &scene->packet, 0);
	flow = is_opening(&scene->packet) ? NULL : find_flow(&scene->key, pod->serial, scene->now);
	if (!flow) {
		slot = find_remote(&scene->packet.src);
		if (!slot_fits(slot, arrival) || !opens_untranslated(skb, &scene->packet))
			return NOT_EXPRESS;
		reason = open_arrival(skb, scene, slot, pod, now);
		return reason == NOT_EXPRESS ? reason : count_allowed(skb, reason);
	}
	if (!is_express(flow))
		return NOT_EXPRESS;
	if (flow->epoch != now->epoch)
		reason = renew_arrival(skb, scene, flow, pod, now);
	if (reason != OK)
		return reason;
	touch(flow, &scene->packet, 0, scene->now);
	if (!slot_fits(flow->way.slot, arrival)) {
		arrival->marked = 1;
		return NOT_EXPRESS;
	}
	tell_whole(flow->way.slot, 1);
	return OK;
}

static __noinline int parse_arrival(struct __sk_buff *skb, const struct arrival *arrival, struct packet *packet)
{
	return arrival->six ? parse6(skb, arrival->outer, packet, 0) : parse4(skb, arrival->outer, packet, 0);
}

/* The longer way: flows that open, that have to be judged again, or to be kept alive. */
static __noinline int take_arrival(struct __sk_buff *skb, struct arrival *arrival)
{
	const struct policy_state *now = get_state();
	struct scene scene = {.side = SIDE_TO_POD};
	struct policy_endpoint *pod;
	__u32 *ifindex;
	int reason;

	if (!now || parse_arrival(skb, arrival, &scene.packet) != OK)
		return ARRIVAL_STAYS;
	ifindex = bpf_map_lookup_elem(&locals, &scene.packet.dst);
	if (!ifindex)
		return ARRIVAL_STAYS;
	scene.ifindex = *ifindex;
	pod = find_pod(scene.ifindex);
	if (!pod || !may_be_express(&scene.packet, pod, &scene.packet.dst) || scene.packet.fragment != FRAGMENT_NONE)
		return ARRIVAL_STAYS;
	scene.now = now_short();
	reason = look_at_arrival(skb, &scene, arrival, pod, now);
	if (reason == NOT_EXPRESS)
		return ARRIVAL_STAYS;
	if (reason != OK) {
		drop(skb, &scene, now, reason);
		return ARRIVAL_DENIED;
	}
	arrival->ifindex = scene.ifindex;
	__builtin_memcpy(arrival->mac, pod->mac, sizeof(arrival->mac));
	return ARRIVAL_TAKEN;
}

/* -- quick -- */

static __always_inline int find_arrival(struct __sk_buff *skb, struct arrival *arrival, __u32 outer)
{
	const struct policy_state *now = get_state();
	struct policy_flow_key key = {};
	struct policy_flow *flow;
	__u8 tcp = 0;

	if (!now || !read_quick(skb, ETH_HLEN + outer, 0, &key, &tcp))
		return ARRIVAL_STAYS;
	flow = find_quick(&key, now, tcp);
	if (!flow || !slot_fits(flow->way.slot, arrival) || !note_quick(flow, key.protocol, tcp, 0))
		return take_arrival(skb, arrival);
	if (arrival->kind == EXPRESS_UDP)
		tell_whole(flow->way.slot, 1);
	arrival->ifindex = flow->way.ifindex;
	__builtin_memcpy(arrival->mac, flow->way.mac, sizeof(arrival->mac));
	return ARRIVAL_TAKEN;
}

/* -- into the pod -- */

static __always_inline int enter_pod(struct __sk_buff *skb, const struct arrival *arrival)
{
	express_count(skb, EXPRESS_COUNT_IN);
	if (skb->mark)
		skb->mark = 0;
	return bpf_redirect_peer(arrival->ifindex, 0);
}

static __always_inline int deliver4(struct __sk_buff *skb, const struct arrival *arrival, __u32 outer)
{
	void *frame = start(skb);

	if (frame + ETH_HLEN + outer + sizeof(struct iphdr) > end(skb))
		return PASS;
	/* Before the strip, which moves the Ethernet header: no pointer has to be checked again. */
	set_macs(frame, arrival->mac);
	one_hop_less(frame + ETH_HLEN + outer);
	if (!outer)
		return enter_pod(skb, arrival);
	if (bpf_skb_adjust_room(skb, -(__s32)outer, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET)) {
		express_count(skb, EXPRESS_COUNT_LOST);
		return TC_ACT_SHOT;
	}
	/* What the network card said of checksums began with the outer one. */
	if (outer != OUTER_IPIP)
		bpf_csum_level(skb, BPF_CSUM_LEVEL_DEC);
	return enter_pod(skb, arrival);
}

/* Kernel's path for what it does better: the ends of lives, RFC 6040's rare cases. tos: the outer one. */
static __always_inline int can_take4(const struct __sk_buff *skb, const struct iphdr *ip, __u32 len, __u8 tos)
{
	const __u8 ecn = ip->tos & ECN_MASK;

	if (ip->ttl <= 1 || ip->ihl != 5 || bpf_ntohs(ip->tot_len) != len)
		return 0;
	tos &= ECN_MASK;
	return tos == ecn || (tos != ECN_CE && !(tos == 1 && ecn == ECN_ECT_0));
}

/* outer, kind: constants. The outer header has been looked at. */
static __always_inline int unwrap4(struct __sk_buff *skb, struct arrival *arrival, __u32 outer, int kind)
{
	const struct iphdr *ip = start(skb) + ETH_HLEN, *inner = start(skb) + ETH_HLEN + outer;
	const __u32 len = bpf_ntohs(ip->tot_len);
	int r;

	if ((void *)(inner + 1) > end(skb) || skb->len != ETH_HLEN + len || header_sum(ip) != 0xffff ||
		!can_take4(skb, inner, len - outer, ip->tos))
		return PASS;
	/* A super-packet that still counts as a tunnel's would be cut at the wrong place. */
	if (skb->gso_size && kind != EXPRESS_IPIP && inner->protocol != IPPROTO_TCP) {
		express_count(skb, EXPRESS_COUNT_GSO);
		return PASS;
	}
	arrival->sender = mapped(ip->saddr);
	arrival->outer = outer;
	arrival->kind = kind;
	r = find_arrival(skb, arrival, outer);
	if (r == ARRIVAL_TAKEN)
		return deliver4(skb, arrival, outer);
	return r == ARRIVAL_DENIED ? TC_ACT_SHOT : PASS;
}

/* A relay in user space, such as flanneld: nothing may be left for it to finish. */
static __always_inline int from_socket(struct __sk_buff *skb, const struct express_config *wanted)
{
	const struct iphdr *ip = start(skb) + ETH_HLEN, *inner = start(skb) + ETH_HLEN + OUTER_UDP;
	const struct udphdr *udp = (const void *)(ip + 1);
	struct packet_addr source;

	if ((void *)(inner + 1) > end(skb) || udp->dest != wanted->udp_port || ip->daddr != wanted->local[EXPRESS_UDP])
		return PASS;
	source = mapped(inner->saddr);
	tell_whole(find_remote(&source), 0);
	return PASS;
}

static __always_inline int from_udp(struct __sk_buff *skb, struct arrival *arrival, const struct express_config *wanted)
{
	const struct iphdr *ip = start(skb) + ETH_HLEN;
	const struct udphdr *udp = (const void *)(ip + 1);
	const struct vxlan *vxlan = (const void *)(udp + 1);
	const struct ethhdr *eth = (const void *)(vxlan + 1);

	if ((void *)(udp + 1) > end(skb) || bpf_ntohs(udp->len) != bpf_ntohs(ip->tot_len) - sizeof(*ip))
		return PASS;
	if (udp->check)
		return from_socket(skb, wanted);
	if (udp->dest == wanted->udp_port && ip->daddr == wanted->local[EXPRESS_UDP])
		return unwrap4(skb, arrival, OUTER_UDP, EXPRESS_UDP);
	if (udp->dest != wanted->vxlan_port || ip->daddr != wanted->local[EXPRESS_VXLAN] || (void *)(eth + 1) > end(skb) ||
		vxlan->flags != bpf_htonl(VXLAN_ONLY_VNI) || vxlan->vni != wanted->vni || eth->h_proto != bpf_htons(ETH_P_IP))
		return PASS;
	return unwrap4(skb, arrival, OUTER_VXLAN, EXPRESS_VXLAN);
}

/* A packet of an express flow that goes the kernel's way: conntrack must not see half of it. */
static __noinline int mark_known(struct __sk_buff *skb)
{
	const struct policy_state *now = get_state();
	struct policy_flow_key key = {};
	struct packet packet;

	if (!now || parse(skb, &packet) != OK || packet.fragment == FRAGMENT_LATER ||
		(packet.protocol != IPPROTO_TCP && packet.protocol != IPPROTO_UDP))
		return PASS;
	set_key(&key, &packet, 0);
	if (is_express(bpf_map_lookup_elem(&flows, &key)))
		skb->mark |= now->mark_express;
	return PASS;
}

static __always_inline int stay_plain(struct __sk_buff *skb, const struct arrival *arrival)
{
	const struct policy_state *now = get_state();

	if (arrival->marked && now)
		skb->mark |= now->mark_express;
	return PASS;
}

/* A packet that no tunnel carries. What is left to the kernel here comes up at this very device. */
static __always_inline int plain(struct __sk_buff *skb, struct arrival *arrival, int six)
{
	void *frame;
	int r;

	arrival->kind = EXPRESS_PLAIN;
	arrival->six = six;
	r = find_arrival(skb, arrival, 0);
	if (r == ARRIVAL_DENIED)
		return TC_ACT_SHOT;
	if (r != ARRIVAL_TAKEN)
		return stay_plain(skb, arrival);
	if (!six)
		return deliver4(skb, arrival, 0);
	frame = start(skb);
	if (frame + ETH_HLEN + sizeof(struct ipv6hdr) > end(skb))
		return PASS;
	set_macs(frame, arrival->mac);
	((struct ipv6hdr *)(frame + ETH_HLEN))->hop_limit--;
	return enter_pod(skb, arrival);
}

static __always_inline int arrive4(struct __sk_buff *skb, struct arrival *arrival, const struct express_config *wanted)
{
	const struct iphdr *ip;

	if (!ensure(skb, ETH_HLEN + sizeof(*ip) + L4_HEADER) || start(skb) + ETH_HLEN + sizeof(*ip) + L4_HEADER > end(skb))
		return PASS;
	ip = start(skb) + ETH_HLEN;
	if (ip->version != 4)
		return PASS;
	if (ip->ihl != 5 || ip->frag_off & bpf_htons(IP_MORE_OR_OFFSET))
		return ip->daddr == wanted->local[EXPRESS_PLAIN] || ip->frag_off & bpf_htons(IP_OFFSET) ? PASS : mark_known(skb);
	if (ip->protocol == IPPROTO_UDP && (ip->daddr == wanted->local[EXPRESS_VXLAN] || ip->daddr == wanted->local[EXPRESS_UDP])) {
		ensure(skb, ETH_HLEN + OUTER_VXLAN + sizeof(*ip) + TCP_HEADER);
		if (start(skb) + ETH_HLEN + sizeof(*ip) + L4_HEADER > end(skb))
			return PASS;
		return from_udp(skb, arrival, wanted);
	}
	if (ip->protocol == IPPROTO_IPIP && ip->daddr == wanted->local[EXPRESS_IPIP]) {
		ensure(skb, ETH_HLEN + OUTER_IPIP + sizeof(*ip) + TCP_HEADER);
		if (start(skb) + ETH_HLEN + sizeof(*ip) + L4_HEADER > end(skb))
			return PASS;
		return unwrap4(skb, arrival, OUTER_IPIP, EXPRESS_IPIP);
	}
	if (ip->daddr == wanted->local[EXPRESS_PLAIN] || ip->ttl <= 1)
		return PASS;
	ensure(skb, ETH_HLEN + sizeof(*ip) + TCP_HEADER);
	return plain(skb, arrival, 0);
}

static __always_inline int arrive6(struct __sk_buff *skb, struct arrival *arrival)
{
	const struct ipv6hdr *ip;

	if (!ensure(skb, ETH_HLEN + sizeof(*ip) + L4_HEADER) || start(skb) + ETH_HLEN + sizeof(*ip) + L4_HEADER > end(skb))
		return PASS;
	ip = start(skb) + ETH_HLEN;
	if (ip->version != 6 || ip->hop_limit <= 1)
		return PASS;
	if (ip->nexthdr != IPPROTO_TCP && ip->nexthdr != IPPROTO_UDP)
		return is_extension(ip->nexthdr) ? mark_known(skb) : PASS;
	return plain(skb, arrival, 1);
}
