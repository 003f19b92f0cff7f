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
/* Those of a node n1 with labels a=b and rack=r1, addresses 192.0.2.1, 10.0.0.1 and 2001:db8::1, among them. */
void text_auto_hosts(struct buf *out, const struct auto_hosts *hosts);
void text_endpoint(struct buf *out, const struct endpoint *endpoint);
void text_labels(struct buf *out, const struct labels *labels);
