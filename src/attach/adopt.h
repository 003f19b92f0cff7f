/* SPDX-License-Identifier: Apache-2.0
 *
 * Pods that Calico's plugin attached on this node (reference/calico.md 4.4): each has an interface cali… with a host
 * route for each of its addresses. They become attachments of ours as they are, without a packet lost; whose they are
 * the caller finds out (from the blocks of IPAM, agent/calico/takeover.c). And the other way round: attachments that
 * Calico's plugin was asked to undo while this agent was away are forgotten. Called by the agent at start, after
 * attach_recover; holds no state.
 */
#pragma once

#include "attach/attach.h"

/* An interface with a name of Calico's that belongs to no attachment. */
struct attach_stray {
	char host_ifname[IFNAMSIZ];
	char ifname[IFNAMSIZ];          /* in the pod; "eth0" where the kernel does not tell */
	struct addr addr[FAMILY_COUNT]; /* to which host routes lead; one at least is set */
	struct mac mac;                 /* in the pod; unset: the kernel does not tell */
	uint32_t mtu;
};
/* malloc'ed array. */
int attach_list_strays(struct attacher *attacher, struct attach_stray **ret, size_t *ret_count, struct err *err);

struct attach_whose {
	const char *network, *container_id; /* of the handle; container_id null: not known */
	const char *pod_namespace, *pod_name; /* may be null */
};
/* It is an attachment from now on: its routes are ours, and DEL, CHECK and GC know it. One whose container is not known
 * is kept until the DEL of a pod that has this interface's name. */
int attach_adopt(struct attacher *attacher, const struct attach_stray *stray, const struct attach_whose *whose,
	struct err *err);

/* Attachments whose interface is gone without a DEL. */
void attach_each_gone(struct attacher *attacher, void (*each)(void *ctx, const struct attachment *), void *ctx);
/* As at a DEL. */
int attach_forget(struct attacher *attacher, const char *container_id, const char *ifname, struct err *err);

/* Calico's name for the host end of a pod of the cluster: "cali" and 11 hex digits of SHA-1 of "NAMESPACE.POD". */
void attach_calico_ifname(const char *pod_namespace, const char *pod_name, char name[IFNAMSIZ]);
