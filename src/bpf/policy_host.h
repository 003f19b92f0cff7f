/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * Host endpoints. What comes in by their interfaces is judged before anybody knows whether it is this node's or will be forwarded, and
 * whether it answers: two bits of the mark carry the judgement to the nft table, which knows (plan/policy_nft.c). What it
 * marks in turn, new flows that are forwarded and what the node itself sends, is judged where it leaves, after translation.
 */
#pragma once

#include "policy_recall.h"

static __always_inline struct policy_host *find_host(__u32 ifindex)
{
	return bpf_map_lookup_elem(&hosts, &ifindex);
}

enum answer { ANSWER_DENIED, ANSWER_ALLOWED, ANSWER_LEFT };

/* What a table says about the scene's peer, whose class is known. */
static __noinline int ask_table(struct __sk_buff *skb, struct scene *scene, __u64 table, __be16 sport)
{
	struct question question = {.table = table, .port = scene->packet.port, .sport = sport, .protocol = scene->packet.protocol};

	if (!table)
		return ANSWER_LEFT;
	if (judge(skb, scene, &question))
		return ANSWER_ALLOWED;
	return scene->bits & POLICY_VERDICT_ON ? ANSWER_LEFT : ANSWER_DENIED;
}

/* -- what comes in -- */

/* The bits of the mark: pending, denied if it is for this node; both, also if it is forwarded; host, allowed and not to be tracked. */
static __noinline __u32 judge_incoming(struct __sk_buff *skb, struct scene *scene, const struct policy_host *host,
	const struct policy_state *now)
{
	const __u32 both = now->mark_pending | now->mark_host;
	const __be16 sport = scene->packet.sport;
	int early;

	scene->peer = scene->packet.src;
	classify(scene);
	early = ask_table(skb, scene, host->table[POLICY_TRAFFIC_UNTRACKED][0], sport);
	if (early == ANSWER_ALLOWED)
		return now->mark_host;
	if (early == ANSWER_LEFT)
		early = ask_table(skb, scene, host->table[POLICY_TRAFFIC_PRE_DNAT][0], sport);
	if (early != ANSWER_LEFT)
		return early == ANSWER_DENIED ? both : 0;
	return ask_table(skb, scene, host->table[POLICY_TRAFFIC_LOCAL][0], sport) == ANSWER_DENIED ? now->mark_pending : 0;
}

/* -- what leaves -- */

/* This node's own. */
static __noinline int judge_own(struct __sk_buff *skb, struct scene *scene, const struct policy_host *host)
{
	const __be16 sport = scene->packet.sport;
	int answer;

	if (scene->packet.icmp == ICMP_LINK)
		return OK;
	scene->peer = scene->packet.dst;
	classify(scene);
	answer = ask_table(skb, scene, host->table[POLICY_TRAFFIC_UNTRACKED][1], sport);
	if (answer == ANSWER_LEFT)
		answer = ask_table(skb, scene, host->table[POLICY_TRAFFIC_LOCAL][1], sport);
	return answer == ANSWER_DENIED ? POLICY_COUNT_HOST : OK;
}

/* A new flow that is forwarded, by whom it came in and goes out. ret_crosses: one of them is a host endpoint's. */
static __noinline int judge_crossing(struct __sk_buff *skb, struct scene *scene, __u32 *ret_crosses)
{
	__u32 came_by = skb->ingress_ifindex, leaves_by = skb->ifindex;
	const __be16 sport = scene->packet.sport;
	struct policy_host *host;

	/* read once, as in find_owner */
	asm volatile("" : "+r"(came_by), "+r"(leaves_by));
	host = find_host(came_by);
	if (host) {
		*ret_crosses = 1;
		scene->peer = scene->packet.src;
		scene->peer_port = sport;
		if (host->table[POLICY_TRAFFIC_FORWARD][0]) {
			find_masqueraded(skb, scene);
			classify(scene);
			if (ask_table(skb, scene, host->table[POLICY_TRAFFIC_FORWARD][0], scene->peer_port) == ANSWER_DENIED)
				return POLICY_COUNT_HOST;
		}
	}
	host = find_host(leaves_by);
	if (!host)
		return OK;
	*ret_crosses = 1;
	scene->peer = scene->packet.dst;
	classify(scene);
	return ask_table(skb, scene, host->table[POLICY_TRAFFIC_FORWARD][1], sport) == ANSWER_DENIED ? POLICY_COUNT_HOST : OK;
}
