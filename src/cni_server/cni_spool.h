/* SPDX-License-Identifier: Apache-2.0
 *
 * The directory in which the plugin leaves DELs while the agent is away: one file each, a request frame
 * (base/frame.h) without descriptor, complete once its name does not begin with a dot. Drained when it is opened and
 * whenever a file appears; names are in order of time.
 */
#pragma once

#include "base/err.h"
#include "base/frame.h"

#include <stdbool.h>

struct event_base;
struct cni_spool;

struct cni_spool_options {
	const char *dir; /* made when missing, root only */
	/* One record, whose frame is sound. True: done, the file goes. False: it stays and is tried again later. */
	bool (*handle)(void *ctx, const struct frame_request *head, const char *fields);
	/* A file that is no record; it has been removed. */
	void (*bad)(void *ctx, const char *name, const char *why);
	void *ctx;
};

/* Drains once before it returns. */
int cni_spool_open(struct event_base *base, const struct cni_spool_options *options, struct cni_spool **ret,
	struct err *err);
void cni_spool_close(struct cni_spool *spool);
