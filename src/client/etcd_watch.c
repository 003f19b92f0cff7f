/* SPDX-License-Identifier: Apache-2.0 */
#include "client/etcd_watch.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <string.h>

#define PAGE_SIZE 500        /* keys a Range; fewer when values are so large that the answer would not fit */
#define RETRY_FIRST_MS 100
#define RETRY_MAX_MS 5000
#define QUIET_MS 30000       /* after this long without a word the member is asked for one */
#define ANSWER_MS 10000      /* and then left */
/* A watch that is refused at once (a member without leader) goes unnoticed by libcurl 7.88.1 while our side is paused;
 * the request for a word, sent this long after the creation had no answer, makes it look. */
#define NUDGE_MS 1000

static void later(struct event *event, int64_t ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_add(event, &tv);
}

/* Told once for each outage, and again when its kind changes: the members' own words differ from try to try. */
static void tell(struct etcd_watch *watch, const struct grpc_status *status)
{
	if (watch->told == status->code)
		return;
	watch->told = status->code;
	watch->events->problem(watch->ctx, watch->name, status->text);
}

static void recovered(struct etcd_watch *watch)
{
	struct grpc_status fine = {0};

	watch->failures = 0;
	tell(watch, &fine);
}

static void retry_later(struct etcd_watch *watch, const struct grpc_status *status)
{
	int64_t ms = RETRY_FIRST_MS;

	for (unsigned i = 0; i < watch->failures && ms < RETRY_MAX_MS; i++)
		ms *= 2;
	if (ms > RETRY_MAX_MS)
		ms = RETRY_MAX_MS;
	/* The first failure may be no more than a member that went away: the next one is asked before it is a story. */
	if (watch->failures++)
		tell(watch, status);
	later(watch->retry, ms / 2 + arc4random_uniform((uint32_t)(ms / 2) + 1));
}

/* -- the list -- */

static void next_page(struct etcd_watch *watch);

static bool is_compacted(const struct grpc_status *status)
{
	return status->code == GRPC_OUT_OF_RANGE && strstr(status->text, "compacted");
}

static void forget_list(struct etcd_watch *watch)
{
	free(watch->next_key);
	watch->next_key = NULL;
	watch->list_revision = 0;
}

static void page_failed(struct etcd_watch *watch, const struct grpc_status *status)
{
	bool too_large = status->code == GRPC_RESOURCE_EXHAUSTED;

	if (too_large && watch->page_size > 1) {
		watch->page_size /= 2;
		next_page(watch);
		return;
	}
	forget_list(watch);
	if (is_compacted(status))
		next_page(watch); /* while we were paging: from the start */
	else
		retry_later(watch, status);
}

/* The key behind the last one of a page. */
static bool remember_next(struct etcd_watch *watch, const Etcd__RangeResponse *answer)
{
	const ProtobufCBinaryData *last = &answer->kvs[answer->n_kvs - 1]->key;

	free(watch->next_key);
	watch->next_key_len = last->len + 1;
	watch->next_key = calloc(1, watch->next_key_len);
	if (watch->next_key)
		memcpy(watch->next_key, last->data, last->len);
	return watch->next_key;
}

static void begin_stream(struct etcd_watch *watch);

static void take_page(void *ctx, const struct grpc_status *status, const ProtobufCMessage *message)
{
	const Etcd__RangeResponse *answer = (const Etcd__RangeResponse *)message;
	struct grpc_status bad = {GRPC_INTERNAL, "etcd: a page of the list cannot be used"};
	struct etcd_watch *watch = ctx;

	watch->page = NULL;
	if (!answer || !answer->header || (answer->more && !answer->n_kvs)) {
		page_failed(watch, answer ? &bad : status);
		return;
	}
	if (!watch->list_revision) {
		watch->list_revision = answer->header->revision;
		watch->events->list_begin(watch->ctx, watch->list_revision < watch->seen);
		watch->seen = watch->list_revision;
	}
	for (size_t i = 0; i < answer->n_kvs; i++)
		watch->events->put(watch->ctx, answer->kvs[i]);
	if (answer->more) {
		if (remember_next(watch, answer))
			next_page(watch);
		else
			page_failed(watch, &bad);
		return;
	}
	watch->revision = watch->list_revision + 1;
	forget_list(watch);
	watch->page_size = PAGE_SIZE;
	recovered(watch);
	watch->events->list_end(watch->ctx);
	if (!watch->page)
		begin_stream(watch);
}

static void next_page(struct etcd_watch *watch)
{
	struct grpc_status status = {GRPC_RESOURCE_EXHAUSTED, "etcd: no memory"};
	Etcd__RangeRequest request = ETCD__RANGE_REQUEST__INIT;

	request.key = (ProtobufCBinaryData){strlen(watch->key), (uint8_t *)watch->key};
	if (watch->next_key)
		request.key = (ProtobufCBinaryData){watch->next_key_len, watch->next_key};
	request.range_end = (ProtobufCBinaryData){strlen(watch->end), (uint8_t *)watch->end};
	request.limit = watch->page_size;
	request.revision = watch->list_revision;
	watch->page = etcd_rpc_new(watch->client, &etcd_range, &request.base, take_page, watch);
	if (!watch->page) {
		forget_list(watch);
		retry_later(watch, &status);
	}
}

static void end_stream(struct etcd_watch *watch, bool failed)
{
	grpc_call_cancel(watch->stream, failed);
	watch->stream = NULL;
	event_del(watch->alive);
}

void etcd_watch_list(struct etcd_watch *watch)
{
	end_stream(watch, false);
	etcd_rpc_cancel(watch->page);
	forget_list(watch);
	watch->revision = 0;
	/* Not sooner than the back-off allows. */
	if (!event_pending(watch->retry, EV_TIMEOUT, NULL))
		next_page(watch);
	else
		watch->page = NULL;
}

/* -- the watch -- */

static void stream_failed(struct etcd_watch *watch, const struct grpc_status *status)
{
	/* A list asks for a new token by itself. */
	if (etcd_auth_expired(watch->client, status, watch->token_generation) || is_compacted(status))
		watch->revision = 0;
	retry_later(watch, status);
}

static void take_canceled(struct etcd_watch *watch, const Etcd__WatchResponse *answer)
{
	struct grpc_status status = {GRPC_UNKNOWN, ""};

	end_stream(watch, false);
	if (answer->compact_revision) {
		/* What happened since is lost: the list tells the difference. */
		etcd_watch_list(watch);
		return;
	}
	if (strstr(answer->cancel_reason, "permission denied"))
		status.code = GRPC_PERMISSION_DENIED;
	snprintf(status.text, sizeof(status.text), "the watch was refused: %.300s",
		*answer->cancel_reason ? answer->cancel_reason : "no reason given");
	stream_failed(watch, &status);
}

static void take_created(struct etcd_watch *watch, const Etcd__WatchResponse *answer)
{
	/* A store that is behind what we have seen was restored from a backup. */
	if (answer->header && answer->header->revision < watch->revision - 1)
		etcd_watch_list(watch);
	else
		recovered(watch);
}

static void take_events(struct etcd_watch *watch, const Etcd__WatchResponse *answer)
{
	struct grpc_call *stream = watch->stream;
	int64_t last = 0;

	/* An event may lead to a new list, which ends this stream. */
	for (size_t i = 0; i < answer->n_events && watch->stream == stream; i++) {
		const Etcd__Event *event = answer->events[i];

		if (!event->kv)
			continue;
		last = event->kv->mod_revision;
		if (event->type == ETCD__EVENT__EVENT_TYPE__DELETE)
			watch->events->gone(watch->ctx, event->kv);
		else
			watch->events->put(watch->ctx, event->kv);
	}
	if (watch->stream != stream)
		return;
	/* The header's revision runs ahead of the events while the watch catches up, so it moves us only when it comes
	 * alone; and a fragment may end between two events of one revision. */
	if (last)
		watch->revision = answer->fragment ? last : last + 1;
	else if (answer->watch_id >= 0 && answer->header && answer->header->revision >= watch->revision)
		watch->revision = answer->header->revision + 1;
	if (watch->revision - 1 > watch->seen)
		watch->seen = watch->revision - 1;
}

static void take_message(void *ctx, const uint8_t *data, size_t len)
{
	Etcd__WatchResponse *answer = etcd__watch_response__unpack(NULL, len, data);
	struct grpc_status bad = {GRPC_INTERNAL, "etcd: an answer to Watch cannot be read"};
	struct etcd_watch *watch = ctx;

	watch->heard = true;
	if (!answer) {
		end_stream(watch, true);
		stream_failed(watch, &bad);
		return;
	}
	if (answer->canceled)
		take_canceled(watch, answer);
	else if (answer->created)
		take_created(watch, answer);
	else
		take_events(watch, answer);
	etcd__watch_response__free_unpacked(answer, NULL);
}

static void take_stream_end(void *ctx, const struct grpc_status *status)
{
	struct grpc_status closed = {GRPC_UNAVAILABLE, "etcd: the member closed the watch"};
	struct etcd_watch *watch = ctx;

	watch->stream = NULL;
	event_del(watch->alive);
	stream_failed(watch, status->code == GRPC_OK ? &closed : status);
}

static void begin_stream(struct etcd_watch *watch)
{
	Etcd__WatchCreateRequest create = ETCD__WATCH_CREATE_REQUEST__INIT;
	struct grpc_status status = {GRPC_RESOURCE_EXHAUSTED, "etcd: no memory"};
	Etcd__WatchRequest request = ETCD__WATCH_REQUEST__INIT;
	struct grpc_call_options options = {
		.method = "/etcdserverpb.Watch/Watch",
		/* A member cut off from the others ends the watch instead of keeping silent. */
		.metadata = {"hasleader: true", watch->client->auth.token_header},
		.message = take_message,
		.done = take_stream_end,
		.ctx = watch,
	};
	_cleanup_free_ uint8_t *data = NULL;
	size_t len = 0;

	create.key = (ProtobufCBinaryData){strlen(watch->key), (uint8_t *)watch->key};
	create.range_end = (ProtobufCBinaryData){strlen(watch->end), (uint8_t *)watch->end};
	create.start_revision = watch->revision;
	create.progress_notify = true;
	create.fragment = true;
	request.request_union_case = ETCD__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
	request.create_request = &create;
	watch->token_generation = watch->client->auth.generation;
	watch->heard = watch->asked = false;
	data = etcd_pack(&request.base, &len);
	if (data)
		watch->stream = grpc_call_new(watch->client->grpc, &options, data, len);
	if (watch->stream)
		later(watch->alive, NUDGE_MS);
	else
		retry_later(watch, &status);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct etcd_watch *watch = arg;

	if (watch->revision)
		begin_stream(watch);
	else
		next_page(watch);
}

static bool ask_for_a_word(struct etcd_watch *watch)
{
	Etcd__WatchProgressRequest progress = ETCD__WATCH_PROGRESS_REQUEST__INIT;
	Etcd__WatchRequest request = ETCD__WATCH_REQUEST__INIT;
	_cleanup_free_ uint8_t *data = NULL;
	size_t len = 0;

	request.request_union_case = ETCD__WATCH_REQUEST__REQUEST_UNION_PROGRESS_REQUEST;
	request.progress_request = &progress;
	data = etcd_pack(&request.base, &len);
	return data && grpc_call_send(watch->stream, data, len) == 0;
}

/* A word was due: the answer to the creation, any in QUIET_MS, or that to the request for one. */
static void on_alive(evutil_socket_t fd, short what, void *arg)
{
	struct grpc_status silent = {GRPC_DEADLINE_EXCEEDED, "etcd: the member of the watch has fallen silent"};
	struct etcd_watch *watch = arg;

	if (watch->heard) {
		watch->heard = watch->asked = false;
		later(watch->alive, QUIET_MS);
	} else if (!watch->asked && ask_for_a_word(watch)) {
		watch->asked = true;
		later(watch->alive, ANSWER_MS);
	} else {
		end_stream(watch, true);
		stream_failed(watch, &silent);
	}
}

int etcd_watch_init(struct etcd_watch *watch, struct etcd_client *client,
	const struct etcd_watch_events *events, void *ctx, const char *name)
{
	watch->client = client;
	watch->events = events;
	watch->ctx = ctx;
	watch->name = name;
	watch->page_size = PAGE_SIZE;
	watch->retry = event_new(client->base, -1, 0, on_retry, watch);
	watch->alive = event_new(client->base, -1, 0, on_alive, watch);
	return watch->retry && watch->alive ? 0 : -1;
}

void etcd_watch_done(struct etcd_watch *watch)
{
	if (watch->alive)
		end_stream(watch, false);
	etcd_rpc_cancel(watch->page);
	watch->page = NULL;
	forget_list(watch);
	if (watch->retry)
		event_free(watch->retry);
	if (watch->alive)
		event_free(watch->alive);
}
