/* SPDX-License-Identifier: Apache-2.0 */
#include "attach/takeover.h"

#include "attach/attach_link.h"
#include "attach/flannel_state.h"
#include "attach/host_local.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "plane/plane.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* -- DEL -- */

static int delete_interface(const struct takeover_request *request, struct err *err)
{
	struct nl *nl = NULL;
	int rc;

	if (request->netns_fd < 0)
		return 0; /* the namespace took both ends of the pair with it */
	rc = netns_check(request->netns_fd, "CNI_NETNS", err);
	if (rc == 0)
		rc = netns_enter(request->netns_fd, err);
	if (rc < 0)
		return rc;
	rc = nl_open(&nl, err);
	if (rc == 0)
		rc = podlink_delete(nl, request->ifname, err);
	nl_close(nl);
	netns_leave(request->own_netns);
	return rc == -ENODEV ? 0 : rc;
}

static struct host_local owner_of(const struct takeover_request *request, const struct flannel_state *state)
{
	bool elsewhere = !state->ours && state->data_dir[0];

	return (struct host_local){.dir = elsewhere ? state->data_dir : request->host_local_dir,
		.network = state->network,
		.container_id = request->container_id,
		.ifname = request->ifname};
}

/* known: the state file was understood. Otherwise it does not tell the network. */
static int undo(const struct takeover_request *request, const struct flannel_state *state, bool known,
	struct err *err)
{
	struct host_local owner = owner_of(request, state);
	int rc = delete_interface(request, err);
	char path[1024];

	if (rc == 0)
		rc = known ? host_local_release_all(&owner, err) : host_local_release_everywhere(&owner, err);
	if (rc < 0)
		return err_wrap(err, "attachment of Flannel's plugin, container %s", request->container_id);
	if (known && flannel_state_path(request->flannel_dir, request->container_id, path) == 0 &&
		unlink(path) < 0 && errno != ENOENT)
		return err_set(err, -errno, "%s: cannot be removed: %s", path, strerror(errno));
	return 1;
}

int takeover_del(const struct takeover_request *request, struct err *err)
{
	struct err story = ERR_INIT;
	struct flannel_state state = {0};
	int rc = flannel_state_read(request->flannel_dir, request->container_id, &state, &story);

	if (rc == 0 || (rc > 0 && state.ours && strcmp(state.ifname, request->ifname) != 0))
		return 0;
	if (rc > 0)
		return undo(request, &state, true, err);
	rc = undo(request, &state, false, err);
	if (rc > 0 && err)
		*err = story;
	return rc;
}

/* -- the bridge -- */

static bool is_bridge(const struct plane_link *links, size_t count, uint32_t index, char name[IFNAMSIZ])
{
	for (size_t i = 0; i < count; i++) {
		if (links[i].index != index || strcmp(links[i].kind, "bridge") != 0)
			continue;
		memcpy(name, links[i].name, IFNAMSIZ);
		return true;
	}
	return false;
}

int takeover_find_bridge(
	struct nl *nl, const struct prefix own[FAMILY_COUNT], char name[IFNAMSIZ], struct err *err)
{
	_cleanup_free_ struct plane_link *links = NULL;
	_cleanup_free_ struct plane_addr *addrs = NULL;
	size_t link_count = 0, addr_count = 0;
	int rc = plane_list_links(&links, &link_count, err);

	if (rc == 0)
		rc = plane_list_addrs(&addrs, &addr_count, err);
	for (size_t i = 0; rc == 0 && i < addr_count; i++) {
		const struct prefix *block = &own[family_index(addr_family(&addrs[i].addr))];

		if (prefix_is_set(block) && prefix_contains(block, &addrs[i].addr) &&
			is_bridge(links, link_count, addrs[i].index, name))
			return 1;
	}
	return rc;
}

static int set(const char *name, const char *family, const char *kind, const char *key, const char *value,
	struct err *err)
{
	char path[160];
	int rc;

	snprintf(path, sizeof(path), "/proc/sys/net/%s/%s/%s/%s", family, kind, name, key);
	rc = file_put(path, value);
	return rc < 0 ? err_set(err, rc, "%s: cannot be set to %s: %s", path, value, strerror(-rc)) : 0;
}

int takeover_open_bridge(const char *name, struct err *err)
{
	int rc = set(name, "ipv4", "conf", "proxy_arp", "1", err);

	if (rc == 0)
		rc = set(name, "ipv4", "neigh", "proxy_delay", "0", err);
	/* a kernel without IPv6 has no pods that need the rest */
	if (rc == 0 && set(name, "ipv6", "conf", "proxy_ndp", "1", NULL) == 0)
		rc = set(name, "ipv6", "neigh", "proxy_delay", "0", err);
	return rc;
}

int takeover_bridge_proxy(
	struct nl *nl, const char *name, const struct addr *addr, bool present, struct err *err)
{
	struct podlink_state state;
	struct nlmsghdr *msg;
	struct ndmsg *m;
	int rc = podlink_get(nl, name, &state, err);

	if (rc < 0)
		return rc;
	msg = nl_begin(nl, present ? RTM_NEWNEIGH : RTM_DELNEIGH, present ? NLM_F_CREATE | NLM_F_REPLACE : 0);
	m = nl_extra(msg, sizeof(*m));
	m->ndm_family = AF_INET6;
	m->ndm_ifindex = (int)state.index;
	m->ndm_flags = NTF_PROXY;
	nl_put_addr(msg, NDA_DST, addr);
	rc = nl_talk(nl, msg, err);
	return !present && rc == -ENOENT ? 0 : rc;
}
