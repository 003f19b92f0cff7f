/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by the files that write BIRD's configuration, and by nobody else: names (bird_names.c), sessions
 * (bird_peers.c), their text (bird_session.c), BGPFilters (bird_filter.c), routes and the filters around them
 * (bird_rules.c).
 */
#pragma once

#include "base/hash.h"
#include "plan/bird.h"

/* BIRD takes 64; a name that is longer ends in its hash. */
#define BIRD_NAME_MAX 64
#define BIRD_METRIC_TOP 2147483647u /* LOCAL_PREF = this - metric */

/* A node by its address. */
struct node_at {
	struct addr addr;
	const struct node *node;
	UT_hash_handle hh;
};

struct session {
	struct session_key {
		struct addr remote;
		uint32_t port; /* 0: 179, or the peer node's listenPort */
	} key;
	char name[BIRD_NAME_MAX];
	char origin[128];              /* for people: "mesh with node b", "BGPPeer rack1" */
	const struct bgp_peer *peer;   /* null: mesh */
	const struct node *node;       /* whose address it is; null: outside the cluster */
	uint16_t port;                 /* of the peer, host order */
	uint32_t local_as, remote_as;
	bool passive;
	struct addr source;            /* unset: the kernel chooses */
	const char *password;          /* null: none */
	struct addr cluster_id;        /* set: the peer is our client */
	bool denied;                   /* a filter is missing or unusable: no routes either way */
	UT_hash_handle hh;
};

struct bird_plan {
	const struct bird_input *input;
	const struct node *own;
	const struct bgp_config *config;
	struct node_at *places, *place_table;
	const struct node **nodes;           /* sorted copies of the input's arrays */
	const struct ippool **pools;
	const struct block **blocks;
	const struct bgp_peer **peers;
	const struct bgp_filter **filters;
	bool *filter_bad;                    /* beside filters */
	struct session **sessions;           /* in the order of the text */
	size_t session_count, session_room;
	struct session *session_table;
	struct buf *out;
};

__attribute__((format(printf, 3, 4))) void bird_complain(
	const struct bird_plan *plan, const char *object, const char *fmt, ...);

/* -- names -- */
/* Letters, digits, '.', '-', '_': what Kubernetes allows for objects. */
bool bird_name_is_plain(const char *name);
/* What a pattern for interfaces may have. */
bool bird_interface_is_plain(const char *name);
/* Between quotation marks in BIRD: neither those nor line breaks. */
bool bird_text_is_plain(const char *text);
/* name, with what is not plain as '?'. */
void bird_name_shown(const char *name, char *ret, size_t size);
/* PREFIX and the address with '_' for '.' and ':'. */
void bird_protocol_name(const char *prefix, const struct addr *addr, uint16_t port, char ret[static BIRD_NAME_MAX]);
/* A function's name for a BGPFilter, to be written between apostrophes. */
void bird_function_name(const char *filter, const char *direction, int family, char ret[static BIRD_NAME_MAX]);
uint32_t bird_hash(const char *text);

/* -- parts of the text; each returns 0 or -ENOMEM, or cannot fail but by the buffer -- */
int bird_plan_sessions(struct bird_plan *plan);
const struct node *bird_node_at(const struct bird_plan *plan, const struct addr *addr);
void bird_put_sessions(struct bird_plan *plan);
void bird_put_filters(struct bird_plan *plan); /* and fills filter_bad */
/* Index in plan->filters, or -1. */
int bird_find_filter(const struct bird_plan *plan, const char *name);
void bird_put_rules(struct bird_plan *plan, int family);
void bird_put_protocols(struct bird_plan *plan, int family);
/* Host routes to peers behind reachableBy are there. */
bool bird_has_gateways(const struct bird_plan *plan, int family);

static inline char bird_digit(int family)
{
	return family == FAMILY_4 ? '4' : '6';
}

static inline bool bird_is_internal(const struct session *session)
{
	return session->local_as == session->remote_as;
}

static inline int bird_family_of(const struct prefix *prefix)
{
	return family_index(prefix->family);
}
