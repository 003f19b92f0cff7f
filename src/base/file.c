/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int file_read_at(int dir_fd, const char *name, struct buf *buf, struct err *err)
{
	_cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return err_set(err, -errno, "%s: cannot be opened: %s", name, strerror(errno));
	for (;;) {
		char chunk[16384];
		ssize_t n = read(fd, chunk, sizeof(chunk));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(err, -errno, "%s: cannot be read: %s", name, strerror(errno));
		if (n == 0)
			return 0;
		if (buf_add(buf, chunk, (size_t)n) < 0)
			return err_set(err, buf->error, "%s: larger than %zu bytes", name, buf->max);
	}
}

int file_read(const char *path, struct buf *buf, struct err *err)
{
	return file_read_at(AT_FDCWD, path, buf, err);
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static void sync_directory_of(const char *path)
{
	char dir[PATH_MAX];
	char *slash;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (slash == dir)
		slash[1] = 0;
	else if (slash)
		*slash = 0;
	_cleanup_close_ int fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		fsync(fd);
}

static int write_temporary(const char *temp, const void *data, size_t len, mode_t mode, bool sync)
{
	_cleanup_close_ int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int rc;

	if (fd < 0)
		return -errno;
	rc = write_all(fd, data, len);
	if (rc == 0 && fchmod(fd, mode) < 0)
		rc = -errno;
	if (rc == 0 && sync && fsync(fd) < 0)
		rc = -errno;
	return rc;
}

int file_write_atomic(const char *path, const void *data, size_t len, mode_t mode, bool sync, struct err *err)
{
	const char *slash = strrchr(path, '/');
	int dir_len = slash ? (int)(slash - path) + 1 : 0;
	char temp[PATH_MAX];
	int rc;

	if (snprintf(temp, sizeof(temp), "%.*s.%s.tmp-%d", dir_len, path, path + dir_len, (int)getpid()) >=
		(int)sizeof(temp))
		return err_set(err, -ENAMETOOLONG, "%s: the path is too long", path);
	rc = write_temporary(temp, data, len, mode, sync);
	if (rc == 0 && rename(temp, path) < 0)
		rc = -errno;
	if (rc < 0) {
		unlink(temp);
		return err_set(err, rc, "%s: cannot be written: %s", path, strerror(-rc));
	}
	if (sync)
		sync_directory_of(path);
	return 0;
}

int file_make_dirs(const char *path, mode_t mode, struct err *err)
{
	char part[PATH_MAX];

	if (snprintf(part, sizeof(part), "%s", path) >= (int)sizeof(part))
		return err_set(err, -ENAMETOOLONG, "%s: the path is too long", path);
	for (char *p = part + 1;; p++) {
		bool end = *p == 0;

		if (*p != '/' && !end)
			continue;
		*p = 0;
		if (mkdir(part, mode) < 0 && errno != EEXIST)
			return err_set(err, -errno, "%s: cannot be made: %s", part, strerror(errno));
		if (end)
			return 0;
		*p = '/';
	}
}

int file_put(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return write_all(fd, text, strlen(text));
}
