/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of the plan for pools: what one pass works with. pools_nodes.c and pools_blocks.c find
 * out what is believed; the others add to result->wanted. All return 0 or -ENOMEM.
 */
#pragma once

#include "plan/pools.h"

struct poolplan_node {
	const struct node *node;
	uint64_t order;
	bool usable[FAMILY_COUNT]; /* has an address, and nobody else has it */
	bool vtep[FAMILY_COUNT];   /* usable, and its vxlan device can be reached */
	bool ipip;                 /* usable, and its address of tunl0 is nobody else's */
	unsigned told;             /* bits of enum poolplan_gap and family: complained about already */
};

/* Why blocks of a sound node get no route. */
enum poolplan_gap { GAP_ADDRESS, GAP_VTEP, GAP_REACH };

struct poolplan_block {
	struct prefix cidr; /* of block: sorting looks at it often */
	const struct block *block;
	uint64_t order;
	const struct ippool *pool;  /* the innermost around it */
	struct poolplan_node *node; /* holder; null: none, one that is not known, or this node */
	bool own;
	bool believed;
};

struct poolplan_ring {
	const struct ippool *pool;
	size_t outer; /* index of the pool around it; SIZE_MAX: none */
};

struct poolplan {
	const struct plan_pools_input *input;
	struct plan_pools_result *result;
	bool active[FAMILY_COUNT];      /* this node has an address of that family */
	bool vxlan[FAMILY_COUNT], ipip; /* our devices */
	bool told_vxlan[FAMILY_COUNT], told_ipip; /* that this node lacks the tunnel's address */
	struct plan_mtu mtu;
	struct poolplan_ring *rings; /* by prefix */
	size_t ring_count;
	struct poolplan_node *nodes; /* by seniority, without this one */
	size_t node_count;
	struct poolplan_node **slots; /* by name */
	size_t slot_count;
	struct addr *taken; /* sorted: addresses of nodes, this one's too, of both families */
	size_t taken_count;
	struct addr *local; /* sorted: this node's addresses and its pods' */
	size_t local_count;
	struct poolplan_block *blocks; /* by prefix */
	size_t block_count;
	struct poolplan_block **kept; /* those that are believed: none overlaps another */
	size_t kept_count;
};

extern const char *const poolplan_family_name[FAMILY_COUNT];

int poolplan_complain(struct poolplan *plan, const char *kind, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
bool poolplan_is_balancer_only(const struct ippool *pool);
/* Is there one of these addresses (sorted) inside? */
bool poolplan_any_inside(const struct addr *addrs, size_t count, const struct prefix *prefix);
/* Is it this node's, or one of its pods'? */
bool poolplan_is_local(const struct poolplan *plan, const struct addr *addr);
int poolplan_addr_compare(const void *a, const void *b);

/* pools_nodes.c */
int poolplan_judge_nodes(struct poolplan *plan);
struct poolplan_node *poolplan_find_node(const struct poolplan *plan, const char *name);

/* pools_blocks.c */
int poolplan_sort_rings(struct poolplan *plan);
int poolplan_judge_blocks(struct poolplan *plan);
/* Not if it is a single address that was given to another node. */
bool poolplan_holds(const struct poolplan_block *block);
/* The believed block that holds the address, or null. */
const struct poolplan_block *poolplan_find_block(const struct poolplan *plan, const struct addr *addr);

/* pools_devices.c */
int poolplan_devices(struct poolplan *plan);
/* pools_routes.c */
int poolplan_routes(struct poolplan *plan);
/* pools_guard.c */
int poolplan_guard(struct poolplan *plan);
/* pools_nft.c; the next two write chains, pools_nat.c and pools_filter.c */
int poolplan_nft(struct poolplan *plan);
bool poolplan_has_nat(const struct poolplan *plan, int family_index);
int poolplan_nat(struct poolplan *plan, struct buf *buf);
int poolplan_filter(struct poolplan *plan, struct buf *buf);

/* Sets of table inet tulle; each exists in both families, with 4 or 6 behind its name. */
#define SET_POOLS "pools"         /* destinations that are not translated */
#define SET_NAT "nat_pools"       /* sources that are */
#define SET_NODES "nodes"         /* addresses of other nodes */
#define SET_VTEPS "vteps"         /* of those whose vxlan device is known */
#define SET_EXTERNALS "externals" /* externalNodesList */

extern const char *const poolplan_nft_word[FAMILY_COUNT]; /* of nft's address matches */
extern const char poolplan_nft_digit[FAMILY_COUNT];
/* Is this a name, or the start of one, that may stand in a ruleset? */
bool poolplan_nft_is_name(const char *text, size_t len);
