/* SPDX-License-Identifier: Apache-2.0
 *
 * A pod as policy sees it, on whatever node: who it is, where it is, which labels it has. There may be a hundred thousand of
 * them, so an endpoint is one allocation, and what many have in common (labels, ports, names of namespaces) is
 * kept once, in a pool. Made by resources/endpoint.c, read by the verdict engine. Immutable once published.
 *
 * A pod that has ended (phase Succeeded or Failed), or that has no address yet, is an endpoint without addresses.
 */
#pragma once

#include "base/addr.h"
#include "model/selector.h"

struct endpoint_port {
	const char *name;
	uint8_t protocol; /* IPPROTO_* */
	uint16_t port;    /* host order */
};

/* Sorted; a shape is shared by all pods of the same labels and ports. */
struct endpoint_shape {
	const struct labels *labels; /* the pod's own */
	const struct endpoint_port *ports;
	size_t port_count;
};

struct endpoint {
	const char *namespace, *service_account, *node; /* shared; node: "" not yet scheduled */
	const struct endpoint_shape *shape;             /* shared */
	struct addr addr[FAMILY_COUNT];                 /* unset: none */
	const struct prefix *allowed_sources;           /* allowedSourcePrefixes; shared */
	uint16_t allowed_source_count;
	bool host_network; /* never a subject, never selected: its traffic is its node's */
	bool host;         /* addresses of a host endpoint: no pod, of no namespace */
	char name[];
};

struct endpoint_pool; /* what endpoints share; counted, so that it shrinks again */

struct endpoint_pool *endpoint_pool_new(void);
void endpoint_pool_free(struct endpoint_pool *pool); /* after the last endpoint; null is fine */

/* What an endpoint is made from; everything is copied or shared. */
struct endpoint_parts {
	const char *namespace, *name, *service_account, *node;
	const struct labels *labels; /* null: none */
	const struct endpoint_port *ports; /* in any order, doubles are fine */
	size_t port_count;
	struct addr addr[FAMILY_COUNT];
	const struct prefix *allowed_sources;
	size_t allowed_source_count;
	bool host_network, host;
};
struct endpoint *endpoint_new(struct endpoint_pool *pool, const struct endpoint_parts *parts); /* null without memory */
void endpoint_free(struct endpoint_pool *pool, struct endpoint **endpoint);
bool endpoint_equal(const struct endpoint *a, const struct endpoint *b); /* of the same pool */

/* The labels that selectors see (reference/calico.md 7.3): own ones; "pcns.K" is label K of the namespace and "pcsa.K" of the
 * service account; projectcalico.org/namespace, /serviceaccount, /orchestrator ("k8s") are built in, and pcns./pcsa.
 * projectcalico.org/name with them. A pod cannot say any of these about itself: own labels of such names are not looked at. */
struct endpoint_labels {
	const struct endpoint *endpoint;
	const struct labels *namespace, *service_account; /* null: none known */
};
const char *endpoint_label(const void *endpoint_labels, const char *key); /* a selector_lookup */
