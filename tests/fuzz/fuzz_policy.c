/* SPDX-License-Identifier: Apache-2.0
 *
 * Input: one object, given to every parser of what policy is made of, whatever kind it says it is. A policy is refused
 * only for its names; what it is made into holds what model/policy.h promises, is equal to itself read once more, and a
 * policy of a namespace selects nobody outside of it. Stories and remarks are one line of printable characters.
 */
#include "remarks.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "resources/policy.h"

#include <math.h>
#include <string.h>

/* -- rules -- */

static void check_nets(const struct prefix *nets, size_t count)
{
	for (size_t i = 0; i < count; i++)
		FUZZ_CHECK(prefix_is_set(&nets[i]) && !prefix_has_host_bits(&nets[i]));
}

static void check_ports(const struct policy_ports *ports, size_t count)
{
	for (size_t i = 0; i < count; i++)
		FUZZ_CHECK(ports[i].name ? *ports[i].name != 0 : ports[i].first && ports[i].first <= ports[i].last);
}

static void check_entity(const struct policy_entity *entity)
{
	for (size_t i = 0; i < entity->term_count; i++) {
		const struct policy_term *term = &entity->terms[i];

		check_nets(term->nets, term->net_count);
		check_nets(term->not_nets, term->not_net_count);
		FUZZ_CHECK(!term->service_name == !term->service_namespace);
		FUZZ_CHECK(!term->service_name || (!term->selector && !term->not_selector && !term->net_count));
		FUZZ_CHECK(!term->selector || !term->not_selector);
		FUZZ_CHECK(term->net_count || term->not_net_count || term->selector || term->not_selector || term->service_name);
	}
	check_ports(entity->ports, entity->port_count);
	check_ports(entity->not_ports, entity->not_port_count);
}

static bool has_ports(uint8_t protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP || protocol == IPPROTO_UDPLITE;
}

static void check_rule(const struct policy_rule *rule)
{
	const struct policy_entity *ends[] = {&rule->source, &rule->destination};

	check_line(rule->name);
	FUZZ_CHECK(rule->action <= POLICY_LOG && (!rule->family || rule->family == AF_INET || rule->family == AF_INET6));
	FUZZ_CHECK(rule->protocol_sense == POLICY_ANY || rule->protocol);
	for (size_t i = 0; i < 2; i++) {
		check_entity(ends[i]);
		if (ends[i]->port_count || ends[i]->not_port_count)
			FUZZ_CHECK(rule->protocol_sense == POLICY_IS && has_ports(rule->protocol));
	}
	FUZZ_CHECK(rule->icmp[0].sense != POLICY_IS_NOT && rule->icmp[1].sense != POLICY_IS);
	for (size_t i = 0; i < 2; i++)
		FUZZ_CHECK(rule->icmp[i].sense == POLICY_ANY || (rule->protocol_sense == POLICY_IS && !has_ports(rule->protocol)));
}

/* -- policies -- */

/* Every label has the same value, but the namespace is another one. */
static const char *foreign(const void *ctx, const char *key)
{
	return strcmp(key, "projectcalico.org/namespace") == 0 ? "not-a-namespace-of-any-input" : ctx;
}

static void check_reach(const struct policy *policy)
{
	static const char *const values[] = {NULL, "", "a", "k8s"};

	for (size_t i = 0; policy->namespace && i < ARRAY_SIZE(values); i++)
		FUZZ_CHECK(!selector_matches(policy->selector, foreign, values[i]));
}

static void check_policy(const struct policy *policy)
{
	bool denies = policy->denies[POLICY_INGRESS] || policy->denies[POLICY_EGRESS];

	FUZZ_CHECK(policy->kind && policy->name && policy->tier && policy->selector && !isnan(policy->order) && !policy->staged);
	FUZZ_CHECK(!denies || policy->trouble);
	if (policy->trouble)
		check_line(policy->trouble);
	check_reach(policy);
	for (int d = 0; d < POLICY_DIRECTION_COUNT; d++) {
		FUZZ_CHECK(policy->types[d] || (!policy->denies[d] && !policy->rule_count[d]));
		FUZZ_CHECK(!policy->denies[d] || !policy->rule_count[d]);
		for (size_t i = 0; i < policy->rule_count[d]; i++)
			check_rule(&policy->rules[d][i]);
	}
}

typedef int (*policy_parser)(const json_t *, const struct calico_remarks *, struct policy **, struct err *);

static void try_policy(policy_parser parse, const json_t *object)
{
	_cleanup_(policy_free) struct policy *made = NULL, *again = NULL;
	struct err err = ERR_INIT;
	int rc = parse(object, &remarks, &made, &err);

	if (rc < 0) {
		FUZZ_CHECK(!made && strstr(err.text, "expected"));
		check_line(err.text);
		return;
	}
	FUZZ_CHECK(parse(object, NULL, &again, NULL) == 0 && policy_equal(made, again));
	check_policy(made);
}

/* -- the others -- */

static void try_tier(const json_t *object)
{
	_cleanup_(tier_free) struct tier *tier = NULL;
	struct err err = ERR_INIT;

	if (tier_parse(object, &remarks, &tier, &err) < 0)
		check_line(err.text);
	else
		FUZZ_CHECK(tier->name && !isnan(tier->order) && (!tier_builtin(tier->name) || tier_equal(tier, tier_builtin(tier->name))));
}

static void try_set(const json_t *object, bool global)
{
	_cleanup_(network_set_free) struct network_set *set = NULL;
	struct err err = ERR_INIT;

	if (network_set_parse(object, global, &remarks, &set, &err) < 0) {
		check_line(err.text);
		return;
	}
	FUZZ_CHECK(set->name && set->labels && !set->namespace == global && network_set_equal(set, set));
	check_nets(set->nets, set->net_count);
	for (size_t i = 1; i < set->net_count; i++)
		FUZZ_CHECK(prefix_compare(&set->nets[i - 1], &set->nets[i]) < 0);
}

static void try_host(const json_t *object)
{
	_cleanup_(host_endpoint_free) struct host_endpoint *host = NULL, *again = NULL;
	struct err err = ERR_INIT;

	if (host_endpoint_parse(object, &remarks, &host, &err) < 0) {
		check_line(err.text);
		return;
	}
	FUZZ_CHECK(host_endpoint_parse(object, NULL, &again, NULL) == 0 && host_endpoint_equal(host, again));
	FUZZ_CHECK(*host->name && *host->node && host->labels && (host->interface || host->addr_count));
	for (size_t i = 1; i < host->addr_count; i++)
		FUZZ_CHECK(addr_compare(&host->addrs[i - 1], &host->addrs[i]) < 0);
	for (size_t i = 0; i < host->port_count; i++)
		FUZZ_CHECK(*host->ports[i].name && host->ports[i].port && host->ports[i].protocol);
}

static void try_pod(const json_t *object)
{
	struct endpoint_pool *pool = endpoint_pool_new();
	struct endpoint *made = NULL, *again = NULL;
	struct err err = ERR_INIT;

	if (endpoint_parse(object, pool, &remarks, &made, &err) < 0) {
		check_line(err.text);
	} else {
		FUZZ_CHECK(endpoint_parse(object, pool, NULL, &again, NULL) == 0 && endpoint_equal(made, again));
		FUZZ_CHECK(!addr_is_set(&made->addr[FAMILY_4]) || addr_is_4(&made->addr[FAMILY_4]));
		FUZZ_CHECK(!addr_is_set(&made->addr[FAMILY_6]) || !addr_is_4(&made->addr[FAMILY_6]));
		check_nets(made->allowed_sources, made->allowed_source_count);
		for (size_t i = 0; i < made->shape->port_count; i++)
			FUZZ_CHECK(*made->shape->ports[i].name && made->shape->ports[i].port);
	}
	endpoint_free(pool, &again);
	endpoint_free(pool, &made);
	endpoint_pool_free(pool);
}

static void try_labels(const json_t *object)
{
	_cleanup_(labels_free) struct labels *namespace = NULL, *account = NULL;

	if (namespace_labels_parse(object, &namespace, NULL) == 0)
		FUZZ_CHECK(labels_get(namespace, "kubernetes.io/metadata.name"));
	service_account_labels_parse(object, &account, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(json_cleanup) json_t *object = json_loadb((const char *)data, size, JSON_ALLOW_NUL, NULL);

	if (!object)
		return 0;
	try_policy(policy_parse_kubernetes, object);
	try_policy(policy_parse_cluster, object);
	try_policy(policy_parse_calico, object);
	try_policy(policy_parse_calico_global, object);
	try_tier(object);
	try_set(object, false);
	try_set(object, true);
	try_host(object);
	try_pod(object);
	try_labels(object);
	return 0;
}
