/* SPDX-License-Identifier: Apache-2.0
 *
 * All that policy depends on, read from objects at once: policies of every kind, tiers, network sets, pods, namespaces,
 * service accounts, nodes, backends of Services. For tools that judge a world offline (ctl/policy*.c); the agent keeps the same
 * up to date object by object. Pure.
 *
 * Life cycle: policy_world_new; policy_world_add for each object, in any order; policy_world_finish; then it is only read,
 * until policy_world_free. The pool is the caller's and outlives it.
 */
#pragma once

#include "base/err.h"
#include "base/hash.h"
#include "model/auto_hosts.h"
#include "model/endpoint.h"
#include "model/host_endpoint.h"
#include "model/policy.h"
#include "resources/resources.h"

struct policy_owner { /* a namespace (without namespace), or a service account */
	char *namespace, *name;
	struct labels *labels;
};

struct policy_node {
	char *name;
	struct addr *addrs; /* first those that people know, then those of tunnels */
	size_t count;
	struct labels *labels; /* never null */
};

struct policy_backend {
	char *namespace, *service;
	struct addr addr;
	uint8_t protocol;
	uint16_t port; /* host order */
};

/* Who can be an end of a flow: "namespace/pod", "node:NAME", "external:NAME". */
struct policy_end {
	UT_hash_handle hh;
	const struct endpoint *endpoint; /* a pod that policy is about; null: none, or one in its node's network */
	size_t node;                     /* where it is, index into nodes; SIZE_MAX: outside, or not known */
	struct addr addr[FAMILY_COUNT];  /* unset: none */
	char name[];
};

struct policy_world {
	struct endpoint_pool *pool;
	struct policy **policies;
	size_t policy_count;
	struct tier **tiers;
	size_t tier_count;
	struct network_set **sets;
	size_t set_count;
	struct host_endpoint **hosts; /* after policy_world_finish also those that nodes have by themselves */
	size_t host_count;
	struct auto_hosts *auto_hosts; /* null: nothing is said of them */
	struct endpoint **endpoints;
	size_t endpoint_count;
	struct policy_owner *namespaces, *accounts;
	size_t namespace_count, account_count;
	struct policy_node *nodes;
	size_t node_count;
	struct policy_backend *backends; /* by Service, after policy_world_finish */
	size_t backend_count;
	struct policy_end *ends; /* after policy_world_finish */
};

int policy_world_new(struct endpoint_pool *pool, struct policy_world **ret);
void policy_world_free(struct policy_world **world); /* null inside is fine */

/* By apiVersion and kind; one that says neither is a Kubernetes NetworkPolicy. 1, or 0 for kinds that are not enforced.
 * Refused: what its parser refuses. */
int policy_world_add(struct policy_world *world, const json_t *object, const struct calico_remarks *remarks, struct err *err);
/* labels are the world's on success. */
int policy_world_add_node(struct policy_world *world, const char *name, const struct addr *addrs, size_t count, struct labels *labels);
/* name: as in struct policy_end. */
int policy_world_add_external(struct policy_world *world, const char *name, const struct addr addr[FAMILY_COUNT]);
/* -EINVAL: two objects of one kind have the same name. */
int policy_world_finish(struct policy_world *world, struct err *err);

const struct policy_end *policy_world_end(const struct policy_world *world, const char *name); /* null: nobody */
/* Which host endpoint is about what the node exchanges with others: by interfaceName or addresses, the first by name; else
 * the first of all of its interfaces (reference/calico.md 7.10). Null: none. */
const struct host_endpoint *policy_world_host(const struct policy_world *world, size_t node);
/* Is the address one of the node's? node: as in struct policy_end. */
bool policy_world_node_has(const struct policy_world *world, size_t node, const struct addr *addr);
