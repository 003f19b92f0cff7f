/* SPDX-License-Identifier: Apache-2.0
 *
 * Attachments that show in Flannel's own files: Debian's bridge and host-local find them there, undo them
 * while we are away, and what they did meanwhile is understood when we are back.
 */
#include "attach_lab.h"

#include "base/cleanup.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Agent and delegates agree where reservations are, as they do by default on a node. */
static void serve_flannel(struct lab *lab)
{
	lab->flannel_conf = json_pack("{s:s, s:{s:b, s:b}, s:{s:s}}", "cniVersion", "0.3.1", "delegate",
		"hairpinMode", 1, "isDefaultGateway", 1, "ipam", "dataDir", lab->host_local);
	assert_non_null(lab->flannel_conf);
}

static int setup(void **state)
{
	int rc = lab_setup(state);

	serve_flannel(*state);
	return rc;
}

/* Pod n by Tulle, in the network that Flannel's would be in. */
static void add(struct lab *lab, int n, struct attachment *ret)
{
	struct attach_request request = lab_request(lab, n);
	struct err err = ERR_INIT;

	request.network = "cbr0";
	if (attach_add(lab->attacher, &request, ret, &err) < 0)
		fail_msg("ADD of pod %d: %s", n, err_text(&err));
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

static void restart(struct lab *lab)
{
	lab_stop(lab);
	lab->reports[0] = 0;
	lab_start(lab);
}

static void remove_state(struct lab *lab, int n)
{
	char path[120];

	snprintf(path, sizeof(path), "%s/c%d", lab->flannel, n);
	assert_int_equal(unlink(path), 0);
}

static void remove_reservation(struct lab *lab, const struct addr *addr)
{
	char path[200], text[ADDR_TEXT_MAX];

	snprintf(path, sizeof(path), "%s/cbr0/%s", lab->host_local, addr_format(addr, text));
	assert_int_equal(unlink(path), 0);
}

static void remove_bridge(void)
{
	assert_int_equal(lab_run(-1, "ip link del cni0"), 0);
}

/* By no means for other types. */
static void only_for_type_flannel(void **state)
{
	struct lab *lab = *state;
	struct attachment a;

	json_decref(lab->flannel_conf);
	lab->flannel_conf = NULL;
	add(lab, 0, &a);
	assert_int_equal(lab_states(lab), 0);
	assert_int_equal(lab_reservations(lab), 0);
	lab_del(lab, 0);
	attach_teardown(lab->attacher);
	lab_assert_clean(lab);
}

static void undone_by_the_delegates(void **state)
{
	struct lab *lab = *state;
	struct attachment a, b, c;

	add(lab, 0, &a);
	add(lab, 1, &b);
	assert_int_equal(lab_states(lab), 2);
	assert_int_equal(lab_reservations(lab), 4);
	lab_stop(lab);
	/* host-local begins at .2, which is ours */
	lab_bridge_add(lab, 2);
	assert_int_equal(lab_reservations(lab), 6);
	/* the namespace's interface goes, its other end with it */
	lab_bridge(lab, "DEL", 0, true);
	remove_state(lab, 0);
	assert_int_equal(lab_reservations(lab), 4);
	assert_int_not_equal(lab_run(lab_pod(lab, 0), "ip link show eth0"), 0);
	lab_start(lab);
	assert_non_null(strstr(lab->reports, "c0/eth0: Flannel's plugin has undone it"));
	assert_int_equal(stats_of(lab).attached, 1);
	assert_int_equal(in_use(lab), 2);
	assert_int_equal(stats_of(lab).resting[FAMILY_4], 1);
	add(lab, 3, &c);
	assert_int_equal(c.addr[FAMILY_4].b[15], 5);
	assert_true(lab_reaches(lab, 3, &b.addr[FAMILY_4]));
	/* the runtime's own DEL has nothing left to do, nor the next start */
	lab_del(lab, 0);
	restart(lab);
	assert_string_equal(lab->reports, "");
	for (int i = 1; i <= 3; i++)
		lab_del(lab, i);
	attach_teardown(lab->attacher);
	remove_bridge();
	lab_assert_clean(lab);
}

/* Flannel's plugin removes its state file though the delegate failed; and the other way round it was killed.
 */
static void half_undone(void **state)
{
	struct lab *lab = *state;
	struct attachment a, b;

	add(lab, 0, &a);
	add(lab, 1, &b);
	lab_stop(lab);
	lab_pod_gone(lab, 0);
	lab_pod_gone(lab, 1);
	for (int i = 0; i < 500 && lab_links(); i++)
		usleep(10000);
	remove_state(lab, 0);
	lab_bridge(lab, "DEL", 1, false);
	lab_start(lab);
	assert_non_null(strstr(lab->reports, "c0/eth0: Flannel's plugin"));
	assert_non_null(strstr(lab->reports, "c1/eth0: Flannel's plugin"));
	assert_int_equal(in_use(lab), 0);
	lab_assert_clean(lab);
}

/* A pod that died without a DEL is nobody's to forget. */
static void died_without_del(void **state)
{
	struct lab *lab = *state;
	struct attachment a;

	add(lab, 0, &a);
	lab_stop(lab);
	lab_pod_gone(lab, 0);
	for (int i = 0; i < 500 && lab_links(); i++)
		usleep(10000);
	lab_start(lab);
	assert_non_null(strstr(lab->reports, "gone without a DEL"));
	assert_int_equal(in_use(lab), 2);
	assert_int_equal(lab_states(lab), 1);
	lab_del(lab, 0);
	assert_int_equal(in_use(lab), 0);
	lab_assert_clean(lab);
}

/* Somebody tidied up /var/lib/cni/networks under a running pod. */
static void reservations_come_back(void **state)
{
	struct lab *lab = *state;
	struct attachment a, b;

	add(lab, 0, &a);
	add(lab, 1, &b);
	lab_stop(lab);
	for (int f = 0; f < FAMILY_COUNT; f++) {
		remove_reservation(lab, &a.addr[f]);
		remove_reservation(lab, &b.addr[f]);
	}
	lab_bridge_add(lab, 2); /* gets the first one's addresses */
	lab_start(lab);
	assert_non_null(strstr(lab->reports, "c0/eth0: Flannel's plugin may give its address again"));
	assert_null(strstr(lab->reports, "c1/eth0"));
	assert_int_equal(in_use(lab), 4);
	assert_int_equal(lab_reservations(lab), 4);
	/* and DEL leaves the other's alone */
	lab_del(lab, 0);
	assert_int_equal(lab_reservations(lab), 4);
	lab_del(lab, 1);
	lab_del(lab, 2);
	attach_teardown(lab->attacher);
	remove_bridge();
	lab_assert_clean(lab);
}

static void another_boot(void **state)
{
	struct lab *lab = *state;
	struct attachment a;

	add(lab, 0, &a);
	add(lab, 1, &a);
	lab_write_state(lab, 7); /* Flannel's own: not ours to remove */
	lab_stop(lab);
	lab_pod_gone(lab, 0);
	lab_pod_gone(lab, 1);
	for (int i = 0; i < 500 && lab_links(); i++)
		usleep(10000);
	lab->boot_id = "later";
	lab_start(lab);
	assert_int_equal(lab_states(lab), 1);
	assert_int_equal(lab_reservations(lab), 0);
	add(lab, 0, &a);
	assert_int_equal(a.addr[FAMILY_4].b[15], 2);
	lab_del(lab, 0);
	remove_state(lab, 7);
	attach_teardown(lab->attacher);
	lab_assert_clean(lab);
}

/* The interface tells that the files are of a pod that lives. */
static void lost_journal(void **state)
{
	struct lab *lab = *state;
	struct attachment a;
	char path[100];

	add(lab, 0, &a);
	lab_stop(lab);
	snprintf(path, sizeof(path), "%s/journal", lab->dir);
	assert_int_equal(unlink(path), 0);
	lab_start(lab);
	assert_int_equal(lab_states(lab), 1);
	assert_int_equal(lab_reservations(lab), 2);
	assert_int_equal(in_use(lab), 2);
	lab_del(lab, 0);
	assert_int_equal(in_use(lab), 0);
	assert_int_equal(stats_of(lab).attached, 0);
	attach_teardown(lab->attacher);
	lab_assert_clean(lab);
}

/* The pod is cut off, DEL says that it must be tried again, and the next one finishes. */
static void del_under_a_lock(void **state)
{
	struct lab *lab = *state;
	struct attach_request request;
	struct attachment a;
	struct err err = ERR_INIT;
	char path[200];
	int lock;

	add(lab, 0, &a);
	add(lab, 1, &a);
	snprintf(path, sizeof(path), "%s/cbr0/lock", lab->host_local);
	lock = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(flock(lock, LOCK_EX), 0);
	for (int i = 0; i < 2; i++) {
		request = lab_request(lab, i);
		assert_int_equal(attach_del(lab->attacher, &request, &err), -EAGAIN);
		assert_non_null(strstr(err.text, "lock"));
	}
	assert_int_equal(in_use(lab), 0);
	assert_int_equal(lab_states(lab), 2);
	request = lab_request(lab, 2);
	request.network = "cbr0";
	assert_int_equal(attach_add(lab->attacher, &request, &a, &err), -EAGAIN);
	assert_int_equal(in_use(lab), 0);
	close(lock);
	lab_del(lab, 0);
	assert_int_equal(lab_states(lab), 1);
	restart(lab); /* finishes it as well */
	lab_assert_clean(lab);
}

static void garbage_collection(void **state)
{
	struct attach_key valid[] = {{"c4", "eth0"}, {"c1", "eth0"}};
	struct lab *lab = *state;
	struct attachment a;

	add(lab, 0, &a);
	add(lab, 1, &a);
	lab_bridge_add(lab, 3);
	lab_bridge_add(lab, 4);
	assert_int_equal(attach_gc(lab->attacher, "other", NULL, 0, NULL), 0);
	assert_int_equal(lab_states(lab), 4);
	assert_int_equal(attach_gc(lab->attacher, "cbr0", valid, ARRAY_SIZE(valid), NULL), 0);
	assert_int_equal(lab_states(lab), 2);
	assert_int_equal(lab_reservations(lab), 4);
	assert_int_equal(stats_of(lab).attached, 1);
	lab_del(lab, 1);
	lab_del(lab, 4);
	lab_pod_gone(lab, 3);
	attach_teardown(lab->attacher);
	for (int i = 0; i < 500 && lab_links() > 1; i++)
		usleep(10000);
	remove_bridge();
	lab_assert_clean(lab);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, lab_teardown)
	const struct CMUnitTest tests[] = {T(only_for_type_flannel), T(undone_by_the_delegates),
		T(half_undone), T(died_without_del), T(reservations_come_back), T(another_boot),
		T(lost_journal), T(del_under_a_lock), T(garbage_collection)};

	if (access(LAB_PLUGINS "/bridge", X_OK) != 0)
		return 77; /* package containernetworking-plugins */
	lab_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
