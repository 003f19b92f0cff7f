/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam/repair_scan.h"

#include "ipam/blocks.h"
#include "ipam/ipam_names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct collect {
	struct task *task;
	struct scan scan;
	int rc;
};

static char *copy(const char *text, int *rc)
{
	char *new = text ? strdup(text) : NULL;

	if (text && !new)
		*rc = -ENOMEM;
	return new;
}

/* Room for one more; null without memory. */
static void *grow(void **array, size_t count, size_t size)
{
	char *larger = realloc(*array, (count + 1) * size);

	if (!larger)
		return NULL;
	*array = larger;
	return larger + count * size;
}

static void add_address(struct collect *collect, const struct ipam_block *block, unsigned ordinal)
{
	const struct ipam_attr *attr = ipam_block_owner(block, ordinal);
	struct scan *scan = &collect->scan;
	struct scan_address *address;
	const char *type;

	/* what cools down comes back by itself, and what has no handle is nobody's to release */
	if (!ipam_attr_in_use(attr) || !attr->handle || ipam_handle_equal(attr->handle, IPAM_WINDOWS_HANDLE))
		return;
	address = grow((void **)&scan->addresses, scan->address_count, sizeof(*address));
	if (!address) {
		collect->rc = -ENOMEM;
		return;
	}
	type = ipam_attr_get(attr, "type");
	*address = (struct scan_address){
		.addr = ipam_block_addr(block, ordinal),
		.sequence = block->sequences[ordinal],
		.handle = copy(attr->handle, &collect->rc),
		.node = copy(ipam_attr_get(attr, "node"), &collect->rc),
		.pod = copy(ipam_attr_get(attr, "pod"), &collect->rc),
		.namespace = copy(ipam_attr_get(attr, "namespace"), &collect->rc),
		.tunnel = type && ipam_is_tunnel_type(type),
	};
	scan->address_count++;
}

static void add_block(struct collect *collect, const struct ipam_block *block)
{
	struct scan *scan = &collect->scan;
	struct scan_block *item = grow((void **)&scan->blocks, scan->block_count, sizeof(*item));
	const char *affinity = block->affinity;

	if (!item) {
		collect->rc = -ENOMEM;
		return;
	}
	*item = (struct scan_block){.cidr = block->cidr};
	if (affinity && strncmp(affinity, "host:", 5) == 0)
		item->node = copy(affinity + 5, &collect->rc);
	scan->block_count++;
	for (unsigned i = 0; i < block->count; i++)
		add_address(collect, block, i);
}

static void collect_one(void *ctx, const json_t *object)
{
	struct collect *collect = ctx;
	_cleanup_block_ struct ipam_block *block = NULL;
	struct err err = ERR_INIT;
	int rc = block_read(collect->task, object, &block, &err);

	if (rc == 0)
		add_block(collect, block);
	else if (rc == -EINVAL && collect->scan.damaged++ == 0)
		snprintf(collect->scan.damage, sizeof(collect->scan.damage), "%s", err.text);
	else if (rc == -ENOMEM)
		collect->rc = rc;
}

int scan_take(struct task *task, struct scan *ret, struct err *err)
{
	struct collect ctx = {.task = task};
	int rc = task_list(task, KIND_IPAM_BLOCK, NULL, collect_one, &ctx, err);

	if (rc == 0 && ctx.rc < 0)
		rc = err_set(err, ctx.rc, "no memory for %zu addresses", ctx.scan.address_count);
	if (rc < 0) {
		scan_free(&ctx.scan);
		return rc;
	}
	*ret = ctx.scan;
	return 0;
}

void scan_free(struct scan *scan)
{
	for (size_t i = 0; i < scan->address_count; i++) {
		free(scan->addresses[i].handle);
		free(scan->addresses[i].node);
		free(scan->addresses[i].pod);
		free(scan->addresses[i].namespace);
	}
	for (size_t i = 0; i < scan->block_count; i++)
		free(scan->blocks[i].node);
	free(scan->addresses);
	free(scan->blocks);
	*scan = (struct scan){0};
}
