/* SPDX-License-Identifier: Apache-2.0
 *
 * Which selectors are proved to match whatever another one matches; and by thousands of random pairs, that none is proved wrongly.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "model/selector.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct selector *parse(const char *text)
{
	struct selector *selector = NULL;
	struct err err = ERR_INIT;

	if (selector_parse(text, &selector, &err) < 0)
		fail_msg("%s: %s", text, err_text(&err));
	return selector;
}

static bool covers(const char *outer, const char *inner)
{
	_cleanup_(selector_free) struct selector *a = parse(outer), *b = parse(inner);

	return selector_covers(a, b);
}

static void test_what_is_proved(void **state)
{
	static const char *const pairs[][2] = {
		{"all()", "a == 'x'"}, {"a == 'x'", "a == 'x' && b == 'y'"}, {"b == 'y'", "a == 'x' && b == 'y'"},
		{"a == 'x' || b == 'y'", "b == 'y'"}, {"a == 'x' || b == 'y'", "b == 'y' || a == 'x'"},
		{"has(a)", "a == 'x'"}, {"has(a)", "a in {'x', 'y'}"}, {"a in {'x', 'y', 'z'}", "a in {'x', 'z'}"},
		{"a in {'x', 'y'}", "a == 'y'"}, {"a == 'x'", "a in {'x'}"}, {"a != 'x'", "a == 'y'"}, {"a != 'x'", "!has(a)"},
		{"a not in {'x'}", "a not in {'x', 'y'}"}, {"a != 'x'", "a not in {'x', 'y'}"}, {"!(a == 'x')", "a != 'x'"},
		{"a starts with 'we'", "a starts with 'web'"}, {"a starts with 'we'", "a == 'web'"}, {"a ends with 'b'", "a ends with 'eb'"},
		{"a contains 'e'", "a starts with 'web'"}, {"a contains 'e'", "a contains 'web'"}, {"a != 'x'", "a starts with 'y'"},
		{"!(a == 'x' && b == 'y')", "a != 'x'"}, {"a != 'x' && b != 'y'", "!(a == 'x' || b == 'y')"},
		{"a == 'x' && b == 'y'", "(b == 'y' && c == 'z') && a == 'x'"}, {"a == 'x'", "a == 'x' && (b == 'y' || c == 'z')"},
		{"(a == 'x' || b == 'y') && has(c)", "a == 'x' && c == 'z'"}, {"global()", "global() && a == 'x'"}, {"a == 'x'", "!all()"},
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++)
		if (!covers(pairs[i][0], pairs[i][1]))
			fail_msg("%s matches whatever %s matches", pairs[i][0], pairs[i][1]);
}

static void test_what_is_not(void **state)
{
	static const char *const pairs[][2] = {
		{"a == 'x'", "all()"}, {"a == 'x' && b == 'y'", "a == 'x'"}, {"a == 'x'", "b == 'x'"}, {"a == 'x'", "a == 'y'"},
		{"a == 'x'", "has(a)"}, {"a in {'x'}", "a in {'x', 'y'}"}, {"has(a)", "a != 'x'"}, {"a != 'x'", "has(a)"},
		{"a == 'x'", "a == 'x' || b == 'y'"}, {"a starts with 'web'", "a starts with 'we'"}, {"a contains 'b'", "a starts with 'we'"},
		{"!(a starts with 'web')", "a starts with 'we'"}, {"!(a contains 'x')", "a starts with 'we'"}, {"global()", "a == 'x'"},
		{"!all()", "a == 'x'"}, {"a starts with 'b'", "a ends with 'b'"},
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++)
		if (covers(pairs[i][0], pairs[i][1]))
			fail_msg("%s does not match whatever %s matches", pairs[i][0], pairs[i][1]);
}

/* -- at random -- */

static const char *const words[] = {"", "w", "we", "web", "eb", "b"};
#define WORDS (sizeof(words) / sizeof(*words))
#define LABELS 2

static unsigned draw(unsigned below)
{
	return (unsigned)rand() % below;
}

static void add_leaf(struct buf *text)
{
	static const char *const operators[] = {"==", "!=", "contains", "starts with", "ends with", "in", "not in"};
	char label[] = {(char)('a' + draw(LABELS)), 0};
	unsigned form = draw(9);

	if (form == 8)
		buf_add_str(text, "all()");
	else if (form == 7)
		buf_printf(text, "has(%s)", label);
	else if (form >= 5)
		buf_printf(text, "%s %s {\"%s\", \"%s\"}", label, operators[form], words[draw(WORDS)], words[draw(WORDS)]);
	else
		buf_printf(text, "%s %s \"%s\"", label, operators[form], words[draw(WORDS)]);
}

static void add_tree(struct buf *text, unsigned depth)
{
	unsigned children = draw(3) + 1;

	if (draw(4) == 0)
		buf_add_str(text, "!");
	if (depth == 0 || draw(3) == 0) {
		buf_add_str(text, "(");
		add_leaf(text);
		buf_add_str(text, ")");
		return;
	}
	buf_add_str(text, "(");
	for (unsigned i = 0, and = draw(2); i < children; i++) {
		buf_add_str(text, i == 0 ? "" : and ? " && " : " || ");
		add_tree(text, depth - 1);
	}
	buf_add_str(text, ")");
}

static const char *lookup(const void *ctx, const char *key)
{
	const unsigned *choice = ctx;
	unsigned word = choice[*key - 'a'];

	return word < WORDS ? words[word] : NULL;
}

static void check_pair(const char *outer, const char *inner, unsigned *ret_proved)
{
	_cleanup_(selector_free) struct selector *a = parse(outer), *b = parse(inner);
	unsigned choice[LABELS];

	if (!selector_covers(a, b))
		return;
	(*ret_proved)++;
	for (choice[0] = 0; choice[0] <= WORDS; choice[0]++)
		for (choice[1] = 0; choice[1] <= WORDS; choice[1]++)
			if (selector_matches(b, lookup, choice) && !selector_matches(a, lookup, choice))
				fail_msg("%s is said to match whatever %s matches", outer, inner);
}

static void test_no_proof_is_wrong(void **state)
{
	unsigned proved = 0;

	srand(7);
	for (int i = 0; i < 20000; i++) {
		_cleanup_(buf_free) struct buf a = BUF_INIT(1 << 16), b = BUF_INIT(1 << 16);

		add_tree(&a, 2);
		add_tree(&b, 2);
		check_pair(buf_text(&a), buf_text(&b), &proved);
	}
	assert_true(proved > 500);
}

/* Alternatives of alternatives: it gives up instead of trying for ever. */
static void test_it_ends(void **state)
{
	_cleanup_(buf_free) struct buf inner = BUF_INIT(1 << 20), outer = BUF_INIT(1 << 20);

	for (int i = 0; i < 400; i++) {
		buf_printf(&inner, "%sa%d == 'x'", i ? " && " : "", i);
		buf_printf(&outer, "%sb%d == 'y'", i ? " || " : "", i);
	}
	assert_false(covers(buf_text(&outer), buf_text(&inner)));
	buf_add_str(&outer, " || a399 == 'x'");
	assert_false(covers(buf_text(&outer), buf_text(&inner)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_proved),
		cmocka_unit_test(test_what_is_not),
		cmocka_unit_test(test_no_proof_is_wrong),
		cmocka_unit_test(test_it_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
