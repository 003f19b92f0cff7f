/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/plane_internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SETTLE_MS   20   /* a burst of notifications becomes one call */
#define FIGHT_MS    200  /* the same while changes go on: somebody may be undoing what we do */
#define FIGHT_GAP_MS 1000
#define TICK_S      60
#define SWEEP_AGAIN_MS 50

static const struct table_kind *const kinds[TABLE_COUNT] = {
	[TABLE_NEIGH] = &neigh_kind, [TABLE_FDB] = &fdb_kind, [TABLE_ROUTE] = &route_kind};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void plane_tables_dirty(struct plane *plane)
{
	for (int t = 0; t < TABLE_COUNT; t++)
		plane->tables[t].dirty = true;
}

void plane_concern(struct plane *plane, int wait_ms)
{
	int settle = now_ms() - plane->notified_ms < FIGHT_GAP_MS ? FIGHT_MS : SETTLE_MS;
	struct timeval after;

	if (wait_ms < settle)
		wait_ms = settle;
	after = (struct timeval){.tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000};
	if (!event_pending(plane->notify, EV_TIMEOUT, NULL))
		event_add(plane->notify, &after);
}

static void on_notify(evutil_socket_t fd, short what, void *ctx)
{
	struct plane *plane = ctx;

	plane->notified_ms = now_ms();
	if (plane->options.changed)
		plane->options.changed(plane->options.ctx);
}

/* The old iptables tell nobody what changed in them. */
static void on_tick(evutil_socket_t fd, short what, void *ctx)
{
	struct plane *plane = ctx;

	plane->forward.due |= plane->forward.count > 0;
	plane->nft.dirty |= !monitor_sees_nft(plane->monitor);
	if (plane->forward.due || plane->nft.dirty)
		plane_concern(plane, 0);
}

static int start(struct plane *plane, int receive_buffer, struct err *err)
{
	struct monitor_options options = {
		.receive_buffer = receive_buffer,
		.rtnl = watch_rtnl,
		.nft = watch_nft,
		.overrun = watch_overrun,
		.ctx = plane,
	};
	struct timeval every = {.tv_sec = TICK_S};
	int r;

	plane->notify = event_new(plane->base, -1, 0, on_notify, plane);
	plane->tick = event_new(plane->base, -1, EV_PERSIST, on_tick, plane);
	if (!plane->bpffs || !plane->nft_program || !plane->notify || !plane->tick || event_add(plane->tick, &every))
		return err_set(err, -ENOMEM, "plane: out of memory");
	r = nl_open(&plane->nl, err);
	if (r < 0)
		return r;
	options.own_port = nl_port(plane->nl);
	return monitor_new(plane->base, &options, &plane->monitor, err);
}

int plane_new_sized(struct event_base *base, const struct plane_options *options, int receive_buffer,
	struct plane **ret, struct err *err)
{
	struct plane *plane = calloc(1, sizeof(*plane));
	int r;

	if (!plane)
		return err_set(err, -ENOMEM, "plane: out of memory");
	plane->options = *options;
	plane->base = base;
	plane->bpffs = strdup(options->bpffs ? options->bpffs : "/sys/fs/bpf/tulle");
	plane->nft_program = strdup(options->nft ? options->nft : "nft");
	plane->record = options->record ? strdup(options->record) : NULL;
	if (plane->record)
		record_read(plane->record, &plane->devices.record);
	plane->devices_dirty = plane->links_dirty = true;
	for (int t = 0; t < TABLE_COUNT; t++)
		table_init(&plane->tables[t], kinds[t]);
	nft_init(&plane->nft, plane->nft_program);
	forward_init(&plane->forward);
	r = start(plane, receive_buffer, err);
	if (r < 0) {
		plane_free(plane);
		return r;
	}
	*ret = plane;
	return 0;
}

int plane_new(struct event_base *base, const struct plane_options *options, struct plane **ret, struct err *err)
{
	return plane_new_sized(base, options, 0, ret, err);
}

void plane_free(struct plane *plane)
{
	if (!plane)
		return;
	monitor_free(plane->monitor);
	if (plane->notify)
		event_free(plane->notify);
	if (plane->tick)
		event_free(plane->tick);
	carrier_free(plane->carrier);
	guard_free(plane->guard);
	for (int t = 0; t < TABLE_COUNT; t++)
		table_free(&plane->tables[t]);
	nft_done(&plane->nft);
	forward_done(&plane->forward);
	buf_free(&plane->flannel_note);
	felix_sweep_free(&plane->felix);
	nl_close(plane->nl);
	free(plane->devices.links);
	free(plane->devices.own);
	free(plane->links);
	free(plane->bpffs);
	free(plane->record);
	free(plane->nft_program);
	free(plane);
}

void plane_forget(struct plane *plane)
{
	plane->devices_dirty = plane->links_dirty = true;
	plane->nft.dirty = true;
	plane_tables_dirty(plane);
}

/* -- failures -- */

static void fail(struct plane *plane, const struct err *err)
{
	plane->stats.failed++;
	if (plane->failures.count++ == 0)
		plane->failures.first = *err;
}

static int tell_failures(const struct plane *plane, struct err *err)
{
	const struct failures *failures = &plane->failures;

	if (!failures->count)
		return 0;
	if (failures->count == 1)
		return err_set(err, failures->first.code, "%s", err_text(&failures->first));
	return err_set(err, failures->first.code, "%s (and %u more)", err_text(&failures->first),
		failures->count - 1);
}

/* -- devices -- */

static int read_devices(struct plane *plane, struct err *err)
{
	struct plane_link *links = NULL;
	size_t count = 0;
	int r;

	if (!plane->devices_dirty)
		return 0;
	r = links_dump(plane->nl, &links, &count, err);
	if (r < 0)
		return r;
	free(plane->devices.links);
	plane->devices.links = links;
	plane->devices.count = count;
	plane->devices.last = 0;
	plane->devices_dirty = false;
	return 0;
}

/* The devices that are ours: what stands on one that is new to us has to be looked at. */
static int find_own(struct plane *plane, const struct wanted *wanted)
{
	_cleanup_free_ uint32_t *own = calloc(wanted->link_count + 1, sizeof(*own));
	size_t count = 0;

	if (!own)
		return -ENOMEM;
	for (size_t i = 0; i < wanted->link_count; i++) {
		const struct plane_link *link = devices_find(&plane->devices, wanted->links[i].name);

		if (link)
			own[count++] = link->index;
	}
	if (count != plane->devices.own_count ||
		(count && memcmp(own, plane->devices.own, count * sizeof(*own)) != 0))
		plane_tables_dirty(plane);
	free(plane->devices.own);
	plane->devices.own = TAKE_PTR(own);
	plane->devices.own_count = count;
	return 0;
}

static bool same_links(const struct plane *plane, const struct wanted *wanted)
{
	return plane->link_count == wanted->link_count && (!wanted->link_count ||
		memcmp(plane->links, wanted->links, wanted->link_count * sizeof(*wanted->links)) == 0);
}

static int remember_links(struct plane *plane, const struct wanted *wanted)
{
	struct wanted_link *links = NULL;

	if (wanted->link_count) {
		links = malloc(wanted->link_count * sizeof(*links));
		if (!links)
			return -ENOMEM;
		memcpy(links, wanted->links, wanted->link_count * sizeof(*links));
	}
	free(plane->links);
	plane->links = links;
	plane->link_count = wanted->link_count;
	return 0;
}

static void apply_link(struct plane *plane, const struct wanted_link *link)
{
	struct link_outcome outcome = {0};
	struct err err = ERR_INIT;

	if (link_apply(plane->nl, link, &outcome, &err) < 0) {
		plane->links_dirty = true;
		fail(plane, &err);
	}
	if (outcome.created)
		plane_tables_dirty(plane);
	if (outcome.changed || outcome.addresses_removed) {
		plane->devices_dirty = true;
		plane->tables[TABLE_ROUTE].dirty = true;
	}
}

static int apply_links(struct plane *plane, const struct wanted *wanted, struct err *err)
{
	int r;

	if (plane->links_dirty || !same_links(plane, wanted)) {
		plane->links_dirty = false;
		for (size_t i = 0; i < wanted->link_count; i++)
			apply_link(plane, &wanted->links[i]);
		if (remember_links(plane, wanted) < 0)
			return err_set(err, -ENOMEM, "devices: out of memory");
	}
	r = read_devices(plane, err);
	if (r == 0 && find_own(plane, wanted) < 0)
		return err_set(err, -ENOMEM, "devices: out of memory");
	return r;
}

static const char *carrier_name(const struct wanted *wanted)
{
	for (size_t i = 0; i < wanted->link_count; i++)
		if (wanted->links[i].kind == LINK_CARRIER)
			return wanted->links[i].name;
	return NULL;
}

/* What another backend left: once, when it is sure that it is not wanted. */
static int sweep_carrier(struct plane *plane, const struct wanted *wanted, struct err *err)
{
	_cleanup_(buf_free) struct buf pins = BUF_INIT(4096);
	int r = 0;

	plane->carrier_uplink[0] = 0;
	if (plane->carrier_swept || !wanted->sweep)
		return 0;
	if (plane->carrier)
		carrier_free(TAKE_PTR(plane->carrier));
	buf_printf(&pins, "%s/carrier", plane->bpffs);
	if (access(buf_text(&pins), F_OK) == 0)
		r = carrier_remove(plane->bpffs, err);
	plane->carrier_swept = r == 0;
	return r;
}

static int apply_carrier(struct plane *plane, const struct wanted *wanted, struct err *err)
{
	const char *name = carrier_name(wanted);
	int r = 0;

	if (!wanted->carrier.enabled || !name)
		return sweep_carrier(plane, wanted, err);
	plane->carrier_swept = false;
	memcpy(plane->carrier_uplink, wanted->carrier.uplink, sizeof(plane->carrier_uplink));
	if (!plane->carrier)
		r = carrier_new(plane->bpffs, &plane->carrier, err);
	return r < 0 ? r : carrier_apply(plane->carrier, name, &wanted->carrier, err);
}

/* Kept until it is sure that no guard is wanted. */
static int sweep_guard(struct plane *plane, const struct wanted *wanted, struct err *err)
{
	_cleanup_(buf_free) struct buf pins = BUF_INIT(4096);
	int r = 0;

	plane->guard_uplink[0] = 0;
	if (plane->guard_swept || !wanted->sweep)
		return 0;
	guard_free(TAKE_PTR(plane->guard));
	buf_printf(&pins, "%s/guard", plane->bpffs);
	if (access(buf_text(&pins), F_OK) == 0)
		r = guard_remove(plane->bpffs, err);
	plane->guard_swept = r == 0;
	return r;
}

static int apply_guard(struct plane *plane, const struct wanted *wanted, struct err *err)
{
	int r = 0;

	if (!guard_is_wanted(&wanted->guard))
		return sweep_guard(plane, wanted, err);
	plane->guard_swept = false;
	memcpy(plane->guard_uplink, wanted->guard.uplink, sizeof(plane->guard_uplink));
	if (!plane->guard)
		r = guard_new(plane->bpffs, &plane->guard, err);
	return r < 0 ? r : guard_apply(plane->guard, &wanted->guard, err);
}

/* -- entries -- */

static struct table *table_of(struct plane *plane, const struct entry *entry)
{
	for (int t = 0; t < TABLE_COUNT; t++) {
		const struct entry_list *next = &plane->tables[t].next;

		if (next->count && entry >= next->entries && entry < next->entries + next->count)
			return &plane->tables[t];
	}
	return NULL;
}

static void entry_failed(struct plane *plane, const struct table *table, const struct entry *entry, int error)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT(512);
	struct err err = ERR_INIT;

	if (plane->failures.count) {
		fail(plane, &err);
		return;
	}
	table->kind->format(entry, &plane->devices, &text);
	/* the flush tells the story of its first failure; a deletion that found nothing is none */
	err_set(&err, error, "%s: %s", buf_text(&text),
		plane->story->code == error ? err_text(plane->story) : strerror(-error));
	fail(plane, &err);
}

static void on_entry_done(void *ctx, void *cookie, int error)
{
	struct plane *plane = ctx;
	struct entry *entry = cookie;
	struct table *table;
	enum entry_state was;

	if (!entry)
		return;
	table = table_of(plane, entry);
	was = entry->state;
	if (!entry_done(table, entry, error)) {
		entry_failed(plane, table, entry, error);
		return;
	}
	plane->stats.deleted += was == ENTRY_DELETE;
	plane->stats.added += was != ENTRY_DELETE && entry->state != ENTRY_RETRY;
	plane->stats.repairs += was == ENTRY_REPAIR;
}

static void flush(struct plane *plane)
{
	struct err story = ERR_INIT;

	plane->story = &story;
	nl_batch_flush(plane->nl, on_entry_done, plane, &story);
	plane->story = NULL;
}

/* Neighbours, FDB entries, routes in this order; what goes away, the other way round and after all that comes. */
static void apply_entries(struct plane *plane, const struct wanted *wanted)
{
	for (int t = 0; t < TABLE_COUNT; t++) {
		struct err err = ERR_INIT;

		plane->stats.scans += plane->tables[t].dirty;
		if (table_diff(&plane->tables[t], plane->nl, wanted, &plane->devices, &err) < 0)
			fail(plane, &err);
	}
	flush(plane);
	for (int t = TABLE_COUNT - 1; t >= 0; t--) {
		struct err err = ERR_INIT;

		if (table_deletions(&plane->tables[t], plane->nl, &err) < 0)
			fail(plane, &err);
	}
	flush(plane);
	for (int t = 0; t < TABLE_COUNT; t++)
		table_settle(&plane->tables[t]);
}

static void apply_nft(struct plane *plane, const struct wanted *wanted)
{
	struct err err = ERR_INIT;
	bool repaired = false;
	enum nft_care care = wanted->keep_nft ? NFT_CARE_STANDING : wanted->sweep ? NFT_CARE_NONE : NFT_CARE_FOREIGN;

	if (nft_apply(&plane->nft, &wanted->nft, care, &plane->children, &repaired, &err) < 0)
		fail(plane, &err);
	plane->stats.repairs += repaired;
}

static void apply_forward(struct plane *plane, const struct wanted *wanted)
{
	struct prefix few[FAMILY_COUNT];
	struct err err = ERR_INIT;
	size_t few_count = 0;
	int wait_ms = 0;

	for (int f = 0; f < FAMILY_COUNT; f++)
		if (prefix_is_set(&wanted->forward[f]))
			few[few_count++] = wanted->forward[f];
	if (forward_apply(&plane->forward, wanted->forward_count ? wanted->forwards : few,
		wanted->forward_count ? wanted->forward_count : few_count, &plane->children, &wait_ms, &err) < 0)
		fail(plane, &err);
	if (wait_ms)
		plane_concern(plane, wait_ms);
}

/* Once, when our own rules stand and the first full list is in: both sets side by side do no harm before. */
static void sweep_flannel_rules(struct plane *plane, const struct wanted *wanted)
{
	struct err err = ERR_INIT;

	if (plane->flannel_swept || !wanted->sweep || !wanted->nft.len || plane->failures.count)
		return;
	if (flannel_rules_remove(&plane->children, &plane->flannel_note, &err) < 0)
		fail(plane, &err);
	else
		plane->flannel_swept = true;
}

/* The same for Calico's agent, whose rules drop what it does not know. Sets go a few at a time. */
static void sweep_felix(struct plane *plane, const struct wanted *wanted)
{
	struct err err = ERR_INIT;

	if (plane->felix.done || !wanted->felix || !wanted->sweep || !wanted->nft.len || plane->failures.count)
		return;
	if (felix_sweep_go(&plane->felix, plane->nl, &plane->children, &err) < 0)
		fail(plane, &err);
	else if (!plane->felix.done)
		plane_concern(plane, SWEEP_AGAIN_MS);
}

/* -- what is ours, and was -- */

static void write_record(struct plane *plane)
{
	struct err err = ERR_INIT;

	if (plane->record && record_write(plane->record, &plane->devices.record, &err) < 0)
		fail(plane, &err);
}

/* Before the kernel hears of it. Which routes are ours depends on the protocol. */
static void note_wanted(struct plane *plane, const struct wanted *wanted)
{
	struct record *record = &plane->devices.record;
	bool changed = record_add_protocol(record, wanted->protocol);

	for (size_t i = 0; i < wanted->link_count; i++)
		changed |= record_add_device(record, wanted->links[i].name);
	if (changed)
		write_record(plane);
	if (plane->devices.protocol == wanted->protocol)
		return;
	plane->devices.protocol = wanted->protocol;
	plane->tables[TABLE_ROUTE].dirty = true;
}

/* What the backend before this one needed, or the dialect: its devices, and the protocol, whose routes are gone. */
static void retire_former(struct plane *plane, const struct wanted *wanted)
{
	struct record was = plane->devices.record, *now = &plane->devices.record;

	*now = (struct record){0};
	record_add_protocol(now, wanted->protocol);
	for (size_t i = 0; i < wanted->link_count; i++)
		record_add_device(now, wanted->links[i].name);
	for (size_t i = 0; i < was.device_count; i++) {
		struct plane_link link;

		if (!record_has_device(now, was.devices[i]) &&
			link_get(plane->nl, was.devices[i], &link, NULL, NULL, NULL) == 0 && link_retire(plane->nl, &link, NULL) < 0)
			record_add_device(now, was.devices[i]);
	}
	for (size_t i = 0; plane->failures.count && i < was.protocol_count; i++)
		record_add_protocol(now, was.protocols[i]);
	if (memcmp(&was, now, sizeof(was)) != 0)
		write_record(plane);
}

int plane_apply(struct plane *plane, const struct wanted *wanted, struct err *err)
{
	struct err story = ERR_INIT;

	monitor_drain(plane->monitor);
	plane->stats.applies++;
	plane->failures = (struct failures){0};
	note_wanted(plane, wanted);
	/* before the devices, which take packets of tunnels from anybody */
	if (apply_guard(plane, wanted, &story) < 0)
		fail(plane, &story);
	story = ERR_INIT;
	if (apply_links(plane, wanted, &story) < 0)
		fail(plane, &story);
	story = ERR_INIT;
	if (apply_carrier(plane, wanted, &story) < 0)
		fail(plane, &story);
	/* before the routes: no packet goes where a rule should have judged it */
	apply_nft(plane, wanted);
	apply_entries(plane, wanted);
	apply_forward(plane, wanted);
	sweep_flannel_rules(plane, wanted);
	sweep_felix(plane, wanted);
	if (wanted->sweep)
		retire_former(plane, wanted);
	plane->applied = true;
	return tell_failures(plane, err);
}

void plane_get_stats(const struct plane *plane, struct plane_stats *ret)
{
	*ret = plane->stats;
	ret->neighs = table_present(&plane->tables[TABLE_NEIGH]);
	ret->fdbs = table_present(&plane->tables[TABLE_FDB]);
	ret->routes = table_present(&plane->tables[TABLE_ROUTE]);
}

void plane_each_counter(const struct plane *plane,
	void (*each)(void *ctx, const char *name, uint64_t packets, uint64_t bytes), void *ctx)
{
	struct carrier_stat stats[CARRIER_STATS_MAX];
	size_t count = 0;

	if (!plane->carrier || carrier_get_stats(plane->carrier, stats, &count, NULL) < 0)
		return;
	for (size_t i = 0; i < count; i++)
		each(ctx, stats[i].name, stats[i].packets, stats[i].bytes);
}

void plane_each_guard_counter(const struct plane *plane,
	void (*each)(void *ctx, const char *name, uint64_t packets, uint64_t bytes), void *ctx)
{
	struct guard_stat stats[GUARD_STATS_MAX];
	size_t count = 0;

	if (!plane->guard || guard_get_stats(plane->guard, stats, &count, NULL) < 0)
		return;
	for (size_t i = 0; i < count; i++)
		each(ctx, stats[i].name, stats[i].packets, stats[i].bytes);
}

const char *plane_takeover_note(const struct plane *plane)
{
	return buf_text(&plane->flannel_note);
}

const char *plane_felix_note(const struct plane *plane)
{
	return plane->felix.done ? buf_text(&plane->felix.note) : "";
}

bool plane_felix_is_back(const struct plane *plane)
{
	return plane->felix.done && felix_rules_stand();
}

const char *plane_forward_note(const struct plane *plane)
{
	return buf_text(&plane->forward.note);
}
