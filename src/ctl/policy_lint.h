/* SPDX-License-Identifier: Apache-2.0
 *
 * What "tullectl policy lint" finds: shared by policy_lint.c (files, findings), policy_lint_rules.c (rules of one policy)
 * and policy_lint_pairs.c (policies beside each other). Findings are collected in the files' order and shown once.
 */
#pragma once

#include "ctl/policy.h"

#include <jansson.h>

struct lint {
	struct policy_world *world;
	char **origin;     /* of each policy: its file; borrowed from argv */
	json_t *findings;  /* objects of file, object, place, kind, text */
	const char *file;  /* that is being read */
};

/* kind: a word for programs. place: "ingress[2]", or null. */
void lint_tell(struct lint *lint, const char *file, const struct policy *policy, const char *place, const char *kind,
	const char *fmt, ...) __attribute__((format(printf, 6, 7)));

void lint_rules(struct lint *lint, size_t index);
void lint_selectors(struct lint *lint, size_t index);
void lint_pairs(struct lint *lint);

/* outer selects whatever inner does. False also where that cannot be told, or where one is null: nothing is asked for. */
bool lint_selects_more(const struct selector *outer, const struct selector *inner);
/* Does a match whatever b matches? False also where that cannot be told. */
bool lint_rule_covers(const struct policy_rule *a, const struct policy_rule *b);
/* Where the parts of the rule that begins at this one end. */
size_t lint_rule_end(const struct policy *policy, int direction, size_t at);
/* Rules of which each covers one or more of the parts, so that all are covered, by what is not Log: the first of them; or null. */
const struct policy_rule *lint_covering(const struct policy_rule *rules, size_t count, const struct policy_rule *written, size_t parts);
/* It says nothing at all about who and what. */
bool lint_rule_is_unconditional(const struct policy_rule *rule);
