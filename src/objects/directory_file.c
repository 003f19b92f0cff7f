/* SPDX-License-Identifier: Apache-2.0 */
#include "objects/directory_file.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>

bool directory_file_ends(const char *name, const char *ending)
{
	size_t len = strlen(name), tail = strlen(ending);

	return len > tail && strcmp(name + len - tail, ending) == 0;
}

int directory_file_read(const char *parent, const char *name, bool follow, struct buf *buf, struct err *err)
{
	char path[PATH_MAX];
	struct stat st;

	if (snprintf(path, sizeof(path), "%s/%s", parent, name) >= (int)sizeof(path))
		return err_set(err, -ENAMETOOLONG, "%s/%.200s: the path is too long", parent, name);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (follow ? 0 : O_NOFOLLOW));

	if (fd < 0 && errno == ENOENT)
		return -ENOENT;
	if (fd < 0)
		return err_set(err, -errno, "%s: cannot be opened: %s", path, strerror(errno));
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "%s: is not a regular file", path);
	for (;;) {
		char chunk[4096];
		ssize_t n = read(fd, chunk, sizeof(chunk));

		if (n < 0)
			return err_set(err, -errno, "%s: cannot be read: %s", path, strerror(errno));
		if (n == 0)
			return 0;
		if (buf_add(buf, chunk, (size_t)n) < 0)
			return err_set(err, -EFBIG, "%s: larger than %zu bytes", path, buf->max);
	}
}

uint64_t directory_file_digest(const struct buf *buf)
{
	uint64_t hash = 0xcbf29ce484222325u;

	for (size_t i = 0; i < buf->len; i++)
		hash = (hash ^ (unsigned char)buf->data[i]) * 0x100000001b3u;
	return hash ? hash : 1;
}

int directory_file_lock(const char *parent, struct err *err)
{
	char path[PATH_MAX + sizeof(DIRECTORY_LOCK)];
	struct stat here, there;

	snprintf(path, sizeof(path), "%s/" DIRECTORY_LOCK, parent);
	_cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);

	if (fd < 0)
		return err_set(err, -errno, "%s: cannot be opened for writing: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(err, -errno, "%s: cannot be locked: %s", path, strerror(errno));
	/* The directory may have been replaced between open and flock: then this lock guards nothing. */
	if (fstat(fd, &here) < 0 || stat(path, &there) < 0 || here.st_ino != there.st_ino ||
		here.st_dev != there.st_dev)
		return err_set(err, -EWOULDBLOCK, "%s: was replaced while it was locked", path);
	return TAKE_FD(fd);
}

int directory_file_watch(const char *path, struct err *err)
{
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

	if (fd < 0)
		return err_set(err, -errno, "directory %s: cannot be watched: %s%s", path, strerror(errno),
			errno == EMFILE ? " (fs.inotify.max_user_instances says how many watchers this machine allows)" : "");
	return fd;
}
