/* SPDX-License-Identifier: Apache-2.0
 *
 * Test nodes: a store each, all on one event loop, which write down what their store told them.
 */
#pragma once

#include "flannel/flannel.h"
#include "store/store.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define NODE_PEERS 64

struct node {
	struct store *store;
	struct lease want;
	bool acquire_at_once; /* as soon as there is a network */
	struct network network;
	struct lease own;
	struct lease peers[NODE_PEERS];
	int peer_count;
	int networks, acquired, lost, synced, lease_events, gone_events, problems, found;
	struct lease found_lease;
	char cni[256];
	char story[2048]; /* the last problem as "key: text" */
	char story_of[16][512]; /* open stories */
};

static inline struct lease *node_peer(struct node *node, const char *key)
{
	for (int i = 0; i < node->peer_count; i++)
		if (strcmp(node->peers[i].key, key) == 0)
			return &node->peers[i];
	return NULL;
}

static inline const char *node_story(struct node *node, const char *key)
{
	for (int i = 0; i < 16; i++)
		if (node->story_of[i][0] && strncmp(node->story_of[i], key, strlen(key)) == 0 &&
			node->story_of[i][strlen(key)] == ':')
			return node->story_of[i];
	return NULL;
}

static inline void node_network(void *ctx, const struct network *network)
{
	struct node *node = ctx;

	node->network = *network;
	node->networks++;
	if (node->acquire_at_once)
		store_acquire(node->store, &node->want);
}

static inline void node_cni(void *ctx, const char *text)
{
	struct node *node = ctx;

	snprintf(node->cni, sizeof(node->cni), "%s", text);
}

static inline void node_acquired(void *ctx, const struct lease *own)
{
	struct node *node = ctx;

	assert_null(node_peer(node, own->key));
	node->own = *own;
	node->acquired++;
}

static inline void node_lost(void *ctx)
{
	((struct node *)ctx)->lost++;
}

static inline void node_lease(void *ctx, const struct lease *lease)
{
	struct node *node = ctx;
	struct lease *peer = node_peer(node, lease->key);

	assert_true(node->acquired > 0);
	node->lease_events++;
	if (!peer) {
		assert_true(node->peer_count < NODE_PEERS);
		peer = &node->peers[node->peer_count++];
	}
	*peer = *lease;
}

static inline void node_gone(void *ctx, const char *key)
{
	struct node *node = ctx;
	struct lease *peer = node_peer(node, key);

	assert_non_null(peer);
	*peer = node->peers[--node->peer_count];
	node->gone_events++;
}

static inline void node_synced(void *ctx)
{
	((struct node *)ctx)->synced++;
}

static inline void node_problem(void *ctx, const char *key, const char *text)
{
	struct node *node = ctx;
	const char *old = node_story(node, key);

	node->problems++;
	snprintf(node->story, sizeof(node->story), "%s: %s", key, text);
	if (old)
		*(char *)old = 0;
	for (int i = 0; *text && i < 16; i++) {
		if (node->story_of[i][0])
			continue;
		snprintf(node->story_of[i], sizeof(node->story_of[i]), "%s: %s", key, text);
		break;
	}
}

static inline void node_found(void *ctx, const struct lease *own)
{
	struct node *node = ctx;

	node->found++;
	if (own)
		node->found_lease = *own;
}

static const struct store_events node_events = {
	.network = node_network,
	.cni_conf = node_cni,
	.acquired = node_acquired,
	.lost = node_lost,
	.lease = node_lease,
	.lease_gone = node_gone,
	.synced = node_synced,
	.problem = node_problem,
};

/* A vxlan node with public address 192.0.2.n. */
static inline struct lease node_want(int n)
{
	struct lease want = {0};

	want.public_ip[FAMILY_4] = addr_from_4(0xc0000200u + (uint32_t)n);
	snprintf(want.backend, sizeof(want.backend), "vxlan");
	want.has_vni = true;
	want.vni = 1;
	want.vtep_mac[FAMILY_4] = (struct mac){{2, 0, 0, 0, 0, (uint8_t)n}};
	return want;
}

static inline double test_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static inline void test_turn(struct event_base *base)
{
	struct timeval tv = {.tv_usec = 20000};

	event_base_loopexit(base, &tv);
	event_base_loop(base, EVLOOP_ONCE);
}

/* Runs the loop until the condition holds; fails after 20 seconds. */
#define WAIT(base, condition)                                                          \
	do {                                                                           \
		double end_ = test_now() + 20;                                         \
		while (!(condition)) {                                                 \
			if (test_now() > end_)                                         \
				fail_msg("timed out waiting for: %s", #condition);     \
			test_turn(base);                                               \
		}                                                                      \
	} while (0)

/* Runs the loop for a while: for what must not happen. */
static inline void test_run(struct event_base *base, double seconds)
{
	for (double end = test_now() + seconds; test_now() < end;)
		test_turn(base);
}
