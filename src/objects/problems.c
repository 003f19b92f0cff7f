/* SPDX-License-Identifier: Apache-2.0 */
#include "objects/problems.h"

#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

#define PROBLEMS_MAX 1000

struct problem {
	UT_hash_handle hh;
	char *text;
	char key[];
};

static void forget(struct problems *problems, struct problem *problem)
{
	HASH_DEL(problems->table, problem);
	problems->count--;
	free(problem->text);
	free(problem);
}

static struct problem *remember(struct problems *problems, const char *key)
{
	size_t len = strlen(key);
	struct problem *problem;

	if (problems->count >= PROBLEMS_MAX)
		return NULL;
	problem = calloc(1, sizeof(*problem) + len + 1);
	if (!problem)
		return NULL;
	memcpy(problem->key, key, len + 1);
	HASH_ADD_KEYPTR(hh, problems->table, problem->key, len, problem);
	problems->count++;
	return problem;
}

bool problems_news(struct problems *problems, const char *key, const char *text)
{
	struct problem *problem;
	char *copy;

	HASH_FIND(hh, problems->table, key, strlen(key), problem);
	if (!*text) {
		if (problem)
			forget(problems, problem);
		return problem != NULL;
	}
	if (problem && problem->text && strcmp(problem->text, text) == 0)
		return false;
	if (!problem)
		problem = remember(problems, key);
	if (!problem)
		return false;
	copy = strdup(text);
	free(problem->text);
	problem->text = copy;
	return true;
}

const char *problems_story(const struct problems *problems, const char *key)
{
	struct problem *problem;

	HASH_FIND(hh, problems->table, key, strlen(key), problem);
	return problem && problem->text ? problem->text : "";
}

void problems_done(struct problems *problems)
{
	struct problem *problem, *next;

	HASH_ITER(hh, problems->table, problem, next)
		forget(problems, problem);
}
