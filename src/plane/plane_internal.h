/* SPDX-License-Identifier: Apache-2.0
 *
 * What the plane's own files share: plane.c applies, watch.c judges notifications, cleanup.c takes everything away.
 */
#pragma once

#include "plane/carrier.h"
#include "plane/entry.h"
#include "plane/felix.h"
#include "plane/flannel_rules.h"
#include "plane/forward.h"
#include "plane/guard.h"
#include "plane/links.h"
#include "plane/monitor.h"
#include "plane/nft.h"
#include "plane/nftables.h"
#include "plane/plane.h"

#include <event2/event.h>

enum { TABLE_NEIGH, TABLE_FDB, TABLE_ROUTE, TABLE_COUNT }; /* in the order in which entries are added */

/* The first failure keeps its story, the others are counted. */
struct failures {
	struct err first;
	unsigned count;
};

struct plane {
	struct plane_options options;
	char *bpffs, *nft_program; /* what options point to */
	struct event_base *base;
	struct nl *nl;
	struct monitor *monitor;
	struct event *notify;      /* runs changed() a little later: a burst becomes one call */
	struct event *tick;
	int64_t notified_ms;

	struct devices devices;
	bool devices_dirty;
	struct wanted_link *links; /* wanted by the last apply */
	size_t link_count;
	bool links_dirty;
	char *record;              /* path of the file, or null; what is in it is devices.record */
	struct table tables[TABLE_COUNT];

	struct carrier *carrier;
	char carrier_uplink[IFNAMSIZ];
	bool carrier_swept;

	struct guard *guard;
	char guard_uplink[IFNAMSIZ];
	bool guard_swept;

	struct children children;
	struct nft nft;
	struct nft_watch nft_watch;
	struct forward forward;
	struct buf flannel_note;   /* what of flanneld's rules was removed */
	bool flannel_swept;
	struct felix_sweep felix;  /* what a Calico left */

	bool applied;              /* once at least */
	struct plane_stats stats;
	struct failures failures;  /* of the apply under way */
	const struct err *story;   /* of the first failure of the flush under way */
};

/* plane_new with a receive buffer of the monitor's sockets, in bytes (0: the default). For tests. */
int plane_new_sized(struct event_base *base, const struct plane_options *options, int receive_buffer,
	struct plane **ret, struct err *err);

/* watch.c: callbacks of the monitor, ctx: struct plane. */
void watch_rtnl(void *ctx, const struct nlmsghdr *msg);
void watch_nft(void *ctx, const struct nlmsghdr *msg);
void watch_overrun(void *ctx, bool nft);
/* Has changed() called soon: after at least wait_ms. */
void plane_concern(struct plane *plane, int wait_ms);
void plane_tables_dirty(struct plane *plane);
