/* SPDX-License-Identifier: Apache-2.0
 *
 * Policies beside each other: what one says of a packet before another one is asked. Only what is certain is told.
 */
#include "ctl/policy_lint.h"

#include "base/cleanup.h"

#include <stdlib.h>
#include <string.h>

static const char *const direction_names[] = {[POLICY_INGRESS] = "ingress", [POLICY_EGRESS] = "egress"};

/* -- one policy beside another -- */

/* a applies wherever b does, to the same traffic. Asked once of each two: selectors take long to compare. */
static bool applies_wherever(const struct policy *a, const struct policy *b, int d)
{
	return a->types[d] && !a->staged && a->do_not_track == b->do_not_track && a->pre_dnat == b->pre_dnat &&
	       a->apply_on_forward == b->apply_on_forward && lint_selects_more(a->selector, b->selector);
}

static bool comes_before(const struct policy *a, const struct policy *b)
{
	return a != b && strcmp(a->tier, b->tier) == 0 && verdicts_compare(a, b) < 0;
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
	return !policy->denies[d];
}

/* Both only allow: whatever b allows where a applies, a allows. */
static bool allows_all_of(const struct policy *a, const struct policy *b, int d)
{
	if (a->denies[d] || b->denies[d] || !only_allows(a, d) || !only_allows(b, d))
		return false;
	for (size_t i = 0; i < b->rule_count[d]; i++)
		if (!lint_covering(a->rules[d], a->rule_count[d], &b->rules[d][i], 1))
			return false;
	return true;
}

/* Between the two somebody denies or passes on what the later one would allow: then the earlier one counts. */
static bool is_parted(const struct lint *lint, const struct policy *first, const struct policy *second, int d)
{
	for (size_t i = 0; i < lint->world->policy_count; i++) {
		const struct policy *policy = lint->world->policies[i];

		if (!policy->staged && policy->types[d] && comes_before(first, policy) && comes_before(policy, second) && !only_allows(policy, d))
			return true;
	}
	return false;
}

/* Which of two that say the same is needless is for the order to say. */
static bool makes_needless(const struct lint *lint, const struct policy *a, const struct policy *b, int d)
{
	if (strcmp(a->tier, b->tier) != 0 || !allows_all_of(a, b, d))
		return false;
	return comes_before(a, b) || (!(applies_wherever(b, a, d) && allows_all_of(b, a, d)) && !is_parted(lint, b, a, d));
}

static bool decides_all(const struct policy *a, const struct policy *b, int d)
{
	const struct policy_rule *last = last_word(a, d);

	if (!last || a->denies[d] || !comes_before(a, b))
		return false;
	return last->action != POLICY_ALLOW || !only_allows(a, d) || !only_allows(b, d);
}

/* Those that apply wherever the one in question does. */
struct wider {
	const struct policy **policies;
	size_t count;
};

static bool lint_pair(struct lint *lint, const struct policy *a, size_t index, int d)
{
	const struct policy *b = lint->world->policies[index];
	_cleanup_(buf_free) struct buf name = BUF_INIT(1024);

	policy_words_name(a, &name);
	if (decides_all(a, b, d))
		lint_tell(lint, lint->origin[index], b, direction_names[d], "shadowed", "is never asked: %s comes before it, applies to all that it selects, "
			"and its %s decides everything", buf_text(&name), last_word(a, d)->name);
	else if (makes_needless(lint, a, b, d))
		lint_tell(lint, lint->origin[index], b, direction_names[d], "shadowed", "makes no difference: %s applies to all that it selects and "
			"allows all of it", buf_text(&name));
	else
		return false;
	return true;
}

/* -- tiers -- */

static const struct tier *tier_of(const struct policy_world *world, const char *name)
{
	for (size_t i = 0; i < world->tier_count; i++)
		if (strcmp(world->tiers[i]->name, name) == 0)
			return world->tiers[i];
	return tier_builtin(name);
}

static bool passes_on(const struct policy_world *world, const char *tier, int d)
{
	for (size_t i = 0; i < world->policy_count; i++)
		for (size_t r = 0; r < world->policies[i]->rule_count[d]; r++)
			if (strcmp(world->policies[i]->tier, tier) == 0 && world->policies[i]->rules[d][r].action == POLICY_PASS)
				return true;
	return false;
}

/* a's tier lets nothing of what b selects through to b's. */
static bool ends_before(const struct lint *lint, const struct policy *a, const struct policy *b, int d)
{
	const struct tier *first = tier_of(lint->world, a->tier), *second = tier_of(lint->world, b->tier);

	if (!first || !second || first->order >= second->order || a->do_not_track || a->pre_dnat)
		return false;
	return (!first->default_pass || a->denies[d] || last_word(a, d)) && !passes_on(lint->world, a->tier, d);
}

static bool lint_tiers(struct lint *lint, const struct policy *a, size_t index, int d)
{
	const struct policy *b = lint->world->policies[index];
	_cleanup_(buf_free) struct buf name = BUF_INIT(1024);

	if (!ends_before(lint, a, b, d))
		return false;
	policy_words_name(a, &name);
	lint_tell(lint, lint->origin[index], b, direction_names[d], "shadowed", "is never asked: tier %s comes before its tier %s and passes nothing on of what "
		"%s applies to, which is all that it selects", a->tier, b->tier, buf_text(&name));
	return true;
}

/* -- rules of it -- */

/* Whatever it matches, a rule of an earlier policy has decided. */
static void lint_written_rule(struct lint *lint, const struct wider *wider, size_t index, int d, size_t at, size_t parts)
{
	const struct policy *b = lint->world->policies[index];

	for (size_t i = 0; i < wider->count; i++) {
		const struct policy *a = wider->policies[i];
		_cleanup_(buf_free) struct buf name = BUF_INIT(1024);
		const struct policy_rule *rule;

		if (a->denies[d] || !comes_before(a, b))
			continue;
		rule = lint_covering(a->rules[d], a->rule_count[d], &b->rules[d][at], parts);
		if (!rule)
			continue;
		policy_words_name(a, &name);
		lint_tell(lint, lint->origin[index], b, b->rules[d][at].name, "never-reached", "makes no difference: %s comes before, applies to all that this "
			"policy selects, and its %s matches all of it", buf_text(&name), rule->name);
		return;
	}
}

static void lint_written_rules(struct lint *lint, const struct wider *wider, size_t index, int d)
{
	const struct policy *b = lint->world->policies[index];

	for (size_t at = 0, end; at < b->rule_count[d]; at = end) {
		end = lint_rule_end(b, d, at);
		lint_written_rule(lint, wider, index, d, at, end - at);
	}
}

/* -- all of them -- */

static void find_wider(const struct policy_world *world, size_t index, int d, struct wider *wider)
{
	wider->count = 0;
	for (size_t i = 0; i < world->policy_count; i++)
		if (i != index && applies_wherever(world->policies[i], world->policies[index], d))
			wider->policies[wider->count++] = world->policies[i];
}

static void lint_direction(struct lint *lint, struct wider *wider, size_t index, int d)
{
	find_wider(lint->world, index, d, wider);
	for (size_t i = 0; i < wider->count; i++)
		if (lint_pair(lint, wider->policies[i], index, d))
			return;
	for (size_t i = 0; i < wider->count; i++)
		if (lint_tiers(lint, wider->policies[i], index, d))
			return;
	lint_written_rules(lint, wider, index, d);
}

void lint_pairs(struct lint *lint)
{
	const struct policy_world *world = lint->world;
	_cleanup_free_ const struct policy **policies = calloc(world->policy_count + 1, sizeof(*policies));
	struct wider wider = {.policies = policies};

	for (size_t j = 0; policies && j < world->policy_count; j++)
		for (int d = 0; d < POLICY_DIRECTION_COUNT; d++)
			if (!world->policies[j]->staged && world->policies[j]->types[d] && !world->policies[j]->denies[d])
				lint_direction(lint, &wider, j, d);
}
