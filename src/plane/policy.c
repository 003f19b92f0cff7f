/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/policy_internal.h"

#include "base/cleanup.h"
#include "base/file.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>

#define FLOWS_MIN 16384u
#define FLOWS_MAX 524288u
#define MEMORY_PER_FLOW (64u * 1024)

/* -- state -- */

int policy_plane_write_state(struct policy_plane *plane, struct err *err)
{
	const uint32_t zero = 0;
	int r = bpf_map_update_elem(plane->maps.fd[POLICY_MAP_STATE], &zero, &plane->state, BPF_ANY);

	return r ? err_set(err, r, "writing policy map state: %s", strerror(-r)) : 0;
}

int policy_plane_raise_epoch(struct policy_plane *plane, struct err *err)
{
	uint32_t was = plane->state.epoch;
	int r;

	plane->state.epoch = was + 1 ? was + 1 : 1;
	r = policy_plane_write_state(plane, err);
	if (r)
		plane->state.epoch = was;
	else
		plane->changed = false;
	return r;
}

static int take_state(struct policy_plane *plane, struct err *err)
{
	const uint32_t zero = 0;
	int r = bpf_map_lookup_elem(plane->maps.fd[POLICY_MAP_STATE], &zero, &plane->state);

	if (r)
		return err_set(err, r, "reading policy map state: %s", strerror(-r));
	if (!plane->state.epoch)
		plane->state.epoch = 1;
	plane->state.keep = plane->options.keep_established;
	plane->state.watch = 0; /* whoever watched has gone with the former agent */
	plane->state.mark_pending = plane->options.mark_pending;
	plane->state.mark_host = plane->options.mark_host;
	plane->state.mark_express = plane->options.mark_express;
	return policy_plane_write_state(plane, err);
}

/* -- life cycle -- */

static bool is_one_bit(uint32_t mark)
{
	return mark && !(mark & (mark - 1));
}

static int check_options(const struct policy_plane_options *options, struct err *err)
{
	if (strlen(options->bpffs) > PATH_MAX - 256)
		return err_set(err, -ENAMETOOLONG, "bpffs path of %zu bytes is too long", strlen(options->bpffs));
	if (!is_one_bit(options->mark_pending) || !is_one_bit(options->mark_host) ||
		options->mark_pending == options->mark_host)
		return err_set(err, -EINVAL, "packet marks of policy: 0x%08x and 0x%08x, expected two different bits",
			options->mark_pending, options->mark_host);
	return 0;
}

static uint32_t flows_by_memory(void)
{
	struct sysinfo info;
	uint64_t flows;

	if (sysinfo(&info))
		return FLOWS_MIN;
	flows = (uint64_t)info.totalram * info.mem_unit / MEMORY_PER_FLOW;
	return flows < FLOWS_MIN ? FLOWS_MIN : flows > FLOWS_MAX ? FLOWS_MAX : (uint32_t)flows;
}

static void set_paths(struct policy_plane *plane, const char *bpffs)
{
	snprintf(plane->dir, sizeof(plane->dir), "%s/policy", bpffs);
	snprintf(plane->maps_dir, sizeof(plane->maps_dir), "%s/maps-%d", plane->dir, POLICY_LAYOUT);
	snprintf(plane->links_dir, sizeof(plane->links_dir), "%s/links", plane->dir);
}

static int open_maps(struct policy_plane *plane, struct err *err)
{
	uint32_t flows = plane->options.flows_max ? plane->options.flows_max : flows_by_memory();
	bool fresh = false;
	int r = policy_maps_open(&plane->maps, plane->maps_dir, flows, &fresh, err);

	if (r)
		return pinned_expect_bpffs(plane->dir, err) ? -ENODEV : r;
	r = file_make_dirs(plane->links_dir, 0700, err);
	if (r)
		return r;
	plane->behind = fresh && policy_hooks_any(plane);
	r = take_state(plane, err);
	return r ? r : policy_pods_read(plane, err);
}

static int start(struct policy_plane *plane, struct err *err)
{
	int r = open_maps(plane, err);

	if (!r)
		r = policy_hooks_load(plane, err);
	if (!r)
		r = policy_events_open(plane, err);
	if (r || plane->behind)
		return r;
	r = policy_hooks_update_all(plane, err);
	if (!r)
		policy_maps_unpin_others(plane->dir, plane->maps_dir);
	return r;
}

int policy_plane_new(const struct policy_plane_options *options, struct policy_plane **ret, struct err *err)
{
	struct policy_plane *plane;
	int r = check_options(options, err);

	if (r)
		return r;
	plane = calloc(1, sizeof(*plane));
	if (!plane)
		return err_set(err, -ENOMEM, "no memory for policy");
	libbpf_be_quiet();
	plane->options = *options;
	plane->options.bpffs = NULL;
	plane->exit_kind = options->clsact ? HOOK_CLSACT : hook_probe();
	plane->pod_kind = options->pods_by_clsact ? HOOK_CLSACT : plane->exit_kind;
	policy_maps_init(&plane->maps);
	set_paths(plane, options->bpffs);
	r = start(plane, err);
	if (r) {
		policy_plane_free(plane);
		return r;
	}
	*ret = plane;
	return 0;
}

void policy_plane_free(struct policy_plane *plane)
{
	if (!plane)
		return;
	policy_events_done(plane);
	policy_hooks_done(plane);
	policy_express_done(plane);
	policy_pods_done(plane);
	policy_maps_done(&plane->maps);
	free(plane);
}

int policy_plane_remove(const char *bpffs, struct err *err)
{
	_cleanup_free_ struct policy_plane *plane = calloc(1, sizeof(*plane));
	int r;

	if (!plane)
		return err_set(err, -ENOMEM, "no memory to remove policy");
	if (strlen(bpffs) > PATH_MAX - 256)
		return err_set(err, -ENAMETOOLONG, "bpffs path of %zu bytes is too long", strlen(bpffs));
	libbpf_be_quiet();
	set_paths(plane, bpffs);
	r = policy_hooks_remove(plane, err);
	policy_maps_unpin(plane->maps_dir);
	policy_maps_unpin_others(plane->dir, plane->maps_dir);
	rmdir(plane->dir);
	return r;
}

/* -- seeing -- */

bool policy_plane_has_conntrack(const struct policy_plane *plane)
{
	return plane->conntrack;
}

int policy_plane_get_counts(const struct policy_plane *plane, struct policy_count ret[static POLICY_COUNT_MAX],
	struct err *err)
{
	static const struct policy_count names[POLICY_COUNT_MAX] = {
#define X(id, label, sentence) [POLICY_COUNT_##id] = {.name = label, .text = sentence},
		POLICY_COUNTS(X)
#undef X
	};
	struct policy_count counts[POLICY_COUNT_MAX];

	memcpy(counts, names, sizeof(counts));
	for (uint32_t i = 0; i < POLICY_COUNT_MAX; i++) {
		int r = counter_sum(plane->maps.fd[POLICY_MAP_COUNTS], i, &counts[i].packets, &counts[i].bytes);

		if (r)
			return err_set(err, r, "reading policy's counter %s: %s", counts[i].name, strerror(-r));
	}
	memcpy(ret, counts, sizeof(counts));
	return 0;
}
