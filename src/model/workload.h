/* SPDX-License-Identifier: Apache-2.0
 *
 * Pods and namespaces as far as pod attachment needs them: labels, and what their annotations wish about addresses
 * (reference/calico.md 3.8, 4.6). Made by the Calico dialect (resources/workload.c), read by the agent when a pod is
 * added. Immutable once published.
 */
#pragma once

#include "base/addr.h"
#include "model/selector.h"

struct address_wish {
	char **pools[FAMILY_COUNT];      /* ipv4pools, ipv6pools: names or CIDRs; null: no wish */
	size_t pool_count[FAMILY_COUNT];
	struct addr addr[FAMILY_COUNT];  /* ipAddrs: these very addresses; unset: no wish */
	bool says_families;              /* ipFamilies */
	bool families[FAMILY_COUNT];
	struct mac mac;                  /* hwAddr */
	char *bad;                       /* an annotation that cannot be followed, named; the pod is not added. Null: none */
};

struct workload {
	char *namespace;       /* null: this is a Namespace itself */
	char *name;
	char *uid;             /* null: not said */
	struct labels *labels; /* never null */
	struct address_wish wish;
};

void workload_free(struct workload **workload);
bool workload_equal(const struct workload *a, const struct workload *b);
