/* SPDX-License-Identifier: Apache-2.0 */
#include "attach/attach_link.h"

#include "attach/attach_internal.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "plane/podprog.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/veth.h>
#include <stdio.h>
#include <string.h>

#define WAIT_STEP_US 50
#define WAIT_MS 1000 /* kernel threads wait for the processor like anybody */
#define CLOSED_GROUP 0x74756cu /* "tul" */

struct addr podlink_gateway(int family_index)
{
	struct addr gateway = {{0}};

	addr_parse(family_index == FAMILY_4 ? ATTACH_GATEWAY_4 : ATTACH_GATEWAY_6, &gateway);
	return gateway;
}

struct mac podlink_host_mac(void)
{
	return (struct mac){{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}};
}

/* Sets /proc/sys/net/FAMILY/conf/IFNAME/KEY. An interface name may hold a dot, so sysctl's own notation will
 * not do. */
static int conf_set(
	const char *family, const char *ifname, const char *key, const char *value, struct err *err)
{
	char path[128];
	int rc;

	snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", family, ifname, key);
	rc = file_put(path, value);
	return rc < 0 ? err_set(err, rc, "%s: cannot be set to %s: %s", path, value, strerror(-rc)) : 0;
}

/* -- the pair -- */

static void put_link(struct nlmsghdr *msg, const char *name, uint32_t mtu, const struct mac *mac)
{
	mnl_attr_put_strz(msg, IFLA_IFNAME, name);
	mnl_attr_put_u32(msg, IFLA_MTU, mtu);
	mnl_attr_put(msg, IFLA_ADDRESS, sizeof(mac->b), mac->b);
}

int podlink_create(struct nl *nl, const struct attachment *attachment, int netns_fd, struct err *err)
{
	struct nlmsghdr *msg = nl_begin(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
	struct ifinfomsg *m = nl_extra(msg, sizeof(*m));
	struct nlattr *info, *data, *peer;

	/* The end that goes up first has no carrier yet; its queue is switched on later, by a kernel thread.
	 * The other one's is on at once. Let the first be the one that podlink_wait can look at. */
	m->ifi_flags = m->ifi_change = IFF_UP;
	put_link(msg, attachment->host_ifname, attachment->mtu, &attachment->host_mac);
	info = mnl_attr_nest_start(msg, IFLA_LINKINFO);
	mnl_attr_put_strz(msg, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(msg, IFLA_INFO_DATA);
	peer = mnl_attr_nest_start(msg, VETH_INFO_PEER);
	nl_extra(msg, sizeof(struct ifinfomsg));
	put_link(msg, attachment->ifname, attachment->mtu, &attachment->mac);
	mnl_attr_put_u32(msg, IFLA_NET_NS_FD, (uint32_t)netns_fd);
	mnl_attr_nest_end(msg, peer);
	mnl_attr_nest_end(msg, data);
	mnl_attr_nest_end(msg, info);
	return nl_talk(nl, msg, err);
}

static void batch_up(struct nl *nl, uint32_t index)
{
	struct nlmsghdr *msg = nl_begin(nl, RTM_SETLINK, 0);
	struct ifinfomsg *m = nl_extra(msg, sizeof(*m));

	m->ifi_index = (int)index;
	m->ifi_flags = m->ifi_change = IFF_UP;
	nl_batch_add(nl, msg, NULL);
}

static void batch_neigh(
	struct nl *nl, uint16_t type, uint32_t index, const struct addr *addr, const struct mac *mac)
{
	struct nlmsghdr *msg = nl_begin(nl, type, type == RTM_NEWNEIGH ? NLM_F_CREATE | NLM_F_REPLACE : 0);
	struct ndmsg *m = nl_extra(msg, sizeof(*m));

	m->ndm_family = (uint8_t)addr_family(addr);
	m->ndm_ifindex = (int)index;
	nl_put_addr(msg, NDA_DST, addr);
	if (mac) {
		m->ndm_state = NUD_PERMANENT;
		mnl_attr_put(msg, NDA_LLADDR, sizeof(mac->b), mac->b);
	}
	nl_batch_add(nl, msg, NULL);
}

static void put_metrics(struct nlmsghdr *msg, const struct attach_route *route)
{
	struct nlattr *metrics;

	if (!route->mtu && !route->advmss)
		return;
	metrics = mnl_attr_nest_start(msg, RTA_METRICS);
	if (route->mtu)
		mnl_attr_put_u32(msg, RTAX_MTU, route->mtu);
	if (route->advmss)
		mnl_attr_put_u32(msg, RTAX_ADVMSS, route->advmss);
	mnl_attr_nest_end(msg, metrics);
}

static struct nlmsghdr *route_message(
	struct nl *nl, uint16_t type, uint32_t index, const struct prefix *dst, uint8_t protocol)
{
	struct nlmsghdr *msg = nl_begin(nl, type, type == RTM_NEWROUTE ? NLM_F_CREATE | NLM_F_REPLACE : 0);
	struct rtmsg *m = nl_extra(msg, sizeof(*m));

	m->rtm_family = dst->family;
	m->rtm_dst_len = dst->len;
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_protocol = protocol;
	m->rtm_scope = RT_SCOPE_LINK;
	m->rtm_type = RTN_UNICAST;
	nl_put_addr(msg, RTA_DST, &dst->addr);
	mnl_attr_put_u32(msg, RTA_OIF, index);
	return msg;
}

static void batch_route(
	struct nl *nl, uint32_t index, const struct attach_route *route, const struct addr *via)
{
	struct nlmsghdr *msg = route_message(nl, RTM_NEWROUTE, index, &route->dst, RTPROT_BOOT);
	struct rtmsg *m = mnl_nlmsg_get_payload(msg);

	if (via) {
		m->rtm_scope = RT_SCOPE_UNIVERSE;
		nl_put_addr(msg, RTA_GATEWAY, via);
	}
	if (route->priority)
		mnl_attr_put_u32(msg, RTA_PRIORITY, route->priority);
	if (route->table) {
		m->rtm_table = RT_TABLE_UNSPEC;
		mnl_attr_put_u32(msg, RTA_TABLE, route->table);
	}
	put_metrics(msg, route);
	nl_batch_add(nl, msg, NULL);
}

/* -- the pod's side -- */

static void batch_address(struct nl *nl, uint32_t index, const struct addr *addr)
{
	struct nlmsghdr *msg = nl_begin(nl, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
	struct ifaddrmsg *m = nl_extra(msg, sizeof(*m));

	m->ifa_family = (uint8_t)addr_family(addr);
	m->ifa_prefixlen = (uint8_t)(8 * addr_bytes_len(addr));
	m->ifa_index = index;
	if (!addr_is_4(addr))
		m->ifa_flags = IFA_F_NODAD;
	nl_put_addr(msg, IFA_LOCAL, addr);
	nl_put_addr(msg, IFA_ADDRESS, addr);
	nl_batch_add(nl, msg, NULL);
}

static struct prefix everything(int family_index)
{
	return (struct prefix){.family = family_index == FAMILY_4 ? AF_INET : AF_INET6,
		.addr = family_index == FAMILY_4 ? addr_from_4(0) : (struct addr){{0}}};
}

static void batch_pod_family(struct nl *nl, const struct attachment *attachment, int family, uint32_t index)
{
	struct addr gateway = podlink_gateway(family);
	struct attach_route route = {.dst = prefix_host(&gateway)};

	batch_neigh(nl, RTM_NEWNEIGH, index, &gateway, &attachment->host_mac);
	/* a link-local gateway needs no route of its own */
	if (family == FAMILY_4)
		batch_route(nl, index, &route, NULL);
	route.dst = everything(family);
	if (attachment->default_route)
		batch_route(nl, index, &route, &gateway);
	for (size_t i = 0; i < attachment->route_count; i++) {
		if (attachment->routes[i].dst.family == route.dst.family)
			batch_route(nl, index, &attachment->routes[i], &gateway);
	}
}

static int pod_conf(const struct attachment *attachment, struct err *err)
{
	static const struct {
		const char *key, *value;
	} conf[] = {
		{"disable_ipv6", "0"}, {"accept_ra", "0"}, {"accept_dad", "0"}, {"keep_addr_on_down", "1"}};

	if (!addr_is_set(&attachment->addr[FAMILY_6]))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(conf); i++) {
		int rc = conf_set("ipv6", attachment->ifname, conf[i].key, conf[i].value, err);

		if (rc < 0)
			return rc;
	}
	return 0;
}

int podlink_set_pod(struct nl *nl, const struct attachment *attachment, struct err *err)
{
	struct podlink_state state;
	int rc = podlink_get(nl, attachment->ifname, &state, err);

	if (rc == 0)
		rc = pod_conf(attachment, err);
	if (rc < 0)
		return rc;
	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (addr_is_set(&attachment->addr[f]))
			batch_address(nl, state.index, &attachment->addr[f]);
	}
	batch_up(nl, state.index);
	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (addr_is_set(&attachment->addr[f]))
			batch_pod_family(nl, attachment, f, state.index);
	}
	return nl_batch_flush(nl, NULL, NULL, err);
}

/* -- the node's side -- */

int podlink_prepare_host(const struct attachment *attachment, struct err *err)
{
	const char *name = attachment->host_ifname;
	int rc = 0;

	/* strict: only the pod's own address may come from it; and once its route is gone, nothing may */
	if (addr_is_set(&attachment->addr[FAMILY_4]))
		rc = conf_set("ipv4", name, "rp_filter", "1", err);
	if (rc < 0 || !addr_is_set(&attachment->addr[FAMILY_6]))
		return rc;
	rc = conf_set("ipv6", name, "disable_ipv6", "0", err);
	if (rc == 0)
		rc = conf_set("ipv6", name, "accept_ra", "0", err);
	return rc < 0 ? rc : conf_set("ipv6", name, "accept_dad", "0", err);
}

int podlink_set_host(struct nl *nl, const struct attachment *attachment, struct err *err)
{
	struct podlink_state state;
	int rc = podlink_get(nl, attachment->host_ifname, &state, err);

	if (rc < 0)
		return rc;
	batch_up(nl, state.index);
	for (int f = 0; f < FAMILY_COUNT; f++) {
		struct prefix host;

		if (!addr_is_set(&attachment->addr[f]))
			continue;
		if (mac_is_set(&attachment->mac))
			batch_neigh(nl, RTM_NEWNEIGH, state.index, &attachment->addr[f], &attachment->mac);
		host = prefix_host(&attachment->addr[f]);
		nl_batch_add(
			nl, route_message(nl, RTM_NEWROUTE, state.index, &host, ROUTE_PROTOCOL_TULLE), NULL);
	}
	return nl_batch_flush(nl, NULL, NULL, err);
}

void podlink_wait_addr(struct nl *nl, const struct addr *addr)
{
	for (int64_t end = attach_now() + WAIT_MS; !podlink_is_local(nl, addr) && attach_now() < end;)
		usleep(WAIT_STEP_US);
}

void podlink_wait(struct nl *nl, const char *name)
{
	struct podlink_state state;

	/* The thread that switches the queue on sets this state before. IFF_RUNNING would not do: it is also set
	 * while the state is still IF_OPER_UNKNOWN, as it is until that thread has looked at the device at all. */
	for (int64_t end = attach_now() + WAIT_MS; podlink_get(nl, name, &state, NULL) == 0;) {
		if (state.operstate == IF_OPER_UP || attach_now() >= end)
			return;
		usleep(WAIT_STEP_US);
	}
}

/* -- taking down -- */

static void batch_group(struct nl *nl, uint32_t index)
{
	struct nlmsghdr *msg = nl_begin(nl, RTM_SETLINK, 0);
	struct ifinfomsg *m = nl_extra(msg, sizeof(*m));

	m->ifi_index = (int)index;
	mnl_attr_put_u32(msg, IFLA_GROUP, CLOSED_GROUP);
	nl_batch_add(nl, msg, NULL);
}

struct close_result {
	uint32_t index;
	int error;
};

static void closed(void *ctx, void *cookie, int error)
{
	struct close_result *result = ctx;

	if (error && error != -ESRCH && error != -ENOENT && error != -ENODEV)
		result->error = error;
}

/* Without the program: IPv4 is closed by the route's absence, because of the strict reverse path filter. IPv6
 * has none; but an interface without IPv6 lets nothing through. */
static void seal(
	struct nl *nl, const struct podprog *podprog, uint32_t index, const char *host_ifname, bool has_v6)
{
	if (podprog && podprog_close(podprog, nl, index, NULL) == 0)
		return;
	if (has_v6)
		conf_set("ipv6", host_ifname, "disable_ipv6", "1", NULL);
}

int podlink_close(struct nl *nl, const struct podprog *podprog, const char *host_ifname,
	const struct addr addr[FAMILY_COUNT], struct err *err)
{
	struct close_result result = {0};
	struct podlink_state state;
	int rc = podlink_get(nl, host_ifname, &state, err);

	if (rc == -ENODEV)
		return 0;
	if (rc < 0)
		return rc;
	seal(nl, podprog, state.index, host_ifname, addr_is_set(&addr[FAMILY_6]));
	for (int f = 0; f < FAMILY_COUNT; f++) {
		struct prefix host;

		if (!addr_is_set(&addr[f]))
			continue;
		host = prefix_host(&addr[f]);
		nl_batch_add(
			nl, route_message(nl, RTM_DELROUTE, state.index, &host, ROUTE_PROTOCOL_TULLE), NULL);
		batch_neigh(nl, RTM_DELNEIGH, state.index, &addr[f], NULL);
	}
	batch_group(nl, state.index);
	nl_batch_flush(nl, closed, &result, NULL);
	if (result.error)
		return err_set(
			err, result.error, "%s: cannot be closed: %s", host_ifname, strerror(-result.error));
	return 1;
}

int podlink_delete_closed(struct nl *nl, struct err *err)
{
	struct nlmsghdr *msg = nl_begin(nl, RTM_DELLINK, 0);
	int rc;

	nl_extra(msg, sizeof(struct ifinfomsg));
	mnl_attr_put_u32(msg, IFLA_GROUP, CLOSED_GROUP);
	rc = nl_talk(nl, msg, err);
	return rc == -ENODEV ? 0 : rc;
}

int podlink_delete(struct nl *nl, const char *name, struct err *err)
{
	struct nlmsghdr *msg = nl_begin(nl, RTM_DELLINK, 0);

	nl_extra(msg, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(msg, IFLA_IFNAME, name);
	return nl_talk(nl, msg, err);
}
