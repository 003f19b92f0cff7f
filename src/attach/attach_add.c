/* SPDX-License-Identifier: Apache-2.0 */
#include "attach/attach_internal.h"

#include "attach/adopt.h"
#include "attach/attach_link.h"
#include "base/cleanup.h"
#include "plane/shape.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <utlist.h>

#define MTU_MIN 68u
#define MTU_MIN_6 1280u
#define RESERVE_PER_POD 128u /* what CLOSING and GONE take, and some */

/* -- what is wished -- */

static int copy_text(char *to, size_t room, const char *from, const char *what, struct err *err)
{
	size_t len = from ? strlen(from) : 0;

	if (len == 0 || len >= room)
		return err_set(err, -EINVAL, "%s: %zu bytes, expected 1 to %zu", what, len, room - 1);
	memcpy(to, from, len + 1);
	return 0;
}

static int copy_names(struct attachment *to, const struct attach_request *request, struct err *err)
{
	int rc = copy_text(to->network, sizeof(to->network), request->network, "network name", err);

	if (rc == 0)
		rc = copy_text(to->container_id, sizeof(to->container_id), request->container_id,
			"container id", err);
	if (rc == 0)
		rc = copy_text(to->ifname, sizeof(to->ifname), request->ifname, "interface name", err);
	if (rc == 0)
		rc = copy_text(to->netns_path, sizeof(to->netns_path), request->netns_path, "CNI_NETNS", err);
	return rc;
}

/* What is too long is no name in any cluster. */
static void note_pod(struct attachment *to, const struct attach_request *request)
{
	copy_text(to->pod_namespace, sizeof(to->pod_namespace), request->pod_namespace, "", NULL);
	copy_text(to->pod_name, sizeof(to->pod_name), request->pod_name, "", NULL);
}

static int choose_netns(struct attacher *attacher, struct attachment *to,
	const struct attach_request *request, struct err *err)
{
	int rc = netns_check(request->netns_fd, to->netns_path, err);
	struct stat st, own;

	if (rc < 0)
		return rc;
	if (fstat(request->netns_fd, &st) < 0 || fstat(attacher->netns, &own) < 0)
		return err_set(err, -errno, "network namespace %s: %s", to->netns_path, strerror(errno));
	if (st.st_dev == own.st_dev && st.st_ino == own.st_ino)
		return err_set(err, -EINVAL, "network namespace %s: it is the node's own, expected a pod's",
			to->netns_path);
	to->netns_dev = st.st_dev;
	to->netns_ino = st.st_ino;
	return 0;
}

static int choose_mac(struct attachment *to, const struct attach_request *request, struct err *err)
{
	char text[MAC_TEXT_MAX];

	to->host_mac = podlink_host_mac();
	to->mac = request->mac;
	if (!mac_is_set(&to->mac)) {
		if (getrandom(to->mac.b, sizeof(to->mac.b), 0) != sizeof(to->mac.b))
			return err_set(err, -EIO, "no random MAC address");
		to->mac.b[0] = (uint8_t)((to->mac.b[0] & 0xfc) | 2); /* local, one station */
	}
	if (to->mac.b[0] & 1 || mac_equal(&to->mac, &to->host_mac))
		return err_set(err, -EINVAL,
			"requested MAC %s: expected a unicast address other than the gateway's",
			mac_format(&to->mac, text));
	return 0;
}

static int choose_mtu(struct attacher *attacher, struct attachment *to, const struct attach_request *request,
	struct err *err)
{
	uint32_t least = attacher->families[FAMILY_6] ? MTU_MIN_6 : MTU_MIN;

	to->mtu = request->mtu ? request->mtu : attacher->mtu;
	if (to->mtu < least || to->mtu > 65535)
		return err_set(err, -EINVAL, "MTU %u: expected %u to 65535", to->mtu, least);
	return 0;
}

static bool via_node(struct attacher *attacher, const struct addr *via)
{
	struct addr gateway, first;

	if (!addr_is_set(via))
		return true;
	for (int f = 0; f < FAMILY_COUNT; f++) {
		struct prefix block = prefix_masked(&attacher->own[f]);

		gateway = podlink_gateway(f);
		first = addr_add(&block.addr, 1);
		if (addr_equal(via, &gateway) || (prefix_is_set(&block) && addr_equal(via, &first)))
			return true;
	}
	return false;
}

static int add_route(struct attachment *to, const struct attach_route *route, struct err *err)
{
	if (to->route_count == ARRAY_SIZE(to->routes))
		return err_set(err, -EINVAL, "routes: more than %zu", ARRAY_SIZE(to->routes));
	to->routes[to->route_count] = *route;
	to->routes[to->route_count].via = (struct addr){{0}};
	to->routes[to->route_count++].dst = prefix_masked(&route->dst);
	return 0;
}

static int choose_routes(struct attacher *attacher, struct attachment *to,
	const struct attach_request *request, struct err *err)
{
	char text[PREFIX_TEXT_MAX], via[ADDR_TEXT_MAX];
	int rc = 0;

	to->default_route = request->default_route;
	for (int f = 0; !to->default_route && f < FAMILY_COUNT; f++) {
		struct attach_route route = {.dst = attacher->cluster[f]};

		if (prefix_is_set(&route.dst))
			rc = add_route(to, &route, err);
	}
	for (size_t i = 0; rc == 0 && !to->default_route && i < attacher->pool_count; i++)
		rc = add_route(to, &(struct attach_route){.dst = attacher->pools[i]}, err);
	for (size_t i = 0; rc == 0 && i < request->route_count; i++) {
		const struct attach_route *route = &request->routes[i];

		prefix_format(&route->dst, text);
		if (!prefix_is_set(&route->dst) || !attacher->families[family_index(route->dst.family)])
			return err_set(
				err, -EINVAL, "route to %s: the pod has no address of that family", text);
		if (!via_node(attacher, &route->via))
			return err_set(err, -EINVAL,
				"route to %s: next hop %s, expected none or the node (169.254.1.1, or the "
				"first address of its block): a pod's only neighbour is its node",
				text, addr_format(&route->via, via));
		rc = add_route(to, route, err);
	}
	return rc;
}

/* -- the kernel -- */

static int set_pod(
	struct attacher *attacher, const struct attachment *attachment, int netns_fd, struct err *err)
{
	struct nl *nl = NULL;
	int rc = netns_enter(netns_fd, err);

	if (rc < 0)
		return rc;
	rc = nl_open(&nl, err);
	if (rc == 0)
		rc = podlink_set_pod(nl, attachment, err);
	if (rc == 0 && (attachment->bandwidth.ingress_rate || attachment->bandwidth.egress_rate))
		rc = shape_apply(attacher->nl, attachment->host_ifname, nl, attachment->ifname,
			&attachment->bandwidth, err);
	if (rc == 0 && addr_is_set(&attachment->addr[FAMILY_6]))
		podlink_wait_addr(nl, &attachment->addr[FAMILY_6]);
	nl_close(nl);
	netns_leave(attacher->netns);
	return rc < 0 ? err_wrap(err, "pod interface %s", attachment->ifname) : 0;
}

static int create(
	struct attacher *attacher, const struct attachment *attachment, int netns_fd, struct err *err)
{
	struct podlink_state state;
	int rc = podlink_create(attacher->nl, attachment, netns_fd, err);

	if (rc == -EEXIST && podlink_get(attacher->nl, attachment->host_ifname, &state, NULL) == 0)
		return err_set(err, rc,
			"interface %s exists on the node, though no attachment of it is known: DEL of this "
			"container removes it",
			attachment->host_ifname);
	if (rc == -EEXIST)
		return err_set(err, rc, "interface %s exists already in %s", attachment->ifname,
			attachment->netns_path);
	return rc < 0 ? err_wrap(err, "veth pair %s, %s", attachment->host_ifname, attachment->ifname) : 0;
}

/* What there is to undo. */
struct progress {
	bool filed, created;
};

static int file(struct attacher *attacher, const struct attachment *attachment,
	const struct attach_request *request, struct progress *progress, struct err *err)
{
	int rc = attach_step(attacher, "begun", err);

	if (rc == 0)
		rc = attach_files_write(attacher, attachment, request, err);
	if (rc < 0)
		return rc;
	progress->filed = true;
	return attach_step(attacher, "filed", err);
}

/* Closed before anything could pass: the pod's end is still down. */
static int gate(struct attacher *attacher, const struct attachment *attachment, uint32_t *ret_index, struct err *err)
{
	struct podlink_state state;
	int rc;

	if (!attacher->gate.made)
		return 0;
	rc = podlink_get(attacher->nl, attachment->host_ifname, &state, err);
	if (rc < 0)
		return rc;
	*ret_index = state.index;
	return attacher->gate.made(attacher->gate.ctx, attachment, state.index, err);
}

static int build(struct attacher *attacher, const struct attachment *attachment, int netns_fd,
	struct progress *progress, struct err *err)
{
	uint32_t index = 0;
	int rc = create(attacher, attachment, netns_fd, err);

	if (rc < 0)
		return rc;
	progress->created = true;
	rc = gate(attacher, attachment, &index, err);
	if (rc == 0)
		rc = attach_step(attacher, "created", err);
	if (rc == 0)
		rc = podlink_prepare_host(attachment, err);
	if (rc == 0)
		rc = set_pod(attacher, attachment, netns_fd, err);
	if (rc == 0)
		rc = attach_step(attacher, "pod-set", err);
	if (rc == 0)
		rc = podlink_set_host(attacher->nl, attachment, err);
	if (rc < 0)
		return rc;
	podlink_wait(attacher->nl, attachment->host_ifname);
	rc = attach_step(attacher, "host-set", err);
	return rc == 0 && attacher->gate.ready && index ? attacher->gate.ready(attacher->gate.ctx, attachment, index, err) : rc;
}

static void undo(struct attacher *attacher, const struct attach_pod *pod, const struct attachment *attachment,
	const struct progress *progress)
{
	struct err err = ERR_INIT;

	if (progress->created && attacher->gate.gone)
		attacher->gate.gone(attacher->gate.ctx, pod->host_ifname);
	if (progress->created && podlink_delete(attacher->nl, pod->host_ifname, &err) < 0 &&
		err.code != -ENODEV)
		attach_report(attacher, "%s: what a failed ADD left cannot be removed: %s", pod->host_ifname,
			err_text(&err));
	if (progress->filed && attach_files_remove(attacher, pod, &err) < 0)
		attach_report(attacher, "%s: what a failed ADD left: %s", pod->key, err_text(&err));
	attach_drop_addresses(attacher, attachment, pod->serial);
	/* without this record the next start undoes it once more, which does no harm */
	attach_write(attacher, RECORD_UNDONE, pod->serial, 0, NULL);
}

int attach_begin(struct attacher *attacher, const struct attachment *attachment, uint64_t serial,
	struct attach_pod **ret, struct err *err)
{
	struct attach_record record = {.type = RECORD_BEGUN, .serial = serial};
	_cleanup_(buf_free) struct buf buf = BUF_INIT(0);
	size_t live = HASH_COUNT(attacher->pods) + 1;
	struct attach_pod *pod;
	int rc = attach_record_encode(&record, attachment, &buf);

	pod = rc < 0 ? NULL : attach_pod_new(serial, attachment, buf.data, buf.len);
	if (!pod)
		return err_set(err, -ENOMEM, "no memory for an attachment");
	/* a later DEL must not fail for want of space */
	rc = journal_reserve(attacher->journal, buf.len + RESERVE_PER_POD * live, err);
	if (rc == 0)
		rc = journal_append(attacher->journal, buf.data, buf.len, err);
	if (rc < 0) {
		attach_pod_free(pod);
		return rc;
	}
	*ret = pod;
	return 0;
}

static int attach(struct attacher *attacher, const struct attachment *attachment, uint64_t serial,
	const struct attach_request *request, struct err *err)
{
	struct attach_pod *pod = NULL;
	struct progress progress = {0};
	int rc = attach_step(attacher, "chosen", err);

	if (rc == 0)
		rc = attach_begin(attacher, attachment, serial, &pod, err);
	if (rc < 0) {
		attach_drop_addresses(attacher, attachment, serial);
		return rc;
	}
	rc = file(attacher, attachment, request, &progress, err);
	if (rc == 0)
		rc = build(attacher, attachment, request->netns_fd, &progress, err);
	if (rc == 0)
		rc = attach_write(attacher, RECORD_ATTACHED, serial, 0, err);
	if (rc == 0)
		rc = attach_step(attacher, "attached", err);
	if (rc < 0) {
		undo(attacher, pod, attachment, &progress);
		attach_pod_free(pod);
		return rc;
	}
	pod->attached = true;
	attach_pod_add(attacher, pod);
	attach_bridge_pod(attacher, pod->addr, true);
	return 0;
}

/* -- the door -- */

/* A DEL that is answered may not have deleted its interface yet: then that comes first. */
static void finish_deleting(struct attacher *attacher, const struct attachment *to)
{
	const struct attach_pod *pod;

	DL_FOREACH(attacher->closing, pod)
	{
		bool same_netns = pod->netns_dev == to->netns_dev && pod->netns_ino == to->netns_ino;

		if (strcmp(pod->host_ifname, to->host_ifname) == 0 ||
			(same_netns && strcmp(pod->ifname, to->ifname) == 0)) {
			attach_teardown(attacher);
			return;
		}
	}
}

/* Calico names the host end after the pod. A second interface of the same container gets another name. */
static void choose_host_ifname(struct attacher *attacher, const struct attach_request *request, struct attachment *to)
{
	const struct attach_pod *other;
	char name[IFNAMSIZ];

	attach_host_ifname(request->host_prefix, to->container_id, to->ifname, to->host_ifname);
	if (strcmp(request->host_prefix, ATTACH_PREFIX_CALICO) != 0 || !to->pod_namespace[0] || !to->pod_name[0])
		return;
	attach_calico_ifname(to->pod_namespace, to->pod_name, name);
	other = attach_pod_by_host_ifname(attacher, name);
	if (other && strcspn(other->key, "/") == strlen(to->container_id) &&
		strncmp(other->key, to->container_id, strlen(to->container_id)) == 0)
		return;
	memcpy(to->host_ifname, name, IFNAMSIZ);
}

/* A new sandbox of the same pod: the former's DEL may still come, or not at all. */
static int replace_former(struct attacher *attacher, const struct attach_request *request, const struct attachment *to,
	struct err *err)
{
	struct attach_pod *pod = attach_pod_by_host_ifname(attacher, to->host_ifname);
	char name[IFNAMSIZ];
	int rc;

	if (strcmp(request->host_prefix, ATTACH_PREFIX_CALICO) != 0)
		return 0;
	attach_calico_ifname(to->pod_namespace, to->pod_name, name);
	if (strcmp(name, to->host_ifname) != 0 || attach_pod_find(attacher, to->container_id, to->ifname))
		return 0;
	rc = pod ? attach_close(attacher, pod, err) : podlink_delete(attacher->nl, name, err);
	if (pod && rc == 0)
		attach_teardown(attacher);
	return rc == -ENODEV ? 0 : rc;
}

static int refuse_double(struct attacher *attacher, const struct attachment *to, struct err *err)
{
	const struct attach_pod *pod;

	if (attach_pod_find(attacher, to->container_id, to->ifname))
		return err_set(err, -EEXIST, "container %s, interface %s: attached already", to->container_id,
			to->ifname);
	pod = attach_pod_by_host_ifname(attacher, to->host_ifname);
	return pod ? err_set(err, -EEXIST, "interface %s belongs to another attachment (%s)", to->host_ifname,
			     pod->key)
		   : 0;
}

static int prepare(struct attacher *attacher, const struct attach_request *request, struct attachment *to,
	struct err *err)
{
	int rc = copy_names(to, request, err);

	if (rc == 0 && !attacher->ready)
		rc = err_set(err, -EAGAIN, "this node holds no subnet yet");
	if (rc == 0)
		rc = choose_netns(attacher, to, request, err);
	if (rc == 0)
		rc = choose_mac(to, request, err);
	if (rc == 0)
		rc = choose_mtu(attacher, to, request, err);
	if (rc == 0)
		rc = choose_routes(attacher, to, request, err);
	if (rc < 0)
		return rc;
	note_pod(to, request);
	to->bandwidth = request->bandwidth;
	to->flannel =
		request->flannel_conf && attacher->options.flannel_dir && attacher->options.host_local_dir;
	choose_host_ifname(attacher, request, to);
	finish_deleting(attacher, to);
	rc = replace_former(attacher, request, to, err);
	return rc < 0 ? rc : refuse_double(attacher, to, err);
}

int attach_add(struct attacher *attacher, const struct attach_request *request, struct attachment *ret,
	struct err *err)
{
	struct attachment *to = &attacher->scratch;
	uint64_t serial = attacher->serial + 1;
	int rc;

	memset(to, 0, sizeof(*to));
	to->serial = serial;
	rc = prepare(attacher, request, to, err);
	if (rc == 0)
		rc = attach_take_addresses(attacher, to, request, serial, err);
	if (rc < 0) {
		attacher->stats.failures++;
		return rc;
	}
	attacher->serial = serial;
	rc = attach(attacher, to, serial, request, err);
	if (rc < 0) {
		attacher->stats.failures++;
		return rc;
	}
	attacher->stats.adds++;
	*ret = *to;
	attach_compact(attacher);
	attach_changed(attacher);
	return 0;
}
