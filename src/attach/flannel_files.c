/* SPDX-License-Identifier: Apache-2.0 */
#include "attach/flannel_files.h"

#include "base/cleanup.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

static void close_dir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

static struct host_local owner_of(const struct flannel_dirs *dirs, const struct flannel_pod *pod)
{
	return (struct host_local){.dir = dirs->host_local,
		.network = pod->network,
		.container_id = pod->container_id,
		.ifname = pod->ifname};
}

static int remove_state(const struct flannel_dirs *dirs, const char *container_id, struct err *err)
{
	char path[1024];

	if (flannel_state_path(dirs->flannel, container_id, path) < 0)
		return 0;
	if (unlink(path) < 0 && errno != ENOENT)
		return err_set(err, -errno, "%s: cannot be removed: %s", path, strerror(errno));
	return 0;
}

/* -- one attachment -- */

static bool is_of(const struct flannel_state *state, const char *ifname)
{
	return state->ours && strcmp(state->ifname, ifname) == 0;
}

static int write_state(const struct flannel_dirs *dirs, const char *container_id,
	const struct flannel_delegate *delegate, struct err *err)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT(FLANNEL_STATE_MAX);
	char path[1024];
	int rc;

	if (flannel_state_path(dirs->flannel, container_id, path) < 0)
		return err_set(err, -EINVAL, "container id \"%.100s\": expected a plain name", container_id);
	rc = flannel_state_format(delegate, &text, err);
	if (rc < 0)
		return rc;
	rc = file_write_atomic(path, text.data, text.len, 0600, false, err);
	if (rc != -ENOENT)
		return rc;
	rc = file_make_dirs(dirs->flannel, 0700, err);
	return rc < 0 ? rc : file_write_atomic(path, text.data, text.len, 0600, false, err);
}

int flannel_files_write(const struct flannel_dirs *dirs, const char *container_id,
	const struct flannel_delegate *delegate, struct err *err)
{
	struct host_local owner = {.dir = dirs->host_local,
		.network = delegate->network,
		.container_id = container_id,
		.ifname = delegate->ifname};
	struct flannel_state state;
	bool taken = flannel_state_read(dirs->flannel, container_id, &state, NULL) > 0 &&
		     !is_of(&state, delegate->ifname);
	int rc = taken ? 0 : write_state(dirs, container_id, delegate, err);

	if (rc < 0)
		return rc;
	rc = host_local_reserve(&owner, delegate->addr, err);
	if (rc < 0 && !taken)
		remove_state(dirs, container_id, NULL);
	return rc;
}

int flannel_files_remove(const struct flannel_dirs *dirs, const struct flannel_pod *pod, struct err *err)
{
	struct host_local owner = owner_of(dirs, pod);
	struct flannel_state state;
	int rc = host_local_release(&owner, pod->addr, err);

	if (rc < 0)
		return rc;
	if (flannel_state_read(dirs->flannel, pod->container_id, &state, NULL) <= 0 ||
		!is_of(&state, pod->ifname))
		return 0;
	return remove_state(dirs, pod->container_id, err);
}

bool flannel_files_undone(const struct flannel_dirs *dirs, const struct flannel_pod *pod)
{
	struct host_local owner = owner_of(dirs, pod);
	struct flannel_state state;

	return flannel_state_read(dirs->flannel, pod->container_id, &state, NULL) <= 0 ||
	       !is_of(&state, pod->ifname) || !host_local_holds_any(&owner, pod->addr);
}

/* -- all of them -- */

static int clean_one(const struct flannel_dirs *dirs, const char *container_id,
	const struct flannel_state *state, struct err *err)
{
	struct host_local owner = {.dir = dirs->host_local,
		.network = state->network,
		.container_id = container_id,
		.ifname = state->ours ? state->ifname : NULL};
	int rc;

	if (state->ours) {
		rc = host_local_release(&owner, state->addr, err);
	} else {
		owner.dir = state->data_dir[0] ? state->data_dir : dirs->host_local;
		rc = host_local_release_all(&owner, err);
	}
	return rc < 0 ? rc : remove_state(dirs, container_id, err);
}

int flannel_files_clean(const struct flannel_dirs *dirs,
	bool (*keep)(void *ctx, const char *container_id, const struct flannel_state *state), void *ctx,
	struct err *err)
{
	_cleanup_(close_dir) DIR *dir = dirs->flannel ? opendir(dirs->flannel) : NULL;
	const struct dirent *entry;
	int first = 0;

	while (dir && (entry = readdir(dir))) {
		struct flannel_state state;
		int rc;

		if (flannel_state_read(dirs->flannel, entry->d_name, &state, NULL) <= 0 ||
			keep(ctx, entry->d_name, &state))
			continue;
		rc = clean_one(dirs, entry->d_name, &state, first ? NULL : err);
		first = first ? first : rc;
	}
	return first;
}

/* -- what was torn -- */

/* ".NAME.tmp-PID" of file_write_atomic: in this directory only we write such. */
static bool is_temporary(const char *name)
{
	return name[0] == '.' && strstr(name, ".tmp-");
}

static bool is_torn(int dir_fd, const char *name)
{
	struct stat st;

	return name[0] != '.' && fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       host_local_is_torn(&st);
}

void flannel_files_clear_torn(const struct flannel_dirs *dirs)
{
	_cleanup_(close_dir) DIR *dir = dirs->flannel ? opendir(dirs->flannel) : NULL;
	const struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		struct host_local owner = {.dir = dirs->host_local, .container_id = entry->d_name};
		bool torn = is_torn(dirfd(dir), entry->d_name);

		if (torn && host_local_release_everywhere(&owner, NULL) < 0)
			continue;
		if (torn || is_temporary(entry->d_name))
			unlinkat(dirfd(dir), entry->d_name, 0);
	}
}
