/* SPDX-License-Identifier: Apache-2.0 */
#include "attach_lab.h"

#include "base/cleanup.h"
#include "plane/podprog.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static struct addr A(const char *text) {
	struct addr addr;

	assert_int_equal(addr_parse(text, &addr), 0);
	return addr;
}

static void
assert_addr(const struct addr *addr, const char *expected)
{
	char text[ADDR_TEXT_MAX];

	assert_string_equal(addr_format(addr, text), expected);
}

static int check(struct lab *lab, int n, struct err *err)
{
	struct attach_request request = lab_request(lab, n);
	struct attachment found;

	return attach_check(lab->attacher, &request, &found, err);
}

static void names_are_stable(void **state)
{
	char name[IFNAMSIZ], huge[600];

	attach_host_ifname("tul", "c1", "eth0", name); /* printf c1eth0 | sha1sum */
	assert_string_equal(name, "tul0924fa252d6");
	attach_host_ifname("cali", "c1", "eth0", name);
	assert_string_equal(name, "cali0924fa252d6");
	memset(huge, 'x', sizeof(huge));
	huge[sizeof(huge) - 1] = 0;
	attach_host_ifname("tul", huge, "eth0", name);
	assert_int_equal(strlen(name), 14);
}

static void add_check_del(void **state)
{
	struct lab *lab = *state;
	struct attachment a, b;
	struct err err = ERR_INIT;
	struct attach_stats stats;
	struct addr gateway = A("169.254.1.1");

	lab_add(lab, 0, &a);
	lab_add(lab, 1, &b);
	assert_addr(&a.addr[FAMILY_4], "10.1.2.2");
	assert_addr(&a.addr[FAMILY_6], "fd00:1:2::2");
	assert_addr(&b.addr[FAMILY_4], "10.1.2.3");
	assert_int_equal(a.mtu, 1450);
	assert_int_equal(lab->changes, 3); /* start and two */
	if (check(lab, 0, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_true(lab_pings(lab, 0, &b.addr[FAMILY_4]));
	assert_true(lab_pings(lab, 0, &b.addr[FAMILY_6]));
	assert_true(lab_pings(lab, 1, &a.addr[FAMILY_6]));
	assert_true(lab_pings(lab, -1, &a.addr[FAMILY_4]));
	assert_true(lab_pings(lab, -1, &a.addr[FAMILY_6]));
	assert_false(lab_pings(lab, 0, &gateway)); /* a next hop, nobody's address */
	lab_del(lab, 0);
	assert_false(lab_pings(lab, 1, &a.addr[FAMILY_4]));
	assert_false(lab_pings(lab, 0, &b.addr[FAMILY_4]));
	assert_int_equal(check(lab, 0, &err), -ENOENT);
	lab_del(lab, 0);
	lab_del(lab, 1);
	attach_get_stats(lab->attacher, &stats);
	assert_int_equal(stats.attached, 0);
	assert_int_equal(stats.in_use[FAMILY_4], 0);
	assert_int_equal(stats.resting[FAMILY_4], 2);
	assert_int_equal(stats.resting[FAMILY_6], 2);
	lab_turn(lab, 5000);
	lab_assert_clean(lab);
	assert_string_equal(lab->reports, "");
}

/* In a pod that has no interface yet. */
static int open_receiver(struct lab *lab, int n)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(7777)};
	_cleanup_close_ int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int fd, rc;

	assert_int_equal(setns(lab_pod(lab, n), CLONE_NEWNET), 0);
	fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = bind(fd, (struct sockaddr *)&any, sizeof(any));
	assert_int_equal(setns(own, CLONE_NEWNET), 0);
	assert_int_equal(rc, 0);
	return fd;
}

static void send_one(const struct addr *to)
{
	_cleanup_close_ int fd = socket(addr_family(to), SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_storage sa;
	socklen_t len;

	addr_to_sockaddr(to, 7777, &sa, &len);
	assert_int_equal(sendto(fd, "x", 1, 0, (struct sockaddr *)&sa, len), 1);
}

/* ADD's answer says that the pod can be reached. Kernel threads finish its interface: one pod would rarely meet
 * the moment at which they have not. */
static void first_packet_arrives(void **state)
{
	struct lab *lab = *state;

	for (int i = 0; i < 40; i++) {
		int receiver = open_receiver(lab, i), got = 0;
		struct attachment a;
		char byte;

		lab_add(lab, i, &a);
		send_one(&a.addr[FAMILY_4]);
		send_one(&a.addr[FAMILY_6]);
		for (int k = 0; k < 500 && got < FAMILY_COUNT; k++) {
			if (recv(receiver, &byte, 1, 0) == 1)
				got++;
			else
				usleep(10000);
		}
		close(receiver);
		if (got != FAMILY_COUNT)
			fail_msg("pod %d: %d of the first packets arrived, expected %d", i, got, FAMILY_COUNT);
	}
	for (int i = 0; i < 40; i++)
		lab_del(lab, i);
}

/* From the answer on nothing passes, in any direction, though the interface is still there. */
static void closed_at_once(void **state)
{
	static const char *const from[] = {"10.1.2.2", "fd00:1:2::2"}, *const to[] = {
									       "10.1.2.3", "fd00:1:2::3"};
	struct lab *lab = *state;
	struct attachment a, b;

	lab_add(lab, 0, &a);
	lab_add(lab, 1, &b);
	for (int f = 0; f < FAMILY_COUNT; f++) {
		struct addr source = A(from[f]), target = A(to[f]);
		struct sockaddr_storage sa;
		socklen_t len;
		int receiver, sender;
		char byte;

		/* sockets keep the namespace in which they were opened */
		_cleanup_close_ int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

		assert_int_equal(setns(lab_pod(lab, 1), CLONE_NEWNET), 0);
		receiver = socket(addr_family(&target), SOCK_DGRAM | SOCK_NONBLOCK, 0);
		addr_to_sockaddr(&target, 7777, &sa, &len);
		assert_int_equal(bind(receiver, (struct sockaddr *)&sa, len), 0);
		assert_int_equal(setns(lab_pod(lab, 0), CLONE_NEWNET), 0);
		sender = socket(addr_family(&source), SOCK_DGRAM, 0);
		assert_int_equal(setns(own, CLONE_NEWNET), 0);
		assert_int_equal(connect(sender, (struct sockaddr *)&sa, len), 0);
		assert_int_equal(send(sender, "x", 1, 0), 1);
		/* veth hands over in softirq context before send returns, or soon after */
		for (int i = 0; i < 500 && recv(receiver, &byte, 1, 0) != 1; i++) {
			if (i == 499)
				fail_msg("family %d: the packet from %s to %s never came", f, from[f], to[f]);
			usleep(10000);
		}
		lab->netns[10 + f * 2] = receiver;
		lab->netns[11 + f * 2] = sender;
	}
	lab_del(lab, 0);
	assert_int_equal(lab_links(), 2);
	for (int f = 0; f < FAMILY_COUNT; f++) {
		char byte;

		send(lab->netns[11 + f * 2], "x", 1, 0);
		usleep(100000);
		assert_int_equal(recv(lab->netns[10 + f * 2], &byte, 1, 0), -1);
	}
	for (int i = 10; i < 14; i++)
		lab_pod_gone(lab, i);
	lab_del(lab, 1);
}

static void one_family(void **state)
{
	struct lab *lab = *state;
	struct attachment a, b;

	for (int round = 0; round < 2; round++) {
		lab_network(lab, round ? NULL : "10.1.3.0/24", round ? "fd00:1:3::/64" : NULL);
		lab_add(lab, 0, &a);
		lab_add(lab, 1, &b);
		assert_int_equal(addr_is_set(&a.addr[FAMILY_4]), !round);
		assert_int_equal(addr_is_set(&a.addr[FAMILY_6]), round);
		assert_true(lab_pings(lab, 0, &b.addr[round]));
		assert_int_equal(check(lab, 0, NULL), 0);
		assert_int_equal(lab_run(lab_pod(lab, 0),
					 round ? "ip -4 route get 10.1.9.9" : "ip -6 route get fd00::9"),
			2);
		lab_del(lab, 0);
		lab_del(lab, 1);
	}
	lab_turn(lab, 5000);
	lab_assert_clean(lab);
}

/* In a node whose new namespaces have IPv6 switched off, and where /proc's defaults ask for DAD. */
static void ipv6_works_at_once(void **state)
{
	struct lab *lab = *state;
	struct attachment a;

	assert_int_equal(lab_run(lab_pod(lab, 0), "sysctl -w net.ipv6.conf.default.disable_ipv6=1"), 0);
	lab_add(lab, 0, &a);
	assert_true(lab_pings(lab, -1, &a.addr[FAMILY_6]));
	/* bind() fails while an address is tentative */
	assert_int_equal(
		lab_run(lab_pod(lab, 0), "ping -n -c 5 -i 0.2 -W 5 -I fd00:1:2::2 fe80::ecee:eeff:feee:eeee%eth0"),
		0);
	lab_del(lab, 0);
}

static void wishes(void **state)
{
	struct lab *lab = *state;
	struct attach_route routes[] = {{.dst = {.family = AF_INET, .len = 8}, .mtu = 1300, .priority = 50},
		{.dst = {.family = AF_INET6, .len = 32}},
		{.dst = {.family = AF_INET, .len = 24}, .table = 300}};
	struct attach_request request = lab_request(lab, 0);
	struct attachment a;
	struct err err = ERR_INIT;

	routes[0].dst.addr = A("192.0.0.0");
	routes[0].via = A("10.1.2.1"); /* what Flannel's bridge would have */
	routes[1].dst.addr = A("2001:db8::");
	routes[2].dst.addr = A("198.51.100.0");
	request.default_route = false;
	request.routes = routes;
	request.route_count = 3;
	request.ips[0] = A("fd00:1:2::77");
	request.ips[1] = A("10.1.2.77");
	request.ip_count = 2;
	request.mtu = 9000;
	request.mac = (struct mac){{2, 1, 2, 3, 4, 5}};
	if (attach_add(lab->attacher, &request, &a, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_addr(&a.addr[FAMILY_4], "10.1.2.77");
	assert_addr(&a.addr[FAMILY_6], "fd00:1:2::77");
	assert_int_equal(a.route_count, 5); /* the cluster's networks and three */
	assert_int_equal(check(lab, 0, NULL), 0);
	assert_int_equal(lab_run(lab_pod(lab, 0), "ip route get 10.1.200.1"), 0);
	assert_int_equal(lab_run(lab_pod(lab, 0), "ip route get 192.9.9.9"), 0);
	assert_int_equal(lab_run(lab_pod(lab, 0), "ip route get 8.8.8.8"), 2);
	assert_int_equal(lab_run(lab_pod(lab, 0), "ip route get 2001:db8::1"), 0);
	assert_int_equal(
		lab_run(lab_pod(lab, 0), "ping -n -c 1 -W 1 -s 8900 -M do 10.1.2.77"), 1); /* lo is down */
	assert_int_equal(lab_run(-1, "ping -n -c 1 -W 1 -s 8900 -M do 10.1.2.77"), 0);
	/* what a later plugin may change */
	assert_int_equal(lab_run(lab_pod(lab, 0), "ip link set eth0 mtu 1400"), 0);
	assert_int_equal(lab_run(lab_pod(lab, 0), "ip route add 203.0.113.0/24 via 169.254.1.1"), 0);
	assert_int_equal(lab_run(lab_pod(lab, 0), "ip addr add 192.168.9.9/32 dev eth0"), 0);
	if (check(lab, 0, &err) < 0)
		fail_msg("%s", err_text(&err));
	lab_del(lab, 0);
}

static void bad_wishes(void **state)
{
	struct lab *lab = *state;
	struct attach_route bad_via = {.dst = {.family = AF_INET, .len = 8}, .via = A("10.1.2.9")};
	struct attach_stats stats;
	struct attachment a = {.mtu = 7};
	static const char *const text[] = {"10.9.9.9", "10.1.2.1", "10.1.2.255", "fd00:9::1"};
	struct err err = ERR_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(text); i++) {
		struct attach_request request = lab_request(lab, 0);

		request.ips[0] = A(text[i]);
		request.ip_count = 1;
		assert_int_equal(attach_add(lab->attacher, &request, &a, &err), -EINVAL);
		assert_non_null(strstr(err.text, text[i]));
	}
	for (int i = 0; i < 9; i++) {
		struct attach_request request = lab_request(lab, 0);
		static const int expected[] = {
			-EINVAL, -EINVAL, -EINVAL, -EINVAL, -ENOENT, -EINVAL, -EINVAL, -ENOENT, -EINVAL};
		char huge[300];
		int file = -1;

		memset(huge, 'x', sizeof(huge));
		huge[sizeof(huge) - 1] = 0;
		if (i == 0)
			request.mac = (struct mac){{1, 2, 3, 4, 5, 6}};
		if (i == 1)
			request.mac = (struct mac){{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}};
		if (i == 2)
			request.mtu = 1000; /* IPv6 needs 1280 */
		if (i == 3)
			request.mtu = 70000;
		if (i == 4)
			request.netns_fd = file = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
		if (i == 5)
			request.netns_fd = file = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
		if (i == 6) {
			request.routes = &bad_via;
			request.route_count = 1;
		}
		if (i == 7)
			request.netns_fd = file = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
		if (i == 8)
			request.container_id = huge;
		assert_int_equal(attach_add(lab->attacher, &request, &a, &err), expected[i]);
		if (file >= 0)
			close(file);
	}
	attach_get_stats(lab->attacher, &stats);
	assert_int_equal(stats.failures, 13);
	assert_int_equal(stats.in_use[FAMILY_4] + stats.in_use[FAMILY_6], 0);
	assert_int_equal(a.mtu, 7); /* outputs untouched */
	lab_assert_clean(lab);
}

static void not_ready(void **state)
{
	struct lab *lab = *state;
	struct attach_request request = lab_request(lab, 0);
	struct attachment a;

	attach_set_network(lab->attacher, NULL, NULL, 0);
	assert_int_equal(attach_add(lab->attacher, &request, &a, NULL), -EAGAIN);
	assert_int_equal(attach_del(lab->attacher, &request, NULL), 0);
}

static void doubles(void **state)
{
	struct lab *lab = *state;
	struct attach_request request = lab_request(lab, 0);
	struct attachment a, b;
	struct err err = ERR_INIT;

	lab_add(lab, 0, &a);
	assert_int_equal(attach_add(lab->attacher, &request, &b, &err), -EEXIST);
	assert_int_equal(check(lab, 0, NULL), 0);
	/* another container in the same namespace */
	request.container_id = "other";
	assert_int_equal(attach_add(lab->attacher, &request, &b, &err), -EEXIST);
	assert_non_null(strstr(err.text, "eth0 exists already in /run/netns/pod0"));
	assert_int_equal(check(lab, 0, NULL), 0);
	assert_true(lab_pings(lab, -1, &a.addr[FAMILY_4]));
	/* but a second interface is fine, and both work */
	request.ifname = "net1";
	request.default_route = false;
	if (attach_add(lab->attacher, &request, &b, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_int_equal(attach_del(lab->attacher, &request, NULL), 0);
	lab_del(lab, 0);
}

/* The same names again, at once: the deletion that is outstanding comes first. */
static void again_at_once(void **state)
{
	struct lab *lab = *state;
	struct attach_request request = lab_request(lab, 0);
	struct attachment a, b;
	struct err err = ERR_INIT;

	lab_add(lab, 0, &a);
	lab_del(lab, 0);
	lab_add(lab, 0, &b);
	assert_false(addr_equal(&a.addr[FAMILY_4], &b.addr[FAMILY_4]));
	assert_true(lab_pings(lab, -1, &b.addr[FAMILY_4]));
	lab_del(lab, 0);
	request.container_id = "new-id";
	if (attach_add(lab->attacher, &request, &a, &err) < 0)
		fail_msg("%s", err_text(&err));
	/* the late DEL of the old id does not touch the new attachment */
	lab_del(lab, 0);
	assert_true(lab_pings(lab, -1, &a.addr[FAMILY_4]));
	assert_int_equal(attach_del(lab->attacher, &request, NULL), 0);
	lab_turn(lab, 5000);
	lab_assert_clean(lab);
}

static void namespace_gone(void **state)
{
	struct lab *lab = *state;
	struct attach_request request = lab_request(lab, 0);
	struct attach_stats stats;
	struct attachment a;

	lab_add(lab, 0, &a);
	lab_pod_gone(lab, 0);
	for (int i = 0; i < 500 && lab_links(); i++)
		usleep(10000);
	assert_int_equal(lab_links(), 0);
	attach_get_stats(lab->attacher, &stats);
	assert_int_equal(stats.in_use[FAMILY_4], 1);
	request.netns_fd = -1;
	request.netns_path = "";
	assert_int_equal(attach_del(lab->attacher, &request, NULL), 0);
	assert_int_equal(attach_del(lab->attacher, &request, NULL), 0);
	attach_get_stats(lab->attacher, &stats);
	assert_int_equal(stats.in_use[FAMILY_4], 0);
	assert_null(lab->attacher->closing);
	lab_assert_clean(lab);
}

static void check_finds(void **state)
{
	static const struct {
		bool in_pod;
		const char *words, *expected;
	} cases[] = {
		{true, "ip addr del 10.1.2.%d/32 dev eth0", "address 10.1.2."},
		{true, "ip -6 addr flush dev eth0 scope global", "address fd00:1:2::"},
		{true, "ip route del default", "route to 0.0.0.0/0"},
		{true, "ip -6 route del default", "route to ::/0"},
		{true, "ip link set eth0 address 02:00:00:00:00:09", "MAC address 02:00:00:00:00:09"},
		{true, "ip link set eth0 down", "it is down"},
		{true, "ip neigh del 169.254.1.1 dev eth0", "neighbour 169.254.1.1"},
		{true, "ip link del eth0", "interface eth0"},
		{false, "ip route del 10.1.2.%d", "route to 10.1.2."},
		{false, "ip -6 neigh flush dev %s nud permanent", "neighbour fd00:1:2::"},
	};
	struct lab *lab = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct err err = ERR_INIT;
		struct attachment a;
		char words[200];

		lab_add(lab, 0, &a);
		assert_int_equal(check(lab, 0, NULL), 0);
		if (strstr(cases[i].words, "%s"))
			snprintf(words, sizeof(words), "ip -6 neigh flush dev %s nud permanent",
				a.host_ifname);
		else if (strstr(cases[i].words, "addr del"))
			snprintf(words, sizeof(words), "ip addr del 10.1.2.%d/32 dev eth0",
				a.addr[FAMILY_4].b[15]);
		else if (!cases[i].in_pod)
			snprintf(words, sizeof(words), "ip route del 10.1.2.%d", a.addr[FAMILY_4].b[15]);
		else
			snprintf(words, sizeof(words), "%s", cases[i].words);
		assert_int_equal(lab_run(cases[i].in_pod ? lab_pod(lab, 0) : -1, words), 0);
		if (check(lab, 0, &err) == 0)
			fail_msg("after %s nothing is found", words);
		if (!strstr(err.text, cases[i].expected))
			fail_msg("%s: expected %s, found %s", words, cases[i].expected, err.text);
		lab_del(lab, 0);
		attach_teardown(lab->attacher);
	}
	lab_assert_clean(lab);
}

static void check_wants_the_same_namespace(void **state)
{
	struct lab *lab = *state;
	struct attach_request request = lab_request(lab, 0);
	struct attachment a;

	lab_add(lab, 0, &a);
	request.netns_fd = lab_pod(lab, 1);
	assert_int_equal(attach_check(lab->attacher, &request, &a, NULL), -ENODEV);
	lab_del(lab, 0);
}

static void garbage_collection(void **state)
{
	struct attach_key valid[] = {{"c3", "eth0"}, {"c1", "eth0"}, {"c1", "eth7"}};
	struct lab *lab = *state;
	struct attach_request request;
	struct attachment a;

	for (int i = 0; i < 5; i++)
		lab_add(lab, i, &a);
	request = lab_request(lab, 5);
	request.network = "other";
	assert_int_equal(attach_add(lab->attacher, &request, &a, NULL), 0);
	assert_int_equal(attach_gc(lab->attacher, "net", valid, ARRAY_SIZE(valid), NULL), 0);
	for (int i = 0; i < 6; i++)
		assert_int_equal(check(lab, i, NULL), i == 1 || i == 3 || i == 5 ? 0 : -ENOENT);
	assert_int_equal(attach_gc(lab->attacher, "net", NULL, 0, NULL), 0);
	assert_int_equal(attach_gc(lab->attacher, "other", NULL, 0, NULL), 0);
	lab_turn(lab, 5000);
	lab_assert_clean(lab);
}

/* One deletion for all: the loop is free again soon, and ids and addresses do not get mixed up. */
static void two_hundred(void **state)
{
	struct lab *lab = *state;
	struct plan_pod *pods = NULL;
	struct attachment a;
	size_t count = 0;

	for (int i = 0; i < 200; i++)
		lab_add(lab, i, &a);
	assert_int_equal(lab_links(), 200);
	assert_int_equal(attach_list_pods(lab->attacher, &pods, &count), 0);
	assert_int_equal(count, 200);
	for (size_t i = 0; i < count; i++) {
		for (size_t k = i + 1; k < count; k++) {
			assert_false(addr_equal(&pods[i].addr[0], &pods[k].addr[0]));
			assert_string_not_equal(pods[i].host_ifname, pods[k].host_ifname);
		}
	}
	free(pods);
	assert_int_equal(check(lab, 137, NULL), 0);
	assert_true(lab_pings(lab, 0, &a.addr[FAMILY_4]));
	for (int i = 0; i < 200; i++)
		lab_del(lab, i);
	lab_turn(lab, 30000);
	lab_assert_clean(lab);
}

static void exhausted_then_rested(void **state)
{
	struct lab *lab = *state;
	struct attach_request request;
	struct attachment a;
	struct err err = ERR_INIT;

	lab_network(lab, "10.1.7.0/29", NULL);
	for (int i = 0; i < 5; i++)
		lab_add(lab, i, &a);
	request = lab_request(lab, 5);
	assert_int_equal(attach_add(lab->attacher, &request, &a, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "block 10.1.7.0/29: no address is free: 5 in all, 5 in use"));
	lab_del(lab, 2);
	assert_int_equal(attach_add(lab->attacher, &request, &a, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "1 resting"));
	assert_int_not_equal(lab_run(lab_pod(lab, 5), "ip link show eth0"), 0);
	/* five seconds are rest enough where no other is free: as if they had passed */
	lab_stop(lab);
	lab->cooldown_s = 0;
	lab_start(lab);
	assert_int_equal(attach_add(lab->attacher, &request, &a, &err), 0);
	assert_addr(&a.addr[FAMILY_4], "10.1.7.4");
	for (int i = 0; i < 6; i++)
		lab_del(lab, i);
	lab_turn(lab, 5000);
	lab_assert_clean(lab);
}

static void taken_by_others(void **state)
{
	struct lab *lab = *state;
	struct attach_request request = lab_request(lab, 3);
	struct attachment a;
	char path[200];
	int fd;

	assert_int_equal(lab_run(-1, "ip addr add 10.1.2.2/32 dev lo"), 0);
	assert_int_equal(lab_run(-1, "ip addr add fd00:1:2::2/128 dev lo"), 0);
	snprintf(path, sizeof(path), "%s/net", lab->host_local);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(path, sizeof(path), "%s/net/10.1.2.3", lab->host_local);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	lab_add(lab, 0, &a);
	assert_addr(&a.addr[FAMILY_4], "10.1.2.4");
	assert_addr(&a.addr[FAMILY_6], "fd00:1:2::3");
	request.ips[0] = A("10.1.2.3");
	request.ip_count = 1;
	assert_int_equal(attach_add(lab->attacher, &request, &a, NULL), -ENOSPC);
	lab_del(lab, 0);
	assert_int_equal(lab_run(-1, "ip addr del 10.1.2.2/32 dev lo"), 0);
	assert_int_equal(lab_run(-1, "ip addr del fd00:1:2::2/128 dev lo"), 0);
}

static void shaped(void **state)
{
	struct lab *lab = *state;
	struct attach_request request = lab_request(lab, 0);
	struct attachment a;
	struct err err = ERR_INIT;

	request.bandwidth = (struct bandwidth){
		.ingress_rate = 80000000, .ingress_burst = 800000, .egress_rate = 40000000};
	if (attach_add(lab->attacher, &request, &a, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_true(lab_pings(lab, -1, &a.addr[FAMILY_4]));
	if (check(lab, 0, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_int_equal(lab_run(lab_pod(lab, 0), "tc qdisc del dev eth0 root"), 0);
	assert_int_not_equal(check(lab, 0, NULL), 0);
	lab_del(lab, 0);
	request = lab_request(lab, 1);
	request.bandwidth.ingress_burst = 1ull << 40;
	request.bandwidth.ingress_rate = 1000;
	assert_int_equal(attach_add(lab->attacher, &request, &a, &err), -EINVAL);
	attach_teardown(lab->attacher);
	lab_assert_clean(lab);
}

/* A kernel that takes no programs: the pod is cut off by its routes. */
static void closed_without_program(void **state)
{
	struct lab *lab = *state;

	podprog_free(lab->attacher->podprog);
	lab->attacher->podprog = NULL;
	closed_at_once(state);
}

static void lease_changes(void **state)
{
	struct lab *lab = *state;
	struct attachment a, b;

	lab_add(lab, 0, &a);
	lab_network(lab, "10.1.8.0/24", "fd00:1:8::/64");
	lab_add(lab, 1, &b);
	assert_addr(&b.addr[FAMILY_4], "10.1.8.2");
	assert_int_equal(check(lab, 0, NULL), 0);
	assert_true(lab_pings(lab, 1, &a.addr[FAMILY_4]));
	lab_del(lab, 0);
	lab_del(lab, 1);
}

static void keeps_router_advertisements(void **state)
{
	assert_int_equal(lab_run(-1, "grep -qx 1 /proc/sys/net/ipv6/conf/all/forwarding"), 0);
	assert_int_equal(lab_run(-1, "grep -qx 1 /proc/sys/net/ipv4/ip_forward"), 0);
	assert_int_equal(lab_run(-1, "grep -qx 2 /proc/sys/net/ipv6/conf/lo/accept_ra"), 0);
}

int main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, lab_setup, lab_teardown)
	const struct CMUnitTest tests[] = {T(names_are_stable), T(add_check_del),
		T(first_packet_arrives), T(closed_at_once),
		T(one_family), T(ipv6_works_at_once), T(wishes), T(bad_wishes), T(not_ready), T(doubles),
		T(again_at_once), T(namespace_gone), T(check_finds), T(check_wants_the_same_namespace),
		T(garbage_collection), T(two_hundred), T(exhausted_then_rested), T(taken_by_others),
		T(shaped), T(closed_without_program), T(lease_changes), T(keeps_router_advertisements)};

	/* test_attach [ONLY [BUT]]: patterns with * and ? */
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	if (argc > 2)
		cmocka_set_skip_filter(argv[2]);
	lab_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
