/* SPDX-License-Identifier: Apache-2.0
 *
 * Flannel's dialect on Kubernetes: a Node object's podCIDRs and annotations as a lease, and back (reference/flannel.md
 * 3.4.2, 3.4.3, 3.4.5). Pure; used by kube_store.c.
 */
#pragma once

#include "base/err.h"
#include "model/lease.h"
#include "model/network.h"

#include <jansson.h>

#define KUBE_NAME_MAX 254 /* RFC 1123 subdomain, closing 0 included */
#define FLANNEL_PREFIX_MAX 320

/* What --kube-annotation-prefix becomes: "flannel.alpha.coreos.com/" (section 3.4.2). */
int flannel_node_prefix(const char *text, char ret[static FLANNEL_PREFIX_MAX], struct err *err);

/* The lease key of a node: its name; a longer one than fits ends in "~" and 16 hex digits of its hash. */
const char *flannel_node_key(const char *name, char ret[static LEASE_KEY_MAX]);

/* metadata.name, or null when the object has none that could be a node's. */
const char *flannel_node_name(const json_t *node);
/* Text of one annotation, "backend-data"; null when absent. */
const char *flannel_node_annotation(const json_t *node, const char *prefix, const char *name);

/* podCIDRs, by family; 0 when there are none (yet). -EINVAL names field and value. */
int flannel_node_pod_cidrs(const json_t *node, struct prefix ret[FAMILY_COUNT], struct err *err);

/* The lease that a node's annotations announce. 1: a lease, with at least one family of the network; 0: this node takes
 * no part (no marker, or no podCIDR yet); -EINVAL: something in it is wrong, and no part of it is believed. */
int flannel_node_parse(const json_t *node, const char *prefix, const struct network *network, struct lease *ret,
	struct err *err);

/* The annotations with which this node announces itself, without prefix: a new object of strings, null for those that
 * must not be there. lease: families that are served have subnet and public_ip. Null without memory. */
json_t *flannel_node_format(const struct lease *lease);
