/* SPDX-License-Identifier: Apache-2.0
 *
 * The express path packet by packet: which flows take it, what is put in front of a packet and taken off again, what is left to the
 * kernel's path, and that every change counts from the next packet on.
 */
#include "policy_bed.h"

#include "base/addr.h"
#include "base/cleanup.h"
#include "bpf/express_layout.h"
#include "plane/express_slot.h"
#include "plane/pinned.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <netinet/in.h>
#include <string.h>

#include "policy.skel.h"

#define MARK_EXPRESS 0x00200000
#define REDIRECTED TC_ACT_REDIRECT
#define SLOT 7
#define NODE_ADDRESS "192.0.2.1"
#define PEER_ADDRESS "192.0.2.2"
#define VXLAN_OUTER 50
#define TTL_AT 8
#define CHECK_AT 10

typedef struct iphdr iphdr_at __attribute__((aligned(1)));

static const struct way {
	enum express_encap encap;
	int kind;
	size_t outer;
} ways[] = {
	{EXPRESS_ENCAP_NONE, EXPRESS_PLAIN, 0},
	{EXPRESS_ENCAP_VXLAN, EXPRESS_VXLAN, VXLAN_OUTER},
	{EXPRESS_ENCAP_IPIP, EXPRESS_IPIP, 20},
	{EXPRESS_ENCAP_UDP, EXPRESS_UDP, 28},
};
#define EACH_WAY(way) for (const struct way *way = ways; way < ways + ARRAY_SIZE(ways); way++)

static struct addr address(const char *text)
{
	struct addr addr;

	assert_int_equal(addr_parse(text, &addr), 0);
	return addr;
}

static void put(struct bpf_map *map, const void *key, const void *value)
{
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY), 0);
}

static void raise_epoch(struct bed *bed)
{
	struct policy_state state = bed_state(bed);

	state.epoch++;
	bed_set_state(bed, state);
}

static void put_remote(struct bed *bed, const char *prefix, uint32_t slot)
{
	struct packet_prefix key;
	struct prefix net;

	assert_int_equal(prefix_parse(prefix, &net), 0);
	key = packet_prefix_of(&net);
	put(bed_programs(bed)->maps.remotes, &key, &slot);
}

/* The other node, by this encapsulation, holds the pods GOOD and BAD. */
static void lead(struct bed *bed, const struct way *way, struct express_slot *ret)
{
	struct express_plan plan = {.vni = 4096, .vxlan_port = 4789, .udp_port = 8285, .vxlan_local = address(NODE_ADDRESS),
		.carrier_local = address(NODE_ADDRESS)};
	struct express_block block = {.encap = way->encap, .node = address(PEER_ADDRESS), .local = address(NODE_ADDRESS),
		.mac = {{2, 0, 0, 0, 0x20, 1}}, .node_mac = {{2, 0, 0, 0, 0x20, 2}}, .mtu = 1400};
	struct express_underlay underlay = {.device = bed_device(bed, NODE), .mtu = 1500, .next = address(PEER_ADDRESS)};
	struct express_config config;
	struct express_slot slot;

	assert_true(express_slot_make(&plan, &block, &underlay, &slot));
	assert_int_equal(slot.kind, way->kind);
	slot.whole = 1;
	express_slot_config(&plan, &underlay.next, &config);
	config.local[EXPRESS_PLAIN] = 0;
	config.local[EXPRESS_IPIP] = inet_addr(NODE_ADDRESS);
	put(bed_programs(bed)->maps.slots, &(uint32_t){SLOT}, &slot);
	put(bed_programs(bed)->maps.express, &(uint32_t){0}, &config);
	put_remote(bed, "10.244.2.0/24", SLOT);
	put_remote(bed, "fd00:10:244:2::/64", way->encap == EXPRESS_ENCAP_NONE ? SLOT : 0);
	raise_epoch(bed);
	if (ret)
		*ret = slot;
}

static int begin(void **state)
{
	struct policy_state now;

	if (bed_setup_express(state))
		return -1;
	now = bed_state(*state);
	now.mark_express = MARK_EXPRESS;
	bed_set_state(*state, now);
	return 0;
}

/* -- packets -- */

static int leave(struct bed *bed, const struct wish *wish, struct bed_frame *ret, uint32_t *mark)
{
	struct bed_frame frame;
	int verdict;

	bed_make(wish, &frame);
	verdict = bed_run(bed_programs(bed)->progs.policy_from_pod, bed_device(bed, wish->src), &frame, mark);
	if (ret)
		*ret = frame;
	return verdict;
}
#define SEND(...) leave(*state, &(struct wish){__VA_ARGS__}, NULL, NULL)

static uint16_t sum_of(const void *header, size_t len)
{
	const uint8_t *bytes = header;
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i += 2)
		sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* The test's packets have no checksum in them. */
static void finish(uint8_t *ip)
{
	uint16_t check;

	ip[CHECK_AT] = ip[CHECK_AT + 1] = 0;
	check = (uint16_t)~sum_of(ip, 20);
	ip[CHECK_AT] = (uint8_t)(check >> 8);
	ip[CHECK_AT + 1] = (uint8_t)check;
}

/* A packet of another node for a pod, behind the outer header that its node puts there. */
static void wrap(const struct way *way, const struct express_slot *slot, const struct wish *wish, struct bed_frame *ret)
{
	struct bed_frame inner;
	iphdr_at *outer = (void *)(ret->b + ETH_HLEN);
	uint16_t len;

	bed_make(wish, &inner);
	if (!wish->six)
		finish(inner.b + ETH_HLEN);
	if (!way->outer) {
		*ret = inner;
		return;
	}
	memcpy(ret->b, slot->header, ETH_HLEN + way->outer);
	memcpy(ret->b, inner.b, ETH_HLEN);
	memcpy(ret->b + ETH_HLEN + way->outer, inner.b + ETH_HLEN, inner.len - ETH_HLEN);
	ret->len = inner.len + way->outer;
	len = (uint16_t)(ret->len - ETH_HLEN);
	outer->tot_len = htons(len);
	outer->ttl = 60;
	outer->saddr = inet_addr(PEER_ADDRESS);
	outer->daddr = inet_addr(NODE_ADDRESS);
	finish((void *)outer);
	if (outer->protocol == IPPROTO_UDP) {
		len = htons((uint16_t)(len - 20));
		memcpy(ret->b + ETH_HLEN + 24, &len, 2);
	}
}

static int receive(struct bed *bed, struct bed_frame *frame)
{
	return bed_run(bed_programs(bed)->progs.express_from_net, bed_device(bed, NODE), frame, NULL);
}

static int arrive(struct bed *bed, const struct way *way, const struct wish *wish)
{
	struct express_slot slot;
	struct bed_frame frame;
	uint32_t index = SLOT;

	assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(bed_programs(bed)->maps.slots), &index, &slot), 0);
	wrap(way, &slot, wish, &frame);
	return receive(bed, &frame);
}
#define ARRIVE(way, ...) arrive(*state, way, &(struct wish){__VA_ARGS__})

/* -- tests -- */

static void the_outer_header_is_put_in_front(void **state)
{
	EACH_WAY(way) {
		struct express_slot slot;
		struct bed_frame was, is;
		const uint8_t *outer = is.b + ETH_HLEN, *inner = outer + way->outer;
		uint16_t len;

		lead(*state, way, &slot);
		bed_forget(*state);
		for (int i = 0; i < 3; i++) { /* opens, goes on, and the quick way */
			const struct wish wish = {.dst = GOOD, .tcp = i ? ACK : SYN};

			if (i == 2)
				ARRIVE(way, .src = GOOD, .dst = POD, .sport = PORT, .dport = 40000);
			bed_make(&wish, &was);
			assert_int_equal(leave(*state, &wish, &is, NULL), REDIRECTED);
			assert_int_equal(is.len, was.len + way->outer);
			was.b[ETH_HLEN + TTL_AT]--;
			assert_memory_equal(inner, was.b + ETH_HLEN, CHECK_AT);
			assert_memory_equal(inner + 12, was.b + ETH_HLEN + 12, was.len - ETH_HLEN - 12);
			if (!way->outer)
				continue;
			assert_int_equal(sum_of(outer, 20), 0xffff);
			len = (uint16_t)(outer[2] << 8 | outer[3]);
			assert_int_equal(len, is.len - ETH_HLEN);
			assert_memory_equal(outer + 12, (const uint8_t *)slot.header + ETH_HLEN + 12, 8);
			if (way->kind == EXPRESS_IPIP) {
				assert_int_equal(outer[TTL_AT], 63);
				continue;
			}
			assert_int_equal(outer[24] << 8 | outer[25], len - 20);
			assert_int_equal(outer[TTL_AT], 64);
			assert_memory_equal(outer + 26, (const uint8_t *)slot.header + ETH_HLEN + 26, way->outer - 26);
			if (way->kind == EXPRESS_VXLAN)
				assert_in_range(outer[20] << 8 | outer[21], slot.port_min, slot.port_min + slot.port_range);
		}
	}
}

static void the_outer_header_is_taken_off(void **state)
{
	EACH_WAY(way) {
		struct express_slot slot;
		struct bed_frame was, is;

		lead(*state, way, &slot);
		bed_forget(*state);
		for (int i = 0; i < 3; i++) {
			const struct wish wish = {.src = GOOD, .dst = POD, .tcp = i ? ACK : SYN};

			bed_make(&wish, &was);
			finish(was.b + ETH_HLEN);
			wrap(way, &slot, &wish, &is);
			assert_int_equal(receive(*state, &is), REDIRECTED);
			assert_int_equal(is.len, was.len);
			assert_int_equal(is.b[ETH_HLEN + TTL_AT], was.b[ETH_HLEN + TTL_AT] - 1);
			assert_int_equal(sum_of(is.b + ETH_HLEN, 20), 0xffff);
			assert_memory_equal(is.b + ETH_HLEN + 12, was.b + ETH_HLEN + 12, was.len - ETH_HLEN - 12);
			assert_memory_equal(is.b, ((const uint8_t[]){2, 0, 0, 0, 0x10, POD + 1, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 8, 0}), 14);
			if (i == 1)
				assert_int_equal(SEND(.dst = GOOD, .sport = PORT, .dport = 40000, .tcp = SYN_ACK), REDIRECTED);
		}
	}
}

static void six_goes_without_encapsulation(void **state)
{
	lead(*state, &ways[0], NULL);
	assert_int_equal(SEND(.six = true, .dst = GOOD, .tcp = SYN), REDIRECTED);
	assert_int_equal(ARRIVE(&ways[0], .six = true, .src = GOOD, .dst = POD, .sport = PORT, .dport = 40000, .tcp = SYN_ACK), REDIRECTED);
	assert_int_equal(SEND(.six = true, .dst = GOOD), REDIRECTED);
	assert_int_equal(SEND(.six = true, .dst = GOOD, .hops = 1), PASS);
	lead(*state, &ways[1], NULL);
	assert_int_equal(SEND(.six = true, .dst = GOOD), PASS);
}

/* One byte of the packet is another one: the kernel's path looks at it. */
static void what_is_not_plain_is_left_to_the_kernel(void **state)
{
	static const struct {
		int kind; /* 0: all with a tunnel */
		size_t at;
		uint8_t is;
		bool sum; /* the header's sum is right all the same */
	} changes[] = {
		{0, ETH_HLEN, 0x46, true},
		{0, ETH_HLEN + 6, 0x20, true},          /* more fragments */
		{0, ETH_HLEN + 10, 0x55, false},        /* sum */
		{0, ETH_HLEN + 15, 9, true},            /* another sender */
		{0, ETH_HLEN + 19, 9, true},            /* not for us */
		{EXPRESS_VXLAN, ETH_HLEN + 26, 1, true}, /* a sum of UDP */
		{EXPRESS_VXLAN, ETH_HLEN + 28, 0x88, true}, /* group policy */
		{EXPRESS_VXLAN, ETH_HLEN + 34, 7, true}, /* VNI */
		{EXPRESS_UDP, ETH_HLEN + 23, 7, true},  /* port */
	};
	EACH_WAY(way) {
		struct express_slot slot;

		lead(*state, way, &slot);
		if (!way->outer)
			continue;
		assert_int_equal(ARRIVE(way, .src = GOOD, .dst = POD, .tcp = SYN), REDIRECTED);
		for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
			struct bed_frame frame, was;

			if (changes[i].kind && changes[i].kind != way->kind)
				continue;
			wrap(way, &slot, &(struct wish){.src = GOOD, .dst = POD}, &frame);
			frame.b[changes[i].at] = changes[i].is;
			if (changes[i].sum)
				finish(frame.b + ETH_HLEN);
			was = frame;
			if (receive(*state, &frame) != PASS)
				fail_msg("kind %d, byte %zu", way->kind, changes[i].at);
			assert_memory_equal(frame.b, was.b, was.len);
		}
		assert_int_equal(ARRIVE(way, .src = GOOD, .dst = POD, .hops = 1), PASS);
		assert_int_equal(ARRIVE(way, .src = GOOD, .dst = POD, .more = true, .id = 4), PASS);
		assert_int_equal(ARRIVE(way, .src = GOOD, .dst = POD, .option = 1), PASS);
		assert_int_equal(ARRIVE(way, .src = OUTSIDE, .dst = POD, .tcp = SYN), PASS); /* no pod of that node */
		assert_int_equal(ARRIVE(way, .src = GOOD, .dst = BAD, .tcp = SYN), PASS); /* no pod of this node */
		assert_int_equal(ARRIVE(way, .src = GOOD, .dst = POD), REDIRECTED);
	}
}

static void congestion_marks_are_the_kernels(void **state)
{
	const struct way *way = &ways[1];
	struct express_slot slot;
	struct bed_frame frame;

	lead(*state, way, &slot);
	assert_int_equal(ARRIVE(way, .src = GOOD, .dst = POD, .tcp = SYN), REDIRECTED);
	for (uint8_t outer = 0; outer < 4; outer++)
		for (uint8_t inner = 0; inner < 4; inner++) {
			bool same = outer == inner || outer == 0 || (outer != 3 && !(outer == 1 && inner == 2));

			wrap(way, &slot, &(struct wish){.src = GOOD, .dst = POD}, &frame);
			frame.b[ETH_HLEN + 1] = outer;
			frame.b[ETH_HLEN + way->outer + 1] = inner;
			finish(frame.b + ETH_HLEN);
			finish(frame.b + ETH_HLEN + way->outer);
			assert_int_equal(receive(*state, &frame), same ? REDIRECTED : PASS);
		}
}

static void policy_of_either_end_denies(void **state)
{
	EACH_WAY(way) {
		lead(*state, way, NULL);
		assert_int_equal(SEND(.dst = BAD, .tcp = SYN), TC_ACT_SHOT);
		assert_int_equal(SEND(.dst = GOOD, .dport = 81, .tcp = SYN), TC_ACT_SHOT);
		assert_int_equal(SEND(.dst = GOOD, .dport = 81, .protocol = IPPROTO_UDP), TC_ACT_SHOT);
		assert_int_equal(ARRIVE(way, .src = BAD, .dst = POD, .tcp = SYN), TC_ACT_SHOT);
		assert_int_equal(ARRIVE(way, .src = GOOD, .dst = SHUT, .tcp = SYN), TC_ACT_SHOT);
		assert_int_equal(ARRIVE(way, .src = BAD, .dst = OTHER, .tcp = SYN), REDIRECTED);
		assert_int_equal(ARRIVE(way, .src = GOOD, .dst = POD), PASS); /* nobody has seen it begin */
		bed_forget(*state);
	}
}

static void within_the_node_both_ends_are_judged(void **state)
{
	for (int six = 0; six < 2; six++) {
		assert_int_equal(SEND(.six = six, .src = OTHER, .dst = SHUT, .tcp = SYN), TC_ACT_SHOT);
		assert_int_equal(SEND(.six = six, .src = SHUT, .dst = OTHER, .tcp = SYN), TC_ACT_SHOT);
		bed_put_pod(*state, SHUT, 0, TABLE_SHUT, 0, 3);
		assert_int_equal(SEND(.six = six, .src = OTHER, .dst = SHUT, .tcp = SYN), REDIRECTED);
		assert_int_equal(SEND(.six = six, .src = SHUT, .dst = OTHER, .sport = PORT, .dport = 40000, .tcp = SYN_ACK), REDIRECTED);
		assert_int_equal(SEND(.six = six, .src = OTHER, .dst = SHUT), REDIRECTED);
		assert_int_equal(SEND(.six = six, .src = SHUT, .dst = OTHER, .sport = PORT, .dport = 40000), REDIRECTED);
		/* the receiver closes: whoever sends next is told */
		bed_put_pod(*state, SHUT, TABLE_SHUT, TABLE_SHUT, 0, 3);
		raise_epoch(*state);
		for (int i = 0; i < 3; i++) {
			assert_int_equal(SEND(.six = six, .src = OTHER, .dst = SHUT), TC_ACT_SHOT);
			assert_int_equal(SEND(.six = six, .src = SHUT, .dst = OTHER, .sport = PORT, .dport = 40000), TC_ACT_SHOT);
		}
		/* and opens again */
		bed_put_pod(*state, SHUT, 0, TABLE_SHUT, 0, 3);
		raise_epoch(*state);
		assert_int_equal(SEND(.six = six, .src = SHUT, .dst = OTHER, .sport = PORT, .dport = 40000), REDIRECTED);
		assert_int_equal(SEND(.six = six, .src = OTHER, .dst = SHUT), REDIRECTED);
		bed_put_pod(*state, SHUT, TABLE_SHUT, TABLE_SHUT, 0, 3);
		bed_forget(*state);
	}
}

static void a_change_counts_from_the_next_packet_on(void **state)
{
	EACH_WAY(way) {
		struct bed *bed = *state;

		lead(bed, way, NULL);
		assert_int_equal(SEND(.dst = GOOD, .tcp = SYN), REDIRECTED);
		assert_int_equal(ARRIVE(way, .src = GOOD, .dst = POD, .sport = PORT, .dport = 40000, .tcp = SYN_ACK), REDIRECTED);
		assert_int_equal(SEND(.dst = GOOD), REDIRECTED);
		/* the way goes and comes back */
		put_remote(bed, "10.244.2.0/24", 0);
		raise_epoch(bed);
		assert_int_equal(SEND(.dst = GOOD), PASS);
		assert_int_equal(ARRIVE(way, .src = GOOD, .dst = POD, .sport = PORT, .dport = 40000), PASS);
		put_remote(bed, "10.244.2.0/24", SLOT);
		raise_epoch(bed);
		assert_int_equal(SEND(.dst = GOOD), REDIRECTED);
		/* the policy changes */
		bed_put_pod(bed, POD, TABLE_IN, TABLE_SHUT, 0, 1);
		raise_epoch(bed);
		for (int i = 0; i < 3; i++) {
			assert_int_equal(ARRIVE(way, .src = GOOD, .dst = POD, .sport = PORT, .dport = 40000), TC_ACT_SHOT);
			assert_int_equal(SEND(.dst = GOOD), TC_ACT_SHOT);
		}
		/* another pod of the same address and interface */
		bed_put_pod(bed, POD, TABLE_IN, TABLE_OUT, 0, 1);
		raise_epoch(bed);
		assert_int_equal(SEND(.dst = GOOD, .tcp = SYN), REDIRECTED);
		bed_put_pod(bed, POD, TABLE_IN, TABLE_OUT, 0, 99);
		raise_epoch(bed);
		assert_int_equal(ARRIVE(way, .src = GOOD, .dst = POD, .sport = PORT, .dport = 40000), PASS);
		bed_put_pod(bed, POD, TABLE_IN, TABLE_OUT, 0, 1);
		bed_forget(bed);
	}
}

static void who_may_not(void **state)
{
	struct bed *bed = *state;

	lead(bed, &ways[1], NULL);
	bed_put_pod(bed, OTHER, 0, 0, POLICY_ENDPOINT_SHAPED, 2);
	assert_int_equal(SEND(.src = OTHER, .dst = GOOD, .tcp = SYN), PASS);
	assert_int_equal(ARRIVE(&ways[1], .src = GOOD, .dst = OTHER, .tcp = SYN), PASS);
	assert_int_equal(SEND(.src = POD, .dst = OTHER, .dport = 80, .tcp = SYN), TC_ACT_SHOT); /* its egress, as ever */
	bed_put_pod(bed, OTHER, 0, 0, POLICY_ENDPOINT_FREE, 2);
	assert_int_equal(SEND(.src = OTHER, .dst = GOOD, .tcp = SYN), PASS);
	assert_int_equal(ARRIVE(&ways[1], .src = GOOD, .dst = OTHER, .tcp = SYN), PASS);
	bed_put_pod(bed, OTHER, 0, 0, 0, 2);
	assert_int_equal(SEND(.src = OTHER, .dst = SERVICE, .tcp = SYN), PASS);
	assert_int_equal(SEND(.src = OTHER, .dst = OUTSIDE, .tcp = SYN), PASS);
	assert_int_equal(SEND(.src = OTHER, .dst = GOOD), PASS); /* in the middle of nothing */
	assert_int_equal(SEND(.src = OTHER, .from = "10.244.1.9", .dst = GOOD, .tcp = SYN), TC_ACT_SHOT);
	assert_int_equal(SEND(.src = OTHER, .dst = GOOD, .tcp = SYN, .mac = 77), TC_ACT_SHOT);
	assert_int_equal(SEND(.src = OTHER, .dst = GOOD, .tcp = SYN), REDIRECTED);
	assert_int_equal(SEND(.src = OTHER, .dst = GOOD, .mac = 77), TC_ACT_SHOT);
	assert_int_equal(SEND(.src = OTHER, .dst = GOOD), REDIRECTED);
}

/* What goes beside its own flow carries the mark, so that conntrack does not see it. */
static void packets_by_the_kernels_path_are_marked(void **state)
{
	uint32_t mark = 0;

	lead(*state, &ways[1], NULL);
	assert_int_equal(SEND(.src = OTHER, .dst = GOOD, .tcp = SYN), REDIRECTED);
	assert_int_equal(leave(*state, &(struct wish){.src = OTHER, .dst = GOOD, .hops = 1}, NULL, &mark), PASS);
	assert_int_equal(mark, MARK_EXPRESS);
	mark = MARK_EXPRESS;
	assert_int_equal(leave(*state, &(struct wish){.src = OTHER, .dst = SERVICE}, NULL, &mark), PASS);
	assert_int_equal(mark, 0);
	mark = 0;
	assert_int_equal(leave(*state, &(struct wish){.src = OTHER, .dst = GOOD, .more = true, .id = 3}, NULL, &mark), PASS);
	assert_int_equal(mark, MARK_EXPRESS);
}

static void what_comes_up_from_a_tunnel_is_marked(void **state)
{
	struct bpf_program *program = bed_programs(*state)->progs.express_from_tunnel;
	struct bed_frame frame;
	uint32_t mark = 0;

	lead(*state, &ways[1], NULL);
	assert_int_equal(SEND(.src = OTHER, .dst = GOOD, .tcp = SYN), REDIRECTED);
	bed_make(&(struct wish){.src = GOOD, .dst = OTHER, .sport = PORT, .dport = 40000}, &frame);
	assert_int_equal(bed_run(program, bed_device(*state, NODE), &frame, &mark), PASS);
	assert_int_equal(mark, MARK_EXPRESS);
	mark = 0;
	bed_make(&(struct wish){.src = GOOD, .dst = OTHER, .sport = PORT, .dport = 40001}, &frame);
	assert_int_equal(bed_run(program, bed_device(*state, NODE), &frame, &mark), PASS);
	assert_int_equal(mark, 0);
}

static void a_flow_ends_as_others_do(void **state)
{
	lead(*state, &ways[1], NULL);
	assert_int_equal(SEND(.src = OTHER, .dst = GOOD, .tcp = SYN), REDIRECTED);
	bed_age_flows(*state, 61);
	assert_int_equal(SEND(.src = OTHER, .dst = GOOD), PASS);
	assert_int_equal(SEND(.src = OTHER, .dst = GOOD, .tcp = SYN), REDIRECTED);
	assert_int_equal(ARRIVE(&ways[1], .src = GOOD, .dst = OTHER, .sport = PORT, .dport = 40000, .tcp = SYN_ACK), REDIRECTED);
	assert_int_equal(SEND(.src = OTHER, .dst = GOOD), REDIRECTED);
	bed_age_flows(*state, 3600);
	assert_int_equal(SEND(.src = OTHER, .dst = GOOD), REDIRECTED);
	bed_age_flows(*state, 3600);
	assert_int_equal(ARRIVE(&ways[1], .src = GOOD, .dst = OTHER, .sport = PORT, .dport = 40000), REDIRECTED);
}

/* Within the node only the sender's interface sees a packet: the other end's flow lives as long. */
static void both_ends_of_a_local_flow_live_equally_long(void **state)
{
	struct policy_flow flow;
	struct policy_flow_key key = {.protocol = IPPROTO_UDP, .local_port = htons(PORT), .remote_port = htons(40000)};
	struct addr one = address(bed_address(false, SHUT)), two = address(bed_address(false, OTHER));

	key.local = packet_addr_of(&one);
	key.remote = packet_addr_of(&two);
	bed_put_pod(*state, SHUT, 0, TABLE_SHUT, 0, 3);
	assert_int_equal(SEND(.src = OTHER, .dst = SHUT, .protocol = IPPROTO_UDP), REDIRECTED);
	assert_true(bed_flow(*state, &key, &flow));
	assert_int_equal(flow.flags, POLICY_FLOW_EXPRESS | POLICY_FLOW_LOCAL);
	for (int i = 0; i < 3; i++) {
		bed_age_flows(*state, 20);
		assert_int_equal(SEND(.src = OTHER, .dst = SHUT, .protocol = IPPROTO_UDP), REDIRECTED);
	}
	assert_int_equal(SEND(.src = SHUT, .dst = OTHER, .protocol = IPPROTO_UDP, .sport = PORT, .dport = 40000), REDIRECTED);
	/* the table was full: the entry comes back */
	assert_int_equal(bpf_map_delete_elem(bpf_map__fd(bed_programs(*state)->maps.flows), &key), 0);
	bed_age_flows(*state, 20);
	assert_int_equal(SEND(.src = OTHER, .dst = SHUT, .protocol = IPPROTO_UDP), REDIRECTED);
	assert_true(bed_flow(*state, &key, &flow));
	assert_int_equal(SEND(.src = SHUT, .dst = OTHER, .protocol = IPPROTO_UDP, .sport = PORT, .dport = 40000), REDIRECTED);
}

/* A peer in user space cannot finish what our kernel leaves open. */
static void udp_waits_for_a_word_of_the_peer(void **state)
{
	const struct way *way = &ways[3];
	struct express_slot slot;
	struct bed_frame frame;
	uint32_t mark = 0;

	lead(*state, way, &slot);
	slot.whole = 0;
	put(bed_programs(*state)->maps.slots, &(uint32_t){SLOT}, &slot);
	assert_int_equal(leave(*state, &(struct wish){.src = OTHER, .dst = GOOD, .tcp = SYN}, NULL, &mark), PASS);
	assert_int_equal(mark, MARK_EXPRESS);
	assert_int_equal(ARRIVE(way, .src = GOOD, .dst = OTHER, .sport = PORT, .dport = 40000, .tcp = SYN_ACK), REDIRECTED);
	assert_int_equal(SEND(.src = OTHER, .dst = GOOD), REDIRECTED);
	wrap(way, &slot, &(struct wish){.src = GOOD, .dst = OTHER, .sport = PORT, .dport = 40000}, &frame);
	frame.b[ETH_HLEN + 26] = 1; /* a socket's sum */
	assert_int_equal(receive(*state, &frame), PASS);
	assert_int_equal(SEND(.src = OTHER, .dst = GOOD), PASS);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, bed_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_outer_header_is_put_in_front),
		TEST(the_outer_header_is_taken_off),
		TEST(six_goes_without_encapsulation),
		TEST(what_is_not_plain_is_left_to_the_kernel),
		TEST(congestion_marks_are_the_kernels),
		TEST(policy_of_either_end_denies),
		TEST(within_the_node_both_ends_are_judged),
		TEST(a_change_counts_from_the_next_packet_on),
		TEST(who_may_not),
		TEST(packets_by_the_kernels_path_are_marked),
		TEST(what_comes_up_from_a_tunnel_is_marked),
		TEST(a_flow_ends_as_others_do),
		TEST(both_ends_of_a_local_flow_live_equally_long),
		TEST(udp_waits_for_a_word_of_the_peer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
