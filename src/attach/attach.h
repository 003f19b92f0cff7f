/* SPDX-License-Identifier: Apache-2.0
 *
 * Pod attachment: gives a network namespace its interface, address and routes, and takes them back. Called by
 * the CNI server (cni_server/cni_server.c) on the agent's loop; each call is synchronous and short. What exists is
 * in the journal (attach/journal.h) and survives kill -9 at any point: at start attach_recover finishes or
 * undoes what was begun.
 */
#pragma once

#include "base/addr.h"
#include "base/err.h"
#include "base/json.h"
#include "model/bandwidth.h"
#include "model/network.h"
#include "plan/plan.h"

#include <net/if.h>
#include <sys/types.h>

struct event_base;
struct attacher;

#define ATTACH_ID_MAX 256
/* The pod's next hop. IPv6: the link-local address of the host side's MAC. */
#define ATTACH_GATEWAY_4 "169.254.1.1"
#define ATTACH_PREFIX_CALICO "cali" /* host_prefix of conf type calico */
#define ATTACH_GATEWAY_6 "fe80::ecee:eeff:feee:eeee"

struct attach_route { /* an extra route in the pod */
	struct prefix dst;
	struct addr via;                       /* unset: our gateway */
	uint32_t mtu, advmss, priority, table; /* 0 = not given */
};

struct attach_request {
	const char *network; /* conf "name" */
	const char *container_id;
	const char *ifname;      /* in the pod */
	const char *netns_path;  /* CNI_NETNS as received; may be "" on DEL */
	int netns_fd;            /* -1 when there is none */
	const char *pod_namespace, *pod_name; /* ADD, DEL: of the cluster's pod; "" or null: it is none */
	const char *host_prefix; /* "tul", or "cali" for conf type calico */
	uint32_t mtu;            /* 0 = the backend's */
	bool default_route;      /* otherwise only the cluster's networks lead to the gateway */
	const struct attach_route *routes;
	size_t route_count;
	struct addr ips[8]; /* requested addresses */
	size_t ip_count;
	struct mac mac; /* requested */
	struct bandwidth bandwidth;
	/* The configuration when it is of type flannel: the attachment then shows in Flannel's own files
	 * (attach/flannel_files.h). Otherwise null. */
	const json_t *flannel_conf;
	bool ip_masq; /* with flannel_conf: the agent masquerades */
};

/* What an attachment is; also what the journal keeps. */
struct attachment {
	uint64_t serial; /* never given twice while the journal lasts; never 0 */
	char network[ATTACH_ID_MAX], container_id[ATTACH_ID_MAX];
	char pod_namespace[64], pod_name[254]; /* "": not known, or no pod of the cluster */
	char ifname[IFNAMSIZ], host_ifname[IFNAMSIZ];
	char netns_path[512];
	dev_t netns_dev;
	ino_t netns_ino;
	struct addr addr[FAMILY_COUNT];
	bool wished[FAMILY_COUNT]; /* the source gave it because it was asked for by name */
	struct mac mac, host_mac;
	uint32_t mtu;
	bool default_route;
	bool flannel; /* it shows in Flannel's files */
	struct bandwidth bandwidth;
	struct attach_route routes[16];
	size_t route_count;
};

struct attach_options {
	const char *state_dir; /* /var/lib/tulle: journal */
	const char *boot_id;   /* null: /proc/sys/kernel/random/boot_id */
	unsigned cooldown_s;   /* how long a released address rests: 60; less when the block runs out */
	const char *bpffs;     /* "/sys/fs/bpf/tulle" */
	const char
		*host_local_dir; /* /var/lib/cni/networks: addresses in its files count as taken (takeover) */
	const char *flannel_dir; /* /var/lib/cni/flannel: state files of Flannel's plugin, and ours */
	/* The set of local pods changed (ADD, DEL, GC): the plan's pods must be read again. */
	void (*changed)(void *ctx);
	/* One sentence about something that went wrong and does not make a call fail (a damaged journal, an
	 * interface that cannot be removed): for the log. May be null. */
	void (*report)(void *ctx, const char *text);
	void *ctx;
};

int attach_new(struct event_base *base, const struct attach_options *options, struct attacher **ret,
	struct err *err);
void attach_free(struct attacher *attacher);

/* Tells the attacher from which blocks to hand out addresses; before the first call every ADD gets -EAGAIN.
 */
void attach_set_network(
	struct attacher *attacher, const struct network *network, const struct lease *own, uint32_t pod_mtu);

/* Where addresses come from when they are not simply those of this node's block (Calico's pools). Synchronous: what a
 * store had to be asked was asked before the ADD was admitted. */
struct attach_source {
	/* Does this pod get an address of the family? */
	bool (*serves)(void *ctx, const struct attach_request *request, int family_index);
	/* The address of this family for a pod that is about to be attached, into addr and wished; its serial is set. wish:
	 * this very one, or null. Errors as attach_add; then nothing is taken. */
	int (*take)(void *ctx, const struct attach_request *request, int family_index, const struct addr *wish,
		struct attachment *to, struct err *err);
	/* Its addresses are not used any more; used: a pod had them for a while. */
	void (*give_back)(void *ctx, const struct attachment *attachment, bool used);
	void *ctx;
};

struct attach_pools {
	bool families[FAMILY_COUNT]; /* of which pods may get addresses */
	const struct prefix *cidrs;  /* of all pools, for pods without a default route; copied */
	size_t cidr_count;
	uint32_t mtu;
	struct attach_source source;
};
/* Instead of attach_set_network. 0 or -ENOMEM (then what was set stays). */
int attach_set_pools(struct attacher *attacher, const struct attach_pools *pools);

/* Who closes each pod's interface before its pod is handed over, and opens it when its policy is in place. index: of the host
 * side. Called within attach_add: made() as soon as there is an interface, ready() when all else is done; an error of either
 * fails the ADD. gone(): it is being taken down, whether by DEL or because an ADD failed. */
struct attach_gate {
	int (*made)(void *ctx, const struct attachment *attachment, uint32_t index, struct err *err);
	int (*ready)(void *ctx, const struct attachment *attachment, uint32_t index, struct err *err);
	void (*gone)(void *ctx, const char *host_ifname);
	void *ctx;
};
/* Copied; null: none any more. */
void attach_set_gate(struct attacher *attacher, const struct attach_gate *gate);
/* Finishes or undoes what a killed agent left; voids everything of another boot. */
int attach_recover(struct attacher *attacher, struct err *err);

/* Errors: -EAGAIN not ready (CNI 11), -ENOSPC no address free (11), -EEXIST already attached or interface
 * exists, -EINVAL a wish that cannot be met (7), -ENOENT the namespace is none (CNI 3 or 4), others internal
 * (999). On failure nothing is left behind. */
int attach_add(struct attacher *attacher, const struct attach_request *request, struct attachment *ret,
	struct err *err);
/* Idempotent; answers before the kernel's teardown: no packet passes any more, the address rests. */
int attach_del(struct attacher *attacher, const struct attach_request *request, struct err *err);
/* Everything that ADD made is still there; names what is not. The request needs ids and netns only. */
int attach_check(struct attacher *attacher, const struct attach_request *request, struct attachment *ret,
	struct err *err);
/* Removes attachments of network whose (container id, ifname) is not in the list, also those of Flannel's
 * plugin (of these the reservations and state files: what had a namespace is gone with it). */
struct attach_key {
	const char *container_id, *ifname;
};
int attach_gc(struct attacher *attacher, const char *network, const struct attach_key *valid,
	size_t valid_count, struct err *err);

/* The stored attachment, or null. Borrowed until the next call. */
const struct attachment *attach_find(struct attacher *attacher, const char *container_id, const char *ifname);

/* For the plan: malloc'ed array. */
int attach_list_pods(struct attacher *attacher, struct plan_pod **ret, size_t *ret_count);
/* For status: calls each attachment. */
void attach_each(struct attacher *attacher, void (*each)(void *ctx, const struct attachment *), void *ctx);
/* Addresses that pods had not long ago; until: CLOCK_BOOTTIME in milliseconds. */
void attach_each_resting(struct attacher *attacher,
	void (*each)(void *ctx, const struct addr *addr, int64_t until), void *ctx);
/* Somebody on this node lives at this address: an attachment, or an interface of whomever, to which the kernel has a
 * host route (a pod of a plugin that ran here before). */
bool attach_lives_at(struct attacher *attacher, const struct addr *addr);

struct attach_stats {
	uint64_t adds, dels, failures;
	size_t attached;
	size_t in_use[FAMILY_COUNT], resting[FAMILY_COUNT],
		free[FAMILY_COUNT]; /* addresses; free clamped to SIZE_MAX */
};
void attach_get_stats(struct attacher *attacher, struct attach_stats *ret);
