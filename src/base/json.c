/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <strings.h>

/* jansson quotes what it met; nobody's control characters forge a log line. */
static const char *printable(char *text)
{
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	return text;
}

int json_parse(const char *text, size_t len, const char *where, json_t **ret, struct err *err)
{
	const char *nul = len ? memchr(text, 0, len) : NULL;
	json_error_t problem;
	json_t *json;

	/* jansson swallows one behind a number */
	if (nul)
		return err_set(err, -EINVAL, "%s: not valid JSON: NUL byte at offset %zu", where, (size_t)(nul - text));
	json = json_loadb(text, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &problem);

	if (!json)
		return err_set(err, -EINVAL, "%s: not valid JSON: line %d column %d: %s", where, problem.line,
			problem.column, printable(problem.text));
	*ret = json;
	return 0;
}

json_t *json_find(const json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);
	const char *name;
	json_t *other;

	if (!value) {
		json_object_foreach((json_t *)object, name, other)
			if (strcasecmp(name, key) == 0)
				value = other;
	}
	return json_is_null(value) ? NULL : value;
}

static const char *type_name(const json_t *value)
{
	static const char *const names[] = {
		[JSON_OBJECT] = "an object",
		[JSON_ARRAY] = "a list",
		[JSON_STRING] = "a string",
		[JSON_INTEGER] = "a number",
		[JSON_REAL] = "a number with a fraction",
		[JSON_TRUE] = "true",
		[JSON_FALSE] = "false",
		[JSON_NULL] = "null",
	};

	return names[json_typeof(value)];
}

static int wrong_type(const char *where, const char *key, const json_t *value, const char *wanted, struct err *err)
{
	if (json_is_string(value))
		return err_set(err, -EINVAL, "%s: key \"%s\" is the string \"%.100s\", expected %s", where, key,
			json_string_value(value), wanted);
	return err_set(err, -EINVAL, "%s: key \"%s\" is %s, expected %s", where, key, type_name(value), wanted);
}

int json_get_string(const json_t *object, const char *where, const char *key, const char **ret, struct err *err)
{
	const json_t *value = json_find(object, key);

	if (!value)
		return 0;
	if (!json_is_string(value))
		return wrong_type(where, key, value, "a string", err);
	if (strlen(json_string_value(value)) != json_string_length(value))
		return err_set(err, -EINVAL, "%s: key \"%s\" has a NUL byte in its text", where, key);
	*ret = json_string_value(value);
	return 1;
}

int json_get_bool(const json_t *object, const char *where, const char *key, bool *ret, struct err *err)
{
	const json_t *value = json_find(object, key);

	if (!value)
		return 0;
	if (!json_is_boolean(value))
		return wrong_type(where, key, value, "true or false", err);
	*ret = json_is_true(value);
	return 1;
}

int json_get_int(const json_t *object, const char *where, const char *key, int64_t min, int64_t max, int64_t *ret,
	struct err *err)
{
	const json_t *value = json_find(object, key);
	int64_t n;

	if (!value)
		return 0;
	if (json_is_real(value) && floor(json_real_value(value)) == json_real_value(value) &&
		fabs(json_real_value(value)) < 9e18)
		n = (int64_t)json_real_value(value);
	else if (json_is_integer(value))
		n = json_integer_value(value);
	else
		return wrong_type(where, key, value, "a whole number", err);
	if (n < min || n > max)
		return err_set(err, -ERANGE, "%s: key \"%s\" is %lld, expected %lld to %lld", where, key, (long long)n,
			(long long)min, (long long)max);
	*ret = n;
	return 1;
}

int json_get_object(const json_t *object, const char *where, const char *key, json_t **ret, struct err *err)
{
	json_t *value = json_find(object, key);

	if (!value)
		return 0;
	if (!json_is_object(value))
		return wrong_type(where, key, value, "an object", err);
	*ret = value;
	return 1;
}

int json_get_array(const json_t *object, const char *where, const char *key, json_t **ret, struct err *err)
{
	json_t *value = json_find(object, key);

	if (!value)
		return 0;
	if (!json_is_array(value))
		return wrong_type(where, key, value, "a list", err);
	*ret = value;
	return 1;
}
