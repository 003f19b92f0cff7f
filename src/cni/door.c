/* SPDX-License-Identifier: Apache-2.0 */
#include "cni/door.h"

#include "base/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct frame_out {
	struct frame_request head;
	struct iovec iov[1 + FRAME_FIELDS];
};

static char answer_data[FRAME_ANSWER_MAX];

static void frame_out_init(struct frame_out *out, const struct input *in, bool has_netns)
{
	const char *fields[FRAME_FIELDS] = {
		[FRAME_COMMAND] = in->command, [FRAME_CONTAINER_ID] = in->container_id, [FRAME_NETNS] = in->netns,
		[FRAME_IFNAME] = in->ifname,   [FRAME_ARGS] = in->args,                 [FRAME_PATH] = in->path,
		[FRAME_PLUGIN] = in->plugin,   [FRAME_STDIN] = in->conf,
	};

	out->head = (struct frame_request){
		.magic = FRAME_MAGIC, .version = FRAME_VERSION, .flags = has_netns ? FRAME_HAS_NETNS : 0};
	out->iov[0] = (struct iovec){&out->head, sizeof(out->head)};
	for (int i = 0; i < FRAME_FIELDS; i++) {
		size_t len = i == FRAME_STDIN ? in->conf_len : strlen(fields[i]);

		out->head.field_len[i] = (uint32_t)len;
		out->head.total += (uint32_t)len;
		out->iov[1 + i] = (struct iovec){(char *)(uintptr_t)fields[i], len};
	}
}

/* Takes n bytes off the front. */
static void iov_advance(struct msghdr *msg, size_t n)
{
	while (msg->msg_iovlen && n >= msg->msg_iov->iov_len) {
		n -= msg->msg_iov->iov_len;
		msg->msg_iov++;
		msg->msg_iovlen--;
	}
	if (msg->msg_iovlen) {
		msg->msg_iov->iov_base = (char *)msg->msg_iov->iov_base + n;
		msg->msg_iov->iov_len -= n;
	}
}

static int send_request(int fd, const struct input *in, int netns_fd)
{
	struct frame_out out;
	struct msghdr msg = {.msg_iov = out.iov, .msg_iovlen = 1 + FRAME_FIELDS};
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};

	frame_out_init(&out, in, netns_fd >= 0);
	if (netns_fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control.room);
		*CMSG_FIRSTHDR(&msg) = (struct cmsghdr){
			.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), &netns_fd, sizeof(int));
	}
	while (msg.msg_iovlen) {
		ssize_t n = sendmsg(fd, &msg, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		msg.msg_control = NULL;
		msg.msg_controllen = 0;
		iov_advance(&msg, (size_t)n);
	}
	return 0;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* 0, -ETIMEDOUT, -EPIPE at an early end, or what read said. */
static int read_exactly(int fd, void *to, size_t len, int64_t deadline)
{
	while (len) {
		struct pollfd wait = {.fd = fd, .events = POLLIN};
		int64_t left = deadline - now_ms();
		ssize_t n;

		if (left < 0 || poll(&wait, 1, (int)left) == 0)
			return -ETIMEDOUT;
		n = read(fd, to, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EPIPE;
		to = (char *)to + n;
		len -= (size_t)n;
	}
	return 0;
}

static int read_answer(int fd, int64_t deadline, struct door_answer *ret)
{
	struct frame_answer head;
	int rc = read_exactly(fd, &head, sizeof(head), deadline);

	if (rc == 0 && frame_answer_check(&head))
		rc = -EPROTO;
	if (rc == 0)
		rc = read_exactly(fd, answer_data, head.len, deadline);
	if (rc == 0)
		*ret = (struct door_answer){.exit_code = head.exit_code, .text = answer_data, .len = head.len};
	return rc;
}

/* The socket's send timeout also bounds a connect that finds the agent's queue full. */
static int connect_to(const char *path, int timeout_ms)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int rc = -errno;

		close(fd);
		return rc;
	}
	return fd;
}

enum door_result door_ask(const char *socket_path, const struct input *in, int netns_fd, int timeout_ms,
	struct door_answer *ret, char *why, size_t why_size)
{
	int64_t deadline = now_ms() + timeout_ms;
	int fd = connect_to(socket_path, timeout_ms);
	int rc = fd;

	if (fd >= 0) {
		rc = send_request(fd, in, netns_fd);
		if (rc == 0)
			rc = read_answer(fd, deadline, ret);
		close(fd);
	}
	if (rc == 0)
		return DOOR_ANSWERED;
	snprintf(why, why_size, "%s: %s", socket_path, strerror(-rc));
	return rc == -ETIMEDOUT || rc == -EAGAIN ? DOOR_SILENT : DOOR_AWAY;
}

static int make_dirs(const char *path)
{
	char part[PATH_MAX];

	if (strlen(path) >= sizeof(part))
		return -ENAMETOOLONG;
	strcpy(part, path);
	for (char *p = part + 1;; p++) {
		char c = *p;

		if (c && c != '/')
			continue;
		*p = 0;
		if (mkdir(part, 0700) < 0 && errno != EEXIST)
			return -errno;
		if (!c)
			return 0;
		*p = '/';
	}
}

static int write_record(int dir, const char *name, const struct input *in)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct frame_out out;
	int rc = 0;

	if (fd < 0)
		return -errno;
	frame_out_init(&out, in, false);
	for (int i = 0; rc == 0 && i < 1 + FRAME_FIELDS; i++)
		rc = write_all(fd, out.iov[i].iov_base, out.iov[i].iov_len);
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	return rc;
}

int door_spool(const char *dir, const struct input *in)
{
	char temporary[96]; /* "." and the name */
	const char *name = temporary + 1;
	struct timespec now;
	int dir_fd, rc = make_dirs(dir);

	if (rc < 0)
		return rc;
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return -errno;
	/* a process has one DEL to write, so time and process id make the name unique */
	clock_gettime(CLOCK_REALTIME, &now);
	snprintf(temporary, sizeof(temporary), ".%lld.%09ld-%d", (long long)now.tv_sec, now.tv_nsec, (int)getpid());
	rc = write_record(dir_fd, temporary, in);
	if (rc == 0 && renameat(dir_fd, temporary, dir_fd, name) < 0)
		rc = -errno;
	if (rc < 0)
		unlinkat(dir_fd, temporary, 0);
	else if (fsync(dir_fd) < 0)
		rc = -errno;
	close(dir_fd);
	return rc;
}
