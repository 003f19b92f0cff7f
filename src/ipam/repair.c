/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam/repair.h"

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/json.h"
#include "ipam/affinities.h"
#include "ipam/call.h"
#include "ipam/repair_scan.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define PERIOD_S 300u
#define GRACE_S 60u

/* Something that was found without an owner, and since when; gone from the table when a scan does not find it
 * so. */
struct suspect {
	char key[320]; /* address and sequence number, or a node */
	int64_t since; /* milliseconds */
	uint64_t scan; /* last one that saw it */
	UT_hash_handle hh;
};

struct repair {
	struct allocator *allocator;
	const struct reserve *reserve;
	struct repair_options options;
	struct event *timer;
	struct ipam_call *call;
	struct suspect *suspects;
	struct repair_counts counts;
};

struct repair_call {
	struct ipam_call call; /* first */
	struct repair *repair;
};

static int64_t now_ms(const struct repair *repair)
{
	struct timespec now;

	if (repair->options.now)
		return repair->options.now(repair->options.ctx);
	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void report(const struct repair *repair, const char *text)
{
	if (repair->options.report)
		repair->options.report(repair->options.ctx, text);
}

/* -- suspects -- */

/* True: for long enough. */
static bool suspect(struct repair *repair, const char *key)
{
	int64_t now = now_ms(repair);
	struct suspect *found;

	HASH_FIND_STR(repair->suspects, key, found);
	if (!found) {
		found = calloc(1, sizeof(*found));
		if (!found)
			return false;
		snprintf(found->key, sizeof(found->key), "%s", key);
		found->since = now;
		HASH_ADD_STR(repair->suspects, key, found);
	}
	found->scan = repair->counts.scans;
	repair->counts.candidates++;
	return found->since + (int64_t)repair->options.grace_s * 1000 <= now;
}

static bool suspect_address(struct repair *repair, const struct scan_address *address)
{
	char key[320], text[ADDR_TEXT_MAX];

	snprintf(key, sizeof(key), "%s %llu", addr_format(&address->addr, text),
		(unsigned long long)address->sequence);
	return suspect(repair, key);
}

static void forget_cleared(struct repair *repair)
{
	struct suspect *item, *next;

	HASH_ITER (hh, repair->suspects, item, next) {
		if (item->scan == repair->counts.scans)
			continue;
		HASH_DEL(repair->suspects, item);
		free(item);
	}
}

static int release(
	struct repair *repair, struct task *task, const struct scan_address *address, struct err *err)
{
	struct ipam_claim claim = {address->addr, address->handle, address->sequence};
	char text[256], addr[ADDR_TEXT_MAX];
	int rc = call_release_addr(task, &claim, err);

	if (rc == 1) {
		repair->counts.released++;
		snprintf(text, sizeof(text), "address %s: released, %s of node %s is gone",
			addr_format(&address->addr, addr), address->pod ? "its pod" : "it", address->node);
		report(repair, text);
		if (address->pod && address->handle)
			rc = call_drop_handle(task, address->handle, err);
	}
	return rc == 1 || rc == -ESTALE ? 0 : rc;
}

/* -- this node -- */

static bool is_leaked_here(const struct repair *repair, const struct scan_address *address)
{
	if (!address->pod || address->tunnel || strcmp(address->node, allocator_node(repair->allocator)) != 0)
		return false;
	if (repair->reserve && reserve_knows(repair->reserve, &address->addr))
		return false;
	return !repair->options.lives(repair->options.ctx, address->handle, &address->addr);
}

static int repair_own(struct repair *repair, struct task *task, const struct scan *scan, struct err *err)
{
	int rc = 0;

	/* once it is abandoned, the batch and whoever knows the pods are gone */
	for (size_t i = 0; i < scan->address_count && rc == 0 && !task->abandoned; i++) {
		const struct scan_address *address = &scan->addresses[i];

		/* asked a second time because other releases took their time */
		if (address->node && is_leaked_here(repair, address) && suspect_address(repair, address) &&
			is_leaked_here(repair, address))
			rc = release(repair, task, address, err);
	}
	return rc;
}

/* -- nodes that are no more -- */

static int node_exists(struct task *task, const char *node, struct err *err)
{
	_cleanup_(json_cleanup) json_t *object = NULL;
	int rc = task_get(task, KIND_NODE, NULL, node, &object, err);

	return rc == 0 ? 1 : rc == -ENOENT ? 0 : rc;
}

static bool is_finished(const json_t *pod)
{
	const char *phase = json_string_value(json_object_get(json_object_get(pod, "status"), "phase"));

	return phase && (strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0);
}

/* What cannot be judged counts as valid. */
static bool is_valid_elsewhere(struct task *task, const struct scan_address *address)
{
	_cleanup_(json_cleanup) json_t *pod = NULL;
	const char *node;
	int rc;

	if (address->tunnel)
		return false;
	if (!address->pod || !address->namespace)
		return true;
	rc = task_get(task, KIND_POD, address->namespace, address->pod, &pod, NULL);
	if (rc < 0)
		return rc != -ENOENT;
	node = json_string_value(json_object_get(json_object_get(pod, "spec"), "nodeName"));
	return node && strcmp(node, address->node) == 0 && !is_finished(pod);
}

static int release_addresses(struct repair *repair, struct task *task, const struct scan *scan,
	const char *node, bool tunnels, size_t *ret_valid, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < scan->address_count && rc == 0; i++) {
		const struct scan_address *address = &scan->addresses[i];

		if (!address->node || strcmp(address->node, node) != 0 || address->tunnel != tunnels)
			continue;
		if (is_valid_elsewhere(task, address))
			++*ret_valid;
		else
			rc = release(repair, task, address, err);
	}
	return rc;
}

static int release_blocks(
	struct repair *repair, struct task *task, const struct scan *scan, const char *node, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < scan->block_count && rc == 0; i++) {
		struct affinity_release what = {.node = node, .cidr = scan->blocks[i].cidr};

		if (!scan->blocks[i].node || strcmp(scan->blocks[i].node, node) != 0)
			continue;
		rc = affinity_release(task, &what, err);
		repair->counts.affinities += rc == 0;
		rc = rc == -EBUSY ? 0 : rc;
	}
	return rc;
}

static int drop_batch(struct task *task, const char *node, struct err *err)
{
	char handle[IPAM_HANDLE_MAX];
	int rc = ipam_reserve_handle(node, handle);

	return rc < 0 ? 0 : call_drop_handle(task, handle, err);
}

static int repair_node(
	struct repair *repair, struct task *task, const struct scan *scan, const char *node, struct err *err)
{
	char key[320];
	size_t valid = 0;
	int rc = node_exists(task, node, err);

	if (rc != 0)
		return rc < 0 ? rc : 0;
	snprintf(key, sizeof(key), "node %s", node);
	if (!suspect(repair, key))
		return 0;
	rc = release_addresses(repair, task, scan, node, false, &valid, err);
	/* the node's own addresses and blocks go last, so that whoever comes after us still sees whose the
	 * rest was */
	if (rc == 0 && valid == 0)
		rc = release_addresses(repair, task, scan, node, true, &valid, err);
	if (rc == 0 && valid == 0)
		rc = drop_batch(task, node, err);
	if (rc == 0 && valid == 0)
		rc = release_blocks(repair, task, scan, node, err);
	return rc;
}

static const char *nth_node(const struct scan *scan, size_t i)
{
	return i < scan->block_count ? scan->blocks[i].node : scan->addresses[i - scan->block_count].node;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int repair_others(struct repair *repair, struct task *task, const struct scan *scan, struct err *err)
{
	size_t most = scan->block_count + scan->address_count, count = 0;
	_cleanup_free_ const char **nodes = calloc(most + 1, sizeof(*nodes));
	int rc = 0;

	if (!nodes)
		return err_set(err, -ENOMEM, "no memory for %zu nodes", most);
	for (size_t i = 0; i < most; i++) {
		const char *node = nth_node(scan, i);

		if (node && strcmp(node, allocator_node(repair->allocator)) != 0)
			nodes[count++] = node;
	}
	qsort(nodes, count, sizeof(*nodes), by_text);
	for (size_t i = 0; i < count && rc == 0; i++) {
		if (i == 0 || strcmp(nodes[i], nodes[i - 1]) != 0)
			rc = repair_node(repair, task, scan, nodes[i], err);
	}
	return rc;
}

/* -- scans -- */

static int repair_run(struct ipam_call *call, struct err *err)
{
	struct repair *repair = ((struct repair_call *)call)->repair;
	struct scan scan = {0};
	int rc = scan_take(&call->task, &scan, err);

	if (rc < 0)
		return rc;
	repair->counts.scans++;
	repair->counts.candidates = 0;
	repair->counts.damaged = scan.damaged;
	if (scan.damaged)
		report(repair, scan.damage);
	rc = repair_own(repair, &call->task, &scan, err);
	if (rc == 0 && !call->task.abandoned && repair->options.leads && repair->options.leads(repair->options.ctx))
		rc = repair_others(repair, &call->task, &scan, err);
	if (rc == 0)
		forget_cleared(repair);
	scan_free(&scan);
	return rc;
}

static void ended(void *ctx, const struct ipam_result *result)
{
	struct repair *repair = ctx;
	struct timeval wait = {.tv_sec = repair->options.period_s};

	repair->call = NULL;
	if (result->rc < 0)
		report(repair, result->text);
	/* suspects are looked at again as soon as their time is up */
	if (repair->suspects && repair->options.grace_s < repair->options.period_s)
		wait.tv_sec = (time_t)repair->options.grace_s + 1;
	evtimer_add(repair->timer, &wait);
}

void repair_begin(struct repair *repair)
{
	struct repair_call *call =
		repair->call ? NULL : call_new(sizeof(*call), repair->allocator, ended, repair);

	if (!call)
		return;
	call->call.work = repair_run;
	call->repair = repair;
	repair->call = call_start(&call->call);
}

static void timer_ran(evutil_socket_t fd, short what, void *ctx)
{
	struct repair *repair = ctx;
	struct timeval wait = {.tv_sec = repair->options.period_s};

	repair_begin(repair);
	if (!repair->call)
		evtimer_add(repair->timer, &wait);
}

int repair_new(struct event_base *base, struct allocator *allocator, const struct reserve *reserve,
	const struct repair_options *options, struct repair **ret)
{
	struct repair *repair = calloc(1, sizeof(*repair));
	struct timeval wait;

	if (!repair)
		return -ENOMEM;
	repair->allocator = allocator;
	repair->reserve = reserve;
	repair->options = *options;
	repair->options.period_s = options->period_s ? options->period_s : PERIOD_S;
	repair->options.grace_s = options->grace_s ? options->grace_s : GRACE_S;
	repair->timer = evtimer_new(base, timer_ran, repair);
	if (!repair->timer) {
		free(repair);
		return -ENOMEM;
	}
	wait = (struct timeval){.tv_sec = repair->options.period_s};
	evtimer_add(repair->timer, &wait);
	*ret = repair;
	return 0;
}

void repair_free(struct repair *repair)
{
	struct suspect *item, *next;

	if (!repair)
		return;
	HASH_ITER (hh, repair->suspects, item, next) {
		HASH_DEL(repair->suspects, item);
		free(item);
	}
	event_free(repair->timer);
	free(repair);
}

const struct repair_counts *repair_counts(const struct repair *repair)
{
	return &repair->counts;
}
