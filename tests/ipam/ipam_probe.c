/* SPDX-License-Identifier: Apache-2.0
 *
 * A node reduced to its IPAM: allocator, batch and repair on a store, led by lines on stdin.
 *
 *   ipam_probe directory|etcd|kube WHERE NODE POOL BLOCKLEN       (kube: WHERE is a kubeconfig)
 *
 *   hold ADDR POD    what the journal has; before start
 *   start
 *   take POD         "took POD ADDR", "none POD TEXT"; it waits for as long as it must
 *   rest POD ADDR    given back
 *   repair           "repaired COUNT" when the scan has ended; there is one every five seconds by itself
 *   lead             from now on it cleans up after deleted nodes
 *   status           "status IN_USE RESTING FREE BEHIND settled|busy"
 *   node NAME        makes a Node; gone NAME removes it: "done NAME"
 *   dump             "alloc ADDR HANDLE NODE" for each, "block CIDR AFFINITY" for each, "end"
 *   quit
 */
#include "base/buf.h"
#include "base/cleanup.h"
#include "client/etcd_options.h"
#include "client/kube.h"
#include "ipam/repair.h"
#include "objects/objects.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PODS_MAX 4096u

static struct {
	struct event_base *base;
	struct kube *kube; /* null: another store */
	struct objects *objects;
	struct allocator *allocator;
	struct reserve *reserve;
	struct repair *repair;
	const char *node;
	struct buf input;
	bool leads;
	uint64_t scans;
	struct event *scan_timer;
	struct pod {
		char name[64];
		struct addr addr; /* unset: it waits */
		bool used;
	} pods[PODS_MAX];
} probe;

static struct pod *pod_find(const char *name)
{
	for (size_t i = 0; i < PODS_MAX; i++) {
		if (probe.pods[i].used && strcmp(probe.pods[i].name, name) == 0)
			return &probe.pods[i];
	}
	return NULL;
}

static struct pod *pod_add(const char *name)
{
	for (size_t i = 0; i < PODS_MAX; i++) {
		struct pod *pod = &probe.pods[i];

		if (pod->used)
			continue;
		*pod = (struct pod){.used = true};
		snprintf(pod->name, sizeof(pod->name), "%s", name);
		return pod;
	}
	return NULL;
}

static uint64_t owner_of(const struct pod *pod)
{
	return (uint64_t)(pod - probe.pods) + 1;
}

static json_t *attributes_of(const struct pod *pod)
{
	return json_pack("{s:s, s:s, s:s}", "namespace", "default", "node", probe.node, "pod", pod->name);
}

static const char *handle_of(const struct pod *pod, char handle[static IPAM_HANDLE_MAX])
{
	ipam_pod_handle("net", pod->name, handle);
	return handle;
}

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

/* -- pods -- */

static void try_take(struct pod *pod)
{
	struct ipam_wish wish = {.family_index = FAMILY_4, .use = POOL_USE_WORKLOAD};
	json_t *attributes = attributes_of(pod);
	char handle[IPAM_HANDLE_MAX], text[ADDR_TEXT_MAX];
	struct ipam_owner owner = {handle_of(pod, handle), attributes};
	struct err err = ERR_INIT;
	int rc = reserve_take(probe.reserve, &wish, owner_of(pod), &owner, &pod->addr, &err);

	json_decref(attributes);
	if (rc == 0) {
		say("took %s %s", pod->name, addr_format(&pod->addr, text));
	} else if (rc != -EAGAIN) {
		say("none %s %s", pod->name, err_text(&err));
		pod->used = false;
	}
}

static void ready(void *ctx)
{
	for (size_t i = 0; i < PODS_MAX; i++) {
		if (probe.pods[i].used && !addr_is_set(&probe.pods[i].addr))
			try_take(&probe.pods[i]);
	}
}

static void lost(void *ctx, const struct addr *addr, uint64_t owner)
{
	char text[ADDR_TEXT_MAX];

	say("lost %s %s", probe.pods[owner - 1].name, addr_format(addr, text));
}

static void report(void *ctx, const char *text)
{
	if (*text)
		fprintf(stderr, "%s: %s\n", probe.node, text);
}

static bool lives(void *ctx, const char *handle, const struct addr *addr)
{
	for (size_t i = 0; i < PODS_MAX; i++) {
		char own[IPAM_HANDLE_MAX];

		if (probe.pods[i].used && strcmp(handle_of(&probe.pods[i], own), handle) == 0)
			return true;
	}
	return false;
}

static bool leads(void *ctx)
{
	return probe.leads;
}

/* -- the store, for the test -- */

static void dump_block(void *ctx, const json_t *object)
{
	struct ipam_block *block = NULL;
	struct err err = ERR_INIT;
	char text[PREFIX_TEXT_MAX];

	if (ipam_block_decode(object, &block, &err) < 0) {
		say("damaged %s", err_text(&err));
		return;
	}
	say("block %s %s", prefix_format(&block->cidr, text), block->affinity ? block->affinity : "-");
	for (unsigned i = 0; i < block->count; i++) {
		const struct ipam_attr *attr = ipam_block_owner(block, i);
		struct addr addr = ipam_block_addr(block, i);
		char addr_text[ADDR_TEXT_MAX];

		if (ipam_attr_in_use(attr))
			say("alloc %s %s %s", addr_format(&addr, addr_text), attr->handle,
				ipam_attr_get(attr, "node"));
	}
	ipam_block_free(&block);
}

static void dumped(void *ctx, const struct objects_answer *answer)
{
	say(answer->rc < 0 ? "failed %s" : "end%s", answer->text);
}

static void node_done(void *ctx, const struct objects_answer *answer)
{
	char *name = ctx;

	say("done %s %d", name, answer->rc);
	free(name);
}

static void node_read(void *ctx, const struct objects_answer *answer)
{
	if (answer->rc < 0)
		node_done(ctx, answer);
	else
		objects_delete(probe.objects, KIND_NODE, answer->object, node_done, ctx);
}

static void set_node(const char *name, bool present)
{
	json_t *object = json_pack(
		"{s:s, s:s, s:{s:s}}", "apiVersion", "v1", "kind", "Node", "metadata", "name", name);
	struct object_key key = {.kind = KIND_NODE, .name = name};

	if (present)
		objects_create(probe.objects, KIND_NODE, object, node_done, strdup(name));
	else
		objects_get(probe.objects, &key, node_read, strdup(name));
	json_decref(object);
}

/* -- lines -- */

static void scan_ended(evutil_socket_t fd, short what, void *ctx)
{
	struct timeval wait = {.tv_usec = 50000};

	if (repair_counts(probe.repair)->scans == probe.scans || allocator_busy(probe.allocator) > 0) {
		evtimer_add(probe.scan_timer, &wait);
		return;
	}
	say("repaired %llu", (unsigned long long)repair_counts(probe.repair)->released);
}

static void begin_repair(void)
{
	probe.scans = repair_counts(probe.repair)->scans;
	repair_begin(probe.repair);
	scan_ended(-1, 0, NULL);
}

static void hold(const char *addr_text, const char *name)
{
	struct pod *pod = pod_add(name);
	json_t *attributes = attributes_of(pod);
	char handle[IPAM_HANDLE_MAX];
	struct ipam_owner owner = {handle_of(pod, handle), attributes};
	uint64_t before;

	if (addr_parse(addr_text, &pod->addr) < 0 ||
		reserve_hold(probe.reserve, &pod->addr, owner_of(pod), &owner, &before) < 0)
		say("bad hold %s", addr_text);
	json_decref(attributes);
}

static void start(void)
{
	struct ipam_wish wish = {.family_index = FAMILY_4, .use = POOL_USE_WORKLOAD};

	reserve_want(probe.reserve, &wish, NULL);
	reserve_start(probe.reserve);
}

static void rest(const char *name)
{
	struct pod *pod = pod_find(name);

	if (!pod)
		return;
	reserve_rest(probe.reserve, &pod->addr, owner_of(pod));
	pod->used = false;
}

static void status(void)
{
	struct reserve_counts counts;

	reserve_count(probe.reserve, FAMILY_4, &counts);
	say("status %zu %zu %zu %zu %s", counts.in_use, counts.resting, counts.free, counts.behind,
		reserve_is_settled(probe.reserve) ? "settled" : "busy");
}

static void obey(char *line)
{
	char *save = NULL, *verb = strtok_r(line, " ", &save), *a = strtok_r(NULL, " ", &save);
	char *b = strtok_r(NULL, " ", &save);

	if (!verb)
		return;
	if (strcmp(verb, "hold") == 0 && b)
		hold(a, b);
	else if (strcmp(verb, "start") == 0)
		start();
	else if (strcmp(verb, "take") == 0 && a)
		try_take(pod_add(a));
	else if (strcmp(verb, "rest") == 0 && a)
		rest(a);
	else if (strcmp(verb, "repair") == 0)
		begin_repair();
	else if (strcmp(verb, "lead") == 0)
		probe.leads = true;
	else if (strcmp(verb, "status") == 0)
		status();
	else if (strcmp(verb, "node") == 0 || strcmp(verb, "gone") == 0)
		set_node(a, verb[0] == 'n');
	else if (strcmp(verb, "dump") == 0)
		objects_list(probe.objects, KIND_IPAM_BLOCK, NULL, dump_block, dumped, NULL);
	else
		event_base_loopbreak(probe.base);
}

static void on_input(evutil_socket_t fd, short what, void *ctx)
{
	char *room = buf_reserve(&probe.input, 4096), *end;
	ssize_t got = room ? read(fd, room, 4096) : 0;

	if (got <= 0) {
		event_base_loopbreak(probe.base);
		return;
	}
	probe.input.len += (size_t)got;
	while ((end = memchr(probe.input.data, '\n', probe.input.len))) {
		*end = '\0';
		obey(probe.input.data);
		buf_consume(&probe.input, (size_t)(end - probe.input.data) + 1);
	}
}

/* -- life -- */

static struct ipam_world *world_new(const char *pool, const char *block_len)
{
	struct ipam_world *world = calloc(1, sizeof(*world));

	world->refs = 1;
	world->config.auto_allocate_blocks = true;
	world->pools = calloc(1, sizeof(*world->pools));
	world->pool_count = 1;
	world->pools[0] = (struct ipam_pool){.name = strdup("pool"),
		.block_len = (uint8_t)atoi(block_len),
		.usable = true,
		.selects_node = true,
		.uses = POOL_USE_WORKLOAD};
	if (prefix_parse(pool, &world->pools[0].cidr) < 0)
		exit(2);
	return world;
}

static int open_store(char **argv, struct err *err)
{
	struct etcd_client_options etcd = {.endpoints = argv[2]};
	struct kube_options kube = {.kubeconfig = argv[2]};
	int rc;

	if (strcmp(argv[1], "directory") == 0)
		return objects_directory_new(argv[2], probe.base, &probe.objects, err);
	if (strcmp(argv[1], "etcd") == 0)
		return objects_etcd_new(&etcd, probe.base, &probe.objects, err);
	rc = kube_new(&kube, probe.base, &probe.kube, err);
	return rc < 0 ? rc : objects_kube_new(probe.kube, NULL, probe.base, &probe.objects, err);
}

static void open_ipam(char **argv)
{
	struct allocator_options options = {.objects = probe.objects, .node = argv[3], .backoff_ms = 100};
	struct reserve_options batch = {
		.low = 2, .high = 4, .rest_s = 1, .lost = lost, .ready = ready, .report = report};
	struct repair_options repair = {
		.period_s = 5, .grace_s = 1, .lives = lives, .leads = leads, .report = report};

	if (allocator_new(probe.base, &options, &probe.allocator) < 0)
		exit(2);
	allocator_set_world(probe.allocator, world_new(argv[4], argv[5]));
	if (reserve_new(probe.base, probe.allocator, &batch, &probe.reserve) < 0 ||
		repair_new(probe.base, probe.allocator, probe.reserve, &repair, &probe.repair) < 0)
		exit(2);
}

int main(int argc, char **argv)
{
	struct err err = ERR_INIT;
	struct event *input;

	if (argc < 6)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	probe.base = event_base_new();
	probe.input = BUF_INIT(1 << 20);
	probe.node = argv[3];
	if (open_store(argv, &err) < 0) {
		say("failed %s", err_text(&err));
		return 1;
	}
	open_ipam(argv);
	probe.scan_timer = evtimer_new(probe.base, scan_ended, NULL);
	input = event_new(probe.base, STDIN_FILENO, EV_READ | EV_PERSIST, on_input, NULL);
	event_add(input, NULL);
	event_base_dispatch(probe.base);
	reserve_free(probe.reserve);
	allocator_free(probe.allocator);
	repair_free(probe.repair);
	objects_free(probe.objects);
	if (probe.kube)
		kube_free(probe.kube);
	event_free(input);
	event_free(probe.scan_timer);
	event_base_free(probe.base);
	buf_free(&probe.input);
	return 0;
}
