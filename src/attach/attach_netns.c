/* SPDX-License-Identifier: Apache-2.0 */
#include "attach/attach_link.h"

#include "base/cleanup.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

int netns_own(struct err *err)
{
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	return fd < 0 ? err_set(err, -errno, "/proc/thread-self/ns/net: cannot be opened: %s",
				strerror(errno))
		      : fd;
}

int netns_check(int fd, const char *path, struct err *err)
{
	struct statfs fs;

	if (fd < 0)
		return err_set(err, -ENOENT, "network namespace %s: it cannot be opened", path);
	if (fstatfs(fd, &fs) < 0 || fs.f_type != NSFS_MAGIC || ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET)
		return err_set(err, -ENOENT, "%s: expected a network namespace, found something else", path);
	return 0;
}

int netns_enter(int fd, struct err *err)
{
	if (setns(fd, CLONE_NEWNET) < 0)
		return err_set(
			err, -errno, "the pod's network namespace cannot be entered: %s", strerror(errno));
	return 0;
}

void netns_leave(int own_fd)
{
	if (setns(own_fd, CLONE_NEWNET) < 0)
		abort();
}

static bool file_says(const char *path, char first)
{
	_cleanup_(buf_free) struct buf buf = BUF_INIT(64);

	return file_read(path, &buf, NULL) == 0 && buf.len && buf.data[0] == first;
}

/* Forwarding turns router advertisements off where accept_ra is 1. */
static void keep_router_advertisements(void)
{
	DIR *dir = opendir("/proc/sys/net/ipv6/conf");
	const struct dirent *entry;
	char path[300];

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || strcmp(entry->d_name, "all") == 0 ||
			strcmp(entry->d_name, "default") == 0)
			continue;
		snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/accept_ra", entry->d_name);
		if (file_says(path, '1'))
			file_put(path, "2");
	}
	if (dir)
		closedir(dir);
}

static int forwarding_on(const char *path, struct err *err)
{
	int rc = file_says(path, '1') ? 0 : file_put(path, "1");

	return rc < 0 ? err_set(err, rc, "%s: cannot be set to 1: %s", path, strerror(-rc)) : 0;
}

int podlink_forwarding(bool v4, bool v6, struct err *err)
{
	static const char all6[] = "/proc/sys/net/ipv6/conf/all/forwarding";
	int rc = v4 ? forwarding_on("/proc/sys/net/ipv4/ip_forward", err) : 0;

	if (rc < 0 || !v6)
		return rc;
	if (!file_says(all6, '1'))
		keep_router_advertisements();
	return forwarding_on(all6, err);
}
