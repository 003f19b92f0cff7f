/* SPDX-License-Identifier: Apache-2.0
 *
 * Damaged packets through the guard's program, by the kernel's test run, each judged a second time by plain C written
 * from the description in docs/plane.md: what the one passes or drops, the other has to.
 *
 * test_guard_random [COUNT [SEED]]
 */
#include "base/addr.h"
#include "bpf/guard_layout.h"
#include "plane/pinned.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guard.skel.h"

#define PORT 4789
#define VNI 4096
#define ROUNDS 40000
#define ETH 14

/* -- the world: who is a node, who has which source; "": nobody -- */

static const char *const nodes[] = {"192.0.2.2", "192.0.2.3", "2001:db8::2"};
static const struct {
	const char *prefix, *node;
} sources[] = {{"10.244.0.0/16", ""}, {"10.244.1.0/26", "192.0.2.1"}, {"10.244.2.0/26", "192.0.2.2"},
	{"10.244.2.5/32", "192.0.2.3"}, {"192.0.2.2/32", "192.0.2.2"}, {"fd00:10:244::/48", ""},
	{"fd00:10:244:2::/122", "2001:db8::2"}};
static const char *const forwarded[] = {"10.244.1.0/26", "fd00:10:244:1::/64"};

static struct addr address(const char *text)
{
	struct addr addr = {0};

	if (text[0] && addr_parse(text, &addr))
		abort();
	return addr;
}

static struct prefix prefix_of(const char *text)
{
	struct prefix prefix;

	if (prefix_parse(text, &prefix))
		abort();
	return prefix;
}

static bool contains(const char *prefix_text, const struct addr *addr)
{
	struct prefix prefix = prefix_of(prefix_text);

	return addr_family(addr) == prefix.family && prefix_contains(&prefix, addr);
}

/* -- the second judge -- */

struct view {
	const uint8_t *b;
	size_t len;
};

enum verdict { OTHER, ACCEPT, DROP }; /* none of ours; ours and fine; ours and not */

static unsigned be16(const struct view *view, size_t at)
{
	return (unsigned)view->b[at] << 8 | view->b[at + 1];
}

static bool has(const struct view *view, size_t end)
{
	return end <= view->len;
}

static struct addr addr_at(const struct view *view, size_t at, bool v6)
{
	return addr_from_bytes(v6 ? AF_INET6 : AF_INET, view->b + at);
}

static bool is_forwarded(const struct addr *dst)
{
	return contains(forwarded[0], dst) || contains(forwarded[1], dst);
}

static bool is_node(const struct addr *sender)
{
	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
		struct addr node = address(nodes[i]);

		if (addr_equal(&node, sender))
			return true;
	}
	return false;
}

static bool may_send(const struct addr *sender, const struct addr *source)
{
	const char *owner = NULL;
	struct addr node;
	int longest = -1;

	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		if (!contains(sources[i].prefix, source) || prefix_of(sources[i].prefix).len <= longest)
			continue;
		longest = prefix_of(sources[i].prefix).len;
		owner = sources[i].node;
	}
	if (!owner)
		return true;
	node = address(owner);
	return addr_equal(&node, sender);
}

/* Skips IPv6 extension headers. False: too many, or cut. */
static bool skip_headers(const struct view *view, size_t *at, unsigned *next, bool *fragment, bool *later)
{
	for (int i = 0; i < 8; i++) {
		if (*next != 0 && *next != 43 && *next != 44 && *next != 51 && *next != 60 && *next != 135)
			return true;
		if (!has(view, *at + 4))
			return false;
		if (*next == 44) {
			*fragment = true;
			*later = be16(view, *at + 2) & 0xfff8;
			*next = view->b[*at];
			*at += 8;
			if (*later)
				return true;
		} else {
			size_t len = *next == 51 ? (view->b[*at + 1] + 2U) * 4 : (view->b[*at + 1] + 1U) * 8;

			*next = view->b[*at];
			*at += len;
		}
	}
	return false;
}

static bool is_port(const struct view *view, size_t udp)
{
	return has(view, udp + 4) && be16(view, udp + 2) == PORT;
}

static enum verdict nested(const struct view *view, size_t at, unsigned protocol, const struct addr *dst)
{
	bool tunnel = protocol == 4 || (protocol == 17 && is_port(view, at));

	return tunnel && !is_forwarded(dst) ? DROP : ACCEPT;
}

static enum verdict inner4(const struct view *view, size_t at, const struct addr *sender)
{
	struct addr source, dst;
	size_t head, len;

	if (!has(view, at + 20) || view->b[at] >> 4 != 4)
		return DROP;
	head = (view->b[at] & 15) * 4;
	len = be16(view, at + 2);
	if (head < 20 || len < head || !has(view, at + len))
		return DROP;
	if (!view->b[at + 12] || view->b[at + 12] == 127 || view->b[at + 12] >= 224)
		return DROP;
	source = addr_at(view, at + 12, false);
	dst = addr_at(view, at + 16, false);
	if (!may_send(sender, &source))
		return DROP;
	return be16(view, at + 6) & 0x1fff ? ACCEPT : nested(view, at + head, view->b[at + 9], &dst);
}

static enum verdict inner6(const struct view *view, size_t at, const struct addr *sender)
{
	static const uint8_t zeros[15];
	bool fragment = false, later = false;
	struct addr source, dst;
	unsigned next;

	if (!has(view, at + 40) || view->b[at] >> 4 != 6 || !has(view, at + 40 + be16(view, at + 4)))
		return DROP;
	if (view->b[at + 8] == 0xff || (view->b[at + 8] == 0xfe && (view->b[at + 9] & 0xc0) == 0x80) ||
		(!memcmp(view->b + at + 8, zeros, 15) && view->b[at + 23] <= 1))
		return DROP;
	source = addr_at(view, at + 8, true);
	dst = addr_at(view, at + 24, true);
	if (!may_send(sender, &source))
		return DROP;
	next = view->b[at + 6];
	at += 40;
	if (!skip_headers(view, &at, &next, &fragment, &later))
		return DROP;
	return later ? ACCEPT : nested(view, at, next, &dst);
}

static unsigned vni_at(const struct view *view, size_t head)
{
	return be16(view, head + 4) << 8 | view->b[head + 6];
}

/* odd: fragments, options, extension headers. */
static enum verdict vxlan(const struct view *view, size_t udp, bool odd, const struct addr *sender)
{
	size_t head = udp + 8, frame = udp + 16;

	if (!is_port(view, udp) || (has(view, frame) && vni_at(view, head) != VNI))
		return OTHER;
	if (odd || !has(view, frame) || !(view->b[head] & 8) || !is_node(sender) || !has(view, frame + ETH))
		return DROP;
	switch (be16(view, frame + 12)) {
	case 0x0800:
		return inner4(view, frame + ETH, sender);
	case 0x86dd:
		return inner6(view, frame + ETH, sender);
	}
	return DROP;
}

static enum verdict outer4(const struct view *view, struct addr *dst)
{
	struct addr sender;
	unsigned fragment;
	size_t head;

	if (!has(view, ETH + 20) || view->b[ETH] >> 4 != 4 || (view->b[ETH] & 15) < 5)
		return OTHER;
	head = (view->b[ETH] & 15) * 4;
	fragment = be16(view, ETH + 6) & 0x3fff;
	sender = addr_at(view, ETH + 12, false);
	*dst = addr_at(view, ETH + 16, false);
	if (view->b[ETH + 9] == 4)
		return fragment || head != 20 || !is_node(&sender) ? DROP : inner4(view, ETH + 20, &sender);
	if (view->b[ETH + 9] != 17 || fragment & 0x1fff)
		return OTHER;
	return vxlan(view, ETH + head, fragment || head != 20, &sender);
}

static enum verdict outer6(const struct view *view, struct addr *dst)
{
	bool fragment = false, later = false;
	size_t at = ETH + 40;
	struct addr sender;
	unsigned next;

	if (!has(view, at) || view->b[ETH] >> 4 != 6)
		return OTHER;
	sender = addr_at(view, ETH + 8, true);
	*dst = addr_at(view, ETH + 24, true);
	next = view->b[ETH + 6];
	if (next == 17)
		return vxlan(view, at, false, &sender);
	if (!skip_headers(view, &at, &next, &fragment, &later))
		return DROP;
	return next == 17 && !later ? vxlan(view, at, true, &sender) : OTHER;
}

static enum verdict judge(const struct view *view)
{
	enum verdict verdict = OTHER;
	struct addr dst = {0};
	bool v6 = be16(view, 12) == 0x86dd;

	if (be16(view, 12) == 0x0800)
		verdict = outer4(view, &dst);
	else if (v6)
		verdict = outer6(view, &dst);
	/* the kernel looks for no route where the source is a group */
	return verdict == DROP && is_forwarded(&dst) && !(v6 && view->b[ETH + 8] == 0xff) ? OTHER : verdict;
}

/* -- making packets: a good one, then some bytes of it put wrong -- */

static uint64_t state_of_chance;

static unsigned chance(unsigned below)
{
	state_of_chance ^= state_of_chance << 13;
	state_of_chance ^= state_of_chance >> 7;
	state_of_chance ^= state_of_chance << 17;
	return (unsigned)(state_of_chance >> 11) % below;
}

static const char *one_of(const char *const *texts, size_t count)
{
	return texts[chance((unsigned)count)];
}

struct packet {
	uint8_t b[512];
	size_t len;
};

static size_t put(struct packet *packet, const void *bytes, size_t len)
{
	size_t at = packet->len;

	if (bytes)
		memcpy(packet->b + at, bytes, len);
	else
		memset(packet->b + at, 0, len);
	packet->len += len;
	return at;
}

static void put16(struct packet *packet, size_t at, unsigned value)
{
	packet->b[at] = (uint8_t)(value >> 8);
	packet->b[at + 1] = (uint8_t)value;
}

static size_t put_ip(struct packet *packet, bool v6, uint8_t protocol, const char *src, const char *dst)
{
	struct addr from = address(src), to = address(dst);
	size_t at = put(packet, NULL, v6 ? 40 : 20);

	packet->b[at] = v6 ? 0x60 : 0x45;
	packet->b[at + (v6 ? 6 : 9)] = protocol;
	packet->b[at + (v6 ? 7 : 8)] = 64;
	memcpy(packet->b + at + (v6 ? 8 : 12), addr_bytes(&from), v6 ? 16 : 4);
	memcpy(packet->b + at + (v6 ? 24 : 16), addr_bytes(&to), v6 ? 16 : 4);
	return at;
}

/* 8 bytes each; returns what stands first. */
static void put_headers(struct packet *packet, size_t ip, uint8_t last)
{
	static const uint8_t kinds[] = {0, 43, 44, 60, 135, 51};
	size_t next = ip + 6;

	for (unsigned n = chance(3) ? 0 : chance(10); n; n--) {
		size_t at = put(packet, NULL, 8);

		packet->b[next] = kinds[chance(sizeof(kinds))];
		if (packet->b[next] == 44 && !chance(3))
			put16(packet, at + 2, chance(0x10000));
		next = at;
	}
	packet->b[next] = last;
}

#define PICK(...) one_of((const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static void put_inner(struct packet *packet, bool v6)
{
	uint8_t protocol = (const uint8_t[]){17, 17, 6, 4}[chance(4)];
	size_t udp, ip = v6 ? put_ip(packet, true, protocol, PICK("fd00:10:244:2::1", "fd00:10:244:2::1", "fd00:10:244:7::1", "2001:db8:9::1"),
			PICK("fd00:10:244:1::9", "2001:db8::1")) :
		put_ip(packet, false, protocol, PICK("10.244.2.2", "10.244.2.2", "10.244.2.5", "10.244.99.1", "192.0.2.2", "203.0.113.1"),
			PICK("10.244.1.9", "192.0.2.1", "224.0.0.1"));

	if (v6)
		put_headers(packet, ip, protocol);
	udp = put(packet, NULL, 28);
	put16(packet, udp + 2, chance(3) ? 53 : PORT);
	put16(packet, ip + (v6 ? 4 : 2), (unsigned)(packet->len - ip - (v6 ? 40 : 0)));
}

static struct packet make(void)
{
	bool v6 = !chance(3), tunnel_ip = !v6 && !chance(3), inner_v6 = !tunnel_ip && !chance(2);
	struct packet packet = {0};
	size_t ip, udp, head;

	put(&packet, NULL, 12);
	put(&packet, v6 ? "\x86\xdd" : "\x08\x00", 2);
	ip = v6 ? put_ip(&packet, true, 17, PICK("2001:db8::2", "2001:db8::2", "2001:db8::7"),
			PICK("2001:db8::1", "2001:db8::1", "fe80::1", "fd00:10:244:1::3")) :
		put_ip(&packet, false, tunnel_ip ? 4 : 17, PICK("192.0.2.2", "192.0.2.2", "192.0.2.3", "192.0.2.9"),
			PICK("192.0.2.1", "192.0.2.1", "255.255.255.255", "10.244.1.3"));
	if (v6)
		put_headers(&packet, ip, 17);
	if (!tunnel_ip) {
		udp = put(&packet, NULL, 8);
		put16(&packet, udp + 2, PORT);
		head = put(&packet, NULL, 8);
		packet.b[head] = 8;
		put16(&packet, head + 4, VNI >> 8);
		packet.b[head + 6] = VNI & 255;
		put(&packet, NULL, 12);
		put(&packet, inner_v6 ? "\x86\xdd" : "\x08\x00", 2);
	}
	put_inner(&packet, inner_v6);
	if (!v6 && !chance(8))
		put16(&packet, ip + 6, (const uint16_t[]){0x2000, 0x4000, 0x2001, 100}[chance(4)]);
	for (unsigned n = chance(2) ? 0 : chance(4); n; n--)
		packet.b[ETH + chance((unsigned)packet.len - ETH)] = (uint8_t)chance(256);
	if (!chance(6)) {
		size_t least = ETH + (v6 ? 40 : 20); /* a test run takes none without its first header */

		packet.len = least + chance((unsigned)(packet.len - least));
	}
	return packet;
}

/* -- running -- */

static uint64_t accepted(const struct guard_bpf *guard)
{
	uint64_t packets = 0, bytes = 0;

	if (counter_sum(bpf_map__fd(guard->maps.counts), GUARD_COUNT_ACCEPTED, &packets, &bytes))
		abort();
	return packets;
}

static enum verdict run(const struct guard_bpf *guard, const struct packet *packet)
{
	struct __sk_buff context = {.ifindex = 1};
	uint64_t before = accepted(guard);
	uint8_t out[1024];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet->b, .data_size_in = (uint32_t)packet->len, .data_out = out,
		.data_size_out = sizeof(out), .ctx_in = &context, .ctx_size_in = sizeof(context), .repeat = 1);

	if (bpf_prog_test_run_opts(bpf_program__fd(guard->progs.guard), &opts)) {
		perror("test run");
		exit(1);
	}
	if (opts.retval == TC_ACT_SHOT)
		return DROP;
	return accepted(guard) > before ? ACCEPT : OTHER;
}

static void tell(const struct packet *packet, enum verdict want, enum verdict got)
{
	static const char *const words[] = {"not ours", "accepted", "dropped"};

	printf("%s by the book, %s by the program:", words[want], words[got]);
	for (size_t i = 0; i < packet->len; i++)
		printf("%s%02x", i % 32 ? " " : "\n  ", packet->b[i]);
	puts("");
}

static void command(const char *const *words)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		execvp(words[0], (char *const *)words);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status) {
		fprintf(stderr, "%s %s failed\n", words[0], words[1]);
		exit(1);
	}
}
#define COMMAND(...) command((const char *const[]){__VA_ARGS__, NULL})

static void lay_routes(void)
{
	if (unshare(CLONE_NEWNET)) {
		perror("unshare");
		exit(1);
	}
	COMMAND("ip", "link", "set", "lo", "up");
	COMMAND("ip", "addr", "add", "192.0.2.1/32", "dev", "lo");
	COMMAND("ip", "-6", "addr", "add", "2001:db8::1/128", "dev", "lo", "nodad");
	COMMAND("ip", "link", "add", "out", "type", "veth", "peer", "name", "outx");
	COMMAND("ip", "link", "set", "outx", "up");
	COMMAND("ip", "link", "set", "out", "up");
	COMMAND("ip", "route", "add", forwarded[0], "dev", "out");
	COMMAND("ip", "-6", "route", "add", forwarded[1], "dev", "out");
	COMMAND("sysctl", "-qw", "net.ipv4.conf.all.forwarding=1", "net.ipv6.conf.all.forwarding=1");
}

static struct guard_bpf *load(void)
{
	struct guard_config config = {.header = ETH, .vni = VNI, .port = htons(PORT), .vxlan = {1, 1}, .ipip = 1};
	struct guard_bpf *guard = guard_bpf__open();
	uint32_t nothing = 0;

	if (!guard)
		return NULL;
	memcpy((void *)&guard->rodata->config, &config, sizeof(config));
	if (guard_bpf__load(guard))
		return NULL;
	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
		struct addr addr = address(nodes[i]);
		struct packet_addr key = packet_addr_of(&addr);

		bpf_map_update_elem(bpf_map__fd(guard->maps.nodes), &key, &nothing, BPF_ANY);
	}
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		struct prefix prefix = prefix_of(sources[i].prefix);
		struct addr node = address(sources[i].node);
		struct packet_prefix key = packet_prefix_of(&prefix);
		struct guard_source source = {.node = packet_addr_of(&node)};

		bpf_map_update_elem(bpf_map__fd(guard->maps.sources), &key, &source, BPF_ANY);
	}
	return guard;
}

int main(int argc, char **argv)
{
	long rounds = argc > 1 ? atol(argv[1]) : ROUNDS;
	unsigned long seen[3] = {0}, wrong = 0;
	struct guard_bpf *guard;

	state_of_chance = argc > 2 ? strtoull(argv[2], NULL, 0) : 88172645463325252ULL;
	libbpf_be_quiet();
	lay_routes();
	guard = load();
	if (!guard) {
		perror("loading the guard");
		return 1;
	}
	for (long i = 0; i < rounds; i++) {
		struct packet packet = make();
		enum verdict want = judge(&(struct view){packet.b, packet.len}), got = run(guard, &packet);

		seen[want]++;
		if (want != got && wrong++ < 5)
			tell(&packet, want, got);
	}
	printf("%ld packets: %lu not ours, %lu accepted, %lu dropped; %lu judged wrong\n", rounds, seen[OTHER], seen[ACCEPT],
		seen[DROP], wrong);
	guard_bpf__destroy(guard);
	/* a test in which one of the three never comes up says nothing */
	return wrong || !seen[OTHER] || !seen[ACCEPT] || !seen[DROP];
}
