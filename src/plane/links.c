/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/links.h"

#include "base/cleanup.h"
#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct get {
	struct plane_link link;
	void (*each)(const struct nlmsghdr *msg, void *arg);
	void *arg;
};

static int answer_link(const struct nlmsghdr *msg, void *arg)
{
	struct get *get = arg;
	int r = link_parse(msg, &get->link);

	if (r == 0 && get->each)
		get->each(msg, get->arg);
	return r;
}

int link_get(struct nl *nl, const char *name, struct plane_link *ret,
	void (*each)(const struct nlmsghdr *msg, void *arg), void *arg, struct err *err)
{
	struct nlmsghdr *msg = nl_begin(nl, RTM_GETLINK, 0);
	struct get get = {.each = each, .arg = arg};
	int r;

	nl_extra(msg, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(msg, IFLA_IFNAME, name);
	mnl_attr_put_u32(msg, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	r = nl_ask(nl, msg, answer_link, &get, err);
	if (r == 0)
		*ret = get.link;
	return r;
}

static struct nlmsghdr *change(struct nl *nl, uint16_t type, uint32_t index)
{
	struct nlmsghdr *msg = nl_begin(nl, type, 0);
	struct ifinfomsg *info = nl_extra(msg, sizeof(*info));

	info->ifi_index = (int)index;
	return msg;
}

int link_delete(struct nl *nl, uint32_t index, struct err *err)
{
	return nl_talk(nl, change(nl, RTM_DELLINK, index), err);
}

int link_set_mtu(struct nl *nl, uint32_t index, uint32_t mtu, struct err *err)
{
	struct nlmsghdr *msg = change(nl, RTM_NEWLINK, index);

	mnl_attr_put_u32(msg, IFLA_MTU, mtu);
	return nl_talk(nl, msg, err);
}

int link_set_mac(struct nl *nl, uint32_t index, const struct mac *mac, struct err *err)
{
	struct nlmsghdr *msg = change(nl, RTM_NEWLINK, index);

	mnl_attr_put(msg, IFLA_ADDRESS, sizeof(*mac), mac->b);
	return nl_talk(nl, msg, err);
}

int link_set_flags(struct nl *nl, uint32_t index, uint32_t flags, uint32_t mask, struct err *err)
{
	struct nlmsghdr *msg = change(nl, RTM_NEWLINK, index);
	struct ifinfomsg *info = mnl_nlmsg_get_payload(msg);

	info->ifi_flags = flags;
	info->ifi_change = mask;
	return nl_talk(nl, msg, err);
}

static int addr_change(struct nl *nl, uint16_t type, uint32_t index, const struct addr *addr, uint8_t len,
	struct err *err)
{
	uint16_t flags = type == RTM_NEWADDR ? NLM_F_CREATE | NLM_F_REPLACE : 0;
	struct nlmsghdr *msg = nl_begin(nl, type, flags);
	struct ifaddrmsg *info = nl_extra(msg, sizeof(*info));
	char text[ADDR_TEXT_MAX];
	int r;

	info->ifa_family = (uint8_t)addr_family(addr);
	info->ifa_prefixlen = len;
	info->ifa_index = index;
	/* ours alone by construction: no need to wait for the check for duplicates */
	if (type == RTM_NEWADDR && info->ifa_family == AF_INET6)
		info->ifa_flags = IFA_F_NODAD;
	nl_put_addr(msg, IFA_LOCAL, addr);
	if (type == RTM_NEWADDR)
		nl_put_addr(msg, IFA_ADDRESS, addr);
	r = nl_talk(nl, msg, err);
	if (r < 0)
		err_wrap(err, "address %s/%u", addr_format(addr, text), len);
	return r;
}

int link_del_addr(struct nl *nl, const struct plane_addr *addr, struct err *err)
{
	int r = addr_change(nl, RTM_DELADDR, addr->index, &addr->addr, addr->prefix_len, err);

	return r == -EADDRNOTAVAIL ? 0 : r;
}

static bool is_ours(const struct plane_addr *addr, const struct prefix *ours)
{
	return addr_equal(&addr->addr, &ours->addr) && addr->prefix_len == ours->len;
}

/* IPv4: what lies inside the cluster's network; IPv6: everything that is not link-local (4.1.5). */
static bool is_foreign(const struct plane_addr *addr, const struct prefix *ours, const struct prefix *foreign)
{
	if (is_ours(addr, ours))
		return false;
	if (ours->family == AF_INET6)
		return !addr_is_link_local(&addr->addr);
	return prefix_is_set(foreign) && prefix_contains(foreign, &addr->addr);
}

/* Ours first: with the last address of a device the kernel drops all of its IPv4 routes. */
static int family_addrs_apply(struct nl *nl, const struct prefix *ours, const struct prefix *foreign, uint32_t index,
	struct link_outcome *ret, struct err *err)
{
	_cleanup_free_ struct plane_addr *addrs = NULL;
	bool found = false;
	size_t count = 0;
	int r = addrs_dump(nl, ours->family, index, &addrs, &count, err);

	for (size_t i = 0; r == 0 && i < count; i++)
		found |= addrs[i].index == index && is_ours(&addrs[i], ours);
	if (r == 0 && !found) {
		r = addr_change(nl, RTM_NEWADDR, index, &ours->addr, ours->len, err);
		ret->changed = true;
	}
	for (size_t i = 0; r == 0 && i < count; i++) {
		if (addrs[i].index != index || !is_foreign(&addrs[i], ours, foreign))
			continue;
		r = link_del_addr(nl, &addrs[i], err);
		ret->addresses_removed = true;
	}
	return r;
}

int link_addrs_apply(struct nl *nl, const struct wanted_link *link, uint32_t index, struct link_outcome *ret,
	struct err *err)
{
	for (int f = 0; f < FAMILY_COUNT; f++) {
		int r;

		if (!prefix_is_set(&link->addr[f]))
			continue;
		r = family_addrs_apply(nl, &link->addr[f], &link->foreign[f], index, ret, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A router on the overlay would be an intruder. Best effort: /proc/sys may be read-only. */
static void refuse_router_advertisements(const char *name)
{
	char path[64 + IFNAMSIZ];

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/accept_ra", name);
	file_put(path, "0");
}

int link_retire(struct nl *nl, const struct plane_link *link, struct err *err)
{
	struct plane_link still;
	int r = link_delete(nl, link->index, err);

	/* the kernel says yes, and keeps the module's own device */
	if (r == 0 && strcmp(link->kind, "ipip") == 0 && link_get(nl, link->name, &still, NULL, NULL, NULL) == 0)
		r = ipip_retire(nl, &still, err);
	return r;
}

static int (*const appliers[])(struct nl *nl, const struct wanted_link *link, struct link_outcome *ret,
	struct err *err) = {
	[LINK_VXLAN] = vxlan_apply,
	[LINK_IPIP] = ipip_apply,
	[LINK_CARRIER] = carrier_pair_apply,
};

int link_apply(struct nl *nl, const struct wanted_link *link, struct link_outcome *ret, struct err *err)
{
	struct link_outcome outcome = {0};
	int r = appliers[link->kind](nl, link, &outcome, err);

	if (r == 0 && outcome.changed)
		refuse_router_advertisements(link->name);
	*ret = outcome;
	return r < 0 ? err_wrap(err, "device %s", link->name), r : 0;
}
