/* SPDX-License-Identifier: Apache-2.0
 *
 * tullectl bpffs: mounts a bpf file system where there is none. The manifest's init container runs it, and on a host
 * that has one it only says so.
 */
#include "ctl/ctl.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/vfs.h>

int ctl_bpffs(const struct ctl *ctl)
{
	const char *path = ctl->argc ? ctl->argv[0] : "/sys/fs/bpf";
	struct statfs fs;

	if (ctl->argc > 1 || path[0] != '/')
		return ctl_fail(CTL_USAGE, "usage: tullectl bpffs [/DIRECTORY]");
	if (statfs(path, &fs) < 0)
		return ctl_fail(CTL_FAILED, "%s: %s; expected a directory of a kernel with eBPF", path, strerror(errno));
	if (fs.f_type == BPF_FS_MAGIC) {
		printf("%s is a bpf file system already; nothing done\n", path);
		return CTL_OK;
	}
	if (mount("bpf", path, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0)
		return ctl_fail(CTL_FAILED, "%s: a bpf file system cannot be mounted: %s", path, strerror(errno));
	printf("mounted a bpf file system on %s\n", path);
	return CTL_OK;
}
