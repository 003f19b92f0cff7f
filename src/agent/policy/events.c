/* SPDX-License-Identifier: Apache-2.0
 *
 * What the programs tell: of Log rules, which become lines of the log (who, whom, and what became of it; so many a second that a
 * flood of packets is no flood of lines), and of drops, for whoever watches (drops.c).
 *
 * A flood of events costs a tenth of one CPU at most: a turn is short, and the rest behind it nine times as long. What does not
 * fit into the ring buffer meanwhile, the programs leave out at next to no cost.
 */
#include "agent/policy/internal.h"

#include "plan/policy_words.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define WHO_MAX 400
#define TURN_US 2000
#define REST_MIN_US 1000

static const char *protocol_name(uint8_t protocol, char text[static 16])
{
	const char *name = policy_words_protocol(protocol);

	if (!name)
		snprintf(text, 16, "protocol %u", protocol);
	return name ? name : text;
}

/* "shop/web (10.244.1.2) port 80" */
static void name_end(const struct policer *policer, const struct packet_addr *at, uint16_t port, char ret[static WHO_MAX])
{
	const struct addr addr = who_addr(at);
	const struct endpoint *endpoint = verdicts_endpoint_at(policer->verdicts, &addr);
	char text[ADDR_TEXT_MAX], behind[16] = "";

	if (port)
		snprintf(behind, sizeof(behind), " port %u", port);
	if (endpoint && endpoint->host)
		snprintf(ret, WHO_MAX, "host endpoint %s (%s)%s", endpoint->name, addr_format(&addr, text), behind);
	else if (endpoint)
		snprintf(ret, WHO_MAX, "%s/%s (%s)%s", endpoint->namespace, endpoint->name, addr_format(&addr, text), behind);
	else
		snprintf(ret, WHO_MAX, "%s%s", addr_format(&addr, text), behind);
}

/* Whose rule it is: "egress of pod shop/web", "ingress of host endpoint node-1 at eth0". */
static void name_owner(const struct policer *policer, const struct policy_event *event, char ret[static WHO_MAX])
{
	const struct local_pod *local = who_has_interface(policer, event->ifindex);
	enum policy_direction direction = event->direction ? POLICY_EGRESS : POLICY_INGRESS;
	enum verdict_traffic traffic;
	bool is_pods = local && (local->pod.tables[0] == event->table || local->pod.tables[1] == event->table);
	const struct host_place *host = is_pods ? NULL : hosts_find_table(policer, event->table, event->ifindex, &traffic, &direction);
	const char *word = direction == POLICY_EGRESS ? "egress" : "ingress";

	if (host)
		snprintf(ret, WHO_MAX, "%s of host endpoint %s at %s", word, host->host, host->link);
	else
		snprintf(ret, WHO_MAX, "%s of pod %s/%s", word, local ? local->namespace : "", local ? local->name : "");
}

void policer_event(void *ctx, const struct policy_event *event)
{
	struct policer *policer = ctx;
	char from[WHO_MAX], to[WHO_MAX], owner[WHO_MAX], protocol[16];

	if (event->kind == POLICY_EVENT_DROP && policer->drops && agent_now_us() < policer->turn_ends_us)
		drops_event(policer, event);
	if (event->kind != POLICY_EVENT_LOG || !log_limit_ok(&policer->told))
		return;
	name_end(policer, &event->src, ntohs(event->sport), from);
	name_end(policer, &event->dst, ntohs(event->dport), to);
	name_owner(policer, event, owner);
	log_info("policy: %s: %s from %s to %s: %s", owner, protocol_name(event->protocol, protocol), from, to,
		event->bits & POLICY_VERDICT_ALLOW ? "allowed" : "denied");
}

/* -- turns -- */

bool events_turn(struct policer *policer)
{
	policer->turn_ends_us = agent_now_us() + TURN_US;
	return policy_plane_poll(policer->plane);
}

static void on_events(evutil_socket_t fd, short what, void *ctx)
{
	struct policer *policer = ctx;
	int64_t began = agent_now_us(), rest;
	struct timeval after;

	events_turn(policer);
	rest = (agent_now_us() - began) * 9;
	if (rest < REST_MIN_US)
		rest = REST_MIN_US;
	after = (struct timeval){.tv_sec = rest / 1000000, .tv_usec = rest % 1000000};
	event_del(policer->events);
	event_add(policer->rest, &after);
}

static void on_rested(evutil_socket_t fd, short what, void *ctx)
{
	struct policer *policer = ctx;

	event_add(policer->events, NULL);
}

int events_begin(struct policer *policer)
{
	int fd = policy_plane_event_fd(policer->plane);

	policer->told = (struct log_limit)LOG_LIMIT(20, 1000);
	if (fd < 0)
		return 0;
	policer->events = event_new(policer->agent->base, fd, EV_READ | EV_PERSIST, on_events, policer);
	policer->rest = event_new(policer->agent->base, -1, 0, on_rested, policer);
	return policer->events && policer->rest && event_add(policer->events, NULL) == 0 ? 0 : -ENOMEM;
}

void events_end(struct policer *policer)
{
	if (policer->events)
		event_free(policer->events);
	if (policer->rest)
		event_free(policer->rest);
	policer->events = policer->rest = NULL;
}
