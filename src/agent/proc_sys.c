/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/proc_sys.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#define DIRECTORY "/proc/sys/net"

static bool is_read_only(void)
{
	struct statvfs fs;

	return statvfs(DIRECTORY, &fs) == 0 && fs.f_flag & ST_RDONLY;
}

int proc_sys_open(struct err *err)
{
	const unsigned long keep = MS_NOSUID | MS_NODEV | MS_NOEXEC;

	if (!is_read_only())
		return 0;
	/* Slaves: what the host mounts later (a bpf file system) still arrives, what is mounted here goes nowhere. */
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
		mount(DIRECTORY, DIRECTORY, NULL, MS_BIND, NULL) < 0 ||
		mount(NULL, DIRECTORY, NULL, MS_REMOUNT | MS_BIND | keep, NULL) < 0)
		return err_set(err, -errno, DIRECTORY " is read-only and cannot be made writable: %s; a container needs the "
			"capability SYS_ADMIN and no AppArmor profile that forbids mounts", strerror(errno));
	return 0;
}
