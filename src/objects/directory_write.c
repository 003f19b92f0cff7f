/* SPDX-License-Identifier: Apache-2.0 */
#include "objects/directory_private.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "objects/directory_file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_ROOM 200 /* of a file; a longer name of an object is cut, and told apart by a digest */

/* "objects/ipamblocks/10-0-0-0-26.json"; an underscore can be in no name. */
static void own_path(const struct directory_write *write, char ret[static PATH_MAX])
{
	char full[2 * OBJECT_NAME_MAX + 2];
	struct buf text = {.data = full};
	uint64_t digest;

	text.len = (size_t)snprintf(full, sizeof(full), "%s%s%s", write->namespace, *write->namespace ? "_" : "",
		write->name);
	if (text.len < NAME_ROOM) {
		snprintf(ret, PATH_MAX, OBJECTS_DIR "/%s/%s.json", kind_folder(write->kind), full);
		return;
	}
	digest = directory_file_digest(&text);
	snprintf(ret, PATH_MAX, OBJECTS_DIR "/%s/%.*s_%016llx.json", kind_folder(write->kind),
		NAME_ROOM - 20, full, (unsigned long long)digest);
}

static void full_path(const struct objects_directory *directory, const char *path, char ret[static FULL_PATH_MAX])
{
	snprintf(ret, FULL_PATH_MAX, "%s/%s", directory->path, path);
}

/* The file system's words must not pass for the store's. */
static int translate(int rc)
{
	if (rc == -EACCES || rc == -EPERM || rc == -EROFS)
		return -EACCES;
	return rc == -ENOENT || rc == -EEXIST || rc == -ESTALE || rc == -EINVAL || rc == -EWOULDBLOCK ? -EIO : rc;
}

static int write_file(struct objects_directory *directory, const char *path, const json_t *object, struct err *err)
{
	_cleanup_(buf_free) struct buf buf = BUF_INIT(DIRECTORY_FILE_MAX);
	char full[FULL_PATH_MAX];
	int rc = manifest_format(object, !directory_file_ends(path, ".json"), &buf);

	if (rc == -EMSGSIZE)
		return err_set(err, -EINVAL, "%s: the object has more than %u bytes", path, DIRECTORY_FILE_MAX);
	if (rc < 0)
		return err_set(err, rc, "%s: no memory", path);
	full_path(directory, path, full);
	return translate(file_write_atomic(full, buf_text(&buf), buf.len, 0644, true, err));
}

static json_t *with_version(const json_t *object, unsigned long long count)
{
	json_t *copy = json_deep_copy(object);
	char text[24];

	snprintf(text, sizeof(text), "%llu", count);
	if (!json_is_object(json_object_get(copy, "metadata")))
		json_object_set_new(copy, "metadata", json_object());
	json_object_set_new(json_object_get(copy, "metadata"), "resourceVersion", json_string(text));
	return copy;
}

/* -- create -- */

static int create(struct objects_directory *directory, const struct directory_write *write, const char *title,
	struct err *err)
{
	_cleanup_(json_cleanup) json_t *object = NULL;
	char path[PATH_MAX], full[FULL_PATH_MAX], *slash;
	struct stat st;
	int rc;

	if (index_entry_object(index_entry_find(directory, write->kind, write->namespace, write->name)))
		return err_set(err, -EEXIST, "%s: is there already", title);
	own_path(write, path);
	full_path(directory, path, full);
	if (lstat(full, &st) == 0)
		return err_set(err, -EIO, "%s: its file %s is there, but does not hold it", title, full);
	slash = strrchr(full, '/');
	*slash = 0;
	rc = file_make_dirs(full, 0755, err);
	if (rc < 0)
		return translate(rc);
	object = with_version(write->object, 1);
	json_object_set_new(object, "apiVersion", json_string(kind_info(write->kind)->api_version));
	json_object_set_new(object, "kind", json_string(kind_name(write->kind)));
	rc = objects_add_birth(json_object_get(object, "metadata"), err);
	if (rc == 0)
		rc = write_file(directory, path, object, err);
	if (rc == 0)
		scan_file(directory, path);
	return rc;
}

/* -- update, annotate, delete -- */

/* The file that holds the object, as it is now; what the index knew may be older. */
static int find_file(struct objects_directory *directory, const struct directory_write *write, const char *title,
	struct manifest_file **ret, struct err *err)
{
	struct entry *entry = index_entry_find(directory, write->kind, write->namespace, write->name);
	struct manifest_file *file;
	char path[PATH_MAX];

	if (!index_entry_object(entry))
		return err_set(err, -ENOENT, "%s: is not there", title);
	snprintf(path, sizeof(path), "%s", entry->claims->file->path);
	scan_file(directory, path);
	file = index_file_find(directory, path);
	entry = index_entry_find(directory, write->kind, write->namespace, write->name);
	if (!index_entry_object(entry))
		return err_set(err, -ENOENT, "%s: is not there any more", title);
	if (!file || entry->claims->file != file)
		return err_set(err, -ESTALE, "%s: is in another file now", title);
	if (file->trouble)
		return err_set(err, -EINVAL, "%s: its file cannot be rewritten: %s", title, file->trouble);
	if (file->documents != 1)
		return err_set(err, -EINVAL,
			"%s: its file %s/%s holds several manifests, expected one in each file that Tulle "
			"has to change", title, directory->path, path);
	*ret = file;
	return 0;
}

static int check_unchanged(const json_t *now, const json_t *read, const char *title, struct err *err)
{
	if (strcmp(object_version(now), object_version(read)) != 0)
		return err_set(err, -ESTALE, "%s: was changed since it was read", title);
	if (*object_uid(read) && strcmp(object_uid(now), object_uid(read)) != 0)
		return err_set(err, -ESTALE, "%s: is another object than the one that was read", title);
	return 0;
}

/* What the store itself gave the object, whatever the caller made of it. */
static json_t *next_version(const json_t *now, const json_t *wanted)
{
	static const char *const ours[] = {"uid", "creationTimestamp", "name", "namespace"};
	json_t *next = with_version(wanted, strtoull(object_version(now), NULL, 10) + 1);

	for (size_t i = 0; i < ARRAY_SIZE(ours); i++) {
		json_t *value = json_object_get(json_object_get(now, "metadata"), ours[i]);

		if (value)
			json_object_set(json_object_get(next, "metadata"), ours[i], value);
	}
	json_object_set(next, "apiVersion", json_object_get(now, "apiVersion"));
	json_object_set(next, "kind", json_object_get(now, "kind"));
	return next;
}

static int replace(struct objects_directory *directory, const struct directory_write *write,
	const char *title, struct err *err)
{
	_cleanup_(json_cleanup) json_t *next = NULL, *wanted = NULL;
	struct manifest_file *file = NULL;
	int rc = find_file(directory, write, title, &file, err);
	char path[PATH_MAX];
	json_t *now;

	if (rc < 0)
		return rc;
	now = index_entry_object(index_entry_find(directory, write->kind, write->namespace, write->name));
	if (write->verb == OBJECTS_ANNOTATE)
		wanted = objects_annotated(now, write->object);
	else
		rc = check_unchanged(now, write->object, title, err);
	if (rc < 0)
		return rc;
	if (wanted && json_equal(wanted, now))
		return 0;
	next = next_version(now, wanted ? wanted : write->object);
	snprintf(path, sizeof(path), "%s", file->path);
	rc = write_file(directory, path, next, err);
	if (rc == 0)
		scan_file(directory, path);
	return rc;
}

static int remove_object(struct objects_directory *directory, const struct directory_write *write,
	const char *title, struct err *err)
{
	struct manifest_file *file = NULL;
	int rc = find_file(directory, write, title, &file, err);
	char path[PATH_MAX], full[FULL_PATH_MAX];
	json_t *now;

	if (rc < 0)
		return rc;
	now = index_entry_object(index_entry_find(directory, write->kind, write->namespace, write->name));
	rc = check_unchanged(now, write->object, title, err);
	if (rc < 0)
		return rc;
	snprintf(path, sizeof(path), "%s", file->path);
	full_path(directory, path, full);
	if (unlink(full) < 0 && errno != ENOENT)
		return translate(err_set(err, -errno, "%s: cannot be removed: %s", full, strerror(errno)));
	scan_file(directory, path);
	return 0;
}

/* Nobody is writing while we hold the lock: a temporary file was left by an agent that was killed. */
static void sweep(const struct objects_directory *directory, const struct watched_dir *dir)
{
	char full[FULL_PATH_MAX];
	struct dirent *entry;
	DIR *stream;

	full_path(directory, dir->path, full);
	stream = *dir->path ? opendir(full) : NULL;
	while (stream && (entry = readdir(stream)))
		if (*entry->d_name == '.' && strstr(entry->d_name, ".tmp-"))
			unlinkat(dirfd(stream), entry->d_name, 0);
	if (stream)
		closedir(stream);
}

static int perform(struct objects_directory *directory, const struct directory_write *write, struct err *err)
{
	char title[OBJECT_TITLE_MAX];
	int rc = scan_drain(directory, err);

	if (rc < 0)
		return translate(rc);
	for (size_t i = 0; i < directory->dir_count && !directory->swept; i++)
		sweep(directory, &directory->dirs[i]);
	directory->swept = true;
	objects_title(write->kind, write->namespace, write->name, title);
	if (write->verb == OBJECTS_CREATE)
		return create(directory, write, title, err);
	if (write->verb == OBJECTS_DELETE)
		return remove_object(directory, write, title, err);
	return replace(directory, write, title, err);
}

int write_perform(struct objects_directory *directory, const struct directory_write *write, json_t **ret,
	struct err *err)
{
	char full[FULL_PATH_MAX];
	int rc;

	full_path(directory, OBJECTS_DIR, full);
	rc = file_make_dirs(full, 0755, err);
	if (rc < 0)
		return translate(rc);
	_cleanup_close_ int lock = directory_file_lock(full, err);

	if (lock < 0)
		return lock == -EWOULDBLOCK ? lock : translate(lock);
	rc = perform(directory, write, err);
	if (rc == 0 && write->verb != OBJECTS_DELETE)
		*ret = index_entry_object(index_entry_find(directory, write->kind, write->namespace, write->name));
	return rc;
}
