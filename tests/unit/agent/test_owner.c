/* SPDX-License-Identifier: Apache-2.0
 *
 * The question whether Tulle is being removed, against an API server of evhttp's that answers as it is told.
 */
#include "agent/owner.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STANDS   "{\"metadata\":{\"name\":\"x\"}}"
#define DELETING "{\"metadata\":{\"name\":\"x\",\"deletionTimestamp\":\"2025-11-23T12:00:00Z\"}}"

struct reply {
	int status; /* 0: none at all */
	const char *body;
};

struct bed {
	struct event_base *base;
	struct evhttp *server;
	struct owner *owner;
	char url[64];
	struct reply daemonset, namespace;
	unsigned asked;
	bool answered, looked;
	enum owner_answer answer;
	char text[1024];
};

static const struct reply stands = {200, STANDS};

static void reply(struct evhttp_request *request, const struct reply *with)
{
	struct evbuffer *body = evbuffer_new();

	if (!with->status) { /* the request stays open until the server ends */
		evbuffer_free(body);
		return;
	}
	evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", "application/json");
	evbuffer_add_printf(body, "%s", with->body ? with->body : "{\"kind\":\"Status\",\"message\":\"no\"}");
	evhttp_send_reply(request, with->status, "status", body);
	evbuffer_free(body);
}

static void on_request(struct evhttp_request *request, void *ctx)
{
	struct bed *bed = ctx;
	const char *path = evhttp_request_get_uri(request);

	bed->asked++;
	if (strcmp(path, "/apis/apps/v1/namespaces/kube-tulle/daemonsets/tulle") == 0)
		reply(request, &bed->daemonset);
	else if (strcmp(path, "/api/v1/namespaces/kube-tulle") == 0)
		reply(request, &bed->namespace);
	else
		evhttp_send_error(request, 400, path);
}

static int setup(void **state)
{
	struct bed *bed = calloc(1, sizeof(*bed));
	struct kube_options options = {.api_url = bed->url};
	struct evhttp_bound_socket *bound;
	struct err err = ERR_INIT;
	struct sockaddr_in address;
	socklen_t len = sizeof(address);

	bed->base = event_base_new();
	bed->server = evhttp_new(bed->base);
	bound = evhttp_bind_socket_with_handle(bed->server, "127.0.0.1", 0);
	assert_non_null(bound);
	getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&address, &len);
	snprintf(bed->url, sizeof(bed->url), "http://127.0.0.1:%d", ntohs(address.sin_port));
	evhttp_set_gencb(bed->server, on_request, bed);
	bed->daemonset = bed->namespace = stands;
	if (owner_new("kube-tulle/tulle", &options, bed->base, &bed->owner, &err) < 0)
		fail_msg("%s", err_text(&err));
	*state = bed;
	return 0;
}

static int teardown(void **state)
{
	struct bed *bed = *state;

	owner_free(bed->owner);
	evhttp_free(bed->server);
	event_base_free(bed->base);
	free(bed);
	return 0;
}

static void on_looked(void *ctx, const char *text)
{
	struct bed *bed = ctx;

	bed->looked = true;
	snprintf(bed->text, sizeof(bed->text), "%s", text);
}

static void on_answered(void *ctx, enum owner_answer answer, const char *text)
{
	struct bed *bed = ctx;

	bed->answered = true;
	bed->answer = answer;
	snprintf(bed->text, sizeof(bed->text), "%s", text);
}

static void run_until(struct bed *bed, const bool *done)
{
	while (!*done)
		assert_int_equal(event_base_loop(bed->base, EVLOOP_ONCE), 0);
}

static const char *look(struct bed *bed)
{
	bed->looked = false;
	owner_look(bed->owner, on_looked, bed);
	run_until(bed, &bed->looked);
	event_base_loop(bed->base, EVLOOP_NONBLOCK); /* the client is put away behind the answer */
	return bed->text;
}

static enum owner_answer ask(struct bed *bed)
{
	bed->answered = false;
	owner_ask(bed->owner, on_answered, bed);
	run_until(bed, &bed->answered);
	return bed->answer;
}

static void test_upgrade(void **state)
{
	struct bed *bed = *state;

	assert_string_equal(look(bed), "");
	assert_int_equal(ask(bed), OWNER_STANDS);
	assert_string_equal(bed->text, "");
}

static void test_removed(void **state)
{
	static const struct {
		struct reply daemonset, namespace;
		const char *text;
	} cases[] = {
		{{404, NULL}, {200, STANDS}, "DaemonSet tulle is gone"},
		{{200, DELETING}, {200, STANDS}, "DaemonSet tulle is being deleted"},
		{{200, STANDS}, {200, DELETING}, "namespace kube-tulle is being deleted"},
		{{200, STANDS}, {404, NULL}, "namespace kube-tulle is gone"},
		{{401, NULL}, {401, NULL}, "DaemonSet tulle may not be looked at any more"},
		{{403, NULL}, {403, NULL}, "DaemonSet tulle may not be looked at any more"},
	};
	struct bed *bed = *state;

	look(bed);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bed->daemonset = cases[i].daemonset;
		bed->namespace = cases[i].namespace;
		assert_int_equal(ask(bed), OWNER_REMOVED);
		assert_non_null(strstr(bed->text, cases[i].text));
		event_base_loop(bed->base, EVLOOP_NONBLOCK);
	}
}

/* What cannot be understood removes nothing. */
static void test_in_doubt(void **state)
{
	static const struct {
		struct reply daemonset, namespace;
	} cases[] = {
		{{500, NULL}, {200, STANDS}},
		{{200, STANDS}, {500, NULL}},
		{{200, STANDS}, {403, NULL}}, /* a role that is too narrow */
		{{200, "no JSON"}, {200, "[]"}},
		{{200, "{\"metadata\":{\"deletionTimestamp\":null}}"}, {200, "{}"}},
	};
	struct bed *bed = *state;

	look(bed);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bed->daemonset = cases[i].daemonset;
		bed->namespace = cases[i].namespace;
		assert_int_equal(ask(bed), OWNER_STANDS);
		event_base_loop(bed->base, EVLOOP_NONBLOCK);
	}
}

/* A wrong name or a missing role must not take the network away with each upgrade. */
static void test_never_seen(void **state)
{
	static const int statuses[] = {404, 401, 403};
	struct bed *bed = *state;

	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		bed->daemonset = (struct reply){statuses[i], NULL};
		assert_string_not_equal(look(bed), "");
		assert_int_equal(ask(bed), OWNER_STANDS);
		event_base_loop(bed->base, EVLOOP_NONBLOCK);
	}
}

static void test_looks_until_seen(void **state)
{
	struct bed *bed = *state;
	unsigned asked;

	bed->daemonset = (struct reply){503, NULL};
	assert_string_not_equal(look(bed), "");
	bed->daemonset = stands;
	assert_string_equal(look(bed), "");
	asked = bed->asked;
	owner_look(bed->owner, on_looked, bed);
	event_base_loop(bed->base, EVLOOP_NONBLOCK);
	assert_int_equal(bed->asked, asked);
}

static void test_silence(void **state)
{
	struct bed *bed = *state;

	look(bed);
	bed->daemonset.status = 0;
	assert_int_equal(ask(bed), OWNER_STANDS);
	assert_string_not_equal(bed->text, "");
}

static void test_nobody_listens(void **state)
{
	struct bed *bed = *state;

	look(bed);
	evhttp_free(bed->server);
	bed->server = evhttp_new(bed->base);
	assert_int_equal(ask(bed), OWNER_STANDS);
	assert_string_not_equal(bed->text, "");
}

static void test_asked_while_looking(void **state)
{
	struct bed *bed = *state;

	bed->daemonset.status = 0;
	owner_look(bed->owner, on_looked, bed);
	while (!bed->asked)
		event_base_loop(bed->base, EVLOOP_ONCE);
	bed->daemonset = stands;
	assert_int_equal(ask(bed), OWNER_STANDS);
	assert_string_equal(bed->text, "");
	assert_false(bed->looked);
}

static void test_names(void **state)
{
	static const char *const bad[] = {"", "tulle", "/tulle", "kube-tulle/", "a/b/c"};
	struct bed *bed = *state;
	struct kube_options options = {.api_url = bed->url};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct owner *owner = NULL;
		struct err err = ERR_INIT;

		assert_true(owner_new(bad[i], &options, bed->base, &owner, &err) < 0);
		assert_non_null(strstr(err_text(&err), "NAMESPACE/NAME"));
		assert_null(owner);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_upgrade), T(test_removed), T(test_in_doubt), T(test_never_seen), T(test_looks_until_seen),
		T(test_silence), T(test_nobody_listens), T(test_asked_while_looking), T(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
