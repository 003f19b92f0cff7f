/* SPDX-License-Identifier: Apache-2.0
 *
 * The packet rules that flanneld leaves behind (reference/flannel.md 5.1, 5.3): chains FLANNEL-POSTRTG and FLANNEL-FWD
 * with the jumps into them, by iptables-nft or iptables-legacy, and tables flannel-ipv4 and flannel-ipv6. Removed when a
 * node is taken over, once our own rules stand.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "plane/nft.h"

/* Removes what there is; note gets the names, separated by commas. Nothing there: no process is started. */
int flannel_rules_remove(struct children *children, struct buf *note, struct err *err);
