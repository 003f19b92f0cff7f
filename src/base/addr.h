/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses, prefixes and MAC addresses, with the strict text forms that Go's parsers take and the canonical
 * text they print (IPv4 without leading zeros, IPv6 lower case after RFC 5952, MAC lower case with colons).
 * An address is always 128 bits in network byte order; IPv4 is mapped (::ffff:a.b.c.d, RFC 4291 2.5.5.2).
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Index of arrays that hold one thing for each family. */
enum { FAMILY_4 = 0, FAMILY_6 = 1, FAMILY_COUNT = 2 };

struct addr {
	uint8_t b[16]; /* network order; all zero = no address ("::" cannot be told from it, and is never needed) */
};

struct prefix {
	struct addr addr;
	uint8_t len;    /* 0..32 or 0..128, in the terms of its own family */
	uint8_t family; /* AF_INET or AF_INET6; 0 = no prefix */
};

struct mac {
	uint8_t b[6]; /* all zero = none */
};

/* Sizes of text buffers, closing 0 included. */
#define ADDR_TEXT_MAX 46
#define PREFIX_TEXT_MAX 50
#define MAC_TEXT_MAX 18

/* -- addresses -- */
bool addr_is_set(const struct addr *addr);
bool addr_is_4(const struct addr *addr);
/* AF_INET or AF_INET6; an unset address counts as AF_INET6. */
int addr_family(const struct addr *addr);
bool addr_equal(const struct addr *a, const struct addr *b);
/* Order as of the 128-bit numbers: <0, 0, >0. */
int addr_compare(const struct addr *a, const struct addr *b);
struct addr addr_from_4(uint32_t host_order);
uint32_t addr_to_4(const struct addr *addr); /* host order; only if addr_is_4 */
/* From and to the kernel's bytes: 4 bytes for AF_INET, 16 for AF_INET6, network order. */
struct addr addr_from_bytes(int family, const void *bytes);
const void *addr_bytes(const struct addr *addr); /* of its own family's length, addr_bytes_len() */
size_t addr_bytes_len(const struct addr *addr);
/* Adds a signed number to the whole 128-bit value (wraps). */
struct addr addr_add(const struct addr *addr, int64_t n);
/* b - a, clamped to INT64_MAX / INT64_MIN. */
int64_t addr_distance(const struct addr *a, const struct addr *b);
/* Strict: no white space, no leading zeros, no zone. 0 or -EINVAL (ret untouched). "::" is refused. */
int addr_parse(const char *text, struct addr *ret);
/* Writes at most ADDR_TEXT_MAX bytes and returns text. "" for an unset address. */
const char *addr_format(const struct addr *addr, char text[static ADDR_TEXT_MAX]);
bool addr_is_multicast(const struct addr *addr);
bool addr_is_link_local(const struct addr *addr);
bool addr_is_loopback(const struct addr *addr);
void addr_to_sockaddr(const struct addr *addr, uint16_t port, struct sockaddr_storage *ret, socklen_t *ret_len);

/* -- prefixes -- */
bool prefix_is_set(const struct prefix *prefix);
bool prefix_equal(const struct prefix *a, const struct prefix *b);
/* By family, then address, then length: for sorting. */
int prefix_compare(const struct prefix *a, const struct prefix *b);
struct prefix prefix_make(const struct addr *addr, unsigned len); /* host bits masked off */
struct prefix prefix_host(const struct addr *addr);               /* /32 or /128 */
/* "10.3.0.0/16"; the address keeps its host bits, use prefix_masked. A missing "/len" is an error. "::/0" works. */
int prefix_parse(const char *text, struct prefix *ret);
struct prefix prefix_masked(const struct prefix *prefix);
bool prefix_has_host_bits(const struct prefix *prefix);
const char *prefix_format(const struct prefix *prefix, char text[static PREFIX_TEXT_MAX]);
bool prefix_contains(const struct prefix *prefix, const struct addr *addr);
bool prefix_contains_prefix(const struct prefix *outer, const struct prefix *inner); /* equal counts */
bool prefix_overlaps(const struct prefix *a, const struct prefix *b);
unsigned prefix_max_len(const struct prefix *prefix); /* 32 or 128 */
struct addr prefix_last(const struct prefix *prefix);
int family_index(int family); /* AF_INET -> FAMILY_4, AF_INET6 -> FAMILY_6 */

/* -- MAC addresses -- */
bool mac_is_set(const struct mac *mac);
bool mac_equal(const struct mac *a, const struct mac *b);
/* Forms aa:bb:.., aa-bb-.., aabb.ccdd.eeff; 0 or -EINVAL. */
int mac_parse(const char *text, struct mac *ret);
const char *mac_format(const struct mac *mac, char text[static MAC_TEXT_MAX]);
