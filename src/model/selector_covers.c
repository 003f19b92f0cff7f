/* SPDX-License-Identifier: Apache-2.0
 *
 * Does one selector match whatever another one matches? Proved from the texts' trees, or not: what takes too many steps, or is
 * true for reasons that lie in several labels at once, counts as not proved.
 */
#include "model/selector_tree.h"

#include "base/cleanup.h"

#include <string.h>

#define STEPS_MAX 20000

/* A node of one of the trees, and whether it is turned around by a "!". */
struct part {
	const struct selector_tree *tree;
	uint32_t index;
	bool turned;
};

struct proof {
	unsigned steps;
};

static const struct selector_node *node_of(const struct part *part)
{
	return &part->tree->nodes[part->index];
}

/* Down to what is not a "!". */
static struct part part_of(const struct selector_tree *tree, uint32_t index, bool turned)
{
	while (tree->nodes[index].op == SELECTOR_NOT) {
		index = tree->nodes[index].first;
		turned = !turned;
	}
	return (struct part){tree, index, turned};
}

/* -- leaves: each is a set of values, or all that are not in one and that the label is not there at all -- */

static const char *value_of(const struct part *part, uint32_t i)
{
	return part->tree->values[node_of(part)->value + i];
}

static bool is_negative(const struct part *part)
{
	enum selector_op op = node_of(part)->op;

	return part->turned != (op == SELECTOR_NOT_EQUAL || op == SELECTOR_NOT_IN);
}

static bool is_listed(const struct part *part)
{
	enum selector_op op = node_of(part)->op;

	return op == SELECTOR_EQUAL || op == SELECTOR_IN || op == SELECTOR_NOT_EQUAL || op == SELECTOR_NOT_IN;
}

static bool starts(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static bool ends(const char *text, const char *with)
{
	size_t len = strlen(text), tail = strlen(with);

	return tail <= len && strcmp(text + len - tail, with) == 0;
}

/* Is it in the leaf's set? */
static bool holds(const struct part *part, const char *value)
{
	const struct selector_node *node = node_of(part);

	if (node->op == SELECTOR_HAS)
		return true;
	if (node->op == SELECTOR_CONTAINS)
		return strstr(value, value_of(part, 0));
	if (node->op == SELECTOR_STARTS_WITH)
		return starts(value, value_of(part, 0));
	if (node->op == SELECTOR_ENDS_WITH)
		return ends(value, value_of(part, 0));
	for (uint32_t i = 0; i < node->value_count; i++)
		if (strcmp(value, value_of(part, i)) == 0)
			return true;
	return false;
}

/* The set of inner lies in that of outer. */
static bool lies_in(const struct part *inner, const struct part *outer)
{
	enum selector_op op = node_of(inner)->op, around = node_of(outer)->op;

	if (around == SELECTOR_HAS)
		return true;
	if (is_listed(inner)) {
		for (uint32_t i = 0; i < node_of(inner)->value_count; i++)
			if (!holds(outer, value_of(inner, i)))
				return false;
		return true;
	}
	if (op == SELECTOR_HAS || is_listed(outer))
		return false;
	/* "starts with x" lies in what x itself is known to be by its start, or by what it contains; likewise the end */
	return (around == op || around == SELECTOR_CONTAINS) && holds(outer, value_of(inner, 0));
}

static bool has_none_of(const struct part *listed, const struct part *other)
{
	for (uint32_t i = 0; i < node_of(listed)->value_count; i++)
		if (holds(other, value_of(listed, i)))
			return false;
	return true;
}

static bool are_apart(const struct part *a, const struct part *b)
{
	enum selector_op op = node_of(a)->op;

	if (is_listed(a))
		return has_none_of(a, b);
	if (is_listed(b))
		return has_none_of(b, a);
	if (op != node_of(b)->op || (op != SELECTOR_STARTS_WITH && op != SELECTOR_ENDS_WITH))
		return false;
	return !holds(a, value_of(b, 0)) && !holds(b, value_of(a, 0));
}

static bool is_constant(const struct part *part)
{
	enum selector_op op = node_of(part)->op;

	return op == SELECTOR_ALL || op == SELECTOR_GLOBAL;
}

/* Whatever inner matches, outer does. */
static bool leaf_implies(const struct part *inner, const struct part *outer)
{
	if (is_constant(outer) || is_constant(inner))
		return node_of(inner)->op == node_of(outer)->op && inner->turned == outer->turned;
	if (strcmp(node_of(inner)->label, node_of(outer)->label) != 0)
		return false;
	if (is_negative(inner))
		return is_negative(outer) && lies_in(outer, inner);
	return is_negative(outer) ? are_apart(inner, outer) : lies_in(inner, outer);
}

/* -- groups -- */

enum shape { SHAPE_LEAF, SHAPE_AND, SHAPE_OR };

static enum shape shape_of(const struct part *part)
{
	enum selector_op op = node_of(part)->op;

	if (op != SELECTOR_AND && op != SELECTOR_OR)
		return SHAPE_LEAF;
	return (op == SELECTOR_AND) != part->turned ? SHAPE_AND : SHAPE_OR;
}

static bool is_all(const struct part *part)
{
	return node_of(part)->op == SELECTOR_ALL && !part->turned;
}

static bool is_none(const struct part *part)
{
	return node_of(part)->op == SELECTOR_ALL && part->turned;
}

static bool implies(struct proof *proof, const struct part *inner, const struct part *outer);

/* One side's children, each against the whole other side: all of them, or any. */
static bool children_imply(struct proof *proof, const struct part *group, const struct part *other, bool group_is_inner, bool all)
{
	const struct selector_tree *tree = group->tree;

	for (uint32_t i = node_of(group)->first; i != SELECTOR_NONE; i = tree->nodes[i].next) {
		struct part child = part_of(tree, i, group->turned);
		bool yes = group_is_inner ? implies(proof, &child, other) : implies(proof, other, &child);

		if (yes != all)
			return yes;
	}
	return all;
}

/* As deep as the texts' parentheses, which the parser has counted. */
static bool implies(struct proof *proof, const struct part *inner, const struct part *outer)
{
	enum shape in = shape_of(inner), out = shape_of(outer);

	if (++proof->steps > STEPS_MAX)
		return false;
	if (is_all(outer) || is_none(inner))
		return true;
	if (in == SHAPE_OR)
		return children_imply(proof, inner, outer, true, true);
	if (out == SHAPE_AND)
		return children_imply(proof, outer, inner, false, true);
	if (in == SHAPE_AND && children_imply(proof, inner, outer, true, false))
		return true;
	if (out == SHAPE_OR)
		return children_imply(proof, outer, inner, false, false);
	return in == SHAPE_LEAF && leaf_implies(inner, outer);
}

bool selector_covers(const struct selector *outer, const struct selector *inner)
{
	_cleanup_(selector_tree_done) struct selector_tree out = {0}, in = {0};
	struct proof proof = {0};
	struct part whole_in, whole_out;

	if (selector_is_all(outer) || selector_equal(outer, inner))
		return true;
	if (selector_tree_parse(selector_text(outer), &out, NULL) < 0 || selector_tree_parse(selector_text(inner), &in, NULL) < 0)
		return false;
	whole_in = part_of(&in, in.root, false);
	whole_out = part_of(&out, out.root, false);
	return implies(&proof, &whole_in, &whole_out);
}
