/* SPDX-License-Identifier: Apache-2.0
 *
 * What Log rules have met, as lines of the log: who, whom, and what became of it. So many a second that a flood of packets is no
 * flood of lines.
 */
#include "agent/policy/internal.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define WHO_MAX 400

static const char *protocol_name(uint8_t protocol, char text[static 16])
{
	switch (protocol) {
	case IPPROTO_TCP:
		return "TCP";
	case IPPROTO_UDP:
		return "UDP";
	case IPPROTO_SCTP:
		return "SCTP";
	case IPPROTO_ICMP:
		return "ICMP";
	case IPPROTO_ICMPV6:
		return "ICMPv6";
	default:
		snprintf(text, 16, "protocol %u", protocol);
		return text;
	}
}

/* "shop/web (10.244.1.2) port 80" */
static void name_end(const struct policer *policer, const struct packet_addr *at, uint16_t port, char ret[static WHO_MAX])
{
	struct addr addr;
	const struct endpoint *endpoint;
	char text[ADDR_TEXT_MAX], behind[16] = "";

	memcpy(&addr, at, sizeof(addr));
	endpoint = verdicts_endpoint_at(policer->verdicts, &addr);
	if (port)
		snprintf(behind, sizeof(behind), " port %u", port);
	if (endpoint)
		snprintf(ret, WHO_MAX, "%s/%s (%s)%s", endpoint->namespace, endpoint->name, addr_format(&addr, text), behind);
	else
		snprintf(ret, WHO_MAX, "%s%s", addr_format(&addr, text), behind);
}

static const struct local_pod *pod_of(const struct policer *policer, uint32_t ifindex)
{
	for (const struct local_pod *local = policer->pods; local; local = local->hh.next)
		if (local->pod.ifindex == ifindex)
			return local;
	return NULL;
}

void policer_event(void *ctx, const struct policy_event *event)
{
	struct policer *policer = ctx;
	const struct local_pod *local = pod_of(policer, event->ifindex);
	char from[WHO_MAX], to[WHO_MAX], protocol[16];

	if (event->kind != POLICY_EVENT_LOG || !log_limit_ok(&policer->told))
		return;
	name_end(policer, &event->src, ntohs(event->sport), from);
	name_end(policer, &event->dst, ntohs(event->dport), to);
	log_info("policy: %s of pod %s/%s: %s from %s to %s: %s", event->direction ? "egress" : "ingress", local ? local->namespace : "",
		local ? local->name : "", protocol_name(event->protocol, protocol), from, to,
		event->bits & POLICY_VERDICT_ALLOW ? "allowed" : "denied");
}
