/* SPDX-License-Identifier: Apache-2.0 */
#include "flannel/flannel.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Names of subnets (reference/flannel.md 3.3.1). A node without IPv4 gets "0.0.0.0-0" for that half, which is
 * what flanneld makes of an empty IPv4 subnet. */
#define NO_SUBNET_4 "0.0.0.0-0"

static bool only(const char *text, const char *accept)
{
	return *text && text[strspn(text, accept)] == 0;
}

/* "ADDR-LEN" of the family; the shortest length that leaves no room for hosts is refused as Flannel does. */
static int half_parse(const char *text, int family, struct prefix *ret)
{
	const char *dash = strrchr(text, '-');
	char cidr[PREFIX_TEXT_MAX];
	struct prefix prefix;
	size_t head;

	if (!dash)
		return -EINVAL;
	head = (size_t)(dash - text);
	if (head + strlen(dash) >= sizeof(cidr))
		return -EINVAL;
	memcpy(cidr, text, head);
	cidr[head] = 0;
	if (!only(cidr, family == AF_INET ? "0123456789." : "0123456789abcdef:") ||
		!only(dash + 1, "0123456789"))
		return -EINVAL;
	snprintf(cidr + head, sizeof(cidr) - head, "/%s", dash + 1);
	if (prefix_parse(cidr, &prefix) < 0 || prefix.family != family ||
		prefix.len >= prefix_max_len(&prefix))
		return -EINVAL;
	*ret = prefix;
	return 0;
}

static int check_half(const char *key, const struct prefix *subnet, struct err *err)
{
	char text[PREFIX_TEXT_MAX], other[PREFIX_TEXT_MAX];
	struct prefix masked;

	if (!prefix_has_host_bits(subnet))
		return 0;
	masked = prefix_masked(subnet);
	return err_set(err, -EINVAL, "lease key \"%.*s\": subnet is %s, expected its first address, %s",
		LEASE_KEY_MAX, key, prefix_format(subnet, text), prefix_format(&masked, other));
}

int flannel_key_parse(const char *key, struct prefix subnet[FAMILY_COUNT], struct err *err)
{
	const char *slash = strrchr(key, '/');
	const char *name = slash ? slash + 1 : key;
	struct prefix half[FAMILY_COUNT] = {0};
	char text[LEASE_KEY_MAX];
	char *second;
	int r = -EINVAL;

	if (strlen(name) < sizeof(text)) {
		strcpy(text, name);
		second = strchr(text, '&');
		if (second)
			*second++ = 0;
		r = second && strcmp(text, NO_SUBNET_4) == 0 ? 0 : half_parse(text, AF_INET, &half[FAMILY_4]);
		if (r == 0 && second)
			r = half_parse(second, AF_INET6, &half[FAMILY_6]);
	}
	if (r < 0 || (prefix_is_set(&half[FAMILY_4]) && half[FAMILY_4].len == 0))
		return err_set(err, -EINVAL,
			"lease key \"%.*s\": is no subnet, expected one like 10.5.72.0-24 or "
			"10.5.72.0-24&fd00:5:0:48::-64",
			LEASE_KEY_MAX, name);
	for (int f = 0; f < FAMILY_COUNT && r == 0; f++)
		r = check_half(name, &half[f], err);
	if (r == 0)
		memcpy(subnet, half, sizeof(half));
	return r;
}

static void half_format(const struct prefix *subnet, char text[static PREFIX_TEXT_MAX])
{
	char *slash;

	prefix_format(subnet, text);
	slash = strchr(text, '/');
	if (slash)
		*slash = '-';
}

void flannel_key_format(const struct prefix subnet[FAMILY_COUNT], char key[static LEASE_KEY_MAX])
{
	char v4[PREFIX_TEXT_MAX] = NO_SUBNET_4, v6[PREFIX_TEXT_MAX];

	if (prefix_is_set(&subnet[FAMILY_4]))
		half_format(&subnet[FAMILY_4], v4);
	if (prefix_is_set(&subnet[FAMILY_6])) {
		half_format(&subnet[FAMILY_6], v6);
		snprintf(key, LEASE_KEY_MAX, "%s&%s", v4, v6);
	} else {
		snprintf(key, LEASE_KEY_MAX, "%s", v4);
	}
}
