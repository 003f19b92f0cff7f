/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * Which flows are express, and with whom: opened where this node sees the first packet as its sender made it, judged by the
 * policies of all ends that are here, looked at again whenever the epoch has changed. Slow; what comes every time is in
 * express_push.h and express_strip.h.
 */
#pragma once

#include "express_maps.h"
#include "policy_pending.h"

#define NOT_EXPRESS (-2)

static __always_inline int is_express(const struct policy_flow *flow)
{
	return flow && flow->flags & POLICY_FLOW_EXPRESS;
}

/* Who may have flows that go round his own queue, and whose packets are all his own. */
static __always_inline int may_be_express(const struct packet *packet, const struct policy_endpoint *pod, const struct packet_addr *own)
{
	return (packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP) && is_own(pod, own) &&
		!(pod->flags & (POLICY_ENDPOINT_FREE | POLICY_ENDPOINT_SHAPED));
}

/* Nobody has translated it, or will: it is at its origin, and conntrack has not seen it from elsewhere. */
static __noinline int opens_untranslated(struct __sk_buff *skb, const struct packet *packet)
{
	struct conntrack ct = {};

	if (packet->fragment != FRAGMENT_NONE)
		return 0;
	if (packet->protocol == IPPROTO_TCP)
		return is_opening(packet);
	return config.express && config.conntrack && !conntrack_find(skb, packet, 0, &ct);
}

/* The scene's flow, of this pod. */
static __noinline int remember_express(const struct scene *scene, const struct policy_endpoint *pod, __u32 epoch, __u32 flags,
	__u32 slot)
{
	struct policy_flow flow = {.seen = scene->now, .epoch = epoch, .serial = pod->serial,
		.way = {.ifindex = scene->ifindex, .slot = slot}, .peer_port = scene->key.remote_port,
		.flags = flags | POLICY_FLOW_EXPRESS};

	__builtin_memcpy(flow.way.mac, pod->mac, sizeof(flow.way.mac));
	return bpf_map_update_elem(&flows, &scene->key, &flow, BPF_ANY) ? POLICY_COUNT_FLOWS_FULL : OK;
}

/* The other end of a flow between two pods of this node; and back. */
static __noinline int turn(struct scene *scene)
{
	struct policy_flow_key *key = &scene->key;
	__be16 port = key->local_port;

#pragma unroll
	for (int i = 0; i < 4; i++) {
		__u32 word = key->local.w[i];

		key->local.w[i] = key->remote.w[i];
		key->remote.w[i] = word;
	}
	key->local_port = key->remote_port;
	key->remote_port = port;
	return 0;
}

#define WAY_LOCAL (1U << 31) /* no interface and no slot has so high a number */

/* Where the packets of a pod go: the interface of another pod of this node, or a slot. 0: nowhere that we know. */
static __noinline __u32 find_way(const struct packet_addr *remote, __u32 own_ifindex)
{
	__u32 *ifindex = bpf_map_lookup_elem(&locals, remote);
	struct policy_endpoint *pod;
	__u32 slot;

	if (!ifindex)
		return find_remote(remote);
	slot = *ifindex;
	pod = find_pod(slot);
	if (!pod || slot == own_ifindex || pod->flags & (POLICY_ENDPOINT_FREE | POLICY_ENDPOINT_SHAPED))
		return 0;
	return slot | WAY_LOCAL;
}

/* The way that a flow takes from its first packet on; 0: it is not express. */
static __always_inline __u32 may_open(struct __sk_buff *skb, const struct scene *scene, const struct policy_endpoint *pod)
{
	const struct packet *packet = &scene->packet;
	__u32 way;

	if (!may_be_express(packet, pod, &packet->src) || (packet->protocol == IPPROTO_TCP && !is_opening(packet)))
		return 0;
	way = find_way(&packet->dst, scene->ifindex);
	return way && opens_untranslated(skb, packet) ? way : 0;
}

/* The receiver's side of a flow within this node, as if the packet came to it. The scene's own side is restored. */
static __always_inline int open_receiver(struct __sk_buff *skb, struct scene *scene, __u32 ifindex, __u32 epoch)
{
	const struct packet *packet = &scene->packet;
	struct policy_endpoint *pod = find_pod(ifindex);
	struct question question = {.port = packet->port, .sport = packet->sport, .protocol = packet->protocol};
	const __u32 own = scene->ifindex;
	int reason;

	if (!pod)
		return POLICY_COUNT_UNKNOWN;
	question.table = pod->table[0];
	turn(scene);
	scene->ifindex = ifindex;
	scene->side = SIDE_TO_POD;
	scene->peer = packet->src;
	scene->peer_port = packet->sport;
	if (question.table) {
		classify(scene);
		if (!judge(skb, scene, &question))
			return POLICY_COUNT_INGRESS;
	}
	reason = remember_express(scene, pod, epoch, POLICY_FLOW_LOCAL, own);
	turn(scene);
	scene->ifindex = own;
	scene->side = SIDE_FROM_POD;
	return reason;
}

/* The first packet of a flow, where it comes from the pod. NOT_EXPRESS: as it always was. */
static __noinline int open_express(struct __sk_buff *skb, struct scene *scene, const struct policy_endpoint *pod,
	const struct policy_state *now, __u32 way)
{
	const struct packet *packet = &scene->packet;
	struct question question = {.table = pod->table[1], .port = packet->port, .sport = packet->sport, .protocol = packet->protocol};
	const __u32 local = way & WAY_LOCAL;
	int reason = OK;

	way &= ~WAY_LOCAL;

	scene->peer = packet->dst;
	scene->peer_port = packet->dport;
	classify(scene);
	if ((scene->flags & (POLICY_ADDRESS_FINAL | POLICY_ADDRESS_OWN)) != POLICY_ADDRESS_FINAL)
		return NOT_EXPRESS;
	if (question.table && !judge(skb, scene, &question))
		return POLICY_COUNT_EGRESS;
	if (local)
		reason = open_receiver(skb, scene, way, now->epoch);
	if (reason == OK)
		reason = remember_express(scene, pod, now->epoch, POLICY_FLOW_FROM_POD | (local ? POLICY_FLOW_LOCAL : 0), way);
	scene->express = reason == OK;
	return reason;
}

/* -- after a change -- */

static __always_inline int rejudge(struct __sk_buff *skb, struct scene *scene, struct policy_flow *flow,
	const struct policy_endpoint *pod, const struct policy_state *now)
{
	if (now->keep) {
		flow->epoch = now->epoch;
		return OK;
	}
	return judge_again(skb, scene, flow, pod, now->epoch);
}

/* Within the node a packet passes one hook only, so that one tells the receiver's side. */
static __noinline int tell_receiver(struct scene *scene, const struct policy_flow *flow, __u32 epoch)
{
	const __u8 shared = POLICY_FLOW_REPLIED | POLICY_FLOW_CLOSING | POLICY_FLOW_OPEN;
	const __u32 own = scene->ifindex, other = flow->way.slot;
	struct policy_endpoint *pod = find_pod(other);
	struct policy_flow *found;
	__u8 flags;

	if (!pod)
		return 0;
	flags = (flow->flags & shared) | POLICY_FLOW_LOCAL | POLICY_FLOW_EXPRESS | (~flow->flags & POLICY_FLOW_FROM_POD);
	turn(scene);
	found = find_flow(&scene->key, pod->serial, scene->now);
	if (is_express(found)) {
		found->flags = flags;
		found->seen = scene->now;
	} else { /* the table was full once */
		scene->ifindex = other;
		remember_express(scene, pod, epoch, flags, own);
		scene->ifindex = own;
	}
	turn(scene);
	return 0;
}

/* The other pod's side: whoever of the two sends first has both judged. */
static __noinline int rejudge_receiver(struct __sk_buff *skb, struct scene *scene, __u32 ifindex, const struct policy_state *now)
{
	struct policy_endpoint *pod = find_pod(ifindex);
	const __u32 own = scene->ifindex;
	struct policy_flow *flow;
	int reason = OK;

	if (!pod)
		return POLICY_COUNT_UNKNOWN;
	turn(scene);
	scene->ifindex = ifindex;
	flow = find_flow(&scene->key, pod->serial, scene->now);
	if (flow && flow->epoch != now->epoch)
		reason = rejudge(skb, scene, flow, pod, now);
	turn(scene);
	scene->ifindex = own;
	return reason;
}

/* The way is looked up again, and all ends that are here are judged again. */
static __always_inline int renew(struct __sk_buff *skb, struct scene *scene, struct policy_flow *flow, const struct policy_endpoint *pod,
	const struct policy_state *now)
{
	const __u32 stale = flow->epoch;
	__u32 way = find_way(&scene->key.remote, scene->ifindex);
	const __u32 local = way & WAY_LOCAL;
	int reason = rejudge(skb, scene, flow, pod, now);

	if (reason != OK)
		return reason;
	way &= ~WAY_LOCAL;
	flow->way.slot = way;
	flow->flags = local ? flow->flags | POLICY_FLOW_LOCAL : flow->flags & ~POLICY_FLOW_LOCAL;
	if (!local)
		return OK;
	tell_receiver(scene, flow, stale);
	reason = rejudge_receiver(skb, scene, way, now);
	if (reason != OK)
		flow->epoch = stale;
	return reason;
}

/* A packet of a known express flow, from the pod. */
static __noinline int go_on_express(struct __sk_buff *skb, struct scene *scene, struct policy_flow *flow,
	const struct policy_endpoint *pod, const struct policy_state *now)
{
	const __u8 flags = flow->flags;

	if (flow->epoch != now->epoch) {
		int reason = renew(skb, scene, flow, pod, now);

		if (reason != OK)
			return reason;
	}
	touch(flow, &scene->packet, 1, scene->now);
	if (flow->flags & POLICY_FLOW_LOCAL && flow->way.slot && (flow->flags != flags || flow->seen == scene->now))
		tell_receiver(scene, flow, now->epoch);
	scene->express = 1;
	return OK;
}

/* Of pods without policy only express flows are known. */
static __noinline int express_only(struct __sk_buff *skb, struct scene *scene, const struct policy_endpoint *pod,
	const struct policy_state *now)
{
	struct policy_flow *flow;
	__u32 way;
	int reason;

	if (!may_be_express(&scene->packet, pod, &scene->packet.src) || scene->packet.fragment == FRAGMENT_LATER)
		return OK;
	set_key(&scene->key, &scene->packet, 1);
	flow = is_opening(&scene->packet) ? NULL : find_flow(&scene->key, pod->serial, scene->now);
	if (is_express(flow))
		return go_on_express(skb, scene, flow, pod, now);
	way = may_open(skb, scene, pod);
	if (!way)
		return OK;
	reason = open_express(skb, scene, pod, now, way);
	return reason == NOT_EXPRESS ? OK : reason;
}
