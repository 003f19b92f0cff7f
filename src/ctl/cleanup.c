/* SPDX-License-Identifier: Apache-2.0
 *
 * tullectl cleanup: takes every trace of Tulle from this node, and says what it removes.
 */
#include "ctl/ctl.h"

#include "attach/flannel_files.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "cni_server/cni_files.h"
#include "ctl/birdc.h"
#include "ctl/client.h"
#include "plan/plan.h"
#include "plan/pools.h"
#include "plan/wanted.h"
#include "plane/bird.h"
#include "plane/plane.h"
#include "plane/record.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct cleanup {
	const struct ctl *ctl;
	bool yes, dry, keep_pods, stay;
	const char *root;                /* before every path */
	const char *conf_dir, *bin_dir;
	json_t *items, *errors;
};

/* -- what is told -- */

static void told(const struct cleanup *cleanup, const char *action, const char *kind, const char *name)
{
	bool path = strcmp(kind, "path") == 0;

	if (path && strncmp(name, cleanup->root, strlen(cleanup->root)) == 0)
		name += strlen(cleanup->root);
	json_array_append_new(cleanup->items, json_pack("{s:s,s:s,s:s}", "action", action, "kind", kind, "name", name));
	if (!cleanup->ctl->json)
		printf("%s%s%s %s%s%s\n", cleanup->dry ? "would be " : "", action, cleanup->dry ? ":" : "",
			path ? "" : kind, path ? "" : " ", name);
}

static void failed(const struct cleanup *cleanup, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void failed(const struct cleanup *cleanup, const char *fmt, ...)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT(65536);
	va_list ap;

	va_start(ap, fmt);
	buf_vprintf(&text, fmt, ap);
	va_end(ap);
	json_array_append_new(cleanup->errors, json_string(buf_text(&text)));
	fprintf(stderr, "tullectl: %s\n", buf_text(&text));
}

static void kernel_told(void *ctx, const char *kind, const char *name)
{
	told(ctx, "removed", kind, name);
}

static void cni_told(void *ctx, const char *what, const char *path)
{
	told(ctx, what, "path", path);
}

/* -- files -- */

static int path_of(const struct cleanup *cleanup, const char *name, char path[PATH_MAX])
{
	return snprintf(path, PATH_MAX, "%s%s", cleanup->root, name) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path) < 0 && errno != ENOENT ? errno : 0;
}

/* A directory with all that is in it, or a file. */
static void remove_tree(const struct cleanup *cleanup, const char *name)
{
	char path[PATH_MAX];
	int rc = 0;

	if (path_of(cleanup, name, path) < 0 || faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	if (!cleanup->dry)
		rc = nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	if (rc)
		failed(cleanup, "%s: cannot be removed: %s", path, strerror(rc < 0 ? errno : rc));
	else
		told(cleanup, "removed", "path", path);
}

/* A directory that others may use as well. */
static void remove_empty(const struct cleanup *cleanup, const char *name)
{
	char path[PATH_MAX];

	if (!cleanup->dry && path_of(cleanup, name, path) == 0 && rmdir(path) == 0)
		told(cleanup, "removed", "path", path);
}

static void remove_state(const struct cleanup *cleanup)
{
	char store[PATH_MAX];

	remove_tree(cleanup, "/sys/fs/bpf/tulle");
	remove_tree(cleanup, "/run/tulle");
	remove_tree(cleanup, "/var/lib/tulle/journal");
	remove_tree(cleanup, "/var/lib/tulle/spool");
	remove_empty(cleanup, "/var/lib/tulle");
	remove_tree(cleanup, "/run/flannel/subnet.env");
	remove_empty(cleanup, "/run/flannel");
	if (path_of(cleanup, "/var/lib/tulle/store", store) == 0 && access(store, F_OK) == 0)
		told(cleanup, "kept", "the directory store", store); /* the operator's manifests, other nodes' leases */
}

/* -- what the runtime has of us -- */

static bool keep_flannels(void *ctx, const char *container_id, const struct flannel_state *state)
{
	const struct cleanup *cleanup = ctx;

	if (!state->ours)
		return true;
	told(cleanup, "removed", "Flannel's state file of container", container_id);
	return cleanup->dry;
}

/* Attachments that were shown to Flannel's plugin. */
static void remove_flannel(struct cleanup *cleanup)
{
	char flannel[PATH_MAX], host_local[PATH_MAX];
	struct flannel_dirs dirs = {.flannel = flannel, .host_local = host_local};
	struct err err = ERR_INIT;

	if (path_of(cleanup, "/var/lib/cni/flannel", flannel) == 0 &&
		path_of(cleanup, "/var/lib/cni/networks", host_local) == 0 &&
		flannel_files_clean(&dirs, keep_flannels, cleanup, &err) < 0)
		failed(cleanup, "%s", err_text(&err));
}

static void remove_cni(struct cleanup *cleanup)
{
	char conf_dir[PATH_MAX], bin_dir[PATH_MAX];
	struct cni_files files = {
		.conf_dir = conf_dir, .bin_dir = bin_dir, .dry = cleanup->dry, .told = cni_told, .ctx = cleanup};
	struct err err = ERR_INIT;

	if (path_of(cleanup, cleanup->conf_dir, conf_dir) == 0 && path_of(cleanup, cleanup->bin_dir, bin_dir) == 0 &&
		cni_files_remove(&files, &err) < 0)
		failed(cleanup, "%s", err_text(&err));
}

/* -- the kernel -- */

static bool is_named(const struct plane_link *link, const char *prefix)
{
	size_t len = strlen(prefix);

	return strcmp(link->kind, "veth") == 0 && strncmp(link->name, prefix, len) == 0 &&
	       strlen(link->name) == len + 11 && strspn(link->name + len, "0123456789abcdef") == 11;
}

static bool has_our_route(
	const struct plane_link *link, const struct plane_route *routes, size_t count, const struct record *record)
{
	for (size_t i = 0; i < count; i++)
		if (routes[i].index == link->index &&
			(routes[i].protocol == ROUTE_PROTOCOL_TULLE || record_has_protocol(record, routes[i].protocol)))
			return true;
	return false;
}

static bool has_calicos_name(const struct plane_link *link)
{
	return is_named(link, "cali") || strcmp(link->name, PLAN_TUNNEL_VXLAN) == 0 ||
	       strcmp(link->name, PLAN_TUNNEL_VXLAN6) == 0;
}

/* Pods' host-side interfaces and the devices between nodes. Interfaces with Calico's names may be Calico's. */
static bool is_ours(const struct plane_link *link, const struct plane_route *routes, size_t count, const struct record *record)
{
	if (is_named(link, "tul") || record_has_device(record, link->name))
		return true;
	if (has_calicos_name(link))
		return has_our_route(link, routes, count, record);
	return plan_is_tunnel_name(link->name) && (strcmp(link->kind, "vxlan") == 0 || strcmp(link->kind, "veth") == 0);
}

static int list_ours(const struct record *record, struct plane_link **ret_links, const char ***ret_names, struct err *err)
{
	_cleanup_free_ struct plane_route *routes = NULL;
	size_t links = 0, route_count = 0, kept = 0;
	int rc = plane_list_links(ret_links, &links, err);

	if (rc == 0)
		rc = plane_list_routes(&routes, &route_count, err);
	if (rc < 0)
		return rc;
	*ret_names = calloc(links + 1, sizeof(**ret_names));
	if (!*ret_names)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < links; i++)
		if (is_ours(&(*ret_links)[i], routes, route_count, record))
			(*ret_names)[kept++] = (*ret_links)[i].name;
	return 0;
}

/* An operator's own, or real Calico's. */
static bool another_bird_runs(const struct cleanup *cleanup)
{
	static const char *const sockets[] = {"/run/bird/bird.ctl", "/run/bird/bird6.ctl", "/run/calico/bird.ctl", "/run/calico/bird6.ctl"};
	char path[PATH_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(sockets); i++)
		if (path_of(cleanup, sockets[i], path) == 0 && birdc_answers(path))
			return true;
	return false;
}

/* It lives apart from the agent, and leaves its routes in the kernel when it ends: which ones only it can tell. Where it
 * has ended already, as in a DaemonSet that was deleted, all are orphans if nobody else's BIRD is there. */
static void stop_bird(struct cleanup *cleanup, struct plane_cleanup *wish, struct prefix **ret_routes)
{
	char socket[PATH_MAX], conf[PATH_MAX];

	if (path_of(cleanup, BIRD_DIRECTORY "/bird.ctl", socket) < 0 || path_of(cleanup, BIRD_DIRECTORY "/bird.conf", conf) < 0)
		return;
	if (!birdc_answers(socket)) {
		wish->all_bird_routes = access(conf, F_OK) == 0 && !another_bird_runs(cleanup);
		return;
	}
	*ret_routes = birdc_routes(socket, &wish->bird_route_count);
	wish->bird_routes = *ret_routes;
	if (cleanup->dry || birdc_stop(socket))
		told(cleanup, "stopped", "program", "bird");
	else
		failed(cleanup, "%s: BIRD does not stop; stop it, and run this again", socket);
}

static void remove_kernel(struct cleanup *cleanup)
{
	_cleanup_free_ struct plane_link *links = NULL;
	_cleanup_free_ const char **names = NULL;
	char bpffs[PATH_MAX], devices[PATH_MAX];
	struct plane_cleanup wish = {.dry = cleanup->dry, .told = kernel_told, .ctx = cleanup};
	struct err err = ERR_INIT;
	_cleanup_free_ struct prefix *bird_routes = NULL;
	struct record record = {0};
	int rc;

	if (path_of(cleanup, "/run/tulle/devices", devices) == 0) {
		wish.record = devices;
		record_read(devices, &record);
	}
	stop_bird(cleanup, &wish, &bird_routes);
	rc = list_ours(&record, &links, &names, &err);
	if (path_of(cleanup, "/sys/fs/bpf/tulle", bpffs) == 0)
		wish.bpffs = bpffs;
	wish.links = names;
	if (rc == 0)
		rc = plane_cleanup(&wish, &err);
	if (rc < 0)
		failed(cleanup, "%s", err_text(&err));
}

/* -- the verb -- */

static bool take_value(const char *flag, int *at, const struct ctl *ctl, const char **ret)
{
	const char *word = ctl->argv[*at];
	size_t len = strlen(flag);

	if (strncmp(word, flag, len) != 0 || (word[len] && word[len] != '='))
		return false;
	*ret = word[len] ? word + len + 1 : *at + 1 < ctl->argc ? ctl->argv[++*at] : "";
	return true;
}

static int parse(struct cleanup *cleanup, const struct ctl *ctl)
{
	for (int i = 0; i < ctl->argc; i++) {
		const char *word = ctl->argv[i];

		if (strcmp(word, "--yes") == 0)
			cleanup->yes = true;
		else if (strcmp(word, "--dry-run") == 0)
			cleanup->dry = true;
		else if (strcmp(word, "--keep-pods") == 0)
			cleanup->keep_pods = true;
		else if (strcmp(word, "--stay") == 0)
			cleanup->stay = true;
		else if (!take_value("--root", &i, ctl, &cleanup->root) &&
			!take_value("--cni-conf-dir", &i, ctl, &cleanup->conf_dir) &&
			!take_value("--cni-bin-dir", &i, ctl, &cleanup->bin_dir))
			return ctl_fail(CTL_USAGE, "cleanup: \"%s\" is none of its flags: --yes, --dry-run, --keep-pods, --stay, "
				"--cni-conf-dir DIR, --cni-bin-dir DIR, --root DIR", word);
	}
	if ((cleanup->root[0] && cleanup->root[0] != '/') || cleanup->conf_dir[0] != '/' || cleanup->bin_dir[0] != '/')
		return ctl_fail(CTL_USAGE, "cleanup: a directory must be given by its full path, beginning with \"/\"");
	return CTL_OK;
}

static bool agent_runs(const struct cleanup *cleanup)
{
	_cleanup_(json_cleanup) json_t *json = NULL;
	char path[PATH_MAX];

	return path_of(cleanup, cleanup->ctl->socket_path, path) == 0 && client_get(path, "/v1/status", &json, NULL) == 0;
}

static int may_begin(const struct cleanup *cleanup)
{
	if (agent_runs(cleanup) && !cleanup->dry)
		return ctl_fail(CTL_FAILED, "tulled is running; stop it first");
	if (cleanup->yes || cleanup->dry)
		return CTL_OK;
	if (cleanup->keep_pods)
		return ctl_fail(CTL_USAGE, "this takes Tulle's CNI configuration and plugin from this node: no new pods, until another "
			"network is installed. --dry-run shows them. Say: tullectl cleanup --keep-pods --yes");
	return ctl_fail(CTL_USAGE, "this cuts off every pod of this node: its interfaces, the routes and tunnels to other "
		"nodes, rules and state are removed. --dry-run shows them. Say: tullectl cleanup --yes");
}

static int run(struct cleanup *cleanup)
{
	remove_cni(cleanup);
	if (!cleanup->keep_pods) {
		remove_kernel(cleanup);
		remove_flannel(cleanup);
		remove_state(cleanup);
	}
	if (cleanup->ctl->json) {
		_cleanup_(json_cleanup) json_t *all = json_pack("{s:b,s:b,s:O,s:O}", "dryRun", cleanup->dry, "keepPods",
			cleanup->keep_pods, "items", cleanup->items, "errors", cleanup->errors);

		json_dumpf(all, stdout, JSON_INDENT(2));
		putchar('\n');
	} else if (!json_array_size(cleanup->items)) {
		puts("nothing of Tulle is left on this node");
	}
	return json_array_size(cleanup->errors) ? CTL_FAILED : CTL_OK;
}

/* A pod of a DaemonSet that ended would only be started again. */
static void wait_for_signal(void)
{
	sigset_t ends;
	int which;

	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	fflush(stdout);
	sigwait(&ends, &which);
}

int ctl_cleanup(const struct ctl *ctl)
{
	_cleanup_(json_cleanup) json_t *items = json_array();
	_cleanup_(json_cleanup) json_t *errors = json_array();
	struct cleanup cleanup = {.ctl = ctl, .root = "", .conf_dir = "/etc/cni/net.d", .bin_dir = "/opt/cni/bin",
		.items = items, .errors = errors};
	int status = parse(&cleanup, ctl);

	if (status == CTL_OK)
		status = may_begin(&cleanup);
	if (status != CTL_OK)
		return status;
	status = run(&cleanup);
	if (status == CTL_OK && cleanup.stay)
		wait_for_signal();
	return status;
}
