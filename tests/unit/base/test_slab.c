/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/slab.h"

#include <string.h>

#define COUNT 10000 /* of several blocks */

struct thing {
	uint64_t number;
	char rest[32];
};

static void things_are_apart_and_clean(void **state)
{
	static struct thing *things[COUNT];
	struct slab slab = SLAB_INIT(struct thing);

	for (size_t i = 0; i < COUNT; i++) {
		static const struct thing clean;

		things[i] = slab_get(&slab);
		assert_memory_equal(things[i], &clean, sizeof(clean));
		memset(things[i], 0xff, sizeof(*things[i]));
		things[i]->number = i;
	}
	for (size_t i = 0; i < COUNT; i++)
		assert_int_equal(things[i]->number, i);
	slab_done(&slab);
}

static void what_was_put_back_comes_again_and_clean(void **state)
{
	struct slab slab = SLAB_INIT(struct thing);
	struct thing *first = slab_get(&slab), *second = slab_get(&slab), *again;

	memset(first, 0xff, sizeof(*first));
	second->number = 7;
	slab_put(&slab, first);
	again = slab_get(&slab);
	assert_ptr_equal(again, first);
	assert_int_equal(again->number, 0);
	assert_int_equal(again->rest[31], 0);
	assert_int_equal(second->number, 7);
	slab_done(&slab);
	assert_null(slab.blocks);
}

static void no_new_blocks_while_things_go_round(void **state)
{
	struct slab slab = SLAB_INIT(struct thing);
	struct thing *one = slab_get(&slab);
	const struct slab_block *block = slab.blocks;

	for (size_t i = 0; i < COUNT; i++) {
		slab_put(&slab, one);
		one = slab_get(&slab);
	}
	assert_ptr_equal(slab.blocks, block);
	slab_done(&slab);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(things_are_apart_and_clean),
		cmocka_unit_test(what_was_put_back_comes_again_and_clean),
		cmocka_unit_test(no_new_blocks_while_things_go_round),
	};

	return cmocka_run_group_tests_name("slab", tests, NULL, NULL);
}
