/* SPDX-License-Identifier: Apache-2.0
 *
 * What the node sees of us, in this order: subnet.env (reference/flannel.md 3.6), the plugin binary, the CNI
 * configuration last (its appearance makes the node Ready), readiness.
 */
#include "agent/agent.h"

#include "agent/notify.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "store/flannel.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char default_conflist[] =
	"{\n"
	"  \"name\": \"tulle\",\n"
	"  \"cniVersion\": \"1.0.0\",\n"
	"  \"cniVersions\": [\"0.3.1\", \"0.4.0\", \"1.0.0\", \"1.1.0\"],\n"
	"  \"plugins\": [\n"
	"    {\"type\": \"tulle\", \"capabilities\": {\"bandwidth\": true, \"ips\": true, \"mac\": true}},\n"
	"    {\"type\": \"portmap\", \"capabilities\": {\"portMappings\": true}}\n"
	"  ]\n"
	"}\n";

static int make_parent(const char *path, struct err *err)
{
	char dir[PATH_MAX];
	char *slash;

	if (snprintf(dir, sizeof(dir), "%s", path) >= (int)sizeof(dir))
		return err_set(err, -ENAMETOOLONG, "%s: the path is too long", path);
	slash = strrchr(dir, '/');
	if (!slash || slash == dir)
		return 0;
	*slash = 0;
	return file_make_dirs(dir, 0755, err);
}

static bool buf_same(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

/* Writes text to path unless it is what we wrote last and the file still stands. */
static int write_when_changed(const char *path, const struct buf *text, struct buf *last, struct err *err)
{
	struct stat st;
	int rc;

	if (buf_same(text, last) && stat(path, &st) == 0)
		return 0;
	rc = make_parent(path, err);
	if (rc == 0)
		rc = file_write_atomic(path, text->data, text->len, 0644, false, err);
	if (rc < 0)
		return rc;
	buf_reset(last);
	return buf_add(last, text->data, text->len);
}

static int write_subnet_env(struct agent *agent, struct err *err)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT(4096);
	struct flannel_env env = {
		.mtu = network_pod_mtu(&agent->network, agent->uplink.mtu),
		.ip_masq = agent->options.ip_masq,
	};

	for (int f = 0; f < FAMILY_COUNT; f++) {
		env.network[f] = agent->network.pool[f].cidr;
		env.subnet[f] = agent->own.subnet[f];
	}
	flannel_env_format(&env, &text);
	return write_when_changed(agent->options.subnet_file, &text, &agent->subnet_env, err);
}

/* The plugin lies beside the agent, or where the package puts it. */
static int find_plugin(char path[PATH_MAX], struct err *err)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n > 0) {
		self[n] = 0;
		if (snprintf(path, PATH_MAX, "%s/tulle", dirname(self)) < PATH_MAX && access(path, X_OK) == 0)
			return 0;
	}
	snprintf(path, PATH_MAX, "/usr/libexec/tulle/tulle");
	if (access(path, X_OK) == 0)
		return 0;
	return err_set(err, -ENOENT,
		"--cni-bin-dir: the plugin \"tulle\" is neither beside tulled nor in /usr/libexec/tulle");
}

static int install_plugin(struct agent *agent, struct err *err)
{
	_cleanup_(buf_free) struct buf there = BUF_INIT((size_t)16 << 20);
	_cleanup_(buf_free) struct buf plugin = BUF_INIT((size_t)16 << 20);
	char source[PATH_MAX];
	char target[PATH_MAX];
	int rc;

	if (!agent->options.cni_bin_dir[0])
		return 0;
	if (snprintf(target, sizeof(target), "%s/tulle", agent->options.cni_bin_dir) >= (int)sizeof(target))
		return err_set(err, -ENAMETOOLONG, "--cni-bin-dir: the path is too long");
	if (agent->plugin_installed && access(target, X_OK) == 0)
		return 0; /* compared once: every pass comes by here */
	rc = find_plugin(source, err);
	if (rc == 0)
		rc = file_read(source, &plugin, err);
	if (rc == 0)
		rc = make_parent(target, err);
	if (rc == 0 && (file_read(target, &there, NULL) < 0 || !buf_same(&there, &plugin)))
		rc = file_write_atomic(target, plugin.data, plugin.len, 0755, true, err);
	agent->plugin_installed = rc == 0;
	return rc;
}

static int install_conf(struct agent *agent, struct err *err)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT((size_t)1 << 20);
	char path[PATH_MAX];

	if (!agent->options.cni_conf_dir[0])
		return 0;
	if (agent->cni_conf && cni_conf_check(agent->cni_conf, strlen(agent->cni_conf), "cni-conf.json", err) < 0)
		return err->code;
	buf_add_str(&text, agent->cni_conf ? agent->cni_conf : default_conflist);
	if (snprintf(path, sizeof(path), "%s/%s", agent->options.cni_conf_dir, agent->options.cni_conf_name) >=
		(int)sizeof(path))
		return err_set(err, -ENAMETOOLONG, "--cni-conf-dir: the path is too long");
	return write_when_changed(path, &text, &agent->cni_written, err);
}

int agent_publish(struct agent *agent, struct err *err)
{
	int rc = write_subnet_env(agent, err);

	if (rc == 0)
		rc = install_plugin(agent, err);
	if (rc == 0)
		rc = install_conf(agent, err);
	if (rc == 0 && !agent->ready) {
		rc = notify_send("READY=1");
		if (rc < 0)
			log_warning("NOTIFY_SOCKET: %s", strerror(-rc));
		rc = 0;
	}
	return rc;
}

const char *agent_not_ready(void *ctx)
{
	struct agent *agent = ctx;
	/* leases are nobody's concern before the configuration is there: any story of the store is about it */
	const char *store = agent->have_network ? problems_text(agent->problems, "store") :
						  problems_any(agent->problems, "store");
	const char *start = problems_text(agent->problems, "start");

	if (agent->ready)
		return NULL;
	if (!agent->have_network)
		snprintf(agent->not_ready, sizeof(agent->not_ready), "no network configuration yet%s%.400s",
			store ? ": " : "", store ? store : "");
	else if (!agent->have_own)
		snprintf(agent->not_ready, sizeof(agent->not_ready), "no lease yet%s%.400s", store ? ": " : "",
			store ? store : "");
	else
		snprintf(agent->not_ready, sizeof(agent->not_ready), "%.500s", start ? start : "the kernel is being set up");
	return agent->not_ready;
}
