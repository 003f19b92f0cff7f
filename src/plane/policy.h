/* SPDX-License-Identifier: Apache-2.0
 *
 * Policy in the kernel: programs at both sides of each pod's host-side interface and at the interfaces by which packets leave
 * this node, and their maps (bpf/policy_layout.h). Programs and maps are pinned under bpffs, replaced atomically, and go on
 * judging without the agent.
 *
 * Called by the agent (tables, addresses of the node) and by pod attachment (pods come and go).
 *
 * Life cycle: policy_plane_new loads programs, adopts or makes the maps; the rest in any order; policy_plane_free leaves the
 * kernel as it is; policy_plane_remove takes everything away.
 */
#pragma once

#include "base/err.h"
#include "bpf/express_layout.h"
#include "bpf/policy_layout.h"
#include "plan/verdict.h"
#include "plane/netlink.h"

struct policy_plane;

struct policy_plane_options {
	const char *bpffs;   /* "/sys/fs/bpf/tulle" */
	uint32_t mark_pending, mark_host; /* two bits of the packet mark; the nft table of the plan uses the same */
	uint32_t mark_express; /* another bit: conntrack is to leave the packet alone; 0: none */
	bool express;        /* the express path; without it flows that were express go on by the kernel's path */
	uint32_t flows_max;  /* 0: by the machine's memory */
	bool keep_established;
	/* Filters at pods' interfaces even where the kernel has tcx: each tcx program that is attached waits for a grace period of
	 * RCU, and an ADD would wait twice. Exits need tcx where the kernel has it: whatever is there by tcx (the carrier's
	 * programs) would run before a filter. */
	bool pods_by_clsact;
	bool clsact;         /* everywhere; for tests */
	/* Drops and Log rules, from the loop once policy_plane_poll is called; may be null. */
	void (*event)(void *ctx, const struct policy_event *event);
	void *ctx;
};

/* -ENODEV: no bpf file system; -EOPNOTSUPP names what the kernel lacks; the verifier's words when it refuses. */
int policy_plane_new(const struct policy_plane_options *options, struct policy_plane **ret, struct err *err);
void policy_plane_free(struct policy_plane *plane);
int policy_plane_remove(const char *bpffs, struct err *err);

/* -- pods -- */

/* Both programs onto the host side of a pod that is being made: from now on nothing passes, until policy_plane_put_pod. nl is
 * of the interface's namespace. Again for one that has them: brings them up to date. */
int policy_plane_guard_pod(struct policy_plane *plane, uint32_t ifindex, struct err *err);
/* The same for one that has packets under way, after policy_plane_put_pod: none is lost, where the kernel has tcx. */
int policy_plane_guard_running_pod(struct policy_plane *plane, uint32_t ifindex, struct err *err);
struct policy_pod {
	uint32_t ifindex, serial;
	struct addr addr[FAMILY_COUNT];
	struct mac mac;
	uint64_t tables[POLICY_DIRECTION_COUNT];
	uint16_t flags; /* enum policy_endpoint_flag */
	const struct prefix *allowed_sources;
	size_t allowed_source_count;
};
int policy_plane_put_pod(struct policy_plane *plane, const struct policy_pod *pod, struct err *err);
/* Nothing passes any more. The programs go with the interface. */
int policy_plane_remove_pod(struct policy_plane *plane, uint32_t ifindex, struct err *err);
/* Interfaces that have an entry and are not among these are removed: what earlier processes left. */
int policy_plane_keep_pods(struct policy_plane *plane, const uint32_t *ifindexes, size_t count, struct err *err);
/* Both programs are still attached there. */
bool policy_plane_check_pod(const struct policy_plane *plane, uint32_t ifindex);

/* -- interfaces by which packets leave this node: uplinks, devices of tunnels -- */

int policy_plane_guard_exit(struct policy_plane *plane, uint32_t ifindex, struct err *err);
int policy_plane_release_exit(struct policy_plane *plane, uint32_t ifindex, struct err *err);
bool policy_plane_check_exit(const struct policy_plane *plane, uint32_t ifindex);

/* -- host endpoints -- */

struct policy_host_port {
	uint32_t ifindex;
	struct policy_host host;
};
/* All of them: others are host endpoints no more. Their tables are there; the nft table of the plan has to name the same
 * interfaces. */
int policy_plane_set_hosts(struct policy_plane *plane, const struct policy_host_port *hosts, size_t count, struct err *err);
/* It has its program. */
bool policy_plane_check_host(const struct policy_plane *plane, uint32_t ifindex);
/* Those that the kernel has: an earlier process may have left them. The array is the caller's. */
int policy_plane_list_hosts(struct policy_plane *plane, uint32_t **ret, size_t *ret_count, struct err *err);

/* -- the express path (docs/express.md) -- */

struct policy_way {
	struct prefix dst; /* addresses of pods elsewhere */
	struct express_slot slot;
};
/* All ways of this moment. Flows follow with their next packets. -ENOSPC: those that did not fit take the kernel's path. */
int policy_plane_set_ways(struct policy_plane *plane, const struct policy_way *ways, size_t count,
	const struct express_config *config, struct err *err);
/* Where packets come in: uplinks, or devices of tunnels. */
int policy_plane_guard_express(struct policy_plane *plane, uint32_t ifindex, bool tunnel, struct err *err);
bool policy_plane_check_express(const struct policy_plane *plane, uint32_t ifindex, bool tunnel);
int policy_plane_release_express(struct policy_plane *plane, uint32_t ifindex, struct err *err);
/* Interfaces that have one of these programs. */
size_t policy_plane_list_express(const struct policy_plane *plane, uint32_t *ret, size_t max);

/* -- tables -- */

/* New entries, in the change's order up to its addresses. Then the caller puts the pods whose tables changed, and calls the
 * second one: it raises the epoch and removes what is stale. What does not fit is told, and nothing that depends on it is
 * applied: what was in force stays. */
int policy_plane_apply_new(struct policy_plane *plane, const struct verdict_change *change, struct err *err);
int policy_plane_apply_stale(struct policy_plane *plane, const struct verdict_change *change, struct err *err);
/* For the first time in this process: makes a change of the difference between the maps and tables. The arrays of ret are the
 * caller's to free by policy_plane_change_done. */
int policy_plane_compare(struct policy_plane *plane, const struct verdict_tables *tables, struct verdict_change *ret, struct err *err);
void policy_plane_change_done(struct verdict_change *change);

/* -- seeing -- */

/* False: this kernel has no bpf_skb_ct_lookup (nf_conntrack was not loaded, or is too old); the programs then do
 * what can be done without it. */
bool policy_plane_has_conntrack(const struct policy_plane *plane);

struct policy_count {
	const char *name, *text; /* constants */
	uint64_t packets, bytes;
};
int policy_plane_get_counts(const struct policy_plane *plane, struct policy_count ret[static POLICY_COUNT_MAX], struct err *err);
int policy_plane_get_express_counts(const struct policy_plane *plane, struct policy_count ret[static EXPRESS_COUNT_MAX], struct err *err);
/* What the programs find for an address that a pod of this node sends to: another pod's interface (ret_ifindex), or the slot of a
 * way to another node (*ret_ifindex 0). -ENOENT: neither, the kernel's path. */
int policy_plane_find_way(const struct policy_plane *plane, const struct addr *to, uint32_t *ret_ifindex, struct express_slot *ret_slot);
/* Flows that the programs remember between an address of a pod of this node and another one. */
struct policy_flow_seen {
	uint16_t local_port, remote_port; /* host order */
	uint8_t protocol, flags;          /* enum policy_flow_flag */
	bool has_way; /* of an express one: its packets have somewhere to go round the host's stack */
	bool current; /* judged since policy, pods or ways last changed; else that happens with its next packet */
	uint64_t idle_ms; /* since its last packet, in steps of a second */
};
int policy_plane_each_flow(const struct policy_plane *plane, const struct addr *local, const struct addr *remote,
	void (*each)(void *ctx, const struct policy_flow_seen *flow), void *ctx, struct err *err);
int policy_plane_watch(struct policy_plane *plane, bool on, struct err *err);
/* Readable when events wait; -1: none. */
int policy_plane_event_fd(const struct policy_plane *plane);
/* False: more may wait. */
bool policy_plane_poll(struct policy_plane *plane);
