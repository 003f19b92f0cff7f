/* SPDX-License-Identifier: Apache-2.0
 *
 * The file behind tulled --config: a YAML mapping from flag names to values; a list gives a repeatable flag several.
 */
#pragma once

#include "base/err.h"

/* Calls entry for each name and value (for each item of a list); stops at its first error, and puts file and line
 * before the message. Nested mappings, aliases and several documents are refused. */
int options_file_read(const char *path, int (*entry)(void *ctx, const char *name, const char *value, struct err *err),
	void *ctx, struct err *err);
