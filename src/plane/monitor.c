/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/monitor.h"

#include "base/cleanup.h"

#include <errno.h>
#include <event2/event.h>
#include <linux/filter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define RECEIVE_BUFFER (8 * 1024 * 1024)
#define MESSAGE_ROOM   (64 * 1024)

struct monitor {
	struct monitor_options options;
	struct source {
		struct monitor *monitor;
		int fd;
		bool nft;
		struct event *event;
	} rtnl, nft;
	char *room;
};

/* Of routes and neighbours, drops what own_port did. Links are let through: their state must be followed message by
 * message, whoever changed it. The kernel writes the header in host order, the filter reads in network order. */
static int filter_own(int fd, uint32_t own_port)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_type)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_NEWLINK), 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_DELLINK), 2, 0),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_pid)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(own_port), 1, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = {.len = ARRAY_SIZE(code), .filter = code};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ? -errno : 0;
}

static int open_groups(int protocol, const uint32_t *groups, size_t count, int bytes)
{
	struct sockaddr_nl local = {.nl_family = AF_NETLINK};
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	if (bind(fd, (struct sockaddr *)&local, sizeof(local)) < 0)
		return -errno;
	for (size_t i = 0; i < count; i++)
		if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i], sizeof(groups[i])) < 0)
			return -errno;
	return TAKE_FD(fd);
}

static void deliver(struct source *source, size_t size)
{
	const struct monitor_options *options = &source->monitor->options;
	const struct nlmsghdr *msg = (const void *)source->monitor->room;
	int len = (int)size;

	for (; mnl_nlmsg_ok(msg, len); msg = mnl_nlmsg_next(msg, &len))
		(source->nft ? options->nft : options->rtnl)(options->ctx, msg);
}

static void read_source(struct source *source)
{
	struct monitor *monitor = source->monitor;

	while (source->fd >= 0) {
		struct sockaddr_nl from = {0};
		socklen_t from_len = sizeof(from);
		ssize_t n = recvfrom(source->fd, monitor->room, MESSAGE_ROOM, MSG_TRUNC, (struct sockaddr *)&from,
			&from_len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != ENOBUFS)
			return;
		if (n < 0 || n > MESSAGE_ROOM)
			monitor->options.overrun(monitor->options.ctx, source->nft);
		else if (from.nl_pid == 0)
			deliver(source, (size_t)n);
	}
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
	read_source(ctx);
}

static int source_start(struct source *source, struct event_base *base)
{
	if (source->fd < 0)
		return 0;
	source->event = event_new(base, source->fd, EV_READ | EV_PERSIST, on_readable, source);
	return source->event && event_add(source->event, NULL) == 0 ? 0 : -ENOMEM;
}

static int open_rtnl(const struct monitor_options *options)
{
	static const uint32_t groups[] = {RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_TC, RTNLGRP_IPV4_IFADDR,
		RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE};
	int bytes = options->receive_buffer ? options->receive_buffer : RECEIVE_BUFFER;
	int fd = open_groups(NETLINK_ROUTE, groups, ARRAY_SIZE(groups), bytes);

	/* without the filter there is more to read, no more */
	if (fd >= 0)
		filter_own(fd, options->own_port);
	return fd;
}

static int open_nft(const struct monitor_options *options)
{
	static const uint32_t group = NFNLGRP_NFTABLES;
	int bytes = options->receive_buffer ? options->receive_buffer : RECEIVE_BUFFER / 4;

	return open_groups(NETLINK_NETFILTER, &group, 1, bytes);
}

int monitor_new(struct event_base *base, const struct monitor_options *options, struct monitor **ret, struct err *err)
{
	struct monitor *monitor = calloc(1, sizeof(*monitor));
	int r;

	if (!monitor)
		return err_set(err, -ENOMEM, "netlink monitor: out of memory");
	monitor->options = *options;
	monitor->rtnl = (struct source){.monitor = monitor, .fd = open_rtnl(options)};
	monitor->nft = (struct source){.monitor = monitor, .fd = open_nft(options), .nft = true};
	monitor->room = malloc(MESSAGE_ROOM);
	r = monitor->room ? 0 : -ENOMEM;
	if (monitor->rtnl.fd < 0)
		r = monitor->rtnl.fd;
	if (r == 0)
		r = source_start(&monitor->rtnl, base);
	if (r == 0)
		r = source_start(&monitor->nft, base);
	if (r < 0) {
		monitor_free(monitor);
		return err_set(err, r, "netlink monitor: %s", strerror(-r));
	}
	*ret = monitor;
	return 0;
}

static void source_stop(struct source *source)
{
	if (source->event)
		event_free(source->event);
	if (source->fd >= 0)
		close(source->fd);
}

void monitor_free(struct monitor *monitor)
{
	if (!monitor)
		return;
	source_stop(&monitor->rtnl);
	source_stop(&monitor->nft);
	free(monitor->room);
	free(monitor);
}

void monitor_drain(struct monitor *monitor)
{
	read_source(&monitor->rtnl);
	read_source(&monitor->nft);
}

bool monitor_sees_nft(const struct monitor *monitor)
{
	return monitor->nft.fd >= 0;
}
