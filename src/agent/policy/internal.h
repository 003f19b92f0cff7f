/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of src/agent/policy/; nobody else includes it.
 */
#pragma once

#include "agent/agent.h"
#include "agent/policy/policer.h"
#include "base/hash.h"
#include "base/roster.h"
#include "model/endpoint.h"
#include "model/felix.h"
#include "model/node.h"
#include "model/policy.h"
#include "objects/objects.h"
#include "plan/policy_nft.h"
#include "plan/verdict.h"
#include "plane/policy.h"

/* -- what is watched -- */

enum world_part {
	WORLD_TIERS,
	WORLD_NETWORK_POLICIES,
	WORLD_CLUSTER_POLICIES,
	WORLD_CALICO_POLICIES,
	WORLD_GLOBAL_POLICIES,
	WORLD_SETS,
	WORLD_GLOBAL_SETS,
	WORLD_HOSTS,
	WORLD_CONTROLLERS,
	WORLD_NAMESPACES,
	WORLD_NODES, /* others only while there are policies */
	WORLD_LOCAL_PODS,
	/* The following only while some policy needs them. */
	WORLD_PODS, /* of other nodes, those that have addresses */
	WORLD_ACCOUNTS,
	WORLD_SLICES,
	WORLD_FELIX, /* FelixConfiguration, where nobody else watches it */
	WORLD_PART_COUNT
};

#define WORLD_KEY_MAX 512

/* What stands in the roster for an object that does not know its own key. */
struct world_item {
	void *object;
	char key[];
};

struct world {
	struct policer *policer;
	enum world_part part;
	struct objects_watch *watch;
	struct roster things; /* objects of the part's model, or items of them; marked: in the list under way */
	bool complete; /* a first list has ended */
	bool wide;     /* WORLD_NODES: all of them; without policies this one alone */
};

/* What a part's objects are; parts.c. */
struct world_traits {
	enum kind kind;
	/* 1 and a new object; 0: it means nothing to us; a negative errno: it cannot be used, err says why. */
	int (*read)(struct policer *policer, const json_t *object, void **ret, struct err *err);
	bool (*equal)(const void *a, const void *b);
	void (*free)(struct policer *policer, void *object);
	/* Name, or namespace/name, as the store has it. Null: the object does not know; for kinds of which there are many. */
	void (*key)(const void *object, char ret[static WORLD_KEY_MAX]);
	/* Into the engine, and out of it. old: whose place it takes, or null. */
	int (*put)(struct policer *policer, const char *key, const void *object, const void *old);
	void (*remove)(struct policer *policer, const char *key, const void *object);
	const char *const *drop;
};
extern const struct world_traits world_traits[WORLD_PART_COUNT];

/* Which of the parts that cost most policies need; of all policies together. */
struct world_needs {
	size_t pods, accounts, services; /* how many policies ask for each */
};
void world_needs_of(const struct policy *policy, struct world_needs *ret);

/* -- pods of this node -- */

struct local_pod {
	UT_hash_handle hh;
	char host_ifname[IFNAMSIZ];
	struct policy_pod pod; /* as it was put; allowed_sources null */
	char *namespace, *name; /* "": no pod of the cluster, to which nothing applies */
	struct endpoint *made;  /* stands for the object that the store does not have; null: it has one, or nobody knows */
	bool put;               /* the kernel has the entry as it is here */
	bool guarded;           /* the programs are there */
	bool seen;              /* among the attachments */
};

/* A node that only its lease tells of. */
struct lease_node {
	UT_hash_handle hh;
	struct addr addrs[2 * FAMILY_COUNT];
	size_t count;
	bool seen;
	char name[];
};

/* An interface that has a host endpoint. */
struct host_place {
	uint32_t index;
	char link[IFNAMSIZ];
	char *host; /* null: an earlier agent put one there, and it is not known yet which */
};

struct exit_link {
	uint32_t index;
	char name[IFNAMSIZ];
};

struct express; /* express.c */

struct policer {
	struct agent *agent;
	struct objects *objects;
	bool kubernetes;
	char off[400]; /* why nothing is enforced; "": it is, or will be */
	struct verdicts *verdicts;
	struct policy_plane *plane;
	struct endpoint_pool *endpoints;
	struct world world[WORLD_PART_COUNT];
	struct world_needs needs;
	size_t troubled; /* policies that could not be understood */
	struct event *dirty, *retry, *upkeep, *opened, *events;
	int64_t dirty_since_us;
	bool in_force;     /* the kernel's tables have once been made those of the engine */
	bool ground;       /* the plan has been applied: what the node itself sends is marked */
	bool slices_due;   /* backends of Services are to be told again */
	bool links_due, pods_due;
	char waiting[200]; /* what is awaited */

	/* asking whether we may see what policies need; null: it is known */
	struct objects_call *probes[WORLD_PART_COUNT];
	size_t probing;

	/* pods.c */
	struct local_pod *pods;

	/* places.c */
	struct addr *own;
	size_t own_count;
	struct prefix *ranges;
	size_t range_count;
	struct lease_node *leases;
	struct exit_link *exits;
	const char **exit_names;
	size_t exit_count;
	struct policy_nft_input nft;

	/* hosts.c */
	struct host_place *hosts;
	const char **host_names; /* of their interfaces */
	size_t host_count;
	struct policy_host_port *host_ports; /* as the kernel was told */
	size_t host_port_count;
	bool hosts_due; /* to be told again */
	char *untracked;    /* what of theirs is not to be tracked, as chains; null: nothing */
	bool host_forwards; /* some of them judge what is forwarded */

	/* auto_hosts.c */
	struct auto_host *auto_hosts;
	bool auto_hosts_due;
	bool node_labels; /* those of Nodes are kept: automatic host endpoints have them */

	struct express *express; /* null: the express path is off */

	uint64_t passes, failures, last_pass_us;

	/* events.c, drops.c */
	struct event *rest;     /* events are not looked at meanwhile */
	int64_t turn_ends_us;   /* those that come later are not looked at closely any more */
	struct log_limit told;  /* lines of Log rules */
	struct drops *drops;    /* null: nobody watches */
};

/* -- policer.c -- */
/* A pass before the loop sleeps. */
void policer_mark(struct policer *policer);
/* Now: whoever waits for it is a pod. */
int policer_pass(struct policer *policer, struct err *err);
/* True: it is news. */
bool policer_problem(struct policer *policer, const char *object, const char *text);

/* -- world.c -- */
void world_begin(struct policer *policer);
void world_end(struct policer *policer);
/* Follows what policies need by now. */
void world_adjust(struct policer *policer);
/* All first lists are there; else what is awaited, for people. */
bool world_is_complete(struct policer *policer, char *waiting, size_t size);
const void *world_find(const struct policer *policer, enum world_part part, const char *key);
/* The index'th one, of world_count. */
const void *world_object(const struct policer *policer, enum world_part part, size_t index);
size_t world_count(const struct policer *policer, enum world_part part);

/* -- nodes.c: a part -- */
struct known_node {
	struct labels *labels;   /* null: nobody asks for them */
	uint32_t count, tunnels; /* the last addresses are a tunnel's */
	struct addr addrs[];     /* its own first; then the name */
};
const char *known_node_name(const struct known_node *node);
/* The first one of a family that is no tunnel's; null: none. node null: none. */
const struct addr *known_node_first(const struct known_node *node, int family);
int nodes_read(struct policer *policer, const json_t *object, void **ret, struct err *err);
bool nodes_equal(const void *a, const void *b);
void nodes_free(struct policer *policer, void *object);
void nodes_key(const void *object, char ret[static WORLD_KEY_MAX]);
int nodes_put(struct policer *policer, const char *key, const void *object, const void *old);
void nodes_remove(struct policer *policer, const char *key, const void *object);

/* -- parts.c -- */
/* Backends of the Services that policies name. */
void parts_tell_backends(struct policer *policer);

/* -- pods.c -- */
extern const struct attach_gate local_gate; /* ctx is left to fill in */
/* As attachments are. */
void local_sync(struct policer *policer);
/* Those whose tables have changed. */
int local_put(struct policer *policer, bool all, struct err *err);
int local_keep(struct policer *policer, struct err *err);
/* How many interfaces have lost a program to somebody else; they get it back with the next pass. */
size_t local_check(struct policer *policer);
/* The store's object of a pod of this node has come, changed or gone. */
void local_object(struct policer *policer, const char *namespace, const char *name, const struct endpoint *endpoint);
void local_free(struct policer *policer);

/* -- events.c -- */
/* As policy_plane_options.event. */
void policer_event(void *ctx, const struct policy_event *event);
int events_begin(struct policer *policer);
/* Looks at what waits, for a moment. False: more may wait. */
bool events_turn(struct policer *policer);
void events_end(struct policer *policer);

/* -- drops.c -- */
void drops_event(struct policer *policer, const struct policy_event *event);
void drops_end(struct policer *policer); /* whoever watches is told that it is over */

/* -- who.c -- */
/* Who has an address, as far as this agent knows. Borrowed from the engine. */
struct who {
	const char *kind; /* "pod", "node", "host-endpoint", "network-set", "pod-address" (of a pod that is not known here), "outside" */
	const char *namespace, *name; /* null: none */
};
void who_at(const struct policer *policer, const struct addr *addr, struct who *ret);
json_t *who_json(const struct who *who, const struct addr *addr); /* {"kind", "name", "ip"} */
struct addr who_addr(const struct packet_addr *at); /* as the programs write it */
const struct local_pod *who_has_interface(const struct policer *policer, uint32_t ifindex);

/* -- explain.c -- */
/* policy_words_why, and the policies that apply where none of them allows it. */
json_t *explain_why(const struct policer *policer, const char *namespace, const char *name, enum policy_direction direction,
	const struct verdict_flow *flow);

/* -- ends.c -- */
struct flow_end {
	struct who who;
	struct addr addr[FAMILY_COUNT];
	const char *node; /* null: none, or not known */
	bool here;        /* on this node, or this node itself */
	const char *interface; /* of a pod of this node */
	char text[600], node_text[ADDR_TEXT_MAX];
};
/* word: NAMESPACE/POD, node:NAME, NAME of a node, or an address. Borrowed from policer but for text. -ENOENT says what is near. */
int ends_find(struct policer *policer, const char *word, struct flow_end *ret, struct err *err);
/* Addresses of the node of that name; false: it is not known. */
bool ends_find_node(const struct policer *policer, const char *name, struct flow_end *ret);
json_t *ends_json(const struct flow_end *end); /* {"kind", "name", "node", "interface"}, what there is of these */
bool ends_is_pod(const struct flow_end *end);
bool ends_are_same_pod(const struct flow_end *a, const struct flow_end *b);

/* -- way.c -- */
/* {"kind": "route", "none", "same-node", "from-outside" or "elsewhere", and what there is to say of it}. */
json_t *way_json(const struct policer *policer, const struct flow_end *from, const struct flow_end *to, const struct addr *src,
	const struct addr *dst);
json_t *way_nodes(const struct flow_end *from, const struct flow_end *to, const json_t *way);

/* -- path.c -- */
struct path_question {
	const struct flow_end *from, *to;
	const struct verdict_flow *flow;
	bool allowed, masqueraded;
};
/* {"path": "express", "kernel", "none" or "elsewhere", "why", and for an express one how it leaves}; now: and the flows that there
 * are at this moment. */
json_t *path_json(const struct policer *policer, const struct path_question *question, bool now);

/* -- near.c -- */
/* Known pods with names like word, "a/b, c/d"; nothing: none. */
void near_names(const struct policer *policer, const char *word, struct buf *text);

/* -- hosts.c -- */
void hosts_begin(struct policer *policer);
void hosts_end(struct policer *policer);
void hosts_follow(struct policer *policer, const struct plane_link *links, size_t link_count, const struct plane_addr *addrs,
	size_t addr_count);
/* After local_put: all, or if they have changed. */
int hosts_put(struct policer *policer, bool all, struct err *err);
/* As local_check. */
size_t hosts_check(struct policer *policer);
void hosts_nft(struct policer *policer, struct policy_nft_input *ret);
/* By which interface it is, or null. */
const struct host_place *hosts_at(const struct policer *policer, uint32_t ifindex);
/* Whose table it is, best one that is at this interface: null, no host endpoint's. */
const struct host_place *hosts_find_table(const struct policer *policer, uint64_t table, uint32_t ifindex,
	enum verdict_traffic *ret_traffic, enum policy_direction *ret_direction);
/* What the table of the plan lets pass. */
struct felix hosts_felix(struct policer *policer);

/* -- auto_hosts.c -- */
/* Those that nodes have by themselves, but where the store has an object of the same name. Before the places of host endpoints are
 * looked for. */
struct auto_host {
	UT_hash_handle hh; /* by name */
	struct host_endpoint *host;
	bool seen;
};
void auto_hosts_follow(struct policer *policer);
bool auto_hosts_are_on(const struct policer *policer);
/* An object's, or an automatic one; null: none. */
const struct host_endpoint *auto_hosts_find(const struct policer *policer, const char *name);
void auto_hosts_end(struct policer *policer);

/* -- express.c -- */
int express_begin(struct policer *policer, struct err *err);
void express_end(struct policer *policer);
/* The plane of a policer without express path: nothing of an earlier one stays. */
void express_clear(struct policer *policer);
/* Devices or routes may be others. */
void express_due(struct policer *policer);
/* Before host endpoints are told to the kernel. */
void express_now(struct policer *policer);
/* As local_check. */
size_t express_lost(struct policer *policer);
json_t *express_status(const struct policer *policer);
void express_metrics(const struct policer *policer, struct buf *buf);

/* -- places.c -- */
/* By which packets leave: all that is up and not a pod's, but loopback. */
bool places_is_exit(const struct policer *policer, const struct plane_link *link);
void places_follow(struct policer *policer);
/* As local_check. */
size_t places_check(struct policer *policer);
void places_free(struct policer *policer);
