/* SPDX-License-Identifier: Apache-2.0
 *
 * Pools as they count, what IPAM must know of them, and the addresses of our tunnel devices.
 */
#include "agent/calico/internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* -- pools -- */

static void tell_pool_complaints(struct calico *calico)
{
	struct problems *problems = calico->agent->problems;

	problems_begin(problems, "pool ");
	for (size_t i = 0; i < calico->pools->complaint_count; i++) {
		const struct pool_complaint *complaint = &calico->pools->complaints[i];
		char object[300];

		snprintf(object, sizeof(object), "pool %.253s", complaint->pool->name);
		if (!problems_set(problems, object, complaint->text))
			continue;
		snprintf(object, sizeof(object), "IPPool %.253s", complaint->pool->name);
		cluster_remark(calico->store, object, complaint->text);
	}
	problems_end(problems, "pool ");
}

/* The families that pods may have addresses of. Without any pool the node stays what it was. */
static void find_families(struct calico *calico)
{
	if (!calico->pools->count)
		return;
	for (int f = 0; f < FAMILY_COUNT; f++)
		calico->families[f] = false;
	for (size_t i = 0; i < calico->pools->count; i++) {
		int f = family_index(calico->pools->items[i]->cidr.family);

		if (f == FAMILY_4 || calico->felix.ipv6)
			calico->families[f] = true;
	}
}

void calico_world_judge(struct calico *calico)
{
	size_t count;
	_cleanup_free_ const void **pools = collection_list(cluster_part(calico->store, CLUSTER_POOLS), &count);
	struct pools *judged = pools ? pools_judge((const struct ippool *const *)pools, count, calico->flannel) : NULL;

	pools_free(&calico->pools);
	calico->pools = judged;
	if (judged)
		tell_pool_complaints(calico);
}

/* -- IPAM's world -- */

/* Other nodes come and go, and ours says something new about itself: pools look at its labels only. */
static bool labels_are_known(const struct calico *calico, const struct node *own)
{
	return own && calico->labels && labels_equal(own->labels, calico->labels);
}

static void remember_labels(struct calico *calico, const struct labels *labels)
{
	labels_free(&calico->labels);
	calico->labels = labels_new();
	for (size_t i = 0; calico->labels && i < labels->count; i++)
		labels_set(calico->labels, labels->items[i].key, labels->items[i].value);
}

static void hand_over_world(struct calico *calico)
{
	const struct collection *settings = cluster_part(calico->store, CLUSTER_IPAM);
	const struct ipam_config *config = collection_find(settings, "default");
	const struct node *own = calico_node_own(calico);
	struct ipam_world_inputs inputs = {
		.pools = (const struct ippool *const *)calico->pools->items,
		.pool_count = calico->pools->count,
		.config = config ? *config : ipam_config_defaults(),
		.node_labels = own ? own->labels : NULL,
	};
	_cleanup_free_ const void **reservations = NULL;
	struct ipam_world *world = NULL;
	struct err err = ERR_INIT;

	reservations = collection_list(cluster_part(calico->store, CLUSTER_RESERVATIONS), &inputs.reservation_count);
	inputs.reservations = (const struct ip_reservation *const *)reservations;
	if (!own || !reservations)
		return;
	if (ipam_world_new(&inputs, &world, &err) == 0) {
		allocator_set_world(calico->allocator, world);
		calico_batch_world(calico);
		remember_labels(calico, own->labels);
	}
	problems_set(calico->agent->problems, "IPAM", err.code ? err_text(&err) : NULL);
	for (int i = 0; i < IPAM_TUNNEL_COUNT; i++)
		calico->tunnels[i].due = true;
}

/* -- tunnel addresses -- */

static void on_tunnel(void *ctx, const struct ipam_result *result)
{
	struct calico_tunnel *tunnel = ctx;
	struct calico *calico = tunnel->calico;
	char object[64], text[ADDR_TEXT_MAX];

	tunnel->call = NULL;
	snprintf(object, sizeof(object), "tunnel address %s", ipam_tunnel_type(tunnel->kind));
	problems_set(calico->agent->problems, object, result->rc < 0 ? result->text : NULL);
	if (result->rc == 0) {
		struct addr addr = result->count ? result->addrs[0] : (struct addr){{0}};

		if (!addr_equal(&addr, &tunnel->addr) && addr_is_set(&addr))
			log_info("%s: %s", object, addr_format(&addr, text));
		tunnel->addr = addr;
		tunnel->settled = true;
	} else {
		tunnel->due = true;
	}
	agent_mark(calico->agent);
}

/* What our Node says already, of before a restart, is kept if it may be. */
static struct addr published(const struct calico *calico, enum ipam_tunnel kind)
{
	const struct node *own = calico_node_own(calico);

	if (!own)
		return (struct addr){{0}};
	return kind == IPAM_TUNNEL_IPIP ? own->ipip_addr : own->vxlan_addr[kind == IPAM_TUNNEL_VXLAN ? FAMILY_4 : FAMILY_6];
}

static void ask_for_tunnels(struct calico *calico)
{
	if (!allocator_world(calico->allocator))
		return;
	for (int i = 0; i < IPAM_TUNNEL_COUNT; i++) {
		struct calico_tunnel *tunnel = &calico->tunnels[i];
		struct addr now = tunnel->settled ? tunnel->addr : published(calico, i);

		if (!tunnel->due || tunnel->call)
			continue;
		tunnel->due = false;
		tunnel->call = allocator_tunnel(calico->allocator, i, &now, on_tunnel, tunnel);
	}
}

bool calico_tunnels_settled(const struct calico *calico)
{
	for (int i = 0; i < IPAM_TUNNEL_COUNT; i++)
		if (!calico->tunnels[i].settled)
			return false;
	return true;
}

bool calico_tunnels_asked(const struct calico *calico)
{
	for (int i = 0; i < IPAM_TUNNEL_COUNT; i++)
		if (calico->tunnels[i].call || calico->tunnels[i].due)
			return true;
	return false;
}

/* -- both -- */

void calico_world_refresh(struct calico *calico)
{
	const struct node *own = calico_node_own(calico);
	bool pools = calico_has_changed(calico, CLUSTER_POOLS);
	bool node = calico_has_changed(calico, CLUSTER_NODES) && !labels_are_known(calico, own);

	if (calico_has_changed(calico, CLUSTER_FELIX) || node)
		calico->felix = cluster_felix(calico->store, own ? own->labels : NULL);
	if (calico_has_changed(calico, CLUSTER_BGP) || !calico->bgp)
		cluster_bgp(calico->store, &calico->bgp);
	if (!calico->pools)
		calico_world_judge(calico);
	if (!calico->pools)
		return;
	find_families(calico);
	if (pools || node || calico_has_changed(calico, CLUSTER_RESERVATIONS) || calico_has_changed(calico, CLUSTER_IPAM) ||
		!allocator_world(calico->allocator))
		hand_over_world(calico);
	ask_for_tunnels(calico);
	calico_batch_start(calico);
	calico_election_start(calico);
}

void calico_world_done(struct calico *calico)
{
	labels_free(&calico->labels);
	pools_free(&calico->pools);
	for (int f = 0; f < FAMILY_COUNT; f++)
		ippool_free(&calico->flannel[f]);
}
