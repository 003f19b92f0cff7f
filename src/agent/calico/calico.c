/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/calico/claims.h"
#include "agent/calico/internal.h"
#include "agent/calico/kube.h"
#include "agent/calico/takeover.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- the store's events -- */

static void on_changed(void *ctx, enum cluster_part part)
{
	struct calico *calico = ctx;

	calico->changed |= 1u << part;
	if (part == CLUSTER_POOLS && calico->store)
		calico_world_judge(calico);
	agent_mark(calico->agent);
	if ((part == CLUSTER_PODS || part == CLUSTER_NAMESPACES) && calico->agent->cni)
		cni_server_kick(calico->agent->cni);
}

static void on_block(void *ctx, const char *name, const json_t *object)
{
	calico_batch_block(ctx, name, object);
}

static void on_problem(void *ctx, const char *key, const char *text)
{
	struct calico *calico = ctx;
	char object[700];
	bool over;

	snprintf(object, sizeof(object), "store %s", key);
	over = !text[0] && problems_text(calico->agent->problems, object);
	if (problems_set(calico->agent->problems, object, text))
		cluster_remark(calico->store, key, text);
	if (over) /* perhaps the store can be reached again: what waits is tried at once */
		reserve_retry(calico->reserve);
}

static const struct cluster_events store_events = {.changed = on_changed, .block = on_block, .problem = on_problem};

/* -- life cycle -- */

static int open_parts(struct calico *calico, struct err *err)
{
	const char *node = calico->agent->options.node_name;
	struct allocator_options options = {.node = node, .backoff_ms = 100};
	int rc = agent_open_objects(calico->agent, &calico->kube, &calico->objects, err);

	options.objects = calico->objects;
	if (rc == 0 && (calico_node_init(calico) < 0 || calico_pods_init(calico) < 0 ||
			       allocator_new(calico->agent->base, &options, &calico->allocator) < 0 ||
			       calico_batch_init(calico) < 0 || calico_repair_init(calico) < 0 ||
			       calico_annotate_init(calico) < 0))
		rc = err_set(err, -ENOMEM, "out of memory");
	if (rc == 0)
		rc = calico_kube_init(calico, err);
	if (rc == 0)
		rc = calico_bgp_init(calico, err);
	if (rc == 0)
		rc = cluster_new(calico->objects, node, &store_events, calico, &calico->store, err);
	return rc;
}

int calico_new(struct agent *agent, struct calico **ret, struct err *err)
{
	struct calico *calico = calloc(1, sizeof(*calico));
	int rc;

	if (!calico)
		return err_set(err, -ENOMEM, "out of memory");
	calico->agent = agent;
	calico->felix = felix_defaults();
	calico->kernel_ipip = plane_has_ipip();
	for (int i = 0; i < IPAM_TUNNEL_COUNT; i++)
		calico->tunnels[i] = (struct calico_tunnel){.calico = calico, .kind = i};
	rc = open_parts(calico, err);
	if (rc < 0) {
		calico_free(calico);
		return rc;
	}
	*ret = calico;
	return 0;
}

void calico_free(struct calico *calico)
{
	if (!calico)
		return;
	calico_bgp_free(calico);
	calico_claims_free(calico);
	calico_takeover_free(calico);
	calico_kube_free(calico);
	calico_annotate_free(calico);
	calico_ipam_free(calico);
	calico_pods_free(calico);
	calico_batch_free(calico);
	calico_election_free(calico);
	allocator_free(calico->allocator);
	calico_repair_free(calico);
	calico_node_done(calico);
	cluster_free(calico->store);
	calico_world_done(calico);
	objects_free(calico->objects);
	if (calico->kube)
		kube_free(calico->kube);
	free(calico);
}

/* -- the pass -- */

/* reference/calico.md 1.3 */
bool calico_is_locked(const struct calico *calico)
{
	const struct cluster_info *info = collection_find(cluster_part(calico->store, CLUSTER_INFO), "default");

	return info && !info->datastore_ready;
}

void calico_uplink_due(struct calico *calico)
{
	calico->uplink_due = true;
}

/* It is chosen by the kernel's devices and routes, all of which are read for it, by our Node and by the families of pools. */
static bool uplink_may_differ(const struct calico *calico)
{
	return !calico->agent->have_uplink || calico->uplink_due || calico_has_changed(calico, CLUSTER_NODES) ||
		calico_has_changed(calico, CLUSTER_POOLS) || calico_has_changed(calico, CLUSTER_FELIX);
}

static bool look_at_uplink(struct calico *calico)
{
	struct agent *agent = calico->agent;
	struct options options = agent->options;
	char text[FAMILY_COUNT][ADDR_TEXT_MAX];
	struct uplink uplink;
	struct err err = ERR_INIT;
	int rc;

	if (!calico->families[FAMILY_4] && !calico->families[FAMILY_6])
		return agent->have_uplink;
	if (!uplink_may_differ(calico))
		return true;
	calico_takeover_address(calico, &options, text);
	rc = uplink_choose(&options, calico->families, agent->have_uplink ? &agent->home : NULL, &uplink, &err);
	problems_set(agent->problems, "uplink", rc < 0 ? err_text(&err) : NULL);
	calico->uplink_due = rc < 0;
	if (rc < 0)
		return agent->have_uplink;
	if (!agent->have_uplink || !uplink_equal(&uplink, &agent->uplink))
		log_info("node-to-node traffic: interface %s (MTU %u)", uplink.name, uplink.mtu);
	agent->uplink = uplink;
	if (!agent->have_uplink)
		agent->home = uplink;
	agent->have_uplink = true;
	return true;
}

static void become_ready(struct calico *calico)
{
	struct agent *agent = calico->agent;
	struct err err = ERR_INIT;
	int rc;

	if (calico_not_ready(calico))
		return;
	rc = agent_publish(agent, &err);
	problems_set(agent->problems, "publish", rc < 0 ? err_text(&err) : NULL);
	if (rc == 0)
		calico_kube_ready(calico);
	if (rc < 0 || agent->ready)
		return;
	agent->ready = true;
	log_info("ready");
	agent_owner_look(agent);
}

void calico_replan(struct calico *calico)
{
	struct agent *agent = calico->agent;
	struct err err = ERR_INIT;
	bool uplink;
	int rc;

	if (!cluster_is_complete(calico->store) || calico_is_locked(calico))
		return;
	calico_world_refresh(calico);
	calico_takeover_go(calico);
	calico_claims_go(calico);
	uplink = calico->pools && look_at_uplink(calico);
	calico->changed = 0;
	if (!uplink)
		return;
	calico_node_publish(calico);
	rc = calico_plan_apply(calico, &err);
	calico_bgp_apply(calico);
	calico_annotate_go(calico);
	if (rc == 0)
		policer_follow(agent->policer);
	problems_set(agent->problems, "kernel", rc < 0 ? err_text(&err) : NULL);
	if (rc < 0) {
		calico->uplink_due = true;
		agent_retry_later(agent);
		return;
	}
	calico_takeover_tell(calico);
	if (!agent->counters.peers_applied_us)
		agent->counters.peers_applied_us = agent_now_us() - agent->counters.started_us;
	become_ready(calico);
}

/* -- what others see -- */

struct objects *calico_objects(const struct calico *calico)
{
	return calico->objects;
}

bool calico_is_kubernetes(const struct calico *calico)
{
	return calico->kube;
}

const struct felix *calico_felix(const struct calico *calico)
{
	return &calico->felix;
}

int calico_ranges(const struct calico *calico, struct prefix **ret, size_t *ret_count)
{
	size_t count = calico->pools ? calico->pools->count : 0;
	struct prefix *ranges = calloc(count + 1, sizeof(*ranges));

	if (!ranges)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		ranges[i] = calico->pools->items[i]->cidr;
	*ret = ranges;
	*ret_count = count;
	return 0;
}

/* iptables ends a pattern with +, nft with *. */
static bool is_filtered(const char *filter, const char *device)
{
	size_t len = strcspn(filter, "+*");

	return *filter && (strncmp(filter, device, len) != 0 || (!filter[len] && device[len]));
}

bool calico_masquerades(const struct calico *calico, const struct addr *src, const struct addr *dst, bool node, const char *device)
{
	const struct ippool *pool = calico->pools ? pools_find(calico->pools, src) : NULL;

	return pool && pool->nat_outgoing && !pools_find(calico->pools, dst) && !is_filtered(calico->felix.nat_iface_filter, device) &&
		!(node && calico->felix.nat_exclusions == NAT_EXCLUDE_POOLS_AND_HOSTS);
}

/* An address that a node has borrowed is that node's. */
const char *calico_holder(const struct calico *calico, const struct addr *addr)
{
	size_t count = 0;
	_cleanup_free_ const void **blocks = collection_list(cluster_part(calico->store, CLUSTER_BLOCKS), &count);

	for (size_t i = 0; blocks && i < count; i++) {
		const struct block *block = blocks[i];

		if (!prefix_contains(&block->cidr, addr))
			continue;
		for (size_t n = 0; n < block->guest_count; n++)
			if (addr_equal(&block->guests[n].addr, addr))
				return block->guests[n].node;
		return block->node;
	}
	return NULL;
}

void calico_node_addrs(const struct calico *calico, const char *name, struct addr *ret)
{
	const struct node *node = collection_find(cluster_part(calico->store, CLUSTER_NODES), name);

	for (int f = 0; node && f < FAMILY_COUNT; f++)
		if (prefix_is_set(&node->address[f]))
			ret[f] = node->address[f].addr;
}

static const char *because(struct calico *calico, const char *what)
{
	const char *problem = problems_any(calico->agent->problems, "store");

	snprintf(calico->not_ready, sizeof(calico->not_ready), "%s%s%.400s", what, problem ? ": " : "", problem ? problem : "");
	return calico->not_ready;
}

const char *calico_not_ready(struct calico *calico)
{
	const struct node *own;

	if (!cluster_is_complete(calico->store))
		return because(calico, "the store has not been read yet");
	if (calico_is_locked(calico))
		return because(calico, "ClusterInformation default has datastoreReady false: a migration is under way");
	own = calico_node_own(calico);
	if (!own || (!prefix_is_set(&own->address[FAMILY_4]) && !prefix_is_set(&own->address[FAMILY_6])))
		return because(calico, "the store does not show this node's address yet");
	if (!calico->pools || !calico->pools->count)
		return because(calico, "there is no IPPool");
	if (!calico_tunnels_settled(calico))
		return because(calico, "tunnel addresses are being allocated");
	if (!calico_takeover_is_done(calico))
		return because(calico, "pods that Calico attached are being taken over");
	return NULL;
}
