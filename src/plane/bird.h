/* SPDX-License-Identifier: Apache-2.0
 *
 * BIRD as the agent sees it: a program of its own that outlives the agent. It is found by its control socket; where
 * none answers and the options allow it, it is started. A new configuration is written beside the one in force, BIRD
 * judges it ("configure check"), then it takes its place by rename and BIRD reads it ("configure"): sessions that did
 * not change stay up, routes are only reconsidered where a filter changed. What BIRD refuses never takes that place.
 * The agent calls it; plan/bird.h makes the text.
 *
 * In the directory: bird.conf (in force, mode 0600: it has passwords), bird.conf.new (to be judged), bird.ctl (BIRD's
 * socket), bird.pid, bird.log, and "started", which says that BIRD has run since the machine booted: the next one
 * starts with -R, as a graceful restart. The directory is to lie in a tmpfs such as /run.
 *
 * Life cycle: bird_new, bird_put as often as the text changes, bird_free, after which BIRD goes on as it is.
 */
#pragma once

#include "base/err.h"
#include "plane/bird_parse.h"

#include <jansson.h>
#include <stdbool.h>

struct event_base;
struct bird;

#define BIRD_DIRECTORY "/run/tulle/bird"

struct bird_options {
	const char *directory;      /* made if need be, 0700 */
	const char *program;        /* null: BIRD is somebody else's to start, and only a running one judges configurations */
	bool start;                 /* start it where none answers; needs program */
	int poll_ms, timeout_ms;    /* 0: 5000, 5000 */
	void (*changed)(void *ctx); /* the status is another one; may be null */
	void *ctx;
};

enum bird_state {
	BIRD_UNKNOWN, /* not asked yet */
	BIRD_ABSENT,  /* nobody at the socket */
	BIRD_HANGING, /* somebody, without an answer */
	BIRD_RUNNING,
};

struct bird_status {
	enum bird_state state;
	bool current;                     /* the text last put is in force */
	char problem[1536];               /* "": none. Names the line that was refused */
	struct bird_daemon daemon;
	const struct bird_session *sessions;
	size_t session_count, established;
	uint64_t md5_faults;              /* TCP segments with a wrong, missing or unexpected signature, of this network namespace */
};

int bird_new(struct event_base *base, const struct bird_options *options, struct bird **ret, struct err *err);
void bird_free(struct bird **bird);
/* The configuration that is wanted from now on; copied. Nothing happens when it is what is in force. 0 or -ENOMEM. */
int bird_put(struct bird *bird, const char *text, size_t len);
/* Borrowed until the loop goes on. */
const struct bird_status *bird_status(const struct bird *bird);
/* What is to be said of a session; "": nothing. Borrows ret. */
const char *bird_session_problem(const struct bird_status *status, const struct bird_session *session, char *ret, size_t size);

/* {"state", "version", "routerID", "started", "configured", "current", "problem", "sessions": [{"name", "description",
 * "neighbor", "neighborAS", "localAS", "state", "since", "imported", "exported", "importLimit", "limitHit", "error",
 * "problem"}]}. New reference; null without memory. */
json_t *bird_status_json(const struct bird_status *status);

/* -- routes -- */

struct bird_listing;
/* routes: as BIRD has them, at most max; routes->more says that there are others. rc as in bird_call_options. */
typedef void (*bird_listed)(void *ctx, int rc, const struct bird_routes *routes);
/* done() comes from the loop, once. */
int bird_list_routes(struct bird *bird, size_t max, bird_listed done, void *ctx, struct bird_listing **ret);
/* done() does not come. Null is fine. */
void bird_listing_cancel(struct bird_listing **listing);
/* {"routes": [{"prefix", "kind", "protocol", "since", "best", "preference", "via", "dev", "hops", "localPref",
 * "asPath", "nextHop"}], "more": bool}. */
json_t *bird_routes_json(const struct bird_routes *routes);
