/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/guard.h"

#include "base/cleanup.h"
#include "base/pages.h"
#include "bpf/guard_layout.h"
#include "plane/guard_maps.h"
#include "plane/hook.h"
#include "plane/offload.h"
#include "plane/pinned.h"

#include <arpa/inet.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <limits.h>
#include <linux/if_ether.h>
#include <stdio.h>
#include <string.h>

#include "guard.skel.h"

#define VERIFIER_LOG_SIZE (64 * 1024)
#define VNI_MAX 0xffffff

struct guard {
	char dir[PATH_MAX - 64]; /* <bpffs>/guard */
	char maps_dir[PATH_MAX - 32];
	char pin[PATH_MAX];
	enum hook_kind kind;
	bool configured;
	uint32_t uplink;            /* what the program is attached to */
	struct guard_config config; /* of that program */
	struct guard_maps maps;
};

int guard_new(const char *bpffs, struct guard **ret, struct err *err)
{
	struct guard *guard;

	if (strlen(bpffs) > PATH_MAX - 256)
		return err_set(err, -ENAMETOOLONG, "bpffs path of %zu bytes is too long", strlen(bpffs));
	guard = calloc(1, sizeof(*guard));
	if (!guard)
		return err_set(err, -ENOMEM, "no memory for the guard");
	libbpf_be_quiet();
	snprintf(guard->dir, sizeof(guard->dir), "%s/guard", bpffs);
	snprintf(guard->maps_dir, sizeof(guard->maps_dir), "%s/maps-%d", guard->dir, GUARD_LAYOUT);
	snprintf(guard->pin, sizeof(guard->pin), "%s/rx", guard->dir);
	guard_maps_init(&guard->maps);
	guard_maps_open(&guard->maps, guard->maps_dir, false, NULL);
	*ret = guard;
	return 0;
}

void guard_use_clsact(struct guard *guard)
{
	guard->kind = HOOK_CLSACT;
}

void guard_free(struct guard *guard)
{
	if (!guard)
		return;
	guard_maps_done(&guard->maps);
	free(guard);
}

static struct hook hook_at(const struct guard *guard, enum hook_kind kind, uint32_t uplink)
{
	return (struct hook){.kind = kind, .ifindex = uplink, .point = HOOK_INGRESS, .pin = guard->pin, .first = true};
}

/* -- configuration -- */

bool guard_is_wanted(const struct wanted_guard *wanted)
{
	return wanted->uplink[0] && (wanted->vxlan[FAMILY_4] || wanted->vxlan[FAMILY_6] || wanted->ipip);
}

static int resolve(const struct wanted_guard *wanted, struct guard_config *ret, uint32_t *ret_uplink, struct err *err)
{
	bool vxlan = wanted->vxlan[FAMILY_4] || wanted->vxlan[FAMILY_6];
	struct guard_config config = {.ipip = wanted->ipip};
	struct device uplink;
	int r = device_get(wanted->uplink, &uplink, err);

	if (r)
		return err_wrap(err, "guard");
	if (vxlan && (!wanted->port || wanted->vni > VNI_MAX))
		return err_set(err, -EINVAL, "guard: VXLAN port %u and VNI %u, expected a port of 1 to 65535 and a VNI of at "
			"most %d", wanted->port, wanted->vni, VNI_MAX);
	config.header = uplink.ethernet ? ETH_HLEN : 0;
	if (vxlan) {
		config.vni = wanted->vni;
		config.port = htons(wanted->port);
	}
	for (int f = 0; f < FAMILY_COUNT; f++)
		config.vxlan[f] = wanted->vxlan[f];
	*ret = config;
	*ret_uplink = uplink.index;
	return 0;
}

/* -- loading and attaching -- */

static int share_maps(struct guard_bpf *programs, const struct guard_maps *maps)
{
	int r = bpf_map__reuse_fd(programs->maps.sources, maps->content[GUARD_MAP_SOURCES]);

	if (!r)
		r = bpf_map__reuse_fd(programs->maps.nodes, maps->content[GUARD_MAP_NODES]);
	if (!r)
		r = bpf_map__reuse_fd(programs->maps.externals, maps->content[GUARD_MAP_EXTERNALS]);
	return r ? r : bpf_map__reuse_fd(programs->maps.counts, maps->counts);
}

static int load(const struct guard *guard, const struct guard_config *config, struct guard_bpf **ret, struct err *err)
{
	_cleanup_free_ char *log = calloc(1, VERIFIER_LOG_SIZE);
	DECLARE_LIBBPF_OPTS(bpf_object_open_opts, opts, .kernel_log_buf = log, .kernel_log_size = VERIFIER_LOG_SIZE);
	struct guard_bpf *programs;
	int r;

	if (!log)
		return err_set(err, -ENOMEM, "no memory to load the guard's program");
	programs = guard_bpf__open_opts(&opts);
	if (!programs)
		return err_set(err, -errno, "opening the guard's program: %s", strerror(errno));
	memcpy((void *)&programs->rodata->config, config, sizeof(*config));
	r = share_maps(programs, &guard->maps);
	if (!r)
		r = guard_bpf__load(programs);
	if (r) {
		guard_bpf__destroy(programs);
		return err_set(err, r, "loading the guard's program: %s; %s", strerror(-r), verifier_words(log));
	}
	*ret = programs;
	return 0;
}

static void unload(struct guard_bpf **programs)
{
	size_t size;
	const void *elf = guard_bpf__elf_bytes(&size);

	guard_bpf__destroy(*programs);
	pages_give_back(elf, size);
}

/* What an earlier configuration attached elsewhere. A tcx link has gone with its pin already. */
static void detach_old(const struct guard *guard, const struct guard_state *old, const struct guard_state *now)
{
	struct hook hook = hook_at(guard, old->kind, old->uplink);

	if (old->kind && (old->kind != now->kind || (old->kind == HOOK_CLSACT && old->uplink != now->uplink)))
		hook_detach(&hook, NULL);
}

static int install(struct guard *guard, const struct guard_config *config, uint32_t uplink, struct err *err)
{
	_cleanup_(unload) struct guard_bpf *programs = NULL;
	struct guard_state old = {0}, state = {.kind = guard->kind, .uplink = uplink};
	struct hook hook = hook_at(guard, guard->kind, uplink);
	int r = load(guard, config, &programs, err);

	if (r)
		return r;
	guard_maps_get_state(&guard->maps, &old);
	r = hook_attach(&hook, bpf_program__fd(programs->progs.guard), err);
	if (r)
		return err_wrap(err, "guard");
	detach_old(guard, &old, &state);
	guard_maps_unpin_others(guard->dir, guard->maps_dir);
	r = guard_maps_set_state(&guard->maps, &state, err);
	if (r)
		return r;
	guard->config = *config;
	guard->uplink = uplink;
	guard->configured = true;
	return 0;
}

static int open_maps(struct guard *guard, struct err *err)
{
	int r;

	if (guard->maps.state >= 0)
		return 0;
	r = guard_maps_open(&guard->maps, guard->maps_dir, true, err);
	if (r && pinned_expect_bpffs(guard->dir, err))
		return -ENODEV;
	return r;
}

static bool is_installed(const struct guard *guard, const struct guard_config *config, uint32_t uplink)
{
	struct hook hook = hook_at(guard, guard->kind, uplink);

	return guard->configured && guard->uplink == uplink && !memcmp(config, &guard->config, sizeof(*config)) &&
		hook_check(&hook);
}

int guard_apply(struct guard *guard, const struct wanted_guard *wanted, struct err *err)
{
	struct guard_config config;
	uint32_t uplink = 0;
	int r = resolve(wanted, &config, &uplink, err), bad;

	if (!r)
		r = open_maps(guard, err);
	if (r)
		return r;
	if (!guard->kind)
		guard->kind = hook_probe();
	/* Entries first: the program finds its maps filled. A source that cannot be entered does not stop the others. */
	bad = guard_maps_sync(&guard->maps, wanted, err);
	if (is_installed(guard, &config, uplink))
		return bad;
	r = install(guard, &config, uplink, bad ? NULL : err);
	return bad ? bad : r;
}

bool guard_check(const struct guard *guard, const char *uplink)
{
	struct device device;

	return guard->configured && !device_get(uplink, &device, NULL) &&
		is_installed(guard, &guard->config, device.index);
}

/* -- counters -- */

int guard_get_stats(const struct guard *guard, struct guard_stat ret[static GUARD_STATS_MAX], size_t *ret_count,
	struct err *err)
{
	static const struct guard_stat names[] = {
#define X(id, label, sentence) [GUARD_COUNT_##id] = {.name = label, .text = sentence},
		GUARD_COUNTS(X)
#undef X
	};
	_Static_assert(ARRAY_SIZE(names) <= GUARD_STATS_MAX, "GUARD_STATS_MAX is too small");
	struct guard_stat stats[ARRAY_SIZE(names)];

	memcpy(stats, names, sizeof(stats));
	for (uint32_t i = 0; i < ARRAY_SIZE(names) && guard->maps.counts >= 0; i++) {
		int r = counter_sum(guard->maps.counts, i, &stats[i].packets, &stats[i].bytes);

		if (r)
			return err_set(err, r, "reading the guard's counter %s: %s", stats[i].name, strerror(-r));
	}
	memcpy(ret, stats, sizeof(stats));
	*ret_count = ARRAY_SIZE(names);
	return 0;
}

/* -- removal -- */

int guard_remove(const char *bpffs, struct err *err)
{
	struct guard_state state = {0};
	struct guard *guard;
	int r = guard_new(bpffs, &guard, err);

	if (r)
		return r;
	if (guard->maps.state >= 0)
		guard_maps_get_state(&guard->maps, &state);
	if (state.kind == HOOK_CLSACT) {
		struct hook hook = hook_at(guard, state.kind, state.uplink);

		r = hook_detach(&hook, err);
	}
	unlink(guard->pin);
	guard_maps_done(&guard->maps);
	guard_maps_unpin(guard->maps_dir);
	guard_maps_unpin_others(guard->dir, guard->maps_dir);
	rmdir(guard->dir);
	guard_free(guard);
	return r;
}
