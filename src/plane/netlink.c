/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/netlink.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define MESSAGE_MAX   (16 * 1024)
#define RECEIVE_MAX   (64 * 1024) /* the kernel never puts more than 32 KiB into one datagram of a dump */
#define RCVBUF_WANTED (4 * 1024 * 1024)
#define CHUNK_BYTES   (64 * 1024)
#define CHUNK_MAX     1024u
#define ACK_TRUESIZE  2048 /* what one failure may take of the receive buffer */
#define DUMP_MAX      (256u * 1024 * 1024)
#define DUMP_TRIES    16
#define ANSWER_TIMEOUT_S 10

struct request {
	void *cookie;
	size_t end; /* offset behind the message in batch */
	int error;
};

struct nl {
	int fd;
	uint32_t seq;
	unsigned chunk; /* messages whose failures the receive buffer holds for sure */
	struct buf batch;
	struct request *requests;
	size_t request_count, request_room;
	char reason[256]; /* the kernel's words for the last failure read */
	_Alignas(NLMSG_ALIGNTO) char message[MESSAGE_MAX];
	_Alignas(NLMSG_ALIGNTO) char receive[RECEIVE_MAX];
};

static unsigned chunk_size(int fd)
{
	int bytes = 0;
	socklen_t len = sizeof(bytes);
	unsigned n;

	if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &len) < 0)
		return 16;
	n = (unsigned)bytes / ACK_TRUESIZE;
	return n < 16 ? 16 : n > CHUNK_MAX ? CHUNK_MAX : n;
}

static int socket_open(int protocol)
{
	struct sockaddr_nl local = {.nl_family = AF_NETLINK};
	struct timeval timeout = {.tv_sec = ANSWER_TIMEOUT_S};
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	int bytes = RCVBUF_WANTED;
	int one = 1;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one));
	setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
	/* filters of a dump are honoured by the kernel instead of ignored */
	setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&local, sizeof(local)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int nl_open_protocol(int protocol, struct nl **ret, struct err *err)
{
	int fd = socket_open(protocol);
	struct nl *nl;

	if (fd < 0)
		return err_set(err, fd, "netlink socket: %s", strerror(-fd));
	nl = calloc(1, sizeof(*nl));
	if (!nl) {
		close(fd);
		return err_set(err, -ENOMEM, "netlink socket: out of memory");
	}
	nl->fd = fd;
	nl->chunk = chunk_size(fd);
	nl->batch = BUF_INIT(256u * 1024 * 1024);
	*ret = nl;
	return 0;
}

int nl_open(struct nl **ret, struct err *err)
{
	return nl_open_protocol(NETLINK_ROUTE, ret, err);
}

void nl_close(struct nl *nl)
{
	if (!nl)
		return;
	close(nl->fd);
	buf_free(&nl->batch);
	free(nl->requests);
	free(nl);
}

int nl_fd(const struct nl *nl)
{
	return nl->fd;
}

uint32_t nl_port(const struct nl *nl)
{
	struct sockaddr_nl local = {0};
	socklen_t len = sizeof(local);

	return getsockname(nl->fd, (struct sockaddr *)&local, &len) == 0 ? local.nl_pid : 0;
}

const char *nl_reason(const struct nl *nl)
{
	return nl->reason;
}

struct nlmsghdr *nl_begin(struct nl *nl, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *msg = mnl_nlmsg_put_header(nl->message);

	msg->nlmsg_type = type;
	msg->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	return msg;
}

void nl_put_addr(struct nlmsghdr *msg, uint16_t type, const struct addr *addr)
{
	mnl_attr_put(msg, type, addr_bytes_len(addr), addr_bytes(addr));
}

static int send_all(struct nl *nl, const void *data, size_t len)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	ssize_t n;

	do {
		n = sendto(nl->fd, data, len, 0, (struct sockaddr *)&kernel, sizeof(kernel));
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EMSGSIZE;
}

/* One datagram from the kernel: its length, or negative errno. */
static ssize_t receive(struct nl *nl)
{
	struct sockaddr_nl from = {0};
	struct iovec iov = {.iov_base = nl->receive, .iov_len = sizeof(nl->receive)};
	struct msghdr msg = {.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	do {
		n = recvmsg(nl->fd, &msg, 0);
	} while ((n < 0 && errno == EINTR) || (n >= 0 && from.nl_pid != 0));
	if (n < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	return msg.msg_flags & MSG_TRUNC ? -EMSGSIZE : n;
}

/* What was answered to nobody (after an overrun) must not be taken for the answer to the next request. */
static void drain(struct nl *nl)
{
	while (recv(nl->fd, nl->receive, sizeof(nl->receive), MSG_DONTWAIT) >= 0 || errno == ENOBUFS || errno == EINTR)
		;
}

/* Keeps the extended acknowledgement's text, which lies behind the error code (and the request's header, in an
 * NLMSG_ERROR). */
static void keep_reason(struct nl *nl, const struct nlmsghdr *msg, size_t offset)
{
	const struct nlattr *attr;

	nl->reason[0] = 0;
	if (!(msg->nlmsg_flags & NLM_F_ACK_TLVS))
		return;
	if (msg->nlmsg_type == NLMSG_ERROR && !(msg->nlmsg_flags & NLM_F_CAPPED)) {
		const struct nlmsgerr *e = mnl_nlmsg_get_payload(msg);

		offset += e->msg.nlmsg_len - sizeof(e->msg);
	}
	mnl_attr_for_each(attr, msg, offset) {
		if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG)
			snprintf(nl->reason, sizeof(nl->reason), "%.*s", (int)mnl_attr_get_payload_len(attr),
				mnl_attr_get_str(attr));
	}
}

/* The code in an NLMSG_ERROR or NLMSG_DONE, 0 or negative. */
static int message_code(struct nl *nl, const struct nlmsghdr *msg)
{
	size_t len = mnl_nlmsg_get_payload_len(msg);
	int code = 0;

	if (msg->nlmsg_type == NLMSG_ERROR) {
		if (len < sizeof(struct nlmsgerr))
			return -EBADMSG;
		code = ((const struct nlmsgerr *)mnl_nlmsg_get_payload(msg))->error;
		if (code)
			keep_reason(nl, msg, sizeof(struct nlmsgerr));
	} else if (len >= sizeof(int)) {
		memcpy(&code, mnl_nlmsg_get_payload(msg), sizeof(code));
		if (code)
			keep_reason(nl, msg, sizeof(int));
	}
	return code > 0 ? 0 : code;
}

static int told(struct nl *nl, int code, struct err *err)
{
	return err_set(err, code, "%s", nl->reason[0] ? nl->reason : strerror(-code));
}

static int request_send(struct nl *nl, struct nlmsghdr *msg, struct err *err)
{
	int r;

	msg->nlmsg_seq = ++nl->seq;
	nl->reason[0] = 0;
	r = send_all(nl, msg, msg->nlmsg_len);
	return r < 0 ? err_set(err, r, "sending to netlink: %s", strerror(-r)) : 0;
}

int nl_ask(struct nl *nl, struct nlmsghdr *request, int (*answer)(const struct nlmsghdr *, void *), void *arg,
	struct err *err)
{
	int r = request_send(nl, request, err);
	uint32_t seq = nl->seq;
	int told_by_answer = 0;

	if (r < 0)
		return r;
	for (;;) {
		ssize_t n = receive(nl);
		int len = (int)n;

		if (n < 0) {
			drain(nl);
			return err_set(err, (int)n, "reading from netlink: %s", strerror((int)-n));
		}
		for (const struct nlmsghdr *msg = (void *)nl->receive; mnl_nlmsg_ok(msg, len);
			msg = mnl_nlmsg_next(msg, &len)) {
			if (msg->nlmsg_seq != seq)
				continue;
			if (msg->nlmsg_type == NLMSG_ERROR) {
				r = message_code(nl, msg);
				return r < 0 ? told(nl, r, err) : told_by_answer;
			}
			if (answer && told_by_answer == 0)
				told_by_answer = answer(msg, arg);
		}
	}
}

int nl_talk(struct nl *nl, struct nlmsghdr *msg, struct err *err)
{
	return nl_ask(nl, msg, NULL, NULL, err);
}

/* Collects one dump in whole. 0, -EINTR when the table changed meanwhile, or another negative errno. */
static int dump_read(struct nl *nl, uint32_t seq, struct buf *all)
{
	bool interrupted = false;

	for (;;) {
		ssize_t n = receive(nl);
		int len = (int)n;

		if (n < 0) {
			drain(nl);
			return (int)n;
		}
		for (const struct nlmsghdr *msg = (void *)nl->receive; mnl_nlmsg_ok(msg, len);
			msg = mnl_nlmsg_next(msg, &len)) {
			int r;

			if (msg->nlmsg_seq != seq)
				continue;
			interrupted |= (msg->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
			if (msg->nlmsg_type == NLMSG_DONE || msg->nlmsg_type == NLMSG_ERROR) {
				r = message_code(nl, msg);
				return r < 0 ? r : interrupted ? -EINTR : 0;
			}
			r = buf_add(all, msg, NLMSG_ALIGN(msg->nlmsg_len));
			if (r < 0) {
				/* the rest of the dump is still to be read: the next request would be busy */
				while (receive(nl) > 0 && !(((struct nlmsghdr *)nl->receive)->nlmsg_type == NLMSG_DONE))
					;
				drain(nl);
				return r;
			}
		}
	}
}

static int dump_deliver(const struct buf *all, int (*each)(const struct nlmsghdr *, void *), void *arg)
{
	const struct nlmsghdr *msg = (const void *)all->data;
	int len = (int)all->len;

	for (; len > 0 && mnl_nlmsg_ok(msg, len); msg = mnl_nlmsg_next(msg, &len)) {
		int r = each(msg, arg);

		if (r < 0)
			return r;
	}
	return 0;
}

int nl_dump(struct nl *nl, struct nlmsghdr *msg, int (*each)(const struct nlmsghdr *, void *), void *arg,
	struct err *err)
{
	_cleanup_(buf_free) struct buf all = BUF_INIT(DUMP_MAX);
	int r = -EINTR;

	msg->nlmsg_flags = (uint16_t)((msg->nlmsg_flags & ~NLM_F_ACK) | NLM_F_DUMP);
	for (int i = 0; i < DUMP_TRIES && (r == -EINTR || r == -ENOBUFS); i++) {
		buf_reset(&all);
		r = request_send(nl, msg, err);
		if (r < 0)
			return r;
		r = dump_read(nl, nl->seq, &all);
	}
	if (r < 0) {
		told(nl, r, err);
		err_wrap(err, "netlink dump");
		return r;
	}
	r = dump_deliver(&all, each, arg);
	return r < 0 ? err_set(err, r, "netlink dump: %s", strerror(-r)) : 0;
}

int nl_batch_add(struct nl *nl, struct nlmsghdr *msg, void *cookie)
{
	static const char zero[NLMSG_ALIGNTO];
	size_t pad = NLMSG_ALIGN(msg->nlmsg_len) - msg->nlmsg_len;

	if (nl->request_count == nl->request_room) {
		size_t room = nl->request_room ? nl->request_room * 2 : 64;
		struct request *bigger = reallocarray(nl->requests, room, sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		nl->requests = bigger;
		nl->request_room = room;
	}
	if (buf_add(&nl->batch, msg, msg->nlmsg_len) < 0 || buf_add(&nl->batch, zero, pad) < 0)
		return nl->batch.error;
	nl->requests[nl->request_count++] = (struct request){.cookie = cookie, .end = nl->batch.len};
	return 0;
}

/* Numbers the messages from first up to a chunk's worth; only the last of them asks for an acknowledgement: the
 * kernel handles them in order and reports failures unasked. Returns how many. */
static size_t chunk_number(struct nl *nl, size_t first, uint32_t *ret_seq)
{
	size_t start = first ? nl->requests[first - 1].end : 0;
	size_t offset = start;
	struct nlmsghdr *msg = NULL;
	size_t i = first;

	*ret_seq = nl->seq + 1;
	for (; i < nl->request_count && i - first < nl->chunk; i++) {
		if (i > first && nl->requests[i].end - start > CHUNK_BYTES)
			break;
		msg = (struct nlmsghdr *)(nl->batch.data + offset);
		msg->nlmsg_seq = ++nl->seq;
		msg->nlmsg_flags &= (uint16_t)~NLM_F_ACK;
		offset = nl->requests[i].end;
	}
	msg->nlmsg_flags |= NLM_F_ACK;
	return i - first;
}

/* Reads the failures of one chunk, until the last message is answered. The kernel's first words go to err. */
static int chunk_answers(struct nl *nl, struct request *requests, size_t count, uint32_t seq, struct err *err)
{
	for (;;) {
		ssize_t n = receive(nl);
		int len = (int)n;

		if (n < 0) {
			drain(nl);
			return (int)n;
		}
		for (const struct nlmsghdr *msg = (void *)nl->receive; mnl_nlmsg_ok(msg, len);
			msg = mnl_nlmsg_next(msg, &len)) {
			uint32_t i = msg->nlmsg_seq - seq;

			if (msg->nlmsg_type != NLMSG_ERROR || i >= count)
				continue;
			requests[i].error = message_code(nl, msg);
			if (requests[i].error && err && !err->code)
				told(nl, requests[i].error, err);
			if (i == count - 1)
				return 0;
		}
	}
}

static int chunk_flush(struct nl *nl, size_t first, size_t *ret_count, struct err *err)
{
	size_t start = first ? nl->requests[first - 1].end : 0;
	uint32_t seq;
	size_t count = chunk_number(nl, first, &seq);
	int r = send_all(nl, nl->batch.data + start, nl->requests[first + count - 1].end - start);

	*ret_count = count;
	if (r == 0)
		r = chunk_answers(nl, nl->requests + first, count, seq, err);
	if (r < 0) {
		/* which of them were done is not known: all count as failed */
		for (size_t i = first; i < first + count; i++)
			nl->requests[i].error = r;
		if (err && !err->code)
			err_set(err, r, "netlink batch: %s", strerror(-r));
	}
	return r;
}

int nl_batch_flush(struct nl *nl, void (*done)(void *ctx, void *cookie, int error), void *ctx, struct err *err)
{
	struct err story = ERR_INIT;
	struct request *requests;
	size_t total = nl->request_count;
	size_t n = 0;

	nl->reason[0] = 0;
	for (size_t i = 0; i < total; i += n)
		chunk_flush(nl, i, &n, &story);
	/* done() may begin the next batch */
	requests = TAKE_PTR(nl->requests);
	nl->request_count = nl->request_room = 0;
	buf_free(&nl->batch);
	if (story.code && err)
		*err = story;
	for (size_t i = 0; done && i < total; i++)
		done(ctx, requests[i].cookie, requests[i].error);
	free(requests);
	return story.code;
}
