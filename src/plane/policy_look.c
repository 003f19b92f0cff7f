/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/policy_internal.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#define FULL_LENGTH 128 /* of an address */

/* As now_short() of the programs. */
static uint64_t now_short(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return ((uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec) >> 20;
}

int policy_plane_find_way(const struct policy_plane *plane, const struct addr *to, uint32_t *ret_ifindex, struct express_slot *ret_slot)
{
	const struct packet_addr addr = packet_addr_of(to);
	const struct packet_prefix prefix = {.len = FULL_LENGTH, .addr = addr};
	uint32_t index;

	if (!bpf_map_lookup_elem(plane->maps.fd[POLICY_MAP_LOCALS], &addr, &index)) {
		*ret_ifindex = index;
		return 0;
	}
	if (bpf_map_lookup_elem(plane->maps.fd[POLICY_MAP_REMOTES], &prefix, &index) || !index ||
		bpf_map_lookup_elem(plane->maps.fd[POLICY_MAP_SLOTS], &index, ret_slot) || ret_slot->kind == EXPRESS_NONE)
		return -ENOENT;
	*ret_ifindex = 0;
	return 0;
}

struct search {
	struct packet_addr local, remote;
	uint32_t epoch;
	uint64_t now;
	void (*each)(void *ctx, const struct policy_flow_seen *flow);
	void *ctx;
};

static int look(void *ctx, const void *key_bytes, const void *flow_bytes)
{
	const struct search *search = ctx;
	struct policy_flow_seen seen;
	struct policy_flow_key key;
	struct policy_flow flow;

	memcpy(&key, key_bytes, sizeof(key));
	if (memcmp(&key.local, &search->local, sizeof(key.local)) || memcmp(&key.remote, &search->remote, sizeof(key.remote)))
		return 0;
	memcpy(&flow, flow_bytes, sizeof(flow));
	seen = (struct policy_flow_seen){.local_port = ntohs(key.local_port), .remote_port = ntohs(key.remote_port),
		.protocol = key.protocol, .flags = flow.flags, .current = flow.epoch == search->epoch,
		.has_way = flow.flags & POLICY_FLOW_EXPRESS && flow.way.slot,
		.idle_ms = search->now > flow.seen ? ((search->now - flow.seen) << 20) / 1000000 : 0};
	search->each(search->ctx, &seen);
	return 0;
}

int policy_plane_each_flow(const struct policy_plane *plane, const struct addr *local, const struct addr *remote,
	void (*each)(void *ctx, const struct policy_flow_seen *flow), void *ctx, struct err *err)
{
	struct search search = {packet_addr_of(local), packet_addr_of(remote), plane->state.epoch, now_short(), each, ctx};
	const struct map_walk walk = {sizeof(struct policy_flow_key), sizeof(struct policy_flow), look, &search};
	int r = map_walk(plane->maps.fd[POLICY_MAP_FLOWS], &walk);

	return r ? err_set(err, r, "reading policy map flows: %s", strerror(-r)) : 0;
}
