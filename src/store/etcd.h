/* SPDX-License-Identifier: Apache-2.0
 *
 * The etcd v3 transport with Flannel's layout (reference/flannel.md 3.3): PREFIX/config and PREFIX/subnets/KEY bound
 * to an etcd lease. Parts: etcd.c (life cycle, what is watched), etcd_write.c (leases and guarded transactions), on
 * etcd_client.h and etcd_watch.h.
 *
 * When a peer's lease ends is not asked: that would be one LeaseTimeToLive for each of maybe 5,000 keys and each
 * change of one, and etcd tells the end as a DELETE event. Only our own, if somebody else wrote it, is asked for.
 */
#pragma once

#include "store/kv.h"
#include "store/store.h"

int etcd_new(const struct store_etcd_options *options, struct event_base *base,
	const struct kv_events *events, void *ctx, struct kv **ret, struct err *err);
