/* SPDX-License-Identifier: Apache-2.0
 *
 * Packets one by one through the carrier's programs, by the kernel's test run: what each does with the packet and which
 * counter says so. Nothing is attached and no device is touched.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/addr.h"
#include "bpf/carrier_layout.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <stdlib.h>
#include <string.h>

#include "carrier.skel.h"

#define PORT 8285
#define PASS TC_ACT_UNSPEC
#define UNCHANGED -1 /* no counter moves */
#define DEVICE 1     /* lo: the only device that a test run may name without making one */

struct packet {
	uint8_t pad[2]; /* so that the headers behind Ethernet's 14 bytes are aligned, as in the kernel */
	uint8_t b[512];
	size_t len;
};

/* A packet in words. Zero means the ordinary value. */
struct wish {
	const char *src, *dst;             /* outer */
	const char *inner_src, *inner_dst;
	uint16_t port, ether, inner_port;
	uint16_t fragment, inner_fragment; /* host order: the field of the IPv4 header */
	uint8_t inner_ttl, inner_protocol;
	uint8_t outer_ihl, inner_ihl, inner_version, protocol, tos, inner_tos, nexthdr;
	int outer_add, udp_add, inner_add; /* to length fields */
	bool bad_sum, filled_check;
	size_t cut;                        /* bytes to leave out at the end */
};

static struct packet_addr address(const char *text)
{
	struct packet_addr ret;
	struct addr addr;

	assert_int_equal(addr_parse(text, &addr), 0);
	memcpy(&ret, addr.b, sizeof(ret));
	return ret;
}

static void put_block(struct carrier_bpf *programs, const char *prefix_text, const char *peer)
{
	struct packet_prefix key = {0};
	struct carrier_block block = {0};
	struct prefix prefix;
	uint32_t nothing = 0;

	assert_int_equal(prefix_parse(prefix_text, &prefix), 0);
	key.len = prefix.len + (prefix.family == AF_INET ? 96U : 0U);
	memcpy(&key.addr, prefix.addr.b, sizeof(key.addr));
	if (peer) {
		block.peer = address(peer);
		block.whole = 1;
		assert_int_equal(bpf_map_update_elem(bpf_map__fd(programs->maps.peers), &block.peer, &nothing, 0), 0);
	}
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(programs->maps.blocks), &key, &block, 0), 0);
}

static int no_output(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	return 0;
}

static int setup(void **state)
{
	struct carrier_bpf *programs = carrier_bpf__open();
	struct carrier_config config = {.device = DEVICE, .device_twin = 3, .uplink = 4, .port = htons(PORT),
		.mac = {2, 0, 0, 0, 0, 7}, .local = {address("192.0.2.1"), address("2001:db8::1")}};

	libbpf_set_print(no_output);
	if (!programs)
		return -1;
	memcpy((void *)&programs->rodata->config, &config, sizeof(config));
	if (carrier_bpf__load(programs))
		return -1;
	put_block(programs, "10.42.1.0/24", NULL);
	put_block(programs, "10.42.2.0/24", "192.0.2.2");
	put_block(programs, "10.42.3.0/24", "192.0.2.3");
	put_block(programs, "fd00:42:0:1::/64", NULL);
	put_block(programs, "fd00:42:0:2::/64", "2001:db8::2");
	put_block(programs, "fd00:42:0:3::/64", "2001:db8::3");
	*state = programs;
	return 0;
}

static int teardown(void **state)
{
	carrier_bpf__destroy(*state);
	return 0;
}

/* -- making packets -- */

static void *grow(struct packet *packet, size_t len)
{
	void *at = packet->b + packet->len;

	assert_true(packet->len + len <= sizeof(packet->b));
	packet->len += len;
	return at;
}

static uint16_t sum_of(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static struct iphdr *put_ip4(struct packet *packet, const char *src, const char *dst, uint8_t ihl)
{
	struct iphdr *ip = grow(packet, ihl * 4);

	memset(ip, 0, ihl * 4);
	ip->version = 4;
	ip->ihl = ihl;
	ip->ttl = 64;
	ip->protocol = IPPROTO_UDP;
	ip->saddr = address(src).w[3];
	ip->daddr = address(dst).w[3];
	return ip;
}

static struct ipv6hdr *put_ip6(struct packet *packet, const char *src, const char *dst)
{
	struct ipv6hdr *ip = grow(packet, sizeof(*ip));
	struct packet_addr from = address(src), to = address(dst);

	memset(ip, 0, sizeof(*ip));
	ip->version = 6;
	ip->hop_limit = 64;
	ip->nexthdr = IPPROTO_UDP;
	memcpy(&ip->saddr, &from, 16);
	memcpy(&ip->daddr, &to, 16);
	return ip;
}

static struct udphdr *put_udp(struct packet *packet, uint16_t port)
{
	struct udphdr *udp = grow(packet, sizeof(*udp));

	*udp = (struct udphdr){.source = htons(PORT), .dest = htons(port)};
	return udp;
}

static void put_eth(struct packet *packet, uint16_t ether)
{
	struct ethhdr *eth = grow(packet, sizeof(*eth));

	*eth = (struct ethhdr){.h_proto = htons(ether)}; /* lo's own address: the packet is for this host */
}

static uint16_t or_else(uint16_t value, uint16_t usual)
{
	return value ? value : usual;
}

static void put_inner4(struct packet *packet, const struct wish *wish)
{
	size_t start = packet->len;
	struct iphdr *ip = put_ip4(packet, wish->inner_src ? wish->inner_src : "10.42.2.2",
		wish->inner_dst ? wish->inner_dst : "10.42.1.2", 5);
	struct udphdr *udp = put_udp(packet, or_else(wish->inner_port, 53));

	udp->len = htons(sizeof(*udp) + 20);
	memset(grow(packet, 20), 'x', 20);
	ip->tot_len = htons((uint16_t)((int)(packet->len - start) + wish->inner_add));
	ip->ihl = or_else(wish->inner_ihl, 5) & 15;
	ip->version = or_else(wish->inner_version, 4) & 15;
	ip->tos = wish->inner_tos;
	ip->frag_off = htons(wish->inner_fragment);
	ip->ttl = wish->inner_ttl ? wish->inner_ttl : 64;
	ip->protocol = wish->inner_protocol ? wish->inner_protocol : IPPROTO_UDP;
	ip->check = sum_of(ip, sizeof(*ip));
}

static void put_inner6(struct packet *packet, const struct wish *wish)
{
	struct ipv6hdr *ip = put_ip6(packet, wish->inner_src ? wish->inner_src : "fd00:42:0:2::2",
		wish->inner_dst ? wish->inner_dst : "fd00:42:0:1::2");

	put_udp(packet, or_else(wish->inner_port, 53))->len = htons(sizeof(struct udphdr) + 20);
	memset(grow(packet, 20), 'x', 20);
	ip->payload_len = htons((uint16_t)(28 + wish->inner_add));
	ip->version = or_else(wish->inner_version, 6) & 15;
	ip->priority = wish->inner_tos >> 4;
	ip->flow_lbl[0] = (uint8_t)(wish->inner_tos << 4);
}

static struct packet outer4(const struct wish *wish)
{
	struct packet packet = {0};
	uint8_t ihl = wish->outer_ihl ? wish->outer_ihl : 5;
	struct udphdr *udp;
	struct iphdr *ip;

	put_eth(&packet, or_else(wish->ether, ETH_P_IP));
	ip = put_ip4(&packet, wish->src ? wish->src : "192.0.2.2", wish->dst ? wish->dst : "192.0.2.1", ihl);
	udp = put_udp(&packet, or_else(wish->port, PORT));
	put_inner4(&packet, wish);
	udp->len = htons((uint16_t)((int)(packet.len - ETH_HLEN - ihl * 4) + wish->udp_add));
	udp->check = wish->filled_check ? 0x1234 : 0;
	ip->tot_len = htons((uint16_t)((int)(packet.len - ETH_HLEN) + wish->outer_add));
	ip->protocol = wish->protocol ? wish->protocol : IPPROTO_UDP;
	ip->frag_off = htons(wish->fragment);
	ip->tos = wish->tos;
	ip->check = sum_of(ip, ihl * 4) ^ (wish->bad_sum ? 1 : 0);
	packet.len -= wish->cut;
	return packet;
}

static struct packet outer6(const struct wish *wish)
{
	struct packet packet = {0};
	struct udphdr *udp;
	struct ipv6hdr *ip;

	put_eth(&packet, ETH_P_IPV6);
	ip = put_ip6(&packet, wish->src ? wish->src : "2001:db8::2", wish->dst ? wish->dst : "2001:db8::1");
	ip->nexthdr = wish->nexthdr ? wish->nexthdr : IPPROTO_UDP;
	if (ip->nexthdr == 44) {
		uint8_t fragment[8] = {IPPROTO_UDP, 0, (uint8_t)(wish->fragment >> 8), (uint8_t)wish->fragment};

		memcpy(grow(&packet, 8), fragment, 8);
	}
	udp = put_udp(&packet, or_else(wish->port, PORT));
	put_inner6(&packet, wish);
	udp->len = htons((uint16_t)(8 + 68 + wish->udp_add));
	ip->payload_len = htons((uint16_t)((int)(packet.len - ETH_HLEN - sizeof(*ip)) + wish->outer_add));
	ip->priority = wish->tos >> 4;
	ip->flow_lbl[0] = (uint8_t)(wish->tos << 4);
	packet.len -= wish->cut;
	return packet;
}

static struct packet outer_ipip(const struct wish *wish)
{
	uint8_t ihl = wish->outer_ihl ? wish->outer_ihl : 5;
	struct packet packet = {0};
	struct iphdr *ip;

	put_eth(&packet, or_else(wish->ether, ETH_P_IP));
	ip = put_ip4(&packet, wish->src ? wish->src : "192.0.2.2", wish->dst ? wish->dst : "192.0.2.1", ihl);
	put_inner4(&packet, wish);
	ip->tot_len = htons((uint16_t)((int)(packet.len - ETH_HLEN) + wish->outer_add));
	ip->protocol = wish->protocol ? wish->protocol : IPPROTO_IPIP;
	ip->frag_off = htons(wish->fragment);
	ip->tos = wish->tos;
	ip->check = sum_of(ip, ihl * 4) ^ (wish->bad_sum ? 1 : 0);
	packet.len -= wish->cut;
	return packet;
}

static struct packet bare(const struct wish *wish, bool v6)
{
	struct packet packet = {0};

	put_eth(&packet, or_else(wish->ether, v6 ? ETH_P_IPV6 : ETH_P_IP));
	if (v6)
		put_inner6(&packet, wish);
	else
		put_inner4(&packet, wish);
	packet.len -= wish->cut;
	return packet;
}

/* -- running -- */

static uint64_t counted(struct carrier_bpf *programs, uint32_t index)
{
	int cpus = libbpf_num_possible_cpus();
	struct packet_count *each = calloc((size_t)cpus, sizeof(*each));
	uint64_t sum = 0;

	assert_non_null(each);
	assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(programs->maps.counts), &index, each), 0);
	for (int i = 0; i < cpus; i++)
		sum += each[i].packets;
	free(each);
	return sum;
}

static int run(const struct bpf_program *program, const struct packet *packet, struct packet *out)
{
	struct __sk_buff context = {.ifindex = DEVICE};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet->b, .data_size_in = (uint32_t)packet->len,
		.data_out = out->b, .data_size_out = sizeof(out->b), .ctx_in = &context, .ctx_size_in = sizeof(context),
		.repeat = 1);

	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(program), &opts), 0);
	out->len = opts.data_size_out;
	return (int)opts.retval;
}

static void expect(struct carrier_bpf *programs, const struct bpf_program *program, const struct packet *packet,
	int verdict, int counter, struct packet *out)
{
	uint64_t before[CARRIER_COUNT_MAX];
	struct packet local;

	for (uint32_t i = 0; i < CARRIER_COUNT_MAX; i++)
		before[i] = counted(programs, i);
	assert_int_equal(run(program, packet, out ? out : &local), verdict);
	for (uint32_t i = 0; i < CARRIER_COUNT_MAX; i++)
		if (counted(programs, i) - before[i] != ((int)i == counter))
			fail_msg("counter %u moved by %d, expected only %d", i, (int)(counted(programs, i) - before[i]),
				counter);
}

static void rx4(void **state, const struct wish *wish, int verdict, int counter, struct packet *out)
{
	struct carrier_bpf *programs = *state;
	struct packet packet = outer4(wish);

	expect(programs, programs->progs.udp_rx, &packet, verdict, counter, out);
}

static void rx6(void **state, const struct wish *wish, int verdict, int counter, struct packet *out)
{
	struct carrier_bpf *programs = *state;
	struct packet packet = outer6(wish);

	expect(programs, programs->progs.udp_rx, &packet, verdict, counter, out);
}

static void tx(void **state, const struct wish *wish, bool v6, int verdict, int counter, struct packet *out)
{
	struct carrier_bpf *programs = *state;
	struct packet packet = bare(wish, v6);

	expect(programs, programs->progs.udp_tx, &packet, verdict, counter, out);
}

/* -- receiving -- */

static void packets_of_nodes_are_stripped(void **state)
{
	const uint8_t mac[] = {2, 0, 0, 0, 0, 7};
	struct wish wish = {0};
	struct packet out = {0}, inner = bare(&wish, false);

	rx4(state, &wish, TC_ACT_REDIRECT, CARRIER_COUNT_RECEIVED, &out);
	assert_int_equal(out.len, inner.len);
	assert_memory_equal(out.b, mac, 6);
	assert_memory_equal(out.b + ETH_HLEN, inner.b + ETH_HLEN, inner.len - ETH_HLEN);
	inner = bare(&wish, true);
	rx6(state, &wish, TC_ACT_REDIRECT, CARRIER_COUNT_RECEIVED, &out);
	assert_int_equal(out.len, inner.len);
	assert_memory_equal(out.b + 12, inner.b + 12, inner.len - 12);
}

static void what_is_not_ours_goes_to_the_stack(void **state)
{
	static const struct wish wishes[] = {{.port = 53}, {.dst = "192.0.2.77"}, {.protocol = IPPROTO_TCP},
		{.fragment = 100}, {.fragment = 0x2000 | 100}, {.port = 53, .outer_ihl = 6}, {.port = 53, .fragment = 0x2000},
		{.ether = ETH_P_ARP}};
	static const struct wish wishes6[] = {{.port = 53}, {.dst = "2001:db8::77"}, {.nexthdr = IPPROTO_TCP},
		{.nexthdr = 44, .fragment = 100 << 3}, {.nexthdr = 44, .port = 53}, {.nexthdr = 60}};

	for (size_t i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++)
		rx4(state, &wishes[i], PASS, UNCHANGED, NULL);
	for (size_t i = 0; i < sizeof(wishes6) / sizeof(wishes6[0]); i++)
		rx6(state, &wishes6[i], PASS, UNCHANGED, NULL);
}

static void senders_that_are_no_nodes_are_dropped(void **state)
{
	rx4(state, &(struct wish){.src = "192.0.2.99"}, TC_ACT_SHOT, CARRIER_COUNT_RX_NO_NODE, NULL);
	rx4(state, &(struct wish){.src = "192.0.2.1"}, TC_ACT_SHOT, CARRIER_COUNT_RX_NO_NODE, NULL);
	rx6(state, &(struct wish){.src = "2001:db8::99"}, TC_ACT_SHOT, CARRIER_COUNT_RX_NO_NODE, NULL);
}

static void first_fragments_to_our_port_are_dropped(void **state)
{
	rx4(state, &(struct wish){.fragment = 0x2000}, TC_ACT_SHOT, CARRIER_COUNT_RX_FRAGMENT, NULL);
	rx6(state, &(struct wish){.nexthdr = 44, .fragment = 1}, TC_ACT_SHOT, CARRIER_COUNT_RX_FRAGMENT, NULL);
}

static void malformed_outer_headers_are_dropped(void **state)
{
	static const struct wish wishes[] = {{.outer_ihl = 6}, {.bad_sum = true}, {.udp_add = 1}, {.udp_add = -90},
		{.outer_add = -1}, {.outer_add = 1}, {.cut = 1}};
	static const struct wish wishes6[] = {{.udp_add = 1}, {.udp_add = -70}, {.outer_add = -1}, {.cut = 1}};

	for (size_t i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++)
		rx4(state, &wishes[i], TC_ACT_SHOT, CARRIER_COUNT_RX_OUTER, NULL);
	for (size_t i = 0; i < sizeof(wishes6) / sizeof(wishes6[0]); i++)
		rx6(state, &wishes6[i], TC_ACT_SHOT, CARRIER_COUNT_RX_OUTER, NULL);
}

static void malformed_inner_packets_are_dropped(void **state)
{
	static const struct wish wishes[] = {{.inner_version = 6}, {.inner_version = 15}, {.inner_ihl = 4},
		{.inner_ihl = 15}, {.inner_add = 1}, {.inner_add = -40}, {.udp_add = -40, .outer_add = -40, .cut = 40}};
	static const struct wish wishes6[] = {{.inner_version = 4}, {.inner_add = 1},
		{.udp_add = -40, .outer_add = -40, .cut = 40}};

	for (size_t i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++)
		rx4(state, &wishes[i], TC_ACT_SHOT, CARRIER_COUNT_RX_INNER, NULL);
	for (size_t i = 0; i < sizeof(wishes6) / sizeof(wishes6[0]); i++)
		rx6(state, &wishes6[i], TC_ACT_SHOT, CARRIER_COUNT_RX_INNER, NULL);
}

static void inner_sources_of_others_are_dropped(void **state)
{
	/* another node's pod, our own pod, another node, ourselves */
	static const char *const sources[] = {"10.42.3.2", "10.42.1.9", "192.0.2.3", "192.0.2.1"};
	static const char *const sources6[] = {"fd00:42:0:3::2", "fd00:42:0:1::9", "2001:db8::3", "2001:db8::1"};

	for (size_t i = 0; i < 4; i++) {
		rx4(state, &(struct wish){.inner_src = sources[i]}, TC_ACT_SHOT, CARRIER_COUNT_RX_FOREIGN, NULL);
		rx6(state, &(struct wish){.inner_src = sources6[i]}, TC_ACT_SHOT, CARRIER_COUNT_RX_FOREIGN, NULL);
	}
}

static void sources_of_the_peer_and_from_outside_pass(void **state)
{
	static const char *const sources[] = {"10.42.2.0", "192.0.2.2", "203.0.113.5"};
	static const char *const sources6[] = {"fd00:42:0:2::", "2001:db8::2", "2001:db8:ffff::5"};

	for (size_t i = 0; i < 3; i++) {
		rx4(state, &(struct wish){.inner_src = sources[i]}, TC_ACT_REDIRECT, CARRIER_COUNT_RECEIVED, NULL);
		rx6(state, &(struct wish){.inner_src = sources6[i]}, TC_ACT_REDIRECT, CARRIER_COUNT_RECEIVED, NULL);
	}
}

static void tunnels_in_the_tunnel_are_dropped(void **state)
{
	rx4(state, &(struct wish){.inner_dst = "192.0.2.1", .inner_port = PORT}, TC_ACT_SHOT, CARRIER_COUNT_RX_NESTED, NULL);
	rx4(state, &(struct wish){.inner_dst = "192.0.2.1"}, TC_ACT_REDIRECT, CARRIER_COUNT_RECEIVED, NULL);
	rx6(state, &(struct wish){.inner_dst = "2001:db8::1", .inner_port = PORT}, TC_ACT_SHOT, CARRIER_COUNT_RX_NESTED,
		NULL);
}

static void congestion_is_told_inwards(void **state)
{
	struct packet out;
	const struct iphdr *ip = (const void *)(out.b + ETH_HLEN);

	rx4(state, &(struct wish){.tos = 3, .inner_tos = 0xb8 | 2}, TC_ACT_REDIRECT, CARRIER_COUNT_RECEIVED, &out);
	assert_int_equal(ip->tos, 0xb8 | 3);
	assert_int_equal(sum_of(ip, sizeof(*ip)), 0);
	rx4(state, &(struct wish){.tos = 3}, TC_ACT_SHOT, CARRIER_COUNT_RX_CONGESTED, NULL);
	rx6(state, &(struct wish){.tos = 3, .inner_tos = 0xb8 | 1}, TC_ACT_REDIRECT, CARRIER_COUNT_RECEIVED, &out);
	assert_int_equal((out.b[ETH_HLEN] << 8 | out.b[ETH_HLEN + 1]) >> 4 & 0xff, 0xb8 | 3);
	rx6(state, &(struct wish){.tos = 3}, TC_ACT_SHOT, CARRIER_COUNT_RX_CONGESTED, NULL);
}

static void rx_ipip(void **state, const struct wish *wish, int verdict, int counter, struct packet *out)
{
	struct carrier_bpf *programs = *state;
	struct packet packet = outer_ipip(wish);

	expect(programs, programs->progs.ipip_rx, &packet, verdict, counter, out);
}

static void ipip_packets_of_nodes_are_stripped(void **state)
{
	const uint8_t mac[] = {2, 0, 0, 0, 0, 7};
	static const char *const sources[] = {"10.42.2.0", "192.0.2.2", "203.0.113.5"};
	struct wish wish = {0};
	struct packet out = {0}, inner = bare(&wish, false);

	rx_ipip(state, &wish, TC_ACT_REDIRECT, CARRIER_COUNT_RECEIVED, &out);
	assert_int_equal(out.len, inner.len);
	assert_memory_equal(out.b, mac, 6);
	assert_memory_equal(out.b + ETH_HLEN, inner.b + ETH_HLEN, inner.len - ETH_HLEN);
	for (size_t i = 0; i < 3; i++)
		rx_ipip(state, &(struct wish){.inner_src = sources[i]}, TC_ACT_REDIRECT, CARRIER_COUNT_RECEIVED, NULL);
}

static void ipip_of_others_is_dropped_by_name(void **state)
{
	static const struct {
		struct wish wish;
		int verdict, counter;
	} cases[] = {
		{{.protocol = IPPROTO_UDP}, PASS, UNCHANGED},
		{{.dst = "192.0.2.77"}, PASS, UNCHANGED},
		{{.ether = ETH_P_ARP}, PASS, UNCHANGED},
		{{.src = "192.0.2.99"}, TC_ACT_SHOT, CARRIER_COUNT_RX_NO_NODE},
		{{.src = "192.0.2.1"}, TC_ACT_SHOT, CARRIER_COUNT_RX_NO_NODE},
		{{.fragment = 0x2000}, TC_ACT_SHOT, CARRIER_COUNT_RX_FRAGMENT},
		{{.fragment = 100}, TC_ACT_SHOT, CARRIER_COUNT_RX_FRAGMENT},
		{{.outer_ihl = 6}, TC_ACT_SHOT, CARRIER_COUNT_RX_OUTER},
		{{.bad_sum = true}, TC_ACT_SHOT, CARRIER_COUNT_RX_OUTER},
		{{.outer_add = 1}, TC_ACT_SHOT, CARRIER_COUNT_RX_OUTER},
		{{.outer_add = -40}, TC_ACT_SHOT, CARRIER_COUNT_RX_OUTER},
		{{.cut = 1}, TC_ACT_SHOT, CARRIER_COUNT_RX_OUTER},
		{{.outer_add = -1}, TC_ACT_SHOT, CARRIER_COUNT_RX_INNER},
		{{.inner_version = 6}, TC_ACT_SHOT, CARRIER_COUNT_RX_INNER},
		{{.inner_ihl = 4}, TC_ACT_SHOT, CARRIER_COUNT_RX_INNER},
		{{.inner_add = 1}, TC_ACT_SHOT, CARRIER_COUNT_RX_INNER},
		{{.inner_src = "10.42.3.2"}, TC_ACT_SHOT, CARRIER_COUNT_RX_FOREIGN},
		{{.inner_src = "10.42.1.9"}, TC_ACT_SHOT, CARRIER_COUNT_RX_FOREIGN},
		{{.inner_src = "192.0.2.3"}, TC_ACT_SHOT, CARRIER_COUNT_RX_FOREIGN},
		{{.inner_src = "192.0.2.1"}, TC_ACT_SHOT, CARRIER_COUNT_RX_FOREIGN},
		{{.inner_dst = "192.0.2.1", .inner_protocol = IPPROTO_IPIP}, TC_ACT_SHOT, CARRIER_COUNT_RX_NESTED},
		{{.inner_protocol = IPPROTO_IPIP}, TC_ACT_REDIRECT, CARRIER_COUNT_RECEIVED},
		{{.tos = 3}, TC_ACT_SHOT, CARRIER_COUNT_RX_CONGESTED},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		rx_ipip(state, &cases[i].wish, cases[i].verdict, cases[i].counter, NULL);
}

static void congestion_is_told_inwards_from_ipip(void **state)
{
	struct packet out;
	const struct iphdr *ip = (const void *)(out.b + ETH_HLEN);

	rx_ipip(state, &(struct wish){.tos = 3, .inner_tos = 0xb8 | 2}, TC_ACT_REDIRECT, CARRIER_COUNT_RECEIVED, &out);
	assert_int_equal(ip->tos, 0xb8 | 3);
	assert_int_equal(sum_of(ip, sizeof(*ip)), 0);
}

/* -- sending -- */

static void pods_packets_are_wrapped(void **state)
{
	struct wish wish = {.inner_src = "10.42.1.2", .inner_dst = "10.42.2.2", .inner_tos = 0xb8 | 1};
	struct packet out = {0}, in = bare(&wish, false);
	const struct iphdr *ip = (const void *)(out.b + ETH_HLEN);
	const struct udphdr *udp = (const void *)(ip + 1);

	tx(state, &wish, false, TC_ACT_REDIRECT, CARRIER_COUNT_SENT, &out);
	assert_int_equal(out.len, in.len + 28);
	assert_memory_equal(out.b + ETH_HLEN + 28, in.b + ETH_HLEN, in.len - ETH_HLEN);
	assert_int_equal(ip->version, 4);
	assert_int_equal(ip->ihl, 5);
	assert_int_equal(ip->tos, 0xb8 | 1);
	assert_int_equal(ntohs(ip->tot_len), out.len - ETH_HLEN);
	assert_int_equal(ntohs(ip->frag_off), 0x4000);
	assert_int_equal(ip->ttl, 64);
	assert_int_equal(ip->protocol, IPPROTO_UDP);
	assert_int_equal(ip->saddr, address("192.0.2.1").w[3]);
	assert_int_equal(ip->daddr, address("192.0.2.2").w[3]);
	assert_int_equal(sum_of(ip, sizeof(*ip)), 0);
	assert_int_equal(ntohs(udp->source), PORT);
	assert_int_equal(ntohs(udp->dest), PORT);
	assert_int_equal(ntohs(udp->len), out.len - ETH_HLEN - 20);
	assert_int_equal(udp->check, 0);
}

static void pods_packets_are_wrapped_in_6(void **state)
{
	struct wish wish = {.inner_src = "fd00:42:0:1::2", .inner_dst = "fd00:42:0:3::2", .inner_tos = 0xb8 | 1};
	struct packet_addr local = address("2001:db8::1"), peer = address("2001:db8::3");
	struct packet out = {0}, in = bare(&wish, true);
	const struct ipv6hdr *ip = (const void *)(out.b + ETH_HLEN);
	const struct udphdr *udp = (const void *)(ip + 1);

	tx(state, &wish, true, TC_ACT_REDIRECT, CARRIER_COUNT_SENT, &out);
	assert_int_equal(out.len, in.len + 48);
	assert_memory_equal(out.b + ETH_HLEN + 48, in.b + ETH_HLEN, in.len - ETH_HLEN);
	assert_int_equal(ip->version, 6);
	assert_int_equal((out.b[ETH_HLEN] << 8 | out.b[ETH_HLEN + 1]) >> 4 & 0xff, 0xb8 | 1);
	assert_int_equal(ntohs(ip->payload_len), out.len - ETH_HLEN - 40);
	assert_int_equal(ip->nexthdr, IPPROTO_UDP);
	assert_int_equal(ip->hop_limit, 64);
	assert_memory_equal(&ip->saddr, &local, 16);
	assert_memory_equal(&ip->daddr, &peer, 16);
	assert_int_equal(ntohs(udp->dest), PORT);
	assert_int_equal(ntohs(udp->len), out.len - ETH_HLEN - 40);
}

static void tx_ipip(void **state, const struct wish *wish, bool v6, int verdict, int counter, struct packet *out)
{
	struct carrier_bpf *programs = *state;
	struct packet packet = bare(wish, v6);

	expect(programs, programs->progs.ipip_tx, &packet, verdict, counter, out);
}

/* As net/ipv4/ip_tunnel.c for tunl0: no DSCP, ECN but for congestion, TTL and DF of the inner packet. */
static void pods_packets_are_wrapped_in_4_as_the_kernel_does(void **state)
{
	static const uint8_t ecn[][2] = {{0xb8, 0}, {1, 1}, {0xb8 | 2, 2}, {3, 2}}; /* inner, outer */
	struct packet out = {0};
	const struct iphdr *ip = (const void *)(out.b + ETH_HLEN);

	for (size_t i = 0; i < 4; i++) {
		struct wish wish = {.inner_src = "10.42.1.2", .inner_dst = "10.42.2.2", .inner_tos = ecn[i][0], .inner_ttl = 17,
			.inner_fragment = i % 2 ? 0x4000 : 0};
		struct packet in = bare(&wish, false);

		tx_ipip(state, &wish, false, TC_ACT_REDIRECT, CARRIER_COUNT_SENT, &out);
		assert_int_equal(out.len, in.len + 20);
		assert_memory_equal(out.b + ETH_HLEN + 20, in.b + ETH_HLEN, in.len - ETH_HLEN);
		assert_int_equal(ip->version, 4);
		assert_int_equal(ip->ihl, 5);
		assert_int_equal(ip->tos, ecn[i][1]);
		assert_int_equal(ntohs(ip->tot_len), out.len - ETH_HLEN);
		assert_int_equal(ntohs(ip->frag_off), wish.inner_fragment);
		assert_int_equal(ip->ttl, 17);
		assert_int_equal(ip->protocol, IPPROTO_IPIP);
		assert_int_equal(ip->saddr, address("192.0.2.1").w[3]);
		assert_int_equal(ip->daddr, address("192.0.2.2").w[3]);
		assert_int_equal(sum_of(ip, sizeof(*ip)), 0);
	}
}

static void what_ipip_cannot_send_is_dropped_by_name(void **state)
{
	tx_ipip(state, &(struct wish){.inner_dst = "10.42.9.9"}, false, TC_ACT_SHOT, CARRIER_COUNT_TX_NO_PEER, NULL);
	tx_ipip(state, &(struct wish){.inner_dst = "10.42.1.9"}, false, TC_ACT_SHOT, CARRIER_COUNT_TX_NO_PEER, NULL);
	tx_ipip(state, &(struct wish){.inner_dst = "224.0.0.1"}, false, TC_ACT_SHOT, CARRIER_COUNT_TX_NOT_UNICAST, NULL);
	tx_ipip(state, &(struct wish){.ether = ETH_P_ARP}, false, TC_ACT_SHOT, CARRIER_COUNT_TX_NOT_IP, NULL);
	tx_ipip(state, &(struct wish){.inner_version = 6}, false, TC_ACT_SHOT, CARRIER_COUNT_TX_NOT_IP, NULL);
	tx_ipip(state, &(struct wish){.inner_dst = "fd00:42:0:2::2"}, true, TC_ACT_SHOT, CARRIER_COUNT_TX_NOT_IP, NULL);
}

static void what_cannot_be_sent_is_dropped_by_name(void **state)
{
	static const struct {
		struct wish wish;
		bool v6;
		int counter;
	} cases[] = {
		{{.inner_dst = "10.42.9.9"}, false, CARRIER_COUNT_TX_NO_PEER},
		{{.inner_dst = "10.42.1.9"}, false, CARRIER_COUNT_TX_NO_PEER}, /* our own block */
		{{.inner_dst = "fd00:42:0:9::9"}, true, CARRIER_COUNT_TX_NO_PEER},
		{{.inner_dst = "224.0.0.1"}, false, CARRIER_COUNT_TX_NOT_UNICAST},
		{{.inner_dst = "255.255.255.255"}, false, CARRIER_COUNT_TX_NOT_UNICAST},
		{{.inner_dst = "ff02::1"}, true, CARRIER_COUNT_TX_NOT_UNICAST},
		{{.inner_dst = "fe80::1"}, true, CARRIER_COUNT_TX_NOT_UNICAST},
		{{.ether = ETH_P_ARP}, false, CARRIER_COUNT_TX_NOT_IP},
		{{.inner_version = 6}, false, CARRIER_COUNT_TX_NOT_IP},
		{{.inner_version = 4}, true, CARRIER_COUNT_TX_NOT_IP},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		tx(state, &cases[i].wish, cases[i].v6, TC_ACT_SHOT, cases[i].counter, NULL);
}

static void peers_that_are_sockets_get_finished_packets(void **state)
{
	struct wish out = {.inner_src = "10.42.1.2", .inner_dst = "10.42.2.2"};

	tx(state, &out, false, TC_ACT_REDIRECT, CARRIER_COUNT_SENT, NULL);
	rx4(state, &(struct wish){.filled_check = true}, TC_ACT_REDIRECT, CARRIER_COUNT_RECEIVED, NULL);
	tx(state, &out, false, PASS, CARRIER_COUNT_FINISHED, NULL);
	rx4(state, &(struct wish){0}, TC_ACT_REDIRECT, CARRIER_COUNT_RECEIVED, NULL);
	tx(state, &out, false, TC_ACT_REDIRECT, CARRIER_COUNT_SENT, NULL);
}

/* -- the guard -- */

static void only_the_carrier_sends_to_nodes(void **state)
{
	struct carrier_bpf *programs = *state;
	static const struct {
		struct wish wish;
		int verdict, counter;
	} cases[] = {
		{{.src = "192.0.2.1", .dst = "192.0.2.2"}, TC_ACT_SHOT, CARRIER_COUNT_FORGED},
		{{.src = "10.42.1.2", .dst = "192.0.2.3"}, TC_ACT_SHOT, CARRIER_COUNT_FORGED},
		{{.src = "192.0.2.1", .dst = "192.0.2.99"}, PASS, UNCHANGED},
		{{.src = "192.0.2.1", .dst = "192.0.2.2", .port = 53}, PASS, UNCHANGED},
		{{.src = "192.0.2.1", .dst = "192.0.2.2", .protocol = IPPROTO_TCP}, PASS, UNCHANGED},
	};
	struct packet packet = outer6(&(struct wish){.src = "2001:db8::1", .dst = "2001:db8::2"});

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct packet one = outer4(&cases[i].wish);

		expect(programs, programs->progs.udp_guard, &one, cases[i].verdict, cases[i].counter, NULL);
	}
	expect(programs, programs->progs.udp_guard, &packet, TC_ACT_SHOT, CARRIER_COUNT_FORGED, NULL);
}

static void only_the_carrier_sends_ipip_to_nodes(void **state)
{
	struct carrier_bpf *programs = *state;
	struct packet forged = outer_ipip(&(struct wish){.src = "192.0.2.1", .dst = "192.0.2.2"});
	struct packet foreign = outer_ipip(&(struct wish){.src = "192.0.2.1", .dst = "192.0.2.99"});
	struct packet other = outer_ipip(&(struct wish){.src = "192.0.2.1", .dst = "192.0.2.2", .protocol = IPPROTO_TCP});

	expect(programs, programs->progs.ipip_guard, &forged, TC_ACT_SHOT, CARRIER_COUNT_FORGED, NULL);
	expect(programs, programs->progs.ipip_guard, &foreign, PASS, UNCHANGED, NULL);
	expect(programs, programs->progs.ipip_guard, &other, PASS, UNCHANGED, NULL);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(packets_of_nodes_are_stripped), CASE(what_is_not_ours_goes_to_the_stack),
		CASE(senders_that_are_no_nodes_are_dropped), CASE(first_fragments_to_our_port_are_dropped),
		CASE(malformed_outer_headers_are_dropped), CASE(malformed_inner_packets_are_dropped),
		CASE(inner_sources_of_others_are_dropped), CASE(sources_of_the_peer_and_from_outside_pass),
		CASE(tunnels_in_the_tunnel_are_dropped), CASE(congestion_is_told_inwards), CASE(pods_packets_are_wrapped),
		CASE(pods_packets_are_wrapped_in_6), CASE(what_cannot_be_sent_is_dropped_by_name),
		CASE(peers_that_are_sockets_get_finished_packets), CASE(only_the_carrier_sends_to_nodes),
		CASE(ipip_packets_of_nodes_are_stripped), CASE(ipip_of_others_is_dropped_by_name),
		CASE(congestion_is_told_inwards_from_ipip), CASE(pods_packets_are_wrapped_in_4_as_the_kernel_does),
		CASE(what_ipip_cannot_send_is_dropped_by_name), CASE(only_the_carrier_sends_ipip_to_nodes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
