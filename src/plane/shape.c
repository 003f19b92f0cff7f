/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/shape.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/pkt_sched.h>
#include <string.h>

#define HANDLE TC_H_MAKE(1 << 16, 0)
#define LATENCY_MS 25
#define LINKLAYER_ETHERNET 1 /* the kernel then needs no rate table */
#define HEADER 18            /* Ethernet, with a VLAN tag: what the filter counts beside the MTU */
#define BURST_UNSTATED UINT32_MAX /* bits */
#define BURSTS_A_SECOND 10

struct link {
	uint32_t index, mtu;
};

static int on_link(const struct nlmsghdr *msg, void *arg)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(msg);
	struct link *link = arg;
	const struct nlattr *attr;

	link->index = (uint32_t)info->ifi_index;
	mnl_attr_for_each(attr, msg, sizeof(*info)) {
		if (mnl_attr_get_type(attr) == IFLA_MTU && mnl_attr_get_payload_len(attr) == sizeof(uint32_t))
			link->mtu = mnl_attr_get_u32(attr);
	}
	return 0;
}

static int find_link(struct nl *nl, const char *name, struct link *ret, struct err *err)
{
	struct nlmsghdr *msg = nl_begin(nl, RTM_GETLINK, 0);
	struct link link = {0};
	int r;

	nl_extra(msg, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(msg, IFLA_IFNAME, name);
	r = nl_ask(nl, msg, on_link, &link, err);
	if (r)
		return err_wrap(err, "shaping %s", name);
	*ret = link;
	return 0;
}

static struct nlmsghdr *begin_root(struct nl *nl, uint16_t type, uint16_t flags, uint32_t index)
{
	struct nlmsghdr *msg = nl_begin(nl, type, flags);
	struct tcmsg *tc = nl_extra(msg, sizeof(*tc));

	tc->tcm_ifindex = (int)index;
	tc->tcm_parent = TC_H_ROOT;
	tc->tcm_handle = type == RTM_NEWQDISC ? HANDLE : 0;
	return msg;
}

static uint32_t clamp32(uint64_t value)
{
	return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

/* A pod's annotations have no word for a burst. Runtimes then send the most that they can (containerd 2^32 - 1 bits, CRI-O
 * eight times that), which would let half a gigabyte pass before the rate is felt. */
static uint32_t burst_bytes(uint64_t rate, uint64_t burst, uint32_t mtu)
{
	uint64_t bytes = burst < BURST_UNSTATED ? burst / 8 : rate / BURSTS_A_SECOND;
	uint32_t least = mtu + HEADER;

	return bytes < least ? least : clamp32(bytes);
}

static void put_filter(struct nlmsghdr *msg, uint64_t rate, uint32_t burst)
{
	uint64_t limit = rate / 1000 * LATENCY_MS + rate % 1000 * LATENCY_MS / 1000 + burst;
	struct tc_tbf_qopt parms = {
		.rate = {.linklayer = LINKLAYER_ETHERNET, .rate = clamp32(rate)},
		.limit = clamp32(limit),
	};
	struct nlattr *options;

	mnl_attr_put_strz(msg, TCA_KIND, "tbf");
	options = mnl_attr_nest_start(msg, TCA_OPTIONS);
	mnl_attr_put(msg, TCA_TBF_PARMS, sizeof(parms), &parms);
	mnl_attr_put_u32(msg, TCA_TBF_BURST, burst);
	if (rate > UINT32_MAX)
		mnl_attr_put_u64(msg, TCA_TBF_RATE64, rate);
	mnl_attr_nest_end(msg, options);
}

static int remove_root(struct nl *nl, const struct link *link, struct err *err)
{
	int r = nl_talk(nl, begin_root(nl, RTM_DELQDISC, 0, link->index), err);

	/* ENOENT, EINVAL: only the default one was there. */
	return r == -ENOENT || r == -EINVAL || r == -ENODEV ? 0 : r;
}

static int check_limits(const char *name, uint64_t rate, uint64_t burst, struct err *err)
{
	if (burst / 8 > UINT32_MAX)
		return err_set(err, -EINVAL, "shaping %s: burst %" PRIu64 " bits, expected less than %" PRIu64, name, burst,
			(uint64_t)UINT32_MAX * 8);
	if (rate && rate < 8)
		return err_set(err, -EINVAL, "shaping %s: rate %" PRIu64 " bits per second, expected at least 8", name,
			rate);
	return 0;
}

static int apply_one(struct nl *nl, const char *name, uint64_t rate, uint64_t burst, struct err *err)
{
	struct nlmsghdr *msg;
	struct link link;
	int r = check_limits(name, rate, burst, err);

	if (!r)
		r = find_link(nl, name, &link, err);
	if (r)
		return r;
	if (!rate)
		return remove_root(nl, &link, err);
	msg = begin_root(nl, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, link.index);
	put_filter(msg, rate / 8, burst_bytes(rate / 8, burst, link.mtu));
	r = nl_talk(nl, msg, err);
	if (r == -ENOENT)
		return err_set(err, -EOPNOTSUPP, "shaping %s: the kernel has no token bucket filter; expected module sch_tbf",
			name);
	return r ? err_wrap(err, "shaping %s", name) : 0;
}

int shape_apply(struct nl *host, const char *host_ifname, struct nl *pod, const char *pod_ifname,
	const struct bandwidth *bandwidth, struct err *err)
{
	int r = apply_one(host, host_ifname, bandwidth->ingress_rate, bandwidth->ingress_burst, err);

	return r ? r : apply_one(pod, pod_ifname, bandwidth->egress_rate, bandwidth->egress_burst, err);
}

struct found {
	bool tbf;
	uint64_t rate; /* bytes per second */
};

static void read_options(const struct nlattr *options, struct found *found)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, options) {
		size_t len = mnl_attr_get_payload_len(attr);

		if (mnl_attr_get_type(attr) == TCA_TBF_PARMS && len >= sizeof(struct tc_tbf_qopt) && !found->rate)
			found->rate = ((const struct tc_tbf_qopt *)mnl_attr_get_payload(attr))->rate.rate;
		if (mnl_attr_get_type(attr) == TCA_TBF_RATE64 && len == sizeof(uint64_t))
			found->rate = mnl_attr_get_u64(attr);
	}
}

static int on_qdisc(const struct nlmsghdr *msg, void *arg)
{
	struct found *found = arg;
	const struct nlattr *attr;

	mnl_attr_for_each(attr, msg, sizeof(struct tcmsg)) {
		if (mnl_attr_get_type(attr) == TCA_KIND)
			found->tbf = !strcmp(mnl_attr_get_str(attr), "tbf");
		if (mnl_attr_get_type(attr) == TCA_OPTIONS && found->tbf)
			read_options(attr, found);
	}
	return 0;
}

static int check_one(struct nl *nl, const char *name, uint64_t rate, struct err *err)
{
	struct found found = {0};
	struct link link;
	int r = find_link(nl, name, &link, err);

	if (r || !rate)
		return r;
	/* Without ECHO the answer goes to the multicast group only. */
	r = nl_ask(nl, begin_root(nl, RTM_GETQDISC, NLM_F_ECHO, link.index), on_qdisc, &found, err);
	if (r && r != -ENOENT)
		return err_wrap(err, "shaping %s", name);
	if (r || !found.tbf)
		return err_set(err, -ENOENT, "shaping %s: no token bucket filter, expected one of %" PRIu64
			" bits per second", name, rate);
	if (found.rate != rate / 8)
		return err_set(err, -EBADMSG, "shaping %s: rate %" PRIu64 " bits per second, expected %" PRIu64, name,
			found.rate * 8, rate);
	return 0;
}

int shape_check(struct nl *host, const char *host_ifname, struct nl *pod, const char *pod_ifname,
	const struct bandwidth *bandwidth, struct err *err)
{
	int r = check_one(host, host_ifname, bandwidth->ingress_rate, err);

	return r ? r : check_one(pod, pod_ifname, bandwidth->egress_rate, err);
}

static int remove_one(struct nl *nl, const char *name, struct err *err)
{
	struct link link;
	int r = find_link(nl, name, &link, err);

	if (r == -ENODEV)
		return 0;
	return r ? r : remove_root(nl, &link, err);
}

int shape_remove(struct nl *host, const char *host_ifname, struct nl *pod, const char *pod_ifname, struct err *err)
{
	int r = remove_one(host, host_ifname, err);
	int s = pod ? remove_one(pod, pod_ifname, r ? NULL : err) : 0;

	return r ? r : s;
}
