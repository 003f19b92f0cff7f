/* SPDX-License-Identifier: Apache-2.0
 *
 * The directory transport: net-conf.json or ConfigMap manifests in a directory, leases as leases/KEY.json with an
 * extra key "Expiration", shared by any number of agents of one machine (bind mounts). Writes happen under flock on
 * leases/.lock and by rename, so every reader sees whole files; inotify tells of changes. Whoever meets an expired
 * lease removes it. Parts: directory.c (inotify, life cycle), directory_config.c (which file is the configuration),
 * directory_lease.c (lease files and writes).
 */
#pragma once

#include "store/kv.h"

struct event_base;

/* The events are called with ctx; events must outlive the transport. */
int directory_new(const char *path, struct event_base *base, const struct kv_events *events, void *ctx,
	struct kv **ret, struct err *err);
/* The configuration alone (start(), never watch()): this one file, and cni-conf.json beside it. */
int directory_new_config(const char *file, struct event_base *base, const struct kv_events *events, void *ctx,
	struct kv **ret, struct err *err);
