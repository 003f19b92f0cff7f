/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of policy in the kernel have in common: namespaces and a bpf file system of their own, two interfaces of
 * pods, a plane, a small world of tables. scene_setup and scene_teardown are cmocka's; the scene is *state.
 */
#pragma once

#include "bed.h"

#include "plane/policy.h"

#define BPFFS "/sys/fs/bpf"
#define PINS BPFFS "/t"
#define MAPS PINS "/policy/maps-1"
#define LINKS PINS "/policy/links"

struct scene {
	struct policy_plane_options options;
	struct policy_plane *plane;
	struct err err;
	uint32_t pod[2]; /* interfaces tul0, tul1; the pods' ends are pod0, pod1 */
};

int scene_setup(void **state);
int scene_setup_clsact(void **state);
int scene_teardown(void **state);
void scene_start(struct scene *scene);
void scene_stop(struct scene *scene);
void scene_restart(struct scene *scene);
void scene_make_pods(struct scene *scene);
/* Fails the test with the scene's error unless r is 0. */
void scene_ok(const struct scene *scene, int r);

/* -- what the kernel has -- */

size_t entries(const char *map);
struct policy_state kernel_state(void);
size_t count_links(void);

/* -- a small world -- */

struct world {
	struct verdict_address addresses[3];
	struct verdict_pair pairs[2];
	struct verdict_port ports[4];
	struct verdict_tables tables;
};

void world_init(struct world *world);
/* Between the kernel's maps and the world. */
struct verdict_change world_difference(struct scene *scene, const struct world *world);
void world_apply(struct scene *scene, const struct world *world);
void assert_in_force(struct scene *scene, const struct world *world);
struct policy_pod pod_of(uint32_t ifindex, uint32_t serial, const char *addr);
