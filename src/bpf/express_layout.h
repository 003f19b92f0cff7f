/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * What the express path's programs and the agent share beside policy_layout.h, whose layout version counts for these maps, too.
 *
 *   slots           array  ways to other nodes, one for each node, encapsulation and family; 0 is none
 *   remotes         trie   address of a remote pod -> slot
 *   express         array  of one struct express_config
 *   express_counts  per-CPU array, see EXPRESS_COUNTS
 *
 * A slot to which anything refers is never changed. The agent writes new slots, then remotes, then raises policy's epoch,
 * which makes each flow look up its slot again with its next packet, then clears the slots that nothing refers to any more.
 */
#pragma once

#include "packet_layout.h"

#define EXPRESS_SLOTS_MAX 16384
#define EXPRESS_REMOTES_MAX 131072
#define EXPRESS_HEADER 64 /* Ethernet, IPv4, UDP, VXLAN, Ethernet: the longest */

enum express_kind {
	EXPRESS_NONE, /* no slot */
	EXPRESS_PLAIN, /* no encapsulation */
	EXPRESS_VXLAN,
	EXPRESS_IPIP,
	EXPRESS_UDP,
	EXPRESS_KIND_MAX,
};

struct express_slot {
	/* What stands before the inner packet, as words so that it is copied as such. The Ethernet header in front is filled in
	 * by the kernel; lengths, identification, checksum, TOS and UDP source port are zero here. Carried in IPv4 only. */
	__u64 header[EXPRESS_HEADER / 8];
	struct packet_addr node; /* outer destination of what goes there, outer source of what comes from there */
	/* As struct bpf_redir_neigh. */
	__u32 next_family;
	__u32 next[4];
	__u32 device; /* index of the uplink */
	__u32 sum;    /* of the outer IPv4 header as it is here, not folded */
	__u16 port_min, port_range; /* UDP source ports of VXLAN */
	__u16 mtu;    /* of the inner packet */
	__u8 kind;    /* enum express_kind */
	__u8 whole;   /* written by the programs. UDP: the peer's kernel finishes what the wire did not, as struct carrier_block */
};

struct express_config {
	__be32 local[EXPRESS_KIND_MAX]; /* outer destination of what is for us, by kind; 0: not this kind */
	__be32 vni; /* with the 8 reserved bits behind */
	__be16 vxlan_port, udp_port;
};

/* The first three went by the express path; the others would have, but for this. */
#define EXPRESS_COUNTS(X)                                                                            \
	X(OUT, "out", "packets to pods of other nodes")                                               \
	X(IN, "in", "packets from pods of other nodes")                                               \
	X(LOCAL, "local", "packets between pods of this node")                                        \
	X(NO_WAY, "no_way", "no way to that address is known at the moment")                          \
	X(TTL, "ttl", "time to live is at its end")                                                   \
	X(LONG, "long", "longer than the path's MTU")                                                 \
	X(GSO, "gso", "super-packet that cannot be encapsulated or stripped here")                    \
	X(UNFINISHED, "unfinished", "udp: the peer may not be able to finish sums and super-packets")  \
	X(ODD, "odd", "fragment, options, congestion marks: the kernel knows how")                    \
	X(REFUSED, "refused", "the kernel's helper refused")                                          \
	X(LOST, "lost", "dropped: the kernel's helper refused after the packet had been changed")

enum express_count_index {
#define X(id, name, text) EXPRESS_COUNT_##id,
	EXPRESS_COUNTS(X)
#undef X
	EXPRESS_COUNT_MAX,
};
