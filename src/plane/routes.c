/* SPDX-License-Identifier: Apache-2.0
 *
 * Routes of the main table.
 */
#include "plane/entry.h"
#include "plane/lookup.h"

#include <errno.h>
#include <string.h>

#define METRIC_6 1024 /* the kernel's own when none is given (IP6_RT_PRIO_USER) */

static int family_of(const struct entry *entry)
{
	return addr_family(&entry->addr);
}

static int compare(const void *a, const void *b)
{
	const struct entry *one = a, *two = b;
	int r = addr_compare(&one->addr, &two->addr);

	return r ? r : one->len - two->len;
}

static bool equal(const struct entry *a, const struct entry *b)
{
	return addr_equal(&a->via, &b->via) && addr_equal(&a->source, &b->source) && a->index == b->index &&
		a->metric == b->metric && a->protocol == b->protocol && a->type == b->type && a->onlink == b->onlink;
}

/* NLM_F_REPLACE takes the place of one route of the same destination and metric. In IPv6 others of the same metric may
 * stand beside it; there, and for another metric, the old one is deleted, unless the request could not tell the two
 * apart (onlink and the preferred source are no part of it). */
static bool survives(const struct entry *known, const struct entry *wanted)
{
	bool alike = addr_equal(&known->via, &wanted->via) && known->index == wanted->index &&
		known->metric == wanted->metric && known->protocol == wanted->protocol &&
		known->type == wanted->type;

	if (alike)
		return false;
	return known->metric != wanted->metric || family_of(wanted) == AF_INET6;
}

static struct nlmsghdr *message(struct nl *nl, uint16_t type, uint16_t flags, const struct entry *entry)
{
	struct nlmsghdr *msg = nl_begin(nl, type, flags);
	struct rtmsg *info = nl_extra(msg, sizeof(*info));

	info->rtm_family = (uint8_t)family_of(entry);
	info->rtm_dst_len = entry->len;
	info->rtm_table = RT_TABLE_MAIN;
	info->rtm_protocol = entry->protocol;
	info->rtm_type = entry->type;
	if (entry->len)
		nl_put_addr(msg, RTA_DST, &entry->addr);
	if (addr_is_set(&entry->via) && addr_family(&entry->via) == family_of(entry))
		nl_put_addr(msg, RTA_GATEWAY, &entry->via);
	if (entry->index)
		mnl_attr_put_u32(msg, RTA_OIF, entry->index);
	return msg;
}

static struct nlmsghdr *put(struct nl *nl, const struct entry *entry)
{
	struct nlmsghdr *msg = message(nl, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, entry);
	struct rtmsg *info = mnl_nlmsg_get_payload(msg);
	bool direct = entry->type == RTN_UNICAST && !addr_is_set(&entry->via);

	info->rtm_scope = direct && family_of(entry) == AF_INET ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	info->rtm_flags = entry->onlink ? RTNH_F_ONLINK : 0;
	if (entry->metric)
		mnl_attr_put_u32(msg, RTA_PRIORITY, entry->metric);
	if (addr_is_set(&entry->source))
		nl_put_addr(msg, RTA_PREFSRC, &entry->source);
	return msg;
}

static struct nlmsghdr *del(struct nl *nl, const struct entry *entry)
{
	struct nlmsghdr *msg = message(nl, RTM_DELROUTE, 0, entry);
	struct rtmsg *info = mnl_nlmsg_get_payload(msg);

	info->rtm_scope = RT_SCOPE_NOWHERE;
	if (entry->metric)
		mnl_attr_put_u32(msg, RTA_PRIORITY, entry->metric);
	return msg;
}

/* IPv6 refuses an onlink gateway as long as a route to it leads through another device, also if that is the very route
 * to be replaced. A direct route to our device takes its place first, so that there is no moment without one. */
static bool hard(const struct entry *entry, int error)
{
	return error == -EINVAL && family_of(entry) == AF_INET6 && entry->onlink && entry->state != ENTRY_DELETE;
}

static struct nlmsghdr *stepping_stone(struct nl *nl, const struct entry *entry)
{
	struct entry direct = *entry;

	direct.via = (struct addr){0};
	direct.onlink = false;
	return put(nl, &direct);
}

bool route_entry_parse(const struct nlmsghdr *msg, struct entry *ret)
{
	struct route_message parsed;

	if (route_message_parse(msg, &parsed) < 0 || parsed.table != RT_TABLE_MAIN || parsed.cloned)
		return false;
	/* a mapped IPv6 destination could not be told from IPv4 */
	if (parsed.route.dst.family != addr_family(&parsed.route.dst.addr))
		return false;
	*ret = (struct entry){
		.addr = parsed.route.dst.addr,
		.len = parsed.route.dst.len,
		.via = parsed.route.via,
		.source = parsed.route.source,
		/* the kernel tells IPv6 blackholes as routes to lo */
		.index = parsed.route.type == RTN_UNICAST ? parsed.route.index : 0,
		.metric = parsed.route.metric,
		.protocol = parsed.route.protocol,
		.type = parsed.route.type,
		.onlink = parsed.onlink,
	};
	return true;
}

/* Has linux/rtnetlink.h a name for it? The kernel's, the operator's, a routing daemon's: what stands under such a
 * protocol is not ours to delete, even if our routes are to look the same. */
static bool is_taken(uint8_t protocol)
{
	static const uint8_t high[] = {RTPROT_BABEL, RTPROT_OPENR, RTPROT_BGP, RTPROT_ISIS, RTPROT_OSPF, RTPROT_RIP, RTPROT_EIGRP};

	return protocol <= RTPROT_KEEPALIVED || memchr(high, protocol, sizeof(high));
}

static bool is_own_protocol(const struct devices *devices, uint8_t protocol)
{
	if (protocol == ROUTE_PROTOCOL_TULLE)
		return true;
	return !is_taken(protocol) && (protocol == devices->protocol || record_has_protocol(&devices->record, protocol));
}

bool route_is_own(const struct entry *entry, const struct devices *devices)
{
	if (is_own_protocol(devices, entry->protocol))
		return true;
	return entry->protocol != RTPROT_KERNEL && entry->index && devices_is_own(devices, entry->index);
}

int entry_dump(struct nl *nl, struct nlmsghdr *msg, int (*each)(const struct nlmsghdr *, void *), void *arg,
	struct err *err)
{
	struct err story = ERR_INIT;
	int r = nl_dump(nl, msg, each, arg, &story);

	/* no main table yet, IPv6 switched off, the device went meanwhile */
	if (r == -ENOENT || r == -EAFNOSUPPORT || r == -EOPNOTSUPP || r == -ENODEV)
		return 0;
	if (r < 0 && err)
		*err = story;
	return r;
}

struct scan {
	const struct devices *devices;
	struct entry_list *list;
	int family;
	uint8_t protocol; /* of this dump; 0: by device, and none that a dump by protocol has told */
};

static int scan_one(const struct nlmsghdr *msg, void *arg)
{
	const struct scan *scan = arg;
	struct entry entry;

	if (msg->nlmsg_type != RTM_NEWROUTE || !route_entry_parse(msg, &entry))
		return 0;
	if (family_of(&entry) != scan->family || !route_is_own(&entry, scan->devices))
		return 0;
	if (scan->protocol ? entry.protocol != scan->protocol : is_own_protocol(scan->devices, entry.protocol))
		return 0;
	return entry_list_add(scan->list, &entry);
}

static int scan_by(struct nl *nl, struct scan *scan, uint32_t index, uint8_t protocol, struct err *err)
{
	struct nlmsghdr *msg = nl_begin(nl, RTM_GETROUTE, 0);
	struct rtmsg *info = nl_extra(msg, sizeof(*info));

	info->rtm_family = (uint8_t)scan->family;
	info->rtm_table = RT_TABLE_MAIN;
	info->rtm_protocol = protocol;
	scan->protocol = protocol;
	if (index)
		mnl_attr_put_u32(msg, RTA_OIF, index);
	return entry_dump(nl, msg, scan_one, scan, err);
}

static int scan_family(struct nl *nl, struct scan *scan, struct err *err)
{
	const struct devices *devices = scan->devices;
	int r = scan_by(nl, scan, 0, ROUTE_PROTOCOL_TULLE, err);

	if (r == 0 && devices->protocol != ROUTE_PROTOCOL_TULLE && is_own_protocol(devices, devices->protocol) &&
		!record_has_protocol(&devices->record, devices->protocol))
		r = scan_by(nl, scan, 0, devices->protocol, err);
	for (size_t i = 0; r == 0 && i < devices->record.protocol_count; i++)
		if (devices->record.protocols[i] != ROUTE_PROTOCOL_TULLE && !is_taken(devices->record.protocols[i]))
			r = scan_by(nl, scan, 0, devices->record.protocols[i], err);
	for (size_t i = 0; r == 0 && i < devices->own_count; i++)
		r = scan_by(nl, scan, devices->own[i], 0, err);
	return r;
}

static int scan(struct nl *nl, const struct devices *devices, struct entry_list *ret, struct err *err)
{
	static const int families[] = {AF_INET, AF_INET6};
	struct scan state = {.devices = devices, .list = ret};

	for (int f = 0; f < FAMILY_COUNT; f++) {
		int r;

		state.family = families[f];
		r = scan_family(nl, &state, err);
		if (r < 0)
			return err_wrap(err, "routes"), r;
	}
	return 0;
}

static uint32_t metric_of(const struct wanted_route *route)
{
	if (route->kind == ROUTE_BLACKHOLE)
		return ROUTE_METRIC_BLACKHOLE;
	return route->metric || route->dst.family == AF_INET ? route->metric : METRIC_6;
}

static size_t wanted_count(const struct wanted *wanted)
{
	return wanted->route_count;
}

static bool from_wanted(const struct wanted *wanted, size_t i, struct devices *devices, struct entry *ret)
{
	const struct wanted_route *route = &wanted->routes[i];
	const struct plane_link *link = route->dev[0] ? devices_find(devices, route->dev) : NULL;

	if (route->dev[0] && (!link || !(link->flags & IFF_UP)))
		return false;
	ret->addr = route->dst.addr;
	ret->len = route->dst.len;
	ret->via = route->via;
	ret->index = link ? link->index : 0;
	ret->metric = metric_of(route);
	ret->source = route->source;
	ret->protocol = wanted->protocol ? wanted->protocol : ROUTE_PROTOCOL_TULLE;
	ret->type = route->kind == ROUTE_BLACKHOLE ? RTN_BLACKHOLE : RTN_UNICAST;
	ret->onlink = route->onlink;
	return true;
}

static void format(const struct entry *entry, const struct devices *devices, struct buf *buf)
{
	struct prefix dst = {.addr = entry->addr, .len = entry->len, .family = (uint8_t)family_of(entry)};
	const struct plane_link *link = devices_find_index(devices, entry->index);
	char text[PREFIX_TEXT_MAX], via[ADDR_TEXT_MAX];

	buf_printf(buf, "route %s%s", entry->type == RTN_BLACKHOLE ? "blackhole " : "", prefix_format(&dst, text));
	if (addr_is_set(&entry->via))
		buf_printf(buf, " via %s", addr_format(&entry->via, via));
	if (link)
		buf_printf(buf, " dev %s", link->name);
}

const struct table_kind route_kind = {
	.name = "route",
	.compare = compare,
	.equal = equal,
	.survives = survives,
	.put = put,
	.del = del,
	.hard = hard,
	.stepping_stone = stepping_stone,
	.scan = scan,
	.wanted_count = wanted_count,
	.wanted = from_wanted,
	.format = format,
};
