/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/bird_client.h"

#include "base/cleanup.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LINE_MAX_BYTES 8192
#define TURN_BYTES (256 * 1024) /* read in one turn of the loop, so that a long reply leaves room for others */

struct bird_call {
	struct event_base *base;
	struct bird_call_options options;
	char *command; /* with line break */
	size_t sent;
	int fd;
	struct event *event;
	bool greeted;
	int code;      /* of the line before: continuation lines have none of their own */
	char line[LINE_MAX_BYTES];
	size_t len;
	int failed;    /* to be told in the next turn */
};

void bird_call_cancel(struct bird_call **call)
{
	struct bird_call *c = *call;

	if (!c)
		return;
	*call = NULL;
	if (c->event)
		event_free(c->event);
	if (c->fd >= 0)
		close(c->fd);
	free(c->command);
	free(c);
}

static void finish(struct bird_call *call, int rc, int code, const char *text)
{
	struct bird_call_options options = call->options;
	char copy[LINE_MAX_BYTES];

	snprintf(copy, sizeof(copy), "%s", text);
	bird_call_cancel(&call);
	options.done(options.ctx, rc, code, copy);
}

static int timer(struct bird_call *call, short what)
{
	struct timeval timeout = {call->options.timeout_ms / 1000, (call->options.timeout_ms % 1000) * 1000};

	event_del(call->event);
	if (event_assign(call->event, call->base, call->fd, what, event_get_callback(call->event), call) < 0)
		return -EIO;
	return event_add(call->event, &timeout) < 0 ? -EIO : 0;
}

static bool has_code(const char *line)
{
	for (int i = 0; i < 4; i++)
		if (line[i] < '0' || line[i] > '9')
			return false;
	return line[4] == ' ' || line[4] == '-' || !line[4];
}

/* False: the call is over and gone. */
static bool take_line(struct bird_call *call, const char *line)
{
	bool last = false, goes_on = true;

	if (has_code(line)) {
		call->code = atoi(line);
		last = line[4] != '-';
		line += line[4] ? 5 : 4;
	} else if (*line == ' ' || *line == '+') {
		line++;
	} else {
		finish(call, -EPROTO, 0, line);
		return false;
	}
	if (!call->greeted) {
		call->greeted = last;
		return true;
	}
	if (!last && call->options.line)
		goes_on = call->options.line(call->options.ctx, call->code, line);
	if (last || !goes_on)
		finish(call, 0, last ? call->code : 0, last ? line : "");
	return !last && goes_on;
}

static bool take_bytes(struct bird_call *call, const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] != '\n') {
			if (call->len + 1 < sizeof(call->line))
				call->line[call->len++] = bytes[i];
			continue;
		}
		call->line[call->len] = 0;
		call->len = 0;
		if (!take_line(call, call->line))
			return false;
	}
	return true;
}

/* False: the call is over. */
static bool read_some(struct bird_call *call)
{
	char chunk[16384];

	for (size_t total = 0; total < TURN_BYTES;) {
		ssize_t n = read(call->fd, chunk, sizeof(chunk));

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return true;
		if (n <= 0) {
			finish(call, -EPIPE, 0, "BIRD closed the connection");
			return false;
		}
		if (!take_bytes(call, chunk, (size_t)n))
			return false;
		total += (size_t)n;
	}
	return true;
}

static int send_some(struct bird_call *call)
{
	size_t left = strlen(call->command) - call->sent;
	ssize_t n = send(call->fd, call->command + call->sent, left, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return -EPIPE;
	if (n > 0)
		call->sent += (size_t)n;
	return 0;
}

static void on_event(evutil_socket_t fd, short what, void *ctx)
{
	struct bird_call *call = ctx;
	bool sending;

	if (call->failed) {
		finish(call, call->failed, 0, strerror(-call->failed));
		return;
	}
	if (what == EV_TIMEOUT) {
		finish(call, -ETIMEDOUT, 0, "BIRD does not answer");
		return;
	}
	if ((what & EV_READ) && !read_some(call))
		return;
	if (call->greeted && call->command[call->sent] && send_some(call) < 0) {
		finish(call, -EPIPE, 0, "BIRD closed the connection");
		return;
	}
	sending = call->greeted && call->command[call->sent];
	if (timer(call, sending ? EV_READ | EV_WRITE : EV_READ) < 0)
		finish(call, -EIO, 0, "the event loop refuses the connection");
}

/* Failures are told by the loop: a zero timer. */
static int open_socket(struct bird_call *call)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};

	if (strlen(call->options.socket) >= sizeof(name.sun_path))
		return -ENAMETOOLONG;
	memcpy(name.sun_path, call->options.socket, strlen(call->options.socket));
	call->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (call->fd < 0)
		return -errno;
	if (connect(call->fd, (struct sockaddr *)&name, sizeof(name)) == 0)
		return 0;
	/* its queue is full: it has not accepted for long */
	return errno == EAGAIN ? -ETIMEDOUT : -errno;
}

int bird_call_new(struct event_base *base, const struct bird_call_options *options, struct bird_call **ret)
{
	struct bird_call *call = calloc(1, sizeof(*call));
	struct timeval now = {0, 0};

	if (!call)
		return -ENOMEM;
	call->base = base;
	call->options = *options;
	call->fd = -1;
	if (asprintf(&call->command, "%s\n", options->command) < 0)
		call->command = NULL;
	call->failed = call->command ? open_socket(call) : -ENOMEM;
	call->event = event_new(base, call->failed ? -1 : call->fd, EV_READ, on_event, call);
	if (!call->command || !call->event ||
		(call->failed ? event_add(call->event, &now) : timer(call, EV_READ)) < 0) {
		bird_call_cancel(&call);
		return -ENOMEM;
	}
	*ret = call;
	return 0;
}
