/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of an audit: audit.c keeps who lives and what was found, audit_blocks.c judges the objects. Nobody else
 * includes it.
 */
#pragma once

#include "base/hash.h"
#include "ipam/audit.h"

struct audit_node {
	char *name;
	struct addr tunnels[IPAM_TUNNEL_COUNT];
	UT_hash_handle hh;
};

struct pod {
	char *key; /* namespace/name */
	char *node;
	bool finished;
	struct addr addrs[FAMILY_COUNT];
	UT_hash_handle hh;
};

/* Who has an address, whatever the blocks say. */
struct holder {
	struct addr addr;
	char *who;    /* for people */
	char *handle; /* of an attachment of this node; else null */
	const struct audit_node *node; /* whose tunnel's it is; else null */
	bool given;   /* a block shows it as given out */
	UT_hash_handle hh;
};

struct affinity {
	char *key;  /* CIDR and node */
	struct prefix cidr;
	char *name; /* of the object */
	char *state;
	bool seen; /* its block names it */
	UT_hash_handle hh;
};

/* What the blocks show of a handle. */
struct counted {
	char *handle;
	struct share {
		struct share *next;
		struct prefix cidr;
		json_int_t count;
		bool told;
	} *shares;
	bool seen; /* the object is there */
	UT_hash_handle hh;
};

struct audit {
	struct audit_options options;
	struct prefix *pools;
	struct audit_node *nodes;
	struct pod *pods;
	struct holder *holders;
	struct affinity *affinities;
	struct counted *handles;
	struct prefix *blocks;
	struct prefix *damaged; /* blocks that cannot be read: nothing is said of what lies in them */
	size_t damaged_count;
	struct audit_counts counts;
	struct audit_finding *findings;
	size_t finding_count;
	char own_batch[IPAM_HANDLE_MAX];
	bool stuck;
};

/* Notes that there was no memory. Returns memory. */
static inline void *audit_keep(struct audit *audit, void *memory)
{
	audit->stuck |= !memory;
	return memory;
}

/* malloc'ed, or null and the audit is stuck. */
char *audit_copy(struct audit *audit, const char *text);
char *audit_say(struct audit *audit, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Takes over both texts; null ones: nothing. */
void audit_find(struct audit *audit, enum audit_kind kind, uint64_t sequence, char *object, char *text);
char *audit_addr(struct audit *audit, const struct addr *addr);
char *audit_block_name(struct audit *audit, const struct prefix *cidr);

const struct audit_node *audit_find_node(const struct audit *audit, const char *name);
struct holder *audit_find_holder(const struct audit *audit, const struct addr *addr);
bool audit_is_damaged(const struct audit *audit, const struct prefix *prefix);
bool audit_is_in_pools(const struct audit *audit, const struct prefix *cidr);
