/* SPDX-License-Identifier: Apache-2.0
 *
 * Between ipam_block.c (what a block does) and ipam_block_json.c (what it looks like): nobody else includes
 * it.
 */
#pragma once

#include "ipam/ipam_block.h"

/* Without owner, without free addresses. Null without memory. */
struct ipam_block *ipam_block_alloc(const struct prefix *cidr);
/* Drops attributes that no address has, and renumbers the others. True when there were some. */
bool ipam_block_prune(struct ipam_block *block);
