/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the express path leads (docs/express.md): the plan's remote blocks, by the devices and gateways that the kernel's routing
 * tables name for their nodes at this moment. Looked up again when links, addresses, routes or rules change.
 */
#include "agent/policy/internal.h"

#include "plane/express_slot.h"
#include "base/cleanup.h"
#include "plan/express.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SETTLE_MS 100 /* changes come in groups */
#define DEVICES_MAX 64

struct express {
	struct policer *policer;
	struct express_plan plan;
	bool planned;
	int fd; /* of notifications */
	struct event *heard, *due;
	uint32_t uplinks[DEVICES_MAX], tunnels[DEVICES_MAX]; /* that have a program */
	size_t uplink_count, tunnel_count, way_count;
};

/* -- what there is to know about the machine -- */

struct terrain {
	struct plane_link *links;
	size_t link_count;
	struct express_underlay last; /* of a node that several blocks have */
	struct addr last_node;
};

static const struct plane_link *link_at(const struct terrain *terrain, uint32_t index)
{
	for (size_t i = 0; i < terrain->link_count; i++)
		if (terrain->links[i].index == index)
			return &terrain->links[i];
	return NULL;
}

/* Whose packets are judged on the kernel's path stays there. */
static bool is_host_endpoint(const struct policer *policer, uint32_t index)
{
	for (size_t i = 0; i < policer->host_count; i++)
		if (policer->hosts[i].index == index)
			return true;
	return false;
}

static bool is_usable(const struct policer *policer, const struct plane_link *link)
{
	return link && mac_is_set(&link->mac) && places_is_exit(policer, link) && !plan_is_tunnel_name(link->name) &&
		!is_host_endpoint(policer, link->index);
}

static bool look_up(const struct policer *policer, struct terrain *terrain, const struct addr *node, struct express_underlay *ret)
{
	struct plane_route route;
	const struct plane_link *link;

	if (addr_equal(node, &terrain->last_node)) {
		*ret = terrain->last;
		return ret->device != 0;
	}
	terrain->last_node = *node;
	terrain->last = (struct express_underlay){0};
	if (plane_route_get(node, &route, NULL) < 0 || route.type != RTN_UNICAST)
		return false;
	link = link_at(terrain, route.index);
	if (!is_usable(policer, link))
		return false;
	terrain->last = (struct express_underlay){.device = link->index, .mtu = link->mtu, .source = route.source,
		.next = addr_is_set(&route.via) ? route.via : *node};
	*ret = terrain->last;
	return true;
}

/* -- ways -- */

static bool add_once(uint32_t *list, size_t *count, uint32_t index)
{
	for (size_t i = 0; i < *count; i++)
		if (list[i] == index)
			return true;
	if (*count == DEVICES_MAX)
		return false;
	list[(*count)++] = index;
	return true;
}

struct course {
	struct policy_way *ways;
	size_t count;
	uint32_t uplinks[DEVICES_MAX], tunnels[DEVICES_MAX];
	size_t uplink_count, tunnel_count;
	struct express_config config;
};

static void add_way(const struct express *express, struct terrain *terrain, const struct express_block *block, struct course *course)
{
	struct policy_way way = {.dst = block->dst};
	struct express_underlay underlay;

	if (!look_up(express->policer, terrain, &block->node, &underlay) || !express_slot_make(&express->plan, block, &underlay, &way.slot) ||
		!add_once(course->uplinks, &course->uplink_count, underlay.device))
		return;
	if (block->encap == EXPRESS_ENCAP_IPIP)
		course->config.local[EXPRESS_IPIP] = express_slot_source(&way.slot);
	course->ways[course->count++] = way;
}

static void add_tunnels(const struct terrain *terrain, struct course *course)
{
	for (size_t i = 0; i < terrain->link_count; i++)
		if (plan_is_tunnel_name(terrain->links[i].name) && terrain->links[i].flags & IFF_UP)
			add_once(course->tunnels, &course->tunnel_count, terrain->links[i].index);
}

static int chart(struct express *express, struct course *course, struct err *err)
{
	_cleanup_free_ struct plane_link *links = NULL;
	struct terrain terrain = {0};
	int rc = plane_list_links(&links, &terrain.link_count, err);

	if (rc < 0)
		return rc;
	terrain.links = links;
	course->ways = calloc(express->plan.count + 1, sizeof(*course->ways));
	if (!course->ways)
		return err_set(err, -ENOMEM, "express path: out of memory");
	express_slot_config(&express->plan, &express->policer->agent->uplink.addr[FAMILY_4], &course->config);
	for (size_t i = 0; i < express->plan.count; i++)
		add_way(express, &terrain, &express->plan.blocks[i], course);
	add_tunnels(&terrain, course);
	return 0;
}

/* -- into the kernel -- */

static bool is_among(const uint32_t *list, size_t count, uint32_t index)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == index)
			return true;
	return false;
}

static void release_others(struct policy_plane *plane, const struct course *course)
{
	uint32_t held[4 * DEVICES_MAX];
	size_t count = policy_plane_list_express(plane, held, ARRAY_SIZE(held));

	for (size_t i = 0; i < count; i++)
		if (!is_among(course->uplinks, course->uplink_count, held[i]) && !is_among(course->tunnels, course->tunnel_count, held[i]))
			policy_plane_release_express(plane, held[i], NULL);
}

static int guard_all(struct policy_plane *plane, const struct course *course, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < course->tunnel_count && rc == 0; i++)
		if (!policy_plane_check_express(plane, course->tunnels[i], true))
			rc = policy_plane_guard_express(plane, course->tunnels[i], true, err);
	for (size_t i = 0; i < course->uplink_count && rc == 0; i++)
		if (!policy_plane_check_express(plane, course->uplinks[i], false))
			rc = policy_plane_guard_express(plane, course->uplinks[i], false, err);
	return rc;
}

/* What comes up beside the programs must be marked before anything goes round them. */
static void apply(struct express *express)
{
	struct policy_plane *plane = express->policer->plane;
	struct course course = {0};
	struct err err = ERR_INIT;
	int rc = chart(express, &course, &err), bad = 0;

	if (rc == 0) {
		release_others(plane, &course);
		bad = guard_all(plane, &course, &err);
		rc = policy_plane_set_ways(plane, course.ways, bad ? 0 : course.count, &course.config, bad ? NULL : &err);
	}
	policer_problem(express->policer, "express path", rc < 0 || bad < 0 ? err_text(&err) : NULL);
	express->way_count = rc == 0 && !bad ? course.count : 0;
	express->uplink_count = course.uplink_count;
	memcpy(express->uplinks, course.uplinks, sizeof(express->uplinks));
	free(course.ways);
}

static void on_due(evutil_socket_t fd, short what, void *ctx)
{
	struct express *express = ctx;

	if (express->planned)
		apply(express);
}

void express_due(struct policer *policer)
{
	static const struct timeval settle = {.tv_usec = SETTLE_MS * 1000};

	if (policer->express && !event_pending(policer->express->due, EV_TIMEOUT, NULL))
		event_add(policer->express->due, &settle);
}

void express_now(struct policer *policer)
{
	if (policer->express && policer->express->planned)
		apply(policer->express);
}

static void on_heard(evutil_socket_t fd, short what, void *ctx)
{
	struct express *express = ctx;
	char message[8192];

	while (recv(fd, message, sizeof(message), MSG_TRUNC) > 0)
		;
	express_due(express->policer);
}

void policer_ways(struct policer *policer, const struct wanted *wanted)
{
	struct express *express = policer ? policer->express : NULL;
	struct express_plan plan;

	/* Until the first full list is in, the ways of an earlier process stay. */
	if (!express || (!express->planned && !wanted->sweep) || express_plan_build(wanted, &plan) < 0)
		return;
	if (express->planned && express_plan_equal(&plan, &express->plan)) {
		express_plan_done(&plan);
		return;
	}
	express_plan_done(&express->plan);
	express->plan = plan;
	express->planned = true;
	apply(express);
}

/* -- life -- */

static int listen_to_routes(void)
{
	static const int groups[] = {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,
		RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE};
	struct sockaddr_nl local = {.nl_family = AF_NETLINK};
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd < 0 || bind(fd, (struct sockaddr *)&local, sizeof(local)) < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
		if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i], sizeof(groups[i])) < 0)
			return -errno;
	return TAKE_FD(fd);
}

int express_begin(struct policer *policer, struct err *err)
{
	struct express *express = calloc(1, sizeof(*express));

	if (!express)
		return err_set(err, -ENOMEM, "express path: out of memory");
	policer->express = express;
	express->policer = policer;
	express->fd = listen_to_routes();
	if (express->fd < 0)
		return err_set(err, express->fd, "express path: listening to routes: %s", strerror(-express->fd));
	express->heard = event_new(policer->agent->base, express->fd, EV_READ | EV_PERSIST, on_heard, express);
	express->due = event_new(policer->agent->base, -1, 0, on_due, express);
	if (!express->heard || !express->due)
		return err_set(err, -ENOMEM, "express path: out of memory");
	event_add(express->heard, NULL);
	return 0;
}

void express_end(struct policer *policer)
{
	struct express *express = policer->express;

	if (!express)
		return;
	if (express->heard)
		event_free(express->heard);
	if (express->due)
		event_free(express->due);
	if (express->fd >= 0)
		close(express->fd);
	express_plan_done(&express->plan);
	free(express);
	policer->express = NULL;
}

/* What an agent left that had it: nobody would follow the routes. */
void express_clear(struct policer *policer)
{
	static const struct express_config nothing;
	static const struct course none;

	release_others(policer->plane, &none);
	policy_plane_set_ways(policer->plane, NULL, 0, &nothing, NULL);
}

size_t express_lost(struct policer *policer)
{
	size_t lost = 0;
	char name[IF_NAMESIZE];

	for (size_t i = 0; policer->express && i < policer->express->uplink_count; i++)
		lost += !policy_plane_check_express(policer->plane, policer->express->uplinks[i], false) &&
			if_indextoname(policer->express->uplinks[i], name);
	if (lost)
		express_due(policer);
	return lost;
}

/* -- seeing -- */

json_t *express_status(const struct policer *policer)
{
	struct policy_count counts[EXPRESS_COUNT_MAX];
	json_t *json, *packets, *uplinks;
	char name[IF_NAMESIZE];

	if (!policer->express)
		return json_pack("{s:s, s:s}", "state", "off", "why", "--express-path is disabled");
	packets = json_object();
	uplinks = json_array();
	if (policy_plane_get_express_counts(policer->plane, counts, NULL) == 0)
		for (int i = 0; i < EXPRESS_COUNT_MAX; i++)
			json_object_set_new(packets, counts[i].name, json_integer((json_int_t)counts[i].packets));
	for (size_t i = 0; i < policer->express->uplink_count; i++)
		if (if_indextoname(policer->express->uplinks[i], name))
			json_array_append_new(uplinks, json_string(name));
	json = json_pack("{s:s, s:s, s:I, s:o, s:o}", "state", "on", "why", "", "ways", (json_int_t)policer->express->way_count, "uplinks",
		uplinks, "packets", packets);
	return json;
}

void express_metrics(const struct policer *policer, struct buf *buf)
{
	struct policy_count counts[EXPRESS_COUNT_MAX];

	agent_metric(buf, "express_path", "gauge", "1 when the express path is on.", policer->express ? 1 : 0);
	if (!policer->express || policy_plane_get_express_counts(policer->plane, counts, NULL) < 0)
		return;
	agent_metric(buf, "express_ways", "gauge", "Blocks of other nodes that the express path leads to.", (double)policer->express->way_count);
	agent_metric_head(buf, "express_packets_total", "counter", "Packets by the express path, by which way they went.");
	for (int i = EXPRESS_COUNT_OUT; i <= EXPRESS_COUNT_LOCAL; i++)
		buf_printf(buf, "tulle_express_packets_total{way=\"%s\"} %llu\n", counts[i].name, (unsigned long long)counts[i].packets);
	agent_metric_head(buf, "express_left_total", "counter", "Packets of express flows that were left to the kernel's path, by reason.");
	for (int i = EXPRESS_COUNT_LOCAL + 1; i < EXPRESS_COUNT_MAX; i++)
		buf_printf(buf, "tulle_express_left_total{reason=\"%s\"} %llu\n", counts[i].name, (unsigned long long)counts[i].packets);
}
