/* SPDX-License-Identifier: Apache-2.0
 *
 * Policy's chains in the kernel: nft takes them, and packets with marks fare as they say. The text: tests/unit/plan.
 */
#include "bed.h"

#include "base/cleanup.h"
#include "plan/policy_nft.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define PENDING 0x00100000u
#define HOST 0x00200000u

static const char *const pods[] = {"tul", "cali"};

/* up0 leads out; with exits, somebody judges there. */
static void load(size_t exits)
{
	static const char *const names[] = {"up0", "flannel.1", "up0"};
	const struct policy_nft_input input = {PENDING, HOST, names, exits, pods, ARRAY_SIZE(pods)};
	_cleanup_(buf_free) struct buf buf = BUF_INIT(0);

	buf_add_str(&buf, "add table inet tulle\ndelete table inet tulle\ntable inet tulle {\n");
	assert_int_equal(policy_nft_add(&buf, &input), 0);
	buf_add_str(&buf, "}\n");
	bed_feed("nft", buf_text(&buf));
}

/* What a packet that this node sends meets. 0, or the errno of a send that was refused. */
static int send_marked(const char *to, uint32_t mark)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(9)};
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(inet_pton(AF_INET, to, &addr.sin_addr), 1);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)), 0);
	return sendto(fd, "x", 1, 0, (void *)&addr, sizeof(addr)) == 1 ? 0 : errno;
}

static size_t counted(const char *rule)
{
	_cleanup_(buf_free) struct buf out = BUF_INIT(65536);
	const char *at;
	size_t packets = 0;

	bed_try(&out, "nft list ruleset");
	at = strstr(buf_text(&out), rule);
	at = at ? strstr(at, "packets ") : NULL;
	assert_non_null(at);
	assert_int_equal(sscanf(at, "packets %zu", &packets), 1);
	return packets;
}

static void test_it_loads_over_itself(void **state)
{
	load(3);
	load(0);
	load(1);
	assert_int_equal(bed_count("chain policy_", "nft list table inet tulle"), 3);
}

static void test_pending_leaves_only_where_it_is_judged(void **state)
{
	bed_run("ip link add tul0123456789a type veth peer name podx");
	bed_run("ip link set tul0123456789a up");
	bed_run("ip link set podx up");
	bed_run("ip addr add 10.9.0.1/24 dev tul0123456789a");
	bed_run("ip neigh add 10.9.0.5 lladdr 02:00:00:00:00:05 dev tul0123456789a");
	bed_run("ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev up0");
	load(0);
	assert_int_equal(send_marked("192.0.2.9", 0), 0);
	assert_int_equal(send_marked("192.0.2.9", HOST), 0);
	assert_int_equal(send_marked("192.0.2.9", PENDING), EPERM);
	assert_int_equal(send_marked("192.0.2.9", PENDING | 0x4000), EPERM);
	assert_int_equal(send_marked("10.9.0.5", PENDING), 0);
	assert_int_equal(counted("counter"), 2);
	load(2);
	assert_int_equal(send_marked("192.0.2.9", PENDING), 0);
	assert_int_equal(send_marked("10.9.0.5", PENDING), 0);
}

/* Also what is sent to the node itself; and other bits of the mark stay. */
static void test_the_nodes_own_packets_are_marked(void **state)
{
	load(1);
	bed_feed("nft",
		"table inet probe {\n\tchain out {\n\t\ttype filter hook postrouting priority 200;\n"
		"\t\tmeta mark 0x00204000 counter\n\t}\n}\n");
	bed_run("ip neigh replace 192.0.2.9 lladdr 02:00:00:00:00:09 dev up0");
	assert_int_equal(send_marked("192.0.2.9", 0x4000), 0);
	assert_int_equal(send_marked("192.0.2.1", 0x4000), 0);
	assert_int_equal(counted("0x00204000"), 2);
}

/* Whatever marked it on its way in: not us. A pod's program may say "pending", and nobody but the output chain "node". */
static void test_marks_from_elsewhere_count_for_nothing(void **state)
{
	bed_feed("nft",
		"table inet probe {\n\tchain before {\n\t\ttype filter hook prerouting priority -400;\n"
		"\t\tmeta mark set 0x00304000\n\t}\n"
		"\tchain after {\n\t\ttype filter hook prerouting priority -200;\n"
		"\t\tiifname \"up0\" meta mark 0x00004000 counter comment \"outside\"\n"
		"\t\tiifname \"cali1\" meta mark 0x00104000 counter comment \"pod\"\n\t}\n}\n");
	bed_run("ip link add cali1 up type veth peer name podx");
	bed_run("ip link set podx up");
	load(1);
	/* multicast of the other ends: it needs neither address nor neighbour */
	bed_run("ip addr add 198.51.100.1/32 dev lo");
	for (int i = 0; i < 2; i++) {
		struct ip_mreqn by = {.imr_ifindex = (int)if_nametoindex(i ? "podx" : "up0x")};
		struct sockaddr_in all = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(0xe0000001)};
		_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM, 0);

		by.imr_address.s_addr = htonl(0xc6336401);
		assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &by, sizeof(by)), 0);
		assert_int_equal(sendto(fd, "x", 1, 0, (void *)&all, sizeof(all)), 1);
	}
	for (int i = 0; i < 1000 && (!counted("\"up0\"") || !counted("\"cali1\"")); i++)
		usleep(10000);
	assert_int_not_equal(counted("\"up0\""), 0);
	assert_int_not_equal(counted("\"cali1\""), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, bed_setup, bed_teardown)
	const struct CMUnitTest tests[] = {
		T(test_it_loads_over_itself), T(test_pending_leaves_only_where_it_is_judged),
		T(test_the_nodes_own_packets_are_marked), T(test_marks_from_elsewhere_count_for_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
