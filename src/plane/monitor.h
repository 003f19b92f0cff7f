/* SPDX-License-Identifier: Apache-2.0
 *
 * Two netlink sockets on the loop that tell what others change: one for links, addresses, routes, neighbours and qdiscs,
 * one for nftables. The monitor reads and hands on; what a message means is the plane's to judge. Notifications of what
 * the plane's own socket did to routes and neighbours are filtered in the kernel.
 */
#pragma once

#include "base/err.h"

#include <libmnl/libmnl.h>

struct event_base;
struct monitor;

struct monitor_options {
	uint32_t own_port;  /* of the socket whose doings are not reported */
	int receive_buffer; /* bytes; 0: the default, large. Tests make it small */
	void (*rtnl)(void *ctx, const struct nlmsghdr *msg);
	void (*nft)(void *ctx, const struct nlmsghdr *msg);
	void (*overrun)(void *ctx, bool nft); /* messages of that socket were lost */
	void *ctx;
};

int monitor_new(struct event_base *base, const struct monitor_options *options, struct monitor **ret, struct err *err);
void monitor_free(struct monitor *monitor);
/* Reads what is there now, without waiting: so that a decision is not taken on old knowledge. */
void monitor_drain(struct monitor *monitor);
/* False where nftables cannot be watched: then look from time to time. */
bool monitor_sees_nft(const struct monitor *monitor);
