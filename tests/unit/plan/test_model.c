/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "model/lease.h"
#include "model/network.h"

#include <string.h>

static struct network network_of(enum encap encap, bool v4, bool v6)
{
	struct network network = {.encap = encap, .routed = true};

	if (v4)
		assert_int_equal(prefix_parse("10.244.0.0/16", &network.pool[FAMILY_4].cidr), 0);
	if (v6)
		assert_int_equal(prefix_parse("fd00:42::/56", &network.pool[FAMILY_6].cidr), 0);
	return network;
}

static void mtu(void **state)
{
	static const struct {
		enum encap encap;
		unsigned v4, v6, dual;
	} cases[] = {
		{ENCAP_VXLAN, 1450, 1430, 1430},
		{ENCAP_UDP, 1472, 1452, 1452},
		{ENCAP_NONE, 1500, 1500, 1500},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct network v4 = network_of(cases[i].encap, true, false);
		struct network v6 = network_of(cases[i].encap, false, true);
		struct network dual = network_of(cases[i].encap, true, true);

		assert_int_equal(network_pod_mtu(&v4, 1500), cases[i].v4);
		assert_int_equal(network_pod_mtu(&v6, 1500), cases[i].v6);
		assert_int_equal(network_pod_mtu(&dual, 1500), cases[i].dual);
		dual.mtu = 9000;
		assert_int_equal(network_pod_mtu(&dual, 1500), 9000 - (1500 - cases[i].dual));
		assert_int_equal(network_pod_mtu(&v4, 10), 10 * (cases[i].encap == ENCAP_NONE));
	}
}

static void equality(void **state)
{
	struct network a = network_of(ENCAP_VXLAN, true, true), b = a;
	struct lease l = {.key = "10.1.2.0-24", .backend = "vxlan", .expires = 1}, m = l;

	assert_true(network_equal(&a, &b));
	b.pool[FAMILY_6].block_len = 64;
	assert_false(network_equal(&a, &b));
	b = a;
	b.gbp = true;
	assert_false(network_equal(&a, &b));

	m.expires = 2;
	assert_true(lease_equal(&l, &m));
	m.vtep_mac[FAMILY_6].b[5] = 1;
	assert_false(lease_equal(&l, &m));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mtu),
		cmocka_unit_test(equality),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
