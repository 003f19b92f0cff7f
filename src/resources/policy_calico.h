/* SPDX-License-Identifier: Apache-2.0
 *
 * One rule of Calico's NetworkPolicy or GlobalNetworkPolicy (reference/calico.md 2.8, 7.3). Used by policy_calico.c only.
 */
#pragma once

#include "resources/policy_read.h"

extern const char *const policy_calico_rule_members[];
int policy_calico_rule(struct policy_reader *r, const struct calico_at *at, enum policy_direction direction);

/* What a selector about labels that endpoints inherit looks like. */
extern const struct selector_words policy_of_namespace, policy_of_service_account;
/* Appends what the selector under key says, with " && " in between; 1 when there is one. words null: as it is written,
 * and without global(). */
int policy_calico_selector(const struct calico_at *at, const char *key, const struct selector_words *words, struct buf *text);
