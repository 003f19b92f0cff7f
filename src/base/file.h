/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole files, read with a maximum and replaced atomically.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <sys/types.h>

/* Appends the file to buf (whose maximum holds). 0 or negative errno; -EMSGSIZE when it is larger. */
int file_read(const char *path, struct buf *buf, struct err *err);
int file_read_at(int dir_fd, const char *name, struct buf *buf, struct err *err);

/* Writes a temporary file ".NAME.tmp-PID" beside path (so that inotify watchers of the directory see a rename
 * inside it) and renames it over path; mode is set regardless of umask. sync: fsync of file and directory.
 * On failure path is as it was. */
int file_write_atomic(const char *path, const void *data, size_t len, mode_t mode, bool sync, struct err *err);

/* mkdir -p; directories made get this mode. */
int file_make_dirs(const char *path, mode_t mode, struct err *err);

/* Writes text into an existing file such as one under /proc/sys. 0 or negative errno. */
int file_put(const char *path, const char *text);
