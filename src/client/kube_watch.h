/* SPDX-License-Identifier: Apache-2.0
 *
 * One resource of the Kubernetes API, listed and then watched for ever (what client-go calls a reflector), with one
 * object at a time in memory: list items and watch lines are split off the stream, and members that nobody needs are
 * dropped while they arrive, before they are parsed.
 *
 * The list streams where the server offers it (sendInitialEvents, with bookmarks; WatchList), else it comes in pages of
 * 500. Which of the two is learned by trying, and remembered. The watch resumes at the last version seen (bookmarks
 * count), after 410 or a history that went back a new list begins. Failures are retried with back-off (0.2 s doubling to
 * 30 s, jittered; Retry-After is obeyed), for ever. A watch that has been silent longer than the server promised is left.
 *
 * Order: begin, put for every object, end; after that put and gone as things change. What was there before begin and was
 * not put when end comes is gone: whoever keeps the objects sweeps then.
 */
#pragma once

#include "client/kube.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct kube_watch;

struct kube_watch_events {
	/* anew: the cluster was put back to an earlier state, versions seen so far mean nothing any more. */
	void (*begin)(void *ctx, bool anew);
	void (*put)(void *ctx, const json_t *object);  /* borrowed */
	void (*gone)(void *ctx, const json_t *object); /* as it was last; at least metadata.name (and namespace) */
	void (*end)(void *ctx);
	/* "" = that trouble is over; told when it begins, and again when its kind changes. A 403 names verb and resource. */
	void (*problem)(void *ctx, const char *text);
};

struct kube_watch_options {
	const char *path;           /* "/api/v1/nodes" */
	const char *field_selector; /* "spec.nodeName=a", or null; as is label_selector */
	const char *label_selector;
	/* Members of each object that are dropped unread, null at the end: "status", "metadata.managedFields". */
	const char *const *drop;
	size_t object_max;          /* bytes of one object without them; a larger one is reported and left out; 0 = 1 MiB */
};

/* options are copied. Begins at once. */
struct kube_watch *kube_watch_new(struct kube *kube, struct event_base *base, const struct kube_watch_options *options,
	const struct kube_watch_events *events, void *ctx);
/* At any time, but not from inside one of the events. Null is fine. */
void kube_watch_free(struct kube_watch *watch);

struct kube_watch_counters {
	uint64_t bytes;   /* received */
	uint64_t objects;
	uint64_t lists;   /* begun */
};
const struct kube_watch_counters *kube_watch_counters(const struct kube_watch *watch);
