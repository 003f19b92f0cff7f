/* SPDX-License-Identifier: Apache-2.0 */
#include "store/directory_private.h"

#include "base/file.h"
#include "objects/directory_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define WATCHED \
	(IN_MOVED_TO | IN_MOVED_FROM | IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | \
		IN_ONLYDIR)
#define SETTLE_MS 10 /* an editor's several steps become one scan */
#define OUTAGE_MAX_MS 5000

void directory_problem(struct directory *dir, const char *key, const char *text)
{
	dir->kv.events->problem(dir->kv.ctx, key, text);
}

static void rescan_in(struct directory *dir, int ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_add(dir->rescan, &tv);
}

/* Makes the directory if it is missing and watches it; wd is that of another inode if it was replaced. */
static int prepare(struct directory *dir, const char *path, int *wd, bool *changed, struct err *err)
{
	int rc = file_make_dirs(path, 0755, err);
	int now;

	if (rc < 0)
		return rc;
	now = inotify_add_watch(dir->inotify, path, WATCHED);
	if (now < 0)
		return err_set(err, -errno, "%s: cannot be watched: %s", path, strerror(errno));
	if (now != *wd) {
		if (*wd >= 0)
			inotify_rm_watch(dir->inotify, *wd);
		*wd = now;
		*changed = true;
	}
	return 0;
}

static bool scan_config(struct directory *dir)
{
	struct err err = ERR_INIT;

	if (prepare(dir, dir->path, &dir->wd_config, &dir->config_changed, &err) < 0) {
		directory_problem(dir, dir->path, err_text(&err));
		return false;
	}
	directory_problem(dir, dir->path, "");
	if (dir->config_changed)
		directory_config_scan(dir);
	dir->config_changed = false;
	return true;
}

static bool scan_leases(struct directory *dir)
{
	struct err err = ERR_INIT;

	if (!dir->watching)
		return true;
	if (prepare(dir, dir->leases, &dir->wd_leases, &dir->leases_changed, &err) < 0 ||
		(dir->leases_changed && directory_lease_scan(dir, &err) < 0)) {
		directory_problem(dir, dir->leases, err_text(&err));
		return false;
	}
	directory_problem(dir, dir->leases, "");
	dir->leases_changed = false;
	return true;
}

static void on_rescan(evutil_socket_t fd, short what, void *arg)
{
	struct directory *dir = arg;
	bool good = scan_config(dir);
	int ms = 250;

	good = scan_leases(dir) && good;
	if (good) {
		dir->outages = 0;
		return;
	}
	for (unsigned i = 0; i < dir->outages && ms < OUTAGE_MAX_MS; i++)
		ms *= 2;
	dir->outages++;
	rescan_in(dir, ms < OUTAGE_MAX_MS ? ms : OUTAGE_MAX_MS);
}

/* A new file that is still being written ends with IN_CLOSE_WRITE; a link does not. */
static bool is_unfinished(const char *parent, const struct inotify_event *event)
{
	char path[PATH_MAX + NAME_MAX + 2];
	struct stat st;

	if (!(event->mask & IN_CREATE) || (event->mask & IN_ISDIR))
		return false;
	snprintf(path, sizeof(path), "%s/%s", parent, event->name);
	return lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1;
}

static void everything_changed(struct directory *dir)
{
	dir->config_changed = dir->leases_changed = true;
	rescan_in(dir, SETTLE_MS);
}

static void watch_ended(struct directory *dir, int *wd, bool still_there)
{
	if (still_there)
		inotify_rm_watch(dir->inotify, *wd);
	*wd = -1;
	everything_changed(dir);
}

static void take_event(struct directory *dir, const struct inotify_event *event)
{
	int *wd = event->wd == dir->wd_config ? &dir->wd_config : &dir->wd_leases;

	if (event->mask & IN_Q_OVERFLOW) {
		everything_changed(dir);
		return;
	}
	if (event->wd < 0 || event->wd != *wd)
		return;
	if (event->mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF)) {
		watch_ended(dir, wd, event->mask & IN_MOVE_SELF);
		return;
	}
	if (!event->len || is_unfinished(wd == &dir->wd_config ? dir->path : dir->leases, event))
		return;
	if (wd == &dir->wd_leases) {
		if (dir->watching)
			directory_lease_read(dir, event->name);
	} else {
		dir->config_changed = true;
		rescan_in(dir, SETTLE_MS);
	}
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	char chunk[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
	struct directory *dir = arg;
	ssize_t n = read(fd, chunk, sizeof(chunk));

	for (ssize_t at = 0; at < n;) {
		const struct inotify_event *event = (const struct inotify_event *)(chunk + at);

		at += (ssize_t)(sizeof(*event) + event->len);
		take_event(dir, event);
	}
}

static void directory_start(struct kv *kv)
{
	struct directory *dir = (struct directory *)kv;

	dir->config_changed = true;
	rescan_in(dir, 0);
}

static void directory_watch(struct kv *kv)
{
	struct directory *dir = (struct directory *)kv;

	dir->watching = true;
	dir->leases_changed = true;
	rescan_in(dir, 0);
}

static void directory_free(struct kv *kv)
{
	struct directory *dir = (struct directory *)kv;

	directory_config_done(dir);
	directory_lease_done(dir);
	if (dir->readable)
		event_free(dir->readable);
	if (dir->rescan)
		event_free(dir->rescan);
	if (dir->inotify >= 0)
		close(dir->inotify);
	free(dir);
}

static const struct kv_ops directory_ops = {
	.start = directory_start,
	.watch = directory_watch,
	.create = directory_create,
	.replace = directory_replace,
	.remove = directory_remove,
	.free = directory_free,
};

static int directory_open(struct directory *dir, struct err *err)
{
	dir->inotify = directory_file_watch(dir->path, err);
	if (dir->inotify < 0)
		return dir->inotify;
	dir->readable = event_new(dir->base, dir->inotify, EV_READ | EV_PERSIST, on_readable, dir);
	dir->rescan = event_new(dir->base, -1, 0, on_rescan, dir);
	if (!dir->readable || !dir->rescan || directory_lease_init(dir) < 0)
		return err_set(err, -ENOMEM, "directory %s: no memory", dir->path);
	event_add(dir->readable, NULL);
	return 0;
}

static int new_at(const char *path, const char *net_conf, bool manifests, struct event_base *base,
	const struct kv_events *events, void *ctx, struct kv **ret, struct err *err)
{
	struct directory *dir = calloc(1, sizeof(*dir));
	int rc;

	if (!dir)
		return err_set(err, -ENOMEM, "directory %s: no memory", path);
	dir->kv = (struct kv){.ops = &directory_ops, .events = events, .ctx = ctx, .value_has_expiry = true};
	dir->base = base;
	dir->inotify = dir->wd_config = dir->wd_leases = -1;
	dir->manifests = manifests;
	snprintf(dir->net_conf, sizeof(dir->net_conf), "%s", net_conf);
	snprintf(dir->path, sizeof(dir->path), "%s", path);
	snprintf(dir->leases, sizeof(dir->leases), "%s/" LEASES_DIR, path);
	rc = directory_open(dir, err);
	if (rc < 0) {
		directory_free(&dir->kv);
		return rc;
	}
	*ret = &dir->kv;
	return 0;
}

#define DIRECTORY_MAX (PATH_MAX - sizeof("/" LEASES_DIR) - NAME_MAX - 1)

int directory_new(const char *path, struct event_base *base, const struct kv_events *events, void *ctx,
	struct kv **ret, struct err *err)
{
	if (!path || !*path || strlen(path) >= DIRECTORY_MAX)
		return err_set(err, -EINVAL, "directory store: path is \"%.100s\", expected that of a directory",
			path ? path : "");
	return new_at(path, "net-conf.json", true, base, events, ctx, ret, err);
}

int directory_new_config(const char *file, struct event_base *base, const struct kv_events *events, void *ctx,
	struct kv **ret, struct err *err)
{
	const char *slash = file ? strrchr(file, '/') : NULL;
	char path[PATH_MAX];

	if (!slash || !slash[1] || strlen(slash + 1) > NAME_MAX || (size_t)(slash - file) >= DIRECTORY_MAX)
		return err_set(err, -EINVAL, "network configuration: the path is \"%.100s\", expected an absolute one of a file",
			file ? file : "");
	snprintf(path, sizeof(path), "%.*s", slash > file ? (int)(slash - file) : 1, file);
	return new_at(path, slash + 1, false, base, events, ctx, ret, err);
}
