/* SPDX-License-Identifier: Apache-2.0 */
#include "explore.h"

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define MOST_STATES 2000000

struct path {
	uint16_t *choices;
	size_t count;
	struct path *next;
};

struct explorer {
	const struct explore_run *how;
	void *ctx;
	struct path *paths; /* still to be gone */
	uint64_t *seen;     /* open addressing; 0: empty */
	size_t size;
	struct explore_result result;
};

static bool insert(uint64_t *seen, size_t size, uint64_t hash)
{
	size_t at = (size_t)(hash * 0x9e3779b97f4a7c15u) & (size - 1);

	while (seen[at] && seen[at] != hash)
		at = (at + 1) & (size - 1);
	if (seen[at])
		return false;
	seen[at] = hash;
	return true;
}

/* True: it is new. */
static bool visit(struct explorer *explorer, uint64_t hash)
{
	hash = hash ? hash : 1;
	if ((explorer->result.states + 1) * 2 > explorer->size) {
		size_t size = explorer->size ? explorer->size * 2 : 1 << 12;
		uint64_t *seen = calloc(size, sizeof(*seen));

		for (size_t i = 0; i < explorer->size; i++) {
			if (explorer->seen[i])
				insert(seen, size, explorer->seen[i]);
		}
		free(explorer->seen);
		explorer->seen = seen;
		explorer->size = size;
	}
	if (!insert(explorer->seen, explorer->size, hash))
		return false;
	explorer->result.states++;
	return true;
}

static void push(struct explorer *explorer, const uint16_t *choices, size_t count, size_t last)
{
	struct path *path = calloc(1, sizeof(*path));

	path->choices = malloc((count + 1) * sizeof(*path->choices));
	memcpy(path->choices, choices, count * sizeof(*path->choices));
	path->choices[count] = (uint16_t)last;
	path->count = count + 1;
	path->next = explorer->paths;
	explorer->paths = path;
}

static void tell(struct explorer *explorer, const uint16_t *choices, size_t count, const char *what)
{
	void *run = explorer->how->begin(explorer->ctx);
	struct buf buf = BUF_INIT(1 << 20);

	for (size_t i = 0; i < count; i++) {
		char text[1024];

		explorer->how->describe(run, choices[i], text, sizeof(text));
		explorer->how->choose(run, choices[i]);
		buf_printf(&buf, "%3zu. %s\n", i + 1, text);
	}
	explorer->how->finish(run);
	buf_printf(&buf, "=> %s\n", what);
	explorer->result.story = buf.data;
}

/* Goes on from where the path leads until a state that is known, or an end. */
static void follow(struct explorer *explorer, const struct path *path)
{
	const struct explore_run *how = explorer->how;
	void *run = how->begin(explorer->ctx);
	size_t room = path->count + 64, count = path->count;
	uint16_t *choices = malloc(room * sizeof(*choices));

	memcpy(choices, path->choices, count * sizeof(*choices));
	for (size_t i = 0; i < count; i++)
		how->choose(run, choices[i]);
	explorer->result.runs++;
	for (;;) {
		size_t ways = how->choices(run);
		const char *wrong = how->check(run, ways == 0);

		if (wrong) {
			tell(explorer, choices, count, wrong);
			break;
		}
		if (!visit(explorer, how->hash(run)))
			break;
		explorer->result.ends += ways == 0;
		if (ways == 0)
			break;
		for (size_t i = ways; i-- > 1;)
			push(explorer, choices, count, i);
		if (count == room) {
			room *= 2;
			choices = realloc(choices, room * sizeof(*choices));
		}
		choices[count++] = 0;
		how->choose(run, 0);
	}
	if (count > explorer->result.deepest)
		explorer->result.deepest = count;
	free(choices);
	how->finish(run);
}

void explore(const struct explore_run *how, void *ctx, size_t most_states, struct explore_result *ret)
{
	struct explorer explorer = {.how = how, .ctx = ctx};
	struct path *path = calloc(1, sizeof(*path));

	path->choices = calloc(1, sizeof(*path->choices));
	explorer.paths = path;
	while ((path = explorer.paths)) {
		explorer.paths = path->next;
		if (!explorer.result.story && explorer.result.states < most_states)
			follow(&explorer, path);
		free(path->choices);
		free(path);
	}
	free(explorer.seen);
	*ret = explorer.result;
}

void explore_scenario(const struct explore_run *how, size_t number, const char *name, void *scenario)
{
	const char *only = getenv("TULLE_SCENARIO");
	struct explore_result result;
	clock_t begun = clock();

	if (only && (size_t)atoi(only) != number)
		return;
	explore(how, scenario, MOST_STATES, &result);
	print_message("%-45s %7zu states, %7zu runs, %5zu ends, %3zu steps at most, %.1f s of CPU\n", name, result.states,
		result.runs, result.ends, result.deepest, (double)(clock() - begun) / CLOCKS_PER_SEC);
	if (result.story) {
		fputs(result.story, stderr);
		free(result.story);
		fail_msg("%s", name);
	}
	assert_true(result.ends > 0 && result.states < MOST_STATES);
}
