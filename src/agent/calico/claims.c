/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/calico/claims.h"

#include "agent/calico/internal.h"
#include "agent/calico/takeover.h"

#include <errno.h>
#include <stdlib.h>

#define PROBLEM "pods of before the pools"

struct calico_claims {
	struct calico *calico;
	struct ipam_call *call;
	uint64_t passed, current; /* places in the order of attachments and families; 0: none yet */
	bool done;
};

/* -- which address is next -- */

static bool has_block(const struct calico *calico, const struct addr *addr)
{
	const struct collection *blocks = cluster_part(calico->store, CLUSTER_BLOCKS);

	for (const struct collection_item *item = NULL; (item = collection_next(blocks, item));) {
		const struct block *block = item->object;

		if (prefix_contains(&block->cidr, addr))
			return true;
	}
	return false;
}

struct search {
	const struct calico_claims *claims;
	const struct attachment *attachment;
	struct addr addr;
	uint64_t place;
};

static void consider(void *ctx, const struct attachment *attachment)
{
	struct search *search = ctx;
	const struct calico *calico = search->claims->calico;

	for (int f = 0; attachment->network[0] && f < FAMILY_COUNT; f++) {
		const struct addr *addr = &attachment->addr[f];
		uint64_t place = attachment->serial * FAMILY_COUNT + (uint64_t)f + 1;

		if (!addr_is_set(addr) || place <= search->claims->passed || (search->attachment && place > search->place))
			continue;
		if (!pools_find(calico->pools, addr) || has_block(calico, addr))
			continue;
		search->attachment = attachment;
		search->addr = *addr;
		search->place = place;
	}
}

/* -- claiming it -- */

/* As long as the store does not say no, it is tried again. */
static bool is_answer(int rc)
{
	return rc == 0 || rc == -EINVAL || rc == -EEXIST || rc == -ENOENT || rc == -EPERM || rc == -ENOSPC || rc == -EDQUOT;
}

static void on_claimed(void *ctx, const struct ipam_result *result)
{
	struct calico_claims *claims = ctx;
	struct agent *agent = claims->calico->agent;
	char text[ADDR_TEXT_MAX];

	claims->call = NULL;
	problems_set(agent->problems, PROBLEM, is_answer(result->rc) ? NULL : result->text);
	if (!is_answer(result->rc)) {
		agent_retry_later(agent);
		return;
	}
	if (result->rc == 0 && result->count)
		log_info("address %s of a pod of before the pools is the node's in IPAM, too", addr_format(&result->addrs[0], text));
	claims->passed = claims->current;
	agent_mark(agent);
}

static void claim(struct calico_claims *claims, const struct search *search)
{
	__attribute__((cleanup(calico_owner_done))) struct calico_owner owner = {.handle = ""};
	const struct attachment *attachment = search->attachment;
	struct ipam_owner pod = {.handle = owner.handle};
	struct calico *calico = claims->calico;

	claims->current = search->place;
	if (calico_owner_make(calico, attachment->network, attachment->container_id, attachment->pod_namespace, attachment->pod_name,
		    &owner, NULL) == 0) {
		pod.attributes = owner.attributes;
		claims->call = allocator_assign_addr(calico->allocator, &search->addr, POOL_USE_WORKLOAD, &pod, on_claimed, claims);
	}
	if (!claims->call)
		agent_retry_later(calico->agent);
}

/* -- life -- */

void calico_claims_go(struct calico *calico)
{
	struct calico_claims *claims = calico->claims;
	struct search search = {0};

	if (!claims) {
		claims = calico->claims = calloc(1, sizeof(*claims));
		if (!claims) {
			agent_retry_later(calico->agent);
			return;
		}
		claims->calico = calico;
	}
	/* The tunnels' addresses come first: they may need the same block. */
	if (claims->done || claims->call || !calico->pools || !calico->pools->count || !allocator_world(calico->allocator) ||
		!calico_tunnels_settled(calico) || !calico_takeover_is_done(calico))
		return;
	search.claims = claims;
	attach_each(calico->agent->attacher, consider, &search);
	if (search.attachment) {
		claim(claims, &search);
		return;
	}
	claims->done = true;
	calico_batch_start(calico);
}

bool calico_claims_are_done(const struct calico *calico)
{
	return calico->claims && calico->claims->done;
}

void calico_claims_free(struct calico *calico)
{
	if (!calico->claims)
		return;
	ipam_cancel(calico->claims->call);
	free(calico->claims);
	calico->claims = NULL;
}
