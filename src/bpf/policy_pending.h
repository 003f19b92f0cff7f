/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * Egress that could not be judged at the pod, because the destination was still to be translated: judged where the packet
 * leaves the node or enters another pod, by the address that it has then. The sender and the flow as it knows it are found by
 * conntrack; where that cannot be asked, by the source address, and by a pointer that was left when the packet came from the
 * pod.
 */
#pragma once

#include "policy_conntrack.h"
#include "policy_judge.h"
#include "policy_source.h"

static __always_inline struct policy_endpoint *find_pod(__u32 ifindex)
{
	return bpf_map_lookup_elem(&endpoints, &ifindex);
}

static __always_inline int is_stale(const struct policy_flow *flow, const struct policy_state *now)
{
	return flow->epoch != now->epoch && !now->keep;
}

static __always_inline int asks_conntrack(__u8 protocol)
{
	return config.conntrack && (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP);
}

static __always_inline struct policy_flow_key pointer_key(const struct policy_flow_key *key)
{
	return (struct policy_flow_key){.local = key->local, .local_port = key->local_port, .protocol = key->protocol};
}

/* Where the packet comes from the pod: the way back to its flow. */
static __noinline int leave_pointer(const struct scene *scene, __u32 serial)
{
	struct policy_flow_key key = pointer_key(&scene->key);
	struct policy_flow value = {.seen = scene->now, .serial = serial, .peer = scene->key.remote,
		.peer_port = scene->key.remote_port, .flags = POLICY_FLOW_FROM_POD | POLICY_FLOW_PENDING};
	struct policy_flow *found = find_flow(&key, serial, scene->now);

	if (found && found->peer_port == value.peer_port && addr_equal(&found->peer, &value.peer)) {
		found->seen = scene->now;
		return OK;
	}
	return bpf_map_update_elem(&flows, &key, &value, BPF_ANY) ? POLICY_COUNT_FLOWS_FULL : OK;
}

static __noinline int follow_pointer(struct scene *scene, __u32 serial)
{
	struct policy_flow_key key = pointer_key(&scene->key);
	struct policy_flow *pointer;

	if (find_flow(&scene->key, serial, scene->now))
		return 1;
	pointer = find_flow(&key, serial, scene->now);
	if (!pointer)
		return 0;
	scene->key.remote = pointer->peer;
	scene->key.remote_port = pointer->peer_port;
	return 1;
}

/* Who has this address: a pod of its own, or the one that the packet came from and that may use it. 0: none. */
static __noinline __u32 find_owner(struct __sk_buff *skb, const struct packet_addr *addr)
{
	__u32 *ifindex = bpf_map_lookup_elem(&locals, addr), came_by = skb->ingress_ifindex;
	struct policy_endpoint *pod;

	/* read once: the compiler would otherwise compute the field's address, which the verifier refuses */
	asm volatile("" : "+r"(came_by));
	if (ifindex)
		return *ifindex;
	pod = find_pod(came_by);
	return pod && (pod->flags & POLICY_ENDPOINT_FREE || is_allowed_source(came_by, addr)) ? came_by : 0;
}

/* The sender, whose flow the scene's key is then. Null: no pod of this node. */
static __noinline struct policy_endpoint *find_sender(struct __sk_buff *skb, struct scene *scene)
{
	struct policy_endpoint *pod;
	struct conntrack ct = {};
	int known;

	set_key(&scene->key, &scene->packet, 1);
	known = conntrack_find(skb, &scene->packet, 1, &ct) && !ct.is_reply;
	if (known) {
		scene->key.local = ct.src;
		scene->key.remote = ct.dst;
		scene->key.local_port = ct.sport;
		scene->key.remote_port = ct.dport;
	}
	scene->ifindex = find_owner(skb, &scene->key.local);
	pod = find_pod(scene->ifindex);
	if (pod && !known)
		follow_pointer(scene, pod->serial);
	return pod;
}

static __always_inline int is_confirmed(const struct policy_flow *flow, const struct scene *scene,
	const struct policy_state *now)
{
	return flow && !(flow->flags & (POLICY_FLOW_PENDING | POLICY_FLOW_EXPRESS)) && !is_stale(flow, now) && !is_opening(&scene->packet) &&
		flow->peer_port == scene->peer_port && addr_equal(&flow->peer, &scene->peer);
}

static __always_inline int judge_sender(struct __sk_buff *skb, struct scene *scene, const struct policy_endpoint *pod)
{
	struct question question = {.table = pod->table[1], .port = scene->packet.port, .sport = scene->key.local_port,
		.protocol = scene->packet.protocol};

	classify(scene);
	return judge(skb, scene, &question);
}

/* OK: the flow is confirmed, and replies pass. otherwise: what becomes of packets that no pod of this node has sent. */
static __noinline int judge_pending(struct __sk_buff *skb, struct scene *scene, const struct policy_state *now, int otherwise)
{
	struct policy_endpoint *pod = find_sender(skb, scene);
	__u32 flags = POLICY_FLOW_FROM_POD;
	struct policy_flow *flow;

	if (!pod)
		return otherwise;
	scene->peer = scene->packet.dst;
	scene->peer_port = scene->packet.dport;
	flow = find_flow(&scene->key, pod->serial, scene->now);
	if (is_confirmed(flow, scene, now))
		return OK;
	if (flow && !is_opening(&scene->packet))
		flags |= flow->flags & (POLICY_FLOW_REPLIED | POLICY_FLOW_CLOSING | POLICY_FLOW_OPEN);
	if (addr_equal(&scene->peer, &pod->addr[0]) || addr_equal(&scene->peer, &pod->addr[1])) {
		flags |= POLICY_FLOW_FREE;
	} else if (pod->table[1] && !judge_sender(skb, scene, pod)) {
		bpf_map_delete_elem(&flows, &scene->key);
		return POLICY_COUNT_EGRESS;
	}
	return remember(scene, pod->serial, now->epoch, flags);
}
