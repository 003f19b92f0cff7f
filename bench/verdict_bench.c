/* SPDX-License-Identifier: Apache-2.0
 *
 * What the verdict engine costs: a cold start, one pod's new label, a policy with many prefixes, memory for each pod.
 * Arguments: pods, policies, prefixes.
 */
#include "plan/verdict.h"

#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static size_t in_use(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

static struct endpoint *make_pod(struct endpoint_pool *pool, size_t i, size_t apps, const char *extra)
{
	struct labels *labels = labels_new();
	char name[32], namespace[32], app[32];
	struct endpoint_parts parts = {.namespace = namespace, .name = name, .service_account = "default", .node = "node", .labels = labels};
	struct endpoint *endpoint;

	snprintf(name, sizeof(name), "pod-%zu", i);
	snprintf(namespace, sizeof(namespace), "namespace-%zu", i % 100);
	snprintf(app, sizeof(app), "app-%zu", i % apps);
	labels_set(labels, "app", app);
	if (extra)
		labels_set(labels, "extra", extra);
	parts.addr[FAMILY_4] = addr_from_4(0x0a000001u + (uint32_t)i);
	endpoint = endpoint_new(pool, &parts);
	labels_free(&labels);
	return endpoint;
}

static struct selector *parse(const char *text)
{
	struct selector *selector;

	if (selector_parse(text, &selector, NULL) < 0)
		abort();
	return selector;
}

static struct policy *make_policy(size_t i, size_t apps, size_t nets)
{
	struct policy *p = calloc(1, sizeof(*p));
	struct policy_rule *rule = calloc(1, sizeof(*rule));
	struct policy_term *term = calloc(1, sizeof(*term));
	char name[32], text[200];

	snprintf(name, sizeof(name), "policy-%zu", i);
	p->kind = strdup("NetworkPolicy");
	p->namespace = strdup("namespace-0");
	p->name = strdup(name);
	p->tier = strdup("default");
	p->order = 1000;
	p->selector = parse("projectcalico.org/namespace == \"namespace-0\"");
	p->types[POLICY_INGRESS] = true;
	p->rules[POLICY_INGRESS] = rule;
	p->rule_count[POLICY_INGRESS] = 1;
	rule->name = strdup("ingress[0]");
	rule->protocol_sense = POLICY_IS;
	rule->protocol = IPPROTO_TCP;
	rule->source.terms = term;
	rule->source.term_count = 1;
	rule->destination.ports = calloc(1, sizeof(struct policy_ports));
	rule->destination.port_count = 1;
	rule->destination.ports[0].first = rule->destination.ports[0].last = (uint16_t)(1000 + i % 1000);
	if (!nets) {
		snprintf(text, sizeof(text), "projectcalico.org/orchestrator == \"k8s\" && app == \"app-%zu\" && projectcalico.org/namespace == \"namespace-%zu\"",
			i % apps, i % 100);
		term->selector = parse(text);
		return p;
	}
	term->nets = calloc(nets, sizeof(struct prefix));
	term->net_count = nets;
	for (size_t n = 0; n < nets; n++) {
		struct addr addr = addr_from_4(0x14000000u + (uint32_t)n * 512);

		term->nets[n] = prefix_make(&addr, 24);
	}
	return p;
}

static double update(struct verdicts *v, const char *what)
{
	struct verdict_change change;
	double start = now(), taken;

	verdicts_update(v, &change, NULL);
	taken = now() - start;
	printf("%-28s %9.2f ms: %zu addresses, %zu pairs, %zu ports\n", what, taken, change.address_count, change.new_pair_count,
		change.new_port_count);
	verdicts_acknowledge(v);
	return taken;
}

int main(int argc, char **argv)
{
	size_t pods = argc > 1 ? strtoul(argv[1], NULL, 10) : 100000, policies = argc > 2 ? strtoul(argv[2], NULL, 10) : 10000;
	size_t nets = argc > 3 ? strtoul(argv[3], NULL, 10) : 100000, apps = 1000;
	struct endpoint_pool *pool = endpoint_pool_new();
	struct endpoint **endpoints = calloc(pods, sizeof(*endpoints)), *changed, *old;
	struct verdicts *v;
	struct policy *big = make_policy(policies, apps, nets);
	size_t before;
	double start;

	if (verdicts_new(&v) < 0)
		return 1;
	before = in_use();
	start = now();
	for (size_t i = 0; i < pods; i++)
		verdicts_put_endpoint(v, endpoints[i] = make_pod(pool, i, apps, NULL));
	printf("%-28s %9.2f ms\n", "pods put", now() - start);
	update(v, "without policies");
	printf("%-28s %9zu bytes each\n", "pod", (in_use() - before) / (pods ? pods : 1));
	for (size_t i = 0; i < 20000 && i < pods; i += 100) {
		char name[32];
		struct addr addr[FAMILY_COUNT] = {endpoints[i]->addr[0], endpoints[i]->addr[1]};

		snprintf(name, sizeof(name), "pod-%zu", i);
		verdicts_attach(v, "namespace-0", name, addr);
	}
	before = in_use();
	for (size_t i = 0; i < policies; i++)
		verdicts_put_policy(v, make_policy(i, apps, 0));
	update(v, "policies, cold");
	update(v, "what is left of it");
	printf("%-28s %9zu bytes each\n", "policy", (in_use() - before) / (policies ? policies : 1));
	changed = make_pod(pool, pods / 2 + 1, apps, "new");
	old = endpoints[pods / 2 + 1];
	verdicts_put_endpoint(v, changed);
	endpoint_free(pool, &old);
	update(v, "one pod's label");
	old = changed;
	changed = make_pod(pool, pods / 2 + 1, 7, NULL);
	verdicts_put_endpoint(v, changed);
	endpoint_free(pool, &old);
	update(v, "one pod's app");
	before = in_use();
	verdicts_put_policy(v, big);
	update(v, "policy with prefixes");
	update(v, "what is left of it");
	printf("%-28s %9zu bytes each\n", "prefix", (in_use() - before) / (nets ? nets : 1));
	return 0; /* the memory goes with the process */
}
