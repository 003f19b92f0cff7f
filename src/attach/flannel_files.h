/* SPDX-License-Identifier: Apache-2.0
 *
 * Our attachments in Flannel's own files, for the way back: while a configuration of type flannel is served,
 * each of its attachments has a state file (attach/flannel_state.h) and host-local's reservations
 * (attach/host_local.h), as if Flannel's plugin had attached it. So that plugin, when the node is switched
 * back, gives no address twice, and its DEL undoes our pods. Called by pod attachment (attach_files.c), and
 * by "tullectl cleanup"; holds no state.
 *
 * Order: the state file comes first and goes last, so a reservation of ours never stands without one and what
 * a kill leaves is found again. Nothing is synced: like the journal, these files matter within one boot.
 */
#pragma once

#include "attach/flannel_state.h"
#include "attach/host_local.h"

struct flannel_dirs {
	const char *flannel;    /* /var/lib/cni/flannel */
	const char *host_local; /* /var/lib/cni/networks */
};

/* A plugin of others, where ours is installed under its name, is kept with this suffix: going back is a rename. */
#define PLUGIN_KEPT_SUFFIX ".before-tulle"

/* Before the kernel is touched. A state file of another attachment of this container stays (Flannel has but
 * one for both). -EAGAIN: an address is reserved by another container, or the lock is held. On failure
 * nothing is left behind. */
int flannel_files_write(const struct flannel_dirs *dirs, const char *container_id,
	const struct flannel_delegate *delegate, struct err *err);

/* One attachment of ours, as its files show it. */
struct flannel_pod {
	const char *network, *container_id, *ifname;
	struct addr addr[FAMILY_COUNT];
};

/* Removes what is there of it and is really its own. -EAGAIN: the lock is held; then all is left. */
int flannel_files_remove(const struct flannel_dirs *dirs, const struct flannel_pod *pod, struct err *err);
/* State file or reservations are gone: Flannel's plugin has had a DEL. */
bool flannel_files_undone(const struct flannel_dirs *dirs, const struct flannel_pod *pod);

/* Removes each state file that keep does not want, after the reservations of its container: all of them if it
 * is Flannel's, those named in it if it is ours. Files that are none of a bridge's stay. Goes on after a
 * failure and returns the first. */
int flannel_files_clean(const struct flannel_dirs *dirs,
	bool (*keep)(void *ctx, const char *container_id, const struct flannel_state *state), void *ctx,
	struct err *err);
/* Removes what a kill or a power failure left of state files: temporary ones, and those from before this boot
 * that are empty, with the reservations of their containers. (Flannel's plugin syncs its own.) */
void flannel_files_clear_torn(const struct flannel_dirs *dirs);
