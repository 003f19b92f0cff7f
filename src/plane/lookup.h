/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading the kernel's devices, addresses and routes: one parser each, used by the plane_list_* functions, by the scans
 * and by the monitor. Pure but for the dumps.
 */
#pragma once

#include "plane/netlink.h"
#include "plane/plane.h"

#include <linux/if_link.h>

/* 0, or -EBADMSG for a message without what every such message has. */
int link_parse(const struct nlmsghdr *msg, struct plane_link *ret);
int addr_message_parse(const struct nlmsghdr *msg, struct plane_addr *ret);

/* A route as the kernel tells it, with what plane_route leaves out. */
struct route_message {
	struct plane_route route;
	uint32_t table;
	bool cloned, onlink, multipath;
};
int route_message_parse(const struct nlmsghdr *msg, struct route_message *ret);

/* Attribute table of a message behind a header of header_size: attrs has max + 1 places. Later doubles win. */
void attrs_index(const struct nlmsghdr *msg, size_t header_size, const struct nlattr **attrs, unsigned max);
void attrs_index_nested(const struct nlattr *nest, const struct nlattr **attrs, unsigned max);
uint32_t attr_u32(const struct nlattr *attr, uint32_t otherwise);
uint16_t attr_u16(const struct nlattr *attr, uint16_t otherwise);
uint8_t attr_u8(const struct nlattr *attr, uint8_t otherwise);
/* An address of 4 or 16 bytes, unset for anything else. */
struct addr attr_addr(const struct nlattr *attr);
/* Text, cut to size - 1 bytes; "" without the attribute. */
void attr_text(const struct nlattr *attr, char *ret, size_t size);

/* All devices, sorted by index. */
int links_dump(struct nl *nl, struct plane_link **ret, size_t *ret_count, struct err *err);
/* Those of one device (0: all) and family. */
int addrs_dump(struct nl *nl, int family, uint32_t index, struct plane_addr **ret, size_t *ret_count,
	struct err *err);
