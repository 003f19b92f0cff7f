/* SPDX-License-Identifier: Apache-2.0
 *
 * The choice of a free block out of a pool (reference/flannel.md 3.3.4 step 4). Pure but for the dice.
 */
#pragma once

#include "model/network.h"

#include <stdbool.h>
#include <stddef.h>

#define CHOOSE_CANDIDATES 100

/* The first address behind a block, false when the address space ends there. */
bool choose_next_block(const struct prefix *block, struct addr *ret);

/* Picks by chance one of the first CHOOSE_CANDIDATES blocks between the pool's block_min and block_max that overlap
 * none of taken, which is sorted here and may hold both families. A taken prefix that covers the whole pool is no
 * block of it and is not counted. False when none is free. */
bool choose_block(const struct pool *pool, struct prefix *taken, size_t count, struct prefix *ret);
