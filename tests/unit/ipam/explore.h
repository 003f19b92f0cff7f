/* SPDX-License-Identifier: Apache-2.0
 *
 * Every order in which things can happen, depth first: a run is made again and again from its beginning, each
 * time with other choices, until every state that can be reached was seen once. A state is what its hash
 * says; what a run does must depend on nothing but its choices.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct explore_run {
	void *(*begin)(void *ctx);
	/* How many ways there are to go on; 0: this is an end. */
	size_t (*choices)(void *run);
	void (*choose)(void *run, size_t choice);
	/* What a choice would do, for the story of a failure. */
	void (*describe)(void *run, size_t choice, char *text, size_t size);
	uint64_t (*hash)(void *run);
	/* Null: nothing is wrong. Asked in every state, and at the ends with end set. */
	const char *(*check)(void *run, bool end);
	void (*finish)(void *run);
};

struct explore_result {
	size_t states, runs, ends, deepest;
	char *story; /* of the first failure, malloc'ed; null: none */
};

/* most_states: gives up beyond (states then tells). */
void explore(const struct explore_run *how, void *ctx, size_t most_states, struct explore_result *ret);

/* A scenario of a cmocka test: prints a line of figures, and fails with the steps of the first failure. TULLE_SCENARIO=N
 * runs the one of this number alone. */
void explore_scenario(const struct explore_run *how, size_t number, const char *name, void *scenario);
