/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernel's part of an attachment: the veth pair, what belongs to it inside the pod and what belongs to it
 * on the node. Used by pod attachment only; holds no state. Every function takes names, never indexes: the
 * peer's index is the kernel's choice (reference/test-bed.md, "What an ADD costs").
 *
 * The pod's side: MTU, MAC, /32 and /128, a route to the gateway 169.254.1.1 on the link, the default route
 * (and others) by it; for IPv6 the gateway is the link-local address that belongs to the host side's MAC. The
 * neighbour entries of both gateways are permanent, so nothing ever asks ARP. The node's side: MAC
 * ee:ee:ee:ee:ee:ee, a permanent neighbour and a host route for each address of the pod.
 */
#pragma once

#include "attach/attach.h"
#include "plane/netlink.h"

struct podprog;

/* -- namespaces -- */

/* The namespace this thread is in. A descriptor, or negative errno. */
int netns_own(struct err *err);
/* -ENOENT: the descriptor is no network namespace. */
int netns_check(int fd, const char *path, struct err *err);
int netns_enter(int fd, struct err *err);
/* Back home; the process cannot go on in a foreign namespace and aborts when the kernel refuses. */
void netns_leave(int own_fd);

/* -- building -- */

struct addr podlink_gateway(int family_index);
struct mac podlink_host_mac(void);
/* Creates the pair, the host end up, the pod's down. -EEXIST when one of the names is in use on its side. */
int podlink_create(struct nl *nl, const struct attachment *attachment, int netns_fd, struct err *err);
int podlink_prepare_host(
	const struct attachment *attachment, struct err *err); /* before the pod's end is up */
/* Both are called in the namespace they work on; nl was opened there. */
int podlink_set_pod(struct nl *nl, const struct attachment *attachment, struct err *err);
int podlink_set_host(struct nl *nl, const struct attachment *attachment, struct err *err);
/* Until the end that went up first sends: before that the kernel drops its packets. A second at most, usually
 * none. */
void podlink_wait(struct nl *nl, const char *name);
/* Until packets to an address are taken: IPv6 makes the local route in a kernel thread, even without DAD. The
 * same second at most. */
void podlink_wait_addr(struct nl *nl, const struct addr *addr);

/* -- looking -- */

struct podlink_state {
	uint32_t index, flags, mtu, group;
	uint8_t operstate; /* IF_OPER_UP and others of linux/if.h */
	struct mac mac;
};
/* -ENODEV when there is none. */
int podlink_get(struct nl *nl, const char *name, struct podlink_state *ret, struct err *err);
/* What podlink_set_pod and podlink_set_host made is there; more of it does not matter. Names what is not. */
int podlink_check_pod(struct nl *nl, const struct attachment *attachment, struct err *err);
int podlink_check_host(struct nl *nl, const struct attachment *attachment, struct err *err);
bool podlink_is_local(struct nl *nl, const struct addr *addr); /* packets to it are taken here */
/* True when the kernel has an own address or a host route for it. */
bool podlink_owns(struct nl *nl, const struct addr *addr);

/* -- taking down -- */

/* Takes routes and neighbours away and puts the interface into the group of those that are to be deleted; it
 * is not deleted yet. podprog (may be null) closes it first. What is gone already is fine. 1: it waits for
 * deletion, 0: there is no such interface. */
int podlink_close(struct nl *nl, const struct podprog *podprog, const char *host_ifname,
	const struct addr addr[FAMILY_COUNT], struct err *err);
/* Deletes the group at one stroke: the kernel's grace periods are paid once. */
int podlink_delete_closed(struct nl *nl, struct err *err);
int podlink_delete(struct nl *nl, const char *name, struct err *err); /* -ENODEV when there is none */

/* -- once for the node -- */

/* Forwarding of each family. Interfaces that take their default route from router advertisements keep doing
 * so (accept_ra 2), though they forward from now on. */
int podlink_forwarding(bool v4, bool v6, struct err *err);
