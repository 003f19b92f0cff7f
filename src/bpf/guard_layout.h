/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * What the guard's program and the agent share: maps, their values, counters. The maps are pinned and outlive both;
 * whoever changes a key, a value or a meaning here raises GUARD_LAYOUT.
 *
 *   sources    trie   inner source -> the only node that may send it; pools are entries of nobody
 *   nodes      hash   outer sources that may send packets of tunnels at all
 *   externals  trie   ranges of such
 *   counts     per-CPU array, see GUARD_COUNTS
 */
#pragma once

#include "packet_layout.h"

#define GUARD_LAYOUT 1
#define GUARD_SOURCES_MAX 262144
#define GUARD_NODES_MAX 65536
#define GUARD_EXTERNALS_MAX 4096

struct guard_source {
	struct packet_addr node; /* all zero: nobody */
};

/* Frozen into each load of the program; a change is a new load that replaces the old one atomically. */
struct guard_config {
	__u32 header;           /* bytes of the uplink's link-layer header: 14, or 0 */
	__u32 vni;
	__u16 port;             /* network order */
	__u8 vxlan[2], ipip, unused[3]; /* which tunnels to look into, vxlan by outer family: IPv4, IPv6 */
};

#define GUARD_COUNTS(X)                                                                                   \
	X(ACCEPTED, "accepted", "packets of tunnels that passed")                                         \
	X(NO_NODE, "no_node", "sender is no node")                                                        \
	X(FRAGMENT, "fragment", "outer packet is a fragment")                                             \
	X(OUTER, "outer", "outer header is one that no node makes: options, extension headers, too short") \
	X(INNER, "inner", "inner packet is malformed, or not IP")                                         \
	X(FOREIGN, "foreign", "inner source belongs to another node")                                     \
	X(NOBODY, "nobody", "inner source is inside a pool, and no node has it")                          \
	X(NESTED, "nested", "inner packet is itself a tunnel packet for this node")

enum guard_count_index {
#define X(id, name, text) GUARD_COUNT_##id,
	GUARD_COUNTS(X)
#undef X
	GUARD_COUNT_MAX,
};
