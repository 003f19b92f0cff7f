/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "flannel/flannel.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define KEY4 "10.5.72.0-24"
#define KEY64 "10.5.72.0-24&fd00:5:0:48::-64"

static struct lease good(const char *key, const char *text)
{
	struct lease lease = {0};
	struct err err = ERR_INIT;

	if (flannel_lease_parse(key, text, strlen(text), &lease, &err) < 0)
		fail_msg("%s: %s", text, err_text(&err));
	return lease;
}

static void assert_format(const struct lease *lease, bool with_expiration, const char *expected)
{
	_cleanup_(buf_free) struct buf buf = {0};

	flannel_lease_format(lease, with_expiration, &buf);
	assert_int_equal(buf.error, 0);
	assert_string_equal(buf_text(&buf), expected);
}

/* What flanneld writes must come out again byte for byte. */
static void round_trip(void **state)
{
	static const struct {
		const char *key, *text;
	} cases[] = {
		{"10.1.5.0-24", "{\"PublicIP\":\"1.2.3.4\",\"PublicIPv6\":null}"},
		{KEY4, "{\"PublicIP\":\"192.0.2.7\",\"PublicIPv6\":null,\"BackendType\":\"vxlan\","
		       "\"BackendData\":{\"VNI\":1,"
		       "\"VtepMAC\":\"02:00:5e:10:00:07\"}}"},
		{KEY4, "{\"PublicIP\":\"192.0.2.7\",\"PublicIPv6\":null,\"BackendType\":\"vxlan\","
		       "\"BackendData\":{"
		       "\"VtepMAC\":\"02:00:5e:10:00:07\"}}"},
		{KEY64, "{\"PublicIP\":\"192.0.2.7\",\"PublicIPv6\":\"2001:db8::7\",\"BackendType\":"
			"\"vxlan\",\"BackendData\":"
			"{\"VNI\":1,\"VtepMAC\":\"02:00:5e:10:00:07\"},\"BackendV6Data\":{\"VNI\":1,"
			"\"VtepMAC\":"
			"\"02:00:5e:10:00:08\"}}"},
		{"0.0.0.0-0&fd00:5:0:48::-64",
			"{\"PublicIP\":\"0.0.0.0\",\"PublicIPv6\":\"2001:db8::7\",\"BackendType\":"
			"\"vxlan\",\"BackendV6Data\":{\"VNI\":4095,\"VtepMAC\":\"02:00:5e:10:00:08\"}}"},
		{KEY4, "{\"PublicIP\":\"192.0.2.7\",\"PublicIPv6\":null,\"BackendType\":\"host-gw\"}"},
		{KEY4, "{\"PublicIP\":\"0.0.0.0\",\"PublicIPv6\":null}"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct lease lease = good(cases[i].key, cases[i].text);

		assert_string_equal(lease.key, cases[i].key);
		assert_format(&lease, false, cases[i].text);
		assert_format(&lease, true, cases[i].text);
	}
}

static void values(void **state)
{
	struct lease lease = good("/coreos.com/network/subnets/" KEY64,
		"{ \"backendtype\":\"vxlan\", "
		"\"BACKENDV6DATA\":{\"vtepmac\":\"02-00-5E-10-00-08\"},\n\"more\":[1],"
		"\"backenddata\":{\"vtepMac\":\"0200.5e10.0007\",\"vni\":7},\"publicipv6\":\"2001:DB8::7\","
		"\"publicIP\":\"192.0.2.7\"}");
	char text[PREFIX_TEXT_MAX];

	assert_string_equal(lease.key, KEY64);
	assert_string_equal(prefix_format(&lease.subnet[FAMILY_4], text), "10.5.72.0/24");
	assert_string_equal(prefix_format(&lease.subnet[FAMILY_6], text), "fd00:5:0:48::/64");
	assert_string_equal(addr_format(&lease.public_ip[FAMILY_4], text), "192.0.2.7");
	assert_string_equal(addr_format(&lease.public_ip[FAMILY_6], text), "2001:db8::7");
	assert_string_equal(mac_format(&lease.vtep_mac[FAMILY_4], text), "02:00:5e:10:00:07");
	assert_string_equal(mac_format(&lease.vtep_mac[FAMILY_6], text), "02:00:5e:10:00:08");
	assert_true(lease.has_vni);
	assert_int_equal(lease.vni, 7);
	assert_int_equal(lease.expires, 0);
}

static void strangers_are_tolerated(void **state)
{
	struct lease lease;

	lease = good(KEY4, "{}");
	assert_false(addr_is_set(&lease.public_ip[FAMILY_4]));
	lease = good(KEY4,
		"{\"PublicIP\":\"1.2.3.4\",\"BackendType\":\"extension\",\"BackendData\":\"any text\"}");
	assert_string_equal(lease.backend, "extension");
	lease = good(KEY4, "{\"PublicIP\":\"1.2.3.4\",\"BackendType\":\"wireguard\",\"BackendData\":{"
			   "\"PublicKey\":\"x\","
			   "\"Port\":51820}}");
	assert_string_equal(lease.backend, "wireguard");
	lease = good(KEY4,
		"{\"PublicIP\":\"1.2.3.4\",\"BackendType\":\"a-type-of-many-letters\",\"BackendData\":[7]}");
	assert_string_equal(lease.backend, "a-type-of-many-");
	lease = good(KEY4, "{\"PublicIP\":\"1.2.3.4\",\"BackendType\":\"a\\n\\\"b\\u001bc\"}");
	assert_string_equal(lease.backend, "a??b?c");
	lease = good(KEY4, "{\"PublicIP\":\"1.2.3.4\",\"BackendType\":\"vxlan\",\"BackendData\":null}");
	assert_false(mac_is_set(&lease.vtep_mac[FAMILY_4]));
	lease = good(
		KEY4, "{\"PublicIP\":\"1.2.3.4\",\"BackendType\":\"vxlan\",\"BackendData\":{\"VNI\":1}}");
	assert_false(mac_is_set(&lease.vtep_mac[FAMILY_4]));
	lease = good(KEY4, "{\"PublicIP\":\"1.2.3.4\",\"BackendType\":null}");
	assert_string_equal(lease.backend, "");
}

static void expiration(void **state)
{
	static const struct {
		const char *text;
		int64_t seconds;
	} times[] = {
		{"2026-01-02T03:04:05Z", 1767323045},
		{"2026-01-02T03:04:05.678901Z", 1767323045},
		{"2026-01-02T05:04:05+02:00", 1767323045},
		{"2026-01-01T23:34:05-03:30", 1767323045},
		{"2024-02-29T00:00:00Z", 1709164800},
		{"0001-01-01T00:00:00Z", 0},
		{"1970-01-01T00:00:00Z", 1},
		{"9999-12-31T23:59:59Z", 253402300799},
	};
	static const char *const bad[] = {"", "2026-01-02", "2026-01-02 03:04:05Z", "2026-01-02T03:04:05",
		"2026-13-02T03:04:05Z", "2026-02-30T03:04:05Z", "2026-01-02T24:04:05Z",
		"2026-01-02T03:04:05.Z", "2026-01-02T03:04:05+2:00", "2026-01-02T03:04:05Zx",
		"1969-12-31T23:59:59Z", "9999-12-31T23:59:59-01:00", "2026-01-00T03:04:05Z",
		"2026-00-01T03:04:05Z", "2026-1-2T03:04:05Z"};
	struct lease lease;
	char text[256];

	for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
		snprintf(text, sizeof(text), "{\"PublicIP\":\"1.2.3.4\",\"expiration\":\"%s\"}",
			times[i].text);
		lease = good(KEY4, text);
		assert_int_equal(lease.expires, times[i].seconds);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err err = ERR_INIT;

		snprintf(text, sizeof(text), "{\"PublicIP\":\"1.2.3.4\",\"Expiration\":\"%s\"}", bad[i]);
		if (flannel_lease_parse(KEY4, text, strlen(text), &lease, &err) != -EINVAL)
			fail_msg("accepted: %s", bad[i]);
		assert_non_null(strstr(err_text(&err), "\"Expiration\""));
	}
	lease = good(KEY4, "{\"PublicIP\":\"1.2.3.4\",\"Expiration\":\"2026-01-02T03:04:05Z\"}");
	assert_format(&lease, true,
		"{\"PublicIP\":\"1.2.3.4\",\"PublicIPv6\":null,\"Expiration\":\"2026-01-02T03:04:05Z\"}");
	assert_format(&lease, false, "{\"PublicIP\":\"1.2.3.4\",\"PublicIPv6\":null}");
}

static void refused(void **state)
{
	static const struct {
		const char *key, *text, *words[3];
	} cases[] = {
		{"10.5.72.0", "{}", {"10.5.72.0", "no subnet"}},
		{KEY4, "", {KEY4, "JSON"}},
		{KEY4, "{\"PublicIP\":\"1.2.3.4\"", {KEY4, "JSON"}},
		{KEY4, "[]", {KEY4, "no object"}},
		{KEY4, "{\"PublicIP\":null}", {"\"PublicIP\"", "null", "IPv4"}},
		{KEY4, "{\"PublicIP\":\"\"}", {"\"PublicIP\"", "IPv4 address"}},
		{KEY4, "{\"PublicIP\":\"1.2.3\"}", {"\"PublicIP\"", "1.2.3", "IPv4 address"}},
		{KEY4, "{\"PublicIP\":\"2001:db8::7\"}", {"\"PublicIP\"", "2001:db8::7", "IPv4"}},
		{KEY4, "{\"PublicIP\":12}", {"\"PublicIP\"", "number", "string"}},
		{KEY4, "{\"PublicIP\":\"1.2.3.4\",\"PublicIPv6\":\"1.2.3.4\"}",
			{"\"PublicIPv6\"", "1.2.3.4", "IPv6"}},
		{KEY4, "{\"PublicIP\":\"1.2.3.4\",\"BackendType\":[]}",
			{"\"BackendType\"", "list", "string"}},
		{KEY4, "{\"BackendType\":\"vxlan\",\"BackendData\":\"x\"}",
			{"\"BackendData\"", "\"x\"", "object"}},
		{KEY4, "{\"BackendType\":\"vxlan\",\"BackendData\":{\"VNI\":\"1\"}}",
			{"\"VNI\"", "\"1\"", "number"}},
		{KEY4, "{\"BackendType\":\"vxlan\",\"BackendData\":{\"VNI\":-1}}", {"\"VNI\"", "-1"}},
		{KEY4, "{\"BackendType\":\"vxlan\",\"BackendData\":{\"VtepMAC\":\"02:00\"}}",
			{"\"VtepMAC\"", "02:00", "aa:bb:cc"}},
		{KEY4, "{\"BackendType\":\"vxlan\",\"BackendData\":{\"VtepMAC\":7}}",
			{"\"VtepMAC\"", "number", "string"}},
		{KEY64, "{\"BackendType\":\"vxlan\",\"BackendV6Data\":{\"VtepMAC\":\"gg:00:5e:10:00:08\"}}",
			{"\"VtepMAC\"", "gg:00:5e:10:00:08", KEY64}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct lease lease = {.vni = 99};
		struct err err = ERR_INIT;

		if (flannel_lease_parse(cases[i].key, cases[i].text, strlen(cases[i].text), &lease, &err) >=
			0)
			fail_msg("accepted: %s", cases[i].text);
		assert_int_equal(lease.vni, 99);
		for (size_t w = 0; w < ARRAY_SIZE(cases[i].words) && cases[i].words[w]; w++)
			if (!strstr(err_text(&err), cases[i].words[w]))
				fail_msg("%s\n\"%s\" is not in: %s", cases[i].text, cases[i].words[w],
					err_text(&err));
	}
}

static struct network network_of(const char *text)
{
	struct network network = {0};
	struct err err = ERR_INIT;

	if (flannel_network_parse(text, strlen(text), "t", &network, &err) < 0)
		fail_msg("%s", err_text(&err));
	return network;
}

static void fits(void **state)
{
	static const struct {
		const char *key;
		bool v4, dual, v6;
	} cases[] = {
		{"10.5.10.0-24", true, false, false},
		{"10.5.20.0-24", true, false, false},
		{"10.5.9.0-24", false, false, false},
		{"10.5.21.0-24", false, false, false},
		{"10.5.10.0-25", false, false, false},
		{"10.6.10.0-24", false, false, false},
		{"10.5.10.0-24&fd00:5:0:48::-64", false, true, false},
		{"10.5.10.0-24&fd00:5:1:48::-64", false, false, false},
		{"0.0.0.0-0&fd00:5:0:48::-64", false, false, true},
	};
	struct network v4 = network_of(
		"{\"Network\":\"10.5.0.0/16\",\"SubnetMin\":\"10.5.10.0\",\"SubnetMax\":\"10.5.20.0\"}");
	struct network dual = network_of(
		"{\"Network\":\"10.5.0.0/16\",\"EnableIPv6\":true,\"IPv6Network\":\"fd00:5::/48\"}");
	struct network v6 =
		network_of("{\"EnableIPv4\":false,\"EnableIPv6\":true,\"IPv6Network\":\"fd00:5::/48\"}");

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct lease lease = good(cases[i].key, "{}");

		if (flannel_lease_fits(&lease, &v4) != cases[i].v4 ||
			flannel_lease_fits(&lease, &dual) != cases[i].dual ||
			flannel_lease_fits(&lease, &v6) != cases[i].v6)
			fail_msg("%s", cases[i].key);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(values),
		cmocka_unit_test(strangers_are_tolerated),
		cmocka_unit_test(expiration),
		cmocka_unit_test(refused),
		cmocka_unit_test(fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
