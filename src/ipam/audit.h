/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether IPAM's objects agree with each other and with what lives: what "tullectl ipam check" tells. Takes one thing
 * at a time, in the order of the functions below, and keeps of each no more than the comparison needs. Pure.
 *
 * Life cycle: audit_new, the audit_add_*, audit_finish, audit_findings, audit_free. The store is not read in one moment:
 * who wants no false alarm makes two audits a moment apart and keeps what both found (audit_keep_common).
 */
#pragma once

#include "ipam/ipam_names.h"

#include <jansson.h>

struct audit;

enum audit_kind {
	AUDIT_BLOCK_DAMAGED,         /* it contradicts itself */
	AUDIT_BLOCK_OUTSIDE_POOLS,
	AUDIT_BLOCKS_OVERLAP,
	AUDIT_BLOCK_WITHOUT_NODE,    /* its node is gone */
	AUDIT_BLOCK_WITHOUT_AFFINITY,
	AUDIT_AFFINITY_WITHOUT_BLOCK,
	AUDIT_LEAKED,                /* an address that is given out, and nobody lives who has it */
	AUDIT_USED_TWICE,            /* two have it, whatever IPAM says */
	AUDIT_NOT_GIVEN,             /* somebody has it, and no block shows it as given out */
	AUDIT_WRONG_OWNER,           /* somebody has it, and its block shows another's handle */
	AUDIT_HANDLE_MISSING,
	AUDIT_HANDLE_COUNT,          /* it counts other than the blocks show */
	AUDIT_HANDLE_DAMAGED,
	AUDIT_KIND_COUNT
};
/* "leaked", "used-twice", … */
const char *audit_kind_name(enum audit_kind kind);

struct audit_finding {
	enum audit_kind kind;
	char *object;      /* "IPAMBlock 10-65-0-0-26", or the address itself */
	char *text;
	uint64_t sequence; /* of a leaked address: the number under which it was given */
};

struct audit_options {
	const char *node;           /* this one; borrowed */
	const struct prefix *pools; /* copied */
	size_t pool_count;
	bool pods_known; /* the store shows every pod of every node */
};

/* Null without memory. */
struct audit *audit_new(const struct audit_options *options);
void audit_free(struct audit *audit); /* null is fine */

/* -- what there is, in this order; arguments are copied. Without memory the audit is stuck, audit_finish tells. -- */

/* tunnels: the addresses that it publishes, by enum ipam_tunnel; unset: none. */
void audit_add_node(struct audit *audit, const char *name, const struct addr tunnels[IPAM_TUNNEL_COUNT]);

struct audit_pod {
	const char *namespace, *name;
	const char *node; /* null: not on any yet */
	bool finished;    /* it keeps no address */
	struct addr addrs[FAMILY_COUNT]; /* unset: not known (yet) */
};
void audit_add_pod(struct audit *audit, const struct audit_pod *pod);
/* What this node has attached. */
void audit_add_attachment(struct audit *audit, const char *handle, const struct addr addrs[FAMILY_COUNT]);
/* Objects of the store. */
void audit_add_affinity(struct audit *audit, const json_t *object);
void audit_add_block(struct audit *audit, const json_t *object);
void audit_add_handle(struct audit *audit, const json_t *object);

/* 0 or -ENOMEM. */
int audit_finish(struct audit *audit);

/* -- what was found; after audit_finish -- */

struct audit_counts {
	size_t nodes, pods, attachments, affinities, blocks, addresses, handles;
};
void audit_count(const struct audit *audit, struct audit_counts *ret);
/* Sorted by kind, then object. */
const struct audit_finding *audit_findings(const struct audit *audit, size_t *ret_count);
/* Forgets what the earlier one did not find as well. */
void audit_keep_common(struct audit *audit, const struct audit *earlier);
