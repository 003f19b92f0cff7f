/* SPDX-License-Identifier: Apache-2.0
 *
 * Pods of before the first IPPool: their addresses are of this node's lease or podCIDR, and where a pool has come over them
 * IPAM would give them away. So the node claims the blocks that they lie in. Once a start, before the batch of addresses
 * begins to work; usually there is nothing to do.
 *
 * Life cycle: calico_claims_go at each pass until calico_claims_are_done; calico_claims_free before the allocator.
 */
#pragma once

#include <stdbool.h>

struct calico;

void calico_claims_go(struct calico *calico);
bool calico_claims_are_done(const struct calico *calico);
void calico_claims_free(struct calico *calico);
