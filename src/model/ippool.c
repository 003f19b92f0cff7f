/* SPDX-License-Identifier: Apache-2.0 */
#include "model/ippool.h"

#include "model/equal.h"

#include <stdlib.h>

void ippool_free(struct ippool **pool)
{
	if (!*pool)
		return;
	free((*pool)->name);
	selector_free(&(*pool)->node_selector);
	selector_free(&(*pool)->namespace_selector);
	free(*pool);
	*pool = NULL;
}

static bool same_rules(const struct ippool *a, const struct ippool *b)
{
	return a->nat_outgoing == b->nat_outgoing && a->disabled == b->disabled &&
	       a->disable_bgp_export == b->disable_bgp_export && a->manual == b->manual &&
	       a->allocatable == b->allocatable && a->uses == b->uses &&
	       selector_equal_or_none(a->node_selector, b->node_selector) &&
	       selector_equal_or_none(a->namespace_selector, b->namespace_selector);
}

bool ippool_equal(const struct ippool *a, const struct ippool *b)
{
	return text_equal(a->name, b->name) && prefix_equal(&a->cidr, &b->cidr) && a->block_len == b->block_len &&
	       a->ipip == b->ipip && a->vxlan == b->vxlan && a->created == b->created && same_rules(a, b);
}
