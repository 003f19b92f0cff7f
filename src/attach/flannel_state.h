/* SPDX-License-Identifier: Apache-2.0
 *
 * The state files of Flannel's CNI plugin (reference/flannel.md 8.3, 8.4): FLANNEL_DIR/CONTAINER holds the
 * configuration that its ADD made for the delegate, and its DEL runs the delegate with that. Text in, values
 * out, and back; the only I/O is reading one file. Used by takeover.c and flannel_files.c.
 *
 * A file of ours has a further key, which no delegate looks at:
 * "tulle": {"ifname": "eth0", "addresses": ["10.244.1.7"]}.
 */
#pragma once

#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

#include <net/if.h>
#include <stdbool.h>

#define FLANNEL_STATE_MAX (1u << 20)

/* -- writing -- */

struct flannel_delegate {
	const json_t *conf; /* of type flannel, as the runtime sent it; null: an empty one */
	const char *network, *ifname;
	bool ip_masq;                        /* the agent masquerades, so that the delegate need not */
	uint32_t mtu;                        /* FLANNEL_MTU */
	struct prefix cluster[FAMILY_COUNT]; /* FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK */
	struct prefix subnet[FAMILY_COUNT];
	struct addr addr[FAMILY_COUNT];
};

/* Appends what Flannel's plugin would write, and our mark. */
int flannel_state_format(const struct flannel_delegate *delegate, struct buf *buf, struct err *err);

/* -- reading -- */

struct flannel_state {
	char network[256];
	char data_dir[256]; /* ipam.dataDir, "" = host-local's default */
	bool ours;
	char ifname[IFNAMSIZ];          /* ours: of which attachment */
	struct addr addr[FAMILY_COUNT]; /* ours: its addresses */
};

/* The delegate must be bridge with host-local. */
int flannel_state_parse(
	const char *text, size_t len, const char *where, struct flannel_state *ret, struct err *err);
/* The file of a container. 1: read, 0: there is none (or the id is no file name), negative errno: it cannot
 * be read or is none of a bridge's. */
int flannel_state_read(
	const char *flannel_dir, const char *container_id, struct flannel_state *ret, struct err *err);
/* FLANNEL_DIR/CONTAINER. 0, or -EINVAL when that is no sound path. */
int flannel_state_path(const char *flannel_dir, const char *container_id, char path[static 1024]);
