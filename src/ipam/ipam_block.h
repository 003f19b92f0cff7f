/* SPDX-License-Identifier: Apache-2.0
 *
 * A whole IPAMBlock (reference/calico.md 2.15, 3.4, 3.6): which address of a block is whose. Used by the rest
 * of src/ipam, and by whoever shows or checks IPAM. Pure.
 *
 * Life cycle: decoded from an object or made new, changed in memory, encoded into the object that replaces
 * the old one by compare-and-swap. Members that nobody here knows stay as they were. A block that contradicts
 * itself is refused: what is not understood is never rewritten.
 */
#pragma once

#include "base/addr.h"
#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IPAM_BLOCK_MAX 4096u /* addresses of a block: the largest that a pool may ask for */
#define IPAM_COOLDOWN_MAX 1200u

/* Whose an address is. Borrowed wherever it is an argument. */
struct ipam_owner {
	const char *handle;
	json_t *attributes; /* object of strings: node, namespace, pod, timestamp, type … */
};

/* What the addresses of one owner share. */
struct ipam_attr {
	json_t *json;        /* the entry as it is; owned */
	const char *handle;  /* inside json; null: none */
	int64_t released_at; /* seconds since the epoch; 0: in use, otherwise it cools down since then */
};

struct ipam_block {
	struct prefix cidr;
	char *affinity;     /* "host:NODE", "virtual:load-balancer"; null: nobody's */
	int64_t claim_time; /* seconds since the epoch; 0: not known */
	uint64_t sequence;
	bool deleted;
	size_t count;          /* addresses */
	int *allocations;      /* of each: index into attrs, -1 free */
	uint64_t *sequences;   /* of each: block's sequence number when it was given; 0: none */
	unsigned *unallocated; /* free ordinals, the one to be given next first */
	size_t free_count;
	struct ipam_attr *attrs;
	size_t attr_count;
	json_t *object; /* as read; owned */
};

/* Made for node (null: nobody). now: nanoseconds since the epoch. Null without memory. */
struct ipam_block *ipam_block_new(const struct prefix *cidr, const char *node, int64_t now);
/* -EINVAL: damaged; err names object and field. */
int ipam_block_decode(const json_t *object, struct ipam_block **ret, struct err *err);
/* The object that replaces what was read (or is created). New reference; null without memory. */
json_t *ipam_block_encode(const struct ipam_block *block);
/* The same with the sequence number one higher, as every write of an existing block has it. */
json_t *ipam_block_encode_next(struct ipam_block *block);
void ipam_block_free(struct ipam_block **block);

/* -- questions -- */

bool ipam_block_is_of(const struct ipam_block *block, const char *node);
/* -1: not of this block. */
int ipam_block_ordinal(const struct ipam_block *block, const struct addr *addr);
struct addr ipam_block_addr(const struct ipam_block *block, unsigned ordinal);
/* Null: free. */
const struct ipam_attr *ipam_block_owner(const struct ipam_block *block, unsigned ordinal);
/* A string of the owner's attributes, or null. */
const char *ipam_attr_get(const struct ipam_attr *attr, const char *key);
/* In use or free: an address that cools down is neither. */
bool ipam_attr_in_use(const struct ipam_attr *attr);
/* Nobody has an address of it but Windows' own reservation; a cooling address makes it count as not empty. */
bool ipam_block_is_empty(const struct ipam_block *block);
/* How many addresses this handle has in it. */
size_t ipam_block_held(const struct ipam_block *block, const char *handle);

/* -- changes in memory -- */

/* Which addresses nobody is given unasked. */
typedef bool (*ipam_reserved)(const void *ctx, const struct addr *addr);

/* Up to want free addresses, in turn; reserved ones keep their place. Returns how many; negative: -ENOMEM,
 * and nothing happened. reserved may be null. */
int ipam_block_take(struct ipam_block *block, const struct ipam_owner *owner, ipam_reserved reserved,
	const void *ctx, size_t want, struct addr *ret);
/* This very one. -EEXIST: somebody has it, or it cools down; -ERANGE: not of this block. */
int ipam_block_take_addr(struct ipam_block *block, const struct addr *addr, const struct ipam_owner *owner);
/* How many ipam_block_take would give. */
size_t ipam_block_count_free(const struct ipam_block *block, ipam_reserved reserved, const void *ctx);

/* What a releaser believes; a null handle and a sequence of 0 ask nothing. */
struct ipam_claim {
	struct addr addr;
	const char *handle;
	uint64_t sequence;
};

/* 1: it cools down from now on (ipam_block_collect makes it free); 0: nobody has it, or it cools down
 * already; -ESTALE: it is another's, or has been given anew since; -ERANGE. now: seconds since the epoch. */
int ipam_block_release(struct ipam_block *block, const struct ipam_claim *claim, int64_t now);
/* All of this handle. Returns how many, or -ENOMEM. */
int ipam_block_release_handle(struct ipam_block *block, const char *handle, int64_t now);
/* From one owner to another, without being free in between. 0; -ESTALE: it is not from's; -ERANGE. */
int ipam_block_move(
	struct ipam_block *block, const struct addr *addr, const char *from, const struct ipam_owner *to);
/* Frees what has cooled down, and drops attributes that nobody uses. True when something changed. */
bool ipam_block_collect(struct ipam_block *block, int64_t now, unsigned cooldown_s);
/* Makes it nobody's. */
void ipam_block_orphan(struct ipam_block *block);
