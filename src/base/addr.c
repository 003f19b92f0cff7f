/* SPDX-License-Identifier: Apache-2.0 */
#include "base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

bool addr_is_set(const struct addr *addr)
{
	static const struct addr none;

	return memcmp(addr, &none, sizeof(none)) != 0;
}

bool addr_is_4(const struct addr *addr)
{
	return memcmp(addr->b, mapped, sizeof(mapped)) == 0;
}

int addr_family(const struct addr *addr)
{
	return addr_is_4(addr) ? AF_INET : AF_INET6;
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

int addr_compare(const struct addr *a, const struct addr *b)
{
	return memcmp(a, b, sizeof(*a));
}

struct addr addr_from_4(uint32_t host_order)
{
	uint32_t net = htonl(host_order);

	return addr_from_bytes(AF_INET, &net);
}

uint32_t addr_to_4(const struct addr *addr)
{
	uint32_t net;

	memcpy(&net, addr->b + 12, 4);
	return ntohl(net);
}

struct addr addr_from_bytes(int family, const void *bytes)
{
	struct addr addr = {0};

	if (family == AF_INET) {
		memcpy(addr.b, mapped, sizeof(mapped));
		memcpy(addr.b + 12, bytes, 4);
	} else {
		memcpy(addr.b, bytes, 16);
	}
	return addr;
}

const void *addr_bytes(const struct addr *addr)
{
	return addr_is_4(addr) ? addr->b + 12 : addr->b;
}

size_t addr_bytes_len(const struct addr *addr)
{
	return addr_is_4(addr) ? 4 : 16;
}

static unsigned __int128 addr_number(const struct addr *addr)
{
	unsigned __int128 n = 0;

	for (int i = 0; i < 16; i++)
		n = n << 8 | addr->b[i];
	return n;
}

struct addr addr_add(const struct addr *addr, int64_t n)
{
	unsigned __int128 sum = addr_number(addr) + (unsigned __int128)(__int128)n;
	struct addr ret;

	for (int i = 15; i >= 0; i--, sum >>= 8)
		ret.b[i] = (uint8_t)sum;
	return ret;
}

int64_t addr_distance(const struct addr *a, const struct addr *b)
{
	unsigned __int128 from = addr_number(a);
	unsigned __int128 to = addr_number(b);

	if (to >= from)
		return to - from > INT64_MAX ? INT64_MAX : (int64_t)(to - from);
	return from - to > INT64_MAX ? INT64_MIN : -(int64_t)(from - to);
}

int addr_parse(const char *text, struct addr *ret)
{
	uint8_t bytes[16];
	struct addr addr;

	if (strchr(text, ':')) {
		if (inet_pton(AF_INET6, text, bytes) != 1)
			return -EINVAL;
		addr = addr_from_bytes(AF_INET6, bytes);
		if (!addr_is_set(&addr))
			return -EINVAL;
	} else {
		/* glibc's inet_pton already refuses leading zeros and short forms */
		if (inet_pton(AF_INET, text, bytes) != 1)
			return -EINVAL;
		addr = addr_from_bytes(AF_INET, bytes);
	}
	*ret = addr;
	return 0;
}

const char *addr_format(const struct addr *addr, char text[static ADDR_TEXT_MAX])
{
	static const uint8_t zero[12];

	text[0] = 0;
	if (!addr_is_set(addr))
		return text;
	if (!addr_is_4(addr) && memcmp(addr->b, zero, sizeof(zero)) == 0) {
		/* glibc prints ::a.b.c.d here; RFC 5952 and Go do not */
		unsigned high = (unsigned)addr->b[12] << 8 | addr->b[13];
		unsigned low = (unsigned)addr->b[14] << 8 | addr->b[15];

		if (high)
			snprintf(text, ADDR_TEXT_MAX, "::%x:%x", high, low);
		else
			snprintf(text, ADDR_TEXT_MAX, "::%x", low);
		return text;
	}
	inet_ntop(addr_family(addr), addr_bytes(addr), text, ADDR_TEXT_MAX);
	return text;
}

bool addr_is_multicast(const struct addr *addr)
{
	return addr_is_4(addr) ? addr->b[12] >> 4 == 0xe : addr->b[0] == 0xff;
}

bool addr_is_link_local(const struct addr *addr)
{
	if (addr_is_4(addr))
		return addr->b[12] == 169 && addr->b[13] == 254;
	return addr->b[0] == 0xfe && (addr->b[1] & 0xc0) == 0x80;
}

bool addr_is_loopback(const struct addr *addr)
{
	static const struct addr one = {.b = {[15] = 1}};

	return addr_is_4(addr) ? addr->b[12] == 127 : addr_equal(addr, &one);
}

void addr_to_sockaddr(const struct addr *addr, uint16_t port, struct sockaddr_storage *ret, socklen_t *ret_len)
{
	memset(ret, 0, sizeof(*ret));
	if (addr_is_4(addr)) {
		struct sockaddr_in *in = (struct sockaddr_in *)ret;

		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		memcpy(&in->sin_addr, addr->b + 12, 4);
		*ret_len = sizeof(*in);
	} else {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		memcpy(&in6->sin6_addr, addr->b, 16);
		*ret_len = sizeof(*in6);
	}
}

int family_index(int family)
{
	return family == AF_INET ? FAMILY_4 : FAMILY_6;
}

/* Offset of the family's bits in the 128. */
static unsigned prefix_shift(const struct prefix *prefix)
{
	return prefix->family == AF_INET ? 96 : 0;
}

unsigned prefix_max_len(const struct prefix *prefix)
{
	return prefix->family == AF_INET ? 32 : 128;
}

bool prefix_is_set(const struct prefix *prefix)
{
	return prefix->family != 0;
}

bool prefix_equal(const struct prefix *a, const struct prefix *b)
{
	return a->family == b->family && a->len == b->len && addr_equal(&a->addr, &b->addr);
}

int prefix_compare(const struct prefix *a, const struct prefix *b)
{
	int d;

	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	d = addr_compare(&a->addr, &b->addr);
	if (d)
		return d;
	return (int)a->len - (int)b->len;
}

static void addr_mask(struct addr *addr, unsigned bits)
{
	for (unsigned i = 0; i < 16; i++) {
		if (bits >= (i + 1) * 8)
			continue;
		addr->b[i] &= bits <= i * 8 ? 0 : (uint8_t)(0xff00 >> (bits - i * 8));
	}
}

struct prefix prefix_masked(const struct prefix *prefix)
{
	struct prefix ret = *prefix;

	addr_mask(&ret.addr, ret.len + prefix_shift(prefix));
	return ret;
}

struct prefix prefix_make(const struct addr *addr, unsigned len)
{
	struct prefix prefix = {.addr = *addr, .len = (uint8_t)len, .family = (uint8_t)addr_family(addr)};

	return prefix_masked(&prefix);
}

struct prefix prefix_host(const struct addr *addr)
{
	return prefix_make(addr, addr_is_4(addr) ? 32 : 128);
}

bool prefix_has_host_bits(const struct prefix *prefix)
{
	struct prefix masked = prefix_masked(prefix);

	return !addr_equal(&masked.addr, &prefix->addr);
}

int prefix_parse(const char *text, struct prefix *ret)
{
	char head[ADDR_TEXT_MAX];
	const char *slash = strchr(text, '/');
	struct prefix prefix = {0};
	unsigned len = 0;
	const char *p;

	if (!slash || (size_t)(slash - text) >= sizeof(head))
		return -EINVAL;
	memcpy(head, text, (size_t)(slash - text));
	head[slash - text] = 0;
	if (strcmp(head, "::") == 0)
		prefix.family = AF_INET6;
	else if (addr_parse(head, &prefix.addr) < 0)
		return -EINVAL;
	else
		prefix.family = strchr(head, ':') ? AF_INET6 : AF_INET;
	if (prefix.family == AF_INET6 && addr_is_4(&prefix.addr))
		return -EINVAL; /* a mapped address written as IPv6 belongs to no family of ours */
	p = slash + 1;
	if (!*p || strlen(p) > 3 || (p[0] == '0' && p[1]))
		return -EINVAL;
	for (; *p; p++) {
		if (*p < '0' || *p > '9')
			return -EINVAL;
		len = len * 10 + (unsigned)(*p - '0');
	}
	if (len > prefix_max_len(&prefix))
		return -EINVAL;
	prefix.len = (uint8_t)len;
	*ret = prefix;
	return 0;
}

const char *prefix_format(const struct prefix *prefix, char text[static PREFIX_TEXT_MAX])
{
	char addr[ADDR_TEXT_MAX];

	text[0] = 0;
	if (!prefix_is_set(prefix))
		return text;
	addr_format(&prefix->addr, addr);
	snprintf(text, PREFIX_TEXT_MAX, "%s/%u", addr[0] ? addr : "::", prefix->len);
	return text;
}

bool prefix_contains(const struct prefix *prefix, const struct addr *addr)
{
	struct addr net = prefix->addr;
	struct addr other = *addr;
	unsigned bits = prefix->len + prefix_shift(prefix);

	if (!prefix_is_set(prefix) || addr_family(addr) != prefix->family)
		return false;
	addr_mask(&net, bits);
	addr_mask(&other, bits);
	return addr_equal(&net, &other);
}

bool prefix_contains_prefix(const struct prefix *outer, const struct prefix *inner)
{
	return outer->family == inner->family && inner->len >= outer->len && prefix_contains(outer, &inner->addr);
}

bool prefix_overlaps(const struct prefix *a, const struct prefix *b)
{
	return prefix_contains_prefix(a, b) || prefix_contains_prefix(b, a);
}

struct addr prefix_last(const struct prefix *prefix)
{
	struct addr last = prefix->addr;
	unsigned bits = prefix->len + prefix_shift(prefix);

	for (unsigned i = 0; i < 16; i++) {
		if (bits >= (i + 1) * 8)
			continue;
		last.b[i] |= bits <= i * 8 ? 0xff : (uint8_t)(0xff >> (bits - i * 8));
	}
	return last;
}

bool mac_is_set(const struct mac *mac)
{
	static const struct mac none;

	return memcmp(mac, &none, sizeof(none)) != 0;
}

bool mac_equal(const struct mac *a, const struct mac *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int mac_parse(const char *text, struct mac *ret)
{
	size_t len = strlen(text);
	unsigned group = len == 17 ? 2 : len == 14 ? 4 : 0;
	char separator;
	struct mac mac;
	unsigned digits = 0;

	if (!group)
		return -EINVAL;
	separator = text[group];
	if (group == 2 ? separator != ':' && separator != '-' : separator != '.')
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		int v;

		if (i % (group + 1) == group) {
			if (text[i] != separator)
				return -EINVAL;
			continue;
		}
		v = hex_digit(text[i]);
		if (v < 0)
			return -EINVAL;
		mac.b[digits / 2] = (uint8_t)(digits % 2 ? mac.b[digits / 2] | v : v << 4);
		digits++;
	}
	*ret = mac;
	return 0;
}

const char *mac_format(const struct mac *mac, char text[static MAC_TEXT_MAX])
{
	snprintf(text, MAC_TEXT_MAX, "%02x:%02x:%02x:%02x:%02x:%02x", mac->b[0], mac->b[1], mac->b[2], mac->b[3],
		mac->b[4], mac->b[5]);
	return text;
}
