/* SPDX-License-Identifier: Apache-2.0
 *
 * rtnetlink on libmnl: one socket, requests collected into batches, one acknowledgement each. A socket belongs to the
 * network namespace in which it was opened and keeps it: to work inside a pod, setns there, nl_open, setns back.
 * Dumps that the kernel marks as interrupted (NLM_F_DUMP_INTR) are repeated.
 */
#pragma once

#include "base/addr.h"
#include "base/err.h"

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

struct nl;

int nl_open(struct nl **ret, struct err *err); /* NETLINK_ROUTE, extended acknowledgements on */
/* The same for another protocol (NETLINK_NETFILTER). */
int nl_open_protocol(int protocol, struct nl **ret, struct err *err);
void nl_close(struct nl *nl);
int nl_fd(const struct nl *nl);
/* The socket's address: what the kernel names in notifications of what it was asked to do. */
uint32_t nl_port(const struct nl *nl);

/* -- one request now: put the message together, send, wait for its acknowledgement -- */

/* A message in the socket's own buffer, valid until the next nl_ call. flags beside NLM_F_REQUEST | NLM_F_ACK. */
struct nlmsghdr *nl_begin(struct nl *nl, uint16_t type, uint16_t flags);
/* Family header behind it (zeroed), e.g. struct ifinfomsg *m = nl_extra(msg, sizeof *m). */
#define nl_extra(msg, size) mnl_nlmsg_put_extra_header(msg, size)
/* 0 or the kernel's negative errno; err gets the kernel's own words where it has some. */
int nl_talk(struct nl *nl, struct nlmsghdr *msg, struct err *err);
/* The same with an answer (RTM_GETROUTE, RTM_GETLINK ...): called once for the answer message; a negative value that
 * it returns is nl_ask's. */
int nl_ask(struct nl *nl, struct nlmsghdr *msg, int (*answer)(const struct nlmsghdr *, void *), void *arg,
	struct err *err);
/* Sets NLM_F_DUMP. The dump is read in whole first, again if the table changed meanwhile, and only then delivered, so
 * each never sees an entry of a broken dump; a negative value from it ends the delivery. */
int nl_dump(struct nl *nl, struct nlmsghdr *msg, int (*each)(const struct nlmsghdr *, void *), void *arg,
	struct err *err);

/* -- many requests: sent in large writes, acknowledged in bulk -- */

/* Finishes the message begun last and keeps it; done() is called at flush with its cookie and 0 or negative errno. */
int nl_batch_add(struct nl *nl, struct nlmsghdr *msg, void *cookie);
/* Sends all of them whatever fails, then calls done (null: nobody asks) for each, in order. Returns 0, or the code of
 * the first that failed, whose story is in err (already when done is called). */
int nl_batch_flush(struct nl *nl, void (*done)(void *ctx, void *cookie, int error), void *ctx, struct err *err);

/* The kernel's own words for the last failure, "" when it gave none. */
const char *nl_reason(const struct nl *nl);

/* Attribute helpers: 4 or 16 bytes by the address's family. */
void nl_put_addr(struct nlmsghdr *msg, uint16_t type, const struct addr *addr);
