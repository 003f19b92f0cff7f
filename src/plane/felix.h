/* SPDX-License-Identifier: Apache-2.0
 *
 * What Felix, the agent of a Calico that ran on this node, leaves behind in the kernel (reference/calico.md 3.10, 5.4,
 * 7.12): chains cali-* by iptables-nft or iptables-legacy with the rules that lead into them, tables "calico" of
 * nftables, sets cali40*, cali60* and their temporary ones, routes of protocol 80. Removed when a node is taken over,
 * once our own rules stand: until then they do what they did, and drop what they do not know.
 *
 * Life cycle: a zeroed struct felix_sweep; felix_sweep_go at each apply until it is done; felix_sweep_free. Sets go a
 * few at a time, because each keeps the caller waiting for some ten milliseconds.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "plane/netlink.h"
#include "plane/nft.h"

#include <stdbool.h>

struct felix_sweep {
	bool rules, routes, done; /* so far */
	size_t sets;              /* removed */
	unsigned tries;           /* in which no set could be removed */
	struct buf note;          /* what was removed: names, separated by commas */
};

/* Nothing there: no process is started. After a failure the next call tries again; without one and without done, the
 * next call goes on. */
int felix_sweep_go(struct felix_sweep *sweep, struct nl *nl, struct children *children, struct err *err);
void felix_sweep_free(struct felix_sweep *sweep);

/* Chains or tables of Felix by nftables: after the sweep, somebody has made them again. */
bool felix_rules_stand(void);

/* -- the parts -- */

/* Chains and tables. */
int felix_rules_remove(struct children *children, struct buf *note, struct err *err);
/* True: some stand still, in use until the kernel has forgotten the rules, or left for the next call. A kernel without
 * sets, or that says no, has nothing to remove: a set alone harms nobody. Counts into *gone. */
bool felix_sets_remove(size_t *gone);
/* Routes of protocol 80 but those to pods' interfaces (cali*): what is wanted in their place is ours by now. */
int felix_routes_remove(struct nl *nl, struct buf *note, struct err *err);
