/* SPDX-License-Identifier: Apache-2.0
 *
 * Policy's maps in the kernel: adopted, compared, filled, full; and the entries of pods. The programs are not needed for
 * that, and loading them takes its time: test_policy.c has them.
 */
#include "policy_scene.h"

#include "base/cleanup.h"
#include "plane/policy_internal.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* -- instead of policy_hooks.c -- */

int policy_hooks_load(struct policy_plane *plane, struct err *err)
{
	return 0;
}

void policy_hooks_done(struct policy_plane *plane)
{
}

int policy_hooks_update_all(struct policy_plane *plane, struct err *err)
{
	return 0;
}

int policy_hooks_update_pod(struct policy_plane *plane, uint32_t ifindex, struct err *err)
{
	return 0;
}

bool policy_hooks_any(const struct policy_plane *plane)
{
	return false;
}

void policy_hooks_sweep(struct policy_plane *plane)
{
}

void policy_hooks_leave(struct policy_plane *plane, uint32_t ifindex)
{
}

int policy_hooks_remove(struct policy_plane *plane, struct err *err)
{
	return 0;
}

/* -- what the kernel has -- */

static bool find_endpoint(uint32_t ifindex, struct policy_endpoint *ret)
{
	_cleanup_close_ int fd = bpf_obj_get(MAPS "/endpoints");

	assert_true(fd >= 0);
	return !bpf_map_lookup_elem(fd, &ifindex, ret);
}

static uint32_t local_of(const char *text)
{
	_cleanup_close_ int fd = bpf_obj_get(MAPS "/locals");
	struct addr addr = bed_addr(text);
	struct packet_addr key;
	uint32_t ifindex = 0;

	memcpy(&key, addr.b, sizeof(key));
	assert_true(fd >= 0);
	bpf_map_lookup_elem(fd, &key, &ifindex);
	return ifindex;
}

/* -- tables -- */

static void test_difference_of_an_empty_kernel_is_everything(void **state)
{
	struct scene *scene = *state;
	struct verdict_change change;
	struct world world;

	world_init(&world);
	change = world_difference(scene, &world);
	assert_int_equal(change.new_port_count, 4);
	assert_int_equal(change.new_pair_count, 2);
	assert_int_equal(change.address_count, 3);
	/* the longest first */
	assert_int_equal(change.addresses[0].prefix.len, 32);
	assert_int_equal(change.addresses[0].prefix.family, AF_INET);
	assert_int_equal(change.addresses[0].class, 7);
	assert_int_equal(change.addresses[2].prefix.family, AF_INET6);
	assert_true(change.endpoints);
	policy_plane_change_done(&change);
	world_apply(scene, &world);
	assert_int_equal(entries("addresses"), 3);
	assert_int_equal(entries("pairs"), 2);
	assert_int_equal(entries("ports"), 4);
	assert_in_force(scene, &world);
}

/* What the program looks up is what was said. */
static void test_entries_are_as_the_layout_says(void **state)
{
	struct scene *scene = *state;
	_cleanup_close_ int fd = -1;
	struct policy_verdict verdict;
	struct policy_port key = {.len = 96, .list = {0x90abcdef, 0x12345678}, .protocol = 17, .port = htons(53)};
	struct world world;

	world_init(&world);
	world_apply(scene, &world);
	fd = bpf_obj_get(MAPS "/ports");
	assert_true(fd >= 0);
	assert_int_equal(bpf_map_lookup_elem(fd, &key, &verdict), 0);
	assert_int_equal(verdict.bits, POLICY_VERDICT_ALLOW | POLICY_VERDICT_LOG);
	key.port = htons(0x17ff); /* in the range of 256 ports */
	assert_int_equal(bpf_map_lookup_elem(fd, &key, &verdict), 0);
	assert_int_equal(verdict.bits, POLICY_VERDICT_NEXT);
	assert_int_equal(verdict.next, 100);
	key.port = htons(0x1800);
	assert_int_not_equal(bpf_map_lookup_elem(fd, &key, &verdict), 0);
	key.protocol = 6;
	assert_int_equal(bpf_map_lookup_elem(fd, &key, &verdict), 0);
	assert_int_equal(verdict.bits, POLICY_VERDICT_ALLOW);
}

static void test_new_comes_before_stale_goes(void **state)
{
	struct scene *scene = *state;
	struct verdict_change change;
	struct world world;
	uint32_t epoch;

	world_init(&world);
	world_apply(scene, &world);
	world.addresses[1] = (struct verdict_address){bed_prefix("10.0.0.6/32"), 8, 0};
	world.pairs[1] = (struct verdict_pair){1, 8, 200};
	world.ports[1] = (struct verdict_port){200, 72, 6, 0, VERDICT_ALLOW, 0};
	epoch = kernel_state().epoch;
	change = world_difference(scene, &world);
	scene_ok(scene, policy_plane_apply_new(scene->plane, &change, &scene->err));
	assert_int_equal(entries("ports"), 5);
	assert_int_equal(entries("pairs"), 3);
	assert_int_equal(entries("addresses"), 3); /* one came, one went */
	assert_int_equal(kernel_state().epoch, epoch);
	scene_ok(scene, policy_plane_apply_stale(scene->plane, &change, &scene->err));
	assert_int_equal(entries("ports"), 4);
	assert_int_equal(entries("pairs"), 2);
	assert_int_equal(kernel_state().epoch, epoch + 1);
	policy_plane_change_done(&change);
	assert_in_force(scene, &world);
}

static void test_nothing_new_leaves_the_epoch(void **state)
{
	struct scene *scene = *state;
	const struct verdict_change nothing = {0};
	struct verdict_change change;
	uint32_t epoch;
	struct world world;

	world_init(&world);
	world_apply(scene, &world);
	epoch = kernel_state().epoch;
	scene_ok(scene, policy_plane_apply_new(scene->plane, &nothing, &scene->err));
	scene_ok(scene, policy_plane_apply_stale(scene->plane, &nothing, &scene->err));
	assert_int_equal(kernel_state().epoch, epoch);
	/* other tables of endpoints are a change, even without an entry */
	change = (struct verdict_change){.endpoints = true};
	scene_ok(scene, policy_plane_apply_stale(scene->plane, &change, &scene->err));
	assert_int_equal(kernel_state().epoch, epoch + 1);
}

static void test_successor_finds_everything(void **state)
{
	struct scene *scene = *state;
	struct policy_pod pod = pod_of(scene->pod[0], 1, "10.0.0.5");
	struct world world;
	uint32_t epoch;

	world_init(&world);
	world_apply(scene, &world);
	scene_ok(scene, policy_plane_put_pod(scene->plane, &pod, &scene->err));
	epoch = kernel_state().epoch;
	scene->options.flows_max = 4096; /* the pinned size stays */
	scene_restart(scene);
	assert_in_force(scene, &world);
	assert_int_equal(kernel_state().epoch, epoch);
	assert_int_equal(entries("endpoints"), 1);
	assert_int_equal(bed_count("max_entries 1024", "bpftool map show pinned " MAPS "/flows"), 1);
	/* it knows the pod, too: the same again changes nothing */
	scene_ok(scene, policy_plane_put_pod(scene->plane, &pod, &scene->err));
	assert_int_equal(kernel_state().epoch, epoch);
}

/* Ten addresses fit. Nothing of what does not is applied, and the rest goes on. */
static void test_full_map_is_told(void **state)
{
	struct scene *scene = *state;
	struct verdict_address many[11];
	struct verdict_change change = {.addresses = many, .address_count = 11};
	struct world world;

	scene_stop(scene);
	unlink(MAPS "/addresses");
	bed_run("bpftool map create " MAPS "/addresses type lpm_trie key 20 value 16 entries 10 name small flags 1");
	scene_start(scene);
	world_init(&world);
	world_apply(scene, &world);
	for (unsigned i = 0; i < 11; i++)
		many[i] = (struct verdict_address){prefix_host(&(struct addr){{0xfd, [15] = (uint8_t)i}}), 9, 0};
	change.new_pairs = &(struct verdict_pair){2, 9, 100};
	change.new_pair_count = 1;
	assert_int_equal(policy_plane_apply_new(scene->plane, &change, &scene->err), -ENOSPC);
	assert_non_null(strstr(err_text(&scene->err), "policy map addresses is full: it has 3 entries and needs 11 more"));
	assert_non_null(strstr(err_text(&scene->err), "at most 10"));
	assert_in_force(scene, &world);
	/* what is there already needs no room */
	change.address_count = 7;
	scene_ok(scene, policy_plane_apply_new(scene->plane, &change, &scene->err));
	scene_ok(scene, policy_plane_apply_new(scene->plane, &change, &scene->err));
	assert_int_equal(entries("addresses"), 10);
	world_apply(scene, &world);
	assert_in_force(scene, &world);
}

static void test_a_hundred_thousand_prefixes(void **state)
{
	struct scene *scene = *state;
	const size_t count = 100000;
	struct world world;

	world_init(&world);
	world.tables.addresses = calloc(count, sizeof(struct verdict_address));
	world.tables.address_count = count;
	assert_non_null(world.tables.addresses);
	for (size_t i = 0; i < count; i++) {
		struct addr addr = addr_from_4(0x0a000000 + (uint32_t)i * 16);

		world.tables.addresses[i] = (struct verdict_address){prefix_make(&addr, 28), i % 1000 + 1, 0};
	}
	world_apply(scene, &world);
	assert_in_force(scene, &world);
	world.tables.address_count = 10;
	world_apply(scene, &world);
	assert_int_equal(entries("addresses"), 10);
	free(world.tables.addresses);
}

/* -- pods -- */

static void test_pod_comes_and_goes(void **state)
{
	struct scene *scene = *state;
	struct prefix allowed[] = {bed_prefix("10.9.0.0/16"), bed_prefix("fd00:9::/64")};
	struct policy_pod pod = pod_of(scene->pod[0], 5, "10.0.0.5");
	struct policy_endpoint endpoint;
	uint32_t epoch = kernel_state().epoch;

	pod.addr[FAMILY_6] = bed_addr("fd00:1::5");
	pod.flags = POLICY_ENDPOINT_TUNNELS;
	pod.allowed_sources = allowed;
	pod.allowed_source_count = 2;
	scene_ok(scene, policy_plane_put_pod(scene->plane, &pod, &scene->err));
	assert_true(find_endpoint(scene->pod[0], &endpoint));
	assert_int_equal(endpoint.serial, 5);
	assert_int_equal(endpoint.table[0], 1);
	assert_int_equal(endpoint.table[1], 2);
	assert_int_equal(endpoint.flags, POLICY_ENDPOINT_TUNNELS);
	assert_memory_equal(endpoint.mac, pod.mac.b, 6);
	assert_int_equal(local_of("10.0.0.5"), scene->pod[0]);
	assert_int_equal(local_of("fd00:1::5"), scene->pod[0]);
	assert_int_equal(entries("sources"), 2);
	assert_int_equal(kernel_state().epoch, epoch);
	/* fewer sources, another address: another judgement */
	pod.allowed_source_count = 1;
	pod.addr[FAMILY_6] = bed_addr("fd00:1::6");
	scene_ok(scene, policy_plane_put_pod(scene->plane, &pod, &scene->err));
	assert_int_equal(entries("sources"), 1);
	assert_int_equal(local_of("fd00:1::5"), 0);
	assert_int_equal(local_of("fd00:1::6"), scene->pod[0]);
	assert_int_equal(kernel_state().epoch, epoch + 1);
	scene_ok(scene, policy_plane_remove_pod(scene->plane, scene->pod[0], &scene->err));
	assert_false(find_endpoint(scene->pod[0], &endpoint));
	assert_int_equal(entries("sources") + entries("locals"), 0);
	assert_int_equal(kernel_state().epoch, epoch + 2);
	scene_ok(scene, policy_plane_remove_pod(scene->plane, scene->pod[0], &scene->err));
}

/* The new pod has the address before the old one is gone. */
static void test_address_is_handed_on(void **state)
{
	struct scene *scene = *state;
	struct policy_pod old = pod_of(scene->pod[0], 1, "10.0.0.5"), new = pod_of(scene->pod[1], 2, "10.0.0.5");

	scene_ok(scene, policy_plane_put_pod(scene->plane, &old, &scene->err));
	scene_ok(scene, policy_plane_put_pod(scene->plane, &new, &scene->err));
	scene_ok(scene, policy_plane_remove_pod(scene->plane, scene->pod[0], &scene->err));
	assert_int_equal(local_of("10.0.0.5"), scene->pod[1]);
}

static void test_only_kept_pods_stay(void **state)
{
	struct scene *scene = *state;
	struct policy_pod a = pod_of(scene->pod[0], 1, "10.0.0.5"), b = pod_of(scene->pod[1], 2, "10.0.0.6");
	struct policy_endpoint endpoint;

	scene_ok(scene, policy_plane_put_pod(scene->plane, &a, &scene->err));
	scene_ok(scene, policy_plane_put_pod(scene->plane, &b, &scene->err));
	scene_restart(scene);
	scene_ok(scene, policy_plane_keep_pods(scene->plane, &scene->pod[1], 1, &scene->err));
	assert_false(find_endpoint(scene->pod[0], &endpoint));
	assert_true(find_endpoint(scene->pod[1], &endpoint));
	assert_int_equal(entries("locals"), 1);
}

/* -- options and seeing -- */

static void test_state_is_as_the_options_say(void **state)
{
	struct scene *scene = *state;

	assert_int_equal(kernel_state().mark_pending, 0x00100000);
	assert_int_equal(kernel_state().mark_host, 0x00200000);
	assert_int_equal(kernel_state().keep, 0);
	scene_ok(scene, policy_plane_watch(scene->plane, true, &scene->err));
	assert_int_equal(kernel_state().watch, 1);
	scene->options.keep_established = true;
	scene_restart(scene);
	assert_int_equal(kernel_state().keep, 1);
	assert_int_equal(kernel_state().watch, 0);
}

static void test_bad_marks_are_refused(void **state)
{
	struct scene *scene = *state;
	struct policy_plane *plane = NULL;

	scene->options.mark_host = scene->options.mark_pending;
	assert_int_equal(policy_plane_new(&scene->options, &plane, &scene->err), -EINVAL);
	assert_null(plane);
}

static void test_without_bpffs_it_is_told(void **state)
{
	struct scene *scene = *state;
	struct policy_plane *plane = NULL;

	scene->options.bpffs = "/run/tulle-none";
	assert_int_equal(policy_plane_new(&scene->options, &plane, &scene->err), -ENODEV);
	assert_non_null(strstr(err_text(&scene->err), "is not on a bpf file system"));
	rmdir("/run/tulle-none/policy/maps-1");
	rmdir("/run/tulle-none/policy");
	rmdir("/run/tulle-none");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, scene_setup, scene_teardown)
	const struct CMUnitTest tests[] = {
		T(test_difference_of_an_empty_kernel_is_everything), T(test_entries_are_as_the_layout_says),
		T(test_new_comes_before_stale_goes), T(test_nothing_new_leaves_the_epoch), T(test_successor_finds_everything),
		T(test_full_map_is_told), T(test_a_hundred_thousand_prefixes), T(test_pod_comes_and_goes),
		T(test_address_is_handed_on), T(test_only_kept_pods_stay), T(test_state_is_as_the_options_say),
		T(test_bad_marks_are_refused), T(test_without_bpffs_it_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
