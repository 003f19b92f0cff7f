/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * The verdict routine, the only one. policy_layout.h says how the tables are read.
 */
#pragma once

#include "policy_flow.h"

struct question {
	__u64 table;
	__be16 port, sport; /* of the flow: its destination's, its source's */
	__u8 protocol;
};

static __always_inline struct policy_verdict *find_verdict(__u64 list, __u8 protocol, __be16 port)
{
	struct policy_port key = {.len = 96, .list = {(__u32)list, (__u32)(list >> 32)}, .protocol = protocol, .port = port};

	return bpf_map_lookup_elem(&ports, &key);
}

/* What the peer is: class and flags of the scene. */
static __noinline int classify(struct scene *scene)
{
	struct packet_prefix key = {.len = 128, .addr = scene->peer};
	struct policy_address *address = bpf_map_lookup_elem(&addresses, &key);

	scene->class = address ? address->class : 0;
	scene->flags = address ? address->flags : 0;
	return 0;
}

/* May the scene's peer and the pod do this? classify has been asked. */
int judge(struct __sk_buff *skb, struct scene *scene, const struct question *question);
__noinline int judge(struct __sk_buff *skb, struct scene *scene, const struct question *question)
{
	struct policy_verdict *verdict;
	struct policy_pair pair = {};
	__u32 log = 0;
	__u64 *list;

	if (!scene || !question)
		return 0;
	pair.table = question->table;
	pair.class = scene->class;
	list = bpf_map_lookup_elem(&pairs, &pair);
	scene->table = question->table;
	scene->list = 0;
	scene->bits = 0;
	if (!list) {
		pair.class = 0;
		list = bpf_map_lookup_elem(&pairs, &pair);
	}
	if (!list)
		return 0;
	scene->list = *list;
	verdict = find_verdict(*list, question->protocol, question->port);
	if (verdict && verdict->bits & POLICY_VERDICT_NEXT) {
		log = verdict->bits & POLICY_VERDICT_LOG;
		verdict = find_verdict(verdict->next, question->protocol, question->sport);
	}
	if (!verdict)
		return 0;
	scene->bits = verdict->bits | log;
	if (scene->bits & POLICY_VERDICT_LOG)
		tell(skb, scene, POLICY_EVENT_LOG,
			scene->bits & POLICY_VERDICT_ALLOW ? OK : scene->side == SIDE_TO_POD ? POLICY_COUNT_INGRESS : POLICY_COUNT_EGRESS);
	return scene->bits & POLICY_VERDICT_ALLOW;
}

static __always_inline __be16 echo_port(__u8 protocol)
{
	return bpf_htons(protocol == IPPROTO_ICMP ? ICMP4_ASK << 8 : ICMP6_ASK << 8);
}

/* A flow that is known, after the tables have changed: by what was judged then. Whoever meets it first does it for both
 * directions. */
static __noinline int judge_again(struct __sk_buff *skb, struct scene *scene, struct policy_flow *flow,
	const struct policy_endpoint *pod, __u32 epoch)
{
	const int egress = flow->flags & POLICY_FLOW_FROM_POD;
	struct question question = {.table = pod->table[egress ? 1 : 0], .protocol = scene->key.protocol};
	int reason = egress ? POLICY_COUNT_EGRESS : POLICY_COUNT_INGRESS;

	if (question.table && !(flow->flags & POLICY_FLOW_FREE)) {
		scene->peer = flow->flags & POLICY_FLOW_EXPRESS ? scene->key.remote : flow->peer;
		question.port = scene->key.echo ? echo_port(scene->key.protocol) : egress ? flow->peer_port : scene->key.local_port;
		question.sport = scene->key.echo ? 0 : egress ? scene->key.local_port : flow->peer_port;
		classify(scene);
		if (!judge(skb, scene, &question) && !(scene->flags & POLICY_ADDRESS_OWN && egress)) {
			/* Conntrack does not know who began an express flow: the entry stays, of the old epoch, and says it. */
			if (!(flow->flags & POLICY_FLOW_EXPRESS))
				bpf_map_delete_elem(&flows, &scene->key);
			return reason;
		}
	}
	flow->epoch = epoch;
	return OK;
}
