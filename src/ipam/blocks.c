/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam/blocks.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "ipam/ipam_names.h"

#include <errno.h>

int block_read(struct task *task, const json_t *object, struct ipam_block **ret, struct err *err)
{
	struct ipam_block *block = NULL;
	int rc = ipam_block_decode(object, &block, err);

	if (rc < 0)
		return rc;
	if (block->deleted) {
		ipam_block_free(&block);
		return err_set(err, -ENOENT, "it is being deleted");
	}
	ipam_block_collect(block, task_now_seconds(task), task->world->config.cooldown);
	*ret = block;
	return 0;
}

int block_get(struct task *task, const struct prefix *cidr, struct ipam_block **ret, struct err *err)
{
	_cleanup_(json_cleanup) json_t *object = NULL;
	char name[IPAM_CIDR_NAME_MAX];
	int rc = task_get(task, KIND_IPAM_BLOCK, NULL, ipam_cidr_name(cidr, name), &object, err);

	if (rc < 0)
		return rc;
	if (!json_is_true(json_object_get(json_object_get(object, "spec"), "deleted")))
		return block_read(task, object, ret, err);
	rc = task_remove(task, KIND_IPAM_BLOCK, object, err);
	return rc < 0 ? rc : err_set(err, -ENOENT, "IPAMBlock %s: it is being deleted", name);
}

int block_create(struct task *task, const struct prefix *cidr, struct ipam_block **ret, struct err *err)
{
	_cleanup_block_ struct ipam_block *block = ipam_block_new(cidr, task->env->node, task_now(task));
	_cleanup_(json_cleanup) json_t *object = block ? ipam_block_encode(block) : NULL;
	int rc;

	if (!object)
		return err_set(err, -ENOMEM, "no memory for a block");
	rc = task_create(task, KIND_IPAM_BLOCK, &object, err);
	if (rc < 0)
		return rc;
	json_decref(block->object);
	block->object = TAKE_PTR(object);
	*ret = TAKE_PTR(block);
	return 0;
}

int block_write(struct task *task, struct ipam_block *block, struct err *err)
{
	_cleanup_(json_cleanup) json_t *object = ipam_block_encode_next(block);
	int rc;

	if (!object)
		return err_set(err, -ENOMEM, "no memory for a block");
	rc = task_update(task, KIND_IPAM_BLOCK, &object, err);
	if (rc < 0)
		return rc == -ENOENT ? err_set(err, -ESTALE, "the block has gone") : rc;
	json_decref(block->object);
	block->object = TAKE_PTR(object);
	return 0;
}

int block_remove(struct task *task, struct ipam_block *block, struct err *err)
{
	_cleanup_(json_cleanup) json_t *object = ipam_block_encode_next(block);

	if (!object)
		return err_set(err, -ENOMEM, "no memory for a block");
	return task_remove(task, KIND_IPAM_BLOCK, object, err);
}
