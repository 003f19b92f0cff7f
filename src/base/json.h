/* SPDX-License-Identifier: Apache-2.0
 *
 * jansson with the habits of Go's decoder: keys match without regard to case (exact match first, otherwise the
 * last spelling wins), null counts as absent, a wrong type is an error that names key, value and expectation.
 * Every getter returns 1 when the key was there, 0 when absent or null (ret untouched), negative errno on error.
 * "where" names the object in messages, e.g. "net-conf.json" or "Backend".
 */
#pragma once

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Parses one JSON value of at most max bytes; trailing bytes other than white space are an error. Nesting is
 * limited (jansson: 2048). ret: new reference. The message has line and column. */
int json_parse(const char *text, size_t len, const char *where, json_t **ret, struct err *err);

/* The value under key, case-insensitively; borrowed; null when absent or JSON null. */
json_t *json_find(const json_t *object, const char *key);

int json_get_string(const json_t *object, const char *where, const char *key, const char **ret, struct err *err);
int json_get_bool(const json_t *object, const char *where, const char *key, bool *ret, struct err *err);
/* Integers; also in float form (1e+07) as Go re-encodes them, and only within min..max. */
int json_get_int(const json_t *object, const char *where, const char *key, int64_t min, int64_t max, int64_t *ret,
	struct err *err);
int json_get_object(const json_t *object, const char *where, const char *key, json_t **ret, struct err *err);
int json_get_array(const json_t *object, const char *where, const char *key, json_t **ret, struct err *err);

/* Cleanup attribute helper: _cleanup_(json_cleanup) json_t *x = NULL; */
static inline void json_cleanup(json_t **json)
{
	json_decref(*json);
}
