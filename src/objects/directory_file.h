/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading of files that anybody may have put there (pipes and devices are refused instead of waited for), and the lock
 * under which the processes of this machine write them. Used by the two directory stores.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define DIRECTORY_FILE_MAX (32u << 20) /* bytes; a policy with 100,000 prefixes has 4 to 10 million */

/* Into an empty buf, whose maximum holds. -ENOENT without a story when there is no such file. follow: symbolic
 * links, as a mounted ConfigMap consists of. */
int directory_file_read(const char *parent, const char *name, bool follow, struct buf *buf, struct err *err);
bool directory_file_ends(const char *name, const char *ending);
/* FNV-1a: the revision of a file is its content. Never 0. */
uint64_t directory_file_digest(const struct buf *buf);

/* A descriptor of inotify, with nothing to watch yet; what for is named by path. */
int directory_file_watch(const char *path, struct err *err);

#define DIRECTORY_LOCK ".lock"
/* The descriptor that holds PARENT/.lock until it is closed; -EWOULDBLOCK: somebody else holds it. */
int directory_file_lock(const char *parent, struct err *err);
