/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/http.h"

#include "base/cleanup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <event2/util.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define HTTP_TIMEOUT_S 10
#define HTTP_HEADERS_MAX 8192
/* A door opens to nobody while the process holds so many descriptors. Anybody may knock at the health port: the rest is for
 * pods and for root. */
#define TCP_DESCRIPTORS_MAX 512
#define UNIX_DESCRIPTORS_MAX 2048
#define PAUSE_MS 200

struct http_server {
	struct evhttp *http;
	struct evconnlistener *listener; /* of http, which frees it */
	struct event *again;             /* listen again */
	int listening;
	int descriptors_max;
	const struct http_route *routes;
	void *ctx;
	char path[108]; /* of the Unix socket, removed at the end */
};

/* libevent keeps a request whose connection has ended until it is answered. */
void http_reply(struct http_request *opaque, const struct http_answer *answer)
{
	struct evhttp_request *request = (struct evhttp_request *)opaque;
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	struct evbuffer *out = evbuffer_new();

	if (!out || answer->body.error || evbuffer_add(out, buf_text(&answer->body), answer->body.len) < 0) {
		evhttp_send_error(request, HTTP_INTERNAL, NULL);
	} else {
		evhttp_add_header(headers, "Content-Type", answer->content_type);
		evhttp_send_reply(request, answer->status, NULL, out);
	}
	if (out)
		evbuffer_free(out);
}

char *http_query(const struct http_request *opaque, const char *key)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri((const struct evhttp_request *)opaque);
	const char *query = uri ? evhttp_uri_get_query(uri) : NULL, *value;
	struct evkeyvalq values;
	char *found;

	if (!query || evhttp_parse_query_str(query, &values) < 0)
		return NULL;
	value = evhttp_find_header(&values, key);
	found = value ? strdup(value) : NULL;
	evhttp_clear_headers(&values);
	return found;
}

/* -- answers without an end -- */

struct http_stream {
	struct evhttp_request *request;
	struct evbuffer *piece;
	void (*gone)(void *ctx);
	void *ctx;
};

static void stream_free(struct http_stream *stream)
{
	evbuffer_free(stream->piece);
	free(stream);
}

/* A client that went away has left its request behind, to be freed by us; a server that is being freed frees it itself. */
static void on_stream_closed(struct evhttp_connection *connection, void *ctx)
{
	struct http_stream *stream = ctx;

	evhttp_connection_set_closecb(connection, NULL, NULL);
	if (!evhttp_request_get_connection(stream->request))
		evhttp_send_reply_end(stream->request);
	stream->gone(stream->ctx);
	stream_free(stream);
}

struct http_stream *http_stream_new(struct http_request *opaque, const char *content_type, void (*gone)(void *ctx), void *ctx)
{
	struct evhttp_request *request = (struct evhttp_request *)opaque;
	struct evhttp_connection *connection = evhttp_request_get_connection(request);
	struct http_stream *stream = calloc(1, sizeof(*stream));

	if (stream)
		stream->piece = evbuffer_new();
	if (!connection || !stream || !stream->piece) {
		evhttp_send_error(request, HTTP_INTERNAL, NULL);
		free(stream);
		return NULL;
	}
	stream->request = request;
	stream->gone = gone;
	stream->ctx = ctx;
	evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", content_type);
	evhttp_add_header(evhttp_request_get_output_headers(request), "Connection", "close");
	evhttp_connection_set_closecb(connection, on_stream_closed, stream);
	evhttp_send_reply_start(request, HTTP_OK, NULL);
	/* It may be silent for long; what it still sends is not read beyond this. */
	bufferevent_set_timeouts(evhttp_connection_get_bufferevent(connection), NULL, NULL);
	bufferevent_setwatermark(evhttp_connection_get_bufferevent(connection), EV_READ, 0, HTTP_HEADERS_MAX);
	return stream;
}

bool http_stream_send(struct http_stream *stream, const void *data, size_t len)
{
	struct evhttp_connection *connection = evhttp_request_get_connection(stream->request);
	struct evbuffer *waiting = bufferevent_get_output(evhttp_connection_get_bufferevent(connection));

	if (evbuffer_get_length(waiting) + len > HTTP_STREAM_BACKLOG || evbuffer_add(stream->piece, data, len) < 0)
		return false;
	evhttp_send_reply_chunk(stream->request, stream->piece);
	return true;
}

void http_stream_end(struct http_stream *stream)
{
	evhttp_connection_set_closecb(evhttp_request_get_connection(stream->request), NULL, NULL);
	evhttp_send_reply_end(stream->request);
	stream_free(stream);
}

/* -- the server -- */

static void on_request(struct evhttp_request *request, void *ctx)
{
	struct http_server *server = ctx;
	const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request));
	const struct http_route *route = server->routes;
	struct http_answer answer = {.status = 200, .content_type = "text/plain; charset=utf-8"};

	while (route->path && (!path || strcmp(route->path, path) != 0))
		route++;
	if (!route->path) {
		evhttp_send_error(request, HTTP_NOTFOUND, NULL);
		return;
	}
	if (route->post != (evhttp_request_get_command(request) == EVHTTP_REQ_POST)) {
		evhttp_send_error(request, HTTP_BADMETHOD, NULL);
		return;
	}
	if (route->begin) {
		route->begin(server->ctx, (struct http_request *)request);
		return;
	}
	answer.body = BUF_INIT((size_t)64 << 20);
	route->get(server->ctx, &answer);
	http_reply((struct http_request *)request, &answer);
	buf_free(&answer.body);
}

static void pause_listening(struct http_server *server)
{
	struct timeval pause = {.tv_usec = PAUSE_MS * 1000};

	evconnlistener_disable(server->listener);
	event_add(server->again, &pause);
}

static void listen_again(evutil_socket_t fd, short what, void *ctx)
{
	struct http_server *server = ctx;

	evconnlistener_enable(server->listener);
}

/* Asked for each connection; null: evhttp makes its own bufferevent. Descriptors are handed out from below, so the next
 * one tells how many there are. */
static struct bufferevent *on_connection(struct event_base *base, void *ctx)
{
	struct http_server *server = ctx;
	int next = fcntl(server->listening, F_DUPFD_CLOEXEC, 0);

	if (next < 0 || next >= server->descriptors_max)
		pause_listening(server);
	if (next >= 0)
		close(next);
	return NULL;
}

/* Less than all: accept() without one fails again and again. */
static int descriptors_max(int most)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 4 * 3 < (rlim_t)most)
		return (int)(limit.rlim_cur / 4 * 3);
	return most;
}

static struct http_server *server_new(struct event_base *base, const struct http_route *routes, void *ctx, int most)
{
	struct http_server *server = calloc(1, sizeof(*server));

	if (!server)
		return NULL;
	server->routes = routes;
	server->ctx = ctx;
	server->descriptors_max = descriptors_max(most);
	server->again = event_new(base, -1, 0, listen_again, server);
	server->http = evhttp_new(base);
	if (!server->http || !server->again) {
		http_free(server);
		return NULL;
	}
	evhttp_set_allowed_methods(server->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST);
	evhttp_set_timeout(server->http, HTTP_TIMEOUT_S);
	evhttp_set_max_headers_size(server->http, HTTP_HEADERS_MAX);
	evhttp_set_max_body_size(server->http, 0);
	evhttp_set_gencb(server->http, on_request, server);
	evhttp_set_bevcb(server->http, on_connection, server);
	return server;
}

/* Takes fd, also on failure. */
static int server_listen(struct http_server *server, struct event_base *base, int fd)
{
	struct evconnlistener *listener = evconnlistener_new(base, NULL, NULL,
		LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);

	if (!listener) {
		close(fd);
		return -ENOMEM;
	}
	if (!evhttp_bind_listener(server->http, listener)) {
		evconnlistener_free(listener);
		return -ENOMEM;
	}
	server->listener = listener;
	server->listening = fd;
	return 0;
}

/* A listening socket on a literal address; "" is every address of both families. */
static int tcp_socket(const char *ip, uint16_t port)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_ANY)};
	bool v6 = !ip[0] || inet_pton(AF_INET6, ip, &in6.sin6_addr) == 1;
	_cleanup_close_ int fd = -1;
	int both = ip[0] != 0;
	int one = 1;

	if (!v6 && inet_pton(AF_INET, ip, &in.sin_addr) != 1)
		return -EINVAL;
	fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 && !ip[0] && errno == EAFNOSUPPORT) { /* a kernel without IPv6 */
		v6 = false;
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	}
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (v6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &both, sizeof(both));
	if (bind(fd, v6 ? (const struct sockaddr *)&in6 : (const struct sockaddr *)&in, v6 ? sizeof(in6) : sizeof(in)) < 0 ||
		listen(fd, 64) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int http_listen_tcp(struct event_base *base, const char *ip, uint16_t port, const struct http_route *routes, void *ctx,
	struct http_server **ret, struct err *err)
{
	int fd = tcp_socket(ip, port);
	struct http_server *server;

	if (fd < 0)
		return err_set(err, fd, "--healthz-ip %s --healthz-port %u: cannot listen there: %s", ip, port, strerror(-fd));
	server = server_new(base, routes, ctx, TCP_DESCRIPTORS_MAX);
	if (!server)
		close(fd);
	if (!server || server_listen(server, base, fd) < 0) {
		http_free(server);
		return err_set(err, -ENOMEM, "health server: out of memory");
	}
	*ret = server;
	return 0;
}

static int unix_socket(const char *path, struct err *err)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;
	mode_t mask;
	int rc;

	if (strlen(path) >= sizeof(name.sun_path))
		return err_set(err, -ENAMETOOLONG, "%s: the path of a socket may have %zu bytes", path,
			sizeof(name.sun_path) - 1);
	strcpy(name.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(err, -errno, "%s: %s", path, strerror(errno));
	unlink(path);
	mask = umask(0177);
	rc = bind(fd, (const struct sockaddr *)&name, sizeof(name));
	umask(mask);
	if (rc < 0 || listen(fd, 64) < 0)
		return err_set(err, -errno, "%s: cannot listen there: %s", path, strerror(errno));
	return TAKE_FD(fd);
}

int http_listen_unix(struct event_base *base, const char *path, const struct http_route *routes, void *ctx,
	struct http_server **ret, struct err *err)
{
	int fd = unix_socket(path, err);
	struct http_server *server;

	if (fd < 0)
		return fd;
	server = server_new(base, routes, ctx, UNIX_DESCRIPTORS_MAX);
	if (!server)
		close(fd);
	if (!server || server_listen(server, base, fd) < 0) {
		http_free(server);
		return err_set(err, -ENOMEM, "%s: out of memory", path);
	}
	strcpy(server->path, path);
	*ret = server;
	return 0;
}

void http_free(struct http_server *server)
{
	if (!server)
		return;
	if (server->again)
		event_free(server->again);
	if (server->http)
		evhttp_free(server->http);
	if (server->path[0])
		unlink(server->path);
	free(server);
}
