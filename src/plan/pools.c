/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/pools_internal.h"

#include "base/cleanup.h"
#include "plan/plan_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define VXLAN_OVERHEAD 50 /* IPv4, UDP, VXLAN, Ethernet: 20 + 8 + 8 + 14 */
#define VXLAN6_OVERHEAD 70
#define IPIP_OVERHEAD 20
#define USUAL_PRIORITY 1024

const char *const poolplan_family_name[FAMILY_COUNT] = {[FAMILY_4] = "IPv4", [FAMILY_6] = "IPv6"};

int poolplan_complain(struct poolplan *plan, const char *kind, const char *name, const char *fmt, ...)
{
	char object[280];
	va_list ap;
	int r;

	snprintf(object, sizeof(object), "%s%s%s", kind, name[0] ? " " : "", name);
	va_start(ap, fmt);
	r = complaints_add(&plan->result->complaints, object, fmt, ap);
	va_end(ap);
	return r;
}

/* -- small questions -- */

bool poolplan_is_balancer_only(const struct ippool *pool)
{
	return pool->uses == POOL_USE_LOAD_BALANCER;
}

int poolplan_addr_compare(const void *a, const void *b)
{
	return addr_compare(a, b);
}

bool poolplan_any_inside(const struct addr *addrs, size_t count, const struct prefix *prefix)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (addr_compare(&addrs[middle], &prefix->addr) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && prefix_contains(prefix, &addrs[low]);
}

bool poolplan_is_local(const struct poolplan *plan, const struct addr *addr)
{
	return bsearch(addr, plan->local, plan->local_count, sizeof(*addr), poolplan_addr_compare);
}

bool plan_pools_has_vxlan(const struct plan_pools_input *input, int f)
{
	if (f == FAMILY_6 && !input->felix->ipv6)
		return false;
	if (input->felix->vxlan_enabled != TRISTATE_AUTO)
		return input->felix->vxlan_enabled == TRISTATE_YES;
	for (size_t i = 0; i < input->pool_count; i++)
		if (input->pools[i]->vxlan != ENCAP_NEVER && family_index(input->pools[i]->cidr.family) == f)
			return true;
	return false;
}

bool plan_pools_has_ipip(const struct plan_pools_input *input)
{
	if (input->felix->ipip_enabled != TRISTATE_AUTO)
		return input->felix->ipip_enabled == TRISTATE_YES;
	for (size_t i = 0; i < input->pool_count; i++)
		if (input->pools[i]->ipip != ENCAP_NEVER)
			return true;
	return false;
}

static bool encapsulates(const struct ippool *pool)
{
	return pool->vxlan != ENCAP_NEVER || pool->ipip != ENCAP_NEVER;
}

static bool covers_plain(enum program_routes who)
{
	return who == PROGRAM_ALL || who == PROGRAM_NO_ENCAP_ONLY;
}

bool plan_pools_are_ours(const struct ippool *pool, enum program_routes felix, enum program_routes bgp)
{
	if (encapsulates(pool) || (felix == PROGRAM_IPIP_ONLY && bgp == PROGRAM_NO_ENCAP_ONLY))
		return true;
	return covers_plain(felix) || !covers_plain(bgp);
}

bool plan_pools_are_learned(const struct ippool *pool, enum program_routes bgp)
{
	return !encapsulates(pool) && covers_plain(bgp);
}

static uint32_t less(uint32_t mtu, uint32_t overhead)
{
	return mtu > overhead ? mtu - overhead : 0;
}

void plan_pools_mtu(const struct plan_pools_input *input, struct plan_mtu *ret)
{
	const struct felix *felix = input->felix;
	uint32_t outer = input->uplink.mtu;
	struct plan_mtu mtu = {
		.vxlan[FAMILY_4] =
			felix->vxlan_mtu[FAMILY_4] ? felix->vxlan_mtu[FAMILY_4] : less(outer, VXLAN_OVERHEAD),
		.vxlan[FAMILY_6] = felix->vxlan_mtu[FAMILY_6] ? felix->vxlan_mtu[FAMILY_6]
							      : less(outer, VXLAN6_OVERHEAD),
		.ipip = felix->ipip_mtu ? felix->ipip_mtu : less(outer, IPIP_OVERHEAD),
		.pod = outer,
	};
	bool enabled[] = {plan_pools_has_vxlan(input, FAMILY_4), plan_pools_has_vxlan(input, FAMILY_6),
		plan_pools_has_ipip(input)};
	uint32_t mtus[] = {mtu.vxlan[FAMILY_4], mtu.vxlan[FAMILY_6], mtu.ipip};

	for (size_t i = 0; i < ARRAY_SIZE(enabled); i++)
		if (enabled[i] && mtus[i] < mtu.pod)
			mtu.pod = mtus[i];
	*ret = mtu;
}

/* -- the pass -- */

static void decide_families(struct poolplan *plan)
{
	const struct plan_pools_input *input = plan->input;

	for (int f = 0; f < FAMILY_COUNT; f++) {
		plan->active[f] = input->own && prefix_is_set(&input->own->address[f]) &&
				  (f == FAMILY_4 || input->felix->ipv6);
		plan->vxlan[f] = plan->active[f] && plan_pools_has_vxlan(input, f) &&
				 addr_is_set(&input->vxlan_addr[f]);
	}
	plan->ipip = plan->active[FAMILY_4] && plan_pools_has_ipip(input) && addr_is_set(&input->ipip_addr);
	plan_pools_mtu(input, &plan->mtu);
}

/* No route to another node may lead to one of these. */
static int list_local(struct poolplan *plan)
{
	const struct plan_pools_input *input = plan->input;
	const struct addr own[] = {input->ipip_addr, input->vxlan_addr[FAMILY_4], input->vxlan_addr[FAMILY_6],
		input->uplink.addr[FAMILY_4], input->uplink.addr[FAMILY_6]};
	size_t n = 0;

	plan->local = calloc(ARRAY_SIZE(own) + FAMILY_COUNT * (1 + input->pod_count), sizeof(*plan->local));
	if (!plan->local)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		if (addr_is_set(&own[i]))
			plan->local[n++] = own[i];
	for (int f = 0; f < FAMILY_COUNT; f++)
		if (plan->active[f])
			plan->local[n++] = input->own->address[f].addr;
	for (size_t i = 0; i < input->pod_count; i++)
		for (int f = 0; f < FAMILY_COUNT; f++)
			if (addr_is_set(&input->pods[i].addr[f]))
				plan->local[n++] = input->pods[i].addr[f];
	qsort(plan->local, n, sizeof(*plan->local), poolplan_addr_compare);
	plan->local_count = n;
	return 0;
}

static void poolplan_done(struct poolplan *plan)
{
	free(plan->rings);
	free(plan->nodes);
	free(plan->slots);
	free(plan->taken);
	free(plan->local);
	free(plan->blocks);
	free(plan->kept);
}

/* Routes of pods come with ADD, as the kernel makes them; BIRD takes those without a metric for 1024 (5.3).
 */
static int add_pods(struct poolplan *plan)
{
	const struct felix *felix = plan->input->felix;
	struct wanted *wanted = &plan->result->wanted;
	int r = plan_pod_routes(plan->input->pods, plan->input->pod_count, wanted);

	for (size_t i = 0; i < wanted->route_count; i++) {
		int f = family_index(wanted->routes[i].dst.family);

		wanted->routes[i].source = felix->route_source[f];
		if (felix->route_priority[f] != USUAL_PRIORITY)
			wanted->routes[i].metric = felix->route_priority[f];
	}
	return r;
}

int plan_pools_build(const struct plan_pools_input *input, struct plan_pools_result *ret)
{
	static int (*const steps[])(struct poolplan *) = {list_local, poolplan_sort_rings,
		poolplan_judge_nodes, poolplan_judge_blocks, add_pods, poolplan_devices, poolplan_routes,
		poolplan_guard, poolplan_nft};
	struct plan_pools_result result = {0};
	_cleanup_(poolplan_done) struct poolplan plan = {.input = input, .result = &result};
	int r = 0;

	wanted_init(&result.wanted);
	result.wanted.sweep = input->own && input->complete;
	result.wanted.keep_nft = !result.wanted.sweep;
	result.wanted.protocol = input->felix->route_protocol;
	result.wanted.carrier.keep_stale = result.wanted.guard.keep_stale = !result.wanted.sweep;
	decide_families(&plan);
	for (size_t i = 0; i < ARRAY_SIZE(steps) && r == 0; i++)
		r = steps[i](&plan);
	if (r == 0)
		r = wanted_finish(&result.wanted);
	if (r < 0) {
		plan_pools_result_free(&result);
		return r;
	}
	complaints_join(&result.complaints);
	*ret = result;
	return 0;
}

void plan_pools_result_free(struct plan_pools_result *result)
{
	wanted_free(&result->wanted);
	complaints_done(&result->complaints);
	*result = (struct plan_pools_result){0};
}
