/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernel's vxlan devices, made and compared as reference/flannel.md 4.1.2 and 4.1.4 say.
 */
#include "plane/links.h"

#include <errno.h>
#include <string.h>

#define DEFAULT_PORT 8472

struct vxlan {
	struct plane_link link;
	bool is_vxlan;
	uint32_t vni, lower;
	struct addr local, group;
	uint16_t port;
	bool learning, l2miss, gbp, external;
};

static void parse_data(const struct nlmsghdr *msg, void *arg)
{
	const struct nlattr *attrs[IFLA_LINKINFO + 1], *info[IFLA_INFO_DATA + 1], *data[IFLA_VXLAN_GPE + 1];
	struct vxlan *vxlan = arg;
	char kind[16];

	attrs_index(msg, sizeof(struct ifinfomsg), attrs, IFLA_LINKINFO);
	attrs_index_nested(attrs[IFLA_LINKINFO], info, IFLA_INFO_DATA);
	attr_text(info[IFLA_INFO_KIND], kind, sizeof(kind));
	vxlan->is_vxlan = strcmp(kind, "vxlan") == 0;
	if (!vxlan->is_vxlan)
		return;
	attrs_index_nested(info[IFLA_INFO_DATA], data, IFLA_VXLAN_GPE);
	vxlan->vni = attr_u32(data[IFLA_VXLAN_ID], 0);
	vxlan->lower = attr_u32(data[IFLA_VXLAN_LINK], 0);
	vxlan->local = attr_addr(data[data[IFLA_VXLAN_LOCAL6] ? IFLA_VXLAN_LOCAL6 : IFLA_VXLAN_LOCAL]);
	vxlan->group = attr_addr(data[data[IFLA_VXLAN_GROUP6] ? IFLA_VXLAN_GROUP6 : IFLA_VXLAN_GROUP]);
	vxlan->port = ntohs(attr_u16(data[IFLA_VXLAN_PORT], 0));
	vxlan->learning = attr_u8(data[IFLA_VXLAN_LEARNING], 0) != 0;
	vxlan->l2miss = attr_u8(data[IFLA_VXLAN_L2MISS], 0) != 0;
	vxlan->external = attr_u8(data[IFLA_VXLAN_COLLECT_METADATA], 0) != 0;
	vxlan->gbp = data[IFLA_VXLAN_GBP] != NULL;
}

static struct nlmsghdr *begin_data(struct nl *nl, const struct wanted_link *link, uint32_t index, uint16_t flags,
	struct nlattr *nests[2])
{
	struct nlmsghdr *msg = nl_begin(nl, RTM_NEWLINK, flags);
	struct ifinfomsg *info = nl_extra(msg, sizeof(*info));

	info->ifi_index = (int)index;
	if (!index) {
		mnl_attr_put_strz(msg, IFLA_IFNAME, link->name);
		if (link->mtu)
			mnl_attr_put_u32(msg, IFLA_MTU, link->mtu);
		mnl_attr_put_u32(msg, IFLA_TXQLEN, 0);
		if (mac_is_set(&link->mac))
			mnl_attr_put(msg, IFLA_ADDRESS, sizeof(link->mac), link->mac.b);
	}
	nests[0] = mnl_attr_nest_start(msg, IFLA_LINKINFO);
	mnl_attr_put_strz(msg, IFLA_INFO_KIND, "vxlan");
	nests[1] = mnl_attr_nest_start(msg, IFLA_INFO_DATA);
	return msg;
}

static int end_data(struct nl *nl, struct nlmsghdr *msg, struct nlattr *nests[2], struct err *err)
{
	mnl_attr_nest_end(msg, nests[1]);
	mnl_attr_nest_end(msg, nests[0]);
	return nl_talk(nl, msg, err);
}

/* "exists" although no device has the name: another one holds the VNI on that port. */
struct rival {
	const struct wanted_link *link;
	char name[IFNAMSIZ];
};

static int find_rival(const struct nlmsghdr *msg, void *arg)
{
	struct rival *rival = arg;
	struct vxlan vxlan = {0};
	uint16_t port = rival->link->port ? rival->link->port : DEFAULT_PORT;

	if (msg->nlmsg_type != RTM_NEWLINK || link_parse(msg, &vxlan.link) < 0)
		return 0;
	parse_data(msg, &vxlan);
	if (vxlan.is_vxlan && vxlan.vni == rival->link->vni && vxlan.port == port)
		memcpy(rival->name, vxlan.link.name, sizeof(rival->name));
	return 0;
}

static int told_exists(struct nl *nl, const struct wanted_link *link, struct err *err)
{
	struct rival rival = {.link = link};
	struct nlmsghdr *msg = nl_begin(nl, RTM_GETLINK, 0);

	nl_extra(msg, sizeof(struct ifinfomsg));
	nl_dump(nl, msg, find_rival, &rival, NULL);
	if (!rival.name[0])
		return err_set(err, -EEXIST, "VNI %u on port %u is in use", link->vni,
			link->port ? link->port : DEFAULT_PORT);
	return err_set(err, -EEXIST, "VNI %u on port %u is in use by device %s: remove that device, or choose another "
		"VNI or Port", link->vni, link->port ? link->port : DEFAULT_PORT, rival.name);
}

static int create(struct nl *nl, const struct wanted_link *link, uint32_t lower, struct err *err)
{
	bool is_4 = addr_is_4(&link->local);
	struct nlattr *nests[2];
	struct nlmsghdr *msg = begin_data(nl, link, 0, NLM_F_CREATE | NLM_F_EXCL, nests);
	int r;

	mnl_attr_put_u32(msg, IFLA_VXLAN_ID, link->vni);
	if (lower)
		mnl_attr_put_u32(msg, IFLA_VXLAN_LINK, lower);
	if (addr_is_set(&link->local))
		nl_put_addr(msg, is_4 ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6, &link->local);
	mnl_attr_put_u8(msg, IFLA_VXLAN_TTL, 0);
	mnl_attr_put_u8(msg, IFLA_VXLAN_TOS, 0);
	mnl_attr_put_u8(msg, IFLA_VXLAN_LEARNING, link->learning);
	mnl_attr_put_u8(msg, IFLA_VXLAN_PROXY, 0);
	mnl_attr_put_u8(msg, IFLA_VXLAN_RSC, 0);
	mnl_attr_put_u8(msg, IFLA_VXLAN_L2MISS, 0);
	mnl_attr_put_u8(msg, IFLA_VXLAN_L3MISS, 0);
	mnl_attr_put_u8(msg, IFLA_VXLAN_UDP_ZERO_CSUM6_TX, 0);
	mnl_attr_put_u8(msg, IFLA_VXLAN_UDP_ZERO_CSUM6_RX, 0);
	if (link->port_configured && link->port)
		mnl_attr_put_u16(msg, IFLA_VXLAN_PORT, htons(link->port));
	if (link->gbp)
		mnl_attr_put(msg, IFLA_VXLAN_GBP, 0, NULL);
	r = end_data(nl, msg, nests, err);
	if (r == -EEXIST)
		return told_exists(nl, link, err);
	return r < 0 ? err_wrap(err, "cannot create the vxlan device"), r : 0;
}

/* What cannot be changed on a device that exists; null when it fits. */
static const char *misfit(const struct vxlan *have, const struct wanted_link *want, uint32_t lower)
{
	if (!have->is_vxlan)
		return "kind";
	if (have->vni != want->vni || have->external)
		return "VNI";
	if (have->lower && lower && have->lower != lower)
		return "lower device";
	if (addr_is_set(&have->local) && addr_is_set(&want->local) && !addr_equal(&have->local, &want->local))
		return "local address";
	if (addr_is_set(&have->group))
		return "group";
	if (have->l2miss)
		return "l2miss";
	if (want->port_configured && want->port && have->port && have->port != want->port)
		return "port";
	if (have->gbp != want->gbp)
		return "GBP";
	return NULL;
}

/* The kernel takes no more than the lower device leaves (13.8: 70 bytes with an IPv6 underlay). */
static uint32_t possible_mtu(const struct wanted_link *link, const struct plane_link *lower)
{
	uint32_t overhead = addr_is_4(&link->local) ? 50 : 70;

	if (lower->mtu > overhead && link->mtu > lower->mtu - overhead)
		return lower->mtu - overhead;
	return link->mtu;
}

static int set_learning(struct nl *nl, const struct wanted_link *link, uint32_t index, struct err *err)
{
	struct nlattr *nests[2];
	struct nlmsghdr *msg = begin_data(nl, link, index, 0, nests);

	mnl_attr_put_u8(msg, IFLA_VXLAN_LEARNING, link->learning);
	return end_data(nl, msg, nests, err);
}

static int adjust(struct nl *nl, const struct vxlan *have, const struct wanted_link *want,
	const struct plane_link *lower, struct link_outcome *ret, struct err *err)
{
	uint32_t mtu = possible_mtu(want, lower);
	uint32_t index = have->link.index;
	int r = 0;

	if (have->learning != want->learning) {
		ret->changed = true;
		r = set_learning(nl, want, index, err);
		if (r < 0)
			return err_wrap(err, "learning"), r;
	}
	if (mtu && have->link.mtu != mtu) {
		ret->changed = true;
		r = link_set_mtu(nl, index, mtu, err);
		if (r < 0)
			return err_wrap(err, "MTU %u", mtu), r;
	}
	if (mac_is_set(&want->mac) && !mac_equal(&have->link.mac, &want->mac)) {
		ret->changed = true;
		r = link_set_mac(nl, index, &want->mac, err);
		if (r < 0)
			return err_wrap(err, "MAC address"), r;
	}
	return 0;
}

static int bring_up(struct nl *nl, const struct vxlan *have, const struct wanted_link *want, struct link_outcome *ret,
	struct err *err)
{
	int r;

	if (have->link.flags & IFF_UP)
		return 0;
	ret->changed = true;
	r = link_set_flags(nl, have->link.index, IFF_UP, IFF_UP, err);
	if (r == -EADDRINUSE)
		return err_set(err, r, "cannot be set up: UDP port %u is taken by another program or tunnel device",
			want->port ? want->port : DEFAULT_PORT);
	return r < 0 ? err_wrap(err, "cannot be set up"), r : 0;
}

static int ensure(struct nl *nl, const struct wanted_link *want, uint32_t lower, struct vxlan *have,
	struct link_outcome *ret, struct err *err)
{
	int r = link_get(nl, want->name, &have->link, parse_data, have, err);

	if (r == 0 && misfit(have, want, lower)) {
		r = link_delete(nl, have->link.index, err);
		if (r < 0)
			return err_wrap(err, "another device of that name (different %s) cannot be removed",
				misfit(have, want, lower)), r;
		*have = (struct vxlan){0};
		r = -ENODEV;
	}
	if (r != -ENODEV)
		return r;
	r = create(nl, want, lower, err);
	if (r < 0)
		return r;
	ret->changed = ret->created = true;
	return link_get(nl, want->name, &have->link, parse_data, have, err);
}

int vxlan_apply(struct nl *nl, const struct wanted_link *link, struct link_outcome *ret, struct err *err)
{
	struct plane_link lower = {0};
	struct vxlan have = {0};
	int r = 0;

	if (link->lower[0])
		r = link_get(nl, link->lower, &lower, NULL, NULL, err);
	if (r < 0)
		return err_set(err, r, "its lower device %s: %s", link->lower, strerror(-r));
	r = ensure(nl, link, lower.index, &have, ret, err);
	if (r == 0)
		r = adjust(nl, &have, link, &lower, ret, err);
	if (r == 0)
		r = link_addrs_apply(nl, link, have.link.index, ret, err);
	if (r == 0)
		r = bring_up(nl, &have, link, ret, err);
	return r;
}
