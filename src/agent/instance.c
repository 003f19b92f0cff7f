/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/instance.h"

#include "base/cleanup.h"

#include <errno.h>
#include <event2/event.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

/* In the abstract: such names belong to the network namespace, whatever directories its processes see. */
#define NAME "tulle/agent"
#define PATIENCE_MS 1000
#define PAUSE_MS 10

static socklen_t make_name(struct sockaddr_un *name)
{
	*name = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(name->sun_path + 1, NAME, sizeof(NAME) - 1);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof(NAME));
}

/* The process of root's that listens there; 0 when it is somebody else's, whom nobody has to mind. */
static pid_t holder(void)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un name;
	socklen_t len = make_name(&name);
	struct ucred who;
	socklen_t who_len = sizeof(who);

	if (fd < 0 || connect(fd, (const struct sockaddr *)&name, len) < 0 ||
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &who_len) < 0 || who.uid != 0)
		return 0;
	return who.pid ? who.pid : 1;
}

/* Who asks has what he wants with the connection. */
static void on_asked(evutil_socket_t fd, short what, void *ctx)
{
	int asker = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	if (asker >= 0)
		close(asker);
}

static int listen_there(struct event_base *base, int fd, struct event **ret, struct err *err)
{
	struct event *event = event_new(base, fd, EV_READ | EV_PERSIST, on_asked, NULL);

	if (!event || listen(fd, 64) < 0 || event_add(event, NULL) < 0) {
		if (event)
			event_free(event);
		return err_set(err, -ENOMEM, "claim of the network namespace: out of memory");
	}
	*ret = event;
	return 0;
}

/* Of an agent that was killed while it started a program the child has the socket until it has become that program. */
static int bind_soon(int fd)
{
	static const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000};
	struct sockaddr_un name;
	socklen_t len = make_name(&name);

	for (int waited = 0; bind(fd, (const struct sockaddr *)&name, len) < 0; waited += PAUSE_MS) {
		if (errno != EADDRINUSE || waited >= PATIENCE_MS)
			return -errno;
		nanosleep(&pause, NULL);
	}
	return 0;
}

int instance_claim(struct event_base *base, struct event **ret, struct err *err)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	pid_t other;

	if (fd < 0)
		return err_set(err, -errno, "claim of the network namespace: %s", strerror(errno));
	if (bind_soon(fd) == 0)
		return listen_there(base, TAKE_FD(fd), ret, err); /* open as long as the process lives */
	other = holder();
	if (!other)
		return 0;
	return err_set(err, -EBUSY, "another tulled (process %d) runs in this network namespace: routes of protocol 84 and "
		"nftables table inet tulle have one owner", (int)other);
}
