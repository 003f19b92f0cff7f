/* SPDX-License-Identifier: Apache-2.0
 *
 * A client of the Kubernetes API reduced to its watches, for tests: prints every event as one JSON line on stdout and
 * takes commands on stdin:
 *   watch PATH [field=SELECTOR] [label=SELECTOR] [drop=NAME,NAME…] [max=BYTES] [quiet]   quiet: no put, only its count
 *   call METHOD PATH [BODY]          content type application/merge-patch+json with PATCH, else application/json
 *   burst COUNT PATH                 COUNT calls at once; prints the slowest and the sum of failures
 *   stream PATH SECONDS              reads a stream without splitting it, cancels it then
 *   counters   free NUMBER   server   quit
 * Usage: kube_probe [kubeconfig=FILE] [api=URLS]
 */
#include "base/cleanup.h"
#include "client/kube_watch.h"

#include "base/buf.h"

#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WATCHES_MAX 16

struct probe {
	struct event_base *base;
	struct kube *kube;
	struct buf input;
	struct watch {
		struct kube_watch *watch;
		bool quiet;
		unsigned puts;
		int number;
	} watches[WATCHES_MAX];
	int watch_count;
	unsigned burst_left, burst_failed;
	double burst_slowest;
	char burst_text[512];
};

static struct probe probe;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void print(json_t *json)
{
	char *text = json_dumps(json, JSON_COMPACT);

	puts(text ? text : "{\"event\":\"unprintable\"}");
	fflush(stdout);
	free(text);
	json_decref(json);
}

/* -- watches -- */

static void on_begin(void *ctx, bool anew)
{
	struct watch *watch = ctx;

	watch->puts = 0;
	print(json_pack("{s:s, s:i, s:b}", "event", "begin", "watch", watch->number, "anew", anew));
}

static void print_object(struct watch *watch, const char *event, const json_t *object)
{
	print(json_pack("{s:s, s:i, s:O}", "event", event, "watch", watch->number, "object", (json_t *)object));
}

static void on_put(void *ctx, const json_t *object)
{
	struct watch *watch = ctx;

	watch->puts++;
	if (!watch->quiet)
		print_object(watch, "put", object);
}

static void on_gone(void *ctx, const json_t *object)
{
	print_object(ctx, "gone", object);
}

static void on_end(void *ctx)
{
	struct watch *watch = ctx;

	print(json_pack("{s:s, s:i, s:i}", "event", "end", "watch", watch->number, "puts", (int)watch->puts));
}

static void on_problem(void *ctx, const char *text)
{
	struct watch *watch = ctx;

	print(json_pack("{s:s, s:i, s:s}", "event", "problem", "watch", watch->number, "text", text));
}

static const struct kube_watch_events events = {on_begin, on_put, on_gone, on_end, on_problem};

static bool value_of(const char *word, const char *name, const char **ret)
{
	size_t len = strlen(name);

	if (strncmp(word, name, len) != 0 || word[len] != '=')
		return false;
	*ret = word + len + 1;
	return true;
}

static bool add_watch(char *rest)
{
	const char *path = strsep(&rest, " "), *value, *drops[17] = {0};
	struct kube_watch_options options = {.path = path, .drop = drops};
	struct watch *watch = &probe.watches[probe.watch_count];
	size_t count = 0;
	char *word;

	if (!path || probe.watch_count == WATCHES_MAX)
		return false;
	while ((word = strsep(&rest, " "))) {
		if (value_of(word, "drop", &value)) {
			char *names = word + 5;

			while (names && count < 16)
				drops[count++] = strsep(&names, ",");
		} else if (value_of(word, "max", &value)) {
			options.object_max = (size_t)atoll(value);
		} else if (strcmp(word, "quiet") == 0) {
			watch->quiet = true;
		} else if (!value_of(word, "field", &options.field_selector) &&
			!value_of(word, "label", &options.label_selector)) {
			return false;
		}
	}
	watch->number = probe.watch_count++;
	watch->watch = kube_watch_new(probe.kube, probe.base, &options, &events, watch);
	return watch->watch != NULL;
}

/* -- calls -- */

static void on_done(void *ctx, const struct kube_answer *answer)
{
	print(json_pack("{s:s, s:i, s:s, s:s, s:i, s:s%}", "event", "done", "status", answer->status, "reason", answer->reason,
		"text", answer->text, "retry_after", answer->retry_after_s, "body", answer->body, answer->len));
}

static bool call(char *rest)
{
	const char *method = strsep(&rest, " "), *path = strsep(&rest, " ");
	struct kube_request request = {.method = method, .path = path, .timeout_ms = 10000, .done = on_done};

	if (!method || !path)
		return false;
	if (rest) {
		request.content_type = strcmp(method, "PATCH") == 0 ? "application/merge-patch+json" : "application/json";
		request.body = rest;
		request.len = strlen(rest);
	}
	return kube_call_new(probe.kube, &request) != NULL;
}

struct one {
	double since;
};

static void on_burst(void *ctx, const struct kube_answer *answer)
{
	struct one *one = ctx;
	double took = now() - one->since;

	if (took > probe.burst_slowest)
		probe.burst_slowest = took;
	probe.burst_failed += answer->status != 200;
	if (answer->status != 200)
		snprintf(probe.burst_text, sizeof(probe.burst_text), "%s", answer->text);
	if (--probe.burst_left == 0)
		print(json_pack("{s:s, s:f, s:i, s:s}", "event", "burst", "slowest", probe.burst_slowest, "failed",
			(int)probe.burst_failed, "text", probe.burst_text));
	free(one);
}

static bool burst(char *rest)
{
	const char *count = strsep(&rest, " "), *path = strsep(&rest, " ");

	if (!count || !path)
		return false;
	probe.burst_slowest = 0;
	probe.burst_failed = 0;
	probe.burst_text[0] = 0;
	for (int i = 0; i < atoi(count); i++) {
		struct one *one = malloc(sizeof(*one));
		struct kube_request request = {.method = "GET", .path = path, .timeout_ms = 30000, .done = on_burst, .ctx = one};

		if (!one)
			return false;
		one->since = now();
		probe.burst_left++;
		if (!kube_call_new(probe.kube, &request))
			return false;
	}
	return true;
}

/* -- a bare stream -- */

struct stream {
	struct kube_call *call;
	struct event *end;
	size_t bytes;
};

static void stream_over(struct stream *stream, const char *text)
{
	print(json_pack("{s:s, s:I, s:s}", "event", "stream", "bytes", (json_int_t)stream->bytes, "text", text));
	event_free(stream->end);
	free(stream);
}

static int on_stream(void *ctx, const char *data, size_t len, struct err *err)
{
	struct stream *stream = ctx;

	stream->bytes += len;
	return 0;
}

static void on_stream_done(void *ctx, const struct kube_answer *answer)
{
	stream_over(ctx, *answer->text ? answer->text : "ended");
}

static void on_stream_end(evutil_socket_t fd, short what, void *arg)
{
	struct stream *stream = arg;

	kube_call_cancel(stream->call);
	stream_over(stream, "cancelled");
}

static bool read_stream(char *rest)
{
	const char *path = strsep(&rest, " "), *seconds = strsep(&rest, " ");
	struct stream *stream = calloc(1, sizeof(*stream));
	struct kube_request request = {.method = "GET", .path = path, .data = on_stream, .done = on_stream_done, .ctx = stream};
	struct timeval tv = {0};

	if (!path || !seconds || !stream)
		return false;
	tv.tv_sec = atoi(seconds);
	stream->end = event_new(probe.base, -1, 0, on_stream_end, stream);
	event_add(stream->end, &tv);
	stream->call = kube_call_new(probe.kube, &request);
	return stream->call != NULL;
}

/* -- commands -- */

static void print_counters(void)
{
	for (int i = 0; i < probe.watch_count; i++) {
		const struct kube_watch_counters *counters;

		if (!probe.watches[i].watch)
			continue;
		counters = kube_watch_counters(probe.watches[i].watch);
		print(json_pack("{s:s, s:i, s:I, s:I, s:I}", "event", "counters", "watch", i, "bytes", (json_int_t)counters->bytes,
			"objects", (json_int_t)counters->objects, "lists", (json_int_t)counters->lists));
	}
}

static bool free_watch(const char *number)
{
	int i = number ? atoi(number) : -1;

	if (i < 0 || i >= probe.watch_count)
		return false;
	kube_watch_free(probe.watches[i].watch);
	probe.watches[i].watch = NULL;
	return true;
}

static void command(char *line)
{
	char *rest = line, *word = strsep(&rest, " ");
	bool ok = true;

	if (strcmp(word, "watch") == 0 && rest)
		ok = add_watch(rest);
	else if (strcmp(word, "call") == 0 && rest)
		ok = call(rest);
	else if (strcmp(word, "burst") == 0 && rest)
		ok = burst(rest);
	else if (strcmp(word, "stream") == 0 && rest)
		ok = read_stream(rest);
	else if (strcmp(word, "counters") == 0)
		print_counters();
	else if (strcmp(word, "free") == 0)
		ok = free_watch(rest);
	else if (strcmp(word, "server") == 0)
		print(json_pack("{s:s, s:s}", "event", "server", "url", kube_server(probe.kube)));
	else
		event_base_loopbreak(probe.base);
	if (!ok)
		print(json_pack("{s:s, s:s}", "event", "error", "text", word));
}

static void on_input(evutil_socket_t fd, short what, void *arg)
{
	char chunk[65536];
	ssize_t n = read(fd, chunk, sizeof(chunk));
	char *end;

	if (n <= 0) {
		event_base_loopbreak(probe.base);
		return;
	}
	buf_add(&probe.input, chunk, (size_t)n);
	while (probe.input.len && (end = memchr(probe.input.data, '\n', probe.input.len))) {
		size_t len = (size_t)(end - probe.input.data) + 1;
		_cleanup_free_ char *line = strndup(probe.input.data, len - 1);

		buf_consume(&probe.input, len);
		command(line);
	}
}

int main(int argc, char **argv)
{
	struct kube_options options = {0};
	struct err err = ERR_INIT;
	struct event *input;

	signal(SIGPIPE, SIG_IGN);
	for (int i = 1; i < argc; i++)
		if (!value_of(argv[i], "kubeconfig", &options.kubeconfig) && !value_of(argv[i], "api", &options.api_url))
			return 2;
	probe.base = event_base_new();
	probe.input = BUF_INIT((size_t)4 << 20);
	if (kube_new(&options, probe.base, &probe.kube, &err) < 0) {
		print(json_pack("{s:s, s:s}", "event", "error", "text", err_text(&err)));
		return 1;
	}
	input = event_new(probe.base, STDIN_FILENO, EV_READ | EV_PERSIST, on_input, NULL);
	event_add(input, NULL);
	print(json_pack("{s:s, s:s}", "event", "ready", "server", kube_server(probe.kube)));
	event_base_dispatch(probe.base);
	for (int i = 0; i < probe.watch_count; i++)
		kube_watch_free(probe.watches[i].watch);
	kube_free(probe.kube);
	event_free(input);
	event_base_free(probe.base);
	buf_free(&probe.input);
	return 0;
}
