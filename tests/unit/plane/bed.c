/* SPDX-License-Identifier: Apache-2.0 */
#include "bed.h"

#include "base/cleanup.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEADLINE_MS 10000
#define WORDS_MAX   40

/* The carrier's programs are tested in tests/bpf; here its calls are enough. */
struct carrier {
	int unused;
};

int carrier_new(const char *bpffs, struct carrier **ret, struct err *err)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

int carrier_apply(struct carrier *carrier, const char *name, const struct wanted_carrier *wanted, struct err *err)
{
	return 0;
}

void carrier_free(struct carrier *carrier)
{
	free(carrier);
}

int carrier_remove(const char *bpffs, struct err *err)
{
	return 0;
}

int carrier_get_stats(const struct carrier *carrier, struct carrier_stat ret[static CARRIER_STATS_MAX],
	size_t *ret_count, struct err *err)
{
	*ret_count = 0;
	return 0;
}

static int deadline_ms(void)
{
	const char *slow = getenv("TULLE_SLOW");
	int factor = slow ? atoi(slow) : 1;

	return DEADLINE_MS * (factor > 0 ? factor : 1);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int run_words(const char *fmt, va_list ap, struct buf *out) __attribute__((format(printf, 1, 0)));

static int run_words(const char *fmt, va_list ap, struct buf *out)
{
	_cleanup_(buf_free) struct buf line = BUF_INIT(4096);
	_cleanup_(process_result_free) struct process_result result = {0};
	const char *argv[WORDS_MAX + 1] = {0};
	struct err err = ERR_INIT;
	char *save = NULL;
	int count = 0;

	buf_vprintf(&line, fmt, ap);
	for (char *word = strtok_r(line.data, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		assert_true(count < WORDS_MAX);
		argv[count++] = word;
	}
	if (process_run(argv, NULL, 0, deadline_ms(), &result, &err) < 0)
		fail_msg("%s", err_text(&err));
	if (out)
		buf_add(out, result.out.data, result.out.len);
	if (result.status && !out)
		print_message("%s: %s\n", argv[0], buf_text(&result.errors));
	return result.status;
}

void bed_run(const char *fmt, ...)
{
	va_list ap;
	int status;

	va_start(ap, fmt);
	status = run_words(fmt, ap, NULL);
	va_end(ap);
	if (status)
		fail_msg("%s: exit code %d", fmt, status);
}

int bed_try(struct buf *out, const char *fmt, ...)
{
	va_list ap;
	int status;

	va_start(ap, fmt);
	status = run_words(fmt, ap, out);
	va_end(ap);
	return status;
}

void bed_feed(const char *program, const char *input)
{
	const char *argv[] = {program, "-f", "-", NULL};
	_cleanup_(process_result_free) struct process_result result = {0};
	struct err err = ERR_INIT;

	assert_int_equal(process_run(argv, input, strlen(input), deadline_ms(), &result, &err), 0);
	if (result.status)
		fail_msg("%s: %s", program, buf_text(&result.errors));
}

size_t bed_count(const char *text, const char *fmt, ...)
{
	_cleanup_(buf_free) struct buf out = BUF_INIT(16u << 20);
	size_t count = 0;
	va_list ap;

	va_start(ap, fmt);
	run_words(fmt, ap, &out);
	va_end(ap);
	for (char *line = out.data, *end; line && *line; line = end + 1) {
		end = strchr(line, '\n');
		if (!end)
			end = line + strlen(line) - 1;
		else
			*end = 0;
		count += strstr(line, text) != NULL;
	}
	return count;
}

char *bed_dump(void)
{
	struct buf out = BUF_INIT(16u << 20);

	bed_try(&out, "ip -o link");
	bed_try(&out, "ip route show table all");
	bed_try(&out, "ip -6 route show table all");
	bed_try(&out, "nft -s list ruleset");
	bed_try(&out, "ip neigh show nud permanent");
	return out.data;
}

static void on_changed(void *ctx)
{
	struct bed *bed = ctx;

	bed->changed++;
	bed->err = ERR_INIT;
	bed->result = plane_apply(bed->plane, &bed->wanted, &bed->err);
}

void bed_start(struct bed *bed)
{
	struct plane_options options = {.bpffs = bed->bpffs ? bed->bpffs : "/nonexistent", .nft = "nft", .changed = on_changed, .ctx = bed};
	struct err err = ERR_INIT;

	if (plane_new_sized(bed->base, &options, bed->receive_buffer, &bed->plane, &err) < 0)
		fail_msg("%s", err_text(&err));
}

void bed_stop(struct bed *bed)
{
	plane_free(bed->plane);
	bed->plane = NULL;
}

int bed_setup(void **state)
{
	struct bed *bed = calloc(1, sizeof(*bed));

	if (!bed || unshare(CLONE_NEWNET) < 0)
		return -1;
	bed_run("ip link set lo up");
	bed_run("ip link add up0 type veth peer name up0x");
	bed_run("ip addr add 192.0.2.1/24 dev up0");
	bed_run("ip -6 addr add 2001:db8::1/64 dev up0 nodad");
	bed_run("ip link set up0 up");
	bed_run("ip link set up0x up");
	bed->base = event_base_new();
	wanted_init(&bed->wanted);
	bed->wanted.sweep = true;
	bed_start(bed);
	*state = bed;
	return 0;
}

int bed_teardown(void **state)
{
	struct bed *bed = *state;

	bed_stop(bed);
	wanted_free(&bed->wanted);
	event_base_free(bed->base);
	free(bed);
	/* the namespace goes with the next unshare or the process */
	return unshare(CLONE_NEWNET);
}

void bed_apply(struct bed *bed)
{
	wanted_finish(&bed->wanted);
	bed->err = ERR_INIT;
	bed->result = plane_apply(bed->plane, &bed->wanted, &bed->err);
	if (bed->result < 0)
		fail_msg("apply: %s", err_text(&bed->err));
}

static void loop_for(struct bed *bed, int ms)
{
	struct timeval after = {.tv_usec = ms * 1000};

	event_base_loopexit(bed->base, &after);
	event_base_dispatch(bed->base);
}

void bed_wait(struct bed *bed, bool (*check)(struct bed *bed))
{
	int64_t deadline = now_ms() + deadline_ms();

	while (!check(bed)) {
		if (now_ms() > deadline)
			fail_msg("not repaired: changed() called %u times, last apply: %s", bed->changed,
				bed->result < 0 ? err_text(&bed->err) : "ok");
		loop_for(bed, 20);
	}
}

void bed_settle(struct bed *bed)
{
	int64_t deadline = now_ms() + deadline_ms();
	unsigned before;

	do {
		if (now_ms() > deadline)
			fail_msg("changed() is called again and again: %u times", bed->changed);
		before = bed->changed;
		loop_for(bed, 300); /* longer than the plane waits when changes go on */
	} while (bed->changed != before);
}

struct addr bed_addr(const char *text)
{
	struct addr addr;

	assert_int_equal(addr_parse(text, &addr), 0);
	return addr;
}

struct prefix bed_prefix(const char *text)
{
	struct prefix prefix;

	assert_int_equal(prefix_parse(text, &prefix), 0);
	return prefix;
}

struct mac bed_mac(const char *text)
{
	struct mac mac;

	assert_int_equal(mac_parse(text, &mac), 0);
	return mac;
}

void bed_want_vxlan(struct bed *bed, int family)
{
	bool is_4 = family == AF_INET;
	int f = family_index(family);
	struct wanted_link link = {
		.kind = LINK_VXLAN,
		.mtu = is_4 ? 1450 : 1430,
		.mac = bed_mac(is_4 ? "02:00:00:00:00:01" : "02:00:00:00:06:01"),
		.vni = 1,
		.local = bed_addr(is_4 ? "192.0.2.1" : "2001:db8::1"),
		.lower = "up0",
	};

	snprintf(link.name, sizeof(link.name), "%s", is_4 ? "flannel.1" : "flannel-v6.1");
	link.addr[f] = bed_prefix(is_4 ? "10.42.0.0/32" : "fd00:42::/128");
	link.foreign[f] = bed_prefix(is_4 ? "10.42.0.0/16" : "fd00:42::/48");
	assert_int_equal(wanted_add_link(&bed->wanted, &link), 0);
}

static void want_peer(struct bed *bed, const char *subnet, unsigned len, const char *dev, const char *mac,
	const char *public_ip)
{
	struct wanted_neigh neigh = {.addr = bed_addr(subnet), .mac = bed_mac(mac)};
	struct wanted_fdb fdb = {.mac = neigh.mac, .dst = bed_addr(public_ip)};
	struct wanted_route route = {.dst = prefix_make(&neigh.addr, len), .via = neigh.addr, .onlink = true};

	snprintf(neigh.dev, sizeof(neigh.dev), "%s", dev);
	snprintf(fdb.dev, sizeof(fdb.dev), "%s", dev);
	snprintf(route.dev, sizeof(route.dev), "%s", dev);
	assert_int_equal(wanted_add_neigh(&bed->wanted, &neigh), 0);
	assert_int_equal(wanted_add_fdb(&bed->wanted, &fdb), 0);
	assert_int_equal(wanted_add_route(&bed->wanted, &route), 0);
}

void bed_want_peer(struct bed *bed, unsigned n, const char *mac, const char *public_ip)
{
	char subnet[ADDR_TEXT_MAX], own_mac[MAC_TEXT_MAX];

	snprintf(subnet, sizeof(subnet), "10.%u.%u.0", 42 + n / 256, n % 256);
	snprintf(own_mac, sizeof(own_mac), "02:00:00:01:%02x:%02x", n / 256 % 256, n % 256);
	want_peer(bed, subnet, 24, "flannel.1", mac ? mac : own_mac, public_ip ? public_ip : "192.0.2.2");
}

void bed_want_peer6(struct bed *bed, unsigned n, const char *mac, const char *public_ip)
{
	char subnet[ADDR_TEXT_MAX], own_mac[MAC_TEXT_MAX];

	snprintf(subnet, sizeof(subnet), "fd00:42:0:%x::", n);
	snprintf(own_mac, sizeof(own_mac), "02:00:00:06:%02x:%02x", n / 256 % 256, n % 256);
	want_peer(bed, subnet, 64, "flannel-v6.1", mac ? mac : own_mac, public_ip ? public_ip : "2001:db8::2");
}

void bed_want_route(struct bed *bed, const char *dst, const char *via, const char *dev)
{
	struct wanted_route route = {.dst = bed_prefix(dst)};

	if (via)
		route.via = bed_addr(via);
	if (dev)
		snprintf(route.dev, sizeof(route.dev), "%s", dev);
	else
		route.kind = ROUTE_BLACKHOLE;
	assert_int_equal(wanted_add_route(&bed->wanted, &route), 0);
}

void bed_want_none(struct bed *bed)
{
	bool sweep = bed->wanted.sweep;

	wanted_free(&bed->wanted);
	wanted_init(&bed->wanted);
	bed->wanted.sweep = sweep;
}
