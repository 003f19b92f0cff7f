/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading of files that anybody may have put there: pipes and devices are refused instead of waited for.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>

/* Into an empty buf, whose maximum holds. -ENOENT without a story when there is no such file. follow: symbolic
 * links, as a mounted ConfigMap consists of. */
int directory_file_read(const char *parent, const char *name, bool follow, struct buf *buf, struct err *err);
bool directory_file_ends(const char *name, const char *ending);
