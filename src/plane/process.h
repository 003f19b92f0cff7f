/* SPDX-License-Identifier: Apache-2.0
 *
 * A child process by argument vector, fed and read without a shell: nft, iptables. Synchronous, with a deadline; the
 * text for its standard input goes through a memory file, so that a child that does not read it harms nobody.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <sys/types.h>

struct process_result {
	pid_t pid;
	int status;        /* exit code; 128 + signal */
	struct buf out;    /* at most 16 MiB, process_result_free */
	struct buf errors; /* the start of what it said on stderr */
};

/* 0 when it ran and ended, whatever its exit code. -ENOENT: no such program in PATH; -ETIMEDOUT: killed after
 * timeout_ms. input may be null. */
int process_run(const char *const *argv, const char *input, size_t input_len, int timeout_ms,
	struct process_result *ret, struct err *err);
void process_result_free(struct process_result *result);
/* The first line that it said on stderr, or its exit code in words, into text. */
const char *process_complaint(const struct process_result *result, char *text, size_t size);
