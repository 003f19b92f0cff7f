/* SPDX-License-Identifier: Apache-2.0
 *
 * What Flannel's own plugin left on this node (reference/flannel.md section 8, reference/cni.md section 9):
 * pods that it attached to a bridge keep working, reach new pods, and are taken down without its delegates.
 * Used by pod attachment; holds no state.
 *
 * Its pods ARP for every address of the node's block, because for them it is on the link. Behind the bridge
 * now also live pods of ours, each behind an interface of its own: the bridge answers in their stead (proxy
 * ARP, which the kernel does for what it has a route to elsewhere; IPv6 needs an entry for each address).
 */
#pragma once

#include "base/addr.h"
#include "base/err.h"
#include "plane/netlink.h"

#include <net/if.h>
#include <stdbool.h>

struct takeover_request {
	const char *flannel_dir;    /* /var/lib/cni/flannel */
	const char *host_local_dir; /* used where the state file names no ipam.dataDir */
	const char *container_id, *ifname;
	int netns_fd; /* -1: gone */
	int own_netns;
};

/* Undoes an attachment of Flannel's plugin: interface, host-local's reservation, and last the state file, so
 * that a failure can be tried again. 1: it was one, 0: no state file of that container, negative errno:
 * failed. One of ours (attach/flannel_files.h) is followed, too, if it is of this interface. A state file that
 * is none, or that names another delegate than bridge or another IPAM than host-local, makes no DEL fail,
 * because trying again would not help: interface and reservations of that container go, in whatever network,
 * the file stays, and err says why although 1 is returned. */
int takeover_del(const struct takeover_request *request, struct err *err);

/* The bridge that holds an address of one of our blocks. 1 with its name, 0: there is none. */
int takeover_find_bridge(
	struct nl *nl, const struct prefix own[FAMILY_COUNT], char name[IFNAMSIZ], struct err *err);
/* Lets it answer for addresses behind other interfaces, at once and not after a random delay. */
int takeover_open_bridge(const char *name, struct err *err);
/* One IPv6 address that it answers for, or no longer. */
int takeover_bridge_proxy(
	struct nl *nl, const char *name, const struct addr *addr, bool present, struct err *err);
