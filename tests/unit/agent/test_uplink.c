/* SPDX-License-Identifier: Apache-2.0
 *
 * The five methods of choosing the interface (reference/flannel.md 6), on a machine made of arrays.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/uplink.h"
#include "plane/plane.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <string.h>

static struct addr a(const char *text)
{
	struct addr addr = {0};

	assert_int_equal(addr_parse(text, &addr), 0);
	return addr;
}

static struct prefix p(const char *text)
{
	struct prefix prefix = {0};

	assert_int_equal(prefix_parse(text, &prefix), 0);
	return prefix;
}

static struct plane_link links[] = {
	{.index = 1, .name = "lo", .mtu = 65536},
	{.index = 2, .name = "eth0", .mtu = 1500},
	{.index = 3, .name = "eth1", .mtu = 9000},
};
static struct plane_addr addrs[8];
static struct plane_route routes[4];
static struct plane_route reached;

static int route_get(const struct addr *to, struct plane_route *ret, struct err *err)
{
	if (!reached.index)
		return err_set(err, -ENETUNREACH, "no route");
	*ret = reached;
	return 0;
}

static struct machine machine = {.links = links, .link_count = 3, .addrs = addrs, .routes = routes, .route_get = route_get};

static int setup(void **state)
{
	memset(addrs, 0, sizeof(addrs));
	memset(routes, 0, sizeof(routes));
	memset(&reached, 0, sizeof(reached));
	addrs[0] = (struct plane_addr){.index = 1, .addr = a("127.0.0.1"), .prefix_len = 8};
	addrs[1] = (struct plane_addr){.index = 2, .addr = a("169.254.3.4"), .prefix_len = 16, .flags = IFA_F_PERMANENT};
	addrs[2] = (struct plane_addr){.index = 2, .addr = a("192.0.2.7"), .prefix_len = 24, .flags = IFA_F_PERMANENT};
	addrs[3] = (struct plane_addr){.index = 3, .addr = a("10.1.0.7"), .prefix_len = 16, .flags = IFA_F_PERMANENT};
	addrs[4] = (struct plane_addr){.index = 2, .addr = a("2001:db8::99"), .prefix_len = 64, .flags = IFA_F_TEMPORARY};
	addrs[5] = (struct plane_addr){.index = 2, .addr = a("2001:db8::7"), .prefix_len = 64, .flags = IFA_F_PERMANENT};
	addrs[6] = (struct plane_addr){.index = 3, .addr = a("fe80::3"), .prefix_len = 64, .flags = IFA_F_PERMANENT};
	machine.addr_count = 7;
	routes[0] = (struct plane_route){.dst = p("0.0.0.0/0"), .via = a("192.0.2.1"), .index = 2, .type = RTN_UNICAST};
	routes[1] = (struct plane_route){.dst = p("198.51.100.0/24"), .index = 2, .type = RTN_UNICAST};
	machine.route_count = 2;
	return 0;
}

static const bool only4[FAMILY_COUNT] = {true, false};
static const bool only6[FAMILY_COUNT] = {false, true};
static const bool dual[FAMILY_COUNT] = {true, true};

static const struct uplink *home; /* the choice of the start */

/* Flags by position: pairs of name and value, closed by null. */
static int choose(const bool families[FAMILY_COUNT], struct uplink *ret, struct err *err, const char *const *words)
{
	char *argv[16] = {(char *)"tulled"};
	char *none[] = {NULL};
	struct options options;
	int argc = 1;
	int rc;

	for (; *words; words++)
		argv[argc++] = (char *)*words;
	options_init(&options);
	assert_int_equal(options_parse(&options, argc, argv, none, NULL, err), 0);
	rc = uplink_choose_on(&machine, &options, families, home, ret, err);
	options_free(&options);
	return rc;
}

#define CHOOSE(families, ret, err, ...) choose(families, ret, err, (const char *const[]){__VA_ARGS__ __VA_OPT__(,) NULL})

static void assert_uplink(const struct uplink *uplink, const char *name, const char *addr4, const char *addr6)
{
	char text[ADDR_TEXT_MAX];

	assert_string_equal(uplink->name, name);
	assert_string_equal(addr_format(&uplink->public_ip[FAMILY_4], text), addr4);
	assert_string_equal(addr_format(&uplink->public_ip[FAMILY_6], text), addr6);
}

static void default_route_is_the_default(void **state)
{
	struct uplink uplink;
	struct err err = ERR_INIT;

	assert_int_equal(CHOOSE(only4, &uplink, &err), 0);
	assert_uplink(&uplink, "eth0", "192.0.2.7", "");
	assert_int_equal(uplink.mtu, 1500);
	assert_int_equal(uplink.on_link_count, 4); /* three connected subnets, one route without a gateway */
}

static void the_address_of_the_start_stays(void **state)
{
	struct uplink start, uplink;
	struct err err = ERR_INIT;

	addrs[2].flags = 0; /* leased */
	assert_int_equal(CHOOSE(only4, &start, &err), 0);
	addrs[machine.addr_count++] =
		(struct plane_addr){.index = 2, .addr = a("192.0.2.250"), .prefix_len = 32, .flags = IFA_F_PERMANENT};
	assert_int_equal(CHOOSE(only4, &uplink, &err), 0);
	assert_uplink(&uplink, "eth0", "192.0.2.250", "");
	home = &start;
	assert_int_equal(CHOOSE(only4, &uplink, &err), 0);
	assert_uplink(&uplink, "eth0", "192.0.2.7", "");
	addrs[2].addr = a("192.0.2.8");
	assert_int_equal(CHOOSE(only4, &uplink, &err), 0);
	assert_uplink(&uplink, "eth0", "192.0.2.250", "");
	home = NULL;
}

static void dual_stack_needs_both_default_routes_on_one_interface(void **state)
{
	struct uplink uplink;
	struct err err = ERR_INIT;

	assert_int_equal(CHOOSE(dual, &uplink, &err), -ENOENT);
	assert_non_null(strstr(err_text(&err), "no IPv6 default route"));
	routes[2] = (struct plane_route){.dst = p("::/0"), .via = a("fe80::1"), .index = 3, .type = RTN_UNICAST};
	machine.route_count = 3;
	assert_int_equal(CHOOSE(dual, &uplink, &err), -EINVAL);
	assert_non_null(strstr(err_text(&err), "different interfaces"));
	routes[2].index = 2;
	assert_int_equal(CHOOSE(dual, &uplink, &err), 0);
	assert_uplink(&uplink, "eth0", "192.0.2.7", "2001:db8::7");
}

static void by_name_and_by_address(void **state)
{
	struct uplink uplink;
	struct err err = ERR_INIT;

	assert_int_equal(CHOOSE(only4, &uplink, &err, "--iface=eth1"), 0);
	assert_uplink(&uplink, "eth1", "10.1.0.7", "");
	assert_int_equal(CHOOSE(only4, &uplink, &err, "--iface=nope", "--iface=192.0.2.7"), 0);
	assert_uplink(&uplink, "eth0", "192.0.2.7", "");
	assert_int_equal(CHOOSE(only6, &uplink, &err, "--iface=2001:db8::99"), 0);
	assert_uplink(&uplink, "eth0", "", "2001:db8::99");
	assert_int_equal(CHOOSE(only4, &uplink, &err, "--iface=nope"), -ENODEV);
	assert_non_null(strstr(err_text(&err), "there is no interface \"nope\""));
	assert_int_equal(CHOOSE(only4, &uplink, &err, "--iface=203.0.113.1"), -EADDRNOTAVAIL);
}

static void link_local_is_the_last_resort(void **state)
{
	struct uplink uplink;
	struct err err = ERR_INIT;

	assert_int_equal(CHOOSE(only6, &uplink, &err, "--iface=eth1"), 0);
	assert_uplink(&uplink, "eth1", "", "fe80::3");
	addrs[6].flags = IFA_F_DEPRECATED;
	assert_int_equal(CHOOSE(only6, &uplink, &err, "--iface=eth1"), -EADDRNOTAVAIL);
	assert_non_null(strstr(err_text(&err), "interface eth1 has no usable IPv6 address"));
}

static void by_regular_expression(void **state)
{
	struct uplink uplink;
	struct err err = ERR_INIT;

	assert_int_equal(CHOOSE(only4, &uplink, &err, "--iface-regex=^10\\.\\d+\\."), 0);
	assert_uplink(&uplink, "eth1", "10.1.0.7", "");
	assert_int_equal(CHOOSE(only4, &uplink, &err, "--iface-regex=eth1|eth9"), 0);
	assert_uplink(&uplink, "eth1", "10.1.0.7", "");
	assert_int_equal(CHOOSE(dual, &uplink, &err, "--iface-regex=192\\.0|2001:db8::7"), 0);
	assert_uplink(&uplink, "eth0", "192.0.2.7", "2001:db8::7");
	assert_int_equal(CHOOSE(only4, &uplink, &err, "--iface-regex=("), -EINVAL);
	assert_non_null(strstr(err_text(&err), "is no regular expression"));
	assert_int_equal(CHOOSE(only4, &uplink, &err, "--iface-regex=wlan"), -ENODEV);
	assert_non_null(strstr(err_text(&err), "eth0 192.0.2.7"));
}

static void by_reachability(void **state)
{
	struct uplink uplink;
	struct err err = ERR_INIT;

	assert_true(CHOOSE(only4, &uplink, &err, "--iface-can-reach=203.0.113.1") < 0);
	reached = (struct plane_route){.index = 3, .source = a("10.1.0.7")};
	assert_int_equal(CHOOSE(only4, &uplink, &err, "--iface-can-reach=203.0.113.1"), 0);
	assert_uplink(&uplink, "eth1", "10.1.0.7", "");
}

static void public_address_names_the_interface_or_only_what_is_published(void **state)
{
	struct uplink uplink;
	struct err err = ERR_INIT;

	assert_int_equal(CHOOSE(only4, &uplink, &err, "--public-ip=10.1.0.7"), 0);
	assert_uplink(&uplink, "eth1", "10.1.0.7", "");
	assert_int_equal(CHOOSE(only4, &uplink, &err, "--public-ip=203.0.113.9"), -EADDRNOTAVAIL);
	assert_int_equal(CHOOSE(only4, &uplink, &err, "--public-ip=203.0.113.9", "--iface=eth0"), 0);
	assert_uplink(&uplink, "eth0", "203.0.113.9", "");
	assert_int_equal(CHOOSE(only4, &uplink, &err, "--public-ip=2001:db8::7", "--iface=eth0"), -EINVAL);
	assert_int_equal(CHOOSE(dual, &uplink, &err, "--iface=192.0.2.7", "--public-ipv6=fe80::3"), -EINVAL);
	assert_non_null(strstr(err_text(&err), "another interface"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(the_address_of_the_start_stays, setup),
		cmocka_unit_test_setup(default_route_is_the_default, setup),
		cmocka_unit_test_setup(dual_stack_needs_both_default_routes_on_one_interface, setup),
		cmocka_unit_test_setup(by_name_and_by_address, setup),
		cmocka_unit_test_setup(link_local_is_the_last_resort, setup),
		cmocka_unit_test_setup(by_regular_expression, setup),
		cmocka_unit_test_setup(by_reachability, setup),
		cmocka_unit_test_setup(public_address_names_the_interface_or_only_what_is_published, setup),
	};

	return cmocka_run_group_tests_name("uplink", tests, NULL, NULL);
}
