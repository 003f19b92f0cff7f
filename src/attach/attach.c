/* SPDX-License-Identifier: Apache-2.0 */
#include "attach/attach_internal.h"

#include "attach/attach_link.h"
#include "attach/host_local.h"
#include "attach/takeover.h"
#include "base/cleanup.h"
#include "plane/podprog.h"

#include <errno.h>
#include <event2/event.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

#define HOST_DIGITS 11
#define REWRITE_MIN (256u * 1024)
#define REWRITE_PER_POD 2048u

int64_t attach_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int attach_step(struct attacher *attacher, const char *name, struct err *err)
{
	int rc = attacher->step ? attacher->step(attacher->step_ctx, name) : 0;

	return rc < 0 ? err_set(err, rc, "step %s was made to fail", name) : 0;
}

void attach_report(struct attacher *attacher, const char *fmt, ...)
{
	char text[900];
	va_list ap;

	if (!attacher->options.report)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	attacher->options.report(attacher->options.ctx, text);
}

void attach_changed(struct attacher *attacher)
{
	if (attacher->options.changed)
		attacher->options.changed(attacher->options.ctx);
}

void attach_host_ifname(const char *prefix, const char *container_id, const char *ifname, char name[IFNAMSIZ])
{
	unsigned char digest[EVP_MAX_MD_SIZE] = {0};
	char both[ATTACH_ID_MAX + IFNAMSIZ], hex[HOST_DIGITS + 2];

	snprintf(both, sizeof(both), "%s%s", container_id, ifname);
	EVP_Digest(both, strlen(both), digest, NULL, EVP_sha1(), NULL);
	for (int i = 0; i * 2 < HOST_DIGITS; i++)
		snprintf(hex + i * 2, 3, "%02x", digest[i]);
	snprintf(name, IFNAMSIZ, "%.*s%.*s", IFNAMSIZ - 1 - HOST_DIGITS, prefix, HOST_DIGITS, hex);
}

void attach_set_gate(struct attacher *attacher, const struct attach_gate *gate)
{
	attacher->gate = gate ? *gate : (struct attach_gate){0};
}

/* -- the table -- */

static char *key_of(const char *container_id, const char *ifname)
{
	char *key;

	return asprintf(&key, "%s/%s", container_id, ifname) < 0 ? NULL : key;
}

struct attach_pod *attach_pod_new(
	uint64_t serial, const struct attachment *attachment, const void *record, size_t len)
{
	struct attach_pod *pod = calloc(1, sizeof(*pod));

	if (!pod)
		return NULL;
	pod->serial = serial;
	memcpy(pod->addr, attachment->addr, sizeof(pod->addr));
	pod->mac = attachment->mac;
	pod->flannel = attachment->flannel;
	memcpy(pod->ifname, attachment->ifname, sizeof(pod->ifname));
	memcpy(pod->host_ifname, attachment->host_ifname, sizeof(pod->host_ifname));
	pod->netns_dev = attachment->netns_dev;
	pod->netns_ino = attachment->netns_ino;
	pod->key = key_of(attachment->container_id, attachment->ifname);
	pod->record = malloc(len);
	pod->record_len = len;
	if (!pod->key || !pod->record) {
		attach_pod_free(pod);
		return NULL;
	}
	memcpy(pod->record, record, len);
	return pod;
}

void attach_pod_free(struct attach_pod *pod)
{
	if (!pod)
		return;
	free(pod->key);
	free(pod->record);
	free(pod);
}

struct attach_pod *attach_pod_find(
	const struct attacher *attacher, const char *container_id, const char *ifname)
{
	_cleanup_free_ char *key = key_of(container_id, ifname);
	struct attach_pod *pod = NULL;

	if (key)
		HASH_FIND_STR(attacher->pods, key, pod);
	return pod;
}

struct attach_pod *attach_pod_by_host_ifname(const struct attacher *attacher, const char *host_ifname)
{
	struct attach_pod *pod, *next;

	HASH_ITER(hh, attacher->pods, pod, next)
	{
		if (strcmp(pod->host_ifname, host_ifname) == 0)
			return pod;
	}
	return NULL;
}

void attach_pod_add(struct attacher *attacher, struct attach_pod *pod)
{
	HASH_ADD_KEYPTR(hh, attacher->pods, pod->key, strlen(pod->key), pod);
}

void attach_pod_remove(struct attacher *attacher, struct attach_pod *pod)
{
	if (pod->closing_since)
		DL_DELETE(attacher->closing, pod);
	else
		HASH_DEL(attacher->pods, pod);
}

void attach_pod_read(const struct attach_pod *pod, struct attachment *ret)
{
	struct attach_record record;

	/* it was written by ourselves or was read soundly from the journal */
	if (attach_record_decode(pod->record, pod->record_len, &record, ret, NULL) < 0)
		abort();
	ret->serial = pod->serial;
	memcpy(ret->addr, pod->addr, sizeof(ret->addr)); /* one may have been lost to a later attachment */
}

const struct attachment *attach_find(struct attacher *attacher, const char *container_id, const char *ifname)
{
	const struct attach_pod *pod = attach_pod_find(attacher, container_id, ifname);

	if (!pod)
		return NULL;
	attach_pod_read(pod, &attacher->scratch);
	return &attacher->scratch;
}

void attach_each(struct attacher *attacher, void (*each)(void *ctx, const struct attachment *), void *ctx)
{
	struct attach_pod *pod, *next;

	HASH_ITER(hh, attacher->pods, pod, next)
	{
		attach_pod_read(pod, &attacher->scratch);
		each(ctx, &attacher->scratch);
	}
}

int attach_list_pods(struct attacher *attacher, struct plan_pod **ret, size_t *ret_count)
{
	struct plan_pod *list = calloc(HASH_COUNT(attacher->pods) + 1, sizeof(*list));
	struct attach_pod *pod, *next;
	size_t n = 0;

	if (!list)
		return -ENOMEM;
	HASH_ITER(hh, attacher->pods, pod, next)
	{
		memcpy(list[n].addr, pod->addr, sizeof(list[n].addr));
		list[n].mac = pod->mac;
		memcpy(list[n++].host_ifname, pod->host_ifname, IFNAMSIZ);
	}
	*ret = list;
	*ret_count = n;
	return 0;
}

void attach_get_stats(struct attacher *attacher, struct attach_stats *ret)
{
	*ret = attacher->stats;
	ret->attached = HASH_COUNT(attacher->pods);
	for (int f = 0; f < FAMILY_COUNT; f++) {
		struct ipam_counts counts;

		ipam_count(attacher->ipam, f, attach_now(), &counts);
		ret->in_use[f] = counts.in_use;
		ret->resting[f] = counts.resting;
		ret->free[f] = counts.free;
	}
}

/* -- the journal -- */

int attach_write(struct attacher *attacher, enum attach_record_type type, uint64_t serial, int64_t since,
	struct err *err)
{
	struct attach_record record = {.type = type, .serial = serial, .since = since};
	_cleanup_(buf_free) struct buf buf = BUF_INIT(0);
	int rc = attach_record_encode(&record, NULL, &buf);

	return rc < 0 ? err_set(err, rc, "no memory for a journal record")
		      : journal_append(attacher->journal, buf.data, buf.len, err);
}

static int emit_record(struct journal_writer *writer, const struct attach_record *record)
{
	_cleanup_(buf_free) struct buf buf = BUF_INIT(0);
	int rc = attach_record_encode(record, NULL, &buf);

	return rc < 0 ? rc : journal_emit(writer, buf.data, buf.len);
}

static int emit_pod(struct journal_writer *writer, const struct attach_pod *pod)
{
	struct attach_record record = {.type = RECORD_ATTACHED, .serial = pod->serial};
	int rc = journal_emit(writer, pod->record, pod->record_len);

	if (rc == 0 && pod->attached)
		rc = emit_record(writer, &record);
	record.type = RECORD_CLOSING;
	record.since = pod->closing_since;
	return rc == 0 && record.since ? emit_record(writer, &record) : rc;
}

static int emit_resting(void *ctx, const struct addr *addr, int64_t since)
{
	struct attach_record record = {.type = RECORD_RESTING, .since = since, .addr = *addr};

	return emit_record(ctx, &record);
}

static int emit_all(void *ctx, struct journal_writer *writer)
{
	struct attacher *attacher = ctx;
	struct attach_pod *pod, *next;
	int rc = 0;

	ipam_each_resting(attacher->ipam, attach_now(), emit_resting, writer);
	HASH_ITER(hh, attacher->pods, pod, next)
	{
		rc = rc < 0 ? rc : emit_pod(writer, pod);
	}
	DL_FOREACH(attacher->closing, pod)
	{
		rc = rc < 0 ? rc : emit_pod(writer, pod);
	}
	return rc;
}

void attach_compact(struct attacher *attacher)
{
	struct err err = ERR_INIT;

	if (journal_size(attacher->journal) < attacher->rewrite_at)
		return;
	if (journal_rewrite(attacher->journal, emit_all, attacher, &err) < 0)
		attach_report(attacher, "%s; it goes on growing", err_text(&err));
	attacher->rewrite_at = 2 * journal_size(attacher->journal) + REWRITE_MIN;
}

/* -- life -- */

static void options_free(struct attach_options *options)
{
	free((char *)options->state_dir);
	free((char *)options->boot_id);
	free((char *)options->bpffs);
	free((char *)options->host_local_dir);
	free((char *)options->flannel_dir);
}

static char *copy(const char *text)
{
	return text ? strdup(text) : NULL;
}

static void options_copy(struct attach_options *to, const struct attach_options *from)
{
	*to = *from;
	to->state_dir = copy(from->state_dir);
	to->boot_id = copy(from->boot_id);
	to->bpffs = copy(from->bpffs);
	to->host_local_dir = copy(from->host_local_dir);
	to->flannel_dir = copy(from->flannel_dir);
}

static bool somebody_elses(void *ctx, const struct addr *addr)
{
	struct attacher *attacher = ctx;

	return podlink_owns(attacher->nl, addr) || host_local_has_addr(attacher->options.host_local_dir, addr);
}

static void teardown_now(evutil_socket_t fd, short events, void *arg)
{
	attach_teardown(arg);
}

static void report_text(void *ctx, const char *text)
{
	attach_report(ctx, "%s", text);
}

static void load_programs(struct attacher *attacher)
{
	struct err err = ERR_INIT;

	if (podprog_new(&attacher->podprog, &err) < 0)
		attach_report(attacher, "pods that are deleted are cut off by their routes alone: %s",
			err_text(&err));
}

static int attacher_open(struct attacher *attacher, struct event_base *base, struct err *err)
{
	struct ipam_options ipam = {
		.cooldown_s = attacher->options.cooldown_s, .taken = somebody_elses, .ctx = attacher};
	struct journal_reader reader = {.each = attach_replay, .report = report_text, .ctx = attacher};
	int rc;

	attacher->base = base;
	attacher->teardown_timer = evtimer_new(base, teardown_now, attacher);
	if (!attacher->teardown_timer || ipam_new(&ipam, &attacher->ipam) < 0)
		return err_set(err, -ENOMEM, "no memory for pod attachment");
	attacher->netns = netns_own(err);
	if (attacher->netns < 0)
		return attacher->netns;
	rc = nl_open(&attacher->nl, err);
	if (rc == 0)
		load_programs(attacher);
	if (rc == 0)
		rc = journal_open(attacher->options.state_dir, attacher->options.boot_id, &reader,
			&attacher->journal, err);
	if (rc == 0)
		attacher->rewrite_at = REWRITE_MIN + REWRITE_PER_POD * HASH_COUNT(attacher->pods);
	return rc;
}

int attach_new(
	struct event_base *base, const struct attach_options *options, struct attacher **ret, struct err *err)
{
	struct attacher *attacher = calloc(1, sizeof(*attacher));
	int rc;

	if (!attacher)
		return err_set(err, -ENOMEM, "no memory for pod attachment");
	attacher->netns = -1;
	options_copy(&attacher->options, options);
	rc = attacher_open(attacher, base, err);
	if (rc < 0) {
		attach_free(attacher);
		return rc;
	}
	*ret = attacher;
	return 0;
}

void attach_free(struct attacher *attacher)
{
	struct attach_pod *pod, *next;

	if (!attacher)
		return;
	if (attacher->journal)
		attach_teardown(attacher);
	HASH_ITER(hh, attacher->pods, pod, next)
	{
		HASH_DEL(attacher->pods, pod);
		attach_pod_free(pod);
	}
	DL_FOREACH_SAFE(attacher->closing, pod, next)
	{
		attach_pod_free(pod);
	}
	if (attacher->teardown_timer)
		event_free(attacher->teardown_timer);
	journal_close(attacher->journal);
	ipam_free(attacher->ipam);
	free(attacher->pools);
	podprog_free(attacher->podprog);
	nl_close(attacher->nl);
	if (attacher->netns >= 0)
		close(attacher->netns);
	options_free(&attacher->options);
	free(attacher);
}

static void serve_bridge(struct attacher *attacher)
{
	struct err err = ERR_INIT;
	struct attach_pod *pod, *next;

	if (takeover_find_bridge(attacher->nl, attacher->own, attacher->bridge, &err) <= 0)
		attacher->bridge[0] = 0;
	else if (takeover_open_bridge(attacher->bridge, &err) == 0) {
		HASH_ITER(hh, attacher->pods, pod, next)
		attach_bridge_pod(attacher, pod->addr, true);
	}
	if (err.code)
		attach_report(
			attacher, "pods of Flannel's plugin may not reach new ones: %s", err_text(&err));
}

void attach_bridge_pod(struct attacher *attacher, const struct addr addr[FAMILY_COUNT], bool present)
{
	struct err err = ERR_INIT;

	if (attacher->bridge[0] && addr_is_set(&addr[FAMILY_6]) &&
		takeover_bridge_proxy(attacher->nl, attacher->bridge, &addr[FAMILY_6], present, &err) < 0)
		attach_report(
			attacher, "pods of Flannel's plugin may not reach a new one: %s", err_text(&err));
}

void attach_set_network(
	struct attacher *attacher, const struct network *network, const struct lease *own, uint32_t pod_mtu)
{
	struct err err = ERR_INIT;

	attacher->ready = network && own;
	for (int f = 0; f < FAMILY_COUNT; f++) {
		bool has = attacher->ready && network_has(network, f) && prefix_is_set(&own->subnet[f]);

		attacher->families[f] = has;
		attacher->own[f] = has ? own->subnet[f] : (struct prefix){0};
		attacher->cluster[f] = has ? network->pool[f].cidr : (struct prefix){0};
		ipam_set_block(attacher->ipam, f, &attacher->own[f]);
	}
	attacher->source = (struct attach_source){0};
	attacher->mtu = pod_mtu;
	if (!attacher->ready)
		return;
	if (podlink_forwarding(prefix_is_set(&attacher->own[FAMILY_4]),
		    prefix_is_set(&attacher->own[FAMILY_6]), &err) < 0)
		attach_report(attacher, "%s", err_text(&err));
	serve_bridge(attacher);
}
