/* SPDX-License-Identifier: Apache-2.0
 *
 * What the container runtime finds of us: the plugin's binary under each name that the configuration calls, then
 * the configuration (its appearance makes the node Ready), always as a list, which every runtime reads.
 */
#include "agent/agent.h"

#include "attach/flannel_files.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "cni_server/cni_conf.h"
#include "cni_server/cni_files.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define PLUGIN_MAX ((size_t)16 << 20)
#define CONF_MAX ((size_t)1 << 20)

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

/* -- the text -- */

static void move_key(json_t *from, json_t *to, const char *key)
{
	json_t *value = json_object_get(from, key);

	if (!value)
		return;
	json_object_set(to, key, value);
	json_object_del(from, key);
}

/* A single plugin becomes a list of one, as libcni itself takes it: name and version are the list's. */
static json_t *wrap(const json_t *plugin)
{
	json_t *copy = json_copy((json_t *)plugin);
	json_t *list = json_object();

	move_key(copy, list, "name");
	move_key(copy, list, "cniVersion");
	json_object_set_new(list, "plugins", json_pack("[o]", copy));
	return list;
}

static int format_conf(const char *text, struct buf *ret, unsigned *ret_types, struct err *err)
{
	_cleanup_(json_cleanup) json_t *conf = NULL;
	_cleanup_(json_cleanup) json_t *list = NULL;
	_cleanup_free_ char *wrapped = NULL;
	int rc = cni_conf_check(text, strlen(text), "cni-conf.json", err);

	if (rc == 0)
		rc = json_parse(text, strlen(text), "cni-conf.json", &conf, err);
	if (rc < 0)
		return rc;
	if (!json_find(conf, "plugins")) {
		list = wrap(conf);
		wrapped = list ? json_dumps(list, JSON_INDENT(2)) : NULL;
		rc = wrapped ? buf_printf(ret, "%s\n", wrapped) : -ENOMEM;
	} else {
		rc = buf_add_str(ret, text);
	}
	if (rc < 0)
		return err_set(err, rc, "cni-conf.json: %s", strerror(-rc));
	*ret_types = cni_files_types(conf);
	return 0;
}

/* -- the plugin -- */

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

/* A second name first, so that the runtime finds a plugin at every moment. */
static int keep_other(const char *path, struct err *err)
{
	char kept[PATH_MAX];
	char temp[PATH_MAX];

	if (snprintf(kept, sizeof(kept), "%s" PLUGIN_KEPT_SUFFIX, path) >= (int)sizeof(kept) ||
		snprintf(temp, sizeof(temp), "%s.tmp", kept) >= (int)sizeof(temp))
		return err_set(err, -ENAMETOOLONG, "%s: the path is too long", path);
	unlink(temp);
	if (link(path, temp) < 0) { /* a file system without hard links */
		if (rename(path, kept) < 0)
			return err_set(err, -errno, "%s: cannot be renamed to %s: %s", path, kept, strerror(errno));
	} else if (rename(temp, kept) < 0) {
		return err_set(err, -errno, "%s: cannot be kept as %s: %s", path, kept, strerror(errno));
	}
	unlink(temp); /* it stays when both names were one file already */
	log_info("%s: another plugin was there; it is kept as %s", path, kept);
	return 0;
}

static int place_plugin(const char *path, const struct buf *plugin, struct err *err)
{
	_cleanup_(buf_free) struct buf there = BUF_INIT(PLUGIN_MAX);
	struct stat st;
	int rc = file_read(path, &there, NULL);

	if (rc == 0 && there.len == plugin->len && memcmp(there.data, plugin->data, plugin->len) == 0)
		return 0;
	if (lstat(path, &st) == 0 && !(rc == 0 && cni_files_is_plugin(path))) {
		rc = keep_other(path, err);
		if (rc < 0)
			return rc;
	}
	return file_write_atomic(path, plugin->data, plugin->len, 0755, true, err);
}

static int plugin_path(const struct agent *agent, enum cni_type type, char path[PATH_MAX], struct err *err)
{
	if (snprintf(path, PATH_MAX, "%s/%s", agent->options.cni_bin_dir, cni_type_name(type)) >= PATH_MAX)
		return err_set(err, -ENAMETOOLONG, "--cni-bin-dir: the path is too long");
	return 0;
}

static int install_plugin(struct agent *agent, enum cni_type type, struct err *err)
{
	_cleanup_(buf_free) struct buf plugin = BUF_INIT(PLUGIN_MAX);
	char source[PATH_MAX];
	char target[PATH_MAX];
	int rc = plugin_path(agent, type, target, err);

	if (rc < 0)
		return rc;
	if (agent->installed & 1u << type && access(target, X_OK) == 0)
		return 0; /* compared once: every pass comes by here */
	rc = find_plugin(source, err);
	if (rc == 0)
		rc = file_read(source, &plugin, err);
	if (rc == 0)
		rc = file_make_dirs(agent->options.cni_bin_dir, 0755, err);
	if (rc == 0)
		rc = place_plugin(target, &plugin, err);
	if (rc == 0)
		agent->installed |= 1u << type;
	return rc;
}

static int install_plugins(struct agent *agent, unsigned types, struct err *err)
{
	int rc = 0;

	for (enum cni_type type = 0; rc == 0 && type < CNI_TYPE_COUNT; type++) {
		if (types & 1u << type)
			rc = install_plugin(agent, type, err);
	}
	return rc;
}

/* -- the configuration's file -- */

static const char *const suffixes[] = {".conflist", ".conf", ".json"};

static int conf_path(const struct agent *agent, const char *suffix, char path[PATH_MAX], struct err *err)
{
	const char *name = agent->options.cni_conf_name;
	size_t len = strlen(name);

	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		size_t end = strlen(suffixes[i]);

		if (len > end && strcmp(name + len - end, suffixes[i]) == 0) {
			len -= end;
			break;
		}
	}
	if (snprintf(path, PATH_MAX, "%s/%.*s%s", agent->options.cni_conf_dir, (int)len, name, suffix) >= PATH_MAX)
		return err_set(err, -ENAMETOOLONG, "--cni-conf-dir: the path is too long");
	return 0;
}

/* One of an earlier release or of Flannel's older manifests would come first in the order of names. */
static void remove_stale(const struct agent *agent, const char *suffix)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT(CONF_MAX);
	_cleanup_(json_cleanup) json_t *conf = NULL;
	char path[PATH_MAX];

	if (conf_path(agent, suffix, path, NULL) < 0 || file_read(path, &text, NULL) < 0 ||
		json_parse(buf_text(&text), text.len, path, &conf, NULL) < 0 || !cni_files_types(conf))
		return;
	if (unlink(path) == 0)
		log_info("%s: removed, the configuration is a list now", path);
}

static int install_conf(struct agent *agent, const struct buf *text, struct err *err)
{
	char path[PATH_MAX];
	int rc = conf_path(agent, suffixes[0], path, err);

	if (rc == 0)
		rc = agent_write_changed(path, text, &agent->cni_written, err);
	for (size_t i = 1; rc > 0 && i < ARRAY_SIZE(suffixes); i++)
		remove_stale(agent, suffixes[i]);
	return rc < 0 ? rc : 0;
}

/* Calico's installer has been here: its configuration comes first in the order of names, and the runtime goes on calling
 * the plugin that it names (docs/takeover.md). */
static unsigned calicos_type(const struct agent *agent)
{
	char path[PATH_MAX];

	if (!agent->calico ||
		snprintf(path, sizeof(path), "%s/10-calico.conflist", agent->options.cni_conf_dir) >= (int)sizeof(path))
		return 0;
	return access(path, F_OK) == 0 ? 1u << CNI_TYPE_CALICO : 0;
}

int agent_install(struct agent *agent, struct err *err)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT(CONF_MAX);
	bool conf = agent->options.cni_conf_dir[0];
	unsigned types = 0;
	int rc;

	if (!conf && !agent->options.cni_bin_dir[0])
		return 0;
	/* a bad one is of no interest where it is not to be written */
	rc = format_conf(agent->cni_conf ? agent->cni_conf : default_conflist, &text, &types, conf ? err : NULL);
	if (rc < 0 && conf)
		return rc;
	types |= 1u << CNI_TYPE_TULLE | (conf ? calicos_type(agent) : 0);
	rc = agent->options.cni_bin_dir[0] ? install_plugins(agent, types, err) : 0;
	return rc == 0 && conf ? install_conf(agent, &text, err) : rc;
}
