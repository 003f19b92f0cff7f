/* SPDX-License-Identifier: Apache-2.0
 *
 * Permanent neighbours on our own devices.
 */
#include "plane/entry.h"
#include "plane/lookup.h"

#include <linux/neighbour.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
	const struct entry *one = a, *two = b;

	if (one->index != two->index)
		return one->index < two->index ? -1 : 1;
	return addr_compare(&one->addr, &two->addr);
}

static bool equal(const struct entry *a, const struct entry *b)
{
	return mac_equal(&a->mac, &b->mac) && a->type == b->type;
}

static bool survives(const struct entry *known, const struct entry *wanted)
{
	return false;
}

static struct nlmsghdr *message(struct nl *nl, uint16_t type, uint16_t flags, const struct entry *entry)
{
	struct nlmsghdr *msg = nl_begin(nl, type, flags);
	struct ndmsg *info = nl_extra(msg, sizeof(*info));

	info->ndm_family = (uint8_t)addr_family(&entry->addr);
	info->ndm_ifindex = (int)entry->index;
	nl_put_addr(msg, NDA_DST, &entry->addr);
	return msg;
}

static struct nlmsghdr *put(struct nl *nl, const struct entry *entry)
{
	struct nlmsghdr *msg = message(nl, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, entry);
	struct ndmsg *info = mnl_nlmsg_get_payload(msg);

	info->ndm_state = NUD_PERMANENT;
	info->ndm_type = RTN_UNICAST;
	mnl_attr_put(msg, NDA_LLADDR, sizeof(entry->mac), entry->mac.b);
	return msg;
}

static struct nlmsghdr *del(struct nl *nl, const struct entry *entry)
{
	return message(nl, RTM_DELNEIGH, 0, entry);
}

bool neigh_entry_parse(const struct nlmsghdr *msg, const struct devices *devices, struct entry *ret)
{
	const struct ndmsg *info = mnl_nlmsg_get_payload(msg);
	const struct nlattr *attrs[NDA_LLADDR + 1];
	struct entry entry = {0};

	if (mnl_nlmsg_get_payload_len(msg) < sizeof(*info) || (info->ndm_flags & NTF_PROXY))
		return false;
	if (info->ndm_family != AF_INET && info->ndm_family != AF_INET6)
		return false;
	if (!devices_is_own(devices, (uint32_t)info->ndm_ifindex))
		return false;
	attrs_index(msg, sizeof(*info), attrs, NDA_LLADDR);
	entry.addr = attr_addr(attrs[NDA_DST]);
	if (!addr_is_set(&entry.addr))
		return false;
	entry.index = (uint32_t)info->ndm_ifindex;
	entry.type = (info->ndm_state & NUD_PERMANENT) != 0;
	if (attrs[NDA_LLADDR] && mnl_attr_get_payload_len(attrs[NDA_LLADDR]) == sizeof(entry.mac))
		memcpy(entry.mac.b, mnl_attr_get_payload(attrs[NDA_LLADDR]), sizeof(entry.mac));
	*ret = entry;
	return true;
}

struct scan {
	const struct devices *devices;
	struct entry_list *list;
	int family;
};

static int scan_one(const struct nlmsghdr *msg, void *arg)
{
	const struct scan *scan = arg;
	struct entry entry;

	if (msg->nlmsg_type != RTM_NEWNEIGH || !neigh_entry_parse(msg, scan->devices, &entry))
		return 0;
	if (!entry.type || addr_family(&entry.addr) != scan->family)
		return 0;
	return entry_list_add(scan->list, &entry);
}

static int scan(struct nl *nl, const struct devices *devices, struct entry_list *ret, struct err *err)
{
	static const int families[] = {AF_INET, AF_INET6};
	struct scan state = {.devices = devices, .list = ret};

	for (size_t i = 0; i < devices->own_count * FAMILY_COUNT; i++) {
		struct nlmsghdr *msg = nl_begin(nl, RTM_GETNEIGH, 0);
		struct ndmsg *info = nl_extra(msg, sizeof(*info));
		int r;

		state.family = families[i % FAMILY_COUNT];
		info->ndm_family = (uint8_t)state.family;
		mnl_attr_put_u32(msg, NDA_IFINDEX, devices->own[i / FAMILY_COUNT]);
		r = entry_dump(nl, msg, scan_one, &state, err);
		if (r < 0)
			return err_wrap(err, "neighbours"), r;
	}
	return 0;
}

static size_t wanted_count(const struct wanted *wanted)
{
	return wanted->neigh_count;
}

static bool from_wanted(const struct wanted *wanted, size_t i, struct devices *devices, struct entry *ret)
{
	const struct wanted_neigh *neigh = &wanted->neighs[i];
	const struct plane_link *link = devices_find(devices, neigh->dev);

	if (!link || !(link->flags & IFF_UP))
		return false;
	ret->addr = neigh->addr;
	ret->mac = neigh->mac;
	ret->index = link->index;
	ret->type = 1;
	return true;
}

static void format(const struct entry *entry, const struct devices *devices, struct buf *buf)
{
	const struct plane_link *link = devices_find_index(devices, entry->index);
	char text[ADDR_TEXT_MAX], mac[MAC_TEXT_MAX];

	buf_printf(buf, "neighbour %s lladdr %s dev %s", addr_format(&entry->addr, text), mac_format(&entry->mac, mac),
		link ? link->name : "?");
}

const struct table_kind neigh_kind = {
	.name = "neighbour",
	.compare = compare,
	.equal = equal,
	.survives = survives,
	.put = put,
	.del = del,
	.scan = scan,
	.wanted_count = wanted_count,
	.wanted = from_wanted,
	.format = format,
	.one_per_key = true,
};
