/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "flannel/flannel.h"

#include <errno.h>
#include <string.h>

static struct flannel_env parse(const char *text)
{
	struct flannel_env env = {0};
	struct err err = ERR_INIT;

	if (flannel_env_parse(text, strlen(text), &env, &err) < 0)
		fail_msg("%s", err_text(&err));
	return env;
}

static void round_trip(void **state)
{
	static const char *const texts[] = {
		"FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.7.1/"
		"24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
		"FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.7.1/24\nFLANNEL_IPV6_NETWORK=fd00:42::/"
		"56\n"
		"FLANNEL_IPV6_SUBNET=fd00:42:0:7::1/64\nFLANNEL_MTU=1430\nFLANNEL_IPMASQ=false\n",
		"FLANNEL_IPV6_NETWORK=fd00:42::/56\nFLANNEL_IPV6_SUBNET=fd00:42:0:7::1/64\nFLANNEL_MTU=1500\n"
		"FLANNEL_IPMASQ=true\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		_cleanup_(buf_free) struct buf buf = {0};
		struct flannel_env env = parse(texts[i]);

		for (int f = 0; f < FAMILY_COUNT; f++)
			assert_false(prefix_has_host_bits(&env.subnet[f]));
		flannel_env_format(&env, &buf);
		assert_string_equal(buf_text(&buf), texts[i]);
	}
}

static void forms(void **state)
{
	struct flannel_env env = parse(
		"# comment\r\n export FLANNEL_NETWORK=\"10.42.0.0/16\"\r\nFLANNEL_SUBNET='10.42.7.1/24'\n"
		"\nnonsense\n=\nUNKNOWN=1\nFLANNEL_MTU = 1450 \nFLANNEL_IPMASQ=true");
	char text[PREFIX_TEXT_MAX];

	assert_string_equal(prefix_format(&env.network[FAMILY_4], text), "10.42.0.0/16");
	assert_string_equal(prefix_format(&env.subnet[FAMILY_4], text), "10.42.7.0/24");
	assert_int_equal(env.mtu, 1450);
	assert_true(env.ip_masq);
	assert_false(prefix_is_set(&env.subnet[FAMILY_6]));
}

static void lists(void **state)
{
	struct flannel_env env = parse(
		"FLANNEL_NETWORK=bad,10.42.0.0/16,10.300.0.0/16\nFLANNEL_SUBNET=10.42.7.1/24,10.42.8.1/24\n"
		"FLANNEL_IPV6_NETWORK=10.42.0.0/16\nFLANNEL_IPMASQ=True\nFLANNEL_MTU=1450x\n");
	char text[PREFIX_TEXT_MAX];

	assert_string_equal(prefix_format(&env.network[FAMILY_4], text), "10.42.0.0/16");
	assert_false(prefix_is_set(&env.subnet[FAMILY_4]));
	assert_false(prefix_is_set(&env.network[FAMILY_6]));
	assert_false(env.ip_masq);
	assert_int_equal(env.mtu, 0);
	env = parse("FLANNEL_MTU=99999999999999999999\n");
	assert_int_equal(env.mtu, 0);
	env = parse("FLANNEL_MTU=-1\n");
	assert_int_equal(env.mtu, 0);
	env = parse("");
	assert_int_equal(env.mtu, 0);
}

static void no_text(void **state)
{
	static const char binary[] = "FLANNEL_MTU=1450\n\0\1\2";
	struct flannel_env env = {.mtu = 9};
	_cleanup_free_ char *big = calloc(1, 1 << 20);
	struct err err = ERR_INIT;

	assert_int_equal(flannel_env_parse(binary, sizeof(binary), &env, &err), -EINVAL);
	memset(big, 'a', 1 << 20);
	assert_int_equal(flannel_env_parse(big, 1 << 20, &env, &err), -EINVAL);
	assert_int_equal(env.mtu, 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(forms),
		cmocka_unit_test(lists),
		cmocka_unit_test(no_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
