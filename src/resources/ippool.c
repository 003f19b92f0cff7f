/* SPDX-License-Identifier: Apache-2.0
 *
 * IPPool (reference/calico.md 2.1). Rules that upstream checks only when somebody writes ("lib") are checked here: such
 * objects exist.
 */
#include "resources/read.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

static const char *const modes[] = {
	[ENCAP_NEVER] = "Never", [ENCAP_ALWAYS] = "Always", [ENCAP_CROSS_SUBNET] = "CrossSubnet", NULL};

static const char *const members[] = {
	"cidr", "blockSize", "ipipMode", "vxlanMode", "natOutgoing", "disabled", "disableBGPExport", "nodeSelector",
	"namespaceSelector", "allowedUses", "assignmentMode", "ipip", "nat-outgoing", NULL,
};

/* -- CIDR and blocks -- */

static int read_cidr(const struct calico_at *at, struct ippool *pool)
{
	struct prefix link_local[FAMILY_COUNT], cidr;
	char text[PREFIX_TEXT_MAX];
	int rc = calico_prefix(at, "cidr", &cidr);

	if (rc < 0)
		return rc;
	if (rc == 0)
		return calico_wrong(at, "cidr", "a CIDR such as 10.244.0.0/16");
	prefix_parse("169.254.0.0/16", &link_local[FAMILY_4]);
	prefix_parse("fe80::/10", &link_local[FAMILY_6]);
	pool->cidr = prefix_masked(&cidr);
	if (prefix_overlaps(&pool->cidr, &link_local[family_index(cidr.family)]))
		return calico_wrong(at, "cidr", "a CIDR that does not overlap with the link-local addresses %s",
			prefix_format(&link_local[family_index(cidr.family)], text));
	if (prefix_has_host_bits(&cidr))
		calico_remark(at, "spec.cidr is \"%s\", which has bits behind its length: read as %s",
			json_string_value(json_object_get(at->json, "cidr")), prefix_format(&pool->cidr, text));
	return 0;
}

static int read_block_size(const struct calico_at *at, struct ippool *pool)
{
	bool is_4 = pool->cidr.family == AF_INET;
	int64_t size = 0, min = is_4 ? 20 : 116, max = is_4 ? 32 : 128;
	int rc = calico_int(at, "blockSize", 0, 128, &size);

	if (rc < 0)
		return rc;
	if (!size)
		size = is_4 ? 26 : 122;
	else if (size < min || size > max)
		return calico_wrong(at, "blockSize", "%lld to %lld for IPv%d", (long long)min, (long long)max, is_4 ? 4 : 6);
	if (size < pool->cidr.len && !pool->disabled)
		return calico_wrong(at, "blockSize", "at least the length of spec.cidr, %u, so that a block fits into the pool (%lld "
			"when nothing is said)", pool->cidr.len, is_4 ? 26LL : 122LL);
	pool->block_len = (uint8_t)size;
	return 0;
}

/* -- encapsulation -- */

/* What Calico 2 wrote: ipip {enabled, mode} and nat-outgoing. */
static int read_old_members(const struct calico_at *at, struct ippool *pool)
{
	static const char *const old_modes[] = {"always", "cross-subnet", NULL};
	struct calico_at ipip;
	bool enabled = false;
	int mode = 0, rc = calico_bool(at, "nat-outgoing", &pool->nat_outgoing);

	if (rc < 0)
		return rc;
	rc = calico_enter(at, "ipip", &ipip);
	if (rc <= 0)
		return rc;
	rc = calico_bool(&ipip, "enabled", &enabled);
	if (rc >= 0)
		rc = calico_choice(&ipip, "mode", old_modes, &mode);
	if (rc >= 0 && enabled)
		pool->ipip = mode ? ENCAP_CROSS_SUBNET : ENCAP_ALWAYS;
	return rc < 0 ? rc : 0;
}

static int read_encapsulation(const struct calico_at *at, struct ippool *pool)
{
	int ipip = (int)pool->ipip, vxlan = ENCAP_NEVER;
	int rc = calico_choice(at, "ipipMode", modes, &ipip);

	if (rc >= 0)
		rc = calico_choice(at, "vxlanMode", modes, &vxlan);
	if (rc < 0)
		return rc;
	if (ipip != ENCAP_NEVER && vxlan != ENCAP_NEVER)
		return calico_wrong(at, "vxlanMode", "Never, because spec.ipipMode is %s: a pool has one encapsulation", modes[ipip]);
	if (ipip != ENCAP_NEVER && pool->cidr.family == AF_INET6)
		return calico_wrong(at, "ipipMode", "Never, because spec.cidr is IPv6");
	pool->ipip = (enum encap_when)ipip;
	pool->vxlan = (enum encap_when)vxlan;
	return 0;
}

/* -- who may use it -- */

static int read_uses(const struct calico_at *at, struct ippool *pool)
{
	static const char *const names[] = {"Workload", "Tunnel", "LoadBalancer", NULL};
	const json_t *list = NULL, *use;
	int index, rc = calico_list(at, "allowedUses", &list);
	size_t i;

	if (rc < 0)
		return rc;
	json_array_foreach((json_t *)list, i, use) {
		struct calico_at item;

		calico_item(at, "allowedUses", i, use, &item);
		rc = calico_choice(&item, NULL, names, &index);
		if (rc == 0)
			rc = calico_wrong(&item, NULL, "Workload, Tunnel or LoadBalancer");
		if (rc < 0)
			return rc;
		pool->uses |= 1u << index;
	}
	if (!pool->uses)
		pool->uses = POOL_USE_WORKLOAD | POOL_USE_TUNNEL;
	return 0;
}

/* Load balancers' addresses come from no node: nothing that concerns nodes makes sense beside them. */
static int check_balancer(const struct calico_at *at, const struct ippool *pool)
{
	if (!(pool->uses & POOL_USE_LOAD_BALANCER))
		return 0;
	if (pool->uses != POOL_USE_LOAD_BALANCER)
		return calico_wrong(at, "allowedUses", "LoadBalancer alone");
	if (pool->ipip != ENCAP_NEVER)
		return calico_wrong(at, "ipipMode", "Never for a pool of load balancers' addresses");
	if (pool->vxlan != ENCAP_NEVER)
		return calico_wrong(at, "vxlanMode", "Never for a pool of load balancers' addresses");
	if (!selector_is_all(pool->node_selector))
		return calico_wrong(at, "nodeSelector", "all() for a pool of load balancers' addresses");
	if (pool->disable_bgp_export)
		return calico_wrong(at, "disableBGPExport", "false for a pool of load balancers' addresses");
	return 0;
}

/* A tunnel's address belongs to a node, and nodes are in no namespace. */
static int check_namespaces(const struct calico_at *at, struct ippool *pool)
{
	if (!pool->namespace_selector || !(pool->uses & POOL_USE_TUNNEL))
		return 0;
	if (pool->uses == POOL_USE_TUNNEL)
		return calico_wrong(at, "namespaceSelector", "none, because spec.allowedUses is Tunnel");
	pool->uses &= ~(unsigned)POOL_USE_TUNNEL;
	if (json_object_get(at->json, "allowedUses"))
		calico_remark(at, "spec.namespaceSelector excludes the use Tunnel, which spec.allowedUses names: no tunnel takes its "
			"address from this pool");
	return 0;
}

static int read_selectors(const struct calico_at *at, struct ippool *pool)
{
	int rc = calico_selector(at, "nodeSelector", &pool->node_selector);
	const char *text = json_string_value(json_object_get(at->json, "namespaceSelector"));

	if (rc == 0)
		rc = selector_parse("", &pool->node_selector, at->err);
	if (rc >= 0 && (!text || *text))
		rc = calico_selector(at, "namespaceSelector", &pool->namespace_selector);
	if (rc >= 0)
		rc = check_balancer(at, pool);
	return rc < 0 ? rc : check_namespaces(at, pool);
}

/* -- status -- */

static bool is_allocatable(const json_t *object)
{
	const json_t *conditions = json_object_get(json_object_get(object, "status"), "conditions"), *condition;
	size_t i;

	if (json_object_get(json_object_get(object, "metadata"), "deletionTimestamp"))
		return false;
	json_array_foreach((json_t *)conditions, i, condition) {
		const char *type = json_string_value(json_object_get(condition, "type"));
		const char *status = json_string_value(json_object_get(condition, "status"));

		if (type && status && strcmp(type, "Allocatable") == 0 && strcmp(status, "False") == 0)
			return false;
	}
	return true;
}

static int read_flags(const struct calico_at *at, struct ippool *pool)
{
	static const char *const assignments[] = {"Automatic", "Manual", NULL};
	int manual = 0, rc = calico_bool(at, "natOutgoing", &pool->nat_outgoing);

	if (rc >= 0)
		rc = calico_bool(at, "disabled", &pool->disabled);
	if (rc >= 0)
		rc = calico_bool(at, "disableBGPExport", &pool->disable_bgp_export);
	if (rc >= 0)
		rc = calico_choice(at, "assignmentMode", assignments, &manual);
	pool->manual = manual;
	return rc < 0 ? rc : 0;
}

static int read_pool(const struct calico_at *at, struct ippool *pool)
{
	int (*const steps[])(const struct calico_at *, struct ippool *) = {
		read_old_members, read_flags, read_cidr, read_block_size, read_encapsulation, read_uses, read_selectors,
	};

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		int rc = steps[i](at, pool);

		if (rc < 0)
			return rc;
	}
	return 0;
}

int calico_ippool_parse(const json_t *object, const struct calico_remarks *remarks, struct ippool **ret,
	struct err *err)
{
	_cleanup_(ippool_free) struct ippool *pool = calloc(1, sizeof(*pool));
	struct calico_at at;
	int rc = calico_begin(object, "IPPool", remarks, err, &at);

	if (rc < 0)
		return rc;
	if (!pool || !(pool->name = strdup(calico_name(object))))
		return calico_no_memory(&at);
	rc = read_pool(&at, pool);
	if (rc < 0)
		return rc;
	calico_remark_unknown(&at, members);
	pool->allocatable = is_allocatable(object);
	pool->created = calico_created(object);
	*ret = TAKE_PTR(pool);
	return 0;
}
