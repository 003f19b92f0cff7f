/* SPDX-License-Identifier: Apache-2.0
 *
 * The wanted state of one node's kernel: plain values, deduplicated by key, sorted. plan/ builds it from the
 * model; plane/ compares it with what the kernel has and sends the difference. Devices are named, not
 * numbered: the plane resolves names, and an entry whose device does not exist yet waits.
 *
 * Life cycle: wanted_init, the wanted_add_* (copies), wanted_finish (sorts, drops doubles), read,
 * wanted_free.
 */
#pragma once

#include "base/addr.h"
#include "base/buf.h"

#include <net/if.h>

#define ROUTE_PROTOCOL_TULLE 84
#define ROUTE_METRIC_BLACKHOLE 0xffff0000u /* behind every other route of the same destination */

enum wanted_link_kind {
	LINK_VXLAN,
	LINK_IPIP,    /* tunl0: the kernel's own device of module ipip, which nobody can make or remove */
	LINK_CARRIER, /* veth pair NAME + NAME"p": IFF_NOARP, its program adds the outer header
			 (plane/carrier.h) */
};

struct wanted_link {
	char name[IFNAMSIZ];
	enum wanted_link_kind kind;
	uint32_t mtu;
	struct mac mac; /* vxlan */
	/* vxlan (reference/flannel.md 4.1.2) */
	uint32_t vni;
	uint16_t port;        /* host order; 0: kernel default 8472 */
	bool port_configured; /* an existing device on another port is only then wrong (4.1.4) */
	bool gbp, learning;
	char lower[IFNAMSIZ];
	struct addr local;
	/* addresses on it, by family (vxlan: one family only; carrier: those that the network has); others
	 * inside "foreign" are removed (IPv6: every other one that is not link-local). Unset: leave that
	 * family alone. */
	struct prefix addr[FAMILY_COUNT];    /* host prefix, e.g. 10.42.7.0/32 */
	struct prefix foreign[FAMILY_COUNT]; /* the cluster's network of that family */
};

enum wanted_route_kind { ROUTE_UNICAST, ROUTE_BLACKHOLE };

struct wanted_route {
	struct prefix dst;
	struct addr via;    /* unset: scope link */
	char dev[IFNAMSIZ]; /* "" for blackhole */
	uint8_t kind;
	bool onlink;
	uint32_t metric;    /* unicast; 0: the kernel's own (0 in IPv4, 1024 in IPv6) */
	struct addr source; /* preferred source of this node's own packets; unset: none */
};

struct wanted_neigh {
	struct addr addr;
	struct mac mac;
	char dev[IFNAMSIZ];
};

struct wanted_fdb {
	struct mac mac;
	struct addr dst;
	char dev[IFNAMSIZ];
};

/* One remote block behind a carrier (encapsulation by eBPF): packets to dst go to peer, and packets from peer
 * are accepted. */
struct wanted_tunnel {
	struct prefix dst;
	struct addr peer;
};

enum wanted_carrier_kind {
	CARRIER_UDP,  /* Flannel's udp */
	CARRIER_IPIP, /* RFC 2003, where the kernel has no module ipip */
};

struct wanted_carrier {
	bool enabled;
	uint8_t kind;
	uint16_t port; /* host order; CARRIER_UDP */
	char uplink[IFNAMSIZ];
	struct addr local[FAMILY_COUNT]; /* outer source */
	/* Our own block: no peer may send from it; unset: none, or several, and then guard.sources has them. */
	struct prefix own[FAMILY_COUNT];
	struct wanted_tunnel *tunnels;   /* sorted by dst */
	size_t tunnel_count;
	bool keep_stale; /* tunnels that are in place and not listed stay: the first full list is not in yet */
};

/* Which node may send from which addresses: the program at the uplink's ingress looks into packets of tunnels before
 * the kernel takes them apart. What it says of an outer sender and an inner source:
 *   - the sender is none of nodes and in none of externals: dropped;
 *   - the entry of sources with the longest dst that holds the inner source names the only node that may send it (this
 *     node's own blocks and addresses name this node, and no packet from outside may have that sender);
 *   - no entry holds it, but one of pools does: dropped;
 *   - anything else is a client outside of the cluster that is routed through the sender: passed. */
struct wanted_guard {
	bool vxlan[FAMILY_COUNT], ipip; /* which tunnels of ours to look into, by outer family; none: no guard */
	uint16_t port;                  /* host order; vxlan. Packets of another port or VNI are not ours */
	uint32_t vni;
	char uplink[IFNAMSIZ];
	struct wanted_tunnel *sources; /* sorted by dst, which may nest; peer: the node's address, the outer source */
	size_t source_count;
	struct prefix *pools; /* sorted */
	size_t pool_count;
	struct addr *nodes; /* sorted: who may send packets of tunnels at all */
	size_t node_count;
	struct prefix *externals; /* sorted: ranges that may too (externalNodesList; single addresses are among nodes) */
	size_t external_count;
	bool keep_stale; /* what is in place and not listed stays: the first full list is not in yet */
};

struct wanted {
	struct wanted_link *links;
	size_t link_count;
	struct wanted_route *routes; /* sorted by dst */
	size_t route_count;
	struct wanted_neigh *neighs; /* sorted by dev, addr */
	size_t neigh_count;
	struct wanted_fdb *fdbs; /* sorted by dev, mac */
	size_t fdb_count;
	struct wanted_carrier carrier;
	struct wanted_guard guard;
	struct buf nft; /* the whole ruleset of table inet tulle, as "nft -f -" takes it; empty: none */
	/* A table that stands stays as it is: this one would shut nodes out that are not listed yet. */
	bool keep_nft;
	struct prefix
		forward[FAMILY_COUNT]; /* prefixes that foreign FORWARD chains must accept; unset: none */
	struct prefix *forwards;       /* sorted: all of them, those of forward among them */
	size_t forward_count;
	uint8_t protocol; /* of routes; 0: ROUTE_PROTOCOL_TULLE */
	bool felix; /* what Calico's agent left of rules, sets and routes may go, with sweep */
	bool sweep; /* stale routes, neighbours, FDB entries may go: the first full list is in */
	size_t links_room, routes_room, neighs_room, fdbs_room, tunnels_room; /* allocated */
	size_t sources_room, pools_room, nodes_room, externals_room, forwards_room;
};

void wanted_init(struct wanted *wanted);
int wanted_add_link(struct wanted *wanted, const struct wanted_link *link);
int wanted_add_route(struct wanted *wanted, const struct wanted_route *route);
int wanted_add_neigh(struct wanted *wanted, const struct wanted_neigh *neigh);
int wanted_add_fdb(struct wanted *wanted, const struct wanted_fdb *fdb);
int wanted_add_tunnel(struct wanted *wanted, const struct wanted_tunnel *tunnel);
int wanted_add_forward(struct wanted *wanted, const struct prefix *prefix);
/* Of the guard. */
int wanted_add_source(struct wanted *wanted, const struct prefix *dst, const struct addr *peer);
int wanted_add_pool(struct wanted *wanted, const struct prefix *pool);
int wanted_add_node(struct wanted *wanted, const struct addr *addr);
int wanted_add_external(struct wanted *wanted, const struct prefix *external);
/* Sorts, and drops doubles (the first one added wins). 0, or -ENOMEM: then some arrays are not sorted. */
int wanted_finish(struct wanted *wanted);
void wanted_free(struct wanted *wanted);

/* Order of the arrays above, also used by the plane to walk wanted and actual side by side: keys only, which
 * are dst; dev and addr; dev and mac. */
int wanted_route_compare(const void *a, const void *b);
int wanted_neigh_compare(const void *a, const void *b);
int wanted_fdb_compare(const void *a, const void *b);

/* One line an entry, for golden tests and "tullectl": stable text. */
void wanted_format(const struct wanted *wanted, struct buf *buf);
