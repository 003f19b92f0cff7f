/* SPDX-License-Identifier: Apache-2.0
 *
 * Input of the plan for pools as a text file (tests/golden/pools/NAME.in), one thing a line. Beside the lines uplink,
 * pod, option and complete of scenario.h:
 *
 *   name NAME                        of this node
 *   node NAME [PREFIX]... [ipip A] [vxlan A]... [mac M] [mac6 M] [other A]... [order N]
 *                                    addresses with their subnets; MACs that are not given are derived from the name
 *   block PREFIX NODE|- [guest A NODE]... [order N]
 *   pool NAME PREFIX [vxlan|ipip always|cross-subnet] [nat] [disabled] [balancer]
 *   tunnel ipip|vxlan A              address of this node that was allocated
 *   felix KEY VALUE                  see the table in pools_scenario.c
 *   bgp all|none|ipip|no-encap       what BGPConfiguration programs; default: no-encap
 *   kernel-ipip                      the kernel has tunl0
 */
#pragma once

#include "plan/pools.h"
#include "scenario.h"

struct pools_scenario {
	struct plan_pools_input input;
	struct scenario common;
	struct felix felix;
	char *name;
	struct plan_node *nodes;
	struct plan_block *blocks;
	struct ippool **pools;
};

/* 0 or negative errno with the line in the message. */
int pools_scenario_read(const char *path, struct pools_scenario *ret, struct err *err);
void pools_scenario_free(struct pools_scenario *scenario);
