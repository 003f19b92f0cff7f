/* SPDX-License-Identifier: Apache-2.0
 *
 * Calico's dialect: from one object in the neutral form (objects/objects.h) to the model. Pure; called by whoever watches
 * objects. docs/calico-resources.md tells a user the same.
 *
 * What a parser refuses (negative errno) it refuses as a whole, and err names kind, name, field, value and what was
 * expected; the caller keeps what it had. That is for whatever would mean something else with a part left out: a filter
 * without one of its rules, a peer without its password, a pool whose encapsulation nobody knows.
 * What stands for itself is only left out, and remarked: an annotation of a Node, a CIDR among many, a parameter of
 * FelixConfiguration. Remarks are one line each and name the same things.
 *
 * Every ret is a new object of the caller's, untouched on failure.
 */
#pragma once

#include "base/err.h"
#include "model/bgp.h"
#include "model/block.h"
#include "model/felix.h"
#include "model/ipam_config.h"
#include "model/ippool.h"
#include "model/node.h"
#include "model/service.h"
#include "model/workload.h"

#include <jansson.h>

/* Who hears of what was left out. A null pointer, or a null function: nobody. */
struct calico_remarks {
	void (*remark)(void *ctx, const char *text);
	void *ctx;
};

/* -- pools and IPAM -- */

/* Refused: a CIDR that is none or is link-local, a block size out of range or larger than the pool, both
 * encapsulations, IPIP on IPv6, a bad selector, uses that exclude each other. Remarked: host bits in the CIDR (they are masked off, as
 * real Calico nodes do), use Tunnel together with a namespaceSelector (dropped). */
int calico_ippool_parse(const json_t *object, const struct calico_remarks *remarks, struct ippool **ret,
	struct err *err);
/* Remarked: entries that are no CIDR or address. */
int calico_ip_reservation_parse(const json_t *object, const struct calico_remarks *remarks, struct ip_reservation **ret,
	struct err *err);
/* Only "default" counts: -ENOENT for any other name. Refused: any bad member, or neither borrowing nor claiming. */
int calico_ipam_config_parse(const json_t *object, struct ipam_config *ret, struct err *err);
/* Only "default" counts: -ENOENT for any other name. Not saying datastoreReady means ready. */
int calico_cluster_info_parse(const json_t *object, struct cluster_info **ret, struct err *err);
/* Returns 1, or 0 when the object is marked as deleted: there is no block then. Refused: a bad CIDR or affinity.
 * Remarked: allocations that contradict themselves, which cost the guests concerned and not the block's route. */
int calico_block_parse(const json_t *object, const struct calico_remarks *remarks, struct block **ret, struct err *err);

/* -- nodes and the node agent's settings -- */

/* Refused: no name. Remarked: annotations, addresses and podCIDRs that are none. */
int calico_node_parse(const json_t *object, const struct calico_remarks *remarks, struct node **ret, struct err *err);
/* All FelixConfigurations there are, in any order, laid over each other for this node (2.14). A bad parameter is
 * remarked, and the layer below it counts. labels: the node's, null: none. Never fails. */
struct felix calico_felix_merge(const json_t *const *objects, size_t count, const char *node,
	const struct labels *labels, const struct calico_remarks *remarks);

/* -- BGP -- */

/* cluster: the object "default", node: "node.<this node>"; either may be null. Refused: a bad scalar member of
 * "default", because a session with another AS number or without its password is worse than the last good state.
 * Remarked: members of lists, and whatever is bad in the node's object. */
int calico_bgp_config_merge(const json_t *cluster, const json_t *node, const struct calico_remarks *remarks,
	struct bgp_config **ret, struct err *err);
/* Of another node's "node.<name>": the port that it listens on, 0 when it does not say. */
uint16_t calico_bgp_listen_port(const json_t *object, const struct calico_remarks *remarks);
/* Refused: any bad member. Sessions to local pods (localWorkloadSelector) are refused too: Tulle offers none. Remarked:
 * what has no effect with this kind of peer, and a bad annotation for BFD. */
int calico_bgp_peer_parse(const json_t *object, const struct calico_remarks *remarks, struct bgp_peer **ret,
	struct err *err);
/* Refused: any bad rule. */
int calico_bgp_filter_parse(const json_t *object, struct bgp_filter **ret, struct err *err);

/* -- pods and namespaces -- */

/* Refused: no name, or no namespace for a pod. Annotations that cannot be followed make the workload's wish bad. */
int calico_workload_parse(const json_t *object, bool is_namespace, struct workload **ret, struct err *err);

/* -- services -- */

/* Refused: no name or namespace, a type that nobody knows. Remarked: addresses that are none. */
int calico_service_parse(const json_t *object, const struct calico_remarks *remarks, struct service **ret,
	struct err *err);
int calico_endpoint_slice_parse(const json_t *object, const struct calico_remarks *remarks, struct endpoint_slice **ret,
	struct err *err);
