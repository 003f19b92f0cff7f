/* SPDX-License-Identifier: Apache-2.0 */
#include "flannel/flannel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ENV_MAX 65536 /* bytes */
#define LINE_MAX_LEN 4096

static const struct {
	const char *network, *subnet;
	int family;
} env_keys[FAMILY_COUNT] = {
	[FAMILY_4] = {"FLANNEL_NETWORK", "FLANNEL_SUBNET", AF_INET},
	[FAMILY_6] = {"FLANNEL_IPV6_NETWORK", "FLANNEL_IPV6_SUBNET", AF_INET6},
};

/* The one good CIDR of a comma-separated list; unset when there is none, or more than one. */
static struct prefix one_prefix(char *list, int family)
{
	struct prefix found = {0};
	char *rest = list;
	char *item;
	int good = 0;

	while ((item = strsep(&rest, ","))) {
		struct prefix prefix;

		if (prefix_parse(item, &prefix) < 0 || prefix.family != family)
			continue;
		found = prefix_masked(&prefix);
		good++;
	}
	return good == 1 ? found : (struct prefix){0};
}

static unsigned mtu_parse(const char *text)
{
	char *end;
	unsigned long n;

	if (*text < '0' || *text > '9')
		return 0;
	n = strtoul(text, &end, 10);
	return *end || n > UINT16_MAX + 1ul ? 0 : (unsigned)n;
}

static void assign(struct flannel_env *env, const char *key, char *value)
{
	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (strcmp(key, env_keys[f].network) == 0)
			env->network[f] = one_prefix(value, env_keys[f].family);
		else if (strcmp(key, env_keys[f].subnet) == 0)
			env->subnet[f] = one_prefix(value, env_keys[f].family);
	}
	if (strcmp(key, "FLANNEL_MTU") == 0)
		env->mtu = mtu_parse(value);
	else if (strcmp(key, "FLANNEL_IPMASQ") == 0)
		env->ip_masq = strcmp(value, "true") == 0;
}

static char *trim(char *text)
{
	size_t len;

	text += strspn(text, " \t\r");
	for (len = strlen(text); len && strchr(" \t\r", text[len - 1]); len--)
		text[len - 1] = 0;
	return text;
}

/* KEY=VALUE as a shell would take it: "export", quotes around the value, comments. */
static void line_parse(struct flannel_env *env, char *line)
{
	char *key = trim(line);
	char *value;
	size_t len;

	if (strncmp(key, "export ", 7) == 0)
		key = trim(key + 7);
	value = strchr(key, '=');
	if (*key == '#' || !value)
		return;
	*value++ = 0;
	value = trim(value);
	len = strlen(value);
	if (len >= 2 && (*value == '"' || *value == '\'') && value[len - 1] == *value) {
		value[len - 1] = 0;
		value++;
	}
	assign(env, trim(key), value);
}

static bool is_text(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < ' ' && !(text[i] && strchr("\t\r\n", text[i])))
			return false;
	return true;
}

int flannel_env_parse(const char *text, size_t len, struct flannel_env *ret, struct err *err)
{
	struct flannel_env env = {0};
	const char *end = text + len;
	char line[LINE_MAX_LEN];

	if (len > ENV_MAX)
		return err_set(err, -EINVAL, "subnet file: has %zu bytes, expected at most %d", len, ENV_MAX);
	if (!is_text(text, len))
		return err_set(err, -EINVAL,
			"subnet file: has control characters, expected lines such as "
			"FLANNEL_SUBNET=10.244.7.1/24");
	while (text < end) {
		const char *eol = memchr(text, '\n', (size_t)(end - text));
		size_t n = (size_t)((eol ? eol : end) - text);

		if (n < sizeof(line)) {
			memcpy(line, text, n);
			line[n] = 0;
			line_parse(&env, line);
		}
		text += n + 1;
	}
	*ret = env;
	return 0;
}

void flannel_env_format(const struct flannel_env *env, struct buf *buf)
{
	char text[PREFIX_TEXT_MAX];

	for (int f = 0; f < FAMILY_COUNT; f++) {
		struct prefix gateway = env->subnet[f];

		if (!prefix_is_set(&gateway))
			continue;
		gateway.addr = addr_add(&gateway.addr, 1);
		buf_printf(buf, "%s=%s\n", env_keys[f].network, prefix_format(&env->network[f], text));
		buf_printf(buf, "%s=%s\n", env_keys[f].subnet, prefix_format(&gateway, text));
	}
	buf_printf(buf, "FLANNEL_MTU=%u\nFLANNEL_IPMASQ=%s\n", env->mtu, env->ip_masq ? "true" : "false");
}
