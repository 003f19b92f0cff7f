/* SPDX-License-Identifier: Apache-2.0
 *
 * What is wrong right now, by object: told once in the log when it begins, changes or ends, and shown in status and
 * metrics as long as it lasts.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct problems;

struct problems *problems_new(void);
void problems_free(struct problems *problems);
/* object: "store", "lease 10.1.2.0-24", "kernel" ...; text "" or null: it is over. True: it began or changed. */
bool problems_set(struct problems *problems, const char *object, const char *text);
/* Ends every problem whose object starts with prefix and that was not set since problems_begin(prefix). */
void problems_begin(struct problems *problems, const char *prefix);
void problems_end(struct problems *problems, const char *prefix);
size_t problems_count(const struct problems *problems);
/* Those whose object starts with prefix. */
size_t problems_count_of(const struct problems *problems, const char *prefix);
/* Text of one, or null. */
const char *problems_text(const struct problems *problems, const char *object);
/* Text of any one whose object starts with prefix, or null. */
const char *problems_any(const struct problems *problems, const char *prefix);
/* A JSON object from object to text; new reference. */
json_t *problems_json(const struct problems *problems);
