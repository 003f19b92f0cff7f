/* SPDX-License-Identifier: Apache-2.0 */
#include "model/block.h"

#include "model/equal.h"

#include <stdlib.h>

void block_free(struct block **block)
{
	if (!*block)
		return;
	for (size_t i = 0; i < (*block)->guest_count; i++)
		free((*block)->guests[i].node);
	free((*block)->guests);
	free((*block)->node);
	free(*block);
	*block = NULL;
}

bool block_equal(const struct block *a, const struct block *b)
{
	if (!prefix_equal(&a->cidr, &b->cidr) || !text_equal(a->node, b->node) || a->guest_count != b->guest_count)
		return false;
	for (size_t i = 0; i < a->guest_count; i++)
		if (!addr_equal(&a->guests[i].addr, &b->guests[i].addr) ||
			strcmp(a->guests[i].node, b->guests[i].node) != 0)
			return false;
	return true;
}
