/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/takeover.h"

#include "agent/attach_link.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "plane/plane.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define STATE_MAX (1u << 20)
#define RESERVATION_MAX 1024u
#define DEFAULT_HOST_LOCAL "/var/lib/cni/networks"

static void close_dir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/* -- host-local's files -- */

bool takeover_has_addr(const char *dir_path, const struct addr *addr)
{
	_cleanup_(close_dir) DIR *dir = dir_path ? opendir(dir_path) : NULL;
	const struct dirent *entry;
	char name[NAME_MAX + ADDR_TEXT_MAX + 2], text[ADDR_TEXT_MAX];

	addr_format(addr, text);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", entry->d_name, text);
		if (faccessat(dirfd(dir), name, F_OK, 0) == 0)
			return true;
	}
	return false;
}

/* CONTAINER, CR LF, INTERFACE; white space around it does not count. legacy: the container alone. */
static bool reserved_for(int dir_fd, const char *name, const struct takeover_request *request, bool legacy)
{
	_cleanup_(buf_free) struct buf buf = BUF_INIT(RESERVATION_MAX);
	char expected[RESERVATION_MAX];
	const char *text, *end;

	if (file_read_at(dir_fd, name, &buf, NULL) < 0)
		return false;
	text = buf_text(&buf);
	end = text + buf.len;
	while (text < end && strchr(" \t\r\n", *text))
		text++;
	while (end > text && strchr(" \t\r\n", end[-1]))
		end--;
	if (legacy)
		snprintf(expected, sizeof(expected), "%s", request->container_id);
	else
		snprintf(expected, sizeof(expected), "%s\r\n%s", request->container_id, request->ifname);
	return strlen(expected) == (size_t)(end - text) && memcmp(text, expected, strlen(expected)) == 0;
}

/* Removes the reservations of one form. How many, or negative errno. */
static int release_form(
	const char *path, const struct takeover_request *request, bool legacy, struct err *err)
{
	_cleanup_(close_dir) DIR *dir = opendir(path);
	const struct dirent *entry;
	int removed = 0;

	while (dir && (entry = readdir(dir))) {
		struct addr addr;

		if (addr_parse(entry->d_name, &addr) < 0 ||
			!reserved_for(dirfd(dir), entry->d_name, request, legacy))
			continue;
		if (unlinkat(dirfd(dir), entry->d_name, 0) < 0 && errno != ENOENT)
			return err_set(err, -errno, "%s/%s: cannot be removed: %s", path, entry->d_name,
				strerror(errno));
		removed++;
	}
	return removed;
}

static int host_local_release(
	const char *data_dir, const char *network, const struct takeover_request *request, struct err *err)
{
	_cleanup_close_ int lock = -1;
	char path[512], lock_path[520];
	int rc;

	snprintf(path, sizeof(path), "%s/%s", data_dir, network);
	snprintf(lock_path, sizeof(lock_path), "%s/lock", path);
	lock = open(lock_path, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0750);
	if (lock < 0 && errno == ENOENT)
		return 0; /* no such network: nothing is reserved */
	if (lock < 0)
		return err_set(err, -errno, "%s: cannot be opened: %s", lock_path, strerror(errno));
	/* never waits: whoever holds it would hold up the agent */
	if (flock(lock, LOCK_EX | LOCK_NB) < 0)
		return err_set(err, -errno, "%s: is locked by another process", lock_path);
	rc = release_form(path, request, false, err);
	if (rc == 0)
		rc = release_form(path, request, true, err);
	return rc < 0 ? rc : 0;
}

/* -- the state file -- */

struct state {
	char network[256], data_dir[256];
};

static int copy_name(const char *text, const char *what, char to[static 256], struct err *err)
{
	size_t len = strlen(text);

	if (len == 0 || len >= 256 || text[0] == '.' || (strchr(text, '/') && text[0] != '/'))
		return err_set(
			err, -EINVAL, "%s: \"%.40s\", expected a plain name or an absolute path", what, text);
	memcpy(to, text, len + 1);
	return 0;
}

static int read_ipam(const json_t *json, const char *where, const struct takeover_request *request,
	struct state *ret, struct err *err)
{
	const char *type = "", *dir = request->host_local_dir ? request->host_local_dir : DEFAULT_HOST_LOCAL;
	json_t *ipam = NULL;
	int rc = json_get_object(json, where, "ipam", &ipam, err);

	if (rc > 0)
		rc = json_get_string(ipam, "ipam", "type", &type, err);
	if (rc > 0)
		rc = json_get_string(ipam, "ipam", "dataDir", &dir, err);
	if (rc < 0)
		return rc;
	if (strcmp(type, "host-local") != 0)
		return err_set(err, -EINVAL, "%s: ipam.type \"%s\", expected host-local", where, type);
	rc = copy_name(dir, "ipam.dataDir", ret->data_dir, err);
	return rc < 0 ? err_wrap(err, "%s", where) : rc;
}

static int parse_state(const struct buf *buf, const char *where, const struct takeover_request *request,
	struct state *ret, struct err *err)
{
	_cleanup_(json_cleanup) json_t *json = NULL;
	const char *type = "bridge", *name = "";
	int rc = json_parse(buf_text(buf), buf->len, where, &json, err);

	if (rc == 0)
		rc = json_get_string(json, where, "type", &type, err);
	if (rc >= 0)
		rc = json_get_string(json, where, "name", &name, err);
	if (rc < 0)
		return rc;
	if (strcmp(type, "bridge") != 0)
		return err_set(err, -EINVAL, "%s: type \"%.40s\", expected bridge", where, type);
	rc = copy_name(name, "name", ret->network, err);
	return rc < 0 ? err_wrap(err, "%s", where) : read_ipam(json, where, request, ret, err);
}

/* 1: found, 0: none. */
static int read_state(
	const char *path, const struct takeover_request *request, struct state *ret, struct err *err)
{
	_cleanup_(buf_free) struct buf buf = BUF_INIT(STATE_MAX);
	int rc = file_read(path, &buf, err);

	if (rc == -ENOENT || rc == -ENOTDIR)
		return 0;
	if (rc == 0)
		rc = parse_state(&buf, path, request, ret, err);
	return rc < 0 ? rc : 1;
}

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

/* Where the state file does not tell the network. */
static int release_everywhere(const struct takeover_request *request, struct err *err)
{
	_cleanup_(close_dir) DIR *dir = request->host_local_dir ? opendir(request->host_local_dir) : NULL;
	const struct dirent *entry;
	int rc = 0;

	while (dir && rc == 0 && (entry = readdir(dir))) {
		if (entry->d_name[0] != '.' && entry->d_type != DT_REG)
			rc = host_local_release(request->host_local_dir, entry->d_name, request, err);
	}
	return rc;
}

static int undo(
	const char *path, const struct state *state, const struct takeover_request *request, struct err *err)
{
	int rc = delete_interface(request, err);

	if (rc == 0)
		rc = state ? host_local_release(state->data_dir, state->network, request, err)
			   : release_everywhere(request, err);
	if (rc < 0)
		return err_wrap(err, "attachment of Flannel's plugin, container %s", request->container_id);
	if (state && unlink(path) < 0 && errno != ENOENT)
		return err_set(err, -errno, "%s: cannot be removed: %s", path, strerror(errno));
	return 1;
}

int takeover_del(const struct takeover_request *request, struct err *err)
{
	struct err story = ERR_INIT;
	struct state state = {0};
	char path[1024];
	int rc;

	if (!request->flannel_dir || !request->container_id[0] || request->container_id[0] == '.' ||
		strchr(request->container_id, '/'))
		return 0;
	if (snprintf(path, sizeof(path), "%s/%s", request->flannel_dir, request->container_id) >=
		(int)sizeof(path))
		return 0;
	rc = read_state(path, request, &state, &story);
	if (rc == 0)
		return 0;
	if (rc > 0)
		return undo(path, &state, request, err);
	rc = undo(path, NULL, request, err);
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
