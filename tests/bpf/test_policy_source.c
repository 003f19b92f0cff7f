/* SPDX-License-Identifier: Apache-2.0
 *
 * What a pod may claim to be (reference/security.md 2, rows 1 to 3 and 5), and packets that are made to be read in two ways
 * (row 8), one by one through the policy programs.
 */
#include "policy_bed.h"

#include <net/ethernet.h>
#include <netinet/in.h>

#define BOTH_FAMILIES(six) for (int six = 0; six < 2; six++)
#define HOP 0
#define ROUTING 43
#define AUTH 51
#define DEST 60
/* Made of the pod's MAC, 02:00:00:00:10:01, as the kernel does it; and of a neighbour's. */
#define LINK_LOCAL "fe80::ff:fe00:1001"
#define FOREIGN_LINK_LOCAL "fe80::ff:fe00:1002"

static void foreign_sources_are_dropped(void **state)
{
	BOTH_FAMILIES(six) {
		FROM(.six = six, .from = bed_address(six, OTHER), .dst = GOOD) DROPPED(SOURCE);
		FROM(.six = six, .from = bed_address(six, GOOD), .dst = GOOD) DROPPED(SOURCE);
		FROM(.six = six, .from = bed_address(six, NODE), .dst = GOOD) DROPPED(SOURCE);
		FROM(.six = six, .from = bed_address(six, NOBODY), .dst = POD) DROPPED(SOURCE);
		FROM(.six = six, .mac = 77, .dst = GOOD) DROPPED(MAC);
		/* pods without policy too */
		FROM(.six = six, .src = OTHER, .from = bed_address(six, POD), .dst = GOOD) DROPPED(SOURCE);
		FROM(.six = six, .src = OTHER, .mac = 77, .dst = GOOD) DROPPED(MAC);
	}
	FROM(.from = "0.0.0.0", .to = "255.255.255.255", .protocol = IPPROTO_UDP, .sport = 68, .dport = 67) DROPPED(SOURCE);
	FROM(.from = "127.0.0.1", .dst = GOOD) DROPPED(SOURCE);
	FROM(.six = true, .from = "::1", .dst = GOOD) DROPPED(SOURCE);
	FROM(.six = true, .from = "::", .dst = GOOD) DROPPED(SOURCE);
	FROM(.six = true, .from = "fe80::9", .dst = GOOD) DROPPED(SOURCE);
}

/* It would be taken for the IPv4 address of the same pod. */
static void addresses_of_ipv4_in_ipv6_are_dropped(void **state)
{
	FROM(.six = true, .from = bed_address(false, POD), .dst = GOOD) DROPPED(SOURCE);
	FROM(.six = true, .to = bed_address(false, GOOD)) DROPPED(SOURCE);
}

static void expect_marks(void **state, int hook, const struct wish *wish, int reason, uint32_t mark)
{
	uint32_t after = 0;

	bed_expect(*state, hook, wish, PASS, reason, &after);
	assert_int_equal(after, mark);
}

static void allowed_sources_pass(void **state)
{
	bed_put_source(*state, POD, "198.51.100.0/24");
	bed_put_source(*state, POD, "2001:db8:77::/48");
	BOTH_FAMILIES(six) {
		FROM(.six = six, .from = bed_address(six, NOBODY), .dst = GOOD, .tcp = SYN) OPENS;
		FROM(.six = six, .from = bed_address(six, BAD), .dst = GOOD, .tcp = SYN) DROPPED(SOURCE);
		FROM(.six = six, .src = OTHER, .from = bed_address(six, NOBODY), .dst = GOOD) DROPPED(SOURCE);
	}
	BOTH_FAMILIES(six) {
		struct wish wish = {.six = six, .from = bed_address(six, NOBODY), .dst = OUTSIDE, .tcp = SYN};

		expect_marks(state, HOOK_FROM_POD, &wish, POLICY_COUNT_ALLOWED, MARK_PENDING);
		wish.mark = MARK_PENDING;
		bed_expect(*state, HOOK_EXIT, &wish, TC_ACT_SHOT, POLICY_COUNT_EGRESS, NULL);
		wish.came_by = bed_device(*state, POD);
		expect_marks(state, HOOK_EXIT, &wish, QUIET, 0);
		TO(.six = six, .src = OUTSIDE, .to = bed_address(six, NOBODY), .sport = PORT, .dport = 40000) PASSES;
	}
	bed_put_pod(*state, OTHER, 0, 0, POLICY_ENDPOINT_FREE, 2);
	BOTH_FAMILIES(six)
		FROM(.six = six, .src = OTHER, .from = bed_address(six, NOBODY), .dst = GOOD) PASSES;
}

static void arp_speaks_of_the_pod_only(void **state)
{
	FROM(.ether = ETHERTYPE_ARP) PASSES;
	FROM(.ether = ETHERTYPE_ARP, .from = "0.0.0.0") PASSES;
	FROM(.ether = ETHERTYPE_ARP, .from = bed_address(false, OTHER)) DROPPED(ARP);
	FROM(.ether = ETHERTYPE_ARP, .from = "169.254.1.1") DROPPED(ARP);
	FROM(.ether = ETHERTYPE_ARP, .from = "10.244.1.1") DROPPED(ARP);
	FROM(.ether = ETHERTYPE_ARP, .option_mac = 77) DROPPED(ARP);
	FROM(.ether = ETHERTYPE_ARP, .mac = 77) DROPPED(MAC);
	FROM(.ether = ETHERTYPE_ARP, .cut = 10) DROPPED(SHORT);
	FROM(.ether = ETHERTYPE_ARP, .src = OTHER, .from = bed_address(false, POD)) DROPPED(ARP);
	TO(.ether = ETHERTYPE_ARP, .src = NODE) PASSES;
}

static void neighbour_discovery_speaks_of_the_pod_only(void **state)
{
	FROM(.six = true, .type = 136, .hops = 255, .to = "ff02::1", .option_mac = 1) PASSES;
	FROM(.six = true, .type = 136, .hops = 255, .to = "ff02::1") PASSES;
	FROM(.six = true, .type = 136, .hops = 255, .from = LINK_LOCAL, .to = "fe80::1", .target = LINK_LOCAL) PASSES;
	FROM(.six = true, .type = 136, .hops = 255, .to = "ff02::1", .target = bed_address(true, OTHER)) DROPPED(NEIGHBOUR);
	FROM(.six = true, .type = 136, .hops = 255, .to = "ff02::1", .target = "fe80::1") DROPPED(NEIGHBOUR);
	FROM(.six = true, .type = 136, .hops = 255, .to = "ff02::1", .target = FOREIGN_LINK_LOCAL) DROPPED(NEIGHBOUR);
	FROM(.six = true, .type = 136, .hops = 255, .to = "ff02::1", .option_mac = 77) DROPPED(NEIGHBOUR);
	FROM(.six = true, .type = 136, .hops = 254, .to = "ff02::1") DROPPED(NEIGHBOUR);
	FROM(.six = true, .type = 136, .hops = 255, .to = "ff02::1", .split = true) DROPPED(NEIGHBOUR);
	FROM(.six = true, .type = 135, .hops = 255, .to = "ff02::1:ff00:1", .target = "fe80::1", .option_mac = 1) PASSES;
	FROM(.six = true, .type = 135, .hops = 255, .from = "::", .to = "ff02::1:ff00:2") PASSES;
	FROM(.six = true, .type = 135, .hops = 255, .to = "ff02::1:ff00:1", .target = "fe80::1", .option_mac = 77) DROPPED(NEIGHBOUR);
	FROM(.six = true, .type = 135, .hops = 255, .src = OTHER, .to = "ff02::1", .option_mac = 77) DROPPED(NEIGHBOUR);
	FROM(.six = true, .type = 135, .hops = 255, .to = "fe80::1", .cut = 8) DROPPED(SHORT);
	/* far away it is no neighbour discovery */
	FROM(.six = true, .type = 135, .hops = 255, .dst = BAD) DROPPED(EGRESS);
	FROM(.six = true, .type = 133, .hops = 255, .from = LINK_LOCAL, .to = "ff02::2") PASSES;
	FROM(.six = true, .type = 143, .hops = 1, .from = "::", .to = "ff02::16", .headers = {HOP}, .header_count = 1) PASSES;
	FROM(.six = true, .type = 143, .hops = 1, .from = LINK_LOCAL, .to = "ff02::16") PASSES;
	TO(.six = true, .type = 135, .hops = 255, .src = NODE) PASSES;
	TO(.six = true, .type = 136, .hops = 255, .from = "fe80::1") PASSES;
	TO(.six = true, .type = 135, .hops = 254, .src = BAD) DROPPED(INGRESS);
}

static void a_pod_is_no_router_and_no_server_of_addresses(void **state)
{
	FROM(.six = true, .type = 134, .hops = 255, .from = LINK_LOCAL, .to = "ff02::1") DROPPED(ROUTER);
	FROM(.six = true, .type = 134, .hops = 255, .src = OTHER, .to = "ff02::1") DROPPED(ROUTER);
	FROM(.six = true, .type = 137, .hops = 255, .to = "fe80::1") DROPPED(ROUTER);
	FROM(.type = 5, .code = 1, .dst = NODE) DROPPED(ROUTER);
	FROM(.type = 5, .src = OTHER, .dst = NODE) DROPPED(ROUTER);
	FROM(.protocol = IPPROTO_UDP, .sport = 67, .dport = 68, .to = "255.255.255.255") DROPPED(DHCP);
	FROM(.six = true, .protocol = IPPROTO_UDP, .sport = 547, .dport = 546, .from = LINK_LOCAL, .to = "ff02::1:2") DROPPED(DHCP);
	FROM(.src = OTHER, .protocol = IPPROTO_UDP, .sport = 67, .dport = 68, .dst = GOOD) DROPPED(DHCP);
}

static void a_pod_sends_no_tunnels(void **state)
{
	BOTH_FAMILIES(six) {
		FROM(.six = six, .protocol = IPPROTO_IPIP, .dst = GOOD) DROPPED(TUNNEL);
		FROM(.six = six, .protocol = IPPROTO_IPV6, .dst = NODE) DROPPED(TUNNEL);
		FROM(.six = six, .src = OTHER, .protocol = IPPROTO_IPIP, .dst = NODE) DROPPED(TUNNEL);
	}
	bed_put_pod(*state, OTHER, 0, 0, POLICY_ENDPOINT_TUNNELS, 2);
	FROM(.src = OTHER, .protocol = IPPROTO_IPIP, .dst = NODE) PASSES;
}

static void other_protocols_than_ip_do_not_pass(void **state)
{
	static const uint16_t types[] = {0x8100, 0x88a8, 0x88cc, 0x8035, 0x8847, 0x0004};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		FROM(.ether = types[i]) DROPPED(PROTOCOL);
		FROM(.ether = types[i], .src = OTHER) DROPPED(PROTOCOL);
		TO(.ether = types[i]) DROPPED(PROTOCOL);
	}
}

/* -- row 8 -- */

static void fragments_share_the_verdict_of_the_first(void **state)
{
	BOTH_FAMILIES(six) {
		/* that overtakes its first one */
		FROM(.six = six, .protocol = IPPROTO_UDP, .dst = GOOD, .place = 4, .id = 9) DROPPED(FRAGMENT);
		FROM(.six = six, .protocol = IPPROTO_UDP, .dst = GOOD, .more = true, .id = 9) OPENS;
		FROM(.six = six, .protocol = IPPROTO_UDP, .dst = GOOD, .place = 4, .more = true, .id = 9) PASSES;
		FROM(.six = six, .protocol = IPPROTO_UDP, .dst = GOOD, .place = 8, .id = 9) PASSES;
		FROM(.six = six, .protocol = IPPROTO_UDP, .dst = GOOD, .place = 8, .id = 10) DROPPED(FRAGMENT);
		FROM(.six = six, .protocol = IPPROTO_UDP, .dst = BAD, .place = 8, .id = 9) DROPPED(FRAGMENT);
		FROM(.six = six, .protocol = IPPROTO_UDP, .dst = BAD, .more = true, .id = 11) DROPPED(EGRESS);
		FROM(.six = six, .protocol = IPPROTO_UDP, .dst = BAD, .place = 4, .id = 11) DROPPED(FRAGMENT);
		/* at the other hook it is another matter */
		TO(.six = six, .protocol = IPPROTO_UDP, .from = bed_address(six, POD), .to = bed_address(six, GOOD), .place = 4, .id = 9)
			DROPPED(FRAGMENT);
		TO(.six = six, .protocol = IPPROTO_UDP, .src = GOOD, .more = true, .sport = 50000, .id = 12) OPENS;
		TO(.six = six, .protocol = IPPROTO_UDP, .src = GOOD, .place = 4, .id = 12) PASSES;
		bed_age_flows(*state, 40);
		FROM(.six = six, .protocol = IPPROTO_UDP, .dst = GOOD, .place = 8, .id = 9) DROPPED(FRAGMENT);
		/* nobody looks after them where no policy applies */
		FROM(.six = six, .src = OTHER, .protocol = IPPROTO_UDP, .dst = GOOD, .place = 8, .id = 9) PASSES;
		FROM(.six = six, .src = OTHER, .from = bed_address(six, BAD), .dst = GOOD, .place = 8) DROPPED(SOURCE);
	}
}

static void fragments_that_are_translated_wait_together(void **state)
{
	BOTH_FAMILIES(six) {
		struct wish first = {.six = six, .protocol = IPPROTO_UDP, .dst = OUTSIDE, .more = true, .id = 3};
		struct wish last = {.six = six, .protocol = IPPROTO_UDP, .dst = OUTSIDE, .place = 4, .id = 3};

		expect_marks(state, HOOK_FROM_POD, &first, POLICY_COUNT_ALLOWED, MARK_PENDING);
		expect_marks(state, HOOK_FROM_POD, &last, QUIET, MARK_PENDING);
		first.mark = last.mark = MARK_PENDING;
		bed_expect(*state, HOOK_EXIT, &last, TC_ACT_SHOT, POLICY_COUNT_FRAGMENT, NULL);
		expect_marks(state, HOOK_EXIT, &first, QUIET, 0);
		expect_marks(state, HOOK_EXIT, &last, QUIET, 0);
	}
}

static void headers_that_hide_are_dropped(void **state)
{
	BOTH_FAMILIES(six) {
		/* the header goes on in the next fragment */
		FROM(.six = six, .dst = GOOD, .more = true, .size = six ? 16 : 28, .tcp = SYN) DROPPED(SHORT);
		FROM(.six = six, .src = OTHER, .dst = GOOD, .more = true, .size = six ? 16 : 28) DROPPED(SHORT);
		FROM(.six = six, .protocol = IPPROTO_UDP, .dst = GOOD, .more = true, .size = six ? 12 : 24) DROPPED(SHORT);
		/* bytes behind the packet's end are none of it */
		FROM(.six = six, .dst = GOOD, .size = six ? 12 : 32) DROPPED(SHORT);
		TO(.six = six, .src = GOOD, .size = six ? 12 : 32) DROPPED(SHORT);
		FROM(.six = six, .dst = GOOD, .cut = 20) DROPPED(SHORT);
		TO(.six = six, .src = GOOD, .cut = 23) DROPPED(SHORT);
		FROM(.six = six, .dst = GOOD, .cut = 24) DROPPED(SHORT);
		FROM(.six = six, .type = six ? 128 : 8, .dst = GOOD, .cut = 1) DROPPED(SHORT);
	}
	FROM(.dst = GOOD, .place = 1, .id = 5) DROPPED(SHORT);
	FROM(.dst = GOOD, .size = 12) DROPPED(SHORT);
	FROM(.dst = GOOD, .option = 131) DROPPED(HEADERS);
	FROM(.dst = GOOD, .option = 137) DROPPED(HEADERS);
	FROM(.dst = GOOD, .option = 148, .tcp = SYN) OPENS;
	TO(.src = GOOD, .option = 131) DROPPED(HEADERS);
	FROM(.six = true, .dst = GOOD, .ether = ETHERTYPE_IP) DROPPED(SHORT);
	FROM(.dst = GOOD, .ether = ETHERTYPE_IPV6) DROPPED(SHORT);
}

static void extension_headers_are_followed(void **state)
{
	FROM(.six = true, .dst = GOOD, .tcp = SYN, .headers = {HOP, DEST, ROUTING, AUTH, DEST, DEST}, .header_count = 6) OPENS;
	FROM(.six = true, .dst = BAD, .tcp = SYN, .headers = {HOP, DEST, ROUTING, DEST, DEST, DEST}, .header_count = 6) DROPPED(EGRESS);
	FROM(.six = true, .dst = GOOD, .headers = {HOP, DEST, ROUTING, DEST, DEST, DEST, DEST}, .header_count = 7) DROPPED(HEADERS);
	/* a route that is not yet at its end */
	FROM(.six = true, .dst = GOOD, .headers = {ROUTING}, .header_count = 1, .code = 1) DROPPED(HEADERS);
	TO(.six = true, .src = GOOD, .headers = {ROUTING}, .header_count = 1, .code = 1) DROPPED(HEADERS);
	FROM(.six = true, .dst = GOOD, .headers = {DEST}, .header_count = 1, .split = true) PASSES;
	FROM(.six = true, .dst = GOOD, .headers = {44}, .header_count = 1, .more = true) DROPPED(HEADERS);
	FROM(.six = true, .protocol = IPPROTO_UDP, .sport = 547, .dst = GOOD, .headers = {HOP, DEST}, .header_count = 2) DROPPED(DHCP);
	FROM(.six = true, .type = 134, .hops = 255, .to = "ff02::1", .headers = {DEST, HOP}, .header_count = 2) DROPPED(ROUTER);
	FROM(.six = true, .protocol = IPPROTO_IPIP, .dst = NODE, .headers = {DEST}, .header_count = 1) DROPPED(TUNNEL);
	/* without one behind it */
	FROM(.six = true, .dst = GOOD, .headers = {DEST}, .header_count = 1, .cut = 28) DROPPED(SHORT);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, bed_setup, bed_teardown)
	const struct CMUnitTest tests[] = {
		CASE(foreign_sources_are_dropped), CASE(addresses_of_ipv4_in_ipv6_are_dropped), CASE(allowed_sources_pass),
		CASE(arp_speaks_of_the_pod_only), CASE(neighbour_discovery_speaks_of_the_pod_only),
		CASE(a_pod_is_no_router_and_no_server_of_addresses), CASE(a_pod_sends_no_tunnels),
		CASE(other_protocols_than_ip_do_not_pass), CASE(fragments_share_the_verdict_of_the_first),
		CASE(fragments_that_are_translated_wait_together), CASE(headers_that_hide_are_dropped),
		CASE(extension_headers_are_followed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
