/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * Policy: who may talk to whom (docs/policy.md). Four hooks, one verdict routine.
 *
 *   policy_from_pod  tc ingress of the host side of a pod's interface
 *   policy_to_pod    tc egress of it
 *   policy_exit      tc egress of uplinks and tunnel devices
 *   policy_from_net  tc ingress of those that have a host endpoint
 *   express_from_net     tc ingress of uplinks, before everything else (express_strip.h)
 *   express_from_tunnel  tc ingress of tunnel devices
 *
 * Egress to an address that may still be translated is not judged where the packet comes from the pod: the packet is
 * marked, and the verdict falls where it leaves this node or enters another pod.
 */
#include "express_strip.h"
#include "policy_host.h"
#include "policy_pending.h"
#include "policy_recall.h"
#include "policy_source.h"

/* -- from the pod -- */

/* What needs no judgement: it does not go further than the link. */
static __always_inline int stays_on_link(const struct packet *packet)
{
	return packet->icmp == ICMP_LINK && (is_link_multicast(&packet->dst) || is_link_local(&packet->dst));
}

static __always_inline int is_pending(const struct policy_flow *flow, const struct scene *scene)
{
	if (flow->flags & (POLICY_FLOW_PENDING | POLICY_FLOW_EXPRESS))
		return flow->flags & POLICY_FLOW_PENDING;
	/* Whatever translates it may choose anew at any time, but for TCP. */
	return scene->key.protocol != IPPROTO_TCP && flow->flags & POLICY_FLOW_FROM_POD && !(flow->flags & POLICY_FLOW_FREE) &&
		(flow->peer_port != scene->key.remote_port || !addr_equal(&flow->peer, &scene->key.remote));
}

/* The first packet of a flow. ret_pending: it has to be judged further on. */
static __noinline int open_from_pod(struct __sk_buff *skb, struct scene *scene, const struct policy_endpoint *pod,
	const struct policy_state *now, __u32 *ret_pending)
{
	const struct packet *packet = &scene->packet;
	struct question question = {.table = pod->table[1], .port = packet->port, .sport = packet->sport, .protocol = packet->protocol};
	__u32 flags = POLICY_FLOW_FROM_POD;
	int final;

	scene->peer = packet->dst;
	scene->peer_port = packet->dport;
	if (question.table) {
		classify(scene);
		/* the node's own addresses may be NodePorts', in a range of pods too */
		final = (scene->flags & (POLICY_ADDRESS_FINAL | POLICY_ADDRESS_OWN)) == POLICY_ADDRESS_FINAL;
		if (is_translatable(packet) && !final && now->mark_pending) {
			*ret_pending = 1;
			flags |= POLICY_FLOW_PENDING;
			if (!asks_conntrack(packet->protocol) && leave_pointer(scene, pod->serial) != OK)
				return POLICY_COUNT_FLOWS_FULL;
		} else if (!(scene->flags & POLICY_ADDRESS_OWN) && !judge(skb, scene, &question)) {
			return POLICY_COUNT_EGRESS;
		}
	}
	return remember(scene, pod->serial, now->epoch, flags);
}

static __noinline int judge_from_pod(struct __sk_buff *skb, struct scene *scene, const struct policy_endpoint *pod,
	const struct policy_state *now, __u32 *ret_pending)
{
	struct policy_flow *flow;

	set_key(&scene->key, &scene->packet, 1);
	flow = is_opening(&scene->packet) ? NULL : find_flow(&scene->key, pod->serial, scene->now);
	if (is_express(flow))
		return go_on_express(skb, scene, flow, pod, now);
	if (config.express && !flow) {
		__u32 way = may_open(skb, scene, pod);
		int reason = way ? open_express(skb, scene, pod, now, way) : NOT_EXPRESS;

		if (reason != NOT_EXPRESS)
			return count_allowed(skb, reason);
	}
	if (!flow && !is_opening(&scene->packet)) {
		int reason = recall(skb, scene, pod, now, 1);

		if (reason != NOT_RECALLED)
			return count_allowed(skb, reason);
	}
	if (!flow || is_opening(&scene->packet))
		return count_allowed(skb, open_from_pod(skb, scene, pod, now, ret_pending));
	*ret_pending = pod->table[1] && is_pending(flow, scene);
	if (!*ret_pending && is_stale(flow, now)) {
		int reason = judge_again(skb, scene, flow, pod, now->epoch);

		if (reason != OK)
			return reason;
	}
	touch(flow, &scene->packet, 1, scene->now);
	return *ret_pending && !asks_conntrack(scene->key.protocol) ? leave_pointer(scene, pod->serial) : OK;
}

/* ICMP errors belong to the flow of the packet that they quote. */
static __noinline int check_error(struct __sk_buff *skb, struct scene *scene, const struct policy_endpoint *pod, int from_pod)
{
	struct packet quoted = {};
	struct policy_flow *flow;

	if (!pod->table[from_pod ? 1 : 0])
		return OK;
	if (parse_quoted(skb, &scene->packet, &quoted) != OK || quoted.fragment == FRAGMENT_LATER || !has_flow(&quoted))
		return POLICY_COUNT_RELATED;
	set_key(&scene->key, &quoted, !from_pod);
	flow = find_flow(&scene->key, pod->serial, scene->now);
	return flow && !(flow->flags & POLICY_FLOW_PENDING) ? OK : POLICY_COUNT_RELATED;
}

/* OK, or why not. */
static __always_inline int from_pod(struct __sk_buff *skb, struct scene *scene, const struct policy_endpoint *pod,
	const struct policy_state *now, __u32 *ret_pending)
{
	const struct packet *packet = &scene->packet;
	int reason = parse_plain(skb, &scene->packet) ? OK : parse(skb, &scene->packet);

	if (reason == OK && !is_plainly_own(packet, pod))
		reason = check_source(skb, packet, pod);
	if (reason != OK || is_own(pod, &packet->dst) || (!config.express && !(pod->table[0] | pod->table[1])) || stays_on_link(packet))
		return reason;
	scene->now = now_short();
	if (!(pod->table[0] | pod->table[1]))
		return express_only(skb, scene, pod, now);
	if (packet->fragment == FRAGMENT_LATER)
		return find_fragment(scene, skb->ifindex, ret_pending);
	if (packet->icmp == ICMP_ERROR)
		return check_error(skb, scene, pod, 1);
	reason = judge_from_pod(skb, scene, pod, now, ret_pending);
	if (reason == OK && packet->fragment == FRAGMENT_FIRST)
		reason = remember_fragment(scene, skb->ifindex, *ret_pending);
	return reason;
}

static __always_inline int check_link(struct __sk_buff *skb, const struct policy_endpoint *pod)
{
	const struct ethhdr *eth = start(skb);

	if (skb->vlan_present)
		return POLICY_COUNT_PROTOCOL;
	return start(skb) + sizeof(*eth) > end(skb) || !is_mac(eth->h_source, pod) ? POLICY_COUNT_MAC : OK;
}

static __always_inline void set_mark(struct __sk_buff *skb, const struct policy_state *now, __u32 mark)
{
	const __u32 mine = now->mark_pending | now->mark_host | now->mark_express;

	/* Nothing inside a pod can have set these. */
	if (mark || skb->mark & mine)
		skb->mark = (skb->mark & ~mine) | mark;
}

/* A flow with nothing to look at but where it goes; null: any other packet. */
static __always_inline struct policy_flow *known_way(struct __sk_buff *skb, const struct policy_state *now)
{
	return config.express ? find_quick_from_pod(skb, now) : NULL;
}

static __always_inline int policy_or_express(struct __sk_buff *skb, struct policy_state *now)
{
	struct policy_endpoint *pod = find_pod(skb->ifindex);
	struct scene scene = {.ifindex = skb->ifindex, .side = SIDE_FROM_POD};
	__u32 pending = 0;
	int reason;

	if (!pod)
		return drop(skb, &scene, now, POLICY_COUNT_UNKNOWN);
	reason = check_link(skb, pod);
	if (reason == OK && skb->protocol == bpf_htons(ETH_P_ARP))
		reason = check_arp(skb, pod);
	else if (reason == OK)
		reason = from_pod(skb, &scene, pod, now, &pending);
	if (reason != OK)
		return drop(skb, &scene, now, reason);
	if (config.express && scene.express) {
		int action = express_leave(skb, &scene);

		if (action != NOT_EXPRESS)
			return action;
	}
	set_mark(skb, now, scene.express ? now->mark_express : pending ? now->mark_pending : 0);
	return PASS;
}

SEC("tc")
int policy_from_pod(struct __sk_buff *skb)
{
	struct policy_state *now = get_state();
	struct policy_flow *flow;
	int action;

	if (!now)
		return TC_ACT_SHOT;
	flow = known_way(skb, now);
	if (!flow)
		return policy_or_express(skb, now);
	action = express_send(skb, flow);
	if (action != NOT_EXPRESS)
		return action;
	set_mark(skb, now, now->mark_express);
	return PASS;
}

/* -- to the pod -- */

/* By the interface by which it goes back now: nobody outside can send in the pod's name. */
static __always_inline int came_from_it(const struct __sk_buff *skb)
{
	return skb->ingress_ifindex == skb->ifindex;
}

static __noinline int open_to_pod(struct __sk_buff *skb, struct scene *scene, const struct policy_endpoint *pod,
	const struct policy_state *now)
{
	const struct packet *packet = &scene->packet;
	struct question question = {.table = pod->table[0], .port = packet->port, .sport = packet->sport, .protocol = packet->protocol};
	__u32 flags = 0;

	scene->peer = packet->src;
	scene->peer_port = packet->sport;
	if (skb->mark & now->mark_host) {
		flags = POLICY_FLOW_FREE;
	} else if (question.table) {
		classify(scene);
		if (scene->flags & POLICY_ADDRESS_OWN && find_masqueraded(skb, scene)) {
			if (is_own(pod, &scene->peer) && came_from_it(skb))
				return remember(scene, pod->serial, now->epoch, POLICY_FLOW_FREE);
			question.sport = scene->peer_port;
			classify(scene);
		}
		if (!judge(skb, scene, &question))
			return POLICY_COUNT_INGRESS;
	}
	return remember(scene, pod->serial, now->epoch, flags);
}

static __noinline int judge_to_pod(struct __sk_buff *skb, struct scene *scene, const struct policy_endpoint *pod,
	const struct policy_state *now)
{
	struct policy_flow *flow;
	int reason;

	set_key(&scene->key, &scene->packet, 0);
	flow = find_flow(&scene->key, pod->serial, scene->now);
	if (!flow && !is_opening(&scene->packet) && !(skb->mark & now->mark_host)) {
		reason = recall(skb, scene, pod, now, 0);
		if (reason != NOT_RECALLED)
			return count_allowed(skb, reason);
	}
	if (!flow || is_opening(&scene->packet))
		return count_allowed(skb, open_to_pod(skb, scene, pod, now));
	if (skb->mark & now->mark_host)
		return OK;
	if (flow->flags & POLICY_FLOW_PENDING)
		return POLICY_COUNT_UNCONFIRMED;
	reason = is_stale(flow, now) ? judge_again(skb, scene, flow, pod, now->epoch) : OK;
	if (reason == OK)
		touch(flow, &scene->packet, 0, scene->now);
	return reason;
}

/* What only a neighbour on the link can have sent: this node. */
static __always_inline int is_discovery(const struct packet *packet)
{
	return packet->icmp == ICMP_LINK && packet->hops == HOPS_ON_LINK && packet->type >= ICMP6_ROUTER_SOLICIT &&
		packet->type <= ICMP6_REDIRECT;
}

/* What was left to whoever knows where the packet goes: a pod's egress, and what is forwarded by host endpoints. */
static __noinline int judge_marked(struct __sk_buff *skb, struct scene *scene, const struct policy_state *now)
{
	__u32 crosses = 0;
	int reason = judge_crossing(skb, scene, &crosses);

	return reason == OK ? judge_pending(skb, scene, now, crosses ? OK : POLICY_COUNT_EGRESS) : reason;
}

/* The sender has been judged: the scene is the receiver's again. */
static __always_inline void receive(struct scene *scene, __u32 ifindex)
{
	__builtin_memset(&scene->key, 0, sizeof(scene->key));
	scene->ifindex = ifindex;
	scene->side = SIDE_TO_POD;
	scene->table = scene->class = scene->list = 0;
	scene->bits = 0;
}

static __always_inline int to_pod(struct __sk_buff *skb, struct scene *scene, const struct policy_endpoint *pod,
	const struct policy_state *now)
{
	const struct packet *packet = &scene->packet;
	__u32 pending;
	int reason = parse_plain(skb, &scene->packet) ? OK : parse(skb, &scene->packet);

	if (reason != OK || is_discovery(packet))
		return reason;
	scene->now = now_short();
	if (packet->fragment == FRAGMENT_LATER)
		return find_fragment(scene, skb->ifindex, &pending);
	if (packet->icmp == ICMP_ERROR)
		return skb->mark & now->mark_host ? OK : check_error(skb, scene, pod, 0);
	if (skb->mark & now->mark_pending) {
		scene->side = SIDE_EXIT;
		reason = judge_marked(skb, scene, now);
		if (reason != OK)
			return reason;
		receive(scene, skb->ifindex);
	}
	if (!(is_own(pod, &packet->src) && came_from_it(skb)) && pod->table[0] | pod->table[1])
		reason = judge_to_pod(skb, scene, pod, now);
	if (reason == OK && packet->fragment == FRAGMENT_FIRST)
		reason = remember_fragment(scene, skb->ifindex, 0);
	return reason;
}

SEC("tc")
int policy_to_pod(struct __sk_buff *skb)
{
	struct policy_state *now = get_state();
	struct policy_endpoint *pod = find_pod(skb->ifindex);
	struct scene scene = {.ifindex = skb->ifindex, .side = SIDE_TO_POD};
	int reason;

	if (!now)
		return TC_ACT_SHOT;
	if (!pod)
		return drop(skb, &scene, now, POLICY_COUNT_UNKNOWN);
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return PASS;
	if (!(pod->table[0] | pod->table[1]) && !(skb->mark & now->mark_pending))
		return PASS;
	reason = to_pod(skb, &scene, pod, now);
	return reason == OK ? PASS : drop(skb, &scene, now, reason);
}

/* -- where packets leave -- */

/* host null: it is not this node's own. */
static __always_inline int leave(struct __sk_buff *skb, struct scene *scene, const struct policy_state *now,
	const struct policy_host *host)
{
	__u32 pending;
	int reason = parse(skb, &scene->packet);

	if (reason != OK)
		return reason;
	scene->now = now_short();
	if (scene->packet.fragment == FRAGMENT_LATER)
		return find_fragment(scene, skb->ifindex, &pending);
	reason = host ? judge_own(skb, scene, host) : judge_marked(skb, scene, now);
	if (reason == OK && scene->packet.fragment == FRAGMENT_FIRST)
		reason = remember_fragment(scene, skb->ifindex, 0);
	return reason;
}

SEC("tc")
int policy_exit(struct __sk_buff *skb)
{
	struct policy_state *now;
	struct scene scene = {.ifindex = skb->ifindex, .side = SIDE_EXIT};
	struct policy_host *host = NULL;
	int reason;

	if (!skb->mark)
		return PASS;
	now = get_state();
	if (!now)
		return TC_ACT_SHOT;
	if (!(skb->mark & now->mark_pending))
		return PASS;
	/* This node's own: nothing but a host endpoint's policy judges it. */
	if (skb->mark & now->mark_host)
		host = find_host(skb->ifindex);
	reason = host || !(skb->mark & now->mark_host) ? leave(skb, &scene, now, host) : OK;
	if (reason != OK)
		return drop(skb, &scene, now, reason);
	skb->mark &= ~now->mark_pending;
	return PASS;
}

/* -- by host endpoints -- */

SEC("tc")
int policy_from_net(struct __sk_buff *skb)
{
	struct policy_state *now = get_state();
	struct policy_host *host = find_host(skb->ifindex);
	struct scene scene = {.ifindex = skb->ifindex, .side = SIDE_TO_POD};
	__u32 both, denied;

	if (!now || !host || (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6)))
		return PASS;
	both = now->mark_pending | now->mark_host;
	/* Of fragments the first one counts: netfilter puts them together before it looks. */
	if (parse(skb, &scene.packet) != OK)
		denied = both;
	else if (scene.packet.icmp == ICMP_LINK || scene.packet.fragment == FRAGMENT_LATER)
		denied = 0;
	else
		denied = judge_incoming(skb, &scene, host, now);
	if (denied || skb->mark & both)
		skb->mark = (skb->mark & ~both) | denied;
	return PASS;
}

/* -- the express path's other end -- */

SEC("tc")
int express_from_net(struct __sk_buff *skb)
{
	struct arrival arrival = {};
	struct express_config *wanted;
	__u32 zero = 0;

	if (skb->vlan_present || skb->pkt_type != PACKET_HOST)
		return PASS;
	wanted = bpf_map_lookup_elem(&express, &zero);
	if (!wanted)
		return PASS;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return arrive4(skb, &arrival, wanted);
	return skb->protocol == bpf_htons(ETH_P_IPV6) ? arrive6(skb, &arrival) : PASS;
}

SEC("tc")
int express_from_tunnel(struct __sk_buff *skb)
{
	return mark_known(skb);
}

char program_license[] SEC("license") = "Dual BSD/GPL";
