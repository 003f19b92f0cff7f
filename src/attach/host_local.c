/* SPDX-License-Identifier: Apache-2.0 */
#include "attach/host_local.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#define RESERVATION_MAX 1024u

static void close_dir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/* On the clock of the files' times. */
static time_t boot_time(void)
{
	struct timespec now, up;

	clock_gettime(CLOCK_REALTIME, &now);
	clock_gettime(CLOCK_BOOTTIME, &up);
	return now.tv_sec - up.tv_sec;
}

bool host_local_is_torn(const struct stat *st)
{
	return S_ISREG(st->st_mode) && (st->st_mode & 07777) == 0600 && st->st_size == 0 &&
	       st->st_mtime < boot_time();
}

bool host_local_has_addr(const char *dir_path, const struct addr *addr)
{
	_cleanup_(close_dir) DIR *dir = dir_path ? opendir(dir_path) : NULL;
	const struct dirent *entry;
	char name[NAME_MAX + ADDR_TEXT_MAX + 2], text[ADDR_TEXT_MAX];
	struct stat st;

	addr_format(addr, text);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", entry->d_name, text);
		if (fstatat(dirfd(dir), name, &st, 0) == 0 && !host_local_is_torn(&st))
			return true;
	}
	return false;
}

/* -- one network's directory, locked -- */

struct network_dir {
	char path[512];
	int fd, lock;
};

static void network_close(struct network_dir *dir)
{
	cleanup_close(&dir->lock);
	cleanup_close(&dir->fd);
}

static int network_make(const char *path, struct err *err)
{
	if (mkdir(path, 0755) == 0 || errno == EEXIST)
		return 0;
	return file_make_dirs(path, 0755, err);
}

/* -ENOENT: there is no such network. */
static int network_open(const struct host_local *owner, struct network_dir *dir, struct err *err)
{
	if (!owner->dir)
		return err_set(err, -ENOENT, "host-local's directory: none is known");
	if (!owner->network[0] || owner->network[0] == '.' || strchr(owner->network, '/'))
		return err_set(
			err, -EINVAL, "network name \"%.100s\": expected a plain name", owner->network);
	if (snprintf(dir->path, sizeof(dir->path), "%s/%s", owner->dir, owner->network) >=
		(int)sizeof(dir->path))
		return err_set(err, -ENAMETOOLONG, "%s/%s: the path is too long", owner->dir, owner->network);
	dir->fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir->fd < 0)
		return err_set(err, -errno, "%s: cannot be opened: %s", dir->path, strerror(errno));
	return 0;
}

static int network_lock(struct network_dir *dir, struct err *err)
{
	dir->lock = openat(dir->fd, "lock", O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0750);
	if (dir->lock < 0)
		return err_set(err, -errno, "%s/lock: cannot be opened: %s", dir->path, strerror(errno));
	if (flock(dir->lock, LOCK_EX | LOCK_NB) < 0)
		return err_set(err, -errno, "%s/lock: is locked by another process", dir->path);
	return 0;
}

/* -- one reservation -- */

enum holder { HOLDER_NONE, HOLDER_OWNER, HOLDER_OWNER_LEGACY, HOLDER_OTHER };

/* CONTAINER, CR LF, INTERFACE; very old ones are the container alone. White space around does not count. */
static enum holder holder_of(const char *text, size_t len, const struct host_local *owner)
{
	size_t id_len = strlen(owner->container_id);
	const char *rest;

	while (len && strchr(" \t\r\n", *text))
		text++, len--;
	while (len && strchr(" \t\r\n", text[len - 1]))
		len--;
	if (len < id_len || memcmp(text, owner->container_id, id_len) != 0)
		return HOLDER_OTHER;
	if (len == id_len)
		return HOLDER_OWNER_LEGACY;
	rest = text + id_len;
	len -= id_len;
	if (len < 2 || memcmp(rest, "\r\n", 2) != 0)
		return HOLDER_OTHER;
	if (owner->ifname &&
		(strlen(owner->ifname) != len - 2 || memcmp(rest + 2, owner->ifname, len - 2) != 0))
		return HOLDER_OTHER;
	return HOLDER_OWNER;
}

static enum holder read_holder(int dir_fd, const char *name, const struct host_local *owner)
{
	_cleanup_(buf_free) struct buf buf = BUF_INIT(RESERVATION_MAX);
	int rc = file_read_at(dir_fd, name, &buf, NULL);

	if (rc == -ENOENT)
		return HOLDER_NONE;
	return rc < 0 ? HOLDER_OTHER : holder_of(buf_text(&buf), buf.len, owner);
}

static int remove_file(const struct network_dir *dir, const char *name, struct err *err)
{
	if (unlinkat(dir->fd, name, 0) < 0 && errno != ENOENT)
		return err_set(err, -errno, "%s/%s: cannot be removed: %s", dir->path, name, strerror(errno));
	return 0;
}

static int write_file(
	const struct network_dir *dir, const char *name, const struct host_local *owner, struct err *err)
{
	_cleanup_close_ int fd = openat(dir->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	char text[RESERVATION_MAX];
	int len = snprintf(text, sizeof(text), "%s\r\n%s", owner->container_id, owner->ifname);
	ssize_t n;
	int rc;

	if (fd < 0)
		return err_set(err, -errno, "%s/%s: cannot be made: %s", dir->path, name, strerror(errno));
	n = write(fd, text, (size_t)len);
	if (n == len)
		return 0;
	rc = n < 0 ? -errno : -ENOSPC;
	unlinkat(dir->fd, name, 0);
	return err_set(err, rc, "%s/%s: cannot be written: %s", dir->path, name, strerror(-rc));
}

static int remove_torn(const struct network_dir *dir, const char *name, struct err *err)
{
	struct stat st;

	if (fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !host_local_is_torn(&st))
		return 0;
	return remove_file(dir, name, err);
}

/* 1: reserved now, 0: it was before. */
static int reserve_one(const struct network_dir *dir, const struct addr *addr, const struct host_local *owner,
	struct err *err)
{
	char name[ADDR_TEXT_MAX];
	int rc;

	addr_format(addr, name);
	rc = remove_torn(dir, name, err);
	if (rc < 0)
		return rc;
	switch (read_holder(dir->fd, name, owner)) {
	case HOLDER_OWNER:
		return 0;
	case HOLDER_NONE:
		rc = write_file(dir, name, owner, err);
		return rc < 0 ? rc : 1;
	default:
		return err_set(err, -EAGAIN, "%s/%s: host-local has given this address to another container",
			dir->path, name);
	}
}

/* -- the doors -- */

int host_local_reserve(const struct host_local *owner, const struct addr addr[FAMILY_COUNT], struct err *err)
{
	_cleanup_(network_close) struct network_dir dir = {.fd = -1, .lock = -1};
	int done[FAMILY_COUNT] = {0};
	int rc = network_open(owner, &dir, err);

	if (rc == -ENOENT && owner->dir) {
		rc = network_make(dir.path, err);
		if (rc == 0)
			rc = network_open(owner, &dir, err);
	}
	if (rc == 0)
		rc = network_lock(&dir, err);
	for (int f = 0; rc == 0 && f < FAMILY_COUNT; f++) {
		if (!addr_is_set(&addr[f]))
			continue;
		done[f] = reserve_one(&dir, &addr[f], owner, err);
		rc = done[f] < 0 ? done[f] : 0;
	}
	for (int f = 0; rc < 0 && f < FAMILY_COUNT; f++) {
		char name[ADDR_TEXT_MAX];

		if (done[f] > 0)
			remove_file(&dir, addr_format(&addr[f], name), NULL);
	}
	return rc;
}

int host_local_release(const struct host_local *owner, const struct addr addr[FAMILY_COUNT], struct err *err)
{
	_cleanup_(network_close) struct network_dir dir = {.fd = -1, .lock = -1};
	int rc = network_open(owner, &dir, err);

	if (rc == 0)
		rc = network_lock(&dir, err);
	for (int f = 0; rc == 0 && f < FAMILY_COUNT; f++) {
		char name[ADDR_TEXT_MAX];

		if (addr_is_set(&addr[f]) &&
			read_holder(dir.fd, addr_format(&addr[f], name), owner) == HOLDER_OWNER)
			rc = remove_file(&dir, name, err);
	}
	return rc == -ENOENT || rc == -ENOTDIR ? 0 : rc;
}

/* Removes the reservations of one form. How many, or negative errno. */
static int release_form(
	const struct network_dir *dir, const struct host_local *owner, enum holder form, struct err *err)
{
	_cleanup_(close_dir) DIR *list = opendir(dir->path);
	const struct dirent *entry;
	int removed = 0, rc;

	while (list && (entry = readdir(list))) {
		struct addr addr;

		if (addr_parse(entry->d_name, &addr) < 0 ||
			read_holder(dir->fd, entry->d_name, owner) != form)
			continue;
		rc = remove_file(dir, entry->d_name, err);
		if (rc < 0)
			return rc;
		removed++;
	}
	return removed;
}

int host_local_release_all(const struct host_local *owner, struct err *err)
{
	_cleanup_(network_close) struct network_dir dir = {.fd = -1, .lock = -1};
	int rc = network_open(owner, &dir, err);

	if (rc == -ENOENT || rc == -ENOTDIR)
		return 0; /* no such network: nothing is reserved */
	if (rc == 0)
		rc = network_lock(&dir, err);
	if (rc == 0)
		rc = release_form(&dir, owner, HOLDER_OWNER, err);
	if (rc == 0)
		rc = release_form(&dir, owner, HOLDER_OWNER_LEGACY, err);
	return rc < 0 ? rc : 0;
}

int host_local_release_everywhere(const struct host_local *owner, struct err *err)
{
	_cleanup_(close_dir) DIR *dir = owner->dir ? opendir(owner->dir) : NULL;
	const struct dirent *entry;
	int rc = 0;

	while (dir && rc == 0 && (entry = readdir(dir))) {
		struct host_local one = *owner;

		one.network = entry->d_name;
		if (entry->d_name[0] != '.' && entry->d_type != DT_REG)
			rc = host_local_release_all(&one, err);
	}
	return rc;
}

bool host_local_holds_any(const struct host_local *owner, const struct addr addr[FAMILY_COUNT])
{
	_cleanup_(network_close) struct network_dir dir = {.fd = -1, .lock = -1};

	if (network_open(owner, &dir, NULL) < 0)
		return false;
	for (int f = 0; f < FAMILY_COUNT; f++) {
		char name[ADDR_TEXT_MAX];

		if (addr_is_set(&addr[f]) &&
			read_holder(dir.fd, addr_format(&addr[f], name), owner) == HOLDER_OWNER)
			return true;
	}
	return false;
}
