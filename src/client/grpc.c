/* SPDX-License-Identifier: Apache-2.0 */
#include "client/grpc.h"

#include "base/cleanup.h"
#include "client/curl_loop.h"
#include "client/grpc_frame.h"

#include <ctype.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ENDPOINTS_MAX 32
#define MESSAGE_MAX ((size_t)8 << 20)
#define UPLOAD_MAX ((size_t)4 << 20)
#define CONNECT_MS 2000L

struct grpc {
	struct curl_loop *loop;
	struct event_base *base;
	char *endpoints[ENDPOINTS_MAX];
	unsigned endpoint_count;
	unsigned current;
	char *keyfile, *certfile, *cafile;
};

struct grpc_call {
	struct curl_transfer transfer; /* first */
	struct grpc *grpc;
	struct grpc_call_options options;
	unsigned endpoint;
	struct curl_slist *headers;
	struct buf upload; /* frames that are not sent yet */
	bool paused;       /* libcurl waits for more to send */
	bool stream;
	struct grpc_frames frames;
	struct event *deliver; /* takes messages and the end out of libcurl's callbacks */
	struct err broken;     /* why we stopped reading */
	bool in_multi, finished, freed, delivering;
	CURLcode curl_code;
	char curl_error[CURL_ERROR_SIZE];
	int status;       /* grpc-status; -1: has not come */
	char message[384]; /* grpc-message */
};

/* -- endpoints -- */

static char *copy(const char *text)
{
	return text && *text ? strdup(text) : NULL;
}

static int add_endpoint(struct grpc *grpc, const char *text, size_t len, struct err *err)
{
	char *url = NULL;

	while (len && isspace((unsigned char)*text))
		text++, len--;
	while (len && (isspace((unsigned char)text[len - 1]) || text[len - 1] == '/'))
		len--;
	if (!len)
		return 0;
	/* Endpoints stand in stories and in the log; the text is not repeated here for the same reason. */
	if (memchr(text, '@', len))
		return err_set(err, -EINVAL, "etcd endpoint %u: it holds a user name or a password (before \"@\"), expected "
			"them as --etcd-username and --etcd-password", grpc->endpoint_count + 1);
	if (grpc->endpoint_count >= ENDPOINTS_MAX)
		return err_set(err, -EINVAL, "etcd endpoints: more than %d of them", ENDPOINTS_MAX);
	if (asprintf(&url, "%s%.*s", memmem(text, len, "://", 3) ? "" : "http://", (int)len, text) < 0)
		return err_set(err, -ENOMEM, "etcd endpoints: no memory");
	grpc->endpoints[grpc->endpoint_count++] = url;
	if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
		return err_set(err, -EINVAL, "etcd endpoint \"%s\": expected http:// or https://", url);
	return 0;
}

static int add_endpoints(struct grpc *grpc, const char *list, struct err *err)
{
	const char *rest = list ? list : "";

	for (;;) {
		size_t len = strcspn(rest, ",");
		int rc = add_endpoint(grpc, rest, len, err);

		if (rc < 0)
			return rc;
		if (!rest[len])
			break;
		rest += len + 1;
	}
	if (!grpc->endpoint_count)
		return err_set(err, -EINVAL, "etcd endpoints: the list is \"%s\", expected a URL at least",
			list ? list : "");
	return 0;
}

static void endpoint_failed(struct grpc *grpc, unsigned endpoint)
{
	if (endpoint == grpc->current)
		grpc->current = (grpc->current + 1) % grpc->endpoint_count;
}

int grpc_new(const struct grpc_options *options, struct event_base *base, struct grpc **ret, struct err *err)
{
	struct grpc *grpc = calloc(1, sizeof(*grpc));
	int rc;

	if (!grpc)
		return err_set(err, -ENOMEM, "etcd: no memory");
	grpc->base = base;
	grpc->keyfile = copy(options->keyfile);
	grpc->certfile = copy(options->certfile);
	grpc->cafile = copy(options->cafile);
	rc = add_endpoints(grpc, options->endpoints, err);
	if (rc == 0 && !grpc->keyfile != !grpc->certfile)
		rc = err_set(err, -EINVAL, "etcd: a client %s is given without its %s, expected both or none",
			grpc->keyfile ? "key" : "certificate", grpc->keyfile ? "certificate" : "key");
	if (rc == 0)
		rc = curl_loop_new(base, &grpc->loop, err);
	if (rc < 0) {
		grpc_free(grpc);
		return rc;
	}
	/* Nodes spread over the members. */
	grpc->current = arc4random_uniform(grpc->endpoint_count);
	*ret = grpc;
	return 0;
}

void grpc_free(struct grpc *grpc)
{
	if (!grpc)
		return;
	curl_loop_free(grpc->loop);
	for (unsigned i = 0; i < grpc->endpoint_count; i++)
		free(grpc->endpoints[i]);
	free(grpc->keyfile);
	free(grpc->certfile);
	free(grpc->cafile);
	free(grpc);
}

/* -- libcurl's callbacks: only buffers and flags -- */

static void deliver_soon(struct grpc_call *call)
{
	event_active(call->deliver, 0, 0);
}

static size_t take_data(char *data, size_t size, size_t count, void *ctx)
{
	struct grpc_call *call = ctx;

	if (call->broken.code || grpc_frames_add(&call->frames, data, size * count, &call->broken) < 0)
		return 0;
	deliver_soon(call);
	return size * count;
}

static size_t give_data(char *data, size_t size, size_t count, void *ctx)
{
	struct grpc_call *call = ctx;
	size_t len = size * count < call->upload.len ? size * count : call->upload.len;

	if (!len) {
		call->paused = call->stream;
		return call->stream ? CURL_READFUNC_PAUSE : 0;
	}
	memcpy(data, call->upload.data, len);
	buf_consume(&call->upload, len);
	return len;
}

static int hex(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? (c | 32) - 'a' + 10 : -1;
}

/* grpc-message is percent-encoded; what is not printable is not let through. */
static void decode_message(const char *text, size_t len, char *ret, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < len && n + 1 < size; i++) {
		char c = text[i];

		if (c == '%' && i + 2 < len && hex(text[i + 1]) >= 0 && hex(text[i + 2]) >= 0) {
			c = (char)(hex(text[i + 1]) << 4 | hex(text[i + 2]));
			i += 2;
		}
		ret[n++] = (unsigned char)c < 0x20 || (unsigned char)c > 0x7e ? '?' : c;
	}
	ret[n] = 0;
}

static bool is_header(const char *line, size_t len, const char *name, const char **value, size_t *value_len)
{
	size_t head = strlen(name);

	if (len <= head || strncasecmp(line, name, head) != 0 || line[head] != ':')
		return false;
	line += head + 1;
	len -= head + 1;
	while (len && *line == ' ')
		line++, len--;
	while (len && strchr("\r\n ", line[len - 1]))
		len--;
	*value = line;
	*value_len = len;
	return true;
}

/* Headers and trailers alike. */
static size_t take_header(char *line, size_t size, size_t count, void *ctx)
{
	struct grpc_call *call = ctx;
	const char *value;
	size_t len;

	if (is_header(line, size * count, "grpc-status", &value, &len)) {
		call->status = 0;
		for (size_t i = 0; i < len && i < 4 && isdigit((unsigned char)value[i]); i++)
			call->status = call->status * 10 + (value[i] - '0');
		if (!len || !isdigit((unsigned char)*value))
			call->status = GRPC_UNKNOWN;
		/* The last word. libcurl would still wait for us to end our side of a stream. */
		call->finished = call->stream;
		deliver_soon(call);
	} else if (is_header(line, size * count, "grpc-message", &value, &len)) {
		decode_message(value, len, call->message, sizeof(call->message));
	}
	return size * count;
}

static int prepare_socket(void *ctx, curl_socket_t fd, curlsocktype purpose)
{
	int count = 3;
	unsigned timeout_ms = 15000;

	/* A member that vanished without a word is noticed within seconds. */
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
	return CURL_SOCKOPT_OK;
}

static void transfer_finished(struct curl_transfer *transfer, CURLcode code)
{
	struct grpc_call *call = (struct grpc_call *)transfer;

	call->in_multi = false;
	call->finished = true;
	call->curl_code = code;
	deliver_soon(call);
}

/* -- calls -- */

static void call_free(struct grpc_call *call)
{
	if (call->in_multi)
		curl_loop_remove(call->grpc->loop, &call->transfer);
	if (call->transfer.easy)
		curl_easy_cleanup(call->transfer.easy);
	if (call->deliver)
		event_free(call->deliver);
	curl_slist_free_all(call->headers);
	buf_free(&call->upload);
	grpc_frames_done(&call->frames);
	free(call);
}

static void set_status(struct grpc_call *call, struct grpc_status *status)
{
	const char *endpoint = call->grpc->endpoints[call->endpoint];
	long http = 0;

	curl_easy_getinfo(call->transfer.easy, CURLINFO_RESPONSE_CODE, &http);
	memset(status, 0, sizeof(*status));
	if (call->broken.code) {
		status->code = call->broken.code == -EMSGSIZE ? GRPC_RESOURCE_EXHAUSTED : GRPC_INTERNAL;
		snprintf(status->text, sizeof(status->text), "%s: %s", endpoint, err_text(&call->broken));
	} else if (call->status >= 0) {
		status->code = call->status;
		if (call->status)
			snprintf(status->text, sizeof(status->text), "%s: %s", endpoint,
				*call->message ? call->message : "refused without a reason");
	} else if (call->curl_code == CURLE_OPERATION_TIMEDOUT) {
		status->code = GRPC_DEADLINE_EXCEEDED;
		snprintf(status->text, sizeof(status->text), "%s: no answer in time", endpoint);
	} else if (call->curl_code != CURLE_OK) {
		status->code = GRPC_UNAVAILABLE;
		snprintf(status->text, sizeof(status->text), "%s: %s", endpoint,
			*call->curl_error ? call->curl_error : curl_easy_strerror(call->curl_code));
	} else {
		status->code = GRPC_UNAVAILABLE;
		snprintf(status->text, sizeof(status->text), "%s: no gRPC answer (HTTP status %ld)", endpoint, http);
	}
}

static void finish(struct grpc_call *call)
{
	void (*done)(void *ctx, const struct grpc_status *status) = call->options.done;
	void *ctx = call->options.ctx;
	struct grpc_status status;

	if (!call->broken.code && call->status == GRPC_OK && grpc_frames_torn(&call->frames))
		err_set(&call->broken, -EPROTO, "gRPC: the answer ends inside a message");
	set_status(call, &status);
	if (status.code == GRPC_UNAVAILABLE || status.code == GRPC_DEADLINE_EXCEEDED || status.code == GRPC_INTERNAL)
		endpoint_failed(call->grpc, call->endpoint);
	call_free(call);
	done(ctx, &status);
}

static void on_deliver(evutil_socket_t fd, short what, void *arg)
{
	struct grpc_call *call = arg;
	const uint8_t *data;
	size_t len;

	call->delivering = true;
	while (!call->freed && grpc_frames_next(&call->frames, &data, &len, &call->broken) > 0)
		call->options.message(call->options.ctx, data, len);
	call->delivering = false;
	if (call->freed)
		call_free(call);
	else if (call->finished || call->broken.code)
		finish(call);
}

static void add_header(struct grpc_call *call, const char *line)
{
	struct curl_slist *more = curl_slist_append(call->headers, line);

	if (more)
		call->headers = more;
}

static void set_headers(struct grpc_call *call)
{
	char timeout[40];

	add_header(call, "Content-Type: application/grpc");
	add_header(call, "TE: trailers");
	add_header(call, "Expect:");
	add_header(call, "Accept:");
	for (size_t i = 0; i < ARRAY_SIZE(call->options.metadata) && call->options.metadata[i]; i++)
		add_header(call, call->options.metadata[i]);
	if (call->options.deadline_ms) {
		snprintf(timeout, sizeof(timeout), "grpc-timeout: %ldm", call->options.deadline_ms);
		add_header(call, timeout);
	}
	curl_easy_setopt(call->transfer.easy, CURLOPT_HTTPHEADER, call->headers);
}

static void set_tls(struct grpc_call *call)
{
	const struct grpc *grpc = call->grpc;
	CURL *easy = call->transfer.easy;

	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (grpc->cafile) {
		curl_easy_setopt(easy, CURLOPT_CAINFO, grpc->cafile);
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	}
	if (grpc->keyfile) {
		curl_easy_setopt(easy, CURLOPT_SSLCERT, grpc->certfile);
		curl_easy_setopt(easy, CURLOPT_SSLKEY, grpc->keyfile);
	}
}

static void set_connection(struct grpc_call *call, bool tls)
{
	CURL *easy = call->transfer.easy;

	if (tls)
		set_tls(call);
	else
		curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE);
	/* libcurl 7.88.1 breaks the second request on a clear-text HTTP/2 connection; and a stream, which is paused most
	 * of the time, shares its connection with nobody. */
	if (!tls || call->stream) {
		curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
		curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
	}
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, call->options.deadline_ms);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 10L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 5L);
	curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, prepare_socket);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
}

static int set_request(struct grpc_call *call)
{
	const char *endpoint = call->grpc->endpoints[call->endpoint];
	CURL *easy = call->transfer.easy;
	_cleanup_free_ char *url = NULL;

	if (asprintf(&url, "%s%s", endpoint, call->options.method) < 0)
		return -ENOMEM;
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_POST, 1L);
	if (!call->stream)
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->upload.len);
	curl_easy_setopt(easy, CURLOPT_READFUNCTION, give_data);
	curl_easy_setopt(easy, CURLOPT_READDATA, call);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_data);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->curl_error);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "tulle/" TULLE_VERSION);
	set_headers(call);
	set_connection(call, strncmp(endpoint, "https:", 6) == 0);
	return 0;
}

static int queue_frame(struct grpc_call *call, const uint8_t *data, size_t len)
{
	uint8_t header[GRPC_FRAME_HEADER];

	grpc_frame_header(len, header);
	buf_add(&call->upload, header, sizeof(header));
	return buf_add(&call->upload, data, len);
}

struct grpc_call *grpc_call_new(struct grpc *grpc, const struct grpc_call_options *options, const uint8_t *data,
	size_t len)
{
	struct grpc_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->grpc = grpc;
	call->options = *options;
	call->endpoint = grpc->current;
	call->stream = options->deadline_ms == 0;
	call->status = -1;
	call->upload = BUF_INIT(UPLOAD_MAX);
	grpc_frames_init(&call->frames, MESSAGE_MAX);
	call->transfer.finished = transfer_finished;
	call->transfer.easy = curl_easy_init();
	call->deliver = event_new(grpc->base, -1, 0, on_deliver, call);
	if (!call->transfer.easy || !call->deliver || queue_frame(call, data, len) < 0 || set_request(call) < 0 ||
		curl_loop_add(grpc->loop, &call->transfer, NULL) < 0) {
		call_free(call);
		return NULL;
	}
	call->in_multi = true;
	memset(call->options.metadata, 0, sizeof(call->options.metadata)); /* libcurl has copies */
	return call;
}

int grpc_call_send(struct grpc_call *call, const uint8_t *data, size_t len)
{
	int rc = queue_frame(call, data, len);

	if (rc == 0 && call->paused && call->in_multi) {
		call->paused = false;
		curl_easy_pause(call->transfer.easy, CURLPAUSE_CONT);
	}
	return rc;
}

void grpc_call_cancel(struct grpc_call *call, bool failed)
{
	if (!call)
		return;
	if (failed)
		endpoint_failed(call->grpc, call->endpoint);
	if (call->delivering)
		call->freed = true; /* on_deliver is on the stack */
	else
		call_free(call);
}
