/* SPDX-License-Identifier: Apache-2.0 */
#include "attach/adopt.h"

#include "attach/attach_internal.h"
#include "attach/attach_link.h"
#include "base/cleanup.h"
#include "plane/lookup.h"
#include "plane/plane.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define PREFIX "cali"
#define DIGITS 11

void attach_calico_ifname(const char *pod_namespace, const char *pod_name, char name[IFNAMSIZ])
{
	unsigned char digest[EVP_MAX_MD_SIZE] = {0};
	char both[400], hex[DIGITS + 2];

	snprintf(both, sizeof(both), "%s.%s", pod_namespace, pod_name);
	EVP_Digest(both, strlen(both), digest, NULL, EVP_sha1(), NULL);
	for (int i = 0; i * 2 < DIGITS; i++)
		snprintf(hex + i * 2, 3, "%02x", digest[i]);
	snprintf(name, IFNAMSIZ, PREFIX "%.*s", DIGITS, hex);
}

/* -- what there is -- */

static bool is_calicos(const struct plane_link *link)
{
	bool pair = strcmp(link->kind, "veth") == 0 || strcmp(link->kind, "netkit") == 0;

	return pair && strncmp(link->name, PREFIX, strlen(PREFIX)) == 0 && strlen(link->name) == strlen(PREFIX) + DIGITS;
}

static bool is_stray(const struct attacher *attacher, const struct plane_link *link)
{
	return is_calicos(link) && !attach_pod_by_host_ifname(attacher, link->name);
}

static bool is_host_route(const struct plane_route *route)
{
	return route->type == RTN_UNICAST && !addr_is_set(&route->via) && route->dst.len == prefix_max_len(&route->dst);
}

static bool find_addrs(
	const struct plane_link *link, const struct plane_route *routes, size_t count, struct addr addr[FAMILY_COUNT])
{
	bool any = false;

	for (size_t i = 0; i < count; i++) {
		int f = family_index(routes[i].dst.family);

		if (routes[i].index != link->index || !is_host_route(&routes[i]) || addr_is_set(&addr[f]) ||
			addr_is_link_local(&routes[i].dst.addr))
			continue;
		addr[f] = routes[i].dst.addr;
		any = true;
	}
	return any;
}

/* -- the pod's end, seen from here -- */

struct peer {
	uint32_t index, netns; /* the namespace's number as this one has it */
	bool known;
};

static int read_peer(const struct nlmsghdr *msg, void *arg)
{
	const struct nlattr *attrs[IFLA_LINK_NETNSID + 1];
	struct peer *peer = arg;

	attrs_index(msg, sizeof(struct ifinfomsg), attrs, IFLA_LINK_NETNSID);
	peer->known = attrs[IFLA_LINK] && attrs[IFLA_LINK_NETNSID];
	peer->index = attr_u32(attrs[IFLA_LINK], 0);
	peer->netns = attr_u32(attrs[IFLA_LINK_NETNSID], 0);
	return 0;
}

static int read_inside(const struct nlmsghdr *msg, void *arg)
{
	struct attach_stray *stray = arg;
	struct plane_link link;

	if (link_parse(msg, &link) < 0)
		return 0;
	memcpy(stray->ifname, link.name, sizeof(stray->ifname));
	stray->mac = link.mac;
	return 0;
}

static void look_inside(struct nl *nl, struct attach_stray *stray)
{
	struct nlmsghdr *msg = nl_begin(nl, RTM_GETLINK, 0);
	struct peer peer = {0};
	struct ifinfomsg *info;

	snprintf(stray->ifname, sizeof(stray->ifname), "eth0");
	nl_extra(msg, sizeof(*info));
	mnl_attr_put_strz(msg, IFLA_IFNAME, stray->host_ifname);
	if (nl_ask(nl, msg, read_peer, &peer, NULL) < 0 || !peer.known)
		return;
	msg = nl_begin(nl, RTM_GETLINK, 0);
	info = nl_extra(msg, sizeof(*info));
	info->ifi_index = (int)peer.index;
	mnl_attr_put_u32(msg, IFLA_TARGET_NETNSID, peer.netns);
	nl_ask(nl, msg, read_inside, stray, NULL);
}

int attach_list_strays(struct attacher *attacher, struct attach_stray **ret, size_t *ret_count, struct err *err)
{
	_cleanup_free_ struct plane_route *routes = NULL;
	_cleanup_free_ struct plane_link *links = NULL;
	_cleanup_free_ struct attach_stray *strays = NULL;
	size_t link_count = 0, route_count = 0, n = 0;
	int rc = plane_list_links(&links, &link_count, err);
	bool any = false;

	for (size_t i = 0; rc == 0 && i < link_count; i++)
		any |= is_stray(attacher, &links[i]);
	if (any)
		rc = plane_list_routes(&routes, &route_count, err);
	if (rc < 0)
		return rc;
	strays = calloc(link_count + 1, sizeof(*strays));
	if (!strays)
		return err_set(err, -ENOMEM, "no memory for %zu interfaces", link_count);
	for (size_t i = 0; any && i < link_count; i++) {
		struct attach_stray *stray = &strays[n];

		if (!is_stray(attacher, &links[i]) || !find_addrs(&links[i], routes, route_count, stray->addr))
			continue;
		memcpy(stray->host_ifname, links[i].name, IFNAMSIZ);
		stray->mtu = links[i].mtu;
		look_inside(attacher->nl, stray);
		n++;
	}
	*ret = TAKE_PTR(strays);
	*ret_count = n;
	return 0;
}

/* -- adoption -- */

static void fill(const struct attach_stray *stray, const struct attach_whose *whose, struct attachment *a)
{
	memset(a, 0, sizeof(*a));
	snprintf(a->network, sizeof(a->network), "%s", whose->network);
	if (whose->container_id)
		snprintf(a->container_id, sizeof(a->container_id), "%s", whose->container_id);
	else
		snprintf(a->container_id, sizeof(a->container_id), ATTACH_UNKNOWN "%s", stray->host_ifname);
	snprintf(a->pod_namespace, sizeof(a->pod_namespace), "%s", whose->pod_namespace ? whose->pod_namespace : "");
	snprintf(a->pod_name, sizeof(a->pod_name), "%s", whose->pod_name ? whose->pod_name : "");
	memcpy(a->ifname, stray->ifname, IFNAMSIZ);
	memcpy(a->host_ifname, stray->host_ifname, IFNAMSIZ);
	memcpy(a->addr, stray->addr, sizeof(a->addr));
	a->mac = stray->mac;
	a->host_mac = podlink_host_mac();
	a->mtu = stray->mtu;
	a->default_route = true;
}

static int check(struct attacher *attacher, const struct attachment *a, struct err *err)
{
	struct attach_pod *pod, *next;
	char text[ADDR_TEXT_MAX];

	if (attach_pod_find(attacher, a->container_id, a->ifname))
		return err_set(err, -EEXIST, "interface %s: container %s, interface %s has another one", a->host_ifname,
			a->container_id, a->ifname);
	HASH_ITER(hh, attacher->pods, pod, next)
	{
		for (int f = 0; f < FAMILY_COUNT; f++)
			if (addr_is_set(&a->addr[f]) && addr_equal(&pod->addr[f], &a->addr[f]))
				return err_set(err, -EEXIST, "interface %s: %s has its address %s", a->host_ifname, pod->key,
					addr_format(&a->addr[f], text));
	}
	return 0;
}

/* Calico's plugin makes a host route without a metric, its agent one with; ours has taken the former's place. */
static void drop_route(struct nl *nl, const struct plane_route *route)
{
	struct nlmsghdr *msg = nl_begin(nl, RTM_DELROUTE, 0);
	struct rtmsg *m = nl_extra(msg, sizeof(*m));

	m->rtm_family = route->dst.family;
	m->rtm_dst_len = route->dst.len;
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_protocol = route->protocol;
	m->rtm_scope = RT_SCOPE_NOWHERE;
	m->rtm_type = route->type;
	nl_put_addr(msg, RTA_DST, &route->dst.addr);
	mnl_attr_put_u32(msg, RTA_OIF, route->index);
	if (route->metric)
		mnl_attr_put_u32(msg, RTA_PRIORITY, route->metric);
	nl_talk(nl, msg, NULL);
}

static int drop_routes(struct attacher *attacher, const struct attachment *a, struct err *err)
{
	_cleanup_free_ struct plane_route *routes = NULL;
	struct podlink_state state;
	size_t count = 0;
	int rc = podlink_get(attacher->nl, a->host_ifname, &state, err);

	if (rc == 0)
		rc = plane_list_routes(&routes, &count, err);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		int f = family_index(routes[i].dst.family);

		if (routes[i].index == state.index && is_host_route(&routes[i]) &&
			routes[i].protocol != ROUTE_PROTOCOL_TULLE && addr_equal(&routes[i].dst.addr, &a->addr[f]))
			drop_route(attacher->nl, &routes[i]);
	}
	return rc;
}

static int record(struct attacher *attacher, const struct attachment *a, struct err *err)
{
	struct attach_pod *pod = NULL;
	int rc = attach_begin(attacher, a, a->serial, &pod, err);

	if (rc < 0)
		return rc;
	for (int f = 0; f < FAMILY_COUNT; f++)
		if (addr_is_set(&a->addr[f]))
			ipam_hold(attacher->ipam, &a->addr[f], a->serial, &rc);
	attach_pod_add(attacher, pod);
	pod->attached = true;
	return attach_write(attacher, RECORD_ATTACHED, a->serial, 0, err);
}

int attach_adopt(struct attacher *attacher, const struct attach_stray *stray, const struct attach_whose *whose,
	struct err *err)
{
	struct attachment *a = &attacher->scratch;
	int rc;

	fill(stray, whose, a);
	a->serial = ++attacher->serial;
	rc = check(attacher, a, err);
	if (rc == 0)
		rc = podlink_prepare_host(a, err);
	if (rc == 0)
		rc = record(attacher, a, err);
	/* now a DEL, or the next start, knows what there is to undo */
	if (rc == 0)
		rc = podlink_set_host(attacher->nl, a, err);
	if (rc == 0)
		rc = drop_routes(attacher, a, err);
	attach_changed(attacher);
	return rc < 0 ? err_wrap(err, "interface %s of a pod that Calico attached", stray->host_ifname) : 0;
}

/* -- undone meanwhile -- */

void attach_each_gone(struct attacher *attacher, void (*each)(void *ctx, const struct attachment *), void *ctx)
{
	struct attach_pod *pod, *next;
	struct podlink_state state;

	HASH_ITER(hh, attacher->pods, pod, next)
	{
		if (podlink_get(attacher->nl, pod->host_ifname, &state, NULL) != -ENODEV)
			continue;
		attach_pod_read(pod, &attacher->scratch);
		each(ctx, &attacher->scratch);
	}
}

int attach_forget(struct attacher *attacher, const char *container_id, const char *ifname, struct err *err)
{
	struct attach_pod *pod = attach_pod_find(attacher, container_id, ifname);
	int rc = pod ? attach_close(attacher, pod, err) : -ENOENT;

	attach_compact(attacher);
	attach_changed(attacher);
	return rc < 0 ? rc : 0;
}
