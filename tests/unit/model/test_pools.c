/* SPDX-License-Identifier: Apache-2.0
 *
 * Judgements across pools (model/pools.h), and the small rules of the model that others rely on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "model/ipam_config.h"
#include "model/network.h"
#include "model/node.h"
#include "model/pools.h"
#include "model/service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POOLS_MAX 8

static struct ippool *pool_of(const char *name, const char *cidr, int64_t created)
{
	struct ippool *pool = calloc(1, sizeof(*pool));

	*pool = (struct ippool){
		.name = strdup(name),
		.allocatable = true,
		.uses = POOL_USE_WORKLOAD | POOL_USE_TUNNEL,
		.created = created,
	};
	assert_int_equal(prefix_parse(cidr, &pool->cidr), 0);
	pool->block_len = pool->cidr.family == AF_INET ? 32 : 128;
	assert_int_equal(selector_parse("all()", &pool->node_selector, NULL), 0);
	return pool;
}

/* -- which pools count -- */

/* pools: "name cidr created", separated by commas. */
struct all {
	struct ippool *items[POOLS_MAX];
	size_t count;
};

static void all_free(struct all *all)
{
	for (size_t i = 0; i < all->count; i++)
		ippool_free(&all->items[i]);
}

static struct all all_of(const char *text)
{
	_cleanup_free_ char *copy = strdup(text);
	struct all all = {0};

	for (char *save, *word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		char name[32], cidr[PREFIX_TEXT_MAX];
		long long created;

		assert_int_equal(sscanf(word, "%31s %49s %lld", name, cidr, &created), 3);
		all.items[all.count++] = pool_of(name, cidr, created);
	}
	return all;
}

static struct pools *judge(const struct all *all, struct ippool *const flannel[FAMILY_COUNT])
{
	return pools_judge((const struct ippool *const *)all->items, all->count, flannel);
}

/* "a b | c<a": a and b count, c does not because of a. */
static void format(const struct pools *pools, char *ret, size_t size)
{
	size_t n = 0;

	ret[0] = 0;
	for (size_t i = 0; i < pools->count; i++)
		n += (size_t)snprintf(ret + n, size - n, "%s%s", i ? " " : "", pools->items[i]->name);
	for (size_t i = 0; i < pools->complaint_count; i++) {
		const struct pool_complaint *c = &pools->complaints[i];

		n += (size_t)snprintf(ret + n, size - n, "%s%s<%s", i ? " " : " | ", c->pool->name,
			c->because ? c->because->name : "");
	}
}

static const struct {
	const char *pools, *expected;
} overlaps[] = {
	{"a 10.0.0.0/16 1", "a"},
	{"b 10.2.0.0/16 1,a 10.1.0.0/16 2", "a b"},
	{"a 10.1.0.0/16 1,b fd00::/48 1", "a b"},
	/* the older one counts, whatever its name and size */
	{"a 10.1.0.0/16 2,b 10.1.0.0/16 1", "b | a<b"},
	{"a 10.1.0.0/24 2,b 10.1.0.0/16 1", "b | a<b"},
	{"a 10.0.0.0/8 2,b 10.1.0.0/16 1", "b | a<b"},
	/* as old as each other, or without any age, as in a directory: by name */
	{"b 10.1.0.0/16 5,a 10.1.0.0/17 5", "a | b<a"},
	{"b 10.1.0.0/16 0,a 10.1.0.0/17 0", "a | b<a"},
	{"a 10.1.0.0/16 5,b 10.1.0.0/17 0", "b | a<b"},
	/* one that does not count is in nobody's way */
	{"a 10.1.0.0/24 1,b 10.1.0.0/16 2,c 10.1.1.0/24 3", "a c | b<a"},
	/* one that covers several: any of them refuses it */
	{"a 10.1.0.0/24 1,c 10.1.9.0/24 1,b 10.1.0.0/16 2", "a c | b<a"},
	{"a 10.1.128.0/24 1,b 10.1.0.0/16 2", "a | b<a"},
	/* neighbours do not overlap */
	{"a 10.0.0.0/17 1,b 10.0.128.0/17 2,c 10.1.0.0/16 3,d 9.0.0.0/8 4", "d a b c"},
	{"a ::/0 1,b fd00::/8 2,c 0.0.0.0/0 3", "c a | b<a"},
	{"", ""},
};

static void test_overlaps(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(overlaps); i++) {
		_cleanup_(all_free) struct all all = all_of(overlaps[i].pools);
		_cleanup_(pools_free) struct pools *pools = judge(&all, NULL);
		char text[256];

		format(pools, text, sizeof(text));
		if (strcmp(text, overlaps[i].expected) != 0)
			fail_msg("\"%s\" gives \"%s\", expected \"%s\"", overlaps[i].pools, text, overlaps[i].expected);
	}
}

static void test_complaint_names_both(void **state)
{
	_cleanup_(all_free) struct all all = all_of("old 10.1.0.0/16 1,new 10.1.2.0/24 2");
	_cleanup_(pools_free) struct pools *pools = judge(&all, NULL);

	assert_string_equal(pools->complaints[0].text, "IPPool new: spec.cidr is 10.1.2.0/24, expected one that overlaps "
		"with no other pool; old has 10.1.0.0/16 and is older, so new is ignored");
}

/* The dialect refuses such objects; a pool that comes from elsewhere is not trusted either. */
static void test_own_faults(void **state)
{
	_cleanup_(all_free) struct all all = all_of("both 10.1.0.0/16 1,v6 fd00::/64 1,large 10.2.0.0/16 1,off 10.3.0.0/16 1");
	_cleanup_(pools_free) struct pools *pools = NULL;
	char text[256];

	all.items[0]->ipip = all.items[0]->vxlan = ENCAP_ALWAYS;
	all.items[1]->ipip = ENCAP_CROSS_SUBNET;
	all.items[2]->block_len = all.items[3]->block_len = 15;
	all.items[3]->disabled = true;
	pools = judge(&all, NULL);
	format(pools, text, sizeof(text));
	assert_string_equal(text, "off | both< large< v6<");
	assert_string_equal(pools->complaints[0].text,
		"IPPool both has both an ipipMode and a vxlanMode, expected Never for one of them; it is ignored");
	assert_string_equal(pools->complaints[1].text,
		"IPPool large has blocks larger than itself, expected a blockSize not less than the CIDR's length; it is ignored");
	assert_string_equal(pools->complaints[2].text, "IPPool v6 has an ipipMode on IPv6, expected Never; it is ignored");
}

/* -- net-conf.json beside IPPools -- */

static const struct {
	const char *pools, *expected;
} besides[] = {
	{"", "net-conf.json"},
	{"a 10.1.0.0/16 1", "a net-conf.json"},
	{"a 10.244.0.0/16 1", "a"},
	{"a 10.244.0.0/17 1", "net-conf.json | a<net-conf.json"},
	{"a 10.0.0.0/8 0", "net-conf.json | a<net-conf.json"},
	/* also where it is replaced: nodes hold leases in all of it */
	{"a 10.244.0.0/17 1,b 10.244.0.0/16 2", "b | a<net-conf.json"},
	{"a 10.244.0.0/16 1,b 10.244.0.0/16 2", "a | b<a"},
	{"a fd00::/48 1", "net-conf.json a"},
};

static void test_beside_flannel(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(besides); i++) {
		_cleanup_(all_free) struct all all = all_of(besides[i].pools);
		_cleanup_(ippool_free) struct ippool *held = pool_of("net-conf.json", "10.244.0.0/16", 0);
		struct ippool *flannel[FAMILY_COUNT] = {[FAMILY_4] = held};
		_cleanup_(pools_free) struct pools *pools = judge(&all, flannel);
		char text[256];

		format(pools, text, sizeof(text));
		if (strcmp(text, besides[i].expected) != 0)
			fail_msg("\"%s\" gives \"%s\", expected \"%s\"", besides[i].pools, text, besides[i].expected);
	}
}

static void test_pool_from_network(void **state)
{
	struct network network = {.encap = ENCAP_VXLAN, .direct_routing = true};
	_cleanup_(ippool_free) struct ippool *pool = NULL, *other = pool_of("x", "10.0.0.0/8", 0);
	struct ippool *none = other;

	prefix_parse("10.244.0.0/16", &network.pool[FAMILY_4].cidr);
	network.pool[FAMILY_4].block_len = 24;
	assert_int_equal(ippool_from_network(&network, FAMILY_4, &pool), 0);
	assert_string_equal(pool->name, "net-conf.json");
	assert_int_equal(pool->block_len, 24);
	assert_int_equal(pool->vxlan, ENCAP_CROSS_SUBNET);
	assert_true(selector_is_all(pool->node_selector));
	assert_int_equal(ippool_from_network(&network, FAMILY_6, &none), 0);
	assert_null(none);
	network.encap = ENCAP_UDP;
	none = other;
	assert_int_equal(ippool_from_network(&network, FAMILY_4, &none), -ENOTSUP);
	assert_ptr_equal(none, other);
}

/* -- look-ups -- */

static const struct {
	const char *addr, *expected;
} lookups[] = {
	{"10.1.0.0", "a"}, {"10.1.255.255", "a"}, {"10.2.0.0", NULL}, {"10.0.255.255", NULL}, {"10.9.1.1", "b"},
	{"fd00::1", "c"}, {"fd01::1", NULL}, {"255.255.255.255", NULL},
};

static void test_look_ups(void **state)
{
	_cleanup_(all_free) struct all all = all_of("b 10.9.0.0/16 1,a 10.1.0.0/16 1,c fd00::/16 1");
	_cleanup_(pools_free) struct pools *pools = judge(&all, NULL);
	struct prefix prefix;

	for (size_t i = 0; i < ARRAY_SIZE(lookups); i++) {
		const struct ippool *found;
		struct addr addr;

		assert_int_equal(addr_parse(lookups[i].addr, &addr), 0);
		found = pools_find(pools, &addr);
		if (!lookups[i].expected != !found || (found && strcmp(found->name, lookups[i].expected) != 0))
			fail_msg("%s is in %s", lookups[i].addr, found ? found->name : "no pool");
	}
	prefix_parse("10.1.4.0/26", &prefix);
	assert_string_equal(pools_find_prefix(pools, &prefix)->name, "a");
	prefix_parse("10.1.0.0/16", &prefix);
	assert_string_equal(pools_find_prefix(pools, &prefix)->name, "a");
	prefix_parse("10.0.0.0/15", &prefix);
	assert_null(pools_find_prefix(pools, &prefix));
	assert_string_equal(pools_find_name(pools, "b")->name, "b");
	assert_null(pools_find_name(pools, "net-conf.json"));
}

static void test_modes(void **state)
{
	_cleanup_(all_free) struct all all = all_of("a 10.1.0.0/16 1,b fd00::/48 1");
	_cleanup_(pools_free) struct pools *pools = NULL;

	all.items[0]->ipip = ENCAP_CROSS_SUBNET;
	all.items[0]->disabled = true;
	all.items[1]->vxlan = ENCAP_ALWAYS;
	pools = judge(&all, NULL);
	assert_true(pools_have_ipip(pools));
	assert_true(pools_have_vxlan(pools, FAMILY_6));
	assert_false(pools_have_vxlan(pools, FAMILY_4));
}

static void test_who_may_use(void **state)
{
	_cleanup_(ippool_free) struct ippool *pool = pool_of("p", "10.0.0.0/8", 0);
	_cleanup_(labels_free) struct labels *r1 = labels_new(), *r2 = labels_new();

	labels_set(r1, "rack", "r1");
	labels_set(r2, "rack", "r2");
	selector_free(&pool->node_selector);
	assert_int_equal(selector_parse("rack == 'r1'", &pool->node_selector, NULL), 0);
	assert_true(ippool_serves(pool, r1, POOL_USE_WORKLOAD));
	assert_true(ippool_serves(pool, r1, POOL_USE_TUNNEL));
	assert_false(ippool_serves(pool, r1, POOL_USE_LOAD_BALANCER));
	assert_false(ippool_serves(pool, r2, POOL_USE_WORKLOAD));
	pool->manual = true;
	assert_false(ippool_serves(pool, r1, POOL_USE_WORKLOAD));
	pool->manual = false;
	pool->disabled = true;
	assert_false(ippool_serves(pool, r1, POOL_USE_WORKLOAD));
	pool->disabled = false;
	pool->allocatable = false;
	assert_false(ippool_serves(pool, r1, POOL_USE_WORKLOAD));
}

/* -- others -- */

/* After sha1sum: 0x66 and its first five bytes. */
static void test_vxlan_mac(void **state)
{
	static const struct {
		const char *name;
		int family;
		const char *mac;
	} cases[] = {
		{"node-a", FAMILY_4, "66:07:02:c1:cc:60"},
		{"node-a", FAMILY_6, "66:d4:d5:51:3d:42"},
		{"ip-10-0-0-7.eu-west-1.compute.internal", FAMILY_4, "66:11:f1:fa:f9:1e"},
		{"ip-10-0-0-7.eu-west-1.compute.internal", FAMILY_6, "66:ac:96:5f:f9:0c"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct mac mac = node_derive_vxlan_mac(cases[i].name, cases[i].family);
		char text[MAC_TEXT_MAX];

		assert_string_equal(mac_format(&mac, text), cases[i].mac);
	}
}

static void test_reservation(void **state)
{
	struct ip_reservation *reservation = calloc(1, sizeof(*reservation));
	struct addr in, out;

	reservation->cidrs = calloc(2, sizeof(*reservation->cidrs));
	reservation->cidr_count = 2;
	prefix_parse("10.0.0.8/29", &reservation->cidrs[0]);
	prefix_parse("fd00::/120", &reservation->cidrs[1]);
	addr_parse("10.0.0.15", &in);
	addr_parse("10.0.0.16", &out);
	assert_true(ip_reservation_contains(reservation, &in));
	assert_false(ip_reservation_contains(reservation, &out));
	addr_parse("fd00::ff", &in);
	assert_true(ip_reservation_contains(reservation, &in));
	ip_reservation_free(&reservation);
	assert_null(reservation);
	ip_reservation_free(&reservation);
}

static void test_ready_endpoints(void **state)
{
	struct service_endpoint endpoints[] = {
		{.node = (char *)"node-a", .ready = false}, {.node = (char *)"node-b", .ready = true}, {.node = NULL, .ready = true},
	};
	struct endpoint_slice slice = {.endpoints = endpoints, .endpoint_count = 3};

	assert_true(endpoint_slice_is_ready(&slice, NULL));
	assert_true(endpoint_slice_is_ready(&slice, "node-b"));
	assert_false(endpoint_slice_is_ready(&slice, "node-a"));
	slice.endpoint_count = 1;
	assert_false(endpoint_slice_is_ready(&slice, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_overlaps),
		cmocka_unit_test(test_complaint_names_both),
		cmocka_unit_test(test_own_faults),
		cmocka_unit_test(test_beside_flannel),
		cmocka_unit_test(test_pool_from_network),
		cmocka_unit_test(test_look_ups),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_who_may_use),
		cmocka_unit_test(test_vxlan_mac),
		cmocka_unit_test(test_reservation),
		cmocka_unit_test(test_ready_endpoints),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
