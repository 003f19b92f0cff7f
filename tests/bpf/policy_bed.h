/* SPDX-License-Identifier: Apache-2.0
 *
 * A small world for the tests of the policy programs: pods, tables, packets made by words, the kernel's test run. In a network
 * namespace of its own. Every address has a form in both families; a test says which by "six".
 *
 *   POD      this node's, with both tables; OTHER: this node's, without policy; SHUT: this node's, both tables deny all
 *   GOOD     a pod elsewhere, which both tables know; BAD: one that they do not; both in a range of pods
 *   SERVICE  somebody translates it; OUTSIDE: not a pod, which the tables know; NODE: this node
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bpf/policy_layout.h"

#include <linux/pkt_cls.h>

enum { HOOK_FROM_POD, HOOK_TO_POD, HOOK_EXIT, HOOK_FROM_NET };
enum { POD, OTHER, SHUT, GOOD, BAD, SERVICE, OUTSIDE, NODE, NOBODY };
enum { QUIET = -1, POLICY_COUNT_QUIET = QUIET }; /* no counter moves */
enum { TABLE_IN = 101, TABLE_OUT = 102, TABLE_SHUT = 103, CLASS_GOOD = 11, CLASS_OUTSIDE = 12 };

#define PASS TC_ACT_UNSPEC
#define MARK_PENDING 0x00400000
#define MARK_HOST 0x00800000
#define SYN 2
#define ACK 16
#define SYN_ACK 18
#define FIN_ACK 17
#define RST 4
#define PORT 80 /* what GOOD and OUTSIDE may use, by TCP, UDP, SCTP */

/* A packet in words. Zero means the ordinary value: TCP, an ACK, the hook's own pod. */
struct wish {
	bool six;
	int src, dst;              /* who */
	const char *from, *to;     /* instead of who */
	uint16_t sport, dport;
	uint8_t protocol, tcp;
	bool no_flags;
	uint8_t type, code;        /* of ICMP */
	bool icmp;
	uint16_t id;               /* of echo, of fragments */
	const struct wish *quoted; /* in an ICMP error */
	uint8_t mac;               /* last byte of the source's; 0: its own */
	uint16_t ether;
	uint16_t place;            /* fragment's, in units of 8 bytes */
	bool more, split;          /* more fragments; a fragment header for nothing (IPv6) */
	uint8_t headers[9];        /* IPv6 extension headers, 8 bytes each; first byte behind: 0 ends */
	uint8_t header_count;
	uint8_t option;            /* IPv4 */
	uint8_t hops;
	const char *target;        /* neighbour discovery, ARP: of whom it speaks */
	uint8_t option_mac;        /* last byte of what it says */
	int size;                  /* IP's own idea of its length; 0: right */
	size_t cut;                /* bytes to leave out at the end */
	uint32_t mark;
	uint32_t device;           /* instead of the pod's */
	uint32_t came_by;          /* device by which this node received it */
};

struct bed;

int bed_setup(void **state);
int bed_setup_express(void **state); /* with the express path */
int bed_teardown(void **state);
struct policy_bpf *bed_programs(struct bed *bed);
uint32_t bed_device(const struct bed *bed, int who); /* NODE: the uplink */
void bed_set_state(struct bed *bed, struct policy_state state);
struct policy_state bed_state(struct bed *bed);
void bed_put_pod(struct bed *bed, int who, uint64_t in, uint64_t out, uint16_t flags, uint32_t serial);
void bed_remove_pod(struct bed *bed, int who);
void bed_put_host(struct bed *bed, int who, struct policy_host host); /* at who's device */
void bed_put_address(struct bed *bed, const char *prefix, uint64_t class, uint32_t flags);
void bed_put_pair(struct bed *bed, uint64_t table, uint64_t class, uint64_t list);
void bed_put_port(struct bed *bed, uint64_t list, uint8_t len, uint8_t protocol, uint16_t port, uint32_t bits, uint64_t next);
void bed_put_source(struct bed *bed, int who, const char *prefix);
/* Of the pod, as it sees it. False: not known. */
bool bed_flow(struct bed *bed, const struct policy_flow_key *key, struct policy_flow *ret);
void bed_age_flows(struct bed *bed, unsigned seconds);
void bed_forget(struct bed *bed);
/* Events since the last call, the newest last. */
size_t bed_events(struct bed *bed, struct policy_event *ret, size_t max);
const char *bed_address(bool six, int who);

/* One packet through a hook. ret_mark may be null. reason: the only counter that moves, or QUIET. */
void bed_expect(struct bed *bed, int hook, const struct wish *wish, int verdict, int reason, uint32_t *ret_mark);

/* A packet as bytes, and what becomes of it in a program. mark may be null. */
struct bed_frame {
	uint8_t pad[2]; /* so that the headers behind Ethernet's 14 bytes are aligned */
	uint8_t b[1024];
	size_t len;
};
struct bpf_program;
void bed_make(const struct wish *wish, struct bed_frame *ret);
int bed_run(struct bpf_program *program, uint32_t device, struct bed_frame *frame, uint32_t *mark);

/* FROM(.dst = GOOD) OPENS: a packet of POD (unless .src says otherwise), one to POD, one that leaves; and what becomes of it. */
#define FROM(...) bed_expect(*state, HOOK_FROM_POD, &(struct wish){__VA_ARGS__}
#define TO(...) bed_expect(*state, HOOK_TO_POD, &(struct wish){__VA_ARGS__}
#define EXIT(...) bed_expect(*state, HOOK_EXIT, &(struct wish){.mark = MARK_PENDING, __VA_ARGS__}
#define OPENS , PASS, POLICY_COUNT_ALLOWED, NULL)
#define PASSES , PASS, QUIET, NULL)
#define DROPPED(why) , TC_ACT_SHOT, POLICY_COUNT_##why, NULL)
