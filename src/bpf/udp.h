/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * IP packets in UDP, as Flannel's udp backend has them on the wire (reference/flannel.md 4.3), and in IPv6 besides.
 */
#pragma once

#include "packet.h"

#define OUTER4 (sizeof(struct iphdr) + sizeof(struct udphdr))
#define OUTER6 (sizeof(struct ipv6hdr) + sizeof(struct udphdr))
