/* SPDX-License-Identifier: Apache-2.0
 *
 * "tullectl path": does a flow take the express path or the kernel's, and why; and which flows of these two there are at the moment.
 * Says what the programs would do (bpf/express_flow.h), in their order, by the same maps.
 */
#include "agent/policy/internal.h"

#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define FLOWS_MAX 50 /* that are listed */

static json_t *kernel(const char *why)
{
	return json_pack("{s:s, s:s}", "path", "kernel", "why", why);
}

static bool may_be_pod(const struct flow_end *end)
{
	return ends_is_pod(end) || strcmp(end->who.kind, "pod-address") == 0;
}

/* In the pods' range, and no node's, or of this one. */
static bool is_nobody(const struct flow_end *end)
{
	return strcmp(end->who.kind, "pod-address") == 0 && (!end->node || end->here);
}

static const struct local_pod *local_of(const struct policer *policer, const struct flow_end *end)
{
	for (const struct local_pod *local = policer->pods; end->interface && local; local = local->hh.next)
		if (strcmp(local->host_ifname, end->interface) == 0)
			return local;
	return NULL;
}

/* What of a pod of this node keeps its flows off the express path; null: nothing. */
static const char *hindrance(const struct policer *policer, const struct flow_end *end, bool sends)
{
	const struct local_pod *local = end->here ? local_of(policer, end) : NULL;

	if (!local)
		return NULL;
	if (local->pod.flags & POLICY_ENDPOINT_SHAPED)
		return sends ? "the sender has a bandwidth limit: its packets wait in a queue of the kernel"
			     : "the receiver has a bandwidth limit: its packets wait in a queue of the kernel";
	if (local->pod.flags & POLICY_ENDPOINT_FREE)
		return sends ? "the sender may send from any address (allowedSourcePrefixes), so its packets may not be its own"
			     : "the receiver may send from any address (allowedSourcePrefixes)";
	return NULL;
}

/* Whatever keeps a flow of these ends on the kernel's path, wherever it leads; null: nothing. */
static const char *why_kernel(const struct policer *policer, const struct path_question *question)
{
	const struct flow_end *from = question->from, *to = question->to;
	const char *why;

	if (!policer->express)
		return *policer->off ? "policy is off, whose programs carry the express path" : "--express-path is disabled";
	if (question->flow->protocol != IPPROTO_TCP && question->flow->protocol != IPPROTO_UDP)
		return "only TCP and UDP are express";
	if (!may_be_pod(from))
		return strcmp(from->who.kind, "node") == 0 ? "a node's own packets begin in its stack" : "the sender is no pod";
	if (strcmp(to->who.kind, "node") == 0)
		return "a node's own stack receives it, or translates it (NodePort)";
	if (!may_be_pod(to))
		return "the receiver is no pod: it is outside, or a Service's address, which the kernel translates";
	if (ends_are_same_pod(from, to))
		return "it stays in the pod";
	if (question->masqueraded)
		return "the kernel masquerades it";
	why = hindrance(policer, from, true);
	if (!why)
		why = hindrance(policer, to, false);
	if (!why && question->flow->protocol == IPPROTO_UDP && !policy_plane_has_conntrack(policer->plane))
		return "UDP: this kernel's programs cannot ask conntrack whether somebody translates it";
	return why;
}

/* -- an express one -- */

static const char *const kinds[EXPRESS_KIND_MAX] = {[EXPRESS_NONE] = "none", [EXPRESS_PLAIN] = "none", [EXPRESS_VXLAN] = "vxlan",
	[EXPRESS_IPIP] = "ipip", [EXPRESS_UDP] = "udp"};

static json_t *by_slot(const struct express_slot *slot)
{
	char device[IF_NAMESIZE], node[ADDR_TEXT_MAX];
	struct addr addr = who_addr(&slot->node);

	if (slot->kind >= EXPRESS_KIND_MAX || !if_indextoname(slot->device, device))
		return kernel("the device that the way to that node leads to is gone; it is looked up again");
	if (slot->kind == EXPRESS_UDP && !slot->whole)
		return kernel("udp: until a packet has come from that node the express way, nobody knows that its kernel finishes sums and super-packets");
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:i}", "path", "express", "why", "", "encapsulation", kinds[slot->kind], "device", device,
		"to", addr_format(&addr, node), "mtu", slot->mtu);
}

static json_t *leaving(const struct policer *policer, const struct path_question *question)
{
	struct express_slot slot = {0};
	char name[IF_NAMESIZE];
	uint32_t index;

	if (policy_plane_find_way(policer->plane, &question->flow->dst, &index, &slot) < 0)
		return kernel("there is no express way to that address: no route of Tulle's leads there, or by an interface or an encapsulation "
			"that it cannot shorten");
	if (!index)
		return by_slot(&slot);
	return json_pack("{s:s, s:s, s:s, s:s}", "path", "express", "why", "", "encapsulation", "none", "interface", if_indextoname(index, name)
		? name : "");
}

static json_t *judge(const struct policer *policer, const struct path_question *question)
{
	const struct flow_end *from = question->from, *to = question->to;
	const char *why;

	if (!from->here && !to->here)
		return json_pack("{s:s, s:s}", "path", "elsewhere", "why", "neither end is on this node: ask on the sender's");
	if (is_nobody(from) || is_nobody(to))
		return json_pack("{s:s, s:s}", "path", "none", "why", "no pod has such an address, as far as this agent knows");
	if (!question->allowed)
		return json_pack("{s:s, s:s}", "path", "none", "why", "policy denies it: its packets are dropped");
	why = why_kernel(policer, question);
	if (why)
		return kernel(why);
	if (from->here)
		return leaving(policer, question);
	return json_pack("{s:s, s:s}", "path", "express", "why", "from the uplink into the pod, as far as the sender's node sends it by its express path");
}

/* -- what there is now -- */

struct listing {
	const struct path_question *question;
	bool sends; /* the pod of this node is the sender */
	json_t *flows;
	size_t more;
};

static const char *state_of(const struct policy_flow_seen *flow)
{
	if (flow->flags & POLICY_FLOW_PENDING)
		return "pending";
	if (flow->flags & POLICY_FLOW_CLOSING)
		return "closing";
	return flow->flags & POLICY_FLOW_REPLIED ? "established" : "new";
}

/* Those that FROM began. */
static void list(void *ctx, const struct policy_flow_seen *flow)
{
	struct listing *listing = ctx;
	const struct verdict_flow *asked = listing->question->flow;
	uint16_t source = listing->sends ? flow->local_port : flow->remote_port;
	uint16_t destination = listing->sends ? flow->remote_port : flow->local_port;
	bool ports = asked->protocol == IPPROTO_TCP || asked->protocol == IPPROTO_UDP || asked->protocol == IPPROTO_SCTP;
	bool express = flow->flags & POLICY_FLOW_EXPRESS;

	if (flow->protocol != asked->protocol || (ports && destination != asked->dport) ||
		listing->sends != !!(flow->flags & POLICY_FLOW_FROM_POD))
		return;
	if (json_array_size(listing->flows) == FLOWS_MAX) {
		listing->more++;
		return;
	}
	json_array_append_new(listing->flows, json_pack("{s:i, s:i, s:s, s:s, s:b, s:I}", "from_port", source, "to_port", destination, "path",
		!express ? "kernel" : flow->has_way || !listing->sends ? "express" : "kernel (no way at the moment)", "state", state_of(flow), "judged",
		flow->current, "idle_ms", (json_int_t)flow->idle_ms));
}

static void add_flows(const struct policer *policer, const struct path_question *question, json_t *json)
{
	struct listing listing = {.question = question, .sends = question->from->here && question->from->interface, .flows = json_array()};
	const struct addr *src = &question->flow->src, *dst = &question->flow->dst;

	if (policer->plane && (listing.sends || question->to->interface))
		policy_plane_each_flow(policer->plane, listing.sends ? src : dst, listing.sends ? dst : src, list, &listing, NULL);
	json_object_set_new(json, "flows", listing.flows);
	json_object_set_new(json, "more_flows", json_integer((json_int_t)listing.more));
}

json_t *path_json(const struct policer *policer, const struct path_question *question, bool now)
{
	json_t *json = judge(policer, question);

	if (now && json)
		add_flows(policer, question, json);
	return json;
}
