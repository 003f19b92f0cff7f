/* SPDX-License-Identifier: Apache-2.0
 *
 * Policy's programs at interfaces: attached, replaced by a successor, gone with the interface; what their pins say; events.
 * What they do to packets: tests/bpf. All is tried by tcx (where the kernel has it) and by clsact; the tests of each way share a
 * plane, because loading takes its time.
 */
#include "policy_scene.h"

#include "base/cleanup.h"
#include "plane/hook.h"
#include "plane/offload.h"
#include "plane/podprog.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_clsact(const struct scene *scene)
{
	return scene->options.clsact || hook_probe() != HOOK_TCX;
}

/* Of the program that is attached there; 0: none is. */
static uint32_t program_id(const struct scene *scene, uint32_t ifindex, const char *role)
{
	struct bpf_link_info info = {0};
	uint32_t len = sizeof(info);
	_cleanup_close_ int fd = -1;
	char path[128];

	snprintf(path, sizeof(path), LINKS "/%u-%s", ifindex, role);
	if (is_clsact(scene)) {
		char name[IF_NAMESIZE];
		bool from = strcmp(role, "from") == 0;
		_cleanup_(buf_free) struct buf out = BUF_INIT(65536);
		const char *at;

		assert_non_null(if_indextoname(ifindex, name));
		bed_try(&out, "tc filter show dev %s %s", name, from ? "ingress" : "egress");
		at = strstr(buf_text(&out), " id ");
		return at ? (uint32_t)atoi(at + 4) : 0;
	}
	fd = bpf_obj_get(path);
	return fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) ? 0 : info.prog_id;
}

/* -- programs -- */

static void test_programs_are_attached(void **state)
{
	struct scene *scene = *state;

	assert_false(policy_plane_check_pod(scene->plane, scene->pod[0]));
	scene_ok(scene, policy_plane_guard_pod(scene->plane, scene->pod[0], &scene->err));
	assert_true(policy_plane_check_pod(scene->plane, scene->pod[0]));
	assert_int_not_equal(program_id(scene, scene->pod[0], "from"), 0);
	assert_int_not_equal(program_id(scene, scene->pod[0], "to"), 0);
	scene_ok(scene, policy_plane_guard_pod(scene->plane, scene->pod[0], &scene->err));
	assert_int_equal(count_links(), 2);
	assert_int_not_equal(policy_plane_guard_pod(scene->plane, 9999, &scene->err), 0);
	assert_int_equal(count_links(), 2);
}

/* An agent that comes after replaces the program where it is: the link is the same one. */
static void test_successor_replaces_programs(void **state)
{
	struct scene *scene = *state;
	uint32_t from, to, out;

	scene_ok(scene, policy_plane_guard_pod(scene->plane, scene->pod[0], &scene->err));
	scene_ok(scene, policy_plane_guard_exit(scene->plane, scene->pod[1], &scene->err));
	from = program_id(scene, scene->pod[0], "from");
	to = program_id(scene, scene->pod[0], "to");
	out = program_id(scene, scene->pod[1], "exit");
	scene_restart(scene);
	assert_true(policy_plane_check_pod(scene->plane, scene->pod[0]));
	assert_true(policy_plane_check_exit(scene->plane, scene->pod[1]));
	assert_int_not_equal(program_id(scene, scene->pod[0], "from"), from);
	assert_int_not_equal(program_id(scene, scene->pod[0], "to"), to);
	assert_int_not_equal(program_id(scene, scene->pod[1], "exit"), out);
	assert_int_equal(count_links(), 3);
}

static void test_gone_interfaces_leave_no_pins(void **state)
{
	struct scene *scene = *state;

	for (int i = 0; i < 2; i++)
		scene_ok(scene, policy_plane_guard_pod(scene->plane, scene->pod[i], &scene->err));
	scene_ok(scene, policy_plane_guard_exit(scene->plane, 1, &scene->err)); /* lo */
	bed_run("ip link del tul0");
	assert_false(policy_plane_check_pod(scene->plane, scene->pod[0]));
	assert_int_equal(count_links(), 5);
	scene_ok(scene, policy_plane_keep_pods(scene->plane, &scene->pod[1], 1, &scene->err));
	assert_int_equal(count_links(), 3);
	bed_run("ip link del tul1");
	scene_restart(scene);
	assert_int_equal(count_links(), 1);
	scene_ok(scene, policy_plane_release_exit(scene->plane, 1, &scene->err));
}

/* Pods that come and go while the agent lives: pins of the former are dropped on the way. */
static void test_pins_do_not_pile_up(void **state)
{
	struct scene *scene = *state;

	for (int i = 0; i < 8; i++) {
		uint32_t ifindex;

		bed_run("ip link add tulx up type veth peer name podx");
		ifindex = if_nametoindex("tulx");
		scene_ok(scene, policy_plane_guard_pod(scene->plane, ifindex, &scene->err));
		scene_ok(scene, policy_plane_remove_pod(scene->plane, ifindex, &scene->err));
		assert_true(policy_plane_check_pod(scene->plane, ifindex)); /* closed, not open */
		bed_run("ip link del tulx");
	}
	scene_ok(scene, policy_plane_guard_pod(scene->plane, scene->pod[0], &scene->err));
	assert_int_equal(count_links(), 2);
}

static void test_exit_comes_and_goes(void **state)
{
	struct scene *scene = *state;
	uint32_t ifindex = scene->pod[1];

	scene_ok(scene, policy_plane_guard_exit(scene->plane, ifindex, &scene->err));
	assert_true(policy_plane_check_exit(scene->plane, ifindex));
	scene_ok(scene, policy_plane_release_exit(scene->plane, ifindex, &scene->err));
	assert_false(policy_plane_check_exit(scene->plane, ifindex));
	assert_int_equal(count_links(), 0);
	scene_ok(scene, policy_plane_release_exit(scene->plane, ifindex, &scene->err));
}

static void test_exit_of_a_device_without_ethernet(void **state)
{
	struct scene *scene = *state;
	uint32_t ifindex;

	bed_run("ip tuntap add mode tun name tun7");
	ifindex = if_nametoindex("tun7");
	scene_ok(scene, policy_plane_guard_exit(scene->plane, ifindex, &scene->err));
	assert_true(policy_plane_check_exit(scene->plane, ifindex));
	bed_run("ip link del tun7");
	assert_false(policy_plane_check_exit(scene->plane, ifindex));
}

/* Maps of another layout: the programs that use them go on with them until ours have been filled. */
static void test_other_layout_judges_until_ours_is_filled(void **state)
{
	struct scene *scene = *state;
	struct policy_pod pod = pod_of(scene->pod[0], 1, "10.0.0.5");
	uint32_t from, out;
	struct world world;

	world_init(&world);
	world_apply(scene, &world);
	scene_ok(scene, policy_plane_guard_pod(scene->plane, scene->pod[0], &scene->err));
	scene_ok(scene, policy_plane_guard_exit(scene->plane, scene->pod[1], &scene->err));
	from = program_id(scene, scene->pod[0], "from");
	out = program_id(scene, scene->pod[1], "exit");
	scene_stop(scene);
	assert_int_equal(rename(MAPS, PINS "/policy/maps-0"), 0);
	scene_start(scene);
	scene_ok(scene, policy_plane_guard_pod(scene->plane, scene->pod[0], &scene->err));
	scene_ok(scene, policy_plane_guard_exit(scene->plane, scene->pod[1], &scene->err));
	assert_int_equal(program_id(scene, scene->pod[0], "from"), from);
	assert_int_equal(program_id(scene, scene->pod[1], "exit"), out);
	assert_int_equal(access(PINS "/policy/maps-0/pairs", F_OK), 0);
	scene_ok(scene, policy_plane_put_pod(scene->plane, &pod, &scene->err));
	assert_int_not_equal(program_id(scene, scene->pod[0], "from"), from);
	assert_int_equal(program_id(scene, scene->pod[1], "exit"), out);
	world_apply(scene, &world);
	assert_int_not_equal(program_id(scene, scene->pod[1], "exit"), out);
	assert_int_equal(access(PINS "/policy/maps-0", F_OK), -1);
	assert_true(policy_plane_check_pod(scene->plane, scene->pod[0]));
}

/* From clsact to tcx (another kernel, another option) and back. */
static void test_other_way_of_attaching(void **state)
{
	struct scene *scene = *state;

	if (hook_probe() != HOOK_TCX)
		skip();
	scene_ok(scene, policy_plane_guard_pod(scene->plane, scene->pod[0], &scene->err));
	scene->options.clsact = !scene->options.clsact;
	scene_restart(scene);
	assert_true(policy_plane_check_pod(scene->plane, scene->pod[0]));
	assert_int_equal(count_links(), 2);
	assert_int_equal(bed_count(" bpf ", "tc filter show dev tul0 ingress") > 0, scene->options.clsact);
	scene->options.clsact = !scene->options.clsact;
	scene_restart(scene);
	assert_true(policy_plane_check_pod(scene->plane, scene->pod[0]));
	assert_int_equal(count_links(), 2);
}

/* A filter would run behind the carrier's tcx programs, which send the packet on. */
static void test_exits_use_tcx_even_if_pods_do_not(void **state)
{
	struct scene *scene = *state;
	const struct policy_plane_options options = scene->options;

	if (is_clsact(scene))
		skip();
	scene->options.pods_by_clsact = true;
	scene_restart(scene);
	scene_ok(scene, policy_plane_guard_pod(scene->plane, scene->pod[0], &scene->err));
	scene_ok(scene, policy_plane_guard_exit(scene->plane, scene->pod[1], &scene->err));
	assert_true(policy_plane_check_pod(scene->plane, scene->pod[0]));
	assert_int_equal(bed_count(" bpf ", "tc filter show dev tul0 ingress") > 0, 1);
	assert_int_equal(bed_count(" bpf ", "tc filter show dev tul1 egress"), 0);
	assert_int_not_equal(program_id(scene, scene->pod[1], "exit"), 0);
	scene->options = options;
	scene_restart(scene);
}

/* While a device gets its clsact qdisc, what is sent by it is lost. */
static void test_a_running_pod_gets_no_qdisc(void **state)
{
	struct scene *scene = *state;
	const struct policy_plane_options options = scene->options;

	if (is_clsact(scene))
		skip();
	scene->options.pods_by_clsact = true;
	scene_restart(scene);
	scene_ok(scene, policy_plane_guard_pod(scene->plane, scene->pod[0], &scene->err));
	scene_ok(scene, policy_plane_guard_running_pod(scene->plane, scene->pod[1], &scene->err));
	assert_int_equal(bed_count(" bpf ", "tc filter show dev tul0 ingress") > 0, 1);
	for (int i = 0; i < 2; i++) { /* nor from whoever comes after */
		assert_true(policy_plane_check_pod(scene->plane, scene->pod[1]));
		assert_int_not_equal(program_id(scene, scene->pod[1], "from"), 0);
		assert_int_equal(bed_count("clsact", "tc qdisc show dev tul1"), 0);
		scene_restart(scene);
		scene_ok(scene, policy_plane_guard_pod(scene->plane, scene->pod[1], &scene->err));
	}
	assert_int_equal(count_links(), 4);
	scene->options = options;
	scene_restart(scene);
}

/* -- packets -- */

struct sent {
	struct ethhdr ethernet;
	struct iphdr ip;
	struct udphdr udp;
	uint8_t tag;
} __attribute__((packed));

static uint16_t sum_of(const struct iphdr *ip)
{
	uint16_t words[sizeof(*ip) / 2];
	uint32_t sum = 0;

	memcpy(words, ip, sizeof(words));
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~(sum + (sum >> 16));
}

/* A datagram of 10.9.<i>.5 at pod<i> to 10.9.<i>.1, which is tul<i>'s. */
static void send_from_pod(int i, uint8_t tag)
{
	struct sent sent = {
		.ethernet = {.h_source = {2, 0, 0, 0, 0, 1}, .h_proto = htons(ETH_P_IP)},
		.ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP,
			.tot_len = htons(sizeof(sent) - sizeof(sent.ethernet)),
			.saddr = htonl(0x0a090005 + ((uint32_t)i << 8)), .daddr = htonl(0x0a090001 + ((uint32_t)i << 8))},
		.udp = {.source = htons(1000), .dest = htons(2000), .len = htons(sizeof(sent.udp) + 1)},
		.tag = tag,
	};
	_cleanup_close_ int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_IP));
	struct sockaddr_ll to = {.sll_family = AF_PACKET};
	struct device device;
	char name[IF_NAMESIZE];
	struct iphdr ip;

	snprintf(name, sizeof(name), "tul%d", i);
	assert_int_equal(device_get(name, &device, NULL), 0);
	memcpy(sent.ethernet.h_dest, device.mac.b, sizeof(sent.ethernet.h_dest));
	memcpy(&ip, &sent.ip, sizeof(ip));
	ip.check = sum_of(&ip);
	memcpy(&sent.ip, &ip, sizeof(ip));
	snprintf(name, sizeof(name), "pod%d", i);
	to.sll_ifindex = (int)if_nametoindex(name);
	assert_int_equal(sendto(fd, &sent, sizeof(sent), 0, (void *)&to, sizeof(to)), sizeof(sent));
}

static int listen_on_host(void)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(2000)};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (void *)&any, sizeof(any)), 0);
	return fd;
}

static uint8_t receive(int fd)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	uint8_t tag = 0;

	assert_int_equal(poll(&wait, 1, 10000), 1);
	assert_int_equal(recv(fd, &tag, 1, 0), 1);
	return tag;
}

/* All that is sent goes through one queue of one processor: what comes out is in order. */
static void prepare_packets(struct scene *scene)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	for (int i = 0; i < 2; i++) {
		char addr[ADDR_TEXT_MAX];
		struct policy_pod pod;

		snprintf(addr, sizeof(addr), "10.9.%d.5", i);
		pod = pod_of(scene->pod[i], 1, addr);
		memset(pod.tables, 0, sizeof(pod.tables));
		bed_run("ip addr add 10.9.%d.1/24 dev tul%d", i, i);
		scene_ok(scene, policy_plane_guard_pod(scene->plane, scene->pod[i], &scene->err));
		scene_ok(scene, policy_plane_put_pod(scene->plane, &pod, &scene->err));
	}
}

/* "closed" is a filter of clsact, which runs only if tcx programs before it say nothing. */
static void test_a_pod_can_be_closed(void **state)
{
	struct scene *scene = *state;
	_cleanup_close_ int fd = listen_on_host();
	struct podprog *podprog = NULL;
	struct nl *nl = NULL;

	prepare_packets(scene);
	scene_ok(scene, podprog_new(&podprog, &scene->err));
	scene_ok(scene, nl_open(&nl, &scene->err));
	send_from_pod(0, 1);
	assert_int_equal(receive(fd), 1);
	scene_ok(scene, podprog_close(podprog, nl, scene->pod[0], &scene->err));
	send_from_pod(0, 2);
	send_from_pod(1, 3);
	assert_int_equal(receive(fd), 3);
	/* and while it is being taken down it stays closed, whatever policy does */
	scene_ok(scene, policy_plane_guard_pod(scene->plane, scene->pod[0], &scene->err));
	send_from_pod(0, 4);
	send_from_pod(1, 5);
	assert_int_equal(receive(fd), 5);
	nl_close(nl);
	podprog_free(podprog);
}

struct seen {
	unsigned drops;
	struct policy_event last;
};

static void on_event(void *ctx, const struct policy_event *event)
{
	struct seen *seen = ctx;

	/* the kernel says things on its own, too */
	if (event->kind != POLICY_EVENT_DROP || event->length != sizeof(struct sent))
		return;
	seen->drops++;
	seen->last = *event;
}

static uint64_t dropped(struct scene *scene)
{
	struct policy_count counts[POLICY_COUNT_MAX];

	scene_ok(scene, policy_plane_get_counts(scene->plane, counts, &scene->err));
	assert_string_equal(counts[POLICY_COUNT_UNKNOWN].name, "unknown");
	return counts[POLICY_COUNT_UNKNOWN].packets;
}

/* Dropped as soon as the program stands; counted always, told only while somebody watches. */
static void test_drops_are_counted_and_told(void **state)
{
	struct scene *scene = *state;
	_cleanup_close_ int fd = listen_on_host();
	struct pollfd wait = {.events = POLLIN};
	struct seen seen = {0};
	uint64_t before;

	scene->options.event = on_event;
	scene->options.ctx = &seen;
	scene_restart(scene);
	prepare_packets(scene);
	scene_ok(scene, policy_plane_remove_pod(scene->plane, scene->pod[0], &scene->err));
	before = dropped(scene);
	send_from_pod(0, 1);
	send_from_pod(1, 2);
	assert_int_equal(receive(fd), 2);
	assert_true(dropped(scene) > before);
	policy_plane_poll(scene->plane);
	assert_int_equal(seen.drops, 0);
	scene_ok(scene, policy_plane_watch(scene->plane, true, &scene->err));
	send_from_pod(0, 3);
	wait.fd = policy_plane_event_fd(scene->plane);
	for (int i = 0; i < 100 && !seen.drops; i++) {
		assert_int_equal(poll(&wait, 1, 10000), 1);
		policy_plane_poll(scene->plane);
	}
	assert_int_equal(seen.drops, 1);
	assert_int_equal(seen.last.reason, POLICY_COUNT_UNKNOWN);
	assert_int_equal(seen.last.ifindex, scene->pod[0]);
	/* without a listener there is nothing to wait for */
	scene->options.event = NULL;
	scene_restart(scene);
	assert_int_equal(policy_plane_event_fd(scene->plane), -1);
	policy_plane_poll(scene->plane);
}

/* -- removal -- */

static void on_told(void *ctx, const char *kind, const char *name)
{
	*(unsigned *)ctx += strcmp(kind, "eBPF program") == 0 && strcmp(name, "policy") == 0;
}

static void test_cleanup_takes_all_away(void **state)
{
	struct scene *scene = *state;
	static const char *const no_links[] = {NULL};
	struct policy_pod pod = pod_of(scene->pod[0], 1, "10.0.0.5");
	unsigned told = 0;
	struct plane_cleanup cleanup = {.bpffs = PINS, .nft = "nft", .links = no_links, .told = on_told, .ctx = &told};

	scene_ok(scene, policy_plane_guard_pod(scene->plane, scene->pod[0], &scene->err));
	scene_ok(scene, policy_plane_guard_exit(scene->plane, scene->pod[1], &scene->err));
	scene_ok(scene, policy_plane_put_pod(scene->plane, &pod, &scene->err));
	scene_stop(scene);
	cleanup.dry = true;
	assert_int_equal(plane_cleanup(&cleanup, &scene->err), 0);
	assert_int_equal(told, 1);
	assert_int_equal(count_links(), 3);
	cleanup.dry = false;
	assert_int_equal(plane_cleanup(&cleanup, &scene->err), 0);
	assert_int_equal(told, 2);
	assert_int_equal(access(PINS "/policy", F_OK), -1);
	assert_int_equal(bed_count(" bpf ", "tc filter show dev tul0 ingress"), 0);
	assert_int_equal(bed_count(" bpf ", "tc filter show dev tul1 egress"), 0);
	assert_int_equal(bed_count("policy", "bpftool net"), 0);
	assert_int_equal(policy_plane_remove(PINS, &scene->err), 0);
}

/* Each test has interfaces of its own. */
static int fresh_pods(void **state)
{
	struct scene *scene = *state;

	scene_make_pods(scene);
	return policy_plane_keep_pods(scene->plane, NULL, 0, &scene->err);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, fresh_pods)
	const struct CMUnitTest tests[] = {
		T(test_programs_are_attached), T(test_successor_replaces_programs), T(test_gone_interfaces_leave_no_pins),
		T(test_pins_do_not_pile_up), T(test_exit_comes_and_goes), T(test_exit_of_a_device_without_ethernet),
		T(test_other_layout_judges_until_ours_is_filled), T(test_a_pod_can_be_closed), T(test_drops_are_counted_and_told),
		T(test_exits_use_tcx_even_if_pods_do_not), T(test_a_running_pod_gets_no_qdisc), T(test_other_way_of_attaching), T(test_cleanup_takes_all_away),
	};

	return cmocka_run_group_tests_name("as the kernel can", tests, scene_setup, scene_teardown) +
		cmocka_run_group_tests_name("by clsact", tests, scene_setup_clsact, scene_teardown);
}
