/* SPDX-License-Identifier: Apache-2.0
 *
 * The agent's two HTTP doors: the health port (/healthz, /readyz, /metrics; GET only) for kubelets and Prometheus,
 * and the control socket (/run/tulle/ctl.sock, root only) for tullectl with /v1/... beside these.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct http_server;

/* Writes the answer for path into body; status is preset to 200, content_type to text/plain. */
struct http_answer {
	int status;
	const char *content_type;
	struct buf body;
};

/* An answer that comes later: to be given exactly once by http_reply, before http_free. */
struct http_request;

struct http_route {
	const char *path;
	void (*get)(void *ctx, struct http_answer *answer);
	void (*begin)(void *ctx, struct http_request *request); /* instead of get */
	bool post; /* it changes something: by POST, and only so */
};

/* A value of the query ("?ip=10.1.2.3"): malloc'ed, decoded, "" when it has none; null: it is not there. */
char *http_query(const struct http_request *request, const char *key);

/* Sends and frees; also when nobody waits for it any more. answer's body stays the caller's. */
void http_reply(struct http_request *request, const struct http_answer *answer);

/* An answer without an end, sent in pieces as they come. Whoever reads too slowly is not waited for: nothing more is kept for it
 * than HTTP_STREAM_BACKLOG bytes. */
struct http_stream;
#define HTTP_STREAM_BACKLOG ((size_t)256 << 10)

/* Takes the request over, in place of http_reply. gone: the client went away, or the server is being freed; the stream is not
 * valid any more. Null without memory: the request is answered. */
struct http_stream *http_stream_new(struct http_request *request, const char *content_type, void (*gone)(void *ctx), void *ctx);
/* False: the client has too much before it already, and nothing was sent. */
bool http_stream_send(struct http_stream *stream, const void *data, size_t len);
void http_stream_end(struct http_stream *stream); /* gone is not called */

/* routes: closed by a null path; must outlive the server. ip: a literal address, "" = all of both families. */
int http_listen_tcp(struct event_base *base, const char *ip, uint16_t port, const struct http_route *routes, void *ctx,
	struct http_server **ret, struct err *err);
int http_listen_unix(struct event_base *base, const char *path, const struct http_route *routes, void *ctx,
	struct http_server **ret, struct err *err);
void http_free(struct http_server *server);
