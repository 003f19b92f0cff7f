/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * IPv4 in IPv4 (RFC 2003) as the kernel's tunl0 has it on the wire, so that a carrier and a tunl0 can be each other's
 * peers: what is made here is what net/ipv4/ip_tunnel.c makes for a device without fixed ends.
 */
#pragma once

#include "packet.h"

#define OUTER_IPIP sizeof(struct iphdr)
