/* SPDX-License-Identifier: Apache-2.0 */
#include "cni_server/cni_files.h"

#include "attach/flannel_files.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/frame.h"
#include "base/json.h"
#include "cni_server/cni_conf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define PLUGIN_MAX ((size_t)16 << 20)
#define CONF_MAX ((size_t)1 << 20)

unsigned cni_files_types(const json_t *conf)
{
	const json_t *list = json_find(conf, "plugins");
	unsigned types = 0;

	if (!list)
		types = 1u << cni_conf_type(conf, "");
	for (size_t i = 0; i < json_array_size(list); i++)
		types |= 1u << cni_conf_type(json_array_get(list, i), "");
	return types & ((1u << CNI_TYPE_COUNT) - 1);
}

bool cni_files_is_plugin(const char *path)
{
	_cleanup_(buf_free) struct buf binary = BUF_INIT(PLUGIN_MAX);

	return file_read(path, &binary, NULL) == 0 && binary.len &&
	       memmem(binary.data, binary.len, FRAME_PLUGIN_ABOUT, strlen(FRAME_PLUGIN_ABOUT));
}

static bool is_given(const char *dir)
{
	return dir && dir[0];
}

static int make_path(const char *dir, const char *name, const char *suffix, char path[PATH_MAX], struct err *err)
{
	if (snprintf(path, PATH_MAX, "%s/%s%s", dir, name, suffix) >= PATH_MAX)
		return err_set(err, -ENAMETOOLONG, "%s: the path is too long", dir);
	return 0;
}

/* -- the plugin -- */

struct plugin {
	bool ours, other_kept;
	char path[PATH_MAX], kept[PATH_MAX];
};

static bool plugin_look(const struct cni_files *files, enum cni_type type, struct plugin *ret)
{
	if (!is_given(files->bin_dir) ||
		make_path(files->bin_dir, cni_type_name(type), "", ret->path, NULL) < 0 ||
		make_path(files->bin_dir, cni_type_name(type), PLUGIN_KEPT_SUFFIX, ret->kept, NULL) < 0)
		return false;
	ret->ours = cni_files_is_plugin(ret->path);
	ret->other_kept = faccessat(AT_FDCWD, ret->kept, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	return ret->ours;
}

static int plugin_remove(const struct cni_files *files, enum cni_type type, struct err *err)
{
	struct plugin plugin;

	if (!plugin_look(files, type, &plugin))
		return 0;
	if (!files->dry && plugin.other_kept && rename(plugin.kept, plugin.path) < 0)
		return err_set(err, -errno, "%s: cannot be renamed to %s: %s", plugin.kept, plugin.path, strerror(errno));
	if (!files->dry && !plugin.other_kept && unlink(plugin.path) < 0)
		return err_set(err, -errno, "%s: cannot be removed: %s", plugin.path, strerror(errno));
	files->told(files->ctx, plugin.other_kept ? "restored" : "removed", plugin.path);
	return 0;
}

/* -- the configuration -- */

static bool is_conf_name(const char *name)
{
	static const char *const suffixes[] = {".conflist", ".conf", ".json"};
	size_t len = strlen(name);

	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		size_t end = strlen(suffixes[i]);

		if (len > end && strcmp(name + len - end, suffixes[i]) == 0)
			return true;
	}
	return false;
}

static bool conf_is_ours(const struct cni_files *files, const char *path)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT(CONF_MAX);
	_cleanup_(json_cleanup) json_t *conf = NULL;
	unsigned types;

	if (file_read(path, &text, NULL) < 0 || json_parse(buf_text(&text), text.len, path, &conf, NULL) < 0)
		return false;
	types = cni_files_types(conf);
	if (types & 1u << CNI_TYPE_TULLE)
		return true;
	for (enum cni_type type = 0; type < CNI_TYPE_COUNT; type++) {
		struct plugin plugin;

		if (types & 1u << type && plugin_look(files, type, &plugin) && !plugin.other_kept)
			return true;
	}
	return false;
}

static int conf_remove(const struct cni_files *files, const char *name, struct err *err)
{
	char path[PATH_MAX];
	int rc = make_path(files->conf_dir, name, "", path, err);

	if (rc < 0 || !conf_is_ours(files, path))
		return rc;
	if (!files->dry && unlink(path) < 0)
		return err_set(err, -errno, "%s: cannot be removed: %s", path, strerror(errno));
	files->told(files->ctx, "removed", path);
	return 0;
}

static int confs_remove(const struct cni_files *files, struct err *err)
{
	DIR *dir = opendir(files->conf_dir);
	const struct dirent *entry;
	int first = 0;

	while (dir && (entry = readdir(dir))) {
		int rc;

		if (!is_conf_name(entry->d_name))
			continue;
		rc = conf_remove(files, entry->d_name, first ? NULL : err);
		first = first ? first : rc;
	}
	if (dir)
		closedir(dir);
	return first;
}

int cni_files_remove(const struct cni_files *files, struct err *err)
{
	int first = is_given(files->conf_dir) ? confs_remove(files, err) : 0;

	for (enum cni_type type = 0; type < CNI_TYPE_COUNT; type++) {
		int rc = plugin_remove(files, type, first ? NULL : err);

		first = first ? first : rc;
	}
	return first;
}
