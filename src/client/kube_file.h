/* SPDX-License-Identifier: Apache-2.0
 *
 * A certificate, key or token: given as it is, or as a file that may be replaced while we run (kubelet rotates the
 * tokens of pods). Part of a struct kube_config; kube_auth.c has it read again.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct kube_file {
	char *path;      /* null: text is all there is */
	char *text;      /* null: not given */
	size_t len;
	struct stat seen;
	int64_t read_ms; /* monotonic; 0: read at the next occasion */
};

/* Reads it if it is a file that has changed, or was not read for a minute. On failure the text is what it was.
 * token: without white space around it, and free of control characters. */
int kube_file_refresh(struct kube_file *file, bool token, struct err *err);
/* Overwrites text before it is freed, and leaves null. */
void kube_secret_free(char **text);
void kube_file_done(struct kube_file *file);
/* A token, or the like, that fits into a header line. */
bool kube_token_valid(const char *text);
