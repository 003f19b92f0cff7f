/* SPDX-License-Identifier: Apache-2.0
 *
 * All that the store's blocks show to be given out, in one list: what repair.c judges. Nobody else includes
 * it. Only on a task's fiber.
 */
#pragma once

#include "ipam/ipam_block.h"
#include "ipam/task.h"

struct scan_address {
	struct addr addr;
	uint64_t sequence;
	char *handle;
	char *node, *pod, *namespace; /* attributes; null: none */
	bool tunnel;                  /* of a type that goes with its node */
};

struct scan_block {
	struct prefix cidr;
	char *node; /* that has it; null: none, or a load balancer */
};

struct scan {
	struct scan_address *addresses;
	size_t address_count;
	struct scan_block *blocks;
	size_t block_count;
	size_t damaged;
	char damage[768]; /* of the first */
};

int scan_take(struct task *task, struct scan *ret, struct err *err);
void scan_free(struct scan *scan);
