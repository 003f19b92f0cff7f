/* SPDX-License-Identifier: Apache-2.0
 *
 * Pods that Calico's plugin attached: interfaces made by ip(8) as it makes them.
 */
#include "attach_lab.h"

#include "attach/adopt.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "plane/plane.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NAME "calif1e2d3c4b5a"
#define POD_MAC "aa:bb:cc:00:00:01"

static struct addr A(const char *text)
{
	struct addr addr;

	assert_int_equal(addr_parse(text, &addr), 0);
	return addr;
}

static void run(int netns, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void run(int netns, const char *fmt, ...)
{
	char words[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(words, sizeof(words), fmt, ap);
	va_end(ap);
	if (lab_run(netns, words) != 0)
		fail_msg("%s", words);
}

/* Pod 0, with the plugin's routes and its agent's. */
static void make_pod(struct lab *lab, const char *name)
{
	int pod = lab_pod(lab, 0);

	run(pod, "ip link add eth0 address " POD_MAC " type veth peer name %s address ee:ee:ee:ee:ee:ee netns %d", name,
		(int)getpid());
	run(-1, "ip link set %s up", name);
	run(pod, "ip link set eth0 up");
	run(pod, "ip addr add 10.9.0.5/32 dev eth0");
	run(pod, "ip addr add fd09::5/128 dev eth0 nodad");
	run(pod, "ip route add 169.254.1.1 dev eth0 scope link");
	run(pod, "ip route add default via 169.254.1.1 dev eth0");
	run(pod, "ip -6 route add default via fe80::ecee:eeff:feee:eeee dev eth0");
	/* proxy ARP answers only where a default route is */
	run(pod, "ip neigh add 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev eth0");
	run(-1, "ip route add 10.9.0.5 dev %s scope link", name);
	run(-1, "ip route add 10.9.0.5 dev %s scope link proto 80 metric 1024", name);
	run(-1, "ip -6 route add fd09::5 dev %s", name);
}

static size_t routes_to(const struct addr *addr, int protocol)
{
	_cleanup_free_ struct plane_route *routes = NULL;
	size_t count = 0, n = 0;

	assert_int_equal(plane_list_routes(&routes, &count, NULL), 0);
	for (size_t i = 0; i < count; i++)
		n += addr_equal(&routes[i].dst.addr, addr) && (!protocol || routes[i].protocol == protocol);
	return n;
}

static size_t list(struct lab *lab, struct attach_stray *ret)
{
	_cleanup_free_ struct attach_stray *strays = NULL;
	struct err err = ERR_INIT;
	size_t count = 0;

	if (attach_list_strays(lab->attacher, &strays, &count, &err) < 0)
		fail_msg("%s", err_text(&err));
	if (count)
		*ret = strays[0];
	return count;
}

static void adopt(struct lab *lab, const struct attach_whose *whose)
{
	struct attach_stray stray;
	struct err err = ERR_INIT;

	assert_int_equal(list(lab, &stray), 1);
	if (attach_adopt(lab->attacher, &stray, whose, &err) < 0)
		fail_msg("%s", err_text(&err));
}

static const struct attach_whose known = {"k8s-pod-network", "0123abcd", "shop", "web-0"};

static void it_is_found_and_adopted_as_it_is(void **state)
{
	struct addr v4 = A("10.9.0.5"), v6 = A("fd09::5");
	struct lab *lab = *state;
	const struct attachment *a;
	struct attach_stray stray;
	char text[MAC_TEXT_MAX];

	run(-1, "ip link add calishort type veth peer name other0");
	run(-1, "ip link add cali0123456789a type bridge");
	make_pod(lab, NAME);
	assert_int_equal(list(lab, &stray), 1);
	assert_string_equal(stray.host_ifname, NAME);
	assert_string_equal(stray.ifname, "eth0");
	assert_string_equal(mac_format(&stray.mac, text), POD_MAC);
	assert_true(addr_equal(&stray.addr[FAMILY_4], &v4) && addr_equal(&stray.addr[FAMILY_6], &v6));
	adopt(lab, &known);
	a = attach_find(lab->attacher, "0123abcd", "eth0");
	assert_non_null(a);
	assert_string_equal(a->network, "k8s-pod-network");
	assert_string_equal(a->pod_name, "web-0");
	/* one route each, ours, and traffic in both directions */
	assert_int_equal(routes_to(&v4, 0), 1);
	assert_int_equal(routes_to(&v4, ROUTE_PROTOCOL_TULLE), 1);
	assert_int_equal(routes_to(&v6, ROUTE_PROTOCOL_TULLE), 1);
	assert_true(lab_pings(lab, -1, &v4) && lab_reaches(lab, -1, &v6));
	assert_int_equal(list(lab, &stray), 0);
}

static void it_survives_the_agent_and_goes_by_del(void **state)
{
	struct addr v4 = A("10.9.0.5");
	struct lab *lab = *state;
	struct attach_request request = {.network = "k8s-pod-network", .container_id = "0123abcd", .ifname = "eth0",
		.netns_path = "/run/netns/pod0", .netns_fd = -1, .host_prefix = "cali"};
	struct attachment a;
	struct err err = ERR_INIT;

	make_pod(lab, NAME);
	adopt(lab, &known);
	lab_stop(lab);
	lab_start(lab);
	assert_true(lab_pings(lab, -1, &v4));
	request.netns_fd = lab_pod(lab, 0);
	if (attach_check(lab->attacher, &request, &a, &err) < 0)
		fail_msg("CHECK: %s", err_text(&err));
	if (attach_del(lab->attacher, &request, &err) < 0)
		fail_msg("DEL: %s", err_text(&err));
	assert_int_equal(routes_to(&v4, 0), 0);
	lab_turn(lab, 5000);
	assert_int_equal(lab_run(-1, "ip link show " NAME), 1);
	assert_null(attach_find(lab->attacher, "0123abcd", "eth0"));
}

/* The agent is killed between the two records: what was there before it is not undone. */
static void a_half_adopted_pod_is_kept(void **state)
{
	struct addr v4 = A("10.9.0.5");
	struct lab *lab = *state;
	struct attachment a = {.network = "k8s-pod-network", .container_id = "0123abcd", .ifname = "eth0",
		.host_ifname = NAME, .mtu = 1500, .default_route = true};
	struct attach_pod *pod = NULL;

	make_pod(lab, NAME);
	a.addr[FAMILY_4] = v4;
	a.serial = ++lab->attacher->serial;
	assert_int_equal(attach_begin(lab->attacher, &a, a.serial, &pod, NULL), 0);
	attach_pod_free(pod);
	lab_stop(lab);
	lab_start(lab);
	assert_non_null(attach_find(lab->attacher, "0123abcd", "eth0"));
	assert_true(lab_pings(lab, -1, &v4));
}

static void one_that_nobody_knows_goes_by_its_name(void **state)
{
	struct lab *lab = *state;
	struct attach_request request = {.network = "n", .container_id = "feed", .ifname = "eth0", .netns_path = "",
		.netns_fd = -1, .host_prefix = "cali", .pod_namespace = "shop", .pod_name = "web-1"};
	char name[IFNAMSIZ];

	attach_calico_ifname("shop", "web-0", name); /* printf shop.web-0 | sha1sum */
	assert_string_equal(name, "calia4fc3c48bd8");
	make_pod(lab, name);
	adopt(lab, &(struct attach_whose){.network = ""});
	assert_int_equal(attach_del(lab->attacher, &request, NULL), 0);
	assert_int_equal(lab_run(-1, "ip link show calia4fc3c48bd8"), 0); /* another pod's DEL */
	request.pod_name = "web-0";
	assert_int_equal(attach_del(lab->attacher, &request, NULL), 0);
	lab_turn(lab, 5000);
	assert_int_equal(lab_run(-1, "ip link show calia4fc3c48bd8"), 1);
}

static void an_address_is_nobody_elses(void **state)
{
	struct addr v4 = A("10.9.0.5");
	struct lab *lab = *state;
	struct attach_stray stray = {.host_ifname = "calif1e2d3c4b5b", .ifname = "eth0", .mtu = 1500};
	struct attach_whose other = {.network = "n", .container_id = "other"};
	struct err err = ERR_INIT;

	make_pod(lab, NAME);
	adopt(lab, &known);
	stray.addr[FAMILY_4] = v4;
	assert_int_equal(attach_adopt(lab->attacher, &stray, &other, &err), -EEXIST);
	assert_non_null(strstr(err_text(&err), "10.9.0.5"));
	assert_int_equal(attach_adopt(lab->attacher, &stray, &known, &err), -EEXIST);
}

static void note(void *ctx, const struct attachment *attachment)
{
	snprintf(ctx, ATTACH_ID_MAX, "%s", attachment->container_id);
}

static void undone_meanwhile(void **state)
{
	struct lab *lab = *state;
	char gone[ATTACH_ID_MAX] = "";

	make_pod(lab, NAME);
	adopt(lab, &known);
	attach_each_gone(lab->attacher, note, gone);
	assert_string_equal(gone, "");
	run(-1, "ip link del " NAME);
	attach_each_gone(lab->attacher, note, gone);
	assert_string_equal(gone, "0123abcd");
	assert_int_equal(attach_forget(lab->attacher, "0123abcd", "eth0", NULL), 0);
	assert_null(attach_find(lab->attacher, "0123abcd", "eth0"));
	assert_int_equal(attach_forget(lab->attacher, "0123abcd", "eth0", NULL), -ENOENT);
}

/* Conf type calico: the host end is called after the pod, and a new sandbox takes the name. */
static void a_new_sandbox_takes_the_name(void **state)
{
	struct lab *lab = *state;
	struct attach_request one = lab_request(lab, 0), two = lab_request(lab, 1);
	struct attachment a, b;
	struct err err = ERR_INIT;

	one.host_prefix = two.host_prefix = "cali";
	one.pod_namespace = two.pod_namespace = "shop";
	one.pod_name = two.pod_name = "web-0";
	assert_int_equal(attach_add(lab->attacher, &one, &a, &err), 0);
	assert_string_equal(a.host_ifname, "calia4fc3c48bd8");
	one.ifname = "eth1";
	assert_int_equal(attach_add(lab->attacher, &one, &a, &err), 0);
	assert_string_not_equal(a.host_ifname, "calia4fc3c48bd8");
	one.ifname = "eth0";
	if (attach_add(lab->attacher, &two, &b, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_string_equal(b.host_ifname, "calia4fc3c48bd8");
	assert_null(attach_find(lab->attacher, "c0", "eth0"));
	assert_true(lab_pings(lab, -1, &b.addr[FAMILY_4]));
	assert_int_equal(attach_del(lab->attacher, &one, &err), 0); /* comes late */
	assert_true(lab_pings(lab, -1, &b.addr[FAMILY_4]));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, lab_setup, lab_teardown)
	const struct CMUnitTest tests[] = {
		T(it_is_found_and_adopted_as_it_is),
		T(it_survives_the_agent_and_goes_by_del),
		T(a_half_adopted_pod_is_kept),
		T(one_that_nobody_knows_goes_by_its_name),
		T(an_address_is_nobody_elses),
		T(undone_meanwhile),
		T(a_new_sandbox_takes_the_name),
	};

	lab_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
