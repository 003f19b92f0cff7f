/* SPDX-License-Identifier: Apache-2.0
 *
 * The CNI server's parsers: configurations, CNI_ARGS, requests, results, errors.
 */
#include "base/cleanup.h"
#include "cni_server/cni_args.h"
#include "cni_server/cni_conf.h"
#include "cni_server/cni_error.h"
#include "cni_server/cni_request.h"
#include "cni_server/cni_result.h"
#include "cni_server/cni_server.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static json_t *parse(const char *text)
{
	json_t *json = NULL;
	struct err err = ERR_INIT;

	if (json_parse(text, strlen(text), "test", &json, &err) < 0)
		fail_msg("%s: %s", text, err_text(&err));
	return json;
}

static void assert_json(const json_t *got, const char *expected)
{
	_cleanup_(json_cleanup) json_t *want = parse(expected);
	_cleanup_free_ char *text = json_dumps(got, JSON_COMPACT);

	if (!json_equal(got, want))
		fail_msg("got %s\nexpected %s", text ? text : "nothing", expected);
}

/* -- CNI_ARGS -- */

static void test_args(void **state)
{
	struct cni_wishes wishes = {0};
	struct err err = ERR_INIT;
	char text[64];

	(void)state;
	assert_int_equal(cni_args_parse("K8S_POD_NAME=x-0;K8S_POD_NAMESPACE=shop;IP=10.1.2.3,fd00::5/64;;MAC=02:00:00:00:00:07;IP=10.1.2.3", &wishes,
				 &err), 0);
	assert_string_equal(wishes.pod_name, "x-0");
	assert_string_equal(wishes.pod_namespace, "shop");
	assert_int_equal(wishes.ip_count, 2);
	assert_string_equal(addr_format(&wishes.ips[0], text), "10.1.2.3");
	assert_string_equal(addr_format(&wishes.ips[1], text), "fd00::5");
	assert_string_equal(mac_format(&wishes.mac, text), "02:00:00:00:00:07");
}

static void test_args_bad(void **state)
{
	static const char *const bad[] = {"x", "A=1;x", "IP=1.2.3", "IP=::", "IP=0.0.0.0/33", "IP=224.0.0.1", "IP=127.0.0.1",
		"IP=fe80::1", "MAC=zz", "MAC=00:00:00:00:00:00", "MAC=ff:ff:ff:ff:ff:ff", "IP=010.1.1.1",
		"IP=10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4,10.0.0.5,10.0.0.6,10.0.0.7,10.0.0.8,10.0.0.9"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct cni_wishes wishes = {0};
		struct err err = ERR_INIT;

		assert_true(cni_args_parse(bad[i], &wishes, &err) < 0);
		assert_non_null(strstr(err.text, "CNI_ARGS"));
		assert_int_equal(wishes.ip_count, 0);
	}
}

static void test_args_long(void **state)
{
	static char text[70000];
	struct cni_wishes wishes = {0};

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	memcpy(text, "K8S_POD_NAME=", 13);
	memcpy(text + sizeof(text) - 13, ";IP=10.0.0.1", 13);
	assert_int_equal(cni_args_parse(text, &wishes, NULL), 0);
	assert_int_equal(wishes.ip_count, 1);
	assert_string_equal(wishes.pod_name, "");
}

/* -- configurations -- */

static int parse_conf(const char *text, bool masq, struct cni_conf *conf, struct err *err)
{
	json_t *json = parse(text);
	int rc = cni_conf_parse(json, "tulle", masq, NULL, conf, err);

	json_decref(json);
	return rc;
}

static void test_conf_defaults(void **state)
{
	struct cni_conf conf;

	(void)state;
	assert_int_equal(parse_conf("{}", false, &conf, NULL), 0);
	assert_int_equal(conf.type, CNI_TYPE_TULLE);
	assert_true(conf.default_route);
	assert_int_equal(parse_conf("{\"type\":\"flannel\"}", false, &conf, NULL), 0);
	assert_false(conf.default_route);
	assert_int_equal(parse_conf("{\"type\":\"calico\",\"ipam\":{\"type\":\"calico-ipam\"}}", false, &conf, NULL), 0);
	assert_true(conf.default_route);
	assert_string_equal(cni_type_host_prefix(conf.type), "cali");
}

static void test_conf_bandwidth(void **state)
{
	struct cni_conf conf;

	(void)state;
	assert_int_equal(parse_conf("{\"RuntimeConfig\":{\"Bandwidth\":{\"IngressRate\":1e6,\"IngressBurst\":34359738359,"
				    "\"EgressBurst\":4294967295}}}", false, &conf, NULL), 0);
	assert_int_equal(conf.bandwidth.ingress_rate, 1000000);
	assert_true(conf.bandwidth.ingress_burst == 34359738359u);
	assert_int_equal(conf.bandwidth.egress_rate, 0);
	assert_int_equal(conf.bandwidth.egress_burst, 0);
}

static void test_conf_wishes(void **state)
{
	struct cni_wishes first = {0};
	struct cni_conf conf;
	_cleanup_(json_cleanup) json_t *json =
		parse("{\"args\":{\"cni\":{\"ips\":[\"10.0.0.2/24\"],\"mac\":\"02:00:00:00:00:02\"}},"
		      "\"runtimeConfig\":{\"ips\":[\"10.0.0.3\",\"10.0.0.1\"],\"mac\":\"02:00:00:00:00:03\"}}");
	char text[64];

	(void)state;
	assert_int_equal(cni_args_parse("IP=10.0.0.1;MAC=02:00:00:00:00:01", &first, NULL), 0);
	assert_int_equal(cni_conf_parse(json, "tulle", false, &first, &conf, NULL), 0);
	assert_int_equal(conf.wishes.ip_count, 3);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(addr_to_4(&conf.wishes.ips[i]), 0x0a000001 + i);
	assert_string_equal(mac_format(&conf.wishes.mac, text), "02:00:00:00:00:03");
}

static void test_conf_routes(void **state)
{
	struct cni_conf conf;

	(void)state;
	assert_int_equal(parse_conf("{\"ipam\":{\"routes\":[{\"dst\":\"0.0.0.0/0\"},{\"dst\":\"10.3.1.1/16\",\"gw\":\"\","
				    "\"mtu\":1400,\"priority\":5},{\"dst\":\"fd00::/8\"}]}}", false, &conf, NULL), 0);
	assert_int_equal(conf.route_count, 2);
	assert_int_equal(conf.routes[0].mtu, 1400);
	assert_false(prefix_has_host_bits(&conf.routes[0].dst));
	assert_int_equal(conf.routes[1].dst.family, AF_INET6);
}

static void test_conf_masquerade(void **state)
{
	static const char text[] = "{\"type\":\"flannel\",\"delegate\":{\"ipMasq\":true}}";
	struct err err = ERR_INIT;
	struct cni_conf conf;

	(void)state;
	assert_int_equal(parse_conf(text, true, &conf, &err), 0);
	assert_int_equal(parse_conf(text, false, &conf, &err), -EINVAL);
	assert_non_null(strstr(err.text, "--ip-masq"));
}

/* -- configuration check -- */

static int check(const char *text, struct err *err)
{
	return cni_conf_check(text, strlen(text), "test.conflist", err);
}

static void test_check_good(void **state)
{
	static const char *const good[] = {
		"{\"name\":\"flannel\",\"type\":\"flannel\",\"delegate\":{\"isDefaultOverlay\":true,\"runtime\":{\"cniVersion\":"
		"\"0.3.1\"},\"network\":\"10.244.0.0/16\",\"backend\":{\"type\":\"vxlan\",\"vxlan\":{\"port\":8472}}}}",
		"{\"name\":\"n\",\"cniVersion\":\"1.0.0\",\"cniVersions\":[\"0.4.0\",\"1.1.0\"],\"plugins\":[{\"type\":\"tulle\","
		"\"capabilities\":{\"bandwidth\":true}},{\"type\":\"portmap\",\"capabilities\":{\"portMappings\":true}}]}",
		"{\"name\":\"n\",\"plugins\":[{\"type\":\"tulle\"},{\"type\":\"bandwidth\"}]}",
	};
	struct err err = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		if (check(good[i], &err) < 0)
			fail_msg("%s", err_text(&err));
}

static void test_check_bad(void **state)
{
	static const struct {
		const char *text, *word;
	} bad[] = {
		{"[]", "object"}, {"{", "JSON"}, {"{\"type\":\"tulle\"}", "name"}, {"{\"name\":\"a/b\",\"type\":\"tulle\"}", "a/b"},
		{"{\"name\":\"n\",\"type\":\"bridge\"}", "bridge"}, {"{\"name\":\"n\",\"plugins\":[]}", "plugins"},
		{"{\"name\":\"n\",\"plugins\":[{\"type\":\"portmap\"}]}", "plugins"},
		{"{\"name\":\"n\",\"plugins\":[{\"type\":\"../x\"}]}", "../x"}, {"{\"name\":\"n\",\"plugins\":[7]}", "plugins[0]"},
		{"{\"name\":\"n\",\"plugins\":[{\"type\":\"flannel\",\"delegate\":{\"type\":\"macvlan\"}}]}", "macvlan"},
		{"{\"name\":\"n\",\"cniVersion\":\"7\",\"type\":\"tulle\"}", "7"},
		{"{\"name\":\"n\",\"cniVersions\":[3],\"type\":\"tulle\"}", "version"},
		{"{\"name\":\"n\",\"plugins\":[{\"type\":\"tulle\",\"capabilities\":{\"bandwidth\":true}},{\"type\":\"bandwidth\"}]}",
			"bandwidth"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err err = ERR_INIT;

		assert_true(check(bad[i].text, &err) < 0);
		if (!strstr(err.text, bad[i].word) || strncmp(err.text, "test.conflist", 13) != 0)
			fail_msg("%s: %s", bad[i].text, err.text);
	}
}

/* -- results -- */

static struct attachment make_attachment(void)
{
	struct attachment a = {.ifname = "eth0", .host_ifname = "tul0123", .mtu = 1450, .default_route = true};

	addr_parse("10.1.2.3", &a.addr[FAMILY_4]);
	addr_parse("fd00::3", &a.addr[FAMILY_6]);
	mac_parse("02:00:00:00:00:05", &a.mac);
	mac_parse("ee:ee:ee:ee:ee:ee", &a.host_mac);
	prefix_parse("192.168.0.0/16", &a.routes[0].dst);
	a.routes[0].mtu = 1400;
	a.route_count = 1;
	return a;
}

static json_t *write_result(const char *prev, enum cni_version version, bool with_ours)
{
	struct attachment a = make_attachment();
	_cleanup_(json_cleanup) json_t *old = parse(prev), *result = cni_result_read(old);
	struct err err = ERR_INIT;
	json_t *written;

	if (with_ours)
		assert_int_equal(cni_result_add(result, &a, "/ns", NULL), 0);
	written = cni_result_write(result, version, &err);
	if (!written)
		assert_int_not_equal(err.code, 0);
	return written;
}

#define GW6 "fe80::ecee:eeff:feee:eeee"

static void test_result_newest(void **state)
{
	_cleanup_(json_cleanup) json_t *got = write_result("{}", CNI_1_1_0, true);

	(void)state;
	assert_json(got, "{\"cniVersion\":\"1.1.0\",\"interfaces\":[{\"name\":\"tul0123\",\"mac\":\"ee:ee:ee:ee:ee:ee\","
			 "\"mtu\":1450},{\"name\":\"eth0\",\"mac\":\"02:00:00:00:00:05\",\"mtu\":1450,\"sandbox\":\"/ns\"}],"
			 "\"ips\":[{\"address\":\"10.1.2.3/32\",\"gateway\":\"169.254.1.1\",\"interface\":1},"
			 "{\"address\":\"fd00::3/128\",\"gateway\":\"" GW6 "\",\"interface\":1}],"
			 "\"routes\":[{\"dst\":\"0.0.0.0/0\",\"gw\":\"169.254.1.1\"},{\"dst\":\"192.168.0.0/16\","
			 "\"gw\":\"169.254.1.1\",\"mtu\":1400},{\"dst\":\"::/0\",\"gw\":\"" GW6 "\"}]}");
}

static void test_result_oldest(void **state)
{
	_cleanup_(json_cleanup) json_t *got = write_result("{}", CNI_0_1_0, true);

	(void)state;
	assert_json(got, "{\"cniVersion\":\"0.1.0\",\"ip4\":{\"ip\":\"10.1.2.3/32\",\"gateway\":\"169.254.1.1\",\"routes\":["
			 "{\"dst\":\"0.0.0.0/0\",\"gw\":\"169.254.1.1\"},{\"dst\":\"192.168.0.0/16\",\"gw\":\"169.254.1.1\"}]},"
			 "\"ip6\":{\"ip\":\"fd00::3/128\",\"gateway\":\"" GW6 "\",\"routes\":[{\"dst\":\"::/0\",\"gw\":\"" GW6 "\"}]},"
			 "\"dns\":{}}");
}

static void test_result_convert(void **state)
{
	_cleanup_(json_cleanup) json_t *up =
		write_result("{\"ip4\":{\"ip\":\"10.1.1.1/24\",\"gateway\":\"10.1.1.9\",\"routes\":[{\"dst\":\"0.0.0.0/0\"}]},"
			     "\"dns\":{\"search\":[\"x\"]}}", CNI_0_4_0, false);
	_cleanup_(json_cleanup) json_t *down =
		write_result("{\"interfaces\":[{\"name\":\"a\",\"mtu\":9,\"pciID\":\"p\"}],\"ips\":[{\"address\":\"10.1.1.1/24\","
			     "\"interface\":0},{\"address\":\"10.1.1.2/24\",\"interface\":1},7,{}],\"routes\":[{\"dst\":"
			     "\"10.0.0.0/8\",\"table\":7,\"scope\":253},null]}", CNI_1_0_0, false);

	(void)state;
	assert_json(up, "{\"cniVersion\":\"0.4.0\",\"ips\":[{\"version\":\"4\",\"address\":\"10.1.1.1/24\",\"gateway\":\"10.1.1.9\"}],"
			"\"routes\":[{\"dst\":\"0.0.0.0/0\"}],\"dns\":{\"search\":[\"x\"]}}");
	assert_json(down, "{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"a\"}],\"ips\":[{\"address\":\"10.1.1.1/24\","
			  "\"interface\":0},{\"address\":\"10.1.1.2/24\"}],\"routes\":[{\"dst\":\"10.0.0.0/8\"}]}");
}

static void test_result_without_address(void **state)
{
	(void)state;
	assert_null(write_result("{\"interfaces\":[]}", CNI_0_2_0, false));
}

static void test_result_compare(void **state)
{
	static const struct {
		const char *text;
		int rc;
	} cases[] = {
		{"{\"ips\":[{\"address\":\"10.1.2.3/32\"},{\"address\":\"fd00::3/128\"},{\"address\":\"1.1.1.1/8\"}]}", 0},
		{"{\"ips\":[{\"address\":\"10.1.2.3/32\"}]}", -EINVAL},
		{"{\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"/other\",\"mac\":\"02:00:00:00:00:05\"}],\"ips\":[{\"address\":"
		 "\"10.1.2.3/32\"},{\"address\":\"fd00::3/128\"}]}", 0},
		{"{\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"/ns\",\"mac\":\"02:00:00:00:00:06\"}],\"ips\":[{\"address\":"
		 "\"10.1.2.3/32\"},{\"address\":\"fd00::3/128\"}]}", -EINVAL},
		{"{\"interfaces\":[{\"name\":\"eth1\",\"sandbox\":\"/ns\"}]}", -EINVAL},
		{"{\"interfaces\":[{\"name\":\"eth0\"}]}", -EINVAL},
	};
	struct attachment a = make_attachment();

	(void)state;
	a.netns_ino = 1; /* made by us, not adopted */
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(json_cleanup) json_t *prev = parse(cases[i].text), *result = cni_result_read(prev);
		struct err err = ERR_INIT;

		if (cni_result_compare(result, &a, &err) != cases[i].rc)
			fail_msg("%s: %s", cases[i].text, err_text(&err));
	}
}

/* Calico's older plugins named the host end only. */
static void test_result_compare_adopted(void **state)
{
	static const char text[] = "{\"interfaces\":[{\"name\":\"cali0123456789a\"}],\"ips\":[{\"address\":\"10.1.2.3/32\"},"
				   "{\"address\":\"fd00::3/128\"}]}";
	_cleanup_(json_cleanup) json_t *prev = parse(text), *result = cni_result_read(prev);
	struct attachment a = make_attachment();

	(void)state;
	a.netns_ino = 0;
	assert_int_equal(cni_result_compare(result, &a, NULL), 0);
	a.addr[FAMILY_4] = addr_add(&a.addr[FAMILY_4], 1);
	assert_int_equal(cni_result_compare(result, &a, NULL), -EINVAL);
}

/* -- errors -- */

static void test_error_text(void **state)
{
	struct cni_error error = {0};
	struct buf buf = BUF_INIT(0);

	(void)state;
	cni_error_set(&error, CNI_BAD_CONF, "a \"b\"\n%s", "\xff");
	cni_error_details(&error, "d");
	assert_int_equal(cni_error_format(&error, "0.4.0", &buf), 0);
	assert_string_equal(buf_text(&buf),
		"{\"cniVersion\":\"0.4.0\",\"code\":7,\"msg\":\"a \\\"b\\\"\\n\\\\xff\",\"details\":\"d\"}\n");
	buf_free(&buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_args),
		cmocka_unit_test(test_args_bad),
		cmocka_unit_test(test_args_long),
		cmocka_unit_test(test_conf_defaults),
		cmocka_unit_test(test_conf_bandwidth),
		cmocka_unit_test(test_conf_wishes),
		cmocka_unit_test(test_conf_routes),
		cmocka_unit_test(test_conf_masquerade),
		cmocka_unit_test(test_check_good),
		cmocka_unit_test(test_check_bad),
		cmocka_unit_test(test_result_newest),
		cmocka_unit_test(test_result_oldest),
		cmocka_unit_test(test_result_convert),
		cmocka_unit_test(test_result_without_address),
		cmocka_unit_test(test_result_compare),
		cmocka_unit_test(test_result_compare_adopted),
		cmocka_unit_test(test_error_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
