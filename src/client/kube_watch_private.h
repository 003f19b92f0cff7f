/* SPDX-License-Identifier: Apache-2.0
 *
 * What kube_watch.c (requests, back-off, versions) and kube_watch_object.c (objects, events, problems) share.
 */
#pragma once

#include "client/json_split.h"
#include "client/kube_answer.h"
#include "client/kube_watch.h"

#define KUBE_VERSION_MAX 64
#define KUBE_BAD_MAX 32
#define KUBE_DROPS_MAX 32

/* What the request on its way is. */
enum kube_step {
	KUBE_STEP_CHECK,  /* which version has the server */
	KUBE_STEP_STREAM, /* a list as the beginning of a watch, then that watch */
	KUBE_STEP_PAGE,   /* a page of a list */
	KUBE_STEP_WATCH,
};

/* Why we stopped reading. */
enum kube_verdict {
	KUBE_VERDICT_NONE,
	KUBE_VERDICT_EXPIRED,   /* 410 */
	KUBE_VERDICT_WENT_BACK, /* a version lower than what was seen */
	KUBE_VERDICT_PAGES,     /* this server does not stream lists */
	KUBE_VERDICT_ERROR,     /* status tells */
};

/* Kinds of problems beside the status codes of HTTP. */
enum kube_problem { KUBE_PROBLEM_NONE, KUBE_PROBLEM_CONNECTION, KUBE_PROBLEM_ANSWER, KUBE_PROBLEM_ENDS };

struct kube_watch {
	struct kube *kube;
	struct event_base *base;
	struct kube_watch_events events;
	void *ctx;
	char *path, *selectors;
	char *list_drops[KUBE_DROPS_MAX + 1], *watch_drops[KUBE_DROPS_MAX + 1];
	bool drop_annotations; /* they tell where a streamed list ends, so they go later */
	size_t object_max;
	struct kube_watch_counters counters;

	struct kube_call *call;
	struct json_split *split;
	enum kube_step step;
	enum kube_verdict verdict;
	struct kube_status status;
	struct event *retry, *silence;
	int64_t begun_ms, heard_ms;
	unsigned timeout_s; /* that the server was told */
	unsigned failures;  /* in a row */

	char version[KUBE_VERSION_MAX]; /* where the watch goes on; "": list */
	uint64_t seen;                  /* the highest version so far; 0: none, or they are no numbers */
	bool no_streams;                /* lists come in pages */
	bool check;                     /* before anything else: has the history gone back */
	bool anew, listing, begun, heard_event;
	bool accepted; /* the server has begun to answer */
	char list_version[KUBE_VERSION_MAX];
	char *next_page;                /* continue token; null: the first one */

	int problem;        /* enum kube_problem, or a status code */
	char *problem_text;
	bool told;          /* the last word to the caller was a problem */
	char *bad[KUBE_BAD_MAX]; /* "namespace/name" of objects that were left out; "" unknown */
	size_t bad_count;
};

/* -- kube_watch.c -- */
/* A streamed list has ended at that version. */
int kube_watch_list_end(struct kube_watch *watch, const char *version);
/* The version that an event carries. False: the history went back. */
bool kube_watch_version(struct kube_watch *watch, const char *version);

/* -- kube_watch_object.c -- */
/* For struct json_split_options. */
int kube_watch_take_object(void *ctx, const char *text, size_t len, bool oversize, struct err *err);
/* Tells the caller that a list begins, unless it knows. */
void kube_watch_begin_list(struct kube_watch *watch);
/* KUBE_PROBLEM_NONE: it is over. */
void kube_watch_set_problem(struct kube_watch *watch, int problem, const char *text);
void kube_watch_forget_bad(struct kube_watch *watch);
/* Of what was left out, and of other problems, whatever is left to be told; "" once when there is nothing any more. */
void kube_watch_show_problem(struct kube_watch *watch);
