/* SPDX-License-Identifier: Apache-2.0
 *
 * tullectl cleanup: takes every trace of Tulle from this node, and says what it removes.
 */
#include "ctl/ctl.h"

#include "attach/flannel_files.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "ctl/client.h"
#include "plan/plan.h"
#include "plane/plane.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Pods' host-side interfaces and the devices between nodes. */
static bool is_ours(const struct plane_link *link)
{
	const char *name = link->name;

	if (strncmp(name, "tul", 3) == 0 && strlen(name) == 14 && strspn(name + 3, "0123456789abcdef") == 11)
		return strcmp(link->kind, "veth") == 0;
	return plan_is_tunnel_name(name) && (strcmp(link->kind, "vxlan") == 0 || strcmp(link->kind, "veth") == 0);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	if (remove(path) < 0 && errno != ENOENT)
		fprintf(stderr, "tullectl: %s: cannot be removed: %s\n", path, strerror(errno));
	return 0;
}

static void remove_tree(const char *path)
{
	if (access(path, F_OK) < 0)
		return;
	nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	printf("removed %s\n", path);
}

static void remove_file(const char *path)
{
	if (unlink(path) == 0)
		printf("removed %s\n", path);
}

static int clean_kernel(struct err *err)
{
	struct plane_options options = {.bpffs = "/sys/fs/bpf/tulle", .nft = "nft"};
	_cleanup_(buf_free) struct buf report = BUF_INIT(0);
	_cleanup_free_ struct plane_link *links = NULL;
	const char **names;
	size_t count = 0;
	size_t kept = 0;
	int rc = plane_list_links(&links, &count, err);

	if (rc < 0)
		return rc;
	names = calloc(count + 1, sizeof(*names));
	if (!names)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < count; i++)
		if (is_ours(&links[i]))
			names[kept++] = links[i].name;
	rc = plane_cleanup(&options, names, &report, err);
	fputs(buf_text(&report), stdout);
	free(names);
	return rc;
}

static bool keep_flannels(void *ctx, const char *container_id, const struct flannel_state *state)
{
	return !state->ours;
}

/* Attachments that were shown to Flannel's plugin, and plugins of others that made way for ours. */
static void clean_flannel(void)
{
	static const struct flannel_dirs dirs = {
		.flannel = "/var/lib/cni/flannel", .host_local = "/var/lib/cni/networks"};
	static const char *const plugins[] = {"/opt/cni/bin/flannel", "/opt/cni/bin/calico"};
	struct err err = ERR_INIT;

	if (flannel_files_clean(&dirs, keep_flannels, NULL, &err) < 0)
		fprintf(stderr, "tullectl: %s\n", err_text(&err));
	for (size_t i = 0; i < sizeof(plugins) / sizeof(plugins[0]); i++) {
		char kept[64];

		snprintf(kept, sizeof(kept), "%s" PLUGIN_KEPT_SUFFIX, plugins[i]);
		if (rename(kept, plugins[i]) == 0)
			printf("restored %s\n", plugins[i]);
	}
}

static bool agent_runs(const struct ctl *ctl)
{
	_cleanup_(json_cleanup) json_t *json = NULL;

	return client_get(ctl->socket_path, "/v1/status", &json, NULL) == 0;
}

int ctl_cleanup(const struct ctl *ctl)
{
	struct err err = ERR_INIT;
	bool yes = ctl->argc == 1 && strcmp(ctl->argv[0], "--yes") == 0;

	if (ctl->argc && !yes)
		return ctl_fail(CTL_USAGE, "usage: tullectl cleanup [--yes]");
	if (agent_runs(ctl))
		return ctl_fail(CTL_FAILED, "tulled is running; stop it first");
	if (!yes)
		return ctl_fail(CTL_USAGE, "this cuts off every pod of this node: its interfaces, the routes and tunnels to other "
			"nodes, rules and state are removed. Say: tullectl cleanup --yes");
	if (clean_kernel(&err) < 0)
		return ctl_fail(CTL_FAILED, "%s", err_text(&err));
	remove_tree("/sys/fs/bpf/tulle");
	remove_tree("/run/tulle");
	remove_file("/var/lib/tulle/journal");
	remove_tree("/var/lib/tulle/spool");
	remove_file("/run/flannel/subnet.env");
	remove_file("/etc/cni/net.d/10-tulle.conflist");
	clean_flannel();
	return CTL_OK;
}
