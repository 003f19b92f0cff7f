/* SPDX-License-Identifier: Apache-2.0
 *
 * Packets one by one through policy_from_net, which tells netfilter by the mark, and host endpoints where packets leave.
 */
#include "policy_bed.h"

#include <netinet/in.h>
#include <string.h>

#define BOTH_FAMILIES(six) for (int six = 0; six < 2; six++)
#define BOTH (MARK_PENDING | MARK_HOST)

/* Rows are kinds of traffic: in, out. */
#define HOST(...) bed_put_host(*state, NODE, (struct policy_host){.table = __VA_ARGS__})

static void expect_in(void **state, struct wish wish, uint32_t mark)
{
	uint32_t got = 0;

	wish.device = bed_device(*state, NODE);
	bed_expect(*state, HOOK_FROM_NET, &wish, PASS, QUIET, &got);
	if (got != mark)
		fail_msg("mark %#x, expected %#x", got, mark);
}

/* IN(.src = GOOD) MARKS(0) */
#define IN(...) expect_in(state, (struct wish){.dst = NODE, __VA_ARGS__}
#define MARKS(mark) , mark)
/* What this node itself sends; it is judged if it has both marks. */
#define OWN(...) bed_expect(*state, HOOK_EXIT, &(struct wish){.src = NODE, __VA_ARGS__}

static void without_a_host_endpoint_nothing_is_looked_at(void **state)
{
	BOTH_FAMILIES(six) {
		IN(.six = six, .src = BAD, .tcp = SYN, .mark = BOTH | 1) MARKS(BOTH | 1);
	}
}

static void what_is_denied_to_the_node_is_pending(void **state)
{
	HOST({[POLICY_TRAFFIC_LOCAL] = {TABLE_IN, 0}});
	BOTH_FAMILIES(six) {
		IN(.six = six, .src = OUTSIDE, .tcp = SYN) MARKS(0);
		IN(.six = six, .src = OUTSIDE, .dport = PORT + 1, .tcp = SYN) MARKS(MARK_PENDING);
		IN(.six = six, .src = BAD, .tcp = SYN) MARKS(MARK_PENDING);
		/* in the middle as at the beginning: whether it answers netfilter knows */
		IN(.six = six, .src = BAD) MARKS(MARK_PENDING);
		IN(.six = six, .src = OUTSIDE, .protocol = IPPROTO_UDP) MARKS(0);
		IN(.six = six, .src = BAD, .type = six ? 128 : 8) MARKS(MARK_PENDING);
		IN(.six = six, .src = OUTSIDE, .type = six ? 128 : 8) MARKS(0);
	}
}

static void nobody_outside_can_mark_his_packets(void **state)
{
	HOST({[POLICY_TRAFFIC_LOCAL] = {TABLE_IN, 0}});
	BOTH_FAMILIES(six) {
		IN(.six = six, .src = OUTSIDE, .tcp = SYN, .mark = BOTH | 5) MARKS(5);
		IN(.six = six, .src = BAD, .tcp = SYN, .mark = MARK_HOST | 5) MARKS(MARK_PENDING | 5);
	}
}

static void what_is_denied_early_has_both_marks(void **state)
{
	HOST({[POLICY_TRAFFIC_PRE_DNAT] = {TABLE_IN, 0}});
	BOTH_FAMILIES(six) {
		IN(.six = six, .src = BAD, .tcp = SYN) MARKS(BOTH);
		IN(.six = six, .src = OUTSIDE, .tcp = SYN) MARKS(0);
	}
	HOST({[POLICY_TRAFFIC_UNTRACKED] = {TABLE_SHUT, 0}, [POLICY_TRAFFIC_PRE_DNAT] = {TABLE_IN, 0}});
	IN(.src = OUTSIDE, .tcp = SYN) MARKS(BOTH);
}

static void what_is_not_to_be_tracked_has_the_hosts_mark(void **state)
{
	HOST({[POLICY_TRAFFIC_UNTRACKED] = {TABLE_IN, 0}, [POLICY_TRAFFIC_LOCAL] = {TABLE_SHUT, 0}});
	BOTH_FAMILIES(six) {
		IN(.six = six, .src = OUTSIDE, .tcp = SYN) MARKS(MARK_HOST);
		IN(.six = six, .src = BAD, .tcp = SYN) MARKS(BOTH);
	}
}

/* What is allowed early may go to the node whatever its other policies say; what nobody decides early they decide. */
static void early_policies_decide_or_leave_it(void **state)
{
	HOST({[POLICY_TRAFFIC_PRE_DNAT] = {TABLE_IN, 0}, [POLICY_TRAFFIC_LOCAL] = {TABLE_SHUT, 0}});
	IN(.src = OUTSIDE, .tcp = SYN) MARKS(0);
	bed_put_port(*state, 1002, 64, 0, 0, POLICY_VERDICT_ON, 0); /* no rule of TABLE_IN, and of TABLE_SHUT none either */
	IN(.src = BAD, .tcp = SYN) MARKS(0);
	bed_put_pair(*state, 104, 0, 1003);
	bed_put_port(*state, 1003, 64, 0, 0, 0, 0);
	HOST({[POLICY_TRAFFIC_PRE_DNAT] = {TABLE_IN, 0}, [POLICY_TRAFFIC_LOCAL] = {104, 0}});
	IN(.src = BAD, .tcp = SYN) MARKS(MARK_PENDING);
}

/* Netfilter puts fragments together before it looks: the first one's mark counts. */
static void of_fragments_the_first_one_counts(void **state)
{
	HOST({[POLICY_TRAFFIC_LOCAL] = {TABLE_SHUT, 0}});
	BOTH_FAMILIES(six) {
		IN(.six = six, .src = BAD, .tcp = SYN, .more = true, .id = 7) MARKS(MARK_PENDING);
		IN(.six = six, .src = BAD, .place = 10, .id = 7) MARKS(0);
	}
}

static void neighbours_are_found_whatever_policy_says(void **state)
{
	HOST({[POLICY_TRAFFIC_LOCAL] = {TABLE_SHUT, 0}});
	IN(.six = true, .src = BAD, .type = 135, .hops = 255) MARKS(0);
	IN(.src = BAD, .ether = 0x0806) MARKS(0);
}

static void what_cannot_be_read_is_denied(void **state)
{
	HOST({[POLICY_TRAFFIC_FORWARD] = {TABLE_SHUT, 0}});
	BOTH_FAMILIES(six) {
		IN(.six = six, .src = OUTSIDE, .tcp = SYN, .cut = 12) MARKS(BOTH);
	}
}

/* What leaves with both marks is this node's own; pending alone, it is forwarded. */
static void what_leaves_is_judged_by_its_kind(void **state)
{
	HOST({[POLICY_TRAFFIC_LOCAL] = {0, TABLE_OUT}, [POLICY_TRAFFIC_FORWARD] = {0, TABLE_SHUT}});
	BOTH_FAMILIES(six) {
		OWN(.six = six, .dst = OUTSIDE, .tcp = SYN, .mark = BOTH) PASSES;
		OWN(.six = six, .dst = BAD, .tcp = SYN, .mark = BOTH) DROPPED(HOST);
		OWN(.six = six, .dst = BAD, .mark = BOTH) DROPPED(HOST);
		OWN(.six = six, .dst = BAD, .mark = MARK_HOST) PASSES;
		EXIT(.six = six, .src = NOBODY, .dst = OUTSIDE, .tcp = SYN) DROPPED(HOST);
	}
	HOST({[POLICY_TRAFFIC_LOCAL] = {0, TABLE_SHUT}, [POLICY_TRAFFIC_FORWARD] = {0, TABLE_OUT}});
	BOTH_FAMILIES(six) {
		EXIT(.six = six, .src = NOBODY, .dst = OUTSIDE, .tcp = SYN) PASSES;
		EXIT(.six = six, .src = NOBODY, .dst = BAD, .tcp = SYN) DROPPED(HOST);
	}
	HOST({[POLICY_TRAFFIC_UNTRACKED] = {0, TABLE_OUT}, [POLICY_TRAFFIC_LOCAL] = {0, TABLE_SHUT}});
	OWN(.dst = OUTSIDE, .tcp = SYN, .mark = BOTH) PASSES;
}

/* By the interface by which it came: who sends; by the one by which it leaves: whom it is for. */
static void what_is_forwarded_is_judged_at_both_ends(void **state)
{
	bed_put_host(*state, SHUT, (struct policy_host){.table = {[POLICY_TRAFFIC_FORWARD] = {TABLE_IN, 0}}});
	bed_remove_pod(*state, SHUT);
	BOTH_FAMILIES(six) {
		uint32_t came_by = bed_device(*state, SHUT);

		EXIT(.six = six, .src = OUTSIDE, .dst = NOBODY, .came_by = came_by, .tcp = SYN) PASSES;
		EXIT(.six = six, .src = NOBODY, .dst = OUTSIDE, .came_by = came_by, .tcp = SYN) DROPPED(HOST);
	}
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, bed_setup, bed_teardown)
	const struct CMUnitTest tests[] = {
		CASE(without_a_host_endpoint_nothing_is_looked_at), CASE(what_is_denied_to_the_node_is_pending),
		CASE(nobody_outside_can_mark_his_packets), CASE(what_is_denied_early_has_both_marks),
		CASE(what_is_not_to_be_tracked_has_the_hosts_mark), CASE(early_policies_decide_or_leave_it), CASE(of_fragments_the_first_one_counts),
		CASE(neighbours_are_found_whatever_policy_says), CASE(what_cannot_be_read_is_denied),
		CASE(what_leaves_is_judged_by_its_kind), CASE(what_is_forwarded_is_judged_at_both_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
