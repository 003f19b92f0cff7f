/* SPDX-License-Identifier: Apache-2.0
 *
 * Files and directories that a test makes for itself and removes again: "/tmp/tulle-NAME-" and six characters that nobody
 * else has.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#define SCRATCH_MAX 40 /* bytes that every name here has room in */

static inline char *scratch_template(char *path, size_t size, const char *name)
{
	static const char open[] = {[0 ... 5] = 'X', 0}; /* what mkstemp(3) and mkdtemp(3) fill in */

	snprintf(path, size, "/tmp/tulle-%s-%s", name, open);
	return path;
}

/* A descriptor of the empty file, or -1. */
static inline int scratch_file(char *path, size_t size, const char *name)
{
	return mkstemp(scratch_template(path, size, name));
}

/* 0 or -1. */
static inline int scratch_directory(char *path, size_t size, const char *name)
{
	return mkdtemp(scratch_template(path, size, name)) ? 0 : -1;
}
