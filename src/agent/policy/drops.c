/* SPDX-License-Identifier: Apache-2.0
 *
 * "tullectl drops": drops as they happen, one JSON object a line, for as long as somebody watches. The programs tell of them only
 * then. Nobody is waited for: what a watcher has not read in time, and what the programs or a turn (events.c) left out, it is
 * told as a number.
 */
#include "agent/policy/internal.h"

#include "base/cleanup.h"
#include "plan/policy_words.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WATCHERS_MAX 16
#define BEAT_S 1
#define WAITING_MAX (POLICY_EVENTS_BYTES / sizeof(struct policy_event)) /* in the ring buffer */

struct watcher {
	struct watcher *next;
	struct policer *policer;
	struct http_stream *stream;
	char *pod;       /* "namespace/name"; null: all */
	uint32_t reason; /* POLICY_COUNT_ALLOWED: all */
	uint64_t lost;   /* not told yet */
};

struct drops {
	struct watcher *watchers;
	size_t count;
	struct event *beat;
	/* Packets since the first of them came: that were looked at, that had been counted at the last beat, and those among them
	 * of which the watchers know that they missed them. */
	uint64_t seen, counted, missed;
	uint64_t before; /* counted earlier */
	struct policy_count counts[POLICY_COUNT_MAX]; /* for names; numbers as of the last beat */
};

/* -- sending -- */

static bool send_json(struct watcher *watcher, const json_t *json)
{
	_cleanup_free_ char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	_cleanup_(buf_free) struct buf line = BUF_INIT((size_t)1 << 20);

	return text && buf_printf(&line, "%s\n", text) == 0 && http_stream_send(watcher->stream, buf_text(&line), line.len);
}

static void tell_lost(struct watcher *watcher)
{
	json_t *json = json_pack("{s:I}", "notShown", (json_int_t)watcher->lost);

	if (send_json(watcher, json))
		watcher->lost = 0;
	json_decref(json);
}

static uint64_t total(struct drops *drops, const struct policer *policer)
{
	uint64_t sum = 0;

	if (policy_plane_get_counts(policer->plane, drops->counts, NULL) < 0)
		return drops->before + drops->counted;
	for (int i = POLICY_COUNT_ALLOWED + 1; i < POLICY_COUNT_MAX; i++)
		sum += drops->counts[i].packets;
	return sum;
}

/* What had been counted one beat ago has been looked at by now, or was left out, or still waits. */
static void on_beat(evutil_socket_t fd, short what, void *ctx)
{
	struct policer *policer = ctx;
	struct drops *drops = policer->drops;
	uint64_t waiting = events_turn(policer) ? 0 : WAITING_MAX;
	uint64_t missed = drops->counted > drops->seen + waiting ? drops->counted - drops->seen - waiting : 0;

	for (struct watcher *w = drops->watchers; w; w = w->next) {
		w->lost += missed > drops->missed ? missed - drops->missed : 0;
		if (w->lost)
			tell_lost(w);
	}
	if (missed > drops->missed)
		drops->missed = missed;
	drops->counted = total(drops, policer) - drops->before;
}

/* -- one drop -- */

struct drop {
	const struct policy_event *event;
	const struct local_pod *local; /* whose policy it is, or whose interface; null: not known any more */
	bool from_pod;                 /* the packet's source is its side */
	const struct host_place *host; /* whose policy it is instead; null: no host endpoint's */
	enum verdict_traffic traffic;
	enum policy_direction direction;
	struct addr src, dst, peer;
	struct who from, to;
};

/* Whose table has decided is known by its number; the judgement was about who sends what comes in, and whom what goes out is for. */
static void read_host_event(const struct policer *policer, const struct policy_event *event, struct drop *ret)
{
	*ret = (struct drop){.event = event, .src = who_addr(&event->src), .dst = who_addr(&event->dst), .peer = who_addr(&event->peer)};
	ret->host = hosts_find_table(policer, event->table, event->ifindex, &ret->traffic, &ret->direction);
	ret->from_pod = ret->direction == POLICY_EGRESS;
	if (addr_is_set(&ret->peer))
		*(ret->from_pod ? &ret->dst : &ret->src) = ret->peer;
	who_at(policer, &ret->src, &ret->from);
	who_at(policer, &ret->dst, &ret->to);
}

/* The pod's side is named by its interface: the address may be forged, or be the node's by now. The other side is whom the
 * judgement was about: the client behind a masqueraded address. */
static void read_event(const struct policer *policer, const struct policy_event *event, struct drop *ret)
{
	struct who *own;

	if (event->reason == POLICY_COUNT_HOST) {
		read_host_event(policer, event, ret);
		return;
	}

	*ret = (struct drop){.event = event, .local = who_has_interface(policer, event->ifindex), .from_pod = event->direction,
		.src = who_addr(&event->src), .dst = who_addr(&event->dst), .peer = who_addr(&event->peer)};
	if (!addr_is_set(&ret->peer))
		ret->peer = ret->from_pod ? ret->dst : ret->src;
	else if (!ret->from_pod)
		ret->src = ret->peer;
	who_at(policer, &ret->src, &ret->from);
	who_at(policer, &ret->dst, &ret->to);
	own = ret->from_pod ? &ret->from : &ret->to;
	if (ret->local && *ret->local->name)
		*own = (struct who){.kind = "pod", .namespace = ret->local->namespace, .name = ret->local->name};
}

static bool is_icmp(uint8_t protocol)
{
	return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;
}

/* The flow that was judged: a packet may be its reply, when the policies have changed since it began. */
static struct verdict_flow flow_of(const struct drop *drop)
{
	const struct policy_event *event = drop->event;
	const struct addr *own = drop->from_pod ? &drop->src : &drop->dst;
	bool egress = event->reason == POLICY_COUNT_EGRESS, reply = egress != drop->from_pod;
	uint16_t sport = ntohs(event->sport), dport = ntohs(event->dport);

	if (reply && is_icmp(event->protocol))
		return (struct verdict_flow){egress ? *own : drop->peer, egress ? drop->peer : *own, event->protocol, 0,
			event->protocol == IPPROTO_ICMP ? 8 << 8 : 128 << 8};
	return (struct verdict_flow){egress ? *own : drop->peer, egress ? drop->peer : *own, event->protocol, reply ? dport : sport,
		reply ? sport : dport};
}

static json_t *unless_changed(json_t *why)
{
	if (!json_is_true(json_object_get(why, "allowed")))
		return why;
	json_decref(why);
	return json_pack("{s:b, s:s}", "allowed", true, "reason", "changed");
}

static json_t *why_of_host(const struct policer *policer, const struct drop *drop)
{
	const struct verdict_flow flow = {drop->src, drop->dst, drop->event->protocol, ntohs(drop->event->sport), ntohs(drop->event->dport)};
	struct verdict_why why;

	verdicts_why_host(policer->verdicts, drop->host->host, drop->traffic, drop->direction, &flow, &why);
	return unless_changed(policy_words_why(&why));
}

static json_t *why_of(const struct policer *policer, const struct drop *drop)
{
	const struct policy_event *event = drop->event;
	struct verdict_flow flow = flow_of(drop);
	json_t *why;

	if (drop->host)
		return why_of_host(policer, drop);

	if ((event->reason != POLICY_COUNT_INGRESS && event->reason != POLICY_COUNT_EGRESS) || !drop->local || !*drop->local->name)
		return NULL;
	why = explain_why(policer, drop->local->namespace, drop->local->name,
		event->reason == POLICY_COUNT_EGRESS ? POLICY_EGRESS : POLICY_INGRESS, &flow);
	return unless_changed(why);
}

static json_t *end_json(const struct who *who, const struct addr *addr, const struct policy_event *event, __be16 port)
{
	json_t *json = who_json(who, addr);

	if (port && !is_icmp(event->protocol))
		json_object_set_new(json, "port", json_integer(ntohs(port)));
	return json;
}

/* The event's clock is the boot's. */
static json_t *time_json(uint64_t boot_ns)
{
	struct timespec boot, real;
	char text[64], whole[40];
	struct tm tm;
	int64_t ns;
	time_t at;

	clock_gettime(CLOCK_BOOTTIME, &boot);
	clock_gettime(CLOCK_REALTIME, &real);
	ns = (real.tv_sec - boot.tv_sec) * 1000000000LL + real.tv_nsec - boot.tv_nsec + (int64_t)boot_ns;
	at = (time_t)(ns / 1000000000);
	gmtime_r(&at, &tm);
	strftime(whole, sizeof(whole), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text, sizeof(text), "%s.%03dZ", whole, (int)(ns / 1000000 % 1000));
	return json_string(text);
}

static void add_protocol(json_t *json, const struct policy_event *event)
{
	const char *name = policy_words_protocol(event->protocol);
	char number[8];

	snprintf(number, sizeof(number), "%u", event->protocol);
	json_object_set_new(json, "protocol", json_string(name ? name : number));
	if (is_icmp(event->protocol))
		json_object_set_new(json, "type", json_integer(ntohs(event->dport) >> 8));
}

static json_t *drop_json(const struct policer *policer, const struct drop *drop)
{
	const struct policy_event *event = drop->event;
	const struct policy_count *count = &policer->drops->counts[event->reason];
	json_t *why = why_of(policer, drop);
	json_t *json = json_pack("{s:o, s:s, s:s, s:s, s:i, s:o}", "time", time_json(event->time), "reason", count->name, "means", count->text,
		"direction", drop->from_pod ? "egress" : "ingress", "bytes", event->length, "why", why ? why : json_null());

	if (!json)
		return NULL;
	if (drop->local || drop->host)
		json_object_set_new(json, "interface", json_string(drop->local ? drop->local->host_ifname : drop->host->link));
	if (addr_is_set(&drop->src) || addr_is_set(&drop->dst))
		add_protocol(json, event);
	json_object_set_new(json, "from", end_json(&drop->from, &drop->src, event, event->sport));
	json_object_set_new(json, "to", end_json(&drop->to, &drop->dst, event, event->dport));
	return json;
}

static bool is_pod(const struct who *who, const char *pod)
{
	size_t len = who->namespace ? strlen(who->namespace) : 0;

	return len && strcmp(who->kind, "pod") == 0 && strncmp(pod, who->namespace, len) == 0 && pod[len] == '/' &&
		strcmp(pod + len + 1, who->name) == 0;
}

static bool is_wanted(const struct watcher *watcher, const struct drop *drop)
{
	if (watcher->reason != POLICY_COUNT_ALLOWED && watcher->reason != drop->event->reason)
		return false;
	return !watcher->pod || is_pod(&drop->from, watcher->pod) || is_pod(&drop->to, watcher->pod);
}

void drops_event(struct policer *policer, const struct policy_event *event)
{
	_cleanup_(json_cleanup) json_t *json = NULL;
	struct drop drop;

	policer->drops->seen++;
	if (event->reason >= POLICY_COUNT_MAX)
		return;
	read_event(policer, event, &drop);
	for (struct watcher *w = policer->drops->watchers; w; w = w->next) {
		if (!is_wanted(w, &drop))
			continue;
		if (!json)
			json = drop_json(policer, &drop);
		if (!send_json(w, json))
			w->lost++;
	}
}

/* -- watchers -- */

static void drops_free(struct policer *policer)
{
	struct drops *drops = policer->drops;
	struct err err = ERR_INIT;

	if (!drops)
		return;
	if (drops->beat)
		event_free(drops->beat);
	free(drops);
	policer->drops = NULL;
	if (policy_plane_watch(policer->plane, false, &err) < 0)
		log_warning("policy: nobody watches drops any more: %s", err_text(&err));
}

static void watcher_free(struct watcher *watcher)
{
	free(watcher->pod);
	free(watcher);
}

static void on_gone(void *ctx)
{
	struct watcher *watcher = ctx, **at;
	struct policer *policer = watcher->policer;

	for (at = &policer->drops->watchers; *at != watcher; at = &(*at)->next)
		continue;
	*at = watcher->next;
	policer->drops->count--;
	watcher_free(watcher);
	if (!policer->drops->watchers)
		drops_free(policer);
}

void drops_end(struct policer *policer)
{
	struct watcher *next;

	if (!policer->drops)
		return;
	for (struct watcher *w = policer->drops->watchers; w; w = next) {
		next = w->next;
		http_stream_end(w->stream);
		watcher_free(w);
	}
	drops_free(policer);
}

/* What waits in the ring buffer from earlier is nobody's. */
static int drops_begin(struct policer *policer, struct err *err)
{
	const struct timeval period = {.tv_sec = BEAT_S};
	struct drops *drops;
	int rc;

	if (policer->drops)
		return 0;
	for (size_t i = 0; i < WAITING_MAX && !policy_plane_poll(policer->plane); i++)
		continue;
	drops = policer->drops = calloc(1, sizeof(*drops));
	if (!drops)
		return err_set(err, -ENOMEM, "out of memory");
	drops->beat = event_new(policer->agent->base, -1, EV_PERSIST, on_beat, policer);
	rc = policy_plane_get_counts(policer->plane, drops->counts, err);
	if (rc == 0 && (!drops->beat || event_add(drops->beat, &period) < 0))
		rc = err_set(err, -ENOMEM, "out of memory");
	if (rc == 0)
		rc = policy_plane_watch(policer->plane, true, err);
	if (rc < 0) {
		drops_free(policer);
		return rc;
	}
	drops->before = total(drops, policer);
	return 0;
}

static void refuse(struct http_request *request, int status, const char *text)
{
	struct http_answer answer = {.status = status, .content_type = "text/plain; charset=utf-8", .body = BUF_INIT(4096)};

	buf_printf(&answer.body, "%s\n", text);
	http_reply(request, &answer);
	buf_free(&answer.body);
}

static int find_reason(const struct policer *policer, const char *name, uint32_t *ret, struct err *err)
{
	_cleanup_(buf_free) struct buf names = BUF_INIT(2048);
	struct policy_count counts[POLICY_COUNT_MAX];
	int rc = policy_plane_get_counts(policer->plane, counts, err);

	for (uint32_t i = POLICY_COUNT_ALLOWED + 1; rc == 0 && i < POLICY_COUNT_MAX; i++) {
		if (strcmp(counts[i].name, name) == 0) {
			*ret = i;
			return 0;
		}
		buf_printf(&names, "%s%s", names.len ? ", " : "", counts[i].name);
	}
	return rc < 0 ? rc : err_set(err, -EINVAL, "--reason: the value is \"%s\", expected one of %s", name, buf_text(&names));
}

static struct watcher *watcher_new(struct policer *policer, struct http_request *request, struct err *err)
{
	struct watcher *watcher = calloc(1, sizeof(*watcher));
	_cleanup_free_ char *reason = http_query(request, "reason");
	const char *slash;

	if (!watcher) {
		err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	watcher->policer = policer;
	watcher->pod = http_query(request, "pod");
	slash = watcher->pod ? strchr(watcher->pod, '/') : NULL;
	if (watcher->pod && (!slash || slash == watcher->pod || !slash[1]))
		err_set(err, -EINVAL, "--pod: the value is \"%s\", expected NAMESPACE/NAME", watcher->pod);
	else if (!reason || find_reason(policer, reason, &watcher->reason, err) == 0)
		return watcher;
	watcher_free(watcher);
	return NULL;
}

void policer_watch_drops(struct policer *policer, struct http_request *request)
{
	struct err err = ERR_INIT;
	struct watcher *watcher;

	if (!policer || *policer->off || (policer->drops && policer->drops->count >= WATCHERS_MAX)) {
		refuse(request, 503, !policer ? "policy: it is not known yet what the store speaks"
				     : *policer->off ? policer->off : "as many as may be are watching drops already");
		return;
	}
	watcher = watcher_new(policer, request, &err);
	if (!watcher || drops_begin(policer, &err) < 0) {
		if (watcher)
			watcher_free(watcher);
		refuse(request, watcher ? 500 : 400, err_text(&err));
		return;
	}
	watcher->stream = http_stream_new(request, "application/x-ndjson", on_gone, watcher);
	if (!watcher->stream) {
		watcher_free(watcher);
		if (!policer->drops->watchers)
			drops_free(policer);
		return;
	}
	watcher->next = policer->drops->watchers;
	policer->drops->watchers = watcher;
	policer->drops->count++;
}

json_t *policer_drops(const struct policer *policer)
{
	struct policy_count counts[POLICY_COUNT_MAX];
	json_t *list = json_array();

	if (!policer || *policer->off || policy_plane_get_counts(policer->plane, counts, NULL) < 0)
		return list;
	for (int i = POLICY_COUNT_ALLOWED + 1; i < POLICY_COUNT_MAX; i++)
		json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:s}", "reason", counts[i].name, "packets",
			(json_int_t)counts[i].packets, "bytes", (json_int_t)counts[i].bytes, "means", counts[i].text));
	return list;
}

size_t policer_watchers(const struct policer *policer)
{
	return policer->drops ? policer->drops->count : 0;
}
