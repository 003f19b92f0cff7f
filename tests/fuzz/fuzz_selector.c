/* SPDX-License-Identifier: Apache-2.0
 *
 * Input: a selector. What is accepted has a canonical text that is its own canonical text and means the same; the
 * compiled form decides as the tree does; a message is one line.
 */
#include "fuzz.h"

#include "base/cleanup.h"
#include "model/selector.h"
#include "model/selector_tree.h"

#include <string.h>

static bool leaf_holds(const struct selector_tree *tree, const struct selector_node *node, const char *value)
{
	const char *const *wanted = tree->values ? tree->values + node->value : NULL;
	bool among = false;

	if (node->op == SELECTOR_ALL || node->op == SELECTOR_GLOBAL)
		return true;
	if (!value)
		return node->op == SELECTOR_NOT_EQUAL || node->op == SELECTOR_NOT_IN;
	for (uint32_t i = 0; i < node->value_count; i++)
		among |= strcmp(wanted[i], value) == 0;
	switch (node->op) {
	case SELECTOR_EQUAL:
	case SELECTOR_IN:
		return among;
	case SELECTOR_NOT_EQUAL:
	case SELECTOR_NOT_IN:
		return !among;
	case SELECTOR_CONTAINS:
		return strstr(value, wanted[0]);
	case SELECTOR_STARTS_WITH:
		return strstr(value, wanted[0]) == value;
	case SELECTOR_ENDS_WITH:
		return strlen(value) >= strlen(wanted[0]) && strcmp(value + strlen(value) - strlen(wanted[0]), wanted[0]) == 0;
	default:
		return true;
	}
}

/* The grammar's meaning, word for word. */
static bool node_holds(const struct selector_tree *tree, uint32_t index, const struct labels *labels)
{
	const struct selector_node *node = &tree->nodes[index];
	bool result = node->op == SELECTOR_AND;

	if (node->op == SELECTOR_NOT)
		return !node_holds(tree, node->first, labels);
	if (node->op != SELECTOR_AND && node->op != SELECTOR_OR)
		return leaf_holds(tree, node, node->label ? labels_get(labels, node->label) : NULL);
	for (uint32_t i = node->first; i != SELECTOR_NONE; i = tree->nodes[i].next) {
		if (node->op == SELECTOR_AND)
			result &= node_holds(tree, i, labels);
		else
			result |= node_holds(tree, i, labels);
	}
	return result;
}

static void compare(const struct selector *selector, const struct selector_tree *tree, const struct selector *again)
{
	static const char *const sets[][4] = {
		{NULL}, {"a", "x", NULL}, {"a", "xyx", "b", ""}, {"has", "in", "not", "a"}, {"b", "x", "in", "y"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(sets); i++) {
		_cleanup_(labels_free) struct labels *labels = labels_new();

		for (size_t j = 0; j < 4 && sets[i][j]; j += 2)
			labels_set(labels, sets[i][j], sets[i][j + 1]);
		FUZZ_CHECK(selector_matches_labels(selector, labels) == node_holds(tree, tree->root, labels));
		FUZZ_CHECK(selector_matches_labels(selector, labels) == selector_matches_labels(again, labels));
		FUZZ_CHECK(!selector_is_all(selector) || selector_matches_labels(selector, labels));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(selector_free) struct selector *selector = NULL, *again = NULL;
	_cleanup_free_ char *text = strndup((const char *)data, size);
	char id[SELECTOR_ID_MAX], id_again[SELECTOR_ID_MAX];
	struct selector_tree tree;
	struct err err = ERR_INIT;

	if (selector_parse(text, &selector, &err) < 0) {
		FUZZ_CHECK(err.code < 0 && err.text[0] && !strchr(err.text, '\n') && !selector);
		return 0;
	}
	/* a canonical text may be longer than a text may be */
	if (strlen(selector_text(selector)) > 1u << 20)
		return 0;
	FUZZ_CHECK(selector_parse(selector_text(selector), &again, NULL) == 0);
	FUZZ_CHECK(selector_equal(selector, again));
	selector_id(selector, id);
	selector_id(again, id_again);
	FUZZ_CHECK(strcmp(id, id_again) == 0 && strlen(id) == SELECTOR_ID_MAX - 1);
	FUZZ_CHECK(selector_tree_parse(text, &tree, NULL) == 0);
	compare(selector, &tree, again);
	selector_tree_done(&tree);
	return 0;
}
