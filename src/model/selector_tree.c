/* SPDX-License-Identifier: Apache-2.0
 *
 * A recursive descent over the characters. Nodes, values and texts lie in three arrays, so that a selector of any
 * shape costs a handful of allocations; only a parenthesis makes the parser recurse, and those are counted.
 */
#include "model/selector_tree.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX (2u << 20)  /* bytes; no object of Kubernetes is larger */
#define LABEL_MAX 512
#define NESTING_MAX 600      /* the deepest that fits into a resource's 1024 characters is 509 */

struct reader {
	const char *text;
	size_t pos, len;
	unsigned nesting;
	size_t text_used;        /* of tree->texts */
	uint32_t node_room, value_room;
	struct selector_tree *tree;
	struct err *err;
};

/* -- characters -- */

static void skip_space(struct reader *r)
{
	r->pos += strspn(r->text + r->pos, " \t");
}

static bool is_label_char(char c)
{
	return isalnum((unsigned char)c) || (c && strchr("_./-", c));
}

static int expected(const struct reader *r, const char *what)
{
	char found[24];
	size_t n = 0;

	for (const char *p = r->text + r->pos; *p && n < sizeof(found) - 1; p++)
		found[n++] = *p >= 0x20 && *p < 0x7f ? *p : '?';
	found[n] = 0;
	if (!n)
		return err_set(r->err, -EINVAL, "selector ends at character %zu, expected %s", r->pos + 1, what);
	return err_set(r->err, -EINVAL, "selector has \"%s\" at character %zu, expected %s", found, r->pos + 1, what);
}

static bool take(struct reader *r, const char *token)
{
	size_t n = strlen(token);

	if (strncmp(r->text + r->pos, token, n) != 0)
		return false;
	r->pos += n;
	return true;
}

/* words: one or two with a blank between them, where the selector may have any white space or none. Only as a whole. */
static bool take_words(struct reader *r, const char *words)
{
	size_t start = r->pos;

	for (; *words; words++) {
		if (*words == ' ') {
			skip_space(r);
			continue;
		}
		if (r->text[r->pos] != *words)
			break;
		r->pos++;
	}
	if (!*words && !is_label_char(r->text[r->pos]))
		return true;
	r->pos = start;
	return false;
}

static int close_parenthesis(struct reader *r)
{
	skip_space(r);
	return take(r, ")") ? 0 : expected(r, "\")\"");
}

/* -- the tree -- */

static void *grow(void *array, size_t size, uint32_t count, uint32_t *room)
{
	uint32_t wanted = *room ? *room * 2 : 8;
	void *bigger;

	if (count < *room)
		return array;
	bigger = realloc(array, size * wanted);
	if (bigger)
		*room = wanted;
	return bigger;
}

static int no_memory(struct reader *r)
{
	return err_set(r->err, -ENOMEM, "selector: out of memory");
}

static int add_node(struct reader *r, enum selector_op op, const char *label, uint32_t *ret)
{
	struct selector_tree *tree = r->tree;
	struct selector_node *nodes = grow(tree->nodes, sizeof(*nodes), tree->count, &r->node_room);

	if (!nodes)
		return no_memory(r);
	tree->nodes = nodes;
	nodes[tree->count] = (struct selector_node){
		.op = op,
		.label = label,
		.value = tree->value_count,
		.first = SELECTOR_NONE,
		.last = SELECTOR_NONE,
		.next = SELECTOR_NONE,
		.previous = SELECTOR_NONE,
	};
	*ret = tree->count++;
	return 0;
}

static void add_child(struct selector_tree *tree, uint32_t parent, uint32_t child)
{
	struct selector_node *node = &tree->nodes[parent];

	tree->nodes[child].previous = node->last;
	if (node->last == SELECTOR_NONE)
		node->first = child;
	else
		tree->nodes[node->last].next = child;
	node->last = child;
}

/* Every token is followed by at least one other character of the selector, so len + 1 bytes hold all of them. */
static const char *keep_text(struct reader *r, const char *text, size_t len)
{
	char *copy = r->tree->texts + r->text_used;

	memcpy(copy, text, len);
	copy[len] = 0;
	r->text_used += len + 1;
	return copy;
}

/* -- tokens -- */

static int read_label(struct reader *r, const char **ret)
{
	const char *start = r->text + r->pos;
	size_t n = 0;

	while (is_label_char(start[n]))
		n++;
	if (!n)
		return expected(r, "a label's name");
	if (n > LABEL_MAX)
		return err_set(r->err, -EINVAL, "selector has a label of %zu characters at character %zu, expected at most %d", n,
			r->pos + 1, LABEL_MAX);
	/* nothing but a label: the one token that the text may end with, and an error everywhere */
	if (r->pos + n == r->len) {
		r->pos += n;
		return expected(r, "an operator or \")\" after the label");
	}
	r->pos += n;
	*ret = keep_text(r, start, n);
	return 0;
}

static int read_string(struct reader *r, uint32_t node)
{
	struct selector_tree *tree = r->tree;
	const char **values = grow(tree->values, sizeof(*values), tree->value_count, &r->value_room);
	const char *start, *end;

	if (!values)
		return no_memory(r);
	tree->values = values;
	skip_space(r);
	start = r->text + r->pos;
	if (*start != '"' && *start != '\'')
		return expected(r, "a text in quotes");
	end = strchr(start + 1, *start);
	if (!end)
		return expected(r, "a closing quote for this text");
	values[tree->value_count++] = keep_text(r, start + 1, (size_t)(end - start - 1));
	tree->nodes[node].value_count++;
	r->pos += (size_t)(end - start) + 1;
	return 0;
}

static int compare_values(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void sort_values(struct selector_tree *tree, struct selector_node *node)
{
	const char **values;
	uint32_t kept = 0;

	if (node->value_count < 2)
		return;
	values = tree->values + node->value;
	qsort(values, node->value_count, sizeof(*values), compare_values);
	for (uint32_t i = 0; i < node->value_count; i++)
		if (!kept || strcmp(values[kept - 1], values[i]) != 0)
			values[kept++] = values[i];
	node->value_count = kept;
	tree->value_count = node->value + kept;
}

static int read_set(struct reader *r, uint32_t node)
{
	skip_space(r);
	if (!take(r, "{"))
		return expected(r, "\"{\"");
	for (;;) {
		int rc;

		skip_space(r);
		if (take(r, "}"))
			break;
		rc = read_string(r, node);
		if (rc < 0)
			return rc;
		skip_space(r);
		if (!take(r, ",") && r->text[r->pos] != '}')
			return expected(r, "\",\" or \"}\"");
	}
	sort_values(r->tree, &r->tree->nodes[node]);
	return 0;
}

/* -- grammar -- */

/* Canonical word first; the others are read as the same. */
static const struct operator {
	const char *words;
	bool is_word, is_set;
	enum selector_op op;
} operators[] = {
	{"==", false, false, SELECTOR_EQUAL},
	{"!=", false, false, SELECTOR_NOT_EQUAL},
	{"contains", true, false, SELECTOR_CONTAINS},
	{"starts with", true, false, SELECTOR_STARTS_WITH},
	{"ends with", true, false, SELECTOR_ENDS_WITH},
	{"in", true, true, SELECTOR_IN},
	{"not in", true, true, SELECTOR_NOT_IN},
};

static int read_comparison(struct reader *r, uint32_t *ret)
{
	const char *label;
	int rc = read_label(r, &label);

	if (rc < 0)
		return rc;
	skip_space(r);
	for (size_t i = 0; i < ARRAY_SIZE(operators); i++) {
		const struct operator *o = &operators[i];

		if (!(o->is_word ? take_words(r, o->words) : take(r, o->words)))
			continue;
		rc = add_node(r, o->op, label, ret);
		if (rc < 0)
			return rc;
		return o->is_set ? read_set(r, *ret) : read_string(r, *ret);
	}
	return expected(r, "one of ==, !=, contains, starts with, ends with, in, not in");
}

static int read_has(struct reader *r, uint32_t *ret)
{
	const char *label;
	int rc;

	skip_space(r);
	rc = read_label(r, &label);
	if (rc < 0)
		return rc;
	rc = close_parenthesis(r);
	return rc < 0 ? rc : add_node(r, SELECTOR_HAS, label, ret);
}

static int read_word(struct reader *r, enum selector_op op, uint32_t *ret)
{
	int rc = close_parenthesis(r);

	return rc < 0 ? rc : add_node(r, op, NULL, ret);
}

static int read_or(struct reader *r, uint32_t *ret);

static int read_nested(struct reader *r, uint32_t *ret)
{
	int rc;

	if (++r->nesting > NESTING_MAX)
		return err_set(r->err, -EINVAL, "selector has more than %d parentheses in each other at character %zu",
			NESTING_MAX, r->pos);
	rc = read_or(r, ret);
	if (rc < 0)
		return rc;
	r->nesting--;
	return close_parenthesis(r);
}

static int read_primary(struct reader *r, uint32_t *ret)
{
	if (take(r, "("))
		return read_nested(r, ret);
	if (take(r, "has("))
		return read_has(r, ret);
	if (take(r, "all("))
		return read_word(r, SELECTOR_ALL, ret);
	if (take(r, "global("))
		return read_word(r, SELECTOR_GLOBAL, ret);
	if (!is_label_char(r->text[r->pos]))
		return expected(r, "a label's name, has(), all(), global(), \"!\" or \"(\"");
	return read_comparison(r, ret);
}

/* Any number of "!": two of them are none, also with a parenthesis in between. */
static int read_operand(struct reader *r, uint32_t *ret)
{
	bool negated = false;
	uint32_t child, node;
	int rc;

	for (skip_space(r); take(r, "!"); skip_space(r))
		negated = !negated;
	rc = read_primary(r, &child);
	if (rc == 0 && negated && r->tree->nodes[child].op == SELECTOR_NOT) {
		child = r->tree->nodes[child].first;
	} else if (rc == 0 && negated) {
		rc = add_node(r, SELECTOR_NOT, NULL, &node);
		if (rc == 0)
			add_child(r->tree, node, child);
		child = node;
	}
	if (rc == 0)
		*ret = child;
	return rc;
}

/* One or more operands between "word"s; a single one is itself, without a group around it. */
static int read_group(struct reader *r, enum selector_op op, const char *word,
	int (*operand)(struct reader *r, uint32_t *ret), uint32_t *ret)
{
	uint32_t group = SELECTOR_NONE, child, first;
	int rc = operand(r, &first);

	while (rc == 0) {
		skip_space(r);
		if (!take(r, word))
			break;
		if (group == SELECTOR_NONE) {
			rc = add_node(r, op, NULL, &group);
			if (rc < 0)
				break;
			add_child(r->tree, group, first);
		}
		rc = operand(r, &child);
		if (rc == 0)
			add_child(r->tree, group, child);
	}
	if (rc == 0)
		*ret = group == SELECTOR_NONE ? first : group;
	return rc;
}

static int read_and(struct reader *r, uint32_t *ret)
{
	return read_group(r, SELECTOR_AND, "&&", read_operand, ret);
}

static int read_or(struct reader *r, uint32_t *ret)
{
	return read_group(r, SELECTOR_OR, "||", read_and, ret);
}

static int read_whole(struct reader *r)
{
	int rc;

	skip_space(r);
	if (r->pos == r->len)
		return add_node(r, SELECTOR_ALL, NULL, &r->tree->root);
	rc = read_or(r, &r->tree->root);
	if (rc == 0 && r->pos != r->len)
		rc = expected(r, "\"&&\", \"||\" or the end");
	return rc;
}

int selector_tree_parse(const char *text, struct selector_tree *tree, struct err *err)
{
	struct reader r = {.text = text, .len = strlen(text), .tree = tree, .err = err};
	int rc;

	*tree = (struct selector_tree){0};
	if (r.len > TEXT_MAX)
		return err_set(err, -EINVAL, "selector has %zu characters, expected at most %u", r.len, TEXT_MAX);
	tree->texts = malloc(r.len + 1);
	rc = tree->texts ? read_whole(&r) : no_memory(&r);
	if (rc < 0)
		selector_tree_done(tree);
	return rc;
}

void selector_tree_done(struct selector_tree *tree)
{
	free(tree->nodes);
	free(tree->values);
	free(tree->texts);
	*tree = (struct selector_tree){0};
}

/* -- canonical text -- */

static const char *words_of(enum selector_op op)
{
	for (size_t i = 0; i < ARRAY_SIZE(operators); i++)
		if (operators[i].op == op)
			return operators[i].words;
	return "";
}

static void format_text(const char *text, struct buf *out)
{
	const char *quote = strchr(text, '"') ? "'" : "\"";

	buf_add_str(out, quote);
	buf_add_str(out, text);
	buf_add_str(out, quote);
}

static void format_label(const struct selector_node *node, const struct selector_words *words, struct buf *out)
{
	buf_add_str(out, words->prefix);
	buf_add_str(out, node->label);
}

static void format_comparison(const struct selector_tree *tree, const struct selector_node *node,
	const struct selector_words *words, struct buf *out)
{
	bool is_set = node->op == SELECTOR_IN || node->op == SELECTOR_NOT_IN;

	format_label(node, words, out);
	buf_add_str(out, " ");
	buf_add_str(out, words_of(node->op));
	buf_add_str(out, is_set ? " {" : " ");
	for (uint32_t i = 0; i < node->value_count; i++) {
		if (i)
			buf_add_str(out, ", ");
		format_text(tree->values[node->value + i], out);
	}
	buf_add_str(out, is_set ? "}" : "");
}

static void format_node(const struct selector_tree *tree, uint32_t index, const struct selector_words *words, struct buf *out);

static void format_group(const struct selector_tree *tree, const struct selector_node *group,
	const struct selector_words *words, struct buf *out)
{
	for (uint32_t i = group->first; i != SELECTOR_NONE; i = tree->nodes[i].next) {
		buf_add_str(out, i == group->first ? "(" : group->op == SELECTOR_AND ? " && " : " || ");
		format_node(tree, i, words, out);
	}
	buf_add_str(out, ")");
}

/* As deep as the text's parentheses: the parser has counted them. */
static void format_node(const struct selector_tree *tree, uint32_t index, const struct selector_words *words, struct buf *out)
{
	const struct selector_node *node = &tree->nodes[index];

	switch (node->op) {
	case SELECTOR_ALL:
		buf_add_str(out, words->all);
		break;
	case SELECTOR_GLOBAL:
		buf_add_str(out, words->global);
		break;
	case SELECTOR_HAS:
		buf_add_str(out, "has(");
		format_label(node, words, out);
		buf_add_str(out, ")");
		break;
	case SELECTOR_NOT:
		buf_add_str(out, "!");
		format_node(tree, node->first, words, out);
		break;
	case SELECTOR_AND:
	case SELECTOR_OR:
		format_group(tree, node, words, out);
		break;
	default:
		format_comparison(tree, node, words, out);
	}
}

void selector_tree_format(const struct selector_tree *tree, const struct selector_words *words, struct buf *out)
{
	static const struct selector_words plain = {"", "all()", "global()"};

	format_node(tree, tree->root, words ? words : &plain, out);
}
