/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/peers.h"

#include "base/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct peer {
	struct lease lease;
	UT_hash_handle hh;
};

struct peers {
	struct peer *by_key;
	uint64_t order; /* 0: the first full list is still coming in */
};

struct peers *peers_new(void)
{
	return calloc(1, sizeof(struct peers));
}

void peers_free(struct peers *peers)
{
	struct peer *peer;
	struct peer *next;

	if (!peers)
		return;
	HASH_ITER (hh, peers->by_key, peer, next) {
		HASH_DEL(peers->by_key, peer);
		free(peer);
	}
	free(peers);
}

int peers_put(struct peers *peers, const struct lease *lease)
{
	uint64_t order = peers->order;
	struct peer *peer;
	int changed = 1;

	HASH_FIND_STR(peers->by_key, lease->key, peer);
	if (peer) {
		changed = !lease_equal(&peer->lease, lease);
		if (!changed)
			order = peer->lease.order;
	} else {
		peer = calloc(1, sizeof(*peer));
		if (!peer)
			return -ENOMEM;
		memcpy(peer->lease.key, lease->key, sizeof(peer->lease.key));
		HASH_ADD_STR(peers->by_key, lease.key, peer);
	}
	peer->lease = *lease;
	peer->lease.order = order;
	if (changed && peers->order)
		peers->order++;
	return changed;
}

void peers_settle(struct peers *peers)
{
	if (!peers->order)
		peers->order = 1;
}

bool peers_del(struct peers *peers, const char *key)
{
	struct peer *peer;

	HASH_FIND_STR(peers->by_key, key, peer);
	if (!peer)
		return false;
	HASH_DEL(peers->by_key, peer);
	free(peer);
	return true;
}

size_t peers_count(const struct peers *peers)
{
	return HASH_COUNT(peers->by_key);
}

const struct lease **peers_list(const struct peers *peers)
{
	size_t count = peers_count(peers);
	const struct lease **list = count ? malloc(count * sizeof(struct lease *)) : NULL;
	struct peer *peer;
	size_t i = 0;

	if (!list)
		return NULL;
	for (peer = peers->by_key; peer; peer = peer->hh.next)
		list[i++] = &peer->lease;
	return list;
}
