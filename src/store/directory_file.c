/* SPDX-License-Identifier: Apache-2.0 */
#include "store/directory_file.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
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
