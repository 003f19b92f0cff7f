/* SPDX-License-Identifier: Apache-2.0
 *
 * Table inet tulle for pools: the sets, and the frame of the transaction that replaces the whole table at
 * once. Rules look into sets, so that their number does not grow with pools and nodes.
 */
#include "plan/pools_internal.h"

#include "base/cleanup.h"
#include "plan/policy_nft.h"

#include <errno.h>
#include <string.h>

const char *const poolplan_nft_word[FAMILY_COUNT] = {[FAMILY_4] = "ip", [FAMILY_6] = "ip6"};
const char poolplan_nft_digit[FAMILY_COUNT] = {[FAMILY_4] = '4', [FAMILY_6] = '6'};

bool poolplan_nft_is_name(const char *text, size_t len)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

	return len > 0 && len < IFNAMSIZ && strspn(text, good) >= len;
}

/* What one set holds, of one family. */
struct members {
	struct prefix *list;
	size_t count;
	int f;
};

static void add_member(struct members *members, const struct prefix *prefix)
{
	if (family_index(prefix->family) == members->f)
		members->list[members->count++] = prefix_masked(prefix);
}

static int by_prefix(const void *a, const void *b)
{
	return prefix_compare(a, b);
}

/* Nothing in an interval set may overlap. */
static void drop_nested(struct members *members)
{
	size_t n = 0;

	qsort(members->list, members->count, sizeof(*members->list), by_prefix);
	for (size_t i = 0; i < members->count; i++)
		if (n == 0 || !prefix_contains_prefix(&members->list[n - 1], &members->list[i]))
			members->list[n++] = members->list[i];
	members->count = n;
}

static void write_set(struct members *members, const char *name, struct buf *buf)
{
	char text[PREFIX_TEXT_MAX];
	bool interval = false;

	drop_nested(members);
	for (size_t i = 0; i < members->count; i++)
		interval |= members->list[i].len < prefix_max_len(&members->list[i]);
	buf_printf(buf, "\tset %s%c {\n\t\ttype %s\n", name, poolplan_nft_digit[members->f],
		members->f == FAMILY_4 ? "ipv4_addr" : "ipv6_addr");
	if (interval)
		buf_add_str(buf, "\t\tflags interval\n");
	for (size_t i = 0; i < members->count; i++) {
		const struct prefix *prefix = &members->list[i];

		buf_add_str(buf, i ? ", " : "\t\telements = { ");
		buf_add_str(buf, prefix->len == prefix_max_len(prefix) ? addr_format(&prefix->addr, text)
								       : prefix_format(prefix, text));
	}
	buf_add_str(buf, members->count ? " }\n\t}\n" : "\t}\n");
	members->count = 0;
}

/* Disabled pools too: that is how users take destinations out of translation (section 6). */
static void write_pools(const struct plan_pools_input *input, struct members *members, struct buf *buf)
{
	for (size_t i = 0; i < input->pool_count; i++)
		if (!poolplan_is_balancer_only(input->pools[i]))
			add_member(members, &input->pools[i]->cidr);
	for (size_t i = 0; i < input->options.non_masquerade_count; i++)
		add_member(members, &input->options.non_masquerade[i]);
	write_set(members, SET_POOLS, buf);
	for (size_t i = 0; i < input->pool_count; i++)
		if (input->pools[i]->nat_outgoing)
			add_member(members, &input->pools[i]->cidr);
	write_set(members, SET_NAT, buf);
}

static void write_nodes(const struct poolplan *plan, bool vteps, struct members *members, struct buf *buf)
{
	int f = members->f;

	for (size_t i = 0; i < plan->node_count; i++) {
		const struct poolplan_node *node = &plan->nodes[i];
		struct prefix host = prefix_host(&node->node->address[f].addr);

		if (vteps ? node->vtep[f] : node->usable[f])
			add_member(members, &host);
	}
	write_set(members, vteps ? SET_VTEPS : SET_NODES, buf);
}

static void write_externals(const struct felix *felix, struct members *members, struct buf *buf)
{
	for (size_t i = 0; i < felix->external_count; i++)
		add_member(members, &felix->externals[i]);
	write_set(members, SET_EXTERNALS, buf);
}

/* Only those that a rule looks into: a set of all nodes is not free. */
static int write_sets(const struct poolplan *plan, struct buf *buf)
{
	const struct plan_pools_input *input = plan->input;
	size_t most = input->pool_count + input->options.non_masquerade_count + input->node_count +
		      input->felix->external_count;
	_cleanup_free_ struct prefix *list = calloc(most + 1, sizeof(*list));

	if (!list)
		return -ENOMEM;
	for (int f = 0; f < FAMILY_COUNT; f++) {
		struct members members = {.list = list, .f = f};
		bool nat = poolplan_has_nat(plan, f);
		bool hosts = nat && input->felix->nat_exclusions == NAT_EXCLUDE_POOLS_AND_HOSTS;
		bool nodes = hosts || (f == FAMILY_4 && plan->ipip);

		if (nat)
			write_pools(input, &members, buf);
		if (nodes)
			write_nodes(plan, false, &members, buf);
		if (plan->vxlan[f])
			write_nodes(plan, true, &members, buf);
		if (nodes || plan->vxlan[f])
			write_externals(input->felix, &members, buf);
	}
	return 0;
}

/* Docker's FORWARD chain and its like: pods go through it to each other and to the outside. */
static int add_forwards(struct poolplan *plan)
{
	struct wanted *wanted = &plan->result->wanted;
	const struct prefix *last = NULL;
	int r = 0;

	if (!plan->input->options.forward_rules)
		return 0;
	for (size_t i = 0; i < plan->ring_count && r == 0; i++) {
		const struct ippool *pool = plan->rings[i].pool;
		struct prefix *first = &wanted->forward[family_index(pool->cidr.family)];

		if (poolplan_is_balancer_only(pool) || (last && prefix_contains_prefix(last, &pool->cidr)))
			continue;
		last = &pool->cidr;
		if (!prefix_is_set(first) || pool->cidr.len < first->len)
			*first = pool->cidr;
		r = wanted_add_forward(wanted, &pool->cidr);
	}
	return r;
}

int poolplan_nft(struct poolplan *plan)
{
	struct buf *buf = &plan->result->wanted.nft;
	int r = add_forwards(plan);

	if (r < 0)
		return r;
	buf_add_str(buf, "add table inet tulle\ndelete table inet tulle\ntable inet tulle {\n");
	r = write_sets(plan, buf);
	if (r == 0)
		r = poolplan_nat(plan, buf);
	if (r == 0)
		r = poolplan_filter(plan, buf);
	if (r == 0 && plan->input->options.policy)
		r = policy_nft_add(buf, plan->input->options.policy);
	buf_add_str(buf, "}\n");
	return r < 0 ? r : buf->error;
}
