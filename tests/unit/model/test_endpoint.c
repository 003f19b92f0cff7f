/* SPDX-License-Identifier: Apache-2.0
 *
 * Endpoints and what they share (model/endpoint.h).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "model/endpoint.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PODS 20000
#define PER_POD_MAX 200 /* bytes: leaves the engine 300 of the 512 that a remote pod may cost */

/* "a=b c=d" */
static struct labels *labels_of(const char *text)
{
	struct labels *labels = labels_new();
	_cleanup_free_ char *copy = strdup(text);

	for (char *save, *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		char *value = strchr(word, '=');

		*value++ = 0;
		assert_int_equal(labels_set(labels, word, value), 0);
	}
	return labels;
}

static struct endpoint_parts parts_of(const char *name)
{
	return (struct endpoint_parts){.namespace = "web", .name = name, .service_account = "default", .node = "node-a"};
}

static struct endpoint *labelled(struct endpoint_pool *pool, const char *name, const char *text)
{
	_cleanup_(labels_free) struct labels *labels = labels_of(text);
	struct endpoint_parts parts = parts_of(name);

	parts.labels = labels;
	return endpoint_new(pool, &parts);
}

static void test_shares(void **state)
{
	struct endpoint_pool *pool = endpoint_pool_new();
	struct endpoint *a = labelled(pool, "a", "app=web tier=front"), *b = labelled(pool, "b", "tier=front app=web");
	struct endpoint *c = labelled(pool, "c", "app=web"), *again = labelled(pool, "a", "app=web tier=front");

	(void)state;
	assert_ptr_equal(a->shape, b->shape);
	assert_ptr_not_equal(a->shape, c->shape);
	assert_ptr_equal(a->namespace, c->namespace);
	assert_true(endpoint_equal(a, again));
	assert_false(endpoint_equal(a, b));
	endpoint_free(pool, &a);
	assert_null(a);
	assert_string_equal(labels_get(b->shape->labels, "tier"), "front");
	endpoint_free(pool, &b);
	endpoint_free(pool, &c);
	endpoint_free(pool, &again);
	endpoint_pool_free(pool);
}

/* Texts that run into each other, and counts that could stand for texts, are different things. */
static void test_shapes_are_told_apart(void **state)
{
	static const char *const texts[] = {"a=bc", "ab=c", "a=b c=d", "a=b c=", "a= b=c", ""};
	struct endpoint_pool *pool = endpoint_pool_new();
	struct endpoint *all[ARRAY_SIZE(texts)];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		all[i] = labelled(pool, "a", texts[i]);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		for (size_t j = 0; j < i; j++)
			assert_false(endpoint_equal(all[i], all[j]));
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		endpoint_free(pool, &all[i]);
	endpoint_pool_free(pool);
}

static void test_ports(void **state)
{
	const struct endpoint_port ports[] = {{"web", IPPROTO_TCP, 80}, {"dns", IPPROTO_UDP, 53}, {"web", IPPROTO_TCP, 80},
		{"dns", IPPROTO_TCP, 53}};
	struct endpoint_pool *pool = endpoint_pool_new();
	struct endpoint_parts parts = parts_of("a");
	struct endpoint *endpoint;

	(void)state;
	parts.ports = ports;
	parts.port_count = ARRAY_SIZE(ports);
	endpoint = endpoint_new(pool, &parts);
	assert_int_equal(endpoint->shape->port_count, 3);
	assert_string_equal(endpoint->shape->ports[0].name, "dns");
	assert_int_equal(endpoint->shape->ports[0].protocol, IPPROTO_TCP);
	assert_string_equal(endpoint->shape->ports[2].name, "web");
	assert_int_equal(endpoint->shape->ports[2].port, 80);
	assert_int_equal(endpoint->shape->labels->count, 0);
	endpoint_free(pool, &endpoint);
	endpoint_pool_free(pool);
}

static void test_allowed_sources(void **state)
{
	struct endpoint_pool *pool = endpoint_pool_new();
	struct endpoint_parts parts = parts_of("a");
	struct prefix sources[3];
	struct endpoint *a, *b;

	(void)state;
	prefix_parse("10.1.0.0/16", &sources[0]);
	prefix_parse("10.0.0.0/16", &sources[1]);
	sources[2] = sources[0];
	parts.allowed_sources = sources;
	parts.allowed_source_count = 3;
	a = endpoint_new(pool, &parts);
	parts.allowed_source_count = 2;
	b = endpoint_new(pool, &parts);
	assert_int_equal(a->allowed_source_count, 2);
	assert_true(prefix_equal(&a->allowed_sources[0], &sources[1]));
	assert_true(endpoint_equal(a, b));
	parts.allowed_source_count = 1;
	endpoint_free(pool, &b);
	b = endpoint_new(pool, &parts);
	assert_false(endpoint_equal(a, b));
	endpoint_free(pool, &a);
	endpoint_free(pool, &b);
	endpoint_pool_free(pool);
}

static void test_labels(void **state)
{
	struct endpoint_pool *pool = endpoint_pool_new();
	struct endpoint *endpoint = labelled(pool, "a",
		"app=web pcns.team=forged projectcalico.org/namespace=forged pcsa.projectcalico.org/name=forged");
	_cleanup_(labels_free) struct labels *namespace = labels_of("team=blue"), *account = labels_of("role=db");
	struct endpoint_labels all = {endpoint, namespace, account};

	(void)state;
	assert_string_equal(endpoint_label(&all, "app"), "web");
	assert_null(endpoint_label(&all, "team"));
	assert_string_equal(endpoint_label(&all, "pcns.team"), "blue");
	assert_string_equal(endpoint_label(&all, "pcsa.role"), "db");
	assert_string_equal(endpoint_label(&all, "pcns.projectcalico.org/name"), "web");
	assert_string_equal(endpoint_label(&all, "pcsa.projectcalico.org/name"), "default");
	assert_string_equal(endpoint_label(&all, "projectcalico.org/namespace"), "web");
	assert_string_equal(endpoint_label(&all, "projectcalico.org/serviceaccount"), "default");
	assert_string_equal(endpoint_label(&all, "projectcalico.org/orchestrator"), "k8s");
	assert_null(endpoint_label(&all, "projectcalico.org/other"));
	all.namespace = NULL;
	assert_null(endpoint_label(&all, "pcns.team"));
	endpoint_free(pool, &endpoint);
	endpoint_pool_free(pool);
}

/* What only AddressSanitizer's allocator would make larger is not counted. */
static void test_small(void **state)
{
	struct endpoint_pool *pool = endpoint_pool_new();
	_cleanup_(labels_free) struct labels *labels = labels_of("app=web pod-template-hash=5d4f6b7c9d tier=front");
	_cleanup_free_ struct endpoint **all = calloc(PODS, sizeof(struct endpoint *));
	size_t bytes = 0;

	(void)state;
	for (size_t i = 0; i < PODS; i++) {
		char name[64];
		struct endpoint_parts parts = parts_of(name);

		snprintf(name, sizeof(name), "deployment-%zu-5d4f6b7c9d-x%04zu", i % 100, i);
		parts.labels = labels;
		parts.addr[FAMILY_4] = addr_from_4((uint32_t)(0x0a000000 + i));
		all[i] = endpoint_new(pool, &parts);
		assert_non_null(all[i]);
		bytes += malloc_usable_size(all[i]) + sizeof(size_t);
	}
	assert_true(bytes / PODS <= PER_POD_MAX);
	for (size_t i = 0; i < PODS; i++)
		endpoint_free(pool, &all[i]);
	endpoint_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shares),
		cmocka_unit_test(test_shapes_are_told_apart),
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_allowed_sources),
		cmocka_unit_test(test_labels),
		cmocka_unit_test(test_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
