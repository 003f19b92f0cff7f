/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "base/json.h"
#include "client/kube_watch_private.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RETRY_MIN_MS 200
#define RETRY_MAX_MS 30000
#define PAGE_SIZE 500
#define PAGE_MS 120000
#define CHECK_MS 15000
/* The server ends a watch between these; all nodes at different times. */
#define WATCH_MIN_S 300
#define WATCH_MAX_S 600
#define SILENCE_S 30
/* A watch that lived so long was a good one, whatever ended it. */
#define GOOD_MS 60000
#define SETTLED_MS 1000

static void begin(struct kube_watch *watch);

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void later(struct event *event, int64_t ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_add(event, &tv);
}

/* -- versions: opaque by promise, but decimal in practice -- */

static uint64_t number_of(const char *version)
{
	if (!*version || strlen(version) > 19 || version[strspn(version, "0123456789")])
		return 0;
	return strtoull(version, NULL, 10);
}

static void set_version(struct kube_watch *watch, const char *version)
{
	snprintf(watch->version, sizeof(watch->version), "%s", version);
	if (number_of(version))
		watch->seen = number_of(version);
}

bool kube_watch_version(struct kube_watch *watch, const char *version)
{
	uint64_t number = number_of(version);

	if (strlen(version) >= KUBE_VERSION_MAX || (number && number < watch->seen))
		return false;
	if (*version)
		set_version(watch, version);
	return true;
}

/* List next; and before that, find out whether the history has gone back. */
static void forget_version(struct kube_watch *watch)
{
	watch->version[0] = 0;
	watch->check = true;
}

/* -- failures -- */

static void forget_request(struct kube_watch *watch)
{
	json_split_free(watch->split);
	watch->split = NULL;
	event_del(watch->silence);
}

static void forget_list(struct kube_watch *watch)
{
	free(watch->next_page);
	watch->next_page = NULL;
	watch->begun = watch->listing = false;
}

static void retry_later(struct kube_watch *watch, int retry_after_s)
{
	unsigned shift = watch->failures < 8 ? watch->failures : 8;
	uint32_t ms = RETRY_MIN_MS << shift;

	if (ms > RETRY_MAX_MS)
		ms = RETRY_MAX_MS;
	ms = ms / 2 + arc4random_uniform(ms / 2 + 1);
	if (retry_after_s > 0)
		ms += (uint32_t)(retry_after_s > 600 ? 600 : retry_after_s) * 1000;
	watch->failures++;
	watch->check = true;
	forget_list(watch);
	later(watch->retry, ms);
}

/* definite: the server has said so, and will again. What may be over at once is told when it happens twice. */
static void fail(struct kube_watch *watch, int problem, const char *text, int retry_after_s, bool definite)
{
	if (watch->failures || definite)
		kube_watch_set_problem(watch, problem, text);
	retry_later(watch, retry_after_s);
}

static void recovered(struct kube_watch *watch)
{
	watch->failures = 0;
	kube_watch_set_problem(watch, KUBE_PROBLEM_NONE, "");
}

static void fail_text(struct kube_watch *watch, int problem, const char *what)
{
	char text[900];

	snprintf(text, sizeof(text), "%s: GET %s: %s", kube_server(watch->kube), watch->path, what);
	fail(watch, problem, text, 0, false);
}

/* -- ends -- */

int kube_watch_list_end(struct kube_watch *watch, const char *version)
{
	uint64_t number = number_of(version);

	if (!*version || strlen(version) >= KUBE_VERSION_MAX) {
		watch->status = (struct kube_status){.message = "the list has no resourceVersion"};
		watch->verdict = KUBE_VERDICT_ERROR;
		return -ECANCELED;
	}
	if (number && number < watch->seen && !watch->anew) {
		watch->verdict = KUBE_VERDICT_WENT_BACK;
		return -ECANCELED;
	}
	kube_watch_begin_list(watch);
	watch->seen = 0;
	set_version(watch, version);
	forget_list(watch);
	watch->anew = false;
	/* The failures go on counting until the watch is seen to work. */
	watch->events.end(watch->ctx);
	kube_watch_set_problem(watch, KUBE_PROBLEM_NONE, "");
	kube_watch_show_problem(watch);
	return 0;
}

static void follow_verdict(struct kube_watch *watch)
{
	const struct kube_status *status = &watch->status;
	char text[900];

	watch->anew |= watch->verdict == KUBE_VERDICT_WENT_BACK;
	switch (watch->verdict) {
	case KUBE_VERDICT_WENT_BACK:
	case KUBE_VERDICT_EXPIRED:
		forget_version(watch);
		retry_later(watch, 0);
		break;
	case KUBE_VERDICT_PAGES:
		watch->no_streams = true;
		forget_list(watch);
		begin(watch);
		break;
	default:
		snprintf(text, sizeof(text), "%s: GET %s: %d%s%s: %s", kube_server(watch->kube), watch->path, status->code,
			status->reason[0] ? " " : "", status->reason, status->message);
		fail(watch, status->code ? status->code : KUBE_PROBLEM_ANSWER, text, status->retry_after_s, false);
	}
}

/* What the list says of itself beside its items. */
static int read_rest(struct kube_watch *watch, char version[static KUBE_VERSION_MAX], char **ret_next, struct err *err)
{
	const char *text = json_split_rest(watch->split), *value;
	_cleanup_(json_cleanup) json_t *json = NULL;
	json_t *metadata;
	int rc = json_parse(text, strlen(text), "the list", &json, err);

	if (rc < 0)
		return rc;
	metadata = json_object_get(json, "metadata");
	value = json_string_value(json_object_get(metadata, "resourceVersion"));
	snprintf(version, KUBE_VERSION_MAX, "%s", value ? value : "");
	value = json_string_value(json_object_get(metadata, "continue"));
	*ret_next = value && *value ? strdup(value) : NULL;
	if (value && *value && !*ret_next)
		return err_set(err, -ENOMEM, "no memory");
	return 0;
}

static int end_page(struct kube_watch *watch, struct err *err)
{
	char version[KUBE_VERSION_MAX], *next = NULL;
	int rc = read_rest(watch, version, &next, err);

	if (rc < 0)
		return rc;
	if (!watch->next_page)
		memcpy(watch->list_version, version, sizeof(version));
	free(watch->next_page);
	watch->next_page = next;
	kube_watch_begin_list(watch);
	/* All pages show one moment. */
	return next ? 0 : kube_watch_list_end(watch, watch->list_version);
}

static int end_check(struct kube_watch *watch, struct err *err)
{
	char version[KUBE_VERSION_MAX], *next = NULL;
	int rc = read_rest(watch, version, &next, err);

	free(next);
	if (rc < 0)
		return rc;
	watch->check = false;
	if (number_of(version) && number_of(version) < watch->seen) {
		watch->anew = true;
		watch->version[0] = 0;
	}
	return 0;
}

/* The server ended a watch. Much earlier than it was asked to: it restarts, perhaps with another history. */
static void end_watch(struct kube_watch *watch)
{
	int64_t lived_ms = now_ms() - watch->begun_ms;

	if (!watch->version[0]) {
		fail_text(watch, KUBE_PROBLEM_ENDS, "the server ended a list in its middle");
		return;
	}
	if (watch->heard_event || lived_ms > GOOD_MS)
		recovered(watch);
	if (lived_ms < (int64_t)watch->timeout_s * 1000 - 5000) {
		fail_text(watch, KUBE_PROBLEM_ENDS, "the server ends the watch at once");
		return;
	}
	watch->check = !watch->heard_event;
	begin(watch);
}

static void end_answer(struct kube_watch *watch)
{
	bool whole = watch->step == KUBE_STEP_CHECK || watch->step == KUBE_STEP_PAGE;
	struct err err = ERR_INIT;
	int rc = json_split_end(watch->split, &err);

	if (rc == 0 && whole)
		rc = watch->step == KUBE_STEP_PAGE ? end_page(watch, &err) : end_check(watch, &err);
	forget_request(watch);
	if (watch->verdict)
		follow_verdict(watch);
	else if (rc < 0)
		fail_text(watch, KUBE_PROBLEM_ANSWER, err_text(&err));
	else if (whole)
		begin(watch);
	else
		end_watch(watch);
}

/* -- answers -- */

static bool refuses_stream(const struct kube_watch *watch, int status)
{
	return watch->step == KUBE_STEP_STREAM && !watch->version[0] &&
		(status == 400 || status == 405 || status == 406 || status == 415 || status == 422 || status == 501);
}

static void take_refusal(struct kube_watch *watch, const struct kube_answer *answer)
{
	bool definite = answer->status >= 400 && answer->status < 500 && answer->status != 401 && answer->status != 429;

	if (refuses_stream(watch, answer->status)) {
		watch->no_streams = true;
		begin(watch);
	} else if (answer->status == 410) {
		/* Of a watch: too old. Of a page: the list took longer than its moment is kept. */
		forget_version(watch);
		retry_later(watch, answer->retry_after_s);
	} else {
		fail(watch, answer->status ? answer->status : KUBE_PROBLEM_CONNECTION, answer->text, answer->retry_after_s,
			definite);
	}
}

static void take_end(void *ctx, const struct kube_answer *answer)
{
	struct kube_watch *watch = ctx;

	watch->call = NULL;
	if (answer->status / 100 == 2) {
		end_answer(watch);
		return;
	}
	if (now_ms() - watch->begun_ms > GOOD_MS && watch->version[0])
		recovered(watch);
	forget_request(watch);
	if (watch->verdict)
		follow_verdict(watch);
	else
		take_refusal(watch, answer);
}

static int take_data(void *ctx, const char *data, size_t len, struct err *err)
{
	struct kube_watch *watch = ctx;
	int rc;

	watch->counters.bytes += len;
	watch->heard_ms = now_ms();
	rc = json_split_add(watch->split, data, len, err);
	if (rc == 0 && watch->heard_event && watch->version[0] && watch->step != KUBE_STEP_CHECK)
		recovered(watch);
	return rc;
}

/* -- requests -- */

static int64_t silence_ms(const struct kube_watch *watch)
{
	return watch->version[0] ? ((int64_t)watch->timeout_s + SILENCE_S) * 1000 : SILENCE_S * 1000;
}

/* A watch without news: it works when it is still there a moment later. Some refusals come as its first event. */
static void on_begun(void *ctx)
{
	struct kube_watch *watch = ctx;

	watch->heard_ms = now_ms();
	if (watch->step != KUBE_STEP_WATCH)
		return;
	watch->accepted = true;
	later(watch->silence, SETTLED_MS);
}

static void on_silence(evutil_socket_t fd, short what, void *arg)
{
	struct kube_watch *watch = arg;
	int64_t left = watch->heard_ms + silence_ms(watch) - now_ms();

	if (watch->accepted) {
		watch->accepted = false;
		recovered(watch);
	}
	if (left > 0) {
		later(watch->silence, left);
		return;
	}
	kube_call_give_up(watch->call);
	watch->call = NULL;
	forget_request(watch);
	/* Some servers in between know the parameters of a streamed list, and never end it. */
	if (!watch->version[0])
		watch->no_streams = true;
	fail_text(watch, KUBE_PROBLEM_CONNECTION, "the server has fallen silent");
}

static int add_stream_query(struct kube_watch *watch, struct buf *path)
{
	watch->timeout_s = WATCH_MIN_S + arc4random_uniform(WATCH_MAX_S - WATCH_MIN_S + 1);
	buf_printf(path, "?watch=1&allowWatchBookmarks=true&timeoutSeconds=%u", watch->timeout_s);
	if (watch->step == KUBE_STEP_STREAM)
		return buf_add_str(path, "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
	buf_add_str(path, "&resourceVersion=");
	return kube_escape(path, watch->version);
}

static int add_query(struct kube_watch *watch, struct buf *path)
{
	if (watch->step == KUBE_STEP_CHECK)
		/* Without the selectors: with them, the server might look through everything for the one that fits. */
		return buf_add_str(path, "?limit=1");
	if (watch->step == KUBE_STEP_PAGE) {
		buf_printf(path, "?limit=%d", PAGE_SIZE);
		if (watch->next_page) {
			buf_add_str(path, "&continue=");
			kube_escape(path, watch->next_page);
		}
	} else {
		add_stream_query(watch, path);
	}
	return buf_add_str(path, watch->selectors);
}

static int send_request(struct kube_watch *watch, struct err *err)
{
	static const int timeouts[] = {[KUBE_STEP_CHECK] = CHECK_MS, [KUBE_STEP_PAGE] = PAGE_MS, [KUBE_STEP_STREAM] = 0,
		[KUBE_STEP_WATCH] = 0};
	bool list = watch->step == KUBE_STEP_PAGE || watch->step == KUBE_STEP_CHECK;
	const struct json_split_options options = {
		.list = list,
		.drop = (const char *const *)(list ? watch->list_drops : watch->watch_drops),
		.object_max = watch->step == KUBE_STEP_CHECK ? 1 : watch->object_max,
		.object = kube_watch_take_object,
		.ctx = watch,
	};
	struct buf path = BUF_INIT(65536);
	struct kube_request request = {.method = "GET", .timeout_ms = timeouts[watch->step], .begun = on_begun,
		.data = take_data, .done = take_end, .ctx = watch};
	int rc = json_split_new(&options, &watch->split, err);

	buf_add_str(&path, watch->path);
	if (rc == 0 && add_query(watch, &path) < 0)
		rc = err_set(err, path.error, "the request is too long");
	if (rc == 0) {
		request.path = buf_text(&path);
		watch->call = kube_call_new(watch->kube, &request);
		rc = watch->call ? 0 : err_set(err, -ENOMEM, "no memory");
	}
	buf_free(&path);
	return rc;
}

static enum kube_step next_step(const struct kube_watch *watch)
{
	if (watch->check && watch->seen && !watch->next_page)
		return KUBE_STEP_CHECK;
	if (watch->version[0])
		return KUBE_STEP_WATCH;
	return watch->no_streams ? KUBE_STEP_PAGE : KUBE_STEP_STREAM;
}

static void begin(struct kube_watch *watch)
{
	struct err err = ERR_INIT;

	watch->step = next_step(watch);
	watch->verdict = KUBE_VERDICT_NONE;
	watch->status = (struct kube_status){0};
	watch->begun_ms = watch->heard_ms = now_ms();
	watch->heard_event = watch->accepted = false;
	if (send_request(watch, &err) < 0) {
		forget_request(watch);
		fail_text(watch, KUBE_PROBLEM_ANSWER, err_text(&err));
		return;
	}
	if (watch->step == KUBE_STEP_WATCH || watch->step == KUBE_STEP_STREAM)
		later(watch->silence, silence_ms(watch));
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	begin(arg);
}

/* -- life -- */

static int add_drops(struct kube_watch *watch, const char *const *drops)
{
	size_t lists = 0, watches = 0;

	for (; drops && *drops; drops++) {
		bool annotations = strcmp(*drops, "metadata.annotations") == 0;

		if (strcmp(*drops, "metadata") == 0)
			continue; /* names and versions are needed */
		if (lists == KUBE_DROPS_MAX || !(watch->list_drops[lists++] = strdup(*drops)))
			return -ENOMEM;
		watch->drop_annotations |= annotations;
		if (!annotations && asprintf(&watch->watch_drops[watches++], "object.%s", *drops) < 0) {
			watch->watch_drops[--watches] = NULL;
			return -ENOMEM;
		}
	}
	return 0;
}

static char *selectors_text(const struct kube_watch_options *options)
{
	struct buf buf = BUF_INIT(32768);

	buf_add_str(&buf, "");
	if (options->field_selector && *options->field_selector) {
		buf_add_str(&buf, "&fieldSelector=");
		kube_escape(&buf, options->field_selector);
	}
	if (options->label_selector && *options->label_selector) {
		buf_add_str(&buf, "&labelSelector=");
		kube_escape(&buf, options->label_selector);
	}
	if (!buf.error)
		return buf.data;
	buf_free(&buf);
	return NULL;
}

struct kube_watch *kube_watch_new(struct kube *kube, struct event_base *base, const struct kube_watch_options *options,
	const struct kube_watch_events *events, void *ctx)
{
	struct kube_watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return NULL;
	watch->kube = kube;
	watch->base = base;
	watch->events = *events;
	watch->ctx = ctx;
	watch->object_max = options->object_max ? options->object_max : (size_t)1 << 20;
	watch->path = strdup(options->path);
	watch->selectors = selectors_text(options);
	watch->retry = event_new(base, -1, 0, on_retry, watch);
	watch->silence = event_new(base, -1, 0, on_silence, watch);
	if (!watch->path || !watch->selectors || !watch->retry || !watch->silence || add_drops(watch, options->drop) < 0) {
		kube_watch_free(watch);
		return NULL;
	}
	later(watch->retry, 0);
	return watch;
}

void kube_watch_free(struct kube_watch *watch)
{
	if (!watch)
		return;
	kube_call_cancel(watch->call);
	json_split_free(watch->split);
	if (watch->retry)
		event_free(watch->retry);
	if (watch->silence)
		event_free(watch->silence);
	kube_watch_forget_bad(watch);
	for (size_t i = 0; i < KUBE_DROPS_MAX; i++) {
		free(watch->list_drops[i]);
		free(watch->watch_drops[i]);
	}
	free(watch->next_page);
	free(watch->problem_text);
	free(watch->path);
	free(watch->selectors);
	free(watch);
}

const struct kube_watch_counters *kube_watch_counters(const struct kube_watch *watch)
{
	return &watch->counters;
}
