/* SPDX-License-Identifier: Apache-2.0
 *
 * Policies, tiers and sets: what is equal, and who frees what (model/policy.h).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "model/policy.h"

#include <stdlib.h>
#include <string.h>

static struct selector *selector_of(const char *text)
{
	struct selector *selector = NULL;

	assert_int_equal(selector_parse(text, &selector, NULL), 0);
	return selector;
}

static struct policy_entity entity_of(void)
{
	struct policy_entity entity = {
		.terms = calloc(1, sizeof(*entity.terms)),
		.term_count = 1,
		.ports = calloc(2, sizeof(*entity.ports)),
		.port_count = 2,
		.not_ports = calloc(1, sizeof(*entity.not_ports)),
		.not_port_count = 1,
	};
	struct policy_term *term = entity.terms;

	term->nets = calloc(1, sizeof(*term->nets));
	term->net_count = 1;
	prefix_parse("10.0.0.0/8", term->nets);
	term->not_nets = calloc(1, sizeof(*term->not_nets));
	term->not_net_count = 1;
	prefix_parse("10.1.0.0/16", term->not_nets);
	term->selector = selector_of("app == 'web'");
	term->not_selector = selector_of("app == 'db'");
	term->service_namespace = strdup("default");
	term->service_name = strdup("dns");
	entity.ports[0].name = strdup("http");
	entity.ports[1] = (struct policy_ports){80, 90, NULL};
	entity.not_ports[0] = (struct policy_ports){85, 85, NULL};
	return entity;
}

static struct policy *policy_of(void)
{
	struct policy *policy = calloc(1, sizeof(*policy));
	struct policy_rule *rule = calloc(1, sizeof(*rule));

	*policy = (struct policy){
		.kind = strdup("NetworkPolicy"),
		.namespace = strdup("web"),
		.name = strdup("a"),
		.tier = strdup("default"),
		.order = 1000,
		.selector = selector_of("all()"),
		.types = {true, false},
		.rules = {rule, NULL},
		.rule_count = {1, 0},
		.trouble = strdup("none"),
	};
	*rule = (struct policy_rule){
		.name = strdup("ingress[0]"),
		.protocol_sense = POLICY_IS,
		.protocol = IPPROTO_TCP,
		.source = entity_of(),
		.destination = entity_of(),
	};
	return policy;
}

/* Each change alone makes it another policy. */
static void change(struct policy *policy, int what)
{
	struct policy_rule *rule = policy->rules[POLICY_INGRESS];
	struct policy_term *term = rule->destination.terms;

	switch (what) {
	case 0:
		policy->name[0] = 'b';
		break;
	case 1:
		policy->order = 1;
		break;
	case 2:
		policy->types[POLICY_EGRESS] = true;
		break;
	case 3:
		policy->denies[POLICY_EGRESS] = true;
		break;
	case 4:
		selector_free(&policy->selector);
		policy->selector = selector_of("has(a)");
		break;
	case 5:
		rule->action = POLICY_PASS;
		break;
	case 6:
		rule->family = AF_INET6;
		break;
	case 7:
		rule->protocol = IPPROTO_UDP;
		break;
	case 8:
		rule->icmp[1] = (struct policy_icmp){POLICY_IS_NOT, 8, -1};
		break;
	case 9:
		prefix_parse("10.2.0.0/16", term->not_nets);
		break;
	case 10:
		selector_free(&term->not_selector);
		break;
	case 11:
		term->service_name[0] = 'x';
		break;
	case 12:
		rule->destination.ports[1].last = 91;
		break;
	case 13:
		rule->source.ports[0].name[0] = 'x';
		break;
	case 14:
		rule->source.not_port_count = 0;
		break;
	case 15:
		policy->staged = true;
		break;
	case 16:
		policy->trouble[0] = 'x';
		break;
	case 17:
		policy->tier[0] = 'x';
		break;
	}
}
#define CHANGES 18

static void test_policy_equal(void **state)
{
	(void)state;
	for (int i = 0; i < CHANGES; i++) {
		_cleanup_(policy_free) struct policy *a = policy_of(), *b = policy_of();

		assert_true(policy_equal(a, b));
		change(b, i);
		assert_false(policy_equal(a, b));
	}
}

/* What a rule does not ask for may say anything. */
static void test_unasked_is_equal(void **state)
{
	_cleanup_(policy_free) struct policy *a = policy_of(), *b = policy_of();

	(void)state;
	b->rules[POLICY_INGRESS][0].icmp[0].type = 8;
	b->rules[POLICY_INGRESS][0].source.ports[0].first = 7;
	assert_true(policy_equal(a, b));
}

static void test_builtin_tiers(void **state)
{
	(void)state;
	assert_true(tier_builtin("default")->order == 1000000);
	assert_false(tier_builtin("default")->default_pass);
	assert_true(tier_builtin("kube-admin")->order == 1000);
	assert_true(tier_builtin("kube-admin")->default_pass);
	assert_true(tier_builtin("kube-baseline")->order == 10000000);
	assert_true(tier_builtin("kube-baseline")->default_pass);
	assert_null(tier_builtin("other"));
	assert_true(tier_equal(tier_builtin("default"), tier_builtin("default")));
	assert_false(tier_equal(tier_builtin("default"), tier_builtin("kube-admin")));
}

static struct network_set *set_of(const char *net)
{
	struct network_set *set = calloc(1, sizeof(*set));

	set->name = strdup("bad-guys");
	set->labels = labels_new();
	set->nets = calloc(1, sizeof(*set->nets));
	set->net_count = 1;
	prefix_parse(net, set->nets);
	return set;
}

static void test_network_set(void **state)
{
	_cleanup_(network_set_free) struct network_set *a = set_of("10.0.0.0/8"), *b = set_of("10.0.0.0/8");
	_cleanup_(network_set_free) struct network_set *c = set_of("11.0.0.0/8");

	(void)state;
	assert_true(network_set_equal(a, b));
	assert_false(network_set_equal(a, c));
	labels_set(b->labels, "a", "b");
	assert_false(network_set_equal(a, b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_policy_equal),
		cmocka_unit_test(test_unasked_is_equal),
		cmocka_unit_test(test_builtin_tiers),
		cmocka_unit_test(test_network_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
