/* SPDX-License-Identifier: Apache-2.0
 *
 * Selectors after reference/calico.md 7.4: what is read, what it means, what it is called.
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

/* "a=b c=d" */
static struct labels *labels_of(const char *text)
{
	_cleanup_free_ char *copy = strdup(text);
	struct labels *labels = labels_new();

	for (char *save, *pair = strtok_r(copy, " ", &save); pair; pair = strtok_r(NULL, " ", &save)) {
		char *equals = strchr(pair, '=');

		*equals = 0;
		assert_int_equal(labels_set(labels, pair, equals + 1), 0);
	}
	return labels;
}

/* -- meaning -- */

static const struct {
	const char *selector, *labels;
	bool expected;
} meanings[] = {
	{"", "", true},
	{" \t", "a=b", true},
	{"all()", "", true},
	{"all( )", "", true},
	{"global()", "", true},
	{"!all()", "a=b", false},
	{"has(a)", "a=b", true},
	{"has( a )", "a=", true},
	{"has(a)", "b=a", false},
	{"!has(a)", "", true},
	{"a == 'b'", "a=b", true},
	{"a==\"b\"", "a=b", true},
	{"a == 'b'", "a=bb", false},
	{"a == 'b'", "", false},
	{"a == ''", "a=", true},
	{"a == ''", "", false},
	{"a != 'b'", "a=b", false},
	{"a != 'b'", "a=c", true},
	{"a != 'b'", "", true},
	{"a in {'b', 'c'}", "a=c", true},
	{"a in {'b', 'c',}", "a=b", true},
	{"a in{'b'}", "a=b", true},
	{"a in {'b', 'c'}", "a=d", false},
	{"a in {'b'}", "", false},
	{"a in {}", "a=", false},
	{"a not in {'b', 'c'}", "a=c", false},
	{"a not in {'b', 'c'}", "a=d", true},
	{"a notin {'b'}", "a=b", false},
	{"a not  in {'b'}", "", true},
	{"a not in {}", "a=b", true},
	{"a contains 'ell'", "a=hello", true},
	{"a contains ''", "a=", true},
	{"a contains 'x'", "a=hello", false},
	{"a contains 'x'", "", false},
	{"a starts with 'he'", "a=hello", true},
	{"a startswith'he'", "a=hello", true},
	{"a starts with 'el'", "a=hello", false},
	{"a starts with ''", "", false},
	{"a ends with 'lo'", "a=hello", true},
	{"a endswith 'lo'", "a=lo", true},
	{"a ends with 'hello'", "a=lo", false},
	{"a ends with 'l'", "a=hello", false},
	{"a == 'it\"s'", "a=it\"s", true},
	{"a == \"it's\"", "a=it's", true},
	{"projectcalico.org/name-x_Y.1 == 'v'", "projectcalico.org/name-x_Y.1=v", true},
	/* words are labels where a label stands */
	{"in in {'in'}", "in=in", true},
	{"all == 'x' && has == 'y' && global != 'x'", "all=x has=y", true},
	{"contains contains 'o'", "contains=foo", true},
	{"inx == 'y'", "inx=y", true},
	/* grouping: && binds tighter than ||, ! tightest */
	{"has(a) || has(b) && has(c)", "a=1", true},
	{"(has(a) || has(b)) && has(c)", "a=1", false},
	{"has(a) && has(b) || has(c)", "c=1", true},
	{"!has(a) && has(b)", "b=1", true},
	{"!(has(a) && has(b))", "a=1", true},
	{"!(has(a) || has(b))", "b=1", false},
	{"!!has(a)", "a=1", true},
	{"! ! ! has(a)", "a=1", false},
	{"!(!(has(a)))", "a=1", true},
	{"has(a) && has(b) && has(c)", "a=1 b=1 c=1", true},
	{"has(a) && has(b) && has(c)", "a=1 c=1", false},
	{"has(a) || has(b) || has(c)", "c=1", true},
	{"has(a) || has(b) || has(c)", "d=1", false},
	{"!(a == 'x' || !(b == 'y' && c != 'z'))", "b=y c=w", true},
	{"!(a == 'x' || !(b == 'y' && c != 'z'))", "b=y c=z", false},
	{"(((a == 'x')))", "a=x", true},
	{"all() && has(a)", "", false},
	{"all() || has(a)", "", true},
	{"!all() || has(a)", "a=1", true},
};

static void test_meanings(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(meanings); i++) {
		_cleanup_(selector_free) struct selector *selector = parse(meanings[i].selector);
		_cleanup_(labels_free) struct labels *labels = labels_of(meanings[i].labels);

		if (selector_matches_labels(selector, labels) != meanings[i].expected)
			fail_msg("\"%s\" with labels \"%s\": expected %s", meanings[i].selector, meanings[i].labels,
				meanings[i].expected ? "a match" : "none");
	}
}

/* Strings may hold anything but their quote, line ends included. */
static void test_line_end_in_string(void **state)
{
	_cleanup_(selector_free) struct selector *selector = parse("a == 'x\ny'");
	_cleanup_(labels_free) struct labels *labels = labels_new();

	labels_set(labels, "a", "x\ny");
	assert_true(selector_matches_labels(selector, labels));
}

/* -- refusals -- */

static const struct {
	const char *selector, *message;
} refusals[] = {
	{"a", "selector ends at character 2, expected an operator or \")\" after the label"},
	{"a ", "selector ends at character 3, expected one of ==, !=, contains, starts with, ends with, in, not in"},
	{"a == b", "selector has \"b\" at character 6, expected a text in quotes"},
	{"a = 'b'", "selector has \"= 'b'\" at character 3, expected one of"},
	{"a == 'b", "selector has \"'b\" at character 6, expected a closing quote"},
	{"a == 'b' &&", "selector ends at character 12, expected a label's name, has(), all(), global(), \"!\" or \"(\""},
	{"a == 'b' & b == 'c'", "selector has \"& b == 'c'\" at character 10, expected \"&&\", \"||\" or the end"},
	{"a == 'b' has(c)", "at character 10, expected \"&&\", \"||\" or the end"},
	{"|| a == 'b'", "at character 1, expected a label's name"},
	{"(a == 'b'", "selector ends at character 10, expected \")\""},
	{"a == 'b')", "selector has \")\" at character 9, expected"},
	{"()", "selector has \")\" at character 2"},
	{"!", "selector ends at character 2"},
	{"has()", "selector has \")\" at character 5, expected a label's name"},
	{"has(a", "selector ends at character 6, expected an operator or \")\" after the label"},
	{"has(a b)", "selector has \"b)\" at character 7, expected \")\""},
	{"has (a)", "selector has \"(a)\" at character 5, expected one of"},
	{"all ()", "selector has \"()\" at character 5, expected one of"},
	{"all(x)", "selector has \"x)\" at character 5, expected \")\""},
	{"a in 'b'", "selector has \"'b'\" at character 6, expected \"{\""},
	{"a in {'b' 'c'}", "selector has \"'c'}\" at character 11, expected \",\" or \"}\""},
	{"a in {,}", "selector has \",}\" at character 7, expected a text in quotes"},
	{"a in {'b'", "selector ends at character 10, expected \",\" or \"}\""},
	{"a inside {'b'}", "selector has \"inside {'b'}\" at character 3, expected one of"},
	{"a matches 'b'", "selector has \"matches 'b'\" at character 3, expected one of"},
	{"a not 'b'", "selector has \"not 'b'\" at character 3, expected one of"},
	{"a\n== 'b'", "selector has \"?== 'b'\" at character 2, expected one of"},
	{"a == 'b' \n", "selector has \"?\" at character 10"},
	{"a@ == 'b'", "selector has \"@ == 'b'\" at character 2"},
	{"\xc3\xa4 == 'b'", "selector has \"?? == 'b'\" at character 1, expected a label's name"},
};

static void test_refusals(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
		_cleanup_(selector_free) struct selector *selector = NULL;
		struct err err = ERR_INIT;

		if (selector_parse(refusals[i].selector, &selector, &err) == 0)
			fail_msg("\"%s\" is accepted", refusals[i].selector);
		assert_null(selector);
		if (!strstr(err_text(&err), refusals[i].message))
			fail_msg("\"%s\" gives: %s", refusals[i].selector, err_text(&err));
	}
}

static void test_limits(void **state)
{
	_cleanup_(selector_free) struct selector *selector = NULL;
	char text[4096], name[1024];
	struct err err = ERR_INIT;

	memset(name, 'n', sizeof(name));
	snprintf(text, sizeof(text), "has(%.512s)", name);
	assert_int_equal(selector_parse(text, &selector, &err), 0);
	selector_free(&selector);
	snprintf(text, sizeof(text), "has(%.513s)", name);
	assert_true(selector_parse(text, &selector, &err) < 0);
	assert_string_equal(err_text(&err), "selector has a label of 513 characters at character 5, expected at most 512");

	/* as deep as 1024 characters go */
	memset(text, '(', 509);
	memset(text + 509, 0, sizeof(text) - 509);
	strcat(text, "all()");
	memset(text + strlen(text), ')', 509);
	assert_int_equal(selector_parse(text, &selector, &err), 0);
	assert_true(selector_is_all(selector));
	selector_free(&selector);
	memset(text, '(', 2000);
	text[2000] = 0;
	assert_true(selector_parse(text, &selector, &err) < 0);
	assert_non_null(strstr(err_text(&err), "more than 600 parentheses"));
}

/* -- identity -- */

static const struct {
	const char *selector, *canonical;
} identities[] = {
	{"", "all()"},
	{"all( )", "all()"},
	{"(all())", "all()"},
	{"global( )", "global()"},
	{"a=='b'", "a == \"b\""},
	{"a!= \"b\"", "a != \"b\""},
	{"a == 'say \"b\"'", "a == 'say \"b\"'"},
	{"has( a )", "has(a)"},
	{"!has(a)", "!has(a)"},
	{"!!has(a)", "has(a)"},
	{"!(!has(a))", "has(a)"},
	{"a in {'c', 'b', 'c', 'a',}", "a in {\"a\", \"b\", \"c\"}"},
	{"a notin {}", "a not in {}"},
	{"a not in {'B', 'a'}", "a not in {\"B\", \"a\"}"},
	{"a startswith 'b'", "a starts with \"b\""},
	{"a endswith 'b'", "a ends with \"b\""},
	{"a contains\t'b'", "a contains \"b\""},
	{"has(a)&&has(b)", "(has(a) && has(b))"},
	{"has(a)||has(b)&&has(c)", "(has(a) || (has(b) && has(c)))"},
	{"(has(a)&&has(b))&&has(c)", "((has(a) && has(b)) && has(c))"},
	{"!(has(a) || (has(b)))", "!(has(a) || has(b))"},
};

static void test_canonical_texts(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(identities); i++) {
		_cleanup_(selector_free) struct selector *selector = parse(identities[i].selector);
		_cleanup_(selector_free) struct selector *again = parse(identities[i].canonical);

		assert_string_equal(selector_text(selector), identities[i].canonical);
		assert_true(selector_equal(selector, again));
	}
}

/* After Python: urlsafe_b64encode(sha224(b"s:" + canonical text)) */
static void test_ids(void **state)
{
	static const struct {
		const char *selector, *id;
	} cases[] = {
		{"", "s:5y5I3VdRZfDU01O--xXAPx2yxCQQqMf0M6IWug"},
		{"a=='b'", "s:flMh0m0X_BowkAK_W3j3MgH8oQOsj3WxGDoXCQ"},
		{"has(a) && b in {'y','x'}", "s:941zUbnpEHRyy8hAatHBBfDVpIQm-4O_uT13RA"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(selector_free) struct selector *selector = parse(cases[i].selector);
		char id[SELECTOR_ID_MAX];

		selector_id(selector, id);
		assert_string_equal(id, cases[i].id);
	}
}

static void test_is_all(void **state)
{
	static const struct {
		const char *selector;
		bool all, global;
	} cases[] = {
		{"", true, false}, {"all()", true, false}, {"(( all() ))", true, false}, {"!!all()", true, false},
		{"all() || has(a)", true, false}, {"has(a) || !has(a)", false, false}, {"!all()", false, false},
		{"global()", false, true}, {"has(a) && !global()", false, true}, {"all() || global()", false, true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(selector_free) struct selector *selector = parse(cases[i].selector);

		assert_int_equal(selector_is_all(selector), cases[i].all);
		assert_int_equal(selector_has_global(selector), cases[i].global);
	}
}

/* -- labels -- */

/* A node that nobody knows yet. */
static void test_no_labels(void **state)
{
	_cleanup_(selector_free) struct selector *all = parse("all()"), *has = parse("has(a)"), *not = parse("a != 'b'");

	assert_null(labels_get(NULL, "a"));
	assert_true(selector_matches_labels(all, NULL));
	assert_false(selector_matches_labels(has, NULL));
	assert_true(selector_matches_labels(not, NULL));
}

static void test_labels(void **state)
{
	_cleanup_(labels_free) struct labels *a = labels_of("z=1 a=2 m=3 a=4"), *b = labels_of("a=4 m=3 z=1");

	assert_int_equal(a->count, 3);
	assert_string_equal(a->items[0].key, "a");
	assert_string_equal(labels_get(a, "a"), "4");
	assert_string_equal(labels_get(a, "z"), "1");
	assert_null(labels_get(a, "b"));
	assert_true(labels_equal(a, b));
	labels_set(b, "m", "5");
	assert_false(labels_equal(a, b));
	labels_free(&a);
	assert_null(a);
	labels_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_meanings),
		cmocka_unit_test(test_line_end_in_string),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_canonical_texts),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_is_all),
		cmocka_unit_test(test_no_labels),
		cmocka_unit_test(test_labels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
