/* SPDX-License-Identifier: Apache-2.0
 *
 * Our own devices: the kernel's vxlan devices (reference/flannel.md 4.1.1 to 4.1.5; of reference/calico.md
 * 5.5 as well), its tunl0, and the carrier's veth pairs. What exists is kept if it fits, adjusted in place where the kernel can, and made anew otherwise. Called by plane_apply for
 * each wanted link that may have changed.
 */
#pragma once

#include "plan/wanted.h"
#include "plane/lookup.h"

/* What an apply did: entries on a device made anew are gone, and routes may be after an address was removed. */
struct link_outcome {
	bool changed; /* anything at all */
	bool created;
	bool addresses_removed;
};

int link_apply(struct nl *nl, const struct wanted_link *link, struct link_outcome *ret, struct err *err);
/* It is not wanted any more: removed, or, where the kernel does not let it go, left without address and down. */
int link_retire(struct nl *nl, const struct plane_link *link, struct err *err);

/* -- parts of it, one file each -- */
int vxlan_apply(struct nl *nl, const struct wanted_link *link, struct link_outcome *ret, struct err *err);
int carrier_pair_apply(struct nl *nl, const struct wanted_link *link, struct link_outcome *ret, struct err *err);
int ipip_apply(struct nl *nl, const struct wanted_link *link, struct link_outcome *ret, struct err *err);
int ipip_retire(struct nl *nl, const struct plane_link *link, struct err *err);
int link_addrs_apply(struct nl *nl, const struct wanted_link *link, uint32_t index, struct link_outcome *ret,
	struct err *err);

/* -- helpers that they share -- */
/* One device by name: -ENODEV when there is none. each: called with the kernel's message, may be null. */
int link_get(struct nl *nl, const char *name, struct plane_link *ret,
	void (*each)(const struct nlmsghdr *msg, void *arg), void *arg, struct err *err);
int link_delete(struct nl *nl, uint32_t index, struct err *err);
int link_set_mtu(struct nl *nl, uint32_t index, uint32_t mtu, struct err *err);
int link_set_mac(struct nl *nl, uint32_t index, const struct mac *mac, struct err *err);
int link_del_addr(struct nl *nl, const struct plane_addr *addr, struct err *err); /* one that is gone is no failure */
/* Sets the flags named in mask. */
int link_set_flags(struct nl *nl, uint32_t index, uint32_t flags, uint32_t mask, struct err *err);
