/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/lookup.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct array {
	void *data;
	size_t count, room, size; /* size: bytes of one */
};

static struct addr vxlan_local(const struct nlattr *data)
{
	const struct nlattr *attrs[IFLA_VXLAN_LOCAL6 + 1];

	attrs_index_nested(data, attrs, IFLA_VXLAN_LOCAL6);
	return attr_addr(attrs[attrs[IFLA_VXLAN_LOCAL6] ? IFLA_VXLAN_LOCAL6 : IFLA_VXLAN_LOCAL]);
}

static void *array_push(struct array *array)
{
	if (array->count == array->room) {
		size_t room = array->room ? array->room * 2 : 16;
		void *bigger = reallocarray(array->data, room, array->size);

		if (!bigger)
			return NULL;
		array->data = bigger;
		array->room = room;
	}
	return (char *)array->data + array->count++ * array->size;
}

void attrs_index(const struct nlmsghdr *msg, size_t header_size, const struct nlattr **attrs, unsigned max)
{
	const struct nlattr *attr;

	memset(attrs, 0, (max + 1) * sizeof(*attrs));
	mnl_attr_for_each(attr, msg, header_size) {
		if (mnl_attr_get_type(attr) <= max)
			attrs[mnl_attr_get_type(attr)] = attr;
	}
}

void attrs_index_nested(const struct nlattr *nest, const struct nlattr **attrs, unsigned max)
{
	const struct nlattr *attr;

	memset(attrs, 0, (max + 1) * sizeof(*attrs));
	if (!nest)
		return;
	mnl_attr_for_each_nested(attr, nest) {
		if (mnl_attr_get_type(attr) <= max)
			attrs[mnl_attr_get_type(attr)] = attr;
	}
}

uint32_t attr_u32(const struct nlattr *attr, uint32_t otherwise)
{
	return attr && mnl_attr_get_payload_len(attr) >= 4 ? mnl_attr_get_u32(attr) : otherwise;
}

uint16_t attr_u16(const struct nlattr *attr, uint16_t otherwise)
{
	return attr && mnl_attr_get_payload_len(attr) >= 2 ? mnl_attr_get_u16(attr) : otherwise;
}

uint8_t attr_u8(const struct nlattr *attr, uint8_t otherwise)
{
	return attr && mnl_attr_get_payload_len(attr) >= 1 ? mnl_attr_get_u8(attr) : otherwise;
}

struct addr attr_addr(const struct nlattr *attr)
{
	size_t len = attr ? mnl_attr_get_payload_len(attr) : 0;

	if (len != 4 && len != 16)
		return (struct addr){0};
	return addr_from_bytes(len == 4 ? AF_INET : AF_INET6, mnl_attr_get_payload(attr));
}

void attr_text(const struct nlattr *attr, char *ret, size_t size)
{
	size_t len = attr ? strnlen(mnl_attr_get_str(attr), mnl_attr_get_payload_len(attr)) : 0;

	if (len >= size)
		len = size - 1;
	if (len)
		memcpy(ret, mnl_attr_get_str(attr), len);
	ret[len] = 0;
}

int link_parse(const struct nlmsghdr *msg, struct plane_link *ret)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(msg);
	const struct nlattr *attrs[IFLA_LINKINFO + 1], *info_attrs[IFLA_INFO_DATA + 1];
	struct plane_link link = {0};

	if (mnl_nlmsg_get_payload_len(msg) < sizeof(*info))
		return -EBADMSG;
	attrs_index(msg, sizeof(*info), attrs, IFLA_LINKINFO);
	if (!attrs[IFLA_IFNAME] || info->ifi_index <= 0)
		return -EBADMSG;
	link.index = (uint32_t)info->ifi_index;
	link.flags = info->ifi_flags;
	link.mtu = attr_u32(attrs[IFLA_MTU], 0);
	link.lower = attr_u32(attrs[IFLA_LINK], 0);
	link.master = attr_u32(attrs[IFLA_MASTER], 0);
	attr_text(attrs[IFLA_IFNAME], link.name, sizeof(link.name));
	if (attrs[IFLA_ADDRESS] && mnl_attr_get_payload_len(attrs[IFLA_ADDRESS]) == sizeof(link.mac))
		memcpy(link.mac.b, mnl_attr_get_payload(attrs[IFLA_ADDRESS]), sizeof(link.mac));
	attrs_index_nested(attrs[IFLA_LINKINFO], info_attrs, IFLA_INFO_DATA);
	attr_text(info_attrs[IFLA_INFO_KIND], link.kind, sizeof(link.kind));
	if (strcmp(link.kind, "vxlan") == 0)
		link.local = vxlan_local(info_attrs[IFLA_INFO_DATA]);
	*ret = link;
	return 0;
}

int addr_message_parse(const struct nlmsghdr *msg, struct plane_addr *ret)
{
	const struct ifaddrmsg *info = mnl_nlmsg_get_payload(msg);
	const struct nlattr *attrs[IFA_FLAGS + 1];

	if (mnl_nlmsg_get_payload_len(msg) < sizeof(*info))
		return -EBADMSG;
	attrs_index(msg, sizeof(*info), attrs, IFA_FLAGS);
	/* on a point-to-point device IFA_ADDRESS is the peer's */
	if (!attrs[IFA_LOCAL])
		attrs[IFA_LOCAL] = attrs[IFA_ADDRESS];
	if (!attrs[IFA_LOCAL])
		return -EBADMSG;
	*ret = (struct plane_addr){
		.index = info->ifa_index,
		.addr = attr_addr(attrs[IFA_LOCAL]),
		.prefix_len = info->ifa_prefixlen,
		.flags = attr_u32(attrs[IFA_FLAGS], info->ifa_flags),
		.scope = info->ifa_scope,
	};
	return 0;
}

static void route_target(const struct nlattr **attrs, struct route_message *ret)
{
	ret->route.index = attr_u32(attrs[RTA_OIF], 0);
	ret->route.via = attr_addr(attrs[RTA_GATEWAY]);
	if (attrs[RTA_MULTIPATH]) {
		ret->multipath = true;
		ret->route.index = 0;
		ret->route.via = (struct addr){0};
	}
}

int route_message_parse(const struct nlmsghdr *msg, struct route_message *ret)
{
	const struct rtmsg *info = mnl_nlmsg_get_payload(msg);
	const struct nlattr *attrs[RTA_TABLE + 1];
	struct route_message parsed = {0};
	static const uint8_t none[16];

	if (mnl_nlmsg_get_payload_len(msg) < sizeof(*info))
		return -EBADMSG;
	if (info->rtm_family != AF_INET && info->rtm_family != AF_INET6)
		return -EBADMSG;
	attrs_index(msg, sizeof(*info), attrs, RTA_TABLE);
	parsed.route = (struct plane_route){
		.dst = {.family = info->rtm_family, .len = info->rtm_dst_len},
		.source = attr_addr(attrs[RTA_PREFSRC]),
		.metric = attr_u32(attrs[RTA_PRIORITY], 0),
		.protocol = info->rtm_protocol,
		.scope = info->rtm_scope,
		.type = info->rtm_type,
	};
	parsed.route.dst.addr = attrs[RTA_DST] ? attr_addr(attrs[RTA_DST]) : addr_from_bytes(info->rtm_family, none);
	parsed.table = attr_u32(attrs[RTA_TABLE], info->rtm_table);
	parsed.cloned = (info->rtm_flags & RTM_F_CLONED) != 0;
	parsed.onlink = (info->rtm_flags & RTNH_F_ONLINK) != 0;
	route_target(attrs, &parsed);
	*ret = parsed;
	return 0;
}

static int collect_link(const struct nlmsghdr *msg, void *arg)
{
	struct plane_link *link, parsed;

	if (msg->nlmsg_type != RTM_NEWLINK || link_parse(msg, &parsed) < 0)
		return 0;
	link = array_push(arg);
	if (!link)
		return -ENOMEM;
	*link = parsed;
	return 0;
}

static int link_compare(const void *a, const void *b)
{
	const struct plane_link *one = a, *two = b;

	return (one->index > two->index) - (one->index < two->index);
}

int links_dump(struct nl *nl, struct plane_link **ret, size_t *ret_count, struct err *err)
{
	struct array array = {.size = sizeof(struct plane_link)};
	struct nlmsghdr *msg = nl_begin(nl, RTM_GETLINK, 0);
	int r;

	nl_extra(msg, sizeof(struct ifinfomsg));
	/* statistics of every device would be most of the answer */
	mnl_attr_put_u32(msg, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	r = nl_dump(nl, msg, collect_link, &array, err);
	if (r < 0) {
		free(array.data);
		return err_wrap(err, "links"), r;
	}
	if (array.count)
		qsort(array.data, array.count, array.size, link_compare);
	*ret = array.data;
	*ret_count = array.count;
	return 0;
}

static int collect_addr(const struct nlmsghdr *msg, void *arg)
{
	struct plane_addr *addr, parsed;

	if (msg->nlmsg_type != RTM_NEWADDR || addr_message_parse(msg, &parsed) < 0)
		return 0;
	addr = array_push(arg);
	if (!addr)
		return -ENOMEM;
	*addr = parsed;
	return 0;
}

int addrs_dump(struct nl *nl, int family, uint32_t index, struct plane_addr **ret, size_t *ret_count,
	struct err *err)
{
	struct array array = {.size = sizeof(struct plane_addr)};
	struct nlmsghdr *msg = nl_begin(nl, RTM_GETADDR, 0);
	struct ifaddrmsg *info = nl_extra(msg, sizeof(*info));
	int r;

	info->ifa_family = (uint8_t)family;
	info->ifa_index = index;
	r = nl_dump(nl, msg, collect_addr, &array, err);
	if (r < 0) {
		free(array.data);
		return err_wrap(err, "addresses"), r;
	}
	*ret = array.data;
	*ret_count = array.count;
	return 0;
}

static int collect_route(const struct nlmsghdr *msg, void *arg)
{
	struct route_message parsed;
	struct plane_route *route;

	if (msg->nlmsg_type != RTM_NEWROUTE || route_message_parse(msg, &parsed) < 0)
		return 0;
	if (parsed.table != RT_TABLE_MAIN || parsed.cloned || parsed.route.type == RTN_LOCAL)
		return 0;
	route = array_push(arg);
	if (!route)
		return -ENOMEM;
	*route = parsed.route;
	return 0;
}

static int routes_dump(struct nl *nl, int family, struct array *array, struct err *err)
{
	struct nlmsghdr *msg = nl_begin(nl, RTM_GETROUTE, 0);
	struct rtmsg *info = nl_extra(msg, sizeof(*info));

	info->rtm_family = (uint8_t)family;
	info->rtm_table = RT_TABLE_MAIN;
	return nl_dump(nl, msg, collect_route, array, err);
}

static void close_nl(struct nl **nl)
{
	nl_close(*nl);
}

int plane_list_links(struct plane_link **ret, size_t *ret_count, struct err *err)
{
	_cleanup_(close_nl) struct nl *nl = NULL;
	int r = nl_open(&nl, err);

	return r < 0 ? r : links_dump(nl, ret, ret_count, err);
}

int plane_list_addrs(struct plane_addr **ret, size_t *ret_count, struct err *err)
{
	_cleanup_(close_nl) struct nl *nl = NULL;
	int r = nl_open(&nl, err);

	return r < 0 ? r : addrs_dump(nl, AF_UNSPEC, 0, ret, ret_count, err);
}

int plane_list_routes(struct plane_route **ret, size_t *ret_count, struct err *err)
{
	_cleanup_(close_nl) struct nl *nl = NULL;
	struct array array = {.size = sizeof(struct plane_route)};
	int r = nl_open(&nl, err);

	if (r == 0)
		r = routes_dump(nl, AF_INET, &array, err);
	/* a kernel without the main table of a family (IPv6 switched off) says ENOENT */
	if (r == 0 || r == -ENOENT)
		r = routes_dump(nl, AF_INET6, &array, err);
	if (r < 0 && r != -ENOENT && r != -EAFNOSUPPORT) {
		free(array.data);
		return err_wrap(err, "routes"), r;
	}
	*ret = array.data;
	*ret_count = array.count;
	return 0;
}

static int answer_route(const struct nlmsghdr *msg, void *arg)
{
	struct route_message parsed;
	int r = route_message_parse(msg, &parsed);

	if (r == 0)
		*(struct plane_route *)arg = parsed.route;
	return r;
}

int plane_route_get(const struct addr *to, struct plane_route *ret, struct err *err)
{
	_cleanup_(close_nl) struct nl *nl = NULL;
	struct plane_route route = {0};
	char text[ADDR_TEXT_MAX];
	struct nlmsghdr *msg;
	struct rtmsg *info;
	int r = nl_open(&nl, err);

	if (r < 0)
		return r;
	msg = nl_begin(nl, RTM_GETROUTE, 0);
	info = nl_extra(msg, sizeof(*info));
	info->rtm_family = (uint8_t)addr_family(to);
	info->rtm_dst_len = addr_is_4(to) ? 32 : 128;
	nl_put_addr(msg, RTA_DST, to);
	r = nl_ask(nl, msg, answer_route, &route, err);
	if (r < 0)
		return err_wrap(err, "route to %s", addr_format(to, text)), r;
	*ret = route;
	return 0;
}
