/* SPDX-License-Identifier: Apache-2.0
 *
 * A selector is compiled into a row of tests, each with two exits: the next test when it holds, the next when it does
 * not. "!" only swaps the exits and "&&" and "||" only say where they lead, so evaluation is one loop over those tests
 * that still matter, without recursion, whatever the selector's shape.
 */
#include "model/selector.h"

#include "base/cleanup.h"
#include "model/selector_tree.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Exits that are no test. */
#define YES (UINT32_MAX - 1)
#define NO UINT32_MAX

struct test {
	enum selector_op op;
	uint32_t value_count;
	const char *label;
	const char **values;
	uint32_t then, otherwise;
};

struct selector {
	struct test *tests;
	uint32_t count, start;
	size_t owners;
	bool has_global;
	const char **values;
	char *texts; /* labels and values point into it */
	char *canonical;
};

/* -- compiling -- */

/* Tests are appended last one first: where an exit leads is known before the test is made. Returns where to begin. */
static uint32_t compile(struct selector *s, const struct selector_tree *tree, uint32_t index, uint32_t then,
	uint32_t otherwise)
{
	const struct selector_node *node = &tree->nodes[index];
	uint32_t entry = node->op == SELECTOR_AND ? then : otherwise;

	switch (node->op) {
	case SELECTOR_GLOBAL:
		s->has_global = true;
		return then;
	case SELECTOR_ALL:
		return then;
	case SELECTOR_NOT:
		return compile(s, tree, node->first, otherwise, then);
	case SELECTOR_AND:
		for (uint32_t i = node->last; i != SELECTOR_NONE; i = tree->nodes[i].previous)
			entry = compile(s, tree, i, entry, otherwise);
		return entry;
	case SELECTOR_OR:
		for (uint32_t i = node->last; i != SELECTOR_NONE; i = tree->nodes[i].previous)
			entry = compile(s, tree, i, then, entry);
		return entry;
	default:
		s->tests[s->count] = (struct test){
			.op = node->op,
			.value_count = node->value_count,
			.label = node->label,
			.values = tree->values ? tree->values + node->value : NULL,
			.then = then,
			.otherwise = otherwise,
		};
		return s->count++;
	}
}

static int selector_make(struct selector_tree *tree, struct selector **ret)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT(64u << 20);
	_cleanup_(selector_free) struct selector *s = calloc(1, sizeof(*s));

	selector_tree_format(tree, NULL, &text);
	if (!s || text.error)
		return -ENOMEM;
	s->tests = calloc(tree->count, sizeof(*s->tests));
	s->canonical = strdup(buf_text(&text));
	if (!s->tests || !s->canonical)
		return -ENOMEM;
	s->start = compile(s, tree, tree->root, YES, NO);
	s->owners = 1;
	s->values = TAKE_PTR(tree->values);
	s->texts = TAKE_PTR(tree->texts);
	*ret = TAKE_PTR(s);
	return 0;
}

int selector_parse(const char *text, struct selector **ret, struct err *err)
{
	struct selector_tree tree;
	int rc = selector_tree_parse(text, &tree, err);

	if (rc < 0)
		return rc;
	rc = selector_make(&tree, ret);
	selector_tree_done(&tree);
	return rc < 0 ? err_set(err, rc, "selector: out of memory") : 0;
}

struct selector *selector_share(const struct selector *selector)
{
	struct selector *s = (struct selector *)selector; /* what it says stays as it is */

	s->owners++;
	return s;
}

int selector_rewrite(const char *text, const struct selector_words *words, struct buf *out, struct err *err)
{
	struct selector_tree tree;
	int rc = selector_tree_parse(text, &tree, err);

	if (rc < 0)
		return rc;
	selector_tree_format(&tree, words, out);
	selector_tree_done(&tree);
	return out->error ? err_set(err, out->error, "selector: no room") : 0;
}

void selector_free(struct selector **selector)
{
	struct selector *s = *selector;

	*selector = NULL;
	if (!s || (s->owners && --s->owners))
		return;
	free(s->tests);
	free(s->values);
	free(s->texts);
	free(s->canonical);
	free(s);
}

/* -- evaluation -- */

static bool is_among(const struct test *test, const char *value)
{
	uint32_t low = 0, high = test->value_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = strcmp(test->values[middle], value);

		if (order == 0)
			return true;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

static bool ends_with(const char *value, const char *end)
{
	size_t have = strlen(value), wanted = strlen(end);

	return have >= wanted && memcmp(value + have - wanted, end, wanted) == 0;
}

static bool holds(const struct test *test, const char *value)
{
	if (!value)
		return test->op == SELECTOR_NOT_EQUAL || test->op == SELECTOR_NOT_IN;
	switch (test->op) {
	case SELECTOR_EQUAL:
		return strcmp(value, test->values[0]) == 0;
	case SELECTOR_NOT_EQUAL:
		return strcmp(value, test->values[0]) != 0;
	case SELECTOR_CONTAINS:
		return strstr(value, test->values[0]);
	case SELECTOR_STARTS_WITH:
		return strncmp(value, test->values[0], strlen(test->values[0])) == 0;
	case SELECTOR_ENDS_WITH:
		return ends_with(value, test->values[0]);
	case SELECTOR_IN:
		return is_among(test, value);
	case SELECTOR_NOT_IN:
		return !is_among(test, value);
	default: /* has() */
		return true;
	}
}

bool selector_matches(const struct selector *selector, selector_lookup lookup, const void *ctx)
{
	uint32_t i = selector->start;

	while (i < YES) {
		const struct test *test = &selector->tests[i];

		i = holds(test, lookup(ctx, test->label)) ? test->then : test->otherwise;
	}
	return i == YES;
}

static const char *lookup_label(const void *ctx, const char *key)
{
	return labels_get(ctx, key);
}

bool selector_matches_labels(const struct selector *selector, const struct labels *labels)
{
	return selector_matches(selector, lookup_label, labels);
}

bool selector_is_all(const struct selector *selector)
{
	return selector->start == YES && !selector->has_global;
}

bool selector_requires(const struct selector *selector, size_t index, const char **ret_key, const char **ret_value)
{
	uint32_t i = selector->start;

	/* As long as a test that fails ends it, each test has to hold. */
	while (i < YES && selector->tests[i].otherwise == NO) {
		const struct test *test = &selector->tests[i];

		if (test->op == SELECTOR_EQUAL && !index--) {
			*ret_key = test->label;
			*ret_value = test->values[0];
			return true;
		}
		i = test->then;
	}
	return false;
}

bool selector_has_global(const struct selector *selector)
{
	return selector->has_global;
}

/* -- identity -- */

const char *selector_text(const struct selector *selector)
{
	return selector->canonical;
}

bool selector_equal(const struct selector *a, const struct selector *b)
{
	return strcmp(a->canonical, b->canonical) == 0;
}

/* RFC 4648 section 5, without padding: what is left of the last three bytes is two or three characters. */
static void base64url(const unsigned char *bytes, size_t len, char *ret)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

	for (size_t bit = 0; bit < len * 8; bit += 6) {
		unsigned pair = (unsigned)bytes[bit / 8] << 8 | (bit / 8 + 1 < len ? bytes[bit / 8 + 1] : 0);

		*ret++ = digits[pair >> (10 - bit % 8) & 0x3f];
	}
	*ret = 0;
}

void selector_id(const struct selector *selector, char ret[static SELECTOR_ID_MAX])
{
	unsigned char digest[EVP_MAX_MD_SIZE] = {0};
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	if (ctx && EVP_DigestInit_ex(ctx, EVP_sha224(), NULL)) {
		EVP_DigestUpdate(ctx, "s:", 2);
		EVP_DigestUpdate(ctx, selector->canonical, strlen(selector->canonical));
		EVP_DigestFinal_ex(ctx, digest, NULL);
	}
	EVP_MD_CTX_free(ctx);
	memcpy(ret, "s:", 2);
	base64url(digest, 28, ret + 2);
}
