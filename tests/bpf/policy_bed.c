/* SPDX-License-Identifier: Apache-2.0 */
#include "policy_bed.h"

#include "base/addr.h"
#include "base/cleanup.h"
#include "plane/pinned.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "policy.skel.h"

#define CLIENT_PORT 40000

struct bed {
	struct policy_bpf *programs;
	uint32_t device[NODE + 1];
};

struct bytes {
	uint8_t pad[2]; /* so that the headers behind Ethernet's 14 bytes are aligned */
	uint8_t b[512];
	size_t len;
};

typedef struct ethhdr ethhdr_at __attribute__((aligned(1)));
typedef struct iphdr iphdr_at __attribute__((aligned(1)));
typedef struct ipv6hdr ipv6hdr_at __attribute__((aligned(1)));

static const char *const words[][2] = {
	[POD] = {"10.244.1.2", "fd00:10:244:1::2"},
	[OTHER] = {"10.244.1.3", "fd00:10:244:1::3"},
	[SHUT] = {"10.244.1.4", "fd00:10:244:1::4"},
	[GOOD] = {"10.244.2.2", "fd00:10:244:2::2"},
	[BAD] = {"10.244.2.3", "fd00:10:244:2::3"},
	[SERVICE] = {"10.96.0.10", "fd00:10:96::10"},
	[OUTSIDE] = {"203.0.113.9", "2001:db8:99::9"},
	[NODE] = {"192.0.2.1", "2001:db8::1"},
	[NOBODY] = {"198.51.100.7", "2001:db8:77::7"},
};

const char *bed_address(bool six, int who)
{
	return words[who][six];
}

/* -- maps -- */

static void put(struct bpf_map *map, const void *key, const void *value)
{
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY), 0);
}

static struct packet_addr address(const char *text)
{
	struct addr addr;

	if (addr_parse(text, &addr))
		fail_msg("no address: %s", text);
	return packet_addr_of(&addr);
}

static struct packet_prefix key_of(const char *text)
{
	struct prefix prefix;

	if (prefix_parse(text, &prefix))
		fail_msg("no prefix: %s", text);
	return packet_prefix_of(&prefix);
}

struct policy_bpf *bed_programs(struct bed *bed)
{
	return bed->programs;
}

uint32_t bed_device(const struct bed *bed, int who)
{
	return bed->device[who];
}

void bed_set_state(struct bed *bed, struct policy_state state)
{
	put(bed->programs->maps.state, &(uint32_t){0}, &state);
}

struct policy_state bed_state(struct bed *bed)
{
	struct policy_state state;

	assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(bed->programs->maps.state), &(uint32_t){0}, &state), 0);
	return state;
}

static void set_mac(uint8_t mac[6], unsigned last)
{
	memcpy(mac, (uint8_t[]){0x02, 0, 0, 0, 0x10, (uint8_t)last}, 6);
}

void bed_put_pod(struct bed *bed, int who, uint64_t in, uint64_t out, uint16_t flags, uint32_t serial)
{
	struct policy_endpoint pod = {.table = {in, out}, .flags = flags, .serial = serial};

	set_mac(pod.mac, (unsigned)who + 1);
	for (int f = 0; f < 2; f++) {
		pod.addr[f] = address(words[who][f]);
		put(bed->programs->maps.locals, &pod.addr[f], &bed->device[who]);
	}
	put(bed->programs->maps.endpoints, &bed->device[who], &pod);
}

void bed_remove_pod(struct bed *bed, int who)
{
	assert_int_equal(bpf_map_delete_elem(bpf_map__fd(bed->programs->maps.endpoints), &bed->device[who]), 0);
}

void bed_put_host(struct bed *bed, int who, struct policy_host host)
{
	put(bed->programs->maps.hosts, &bed->device[who], &host);
}

void bed_put_address(struct bed *bed, const char *prefix, uint64_t class, uint32_t flags)
{
	struct packet_prefix key = key_of(prefix);
	struct policy_address value = {.class = class, .flags = flags};

	put(bed->programs->maps.addresses, &key, &value);
}

void bed_put_pair(struct bed *bed, uint64_t table, uint64_t class, uint64_t list)
{
	struct policy_pair key = {table, class};

	put(bed->programs->maps.pairs, &key, &list);
}

void bed_put_port(struct bed *bed, uint64_t list, uint8_t len, uint8_t protocol, uint16_t port, uint32_t bits, uint64_t next)
{
	struct policy_port key = {.len = len, .list = {(uint32_t)list, (uint32_t)(list >> 32)}, .protocol = protocol,
		.port = htons(port)};
	struct policy_verdict value = {.next = next, .bits = bits};

	put(bed->programs->maps.ports, &key, &value);
}

void bed_put_source(struct bed *bed, int who, const char *prefix)
{
	struct packet_prefix wide = key_of(prefix);
	struct policy_source key = {.len = 32 + wide.len, .ifindex = bed->device[who], .addr = wide.addr};

	put(bed->programs->maps.sources, &key, &(uint32_t){0});
}

bool bed_flow(struct bed *bed, const struct policy_flow_key *key, struct policy_flow *ret)
{
	return bpf_map_lookup_elem(bpf_map__fd(bed->programs->maps.flows), key, ret) == 0;
}

struct taken {
	struct policy_event *events;
	size_t count, max;
};

static int take_event(void *ctx, void *data, size_t size)
{
	struct taken *taken = ctx;

	if (size == sizeof(struct policy_event) && taken->count < taken->max)
		memcpy(&taken->events[taken->count++], data, size);
	return 0;
}

size_t bed_events(struct bed *bed, struct policy_event *ret, size_t max)
{
	struct taken taken = {ret, 0, max};
	struct ring_buffer *ring = ring_buffer__new(bpf_map__fd(bed->programs->maps.events), take_event, &taken, NULL);

	assert_non_null(ring);
	ring_buffer__consume(ring);
	ring_buffer__free(ring);
	return taken.count;
}

/* Each entry of flows, and of fragments, as if it had been seen so much earlier; seconds 0: they go. */
static void age(struct bpf_map *map, size_t value_size, unsigned seconds)
{
	uint8_t keys[64][64], value[64];
	int fd = bpf_map__fd(map);
	size_t n = 0;
	uint64_t seen;

	while (n < 64 && bpf_map_get_next_key(fd, n ? keys[n - 1] : NULL, keys[n]) == 0)
		n++;
	assert_true(value_size <= sizeof(value));
	for (size_t i = 0; i < n; i++) {
		if (!seconds) {
			bpf_map_delete_elem(fd, keys[i]);
			continue;
		}
		assert_int_equal(bpf_map_lookup_elem(fd, keys[i], value), 0);
		memcpy(&seen, value, sizeof(seen));
		seen -= seconds * 1000000000ULL >> 20;
		memcpy(value, &seen, sizeof(seen));
		put(map, keys[i], value);
	}
}

void bed_age_flows(struct bed *bed, unsigned seconds)
{
	age(bed->programs->maps.flows, sizeof(struct policy_flow), seconds);
	age(bed->programs->maps.fragments, sizeof(struct policy_fragment), seconds);
}

void bed_forget(struct bed *bed)
{
	bed_age_flows(bed, 0);
}

/* -- the world -- */

static void run_words(const char *const *argv)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
	if (status)
		fail_msg("%s %s %s: status %d", argv[0], argv[1], argv[2], status);
}
#define RUN(...) run_words((const char *const[]){__VA_ARGS__, NULL})

static void make_devices(struct bed *bed)
{
	static const char *const names[] = {[POD] = "pod0", [OTHER] = "other0", [SHUT] = "shut0", [NODE] = "up0"};

	RUN("ip", "link", "add", "pod0", "type", "veth", "peer", "name", "other0");
	RUN("ip", "link", "add", "shut0", "type", "veth", "peer", "name", "up0");
	RUN("ip", "link", "set", "up0", "address", "02:00:00:00:10:fe"); /* to whom all frames are */
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i])
			bed->device[i] = if_nametoindex(names[i]);
}

static void put_tables(struct bed *bed)
{
	static const uint8_t protocols[] = {6, 17, 132};
	const uint64_t some = 1001, none = 1002;

	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++)
		bed_put_port(bed, some, 96, protocols[i], PORT, POLICY_VERDICT_ALLOW, 0);
	bed_put_port(bed, some, 96, 1, 8 << 8, POLICY_VERDICT_ALLOW, 0);
	bed_put_port(bed, some, 96, 58, 128 << 8, POLICY_VERDICT_ALLOW, 0);
	bed_put_port(bed, none, 64, 0, 0, 0, 0);
	for (uint64_t table = TABLE_IN; table <= TABLE_OUT; table++) {
		bed_put_pair(bed, table, 0, none);
		bed_put_pair(bed, table, CLASS_GOOD, some);
		bed_put_pair(bed, table, CLASS_OUTSIDE, some);
	}
	bed_put_pair(bed, TABLE_SHUT, 0, none);
}

static void put_world(struct bed *bed)
{
	bed_put_pod(bed, POD, TABLE_IN, TABLE_OUT, 0, 1);
	bed_put_pod(bed, OTHER, 0, 0, 0, 2);
	bed_put_pod(bed, SHUT, TABLE_SHUT, TABLE_SHUT, 0, 3);
	bed_put_address(bed, "10.244.0.0/16", 0, POLICY_ADDRESS_FINAL);
	bed_put_address(bed, "fd00:10:244::/48", 0, POLICY_ADDRESS_FINAL);
	bed_put_address(bed, "10.244.2.2/32", CLASS_GOOD, POLICY_ADDRESS_FINAL);
	bed_put_address(bed, "fd00:10:244:2::2/128", CLASS_GOOD, POLICY_ADDRESS_FINAL);
	bed_put_address(bed, "203.0.113.0/24", CLASS_OUTSIDE, 0);
	bed_put_address(bed, "2001:db8:99::/48", CLASS_OUTSIDE, 0);
	bed_put_address(bed, "192.0.2.1/32", 0, POLICY_ADDRESS_OWN);
	bed_put_address(bed, "2001:db8::1/128", 0, POLICY_ADDRESS_OWN);
	put_tables(bed);
	bed_set_state(bed, (struct policy_state){.epoch = 1, .mark_pending = MARK_PENDING, .mark_host = MARK_HOST});
}

/* What the agent does, too: without the look-up where the kernel does not have it. */
static struct policy_bpf *load(bool conntrack, bool express)
{
	struct policy_bpf *programs = policy_bpf__open();

	if (!programs)
		return NULL;
	*(volatile uint32_t *)&programs->rodata->config.conntrack = conntrack;
	*(volatile uint32_t *)&programs->rodata->config.express = express;
	if (policy_bpf__load(programs) == 0)
		return programs;
	policy_bpf__destroy(programs);
	return conntrack && !getenv("TEST_CONNTRACK") ? load(false, express) : NULL;
}

static int setup(void **state, bool express)
{
	struct bed *bed;

	if (unshare(CLONE_NEWNET))
		return -1;
	bed = calloc(1, sizeof(*bed));
	if (!bed)
		return -1;
	make_devices(bed);
	if (!getenv("TEST_LOUD"))
		libbpf_be_quiet();
	bed->programs = load(true, express);
	if (!bed->programs)
		return -1;
	put_world(bed);
	*state = bed;
	return 0;
}

int bed_setup(void **state)
{
	return setup(state, false);
}

int bed_setup_express(void **state)
{
	return setup(state, true);
}

int bed_teardown(void **state)
{
	struct bed *bed = *state;

	policy_bpf__destroy(bed->programs);
	free(bed);
	return 0;
}

/* -- packets -- */

static void *grow(struct bytes *bytes, size_t len)
{
	void *at = bytes->b + bytes->len;

	assert_true(bytes->len + len <= sizeof(bytes->b));
	bytes->len += len;
	return memset(at, 0, len);
}

static struct addr address_of(const struct wish *wish, const char *text, int who)
{
	struct addr addr;

	if (!text)
		text = words[who][wish->six];
	if (!strcmp(text, "::"))
		return (struct addr){{0}};
	if (addr_parse(text, &addr))
		fail_msg("no address: %s", text);
	return addr;
}

static uint8_t protocol_of(const struct wish *wish)
{
	if (wish->protocol)
		return wish->protocol;
	return wish->icmp || wish->type ? (wish->six ? IPPROTO_ICMPV6 : IPPROTO_ICMP) : IPPROTO_TCP;
}

static void put_ip(struct bytes *bytes, const struct wish *wish);

static void put_discovery(struct bytes *bytes, const struct wish *wish)
{
	struct addr target = address_of(wish, wish->target, POD);
	uint8_t *option;

	memcpy(grow(bytes, 16), target.b, 16);
	if (wish->option_mac) {
		option = grow(bytes, 8);
		option[0] = wish->type == 135 ? 1 : 2;
		option[1] = 1;
		set_mac(option + 2, wish->option_mac);
	}
}

static void put_icmp(struct bytes *bytes, const struct wish *wish)
{
	uint8_t *icmp = grow(bytes, 8);

	icmp[0] = wish->type;
	icmp[1] = wish->code;
	icmp[4] = (uint8_t)(wish->id >> 8);
	icmp[5] = (uint8_t)wish->id;
	if (wish->quoted)
		put_ip(bytes, wish->quoted);
	else if (wish->six && (wish->type == 135 || wish->type == 136))
		put_discovery(bytes, wish);
}

static void put_l4(struct bytes *bytes, const struct wish *wish)
{
	uint8_t protocol = protocol_of(wish);
	uint16_t sport = htons(wish->sport ? wish->sport : CLIENT_PORT), dport = htons(wish->dport ? wish->dport : PORT);
	uint8_t *l4;

	if (wish->place) {
		grow(bytes, 32);
		return;
	}
	if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6) {
		put_icmp(bytes, wish);
		return;
	}
	l4 = grow(bytes, 24);
	memcpy(l4, &sport, 2);
	memcpy(l4 + 2, &dport, 2);
	if (protocol == IPPROTO_TCP)
		l4[13] = wish->no_flags ? 0 : wish->tcp ? wish->tcp : ACK;
}

static void put_ip4(struct bytes *bytes, const struct wish *wish)
{
	struct addr src = address_of(wish, wish->from, wish->src), dst = address_of(wish, wish->to, wish->dst);
	size_t start = bytes->len, head = wish->option ? 24 : 20;
	iphdr_at *ip = grow(bytes, head);

	*ip = (iphdr_at){.version = 4, .ihl = (head / 4) & 15, .ttl = wish->hops ? wish->hops : 64, .protocol = protocol_of(wish),
		.id = htons(wish->id), .frag_off = htons((uint16_t)(wish->place | (wish->more ? 0x2000 : 0))),
		.saddr = htonl(addr_to_4(&src)), .daddr = htonl(addr_to_4(&dst))};
	if (wish->option)
		memcpy((uint8_t *)ip + 20, (uint8_t[]){1, wish->option, 3, 4}, 4);
	put_l4(bytes, wish);
	ip = (void *)(bytes->b + start);
	ip->tot_len = htons(wish->size ? (uint16_t)wish->size : (uint16_t)(bytes->len - start));
}

static uint8_t *put_header(struct bytes *bytes, uint8_t *next, uint8_t type)
{
	uint8_t *head = grow(bytes, 8);

	head[0] = *next;
	*next = type;
	return head;
}

static void put_ip6(struct bytes *bytes, const struct wish *wish)
{
	struct addr src = address_of(wish, wish->from, wish->src), dst = address_of(wish, wish->to, wish->dst);
	size_t start = bytes->len;
	ipv6hdr_at *ip = grow(bytes, sizeof(*ip));
	uint8_t *next = &ip->nexthdr, *head;

	ip->version = 6;
	ip->hop_limit = wish->hops ? wish->hops : 64;
	ip->nexthdr = protocol_of(wish);
	memcpy(&ip->saddr, src.b, 16);
	memcpy(&ip->daddr, dst.b, 16);
	for (size_t i = 0; i < wish->header_count; i++) {
		next = put_header(bytes, next, wish->headers[i]);
		if (wish->headers[i] == 43)
			next[3] = wish->code;
	}
	if (wish->place || wish->more || wish->split) {
		uint16_t place = htons((uint16_t)(wish->place << 3 | wish->more));

		head = put_header(bytes, next, 44);
		memcpy(head + 2, &place, 2);
		head[7] = (uint8_t)wish->id;
	}
	put_l4(bytes, wish);
	ip->payload_len = htons((uint16_t)(wish->size ? wish->size : (int)(bytes->len - start - 40)));
}

static void put_ip(struct bytes *bytes, const struct wish *wish)
{
	if (wish->six)
		put_ip6(bytes, wish);
	else
		put_ip4(bytes, wish);
}

static void put_arp(struct bytes *bytes, const struct wish *wish)
{
	struct addr sender = address_of(wish, wish->from, wish->src);
	uint32_t ip = htonl(addr_to_4(&sender));
	uint8_t *arp = grow(bytes, 28);

	memcpy(arp, (uint8_t[]){0, 1, 8, 0, 6, 4, 0, 1}, 8);
	set_mac(arp + 8, wish->option_mac ? wish->option_mac : (unsigned)wish->src + 1);
	memcpy(arp + 14, &ip, 4);
}

static void put_frame(struct bytes *bytes, const struct wish *wish)
{
	ethhdr_at *eth = grow(bytes, sizeof(*eth));
	uint16_t ether = wish->ether ? wish->ether : wish->six ? ETH_P_IPV6 : ETH_P_IP;

	set_mac(eth->h_source, wish->mac ? wish->mac : (unsigned)wish->src + 1);
	set_mac(eth->h_dest, 0xfe);
	eth->h_proto = htons(ether);
	if (ether == ETH_P_ARP)
		put_arp(bytes, wish);
	else
		put_ip(bytes, wish);
	bytes->len -= wish->cut;
}

/* -- running -- */

static uint64_t counted(struct bed *bed, uint32_t index)
{
	uint64_t packets = 0, bytes = 0;

	assert_int_equal(counter_sum(bpf_map__fd(bed->programs->maps.counts), index, &packets, &bytes), 0);
	return packets;
}

static const char *reason_name(uint32_t index)
{
	static const char *const names[] = {
#define X(id, name, text) [POLICY_COUNT_##id] = name,
		POLICY_COUNTS(X)
#undef X
	};

	return names[index];
}

static uint32_t device_of(const struct bed *bed, int hook, const struct wish *wish)
{
	int who = hook == HOOK_EXIT ? NODE : hook == HOOK_FROM_POD ? wish->src : wish->dst;

	return wish->device ? wish->device : bed->device[who];
}

void bed_expect(struct bed *bed, int hook, const struct wish *wish, int verdict, int reason, uint32_t *ret_mark)
{
	struct bpf_program *programs[] = {[HOOK_FROM_POD] = bed->programs->progs.policy_from_pod,
		[HOOK_TO_POD] = bed->programs->progs.policy_to_pod, [HOOK_EXIT] = bed->programs->progs.policy_exit,
		[HOOK_FROM_NET] = bed->programs->progs.policy_from_net};
	struct __sk_buff context = {.ifindex = device_of(bed, hook, wish),
		.ingress_ifindex = wish->came_by, .mark = wish->mark}, after = {0};
	uint64_t before[POLICY_COUNT_MAX];
	struct bytes bytes = {0};
	uint8_t out[1024];

	put_frame(&bytes, wish);
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = bytes.b, .data_size_in = (uint32_t)bytes.len, .data_out = out,
		.data_size_out = sizeof(out), .ctx_in = &context, .ctx_size_in = sizeof(context), .ctx_out = &after,
		.ctx_size_out = sizeof(after), .repeat = 1);
	for (uint32_t i = 0; i < POLICY_COUNT_MAX; i++)
		before[i] = counted(bed, i);
	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(programs[hook]), &opts), 0);
	for (uint32_t i = 0; i < POLICY_COUNT_MAX; i++) {
		uint64_t want = before[i] + ((int)i == reason);

		if (counted(bed, i) != want)
			fail_msg("hook %d: counter %s moved by %d, expected %d (verdict %d)", hook, reason_name(i),
				(int)(counted(bed, i) - before[i]), (int)i == reason, (int)opts.retval);
	}
	if ((int)opts.retval != verdict)
		fail_msg("hook %d: verdict %d, expected %d", hook, (int)opts.retval, verdict);
	if (ret_mark)
		*ret_mark = after.mark;
}

void bed_make(const struct wish *wish, struct bed_frame *ret)
{
	struct bytes bytes = {0};

	put_frame(&bytes, wish);
	memcpy(ret->b, bytes.b, bytes.len);
	ret->len = bytes.len;
}

int bed_run(struct bpf_program *program, uint32_t device, struct bed_frame *frame, uint32_t *mark)
{
	struct __sk_buff context = {.ifindex = device, .mark = mark ? *mark : 0}, after = {0};
	struct bed_frame out = {0};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame->b, .data_size_in = (uint32_t)frame->len, .data_out = out.b,
		.data_size_out = sizeof(out.b), .ctx_in = &context, .ctx_size_in = sizeof(context), .ctx_out = &after,
		.ctx_size_out = sizeof(after), .repeat = 1);

	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(program), &opts), 0);
	out.len = opts.data_size_out;
	*frame = out;
	if (mark)
		*mark = after.mark;
	return (int)opts.retval;
}
