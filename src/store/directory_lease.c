/* SPDX-License-Identifier: Apache-2.0 */
#include "store/directory_private.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "objects/directory_file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ENDING ".json"
#define LOCK_PATIENCE_MS 5000 /* then it is told that somebody sits on the lock */
#define LOCK_AGAIN_MS 50

static void later(struct event *event, int64_t ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_add(event, &tv);
}

static int64_t now_ms(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t now_seconds(void)
{
	return now_ms(CLOCK_REALTIME) / 1000;
}

/* "KEY.json" -> "KEY" */
static bool key_of(const char *name, char key[static NAME_MAX + 1])
{
	if (*name == '.' || !directory_file_ends(name, ENDING))
		return false;
	snprintf(key, NAME_MAX + 1, "%.*s", (int)(strlen(name) - strlen(ENDING)), name);
	return true;
}

static void mind_expiry(struct directory *dir, int64_t expires)
{
	int64_t wait;

	if (expires <= 0 || (dir->next_expiry && dir->next_expiry <= expires))
		return;
	dir->next_expiry = expires;
	wait = expires * 1000 - now_ms(CLOCK_REALTIME);
	later(dir->expire, wait > 0 ? wait : 0);
}

static bool is_foreign(struct directory *dir, const char *name)
{
	char path[PATH_MAX + NAME_MAX + 2];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", dir->leases, name);
	return lstat(path, &st) == 0;
}

void directory_lease_read(struct directory *dir, const char *name)
{
	_cleanup_(buf_free) struct buf buf = BUF_INIT(LEASE_FILE_MAX);
	struct kv_item item = {0};
	struct err err = ERR_INIT;
	char key[NAME_MAX + 1];
	int64_t expires;
	int rc;

	if (*name == '.')
		return; /* the lock, and files that are being written */
	if (!key_of(name, key)) {
		directory_problem(dir, name, is_foreign(dir, name) ?
			"this file is no lease: expected a name like 10.5.72.0-24.json" : "");
		return;
	}
	rc = directory_file_read(dir->leases, name, false, &buf, &err);
	if (rc == -ENOENT) {
		dir->kv.events->gone(dir->kv.ctx, key, 0);
		return;
	}
	if (rc < 0) {
		directory_problem(dir, key, err_text(&err));
		return;
	}
	expires = dir->kv.events->expires(dir->kv.ctx, key, buf_text(&buf), buf.len);
	mind_expiry(dir, expires);
	if (expires > 0 && expires <= now_seconds()) {
		dir->kv.events->gone(dir->kv.ctx, key, 0);
		return;
	}
	item = (struct kv_item){key, buf_text(&buf), buf.len, directory_file_digest(&buf), 0, expires > 0 ? expires : 0};
	dir->kv.events->put(dir->kv.ctx, &item);
}

int directory_lease_scan(struct directory *dir, struct err *err)
{
	DIR *stream = opendir(dir->leases);
	struct dirent *entry;

	if (!stream)
		return err_set(err, -errno, "%s: cannot be read: %s", dir->leases, strerror(errno));
	dir->kv.events->list_begin(dir->kv.ctx, false);
	while ((entry = readdir(stream)))
		directory_lease_read(dir, entry->d_name);
	closedir(stream);
	dir->kv.events->list_end(dir->kv.ctx);
	return 0;
}

/* -- under the lock -- */

/* When the lease in this file ends: as kv_events.expires, and -1 when the file cannot be read. */
static int64_t file_expires(struct directory *dir, const char *name, const char *key)
{
	_cleanup_(buf_free) struct buf buf = BUF_INIT(LEASE_FILE_MAX);

	if (directory_file_read(dir->leases, name, false, &buf, NULL) < 0)
		return -1;
	return dir->kv.events->expires(dir->kv.ctx, key, buf_text(&buf), buf.len);
}

static void sweep_file(struct directory *dir, DIR *stream, const char *name, int64_t now)
{
	char key[NAME_MAX + 1];
	int64_t expires;

	/* Nobody is writing while we hold the lock: a temporary file was left by an agent that was killed. */
	if (*name == '.' && strstr(name, ".tmp-")) {
		unlinkat(dirfd(stream), name, 0);
		return;
	}
	if (!key_of(name, key))
		return;
	expires = file_expires(dir, name, key);
	if (expires > 0 && expires <= now)
		unlinkat(dirfd(stream), name, 0);
	else
		mind_expiry(dir, expires);
}

/* Removes what has expired, whosever it was. */
static void sweep(struct directory *dir)
{
	DIR *stream = opendir(dir->leases);
	struct dirent *entry;
	int64_t now = now_seconds();

	if (!stream)
		return;
	dir->next_expiry = 0;
	while ((entry = readdir(stream)))
		sweep_file(dir, stream, entry->d_name, now);
	closedir(stream);
}

static void on_expire(evutil_socket_t unused, short what, void *arg)
{
	struct directory *dir = arg;
	int fd = directory_file_lock(dir->leases, NULL);

	dir->next_expiry = 0;
	if (fd < 0) {
		mind_expiry(dir, now_seconds() + 1);
		return;
	}
	sweep(dir);
	close(fd);
}

/* -EEXIST when the new key, or one that overlaps it, is there and alive. */
static int check_free(struct directory *dir, struct err *err)
{
	DIR *stream = opendir(dir->leases);
	struct dirent *entry;
	int rc = 0;

	if (!stream)
		return err_set(err, -errno, "%s: cannot be read: %s", dir->leases, strerror(errno));
	while (rc == 0 && (entry = readdir(stream))) {
		char key[NAME_MAX + 1];
		int64_t expires;

		if (!key_of(entry->d_name, key))
			continue;
		if (strcmp(key, dir->key) != 0 && !dir->kv.events->blocks(dir->kv.ctx, dir->key, key))
			continue;
		expires = file_expires(dir, entry->d_name, key);
		if (expires > 0 && expires <= now_seconds())
			unlinkat(dirfd(stream), entry->d_name, 0);
		else
			rc = err_set(err, -EEXIST, "%s: lease %s is in the way", dir->key, key);
	}
	closedir(stream);
	return rc;
}

static int check_revision(struct directory *dir, const char *name, struct err *err)
{
	_cleanup_(buf_free) struct buf buf = BUF_INIT(LEASE_FILE_MAX);
	int rc = directory_file_read(dir->leases, name, false, &buf, err);

	if (rc == -ENOENT || (rc == 0 && directory_file_digest(&buf) != dir->revision))
		return err_set(err, -ESTALE, "%s: somebody else %s it", dir->key, rc ? "removed" : "changed");
	return rc;
}

static int remove_file(const char *path, struct err *err)
{
	if (unlink(path) < 0 && errno != ENOENT)
		return err_set(err, -errno, "%s: cannot be removed: %s", path, strerror(errno));
	return 0;
}

static int perform(struct directory *dir, struct err *err)
{
	char name[NAME_MAX + 1], path[PATH_MAX + NAME_MAX + 2];
	int rc;

	snprintf(name, sizeof(name), "%s" ENDING, dir->key);
	snprintf(path, sizeof(path), "%s/%s", dir->leases, name);
	rc = dir->write == WRITE_CREATE ? check_free(dir, err) : check_revision(dir, name, err);
	if (rc < 0)
		return rc;
	if (dir->write == WRITE_REMOVE)
		rc = remove_file(path, err);
	else
		rc = file_write_atomic(path, buf_text(&dir->value), dir->value.len, 0644, true, err);
	/* Errors of the file system must not pass for answers of ours. */
	return rc == -EEXIST || rc == -ESTALE ? -EIO : rc;
}

static void deliver(struct directory *dir, int rc, struct err *err)
{
	struct kv_result result = {.rc = rc, .text = err_text(err)};
	kv_done done = dir->done;

	if (rc == 0 && dir->write != WRITE_REMOVE) {
		result.revision = directory_file_digest(&dir->value);
		result.expires = dir->kv.events->expires(dir->kv.ctx, dir->key, buf_text(&dir->value), dir->value.len);
		mind_expiry(dir, result.expires);
	}
	dir->write = WRITE_NONE;
	done(dir->kv.ctx, &result);
}

/* Somebody else holds the lock: waits without blocking the loop, as long as it takes. */
static void wait_for_lock(struct directory *dir)
{
	int64_t now = now_ms(CLOCK_MONOTONIC);
	char path[PATH_MAX + sizeof(DIRECTORY_LOCK)], text[PATH_MAX + 200];

	if (!dir->locked_since_ms)
		dir->locked_since_ms = now;
	if (now - dir->locked_since_ms > LOCK_PATIENCE_MS) {
		snprintf(path, sizeof(path), "%s/" DIRECTORY_LOCK, dir->leases);
		snprintf(text, sizeof(text), "%s: another process has held the lock for more than %d seconds", path,
			LOCK_PATIENCE_MS / 1000);
		directory_problem(dir, DIRECTORY_LOCK, text);
	}
	later(dir->attempt, 1 + arc4random_uniform(LOCK_AGAIN_MS));
}

static void on_attempt(evutil_socket_t unused, short what, void *arg)
{
	struct directory *dir = arg;
	struct err err = ERR_INIT;
	int fd = directory_file_lock(dir->leases, &err);
	int rc = fd;

	if (fd == -EWOULDBLOCK) {
		wait_for_lock(dir);
		return;
	}
	if (dir->locked_since_ms)
		directory_problem(dir, DIRECTORY_LOCK, "");
	dir->locked_since_ms = 0;
	if (fd >= 0) {
		rc = perform(dir, &err);
		close(fd);
	}
	deliver(dir, rc, &err);
}

static void begin(struct kv *kv, enum directory_write write, const char *key, const char *value, size_t len,
	uint64_t revision, kv_done done)
{
	struct directory *dir = (struct directory *)kv;

	dir->write = write;
	snprintf(dir->key, sizeof(dir->key), "%s", key);
	buf_reset(&dir->value);
	buf_add(&dir->value, value, len);
	dir->revision = revision;
	dir->done = done;
	later(dir->attempt, 0);
}

void directory_create(struct kv *kv, const char *key, const char *value, size_t len, int64_t ttl, kv_done done)
{
	begin(kv, WRITE_CREATE, key, value, len, 0, done);
}

void directory_replace(struct kv *kv, const char *key, const char *value, size_t len, int64_t ttl, uint64_t revision,
	kv_done done)
{
	begin(kv, WRITE_REPLACE, key, value, len, revision, done);
}

void directory_remove(struct kv *kv, const char *key, uint64_t revision, kv_done done)
{
	begin(kv, WRITE_REMOVE, key, "", 0, revision, done);
}

int directory_lease_init(struct directory *dir)
{
	dir->value = BUF_INIT(LEASE_FILE_MAX);
	dir->attempt = event_new(dir->base, -1, 0, on_attempt, dir);
	dir->expire = event_new(dir->base, -1, 0, on_expire, dir);
	return dir->attempt && dir->expire ? 0 : -ENOMEM;
}

void directory_lease_done(struct directory *dir)
{
	buf_free(&dir->value);
	if (dir->attempt)
		event_free(dir->attempt);
	if (dir->expire)
		event_free(dir->expire);
}
