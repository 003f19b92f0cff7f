/* SPDX-License-Identifier: Apache-2.0
 *
 * A block of addresses as routing needs it: who holds it, and which single addresses of it live elsewhere. (The whole
 * object, with handles and sequence numbers, is IPAM's: ipam/ipam_block.h.) Made by the Calico dialect
 * (resources/block.c), read by the plan. Immutable once published.
 */
#pragma once

#include "base/addr.h"

struct block_guest {
	struct addr addr;
	char *node; /* that the address was given to, and that is not the holder */
};

struct block {
	struct prefix cidr;
	char *node;                /* holder; null: none ("virtual:…" counts as none) */
	struct block_guest *guests; /* sorted by address */
	size_t guest_count;
};

void block_free(struct block **block);
bool block_equal(const struct block *a, const struct block *b);
