/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam/ipam_names.h"

#include "base/cleanup.h"
#include "model/node.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NAME_LIMIT 253u /* Kubernetes' longest name; Calico shortens from here on */
#define HASH_DIGITS 11

/* -- objects -- */

const char *ipam_cidr_name(const struct prefix *cidr, char name[static IPAM_CIDR_NAME_MAX])
{
	prefix_format(cidr, name);
	for (char *p = name; *p; p++) {
		if (*p == '.' || *p == ':' || *p == '/')
			*p = '-';
	}
	return name;
}

static void digest(const EVP_MD *type, const char *text, uint8_t ret[static 32])
{
	unsigned len = 0;

	if (!EVP_Digest(text, strlen(text), ret, &len, type, NULL))
		abort(); /* without memory, or without the algorithm: there is no name to go on with */
}

static void shorten(const char *node, const char *cidr, char name[static IPAM_NAME_MAX])
{
	size_t room = NAME_LIMIT - 1 - strlen(cidr) - 1 - 1 - HASH_DIGITS;
	_cleanup_free_ char *both = NULL, *tail = NULL;
	uint8_t hash[32];

	if (asprintf(&both, "%s%s", node, cidr) < 0)
		abort();
	digest(EVP_sha256(), both, hash);
	if (asprintf(&tail, "-%s-%02x%02x%02x%02x%02x%x", cidr, hash[0], hash[1], hash[2], hash[3], hash[4],
		    hash[5] >> 4) < 0)
		abort();
	memcpy(name, node, room);
	memcpy(name + room, tail, strlen(tail) + 1);
}

const char *ipam_affinity_name(const char *node, const struct prefix *cidr, char name[static IPAM_NAME_MAX])
{
	char cidr_name[IPAM_CIDR_NAME_MAX];
	size_t len = strlen(node);

	ipam_cidr_name(cidr, cidr_name);
	if (len + 1 + strlen(cidr_name) >= NAME_LIMIT) {
		shorten(node, cidr_name, name);
		return name;
	}
	memcpy(name, node, len);
	name[len] = '-';
	memcpy(name + len + 1, cidr_name, strlen(cidr_name) + 1);
	return name;
}

const char *ipam_affinity_labels(
	const char *node, int family_index, char labels[static IPAM_AFFINITY_LABELS_MAX])
{
	char hash[NODE_NAME_HASH_MAX];

	snprintf(labels, IPAM_AFFINITY_LABELS_MAX,
		IPAM_LABEL_HOSTNAME_HASH "=%s," IPAM_LABEL_AFFINITY_TYPE "=host," IPAM_LABEL_IP_VERSION "=%d",
		node_name_hash(node, hash), family_index == FAMILY_4 ? 4 : 6);
	return labels;
}

const char *ipam_handle_name(const char *handle, char name[static IPAM_HANDLE_MAX])
{
	size_t len = strcspn(handle, "\r");

	if (len >= IPAM_HANDLE_MAX)
		len = IPAM_HANDLE_MAX - 1;
	for (size_t i = 0; i < len; i++)
		name[i] = (char)tolower((unsigned char)handle[i]);
	name[len] = '\0';
	return name;
}

bool ipam_handle_equal(const char *a, const char *b)
{
	size_t a_len = strcspn(a, "\r"), b_len = strcspn(b, "\r");

	return a_len == b_len && memcmp(a, b, a_len) == 0;
}

/* -- handles -- */

static int join(char *text, size_t room, const char *a, const char *between, const char *b)
{
	int len = snprintf(text, room, "%s%s%s", a, between, b);

	if (len >= 0 && (size_t)len < room)
		return 0;
	text[0] = '\0';
	return -EMSGSIZE;
}

int ipam_pod_handle(const char *network, const char *container_id, char handle[static IPAM_HANDLE_MAX])
{
	return join(handle, IPAM_HANDLE_MAX, network, ".", container_id);
}

static const struct {
	const char *handle, *type;
} tunnels[IPAM_TUNNEL_COUNT] = {
	[IPAM_TUNNEL_IPIP] = {"ipip-tunnel-addr-", "ipipTunnelAddress"},
	[IPAM_TUNNEL_VXLAN] = {"vxlan-tunnel-addr-", "vxlanTunnelAddress"},
	[IPAM_TUNNEL_VXLAN_6] = {"vxlan-v6-tunnel-addr-", "vxlanV6TunnelAddress"},
};

int ipam_tunnel_handle(enum ipam_tunnel tunnel, const char *node, char handle[static IPAM_HANDLE_MAX])
{
	return join(handle, IPAM_HANDLE_MAX, tunnels[tunnel].handle, "", node);
}

const char *ipam_tunnel_type(enum ipam_tunnel tunnel)
{
	return tunnels[tunnel].type;
}

bool ipam_is_tunnel_type(const char *type)
{
	static const char *const wireguard[] = {"wireguardTunnelAddress", "wireguardV6TunnelAddress"};

	for (size_t i = 0; i < ARRAY_SIZE(tunnels); i++) {
		if (strcmp(type, tunnels[i].type) == 0)
			return true;
	}
	return strcmp(type, wireguard[0]) == 0 || strcmp(type, wireguard[1]) == 0;
}

int ipam_reserve_handle(const char *node, char handle[static IPAM_HANDLE_MAX])
{
	return join(handle, IPAM_HANDLE_MAX, "tulle-reserved-", "", node);
}

/* -- where blocks lie -- */

struct prefix ipam_block_of(const struct addr *addr, uint8_t block_len)
{
	return prefix_make(addr, block_len);
}

uint64_t ipam_block_count(const struct prefix *pool, uint8_t block_len)
{
	unsigned bits = (unsigned)block_len - pool->len;

	if (block_len < pool->len)
		return 0;
	return (uint64_t)1 << (bits < 62 ? bits : 62);
}

struct prefix ipam_block_at(const struct prefix *pool, uint8_t block_len, uint64_t index)
{
	unsigned __int128 number = 0, offset = index;
	struct prefix block = prefix_masked(pool);

	for (size_t i = 0; i < sizeof(block.addr.b); i++)
		number = number << 8 | block.addr.b[i];
	number += block_len == 0 ? 0 : offset << (prefix_max_len(pool) - block_len);
	for (size_t i = sizeof(block.addr.b); i-- > 0; number >>= 8)
		block.addr.b[i] = (uint8_t)number;
	block.len = block_len;
	return block;
}

uint64_t ipam_start_index(const char *node, uint64_t count)
{
	uint64_t hash = 14695981039346656037u; /* FNV-1, 64 bits: pools may have more than 2^32 blocks */

	for (const char *p = node; *p; p++)
		hash = hash * 1099511628211u ^ (uint8_t)*p;
	/* node-1, node-2, … differ in the low bits only, which would put them side by side */
	hash ^= hash >> 33;
	hash *= 0xff51afd7ed558ccdu;
	hash ^= hash >> 33;
	return count ? hash % count : 0;
}

/* -- times -- */

const char *ipam_time_format(int64_t seconds, char text[static IPAM_TIME_MAX])
{
	time_t t = (time_t)seconds;
	struct tm tm;

	if (!gmtime_r(&t, &tm))
		memset(&tm, 0, sizeof(tm));
	strftime(text, IPAM_TIME_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return text;
}

/* "Z", "+02:00", "-07:30". */
static int parse_zone(const char *text, int64_t *ret_offset)
{
	unsigned hours, minutes;
	char sign;
	int end = 0;

	if (strcmp(text, "Z") == 0 || strcmp(text, "z") == 0) {
		*ret_offset = 0;
		return 0;
	}
	if (sscanf(text, "%c%2u:%2u%n", &sign, &hours, &minutes, &end) != 3 || text[end] ||
		(sign != '+' && sign != '-') || hours > 23 || minutes > 59)
		return -EINVAL;
	*ret_offset = (sign == '-' ? -1 : 1) * (int64_t)(hours * 3600 + minutes * 60);
	return 0;
}

int ipam_time_parse(const char *text, int64_t *ret)
{
	struct tm tm = {0};
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	int64_t offset;

	if (!rest)
		return -EINVAL;
	if (*rest == '.')
		rest += 1 + strspn(rest + 1, "0123456789");
	if (parse_zone(rest, &offset) < 0)
		return -EINVAL;
	*ret = (int64_t)timegm(&tm) - offset;
	return 0;
}

const char *ipam_timestamp(int64_t nanoseconds, char text[static IPAM_TIME_MAX])
{
	time_t t = (time_t)(nanoseconds / 1000000000);
	char fraction[16];
	struct tm tm;
	size_t len;

	if (!gmtime_r(&t, &tm))
		memset(&tm, 0, sizeof(tm));
	len = strftime(text, IPAM_TIME_MAX, "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(fraction, sizeof(fraction), ".%09u", (unsigned)(nanoseconds % 1000000000));
	for (size_t i = strlen(fraction); fraction[i - 1] == '0' || fraction[i - 1] == '.'; i--) {
		char last = fraction[i - 1];

		fraction[i - 1] = '\0';
		if (last == '.')
			break;
	}
	snprintf(text + len, IPAM_TIME_MAX - len, "%s +0000 UTC", fraction);
	return text;
}
