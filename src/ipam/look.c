/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "base/json.h"
#include "ipam/blocks.h"
#include "ipam/call.h"
#include "ipam/handles.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct look {
	struct ipam_call call; /* first; looks */
	char *handle;
	struct prefix *cidrs;
	size_t count;
};

static void clean(struct ipam_call *call)
{
	struct look *look = (struct look *)call;

	free(look->handle);
	free(look->cidrs);
}

static bool seen(const struct look *look, const struct prefix *cidr)
{
	for (size_t i = 0; i < look->call.look_count; i++) {
		if (prefix_equal(&look->call.looks[i].cidr, cidr))
			return true;
	}
	return false;
}

/* *damaged: -EINVAL when it was. */
static int look_at(struct look *look, const struct prefix *cidr, int *damaged, struct err *err)
{
	_cleanup_block_ struct ipam_block *block = NULL;
	struct ipam_look *looks;
	int rc;

	if (seen(look, cidr))
		return 0;
	rc = block_get(&look->call.task, cidr, &block, err);
	if (rc == -EINVAL) {
		*damaged = rc;
		return 0;
	}
	if (rc < 0 && rc != -ENOENT)
		return rc;
	looks = realloc(look->call.looks, (look->call.look_count + 1) * sizeof(*looks));
	if (!looks)
		return err_set(err, -ENOMEM, "no memory for blocks");
	look->call.looks = looks;
	looks[look->call.look_count++] = (struct ipam_look){*cidr, TAKE_PTR(block)};
	return 0;
}

static int look_at_handle(struct look *look, int *damaged, struct err *err)
{
	_cleanup_(json_cleanup) json_t *object = NULL;
	_cleanup_free_ struct prefix *blocks = NULL;
	size_t count = 0;
	int rc = look->handle ? handle_get(&look->call.task, look->handle, &object, err) : -ENOENT;

	if (rc == 0)
		rc = handle_blocks(object, &blocks, &count, err);
	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = look_at(look, &blocks[i], damaged, err);
	return rc == -ENOENT ? 0 : rc;
}

static int look_run(struct ipam_call *call, struct err *err)
{
	struct look *look = (struct look *)call;
	int damaged = 0, rc = look_at_handle(look, &damaged, err);

	for (size_t i = 0; rc == 0 && i < look->count; i++)
		rc = look_at(look, &look->cidrs[i], &damaged, err);
	return rc < 0 ? rc : damaged;
}

struct ipam_call *allocator_look(struct allocator *allocator, const char *handle, const struct prefix *cidrs,
	size_t count, ipam_done done, void *ctx)
{
	struct look *look = call_new(sizeof(*look), allocator, done, ctx);

	if (!look)
		return NULL;
	look->call.work = look_run;
	look->call.clean = clean;
	look->handle = handle ? strdup(handle) : NULL;
	look->cidrs = calloc(count + 1, sizeof(*look->cidrs));
	if ((handle && !look->handle) || !look->cidrs) {
		call_free(&look->call);
		return NULL;
	}
	if (count)
		memcpy(look->cidrs, cidrs, count * sizeof(*cidrs));
	look->count = count;
	return call_start(&look->call);
}
