/* SPDX-License-Identifier: Apache-2.0
 *
 * What a parser of policy's objects made of one, in words that a person can compare with it. Used by test_calico.c; every
 * function appends lines.
 */
#pragma once

#include "base/buf.h"
#include "resources/policy.h"

void text_policy(struct buf *out, const struct policy *policy);
void text_tier(struct buf *out, const struct tier *tier);
void text_network_set(struct buf *out, const struct network_set *set);
void text_host_endpoint(struct buf *out, const struct host_endpoint *host);
void text_endpoint(struct buf *out, const struct endpoint *endpoint);
void text_labels(struct buf *out, const struct labels *labels);
