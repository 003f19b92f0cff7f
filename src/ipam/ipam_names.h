/* SPDX-License-Identifier: Apache-2.0
 *
 * What IPAM's objects are called, after reference/calico.md 2.15 and 3.7: names of blocks, affinities and
 * handles, the label by which a node's affinities are listed, and where blocks lie in a pool. Used by the
 * rest of src/ipam and by whoever looks for these objects by name. Pure.
 */
#pragma once

#include "base/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sizes of text buffers, closing 0 included. */
#define IPAM_NAME_MAX 254 /* an object's name */
#define IPAM_CIDR_NAME_MAX PREFIX_TEXT_MAX
#define IPAM_HANDLE_MAX 512
#define IPAM_AFFINITY_LABELS_MAX 256
#define IPAM_TIME_MAX 64

#define IPAM_LABEL_HOSTNAME_HASH "projectcalico.org/hostname-hash"
#define IPAM_LABEL_AFFINITY_TYPE "projectcalico.org/affinity-type"
#define IPAM_LABEL_IP_VERSION "projectcalico.org/ip-version"

/* The handle under which Windows nodes keep addresses of a block to themselves: such a block still counts as
 * empty. */
#define IPAM_WINDOWS_HANDLE "windows-reserved-ipam-handle"

/* -- objects -- */

/* "10.65.1.64/26" -> "10-65-1-64-26". */
const char *ipam_cidr_name(const struct prefix *cidr, char name[static IPAM_CIDR_NAME_MAX]);
/* NODE-CIDR, shortened by a hash when it gets too long for a Kubernetes object. */
const char *ipam_affinity_name(const char *node, const struct prefix *cidr, char name[static IPAM_NAME_MAX]);
/* The label selector that finds a node's affinities of one family. */
const char *ipam_affinity_labels(
	const char *node, int family_index, char labels[static IPAM_AFFINITY_LABELS_MAX]);
/* Lower case: an object's name may be nothing else. */
const char *ipam_handle_name(const char *handle, char name[static IPAM_HANDLE_MAX]);
/* What follows a carriage return in a stored handle does not count (3.6). */
bool ipam_handle_equal(const char *a, const char *b);

/* -- handles; -EMSGSIZE when it does not fit, handle is "" then -- */

enum ipam_tunnel { IPAM_TUNNEL_IPIP, IPAM_TUNNEL_VXLAN, IPAM_TUNNEL_VXLAN_6, IPAM_TUNNEL_COUNT };

int ipam_pod_handle(const char *network, const char *container_id, char handle[static IPAM_HANDLE_MAX]);
int ipam_tunnel_handle(enum ipam_tunnel tunnel, const char *node, char handle[static IPAM_HANDLE_MAX]);
/* The "type" attribute of a tunnel's address. */
const char *ipam_tunnel_type(enum ipam_tunnel tunnel);
/* Any of the types that real Calico knows, WireGuard's included. */
bool ipam_is_tunnel_type(const char *type);
/* Of the batch that a node keeps reserved (ipam/reserve.h). */
int ipam_reserve_handle(const char *node, char handle[static IPAM_HANDLE_MAX]);

/* -- where blocks lie -- */

/* The block of this length that addr lies in. */
struct prefix ipam_block_of(const struct addr *addr, uint8_t block_len);
/* How many blocks of this length the pool has; at most 2^62. 0: it is larger than the pool. */
uint64_t ipam_block_count(const struct prefix *pool, uint8_t block_len);
/* index < ipam_block_count. */
struct prefix ipam_block_at(const struct prefix *pool, uint8_t block_len, uint64_t index);
/* Where a node begins to look for a block: the same node at the same place, different nodes apart (3.3). */
uint64_t ipam_start_index(const char *node, uint64_t count);

/* -- times -- */

/* RFC 3339 of seconds since the epoch, in UTC. */
const char *ipam_time_format(int64_t seconds, char text[static IPAM_TIME_MAX]);
/* Fractions of a second are cut off. 0 or -EINVAL. */
int ipam_time_parse(const char *text, int64_t *ret);
/* Go's default text of a UTC time, as the "timestamp" attribute has it. */
const char *ipam_timestamp(int64_t nanoseconds, char text[static IPAM_TIME_MAX]);
