/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * A packet in the middle of a flow that is not in the table: no policy applied when it began, or the table was full. The
 * judgement depends on who began, and conntrack knows. Where it does not, each packet of a TCP connection is judged for
 * itself: if the direction were guessed, a connection that a new policy denies would live on as its own reply.
 */
#pragma once

#include "policy_pending.h"

#define NOT_RECALLED (-1)

/* The packet answers: what counts is the judgement of whom it answers. */
static __noinline int judge_recalled(struct __sk_buff *skb, struct scene *scene, const struct policy_endpoint *pod,
	const struct conntrack *ct, int from_pod)
{
	struct question question = {.table = pod->table[from_pod ? 0 : 1], .protocol = scene->packet.protocol};

	scene->peer = from_pod ? ct->src : ct->server;
	scene->peer_port = from_pod ? ct->sport : ct->server_port;
	question.port = from_pod ? scene->key.local_port : scene->peer_port;
	question.sport = from_pod ? scene->peer_port : scene->key.local_port;
	if (!question.table)
		return 1;
	classify(scene);
	return judge(skb, scene, &question);
}

static __noinline int recall(struct __sk_buff *skb, struct scene *scene, const struct policy_endpoint *pod,
	const struct policy_state *now, int from_pod)
{
	const int tcp = scene->packet.protocol == IPPROTO_TCP;
	struct conntrack ct = {};

	if (!conntrack_find(skb, &scene->packet, !from_pod, &ct)) {
		scene->stray = tcp;
		return NOT_RECALLED;
	}
	if (!ct.is_reply)
		return NOT_RECALLED;
	if (judge_recalled(skb, scene, pod, &ct, from_pod))
		return remember(scene, pod->serial, now->epoch,
			(from_pod ? 0 : POLICY_FLOW_FROM_POD) | POLICY_FLOW_REPLIED | POLICY_FLOW_OPEN);
	/* of other protocols either side may begin at any time */
	if (!tcp)
		return NOT_RECALLED;
	return from_pod ? POLICY_COUNT_INGRESS : POLICY_COUNT_EGRESS;
}
