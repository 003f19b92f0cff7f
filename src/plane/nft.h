/* SPDX-License-Identifier: Apache-2.0
 *
 * Our own table, inet tulle: the plan's text goes to "nft -f -" as one transaction when it changed, or when somebody
 * changed the table; what stands is recognised by a stateless listing, taken after each transaction.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "plane/process.h"

#include <stdbool.h>
#include <stdint.h>

#define CHILDREN_KEPT 16

/* The last children: their doings are not foreign changes. */
struct children {
	pid_t pids[CHILDREN_KEPT];
	unsigned next;
};
int children_run(struct children *children, const char *const *argv, const char *input, size_t len,
	struct process_result *ret, struct err *err);

struct nft {
	const char *program;
	struct buf applied;  /* the text in force */
	uint64_t listing;    /* hash of the table as nft lists it, 0 = unknown */
	bool dirty;          /* somebody may have changed it */
	bool known;          /* the first apply is done */
	bool kept;           /* a table that stands was left as it is */
};

void nft_init(struct nft *nft, const char *program);
void nft_done(struct nft *nft);
enum nft_care {
	NFT_CARE_NONE,       /* an empty text removes the table */
	NFT_CARE_FOREIGN,    /* ... only if it is ours from before */
	NFT_CARE_STANDING,   /* the same, and a new text waits as long as a table stands */
};
/* *ret_repaired: it had been changed. */
int nft_apply(struct nft *nft, const struct buf *text, enum nft_care care, struct children *children, bool *ret_repaired,
	struct err *err);
/* Removes the table (dry: only looks for it); *ret_there: there was one. */
int nft_remove(struct nft *nft, struct children *children, bool dry, bool *ret_there, struct err *err);
