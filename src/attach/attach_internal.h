/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of pod attachment share (attach.c, attach_add.c, attach_del.c, attach_recover.c); nobody
 * else includes it but their tests.
 *
 * An attachment is kept as the journal's record of it (about 300 bytes; struct attachment takes 2 KiB) and
 * what is looked at often. It is in the table while it is attached, and in the list of closing ones from DEL
 * until the kernel has deleted its interface.
 */
#pragma once

#include "attach/attach.h"
#include "attach/attach_record.h"
#include "attach/ipam.h"
#include "attach/journal.h"
#include "base/hash.h"
#include "plane/netlink.h"

/* Begins the container id of an attachment whose record was lost, or that nobody knows: its interface's name follows. */
#define ATTACH_UNKNOWN "unknown-"

struct event;
struct podprog;

struct attach_pod {
	uint64_t serial;
	bool attached;         /* false: begun */
	bool flannel;          /* it shows in Flannel's files */
	int64_t closing_since; /* CLOCK_BOOTTIME ms; 0 = not closing */
	struct addr addr[FAMILY_COUNT];
	struct mac mac;
	char ifname[IFNAMSIZ], host_ifname[IFNAMSIZ];
	dev_t netns_dev;
	ino_t netns_ino;
	char *key;    /* container id / ifname */
	char *record; /* RECORD_BEGUN, as in the journal */
	size_t record_len;
	struct attach_pod *prev, *next; /* closing ones */
	UT_hash_handle hh;
};

struct attacher {
	struct attach_options options; /* strings are copies */
	struct event_base *base;
	struct event *teardown_timer;
	int64_t teardown_due; /* latest, ms; 0 = none is waiting */
	struct journal *journal;
	size_t rewrite_at; /* bytes of journal at which it is rewritten */
	struct ipam *ipam;
	struct nl *nl;
	struct podprog
		*podprog; /* null: the kernel takes no programs; pods are then closed by routes alone */
	int netns;        /* our own */
	uint64_t serial;  /* given last */
	struct attach_pod *pods, *closing;
	bool ready, forwarding[FAMILY_COUNT];
	struct prefix cluster[FAMILY_COUNT];
	struct prefix own[FAMILY_COUNT];
	bool families[FAMILY_COUNT];  /* that pods may get addresses of */
	struct attach_source source;  /* take null: addresses come from own */
	struct attach_gate gate;      /* made null: there is none */
	struct prefix *pools;         /* with a source: the cluster's */
	size_t pool_count;
	uint32_t mtu;
	char bridge[IFNAMSIZ];     /* of Flannel's plugin, which holds our block's first address; "" = none */
	struct attachment scratch; /* what attach_find lends */
	struct attach_stats stats;
	/* Tests: called at each step with its name; a negative return makes the step fail. */
	int (*step)(void *ctx, const char *name);
	void *step_ctx;
};

int64_t attach_now(void); /* CLOCK_BOOTTIME in milliseconds */
int attach_step(struct attacher *attacher, const char *name, struct err *err);
void attach_report(struct attacher *attacher, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* -- the table -- */

/* The record must be the attachment's RECORD_BEGUN; it is copied. Null: no memory. */
struct attach_pod *attach_pod_new(
	uint64_t serial, const struct attachment *attachment, const void *record, size_t len);
void attach_pod_free(struct attach_pod *pod);
struct attach_pod *attach_pod_by_host_ifname(const struct attacher *attacher, const char *host_ifname);
struct attach_pod *attach_pod_find(
	const struct attacher *attacher, const char *container_id, const char *ifname);
void attach_pod_add(struct attacher *attacher, struct attach_pod *pod); /* into the table */
void attach_pod_remove(
	struct attacher *attacher, struct attach_pod *pod); /* out of table or closing list; not freed */
/* As its record says, with the addresses that it has now. */
void attach_pod_read(const struct attach_pod *pod, struct attachment *ret);

/* -- the journal -- */

int attach_begin(struct attacher *attacher, const struct attachment *attachment, uint64_t serial,
	struct attach_pod **ret, struct err *err); /* RECORD_BEGUN; the pod is in no list yet */
int attach_write(struct attacher *attacher, enum attach_record_type type, uint64_t serial, int64_t since,
	struct err *err);
/* Rewrites the journal when it is mostly history. */
void attach_compact(struct attacher *attacher);
int attach_replay(void *ctx, const void *data, size_t len, struct err *err); /* a journal_reader's each */

/* -- addresses (attach_addresses.c) -- */

/* All that the pod gets, or none. */
int attach_take_addresses(struct attacher *attacher, struct attachment *to, const struct attach_request *request,
	uint64_t serial, struct err *err);
/* The pod never used them. */
void attach_drop_addresses(struct attacher *attacher, const struct attachment *attachment, uint64_t serial);
/* The pod is gone. */
void attach_rest_addresses(struct attacher *attacher, const struct attach_pod *pod, int64_t now);

/* -- taking down -- */

/* Cuts the pod off and moves it to the closing list; its addresses rest. */
int attach_close(struct attacher *attacher, struct attach_pod *pod, struct err *err);
/* Deletes the interfaces of all closing pods now. */
void attach_teardown(struct attacher *attacher);
void attach_teardown_soon(struct attacher *attacher);

/* -- Flannel's files (attach_files.c); nothing happens for a pod without them -- */

int attach_files_write(struct attacher *attacher, const struct attachment *attachment,
	const struct attach_request *request, struct err *err);
int attach_files_remove(struct attacher *attacher, const struct attach_pod *pod, struct err *err);
/* Flannel's plugin had a DEL for it while we were away. */
bool attach_files_undone(struct attacher *attacher, const struct attach_pod *pod);
/* At start: reserves again what somebody has removed. */
void attach_files_keep(struct attacher *attacher, const struct attach_pod *pod);
/* At start, when the table is complete: removes files of ours that belong to no attachment. */
void attach_files_sweep(struct attacher *attacher);
/* valid: sorted by attach_key_compare. */
int attach_files_gc(struct attacher *attacher, const char *network, const struct attach_key *valid,
	size_t valid_count, struct err *err);
int attach_key_compare(const void *a, const void *b);

/* PREFIX and 11 hex digits of SHA-1(container id, ifname): DESIGN.md section 4. */
void attach_host_ifname(
	const char *prefix, const char *container_id, const char *ifname, char name[IFNAMSIZ]);
void attach_changed(struct attacher *attacher);

/* Tells Flannel's bridge, if there is one, that the pod's IPv6 address lives behind this node. */
void attach_bridge_pod(struct attacher *attacher, const struct addr addr[FAMILY_COUNT], bool present);
