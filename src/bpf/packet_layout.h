/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * Keys and values that the maps of several programs have in common. Part of each map's layout: whoever changes one
 * raises the layout version of every user. Addresses are 128 bits in network order, IPv4 mapped (::ffff:a.b.c.d).
 */
#pragma once

#include <linux/types.h>

struct packet_addr {
	__u32 w[4];
};

/* Key of a trie. */
struct packet_prefix {
	__u32 len; /* of 128; IPv4 prefixes have 96 more */
	struct packet_addr addr;
};

/* Where packets went; a value per CPU in an array. */
struct packet_count {
	__u64 packets;
	__u64 bytes;
};
