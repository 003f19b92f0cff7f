/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * What the carrier's programs and the agent share: maps, their keys and values, counters. The maps are pinned and
 * outlive both; whoever changes a key, a value or a meaning here raises CARRIER_LAYOUT, and the agent then fills new
 * maps before it replaces the programs.
 */
#pragma once

#include "packet_layout.h"

#define CARRIER_LAYOUT 1
#define CARRIER_BLOCKS_MAX 131072
#define CARRIER_PEERS_MAX 65536

/* Value of the trie "blocks": which node holds this address? */
struct carrier_block {
	struct packet_addr peer; /* outer address of the node that holds the block; all zero: this node */
	/* Written by the receiving program: 1 while the peer's packets come from a carrier, whose kernel finishes what the
	 * wire did not (super-packets and open checksums on a virtual underlay). A relay in user space, such as flanneld,
	 * would not: it gets cut and summed packets. Told by the outer UDP checksum, which only a socket fills in. Not used by
	 * IPIP, whose peers are all kernels. */
	__u32 whole;
};

/* Frozen into each load of the programs; a change is a new load that replaces the old one atomically. */
struct carrier_config {
	__u32 kind;        /* enum wanted_carrier_kind; for the agent's comparison, each has its own programs */
	__u32 device;      /* index of NAME */
	__u32 device_twin; /* index of NAME"p" */
	__u32 uplink;
	__u16 port;        /* network order; UDP */
	__u8 mac[6];       /* of NAME */
	struct packet_addr local[2]; /* outer source by family: IPv4, IPv6; all zero: family not carried */
};

/* Written on a packet that the carrier itself sends (skb->tc_index), so that the guard at the uplink tells it from a
 * forgery. Sockets cannot set it. */
#define CARRIER_TOKEN 0x7554

#define CARRIER_COUNTS(X)                                                                              \
	X(SENT, "sent", "packets encapsulated")                                                        \
	X(RECEIVED, "received", "packets decapsulated")                                                \
	X(FINISHED, "finished", "packets that the kernel cut or summed before")                        \
	X(TX_NOT_IP, "tx_not_ip", "neither IPv4 nor IPv6, or shorter than its header")                 \
	X(TX_NOT_UNICAST, "tx_not_unicast", "destination is multicast, broadcast or link-local")       \
	X(TX_NO_PEER, "tx_no_peer", "no node holds the destination")                                   \
	X(TX_NO_FAMILY, "tx_no_family", "this node has no outer address of that family")               \
	X(TX_PUSH, "tx_push", "the kernel refused to add the outer header")                            \
	X(RX_FRAGMENT, "rx_fragment", "outer packet is a fragment")                                    \
	X(RX_OUTER, "rx_outer", "outer header is malformed")                                           \
	X(RX_NO_NODE, "rx_no_node", "sender is no node")                                               \
	X(RX_INNER, "rx_inner", "inner packet is malformed")                                           \
	X(RX_FOREIGN, "rx_foreign", "inner source does not belong to the sending node")                \
	X(RX_NESTED, "rx_nested", "inner packet is itself a tunnel packet for this node")              \
	X(RX_CONGESTED, "rx_congested", "outer header marks congestion, inner sender cannot be told")  \
	X(RX_STRIP, "rx_strip", "the kernel refused to remove the outer header")                       \
	X(FORGED, "forged", "tunnel packet to a node, not made by the carrier")

enum carrier_count_index {
#define X(id, name, text) CARRIER_COUNT_##id,
	CARRIER_COUNTS(X)
#undef X
	CARRIER_COUNT_MAX,
};
