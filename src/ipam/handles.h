/* SPDX-License-Identifier: Apache-2.0
 *
 * IPAMHandle objects (reference/calico.md 2.15, 3.4): in which blocks a handle has how many addresses. The
 * count is raised before the block is written and lowered afterwards, so that it is never too low: who looks
 * for a handle's addresses finds them all. Only on a task's fiber.
 */
#pragma once

#include "ipam/task.h"

/* limit: how many addresses of one family the handle may have in all, 0: any number; -EDQUOT then. */
int handle_raise(struct task *task, const char *handle, const struct prefix *cidr, size_t by, size_t limit,
	struct err *err);
/* A handle without addresses goes. One that is not there, or does not know the block, is fine. */
int handle_lower(
	struct task *task, const char *handle, const struct prefix *cidr, size_t by, struct err *err);
/* -ENOENT. */
int handle_get(struct task *task, const char *handle, json_t **ret, struct err *err);
/* The blocks that it names: malloc'ed. */
int handle_blocks(const json_t *object, struct prefix **ret, size_t *ret_count, struct err *err);
