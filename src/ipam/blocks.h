/* SPDX-License-Identifier: Apache-2.0
 *
 * IPAMBlock objects of the store, as tasks read and write them. Only on a task's fiber.
 */
#pragma once

#include "base/cleanup.h"
#include "ipam/ipam_block.h"
#include "ipam/task.h"

/* What has cooled down is free in it already. -ENOENT: there is none (one that is marked deleted is removed
 * first). */
int block_get(struct task *task, const struct prefix *cidr, struct ipam_block **ret, struct err *err);
/* The same from an object of a list; -ENOENT: marked deleted. */
int block_read(struct task *task, const json_t *object, struct ipam_block **ret, struct err *err);
/* A new one of the task's node. -EEXIST. */
int block_create(struct task *task, const struct prefix *cidr, struct ipam_block **ret, struct err *err);
/* -ESTALE: read it again. Afterwards block is as stored. */
int block_write(struct task *task, struct ipam_block *block, struct err *err);
int block_remove(struct task *task, struct ipam_block *block, struct err *err);

static inline void block_cleanup(struct ipam_block **block)
{
	ipam_block_free(block);
}
#define _cleanup_block_ _cleanup_(block_cleanup)
