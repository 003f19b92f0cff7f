/* SPDX-License-Identifier: Apache-2.0
 *
 * Which policies apply to an endpoint, and their order (reference/calico.md 7.5).
 */
#include "plan/verdict_internal.h"

/* -- order -- */

struct tier_rank {
	bool missing;
	double order;
};

static struct tier_rank rank_of(const struct verdicts *v, const struct policy *policy)
{
	struct tier_rank rank = {.order = HUGE_VAL};
	const struct tier *tier = verdict_tier(v, policy->tier, &rank.missing);

	if (tier)
		rank.order = tier->order;
	return rank;
}

/* As Calico calls it: ties are broken by this name. */
static const char *calico_kind(const char *kind)
{
	if (strcmp(kind, "NetworkPolicy") == 0)
		return "KubernetesNetworkPolicy";
	if (strcmp(kind, "CalicoNetworkPolicy") == 0)
		return "NetworkPolicy";
	if (strcmp(kind, "ClusterNetworkPolicy") == 0)
		return "KubernetesClusterNetworkPolicy";
	return kind;
}

/* The string "name/namespace/kind" is what counts, so "a/" comes after "a-b". */
static int compare_names(const struct policy *a, const struct policy *b)
{
	size_t i = 0;
	char *x, *y;
	int order;

	while (a->name[i] && a->name[i] == b->name[i])
		i++;
	if (a->name[i] && b->name[i])
		return (unsigned char)a->name[i] - (unsigned char)b->name[i];
	if (asprintf(&x, "%s/%s/%s", a->name, a->namespace ? a->namespace : "", calico_kind(a->kind)) < 0 ||
		asprintf(&y, "%s/%s/%s", b->name, b->namespace ? b->namespace : "", calico_kind(b->kind)) < 0)
		abort();
	order = strcmp(x, y);
	free(x);
	free(y);
	return order;
}

int verdicts_compare(const struct policy *a, const struct policy *b)
{
	if (a->order != b->order)
		return a->order < b->order ? -1 : 1;
	return compare_names(a, b);
}

static int compare_policies(const void *a, const void *b, void *ctx)
{
	const struct policy *x = (*(struct policy_record *const *)a)->policy, *y = (*(struct policy_record *const *)b)->policy;
	int order = strcmp(x->tier, y->tier);

	if (order) {
		struct tier_rank p = rank_of(ctx, x), q = rank_of(ctx, y);

		if (p.missing != q.missing)
			return p.missing ? 1 : -1;
		if (p.order != q.order)
			return p.order < q.order ? -1 : 1;
		return order;
	}
	return verdicts_compare(x, y);
}

struct policy_record **verdict_ordered(const struct verdicts *v, struct policy_record *const *policies, size_t count,
	enum policy_direction direction, size_t *ret_count)
{
	struct policy_record **ordered = verdict_need(calloc(count + 1, sizeof(*ordered)));
	size_t kept = 0;

	for (size_t i = 0; i < count; i++)
		if (policies[i]->policy->types[direction])
			ordered[kept++] = policies[i];
	qsort_r(ordered, kept, sizeof(*ordered), compare_policies, (void *)v);
	*ret_count = kept;
	return ordered;
}

bool verdict_same_tier(const struct policy *a, const struct policy *b)
{
	return strcmp(a->tier, b->tier) == 0;
}

/* -- which -- */

/* Policies before connection tracking or translation are about hosts' interfaces. */
static bool is_about(const struct policy *policy, enum scope scope)
{
	switch (scope) {
	case SCOPE_PRE_DNAT:
		return policy->pre_dnat;
	case SCOPE_UNTRACKED:
		return policy->do_not_track;
	case SCOPE_FORWARD:
		return policy->apply_on_forward && !policy->pre_dnat && !policy->do_not_track;
	default:
		return !policy->pre_dnat && !policy->do_not_track;
	}
}

bool verdict_applies(const struct policy *policy, enum scope scope, const struct endpoint_labels *labels)
{
	return !policy->staged && is_about(policy, scope) && !labels->endpoint->host_network &&
	       selector_matches(policy->selector, endpoint_label, labels);
}

static void add_policy(struct attached *attached, struct policy_record *record)
{
	VERDICT_PUSH(attached->policies, attached->policy_count, attached->policy_room, record);
	record->uses++;
}

/* True: it was there. */
static bool drop_policy(struct attached *attached, struct policy_record *record)
{
	for (size_t i = 0; i < attached->policy_count; i++)
		if (attached->policies[i] == record) {
			attached->policies[i] = attached->policies[--attached->policy_count];
			record->uses--;
			return true;
		}
	return false;
}

static void match_one(struct verdicts *v, struct attached *attached, struct policy_record *const *fresh, size_t count)
{
	struct endpoint_labels labels;

	if (attached->member)
		labels = verdict_labels(v, attached->member->endpoint);
	if (attached->due) {
		while (attached->policy_count)
			attached->policies[--attached->policy_count]->uses--;
		for (struct policy_record *p = v->policies; p && attached->member; p = p->hh.next)
			if (verdict_applies(p->policy, attached->scope, &labels))
				add_policy(attached, p);
		attached->table_due = v->tables_due = true;
		attached->due = false;
		return;
	}
	for (size_t i = 0; i < count && attached->member; i++) {
		bool was = drop_policy(attached, fresh[i]), is = verdict_applies(fresh[i]->policy, attached->scope, &labels);

		if (is)
			add_policy(attached, fresh[i]);
		if (was || is)
			attached->table_due = v->tables_due = true;
	}
}

void verdict_match_policies(struct verdicts *v)
{
	struct policy_record **fresh = NULL;
	size_t count = 0, room = 0;

	if (!v->policies_due)
		return;
	for (struct policy_record *p = v->policies; p; p = p->hh.next)
		if (p->fresh) {
			VERDICT_PUSH(fresh, count, room, p);
			p->fresh = false;
		}
	for (struct attached *a = v->attached; a; a = a->hh.next)
		match_one(v, a, fresh, count);
	free(fresh);
	for (struct policy_record *p = v->policies; p; p = p->hh.next)
		if (!p->uses)
			verdict_drop_compiled(v, p);
	v->policies_due = false;
}

void verdict_forget_policy(struct verdicts *v, struct policy_record *record)
{
	for (struct attached *a = v->attached; a; a = a->hh.next)
		if (drop_policy(a, record))
			a->table_due = v->tables_due = true;
}
