/* SPDX-License-Identifier: Apache-2.0
 *
 * Members that only BGP's resources have: AS numbers, communities, times, secrets, patterns of interfaces.
 */
#include "resources/read.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

/* -- numbers in texts -- */

/* One decimal number of at most max, ended by the character end, which is stepped over. */
static bool take_number(const char **text, char end, uint32_t max, uint32_t *ret)
{
	uint64_t n = 0;
	const char *p = *text;

	if (!isdigit((unsigned char)*p))
		return false;
	for (; isdigit((unsigned char)*p); p++) {
		n = n * 10 + (uint64_t)(*p - '0');
		if (n > max)
			return false;
	}
	if (*p != end)
		return false;
	*text = end ? p + 1 : p;
	*ret = (uint32_t)n;
	return true;
}

bool calico_parse_as_number(const char *text, uint32_t *ret)
{
	uint32_t high = 0, low;

	if (strchr(text, '.')) {
		if (!take_number(&text, '.', 0xffff, &high) || !take_number(&text, 0, 0xffff, &low))
			return false;
		low |= high << 16;
	} else if (!take_number(&text, 0, UINT32_MAX, &low)) {
		return false;
	}
	if (!low)
		return false;
	*ret = low;
	return true;
}

int calico_as_number(const struct calico_at *at, const char *key, uint32_t *ret)
{
	const json_t *value = key ? json_object_get(at->json, key) : at->json;
	const char *text;

	if (!json_is_string(value))
		return calico_u32(at, key, 1, UINT32_MAX, ret);
	text = json_string_value(value);
	if (strlen(text) != json_string_length(value) || !calico_parse_as_number(text, ret))
		return calico_wrong(at, key, "an AS number from 1 to 4294967295");
	return 1;
}

bool calico_parse_community(const char *text, struct community *ret)
{
	const char *colon = strchr(text, ':');
	bool large = colon && strchr(colon + 1, ':');
	uint32_t max = large ? UINT32_MAX : 0xffff;
	struct community community = {.large = large};

	if (!take_number(&text, ':', max, &community.part[0]) ||
		!take_number(&text, large ? ':' : 0, max, &community.part[1]) ||
		(large && !take_number(&text, 0, max, &community.part[2])))
		return false;
	*ret = community;
	return true;
}

int calico_community(const struct calico_at *at, const char *key, struct community *ret)
{
	const char *text;
	int rc = calico_text(at, key, &text);

	if (rc <= 0)
		return rc;
	return calico_parse_community(text, ret) ? 1 : calico_wrong(at, key, "a community such as 65000:100 or 65000:1:2");
}

/* -- times -- */

static const struct unit {
	const char *name;
	double seconds;
} units[] = {{"ns", 1e-9}, {"us", 1e-6}, {"\xc2\xb5s", 1e-6}, {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}};

static const struct unit *take_unit(const char **text)
{
	size_t len = strcspn(*text, "0123456789.");

	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (strlen(units[i].name) == len && strncmp(units[i].name, *text, len) == 0) {
			*text += len;
			return &units[i];
		}
	return NULL;
}

/* time.ParseDuration without a sign: numbers with units, added up. */
static bool parse_duration(const char *text, double *ret)
{
	double total = 0;

	if (strcmp(text, "0") == 0) {
		*ret = 0;
		return true;
	}
	do {
		const struct unit *unit;
		double number = 0, digit = 1;
		const char *start = text;

		for (; isdigit((unsigned char)*text); text++)
			number = number * 10 + (*text - '0');
		if (*text == '.' && (text != start || isdigit((unsigned char)text[1])))
			for (text++; isdigit((unsigned char)*text); text++)
				number += (*text - '0') * (digit /= 10);
		unit = text == start ? NULL : take_unit(&text);
		if (!unit)
			return false;
		total += number * unit->seconds;
	} while (*text);
	*ret = total;
	return true;
}

int calico_seconds(const struct calico_at *at, const char *key, uint32_t min, uint32_t max, uint32_t *ret)
{
	double seconds;
	const char *text;
	int rc = calico_text(at, key, &text);

	if (rc <= 0)
		return rc;
	/* the comparison also refuses what is no number */
	if (!parse_duration(text, &seconds) || !(seconds >= min && seconds < (double)max + 1))
		return calico_wrong(at, key, "a duration from %us to %us, such as 2m30s", min, max);
	*ret = (uint32_t)seconds;
	return 1;
}

/* -- others -- */

int calico_secret(const struct calico_at *at, const char *key, struct secret_ref *ret)
{
	struct calico_at password, reference;
	_cleanup_free_ char *name = NULL, *member = NULL;
	bool optional = false;
	int rc = calico_enter(at, key, &password);

	if (rc <= 0)
		return rc;
	rc = calico_enter(&password, "secretKeyRef", &reference);
	if (rc == 0)
		return calico_wrong(&password, "secretKeyRef", "an object with the members name and key");
	if (rc < 0 || (rc = calico_copy(&reference, "name", &name)) < 0 ||
		(rc = calico_copy(&reference, "key", &member)) < 0 || (rc = calico_bool(&reference, "optional", &optional)) < 0)
		return rc;
	if (!name || !calico_name_is_sane(name))
		return calico_wrong(&reference, "name", "the name of a Secret");
	if (!member || !calico_name_is_sane(member))
		return calico_wrong(&reference, "key", "the name of a member of the Secret's data");
	*ret = (struct secret_ref){TAKE_PTR(name), TAKE_PTR(member), optional};
	return 1;
}

/* The text ends up in BIRD's configuration between quotes. */
int calico_interface(const struct calico_at *at, const char *key, char ret[static IFNAMSIZ])
{
	const char *text;
	int rc = calico_text(at, key, &text);
	size_t len;

	if (rc <= 0 || !*text)
		return rc < 0 ? rc : 0;
	len = strlen(text);
	if (len >= IFNAMSIZ)
		return calico_wrong(at, key, "at most %d characters", IFNAMSIZ - 1);
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr("_.:@+*?-", text[i]))
			return calico_wrong(at, key, "an interface's name, \"*\" and \"?\" allowed");
	memcpy(ret, text, len + 1);
	return 1;
}
