/* SPDX-License-Identifier: Apache-2.0 */
#include "resources/read.h"

#include "base/cleanup.h"
#include "base/rfc3339.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define SHOWN_MAX 96 /* bytes of a value in a message */

/* -- objects -- */

bool calico_name_is_sane(const char *name)
{
	size_t len = strlen(name);

	if (!len || len > CALICO_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr("-_.", name[i]))
			return false;
	return true;
}

static const char *metadata_text(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(json_object_get(object, "metadata"), key);
	const char *text = json_string_value(value);

	return text && strlen(text) == json_string_length(value) ? text : NULL;
}

const char *calico_name(const json_t *object)
{
	return metadata_text(object, "name");
}

const char *calico_namespace(const json_t *object)
{
	return metadata_text(object, "namespace");
}

const char *calico_annotation(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(json_object_get(json_object_get(object, "metadata"), "annotations"), key);
	const char *text = json_string_value(value);

	return text && strlen(text) == json_string_length(value) ? text : NULL;
}

int64_t calico_created(const json_t *object)
{
	const char *text = metadata_text(object, "creationTimestamp");
	int64_t seconds;

	return text && rfc3339_parse(text, &seconds) == 0 ? seconds : 0;
}

int calico_begin_object(const json_t *object, const char *kind, const struct calico_remarks *remarks, struct err *err,
	struct calico_at *ret)
{
	const char *name = calico_name(object);

	*ret = (struct calico_at){.json = object, .remarks = remarks, .err = err};
	snprintf(ret->who, sizeof(ret->who), "%s", kind);
	snprintf(ret->path, sizeof(ret->path), "metadata.name");
	if (!json_is_object(object))
		return err_set(err, -EINVAL, "%s: expected an object", kind);
	if (!name || !calico_name_is_sane(name)) {
		ret->json = json_object_get(json_object_get(object, "metadata"), "name");
		return calico_wrong(ret, NULL, "a name of letters, digits, \"-\", \"_\" and \".\"");
	}
	snprintf(ret->who, sizeof(ret->who), "%s %s", kind, name);
	ret->path[0] = 0;
	return 0;
}

int calico_begin(const json_t *object, const char *kind, const struct calico_remarks *remarks, struct err *err,
	struct calico_at *ret)
{
	struct calico_at whole;
	int rc = calico_begin_object(object, kind, remarks, err, &whole);

	*ret = whole;
	if (rc < 0)
		return rc;
	rc = calico_enter(&whole, "spec", ret);
	if (rc == 0) {
		ret->json = NULL;
		snprintf(ret->path, sizeof(ret->path), "spec");
	}
	return rc < 0 ? rc : 0;
}

int calico_begin_namespaced(const json_t *object, const char *kind, const struct calico_remarks *remarks,
	struct err *err, struct calico_at *ret)
{
	const char *namespace = calico_namespace(object);
	int rc = calico_begin_object(object, kind, remarks, err, ret);

	if (rc < 0)
		return rc;
	if (!namespace || !calico_name_is_sane(namespace)) {
		ret->json = json_object_get(json_object_get(object, "metadata"), "namespace");
		snprintf(ret->path, sizeof(ret->path), "metadata.namespace");
		return calico_wrong(ret, NULL, "a name of letters, digits, \"-\", \"_\" and \".\"");
	}
	snprintf(ret->who, sizeof(ret->who), "%s %.120s/%.120s", kind, namespace, calico_name(object));
	return 0;
}

/* -- places -- */

static const json_t *find(const struct calico_at *at, const char *key)
{
	const json_t *value = key ? json_object_get(at->json, key) : at->json;

	return json_is_null(value) ? NULL : value;
}

/* Nobody's control characters forge a log line. */
static void make_printable(char *text)
{
	for (; *text; text++)
		if (!isprint((unsigned char)*text))
			*text = '?';
}

static void path_of(const struct calico_at *at, const char *key, char *ret, size_t size)
{
	if (!key)
		snprintf(ret, size, "%s", at->path);
	else
		snprintf(ret, size, "%.140s%s%.60s", at->path, at->path[0] ? "." : "", key);
	make_printable(ret); /* a key may be anybody's, too */
}

static void step(const struct calico_at *at, const char *key, const json_t *json, struct calico_at *ret)
{
	struct calico_at place = *at;

	path_of(at, key, place.path, sizeof(place.path));
	place.json = json;
	*ret = place;
}

int calico_enter(const struct calico_at *at, const char *key, struct calico_at *ret)
{
	const json_t *value = find(at, key);

	if (!value)
		return 0;
	if (!json_is_object(value))
		return calico_wrong(at, key, "an object");
	step(at, key, value, ret);
	return 1;
}

int calico_list(const struct calico_at *at, const char *key, const json_t **ret)
{
	const json_t *value = find(at, key);

	if (!value)
		return 0;
	if (!json_is_array(value))
		return calico_wrong(at, key, "a list");
	*ret = value;
	return 1;
}

void calico_item(const struct calico_at *at, const char *key, size_t index, const json_t *item, struct calico_at *ret)
{
	size_t len;

	step(at, key, item, ret);
	len = strlen(ret->path);
	snprintf(ret->path + len, sizeof(ret->path) - len, "[%zu]", index);
}

/* -- stories -- */

/* Compact and in ASCII; the one control character that JSON lets through is DEL. */
static const char *shown(const json_t *value, char ret[static SHOWN_MAX + 4])
{
	size_t len;

	if (!value)
		return "missing";
	len = json_dumpb(value, ret, SHOWN_MAX, JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
	if (len <= SHOWN_MAX)
		ret[len] = 0;
	else if (json_is_string(value))
		snprintf(ret, SHOWN_MAX + 4, "a text of %zu bytes", json_string_length(value));
	else
		snprintf(ret, SHOWN_MAX + 4, "%s", json_is_array(value) ? "a long list" : "a large object");
	make_printable(ret);
	return ret;
}

int calico_wrong(const struct calico_at *at, const char *key, const char *expected, ...)
{
	char value[SHOWN_MAX + 4], path[208], wanted[400];
	va_list ap;

	va_start(ap, expected);
	vsnprintf(wanted, sizeof(wanted), expected, ap);
	va_end(ap);
	path_of(at, key, path, sizeof(path));
	return err_set(at->err, -EINVAL, "%s: %s is %s, expected %s", at->who, path, shown(find(at, key), value), wanted);
}

int calico_no_memory(const struct calico_at *at)
{
	return err_set(at->err, -ENOMEM, "%s: out of memory", at->who);
}

void calico_remark(const struct calico_at *at, const char *fmt, ...)
{
	char text[512], line[sizeof(text) + sizeof(at->who) + 2];
	va_list ap;

	if (!at->remarks || !at->remarks->remark)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(line, sizeof(line), "%s: %s", at->who, text);
	at->remarks->remark(at->remarks->ctx, line);
}

void calico_remark_ignored(const struct calico_at *at, struct err *err)
{
	char line[sizeof(err->text) + 16];

	snprintf(line, sizeof(line), "%s; ignored", err_text(err));
	if (at->remarks && at->remarks->remark)
		at->remarks->remark(at->remarks->ctx, line);
	*err = ERR_INIT;
}

/* -- labels -- */

int calico_labels(const json_t *object, struct labels *ret)
{
	const json_t *value;
	const char *key;
	int rc = 0;

	json_object_foreach(json_object_get(json_object_get((json_t *)object, "metadata"), "labels"), key, value)
		if (rc == 0 && json_is_string(value))
			rc = labels_set(ret, key, json_string_value(value));
	return rc;
}

/* -- members that nobody knows -- */

static bool is_among(const char *name, const char *const *names)
{
	for (; *names; names++)
		if (strcmp(name, *names) == 0)
			return true;
	return false;
}

const char *calico_unknown(const struct calico_at *at, const char *const *names)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)at->json, key, value)
		if (!is_among(key, names))
			return key;
	return NULL;
}

void calico_remark_unknown(const struct calico_at *at, const char *const *names)
{
	const char *first = calico_unknown(at, names), *key;
	char text[SHOWN_MAX + 4];
	unsigned count = 0;
	json_t *value;

	if (!first)
		return;
	json_object_foreach((json_t *)at->json, key, value)
		count += !is_among(key, names);
	value = json_string(first);
	calico_remark(at, "%s has %u members that are not known here, among them %s; ignored", at->path, count,
		shown(value, text));
	json_decref(value);
}

/* -- plain members -- */

int calico_text(const struct calico_at *at, const char *key, const char **ret)
{
	const json_t *value = find(at, key);

	if (!value)
		return 0;
	if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value))
		return calico_wrong(at, key, "a text");
	*ret = json_string_value(value);
	return 1;
}

int calico_copy(const struct calico_at *at, const char *key, char **ret)
{
	const char *text;
	int rc = calico_text(at, key, &text);
	char *copy;

	if (rc <= 0 || !*text)
		return rc < 0 ? rc : 0;
	copy = strdup(text);
	if (!copy)
		return calico_no_memory(at);
	*ret = copy;
	return 1;
}

int calico_bool(const struct calico_at *at, const char *key, bool *ret)
{
	const json_t *value = find(at, key);

	if (!value)
		return 0;
	if (!json_is_boolean(value))
		return calico_wrong(at, key, "true or false");
	*ret = json_is_true(value);
	return 1;
}

int calico_int(const struct calico_at *at, const char *key, int64_t min, int64_t max, int64_t *ret)
{
	const json_t *value = find(at, key);
	int64_t n;

	if (!value)
		return 0;
	if (json_is_real(value) && fabs(json_real_value(value)) < 9e15 &&
		floor(json_real_value(value)) == json_real_value(value))
		n = (int64_t)json_real_value(value);
	else if (json_is_integer(value))
		n = json_integer_value(value);
	else
		return calico_wrong(at, key, "a whole number from %lld to %lld", (long long)min, (long long)max);
	if (n < min || n > max)
		return calico_wrong(at, key, "%lld to %lld", (long long)min, (long long)max);
	*ret = n;
	return 1;
}

int calico_u32(const struct calico_at *at, const char *key, uint32_t min, uint32_t max, uint32_t *ret)
{
	int64_t n;
	int rc = calico_int(at, key, min, max, &n);

	if (rc == 1)
		*ret = (uint32_t)n;
	return rc;
}

int calico_u16(const struct calico_at *at, const char *key, uint16_t min, uint16_t max, uint16_t *ret)
{
	int64_t n;
	int rc = calico_int(at, key, min, max, &n);

	if (rc == 1)
		*ret = (uint16_t)n;
	return rc;
}

static int choose(const struct calico_at *at, const char *key, const char *const *choices,
	int (*compare)(const char *, const char *), int *ret)
{
	char wanted[256] = "";
	const char *text;
	int rc = calico_text(at, key, &text);

	if (rc <= 0 || !*text)
		return rc < 0 ? rc : 0;
	for (int i = 0; choices[i]; i++) {
		if (compare(text, choices[i]) == 0) {
			*ret = i;
			return 1;
		}
		snprintf(wanted + strlen(wanted), sizeof(wanted) - strlen(wanted), "%s%s", i ? ", " : "", choices[i]);
	}
	return calico_wrong(at, key, "one of %s", wanted);
}

int calico_choice(const struct calico_at *at, const char *key, const char *const *choices, int *ret)
{
	return choose(at, key, choices, strcmp, ret);
}

int calico_choice_any_case(const struct calico_at *at, const char *key, const char *const *choices, int *ret)
{
	return choose(at, key, choices, strcasecmp, ret);
}

/* -- addresses -- */

int calico_addr(const struct calico_at *at, const char *key, struct addr *ret)
{
	const char *text;
	int rc = calico_text(at, key, &text);

	if (rc <= 0 || !*text)
		return rc < 0 ? rc : 0;
	return addr_parse(text, ret) < 0 ? calico_wrong(at, key, "an address such as 192.0.2.1 or 2001:db8::1") : 1;
}

int calico_prefix(const struct calico_at *at, const char *key, struct prefix *ret)
{
	const char *text;
	int rc = calico_text(at, key, &text);

	if (rc <= 0)
		return rc;
	return prefix_parse(text, ret) < 0 ? calico_wrong(at, key, "a CIDR such as 10.0.0.0/8 or 2001:db8::/32") : 1;
}

int calico_prefix_or_addr(const struct calico_at *at, const char *key, struct prefix *ret)
{
	struct addr addr;
	const char *text;
	int rc = calico_text(at, key, &text);

	if (rc <= 0)
		return rc;
	if (addr_parse(text, &addr) == 0)
		*ret = prefix_host(&addr);
	else if (prefix_parse(text, ret) < 0)
		return calico_wrong(at, key, "a CIDR such as 10.0.0.0/8, or an address");
	return 1;
}

int calico_selector(const struct calico_at *at, const char *key, struct selector **ret)
{
	_cleanup_(selector_free) struct selector *selector = NULL;
	struct err err = ERR_INIT;
	const char *text;
	int rc = calico_text(at, key, &text);

	if (rc <= 0)
		return rc;
	if (strlen(text) > CALICO_SELECTOR_MAX)
		return calico_wrong(at, key, "at most %d characters", CALICO_SELECTOR_MAX);
	rc = selector_parse(text, &selector, &err);
	if (rc == -ENOMEM)
		return calico_no_memory(at);
	if (rc < 0)
		return calico_wrong(at, key, "a selector: %s", err_text(&err));
	if (selector_has_global(selector))
		return calico_wrong(at, key, "a selector without global()");
	*ret = TAKE_PTR(selector);
	return 1;
}
