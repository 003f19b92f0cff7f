/* SPDX-License-Identifier: Apache-2.0
 *
 * One connection to the CNI socket: reads a frame without blocking, hands it over, writes the answer, ends. Each
 * direction has a deadline, so that a client that stands still costs a descriptor for ten seconds and nobody's time.
 * Owned by the CNI server; ends itself and says so by done().
 */
#pragma once

#include "base/buf.h"
#include "base/frame.h"

#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct cni_connection;

struct cni_connection_options {
	/* A sound frame has come; netns_fd (-1: none) is borrowed. Appends to out, returns the exit code. *ret_job is
	 * given back to done. CNI_CONNECTION_LATER: the answer is not known yet, cni_connection_resume has it asked
	 * again. waited_ms: since it was asked first. */
	int (*handle)(void *ctx, const struct frame_request *head, const char *fields, int netns_fd, int64_t waited_ms,
		struct buf *out, void **ret_job);
	/* Something else than a frame has come. Appends what the plugin prints. */
	void (*refuse)(void *ctx, const char *why, struct buf *out);
	/* The connection is freed after this. delivered: the whole answer was taken by the socket. */
	void (*done)(void *ctx, struct cni_connection *connection, void *job, bool delivered);
	void *ctx;
};

#define CNI_CONNECTION_LATER (-1)

/* Takes fd (non-blocking) over, also on failure. Null: no memory. */
struct cni_connection *cni_connection_new(struct event_base *base, int fd,
	const struct cni_connection_options *options);
/* Has handle asked for more time? */
bool cni_connection_waits(const struct cni_connection *connection);
/* Asks it again. The connection may be gone afterwards. */
void cni_connection_resume(struct cni_connection *connection);
/* Ends it now; done is called. */
void cni_connection_end(struct cni_connection *connection);
