/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam/survey.h"

#include "base/cleanup.h"
#include "ipam/blocks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct collect {
	struct task *task;
	struct survey survey;
	int family_index, rc;
};

static void describe(const struct task *task, const struct ipam_block *block, struct survey_block *ret)
{
	ret->sequence = block->sequence;
	ret->claim_time = block->claim_time;
	ret->empty = ipam_block_is_empty(block);
	ret->space = ipam_block_count_free(block, ipam_world_reserves, task->world) > 0;
	ret->affinity = block->affinity ? strdup(block->affinity) : NULL;
}

static void collect(void *ctx, const json_t *object)
{
	struct collect *collect = ctx;
	const char *cidr = json_string_value(json_object_get(json_object_get(object, "spec"), "cidr"));
	_cleanup_block_ struct ipam_block *block = NULL;
	struct survey_block item = {0}, *items;
	int rc;

	if (!cidr || prefix_parse(cidr, &item.cidr) < 0 ||
		family_index(item.cidr.family) != collect->family_index)
		return;
	item.cidr = prefix_masked(&item.cidr);
	rc = block_read(collect->task, object, &block, NULL);
	if (rc == -ENOENT)
		return; /* whoever wants to have this block finishes the deletion */
	item.damaged = rc < 0;
	items = realloc(collect->survey.items, (collect->survey.count + 1) * sizeof(*items));
	if (!items) {
		collect->rc = -ENOMEM;
		return;
	}
	collect->survey.items = items;
	if (block)
		describe(collect->task, block, &item);
	items[collect->survey.count++] = item;
}

static int by_cidr(const void *a, const void *b)
{
	return prefix_compare(
		&((const struct survey_block *)a)->cidr, &((const struct survey_block *)b)->cidr);
}

int survey_take(struct task *task, int family_index, struct survey *ret, struct err *err)
{
	struct collect ctx = {.task = task, .family_index = family_index};
	int rc = task_list(task, KIND_IPAM_BLOCK, NULL, collect, &ctx, err);

	if (rc == 0 && ctx.rc < 0)
		rc = err_set(err, ctx.rc, "no memory for %zu blocks", ctx.survey.count);
	if (rc < 0) {
		survey_free(&ctx.survey);
		return rc;
	}
	if (ctx.survey.count)
		qsort(ctx.survey.items, ctx.survey.count, sizeof(*ctx.survey.items), by_cidr);
	*ret = ctx.survey;
	return 0;
}

void survey_free(struct survey *survey)
{
	for (size_t i = 0; i < survey->count; i++)
		free(survey->items[i].affinity);
	free(survey->items);
	*survey = (struct survey){0};
}

/* Blocks do not overlap each other, so only the neighbours in order can overlap this one. */
struct survey_block *survey_find(const struct survey *survey, const struct prefix *cidr)
{
	size_t low = 0, high = survey->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (prefix_compare(&survey->items[middle].cidr, cidr) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < survey->count && prefix_overlaps(&survey->items[low].cidr, cidr))
		return &survey->items[low];
	if (low > 0 && prefix_overlaps(&survey->items[low - 1].cidr, cidr))
		return &survey->items[low - 1];
	return NULL;
}
