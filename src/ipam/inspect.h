/* SPDX-License-Identifier: Apache-2.0
 *
 * What people ask and tell IPAM by hand ("tullectl ipam"): who has which addresses, whether all of it agrees, and the
 * release of what nobody will release. Answers are JSON objects as text. Called by the agent's control socket.
 *
 * As with the allocator's other requests, ipam_cancel lets the work go on and done() does not come.
 */
#pragma once

#include "base/buf.h"
#include "ipam/allocator.h"
#include "ipam/audit.h"

/* rc: 0 or negative errno; text: the story then. answer: "" on failure; borrowed. */
typedef void (*inspect_done)(void *ctx, int rc, const char *text, const struct buf *answer);

/* What the store alone does not tell. The callbacks run on a small stack (fiber.h). */
struct inspect_source {
	/* audit_add_node for every node; audit_add_attachment for what this node has attached. */
	void (*nodes)(void *ctx, struct audit *audit);
	void (*attachments)(void *ctx, struct audit *audit);
	bool pods_known;  /* the store shows every pod of every node */
	unsigned look_ms; /* between the two looks of an audit */
	void *ctx;        /* outlives the allocator */
};

/* {"pools": [{name, cidr, total, used, resting, batch, borrowed, free, blocks}], "outside": {...}, "damaged": N}, and if
 * with_blocks "blocks": [{cidr, affinity, used, ...}] in the store's order. used: everything that is given out; of
 * these, batch is reserved for pods to come, and borrowed is of another node than its block. */
struct ipam_call *inspect_show(struct allocator *allocator, bool with_blocks, inspect_done done, void *ctx);

/* {ip, pool, block, affinity, state ("in use", "resting", "free", "in no block", "in no pool"), handle, attributes, sequence};
 * what is not known is null. block: that it was last seen in; null: of the size that its pool has now. */
struct ipam_call *inspect_address(struct allocator *allocator, const struct addr *addr, const struct prefix *block,
	inspect_done done, void *ctx);

/* {"counts": {...}, "problems": [{kind, object, text}]}: what two looks found alike. */
struct ipam_call *inspect_audit(struct allocator *allocator, const struct inspect_source *source, inspect_done done,
	void *ctx);

/* {"released": [{ip, handle, owner}]}. One address, or all of a handle and the handle. Without force only what an audit calls
 * leaked: else -EBUSY, and nothing happens. -ESTALE: it was given anew meanwhile. What nobody has is fine. */
struct inspect_release {
	const struct addr *addr; /* null: by handle */
	const struct prefix *block; /* as inspect_address */
	const char *handle;      /* in any case of letters, as the object's name; null: by address */
	bool force;
};
struct ipam_call *inspect_release(struct allocator *allocator, const struct inspect_source *source,
	const struct inspect_release *what, inspect_done done, void *ctx);
