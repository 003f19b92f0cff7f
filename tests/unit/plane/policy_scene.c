/* SPDX-License-Identifier: Apache-2.0 */
#include "policy_scene.h"

#include "base/cleanup.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

void scene_ok(const struct scene *scene, int r)
{
	if (r)
		fail_msg("%s", err_text(&scene->err));
}

void scene_start(struct scene *scene)
{
	scene_ok(scene, policy_plane_new(&scene->options, &scene->plane, &scene->err));
}

void scene_stop(struct scene *scene)
{
	policy_plane_free(scene->plane);
	scene->plane = NULL;
}

void scene_restart(struct scene *scene)
{
	scene_stop(scene);
	scene_start(scene);
}

void scene_make_pods(struct scene *scene)
{
	for (int i = 0; i < 2; i++) {
		_cleanup_(buf_free) struct buf nothing = BUF_INIT(0);
		char name[IF_NAMESIZE];

		snprintf(name, sizeof(name), "tul%d", i);
		bed_try(&nothing, "ip link del %s", name);
		bed_run("ip link add %s type veth peer name pod%d", name, i);
		bed_run("ip link set %s up", name);
		bed_run("ip link set pod%d up", i);
		scene->pod[i] = if_nametoindex(name);
	}
}

static int setup(void **state, bool clsact)
{
	struct scene *scene = calloc(1, sizeof(*scene));

	if (!scene || unshare(CLONE_NEWNS | CLONE_NEWNET) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		mount("bpf", BPFFS, "bpf", 0, NULL))
		return -1;
	bed_run("ip link set lo up");
	scene_make_pods(scene);
	scene->options = (struct policy_plane_options){.bpffs = PINS, .mark_pending = 0x00100000, .mark_host = 0x00200000,
		.flows_max = 1024, .clsact = clsact};
	scene_start(scene);
	*state = scene;
	return 0;
}

int scene_setup(void **state)
{
	return setup(state, false);
}

int scene_setup_clsact(void **state)
{
	return setup(state, true);
}

int scene_teardown(void **state)
{
	struct scene *scene = *state;

	policy_plane_free(scene->plane);
	free(scene);
	return umount(BPFFS) || unshare(CLONE_NEWNET) ? -1 : 0;
}

/* -- what the kernel has -- */

size_t entries(const char *map)
{
	return bed_count("key", "bpftool map dump pinned " MAPS "/%s", map);
}

struct policy_state kernel_state(void)
{
	_cleanup_close_ int fd = bpf_obj_get(MAPS "/state");
	struct policy_state state = {0};
	const uint32_t zero = 0;

	assert_true(fd >= 0);
	assert_int_equal(bpf_map_lookup_elem(fd, &zero, &state), 0);
	return state;
}

size_t count_links(void)
{
	DIR *dir = opendir(LINKS);
	size_t count = 0;

	assert_non_null(dir);
	for (const struct dirent *entry; (entry = readdir(dir));)
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count;
}

/* -- a small world -- */

void world_init(struct world *world)
{
	*world = (struct world){
		.addresses = {{bed_prefix("10.0.0.0/8"), 0, VERDICT_ADDRESS_FINAL}, {bed_prefix("10.0.0.5/32"), 7, 0},
			{bed_prefix("fd00:1::/64"), 7, VERDICT_ADDRESS_OWN}},
		.pairs = {{1, 0, 100}, {1, 7, UINT64_C(0x1234567890abcdef)}},
		.ports = {{100, 64, 0, 0, 0, 0}, {UINT64_C(0x1234567890abcdef), 72, 6, 0, VERDICT_ALLOW, 0},
			{UINT64_C(0x1234567890abcdef), 96, 17, 53, VERDICT_ALLOW | VERDICT_LOG, 0},
			{UINT64_C(0x1234567890abcdef), 88, 17, 0x1700, VERDICT_NEXT, 100}},
	};
	world->tables = (struct verdict_tables){world->addresses, 3, world->pairs, 2, world->ports, 4};
}

struct verdict_change world_difference(struct scene *scene, const struct world *world)
{
	struct verdict_change change;

	scene_ok(scene, policy_plane_compare(scene->plane, &world->tables, &change, &scene->err));
	return change;
}

void world_apply(struct scene *scene, const struct world *world)
{
	struct verdict_change change = world_difference(scene, world);

	scene_ok(scene, policy_plane_apply_new(scene->plane, &change, &scene->err));
	scene_ok(scene, policy_plane_apply_stale(scene->plane, &change, &scene->err));
	policy_plane_change_done(&change);
}

void assert_in_force(struct scene *scene, const struct world *world)
{
	struct verdict_change change = world_difference(scene, world);

	assert_int_equal(change.new_port_count + change.new_pair_count + change.address_count, 0);
	assert_int_equal(change.stale_port_count + change.stale_pair_count, 0);
	policy_plane_change_done(&change);
}

struct policy_pod pod_of(uint32_t ifindex, uint32_t serial, const char *addr)
{
	return (struct policy_pod){.ifindex = ifindex, .serial = serial, .addr = {[FAMILY_4] = bed_addr(addr)},
		.mac = bed_mac("02:00:00:00:00:01"), .tables = {1, 2}};
}
