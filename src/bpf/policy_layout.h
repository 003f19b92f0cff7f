/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * What the policy programs and the agent share: maps, keys, values, counters. The maps are pinned and outlive both;
 * whoever changes a key, a value or a meaning here raises POLICY_LAYOUT.
 *
 *   addresses  trie   remote address -> class: which peers of rules it is one of, all of them at once
 *   pairs      hash   (table of the endpoint and direction, class) -> list
 *   ports      trie   (list, protocol, port) -> verdict
 *   endpoints  hash   interface index -> a pod of this node
 *   locals     hash   address -> interface index (u32) of the pod of this node that has it
 *   hosts      hash   interface index -> a host endpoint of this node
 *   sources    trie   (interface index, address) -> u32 0: what else a pod may send from (allowedSourcePrefixes)
 *   flows      LRU    flows that have been judged
 *   fragments  LRU    first fragments that have been judged
 *   counts     per-CPU array, see POLICY_COUNTS
 *   state      array of one struct policy_state; all zero but for the marks is fine
 *   events     ring buffer of struct policy_event: drops while somebody watches, and Log rules
 *   slots, remotes, express, express_counts: the express path, see express_layout.h
 *
 * Tables, classes and lists have numbers that are hashes of what they hold: they mean the same for ever, the same world has
 * the same numbers whoever computed them, and an entry that stands under a number is never changed, only added and, when
 * nothing refers to it any more, removed. So the agent adds lists, pairs, then moves addresses, then endpoints, then raises
 * the epoch, then removes what is stale: at no moment does a packet meet half a change.
 *
 * Programs: policy_from_pod (tc ingress of a pod's interface), policy_to_pod (its tc egress), policy_exit (tc egress of
 * devices by which packets leave, with Ethernet header or without), policy_from_net (tc ingress of those that have a host
 * endpoint). What passes is TC_ACT_UNSPEC, so that programs and
 * filters behind them still run (that of a pod that is being closed, the carrier's).
 *
 * Judging one side of a new flow: class = addresses[remote]; list = pairs[table, class], else pairs[table, 0]; verdict =
 * ports[list, protocol, port of the flow's destination]. NEXT: the same in another list with the source's port. ICMP has
 * type << 8 | code as its port; of a protocol without ports it is 0. A look-up that finds nothing denies.
 *
 * Before the programs are loaded, policy_config.conntrack says whether bpf_skb_ct_lookup may be called: set it, and where the
 * kernel refuses, load again without (it is in the module nf_conntrack on many kernels: that must be there by then).
 */
#pragma once

#include "packet_layout.h"

#define POLICY_LAYOUT 1
#define POLICY_ADDRESSES_MAX 1048576
#define POLICY_PAIRS_MAX 1048576
#define POLICY_PORTS_MAX 1048576
#define POLICY_ENDPOINTS_MAX 16384
#define POLICY_LOCALS_MAX (2 * POLICY_ENDPOINTS_MAX)
#define POLICY_SOURCES_MAX 65536
#define POLICY_HOSTS_MAX 4096
#define POLICY_FLOWS_MAX 65536 /* unless the agent chooses another size before it loads */
#define POLICY_FRAGMENTS_MAX 8192
#define POLICY_EVENTS_BYTES (256 * 1024)

enum policy_address_flag {
	/* An address of this node: it and its own pods always reach each other. */
	POLICY_ADDRESS_OWN = 1,
	/* Nothing translates packets to it (pods' ranges): egress is judged at the pod. Without it, where the packet leaves. */
	POLICY_ADDRESS_FINAL = 2,
};

/* addresses; key struct packet_prefix. What no prefix holds is class 0 without flags. */
struct policy_address {
	__u64 class; /* 0: a peer of no rule */
	__u32 flags; /* enum policy_address_flag */
	__u32 zero;
};

struct policy_pair {
	__u64 table, class;
};

/* Key of ports; len of 96 bits: 64 the whole list, 72 all of a protocol (the byte behind it then counts for nothing),
 * 80 to 96 a range of ports. */
struct policy_port {
	__u32 len;
	__u32 list[2]; /* the number, low word first */
	__u8 protocol, zero;
	__be16 port;
};

enum policy_verdict_bit {
	POLICY_VERDICT_ALLOW = 1, /* otherwise: denied */
	POLICY_VERDICT_NEXT = 2,  /* list next says it, by the source's port */
	POLICY_VERDICT_LOG = 4,   /* a Log rule came before */
	POLICY_VERDICT_ON = 8,    /* of what is judged early: left to what judges later */
};

struct policy_verdict {
	__u64 next;
	__u32 bits; /* enum policy_verdict_bit */
	__u32 zero;
};

enum policy_endpoint_flag {
	POLICY_ENDPOINT_FREE = 1, /* may send from any address */
	POLICY_ENDPOINT_TUNNELS = 2, /* may send packets of tunnels */
	POLICY_ENDPOINT_SHAPED = 4, /* packets wait in its queue: none goes round it */
};

/* A table 0: no policy applies in this direction, everything passes. No entry at all: nothing passes. */
struct policy_endpoint {
	__u64 table[2]; /* ingress, egress */
	struct packet_addr addr[2]; /* IPv4, IPv6; all zero: none */
	__u8 mac[6];
	__u16 flags; /* enum policy_endpoint_flag */
	__u32 serial; /* another one for each pod: flows of a former pod of this interface or address mean nothing */
	__u32 zero;
};

/* As enum verdict_traffic. */
enum policy_traffic { POLICY_TRAFFIC_LOCAL, POLICY_TRAFFIC_FORWARD, POLICY_TRAFFIC_PRE_DNAT, POLICY_TRAFFIC_UNTRACKED, POLICY_TRAFFIC_MAX };

/* A table 0: nothing is said, everything passes or is left to what judges later. */
struct policy_host {
	__u64 table[POLICY_TRAFFIC_MAX][2]; /* ingress, egress */
};

struct policy_source {
	__u32 len; /* 32 and the prefix's, IPv4 prefixes have 96 more */
	__u32 ifindex;
	struct packet_addr addr;
};

/* A flow as the pod of this node sees it, before or after whatever is translated elsewhere. ICMP echo: both ports are the
 * identifier; other ICMP is judged packet by packet. With remote all zero it is a pointer: of a pending flow whose packets
 * conntrack cannot be asked about (SCTP, or a kernel without bpf_skb_ct_lookup), peer and peer_port being its remote side. */
struct policy_flow_key {
	struct packet_addr local, remote;
	__be16 local_port, remote_port;
	__u8 protocol;
	__u8 echo; /* of ICMP echo: 1 the pod asks, 2 it is asked; otherwise 0 */
	__u8 zero[2];
};

enum policy_flow_flag {
	POLICY_FLOW_FROM_POD = 1, /* who began */
	POLICY_FLOW_PENDING = 2,  /* egress, not judged yet: replies do not pass */
	POLICY_FLOW_REPLIED = 4,
	POLICY_FLOW_CLOSING = 8,  /* FIN or RST was seen */
	POLICY_FLOW_OPEN = 16,    /* TCP: replied, and neither side has closed */
	POLICY_FLOW_FREE = 32,    /* no policy is asked: with the node, or with the pod itself */
	POLICY_FLOW_EXPRESS = 64, /* begun here, translated by nobody: its packets may go round the host's stack */
	POLICY_FLOW_LOCAL = 128,  /* express: the other end is a pod of this node, and slot its interface index */
};

struct policy_flow {
	__u64 seen;   /* bpf_ktime_get_coarse_ns() / 2^20 of the last packet */
	__u32 epoch;  /* of the judgement; another epoch: judge again */
	__u32 serial; /* struct policy_endpoint */
	union {
		struct packet_addr peer; /* whom the judgement was about: the remote address after translation */
		struct { /* express: the peer is the key's remote side; what else a packet needs to know */
			__u32 ifindex;
			__u32 slot; /* 0: none at the moment, the kernel's path */
			__u8 mac[6]; /* of the pod */
			__u8 zero[2];
		} way;
	};
	__be16 peer_port; /* theirs in that judgement */
	__u8 flags; /* enum policy_flow_flag */
	__u8 zero[5];
};

struct policy_fragment_key {
	struct packet_addr src, dst;
	__u32 id;
	__u32 ifindex; /* where it was judged */
	__u8 protocol;  /* of IPv4; in IPv6 0 */
	__u8 direction; /* 0 to the pod, 1 from the pod, 2 leaving the node */
	__u8 zero[2];
};

struct policy_fragment {
	__u64 seen;
	__u32 pending; /* mark those that follow, too */
	__u32 zero;
};

/* Frozen into each load of the programs (rodata "config"). */
struct policy_config {
	__u32 conntrack;
	__u32 express; /* 1: the express path is on */
};

struct policy_state {
	__u32 epoch;
	__u32 keep;  /* "established: keep": flows are not judged again */
	__u32 watch; /* somebody wants to see drops */
	__u32 mark_pending, mark_host; /* bits of the packet mark: egress is still to be judged; sent by this node itself */
	__u32 mark_express; /* of an express flow, by the kernel's path: conntrack must not see it; 0: no such bit */
};

/* Why a packet did not pass. */
#define POLICY_COUNTS(X)                                                                                     \
	X(ALLOWED, "allowed", "new flows that passed")                                                       \
	X(UNKNOWN, "unknown", "interface without an endpoint: the pod is not set up yet, or is gone")        \
	X(INGRESS, "ingress", "denied by ingress policy of the receiver")                                    \
	X(EGRESS, "egress", "denied by egress policy of the sender")                                         \
	X(SOURCE, "source", "source address is not the pod's")                                               \
	X(MAC, "mac", "source MAC address is not the pod's")                                                 \
	X(ARP, "arp", "ARP for an address that is not the pod's")                                            \
	X(NEIGHBOUR, "neighbour", "neighbour discovery for an address that is not the pod's")               \
	X(ROUTER, "router", "router advertisement or redirect from a pod")                                   \
	X(DHCP, "dhcp", "DHCP answer from a pod")                                                            \
	X(TUNNEL, "tunnel", "packet of a tunnel from a pod")                                                 \
	X(FRAGMENT, "fragment", "fragment without its first one")                                            \
	X(SHORT, "short", "header is cut off, or hidden in fragments")                                       \
	X(HEADERS, "headers", "more IPv6 extension headers than are followed")                               \
	X(PROTOCOL, "protocol", "neither IP nor ARP")                                                        \
	X(RELATED, "related", "ICMP error for a flow that is not known")                                     \
	X(UNCONFIRMED, "unconfirmed", "reply to a flow whose egress has not been judged")                    \
	X(FLOWS_FULL, "flows_full", "the table of flows could not take it")                                   \
	X(HOST, "host", "denied by policy of a host endpoint")

enum policy_count_index {
#define X(id, name, text) POLICY_COUNT_##id,
	POLICY_COUNTS(X)
#undef X
	POLICY_COUNT_MAX,
};

enum policy_event_kind { POLICY_EVENT_DROP, POLICY_EVENT_LOG };

struct policy_event {
	__u64 time; /* CLOCK_BOOTTIME, ns */
	__u32 kind, reason; /* enum policy_event_kind, enum policy_count_index */
	__u32 ifindex, direction; /* of the pod; 0 ingress, 1 egress */
	struct packet_addr src, dst;
	__be16 sport, dport;
	__u8 protocol, bits; /* enum policy_verdict_bit, when it was judged */
	__u16 length; /* of the packet, bytes */
	__u64 table, class, list; /* 0 where it did not come to that */
	struct packet_addr peer; /* whom the judgement was about; all zero where it did not come to that */
};
