/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the verdict engine say to each other (plan/verdict.h is the door).
 *
 *   verdict.c         endpoints and what they inherit; what is put in makes things due
 *   verdict_world.c   all else that is put in
 *   verdict_hosts.c   host endpoints: as peers, and attached
 *   verdict_groups.c  endpoints of the same labels, and which atoms (distinct selectors) select them
 *   verdict_trie.c    prefixes that something is said about
 *   verdict_peers.c   peers, their terms, atoms: interned, alive while a table refers to them
 *   verdict_ports.c   sets of ports
 *   verdict_classes.c which peers each prefix is one of
 *   verdict_order.c   which policies apply to an endpoint, and their order
 *   verdict_tables.c  what applies to an attached endpoint, in order
 *   verdict_flatten.c rules in order -> protocol and port -> verdict
 *   verdict_pairs.c   (table, class) -> list
 *   verdict_update.c  what is due, in order; the difference to what was acknowledged
 *   verdict_look.c    judgement by the tables
 *   verdict_why.c     judgement by the rules
 *
 * Whatever has a number is alive as long as the state in force may refer to it: a table that no endpoint has any more
 * lives on until the change that took it away is acknowledged, so that what addresses become meanwhile is
 * right for it, too.
 *
 * Without memory there is no way on, as in base/hash.h.
 */
#pragma once

#include "base/buf.h"
#include "base/hash.h"
#include "base/slab.h"
#include "plan/verdict.h"

#include <math.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

/* -- memory -- */

static inline void *verdict_need(void *memory)
{
	if (!memory)
		abort();
	return memory;
}

/* Room for one more of an array that doubles. */
static inline void *verdict_grow(void *array, size_t size, size_t count, size_t *room)
{
	if (count < *room)
		return array;
	*room = *room ? *room * 2 : 4;
	return verdict_need(reallocarray(array, *room, size));
}

#define VERDICT_PUSH(array, count, room, ...)                                            \
	do {                                                                             \
		(array) = verdict_grow((array), sizeof(*(array)), (count), &(room));     \
		(array)[(count)++] = (__VA_ARGS__);                                      \
	} while (0)

/* -- identity -- */

struct digest {
	uint8_t b[32];
};

/* The first 64 bits; never 0. */
uint64_t verdict_digest(const struct verdicts *v, const void *bytes, size_t len, struct digest *ret);
void verdict_add_number(struct buf *bytes, uint64_t number, size_t size); /* little endian */
void verdict_add_text(struct buf *bytes, const char *text);             /* null is fine */
/* Two contents have one number. */
void verdict_collision(struct verdicts *v, const char *what, uint64_t number);

/* -- prefixes, in the terms of 128 bits -- */

struct net {
	struct addr addr;
	uint8_t len;
};
struct net verdict_net(const struct prefix *prefix);
struct net verdict_net_host(const struct addr *addr);
struct prefix verdict_net_prefix(const struct net *net);
bool verdict_net_is_4(const struct net *net);
/* An IPv6 prefix holds no IPv4 address, however short it is. */
bool verdict_net_holds(const struct net *net, const struct addr *addr);
int verdict_net_compare(const void *a, const void *b);

/* -- ports -- */

struct port_range {
	uint8_t protocol; /* 0: of each protocol that has ports */
	uint16_t first, last;
};
struct port_set {
	bool any; /* every port, and protocols without ports */
	struct port_range *ranges;
	size_t count, room;
};
bool verdict_has_ports(int protocol);
void verdict_ports_add(struct port_set *set, uint8_t protocol, uint16_t first, uint16_t last);
bool verdict_ports_hold(const struct port_set *set, int protocol, uint16_t port);
void verdict_ports_encode(const struct port_set *set, struct buf *bytes);

/* -- atoms: distinct selectors -- */

struct term;
struct atom {
	UT_hash_handle hh; /* by text */
	struct selector *selector;
	const char *key, *value; /* the label that it cannot match without; null: none is known */
	size_t users;
	bool fresh; /* not matched yet */
	bool due;   /* other terms ask for it than before */
	uint32_t held; /* while addresses are walked: by how many of those that live there */
	struct term **terms; /* that ask for it */
	size_t term_count, term_room;
	struct term **not_terms;
	size_t not_count, not_room;
};

/* -- the world -- */

struct group; /* endpoints of one shape, namespace and service account */
struct member {
	const struct endpoint *endpoint;
	struct group *group;
	struct member *chain;        /* of the table's bucket */
	struct member *next, *previous; /* of the group */
	struct member *beside[FAMILY_COUNT]; /* at the same address */
	struct attached *attached;   /* null: it is not */
};

struct group {
	UT_hash_handle hh;
	struct {
		const struct endpoint_shape *shape;
		const char *namespace, *service_account;
	} key;
	struct member *members;
	struct atom **atoms; /* sorted by address */
	size_t atom_count, atom_room;
	bool due; /* to be matched against all atoms */
};

struct set_record {
	UT_hash_handle hh;
	char *key;
	const struct network_set *set;
	struct net *nets; /* as they are in the trie */
	size_t net_count;
	struct atom **atoms;
	size_t atom_count, atom_room;
	bool due;
};

struct label_record { /* a namespace or a service account */
	UT_hash_handle hh;
	char *key;
	const struct labels *labels;
};

struct service_record {
	UT_hash_handle hh;
	char *key; /* "namespace/name" */
	struct verdict_backend *backends;
	size_t backend_count;
	struct term **terms;
	size_t term_count, term_room;
	uint32_t held;
};

struct node_record {
	UT_hash_handle hh;
	char *name;
	bool own;
	struct addr *addrs;
	size_t addr_count;
};
/* The first one of the family; null: none. */
const struct addr *verdict_node_first(const struct node_record *node, int family);

struct tier_record {
	UT_hash_handle hh;
	const struct tier *tier;
	char *name;
};

struct policy_record {
	UT_hash_handle hh;
	char *key;
	const struct policy *policy;
	struct compiled *compiled[POLICY_DIRECTION_COUNT]; /* null: not asked for yet */
	size_t uses; /* attached endpoints */
	bool fresh;  /* attached endpoints have not been matched against it */
};

/* What an attached one is judged for: pods, or one of a host endpoint's kinds of traffic. */
enum scope { SCOPE_POD, SCOPE_LOCAL, SCOPE_FORWARD, SCOPE_PRE_DNAT, SCOPE_UNTRACKED, SCOPE_COUNT };
static inline enum scope verdict_scope(enum verdict_traffic traffic)
{
	return (enum scope)(SCOPE_LOCAL + (int)traffic);
}

struct host_record {
	UT_hash_handle hh; /* by name */
	const struct host_endpoint *host;
	struct endpoint **faces; /* one for two addresses, of both families; at least one */
	size_t face_count;
};

/* What becomes of that which no tier decides. */
enum table_end { END_ALLOW, END_DENY, END_LEFT };

struct table;
struct attached {
	UT_hash_handle hh;
	char *key; /* "namespace/name"; of a host endpoint see verdict_hosts.c */
	enum scope scope;
	struct host_record *host; /* null: a pod */
	struct addr addr[FAMILY_COUNT];
	struct member *member; /* null: not known */
	struct policy_record **policies; /* that apply, in any order */
	size_t policy_count, policy_room;
	bool due;        /* to be matched against all policies */
	bool table_due;  /* its tables */
	struct table *tables[POLICY_DIRECTION_COUNT]; /* null: no policy applies */
	uint64_t told[POLICY_DIRECTION_COUNT];
	bool acknowledged; /* told means something */
};

/* -- the trie -- */

enum mark_kind {
	MARK_NET,     /* of a term */
	MARK_NOT_NET,
	MARK_SET,
	MARK_RANGE,
	MARK_BACKEND,
	MARK_FIRST,   /* of a node: what holds it holds the others */
	MARK_OTHER,
	MARK_OWN,
};
struct mark {
	struct mark *next;
	void *object; /* struct term, set_record, service_record, node_record */
	uint16_t port;
	uint8_t kind, protocol;
};

struct class;
/* Small, as there are many. */
struct spot {
	struct addr addr;
	union {
		struct spot *child[2];
		struct member *member; /* of a host's: who lives there */
	};
	struct mark *marks;
	struct class *class; /* null: 0 */
	uint8_t len;
	uint8_t flags; /* enum verdict_address_flag */
	bool due : 1, due_all : 1, due_below : 1; /* itself; all of its subtree; something below */
	bool shown : 1;                           /* there is an entry of it */
	bool listed : 1;                          /* it is among those to be told: not as it was acknowledged */
};

struct spot *verdict_spot_find(struct verdicts *v, const struct net *net);
const struct spot *verdict_host_find(const struct verdicts *v, const struct addr *addr); /* null: nothing is said about it */
struct spot *verdict_spot_get(struct verdicts *v, const struct net *net);
void verdict_spot_due(struct verdicts *v, const struct net *net, bool all);
/* It, and what leads only to it, goes if nothing is said about it. */
void verdict_spot_trim(struct verdicts *v, struct spot **place); /* only it */
void verdict_spot_prune(struct verdicts *v, const struct net *net);
/* The longest one on the way to an address, as bits: an IPv6 prefix may hold an IPv4 address here. */
const struct spot *verdict_spot_longest(const struct spot *root, const struct addr *addr,
	bool (*wanted)(const struct spot *spot));
bool verdict_spot_says(const struct spot *spot); /* something is said about it, or somebody lives there */
bool verdict_spot_is_host(const struct spot *spot);
void verdict_mark_add(struct verdicts *v, const struct net *net, const struct mark *mark);
void verdict_mark_remove(struct verdicts *v, const struct net *net, const struct mark *mark);
void verdict_member_put(struct verdicts *v, struct member *member);
void verdict_member_take(struct verdicts *v, struct member *member);
void verdict_member_due(struct verdicts *v, const struct member *member);
void verdict_trie_init(struct verdicts *v);
void verdict_trie_done(struct verdicts *v);

/* -- peers -- */

struct term {
	struct peer *peer;
	struct net *nets, *not_nets; /* sorted, each once */
	size_t net_count, not_net_count;
	struct selector *selector, *not_selector;
	struct atom *atom, *not_atom; /* of these, while the peer is active */
	struct service_record *service;
	char *service_key;
	uint32_t in_nets, in_not_nets; /* while addresses are walked */
	size_t free_index;             /* in verdicts.free_terms, where nothing positive is asked */
};

struct peer {
	UT_hash_handle hh; /* by number */
	struct digest digest;
	uint64_t number;
	size_t refs;   /* of compiled policies and tables */
	size_t active; /* tables */
	int family;    /* 0: both */
	bool plain;    /* being one of it matters, not only its ports */
	bool service_ports;
	struct term *terms;
	size_t term_count;
	char **names, **not_names; /* ports that addresses may name */
	size_t name_count, not_name_count;
	struct class **classes;
	size_t class_count, class_room;
	struct table **tables;
	size_t table_count, table_room;
};

/* entity, of a rule of that family. ret null: everyone. Counted. */
struct peer *verdict_peer_get(struct verdicts *v, const struct policy_entity *entity, int family, bool destination);
void verdict_peer_put(struct verdicts *v, struct peer **peer);
void verdict_peer_activate(struct verdicts *v, struct peer *peer);
void verdict_peer_deactivate(struct verdicts *v, struct peer *peer);
struct service_record *verdict_service(struct verdicts *v, const char *key);
char *verdict_key(const char *first, const char *second); /* "first/second" */

/* -- groups -- */

struct group *verdict_group_get(struct verdicts *v, const struct endpoint *endpoint);
void verdict_group_add(struct group *group, struct member *member);
void verdict_group_remove(struct verdicts *v, struct member *member);
bool verdict_group_has(const struct group *group, const struct atom *atom);
struct endpoint_labels verdict_labels(const struct verdicts *v, const struct endpoint *endpoint);
bool verdict_selects(const struct verdicts *v, const struct selector *selector, const struct endpoint *endpoint);
bool verdict_selects_set(const struct verdicts *v, const struct selector *selector, const struct network_set *set);
void verdict_match_due(struct verdicts *v); /* fresh atoms, groups and sets that are due */
void verdict_forget_atoms(struct verdicts *v); /* that nobody asks for any more */
const struct labels *verdict_namespace(const struct verdicts *v, const char *namespace);

/* -- classes -- */

enum item_slot { SLOT_PLAIN, SLOT_SERVICE, SLOT_NAMED, SLOT_NOT_NAMED };
struct item {
	struct peer *peer;
	uint16_t port;
	uint8_t slot, protocol;
};
struct class {
	UT_hash_handle hh; /* by number */
	struct digest digest;
	uint64_t number;
	size_t refs;
	bool fresh, dead_listed;
	struct item *items; /* sorted by peer's number */
	size_t item_count;
};
void verdict_walk(struct verdicts *v); /* computes all spots that are due */
void verdict_class_free(struct verdicts *v, struct class *class);

/* -- tables -- */

struct table_rule {
	enum policy_action action;
	enum policy_sense protocol_sense;
	uint8_t protocol;
	struct policy_icmp icmp[2];
	struct peer *peer; /* null: everyone */
	struct port_set own, own_not, own_service;
	struct port_set remote, remote_not; /* numbers; names come with the class */
	bool remote_names, own_not_asked, remote_not_asked;
	uint32_t tier;
};
struct table_use { /* of a peer, by a rule */
	uint64_t peer;
	uint32_t rule;
};
struct table {
	UT_hash_handle hh; /* by number */
	struct digest digest;
	uint64_t number;
	size_t refs; /* of endpoints */
	enum policy_direction direction;
	enum table_end end;
	bool fresh;
	struct table_rule *rules;
	size_t rule_count, rule_room;
	bool *tier_denies;
	size_t tier_count, tier_room;
	struct table_use *uses; /* sorted */
	size_t use_count;
	uint32_t *open; /* rules about everyone */
	size_t open_count;
	struct peer **peers; /* each once, sorted by number */
	size_t peer_count;
};
void verdict_match_policies(struct verdicts *v);
void verdict_make_tables(struct verdicts *v);
void verdict_release_tables(struct verdicts *v, struct attached *attached);
void verdict_free_table(struct verdicts *v, struct table *table);
void verdict_forget_policy(struct verdicts *v, struct policy_record *record);
void verdict_drop_compiled(struct verdicts *v, struct policy_record *record);
/* Of these those that count in this direction, in the order of evaluation. Malloc'ed. */
struct policy_record **verdict_ordered(const struct verdicts *v, struct policy_record *const *policies, size_t count,
	enum policy_direction direction, size_t *ret_count);
bool verdict_same_tier(const struct policy *a, const struct policy *b);
bool verdict_applies(const struct policy *policy, enum scope scope, const struct endpoint_labels *labels);
/* -- hosts -- */

void verdict_host_free(struct verdicts *v, struct host_record *record);
void verdict_attached_free(struct verdicts *v, struct attached *attached);
struct attached *verdict_host_attached(const struct verdicts *v, const char *name, enum scope scope);
enum table_end verdict_end(enum scope scope, const struct host_endpoint *host); /* host null: a pod's */
/* Does the policy ask what all addresses of the own side do not answer alike? */
bool verdict_is_unsettled(const struct verdicts *v, const struct policy *policy, enum scope scope, const struct host_record *host,
	enum policy_direction direction);

const struct tier *verdict_tier(const struct verdicts *v, const char *name, bool *ret_missing);

/* -- lists and pairs -- */

struct list_entry {
	uint64_t next;
	uint32_t bits;
	uint16_t port;
	uint8_t len, protocol;
};
struct list {
	UT_hash_handle hh; /* by number */
	struct digest digest;
	uint64_t number;
	size_t refs; /* of living pairs, and of lists by NEXT */
	bool told, acknowledged, listed;
	struct list_entry *entries;
	size_t entry_count;
	struct list **nexts;
	size_t next_count;
};
/* class null: 0. Counted. */
struct list *verdict_flatten(struct verdicts *v, const struct table *table, const struct class *class);
struct list *verdict_list_intern(struct verdicts *v, struct list_entry *entries, size_t count, struct list **nexts,
	size_t next_count);
void verdict_list_put(struct verdicts *v, struct list *list);
void verdict_list_free(struct verdicts *v, struct list *list);

struct pair {
	UT_hash_handle hh;
	struct {
		uint64_t table, class;
	} key;
	struct list *list; /* null: not alive */
	uint64_t list_number;
	bool told, acknowledged, listed;
};
void verdict_make_pairs(struct verdicts *v);
struct pair *verdict_pair_find(const struct verdicts *v, uint64_t table, uint64_t class);
void verdict_kill_table_pairs(struct verdicts *v, const struct table *table);

/* -- all of it -- */

struct verdicts {
	EVP_MD *sha256;
	EVP_MD_CTX *sha;
	int failure; /* of this update: -EEXIST */
	char failure_text[160];

	struct tier_record *tiers;
	struct policy_record *policies;
	struct set_record *sets;
	struct label_record *namespaces, *service_accounts;
	struct service_record *services;
	struct node_record *nodes;
	struct host_record *hosts;
	struct endpoint_pool *pool; /* of their faces; null: there was none yet */
	struct net *ranges;
	size_t range_count;
	struct member **buckets;
	size_t bucket_count, member_count;
	struct group *groups;
	struct attached *attached;

	struct spot *roots[FAMILY_COUNT];
	struct slab spots, marks, members; /* two spots and a member for each pod */
	struct spot **listed; /* to be told, until they are acknowledged */
	size_t listed_count, listed_room;
	size_t shown_count;

	struct atom *atoms;
	struct peer *peers;
	size_t active_peers;
	struct term **free_terms; /* of active peers; they ask for nothing positive */
	size_t free_term_count, free_term_room;
	struct class *classes;
	struct class **fresh_classes, **dead_classes;
	size_t fresh_class_count, fresh_class_room, dead_class_count, dead_class_room;
	struct table *tables;
	struct list *lists;
	struct pair *pairs;
	size_t living_pairs, living_ports;
	struct list **listed_lists; /* changed since they were acknowledged */
	size_t listed_list_count, listed_list_room;
	struct pair **listed_pairs;
	size_t listed_pair_count, listed_pair_room;
	bool atoms_due, members_due, policies_due, tables_due;
	bool unused_atoms;
	bool sides_asked; /* rules that ask their own side for labels are in force */
	bool sides_due; /* what rules ask of their own side may have changed */

	/* The last change. */
	struct verdict_port *new_ports, *stale_ports;
	struct verdict_pair *new_pairs, *stale_pairs;
	struct verdict_address *addresses;
};

void verdict_change_done(struct verdicts *v);
void verdict_set_free(struct verdicts *v, struct set_record *record);
void verdict_node_free(struct verdicts *v, struct node_record *node);
void verdict_service_free(struct verdicts *v, struct service_record *service);
struct member *verdict_member_find(const struct verdicts *v, const char *namespace, const char *name);
struct attached *verdict_attached_find(const struct verdicts *v, const char *namespace, const char *name);
const struct addr *verdict_member_addr(const struct member *member, int family);

/* -- by the rules -- */

/* Does a term hold for an address? Looked up, not computed. */
bool verdict_term_holds(const struct verdicts *v, const struct policy_term *term, const struct addr *addr);
/* Names of ports are those of endpoints that an entity means: whom its selector selects, not who has an address in a set
 * that it selects. */
bool verdict_means(const struct verdicts *v, const struct policy_entity *entity, const struct addr *addr,
	const struct endpoint *endpoint);
/* Ports that the term's Service has there. */
void verdict_backend_ports(const struct verdicts *v, const struct policy_term *term, const struct addr *addr,
	struct port_set *ports);
