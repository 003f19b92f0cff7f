/* SPDX-License-Identifier: Apache-2.0
 *
 * What Calico's agent leaves in the kernel goes once our own rules stand, and nothing else does.
 */
#include "bed.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define OURS "table inet tulle\ndelete table inet tulle\ntable inet tulle {\n\tchain c {\n\t}\n}\n"

/* Hooks, dispatch and a policy as Felix makes them, between rules of others. */
static const char filter_rules[] =
	"*filter\n"
	":cali-FORWARD - [0:0]\n:cali-INPUT - [0:0]\n:cali-from-wl-dispatch - [0:0]\n:cali-fw-cali0123456789a - [0:0]\n"
	":cali-pi-_AbC - [0:0]\n:OTHERS - [0:0]\n"
	"-A FORWARD -m comment --comment \"cali:wUHhoiAYhphO9Mso\" -j cali-FORWARD\n"
	"-A FORWARD -m comment --comment \"others -j cali-x\" -j OTHERS\n"
	"-A FORWARD -m comment --comment \"cali:S93hcgKJrXEqnTfs\" -m comment --comment \"Policy explicitly accepted "
	"packet.\" -m mark --mark 0x10000/0x10000 -j ACCEPT\n"
	"-A FORWARD -m comment --comment \"cali:mp77cMpurHhyjLrM\" -j MARK --set-xmark 0x10000/0x10000\n"
	"-A INPUT -m comment --comment \"cali:Cz_u1IQiXIMmKD4c\" -j cali-INPUT\n"
	"-A OTHERS -s 192.0.2.0/24 -j ACCEPT\n"
	"-A cali-FORWARD -i cali+ -m comment --comment \"cali:8ZoYfO5HKXWbB3pk\" -j cali-from-wl-dispatch\n"
	"-A cali-from-wl-dispatch -i cali0123456789a -g cali-fw-cali0123456789a\n"
	"-A cali-from-wl-dispatch -m comment --comment \"Unknown interface\" -j DROP\n"
	"-A cali-fw-cali0123456789a -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
	"-A cali-pi-_AbC -m set --match-set cali40s:abcdefghijklmnopqrstuv src -j ACCEPT\n"
	"COMMIT\n";
static const char nat_rules[] =
	"*nat\n:cali-POSTROUTING - [0:0]\n:cali-nat-outgoing - [0:0]\n"
	"-A POSTROUTING -s 192.0.2.0/24 -j MASQUERADE\n"
	"-A POSTROUTING -m comment --comment \"cali:O3lYWMrLQYEMJtB5\" -j cali-POSTROUTING\n"
	"-A cali-POSTROUTING -j cali-nat-outgoing\n"
	"-A cali-nat-outgoing -m set --match-set cali40masq-ipam-pools src -m set ! --match-set cali40all-ipam-pools dst "
	"-j MASQUERADE --random-fully\nCOMMIT\n";
static const char filter_rules_6[] =
	"*filter\n:cali-FORWARD - [0:0]\n-A FORWARD -m comment --comment \"cali:wUHhoiAYhphO9Mso\" -j cali-FORWARD\nCOMMIT\n";

static void feed(const char *program, const char *input)
{
	const char *argv[] = {program, "-w", "5", "--noflush", NULL};
	_cleanup_(process_result_free) struct process_result result = {0};

	assert_int_equal(process_run(argv, input, strlen(input), 10000, &result, NULL), 0);
	if (result.status)
		fail_msg("%s: %s", program, buf_text(&result.errors));
}

static void leave_traces(void)
{
	bed_run("ipset create cali40s:abcdefghijklmnopqrstuv hash:net maxelem 1048576");
	bed_run("ipset create cali40masq-ipam-pools hash:net");
	bed_run("ipset create cali40all-ipam-pools hash:net");
	bed_run("ipset create cali60s:abcdefghijklmnopqrstuv hash:net family inet6");
	bed_run("ipset create cali4t0 hash:net");
	bed_run("ipset create others hash:net");
	for (int i = 0; i < 2; i++) {
		feed(i ? "iptables-legacy-restore" : "iptables-nft-restore", filter_rules);
		feed(i ? "iptables-legacy-restore" : "iptables-nft-restore", nat_rules);
		feed(i ? "ip6tables-legacy-restore" : "ip6tables-nft-restore", filter_rules_6);
	}
	bed_feed("nft", "table ip calico {\n chain filter-FORWARD {\n type filter hook forward priority 0;\n }\n}\n"
		"table ip6 calico {\n chain filter-FORWARD {\n type filter hook forward priority 0;\n }\n}\n"
		"table arp calico-arp {\n}\n"
		"table ip mine {\n chain calico {\n }\n}\n");
	bed_run("ip link add cali0123456789a type veth peer name pod0");
	bed_run("ip link set cali0123456789a up");
	bed_run("ip link set pod0 up");
	bed_run("ip route add 10.65.1.5 dev cali0123456789a proto 80");
	bed_run("ip route add blackhole 10.65.1.0/26 proto 80");
	bed_run("ip -6 route add blackhole fd00:65::/122 proto 80 metric 1024");
	bed_run("ip route add 10.65.2.0/26 via 192.0.2.77 dev up0 onlink proto 80");
	bed_run("ip route add 10.65.3.0/26 via 192.0.2.77 dev up0 onlink proto 81");
}

static size_t rules_left(void)
{
	return bed_count("cali-", "iptables-nft-save") + bed_count("cali:", "iptables-nft-save") +
		bed_count("cali-", "ip6tables-nft-save") + bed_count("cali:", "iptables-legacy-save") +
		bed_count("-FORWARD", "ip6tables-legacy-save") + bed_count("table", "nft list table ip calico") +
		bed_count("table", "nft list table ip6 calico") + bed_count("table", "nft list table arp calico-arp");
}

static bool is_swept(struct bed *bed)
{
	return bed->plane->felix.done;
}

static void want_ours(struct bed *bed)
{
	buf_add_str(&bed->wanted.nft, "add " OURS);
	bed->wanted.felix = bed->wanted.sweep = true;
}

static void test_all_of_it_goes_and_nothing_else(void **state)
{
	struct bed *bed = *state;

	leave_traces();
	want_ours(bed);
	bed_apply(bed);
	bed_wait(bed, is_swept);
	/* others' comment says "cali-x" */
	assert_int_equal(rules_left(), 1);
	assert_int_equal(bed_count("others -j cali-x", "iptables-nft-save"), 1);
	assert_int_equal(bed_count("others -j cali-x", "iptables-legacy-save"), 1);
	assert_int_equal(bed_count("-A OTHERS -s 192.0.2.0/24", "iptables-nft-save"), 1);
	assert_int_equal(bed_count("-s 192.0.2.0/24 -j MASQUERADE", "iptables-nft-save"), 1);
	assert_int_equal(bed_count("chain calico", "nft list table ip mine"), 1);
	assert_int_equal(bed_count("cali", "ipset list -n"), 0);
	assert_int_equal(bed_count("others", "ipset list -n"), 1);
	assert_int_equal(bed_count("proto 80", "ip route"), 1);
	assert_int_equal(bed_count("10.65.1.5 dev cali0123456789a", "ip route"), 1);
	assert_int_equal(bed_count("proto 80", "ip -6 route"), 0);
	assert_int_equal(bed_count("10.65.3.0/26", "ip route"), 1);
	assert_non_null(strstr(plane_felix_note(bed->plane), "chains cali-* by iptables-nft"));
	assert_non_null(strstr(plane_felix_note(bed->plane), "5 sets"));
	assert_false(plane_felix_is_back(bed->plane));
	feed("ip6tables-nft-restore", filter_rules_6);
	assert_true(plane_felix_is_back(bed->plane));
}

static void test_it_stays_while_ours_do_not_stand(void **state)
{
	struct bed *bed = *state;
	size_t before;

	leave_traces();
	before = rules_left();
	want_ours(bed);
	bed->wanted.sweep = false;
	bed_apply(bed);
	assert_int_equal(rules_left(), before);
	bed->wanted.sweep = true;
	bed->wanted.felix = false; /* another dialect: Calico's policies beside Flannel's network */
	bed_apply(bed);
	assert_int_equal(rules_left(), before);
	bed->wanted.felix = true;
	buf_add_str(&bed->wanted.nft, "nonsense\n");
	assert_true(plane_apply(bed->plane, &bed->wanted, NULL) < 0);
	assert_int_equal(rules_left(), before);
	assert_int_equal(bed_count("cali", "ipset list -n"), 5);
	assert_int_equal(bed_count("proto 80", "ip route"), 3);
}

static void test_many_sets(void **state)
{
	struct bed *bed = *state;

	for (int i = 0; i < 100; i++)
		bed_run("ipset create cali40s:%d hash:net", i);
	want_ours(bed);
	bed_apply(bed);
	bed_wait(bed, is_swept);
	assert_int_equal(bed_count("cali", "ipset list -n"), 0);
	assert_string_equal(plane_felix_note(bed->plane), "100 sets");
}

/* A set that somebody else looks into cannot be removed, and stops nothing. */
static void test_a_set_in_use_stays(void **state)
{
	struct bed *bed = *state;

	leave_traces();
	bed_run("iptables-legacy -A OTHERS -m set --match-set cali40all-ipam-pools src -j ACCEPT");
	want_ours(bed);
	bed_apply(bed);
	bed_wait(bed, is_swept);
	assert_int_equal(bed_count("cali", "ipset list -n"), 1);
	assert_int_equal(bed_count("cali40all-ipam-pools", "ipset list -n"), 1);
}

static void test_nothing_there(void **state)
{
	struct bed *bed = *state;

	want_ours(bed);
	bed_apply(bed);
	assert_true(is_swept(bed));
	assert_string_equal(plane_felix_note(bed->plane), "");
}

#define IN_A_BED(test) cmocka_unit_test_setup_teardown(test, bed_setup, bed_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_A_BED(test_all_of_it_goes_and_nothing_else),
		IN_A_BED(test_it_stays_while_ours_do_not_stand),
		IN_A_BED(test_a_set_in_use_stays),
		IN_A_BED(test_many_sets),
		IN_A_BED(test_nothing_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
