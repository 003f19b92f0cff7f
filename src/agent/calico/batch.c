/* SPDX-License-Identifier: Apache-2.0
 *
 * The batch of reserved addresses (ipam/reserve.h) in the agent: what the journal has goes into it, what the store shows of
 * blocks is told to it, and what it has to say becomes problems. pods.c draws from it.
 */
#include "agent/calico/claims.h"
#include "agent/calico/internal.h"
#include "agent/calico/takeover.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define BEHIND_MS 200
#define TAKEN_MS 2000 /* ten times what another node may be behind */

/* -- what it says -- */

static void on_ready(void *ctx)
{
	struct calico *calico = ctx;

	if (calico->agent->cni)
		cni_server_kick(calico->agent->cni);
}

static void on_report(void *ctx, const char *text)
{
	struct calico *calico = ctx;

	problems_set(calico->agent->problems, "IPAM batch", text);
}

struct search {
	uint64_t serial;
	char text[700]; /* whose it is; "" when it was not found */
};

static void look_for(void *ctx, const struct attachment *attachment)
{
	struct search *search = ctx;

	if (attachment->serial == search->serial)
		snprintf(search->text, sizeof(search->text), "container %s (pod %s/%s)", attachment->container_id,
			attachment->pod_namespace, attachment->pod_name);
}

static void name_problem(const struct addr *addr, char *object, size_t size)
{
	char text[ADDR_TEXT_MAX];

	snprintf(object, size, "address %s", addr_format(addr, text));
}

static void on_lost(void *ctx, const struct addr *addr, uint64_t owner)
{
	struct calico *calico = ctx;
	struct search search = {.serial = owner};
	char object[64], text[900], node[300], remark[1000];

	attach_each(calico->agent->attacher, look_for, &search);
	name_problem(addr, object, sizeof(object));
	snprintf(text, sizeof(text), "%s has it, but the store does not show it as this node's any more: it was released there "
		"while in use, and may be given to another pod; delete this one", search.text[0] ? search.text : "a pod of this node");
	if (!problems_set(calico->agent->problems, object, text))
		return;
	snprintf(node, sizeof(node), "Node %.253s", calico->agent->options.node_name);
	snprintf(remark, sizeof(remark), "%s: %s", object, text);
	cluster_remark(calico->store, node, remark);
}

void calico_batch_forget(struct calico *calico, const struct addr *addr)
{
	char object[64];

	name_problem(addr, object, sizeof(object));
	problems_set(calico->agent->problems, object, NULL);
}

/* -- owners -- */

static json_t *pod_attributes(const struct calico *calico, const char *pod_namespace, const char *pod_name)
{
	struct timespec now;
	char text[IPAM_TIME_MAX];
	json_t *attributes;

	clock_gettime(CLOCK_REALTIME, &now);
	attributes = json_pack("{s:s, s:s}", "node", calico->agent->options.node_name, "timestamp",
		ipam_timestamp((int64_t)now.tv_sec * 1000000000 + now.tv_nsec, text));
	if (!attributes || !pod_namespace || !pod_namespace[0])
		return attributes;
	json_object_set_new(attributes, "namespace", json_string(pod_namespace));
	json_object_set_new(attributes, "pod", json_string(pod_name ? pod_name : ""));
	return attributes;
}

int calico_owner_make(const struct calico *calico, const char *network, const char *container_id, const char *pod_namespace,
	const char *pod_name, struct calico_owner *ret, struct err *err)
{
	if (ipam_pod_handle(network, container_id, ret->handle) < 0)
		return err_set(err, -EINVAL, "network %s: the name is too long for an IPAM handle", network);
	ret->attributes = pod_attributes(calico, pod_namespace, pod_name);
	return ret->attributes ? 0 : err_set(err, -ENOMEM, "out of memory");
}

void calico_owner_done(struct calico_owner *owner)
{
	json_decref(owner->attributes);
	owner->attributes = NULL;
}

/* -- what the journal has -- */

/* Whose record is lost is in nobody's name (attach_recover): its address stays the node's, like the batch. */
static int make_owner(const struct calico *calico, const struct attachment *attachment, struct calico_owner *ret)
{
	const char *node = calico->agent->options.node_name;

	if (attachment->network[0])
		return calico_owner_make(calico, attachment->network, attachment->container_id, attachment->pod_namespace,
			attachment->pod_name, ret, NULL);
	ret->attributes = json_pack("{s:s, s:s}", "node", node, "type", ipam_tunnel_type(IPAM_TUNNEL_VXLAN));
	return ret->attributes ? ipam_reserve_handle(node, ret->handle) : -ENOMEM;
}

/* An address of no pool is nothing that IPAM knows: should its pool come back, it is held then. */
static void hold(void *ctx, const struct attachment *attachment)
{
	__attribute__((cleanup(calico_owner_done))) struct calico_owner owner = {.handle = ""};
	struct calico *calico = ctx;
	struct ipam_owner pod = {.handle = owner.handle};
	uint64_t before;

	if (make_owner(calico, attachment, &owner) < 0)
		return;
	pod.attributes = owner.attributes;
	for (int f = 0; f < FAMILY_COUNT; f++) {
		const struct addr *addr = &attachment->addr[f];

		if (addr_is_set(addr) && reserve_owner(calico->reserve, addr) != attachment->serial)
			reserve_hold(calico->reserve, addr, attachment->serial, &pod, &before);
	}
}

static void hold_resting(void *ctx, const struct addr *addr, int64_t until)
{
	struct calico *calico = ctx;

	reserve_hold_resting(calico->reserve, addr, until);
}

void calico_batch_world(struct calico *calico)
{
	attach_each(calico->agent->attacher, hold, calico);
	if (!calico->batch_held)
		attach_each_resting(calico->agent->attacher, hold_resting, calico);
	calico->batch_held = true;
	reserve_want_none(calico->reserve);
	for (int f = 0; f < FAMILY_COUNT; f++) {
		struct ipam_wish wish = {.family_index = f, .use = POOL_USE_WORKLOAD};

		if (calico->families[f])
			reserve_want(calico->reserve, &wish, NULL); /* no pool for this node: who asks for one is told */
	}
	reserve_retry(calico->reserve);
}

void calico_batch_start(struct calico *calico)
{
	/* The tunnels' addresses come first: both would claim a block for want of one. And pods that Calico has undone
	 * meanwhile must not get theirs again. */
	if (calico->batch_started || !calico->batch_held || !calico_tunnels_settled(calico) ||
		!calico_takeover_is_done(calico) || !calico_claims_are_done(calico))
		return;
	calico->batch_started = true;
	reserve_start(calico->reserve);
}

/* -- what is seen of the store -- */

void calico_batch_block(struct calico *calico, const char *name, const json_t *object)
{
	const struct block *block;

	if (!name) {
		reserve_block_unseen(calico->reserve);
		return;
	}
	if (object) {
		reserve_block_put(calico->reserve, object);
		return;
	}
	block = collection_find(cluster_part(calico->store, CLUSTER_BLOCKS), name);
	if (block)
		reserve_block_gone(calico->reserve, &block->cidr);
}

/* -- life -- */

int calico_batch_init(struct calico *calico)
{
	struct reserve_options options = {
		.rest_s = (unsigned)calico->agent->options.address_rest,
		.behind_ms = BEHIND_MS,
		.taken_ms = TAKEN_MS,
		.lost = on_lost,
		.ready = on_ready,
		.report = on_report,
		.ctx = calico,
	};

	return reserve_new(calico->agent->base, calico->allocator, &options, &calico->reserve);
}

void calico_batch_free(struct calico *calico)
{
	reserve_free(calico->reserve);
	calico->reserve = NULL;
}
