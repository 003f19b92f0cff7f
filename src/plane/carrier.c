/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/carrier.h"

#include "base/cleanup.h"
#include "base/pages.h"
#include "bpf/carrier_layout.h"
#include "plane/carrier_maps.h"
#include "plane/hook.h"
#include "plane/offload.h"
#include "plane/pinned.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "carrier.skel.h"

#define VERIFIER_LOG_SIZE (64 * 1024)

enum place { PLACE_RX, PLACE_GUARD, PLACE_TWIN, PLACE_TX, PLACE_COUNT };

struct carrier {
	char dir[PATH_MAX - 64];  /* <bpffs>/carrier */
	char maps_dir[PATH_MAX - 32];
	enum hook_kind kind;
	bool configured;
	struct carrier_config config; /* of the programs that are attached */
	struct carrier_maps maps;
	char pins[PLACE_COUNT][PATH_MAX];
};

/* Order of attaching: whoever can send to us already is received, then we send. */
static const struct {
	const char *pin;
	enum hook_point point;
} places[PLACE_COUNT] = {
	[PLACE_RX] = {"rx", HOOK_INGRESS},
	[PLACE_GUARD] = {"guard", HOOK_EGRESS},
	[PLACE_TWIN] = {"twin", HOOK_INGRESS},
	[PLACE_TX] = {"tx", HOOK_EGRESS},
};

int carrier_new(const char *bpffs, struct carrier **ret, struct err *err)
{
	struct carrier *carrier;

	if (strlen(bpffs) > PATH_MAX - 256)
		return err_set(err, -ENAMETOOLONG, "bpffs path of %zu bytes is too long", strlen(bpffs));
	carrier = calloc(1, sizeof(*carrier));
	if (!carrier)
		return err_set(err, -ENOMEM, "no memory for the carrier");
	libbpf_be_quiet();
	snprintf(carrier->dir, sizeof(carrier->dir), "%s/carrier", bpffs);
	snprintf(carrier->maps_dir, sizeof(carrier->maps_dir), "%s/maps-%d", carrier->dir, CARRIER_LAYOUT);
	for (int i = 0; i < PLACE_COUNT; i++)
		snprintf(carrier->pins[i], sizeof(carrier->pins[i]), "%s/%s", carrier->dir, places[i].pin);
	carrier_maps_init(&carrier->maps);
	carrier_maps_open(&carrier->maps, carrier->maps_dir, false, NULL);
	*ret = carrier;
	return 0;
}

void carrier_use_clsact(struct carrier *carrier)
{
	carrier->kind = HOOK_CLSACT;
}

void carrier_free(struct carrier *carrier)
{
	if (!carrier)
		return;
	carrier_maps_done(&carrier->maps);
	free(carrier);
}

static struct hook hook_at(const struct carrier *carrier, enum place place, const struct carrier_state *state)
{
	const uint32_t indexes[PLACE_COUNT] = {
		[PLACE_RX] = state->uplink,
		[PLACE_GUARD] = state->uplink,
		[PLACE_TWIN] = state->device_twin,
		[PLACE_TX] = state->device,
	};

	return (struct hook){.kind = state->kind, .ifindex = indexes[place], .point = places[place].point,
		.pin = carrier->pins[place]};
}

static struct carrier_state state_of(const struct carrier *carrier, const struct carrier_config *config)
{
	return (struct carrier_state){.kind = carrier->kind, .device = config->device,
		.device_twin = config->device_twin, .uplink = config->uplink};
}

/* -- configuration -- */

static int check_wanted(const struct wanted_carrier *wanted, const struct device *uplink, struct err *err)
{
	if (!uplink->ethernet)
		return err_set(err, -EOPNOTSUPP, "carrier: uplink %s has no Ethernet header; expected an Ethernet device",
			wanted->uplink);
	if (wanted->kind == CARRIER_UDP && !wanted->port)
		return err_set(err, -EINVAL, "carrier: port is 0, expected 1 to 65535");
	if (wanted->kind == CARRIER_IPIP && !addr_is_4(&wanted->local[FAMILY_4]))
		return err_set(err, -EINVAL, "carrier: no local IPv4 address; IPIP needs one");
	return 0;
}

static int resolve(const char *name, const struct wanted_carrier *wanted, struct carrier_config *ret, struct err *err)
{
	bool udp = wanted->kind == CARRIER_UDP;
	struct carrier_config config = {.kind = wanted->kind, .port = udp ? htons(wanted->port) : 0};
	char twin_name[IFNAMSIZ + 1];
	struct device device, twin, uplink;
	int r;

	snprintf(twin_name, sizeof(twin_name), "%sp", name);
	r = device_get(name, &device, err);
	if (!r)
		r = device_get(twin_name, &twin, err);
	if (!r)
		r = device_get(wanted->uplink, &uplink, err);
	if (r)
		return err_wrap(err, "carrier");
	r = check_wanted(wanted, &uplink, err);
	if (r)
		return r;
	config.device = device.index;
	config.device_twin = twin.index;
	config.uplink = uplink.index;
	memcpy(config.mac, device.mac.b, sizeof(config.mac));
	for (int f = 0; f < (udp ? FAMILY_COUNT : FAMILY_6); f++)
		config.local[f] = packet_addr_of(&wanted->local[f]);
	*ret = config;
	return 0;
}

static bool all_attached(const struct carrier *carrier, const struct carrier_state *state)
{
	for (int i = 0; i < PLACE_COUNT; i++) {
		struct hook hook = hook_at(carrier, i, state);

		if (!hook_check(&hook))
			return false;
	}
	return true;
}

/* -- loading -- */

/* The encapsulation's program for each place. */
static void choose(const struct carrier_bpf *programs, uint32_t kind, struct bpf_program *ret[PLACE_COUNT])
{
	bool udp = kind == CARRIER_UDP;

	ret[PLACE_RX] = udp ? programs->progs.udp_rx : programs->progs.ipip_rx;
	ret[PLACE_GUARD] = udp ? programs->progs.udp_guard : programs->progs.ipip_guard;
	ret[PLACE_TWIN] = ret[PLACE_TX] = udp ? programs->progs.udp_tx : programs->progs.ipip_tx;
}

static void load_only(struct carrier_bpf *programs, uint32_t kind)
{
	struct bpf_program *chosen[PLACE_COUNT], *program;

	choose(programs, kind, chosen);
	bpf_object__for_each_program(program, programs->obj) {
		bool wanted = false;

		for (int i = 0; i < PLACE_COUNT; i++)
			wanted |= chosen[i] == program;
		bpf_program__set_autoload(program, wanted);
	}
}

static int share_maps(struct carrier_bpf *programs, const struct carrier_maps *maps)
{
	int r = bpf_map__reuse_fd(programs->maps.blocks, maps->blocks);

	if (!r)
		r = bpf_map__reuse_fd(programs->maps.peers, maps->peers);
	return r ? r : bpf_map__reuse_fd(programs->maps.counts, maps->counts);
}

static int load(const struct carrier *carrier, const struct carrier_config *config, struct carrier_bpf **ret,
	struct err *err)
{
	_cleanup_free_ char *log = calloc(1, VERIFIER_LOG_SIZE);
	DECLARE_LIBBPF_OPTS(bpf_object_open_opts, opts, .kernel_log_buf = log, .kernel_log_size = VERIFIER_LOG_SIZE);
	struct carrier_bpf *programs;
	int r;

	if (!log)
		return err_set(err, -ENOMEM, "no memory to load the carrier's programs");
	programs = carrier_bpf__open_opts(&opts);
	if (!programs)
		return err_set(err, -errno, "opening the carrier's programs: %s", strerror(errno));
	memcpy((void *)&programs->rodata->config, config, sizeof(*config));
	load_only(programs, config->kind);
	r = share_maps(programs, &carrier->maps);
	if (!r)
		r = carrier_bpf__load(programs);
	if (r) {
		carrier_bpf__destroy(programs);
		return err_set(err, r, "loading the carrier's programs: %s; %s", strerror(-r), verifier_words(log));
	}
	*ret = programs;
	return 0;
}

static void unload(struct carrier_bpf **programs)
{
	size_t size;
	const void *elf = carrier_bpf__elf_bytes(&size);

	carrier_bpf__destroy(*programs);
	pages_give_back(elf, size);
}

/* -- attaching -- */

static int attach_all(const struct carrier *carrier, const struct carrier_bpf *programs,
	const struct carrier_config *config, struct err *err)
{
	const struct carrier_state state = state_of(carrier, config);
	struct bpf_program *program[PLACE_COUNT];

	choose(programs, config->kind, program);
	for (int i = 0; i < PLACE_COUNT; i++) {
		struct hook hook = hook_at(carrier, i, &state);
		int r = hook_attach(&hook, bpf_program__fd(program[i]), err);

		if (r)
			return err_wrap(err, "carrier");
	}
	return 0;
}

/* Takes back what an earlier configuration attached elsewhere. A tcx link has gone with its pin already. */
static void detach_old(const struct carrier *carrier, const struct carrier_state *old, const struct carrier_state *now)
{
	if (!old->kind)
		return;
	for (int i = 0; i < PLACE_COUNT; i++) {
		struct hook was = hook_at(carrier, i, old), is = hook_at(carrier, i, now);

		if (was.kind != is.kind || (was.kind == HOOK_CLSACT && was.ifindex != is.ifindex))
			hook_detach(&was, NULL);
	}
}

static int install(struct carrier *carrier, const char *name, const struct carrier_config *config, struct err *err)
{
	_cleanup_(unload) struct carrier_bpf *programs = NULL;
	struct carrier_state old = {0}, state = state_of(carrier, config);
	int r = device_stop_offloads(name, config->kind == CARRIER_UDP ? OFFLOAD_SEGMENTATION | OFFLOAD_CHECKSUM :
		OFFLOAD_SEGMENTATION, err);

	if (!r)
		r = load(carrier, config, &programs, err);
	if (r)
		return r;
	carrier_maps_get_state(&carrier->maps, &old);
	r = attach_all(carrier, programs, config, err);
	if (r)
		return r;
	detach_old(carrier, &old, &state);
	carrier_maps_unpin_others(carrier->dir, carrier->maps_dir);
	r = carrier_maps_set_state(&carrier->maps, &state, err);
	if (r)
		return r;
	carrier->config = *config;
	carrier->configured = true;
	return 0;
}

static int open_maps(struct carrier *carrier, struct err *err)
{
	int r;

	if (carrier->maps.state >= 0)
		return 0;
	/* Made one by one: a directory on another file system would only be found out at the first pin. */
	r = carrier_maps_open(&carrier->maps, carrier->maps_dir, true, err);
	if (r && pinned_expect_bpffs(carrier->dir, err))
		return -ENODEV;
	return r;
}

int carrier_apply(struct carrier *carrier, const char *name, const struct wanted_carrier *wanted, struct err *err)
{
	struct carrier_config config;
	struct carrier_state state;
	int r = resolve(name, wanted, &config, err), bad;

	if (r)
		return r;
	r = open_maps(carrier, err);
	if (r)
		return r;
	if (!carrier->kind)
		carrier->kind = hook_probe();
	/* Entries first: the programs find their maps filled. A block that cannot be carried does not stop the others. */
	bad = carrier_maps_sync(&carrier->maps, wanted, err);
	state = state_of(carrier, &config);
	if (carrier->configured && !memcmp(&config, &carrier->config, sizeof(config)) && all_attached(carrier, &state))
		return bad;
	r = install(carrier, name, &config, bad ? NULL : err);
	return bad ? bad : r;
}

bool carrier_check(struct carrier *carrier, const char *name, const char *uplink)
{
	struct device device, lower;

	if (!carrier->configured || device_get(name, &device, NULL) || device_get(uplink, &lower, NULL))
		return false;
	if (device.index != carrier->config.device || lower.index != carrier->config.uplink)
		return false;
	return all_attached(carrier, &(struct carrier_state){.kind = carrier->kind, .device = device.index,
		.device_twin = carrier->config.device_twin, .uplink = lower.index});
}

/* -- counters -- */

int carrier_get_stats(const struct carrier *carrier, struct carrier_stat ret[static CARRIER_STATS_MAX], size_t *ret_count,
	struct err *err)
{
	static const struct carrier_stat names[] = {
#define X(id, label, sentence) [CARRIER_COUNT_##id] = {.name = label, .text = sentence},
		CARRIER_COUNTS(X)
#undef X
	};
	_Static_assert(ARRAY_SIZE(names) <= CARRIER_STATS_MAX, "CARRIER_STATS_MAX is too small");
	struct carrier_stat stats[ARRAY_SIZE(names)];

	memcpy(stats, names, sizeof(stats));
	for (uint32_t i = 0; i < ARRAY_SIZE(names) && carrier->maps.counts >= 0; i++) {
		int r = counter_sum(carrier->maps.counts, i, &stats[i].packets, &stats[i].bytes);

		if (r)
			return err_set(err, r, "reading the carrier's counter %s: %s", stats[i].name, strerror(-r));
	}
	memcpy(ret, stats, sizeof(stats));
	*ret_count = ARRAY_SIZE(names);
	return 0;
}

/* -- removal -- */

int carrier_remove(const char *bpffs, struct err *err)
{
	struct carrier_state state = {0};
	struct carrier *carrier;
	int r = carrier_new(bpffs, &carrier, err);

	if (r)
		return r;
	if (carrier->maps.state >= 0)
		carrier_maps_get_state(&carrier->maps, &state);
	/* Sending ends first. */
	for (int i = PLACE_COUNT - 1; i >= 0; i--) {
		struct hook hook = hook_at(carrier, i, &state);
		int s = state.kind == HOOK_CLSACT ? hook_detach(&hook, r ? NULL : err) : 0;

		unlink(carrier->pins[i]);
		r = r ? r : s;
	}
	carrier_maps_done(&carrier->maps);
	carrier_maps_unpin(carrier->maps_dir);
	carrier_maps_unpin_others(carrier->dir, carrier->maps_dir);
	rmdir(carrier->dir);
	carrier_free(carrier);
	return r;
}
