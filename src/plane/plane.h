/* SPDX-License-Identifier: Apache-2.0
 *
 * The plane: makes the kernel hold what the plan wants. It keeps what the kernel is known to have, compares, and
 * sends the difference as one batch: devices and addresses first, then neighbours, FDB entries, and routes last (a
 * route must never make the kernel ask ARP); deletions afterwards. Netlink notifications tell when somebody else
 * changed something: the agent's changed() callback is then called, and the next plane_apply repairs it. A netlink
 * overrun (ENOBUFS) means a full scan.
 *
 * What it may delete: entries with route protocol 84 (and wanted.protocol), everything on devices of its own (wanted
 * links), and devices that were wanted before, also by an earlier process (plane_options.record), once wanted.sweep is
 * set. Nothing else, ever; except that an entry of the same key is replaced.
 */
#pragma once

#include "base/err.h"
#include "plan/wanted.h"

struct event_base;
struct plane;

struct plane_options {
	const char *bpffs;      /* "/sys/fs/bpf/tulle"; where the carrier's objects are pinned */
	const char *nft;        /* "nft": looked up in PATH */
	const char *record;     /* "/run/tulle/devices" (plane/record.h); null: what an earlier process left is not known */
	/* Something that concerns us changed in the kernel (our devices, entries, table, the uplink): plan again. */
	void (*changed)(void *ctx);
	void *ctx;
};

int plane_new(struct event_base *base, const struct plane_options *options, struct plane **ret, struct err *err);
void plane_free(struct plane *plane);

/* Makes the kernel match. What fails is told by err (first failure; how many more), is tried again at the next call,
 * and does not keep the rest from being done. 0, or the negative errno of the first failure. */
int plane_apply(struct plane *plane, const struct wanted *wanted, struct err *err);

/* Forgets what is known of the kernel: the next apply scans everything. */
void plane_forget(struct plane *plane);

/* Counters for /metrics and status. */
struct plane_stats {
	uint64_t applies, scans, overruns;
	uint64_t added, deleted, failed; /* kernel entries */
	uint64_t repairs;                /* entries that had to be put back because somebody removed them */
	size_t routes, neighs, fdbs;     /* in place now */
};
void plane_get_stats(const struct plane *plane, struct plane_stats *ret);

/* The carrier's counters, one call each. Nothing without a carrier. */
void plane_each_counter(const struct plane *plane,
	void (*each)(void *ctx, const char *name, uint64_t packets, uint64_t bytes), void *ctx);

/* The guard's counters (plane/guard.h): "accepted", and every reason to drop. Nothing without a guard. */
void plane_each_guard_counter(const struct plane *plane,
	void (*each)(void *ctx, const char *name, uint64_t packets, uint64_t bytes), void *ctx);

/* Foreign FORWARD chains that drop: what was added to let pods through ("DOCKER-USER by iptables-nft", ...);
 * text for status, "" when nothing was needed. */
const char *plane_forward_note(const struct plane *plane);

/* What was removed of a flanneld that ran here before ("FLANNEL-POSTRTG by iptables-nft, ..."), once our own rules
 * stood; "" when there was nothing. */
const char *plane_takeover_note(const struct plane *plane);
/* The same of a Calico's agent, when all of it is gone (wanted.felix). */
const char *plane_felix_note(const struct plane *plane);
/* It was gone, and its rules are there again: Felix runs. Looks at all chains of nftables. */
bool plane_felix_is_back(const struct plane *plane);

/* Removes everything that Tulle ever put into the kernel: the links that are named, routes of protocol 84, table
 * inet tulle, accepts in foreign chains, the carrier. Goes on after a failure and returns the first. */
struct plane_cleanup {
	const char *bpffs, *nft;  /* as in plane_options; bpffs null: no carrier */
	const char *const *links; /* closed by null */
	const char *record;       /* as in plane_options */
	const struct prefix *bird_routes; /* of protocol bird that go as well: those that our BIRD made */
	size_t bird_route_count;
	bool all_bird_routes;             /* it has ended, and there is no other BIRD: every one of protocol bird */
	bool dry;                 /* only tell */
	void (*told)(void *ctx, const char *kind, const char *name); /* each removed thing: "device", "flannel.1" */
	void *ctx;
};
int plane_cleanup(const struct plane_cleanup *cleanup, struct err *err);

/* Can this kernel make IPIP devices (module ipip)? Loads the module where it can be loaded. Asked once, at start: where it
 * cannot, a carrier stands in. */
bool plane_has_ipip(void);

/* -- looking at the machine (used by the choice of the uplink) -- */

struct plane_link {
	uint32_t index;
	char name[IFNAMSIZ];
	char kind[16];   /* "" for hardware, "veth", "vxlan", "bridge" ... */
	uint32_t flags;  /* IFF_* */
	uint32_t mtu;
	struct mac mac;
	uint32_t lower;  /* index of the lower device, 0 = none */
	uint32_t master; /* index of the bridge or bond that it is in, 0 = none */
	struct addr local; /* vxlan: source of outer packets; unset otherwise */
};

struct plane_addr {
	uint32_t index;
	struct addr addr;
	uint8_t prefix_len;  /* in its own family's terms */
	uint32_t flags;      /* IFA_F_* */
	uint8_t scope;       /* RT_SCOPE_* */
};

struct plane_route {
	struct prefix dst;   /* default: 0.0.0.0/0 or ::/0 */
	struct addr via, source;
	uint32_t index;      /* 0 for multipath */
	uint32_t metric;
	uint8_t protocol, scope, type;
};

/* Each fills a malloc'ed array. Main table only; cloned and local entries are left out. */
int plane_list_links(struct plane_link **ret, size_t *ret_count, struct err *err);
int plane_list_addrs(struct plane_addr **ret, size_t *ret_count, struct err *err);
int plane_list_routes(struct plane_route **ret, size_t *ret_count, struct err *err);
/* One route look-up (ip route get): interface, gateway and preferred source. */
int plane_route_get(const struct addr *to, struct plane_route *ret, struct err *err);
