/* SPDX-License-Identifier: Apache-2.0
 *
 * tunl0, the device of the kernel's module ipip (reference/calico.md 5.5). Each network namespace has one as soon as the
 * module is loaded (unless net.core.fb_tunnels_only_for_init_net says otherwise), and it cannot be removed. Asking for a
 * device of the kind makes the kernel load the module, whoever asks and wherever he runs.
 */
#include "plane/links.h"

#include "base/cleanup.h"

#include <errno.h>
#include <linux/if_tunnel.h>
#include <string.h>

#define KIND "ipip"
#define PROBE_NAME "tulprobe"

struct ipip {
	struct plane_link link;
	struct addr remote;
};

static void parse_data(const struct nlmsghdr *msg, void *arg)
{
	const struct nlattr *attrs[IFLA_LINKINFO + 1], *info[IFLA_INFO_DATA + 1], *data[IFLA_IPTUN_REMOTE + 1];
	struct ipip *ipip = arg;

	attrs_index(msg, sizeof(struct ifinfomsg), attrs, IFLA_LINKINFO);
	attrs_index_nested(attrs[IFLA_LINKINFO], info, IFLA_INFO_DATA);
	attrs_index_nested(info[IFLA_INFO_DATA], data, IFLA_IPTUN_REMOTE);
	ipip->remote = attr_addr(data[IFLA_IPTUN_REMOTE]);
}

/* As the module makes its own tunl0: no fixed ends, TTL and DF of the inner packet. */
static int create(struct nl *nl, const char *name, const struct addr *remote, struct err *err)
{
	struct nlmsghdr *msg = nl_begin(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
	struct nlattr *info, *data;

	nl_extra(msg, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(msg, IFLA_IFNAME, name);
	info = mnl_attr_nest_start(msg, IFLA_LINKINFO);
	mnl_attr_put_strz(msg, IFLA_INFO_KIND, KIND);
	data = mnl_attr_nest_start(msg, IFLA_INFO_DATA);
	if (remote)
		nl_put_addr(msg, IFLA_IPTUN_REMOTE, remote);
	mnl_attr_put_u8(msg, IFLA_IPTUN_TTL, 0);
	mnl_attr_put_u8(msg, IFLA_IPTUN_PMTUDISC, 0);
	mnl_attr_nest_end(msg, data);
	mnl_attr_nest_end(msg, info);
	return nl_talk(nl, msg, err);
}

/* Whatever else has the name (a carrier, from when there was no module; a tunnel with a fixed end) has to make room. */
static int make_room(struct nl *nl, const struct ipip *have, struct err *err)
{
	int r;

	if (strcmp(have->link.kind, KIND) == 0 && !addr_is_set(&have->remote))
		return 0;
	r = link_delete(nl, have->link.index, err);
	return r < 0 ? err_wrap(err, "another device of that name cannot be removed"), r : -ENODEV;
}

static int ensure(struct nl *nl, const struct wanted_link *link, struct ipip *have, struct link_outcome *ret,
	struct err *err)
{
	int r = link_get(nl, link->name, &have->link, parse_data, have, err);

	if (r == 0)
		r = make_room(nl, have, err);
	if (r != -ENODEV)
		return r;
	r = create(nl, link->name, NULL, err);
	if (r == -EOPNOTSUPP)
		return err_set(err, r, "this kernel has no module ipip");
	/* the module that was just loaded has made it, too */
	if (r < 0 && r != -EEXIST)
		return err_wrap(err, "cannot create the ipip device"), r;
	ret->changed = ret->created = true;
	*have = (struct ipip){0};
	return link_get(nl, link->name, &have->link, parse_data, have, err);
}

int ipip_apply(struct nl *nl, const struct wanted_link *link, struct link_outcome *ret, struct err *err)
{
	struct wanted_link strict = *link;
	struct ipip have = {0};
	int r = ensure(nl, link, &have, ret, err);

	if (r == 0 && link->mtu && have.link.mtu != link->mtu) {
		ret->changed = true;
		r = link_set_mtu(nl, have.link.index, link->mtu, err);
		if (r < 0)
			return err_wrap(err, "MTU %u", link->mtu), r;
	}
	/* every other IPv4 address goes, wherever it lies */
	strict.foreign[FAMILY_4] = (struct prefix){.family = AF_INET, .addr = addr_from_4(0)};
	if (r == 0)
		r = link_addrs_apply(nl, &strict, have.link.index, ret, err);
	if (r == 0 && !(have.link.flags & IFF_UP)) {
		ret->changed = true;
		r = link_set_flags(nl, have.link.index, IFF_UP, IFF_UP, err);
		if (r < 0)
			return err_wrap(err, "cannot be set up"), r;
	}
	return r;
}

int ipip_retire(struct nl *nl, const struct plane_link *link, struct err *err)
{
	_cleanup_free_ struct plane_addr *addrs = NULL;
	size_t count = 0;
	int r = addrs_dump(nl, AF_INET, link->index, &addrs, &count, err);

	for (size_t i = 0; r == 0 && i < count; i++) {
		if (addrs[i].index != link->index)
			continue;
		r = link_del_addr(nl, &addrs[i], err);
	}
	return r == 0 ? link_set_flags(nl, link->index, 0, IFF_UP, err) : r;
}

static void close_nl(struct nl **nl)
{
	nl_close(*nl);
}

bool plane_has_ipip(void)
{
	_cleanup_(close_nl) struct nl *nl = NULL;
	struct addr nowhere = addr_from_4(0xc0000200); /* 192.0.2.0, RFC 5737 */
	struct plane_link link;
	int r = nl_open(&nl, NULL);

	if (r < 0)
		return false;
	if (link_get(nl, "tunl0", &link, NULL, NULL, NULL) == 0 && strcmp(link.kind, KIND) == 0)
		return true;
	r = create(nl, PROBE_NAME, &nowhere, NULL);
	if (r == 0 && link_get(nl, PROBE_NAME, &link, NULL, NULL, NULL) == 0)
		link_delete(nl, link.index, NULL);
	/* somebody has such a tunnel, or probes at the same time */
	return r == 0 || r == -EEXIST;
}
