/* SPDX-License-Identifier: Apache-2.0
 *
 * BIRD as a child process, watched on the loop by its pidfd: for a moment, to look at a configuration ("bird -p"), or
 * for good. Called by plane/bird.c.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct event_base;
struct bird_child;

struct bird_child_options {
	const char *const *argv;
	const char *log;     /* its stdout and stderr are appended there; null: kept, for done() */
	bool own_session;    /* outlives us: signals to our process group are not for it */
	int timeout_ms;      /* killed after that; 0: never */
	/* status: exit code, 128 + signal, -1 nobody knows; output: what it wrote, "" with a log. */
	void (*done)(void *ctx, int status, const char *output);
	void *ctx;
};

/* 0 or negative errno; done() comes from the loop, once. */
int bird_child_new(struct event_base *base, const struct bird_child_options *options, struct bird_child **ret);
/* Forgets it; done() does not come. kill_it: it is killed and reaped. Null is fine. */
void bird_child_free(struct bird_child **child, bool kill_it);
