/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam/inspect_internal.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "ipam/blocks.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ANSWER_MAX ((size_t)64 << 20)

/* -- what all have in common -- */

static void ended(void *ctx, const struct ipam_result *result)
{
	struct inspection *inspection = ctx;

	inspection->done(inspection->ctx, result->rc, result->text, &inspection->answer);
}

void inspection_clean(struct ipam_call *call)
{
	buf_free(&((struct inspection *)call)->answer);
}

void *inspection_new(size_t size, struct allocator *allocator, inspect_done done, void *ctx)
{
	struct inspection *inspection = call_new(size, allocator, ended, NULL);

	if (!inspection)
		return NULL;
	inspection->call.ctx = inspection;
	inspection->call.clean = inspection_clean;
	inspection->done = done;
	inspection->ctx = ctx;
	inspection->answer = BUF_INIT(ANSWER_MAX);
	return inspection;
}

struct prefix inspect_block_of(const struct task *task, const struct addr *addr, const struct prefix *known)
{
	const struct ipam_pool *pool = ipam_world_pool_of(task->world, addr);

	return prefix_is_set(known) ? *known : ipam_block_of(addr, pool ? pool->block_len : addr_is_4(addr) ? 26 : 122);
}

const char *inspect_owner(const struct ipam_attr *attr, char *text, size_t size)
{
	const char *node = attr ? ipam_attr_get(attr, "node") : NULL, *pod = attr ? ipam_attr_get(attr, "pod") : NULL;
	const char *namespace = attr ? ipam_attr_get(attr, "namespace") : NULL;
	const char *type = attr ? ipam_attr_get(attr, "type") : NULL;
	char batch[IPAM_HANDLE_MAX];

	*text = 0;
	if (!attr)
		return text;
	if (node)
		ipam_reserve_handle(node, batch);
	if (pod)
		snprintf(text, size, "pod %s/%s of node %s", namespace ? namespace : "", pod, node ? node : "?");
	else if (node && attr->handle && ipam_handle_equal(attr->handle, batch))
		snprintf(text, size, "the batch of node %s", node);
	else if (type)
		snprintf(text, size, "%s of %s%s", type, node ? "node " : "", node ? node : attr->handle ? attr->handle : "?");
	else
		snprintf(text, size, "somebody who does not say more");
	return text;
}

/* -- show -- */

struct tally {
	uint64_t used, resting, batch, borrowed, free;
	size_t blocks;
};

struct show {
	struct inspection inspection; /* first */
	bool with_blocks;
	struct tally *pools; /* as the world's, and one more: of no pool */
	size_t pool_count, damaged, rows;
	struct buf blocks;
	struct task *task;
};

static void clean_show(struct ipam_call *call)
{
	struct show *show = (struct show *)call;

	free(show->pools);
	buf_free(&show->blocks);
	inspection_clean(call);
}

static bool is_of_batch(const struct ipam_attr *attr, const char *node)
{
	char batch[IPAM_HANDLE_MAX];

	return node && attr->handle && ipam_reserve_handle(node, batch) == 0 && ipam_handle_equal(attr->handle, batch);
}

static void tally_block(const struct ipam_block *block, struct tally *ret)
{
	*ret = (struct tally){.blocks = 1, .free = block->free_count};
	for (unsigned i = 0; i < block->count; i++) {
		const struct ipam_attr *attr = ipam_block_owner(block, i);
		const char *node = attr ? ipam_attr_get(attr, "node") : NULL;

		if (!attr)
			continue;
		if (!ipam_attr_in_use(attr)) {
			ret->resting++;
			continue;
		}
		ret->used++;
		ret->batch += is_of_batch(attr, node);
		ret->borrowed += node && !ipam_block_is_of(block, node);
	}
}

static void tally_add(struct tally *to, const struct tally *from)
{
	to->used += from->used;
	to->resting += from->resting;
	to->batch += from->batch;
	to->borrowed += from->borrowed;
	to->free += from->free;
	to->blocks += from->blocks;
}

static json_t *tally_json(const struct tally *tally)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "used", (json_int_t)tally->used, "resting", (json_int_t)tally->resting,
		"batch", (json_int_t)tally->batch, "borrowed", (json_int_t)tally->borrowed, "free", (json_int_t)tally->free);
}

/* Takes over json. */
static void add_json(struct buf *buf, json_t *json)
{
	_cleanup_free_ char *text = json ? json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

	json_decref(json);
	buf_add_str(buf, text ? text : "null");
}

static void add_block_row(struct show *show, const struct ipam_block *block, const struct tally *tally)
{
	json_t *row = tally_json(tally);
	char text[PREFIX_TEXT_MAX];

	json_object_set_new(row, "cidr", json_string(prefix_format(&block->cidr, text)));
	json_object_set_new(row, "affinity", block->affinity ? json_string(block->affinity) : json_null());
	json_object_set_new(row, "total", json_integer((json_int_t)block->count));
	buf_add_str(&show->blocks, show->rows++ ? ", " : "");
	add_json(&show->blocks, row);
}

static size_t pool_index(const struct show *show, const struct prefix *cidr)
{
	const struct ipam_pool *pool = ipam_world_pool_of(show->task->world, &cidr->addr);

	return pool ? (size_t)(pool - show->task->world->pools) : show->pool_count;
}

static void show_block(void *ctx, const json_t *object)
{
	struct show *show = ctx;
	_cleanup_block_ struct ipam_block *block = NULL;
	struct tally tally;
	int rc = block_read(show->task, object, &block, NULL);

	if (rc < 0) {
		show->damaged += rc == -EINVAL;
		return;
	}
	tally_block(block, &tally);
	tally_add(&show->pools[pool_index(show, &block->cidr)], &tally);
	if (show->with_blocks)
		add_block_row(show, block, &tally);
}

/* Of an IPv6 pool there are more than a number can say. */
static uint64_t addresses_of(const struct prefix *cidr)
{
	unsigned bits = prefix_max_len(cidr) - cidr->len;

	return bits >= 63 ? INT64_MAX : (uint64_t)1 << bits;
}

static json_t *pool_json(const struct ipam_pool *pool, struct tally tally)
{
	uint64_t total = addresses_of(&pool->cidr);
	char text[PREFIX_TEXT_MAX];
	json_t *json;

	tally.free = total - tally.used - tally.resting; /* blocks that nobody has claimed yet as well */
	json = tally_json(&tally);
	json_object_set_new(json, "name", json_string(pool->name));
	json_object_set_new(json, "cidr", json_string(prefix_format(&pool->cidr, text)));
	json_object_set_new(json, "total", json_integer((json_int_t)total));
	json_object_set_new(json, "blocks", json_integer((json_int_t)tally.blocks));
	json_object_set_new(json, "usable", json_boolean(pool->usable));
	return json;
}

static void write_show(struct show *show, const struct ipam_world *world)
{
	struct buf *answer = &show->inspection.answer;
	const struct tally *outside = &show->pools[show->pool_count];

	buf_add_str(answer, "{\"pools\": [");
	for (size_t i = 0; i < show->pool_count; i++) {
		buf_add_str(answer, i ? ", " : "");
		add_json(answer, pool_json(&world->pools[i], show->pools[i]));
	}
	buf_printf(answer, "], \"damaged\": %zu, \"outsideBlocks\": %zu, \"outside\": ", show->damaged, outside->blocks);
	add_json(answer, tally_json(outside));
	if (show->with_blocks)
		buf_printf(answer, ", \"blocks\": [%s]", buf_text(&show->blocks));
	buf_add_str(answer, "}\n");
}

static int show_run(struct ipam_call *call, struct err *err)
{
	struct show *show = (struct show *)call;
	const struct ipam_world *world = call->task.world;
	int rc;

	show->task = &call->task;
	show->pool_count = world->pool_count;
	show->pools = calloc(world->pool_count + 1, sizeof(*show->pools));
	if (!show->pools)
		return err_set(err, -ENOMEM, "no memory for %zu pools", world->pool_count);
	rc = task_list(&call->task, KIND_IPAM_BLOCK, NULL, show_block, show, err);
	if (rc < 0)
		return rc;
	write_show(show, world);
	if (show->inspection.answer.error || show->blocks.error)
		return err_set(err, -ENOMEM, "no memory for the answer");
	return 0;
}

struct ipam_call *inspect_show(struct allocator *allocator, bool with_blocks, inspect_done done, void *ctx)
{
	struct show *show = inspection_new(sizeof(*show), allocator, done, ctx);

	if (!show)
		return NULL;
	show->inspection.call.work = show_run;
	show->inspection.call.clean = clean_show;
	show->with_blocks = with_blocks;
	show->blocks = BUF_INIT(ANSWER_MAX);
	return call_start(&show->inspection.call);
}

/* -- one address -- */

struct address {
	struct inspection inspection; /* first */
	struct addr addr;
	struct prefix block;
};

static json_t *string_or_null(const char *text)
{
	return text ? json_string(text) : json_null();
}

static void describe(const struct ipam_block *block, const struct addr *addr, json_t *to)
{
	unsigned ordinal = (unsigned)ipam_block_ordinal(block, addr);
	const struct ipam_attr *attr = ipam_block_owner(block, ordinal);
	json_t *attributes = attr ? json_object_get(attr->json, "secondary") : NULL;
	char owner[1024];

	json_object_set_new(to, "affinity", string_or_null(block->affinity));
	json_object_set_new(to, "state", json_string(!attr ? "free" : ipam_attr_in_use(attr) ? "in use" : "resting"));
	json_object_set_new(to, "handle", string_or_null(attr ? attr->handle : NULL));
	inspect_owner(attr, owner, sizeof(owner));
	json_object_set_new(to, "owner", string_or_null(ipam_attr_in_use(attr) ? owner : NULL));
	json_object_set_new(to, "attributes", attributes ? json_incref(attributes) : json_null());
	json_object_set_new(to, "sequence", attr ? json_integer((json_int_t)block->sequences[ordinal]) : json_null());
}

static int address_run(struct ipam_call *call, struct err *err)
{
	struct address *address = (struct address *)call;
	const struct ipam_pool *pool = ipam_world_pool_of(call->task.world, &address->addr);
	struct prefix cidr = inspect_block_of(&call->task, &address->addr, &address->block);
	_cleanup_block_ struct ipam_block *block = NULL;
	char text[PREFIX_TEXT_MAX];
	json_t *json;
	int rc = block_get(&call->task, &cidr, &block, err);

	if (rc < 0 && rc != -ENOENT)
		return rc;
	json = json_pack("{s:s}", "ip", addr_format(&address->addr, text));
	json_object_set_new(json, "pool", string_or_null(pool ? pool->name : NULL));
	json_object_set_new(json, "block", block ? json_string(prefix_format(&cidr, text)) : json_null());
	if (block)
		describe(block, &address->addr, json);
	else
		json_object_set_new(json, "state", json_string(pool ? "in no block" : "in no pool"));
	add_json(&address->inspection.answer, json);
	buf_add_str(&address->inspection.answer, "\n");
	return address->inspection.answer.error ? err_set(err, -ENOMEM, "no memory for the answer") : 0;
}

struct ipam_call *inspect_address(struct allocator *allocator, const struct addr *addr, const struct prefix *block,
	inspect_done done, void *ctx)
{
	struct address *address = inspection_new(sizeof(*address), allocator, done, ctx);

	if (!address)
		return NULL;
	address->inspection.call.work = address_run;
	address->addr = *addr;
	if (block)
		address->block = *block;
	return call_start(&address->inspection.call);
}
