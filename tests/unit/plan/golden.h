/* SPDX-License-Identifier: Apache-2.0
 *
 * For each DIR/NAME.in, what text() makes of it must be what DIR/NAME.out says. UPDATE_GOLDEN=1 writes the .out files
 * anew.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

typedef int golden_text(const char *path, struct buf *buf, struct err *err);

/* Prints a line for each; returns the exit status. */
int golden_run(const char *dir, golden_text *text);
