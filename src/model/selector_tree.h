/* SPDX-License-Identifier: Apache-2.0
 *
 * A selector's text as a tree, and the tree's canonical text (reference/calico.md 7.4). Used by selector.c,
 * which turns the tree into something faster and throws it away, and selector_covers.c.
 *
 * Life cycle: selector_tree_parse fills a zeroed tree, selector_tree_done empties it; texts and values may be taken out
 * before.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "model/selector.h"

#include <stdint.h>

enum selector_op {
	/* leaves */
	SELECTOR_ALL,
	SELECTOR_GLOBAL,
	SELECTOR_HAS,
	SELECTOR_EQUAL,
	SELECTOR_NOT_EQUAL,
	SELECTOR_CONTAINS,
	SELECTOR_STARTS_WITH,
	SELECTOR_ENDS_WITH,
	SELECTOR_IN,
	SELECTOR_NOT_IN,
	/* groups */
	SELECTOR_NOT, /* one child */
	SELECTOR_AND, /* two or more */
	SELECTOR_OR,
};

/* No node: node 0 is a leaf or a group like the others, so the end of a list is this. */
#define SELECTOR_NONE UINT32_MAX

struct selector_node {
	enum selector_op op;
	const char *label;         /* leaves but all() and global() */
	uint32_t value, value_count; /* in values[]; sorted, each once */
	uint32_t first, last;      /* children */
	uint32_t next, previous;   /* siblings */
};

struct selector_tree {
	struct selector_node *nodes;
	uint32_t count, root;
	const char **values;
	uint32_t value_count;
	char *texts; /* what labels and values point into */
};

int selector_tree_parse(const char *text, struct selector_tree *tree, struct err *err);
/* words null: as they are written. */
void selector_tree_format(const struct selector_tree *tree, const struct selector_words *words, struct buf *out);
void selector_tree_done(struct selector_tree *tree);
