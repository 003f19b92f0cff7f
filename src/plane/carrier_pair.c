/* SPDX-License-Identifier: Apache-2.0
 *
 * The carrier's device: a veth pair NAME and NAMEp, both without ARP and up. Its programs are carrier.c's.
 */
#include "plane/links.h"

#include "base/file.h"

#include <errno.h>
#include <linux/veth.h>
#include <stdio.h>
#include <string.h>

static int peer_name(const char *name, char ret[IFNAMSIZ], struct err *err)
{
	if (snprintf(ret, IFNAMSIZ, "%sp", name) >= IFNAMSIZ)
		return err_set(err, -ENAMETOOLONG, "its name must have at most %d characters", IFNAMSIZ - 2);
	return 0;
}

static int create(struct nl *nl, const struct wanted_link *link, const char *peer, struct err *err)
{
	struct nlmsghdr *msg = nl_begin(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
	struct nlattr *info, *data, *inner;
	int r;

	nl_extra(msg, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(msg, IFLA_IFNAME, link->name);
	mnl_attr_put_u32(msg, IFLA_MTU, link->mtu);
	info = mnl_attr_nest_start(msg, IFLA_LINKINFO);
	mnl_attr_put_strz(msg, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(msg, IFLA_INFO_DATA);
	inner = mnl_attr_nest_start(msg, VETH_INFO_PEER);
	nl_extra(msg, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(msg, IFLA_IFNAME, peer);
	mnl_attr_put_u32(msg, IFLA_MTU, link->mtu);
	mnl_attr_nest_end(msg, inner);
	mnl_attr_nest_end(msg, data);
	mnl_attr_nest_end(msg, info);
	r = nl_talk(nl, msg, err);
	return r < 0 ? err_wrap(err, "cannot create the veth pair"), r : 0;
}

/* Nothing of IPv6 may speak on the inner end: what comes out of it would be taken for pod traffic. On the other one only if
 * the network has IPv6: what it says of itself there can only be dropped. */
static void set_ipv6(const char *name, bool enabled)
{
	char path[64 + IFNAMSIZ];

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
	file_put(path, enabled ? "0" : "1");
}

/* Both ends, if they are a pair; -ENODEV when there is none of the name, -EEXIST when it is something else. */
static int get_pair(struct nl *nl, const char *name, const char *peer, struct plane_link ret[2], struct err *err)
{
	int r = link_get(nl, name, &ret[0], NULL, NULL, err);

	if (r < 0)
		return r;
	r = link_get(nl, peer, &ret[1], NULL, NULL, err);
	if (r < 0 && r != -ENODEV)
		return r;
	if (r < 0 || strcmp(ret[0].kind, "veth") != 0 || ret[0].lower != ret[1].index ||
		ret[1].lower != ret[0].index)
		return -EEXIST;
	return 0;
}

static int ensure_pair(struct nl *nl, const struct wanted_link *link, const char *peer, struct plane_link ret[2],
	struct link_outcome *outcome, struct err *err)
{
	int r = get_pair(nl, link->name, peer, ret, err);

	if (r == -EEXIST) {
		r = link_delete(nl, ret[0].index, err);
		if (r < 0)
			return err_wrap(err, "another device of that name cannot be removed"), r;
		r = -ENODEV;
	}
	if (r != -ENODEV)
		return r;
	r = create(nl, link, peer, err);
	if (r < 0)
		return r;
	outcome->changed = outcome->created = true;
	set_ipv6(peer, false);
	return get_pair(nl, link->name, peer, ret, err);
}

static int adjust_end(struct nl *nl, const struct plane_link *end, uint32_t mtu, struct link_outcome *ret,
	struct err *err)
{
	uint32_t flags = IFF_UP | IFF_NOARP;
	int r = 0;

	if (mtu && end->mtu != mtu) {
		ret->changed = true;
		r = link_set_mtu(nl, end->index, mtu, err);
		if (r < 0)
			return err_wrap(err, "%s: MTU %u", end->name, mtu), r;
	}
	if ((end->flags & flags) != flags) {
		ret->changed = true;
		r = link_set_flags(nl, end->index, flags, flags, err);
	}
	return r < 0 ? err_wrap(err, "%s: cannot be set up", end->name), r : 0;
}

int carrier_pair_apply(struct nl *nl, const struct wanted_link *link, struct link_outcome *ret, struct err *err)
{
	struct plane_link ends[2] = {0};
	char peer[IFNAMSIZ];
	int r = peer_name(link->name, peer, err);

	if (r == 0)
		r = ensure_pair(nl, link, peer, ends, ret, err);
	if (r == 0) {
		set_ipv6(link->name, prefix_is_set(&link->addr[FAMILY_6]));
		r = link_addrs_apply(nl, link, ends[0].index, ret, err);
	}
	for (int i = 1; r == 0 && i >= 0; i--)
		r = adjust_end(nl, &ends[i], link->mtu, ret, err);
	return r;
}
