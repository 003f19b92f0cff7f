/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/problems.h"

#include "base/hash.h"
#include "base/log.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct problem {
	char object[192];
	char text[512];
	bool seen;
	UT_hash_handle hh;
};

struct problems {
	struct problem *by_object;
	struct log_limit limit;
};

struct problems *problems_new(void)
{
	struct problems *problems = calloc(1, sizeof(*problems));

	if (problems)
		problems->limit = (struct log_limit)LOG_LIMIT(50, 10000);
	return problems;
}

void problems_free(struct problems *problems)
{
	struct problem *problem;
	struct problem *next;

	if (!problems)
		return;
	HASH_ITER (hh, problems->by_object, problem, next) {
		HASH_DEL(problems->by_object, problem);
		free(problem);
	}
	free(problems);
}

static struct problem *find(const struct problems *problems, const char *object)
{
	struct problem *problem;

	HASH_FIND_STR(problems->by_object, object, problem);
	return problem;
}

static void end_one(struct problems *problems, struct problem *problem)
{
	if (log_limit_ok(&problems->limit))
		log_info("%s: all right again", problem->object);
	HASH_DEL(problems->by_object, problem);
	free(problem);
}

bool problems_set(struct problems *problems, const char *object, const char *text)
{
	char key[sizeof(((struct problem *)0)->object)];
	struct problem *problem;

	snprintf(key, sizeof(key), "%s", object);
	problem = find(problems, key);
	if (!text || !text[0]) {
		if (problem)
			end_one(problems, problem);
		return false;
	}
	if (!problem) {
		problem = calloc(1, sizeof(*problem));
		if (!problem)
			return false;
		memcpy(problem->object, key, sizeof(key));
		HASH_ADD_STR(problems->by_object, object, problem);
	}
	problem->seen = true;
	if (strncmp(problem->text, text, sizeof(problem->text) - 1) == 0)
		return false;
	snprintf(problem->text, sizeof(problem->text), "%s", text);
	if (log_limit_ok(&problems->limit))
		log_warning("%s: %s", problem->object, problem->text);
	return true;
}

void problems_begin(struct problems *problems, const char *prefix)
{
	struct problem *problem;

	for (problem = problems->by_object; problem; problem = problem->hh.next)
		if (strncmp(problem->object, prefix, strlen(prefix)) == 0)
			problem->seen = false;
}

void problems_end(struct problems *problems, const char *prefix)
{
	struct problem *problem;
	struct problem *next;

	HASH_ITER (hh, problems->by_object, problem, next)
		if (!problem->seen && strncmp(problem->object, prefix, strlen(prefix)) == 0)
			end_one(problems, problem);
}

size_t problems_count(const struct problems *problems)
{
	return HASH_COUNT(problems->by_object);
}

size_t problems_count_of(const struct problems *problems, const char *prefix)
{
	struct problem *problem;
	size_t count = 0;

	for (problem = problems->by_object; problem; problem = problem->hh.next)
		count += strncmp(problem->object, prefix, strlen(prefix)) == 0;
	return count;
}

const char *problems_text(const struct problems *problems, const char *object)
{
	struct problem *problem = find(problems, object);

	return problem ? problem->text : NULL;
}

const char *problems_any(const struct problems *problems, const char *prefix)
{
	struct problem *problem;

	for (problem = problems->by_object; problem; problem = problem->hh.next)
		if (strncmp(problem->object, prefix, strlen(prefix)) == 0)
			return problem->text;
	return NULL;
}

json_t *problems_json(const struct problems *problems)
{
	json_t *json = json_object();
	struct problem *problem;

	for (problem = problems->by_object; problem; problem = problem->hh.next)
		json_object_set_new(json, problem->object, json_string(problem->text));
	return json;
}
