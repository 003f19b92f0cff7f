/* SPDX-License-Identifier: Apache-2.0
 *
 * Packets one by one through the policy programs: which are judged, which flows are remembered, and how long.
 */
#include "policy_bed.h"

#include <netinet/in.h>
#include <string.h>

#define BOTH_FAMILIES(six) for (int six = 0; six < 2; six++)

static const uint8_t protocols[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP};
#define EACH_PROTOCOL(p) \
	for (size_t p##_i = 0, p; p##_i < sizeof(protocols) && (p = protocols[p##_i], 1); p##_i++)

static void flows_that_policy_allows_pass_both_ways(void **state)
{
	BOTH_FAMILIES(six) EACH_PROTOCOL(p) {
		uint8_t protocol = (uint8_t)p;

		FROM(.six = six, .protocol = protocol, .dst = GOOD, .tcp = SYN) OPENS;
		TO(.six = six, .protocol = protocol, .src = GOOD, .sport = PORT, .dport = 40000, .tcp = SYN_ACK) PASSES;
		FROM(.six = six, .protocol = protocol, .dst = GOOD) PASSES;
		TO(.six = six, .protocol = protocol, .src = GOOD, .sport = 50000, .tcp = SYN) OPENS;
		FROM(.six = six, .protocol = protocol, .dst = GOOD, .sport = PORT, .dport = 50000, .tcp = SYN_ACK) PASSES;
		TO(.six = six, .protocol = protocol, .src = GOOD, .sport = 50000) PASSES;
	}
}

static void what_policy_denies_is_dropped(void **state)
{
	BOTH_FAMILIES(six) EACH_PROTOCOL(p) {
		uint8_t protocol = (uint8_t)p;

		FROM(.six = six, .protocol = protocol, .dst = BAD, .tcp = SYN) DROPPED(EGRESS);
		FROM(.six = six, .protocol = protocol, .dst = GOOD, .dport = PORT + 1, .tcp = SYN) DROPPED(EGRESS);
		TO(.six = six, .protocol = protocol, .src = BAD, .tcp = SYN) DROPPED(INGRESS);
		TO(.six = six, .protocol = protocol, .src = NOBODY, .tcp = SYN) DROPPED(INGRESS);
		TO(.six = six, .protocol = protocol, .src = GOOD, .dport = PORT + 1, .tcp = SYN) DROPPED(INGRESS);
	}
}

/* Row 9: what belongs to no flow is judged as if it opened one. */
static void stray_packets_are_judged(void **state)
{
	static const uint8_t flags[] = {ACK, SYN_ACK, RST, RST | ACK, FIN_ACK, 1, 0x3f, 0x29};

	BOTH_FAMILIES(six) {
		for (size_t i = 0; i < sizeof(flags); i++) {
			TO(.six = six, .src = BAD, .sport = PORT, .dport = 40000, .tcp = flags[i]) DROPPED(INGRESS);
			TO(.six = six, .src = GOOD, .sport = PORT, .dport = 40000, .tcp = flags[i]) DROPPED(INGRESS);
			FROM(.six = six, .dst = BAD, .sport = PORT, .dport = 40000, .tcp = flags[i]) DROPPED(EGRESS);
		}
		TO(.six = six, .src = BAD, .no_flags = true) DROPPED(INGRESS);
		/* in the middle of a connection of which nobody knows who began: each for itself */
		FROM(.six = six, .dst = GOOD, .sport = 41000) OPENS;
		TO(.six = six, .src = GOOD, .sport = PORT, .dport = 41000) DROPPED(INGRESS);
		TO(.six = six, .src = GOOD, .sport = 41000) OPENS;
		FROM(.six = six, .dst = GOOD, .sport = PORT, .dport = 41000) DROPPED(EGRESS);
	}
}

static void a_syn_is_judged_anew_whoever_sends_it(void **state)
{
	BOTH_FAMILIES(six) {
		FROM(.six = six, .dst = GOOD, .tcp = SYN) OPENS;
		TO(.six = six, .src = GOOD, .sport = PORT, .dport = 40000, .tcp = SYN) DROPPED(INGRESS);
		TO(.six = six, .src = GOOD, .sport = PORT, .dport = 40000, .tcp = SYN_ACK) PASSES;
		TO(.six = six, .src = GOOD, .sport = 50000, .tcp = SYN) OPENS;
		FROM(.six = six, .dst = GOOD, .sport = PORT, .dport = 50000, .tcp = SYN) DROPPED(EGRESS);
		FROM(.six = six, .dst = GOOD, .sport = PORT, .dport = 50000, .tcp = SYN_ACK) PASSES;
	}
}

static void pods_without_policy_are_open(void **state)
{
	BOTH_FAMILIES(six) {
		FROM(.six = six, .src = OTHER, .dst = BAD, .tcp = SYN) PASSES;
		FROM(.six = six, .src = OTHER, .dst = SERVICE, .tcp = SYN) PASSES;
		TO(.six = six, .src = BAD, .dst = OTHER, .tcp = SYN) PASSES;
	}
}

/* With one table only, the other direction is open, and its flows are remembered for their replies. */
static void one_direction_alone_can_be_closed(void **state)
{
	BOTH_FAMILIES(six) {
		bed_forget(*state);
		bed_put_pod(*state, POD, TABLE_SHUT, 0, 0, 1);
		FROM(.six = six, .dst = BAD, .tcp = SYN) OPENS;
		TO(.six = six, .src = BAD, .sport = PORT, .dport = 40000, .tcp = SYN_ACK) PASSES;
		TO(.six = six, .src = BAD, .tcp = SYN) DROPPED(INGRESS);
		bed_put_pod(*state, POD, 0, TABLE_SHUT, 0, 1);
		TO(.six = six, .src = BAD, .tcp = SYN) OPENS;
		FROM(.six = six, .dst = BAD, .sport = PORT, .dport = 40000, .tcp = SYN_ACK) PASSES;
		FROM(.six = six, .dst = BAD, .tcp = SYN) DROPPED(EGRESS);
	}
}

/* Rows 26 and 28: an interface without an entry, an address without tables. */
static void what_is_not_known_is_closed(void **state)
{
	BOTH_FAMILIES(six) {
		FROM(.six = six, .dst = GOOD, .device = bed_device(*state, NODE)) DROPPED(UNKNOWN);
		TO(.six = six, .src = GOOD, .device = bed_device(*state, NODE)) DROPPED(UNKNOWN);
	}
	FROM(.ether = 0x0806, .device = bed_device(*state, NODE)) DROPPED(UNKNOWN);
	bed_put_pod(*state, POD, 77, 78, 0, 1); /* tables of which there is nothing */
	BOTH_FAMILIES(six) {
		FROM(.six = six, .dst = GOOD, .tcp = SYN) DROPPED(EGRESS);
		TO(.six = six, .src = GOOD, .tcp = SYN) DROPPED(INGRESS);
	}
	bed_remove_pod(*state, POD);
	FROM(.dst = GOOD) DROPPED(UNKNOWN);
}

/* Row 26: the next pod of an address inherits nothing. */
static void a_new_pod_knows_no_flow_of_the_former(void **state)
{
	BOTH_FAMILIES(six) {
		bed_put_pod(*state, POD, TABLE_SHUT, TABLE_OUT, 0, 1);
		FROM(.six = six, .dst = GOOD, .tcp = SYN) OPENS;
		TO(.six = six, .src = GOOD, .sport = PORT, .dport = 40000) PASSES;
		bed_put_pod(*state, POD, TABLE_SHUT, TABLE_OUT, 0, 7);
		TO(.six = six, .src = GOOD, .sport = PORT, .dport = 40000) DROPPED(INGRESS);
	}
}

/* Row 25: the next packet after a change. */
static void a_change_of_policy_cuts_what_it_denies(void **state)
{
	BOTH_FAMILIES(six) {
		struct policy_state now = bed_state(*state);

		FROM(.six = six, .dst = GOOD, .tcp = SYN) OPENS;
		TO(.six = six, .src = GOOD, .sport = 50000, .tcp = SYN) OPENS;
		now.epoch++;
		bed_set_state(*state, now);
		FROM(.six = six, .dst = GOOD) PASSES;
		TO(.six = six, .src = GOOD, .sport = 50000) PASSES;
		bed_put_pod(*state, POD, TABLE_SHUT, TABLE_SHUT, 0, 1);
		now.epoch++;
		now.keep = 1;
		bed_set_state(*state, now);
		FROM(.six = six, .dst = GOOD) PASSES;
		now.keep = 0;
		bed_set_state(*state, now);
		/* by whoever comes first, the reply too */
		TO(.six = six, .src = GOOD, .sport = PORT, .dport = 40000) DROPPED(EGRESS);
		FROM(.six = six, .dst = GOOD) DROPPED(EGRESS);
		FROM(.six = six, .dst = GOOD, .sport = PORT, .dport = 50000) DROPPED(INGRESS);
		bed_put_pod(*state, POD, TABLE_IN, TABLE_OUT, 0, 1);
	}
}

static void flows_end_by_time(void **state)
{
	BOTH_FAMILIES(six) {
		bed_put_pod(*state, POD, TABLE_SHUT, TABLE_OUT, 0, 1);
		FROM(.six = six, .dst = GOOD, .tcp = SYN) OPENS;
		bed_age_flows(*state, 90);
		TO(.six = six, .src = GOOD, .sport = PORT, .dport = 40000, .tcp = SYN_ACK) DROPPED(INGRESS);
		FROM(.six = six, .dst = GOOD, .tcp = SYN) OPENS;
		TO(.six = six, .src = GOOD, .sport = PORT, .dport = 40000, .tcp = SYN_ACK) PASSES;
		FROM(.six = six, .dst = GOOD) PASSES;
		bed_age_flows(*state, 80000);
		TO(.six = six, .src = GOOD, .sport = PORT, .dport = 40000) PASSES;
		FROM(.six = six, .dst = GOOD, .tcp = FIN_ACK) PASSES;
		bed_age_flows(*state, 90);
		TO(.six = six, .src = GOOD, .sport = PORT, .dport = 40000) DROPPED(INGRESS);
		FROM(.six = six, .protocol = IPPROTO_UDP, .dst = GOOD) OPENS;
		bed_age_flows(*state, 40);
		TO(.six = six, .protocol = IPPROTO_UDP, .src = GOOD, .sport = PORT, .dport = 40000) DROPPED(INGRESS);
		FROM(.six = six, .protocol = IPPROTO_UDP, .dst = GOOD) OPENS;
		TO(.six = six, .protocol = IPPROTO_UDP, .src = GOOD, .sport = PORT, .dport = 40000) PASSES;
		bed_age_flows(*state, 100);
		TO(.six = six, .protocol = IPPROTO_UDP, .src = GOOD, .sport = PORT, .dport = 40000) PASSES;
	}
}

static void echo_is_answered_and_no_more(void **state)
{
	BOTH_FAMILIES(six) {
		uint8_t ask = six ? 128 : 8, answer = six ? 129 : 0;

		bed_put_pod(*state, POD, TABLE_SHUT, TABLE_OUT, 0, 1);
		FROM(.six = six, .icmp = true, .type = ask, .id = 5, .dst = GOOD) OPENS;
		TO(.six = six, .icmp = true, .type = answer, .id = 5, .src = GOOD) PASSES;
		TO(.six = six, .icmp = true, .type = answer, .id = 6, .src = GOOD) DROPPED(INGRESS);
		TO(.six = six, .icmp = true, .type = ask, .id = 5, .src = GOOD) DROPPED(INGRESS);
		FROM(.six = six, .icmp = true, .type = answer, .id = 5, .dst = GOOD) DROPPED(EGRESS);
		FROM(.six = six, .icmp = true, .type = ask, .id = 5, .dst = BAD) DROPPED(EGRESS);
		/* nobody translates it: judged at once */
		FROM(.six = six, .icmp = true, .type = ask, .id = 7, .dst = OUTSIDE) OPENS;
		FROM(.six = six, .icmp = true, .type = ask, .id = 7, .dst = SERVICE) DROPPED(EGRESS);
		bed_put_pod(*state, POD, TABLE_IN, TABLE_SHUT, 0, 1);
		TO(.six = six, .icmp = true, .type = ask, .id = 8, .src = GOOD) OPENS;
		FROM(.six = six, .icmp = true, .type = answer, .id = 8, .dst = GOOD) PASSES;
		FROM(.six = six, .icmp = true, .type = ask, .id = 8, .dst = GOOD) DROPPED(EGRESS);
	}
	TO(.type = 13, .src = GOOD) DROPPED(INGRESS);
	TO(.type = 5, .code = 1, .src = GOOD) DROPPED(INGRESS);
}

static void errors_belong_to_the_flow_that_they_quote(void **state)
{
	BOTH_FAMILIES(six) {
		uint8_t unreachable = six ? 1 : 3, big = six ? 2 : 12;
		struct wish sent = {.six = six, .protocol = IPPROTO_UDP, .src = POD, .dst = GOOD};
		struct wish got = {.six = six, .protocol = IPPROTO_UDP, .src = GOOD, .dst = POD, .sport = 50000};
		struct wish stray = {.six = six, .protocol = IPPROTO_UDP, .src = POD, .dst = GOOD, .sport = 40001};
		struct wish swapped = {.six = six, .protocol = IPPROTO_UDP, .src = GOOD, .dst = POD, .sport = 40000};
		struct wish cut = {.six = six, .protocol = IPPROTO_UDP, .src = POD, .dst = GOOD, .cut = 1};

		FROM(.six = six, .protocol = IPPROTO_UDP, .dst = GOOD) OPENS;
		TO(.six = six, .protocol = IPPROTO_UDP, .src = GOOD, .sport = 50000) OPENS;
		TO(.six = six, .type = unreachable, .src = BAD, .quoted = &sent) PASSES;
		TO(.six = six, .type = big, .src = NOBODY, .quoted = &sent) PASSES;
		FROM(.six = six, .type = unreachable, .dst = GOOD, .quoted = &got) PASSES;
		TO(.six = six, .type = unreachable, .src = GOOD, .quoted = &stray) DROPPED(RELATED);
		TO(.six = six, .type = unreachable, .src = GOOD, .quoted = &swapped) DROPPED(RELATED);
		TO(.six = six, .type = unreachable, .src = GOOD) DROPPED(RELATED);
		TO(.six = six, .type = unreachable, .src = GOOD, .quoted = &cut, .cut = 22) DROPPED(RELATED);
		FROM(.six = six, .type = unreachable, .dst = GOOD, .quoted = &stray) DROPPED(RELATED);
		/* nothing is asked where no policy applies */
		bed_put_pod(*state, POD, 0, TABLE_OUT, 0, 1);
		TO(.six = six, .type = unreachable, .src = GOOD, .quoted = &stray) PASSES;
		FROM(.six = six, .type = unreachable, .dst = GOOD, .quoted = &stray) DROPPED(RELATED);
		bed_put_pod(*state, POD, TABLE_IN, TABLE_OUT, 0, 1);
		/* this node itself says it */
		TO(.six = six, .type = unreachable, .src = NODE, .quoted = &stray, .mark = MARK_HOST) PASSES;
	}
}

static void the_node_and_its_pods_reach_each_other(void **state)
{
	BOTH_FAMILIES(six) EACH_PROTOCOL(p) {
		uint8_t protocol = (uint8_t)p;

		bed_put_pod(*state, POD, TABLE_SHUT, TABLE_SHUT, 0, 1);
		TO(.six = six, .protocol = protocol, .src = NODE, .tcp = SYN, .mark = MARK_HOST) OPENS;
		TO(.six = six, .protocol = protocol, .src = NODE, .mark = MARK_HOST) PASSES;
		FROM(.six = six, .protocol = protocol, .dst = NODE, .sport = PORT, .dport = 40000, .tcp = SYN_ACK) PASSES;
		FROM(.six = six, .protocol = protocol, .dst = NODE, .dport = 53, .tcp = SYN) OPENS;
		TO(.six = six, .protocol = protocol, .src = NODE, .sport = 53, .dport = 40000, .tcp = SYN_ACK, .mark = MARK_HOST) PASSES;
		/* under its address, but not from it */
		TO(.six = six, .protocol = protocol, .src = NODE, .sport = 555, .tcp = SYN) DROPPED(INGRESS);
	}
}

static void a_pod_reaches_itself(void **state)
{
	BOTH_FAMILIES(six) {
		FROM(.six = six, .src = SHUT, .dst = SHUT, .tcp = SYN) PASSES;
		TO(.six = six, .src = SHUT, .dst = SHUT, .tcp = SYN, .came_by = bed_device(*state, SHUT)) PASSES;
		/* somebody else in its name */
		TO(.six = six, .src = SHUT, .dst = SHUT, .tcp = SYN, .came_by = bed_device(*state, NODE)) DROPPED(INGRESS);
	}
}

static void ports_of_the_source_can_be_asked(void **state)
{
	BOTH_FAMILIES(six) {
		bed_put_pair(*state, TABLE_IN, CLASS_GOOD, 1ULL << 40 | 5);
		bed_put_port(*state, 1ULL << 40 | 5, 72, IPPROTO_TCP, 0, POLICY_VERDICT_NEXT, 2ULL << 40 | 5);
		bed_put_port(*state, 2ULL << 40 | 5, 80 + 8, IPPROTO_TCP, 0x1200, POLICY_VERDICT_ALLOW, 0);
		bed_put_port(*state, 2ULL << 40 | 5, 96, IPPROTO_TCP, 0x1203, 0, 0);
		TO(.six = six, .src = GOOD, .sport = 0x1201, .tcp = SYN) OPENS;
		TO(.six = six, .src = GOOD, .sport = 0x1203, .tcp = SYN) DROPPED(INGRESS);
		TO(.six = six, .src = GOOD, .sport = 0x1301, .tcp = SYN) DROPPED(INGRESS);
		TO(.six = six, .protocol = IPPROTO_UDP, .src = GOOD, .sport = 0x1201) DROPPED(INGRESS);
	}
}

static void protocols_without_ports_are_judged(void **state)
{
	enum { GRE = 47 };

	BOTH_FAMILIES(six) {
		FROM(.six = six, .protocol = GRE, .dst = GOOD) DROPPED(EGRESS);
		bed_put_pair(*state, TABLE_OUT, CLASS_GOOD, 2001);
		bed_put_port(*state, 2001, 72, GRE, 0, POLICY_VERDICT_ALLOW, 0);
		FROM(.six = six, .protocol = GRE, .dst = GOOD) OPENS;
		TO(.six = six, .protocol = GRE, .src = GOOD) PASSES;
		bed_put_pair(*state, TABLE_OUT, CLASS_GOOD, 1001);
		bed_forget(*state);
	}
}

/* -- destinations that are translated -- */

static void expect_mark(void **state, const struct wish *wish, int hook, int reason, uint32_t mark)
{
	uint32_t after;

	bed_expect(*state, hook, wish, PASS, reason, &after);
	assert_int_equal(after, mark);
}
#define MARKED(...) expect_mark(state, &(struct wish){__VA_ARGS__}, HOOK_FROM_POD
#define CLEARED(...) expect_mark(state, &(struct wish){.mark = MARK_PENDING | 7, __VA_ARGS__}, HOOK_EXIT
#define GETS(why, mark) , POLICY_COUNT_##why, mark)

static void egress_that_may_be_translated_waits(void **state)
{
	BOTH_FAMILIES(six) EACH_PROTOCOL(p) {
		uint8_t protocol = (uint8_t)p;

		MARKED(.six = six, .protocol = protocol, .dst = OUTSIDE, .tcp = SYN) GETS(ALLOWED, MARK_PENDING);
		TO(.six = six, .protocol = protocol, .src = OUTSIDE, .sport = PORT, .dport = 40000, .tcp = SYN_ACK) DROPPED(UNCONFIRMED);
		MARKED(.six = six, .protocol = protocol, .dst = OUTSIDE) GETS(QUIET, MARK_PENDING);
		CLEARED(.six = six, .protocol = protocol, .dst = OUTSIDE, .tcp = SYN) GETS(QUIET, 7);
		MARKED(.six = six, .protocol = protocol, .dst = OUTSIDE) GETS(QUIET, 0);
		TO(.six = six, .protocol = protocol, .src = OUTSIDE, .sport = PORT, .dport = 40000, .tcp = SYN_ACK) PASSES;
		MARKED(.six = six, .protocol = protocol, .dst = NOBODY, .tcp = SYN) GETS(ALLOWED, MARK_PENDING);
		EXIT(.six = six, .protocol = protocol, .dst = NOBODY, .tcp = SYN) DROPPED(EGRESS);
		TO(.six = six, .protocol = protocol, .src = NOBODY, .sport = PORT, .dport = 40000, .tcp = SYN_ACK) DROPPED(INGRESS);
		MARKED(.six = six, .protocol = protocol, .dst = NODE, .tcp = SYN) GETS(ALLOWED, MARK_PENDING);
		MARKED(.six = six, .protocol = protocol, .dst = GOOD, .tcp = SYN) GETS(ALLOWED, 0);
	}
}

/* SCTP is nothing that conntrack can be asked about: a pointer leads back from the translated packet to its flow. */
static void a_translated_packet_confirms_its_flow(void **state)
{
	BOTH_FAMILIES(six) {
		uint8_t sctp = IPPROTO_SCTP;

		MARKED(.six = six, .protocol = sctp, .dst = SERVICE, .dport = 999) GETS(ALLOWED, MARK_PENDING);
		EXIT(.six = six, .protocol = sctp, .dst = BAD) DROPPED(EGRESS);
		MARKED(.six = six, .protocol = sctp, .dst = SERVICE, .dport = 999) GETS(ALLOWED, MARK_PENDING);
		CLEARED(.six = six, .protocol = sctp, .dst = GOOD) GETS(QUIET, 7);
		TO(.six = six, .protocol = sctp, .src = SERVICE, .sport = 999, .dport = 40000) PASSES;
		TO(.six = six, .protocol = sctp, .src = SERVICE, .sport = 998, .dport = 40000) DROPPED(INGRESS);
		/* it may be sent somewhere else at any time */
		MARKED(.six = six, .protocol = sctp, .dst = SERVICE, .dport = 999) GETS(QUIET, MARK_PENDING);
		CLEARED(.six = six, .protocol = sctp, .dst = GOOD) GETS(QUIET, 7);
		EXIT(.six = six, .protocol = sctp, .dst = BAD) DROPPED(EGRESS);
		TO(.six = six, .protocol = sctp, .src = SERVICE, .sport = 999, .dport = 40000) DROPPED(INGRESS);
	}
}

static void both_ends_are_judged_at_the_receiver(void **state)
{
	BOTH_FAMILIES(six) {
		uint8_t sctp = IPPROTO_SCTP;

		bed_put_address(*state, six ? "fd00:10:244:1::3/128" : "10.244.1.3/32", CLASS_GOOD, POLICY_ADDRESS_FINAL);
		bed_put_pod(*state, OTHER, 0, 0, 0, 2);
		MARKED(.six = six, .protocol = sctp, .dst = SERVICE) GETS(ALLOWED, MARK_PENDING);
		TO(.six = six, .protocol = sctp, .src = POD, .dst = OTHER, .dport = 81, .mark = MARK_PENDING) DROPPED(EGRESS);
		MARKED(.six = six, .protocol = sctp, .dst = SERVICE) GETS(ALLOWED, MARK_PENDING);
		TO(.six = six, .protocol = sctp, .src = POD, .dst = OTHER, .mark = MARK_PENDING) PASSES;
		TO(.six = six, .protocol = sctp, .src = SERVICE, .sport = PORT, .dport = 40000) PASSES;
		bed_put_pod(*state, OTHER, TABLE_SHUT, 0, 0, 2);
		TO(.six = six, .protocol = sctp, .src = POD, .dst = OTHER, .mark = MARK_PENDING) DROPPED(INGRESS);
		/* to itself by way of the Service */
		MARKED(.six = six, .protocol = sctp, .dst = SERVICE, .sport = 40001) GETS(ALLOWED, MARK_PENDING);
		TO(.six = six, .protocol = sctp, .src = POD, .sport = 40001, .mark = MARK_PENDING,
			.came_by = bed_device(*state, POD)) PASSES;
		TO(.six = six, .protocol = sctp, .src = SERVICE, .sport = PORT, .dport = 40001) PASSES;
	}
}

static void only_marked_packets_concern_the_exit(void **state)
{
	BOTH_FAMILIES(six) {
		bed_expect(*state, HOOK_EXIT, &(struct wish){.six = six, .dst = BAD}, PASS, QUIET, NULL);
		EXIT(.six = six, .src = NOBODY, .dst = GOOD) DROPPED(EGRESS);
		EXIT(.six = six, .src = BAD, .dst = GOOD) DROPPED(EGRESS);
	}
}

/* Without a bit to mark with, nothing can wait. */
static void without_a_mark_it_is_judged_at_once(void **state)
{
	bed_set_state(*state, (struct policy_state){.epoch = 1});
	BOTH_FAMILIES(six) {
		FROM(.six = six, .dst = OUTSIDE, .tcp = SYN) OPENS;
		FROM(.six = six, .dst = SERVICE, .tcp = SYN) DROPPED(EGRESS);
	}
}

static void drops_are_told_while_somebody_watches(void **state)
{
	struct policy_state now = bed_state(*state);
	struct policy_event events[4];

	FROM(.dst = BAD, .tcp = SYN) DROPPED(EGRESS);
	assert_int_equal(bed_events(*state, events, 4), 0);
	now.watch = 1;
	bed_set_state(*state, now);
	FROM(.dst = BAD, .sport = 1234, .tcp = SYN) DROPPED(EGRESS);
	TO(.six = true, .src = GOOD, .dport = 81, .tcp = SYN) DROPPED(INGRESS);
	FROM(.dst = GOOD, .tcp = SYN) OPENS;
	assert_int_equal(bed_events(*state, events, 4), 2);
	assert_int_equal(events[0].kind, POLICY_EVENT_DROP);
	assert_int_equal(events[0].reason, POLICY_COUNT_EGRESS);
	assert_int_equal(events[0].ifindex, bed_device(*state, POD));
	assert_int_equal(events[0].direction, 1);
	assert_int_equal(events[0].sport, htons(1234));
	assert_int_equal(events[0].dport, htons(PORT));
	assert_int_equal(events[0].protocol, IPPROTO_TCP);
	assert_int_equal(events[0].table, TABLE_OUT);
	assert_int_equal(events[0].class, 0);
	assert_int_equal(events[0].list, 1002);
	assert_int_equal(events[0].src.w[3], htonl(0x0af40102));
	assert_int_equal(events[0].dst.w[3], htonl(0x0af40203));
	assert_int_equal(events[1].reason, POLICY_COUNT_INGRESS);
	assert_int_equal(events[1].direction, 0);
	assert_int_equal(events[1].class, CLASS_GOOD);
	for (size_t i = 0; i < 2; i++)
		assert_memory_equal(&events[i].peer, i ? &events[i].src : &events[i].dst, sizeof(events[i].peer));
	now = bed_state(*state);
	now.watch = 0;
	bed_set_state(*state, now);
	FROM(.dst = BAD, .tcp = SYN) DROPPED(EGRESS);
	assert_int_equal(bed_events(*state, events, 4), 0);
}

static void log_rules_tell_of_both_verdicts(void **state)
{
	struct policy_event events[4];

	bed_put_port(*state, 1001, 96, IPPROTO_TCP, PORT, POLICY_VERDICT_ALLOW | POLICY_VERDICT_LOG, 0);
	bed_put_port(*state, 1002, 72, IPPROTO_TCP, 0, POLICY_VERDICT_LOG, 0);
	FROM(.dst = GOOD, .tcp = SYN) OPENS;
	FROM(.dst = GOOD) PASSES;
	TO(.src = BAD, .tcp = SYN) DROPPED(INGRESS);
	assert_int_equal(bed_events(*state, events, 4), 2);
	assert_int_equal(events[0].kind, POLICY_EVENT_LOG);
	assert_int_equal(events[0].reason, POLICY_COUNT_ALLOWED);
	assert_int_equal(events[0].bits, POLICY_VERDICT_ALLOW | POLICY_VERDICT_LOG);
	assert_int_equal(events[1].kind, POLICY_EVENT_LOG);
	assert_int_equal(events[1].reason, POLICY_COUNT_INGRESS);
}

/* Its address may lie in a range of pods, and still be a NodePort's. */
static void the_nodes_own_addresses_wait(void **state)
{
	bed_put_address(*state, "10.244.1.1/32", 0, POLICY_ADDRESS_OWN | POLICY_ADDRESS_FINAL);
	MARKED(.to = "10.244.1.1", .dport = 30080, .tcp = SYN) GETS(ALLOWED, MARK_PENDING);
	EXIT(.to = "10.244.2.3", .tcp = SYN) DROPPED(EGRESS);
	FROM(.to = "10.244.1.1", .type = 8) OPENS;
}

static void a_pod_cannot_mark_its_packets(void **state)
{
	MARKED(.dst = GOOD, .tcp = SYN, .mark = MARK_HOST | MARK_PENDING | 8) GETS(ALLOWED, 8);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, bed_setup, bed_teardown)
	const struct CMUnitTest tests[] = {
		CASE(flows_that_policy_allows_pass_both_ways), CASE(what_policy_denies_is_dropped), CASE(stray_packets_are_judged),
		CASE(a_syn_is_judged_anew_whoever_sends_it), CASE(pods_without_policy_are_open),
		CASE(one_direction_alone_can_be_closed), CASE(what_is_not_known_is_closed),
		CASE(a_new_pod_knows_no_flow_of_the_former), CASE(a_change_of_policy_cuts_what_it_denies), CASE(flows_end_by_time),
		CASE(echo_is_answered_and_no_more), CASE(errors_belong_to_the_flow_that_they_quote),
		CASE(the_node_and_its_pods_reach_each_other), CASE(a_pod_reaches_itself), CASE(ports_of_the_source_can_be_asked),
		CASE(protocols_without_ports_are_judged), CASE(egress_that_may_be_translated_waits),
		CASE(a_translated_packet_confirms_its_flow), CASE(both_ends_are_judged_at_the_receiver),
		CASE(only_marked_packets_concern_the_exit), CASE(without_a_mark_it_is_judged_at_once),
		CASE(a_pod_cannot_mark_its_packets), CASE(drops_are_told_while_somebody_watches),
		CASE(log_rules_tell_of_both_verdicts), CASE(the_nodes_own_addresses_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
