/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam/inspect_internal.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "ipam/blocks.h"
#include "ipam/handles.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void audit_cleanup(struct audit **audit)
{
	audit_free(*audit);
}
#define _cleanup_audit_ _cleanup_(audit_cleanup)

/* -- what the store has -- */

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static void set_addr(struct addr addrs[FAMILY_COUNT], const char *text)
{
	struct addr addr;

	if (text && addr_parse(text, &addr) == 0)
		addrs[family_index(addr_family(&addr))] = addr;
}

/* reference/calico.md 3.9, 4.6: one that has ended keeps no address, and the host's own are none of IPAM's. */
static void add_pod(void *ctx, const json_t *object)
{
	const json_t *metadata = json_object_get(object, "metadata"), *spec = json_object_get(object, "spec");
	const json_t *status = json_object_get(object, "status"), *ip;
	const char *phase = text_of(status, "phase");
	struct audit_pod pod = {
		.namespace = text_of(metadata, "namespace"),
		.name = text_of(metadata, "name"),
		.node = text_of(spec, "nodeName"),
		.finished = phase && (strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0),
	};
	size_t i;

	if (!pod.namespace || !pod.name || json_is_true(json_object_get(spec, "hostNetwork")))
		return;
	set_addr(pod.addrs, text_of(status, "podIP"));
	json_array_foreach(json_object_get(status, "podIPs"), i, ip)
		set_addr(pod.addrs, text_of(ip, "ip"));
	audit_add_pod(ctx, &pod);
}

static void add_affinity(void *ctx, const json_t *object)
{
	audit_add_affinity(ctx, object);
}

static void add_block(void *ctx, const json_t *object)
{
	audit_add_block(ctx, object);
}

static void add_handle(void *ctx, const json_t *object)
{
	audit_add_handle(ctx, object);
}

/* -- one look -- */

/* Which blocks to look at: these, and nothing but the addresses in them; none: everything. */
struct scope {
	const struct prefix *blocks;
	size_t count;
};

static int begin(struct task *task, const struct inspect_source *source, struct audit **ret, struct err *err)
{
	const struct ipam_world *world = task->world;
	_cleanup_free_ struct prefix *pools = calloc(world->pool_count + 1, sizeof(*pools));
	struct audit_options options = {.node = task->env->node, .pools = pools, .pool_count = world->pool_count,
		.pods_known = source->pods_known};

	for (size_t i = 0; pools && i < world->pool_count; i++)
		pools[i] = world->pools[i].cidr;
	*ret = pools ? audit_new(&options) : NULL;
	return *ret ? 0 : err_set(err, -ENOMEM, "no memory for an audit");
}

static int look_at_everything(struct task *task, struct audit *audit, struct err *err)
{
	int rc = task_list(task, KIND_BLOCK_AFFINITY, NULL, add_affinity, audit, err);

	if (rc == 0)
		rc = task_list(task, KIND_IPAM_BLOCK, NULL, add_block, audit, err);
	if (rc == 0)
		rc = task_list(task, KIND_IPAM_HANDLE, NULL, add_handle, audit, err);
	return rc;
}

static int look_at_some(struct task *task, const struct scope *scope, struct audit *audit, struct err *err)
{
	for (size_t i = 0; i < scope->count; i++) {
		_cleanup_(json_cleanup) json_t *object = NULL;
		char name[IPAM_CIDR_NAME_MAX];
		int rc = task_get(task, KIND_IPAM_BLOCK, NULL, ipam_cidr_name(&scope->blocks[i], name), &object, err);

		if (rc == 0)
			audit_add_block(audit, object);
		if (rc < 0 && rc != -ENOENT)
			return rc;
	}
	return 0;
}

static int look(struct task *task, const struct inspect_source *source, const struct scope *scope, struct audit **ret,
	struct err *err)
{
	_cleanup_audit_ struct audit *audit = NULL;
	int rc = begin(task, source, &audit, err);

	if (rc == 0 && source->pods_known)
		rc = task_list(task, KIND_POD, NULL, add_pod, audit, err);
	if (rc < 0)
		return rc;
	if (task->abandoned)
		return err_set(err, -ECANCELED, "the agent ends");
	source->nodes(source->ctx, audit);
	source->attachments(source->ctx, audit);
	rc = scope->count ? look_at_some(task, scope, audit, err) : look_at_everything(task, audit, err);
	if (rc == 0 && audit_finish(audit) < 0)
		rc = err_set(err, -ENOMEM, "no memory for an audit");
	if (rc == 0)
		*ret = TAKE_PTR(audit);
	return rc;
}

/* What is under way while one looks is over when one looks again. */
static int look_twice(struct task *task, const struct inspect_source *source, const struct scope *scope,
	struct audit **ret, struct err *err)
{
	_cleanup_audit_ struct audit *first = NULL;
	size_t count;
	int rc = look(task, source, scope, &first, err);

	if (rc < 0)
		return rc;
	audit_findings(first, &count);
	if (!count) {
		*ret = TAKE_PTR(first);
		return 0;
	}
	rc = task_pause(task, source->look_ms, err);
	if (rc == 0)
		rc = look(task, source, scope, ret, err);
	if (rc == 0)
		audit_keep_common(*ret, first);
	return rc;
}

/* -- audit -- */

struct audit_call {
	struct inspection inspection; /* first */
	struct inspect_source source;
};

static void add_json(struct buf *buf, json_t *json)
{
	_cleanup_free_ char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

	json_decref(json);
	buf_add_str(buf, text ? text : "null");
}

static void write_audit(const struct audit *audit, struct buf *answer)
{
	const struct audit_finding *findings;
	struct audit_counts counts;
	size_t count;

	audit_count(audit, &counts);
	findings = audit_findings(audit, &count);
	buf_printf(answer, "{\"counts\": {\"nodes\": %zu, \"pods\": %zu, \"attachments\": %zu, \"affinities\": %zu, \"blocks\": %zu, "
		"\"addresses\": %zu, \"handles\": %zu}, \"problems\": [", counts.nodes, counts.pods, counts.attachments,
		counts.affinities, counts.blocks, counts.addresses, counts.handles);
	for (size_t i = 0; i < count; i++) {
		buf_add_str(answer, i ? ", " : "");
		add_json(answer, json_pack("{s:s, s:s, s:s}", "kind", audit_kind_name(findings[i].kind), "object", findings[i].object,
			"text", findings[i].text));
	}
	buf_add_str(answer, "]}\n");
}

static int audit_run(struct ipam_call *call, struct err *err)
{
	struct audit_call *self = (struct audit_call *)call;
	const struct scope everything = {0};
	_cleanup_audit_ struct audit *audit = NULL;
	int rc = look_twice(&call->task, &self->source, &everything, &audit, err);

	if (rc < 0)
		return rc;
	write_audit(audit, &self->inspection.answer);
	return self->inspection.answer.error ? err_set(err, -ENOMEM, "no memory for the answer") : 0;
}

struct ipam_call *inspect_audit(struct allocator *allocator, const struct inspect_source *source, inspect_done done, void *ctx)
{
	struct audit_call *self = inspection_new(sizeof(*self), allocator, done, ctx);

	if (!self)
		return NULL;
	self->inspection.call.work = audit_run;
	self->source = *source;
	return call_start(&self->inspection.call);
}

/* -- release -- */

struct release {
	struct inspection inspection; /* first */
	struct inspect_source source;
	struct addr addr; /* unset: by handle */
	struct prefix block; /* that it lies in, as the caller knows; unset: its pool's */
	char *handle;
	bool force;
	json_t *released;
	size_t found; /* addresses that somebody has */
};

static void clean_release(struct ipam_call *call)
{
	struct release *self = (struct release *)call;

	free(self->handle);
	json_decref(self->released);
	inspection_clean(call);
}

static bool is_leaked(const struct audit *audit, const struct addr *addr, uint64_t sequence)
{
	size_t count;
	const struct audit_finding *findings = audit_findings(audit, &count);
	char text[ADDR_TEXT_MAX];

	addr_format(addr, text);
	for (size_t i = 0; i < count; i++)
		if (findings[i].kind == AUDIT_LEAKED && findings[i].sequence == sequence && strcmp(findings[i].object, text) == 0)
			return true;
	return false;
}

/* Is it one that is to go? */
static bool is_meant(const struct release *self, const struct ipam_block *block, unsigned ordinal)
{
	const struct ipam_attr *attr = ipam_block_owner(block, ordinal);
	struct addr addr = ipam_block_addr(block, ordinal);

	if (!ipam_attr_in_use(attr))
		return false;
	if (addr_is_set(&self->addr))
		return addr_equal(&addr, &self->addr);
	return attr->handle && ipam_handle_equal(attr->handle, self->handle);
}

/* Everything that is meant, before the first is released. audit: null: it is not asked. */
static int judge_block(const struct release *self, const struct ipam_block *block, const struct audit *audit, struct err *err)
{
	char owner[400], text[ADDR_TEXT_MAX];

	for (unsigned i = 0; audit && i < block->count; i++) {
		struct addr addr = ipam_block_addr(block, i);
		const struct ipam_attr *attr = ipam_block_owner(block, i);

		if (is_meant(self, block, i) && !is_leaked(audit, &addr, block->sequences[i]))
			return err_set(err, -EBUSY, "%s belongs to %s, which lives, as far as is known (handle %s); --force releases it "
				"all the same", addr_format(&addr, text), inspect_owner(attr, owner, sizeof(owner)),
				attr->handle ? attr->handle : "none");
	}
	return 0;
}

static int release_one(struct release *self, const struct ipam_block *block, unsigned ordinal, struct err *err)
{
	const struct ipam_attr *attr = ipam_block_owner(block, ordinal);
	struct ipam_claim claim = {ipam_block_addr(block, ordinal), attr->handle, block->sequences[ordinal]};
	char owner[1024], text[ADDR_TEXT_MAX];
	int rc = call_release_addr_in(&self->inspection.call.task, &block->cidr, &claim, err);

	addr_format(&claim.addr, text);
	if (rc == -ESTALE)
		return err_set(err, rc, "%s was given to somebody else meanwhile; nothing was done to it", text);
	if (rc == 1)
		json_array_append_new(self->released, json_pack("{s:s, s:s?, s:s}", "ip", text, "handle", attr->handle, "owner",
			inspect_owner(attr, owner, sizeof(owner))));
	return rc < 0 ? rc : 0;
}

static int release_in(struct release *self, const struct ipam_block *block, struct err *err)
{
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < block->count; i++) {
		if (!is_meant(self, block, i))
			continue;
		self->found++;
		rc = release_one(self, block, i, err);
	}
	return rc;
}

static int each_block(struct release *self, const struct scope *scope, const struct audit *audit, bool act, struct err *err)
{
	for (size_t i = 0; i < scope->count; i++) {
		_cleanup_block_ struct ipam_block *block = NULL;
		int rc = block_get(&self->inspection.call.task, &scope->blocks[i], &block, err);

		if (rc == 0)
			rc = judge_block(self, block, audit, err);
		if (rc == 0 && act)
			rc = release_in(self, block, err);
		if (rc < 0 && rc != -ENOENT)
			return rc;
	}
	return 0;
}

static int release_scope(struct release *self, const struct scope *scope, struct err *err)
{
	_cleanup_audit_ struct audit *audit = NULL;
	int rc = 0;

	if (!self->force && scope->count)
		rc = look_twice(&self->inspection.call.task, &self->source, scope, &audit, err);
	/* a handle goes as a whole or not at all */
	if (rc == 0)
		rc = each_block(self, scope, audit, false, err);
	if (rc == 0)
		rc = each_block(self, scope, audit, true, err);
	return rc;
}

static int release_addr(struct release *self, struct err *err)
{
	struct prefix cidr = inspect_block_of(&self->inspection.call.task, &self->addr, &self->block);
	struct scope scope = {&cidr, 1};

	return release_scope(self, &scope, err);
}

/* The name may be given as the object has it, in small letters. */
static int release_handle(struct release *self, struct err *err)
{
	struct task *task = &self->inspection.call.task;
	_cleanup_(json_cleanup) json_t *object = NULL;
	_cleanup_free_ struct prefix *blocks = NULL;
	struct scope scope = {0};
	const char *handle;
	int rc = handle_get(task, self->handle, &object, err);

	if (rc == -ENOENT)
		return err_set(err, rc, "there is no handle \"%s\"", self->handle);
	if (rc == 0)
		rc = handle_blocks(object, &blocks, &scope.count, err);
	if (rc < 0)
		return rc;
	scope.blocks = blocks;
	handle = text_of(json_object_get(object, "spec"), "handleID");
	free(self->handle);
	self->handle = strdup(handle ? handle : "");
	if (!self->handle || !self->handle[0])
		return err_set(err, -EINVAL, "IPAMHandle: spec.handleID: expected a text");
	rc = release_scope(self, &scope, err);
	if (rc == 0)
		rc = call_release_handle(task, self->handle, err);
	return rc == -ENOENT ? 0 : rc; /* it went with its last address */
}

static int release_run(struct ipam_call *call, struct err *err)
{
	struct release *self = (struct release *)call;
	int rc = addr_is_set(&self->addr) ? release_addr(self, err) : release_handle(self, err);
	_cleanup_free_ char *text = NULL;

	if (rc < 0)
		return rc;
	text = json_dumps(self->released, JSON_COMPACT);
	if (!text || buf_printf(&self->inspection.answer, "{\"released\": %s}\n", text) < 0)
		return err_set(err, -ENOMEM, "no memory for the answer");
	return 0;
}

struct ipam_call *inspect_release(struct allocator *allocator, const struct inspect_source *source,
	const struct inspect_release *what, inspect_done done, void *ctx)
{
	struct release *self = inspection_new(sizeof(*self), allocator, done, ctx);

	if (!self)
		return NULL;
	self->inspection.call.work = release_run;
	self->inspection.call.clean = clean_release;
	self->source = *source;
	self->force = what->force;
	self->released = json_array();
	if (what->addr)
		self->addr = *what->addr;
	if (what->block)
		self->block = *what->block;
	self->handle = what->handle ? strdup(what->handle) : NULL;
	if (!self->released || (what->handle && !self->handle)) {
		call_free(&self->inspection.call);
		return NULL;
	}
	return call_start(&self->inspection.call);
}
