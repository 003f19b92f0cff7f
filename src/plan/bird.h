/* SPDX-License-Identifier: Apache-2.0
 *
 * From the model to BIRD's configuration: one BIRD 2 for both families, which speaks BGP as Calico's nodes do
 * (reference/calico.md 5.2, 5.3, 5.7). Pure. The agent calls it whenever something it reads has changed, and hands the
 * text to plane/bird.h.
 *
 * Routes between nodes whose pools encapsulate are the agent's (protocol 84): BIRD neither learns nor announces them.
 * What BGP says about the outside, and about pools without encapsulation, BIRD puts into the kernel's main table; where
 * the agent has a route too, the agent's metric is the better one.
 *
 * Nothing that an object says can be more than a value in the text: names are compared with what BIRD's grammar allows,
 * everything else is printed from numbers. Equal inputs give equal texts, in whatever order they come.
 */
#pragma once

#include "base/buf.h"
#include "model/bgp.h"
#include "model/block.h"
#include "model/ippool.h"
#include "model/node.h"
#include "model/service.h"

/* Routes that one peer may bring in, unless the input says otherwise; more are ignored, and the session stays. */
#define BIRD_IMPORT_LIMIT 50000
/* A peer's password: what TCP MD5 (RFC 2385) takes in Linux. */
#define BIRD_PASSWORD_MAX 80

struct bird_input {
	const char *node_name; /* this node; it is among nodes */
	const struct node *const *nodes;
	size_t node_count;
	const struct ippool *const *pools;
	size_t pool_count;
	const struct block *const *blocks; /* the whole cluster's: guests of others' blocks are announced from here */
	size_t block_count;
	const struct bgp_config *config;   /* "default", with what "node.NAME" of this node says laid over it */
	const struct bgp_port *ports;      /* of other nodes */
	size_t port_count;
	const struct bgp_peer *const *peers;
	size_t peer_count;
	const struct bgp_filter *const *filters;
	size_t filter_count;
	const struct felix *felix;
	const struct prefix *services; /* what this node announces, by bird_services() */
	size_t service_count;
	/* The password that ref names; null: it is not there. Borrowed until the call ends. A Secret that cannot be read
	 * for the moment should keep its last value: a session without its password is left out. */
	const char *(*secret)(void *ctx, const struct secret_ref *ref);
	void *secret_ctx;
	struct addr router_id;   /* IPv4; unset: the node's IPv4 address, else from the node's name */
	uint32_t import_limit;   /* 0: BIRD_IMPORT_LIMIT */
	const char *log_path;    /* null: stderr */
	/* What cannot be used: "BGPPeer rack1", "spec.asNumber: …". May be null. */
	void (*complain)(void *ctx, const char *object, const char *text);
	void *complain_ctx;
};

/* Appends the configuration. 0, or -ENOMEM, -EMSGSIZE. */
int bird_build(const struct bird_input *input, struct buf *ret);

/* -- services (5.7) -- */

struct bird_prefixes {
	struct prefix *items; /* sorted, each once */
	size_t count, room;
};

struct bird_services {
	const struct service *const *services;
	size_t service_count;
	const struct endpoint_slice *const *slices;
	size_t slice_count;
};

/* What own announces. ret is set on success only; bird_prefixes_free. 0 or -ENOMEM. */
int bird_services(const struct bgp_config *config, const struct node *own, const struct bird_services *services,
	struct bird_prefixes *ret);
void bird_prefixes_free(struct bird_prefixes *prefixes);
