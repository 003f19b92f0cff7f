/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/policy.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "objects/manifest.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MANIFESTS_MAX ((size_t)256 << 20) /* bytes of a file */
#define DEPTH_MAX 4                       /* DIRECTORY/objects/KIND/NAME.json, and one more */

static void tell(void *ctx, const char *text)
{
	fprintf(stderr, "tullectl: %s\n", text);
}

const struct calico_remarks policy_remarks_on_stderr = {.remark = tell};

int policy_read_case(const char *path, struct netpol_case **ret)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT(NETPOL_CASE_MAX);
	struct err err = ERR_INIT;
	int rc = file_read(path, &text, &err);

	if (rc == 0)
		rc = netpol_case_parse(buf_text(&text), text.len, path, ret, &err);
	return rc < 0 ? ctl_fail(CTL_USAGE, "%s", err_text(&err)) : CTL_OK;
}

/* -- manifests -- */

int policy_read_manifests(const char *path, struct policy_world *world, struct err *err)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT(MANIFESTS_MAX);
	struct manifest manifest = {0};
	int rc = file_read(path, &text, err);

	if (rc == 0)
		rc = manifest_parse(buf_text(&text), text.len, path, &manifest, err);
	for (size_t i = 0; rc >= 0 && i < manifest.count; i++) {
		rc = policy_world_add(world, manifest.objects[i].object, &policy_remarks_on_stderr, err);
		if (rc < 0)
			err_wrap(err, "%s", path);
	}
	manifest_free(&manifest);
	return rc < 0 ? rc : 0;
}

static bool is_manifest(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot && name[0] != '.' && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0 || strcmp(dot, ".json") == 0);
}

static int read_tree(const char *path, int depth, struct policy_world *world, struct err *err);

static int read_entry(const char *parent, const struct dirent *entry, int depth, struct policy_world *world, struct err *err)
{
	char path[4096];

	if (entry->d_name[0] == '.')
		return 0;
	if ((size_t)snprintf(path, sizeof(path), "%s/%s", parent, entry->d_name) >= sizeof(path))
		return err_set(err, -ENAMETOOLONG, "%s/%s: the path is too long", parent, entry->d_name);
	if (entry->d_type == DT_DIR)
		return depth < DEPTH_MAX ? read_tree(path, depth + 1, world, err) : 0;
	return is_manifest(entry->d_name) ? policy_read_manifests(path, world, err) : 0;
}

static int read_tree(const char *path, int depth, struct policy_world *world, struct err *err)
{
	struct dirent **entries;
	int rc = 0, count = scandir(path, &entries, NULL, alphasort);

	if (count < 0)
		return err_set(err, -errno, "%s: cannot be read: %s", path, strerror(errno));
	for (int i = 0; i < count; i++) {
		if (rc == 0)
			rc = read_entry(path, entries[i], depth, world, err);
		free(entries[i]);
	}
	free(entries);
	return rc;
}

int policy_read_directory(const char *path, struct policy_world *world, struct err *err)
{
	return read_tree(path, 1, world, err);
}
