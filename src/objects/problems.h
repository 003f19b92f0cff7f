/* SPDX-License-Identifier: Apache-2.0
 *
 * Remembers which trouble has been told about which object, so that each change of a story is told once: a text
 * that is the same as before is swallowed, "" ends a story that was told and is swallowed otherwise.
 */
#pragma once

#include <stdbool.h>

struct problem;

struct problems {
	struct problem *table;
	unsigned count; /* bounded: an outsider who fills the store with rubbish does not fill our memory */
};

/* True when this is news and must be told. */
bool problems_news(struct problems *problems, const char *key, const char *text);
/* Text of the one under way, or "". */
const char *problems_story(const struct problems *problems, const char *key);
void problems_done(struct problems *problems);
