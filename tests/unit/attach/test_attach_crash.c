/* SPDX-License-Identifier: Apache-2.0
 *
 * ADD and DEL that fail, or whose process is killed, at each of their steps; journals that were damaged, lost
 * or cannot be written.
 */
#include "attach_lab.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const add_steps[] = {"chosen", "begun", "filed", "created", "pod-set", "host-set", "attached"};
static const char *const del_steps[] = {"closing", "closed", "torn-down"};

struct target {
	const char *name;
	bool kill;
	int hits;
};

static int at_step(void *ctx, const char *name)
{
	struct target *target = ctx;

	if (strcmp(name, target->name) != 0)
		return 0;
	target->hits++;
	if (target->kill)
		kill(getpid(), SIGKILL);
	return -ECANCELED;
}

static struct attach_stats stats_of(struct lab *lab)
{
	struct attach_stats stats;

	attach_get_stats(lab->attacher, &stats);
	return stats;
}

static size_t in_use(struct lab *lab)
{
	struct attach_stats stats = stats_of(lab);

	return stats.in_use[FAMILY_4] + stats.in_use[FAMILY_6];
}

static int check(struct lab *lab, int n)
{
	struct attach_request request = lab_request(lab, n);
	struct attachment found;

	return attach_check(lab->attacher, &request, &found, NULL);
}

static void add_fails_anywhere(void **state)
{
	struct lab *lab = *state;

	for (size_t i = 0; i < ARRAY_SIZE(add_steps); i++) {
		struct attach_request request = lab_request(lab, 0);
		struct target target = {.name = add_steps[i]};
		struct attachment a = {.mtu = 99};
		struct err err = ERR_INIT;

		lab->attacher->step = at_step;
		lab->attacher->step_ctx = &target;
		assert_int_equal(attach_add(lab->attacher, &request, &a, &err), -ECANCELED);
		assert_int_equal(target.hits, 1);
		assert_int_equal(a.mtu, 99);
		lab->attacher->step = NULL;
		assert_int_equal(in_use(lab), 0);
		assert_int_equal(stats_of(lab).resting[FAMILY_4], i); /* of the earlier rounds only */
		lab_assert_clean(lab);
		/* and after a restart, too */
		lab_stop(lab);
		lab_start(lab);
		assert_int_equal(in_use(lab), 0);
		assert_string_equal(lab->reports, "");
		lab_add(lab, 0, &a);
		assert_int_equal(check(lab, 0), 0);
		lab_del(lab, 0);
		attach_teardown(lab->attacher);
	}
}

static void kernel_refuses(void **state)
{
	struct lab *lab = *state;
	struct attach_request request = lab_request(lab, 0);
	struct attachment a;
	struct err err = ERR_INIT;

	/* the pod's side cannot be set up: the kernel knows no such metric */
	struct attach_route route = {.dst = {.family = AF_INET, .len = 8, .addr = addr_from_4(0x0b000000)},
		.advmss = 0xffffffff,
		.table = 0xffffffff,
		.mtu = 0xffffffff};

	request.routes = &route;
	request.route_count = 1;
	if (attach_add(lab->attacher, &request, &a, &err) == 0) {
		/* accepted by this kernel: then it must be whole */
		assert_int_equal(check(lab, 0), 0);
		lab_del(lab, 0);
		attach_teardown(lab->attacher);
	}
	assert_int_equal(in_use(lab), 0);
	lab_assert_clean(lab);
	/* the namespace is taken by an interface of that name */
	assert_int_equal(lab_run(lab_pod(lab, 0), "ip link add eth0 type bridge"), 0);
	assert_int_equal(attach_add(lab->attacher, &request, &a, &err), -EEXIST);
	assert_int_equal(lab_run(lab_pod(lab, 0), "ip link del eth0"), 0);
	assert_int_equal(in_use(lab), 0);
	lab_assert_clean(lab);
}

/* Runs job in a child that is killed at the step. The child's attacher is one of its own. */
static void killed_at(struct lab *lab, const char *step, void (*job)(struct lab *lab))
{
	struct target target = {.name = step, .kill = true};
	int status;
	pid_t pid;

	lab_stop(lab);
	lab_pod(lab, 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		event_reinit(lab->base);
		lab_start(lab);
		lab->attacher->step = at_step;
		lab->attacher->step_ctx = &target;
		job(lab);
		_exit(3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail_msg("step %s was never reached (status %x)", step, status);
	lab->reports[0] = 0;
	lab_start(lab);
}

static void do_add(struct lab *lab)
{
	struct attach_request request = lab_request(lab, 0);
	struct attachment a;

	attach_add(lab->attacher, &request, &a, NULL);
}

static void do_del(struct lab *lab)
{
	struct attach_request request = lab_request(lab, 0);

	attach_del(lab->attacher, &request, NULL);
	lab_turn(lab, 5000);
}

static void add_killed_anywhere(void **state)
{
	struct lab *lab = *state;

	for (size_t i = 0; i < ARRAY_SIZE(add_steps); i++) {
		bool answered = strcmp(add_steps[i], "attached") == 0;
		struct attachment a;

		killed_at(lab, add_steps[i], do_add);
		assert_string_equal(lab->reports, "");
		assert_int_equal(stats_of(lab).attached, answered);
		assert_int_equal(in_use(lab), answered ? 2 : 0);
		assert_int_equal(check(lab, 0), answered ? 0 : -ENOENT);
		if (!answered) {
			lab_assert_clean(lab);
			lab_add(lab, 0, &a);
		}
		lab_del(lab, 0);
		attach_teardown(lab->attacher);
		lab_assert_clean(lab);
	}
}

static void del_killed_anywhere(void **state)
{
	struct lab *lab = *state;

	for (size_t i = 0; i < ARRAY_SIZE(del_steps); i++) {
		struct attachment a;

		lab_add(lab, 0, &a);
		killed_at(lab, del_steps[i], do_del);
		assert_string_equal(lab->reports, "");
		assert_int_equal(in_use(lab), 0);
		lab_assert_clean(lab);
		/* the address still rests */
		assert_true(stats_of(lab).resting[FAMILY_4] > 0);
		lab_del(lab, 0);
		lab_add(lab, 0, &a);
		assert_int_equal(check(lab, 0), 0);
		lab_del(lab, 0);
		attach_teardown(lab->attacher);
	}
}

/* The same with attachments that show in Flannel's files. */
static void with_files(void **state, void (*test)(void **state))
{
	struct lab *lab = *state;

	lab->flannel_conf = json_object();
	test(state);
}

static void add_fails_with_files(void **state)
{
	with_files(state, add_fails_anywhere);
}

static void add_killed_with_files(void **state)
{
	with_files(state, add_killed_anywhere);
}

static void del_killed_with_files(void **state)
{
	with_files(state, del_killed_anywhere);
}

static void restart_keeps_everything(void **state)
{
	struct lab *lab = *state;
	const struct attachment *found;
	struct attachment a[3], b;

	for (int i = 0; i < 3; i++)
		lab_add(lab, i, &a[i]);
	lab_del(lab, 1);
	lab_stop(lab);
	assert_int_equal(lab_run(-1, "ip route flush proto 84"), 0); /* somebody cleaned up meanwhile */
	lab_start(lab);
	assert_int_equal(stats_of(lab).attached, 2);
	assert_int_equal(stats_of(lab).resting[FAMILY_4], 1);
	assert_int_equal(check(lab, 0), 0);
	assert_int_equal(check(lab, 2), 0);
	assert_true(lab_pings(lab, 0, &a[2].addr[FAMILY_4]));
	found = attach_find(lab->attacher, "c0", "eth0");
	assert_non_null(found);
	assert_memory_equal(found, &a[0], sizeof(*found));
	lab_add(lab, 1, &b);
	assert_false(addr_equal(&b.addr[FAMILY_4], &a[1].addr[FAMILY_4]));
	for (int i = 0; i < 3; i++)
		lab_del(lab, i);
	attach_teardown(lab->attacher);
	lab_assert_clean(lab);
	assert_string_equal(lab->reports, "");
}

static void another_boot(void **state)
{
	struct lab *lab = *state;
	struct attachment a;

	lab_add(lab, 0, &a);
	lab_add(lab, 1, &a);
	lab_stop(lab);
	lab_pod_gone(lab, 0); /* a boot leaves no namespaces */
	lab_pod_gone(lab, 1);
	for (int i = 0; i < 500 && lab_links(); i++)
		usleep(10000);
	lab->boot_id = "later";
	lab_start(lab);
	assert_non_null(strstr(lab->reports, "of another boot"));
	assert_int_equal(stats_of(lab).attached, 0);
	assert_int_equal(in_use(lab), 0);
	lab_add(lab, 0, &a);
	assert_int_equal(a.addr[FAMILY_4].b[15], 2);
	lab_del(lab, 0);
	lab_del(lab, 1);
}

/* A pod that died without its DEL keeps its address, over a restart too, until DEL or GC comes. */
static void died_without_del(void **state)
{
	struct lab *lab = *state;
	struct attachment a;

	lab_add(lab, 0, &a);
	lab_pod_gone(lab, 0);
	for (int i = 0; i < 500 && lab_links(); i++)
		usleep(10000);
	lab_stop(lab);
	lab_start(lab);
	assert_non_null(strstr(lab->reports, "gone without a DEL"));
	assert_int_equal(in_use(lab), 2);
	assert_int_equal(attach_gc(lab->attacher, "net", NULL, 0, NULL), 0);
	assert_int_equal(in_use(lab), 0);
}

static void lost_journal(void **state)
{
	struct lab *lab = *state;
	struct attach_request request = lab_request(lab, 0);
	struct attachment a, b;
	char path[100];

	lab_add(lab, 0, &a);
	lab_stop(lab);
	snprintf(path, sizeof(path), "%s/journal", lab->dir);
	assert_int_equal(unlink(path), 0);
	lab_start(lab);
	/* the pod works on, its address is not given again, and its DEL finds it */
	assert_non_null(strstr(lab->reports, "no record of this attachment"));
	assert_int_equal(in_use(lab), 2);
	lab_add(lab, 1, &b);
	assert_false(addr_equal(&b.addr[FAMILY_4], &a.addr[FAMILY_4]));
	assert_false(addr_equal(&b.addr[FAMILY_6], &a.addr[FAMILY_6]));
	assert_true(lab_pings(lab, 1, &a.addr[FAMILY_4]));
	assert_int_equal(attach_add(lab->attacher, &request, &b, NULL), -EEXIST);
	/* known again at the next start, without another word */
	lab_stop(lab);
	lab->reports[0] = 0;
	lab_start(lab);
	assert_string_equal(lab->reports, "");
	assert_int_equal(attach_gc(lab->attacher, "net", NULL, 0, NULL), 0);
	assert_int_equal(in_use(lab), 2);
	lab_del(lab, 0);
	attach_teardown(lab->attacher);
	assert_int_equal(in_use(lab), 0);
	lab_assert_clean(lab);
}

/* Flips one bit at a time through the journal of two pods, one of them deleted and the address used again. */
static void damaged_journal(void **state)
{
	struct lab *lab = *state;
	struct buf whole = BUF_INIT(0);
	struct attachment a, b, c;
	char path[100];
	size_t silent = 0;

	lab_network(lab, "10.1.2.0/29", NULL);
	lab->cooldown_s = 0;
	lab_stop(lab);
	lab_start(lab);
	lab_add(lab, 0, &a);
	lab_add(lab, 1, &b);
	lab_del(lab, 1);
	attach_teardown(lab->attacher);
	lab_add(lab, 1, &b);
	lab_stop(lab);
	snprintf(path, sizeof(path), "%s/journal", lab->dir);
	assert_int_equal(file_read(path, &whole, NULL), 0);
	for (size_t byte = 0; byte < whole.len; byte += 7) {
		struct attach_stats stats;

		whole.data[byte] ^= 0x10;
		assert_int_equal(file_write_atomic(path, whole.data, whole.len, 0600, false, NULL), 0);
		whole.data[byte] ^= 0x10;
		lab->reports[0] = 0;
		lab_start(lab);
		silent += !lab->reports[0];
		lab_add(lab, 2, &c);
		assert_false(addr_equal(&c.addr[FAMILY_4], &a.addr[FAMILY_4]));
		assert_false(addr_equal(&c.addr[FAMILY_4], &b.addr[FAMILY_4]));
		if (lab_links() != 3)
			fail_msg("byte %zu: %zu interfaces; %s", byte, lab_links(), lab->reports);
		if (byte % 140 == 0) {
			assert_true(lab_pings(lab, 2, &a.addr[FAMILY_4]));
			assert_true(lab_pings(lab, 0, &b.addr[FAMILY_4]));
		}
		lab_del(lab, 2);
		attach_teardown(lab->attacher);
		attach_get_stats(lab->attacher, &stats);
		assert_true(stats.attached == 2);
		lab_stop(lab);
	}
	assert_true(silent < whole.len / 7 / 4); /* what pads a record says nothing */
	assert_int_equal(file_write_atomic(path, whole.data, whole.len, 0600, false, NULL), 0);
	buf_free(&whole);
	lab_start(lab);
	lab_del(lab, 0);
	lab_del(lab, 1);
	attach_teardown(lab->attacher);
	lab_assert_clean(lab);
}

/* A state directory of 64 KiB: ADD fails with a reason and leaves nothing, DEL works all the same. */
static void full_disk(void **state)
{
	struct lab *lab = *state;
	struct attach_request request;
	struct err err = ERR_INIT;
	struct attachment a;
	char filler[120];
	int n = 0, fd, rc = 0;
	char zero[4096] = {0};

	lab_stop(lab);
	assert_int_equal(mount("tmpfs", lab->dir, "tmpfs", 0, "size=200k"), 0);
	lab_start(lab);
	lab_add(lab, n++, &a);
	snprintf(filler, sizeof(filler), "%s/filler", lab->dir);
	fd = open(filler, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	while (write(fd, zero, sizeof(zero)) > 0)
		;
	close(fd);
	for (; n < LAB_PODS - 1 && rc == 0; n++) {
		request = lab_request(lab, n);
		rc = attach_add(lab->attacher, &request, &a, &err);
	}
	assert_int_equal(rc, -ENOSPC);
	assert_non_null(strstr(err.text, "journal"));
	assert_int_equal(lab_links(), n - 1);
	assert_int_equal(stats_of(lab).in_use[FAMILY_4], n - 1);
	for (int i = 0; i < n; i++)
		lab_del(lab, i);
	lab_turn(lab, 20000);
	lab_assert_clean(lab);
	assert_int_equal(in_use(lab), 0);
	/* all of that is in the journal */
	lab_stop(lab);
	lab_start(lab);
	assert_int_equal(in_use(lab), 0);
	assert_true(stats_of(lab).resting[FAMILY_4] > 0);
	assert_string_equal(lab->reports, "");
	/* and with room again, ADD works again */
	unlink(filler);
	lab_add(lab, 0, &a);
	lab_del(lab, 0);
	lab_stop(lab);
	umount2(lab->dir, MNT_DETACH);
	lab_start(lab);
}

static void history_is_dropped(void **state)
{
	struct lab *lab = *state;
	struct attachment a, b;
	int same = 0;

	lab_add(lab, 1, &b);
	for (int i = 0; i < 250; i++) {
		lab->attacher->rewrite_at = 4096;
		lab_add(lab, 0, &a);
		lab_del(lab, 0);
		if (i % 50 == 0)
			attach_teardown(lab->attacher);
		same += journal_size(lab->attacher->journal) < 4096 + 512;
	}
	assert_true(journal_size(lab->attacher->journal) < 128 * 1024);
	assert_true(same > 0);
	lab_stop(lab);
	lab_start(lab);
	assert_int_equal(check(lab, 1), 0);
	assert_int_equal(stats_of(lab).attached, 1);
	assert_true(stats_of(lab).resting[FAMILY_4] > 200);
	assert_string_equal(lab->reports, "");
	lab_del(lab, 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, lab_setup, lab_teardown)
	const struct CMUnitTest tests[] = {T(add_fails_anywhere), T(kernel_refuses), T(add_killed_anywhere),
		T(del_killed_anywhere), T(add_fails_with_files), T(add_killed_with_files),
		T(del_killed_with_files), T(restart_keeps_everything), T(another_boot), T(died_without_del),
		T(lost_journal), T(damaged_journal), T(full_disk), T(history_is_dropped)};

	lab_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
