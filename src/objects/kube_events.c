/* SPDX-License-Identifier: Apache-2.0 */
#include "objects/kube_events.h"

#include "base/rfc3339.h"
#include "client/kube.h"

#include <event2/event.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

#define REMARKS_MAX 64 /* waiting at a time; what is more is in the log and in the status all the same */
#define SPREAD_OWN_MS 500
#define SPREAD_MS 10000
#define WRITE_MS 10000
#define TRIES 5 /* while the server is away */
#define RETRY_MS 10000
#define NAME_MAX_LEN 254 /* of an object's */

struct remark {
	struct remark *next;
	struct kube_events *events;
	struct event *later;
	struct kube_call *call;
	unsigned tries;
	char *path, *body;
};

struct kube_events {
	struct event_base *base;
	struct kube_events_options options;
	struct remark *remarks;
	unsigned count;
};

static void wait(struct remark *remark, int64_t ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_add(remark->later, &tv);
}

static void remark_free(struct remark *remark)
{
	struct kube_events *events = remark->events;

	LL_DELETE(events->remarks, remark);
	events->count--;
	kube_call_cancel(remark->call);
	if (remark->later)
		event_free(remark->later);
	free(remark->path);
	free(remark->body);
	free(remark);
}

static void tell(struct kube_events *events, const struct kube_answer *answer)
{
	bool good = answer->status / 100 == 2 || answer->status == 409;
	char text[1024];

	snprintf(text, sizeof(text), "%s%s", good ? "" : "an Event cannot be written: ", good ? "" : answer->text);
	events->options.problem(events->options.ctx, text);
}

static void on_done(void *ctx, const struct kube_answer *answer)
{
	struct remark *remark = ctx;

	remark->call = NULL;
	if (!answer->status || answer->status / 100 == 5 || answer->status == 429) {
		if (++remark->tries < TRIES)
			wait(remark, (RETRY_MS << remark->tries) + arc4random_uniform(RETRY_MS));
		else
			remark_free(remark);
		return;
	}
	tell(remark->events, answer);
	remark_free(remark);
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
	struct remark *remark = arg;
	struct kube_request request = {
		.method = "POST",
		.path = remark->path,
		.content_type = "application/json",
		.body = remark->body,
		.len = strlen(remark->body),
		.timeout_ms = WRITE_MS,
		.done = on_done,
		.ctx = remark,
	};

	remark->call = kube_call_new(remark->events->options.kube, &request);
	if (!remark->call)
		remark_free(remark);
}

static const char *place_of(const struct kube_events_about *about)
{
	return about->namespace && *about->namespace ? about->namespace : "default";
}

static char *make_path(const struct kube_events_about *about)
{
	char *path;

	/* A namespace's name is that of an object. */
	return asprintf(&path, "/api/v1/namespaces/%s/events", place_of(about)) < 0 ? NULL : path;
}

/* FNV-1a, 64 bits. */
static uint64_t mix(uint64_t value, const char *text)
{
	for (; *text; text++)
		value = (value ^ (uint8_t)*text) * 0x100000001b3u;
	return value;
}

static json_t *involved(const struct kube_events_about *about)
{
	json_t *object = json_pack("{s:s, s:s}", "kind", about->kind, "name", about->name);

	if (about->api_version)
		json_object_set_new(object, "apiVersion", json_string(about->api_version));
	if (about->namespace && *about->namespace)
		json_object_set_new(object, "namespace", json_string(about->namespace));
	if (about->uid && *about->uid)
		json_object_set_new(object, "uid", json_string(about->uid));
	return object;
}

static char *make_body(const struct kube_events_about *about, const char *node, const char *reason, const char *text)
{
	uint64_t id = mix(mix(mix(0xcbf29ce484222325u, about->name), reason), text);
	char name[NAME_MAX_LEN + 32], now[RFC3339_MAX];
	json_t *event;
	char *body;

	/* Object names have at most 253 characters. */
	snprintf(name, sizeof(name), "%.200s.tulle-%016llx", about->name, (unsigned long long)id);
	rfc3339_format(time(NULL), now);
	event = json_pack("{s:s,s:s,s:{s:s,s:s},s:o,s:s,s:s,s:s,s:{s:s,s:s},s:s,s:s,s:i,s:s,s:s}",
		"apiVersion", "v1", "kind", "Event", "metadata", "name", name, "namespace", place_of(about),
		"involvedObject", involved(about),
		"type", "Warning", "reason", reason, "message", text, "source", "component", "tulled", "host", node,
		"firstTimestamp", now, "lastTimestamp", now, "count", 1,
		"reportingComponent", "tulled", "reportingInstance", node);
	body = json_dumps(event, JSON_COMPACT);
	json_decref(event);
	return body;
}

void kube_events_add(struct kube_events *events, const struct kube_events_about *about, const char *node, const char *reason,
	const char *text)
{
	struct remark *remark;

	if (events->count >= REMARKS_MAX)
		return;
	remark = calloc(1, sizeof(*remark));
	if (!remark)
		return;
	remark->events = events;
	LL_PREPEND(events->remarks, remark);
	events->count++;
	remark->path = make_path(about);
	remark->body = make_body(about, node, reason, text);
	remark->later = event_new(events->base, -1, 0, on_later, remark);
	if (!remark->path || !remark->body || !remark->later) {
		remark_free(remark);
		return;
	}
	wait(remark, arc4random_uniform(about->own ? SPREAD_OWN_MS : SPREAD_MS));
}

struct kube_events *kube_events_new(const struct kube_events_options *options, struct event_base *base)
{
	struct kube_events *events = calloc(1, sizeof(*events));

	if (!events)
		return NULL;
	events->base = base;
	events->options = *options;
	return events;
}

void kube_events_free(struct kube_events *events)
{
	struct remark *remark, *next;

	if (!events)
		return;
	LL_FOREACH_SAFE(events->remarks, remark, next)
		remark_free(remark);
	free(events);
}
