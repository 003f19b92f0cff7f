/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/policy_lint.h"

#include "base/cleanup.h"

#include <string.h>

/* -- order: as calico.md 7.5 -- */

static int compare_text(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "");
}

static int compare(const struct policy *a, const struct policy *b)
{
	int rc = compare_text(a->name, b->name);

	if (a->order != b->order)
		return a->order < b->order ? -1 : 1;
	rc = rc ? rc : compare_text(a->namespace, b->namespace);
	return rc ? rc : compare_text(a->kind, b->kind);
}

/* -- one policy beside another -- */

/* a applies wherever b does. */
static bool applies_wherever(const struct policy *a, const struct policy *b)
{
	return selector_is_all(a->selector) || selector_equal(a->selector, b->selector);
}

static const struct policy_rule *last_word(const struct policy *policy, int d)
{
	for (size_t i = 0; i < policy->rule_count[d]; i++)
		if (policy->rules[d][i].action != POLICY_LOG && lint_rule_is_unconditional(&policy->rules[d][i]))
			return &policy->rules[d][i];
	return NULL;
}

static bool only_allows(const struct policy *policy, int d)
{
	for (size_t i = 0; i < policy->rule_count[d]; i++)
		if (policy->rules[d][i].action != POLICY_ALLOW)
			return false;
	return true;
}

/* Both only allow, of the same pods: whatever b allows, a allows. */
static bool allows_all_of(const struct policy *a, const struct policy *b, int d)
{
	if (!a->types[d] || a->denies[d] || !only_allows(a, d) || !only_allows(b, d) || !selector_equal(a->selector, b->selector))
		return false;
	for (size_t i = 0; i < b->rule_count[d]; i++) {
		bool covered = false;

		for (size_t j = 0; j < a->rule_count[d] && !covered; j++)
			covered = lint_rule_covers(&a->rules[d][j], &b->rules[d][i]);
		if (!covered)
			return false;
	}
	return true;
}

/* In one direction; which of two that say the same is needless is for the order to say. */
static bool makes_needless(const struct policy *a, const struct policy *b, int d)
{
	return allows_all_of(a, b, d) && (!allows_all_of(b, a, d) || compare(a, b) < 0);
}

static const char *const direction_names[] = {[POLICY_INGRESS] = "ingress", [POLICY_EGRESS] = "egress"};

static void lint_pair(struct lint *lint, size_t first, size_t second)
{
	const struct policy *a = lint->world->policies[first], *b = lint->world->policies[second];
	_cleanup_(buf_free) struct buf name = BUF_INIT(1024);

	policy_words_name(a, &name);
	for (int d = 0; d < POLICY_DIRECTION_COUNT; d++) {
		if (!a->types[d] || !b->types[d] || b->denies[d])
			continue;
		if (!a->denies[d] && compare(a, b) < 0 && applies_wherever(a, b) && last_word(a, d) &&
			(last_word(a, d)->action != POLICY_ALLOW || !only_allows(a, d) || !only_allows(b, d)))
			lint_tell(lint, lint->origin[second], b, direction_names[d], "shadowed", "is never asked: %s comes before it, and its %s decides everything",
				buf_text(&name), last_word(a, d)->name);
		else if (makes_needless(a, b, d))
			lint_tell(lint, lint->origin[second], b, direction_names[d], "shadowed", "makes no difference: %s applies to the same pods and allows all of it",
				buf_text(&name));
	}
}

void lint_pairs(struct lint *lint)
{
	const struct policy_world *world = lint->world;

	for (size_t i = 0; i < world->policy_count; i++)
		for (size_t j = 0; j < world->policy_count; j++)
			if (i != j && !world->policies[i]->staged && !world->policies[j]->staged &&
				strcmp(world->policies[i]->tier, world->policies[j]->tier) == 0)
				lint_pair(lint, i, j);
}
