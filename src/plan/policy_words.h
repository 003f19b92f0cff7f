/* SPDX-License-Identifier: Apache-2.0
 *
 * Policies and what they decide, for people: in words, and as JSON. The same in tullectl, which asks manifests, and in the
 * agent, which tells of drops and explains flows. Stateless.
 */
#pragma once

#include "base/buf.h"
#include "plan/verdict.h"

#include <jansson.h>

void policy_words_name(const struct policy *policy, struct buf *text); /* "NetworkPolicy north/db" */
/* "from role == \"db\"", or nothing */
void policy_words_entity(const struct policy_entity *entity, const char *side, struct buf *text);
void policy_words_rule(const struct policy_rule *rule, struct buf *text);
const char *policy_words_protocol(uint8_t protocol); /* "TCP"; null: it has no name here */

/* {"allowed", "reason"}, "hostEndpoint" if its policies are asked, and, where a policy decides, "tier", "policy", "selector", "rule", "says", "trouble". reason: "rule",
 * "tier-end", "no-policy", "passed", "trouble", "unknown", "profile", "undecided", "failsafe"; who asks about
 * others' pods adds "self", "own-node", "no-pod", "other-node". A new object; null without memory. */
json_t *policy_words_why(const struct verdict_why *why);

/* -- the same for a screen: what is printed is read from the JSON -- */

/* Why a side decides so, in one line: "tier default, NetworkPolicy shop/db, ingress[0]: allow TCP from ..."; side as made by
 * policy_words_why. */
void policy_words_side(const json_t *side, struct buf *text);
