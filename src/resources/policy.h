/* SPDX-License-Identifier: Apache-2.0
 *
 * From the objects that policy is made of to the model: policies, tiers, sets, pods, labels of namespaces and service
 * accounts (reference/calico.md 7.1 to 7.3). Pure, in the manner of resources.h, which tells about remarks and
 * ret; called by the agent, "tullectl policy" and tests. docs/policy-resources.md tells a user the same.
 *
 * A policy is never refused for what it says, because without it more would be allowed: what cannot be understood makes it
 * deny in the direction concerned (struct policy.denies), in all that it has if its selector is concerned, in both if its
 * types are or a member of its spec that nobody knows, and policy.trouble tells what. Only an object without a name, or
 * without a namespace where there must be one, is refused.
 * Members that nobody here knows count as not understood: they might narrow what is allowed.
 * Remarked is what has no effect.
 */
#pragma once

#include "model/auto_hosts.h"
#include "model/endpoint.h"
#include "model/host_endpoint.h"
#include "model/policy.h"
#include "resources/resources.h"

/* networking.k8s.io/v1; policyTypes and protocols that are not said are filled in as the API server does. */
int policy_parse_kubernetes(const json_t *object, const struct calico_remarks *remarks, struct policy **ret, struct err *err);
/* policy.networking.k8s.io/v1alpha2; all but the peers "nodes" and "domainNames" of its experimental channel. */
int policy_parse_cluster(const json_t *object, const struct calico_remarks *remarks, struct policy **ret, struct err *err);
/* projectcalico.org/v3, NetworkPolicy; types that are not said follow from the rules as in Calico's API. */
int policy_parse_calico(const json_t *object, const struct calico_remarks *remarks, struct policy **ret, struct err *err);
/* GlobalNetworkPolicy. */
int policy_parse_calico_global(const json_t *object, const struct calico_remarks *remarks, struct policy **ret, struct err *err);

/* Refused: an order that is no number. The tiers of tier_builtin are as they are there, whatever the object says. */
int tier_parse(const json_t *object, const struct calico_remarks *remarks, struct tier **ret, struct err *err);
/* NetworkSet, and GlobalNetworkSet. Remarked: entries that are no CIDR. */
int network_set_parse(const json_t *object, bool global, const struct calico_remarks *remarks, struct network_set **ret,
	struct err *err);

/* Refused: no node, neither interface nor addresses, and whatever cannot be understood: one that is not there has no policy, and
 * its interfaces are as open as they were. Remarked: profiles that are not known, which deny. */
int host_endpoint_parse(const json_t *object, const struct calico_remarks *remarks, struct host_endpoint **ret, struct err *err);

/* KubeControllersConfiguration: only "default" counts, -ENOENT for any other name. Refused: whether they are made at all cannot be
 * understood. Remarked, and in trouble: templates that cannot be used, those by interfacePattern among them. */
int auto_hosts_parse(const json_t *object, const struct calico_remarks *remarks, struct auto_hosts **ret, struct err *err);

/* A Pod of core/v1. Its addresses are status.podIPs, or podIP, or what the CNI plugin wrote into annotations; one that
 * has ended, or is on the host's network, has none. Refused: no name or namespace. Remarked: addresses that are none,
 * and a bad annotation allowedSourcePrefixes, which then allows nothing. */
int endpoint_parse(const json_t *object, struct endpoint_pool *pool, const struct calico_remarks *remarks,
	struct endpoint **ret, struct err *err);

/* What pods inherit; names are in object's metadata. A Namespace has kubernetes.io/metadata.name as the API server gives
 * it. Refused: no name. */
int namespace_labels_parse(const json_t *object, struct labels **ret, struct err *err);
int service_account_labels_parse(const json_t *object, struct labels **ret, struct err *err);
