/* SPDX-License-Identifier: Apache-2.0 */
#include "client/kube_private.h"

#include "base/cleanup.h"
#include "client/kube_answer.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define CONNECT_MS 5000L
#define BODY_MAX ((size_t)4 << 20)
#define REFUSAL_MAX ((size_t)64 << 10)
/* The header of a stream's answer: servers send it before there is anything to tell. */
#define HEADER_S 60
/* A peer that vanished without a word is given up after 10 s without any, plus 20 s. */
#define KEEP_IDLE_S 10L
#define KEEP_INTERVAL_S 5L
#define DEAD_MS 20000

void kube_call_free(struct kube_call *call)
{
	if (call->transfer.easy)
		curl_easy_cleanup(call->transfer.easy);
	if (call->late)
		event_free(call->late);
	curl_slist_free_all(call->headers);
	curl_slist_free_all(call->connect_to);
	buf_free(&call->answer);
	free(call->method);
	free(call->path);
	free(call->content_type);
	free(call->body);
	free(call);
}

/* -- inside libcurl -- */

static bool take_status(struct kube_call *call)
{
	if (!call->status) {
		curl_easy_getinfo(call->transfer.easy, CURLINFO_RESPONSE_CODE, &call->status);
		call->answer = BUF_INIT(call->status / 100 == 2 ? BODY_MAX : REFUSAL_MAX);
	}
	return call->status / 100 == 2;
}

static size_t take_data(char *data, size_t size, size_t count, void *ctx)
{
	struct kube_call *call = ctx;
	size_t len = size * count;

	if (call->cancelled)
		return 0;
	if (!take_status(call)) {
		buf_add(&call->answer, data, len); /* its beginning is enough */
		return len;
	}
	if (call->data) {
		struct err err = ERR_INIT;
		int rc = call->data(call->ctx, data, len, &err);

		if (rc < 0 && !call->cancelled) {
			call->broken = err;
			call->broken.code = rc;
		}
		return rc < 0 || call->cancelled ? 0 : len;
	}
	if (buf_add(&call->answer, data, len) == 0)
		return len;
	err_set(&call->broken, call->answer.error, "the answer is larger than %zu bytes", BODY_MAX);
	return 0;
}

static size_t take_header(char *line, size_t size, size_t count, void *ctx)
{
	struct kube_call *call = ctx;
	long status = 0;

	if (call->cancelled)
		return 0;
	if (call->late)
		event_del(call->late);
	curl_easy_getinfo(call->transfer.easy, CURLINFO_RESPONSE_CODE, &status);
	/* The empty line behind the header, unless it announces another one. */
	if (call->begun && size * count <= 2 && status / 100 == 2)
		call->begun(call->ctx);
	return call->cancelled ? 0 : size * count;
}

static int prepare_socket(void *ctx, curl_socket_t fd, curlsocktype purpose)
{
	int count = 3;
	unsigned timeout_ms = DEAD_MS;

	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
	return CURL_SOCKOPT_OK;
}

/* -- its end -- */

static void on_late(evutil_socket_t fd, short what, void *arg)
{
	struct kube_call *call = arg;

	if (call->link)
		curl_loop_remove(call->link->loop, &call->transfer);
	kube_link_put(call);
	kube_call_finish(call, CURLE_OPERATION_TIMEDOUT);
}

static void on_finished(struct curl_transfer *transfer, CURLcode code)
{
	struct kube_call *call = (struct kube_call *)transfer;

	kube_link_put(call);
	if (!call->cancelled)
		kube_call_finish(call, code);
}

/* "https://10.0.0.1:6443: GET /api/v1/nodes" */
static int begin_text(const struct kube_call *call, char *text, size_t size)
{
	int n = snprintf(text, size, "%s: %s %.*s: ", call->kube->config.servers[call->server].url, call->method,
		(int)strcspn(call->path, "?"), call->path);

	return n < 0 ? 0 : n >= (int)size ? (int)size - 1 : n;
}

/* No answer, or none that we could use. */
static void set_failure(struct kube_call *call, CURLcode code, char *text, size_t size, struct kube_answer *answer)
{
	int n = begin_text(call, text, size);

	answer->status = 0;
	if (call->broken.code)
		snprintf(text + n, size - (size_t)n, "%s", err_text(&call->broken));
	else if (code == CURLE_OPERATION_TIMEDOUT && !call->curl_error[0])
		snprintf(text + n, size - (size_t)n, "no answer in time");
	else
		snprintf(text + n, size - (size_t)n, "%s", call->curl_error[0] ? call->curl_error : curl_easy_strerror(code));
}

static void set_refusal(struct kube_call *call, struct kube_status *status, char *text, size_t size,
	struct kube_answer *answer)
{
	curl_off_t wait = 0;
	int n = begin_text(call, text, size);

	kube_status_parse(buf_text(&call->answer), call->answer.len, status);
	curl_easy_getinfo(call->transfer.easy, CURLINFO_RETRY_AFTER, &wait);
	answer->reason = status->reason;
	answer->retry_after_s = wait > 0 && wait < 3600 ? (int)wait : status->retry_after_s;
	snprintf(text + n, size - (size_t)n, "%ld%s%s%s%s", call->status, status->reason[0] ? " " : "", status->reason,
		status->message[0] ? ": " : "", status->message);
}

/* The next call goes elsewhere: to another server, and not over a connection that may hang. */
static void judge_server(struct kube_call *call, CURLcode code, const struct kube_answer *answer)
{
	struct kube *kube = call->kube;

	if (call->broken.code)
		return;
	if (code == CURLE_OPERATION_TIMEDOUT)
		kube->fresh = true;
	if (code != CURLE_OK || (answer->status >= 500 && !answer->retry_after_s))
		kube_server_failed(kube, call->server);
	if (answer->status == 401)
		kube_auth_rejected(kube->auth, call->generation);
}

void kube_call_finish(struct kube_call *call, CURLcode code)
{
	struct kube_answer answer = {.reason = "", .text = "", .body = ""};
	struct kube *kube = call->kube;
	struct kube_status status;
	char text[1024];

	if (call->late)
		event_del(call->late);
	DL_DELETE(kube->calls, call);
	if (call->transfer.easy && !call->broken.code)
		take_status(call);
	answer.status = (int)call->status;
	if (code != CURLE_OK || call->broken.code || !call->status)
		set_failure(call, code == CURLE_OK ? CURLE_GOT_NOTHING : code, text, sizeof(text), &answer);
	else if (call->status / 100 != 2)
		set_refusal(call, &status, text, sizeof(text), &answer);
	else if (!call->data) {
		answer.body = buf_text(&call->answer);
		answer.len = call->answer.len;
	}
	if (answer.status / 100 != 2)
		answer.text = text;
	judge_server(call, code, &answer);
	/* Old links go with the next work. */
	event_active(kube->work, 0, 0);
	call->done(call->ctx, &answer);
	kube_call_free(call);
}

/* -- its beginning -- */

static int add_header(struct kube_call *call, const char *line)
{
	struct curl_slist *more = curl_slist_append(call->headers, line);

	if (!more)
		return -ENOMEM;
	call->headers = more;
	return 0;
}

static int add_header_with(struct kube_call *call, const char *name, const char *value)
{
	char *line = NULL;
	int rc;

	if (asprintf(&line, "%s%s", name, value) < 0)
		return -ENOMEM;
	rc = add_header(call, line);
	kube_secret_free(&line);
	return rc;
}

static int set_headers(struct kube_call *call, const struct kube_endpoint *endpoint, const struct kube_identity *identity)
{
	int rc = add_header(call, "Accept: application/json");

	if (rc == 0)
		rc = add_header(call, "Expect:");
	if (rc == 0 && call->content_type)
		rc = add_header_with(call, "Content-Type: ", call->content_type);
	/* As kubectl: nothing secret in clear text. */
	if (rc == 0 && identity->token && endpoint->tls)
		rc = add_header_with(call, "Authorization: Bearer ", identity->token);
	if (rc == 0 && endpoint->host)
		rc = add_header(call, endpoint->host);
	curl_easy_setopt(call->transfer.easy, CURLOPT_HTTPHEADER, call->headers);
	return rc;
}

static CURLcode set_blob(CURL *easy, CURLoption option, const char *text)
{
	struct curl_blob blob = {.data = (void *)text, .len = strlen(text), .flags = CURL_BLOB_COPY};

	return curl_easy_setopt(easy, option, &blob);
}

static int set_tls(struct kube_call *call, const struct kube_identity *identity)
{
	const struct kube_config *config = &call->kube->config;
	CURL *easy = call->transfer.easy;
	CURLcode code = CURLE_OK;

	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (config->insecure) {
		curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	if (identity->ca) {
		/* Without this, Debian's own authorities would count as well. */
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
		curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
		code = set_blob(easy, CURLOPT_CAINFO_BLOB, identity->ca);
	}
	if (code == CURLE_OK && identity->cert)
		code = set_blob(easy, CURLOPT_SSLCERT_BLOB, identity->cert);
	if (code == CURLE_OK && identity->cert)
		code = set_blob(easy, CURLOPT_SSLKEY_BLOB, identity->key);
	return code == CURLE_OK ? 0 : -ENOMEM;
}

static int set_connection(struct kube_call *call, const struct kube_endpoint *endpoint)
{
	const char *proxy = call->kube->config.proxy;
	CURL *easy = call->transfer.easy;

	if (endpoint->connect_to) {
		call->connect_to = curl_slist_append(NULL, endpoint->connect_to);
		if (!call->connect_to)
			return -ENOMEM;
		curl_easy_setopt(easy, CURLOPT_CONNECT_TO, call->connect_to);
	}
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)call->timeout_ms);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, KEEP_IDLE_S);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, KEEP_INTERVAL_S);
	curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, prepare_socket);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_PROXY, proxy ? proxy : "");
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
	curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	return 0;
}

static int set_request(struct kube_call *call, const struct kube_endpoint *endpoint)
{
	CURL *easy = call->transfer.easy;
	_cleanup_free_ char *url = NULL;

	if (asprintf(&url, "%s%s", endpoint->request ? endpoint->request : endpoint->url, call->path) < 0) {
		url = NULL;
		return -ENOMEM;
	}
	if (curl_easy_setopt(easy, CURLOPT_URL, url) != CURLE_OK)
		return -ENOMEM;
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	if (call->body) {
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->len);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->body);
	}
	curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, call->method);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_data);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->curl_error);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "tulle/" TULLE_VERSION);
	return 0;
}

static int watch_header(struct kube_call *call)
{
	const struct timeval late = {.tv_sec = HEADER_S};

	if (call->timeout_ms)
		return 0;
	call->late = event_new(call->kube->base, -1, 0, on_late, call);
	return call->late && event_add(call->late, &late) == 0 ? 0 : -ENOMEM;
}

int kube_call_prepare(struct kube_call *call, const struct kube_identity *identity, struct err *err)
{
	const struct kube_endpoint *endpoint = &call->kube->config.servers[call->kube->server];
	int rc = 0;

	call->server = call->kube->server;
	call->generation = identity->generation;
	call->transfer.finished = on_finished;
	call->transfer.easy = curl_easy_init();
	if (!call->transfer.easy)
		rc = -ENOMEM;
	if (rc == 0)
		rc = set_request(call, endpoint);
	if (rc == 0)
		rc = set_headers(call, endpoint, identity);
	if (rc == 0)
		rc = set_connection(call, endpoint);
	if (rc == 0 && endpoint->tls)
		rc = set_tls(call, identity);
	if (rc == 0)
		rc = watch_header(call);
	return rc < 0 ? err_set(err, rc, "no memory") : 0;
}
