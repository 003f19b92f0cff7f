/* SPDX-License-Identifier: Apache-2.0
 *
 * All blocks of the store at a glance, as one list gave them: what a node looks through when its own blocks
 * are full (reference/calico.md 3.3 b). Only on a task's fiber.
 */
#pragma once

#include "ipam/task.h"

struct survey_block {
	struct prefix cidr;
	char *affinity; /* null: nobody's */
	uint64_t sequence;
	int64_t claim_time;
	bool empty, space; /* space: an address that is free and not reserved */
	bool damaged;      /* it takes its place and no more */
};

struct survey {
	struct survey_block *items; /* by CIDR */
	size_t count;
};

int survey_take(struct task *task, int family_index, struct survey *ret, struct err *err);
void survey_free(struct survey *survey);
/* The block that overlaps this one; null: there is none. */
struct survey_block *survey_find(const struct survey *survey, const struct prefix *cidr);
