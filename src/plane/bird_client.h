/* SPDX-License-Identifier: Apache-2.0
 *
 * One command to BIRD over its control socket, on the loop: connect, greeting, command, lines of reply, end. Each call
 * has a connection of its own, so that a long listing is in nobody's way, and one that is enough is simply cut off.
 * Called by plane/bird.c. The reply codes are those of BIRD's doc/reply_codes.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>

struct event_base;
struct bird_call;

/* Reply codes that somebody looks at. */
enum {
	BIRD_RECONFIGURED = 3,
	BIRD_RECONFIGURING = 4,
	BIRD_QUEUED = 5,
	BIRD_DOWN_COMING = 6,
	BIRD_QUEUE_DROPPED = 17,
	BIRD_CONFIG_OK = 20,
	BIRD_VERSION_LINE = 1000,
	BIRD_PROTOCOL = 1002,
	BIRD_PROTOCOL_DETAILS = 1006,
	BIRD_ROUTE = 1007,
	BIRD_ROUTE_DETAILS = 1008,
	BIRD_STATUS_LINE = 1011,
	BIRD_ROUTE_ATTRIBUTES = 1012,
	BIRD_CONFIG_ERROR = 8002,
};

struct bird_call_options {
	const char *socket;
	const char *command; /* without line break; copied */
	int timeout_ms;      /* between one piece of the reply and the next */
	/* Each line but the last; text without code and line end. False: enough, done() with rc 0 and code 0. May be null. */
	bool (*line)(void *ctx, int code, const char *text);
	/* The end, once. rc 0: code and text are the last line's. -ENOENT, -ECONNREFUSED: there is no BIRD; -ETIMEDOUT: it
	 * does not answer; -EPIPE: it went away; -EPROTO: that is no BIRD. text is never null. */
	void (*done)(void *ctx, int rc, int code, const char *text);
	void *ctx;
};

/* Callbacks come from the loop, never from inside this call. 0, or -ENOMEM. */
int bird_call_new(struct event_base *base, const struct bird_call_options *options, struct bird_call **ret);
/* done() does not come. Null is fine. Not from inside line(). */
void bird_call_cancel(struct bird_call **call);
