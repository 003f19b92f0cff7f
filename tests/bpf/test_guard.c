/* SPDX-License-Identifier: Apache-2.0
 *
 * Packets one by one through the guard's program, by the kernel's test run: which pass, and which counter says so. In a
 * network namespace of its own, whose routing table tells what is for this node.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/addr.h"
#include "bpf/guard_layout.h"
#include "plane/pinned.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guard.skel.h"

#define PORT 4789
#define VNI 4096
#define PASS TC_ACT_UNSPEC
#define NOTHING -1 /* no counter moves */
#define DEVICE 1   /* lo */

/* An inner header lies behind the fourteen bytes of Ethernet: at any address. */
typedef struct ethhdr ethhdr_at __attribute__((aligned(1)));
typedef struct iphdr iphdr_at __attribute__((aligned(1)));
typedef struct ipv6hdr ipv6hdr_at __attribute__((aligned(1)));
typedef struct udphdr udphdr_at __attribute__((aligned(1)));

struct packet {
	uint8_t pad[2]; /* so that the headers behind Ethernet's 14 bytes are aligned, as in the kernel */
	uint8_t b[512];
	size_t len;
};

/* A packet in words. Zero means the ordinary value. */
struct wish {
	bool outer6, inner6;
	const char *src, *dst;             /* outer */
	const char *inner_src, *inner_dst;
	uint16_t port, inner_port, inner_ether;
	uint32_t vni;
	bool vni_flag_off;
	uint16_t fragment;                 /* host order: the field of the outer IPv4 header, or of IPv6's fragment header */
	uint8_t outer_ihl, inner_ihl, inner_version, protocol, inner_protocol;
	uint8_t headers[12];               /* outer IPv6 extension headers, 8 bytes each */
	unsigned header_count;
	int inner_add;                     /* to the inner length field */
	size_t cut;                        /* bytes to leave out at the end */
};

static void run_words(const char *const *words)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		execvp(words[0], (char *const *)words);
		_exit(127);
	}
	assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
	if (status)
		fail_msg("%s %s %s: status %d", words[0], words[1], words[2], status);
}
#define RUN(...) run_words((const char *const[]){__VA_ARGS__, NULL})

static struct addr address(const char *text)
{
	struct addr addr;

	assert_int_equal(addr_parse(text, &addr), 0);
	return addr;
}

static struct packet_prefix key_of(const char *text)
{
	struct prefix prefix;

	assert_int_equal(prefix_parse(text, &prefix), 0);
	return packet_prefix_of(&prefix);
}

static void put_source(struct guard_bpf *guard, const char *prefix, const char *node)
{
	struct packet_prefix key = key_of(prefix);
	struct guard_source source = {0};

	if (node) {
		struct addr addr = address(node);

		source.node = packet_addr_of(&addr);
	}
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(guard->maps.sources), &key, &source, 0), 0);
}

static void put_node(struct guard_bpf *guard, const char *node)
{
	struct addr addr = address(node);
	struct packet_addr key = packet_addr_of(&addr);
	uint32_t nothing = 0;

	assert_int_equal(bpf_map_update_elem(bpf_map__fd(guard->maps.nodes), &key, &nothing, 0), 0);
}

static void put_external(struct guard_bpf *guard, const char *prefix)
{
	struct packet_prefix key = key_of(prefix);
	uint32_t nothing = 0;

	assert_int_equal(bpf_map_update_elem(bpf_map__fd(guard->maps.externals), &key, &nothing, 0), 0);
}

static void fill(struct guard_bpf *guard)
{
	put_node(guard, "192.0.2.2");
	put_node(guard, "192.0.2.3");
	put_node(guard, "2001:db8::2");
	put_node(guard, "2001:db8::3");
	put_external(guard, "198.51.100.0/28");
	put_source(guard, "10.244.0.0/16", NULL);
	put_source(guard, "10.244.1.0/26", "192.0.2.1");
	put_source(guard, "10.244.2.0/26", "192.0.2.2");
	put_source(guard, "10.244.2.5/32", "192.0.2.3"); /* borrowed */
	put_source(guard, "10.244.3.0/26", "192.0.2.3");
	put_source(guard, "192.0.2.1/32", "192.0.2.1");
	put_source(guard, "192.0.2.2/32", "192.0.2.2");
	put_source(guard, "192.0.2.3/32", "192.0.2.3");
	put_source(guard, "fd00:10:244::/48", NULL);
	put_source(guard, "fd00:10:244:2::/122", "2001:db8::2");
	put_source(guard, "fd00:10:244:3::/122", "2001:db8::3");
	put_source(guard, "2001:db8::3/128", "2001:db8::3");
}

static void lay_routes(void)
{
	RUN("ip", "link", "set", "lo", "up");
	RUN("ip", "addr", "add", "192.0.2.1/32", "dev", "lo");
	RUN("ip", "-6", "addr", "add", "2001:db8::1/128", "dev", "lo", "nodad");
	RUN("ip", "link", "add", "out", "type", "veth", "peer", "name", "outx");
	RUN("ip", "link", "set", "out", "up");
	RUN("ip", "link", "set", "outx", "up");
	RUN("ip", "route", "add", "10.244.1.0/26", "dev", "out");
	RUN("ip", "-6", "route", "add", "fd00:10:244:1::/64", "dev", "out");
	RUN("sysctl", "-qw", "net.ipv4.conf.all.forwarding=1");
	RUN("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1");
}

static int setup(void **state)
{
	struct guard_config config = {.header = ETH_HLEN, .vni = VNI, .port = htons(PORT), .vxlan = {1, 1}, .ipip = 1};
	struct guard_bpf *guard;

	if (unshare(CLONE_NEWNET))
		return -1;
	lay_routes();
	libbpf_be_quiet();
	guard = guard_bpf__open();
	if (!guard)
		return -1;
	memcpy((void *)&guard->rodata->config, &config, sizeof(config));
	if (guard_bpf__load(guard))
		return -1;
	fill(guard);
	*state = guard;
	return 0;
}

static int teardown(void **state)
{
	guard_bpf__destroy(*state);
	return unshare(CLONE_NEWNET);
}

/* -- making packets -- */

static void *grow(struct packet *packet, size_t len)
{
	void *at = packet->b + packet->len;

	assert_true(packet->len + len <= sizeof(packet->b));
	packet->len += len;
	return memset(at, 0, len);
}

static uint16_t or_else(uint16_t value, uint16_t usual)
{
	return value ? value : usual;
}

static void put_eth(struct packet *packet, uint16_t ether)
{
	ethhdr_at *eth = grow(packet, sizeof(*eth));

	eth->h_proto = htons(ether); /* lo's own address: the packet is for this host */
}

static iphdr_at *put_ip4(struct packet *packet, const char *src, const char *dst, unsigned ihl, uint8_t protocol)
{
	struct addr from = address(src), to = address(dst);
	iphdr_at *ip = grow(packet, ihl * 4);

	ip->version = 4;
	ip->ihl = ihl & 15;
	ip->ttl = 64;
	ip->protocol = protocol;
	ip->saddr = htonl(addr_to_4(&from));
	ip->daddr = htonl(addr_to_4(&to));
	return ip;
}

static ipv6hdr_at *put_ip6(struct packet *packet, const char *src, const char *dst, uint8_t protocol)
{
	ipv6hdr_at *ip = grow(packet, sizeof(*ip));
	struct addr from = address(src), to = address(dst);

	ip->version = 6;
	ip->hop_limit = 64;
	ip->nexthdr = protocol;
	memcpy(&ip->saddr, from.b, 16);
	memcpy(&ip->daddr, to.b, 16);
	return ip;
}

static udphdr_at *put_udp(struct packet *packet, uint16_t port)
{
	udphdr_at *udp = grow(packet, sizeof(*udp));

	*udp = (udphdr_at){.source = htons(PORT), .dest = htons(port)};
	return udp;
}

static void put_inner4(struct packet *packet, const struct wish *wish)
{
	size_t start = packet->len;
	iphdr_at *ip = put_ip4(packet, wish->inner_src ? wish->inner_src : "10.244.2.2",
		wish->inner_dst ? wish->inner_dst : "10.244.1.2", 5, or_else(wish->inner_protocol, IPPROTO_UDP) & 255);

	put_udp(packet, or_else(wish->inner_port, 53));
	grow(packet, 20);
	ip->tot_len = htons((uint16_t)((int)(packet->len - start) + wish->inner_add));
	ip->ihl = or_else(wish->inner_ihl, 5) & 15;
	ip->version = or_else(wish->inner_version, 4) & 15;
}

static void put_inner6(struct packet *packet, const struct wish *wish)
{
	ipv6hdr_at *ip = put_ip6(packet, wish->inner_src ? wish->inner_src : "fd00:10:244:2::2",
		wish->inner_dst ? wish->inner_dst : "fd00:10:244:1::2", or_else(wish->inner_protocol, IPPROTO_UDP) & 255);

	put_udp(packet, or_else(wish->inner_port, 53));
	grow(packet, 20);
	ip->payload_len = htons((uint16_t)(28 + wish->inner_add));
	ip->version = or_else(wish->inner_version, 6) & 15;
}

static void put_headers(struct packet *packet, ipv6hdr_at *ip, const struct wish *wish)
{
	uint8_t *next = &ip->nexthdr;
	uint8_t last = *next;

	for (unsigned i = 0; i < wish->header_count; i++) {
		uint8_t *head = grow(packet, 8);

		*next = wish->headers[i];
		next = &head[0];
		if (wish->headers[i] == 44) {
			head[2] = (uint8_t)(wish->fragment >> 8);
			head[3] = (uint8_t)wish->fragment;
		}
	}
	*next = last;
}

static void put_outer(struct packet *packet, const struct wish *wish, uint8_t protocol)
{
	const char *src = wish->src ? wish->src : wish->outer6 ? "2001:db8::2" : "192.0.2.2";
	const char *dst = wish->dst ? wish->dst : wish->outer6 ? "2001:db8::1" : "192.0.2.1";
	iphdr_at *ip;

	if (wish->outer6) {
		put_headers(packet, put_ip6(packet, src, dst, protocol), wish);
		return;
	}
	ip = put_ip4(packet, src, dst, wish->outer_ihl ? wish->outer_ihl : 5, protocol);
	ip->frag_off = htons(wish->fragment);
}

static void put_inner(struct packet *packet, const struct wish *wish)
{
	if (wish->inner6)
		put_inner6(packet, wish);
	else
		put_inner4(packet, wish);
}

static struct packet vxlan(const struct wish *wish)
{
	uint32_t head[2] = {wish->vni_flag_off ? 0 : htonl(0x08000000), htonl((wish->vni ? wish->vni : VNI) << 8)};
	struct packet packet = {0};

	put_eth(&packet, wish->outer6 ? ETH_P_IPV6 : ETH_P_IP);
	put_outer(&packet, wish, or_else(wish->protocol, IPPROTO_UDP) & 255);
	put_udp(&packet, or_else(wish->port, PORT));
	memcpy(grow(&packet, sizeof(head)), head, sizeof(head));
	put_eth(&packet, or_else(wish->inner_ether, wish->inner6 ? ETH_P_IPV6 : ETH_P_IP));
	put_inner(&packet, wish);
	packet.len -= wish->cut;
	return packet;
}

static struct packet ipip(const struct wish *wish)
{
	struct packet packet = {0};

	put_eth(&packet, ETH_P_IP);
	put_outer(&packet, wish, IPPROTO_IPIP);
	put_inner(&packet, wish);
	packet.len -= wish->cut;
	return packet;
}

/* -- running -- */

static uint64_t counted(struct guard_bpf *guard, uint32_t index)
{
	uint64_t packets = 0, bytes = 0;

	assert_int_equal(counter_sum(bpf_map__fd(guard->maps.counts), index, &packets, &bytes), 0);
	return packets;
}

static void expect_packet(void **state, const struct packet *packet, int verdict, int counter)
{
	struct guard_bpf *guard = *state;
	struct __sk_buff context = {.ifindex = DEVICE};
	uint64_t before[GUARD_COUNT_MAX];
	uint8_t out[1024];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet->b, .data_size_in = (uint32_t)packet->len, .data_out = out,
		.data_size_out = sizeof(out), .ctx_in = &context, .ctx_size_in = sizeof(context), .repeat = 1);

	for (uint32_t i = 0; i < GUARD_COUNT_MAX; i++)
		before[i] = counted(guard, i);
	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(guard->progs.guard), &opts), 0);
	if ((int)opts.retval != verdict)
		fail_msg("verdict %d, expected %d", (int)opts.retval, verdict);
	assert_int_equal(opts.data_size_out, packet->len);
	assert_memory_equal(out, packet->b, packet->len);
	for (uint32_t i = 0; i < GUARD_COUNT_MAX; i++)
		if (counted(guard, i) - before[i] != ((int)i == counter))
			fail_msg("counter %u moved by %d, expected only %d", i, (int)(counted(guard, i) - before[i]), counter);
}

static void expect_vxlan(void **state, const struct wish *wish, int verdict, int counter)
{
	struct packet packet = vxlan(wish);

	expect_packet(state, &packet, verdict, counter);
}

static void expect_ipip(void **state, const struct wish *wish, int verdict, int counter)
{
	struct packet packet = ipip(wish);

	expect_packet(state, &packet, verdict, counter);
}

#define EACH(wishes, expect, verdict, counter)                                            \
	for (size_t i_ = 0; i_ < sizeof(wishes) / sizeof((wishes)[0]); i_++) {            \
		struct wish wish_ = (wishes)[i_];                                         \
		expect(state, &wish_, verdict, counter);                                  \
	}

/* -- who passes -- */

static void packets_of_nodes_pass(void **state)
{
	static const struct wish wishes[] = {{0}, {.inner_src = "192.0.2.2"}, {.src = "192.0.2.3", .inner_src = "10.244.2.5"},
		{.inner_src = "203.0.113.7"}, /* a client outside, routed through the node */
		{.inner_src = "203.0.113.7", .src = "198.51.100.4"}};
	static const struct wish wishes6[] = {{0}, {.src = "2001:db8::3", .inner_src = "2001:db8::3"},
		{.inner_src = "2001:db8:ffff::1"}};

	EACH(wishes, expect_vxlan, PASS, GUARD_COUNT_ACCEPTED);
	EACH(wishes, expect_ipip, PASS, GUARD_COUNT_ACCEPTED);
	for (size_t i = 0; i < 3; i++) {
		struct wish wish = wishes6[i];

		wish.outer6 = wish.inner6 = true;
		expect_vxlan(state, &wish, PASS, GUARD_COUNT_ACCEPTED);
	}
}

static void what_is_no_tunnel_of_ours_goes_on(void **state)
{
	static const struct wish wishes[] = {{.port = 53}, {.vni = 1}, {.vni = 1, .src = "192.0.2.99"},
		{.vni = 0xca11c0, .src = "192.0.2.99"}, {.protocol = IPPROTO_TCP}, {.fragment = 100}, {.fragment = 0x2000 | 100},
		{.port = 53, .fragment = 0x2000}, {.port = 53, .outer_ihl = 6}, {.vni = 7, .fragment = 0x2000},
		{.outer6 = true, .port = 53}, {.outer6 = true, .vni = 1}, {.outer6 = true, .protocol = IPPROTO_TCP},
		{.outer6 = true, .headers = {44}, .header_count = 1, .fragment = 100 << 3},
		{.outer6 = true, .headers = {0, 60}, .header_count = 2, .port = 53},
		{.outer6 = true, .headers = {0}, .header_count = 1, .protocol = IPPROTO_ICMPV6}};

	EACH(wishes, expect_vxlan, PASS, NOTHING);
}

/* Nodes of another cluster, in our pods: the outer packet is for one of these. */
static void tunnels_of_others_are_forwarded(void **state)
{
	static const struct wish wishes[] = {{.src = "10.99.0.9", .dst = "10.244.1.7"},
		{.src = "10.99.0.9", .dst = "10.244.1.7", .fragment = 0x2000},
		{.outer6 = true, .src = "2001:db8:9::9", .dst = "fd00:10:244:1::7"}};

	EACH(wishes, expect_vxlan, PASS, NOTHING);
	expect_ipip(state, &wishes[0], PASS, NOTHING);
}

/* -- who does not -- */

static void senders_that_are_no_nodes_are_dropped(void **state)
{
	static const struct wish wishes[] = {{.src = "192.0.2.99"}, {.src = "192.0.2.1"}, {.src = "10.244.2.2"},
		{.src = "198.51.100.16"}, {.src = "192.0.2.99", .inner_src = "203.0.113.7"},
		{.src = "192.0.2.99", .dst = "255.255.255.255"}, {.src = "192.0.2.99", .dst = "224.0.0.1"}};
	static const struct wish wishes6[] = {{.outer6 = true, .inner6 = true, .src = "2001:db8::99"},
		{.outer6 = true, .inner6 = true, .src = "2001:db8::99", .dst = "fe80::1"},
		{.outer6 = true, .inner6 = true, .src = "2001:db8::99", .dst = "ff02::1"}};

	EACH(wishes, expect_vxlan, TC_ACT_SHOT, GUARD_COUNT_NO_NODE);
	EACH(wishes, expect_ipip, TC_ACT_SHOT, GUARD_COUNT_NO_NODE);
	EACH(wishes6, expect_vxlan, TC_ACT_SHOT, GUARD_COUNT_NO_NODE);
}

static void inner_sources_of_others_are_dropped(void **state)
{
	/* another node's pod, an address borrowed from this node's block, ours, another node, this one */
	static const struct wish wishes[] = {{.inner_src = "10.244.3.2"}, {.inner_src = "10.244.2.5"},
		{.inner_src = "10.244.1.9"}, {.inner_src = "192.0.2.3"}, {.inner_src = "192.0.2.1"},
		{.src = "198.51.100.4", .inner_src = "10.244.2.2"}};
	static const struct wish wishes6[] = {{.outer6 = true, .inner6 = true, .inner_src = "fd00:10:244:3::2"},
		{.outer6 = true, .inner6 = true, .inner_src = "2001:db8::3"}, {.inner6 = true}};

	EACH(wishes, expect_vxlan, TC_ACT_SHOT, GUARD_COUNT_FOREIGN);
	EACH(wishes, expect_ipip, TC_ACT_SHOT, GUARD_COUNT_FOREIGN);
	EACH(wishes6, expect_vxlan, TC_ACT_SHOT, GUARD_COUNT_FOREIGN);
}

static void inner_sources_of_nobody_are_dropped(void **state)
{
	static const struct wish wishes[] = {{.inner_src = "10.244.200.2"}};

	EACH(wishes, expect_vxlan, TC_ACT_SHOT, GUARD_COUNT_NOBODY);
	EACH(wishes, expect_ipip, TC_ACT_SHOT, GUARD_COUNT_NOBODY);
	expect_vxlan(state, &(struct wish){.outer6 = true, .inner6 = true, .inner_src = "fd00:10:244:99::2"}, TC_ACT_SHOT,
		GUARD_COUNT_NOBODY);
}

static void outer_fragments_are_dropped(void **state)
{
	static const struct wish wishes[] = {{.fragment = 0x2000}, {.fragment = 0x2000, .src = "192.0.2.2", .outer_ihl = 7},
		{.fragment = 0x2000, .cut = 14 + 20 + 28}, {.outer6 = true, .headers = {44}, .header_count = 1, .fragment = 1},
		{.outer6 = true, .headers = {60, 44}, .header_count = 2, .fragment = 1}};
	static const struct wish pieces[] = {{.fragment = 0x2000}, {.fragment = 100}};

	EACH(wishes, expect_vxlan, TC_ACT_SHOT, GUARD_COUNT_FRAGMENT);
	EACH(pieces, expect_ipip, TC_ACT_SHOT, GUARD_COUNT_FRAGMENT);
}

static void odd_outer_headers_are_dropped(void **state)
{
	static const struct wish wishes[] = {{.outer_ihl = 6}, {.outer_ihl = 15}, {.vni_flag_off = true},
		{.cut = 8 + 14 + 48}, {.outer6 = true, .headers = {60}, .header_count = 1},
		{.outer6 = true, .headers = {0, 43, 60, 135}, .header_count = 4},
		{.outer6 = true, .headers = {60, 60, 60, 60, 60, 60, 60, 60, 60}, .header_count = 9}};

	EACH(wishes, expect_vxlan, TC_ACT_SHOT, GUARD_COUNT_OUTER);
	expect_ipip(state, &(struct wish){.outer_ihl = 6}, TC_ACT_SHOT, GUARD_COUNT_OUTER);
}

static void malformed_inner_packets_are_dropped(void **state)
{
	static const struct wish wishes[] = {{.inner_version = 6}, {.inner_ihl = 4}, {.inner_ihl = 15}, {.inner_add = 1},
		{.inner_add = -48}, {.cut = 1}, {.cut = 30}, {.inner_src = "127.0.0.1"}, {.inner_src = "224.0.0.9"},
		{.inner_src = "255.255.255.255"}, {.inner_src = "0.0.0.1"}};
	static const struct wish frames[] = {{.inner_ether = ETH_P_ARP}, {.inner_ether = ETH_P_8021Q}, {.cut = 50},
		{.outer6 = true, .inner6 = true, .inner_version = 4}, {.outer6 = true, .inner6 = true, .inner_add = 1},
		{.outer6 = true, .inner6 = true, .inner_src = "fe80::1"}, {.outer6 = true, .inner6 = true, .inner_src = "ff02::1"},
		{.outer6 = true, .inner6 = true, .inner_src = "::1"}};

	EACH(wishes, expect_vxlan, TC_ACT_SHOT, GUARD_COUNT_INNER);
	EACH(wishes, expect_ipip, TC_ACT_SHOT, GUARD_COUNT_INNER);
	EACH(frames, expect_vxlan, TC_ACT_SHOT, GUARD_COUNT_INNER);
}

/* To a pod it is the pod's; to this node it would be taken apart without another look. */
static void tunnels_in_the_tunnel_are_dropped(void **state)
{
	static const struct wish wishes[] = {{.inner_dst = "192.0.2.1", .inner_port = PORT},
		{.inner_dst = "192.0.2.1", .inner_protocol = IPPROTO_IPIP}, {.inner_dst = "224.0.0.1", .inner_port = PORT}};
	static const struct wish fine[] = {{.inner_dst = "10.244.1.2", .inner_port = PORT}, {.inner_dst = "192.0.2.1"},
		{.inner_dst = "10.244.1.2", .inner_protocol = IPPROTO_IPIP}};

	EACH(wishes, expect_vxlan, TC_ACT_SHOT, GUARD_COUNT_NESTED);
	EACH(wishes, expect_ipip, TC_ACT_SHOT, GUARD_COUNT_NESTED);
	EACH(fine, expect_vxlan, PASS, GUARD_COUNT_ACCEPTED);
	EACH(fine, expect_ipip, PASS, GUARD_COUNT_ACCEPTED);
	expect_vxlan(state, &(struct wish){.outer6 = true, .inner6 = true, .inner_dst = "2001:db8::1", .inner_port = PORT},
		TC_ACT_SHOT, GUARD_COUNT_NESTED);
	expect_vxlan(state, &(struct wish){.outer6 = true, .inner6 = true, .inner_port = PORT}, PASS, GUARD_COUNT_ACCEPTED);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(packets_of_nodes_pass), CASE(what_is_no_tunnel_of_ours_goes_on), CASE(tunnels_of_others_are_forwarded),
		CASE(senders_that_are_no_nodes_are_dropped), CASE(inner_sources_of_others_are_dropped),
		CASE(inner_sources_of_nobody_are_dropped), CASE(outer_fragments_are_dropped),
		CASE(odd_outer_headers_are_dropped), CASE(malformed_inner_packets_are_dropped),
		CASE(tunnels_in_the_tunnel_are_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
