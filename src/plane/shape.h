/* SPDX-License-Identifier: Apache-2.0
 *
 * A pod's bandwidth (reference/cni.md 13.5): a token bucket filter as root qdisc at each end of its veth pair, the host
 * end for what the pod receives, the pod's own end for what it sends. The pod's end is used rather than an ifb on the
 * host side: senders are held back at their sockets instead of being dropped, and neither the ifb nor the mirred module is
 * needed. A pod with CAP_NET_ADMIN in its namespace can lift its own sending limit. Used by pod attachment.
 *
 * Each nl is a socket of the namespace that holds the interface.
 */
#pragma once

#include "base/err.h"
#include "model/bandwidth.h"
#include "plane/netlink.h"

/* Sets, changes and (rate 0) removes both. Rates are bits per second, bursts bits; a burst smaller than one packet is
 * raised to one, since the filter would drop every packet; one of 2^32 - 1 or more was chosen by nobody (reference/cni.md
 * 5.2) and becomes what the rate lets through in a tenth of a second. -EINVAL: a burst of 2^32 bytes or more, or a rate below 8;
 * -EOPNOTSUPP: the kernel has no sch_tbf. */
int shape_apply(struct nl *host, const char *host_ifname, struct nl *pod, const char *pod_ifname,
	const struct bandwidth *bandwidth, struct err *err);
/* The kernel still shapes so. -ENOENT with what is missing, -EBADMSG with what differs. */
int shape_check(struct nl *host, const char *host_ifname, struct nl *pod, const char *pod_ifname,
	const struct bandwidth *bandwidth, struct err *err);
/* pod may be null (its namespace is gone). Nothing there is no failure. */
int shape_remove(struct nl *host, const char *host_ifname, struct nl *pod, const char *pod_ifname, struct err *err);
