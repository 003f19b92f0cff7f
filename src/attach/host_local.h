/* SPDX-License-Identifier: Apache-2.0
 *
 * The files of the IPAM plugin host-local (reference/cni.md section 9), as far as we share them: one file
 * DIR/NETWORK/ADDRESS for each reserved address, which says whose it is, and a lock for each network. Tulle
 * hands out its addresses by its own journal; it reads these so that nothing is given twice on a node that
 * ran Flannel, and writes them so that nothing is given twice when the node runs Flannel again.
 * Used by takeover.c and flannel_files.c; holds no state. last_reserved_ip.* is never touched.
 *
 * The lock is taken without waiting, since whoever holds it would hold up the agent: -EAGAIN then.
 */
#pragma once

#include "base/addr.h"
#include "base/err.h"

#include <stdbool.h>
#include <sys/stat.h>

struct host_local {
	const char *dir;     /* /var/lib/cni/networks */
	const char *network; /* a plain name */
	const char *container_id;
	const char *ifname; /* null: whichever, for the releases only */
};

/* A file that lost its content to a power failure: empty, of mode 0600, from before this boot. (An empty file
 * of another kind is taken seriously: that is how an operator bars an address.) */
bool host_local_is_torn(const struct stat *st);

/* A file in whatever network's directory reserves this address. dir may be null or missing. A torn one does
 * not count: it is nobody's, and no DEL would ever remove it. */
bool host_local_has_addr(const char *dir, const struct addr *addr);

/* Reserves the addresses that are set. What this owner has already is fine; -EAGAIN: another one has it, or
 * the lock. On failure none is reserved but what was before. */
int host_local_reserve(const struct host_local *owner, const struct addr addr[FAMILY_COUNT], struct err *err);
/* Removes the reservations of these addresses that are the owner's. */
int host_local_release(const struct host_local *owner, const struct addr addr[FAMILY_COUNT], struct err *err);
/* Removes the owner's reservations, whatever their addresses, as host-local's own DEL does. */
int host_local_release_all(const struct host_local *owner, struct err *err);
/* The same in every network's directory. */
int host_local_release_everywhere(const struct host_local *owner, struct err *err);
/* One of these addresses is reserved for the owner. */
bool host_local_holds_any(const struct host_local *owner, const struct addr addr[FAMILY_COUNT]);
