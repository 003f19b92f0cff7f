/* SPDX-License-Identifier: Apache-2.0 */
#include "objects/directory_private.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "base/rfc3339.h"
#include "objects/directory_file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define WATCHED \
	(IN_MOVED_TO | IN_MOVED_FROM | IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)
#define SETTLE_MS 20   /* several steps of an editor become one look */
#define MISSING_MS 250 /* it takes the old file away before it puts the new one there */
#define OUTAGE_FIRST_MS 250
#define OUTAGE_MAX_MS 5000

static bool is_manifest(const char *name)
{
	static const char *const flannel[] = {"net-conf.json", "cni-conf.json"};

	for (size_t i = 0; i < ARRAY_SIZE(flannel); i++)
		if (strcmp(name, flannel[i]) == 0)
			return false;
	return *name != '.' && (directory_file_ends(name, ".yaml") || directory_file_ends(name, ".yml") ||
		directory_file_ends(name, ".json"));
}

/* The directory itself, objects/, and what lies in that. */
static bool is_our_dir(const char *parent, const char *name)
{
	return *parent ? strcmp(parent, OBJECTS_DIR) == 0 && *name != '.' : strcmp(name, OBJECTS_DIR) == 0;
}

static void join(const char *parent, const char *name, char ret[static PATH_MAX])
{
	snprintf(ret, PATH_MAX, "%s%s%s", parent, *parent ? "/" : "", name);
}

/* -- one file -- */

static bool has_age(enum kind kind)
{
	return kind == KIND_IPPOOL || kind == KIND_FELIX_CONFIG;
}

/* Of two settings that contradict each other the older one counts. What people put here has no age but that of its file. */
static void add_ages(const struct objects_directory *directory, const char *path, struct manifest *manifest)
{
	char full[FULL_PATH_MAX], created[RFC3339_MAX];
	struct stat st;

	snprintf(full, sizeof(full), "%s/%s", directory->path, path);
	if (strchr(path, '/') || stat(full, &st) < 0 || st.st_mtime <= 0)
		return;
	for (size_t i = 0; i < manifest->count; i++) {
		json_t *metadata = json_object_get(manifest->objects[i].object, "metadata");

		if (has_age(manifest->objects[i].kind) && !json_object_get(metadata, "creationTimestamp"))
			json_object_set_new(metadata, "creationTimestamp", json_string(rfc3339_format(st.st_mtime, created)));
	}
}

static void take_text(struct objects_directory *directory, struct manifest_file *file, const struct buf *buf)
{
	struct manifest manifest = {0};
	struct err err = ERR_INIT;

	file->digest = directory_file_digest(buf);
	if (!buf->len && file->count) { /* as it is while somebody begins to write it */
		index_file_trouble(directory, file,
			"the file is empty: what it held stays in force until the file is filled or removed");
		return;
	}
	if (manifest_parse(buf_text(buf), buf->len, file->path, &manifest, &err) < 0) {
		/* What it held before stays in force. */
		index_file_trouble(directory, file, err_text(&err));
		return;
	}
	index_file_trouble(directory, file, "");
	add_ages(directory, file->path, &manifest);
	index_file_take(directory, file, &manifest);
}

static void settle_soon(struct objects_directory *directory)
{
	if (!event_pending(directory->settle, EV_TIMEOUT, NULL))
		directory_soon(directory->settle, SETTLE_MS);
}

static void rescan_soon(struct objects_directory *directory)
{
	directory->rescan = true;
	settle_soon(directory);
}

/* An editor takes the old file away before the new one is there: a while must pass before a file that people put there
 * counts as gone. */
static void file_gone(struct objects_directory *directory, struct manifest_file *file, bool may_return)
{
	int64_t now = directory_now_ms();

	if (!file)
		return;
	if (!may_return || strchr(file->path, '/') || (file->missing_ms && now - file->missing_ms >= MISSING_MS)) {
		index_file_forget(directory, file);
		return;
	}
	if (!file->missing_ms)
		index_file_missing(directory, file, now);
	settle_soon(directory);
}

static void read_file(struct objects_directory *directory, const char *path, bool may_return)
{
	_cleanup_(buf_free) struct buf buf = BUF_INIT(DIRECTORY_FILE_MAX);
	struct manifest_file *file = index_file_find(directory, path);
	struct err err = ERR_INIT;
	/* A mounted ConfigMap consists of links; ours are none. */
	int rc = directory_file_read(directory->path, path, !strchr(path, '/'), &buf, &err);

	if (rc == -ENOENT) {
		file_gone(directory, file, may_return);
		return;
	}
	file = index_file_get(directory, path);
	if (!file)
		return;
	file->seen = true;
	index_file_missing(directory, file, 0);
	if (rc < 0) {
		file->digest = 0;
		index_file_trouble(directory, file, err_text(&err));
	} else if (file->digest != directory_file_digest(&buf)) {
		take_text(directory, file, &buf);
	}
}

void scan_file(struct objects_directory *directory, const char *path)
{
	read_file(directory, path, false);
	watch_tell_changes(directory);
}

/* -- directories -- */

static struct watched_dir *find_dir(struct objects_directory *directory, const char *path, int wd)
{
	for (size_t i = 0; i < directory->dir_count; i++)
		if (path ? strcmp(directory->dirs[i].path, path) == 0 : directory->dirs[i].wd == wd)
			return &directory->dirs[i];
	return NULL;
}

/* Watches it; what is there already must be read after this. */
static int watch_dir(struct objects_directory *directory, const char *path, struct err *err)
{
	struct watched_dir *dir = find_dir(directory, path, 0);
	char full[FULL_PATH_MAX];
	int wd;

	snprintf(full, sizeof(full), "%s/%s", directory->path, path);
	wd = inotify_add_watch(directory->inotify, full, WATCHED);
	if (wd < 0)
		return err_set(err, -errno, "%s: cannot be watched: %s", full, strerror(errno));
	if (!dir) {
		struct watched_dir *more = realloc(directory->dirs, (directory->dir_count + 1) * sizeof(*more));

		if (!more)
			return err_set(err, -ENOMEM, "%s: no memory", full);
		directory->dirs = more;
		dir = &more[directory->dir_count++];
		snprintf(dir->path, sizeof(dir->path), "%s", path);
		dir->wd = wd;
	}
	if (dir->wd >= 0 && dir->wd != wd) /* another directory of this name */
		inotify_rm_watch(directory->inotify, dir->wd);
	dir->wd = wd;
	return 0;
}

static bool is_dir(const struct objects_directory *directory, const char *path)
{
	char full[FULL_PATH_MAX];
	struct stat st;

	snprintf(full, sizeof(full), "%s/%s", directory->path, path);
	return lstat(full, &st) == 0 && S_ISDIR(st.st_mode);
}

static int scan_dir(struct objects_directory *directory, const char *path, struct err *err)
{
	char full[FULL_PATH_MAX], below[PATH_MAX];
	struct dirent *entry;
	DIR *stream;
	int rc = watch_dir(directory, path, err);

	if (rc < 0)
		return rc;
	snprintf(full, sizeof(full), "%s/%s", directory->path, path);
	stream = opendir(full);
	if (!stream)
		return err_set(err, -errno, "%s: cannot be read: %s", full, strerror(errno));
	while (rc == 0 && (entry = readdir(stream))) {
		join(path, entry->d_name, below);
		if (is_our_dir(path, entry->d_name) && is_dir(directory, below))
			rc = scan_dir(directory, below, err);
		else if (is_manifest(entry->d_name))
			read_file(directory, below, true);
	}
	closedir(stream);
	return rc;
}

static int scan_everything(struct objects_directory *directory, struct err *err)
{
	struct manifest_file *file, *next;
	int rc = file_make_dirs(directory->path, 0755, err);

	for (file = directory->files; file; file = file->hh.next)
		file->seen = false;
	if (rc == 0)
		rc = scan_dir(directory, "", err);
	if (rc < 0)
		return rc; /* what was known stays in force */
	HASH_ITER(hh, directory->files, file, next)
		if (!file->seen)
			file_gone(directory, file, true);
	directory->rescan = false;
	directory->ready = true;
	directory->outages = 0;
	return 0;
}

static void try_later(struct objects_directory *directory)
{
	int64_t ms = OUTAGE_FIRST_MS;

	for (unsigned i = 0; i < directory->outages && ms < OUTAGE_MAX_MS; i++)
		ms *= 2;
	directory->outages++;
	directory_soon(directory->settle, ms < OUTAGE_MAX_MS ? ms : OUTAGE_MAX_MS);
}

static int rescan(struct objects_directory *directory, struct err *err)
{
	int rc = scan_everything(directory, err);

	free(directory->trouble);
	directory->trouble = rc < 0 ? strdup(err_text(err)) : NULL;
	if (rc < 0)
		try_later(directory);
	else
		watch_tell_changes(directory);
	return rc;
}

/* -- inotify -- */

/* A new file that is still being written ends with IN_CLOSE_WRITE; a link does not. */
static bool is_unfinished(const struct objects_directory *directory, const char *path, uint32_t mask)
{
	char full[FULL_PATH_MAX];
	struct stat st;

	if (!(mask & IN_CREATE))
		return false;
	snprintf(full, sizeof(full), "%s/%s", directory->path, path);
	return lstat(full, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1;
}

static void take_name(struct objects_directory *directory, const char *parent, const char *name, uint32_t mask)
{
	bool goes = mask & (IN_DELETE | IN_MOVED_FROM);
	struct err err = ERR_INIT;
	char path[PATH_MAX];

	join(parent, name, path);
	if (mask & IN_ISDIR) {
		if (is_our_dir(parent, name) && (goes || scan_dir(directory, path, &err) < 0))
			rescan_soon(directory);
	} else if (strncmp(name, "..", 2) == 0) {
		rescan_soon(directory); /* a ConfigMap's link was turned */
	} else if (goes) {
		file_gone(directory, index_file_find(directory, path), true);
	} else if (is_manifest(name) && !is_unfinished(directory, path, mask)) {
		read_file(directory, path, true);
	}
}

static void take_event(struct objects_directory *directory, const struct inotify_event *event)
{
	struct watched_dir *dir = event->wd >= 0 ? find_dir(directory, NULL, event->wd) : NULL;

	if (event->mask & IN_Q_OVERFLOW)
		rescan_soon(directory);
	if (!dir)
		return;
	if (event->mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF)) {
		if (event->mask & IN_MOVE_SELF)
			inotify_rm_watch(directory->inotify, dir->wd);
		dir->wd = -1;
		rescan_soon(directory);
	} else if (event->len) {
		/* dirs may move in memory while the event is taken */
		char parent[sizeof(dir->path)];

		memcpy(parent, dir->path, sizeof(parent));
		take_name(directory, parent, event->name, event->mask);
	}
}

static void take_events(struct objects_directory *directory)
{
	char chunk[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t n;

	while ((n = read(directory->inotify, chunk, sizeof(chunk))) > 0) {
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *event = (const struct inotify_event *)(chunk + at);

			at += (ssize_t)(sizeof(*event) + event->len);
			take_event(directory, event);
		}
	}
}

int scan_drain(struct objects_directory *directory, struct err *err)
{
	if (!directory->ready)
		return rescan(directory, err);
	take_events(directory);
	settle_soon(directory);
	watch_tell_changes(directory);
	return 0;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	scan_drain(arg, NULL);
}

static void look_for_missing(struct objects_directory *directory)
{
	struct manifest_file *file, *next;

	if (!directory->missing)
		return;
	HASH_ITER(hh, directory->files, file, next)
		if (file->missing_ms)
			read_file(directory, file->path, true);
	watch_tell_changes(directory);
}

static void on_settle(evutil_socket_t fd, short what, void *arg)
{
	struct objects_directory *directory = arg;
	struct err err = ERR_INIT;

	if (directory->rescan || !directory->ready)
		rescan(directory, &err);
	look_for_missing(directory);
	watch_tell_stories(directory);
	watch_begin_all(directory);
}

int scan_init(struct objects_directory *directory, struct err *err)
{
	directory->inotify = directory_file_watch(directory->path, err);
	if (directory->inotify < 0)
		return directory->inotify;
	directory->readable = event_new(directory->objects.base, directory->inotify, EV_READ | EV_PERSIST,
		on_readable, directory);
	directory->settle = event_new(directory->objects.base, -1, 0, on_settle, directory);
	if (!directory->readable || !directory->settle)
		return err_set(err, -ENOMEM, "directory %s: no memory", directory->path);
	event_add(directory->readable, NULL);
	directory_soon(directory->settle, 0);
	return 0;
}

void scan_done(struct objects_directory *directory)
{
	if (directory->readable)
		event_free(directory->readable);
	if (directory->settle)
		event_free(directory->settle);
	if (directory->inotify >= 0)
		close(directory->inotify);
	free(directory->dirs);
	free(directory->trouble);
}
