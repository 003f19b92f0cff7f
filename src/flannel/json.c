/* SPDX-License-Identifier: Apache-2.0 */
#include "flannel/json.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

int flannel_object_parse(const char *text, size_t len, const char *where, json_t **ret, struct err *err)
{
	_cleanup_(json_cleanup) json_t *json = NULL;
	int r;

	if (len > FLANNEL_TEXT_MAX)
		return err_set(err, -EMSGSIZE, "%s: has %zu bytes, expected at most %u", where, len,
			FLANNEL_TEXT_MAX);
	r = json_parse(text, len, where, &json, err);
	if (r < 0)
		return r;
	if (!json_is_object(json))
		return err_set(err, -EINVAL,
			"%s: the JSON value is no object, expected {\"KEY\": VALUE, ...}", where);
	*ret = TAKE_PTR(json);
	return 0;
}

const char *flannel_spelling(const json_t *object, const char *key)
{
	const char *found = key;
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)object, name, value)
		if (!json_is_null(value) && strcasecmp(name, key) == 0)
			found = name;
	return found;
}

bool flannel_has_null(const json_t *object, const char *key)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)object, name, value)
		if (json_is_null(value) && strcasecmp(name, key) == 0)
			return true;
	return false;
}

int flannel_get_int(const json_t *object, const char *where, const char *key, int64_t min, int64_t max,
	int64_t *ret, struct err *err)
{
	return json_get_int(object, where, flannel_spelling(object, key), min, max, ret, err);
}

int flannel_get_bool(const json_t *object, const char *where, const char *key, bool *ret, struct err *err)
{
	return json_get_bool(object, where, flannel_spelling(object, key), ret, err);
}

int flannel_get_string(
	const json_t *object, const char *where, const char *key, const char **ret, struct err *err)
{
	return json_get_string(object, where, flannel_spelling(object, key), ret, err);
}

static const char *family_name(int family)
{
	return family == AF_INET ? "IPv4" : "IPv6";
}

static int null_refused(const char *where, const char *key, const char *wanted, int family, struct err *err)
{
	return err_set(err, -EINVAL, "%s: key \"%s\" is null, expected an %s %s", where, key,
		family_name(family), wanted);
}

int flannel_get_addr(const json_t *object, const char *where, const char *key, int family, bool null_ok,
	struct addr *ret, struct err *err)
{
	const char *text = NULL;
	struct addr addr;
	int r;

	if (!null_ok && flannel_has_null(object, key))
		return null_refused(where, key, "address", family, err);
	r = flannel_get_string(object, where, key, &text, err);
	if (r <= 0)
		return r;
	if (strcmp(text, family == AF_INET ? "0.0.0.0" : "::") == 0)
		return 0;
	if (addr_parse(text, &addr) < 0 || addr_family(&addr) != family)
		return err_set(err, -EINVAL, "%s: key \"%s\" is \"%.60s\", expected an %s address such as %s",
			where, key, text, family_name(family),
			family == AF_INET ? "10.244.1.0" : "fd00:42:0:1::");
	*ret = addr;
	return 1;
}

int flannel_get_prefix(const json_t *object, const char *where, const char *key, int family,
	struct prefix *ret, struct err *err)
{
	const char *text = NULL;
	struct prefix prefix;
	int r;

	if (flannel_has_null(object, key))
		return null_refused(where, key, "CIDR", family, err);
	r = flannel_get_string(object, where, key, &text, err);
	if (r <= 0)
		return r;
	if (prefix_parse(text, &prefix) < 0 || prefix.family != family)
		return err_set(err, -EINVAL, "%s: key \"%s\" is \"%.60s\", expected an %s CIDR such as %s",
			where, key, text, family_name(family),
			family == AF_INET ? "10.244.0.0/16" : "fd00:42::/56");
	*ret = prefix_masked(&prefix);
	return 1;
}
