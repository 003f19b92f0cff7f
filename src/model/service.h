/* SPDX-License-Identifier: Apache-2.0
 *
 * Services and their endpoints, as far as announcing service addresses by BGP needs them (reference/calico.md 5.7).
 * Made by the Calico dialect (resources/service.c), read by the plan. Immutable once published.
 */
#pragma once

#include "base/addr.h"

enum service_type { SERVICE_CLUSTER_IP, SERVICE_NODE_PORT, SERVICE_LOAD_BALANCER, SERVICE_EXTERNAL_NAME };

struct service {
	char *namespace, *name;
	enum service_type type;
	bool external_local;                  /* externalTrafficPolicy: Local */
	bool internal_local;                  /* internalTrafficPolicy: Local */
	struct addr *cluster_ips, *external_ips, *balancer_ips; /* each sorted; a headless Service has none */
	size_t cluster_ip_count, external_ip_count, balancer_ip_count;
};

struct service_endpoint {
	struct addr addr;
	char *node;  /* null: not said */
	bool ready;
};

/* One slice: a Service has any number of them, all of one family each. */
struct endpoint_slice {
	char *namespace, *name;
	char *service; /* of that namespace; null: nobody's */
	int family;    /* AF_INET, AF_INET6; 0: names, without endpoints here */
	struct service_endpoint *endpoints;
	size_t endpoint_count;
};

void service_free(struct service **service);
bool service_equal(const struct service *a, const struct service *b);
void endpoint_slice_free(struct endpoint_slice **slice);
bool endpoint_slice_equal(const struct endpoint_slice *a, const struct endpoint_slice *b);
/* Has it a ready endpoint on this node (null: on any)? */
bool endpoint_slice_is_ready(const struct endpoint_slice *slice, const char *node);
