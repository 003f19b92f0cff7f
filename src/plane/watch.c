/* SPDX-License-Identifier: Apache-2.0
 *
 * What a notification means. Known tables are corrected entry by entry, so that the next apply puts back just what is
 * missing; where the kernel drops entries without a word (a device that goes down takes its IPv4 routes along), the table
 * is scanned. What agrees with what is known is our own doing, and raises no concern: so there is no endless loop.
 */
#include "plane/plane_internal.h"

#include <linux/neighbour.h>
#include <linux/pkt_sched.h>
#include <stdlib.h>
#include <string.h>

#define FLAGS_SEEN (IFF_UP | IFF_RUNNING | IFF_NOARP)

/* A device that the wanted state names: its own, or one below. */
static bool is_named(const struct plane *plane, const char *name)
{
	for (size_t i = 0; i < plane->link_count; i++) {
		const struct wanted_link *link = &plane->links[i];
		size_t len = strlen(link->name);

		if (strcmp(link->name, name) == 0 || strcmp(link->lower, name) == 0)
			return true;
		if (link->kind == LINK_CARRIER && strncmp(link->name, name, len) == 0 && strcmp(name + len, "p") == 0)
			return true;
	}
	return (plane->carrier_uplink[0] && strcmp(plane->carrier_uplink, name) == 0) ||
		(plane->guard_uplink[0] && strcmp(plane->guard_uplink, name) == 0);
}

/* Pods' veths come and go without concern, unless a route leads to one or waits for it. */
static bool is_relevant(const struct plane *plane, const struct plane_link *link)
{
	if (!plane->applied || is_named(plane, link->name) || strcmp(link->kind, "veth") != 0)
		return true;
	for (int t = 0; t < TABLE_COUNT; t++)
		if (plane->tables[t].waiting)
			return true;
	return table_uses_device(&plane->tables[TABLE_ROUTE], link->index);
}

static void device_gone(struct plane *plane, struct plane_link *link)
{
	struct devices *devices = &plane->devices;

	if (is_relevant(plane, link))
		plane_concern(plane, 0);
	plane->links_dirty |= is_named(plane, link->name);
	for (int t = 0; t < TABLE_COUNT; t++)
		table_forget_device(&plane->tables[t], link->index);
	*link = devices->links[--devices->count];
	devices->last = 0;
}

static void device_new(struct plane *plane, const struct plane_link *link)
{
	struct devices *devices = &plane->devices;
	struct plane_link *bigger = reallocarray(devices->links, devices->count + 1, sizeof(*bigger));

	if (bigger) {
		devices->links = bigger;
		devices->links[devices->count++] = *link;
	} else {
		plane->devices_dirty = true;
	}
	plane->links_dirty |= is_named(plane, link->name);
	if (is_relevant(plane, link))
		plane_concern(plane, 0);
}

static void device_changed(struct plane *plane, struct plane_link *known, const struct plane_link *link)
{
	bool flapped = ((known->flags ^ link->flags) & IFF_UP) != 0;
	bool same = ((known->flags ^ link->flags) & FLAGS_SEEN) == 0 && known->mtu == link->mtu &&
		mac_equal(&known->mac, &link->mac) && strcmp(known->name, link->name) == 0;
	bool named = is_named(plane, known->name) || is_named(plane, link->name);
	bool relevant = is_relevant(plane, known) || is_relevant(plane, link);

	*known = *link;
	if (same)
		return;
	plane->links_dirty |= named;
	if (flapped && relevant)
		plane_tables_dirty(plane);
	if (relevant)
		plane_concern(plane, 0);
}

static void watch_link(struct plane *plane, const struct nlmsghdr *msg)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(msg);
	struct plane_link link, *known;

	/* bridges speak of their ports in the same words */
	if (link_parse(msg, &link) < 0 || info->ifi_family != AF_UNSPEC)
		return;
	known = devices_find_index(&plane->devices, link.index);
	if (msg->nlmsg_type == RTM_DELLINK) {
		if (known)
			device_gone(plane, known);
	} else if (known) {
		device_changed(plane, known, &link);
	} else {
		device_new(plane, &link);
	}
}

static bool is_wanted_addr(const struct plane *plane, const struct plane_addr *addr)
{
	const struct plane_link *link = devices_find_index(&plane->devices, addr->index);

	for (size_t i = 0; link && i < plane->link_count; i++) {
		if (strcmp(plane->links[i].name, link->name) != 0)
			continue;
		for (int f = 0; f < FAMILY_COUNT; f++)
			if (addr_equal(&plane->links[i].addr[f].addr, &addr->addr))
				return true;
	}
	return false;
}

/* On our own device: upkeep. On others: the uplink may have moved, and with the last address of a device its IPv4 routes
 * went silently. */
static void watch_addr(struct plane *plane, const struct nlmsghdr *msg)
{
	bool gone = msg->nlmsg_type == RTM_DELADDR;
	struct plane_addr addr;

	if (addr_message_parse(msg, &addr) < 0 || addr.scope >= RT_SCOPE_LINK)
		return;
	if (devices_is_own(&plane->devices, addr.index)) {
		if (!gone && is_wanted_addr(plane, &addr))
			return;
		plane->links_dirty = true;
	}
	plane->tables[TABLE_ROUTE].dirty |= gone;
	plane_concern(plane, 0);
}

static void watch_route(struct plane *plane, const struct nlmsghdr *msg)
{
	struct table *routes = &plane->tables[TABLE_ROUTE];
	struct entry entry;
	bool concerns;

	if (!route_entry_parse(msg, &entry))
		return;
	concerns = entry.len == 0; /* a default route chooses the uplink */
	if (msg->nlmsg_type == RTM_DELROUTE) {
		concerns |= table_removed(routes, &entry);
	} else if (route_is_own(&entry, &plane->devices)) {
		concerns |= table_appeared(routes, &entry);
	} else if (table_has_key(routes, &entry)) {
		/* beside ours or in its place: the message does not say */
		routes->dirty = true;
		concerns = true;
	}
	if (concerns)
		plane_concern(plane, 0);
}

static void watch_neigh(struct plane *plane, const struct nlmsghdr *msg)
{
	struct table *table = &plane->tables[TABLE_NEIGH];
	bool gone = msg->nlmsg_type == RTM_DELNEIGH;
	struct entry entry;

	if (fdb_entry_parse(msg, &plane->devices, &entry)) {
		table = &plane->tables[TABLE_FDB];
	} else if (neigh_entry_parse(msg, &plane->devices, &entry)) {
		/* one that goes has no MAC address any more: its key says it all */
		if (gone)
			entry.type = 0;
	} else {
		return;
	}
	if (gone ? table_removed(table, &entry) : table_appeared(table, &entry))
		plane_concern(plane, 0);
}

/* Only the carrier and the guard hang on qdiscs and filters. */
static void watch_qdisc(struct plane *plane, const struct nlmsghdr *msg)
{
	const struct tcmsg *info = mnl_nlmsg_get_payload(msg);
	const struct plane_link *link;

	if ((!plane->carrier_uplink[0] && !plane->guard_uplink[0]) || mnl_nlmsg_get_payload_len(msg) < sizeof(*info))
		return;
	link = devices_find_index(&plane->devices, (uint32_t)info->tcm_ifindex);
	if (link && is_named(plane, link->name))
		plane_concern(plane, 0);
}

void watch_rtnl(void *ctx, const struct nlmsghdr *msg)
{
	static const struct {
		uint16_t type;
		void (*watch)(struct plane *plane, const struct nlmsghdr *msg);
	} table[] = {
		{RTM_NEWLINK, watch_link}, {RTM_DELLINK, watch_link}, {RTM_NEWADDR, watch_addr},
		{RTM_DELADDR, watch_addr}, {RTM_NEWROUTE, watch_route}, {RTM_DELROUTE, watch_route},
		{RTM_NEWNEIGH, watch_neigh}, {RTM_DELNEIGH, watch_neigh}, {RTM_DELQDISC, watch_qdisc},
		{RTM_DELTFILTER, watch_qdisc},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].type == msg->nlmsg_type)
			table[i].watch(ctx, msg);
}

void watch_nft(void *ctx, const struct nlmsghdr *msg)
{
	struct plane *plane = ctx;
	unsigned event = nft_watch_message(&plane->nft_watch, msg, plane->children.pids, CHILDREN_KEPT);

	plane->nft.dirty |= (event & NFT_EVENT_OWN) != 0;
	plane->forward.due |= (event & NFT_EVENT_FORWARD) != 0;
	if (event)
		plane_concern(plane, 0);
}

void watch_overrun(void *ctx, bool nft)
{
	struct plane *plane = ctx;

	plane->stats.overruns++;
	if (nft) {
		plane->nft_watch = (struct nft_watch){0};
		plane->nft.dirty = plane->forward.due = true;
	} else {
		plane->devices_dirty = plane->links_dirty = true;
		plane_tables_dirty(plane);
	}
	plane_concern(plane, 0);
}
