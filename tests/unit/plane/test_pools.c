/* SPDX-License-Identifier: Apache-2.0
 *
 * What Calico's pools want of the kernel: its vxlan device as Felix leaves it, tunl0, routes with metric, preferred source
 * and a protocol of choice.
 */
#include "bed.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <string.h>

static uint32_t index_of(const char *name)
{
	_cleanup_free_ struct plane_link *links = NULL;
	size_t count = 0;

	assert_int_equal(plane_list_links(&links, &count, NULL), 0);
	for (size_t i = 0; i < count; i++)
		if (strcmp(links[i].name, name) == 0)
			return links[i].index;
	return 0;
}

static const struct prefix everything_4 = {.family = AF_INET, .addr = {.b = {[10] = 0xff, [11] = 0xff}}};

/* reference/calico.md 5.5 */
static void want_vxlan(struct bed *bed)
{
	struct wanted_link link = {.name = "vxlan.calico", .kind = LINK_VXLAN, .mtu = 1450, .vni = 4096, .port = 4789,
		.port_configured = true, .lower = "up0"};

	link.mac = bed_mac("66:01:02:03:04:05");
	link.local = bed_addr("192.0.2.1");
	link.addr[FAMILY_4] = bed_prefix("10.244.0.1/32");
	link.foreign[FAMILY_4] = everything_4;
	assert_int_equal(wanted_add_link(&bed->wanted, &link), 0);
}

#define FELIX "ip link add vxlan.calico mtu 1450 address 66:01:02:03:04:05 type vxlan "

static void test_felix_device_is_adopted(void **state)
{
	struct bed *bed = *state;
	uint32_t index;

	bed_run(FELIX "id 4096 local 192.0.2.1 dev up0 srcport 0 0 dstport 4789 nolearning ttl auto ageing 300 udpcsum");
	bed_run("ip addr add 10.244.0.1/32 dev vxlan.calico");
	bed_run("ip addr add 10.244.9.9/32 dev vxlan.calico");
	bed_run("ip addr add 172.31.0.1/24 dev vxlan.calico");
	bed_run("ip link set vxlan.calico up");
	index = index_of("vxlan.calico");
	want_vxlan(bed);
	bed_apply(bed);
	assert_int_equal(index_of("vxlan.calico"), index);
	assert_int_equal(bed_count("inet ", "ip addr show vxlan.calico"), 1);
	assert_int_equal(bed_count("inet 10.244.0.1/32 scope global", "ip addr show vxlan.calico"), 1);
	/* another MAC or MTU is set in place */
	bed_run("ip link set vxlan.calico mtu 1400 address 66:0a:0b:0c:0d:0e");
	bed_stop(bed);
	bed_start(bed);
	bed_apply(bed);
	assert_int_equal(index_of("vxlan.calico"), index);
	assert_int_equal(bed_count("mtu 1450", "ip link show vxlan.calico"), 1);
	assert_int_equal(bed_count("66:01:02:03:04:05", "ip link show vxlan.calico"), 1);
	bed_settle(bed);
}

static void test_another_vxlan_device_is_made_anew(void **state)
{
	struct bed *bed = *state;
	static const char *const others[] = {
		FELIX "id 4097 local 192.0.2.1 dev up0 dstport 4789 nolearning",
		FELIX "id 4096 local 192.0.2.1 dev up0 dstport 8472 nolearning",
		FELIX "id 4096 local 192.0.2.9 dev up0 dstport 4789 nolearning",
		FELIX "id 4096 local 192.0.2.1 dev other dstport 4789 nolearning",
		FELIX "external dstport 4789", /* of Felix's eBPF mode */
	};

	bed_run("ip link add other type veth peer name otherx");
	bed_run("ip addr add 192.0.2.9/24 dev up0");
	want_vxlan(bed);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		uint32_t index;

		bed_run("%s", others[i]);
		index = index_of("vxlan.calico");
		bed_apply(bed);
		if (index_of("vxlan.calico") == index)
			fail_msg("kept although made by: %s", others[i]);
		assert_int_equal(bed_count("vxlan id 4096 local 192.0.2.1 dev up0 srcport 0 0 dstport 4789 nolearning",
			"ip -d link show vxlan.calico"), 1);
		bed_run("ip link del vxlan.calico");
		bed_stop(bed);
		bed_start(bed);
	}
}

/* -- tunl0 -- */

static bool has_ipip(void)
{
	struct buf out = BUF_INIT(4096);
	bool has = bed_try(&out, "ip link add probe0 type ipip remote 192.0.2.77") == 0;

	if (has)
		bed_run("ip link del probe0");
	buf_free(&out);
	return has;
}

static void test_probe_says_what_the_kernel_can(void **state)
{
	assert_int_equal(plane_has_ipip(), has_ipip());
	assert_int_equal(bed_count("tulprobe", "ip link"), 0);
}

static void need_ipip(void)
{
	if (!has_ipip()) {
		print_message("no module ipip in this kernel\n");
		skip();
	}
}

static void want_ipip(struct bed *bed)
{
	struct wanted_link link = {.name = "tunl0", .kind = LINK_IPIP, .mtu = 1480};

	link.addr[FAMILY_4] = bed_prefix("10.244.0.2/32");
	assert_int_equal(wanted_add_link(&bed->wanted, &link), 0);
}

static void test_tunl0(void **state)
{
	struct bed *bed = *state;

	need_ipip();
	bed_run("ip addr add 10.244.9.9/32 dev tunl0");
	bed_run("ip link set tunl0 mtu 1400");
	want_ipip(bed);
	bed_want_route(bed, "10.244.7.0/26", "192.0.2.7", "tunl0");
	bed->wanted.routes[0].onlink = true;
	bed_apply(bed);
	assert_int_equal(bed_count("inet ", "ip addr show tunl0"), 1);
	assert_int_equal(bed_count("inet 10.244.0.2/32 scope global tunl0", "ip addr show tunl0"), 1);
	assert_int_equal(bed_count("mtu 1480", "ip link show tunl0"), 1);
	assert_int_equal(bed_count(",UP", "ip link show tunl0"), 1);
	assert_int_equal(bed_count("10.244.7.0/26 via 192.0.2.7 dev tunl0 proto 84 onlink", "ip route"), 1);
	assert_int_equal(bed_count("ipip any remote any local any ttl inherit nopmtudisc", "ip -d link show tunl0"), 1);
	bed_settle(bed);
	/* not wanted any more: it stays, and does nothing */
	bed_want_none(bed);
	bed_apply(bed);
	assert_int_equal(bed_count("inet ", "ip addr show tunl0"), 0);
	assert_int_equal(bed_count(",UP", "ip link show tunl0"), 0);
	assert_int_equal(bed_count("10.244.7.0/26", "ip route"), 0);
}

static bool tunl0_is_back(struct bed *bed)
{
	return bed_count("10.244.0.2/32", "ip addr show tunl0") == 1 && bed_count(",UP", "ip link show tunl0") == 1 &&
		bed_count("10.244.9.9", "ip addr show tunl0") == 0;
}

static void test_tunl0_is_repaired(void **state)
{
	struct bed *bed = *state;

	need_ipip();
	want_ipip(bed);
	bed_apply(bed);
	bed_settle(bed);
	bed_run("ip addr flush dev tunl0");
	bed_run("ip addr add 10.244.9.9/32 dev tunl0");
	assert_false(tunl0_is_back(bed));
	bed_wait(bed, tunl0_is_back);
	bed_run("ip link set tunl0 down");
	assert_false(tunl0_is_back(bed));
	bed_wait(bed, tunl0_is_back);
	bed_settle(bed);
}

static void test_missing_module_is_told(void **state)
{
	struct bed *bed = *state;

	if (has_ipip())
		skip();
	want_ipip(bed);
	wanted_finish(&bed->wanted);
	assert_int_equal(plane_apply(bed->plane, &bed->wanted, &bed->err), -EOPNOTSUPP);
	assert_non_null(strstr(err_text(&bed->err), "device tunl0: this kernel has no module ipip"));
}

/* -- routes -- */

static void want_route(struct bed *bed, const char *dst, const char *via, const char *source, uint32_t metric)
{
	struct wanted_route route = {.dst = bed_prefix(dst), .dev = "up0", .metric = metric, .onlink = true};

	route.via = bed_addr(via);
	if (source)
		route.source = bed_addr(source);
	assert_int_equal(wanted_add_route(&bed->wanted, &route), 0);
}

static void test_metric_and_preferred_source(void **state)
{
	struct bed *bed = *state;

	bed_run("ip addr add 10.244.0.1/32 dev lo");
	bed_run("ip -6 addr add fd00:244::1/128 dev lo");
	want_route(bed, "10.244.7.0/26", "192.0.2.7", "10.244.0.1", 512);
	want_route(bed, "fd00:244:7::/122", "2001:db8::7", "fd00:244::1", 512);
	bed_apply(bed);
	assert_int_equal(bed_count("10.244.7.0/26 via 192.0.2.7 dev up0 proto 84 src 10.244.0.1 metric 512 onlink", "ip route"), 1);
	assert_int_equal(bed_count("fd00:244:7::/122 via 2001:db8::7 dev up0 proto 84 src fd00:244::1 metric 512 onlink",
		"ip -6 route"), 1);
	bed_settle(bed);
	/* another source in place, another metric in the place of the old one */
	bed->wanted.routes[0].source = bed->wanted.routes[1].source = (struct addr){0};
	bed_apply(bed);
	assert_int_equal(bed_count("src 10.244.0.1", "ip route"), 0);
	assert_int_equal(bed_count("src fd00:244::1", "ip -6 route"), 0);
	bed->wanted.routes[0].metric = bed->wanted.routes[1].metric = 1000;
	bed_apply(bed);
	assert_int_equal(bed_count("10.244.7.0/26 via 192.0.2.7 dev up0 proto 84 metric 1000 onlink", "ip route"), 1);
	assert_int_equal(bed_count("fd00:244:7::/122 via 2001:db8::7 dev up0 proto 84 metric 1000 onlink", "ip -6 route"), 1);
	assert_int_equal(bed_count("10.244.7.0/26", "ip route"), 1);
	assert_int_equal(bed_count("fd00:244:7::/122", "ip -6 route"), 1);
	bed_settle(bed);
}

/* Felix's, of protocol 80: adopted and swept when ours are of that protocol as well. */
static void test_protocol_of_choice(void **state)
{
	struct bed *bed = *state;

	bed_run("ip route add 10.244.7.0/26 via 192.0.2.7 dev up0 proto 80 onlink");
	bed_run("ip route add 10.244.8.0/26 via 192.0.2.8 dev up0 proto 80 onlink");
	bed_run("ip route add 10.244.9.0/26 via 192.0.2.9 dev up0 proto static onlink");
	bed_run("ip route add 10.244.10.0/26 via 192.0.2.9 dev up0 proto 84 onlink");
	bed->wanted.protocol = 80;
	bed->wanted.sweep = false;
	want_route(bed, "10.244.7.0/26", "192.0.2.17", NULL, 0);
	bed_apply(bed);
	assert_int_equal(bed_count("10.244.7.0/26 via 192.0.2.17 dev up0 proto 80 onlink", "ip route"), 1);
	assert_int_equal(bed_count("10.244.8.0/26", "ip route"), 1);
	bed->wanted.sweep = true;
	bed_apply(bed);
	assert_int_equal(bed_count("10.244.8.0/26", "ip route"), 0);
	assert_int_equal(bed_count("10.244.10.0/26", "ip route"), 0);
	assert_int_equal(bed_count("10.244.9.0/26", "ip route"), 1);
	bed_settle(bed);
	/* the operator's own protocol: ours look like his, and his are his */
	bed->wanted.protocol = RTPROT_STATIC;
	bed_apply(bed);
	assert_int_equal(bed_count("10.244.7.0/26 via 192.0.2.17 dev up0 proto static onlink", "ip route"), 1);
	assert_int_equal(bed_count("10.244.9.0/26", "ip route"), 1);
	/* nor is BIRD's for the asking */
	bed_run("ip route add 10.244.12.0/26 via 192.0.2.9 dev up0 proto bird onlink");
	bed->wanted.protocol = RTPROT_BIRD;
	bed_apply(bed);
	assert_int_equal(bed_count("10.244.7.0/26 via 192.0.2.17 dev up0 proto bird onlink", "ip route"), 1);
	assert_int_equal(bed_count("10.244.12.0/26", "ip route"), 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, bed_setup, bed_teardown)
	const struct CMUnitTest tests[] = {
		T(test_felix_device_is_adopted), T(test_another_vxlan_device_is_made_anew),
		T(test_probe_says_what_the_kernel_can), T(test_tunl0), T(test_tunl0_is_repaired),
		T(test_missing_module_is_told), T(test_metric_and_preferred_source), T(test_protocol_of_choice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
