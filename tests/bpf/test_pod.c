/* SPDX-License-Identifier: Apache-2.0
 *
 * Programs and shaping of a pod's interface, against the kernel, in namespaces of the test's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "plane/podprog.h"
#include "plane/shape.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct bed {
	int host_ns, pod_ns;
	struct nl *host, *pod;
	uint32_t index;
};

static void run(const char *command)
{
	if (system(command))
		fail_msg("%s", command);
}

static int own_ns(void)
{
	return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
}

/* Host end "hv" 10.9.0.1, pod end "eth0" 10.9.0.2. */
static int setup(void **state)
{
	struct bed *bed = calloc(1, sizeof(*bed));
	char command[128];

	if (!bed || unshare(CLONE_NEWNET))
		return -1;
	bed->pod_ns = own_ns();
	run("ip link set lo up");
	assert_int_equal(nl_open(&bed->pod, NULL), 0);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	bed->host_ns = own_ns();
	assert_int_equal(nl_open(&bed->host, NULL), 0);
	snprintf(command, sizeof(command), "ip link add hv type veth peer name eth0 netns /proc/%d/fd/%d", getpid(),
		bed->pod_ns);
	run(command);
	run("ip link set lo up && ip addr add 10.9.0.1/24 dev hv && ip link set hv up");
	bed->index = if_nametoindex("hv");
	setns(bed->pod_ns, CLONE_NEWNET);
	run("ip addr add 10.9.0.2/24 dev eth0 && ip link set eth0 up");
	setns(bed->host_ns, CLONE_NEWNET);
	*state = bed;
	return 0;
}

static int teardown(void **state)
{
	struct bed *bed = *state;

	nl_close(bed->host);
	nl_close(bed->pod);
	close(bed->host_ns);
	close(bed->pod_ns);
	free(bed);
	return 0;
}

static int udp_socket(int ns, const char *text, uint16_t port)
{
	struct sockaddr_storage address;
	struct addr addr;
	socklen_t len;
	int fd;

	assert_int_equal(setns(ns, CLONE_NEWNET), 0);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(addr_parse(text, &addr), 0);
	addr_to_sockaddr(&addr, port, &address, &len);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
	return fd;
}

static bool arrives(int from, int to, const char *text, uint16_t port, int wait_ms)
{
	struct sockaddr_storage address;
	struct pollfd ready = {.fd = to, .events = POLLIN};
	struct addr addr;
	socklen_t len;
	char byte = 'x';

	addr_parse(text, &addr);
	addr_to_sockaddr(&addr, port, &address, &len);
	sendto(from, &byte, 1, 0, (struct sockaddr *)&address, len);
	if (poll(&ready, 1, wait_ms) != 1)
		return false;
	return recv(to, &byte, 1, 0) == 1;
}

static void a_closed_pod_neither_sends_nor_receives(void **state)
{
	struct bed *bed = *state;
	struct podprog *podprog = NULL;
	struct err err = ERR_INIT;
	int pod = udp_socket(bed->pod_ns, "10.9.0.2", 4000), host = udp_socket(bed->host_ns, "10.9.0.1", 4001);

	assert_int_equal(podprog_new(&podprog, &err), 0);
	assert_true(arrives(host, pod, "10.9.0.2", 4000, 3000));
	assert_true(arrives(pod, host, "10.9.0.1", 4001, 3000));
	if (podprog_close(podprog, bed->host, bed->index, &err))
		fail_msg("%s", err_text(&err));
	assert_false(arrives(host, pod, "10.9.0.2", 4000, 200));
	assert_false(arrives(pod, host, "10.9.0.1", 4001, 200));
	assert_int_equal(podprog_close(podprog, bed->host, bed->index, &err), 0);
	podprog_free(podprog);
	assert_false(arrives(host, pod, "10.9.0.2", 4000, 200));
	close(pod);
	close(host);
}

static void closing_a_device_that_is_gone_says_so(void **state)
{
	struct bed *bed = *state;
	struct podprog *podprog = NULL;
	struct err err = ERR_INIT;

	assert_int_equal(podprog_new(&podprog, &err), 0);
	assert_int_equal(podprog_close(podprog, bed->host, 999999, &err), -ENODEV);
	podprog_free(podprog);
}

static int apply(struct bed *bed, const struct bandwidth *bandwidth, struct err *err)
{
	return shape_apply(bed->host, "hv", bed->pod, "eth0", bandwidth, err);
}

static int check(struct bed *bed, const struct bandwidth *bandwidth)
{
	return shape_check(bed->host, "hv", bed->pod, "eth0", bandwidth, NULL);
}

static void shaping_is_set_changed_checked_and_removed(void **state)
{
	struct bed *bed = *state;
	struct bandwidth slow = {.ingress_rate = 8000000, .ingress_burst = 8000000, .egress_rate = 16000000,
		.egress_burst = 1};
	struct bandwidth fast = {.ingress_rate = 400000000000, .ingress_burst = 2147483647ULL * 8};
	struct err err = ERR_INIT;

	if (apply(bed, &slow, &err))
		fail_msg("%s", err_text(&err));
	assert_int_equal(check(bed, &slow), 0);
	run("tc qdisc show dev hv | grep -q 'qdisc tbf 1: root.* rate 8Mbit burst 1000000b lat 25ms'");
	setns(bed->pod_ns, CLONE_NEWNET);
	run("tc qdisc show dev eth0 | grep -q 'tbf 1: root.* rate 16Mbit burst 15'");
	setns(bed->host_ns, CLONE_NEWNET);
	assert_int_equal(check(bed, &fast), -EBADMSG);
	assert_int_equal(apply(bed, &fast, &err), 0);
	assert_int_equal(check(bed, &fast), 0);
	assert_int_equal(check(bed, &slow), -EBADMSG);
	assert_int_equal(shape_remove(bed->host, "hv", bed->pod, "eth0", &err), 0);
	assert_int_equal(check(bed, &fast), -ENOENT);
	assert_int_equal(shape_remove(bed->host, "hv", bed->pod, "eth0", &err), 0);
	assert_int_equal(shape_remove(bed->host, "none0", NULL, "eth0", &err), 0);
}

static void bad_bandwidth_is_refused_by_name(void **state)
{
	struct bed *bed = *state;
	struct bandwidth burst = {.ingress_rate = 8000, .ingress_burst = 8ULL << 32};
	struct bandwidth rate = {.egress_rate = 7, .egress_burst = 80000};
	struct err err = ERR_INIT;

	assert_int_equal(apply(bed, &burst, &err), -EINVAL);
	assert_non_null(strstr(err_text(&err), "34359738368"));
	assert_int_equal(apply(bed, &rate, &err), -EINVAL);
	assert_non_null(strstr(err_text(&err), "eth0"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_closed_pod_neither_sends_nor_receives, setup, teardown),
		cmocka_unit_test_setup_teardown(closing_a_device_that_is_gone_says_so, setup, teardown),
		cmocka_unit_test_setup_teardown(shaping_is_set_changed_checked_and_removed, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_bandwidth_is_refused_by_name, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
