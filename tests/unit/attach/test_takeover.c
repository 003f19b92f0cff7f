/* SPDX-License-Identifier: Apache-2.0
 *
 * Pods that Flannel's plugin attached, as far as it matters: its state file, and Debian's bridge and
 * host-local plugins as its delegates (/usr/lib/cni).
 */
#include "attach_lab.h"

#include "attach/flannel_files.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct addr A(const char *text)
{
	struct addr addr;

	assert_int_equal(addr_parse(text, &addr), 0);
	return addr;
}

static bool has_state(struct lab *lab, int n)
{
	char path[120];

	snprintf(path, sizeof(path), "%s/c%d", lab->flannel, n);
	return access(path, F_OK) == 0;
}

static void remove_bridge(void)
{
	assert_int_equal(lab_run(-1, "ip link del cni0"), 0);
}

static void both_live_together(void **state)
{
	struct lab *lab = *state;
	struct addr old4 = A("10.1.2.2"), old6 = A("fd00:1:2::2");
	struct attachment a, b;

	lab_bridge_add(lab, 0);
	lab_bridge_add(lab, 1);
	assert_int_equal(lab_reservations(lab), 4);
	lab_add(lab, 2, &a); /* before the agent saw the bridge */
	lab_stop(lab);
	lab_start(lab);
	lab_add(lab, 3, &b);
	assert_string_equal(lab->reports, "");
	/* addresses of the old pods count as taken */
	assert_int_equal(a.addr[FAMILY_4].b[15], 4);
	assert_int_equal(b.addr[FAMILY_6].b[15], 5);
	assert_true(lab_reaches(lab, 2, &old4));
	assert_true(lab_reaches(lab, 3, &old6));
	/* the old ones ARP for the new ones: the bridge answers */
	for (int n = 0; n < 2; n++) {
		for (int f = 0; f < FAMILY_COUNT; f++) {
			assert_true(lab_reaches(lab, n, &a.addr[f]));
			assert_true(lab_reaches(lab, n, &b.addr[f]));
		}
	}
	assert_true(lab_reaches(lab, 1, &old4));
	/* it is that what they need, and it is put back when the network is told again */
	assert_int_equal(lab_run(-1, "sysctl -w net.ipv4.conf.cni0.proxy_arp=0"), 0);
	assert_int_equal(lab_run(lab_pod(lab, 0), "ip neigh flush dev eth0"), 0);
	assert_false(lab_pings(lab, 0, &a.addr[FAMILY_4]));
	lab_network(lab, "10.1.2.0/24", "fd00:1:2::/64");
	assert_true(lab_reaches(lab, 0, &a.addr[FAMILY_4]));
	lab_del(lab, 2);
	lab_del(lab, 3);
	assert_false(lab_pings(lab, 0, &b.addr[FAMILY_6]));
	lab_del(lab, 0);
	lab_del(lab, 1);
	lab_turn(lab, 5000);
	remove_bridge();
	lab_assert_clean(lab);
}

static void del_undoes(void **state)
{
	struct lab *lab = *state;
	struct attach_request request = lab_request(lab, 0);
	struct addr addr = A("10.1.2.2");

	lab_bridge_add(lab, 0);
	lab_bridge_add(lab, 1);
	assert_int_equal(lab_links(), 3);
	/* not this interface: nothing of eth0 may go but what is asked for */
	lab_del(lab, 0);
	assert_int_not_equal(lab_run(lab_pod(lab, 0), "ip link show eth0"), 0);
	assert_false(host_local_has_addr(lab->host_local, &addr));
	assert_int_equal(lab_reservations(lab), 2);
	assert_false(has_state(lab, 0));
	assert_true(has_state(lab, 1));
	assert_int_equal(attach_del(lab->attacher, &request, NULL), 0);
	/* the namespace is gone */
	lab_pod_gone(lab, 1);
	request = (struct attach_request){.network = "cbr0",
		.container_id = "c1",
		.ifname = "eth0",
		.netns_path = "",
		.netns_fd = -1,
		.host_prefix = "tul"};
	assert_int_equal(attach_del(lab->attacher, &request, NULL), 0);
	assert_int_equal(lab_reservations(lab), 0);
	assert_false(has_state(lab, 1));
	for (int i = 0; i < 500 && lab_links() > 1; i++)
		usleep(10000);
	remove_bridge();
	lab_assert_clean(lab);
}

static void legacy_reservation(void **state)
{
	struct lab *lab = *state;
	char path[200];

	lab_write_state(lab, 0);
	snprintf(path, sizeof(path), "%s/cbr0", lab->host_local);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(path, sizeof(path), "%s/cbr0/10.1.2.9", lab->host_local);
	assert_int_equal(file_write_atomic(path, "c0\n", 3, 0600, false, NULL), 0);
	snprintf(path, sizeof(path), "%s/cbr0/10.1.2.10", lab->host_local);
	assert_int_equal(file_write_atomic(path, "c0\r\neth1", 8, 0600, false, NULL), 0);
	snprintf(path, sizeof(path), "%s/cbr0/last_reserved_ip.0", lab->host_local);
	assert_int_equal(file_write_atomic(path, "c0", 2, 0600, false, NULL), 0);
	lab_del(lab, 0);
	assert_int_equal(lab_reservations(lab), 1);
	assert_int_equal(access(path, F_OK), 0);
	assert_false(has_state(lab, 0));
}

/* DEL must not fail for ever: what can be undone is, and the file stays for a person to look at. */
static void bad_state(void **state)
{
	static const char *const bad[] = {"", "{", "[]", "{\"type\":\"bridge\"}",
		"{\"name\":\"n\",\"type\":\"macvlan\"}", "{\"name\":\"n\",\"type\":7}",
		"{\"name\":\"n\",\"ipam\":{\"type\":\"dhcp\"}}", "{\"name\":\"n\"}",
		"{\"name\":\"../x\",\"ipam\":{\"type\":\"host-local\"}}",
		"{\"name\":\"n\",\"ipam\":{\"type\":\"host-local\",\"dataDir\":\"a/../b\"}}"};
	struct lab *lab = *state;
	char path[200];

	snprintf(path, sizeof(path), "%s/c0", lab->flannel);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		lab_bridge_add(lab, 0);
		assert_int_equal(lab_reservations(lab), 2);
		assert_int_equal(file_write_atomic(path, bad[i], strlen(bad[i]), 0600, false, NULL), 0);
		lab->reports[0] = 0;
		lab_del(lab, 0);
		assert_non_null(strstr(lab->reports, path));
		assert_true(has_state(lab, 0));
		assert_int_equal(lab_reservations(lab), 0);
		assert_int_not_equal(lab_run(lab_pod(lab, 0), "ip link show eth0"), 0);
	}
	remove_bridge();
}

/* What can be tried again keeps its state. */
static void failures_keep_the_state(void **state)
{
	struct lab *lab = *state;
	struct attach_request request = lab_request(lab, 0);
	struct err err = ERR_INIT;
	char path[200];
	int lock;

	lab_bridge_add(lab, 0);
	snprintf(path, sizeof(path), "%s/cbr0/lock", lab->host_local);
	lock = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(flock(lock, LOCK_EX), 0);
	assert_int_not_equal(attach_del(lab->attacher, &request, &err), 0);
	assert_non_null(strstr(err.text, "lock"));
	assert_true(has_state(lab, 0));
	assert_int_equal(lab_reservations(lab), 2);
	close(lock);
	assert_int_equal(attach_del(lab->attacher, &request, &err), 0);
	assert_int_equal(lab_reservations(lab), 0);
	remove_bridge();
}

static void strange_ids(void **state)
{
	static const char *const ids[] = {"../flannel/c0", "..", ".", ""};
	struct lab *lab = *state;

	lab_write_state(lab, 0);
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		struct attach_request request = lab_request(lab, 0);

		request.container_id = ids[i];
		assert_int_equal(attach_del(lab->attacher, &request, NULL), 0);
		assert_true(has_state(lab, 0));
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, lab_setup, lab_teardown)
	const struct CMUnitTest tests[] = {T(both_live_together), T(del_undoes), T(legacy_reservation),
		T(bad_state), T(failures_keep_the_state), T(strange_ids)};

	if (access(LAB_PLUGINS "/bridge", X_OK) != 0)
		return 77; /* package containernetworking-plugins */
	lab_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
