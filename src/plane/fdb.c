/* SPDX-License-Identifier: Apache-2.0
 *
 * Forwarding entries of our vxlan devices: which node has which MAC address. The key is the MAC: when a peer changes
 * its own, the old entry is another entry, and goes with the sweep (reference/flannel.md 13.10).
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
	return memcmp(one->mac.b, two->mac.b, sizeof(one->mac.b));
}

static bool equal(const struct entry *a, const struct entry *b)
{
	return addr_equal(&a->addr, &b->addr) && a->type == b->type;
}

static bool survives(const struct entry *known, const struct entry *wanted)
{
	return false;
}

static struct nlmsghdr *message(struct nl *nl, uint16_t type, uint16_t flags, const struct entry *entry)
{
	struct nlmsghdr *msg = nl_begin(nl, type, flags);
	struct ndmsg *info = nl_extra(msg, sizeof(*info));

	info->ndm_family = AF_BRIDGE;
	info->ndm_ifindex = (int)entry->index;
	info->ndm_flags = NTF_SELF;
	info->ndm_state = NUD_PERMANENT;
	mnl_attr_put(msg, NDA_LLADDR, sizeof(entry->mac), entry->mac.b);
	if (addr_is_set(&entry->addr))
		nl_put_addr(msg, NDA_DST, &entry->addr);
	return msg;
}

static struct nlmsghdr *put(struct nl *nl, const struct entry *entry)
{
	return message(nl, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, entry);
}

static struct nlmsghdr *del(struct nl *nl, const struct entry *entry)
{
	return message(nl, RTM_DELNEIGH, 0, entry);
}

bool fdb_entry_parse(const struct nlmsghdr *msg, const struct devices *devices, struct entry *ret)
{
	const struct ndmsg *info = mnl_nlmsg_get_payload(msg);
	const struct nlattr *attrs[NDA_NH_ID + 1];
	struct entry entry = {0};

	if (mnl_nlmsg_get_payload_len(msg) < sizeof(*info) || info->ndm_family != AF_BRIDGE)
		return false;
	if (!(info->ndm_flags & NTF_SELF) || !devices_is_own(devices, (uint32_t)info->ndm_ifindex))
		return false;
	attrs_index(msg, sizeof(*info), attrs, NDA_NH_ID);
	if (!attrs[NDA_LLADDR] || mnl_attr_get_payload_len(attrs[NDA_LLADDR]) != sizeof(entry.mac))
		return false;
	/* 6.1's core tells each addition a second time, without the destination: that says nothing. */
	if (msg->nlmsg_type == RTM_NEWNEIGH && !attrs[NDA_DST] && !attrs[NDA_NH_ID])
		return false;
	memcpy(entry.mac.b, mnl_attr_get_payload(attrs[NDA_LLADDR]), sizeof(entry.mac));
	entry.addr = attr_addr(attrs[NDA_DST]);
	entry.index = (uint32_t)info->ndm_ifindex;
	entry.type = (info->ndm_state & NUD_PERMANENT) != 0;
	*ret = entry;
	return true;
}

struct scan {
	const struct devices *devices;
	struct entry_list *list;
	uint32_t index;
};

static int scan_one(const struct nlmsghdr *msg, void *arg)
{
	const struct scan *scan = arg;
	struct entry entry;

	if (msg->nlmsg_type != RTM_NEWNEIGH || !fdb_entry_parse(msg, scan->devices, &entry))
		return 0;
	if (!entry.type || entry.index != scan->index)
		return 0;
	return entry_list_add(scan->list, &entry);
}

static int scan(struct nl *nl, const struct devices *devices, struct entry_list *ret, struct err *err)
{
	struct scan state = {.devices = devices, .list = ret};

	for (size_t i = 0; i < devices->own_count; i++) {
		const struct plane_link *link = devices_find_index(devices, devices->own[i]);
		struct nlmsghdr *msg;
		struct ndmsg *info;
		int r;

		/* other kinds tell their multicast filters here */
		if (!link || strcmp(link->kind, "vxlan") != 0)
			continue;
		msg = nl_begin(nl, RTM_GETNEIGH, 0);
		info = nl_extra(msg, sizeof(*info));
		info->ndm_family = AF_BRIDGE;
		info->ndm_ifindex = (int)devices->own[i];
		state.index = devices->own[i];
		r = entry_dump(nl, msg, scan_one, &state, err);
		if (r < 0)
			return err_wrap(err, "FDB"), r;
	}
	return 0;
}

static size_t wanted_count(const struct wanted *wanted)
{
	return wanted->fdb_count;
}

static bool from_wanted(const struct wanted *wanted, size_t i, struct devices *devices, struct entry *ret)
{
	const struct wanted_fdb *fdb = &wanted->fdbs[i];
	const struct plane_link *link = devices_find(devices, fdb->dev);

	if (!link)
		return false;
	ret->addr = fdb->dst;
	ret->mac = fdb->mac;
	ret->index = link->index;
	ret->type = 1;
	return true;
}

static void format(const struct entry *entry, const struct devices *devices, struct buf *buf)
{
	const struct plane_link *link = devices_find_index(devices, entry->index);
	char text[ADDR_TEXT_MAX], mac[MAC_TEXT_MAX];

	buf_printf(buf, "FDB entry %s dst %s dev %s", mac_format(&entry->mac, mac), addr_format(&entry->addr, text),
		link ? link->name : "?");
}

const struct table_kind fdb_kind = {
	.name = "FDB",
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
