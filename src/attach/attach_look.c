/* SPDX-License-Identifier: Apache-2.0 */
#include "attach/attach_link.h"

#include <errno.h>
#include <string.h>

/* -- one interface -- */

static int read_link(const struct nlmsghdr *msg, void *arg)
{
	const struct ifinfomsg *m = mnl_nlmsg_get_payload(msg);
	struct podlink_state *state = arg;
	const struct nlattr *attr;

	state->index = (uint32_t)m->ifi_index;
	state->flags = m->ifi_flags;
	mnl_attr_for_each(attr, msg, sizeof(*m))
	{
		switch (mnl_attr_get_type(attr)) {
		case IFLA_MTU:
			state->mtu = mnl_attr_get_u32(attr);
			break;
		case IFLA_OPERSTATE:
			state->operstate = mnl_attr_get_u8(attr);
			break;
		case IFLA_GROUP:
			state->group = mnl_attr_get_u32(attr);
			break;
		case IFLA_ADDRESS:
			if (mnl_attr_get_payload_len(attr) == sizeof(state->mac.b))
				memcpy(state->mac.b, mnl_attr_get_payload(attr), sizeof(state->mac.b));
			break;
		default:
			break;
		}
	}
	return 0;
}

int podlink_get(struct nl *nl, const char *name, struct podlink_state *ret, struct err *err)
{
	struct nlmsghdr *msg = nl_begin(nl, RTM_GETLINK, 0);
	struct podlink_state state = {0};
	int rc;

	nl_extra(msg, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(msg, IFLA_IFNAME, name);
	rc = nl_ask(nl, msg, read_link, &state, err);
	if (rc < 0)
		return err_set(err, rc, "interface %s: %s", name, strerror(-rc));
	*ret = state;
	return 0;
}

static int podlink_expect(
	struct nl *nl, const char *name, const struct mac *mac, struct podlink_state *ret, struct err *err)
{
	char found[MAC_TEXT_MAX], expected[MAC_TEXT_MAX];
	int rc = podlink_get(nl, name, ret, err);

	if (rc < 0)
		return rc;
	if (!mac_equal(&ret->mac, mac))
		return err_set(err, -ENODEV, "interface %s: MAC address %s, expected %s", name,
			mac_format(&ret->mac, found), mac_format(mac, expected));
	if (!(ret->flags & IFF_UP))
		return err_set(err, -ENETDOWN, "interface %s: it is down, expected up", name);
	return 0;
}

/* -- is this entry among those of a dump? -- */

struct search {
	uint32_t index;
	struct addr addr;  /* address or neighbour */
	struct mac mac;    /* neighbour */
	struct prefix dst; /* route */
	struct addr via;
	uint32_t table, priority;
	bool found;
};

static struct addr attr_addr(const struct nlattr *attr)
{
	struct addr none = {{0}};

	if (!attr)
		return none;
	if (mnl_attr_get_payload_len(attr) == 4)
		return addr_from_bytes(AF_INET, mnl_attr_get_payload(attr));
	return mnl_attr_get_payload_len(attr) == 16 ? addr_from_bytes(AF_INET6, mnl_attr_get_payload(attr))
						    : none;
}

static const struct nlattr *find_attr(const struct nlmsghdr *msg, size_t header, int type)
{
	const struct nlattr *attr;

	mnl_attr_for_each(attr, msg, header)
	{
		if (mnl_attr_get_type(attr) == type)
			return attr;
	}
	return NULL;
}

static uint32_t attr_number(const struct nlmsghdr *msg, size_t header, int type, uint32_t absent)
{
	const struct nlattr *attr = find_attr(msg, header, type);

	return attr && mnl_attr_get_payload_len(attr) == 4 ? mnl_attr_get_u32(attr) : absent;
}

static int match_address(const struct nlmsghdr *msg, void *arg)
{
	const struct ifaddrmsg *m = mnl_nlmsg_get_payload(msg);
	const struct nlattr *local = find_attr(msg, sizeof(*m), IFA_LOCAL);
	struct search *search = arg;
	struct addr addr = attr_addr(local ? local : find_attr(msg, sizeof(*m), IFA_ADDRESS));
	uint32_t flags = attr_number(msg, sizeof(*m), IFA_FLAGS, m->ifa_flags);

	if (m->ifa_index == search->index && addr_equal(&addr, &search->addr) &&
		!(flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)))
		search->found = true;
	return 0;
}

static int match_neigh(const struct nlmsghdr *msg, void *arg)
{
	const struct ndmsg *m = mnl_nlmsg_get_payload(msg);
	const struct nlattr *mac = find_attr(msg, sizeof(*m), NDA_LLADDR);
	struct search *search = arg;
	struct addr addr = attr_addr(find_attr(msg, sizeof(*m), NDA_DST));

	if ((uint32_t)m->ndm_ifindex == search->index && m->ndm_state & NUD_PERMANENT &&
		addr_equal(&addr, &search->addr) && mac && mnl_attr_get_payload_len(mac) == 6 &&
		memcmp(mnl_attr_get_payload(mac), search->mac.b, 6) == 0)
		search->found = true;
	return 0;
}

static int match_route(const struct nlmsghdr *msg, void *arg)
{
	const struct rtmsg *m = mnl_nlmsg_get_payload(msg);
	const struct nlattr *dst = find_attr(msg, sizeof(*m), RTA_DST);
	struct search *search = arg;
	struct addr addr = attr_addr(dst), via = attr_addr(find_attr(msg, sizeof(*m), RTA_GATEWAY));

	if (m->rtm_family != search->dst.family || m->rtm_dst_len != search->dst.len ||
		m->rtm_type != RTN_UNICAST)
		return 0;
	if (dst ? !addr_equal(&addr, &search->dst.addr) : search->dst.len != 0)
		return 0;
	if (attr_number(msg, sizeof(*m), RTA_OIF, 0) != search->index || !addr_equal(&via, &search->via))
		return 0;
	if (attr_number(msg, sizeof(*m), RTA_TABLE, m->rtm_table) != search->table)
		return 0;
	if (search->priority && attr_number(msg, sizeof(*m), RTA_PRIORITY, 0) != search->priority)
		return 0;
	search->found = true;
	return 0;
}

static int search_address(struct nl *nl, struct search *search, struct err *err)
{
	struct nlmsghdr *msg = nl_begin(nl, RTM_GETADDR, 0);
	struct ifaddrmsg *m = nl_extra(msg, sizeof(*m));

	m->ifa_family = (uint8_t)addr_family(&search->addr);
	return nl_dump(nl, msg, match_address, search, err);
}

static int search_neigh(struct nl *nl, struct search *search, struct err *err)
{
	struct nlmsghdr *msg = nl_begin(nl, RTM_GETNEIGH, 0);
	struct ndmsg *m = nl_extra(msg, sizeof(*m));

	m->ndm_family = (uint8_t)addr_family(&search->addr);
	mnl_attr_put_u32(msg, NDA_IFINDEX, search->index); /* the kernel filters */
	return nl_dump(nl, msg, match_neigh, search, err);
}

static int search_route(struct nl *nl, struct search *search, struct err *err)
{
	struct nlmsghdr *msg = nl_begin(nl, RTM_GETROUTE, 0);
	struct rtmsg *m = nl_extra(msg, sizeof(*m));
	int rc;

	m->rtm_family = search->dst.family;
	if (search->table < 256)
		m->rtm_table = (uint8_t)search->table;
	else
		mnl_attr_put_u32(msg, RTA_TABLE, search->table);
	mnl_attr_put_u32(msg, RTA_OIF, search->index); /* the kernel filters */
	rc = nl_dump(nl, msg, match_route, search, err);
	return rc == -ENOENT ? 0 : rc; /* no such table: not found */
}

/* -- checks -- */

static int expect_address(
	struct nl *nl, const char *ifname, uint32_t index, const struct addr *addr, struct err *err)
{
	struct search search = {.index = index, .addr = *addr};
	char text[ADDR_TEXT_MAX];
	int rc = search_address(nl, &search, err);

	if (rc < 0 || search.found)
		return rc;
	return err_set(
		err, -EADDRNOTAVAIL, "interface %s: address %s is missing", ifname, addr_format(addr, text));
}

static int expect_neigh(struct nl *nl, const char *ifname, uint32_t index, const struct addr *addr,
	const struct mac *mac, struct err *err)
{
	struct search search = {.index = index, .addr = *addr, .mac = *mac};
	char text[ADDR_TEXT_MAX], mac_text[MAC_TEXT_MAX];
	int rc = search_neigh(nl, &search, err);

	if (rc < 0 || search.found)
		return rc;
	return err_set(err, -EHOSTUNREACH, "interface %s: the permanent neighbour %s at %s is missing",
		ifname, addr_format(addr, text), mac_format(mac, mac_text));
}

static int expect_route(struct nl *nl, const char *ifname, uint32_t index, const struct attach_route *route,
	const struct addr *via, struct err *err)
{
	struct search search = {.index = index,
		.dst = route->dst,
		.priority = route->priority,
		.table = route->table ? route->table : RT_TABLE_MAIN};
	char text[PREFIX_TEXT_MAX];
	int rc;

	if (via)
		search.via = *via;
	rc = search_route(nl, &search, err);
	if (rc < 0 || search.found)
		return rc;
	return err_set(err, -ENETUNREACH, "interface %s: the route to %s is missing", ifname,
		prefix_format(&route->dst, text));
}

static int check_pod_routes(
	struct nl *nl, const struct attachment *a, int family, uint32_t index, struct err *err)
{
	struct addr gateway = podlink_gateway(family);
	struct attach_route route = {.dst = prefix_host(&gateway)};
	int rc = family == FAMILY_4 ? expect_route(nl, a->ifname, index, &route, NULL, err) : 0;

	route.dst = (struct prefix){
		.family = route.dst.family, .addr = family == FAMILY_4 ? addr_from_4(0) : (struct addr){{0}}};
	if (rc == 0 && a->default_route)
		rc = expect_route(nl, a->ifname, index, &route, &gateway, err);
	for (size_t i = 0; rc == 0 && i < a->route_count; i++) {
		if (a->routes[i].dst.family == route.dst.family)
			rc = expect_route(nl, a->ifname, index, &a->routes[i], &gateway, err);
	}
	return rc;
}

int podlink_check_pod(struct nl *nl, const struct attachment *a, struct err *err)
{
	struct podlink_state state;
	int rc = podlink_expect(nl, a->ifname, &a->mac, &state, err);

	for (int f = 0; rc == 0 && f < FAMILY_COUNT; f++) {
		struct addr gateway = podlink_gateway(f);

		if (!addr_is_set(&a->addr[f]))
			continue;
		rc = expect_address(nl, a->ifname, state.index, &a->addr[f], err);
		if (rc == 0)
			rc = expect_neigh(nl, a->ifname, state.index, &gateway, &a->host_mac, err);
		if (rc == 0)
			rc = check_pod_routes(nl, a, f, state.index, err);
	}
	return rc;
}

int podlink_check_host(struct nl *nl, const struct attachment *a, struct err *err)
{
	struct podlink_state state;
	int rc = podlink_expect(nl, a->host_ifname, &a->host_mac, &state, err);

	for (int f = 0; rc == 0 && f < FAMILY_COUNT; f++) {
		struct attach_route route = {.dst = prefix_host(&a->addr[f])};

		if (!addr_is_set(&a->addr[f]))
			continue;
		if (mac_is_set(&a->mac))
			rc = expect_neigh(nl, a->host_ifname, state.index, &a->addr[f], &a->mac, err);
		if (rc == 0)
			rc = expect_route(nl, a->host_ifname, state.index, &route, NULL, err);
	}
	return rc;
}

/* -- who has an address? -- */

static int read_match(const struct nlmsghdr *msg, void *arg)
{
	*(struct rtmsg *)arg = *(const struct rtmsg *)mnl_nlmsg_get_payload(msg);
	return 0;
}

/* The most specific route to it; all zero when there is none. */
static struct rtmsg route_match(struct nl *nl, const struct addr *addr)
{
	struct nlmsghdr *msg = nl_begin(nl, RTM_GETROUTE, 0);
	struct rtmsg *m = nl_extra(msg, sizeof(*m)), match = {0};

	m->rtm_family = (uint8_t)addr_family(addr);
	m->rtm_dst_len = (uint8_t)(8 * addr_bytes_len(addr));
	m->rtm_flags = RTM_F_FIB_MATCH; /* the route itself, not a copy for this destination */
	nl_put_addr(msg, RTA_DST, addr);
	return nl_ask(nl, msg, read_match, &match, NULL) == 0 ? match : (struct rtmsg){0};
}

bool podlink_is_local(struct nl *nl, const struct addr *addr)
{
	return route_match(nl, addr).rtm_type == RTN_LOCAL;
}

bool podlink_owns(struct nl *nl, const struct addr *addr)
{
	struct rtmsg match = route_match(nl, addr);

	return match.rtm_type == RTN_LOCAL || match.rtm_type == RTN_ANYCAST ||
	       (match.rtm_type == RTN_UNICAST && match.rtm_dst_len == 8 * addr_bytes_len(addr));
}
