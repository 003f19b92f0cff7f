/* SPDX-License-Identifier: Apache-2.0
 *
 * Which pods somebody may have meant: names that differ by little, and the same name in another namespace.
 */
#include "agent/policy/internal.h"

#include <stdio.h>
#include <string.h>

#define NAMES_SHOWN 5
#define NAME_MAX_LEN 320

/* How many characters have to be changed, added or taken away (Levenshtein). */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[NAME_MAX_LEN + 1];
	size_t len = strlen(b);

	if (len > NAME_MAX_LEN)
		return NAME_MAX_LEN;
	for (size_t j = 0; j <= len; j++)
		row[j] = (unsigned)j;
	for (; *a; a++) {
		unsigned corner = row[0]++;

		for (size_t j = 1; j <= len; j++) {
			unsigned change = corner + (*a != b[j - 1]), least = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;

			corner = row[j];
			row[j] = change < least ? change : least;
		}
	}
	return row[len];
}

struct near {
	const char *word;
	char keys[NAMES_SHOWN][WORLD_KEY_MAX];
	unsigned scores[NAMES_SHOWN];
	size_t count;
};

static void consider(struct near *near, const char *key)
{
	const char *name = strchr(key, '/'), *wanted = strchr(near->word, '/');
	unsigned score = name && wanted && strcmp(name, wanted) == 0 ? 1 : distance(near->word, key);
	size_t at = near->count;

	if (score > 2 + strlen(near->word) / 5)
		return;
	while (at > 0 && (near->scores[at - 1] > score || (near->scores[at - 1] == score && strcmp(near->keys[at - 1], key) > 0)))
		at--;
	if (at == NAMES_SHOWN || (at < near->count && strcmp(near->keys[at], key) == 0) || (at > 0 && strcmp(near->keys[at - 1], key) == 0))
		return;
	if (near->count < NAMES_SHOWN)
		near->count++;
	memmove(&near->keys[at + 1], &near->keys[at], (near->count - at - 1) * sizeof(*near->keys));
	memmove(&near->scores[at + 1], &near->scores[at], (near->count - at - 1) * sizeof(*near->scores));
	snprintf(near->keys[at], sizeof(near->keys[at]), "%s", key);
	near->scores[at] = score;
}

static void consider_all(struct near *near, const struct policer *policer, enum world_part part)
{
	for (size_t i = 0; i < world_count(policer, part); i++) {
		const struct endpoint *endpoint = world_object(policer, part, i);
		char key[WORLD_KEY_MAX];

		snprintf(key, sizeof(key), "%s/%s", endpoint->namespace, endpoint->name);
		consider(near, key);
	}
}

void near_names(const struct policer *policer, const char *word, struct buf *text)
{
	struct near near = {.word = word};

	consider_all(&near, policer, WORLD_LOCAL_PODS);
	consider_all(&near, policer, WORLD_PODS);
	for (size_t i = 0; i < near.count; i++)
		buf_printf(text, "%s%s", i ? ", " : "", near.keys[i]);
}
