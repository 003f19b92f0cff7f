/* SPDX-License-Identifier: Apache-2.0 */
#include "cni_server/cni_connection.h"

#include "base/cleanup.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define DEADLINE_S 10

struct cni_connection {
	struct cni_connection_options options;
	struct event_base *base;
	int fd, netns_fd;
	struct event *io, *deadline;
	struct frame_request head;
	char *fields;          /* null until the head is complete */
	size_t got;            /* bytes of head and fields */
	struct buf out;        /* answer's head and text */
	size_t sent;
	void *job;
	bool delivered;
	int64_t since_ms;      /* of the request's end; 0: it has not come yet */
	bool waits;
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void cni_connection_end(struct cni_connection *c)
{
	c->options.done(c->options.ctx, c, c->job, c->delivered);
	if (c->io)
		event_free(c->io);
	if (c->deadline)
		event_free(c->deadline);
	cleanup_close(&c->fd);
	cleanup_close(&c->netns_fd);
	free(c->fields);
	buf_free(&c->out);
	free(c);
}

static bool is_gone(int fd)
{
	/* not POLLRDHUP: who has only closed its sending side still waits for the answer */
	struct pollfd poll_fd = {.fd = fd};

	return poll(&poll_fd, 1, 0) > 0 && (poll_fd.revents & (POLLHUP | POLLERR));
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	cni_connection_end(arg);
}

static void set_deadline(struct cni_connection *c)
{
	const struct timeval limit = {.tv_sec = DEADLINE_S};

	evtimer_add(c->deadline, &limit);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct cni_connection *c = arg;

	(void)what;
	while (c->sent < c->out.len) {
		ssize_t n = send(fd, c->out.data + c->sent, c->out.len - c->sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			break;
		c->sent += (size_t)n;
	}
	c->delivered = c->sent == c->out.len;
	cni_connection_end(c);
}

static void start_answer(struct cni_connection *c, int exit_code)
{
	struct frame_answer head = {.magic = FRAME_MAGIC, .version = FRAME_VERSION, .exit_code = exit_code};

	head.len = c->out.error ? 0 : (uint32_t)(c->out.len - sizeof(head));
	if (c->out.error || c->out.len < sizeof(head)) {
		cni_connection_end(c);
		return;
	}
	memcpy(c->out.data, &head, sizeof(head));
	event_del(c->io);
	event_assign(c->io, c->base, c->fd, EV_WRITE | EV_PERSIST, on_writable, c);
	event_add(c->io, NULL);
	set_deadline(c);
	on_writable(c->fd, EV_WRITE, c);
}

/* Closing a Unix socket with input unread resets it, and the other side would lose our answer. */
static void drop_input(struct cni_connection *c)
{
	char rest[16384];

	for (size_t left = FRAME_STDIN_MAX / sizeof(rest); left && recv(c->fd, rest, sizeof(rest), 0) > 0;
		left--)
		;
}

static void refuse(struct cni_connection *c, const char *why)
{
	drop_input(c);
	c->options.refuse(c->options.ctx, why, &c->out);
	start_answer(c, 1);
}

/* Keeps the first descriptor that comes along. */
static void take_descriptors(struct cni_connection *c, struct msghdr *msg)
{
	for (struct cmsghdr *part = CMSG_FIRSTHDR(msg); part; part = CMSG_NXTHDR(msg, part)) {
		size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
			if (c->netns_fd < 0)
				c->netns_fd = fd;
			else
				close(fd);
		}
	}
}

/* Bytes read, 0 at the end, -EAGAIN, or another negative errno. */
static ssize_t receive(struct cni_connection *c)
{
	struct iovec iov = {(char *)&c->head + c->got, sizeof(c->head) - c->got};
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(4 * sizeof(int))];
	} control;
	struct msghdr msg = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control.room)};
	ssize_t n;

	if (c->fields)
		iov = (struct iovec){
			c->fields + (c->got - sizeof(c->head)), sizeof(c->head) + c->head.total - c->got};
	do
		n = recvmsg(c->fd, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	take_descriptors(c, &msg);
	c->got += (size_t)n;
	return n;
}

/* a plugin that was killed gets no pod; its runtime will call again */
static void ask(struct cni_connection *c)
{
	int exit_code;

	if (is_gone(c->fd)) {
		cni_connection_end(c);
		return;
	}
	exit_code = c->options.handle(c->options.ctx, &c->head, c->fields, c->netns_fd, now_ms() - c->since_ms, &c->out,
		&c->job);
	c->waits = exit_code == CNI_CONNECTION_LATER;
	if (!c->waits)
		start_answer(c, exit_code);
}

static void run(struct cni_connection *c)
{
	bool promised = c->head.flags & FRAME_HAS_NETNS;

	if (promised != (c->netns_fd >= 0)) {
		refuse(c, "the request's flags and its descriptor disagree");
		return;
	}
	event_del(c->io);
	event_del(c->deadline);
	c->since_ms = now_ms();
	ask(c);
}

bool cni_connection_waits(const struct cni_connection *c)
{
	return c->waits;
}

void cni_connection_resume(struct cni_connection *c)
{
	if (c->waits)
		ask(c);
}

/* The head is complete. */
static bool begin_fields(struct cni_connection *c)
{
	const char *why = frame_request_check(&c->head);

	if (why) {
		refuse(c, why);
		return false;
	}
	c->fields = malloc((size_t)c->head.total + 1);
	if (!c->fields) {
		cni_connection_end(c);
		return false;
	}
	return true;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct cni_connection *c = arg;

	(void)fd;
	(void)what;
	for (;;) {
		ssize_t n;

		if (c->got == sizeof(c->head) && !c->fields && !begin_fields(c))
			return;
		if (c->fields && c->got == sizeof(c->head) + c->head.total)
			break;
		n = receive(c);
		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			cni_connection_end(c);
			return;
		}
	}
	run(c);
}

struct cni_connection *cni_connection_new(struct event_base *base, int fd,
	const struct cni_connection_options *options)
{
	struct cni_connection *c = calloc(1, sizeof(*c));
	struct frame_answer room = {0};

	if (!c) {
		close(fd);
		return NULL;
	}
	*c = (struct cni_connection){.options = *options,
		.base = base,
		.fd = fd,
		.netns_fd = -1,
		.out = BUF_INIT(sizeof(room) + FRAME_ANSWER_MAX)};
	c->io = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, c);
	c->deadline = evtimer_new(base, on_deadline, c);
	if (!c->io || !c->deadline || buf_add(&c->out, &room, sizeof(room)) < 0 ||
		event_add(c->io, NULL) < 0) {
		if (c->io)
			event_free(c->io);
		if (c->deadline)
			event_free(c->deadline);
		close(fd);
		buf_free(&c->out);
		free(c);
		return NULL;
	}
	set_deadline(c);
	return c;
}
