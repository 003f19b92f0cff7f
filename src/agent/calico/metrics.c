/* SPDX-License-Identifier: Apache-2.0
 *
 * Metrics of Calico's half: what of the pools this node has, its batch, repair, BGP.
 */
#include "agent/calico/internal.h"

#include "base/cleanup.h"

#include <stdlib.h>
#include <string.h>

/* What of one pool this node has. */
struct share {
	size_t pods, blocks;
	double addresses; /* of the blocks */
};

struct shares {
	const struct pools *pools;
	struct share *items;
};

static struct share *share_of(const struct shares *shares, const struct addr *addr)
{
	for (size_t i = 0; i < shares->pools->count; i++)
		if (prefix_contains(&shares->pools->items[i]->cidr, addr))
			return &shares->items[i];
	return NULL;
}

static void add_pod(void *ctx, const struct attachment *attachment)
{
	for (int f = 0; f < FAMILY_COUNT; f++) {
		struct share *share = addr_is_set(&attachment->addr[f]) ? share_of(ctx, &attachment->addr[f]) : NULL;

		if (share)
			share->pods++;
	}
}

static double size_of(const struct prefix *cidr)
{
	unsigned bits = prefix_max_len(cidr) - cidr->len;

	return (double)(1ULL << (bits < 63 ? bits : 63));
}

static void add_blocks(const struct calico *calico, const struct shares *shares)
{
	const struct collection *blocks = cluster_part(calico->store, CLUSTER_BLOCKS);

	for (const struct collection_item *item = NULL; (item = collection_next(blocks, item));) {
		const struct block *block = item->object;
		struct share *share;

		if (!block->node || strcmp(block->node, calico->agent->options.node_name) != 0)
			continue;
		share = share_of(shares, &block->cidr.addr);
		if (!share)
			continue;
		share->blocks++;
		share->addresses += size_of(&block->cidr);
	}
}

static void put_shares(const struct shares *shares, struct buf *buf)
{
	size_t count = shares->pools->count;

	agent_metric_head(buf, "pool_pods", "gauge", "Addresses of the pool that pods of this node have.");
	for (size_t i = 0; i < count; i++)
		buf_printf(buf, "tulle_pool_pods{pool=\"%s\"} %zu\n", shares->pools->items[i]->name, shares->items[i].pods);
	agent_metric_head(buf, "pool_blocks", "gauge", "Blocks of the pool that this node holds.");
	for (size_t i = 0; i < count; i++)
		buf_printf(buf, "tulle_pool_blocks{pool=\"%s\"} %zu\n", shares->pools->items[i]->name, shares->items[i].blocks);
	agent_metric_head(buf, "pool_block_addresses", "gauge", "Addresses of these blocks, free or not.");
	for (size_t i = 0; i < count; i++)
		buf_printf(buf, "tulle_pool_block_addresses{pool=\"%s\"} %.17g\n", shares->pools->items[i]->name,
			shares->items[i].addresses);
}

static void metrics_of_pools(const struct calico *calico, struct buf *buf)
{
	struct shares shares = {.pools = calico->pools};
	_cleanup_free_ struct share *items = calico->pools ? calloc(calico->pools->count + 1, sizeof(*items)) : NULL;

	if (!items)
		return;
	shares.items = items;
	attach_each(calico->agent->attacher, add_pod, &shares);
	add_blocks(calico, &shares);
	put_shares(&shares, buf);
}

static void metrics_of_batch(const struct calico *calico, struct buf *buf)
{
	if (!calico->reserve)
		return;
	agent_metric_head(buf, "batch_addresses", "gauge", "Addresses that IPAM's batch knows, by family and state; behind: pods have "
		"them, and the store does not show yet which.");
	for (int f = 0; f < FAMILY_COUNT; f++) {
		const char *family = f == FAMILY_4 ? "4" : "6";
		struct reserve_counts counts;

		if (!calico->families[f])
			continue;
		reserve_count(calico->reserve, f, &counts);
		buf_printf(buf, "tulle_batch_addresses{family=\"%s\",state=\"used\"} %zu\n", family, counts.in_use);
		buf_printf(buf, "tulle_batch_addresses{family=\"%s\",state=\"resting\"} %zu\n", family, counts.resting);
		buf_printf(buf, "tulle_batch_addresses{family=\"%s\",state=\"free\"} %zu\n", family, counts.free);
		buf_printf(buf, "tulle_batch_addresses{family=\"%s\",state=\"behind\"} %zu\n", family, counts.behind);
	}
}

static void metrics_of_repair(const struct calico *calico, struct buf *buf)
{
	const struct repair_counts *counts = calico->repair ? repair_counts(calico->repair) : NULL;

	if (!counts)
		return;
	agent_metric(buf, "ipam_repair_scans_total", "counter", "Scans of all blocks for what nobody gives back.", (double)counts->scans);
	agent_metric(buf, "ipam_repair_released_total", "counter", "Addresses that were released because nobody alive had them.",
		(double)counts->released);
	agent_metric(buf, "ipam_repair_blocks_total", "counter", "Blocks of deleted nodes that were given up.",
		(double)counts->affinities);
	agent_metric(buf, "ipam_repair_candidates", "gauge", "Addresses and nodes that the last scan found suspect.",
		(double)counts->candidates);
	agent_metric(buf, "ipam_damaged_blocks", "gauge", "Blocks that the last scan could not read.", (double)counts->damaged);
}

static void metrics_of_bgp(const struct calico *calico, struct buf *buf)
{
	json_t *status = calico_bgp_status(calico);

	if (!status)
		return;
	agent_metric(buf, "bgp_sessions", "gauge", "BGP sessions that are configured.",
		(double)json_array_size(json_object_get(status, "sessions")));
	agent_metric(buf, "bgp_sessions_established", "gauge", "BGP sessions that stand.",
		(double)json_integer_value(json_object_get(status, "established")));
	json_decref(status);
}

void calico_metrics(const struct calico *calico, struct buf *buf)
{
	agent_metric(buf, "nodes", "gauge", "Nodes in the store.", (double)collection_count(cluster_part(calico->store, CLUSTER_NODES)));
	agent_metric(buf, "blocks", "gauge", "IPAM blocks in the store.",
		(double)collection_count(cluster_part(calico->store, CLUSTER_BLOCKS)));
	metrics_of_pools(calico, buf);
	metrics_of_batch(calico, buf);
	agent_metric(buf, "ipam_requests", "gauge", "Requests of IPAM to the store that are under way.",
		(double)allocator_busy(calico->allocator));
	agent_metric(buf, "ipam_leader", "gauge", "1 when it is this agent that cleans up after deleted nodes.",
		calico->election && election_is_won(calico->election) ? 1 : 0);
	metrics_of_repair(calico, buf);
	metrics_of_bgp(calico, buf);
}
