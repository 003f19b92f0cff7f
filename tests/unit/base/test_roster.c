/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/roster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT 2000

static char *text_of(int number)
{
	char *text;

	if (asprintf(&text, "thing-%d", number) < 0)
		abort();
	return text;
}

static bool is(const void *thing, const void *key)
{
	return strcmp(thing, key) == 0;
}

/* alike: all have one hash. */
static uint32_t hash_of(const char *text, bool alike)
{
	return alike ? 1 : roster_hash(0, text, strlen(text));
}

static size_t find(const struct roster *roster, int number, bool alike)
{
	char *text = text_of(number);
	size_t index = roster_find(roster, hash_of(text, alike), is, text);

	free(text);
	return index;
}

static void add(struct roster *roster, int number, bool alike)
{
	char *text = text_of(number);

	assert_ptr_equal(roster_add(roster, text, hash_of(text, alike))->thing, text);
}

static void take(struct roster *roster, size_t index)
{
	char *text = roster->entries[index].thing;

	roster_remove(roster, index);
	free(text);
}

static void an_empty_one_has_nothing(void **state)
{
	struct roster roster = {0};

	assert_int_equal(find(&roster, 1, false), ROSTER_NONE);
	roster_free(&roster);
}

/* A thousand steps of adding and removing beside a plain array that says what must be there. */
static void random_steps(bool alike, int steps, int names)
{
	struct roster roster = {0};
	bool there[COUNT] = {0};
	size_t count = 0;

	srand(17);
	for (int step = 0; step < steps; step++) {
		/* grows for a time, shrinks for a time */
		int number = rand() % names, wish = rand() % 4 != 0;
		bool want = step % 4000 < 2000 ? wish : !wish;
		size_t index = find(&roster, number, alike);

		assert_int_equal(index != ROSTER_NONE, there[number]);
		if (want && index == ROSTER_NONE)
			add(&roster, number, alike);
		else if (!want && index != ROSTER_NONE)
			take(&roster, index);
		count += (size_t)want - (size_t)there[number];
		there[number] = want;
		assert_int_equal(roster.count, count);
		assert_true(roster.room <= 16 || roster.count >= roster.room / 4);
	}
	for (int number = 0; number < names; number++)
		assert_int_equal(find(&roster, number, alike) != ROSTER_NONE, there[number]);
	while (roster.count)
		take(&roster, 0);
	roster_free(&roster);
}

static void holds_what_it_should(void **state)
{
	random_steps(false, 20000, COUNT);
}

static void holds_what_it_should_in_one_bucket(void **state)
{
	random_steps(true, 8000, 60);
}

static void marks_stay_with_their_things(void **state)
{
	struct roster roster = {0};

	for (int i = 0; i < COUNT; i++) {
		add(&roster, i, false);
		roster.entries[roster.count - 1].marked = i % 3 == 0;
	}
	for (size_t i = roster.count; i-- > 0;)
		if (!roster.entries[i].marked)
			take(&roster, i);
	assert_int_equal(roster.count, (COUNT + 2) / 3);
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(find(&roster, i, false) != ROSTER_NONE, i % 3 == 0);
	while (roster.count)
		take(&roster, roster.count - 1);
	assert_true(roster.room <= 16);
	roster_free(&roster);
}

static void a_hash_depends_on_all_parts(void **state)
{
	uint32_t first = roster_hash(0, "name", 4);

	assert_int_equal(roster_hash(0, "name", 4), first);
	assert_int_not_equal(roster_hash(0, "names", 5), first);
	assert_int_not_equal(roster_hash(first, "space", 5), roster_hash(0, "space", 5));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_one_has_nothing),
		cmocka_unit_test(holds_what_it_should),
		cmocka_unit_test(holds_what_it_should_in_one_bucket),
		cmocka_unit_test(marks_stay_with_their_things),
		cmocka_unit_test(a_hash_depends_on_all_parts),
	};

	return cmocka_run_group_tests_name("roster", tests, NULL, NULL);
}
