/* SPDX-License-Identifier: Apache-2.0
 *
 * Events. All agents see the same trouble at the same time: the name of the object is made of node, reason and text, so
 * that whoever comes first creates it, and the others wait a random moment and find it there.
 */
#include "store/kube_private.h"

#include "base/cleanup.h"
#include "store/flannel_time.h"

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

struct kube_remark {
	struct kube_remark *next;
	struct kube_store *store;
	struct event *later;
	struct kube_call *call;
	unsigned tries;
	char *body;
};

static void remark_free(struct kube_remark *remark)
{
	struct kube_store *store = remark->store;

	LL_DELETE(store->remarks, remark);
	store->remark_count--;
	kube_call_cancel(remark->call);
	if (remark->later)
		event_free(remark->later);
	free(remark->body);
	free(remark);
}

static void on_done(void *ctx, const struct kube_answer *answer)
{
	struct kube_remark *remark = ctx;
	struct kube_store *store = remark->store;
	bool good = answer->status / 100 == 2 || answer->status == 409;

	remark->call = NULL;
	if (!answer->status || answer->status / 100 == 5 || answer->status == 429) {
		if (++remark->tries < TRIES)
			kube_later(remark->later, (RETRY_MS << remark->tries) + arc4random_uniform(RETRY_MS));
		else
			remark_free(remark);
		return;
	}
	kube_problem(store, "events", "%s%s", good ? "" : "an Event cannot be written: ", good ? "" : answer->text);
	remark_free(remark);
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
	struct kube_remark *remark = arg;
	struct kube_request request = {
		.method = "POST",
		.path = "/api/v1/namespaces/default/events",
		.content_type = "application/json",
		.body = remark->body,
		.len = strlen(remark->body),
		.timeout_ms = WRITE_MS,
		.done = on_done,
		.ctx = remark,
	};

	remark->call = kube_call_new(remark->store->kube, &request);
	if (!remark->call)
		remark_free(remark);
}

/* FNV-1a, 64 bits. */
static uint64_t mix(uint64_t value, const char *text)
{
	for (; *text; text++)
		value = (value ^ (uint8_t)*text) * 0x100000001b3u;
	return value;
}

static char *make_body(const struct kube_store *store, const char *node, const char *reason, const char *text)
{
	uint64_t id = mix(mix(mix(0xcbf29ce484222325u, node), reason), text);
	char name[KUBE_NAME_MAX + 32], now[FLANNEL_TIME_MAX];
	json_t *event;
	char *body;

	/* Object names have at most 253 characters. */
	snprintf(name, sizeof(name), "%.200s.tulle-%016llx", node, (unsigned long long)id);
	flannel_time_format(time(NULL), now);
	event = json_pack("{s:s,s:s,s:{s:s,s:s},s:{s:s,s:s,s:s},s:s,s:s,s:s,s:{s:s,s:s},s:s,s:s,s:i,s:s,s:s}",
		"apiVersion", "v1", "kind", "Event", "metadata", "name", name, "namespace", "default",
		"involvedObject", "kind", "Node", "name", node, "uid", node,
		"type", "Warning", "reason", reason, "message", text, "source", "component", "tulled", "host", store->node,
		"firstTimestamp", now, "lastTimestamp", now, "count", 1,
		"reportingComponent", "tulled", "reportingInstance", store->node);
	body = json_dumps(event, JSON_COMPACT);
	json_decref(event);
	return body;
}

void kube_remark_add(struct kube_store *store, const char *node, const char *reason, const char *text)
{
	bool own = strcmp(node, store->node) == 0;
	struct kube_remark *remark;

	if (store->remark_count >= REMARKS_MAX)
		return;
	remark = calloc(1, sizeof(*remark));
	if (!remark)
		return;
	remark->store = store;
	LL_PREPEND(store->remarks, remark);
	store->remark_count++;
	remark->body = make_body(store, node, reason, text);
	remark->later = event_new(store->base, -1, 0, on_later, remark);
	if (!remark->body || !remark->later) {
		remark_free(remark);
		return;
	}
	kube_later(remark->later, arc4random_uniform(own ? SPREAD_OWN_MS : SPREAD_MS));
}

void kube_remark_done(struct kube_store *store)
{
	struct kube_remark *remark, *next;

	LL_FOREACH_SAFE(store->remarks, remark, next)
		remark_free(remark);
}
