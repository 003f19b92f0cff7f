/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * A packet in the middle of a flow that is not in the table: no policy applied when it began, or the table was full. The
 * judgement depends on who began, and conntrack knows. Where it does not, each packet of a TCP connection is judged for
 * itself: if the direction were guessed, a connection that a new policy denies would live on as its own reply.
 */
#pragma once

#include "policy_pending.h"

#define NOT_RECALLED (-1)

enum recall {
	RECALL_DENIED,
	RECALL_ALLOWED,
	RECALL_FREE, /* whatever the policies say */
};

/* The packet answers: what counts is the judgement of whom it answers. This node and its pods always reach each other, and
 * by conntrack's word it is the node: its address there is nobody's who was masqueraded. */
static __noinline int judge_recalled(struct __sk_buff *skb, struct scene *scene, const struct policy_endpoint *pod,
	const struct conntrack *ct, int from_pod)
{
	struct question question = {.table = pod->table[from_pod ? 0 : 1], .protocol = scene->packet.protocol};

	scene->peer = from_pod ? ct->src : ct->server;
	scene->peer_port = from_pod ? ct->sport : ct->server_port;
	question.port = from_pod ? scene->key.local_port : scene->peer_port;
	question.sport = from_pod ? scene->peer_port : scene->key.local_port;
	if (!question.table)
		return RECALL_ALLOWED;
	classify(scene);
	if (scene->flags & POLICY_ADDRESS_OWN)
		return RECALL_FREE;
	return judge(skb, scene, &question) ? RECALL_ALLOWED : RECALL_DENIED;
}

static __noinline int recall(struct __sk_buff *skb, struct scene *scene, const struct policy_endpoint *pod,
	const struct policy_state *now, int from_pod)
{
	const int tcp = scene->packet.protocol == IPPROTO_TCP;
	__u32 flags = (from_pod ? 0 : POLICY_FLOW_FROM_POD) | POLICY_FLOW_REPLIED | POLICY_FLOW_OPEN;
	struct conntrack ct = {};
	int recalled;

	if (!conntrack_find(skb, &scene->packet, !from_pod, &ct)) {
		scene->stray = tcp;
		return NOT_RECALLED;
	}
	if (!ct.is_reply)
		return NOT_RECALLED;
	recalled = judge_recalled(skb, scene, pod, &ct, from_pod);
	if (recalled != RECALL_DENIED)
		return remember(scene, pod->serial, now->epoch, flags | (recalled == RECALL_FREE ? POLICY_FLOW_FREE : 0));
	/* of other protocols either side may begin at any time */
	if (!tcp)
		return NOT_RECALLED;
	return from_pod ? POLICY_COUNT_INGRESS : POLICY_COUNT_EGRESS;
}

/* This node's own packets are marked; others that come from its address were masqueraded. True: peer is who it was. */
static __noinline int find_masqueraded(struct __sk_buff *skb, struct scene *scene)
{
	struct conntrack ct = {};

	if (!conntrack_find(skb, &scene->packet, 1, &ct) || ct.is_reply)
		return 0;
	scene->peer = ct.src;
	scene->peer_port = ct.sport;
	return 1;
}
