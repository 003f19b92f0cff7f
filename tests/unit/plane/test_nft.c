/* SPDX-License-Identifier: Apache-2.0
 *
 * Our nftables table, and the accepts in foreign FORWARD chains.
 */
#include "bed.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define RULES                                                                                                        \
	"table inet tulle\ndelete table inet tulle\ntable inet tulle {\n"                                                \
	" chain postrouting {\n  type nat hook postrouting priority srcnat;\n"                                           \
	"  ip saddr 10.42.0.0/16 ip daddr != 10.42.0.0/16 counter masquerade\n }\n}\n"

static void want_nft(struct bed *bed, const char *text)
{
	buf_reset(&bed->wanted.nft);
	buf_add_str(&bed->wanted.nft, text);
}

static bool has_table(struct bed *bed)
{
	return bed_count("masquerade", "nft list table inet tulle") == 1;
}

static void outsider(struct bed *bed, const char *commands)
{
	unsigned before;

	bed_settle(bed);
	before = bed->changed;
	bed_feed("nft", commands);
	if (has_table(bed))
		fail_msg("not broken by: %s", commands);
	bed_wait(bed, has_table);
	assert_true(bed->changed > before);
	bed_settle(bed);
	assert_true(has_table(bed));
}

static void test_table_is_kept(void **state)
{
	struct bed *bed = *state;
	struct plane_stats stats;
	unsigned before;

	bed_settle(bed); /* what a new namespace still has to tell */
	before = bed->changed;
	want_nft(bed, RULES);
	bed_apply(bed);
	assert_true(has_table(bed));
	bed_settle(bed);
	/* our own transaction is no foreign change; the namespace's own late news may cost one look */
	assert_true(bed->changed <= before + 1);
	outsider(bed, "flush ruleset");
	outsider(bed, "delete table inet tulle");
	outsider(bed, "flush chain inet tulle postrouting");
	plane_get_stats(bed->plane, &stats);
	assert_int_equal(stats.repairs, 3);
}

/* Something put into it goes as well; other tables concern nobody. */
/* As after an upgrade, before the first full list is in. */
static void test_standing_table_is_kept_until_the_list_is_complete(void **state)
{
	struct bed *bed = *state;

	bed_feed("nft", "table inet tulle {\n\tchain old {\n\t}\n}\n");
	buf_add_str(&bed->wanted.nft, "add table inet tulle\ndelete table inet tulle\ntable inet tulle {\n\tchain new {\n\t}\n}\n");
	bed->wanted.keep_nft = true;
	bed_apply(bed);
	bed_apply(bed);
	assert_int_equal(bed_count("chain old", "nft list table inet tulle"), 1);
	bed->wanted.keep_nft = false;
	bed_apply(bed);
	assert_int_equal(bed_count("chain old", "nft list table inet tulle"), 0);
	assert_int_equal(bed_count("chain new", "nft list table inet tulle"), 1);
	/* where none stands, there is nothing to keep */
	bed_run("nft delete table inet tulle");
	bed_stop(bed);
	bed_start(bed);
	bed->wanted.keep_nft = true;
	bed_apply(bed);
	assert_int_equal(bed_count("chain new", "nft list table inet tulle"), 1);
}

static void test_table_is_ours_alone(void **state)
{
	struct bed *bed = *state;
	unsigned before;

	want_nft(bed, RULES);
	bed_apply(bed);
	bed_settle(bed);
	bed_feed("nft", "add rule inet tulle postrouting ip saddr 1.2.3.4 drop");
	bed_settle(bed);
	assert_int_equal(bed_count("1.2.3.4", "nft list ruleset"), 0);
	before = bed->changed;
	bed_feed("nft", "table ip kube-proxy { chain a { ip saddr 1.2.3.4 drop; }; }");
	bed_settle(bed);
	assert_int_equal(bed->changed, before);
	assert_int_equal(bed_count("1.2.3.4", "nft list ruleset"), 1);
}

static void test_text_changes(void **state)
{
	struct bed *bed = *state;

	want_nft(bed, RULES);
	bed_apply(bed);
	want_nft(bed, "table inet tulle\ndelete table inet tulle\ntable inet tulle { chain other { }; }\n");
	bed_apply(bed);
	assert_int_equal(bed_count("chain other", "nft list table inet tulle"), 1);
	assert_int_equal(bed_count("masquerade", "nft list table inet tulle"), 0);
	want_nft(bed, "");
	bed_apply(bed);
	assert_int_equal(bed_count("table inet tulle", "nft list tables"), 0);
	bed_settle(bed);
}

/* A transaction that fails leaves the old table, and nft's own words. */
static void test_bad_text(void **state)
{
	struct bed *bed = *state;

	want_nft(bed, RULES);
	bed_apply(bed);
	want_nft(bed, "table inet tulle\ndelete table inet tulle\ntable inet tulle { chain a { jump nowhere; }; }\n");
	assert_true(plane_apply(bed->plane, &bed->wanted, &bed->err) < 0);
	assert_non_null(strstr(err_text(&bed->err), "nft -f -: "));
	assert_non_null(strstr(err_text(&bed->err), "Error"));
	assert_true(has_table(bed));
	want_nft(bed, RULES);
	bed_apply(bed);
}

static void test_table_of_the_last_run(void **state)
{
	struct bed *bed = *state;

	want_nft(bed, RULES);
	bed_apply(bed);
	bed_stop(bed);
	bed_start(bed);
	want_nft(bed, "");
	bed->wanted.sweep = false;
	bed_apply(bed);
	assert_true(has_table(bed));
	bed->wanted.sweep = true;
	bed_apply(bed);
	assert_int_equal(bed_count("table inet tulle", "nft list tables"), 0);
}

/* -- foreign FORWARD chains -- */

static size_t accepts(const char *program, const char *chain)
{
	return bed_count("--comment \"tulle forward\" -j ACCEPT", "%s -S %s", program, chain);
}

static bool nft_forward(struct bed *bed)
{
	return accepts("iptables-nft", "FORWARD") == 2;
}

static bool nft_docker(struct bed *bed)
{
	return accepts("iptables-nft", "DOCKER-USER") == 2 && accepts("iptables-nft", "FORWARD") == 0;
}

static bool nft_none(struct bed *bed)
{
	return accepts("iptables-nft", "FORWARD") == 0;
}

static void want_forward(struct bed *bed)
{
	bed->wanted.forward[FAMILY_4] = bed_prefix("10.42.0.0/16");
	bed->wanted.forward[FAMILY_6] = bed_prefix("fd00:42::/48");
}

static void test_no_foreign_chain(void **state)
{
	struct bed *bed = *state;

	want_forward(bed);
	bed_apply(bed);
	bed_settle(bed);
	assert_string_equal(plane_forward_note(bed->plane), "");
	/* looking makes nothing */
	assert_int_equal(bed_count("table", "nft list ruleset"), 0);
	/* a chain that accepts needs nothing */
	bed_run("iptables-nft -N OTHER");
	bed_run("iptables-nft -A FORWARD -s 1.2.3.4 -j ACCEPT");
	bed_settle(bed);
	assert_int_equal(accepts("iptables-nft", "FORWARD"), 0);
}

static void test_forward_policy_drop(void **state)
{
	struct bed *bed = *state;

	bed_run("iptables-nft -P FORWARD DROP");
	bed_run("ip6tables-nft -P FORWARD DROP");
	want_forward(bed);
	bed_apply(bed);
	assert_true(nft_forward(bed));
	assert_int_equal(bed_count("-A FORWARD -s 10.42.0.0/16 -m comment", "iptables-nft -S FORWARD"), 1);
	assert_int_equal(bed_count("-A FORWARD -d 10.42.0.0/16 -m comment", "iptables-nft -S FORWARD"), 1);
	assert_int_equal(accepts("ip6tables-nft", "FORWARD"), 2);
	assert_string_equal(plane_forward_note(bed->plane), "accepts for 10.42.0.0/16 in chain FORWARD by iptables-nft; "
		"accepts for fd00:42::/48 in chain FORWARD by ip6tables-nft");
	bed_settle(bed);
	assert_true(bed->changed <= 2);
}

static void test_forward_is_kept(void **state)
{
	struct bed *bed = *state;

	bed_run("iptables-nft -P FORWARD DROP");
	want_forward(bed);
	bed_apply(bed);
	bed_settle(bed);
	bed_run("iptables-nft -F FORWARD");
	assert_false(nft_forward(bed));
	bed_wait(bed, nft_forward);
	/* Docker is started */
	bed_run("iptables-nft -N DOCKER-USER");
	bed_run("iptables-nft -A DOCKER-USER -j RETURN");
	bed_run("iptables-nft -I FORWARD -j DOCKER-USER");
	bed_wait(bed, nft_docker);
	bed_settle(bed);
	assert_string_equal(plane_forward_note(bed->plane), "accepts for 10.42.0.0/16 in chain DOCKER-USER by iptables-nft");
	/* and gone; the policy is what it was before */
	bed_run("iptables-nft -F FORWARD");
	bed_run("iptables-nft -F DOCKER-USER");
	bed_run("iptables-nft -X DOCKER-USER");
	bed_wait(bed, nft_forward);
	bed_run("iptables-nft -P FORWARD ACCEPT");
	bed_wait(bed, nft_none);
	bed_settle(bed);
	assert_string_equal(plane_forward_note(bed->plane), "");
}

static void test_forward_prefix_changes(void **state)
{
	struct bed *bed = *state;

	bed_run("iptables-nft -P FORWARD DROP");
	bed_run("iptables-nft -A FORWARD -s 10.42.0.0/16 -m comment --comment mine -j ACCEPT");
	want_forward(bed);
	bed_apply(bed);
	bed->wanted.forward[FAMILY_4] = bed_prefix("10.50.0.0/16");
	bed_apply(bed);
	assert_int_equal(accepts("iptables-nft", "FORWARD"), 2);
	assert_int_equal(bed_count("10.50.0.0/16", "iptables-nft -S FORWARD"), 2);
	assert_int_equal(bed_count("10.42.0.0/16", "iptables-nft -S FORWARD"), 1);
	bed->wanted.forward[FAMILY_4] = (struct prefix){0};
	bed_apply(bed);
	assert_int_equal(accepts("iptables-nft", "FORWARD"), 0);
	assert_int_equal(bed_count("mine", "iptables-nft -S FORWARD"), 1);
}

static void test_forward_of_several_pools(void **state)
{
	struct bed *bed = *state;
	struct prefix pools[] = {bed_prefix("10.42.0.0/16"), bed_prefix("10.50.0.0/16"), bed_prefix("fd00:42::/48")};

	bed_run("iptables-nft -P FORWARD DROP");
	want_forward(bed);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(wanted_add_forward(&bed->wanted, &pools[i]), 0);
	bed_apply(bed);
	assert_int_equal(accepts("iptables-nft", "FORWARD"), 4);
	assert_int_equal(bed_count("10.42.0.0/16", "iptables-nft -S FORWARD"), 2);
	assert_int_equal(bed_count("10.50.0.0/16", "iptables-nft -S FORWARD"), 2);
	assert_string_equal(plane_forward_note(bed->plane), "accepts for 10.42.0.0/16 in chain FORWARD by iptables-nft; "
		"accepts for 10.50.0.0/16 in chain FORWARD by iptables-nft");
	bed_settle(bed);
}

static void test_forward_legacy(void **state)
{
	struct bed *bed = *state;

	if (bed_try(&bed->wanted.nft, "iptables-legacy -P FORWARD DROP") != 0) {
		print_message("no legacy iptables in this kernel\n");
		skip();
	}
	buf_reset(&bed->wanted.nft);
	want_forward(bed);
	bed_apply(bed);
	assert_int_equal(accepts("iptables-legacy", "FORWARD"), 2);
	assert_non_null(strstr(plane_forward_note(bed->plane), "in chain FORWARD by iptables-legacy"));
	bed->wanted.forward[FAMILY_4] = (struct prefix){0};
	bed_apply(bed);
	assert_int_equal(accepts("iptables-legacy", "FORWARD"), 0);
}

static void test_native_chain_is_named(void **state)
{
	struct bed *bed = *state;

	bed_feed("nft", "table inet firewalld { chain filter_FORWARD { type filter hook forward priority 10; policy drop; }; }");
	want_forward(bed);
	bed_apply(bed);
	assert_string_equal(plane_forward_note(bed->plane), "chain filter_FORWARD of table inet firewalld drops what it "
		"does not accept, and Tulle cannot override it");
	bed_settle(bed);
}

/* -- taking all away -- */

static bool addresses_settled(struct bed *bed)
{
	return bed_count("tentative", "ip -6 addr") == 0;
}

static void on_told(void *ctx, const char *kind, const char *name)
{
	buf_printf(ctx, "%s %s\n", kind, name);
}

static void test_cleanup(void **state)
{
	static const char *const names[] = {"flannel.1", "flannel-v6.1", "flannel0", NULL};
	struct bed *bed = *state;
	struct buf report = BUF_INIT(65536), forecast = BUF_INIT(65536);
	struct plane_cleanup cleanup = {.links = names, .dry = true, .told = on_told, .ctx = &forecast};
	_cleanup_free_ char *before = NULL, *full = NULL, *untouched = NULL, *after = NULL;
	struct wanted_link carrier = {.name = "flannel0", .kind = LINK_CARRIER, .mtu = 1400};

	bed_run("iptables-nft -P FORWARD DROP");
	bed_run("ip6tables-nft -P FORWARD DROP");
	bed_run("iptables-nft -A FORWARD -s 192.0.2.0/24 -j ACCEPT");
	bed_run("ip route add 198.51.100.0/24 via 192.0.2.77");
	bed_wait(bed, addresses_settled); /* their local routes come with them */
	before = bed_dump();
	bed_want_vxlan(bed, AF_INET);
	bed_want_vxlan(bed, AF_INET6);
	bed_want_peer(bed, 1, NULL, NULL);
	bed_want_peer6(bed, 1, NULL, NULL);
	bed_want_route(bed, "10.44.1.0/24", "192.0.2.2", "up0");
	bed_want_route(bed, "10.42.0.0/24", NULL, NULL);
	bed_want_route(bed, "fd00:42::/64", NULL, NULL);
	assert_int_equal(wanted_add_link(&bed->wanted, &carrier), 0);
	want_forward(bed);
	want_nft(bed, RULES);
	bed_apply(bed);
	bed_settle(bed);
	bed_wait(bed, addresses_settled);
	bed_stop(bed);
	full = bed_dump();
	if (plane_cleanup(&cleanup, &bed->err) < 0)
		fail_msg("%s", err_text(&bed->err));
	untouched = bed_dump();
	assert_string_equal(full, untouched);
	cleanup.dry = false;
	cleanup.ctx = &report;
	if (plane_cleanup(&cleanup, &bed->err) < 0)
		fail_msg("%s", err_text(&bed->err));
	assert_string_equal(buf_text(&report), buf_text(&forecast));
	after = bed_dump();
	assert_string_equal(before, after);
	assert_non_null(strstr(buf_text(&report), "device flannel.1\n"));
	assert_non_null(strstr(buf_text(&report), "device flannel0\n"));
	assert_non_null(strstr(buf_text(&report), "route 10.44.1.0/24 via 192.0.2.2 dev up0\n"));
	assert_non_null(strstr(buf_text(&report), "route blackhole fd00:42::/64\n"));
	assert_non_null(strstr(buf_text(&report), "nftables table inet tulle\n"));
	assert_non_null(strstr(buf_text(&report), "rule accept for 10.42.0.0/16 from chain FORWARD by iptables-nft"));
	/* again: nothing to do, nothing to say */
	buf_reset(&report);
	assert_int_equal(plane_cleanup(&cleanup, &bed->err), 0);
	assert_string_equal(buf_text(&report), "");
	buf_free(&report);
	buf_free(&forecast);
}

static void test_nft_is_missing(void **state)
{
	struct plane_options options = {.nft = "nft-that-is-not-there"};
	struct bed *bed = *state;
	struct plane *plane;

	assert_int_equal(plane_new(bed->base, &options, &plane, &bed->err), 0);
	want_nft(bed, RULES);
	assert_int_equal(plane_apply(plane, &bed->wanted, &bed->err), -ENOENT);
	assert_non_null(strstr(err_text(&bed->err), "nft-that-is-not-there: cannot be started"));
	plane_free(plane);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, bed_setup, bed_teardown)
	const struct CMUnitTest tests[] = {
		T(test_table_is_kept), T(test_table_is_ours_alone), T(test_text_changes), T(test_bad_text),
		T(test_table_of_the_last_run), T(test_no_foreign_chain), T(test_forward_policy_drop),
		T(test_forward_is_kept), T(test_forward_prefix_changes), T(test_forward_of_several_pools),
		T(test_standing_table_is_kept_until_the_list_is_complete), T(test_forward_legacy),
		T(test_native_chain_is_named), T(test_cleanup), T(test_nft_is_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
