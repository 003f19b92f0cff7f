/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam/affinities.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "ipam/ipam_names.h"
#include "model/node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CONFIRMED "confirmed"
#define PENDING "pending"
#define PENDING_DELETION "pendingDeletion"

static json_t *spec_of(const json_t *object)
{
	return json_object_get(object, "spec");
}

static bool is_in(const json_t *object, const char *wanted)
{
	const char *state = json_string_value(json_object_get(spec_of(object), "state"));

	return strcmp(state ? state : "", wanted) == 0;
}

static bool is_deleted(const json_t *object)
{
	return json_is_true(json_object_get(spec_of(object), "deleted"));
}

/* -- the object -- */

static int get(struct task *task, const char *node, const struct prefix *cidr, json_t **ret, struct err *err)
{
	_cleanup_(json_cleanup) json_t *object = NULL;
	char name[IPAM_NAME_MAX];
	int rc =
		task_get(task, KIND_BLOCK_AFFINITY, NULL, ipam_affinity_name(node, cidr, name), &object, err);

	if (rc < 0)
		return rc;
	if (is_deleted(object)) {
		rc = task_remove(task, KIND_BLOCK_AFFINITY, object, err);
		return rc < 0 ? rc : err_set(err, -ENOENT, "BlockAffinity %s: it is being deleted", name);
	}
	*ret = json_deep_copy(object); /* ours to change */
	return *ret ? 0 : err_set(err, -ENOMEM, "no memory for a block's affinity");
}

static int create(struct task *task, const struct prefix *cidr, json_t **ret, struct err *err)
{
	char name[IPAM_NAME_MAX], text[PREFIX_TEXT_MAX], hash[NODE_NAME_HASH_MAX];
	const char *node = task->env->node;
	_cleanup_(json_cleanup) json_t *object =
		json_pack("{s:s, s:s, s:{s:s, s:{s:s, s:s, s:s}}, s:{s:s, s:s, s:s, s:s, s:b}}", "apiVersion",
			"projectcalico.org/v3", "kind", "BlockAffinity", "metadata", "name",
			ipam_affinity_name(node, cidr, name), "labels", IPAM_LABEL_HOSTNAME_HASH,
			node_name_hash(node, hash), IPAM_LABEL_AFFINITY_TYPE, "host",
			IPAM_LABEL_IP_VERSION, cidr->family == AF_INET ? "4" : "6", "spec", "state", PENDING,
			"node", node, "type", "host", "cidr", prefix_format(cidr, text), "deleted", 0);
	int rc;

	if (!object)
		return err_set(err, -ENOMEM, "no memory for a block's affinity");
	rc = task_create(task, KIND_BLOCK_AFFINITY, &object, err);
	if (rc == 0)
		*ret = TAKE_PTR(object);
	return rc;
}

static int set_state(struct task *task, json_t **object, const char *state, struct err *err)
{
	_cleanup_(json_cleanup) json_t *copy = json_deep_copy(*object);
	int rc;

	if (is_in(*object, state))
		return 0;
	if (json_object_set_new(spec_of(copy), "state", json_string(state)) < 0)
		return err_set(err, -ENOMEM, "no memory for a block's affinity");
	rc = task_update(task, KIND_BLOCK_AFFINITY, &copy, err);
	if (rc < 0)
		return rc == -ENOENT ? -ESTALE : rc;
	json_decref(*object);
	*object = TAKE_PTR(copy);
	return 0;
}

/* The block is another's, so the affinity says nothing; whoever changes it at the same time will see that
 * too. */
static int drop_stale(struct task *task, const json_t *object, const struct prefix *cidr, struct err *err)
{
	char text[PREFIX_TEXT_MAX];
	int rc = task_remove(task, KIND_BLOCK_AFFINITY, object, err);

	if (rc < 0 && rc != -ESTALE)
		return rc;
	return err_set(err, -EBUSY, "block %s: another node has it", prefix_format(cidr, text));
}

/* -- claim -- */

/* After the block is ours. Who else confirms it is this very node. */
static int confirm(struct task *task, const struct prefix *cidr, json_t **object, struct err *err)
{
	_cleanup_(json_cleanup) json_t *now = NULL;
	int rc = set_state(task, object, CONFIRMED, err);

	if (rc != -ESTALE)
		return rc;
	rc = get(task, task->env->node, cidr, &now, err);
	if (rc < 0)
		return rc == -ENOENT ? err_set(err, -ESTALE, "the block's affinity has gone") : rc;
	return is_in(now, CONFIRMED) ? 0 : err_set(err, -ESTALE, "the block's affinity is being released");
}

static int block_make(struct task *task, const struct prefix *cidr, const json_t *affinity,
	struct ipam_block **ret, struct err *err)
{
	_cleanup_block_ struct ipam_block *block = NULL;
	int rc = block_create(task, cidr, &block, err);

	if (rc == -EEXIST) {
		rc = block_get(task, cidr, &block, err);
		if (rc == -ENOENT)
			return err_set(err, -ESTALE, "the block has gone");
		if (rc == 0 && !ipam_block_is_of(block, task->env->node))
			return drop_stale(task, affinity, cidr, err);
	}
	if (rc == 0)
		*ret = TAKE_PTR(block);
	return rc;
}

/* Steps 2 and 3, once the affinity is there. */
static int finish_claim(struct task *task, const struct prefix *cidr, json_t **affinity,
	struct ipam_block **ret, struct err *err)
{
	_cleanup_block_ struct ipam_block *block = NULL;
	int rc = block_make(task, cidr, *affinity, &block, err);

	if (rc == 0)
		rc = confirm(task, cidr, affinity, err);
	if (rc == 0)
		*ret = TAKE_PTR(block);
	return rc;
}

/* An affinity was there, as read. */
static int go_on(struct task *task, const struct prefix *cidr, json_t **affinity, struct ipam_block **ret,
	struct err *err)
{
	bool settled = is_in(*affinity, CONFIRMED) || is_in(*affinity, "");
	_cleanup_block_ struct ipam_block *block = NULL;
	int rc = block_get(task, cidr, &block, err);

	if (rc == -ENOENT) {
		rc = set_state(task, affinity, PENDING, err);
		return rc < 0 ? rc : finish_claim(task, cidr, affinity, ret, err);
	}
	if (rc < 0)
		return rc;
	if (!ipam_block_is_of(block, task->env->node))
		return drop_stale(task, *affinity, cidr, err);
	if (!settled) {
		/* a release may be under way: writing the block makes it fail */
		rc = set_state(task, affinity, PENDING, err);
		if (rc == 0)
			rc = block_write(task, block, err);
		if (rc == 0)
			rc = confirm(task, cidr, affinity, err);
	}
	if (rc == 0)
		*ret = TAKE_PTR(block);
	return rc;
}

static int claim_once(struct task *task, const struct prefix *cidr, struct ipam_block **ret, struct err *err)
{
	_cleanup_(json_cleanup) json_t *affinity = NULL;
	int rc = create(task, cidr, &affinity, err);

	if (rc == 0)
		return finish_claim(task, cidr, &affinity, ret, err);
	if (rc != -EEXIST)
		return rc;
	rc = get(task, task->env->node, cidr, &affinity, err);
	if (rc < 0)
		return rc == -ENOENT ? err_set(err, -ESTALE, "the block's affinity has gone") : rc;
	return go_on(task, cidr, &affinity, ret, err);
}

int affinity_claim(struct task *task, const struct prefix *cidr, struct ipam_block **ret, struct err *err)
{
	unsigned tries = 0;
	int rc;

	do {
		rc = claim_once(task, cidr, ret, err);
		if (rc != -ESTALE)
			return rc;
		rc = task_retry(task, &tries, "BlockAffinity", err);
	} while (rc == 0);
	return rc;
}

int affinity_use(struct task *task, const struct affinity *affinity, struct ipam_block **ret, struct err *err)
{
	_cleanup_(json_cleanup) json_t *object = json_incref(affinity->object);
	int rc = go_on(task, &affinity->cidr, &object, ret, err);

	return rc == -ESTALE ? affinity_claim(task, &affinity->cidr, ret, err) : rc;
}

/* -- release -- */

static int give_up_block(struct task *task, struct ipam_block *block, struct err *err)
{
	if (ipam_block_is_empty(block))
		return block_remove(task, block, err);
	ipam_block_orphan(block);
	return block_write(task, block, err);
}

static int check_release(const struct affinity_release *what, const struct ipam_block *block, struct err *err)
{
	char text[PREFIX_TEXT_MAX];

	prefix_format(&what->cidr, text);
	if (what->require_empty && !ipam_block_is_empty(block))
		return err_set(err, -EBUSY, "block %s: it is not empty", text);
	if (what->sequence && what->sequence != block->sequence)
		return err_set(err, -EBUSY, "block %s: it has changed", text);
	return 0;
}

/* The node that it belongs to may be at it again by now: then it stays, and says what is true. */
static int remove_released(struct task *task, const json_t *affinity, struct err *err)
{
	int rc = task_remove(task, KIND_BLOCK_AFFINITY, affinity, err);

	return rc == -ESTALE ? 0 : rc;
}

/* Once we have marked it and it is not marked any more, the node defends its block: it lives, and has the
 * right of way. */
static int mark(struct task *task, json_t **affinity, bool *marked, struct err *err)
{
	const char *name = json_string_value(json_object_get(json_object_get(*affinity, "metadata"), "name"));
	int rc;

	if (*marked && !is_in(*affinity, PENDING_DELETION))
		return err_set(err, -EBUSY, "BlockAffinity %s: its node uses the block", name);
	rc = set_state(task, affinity, PENDING_DELETION, err);
	*marked = *marked || rc == 0;
	return rc;
}

static int release_once(struct task *task, const struct affinity_release *what, bool *marked, struct err *err)
{
	_cleanup_(json_cleanup) json_t *affinity = NULL;
	_cleanup_block_ struct ipam_block *block = NULL;
	int rc = get(task, what->node, &what->cidr, &affinity, err);

	if (rc < 0 && rc != -ENOENT)
		return rc;
	rc = block_get(task, &what->cidr, &block, err);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (block && ipam_block_is_of(block, what->node)) {
		rc = check_release(what, block, err);
		if (rc == 0 && affinity)
			rc = mark(task, &affinity, marked, err);
		if (rc == 0)
			rc = give_up_block(task, block, err);
		if (rc < 0)
			return rc;
	}
	return affinity ? remove_released(task, affinity, err) : 0;
}

int affinity_release(struct task *task, const struct affinity_release *what, struct err *err)
{
	bool marked = false;
	unsigned tries = 0;
	int rc;

	do {
		rc = release_once(task, what, &marked, err);
		if (rc != -ESTALE)
			return rc;
		rc = task_retry(task, &tries, "BlockAffinity", err);
	} while (rc == 0);
	return rc;
}

/* -- list -- */

struct collect {
	struct affinities *into;
	const char *node;
	int family_index, rc;
};

/* The labels are hashes, and not every store selects by them: what counts is what the object says. */
static void collect(void *ctx, const json_t *object)
{
	struct collect *collect = ctx;
	struct affinities *into = collect->into;
	const char *cidr = json_string_value(json_object_get(spec_of(object), "cidr"));
	const char *node = json_string_value(json_object_get(spec_of(object), "node"));
	const char *type = json_string_value(json_object_get(spec_of(object), "type"));
	struct affinity *items, item;

	if (!cidr || !node || strcmp(node, collect->node) != 0 ||
		(type && *type && strcmp(type, "host") != 0) || prefix_parse(cidr, &item.cidr) < 0 ||
		family_index(item.cidr.family) != collect->family_index || is_deleted(object))
		return;
	items = realloc(into->items, (into->count + 1) * sizeof(*items));
	if (items)
		into->items = items;
	item.object = items ? json_deep_copy(object) : NULL;
	if (item.object)
		into->items[into->count++] = item;
	else
		collect->rc = -ENOMEM;
}

static int by_cidr(const void *a, const void *b)
{
	return prefix_compare(&((const struct affinity *)a)->cidr, &((const struct affinity *)b)->cidr);
}

int affinities_list(
	struct task *task, const char *node, int family_index, struct affinities *ret, struct err *err)
{
	char labels[IPAM_AFFINITY_LABELS_MAX];
	struct affinities affinities = {0};
	struct collect ctx = {.into = &affinities, .node = node, .family_index = family_index};
	int rc = task_list(task, KIND_BLOCK_AFFINITY, ipam_affinity_labels(node, family_index, labels),
		collect, &ctx, err);

	if (rc == 0 && ctx.rc < 0)
		rc = err_set(err, ctx.rc, "no memory for %zu affinities", affinities.count);
	if (rc < 0) {
		affinities_free(&affinities);
		return rc;
	}
	if (affinities.count)
		qsort(affinities.items, affinities.count, sizeof(*affinities.items), by_cidr);
	*ret = affinities;
	return 0;
}

void affinities_free(struct affinities *affinities)
{
	for (size_t i = 0; i < affinities->count; i++)
		json_decref(affinities->items[i].object);
	free(affinities->items);
	*affinities = (struct affinities){0};
}
