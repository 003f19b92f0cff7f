/* SPDX-License-Identifier: Apache-2.0 */
#include "model/service.h"

#include "model/equal.h"

#include <stdlib.h>

void service_free(struct service **service)
{
	if (!*service)
		return;
	free((*service)->namespace);
	free((*service)->name);
	free((*service)->cluster_ips);
	free((*service)->external_ips);
	free((*service)->balancer_ips);
	free(*service);
	*service = NULL;
}

bool service_equal(const struct service *a, const struct service *b)
{
	return text_equal(a->namespace, b->namespace) && text_equal(a->name, b->name) && a->type == b->type &&
	       a->external_local == b->external_local && a->internal_local == b->internal_local &&
	       addrs_equal(a->cluster_ips, a->cluster_ip_count, b->cluster_ips, b->cluster_ip_count) &&
	       addrs_equal(a->external_ips, a->external_ip_count, b->external_ips, b->external_ip_count) &&
	       addrs_equal(a->balancer_ips, a->balancer_ip_count, b->balancer_ips, b->balancer_ip_count);
}

void endpoint_slice_free(struct endpoint_slice **slice)
{
	if (!*slice)
		return;
	for (size_t i = 0; i < (*slice)->endpoint_count; i++)
		free((*slice)->endpoints[i].node);
	free((*slice)->endpoints);
	free((*slice)->namespace);
	free((*slice)->name);
	free((*slice)->service);
	free(*slice);
	*slice = NULL;
}

static bool same_endpoint(const struct service_endpoint *a, const struct service_endpoint *b)
{
	return addr_equal(&a->addr, &b->addr) && text_equal(a->node, b->node) && a->ready == b->ready;
}

bool endpoint_slice_equal(const struct endpoint_slice *a, const struct endpoint_slice *b)
{
	if (!text_equal(a->namespace, b->namespace) || !text_equal(a->name, b->name) ||
		!text_equal(a->service, b->service) || a->family != b->family || a->endpoint_count != b->endpoint_count)
		return false;
	for (size_t i = 0; i < a->endpoint_count; i++)
		if (!same_endpoint(&a->endpoints[i], &b->endpoints[i]))
			return false;
	return true;
}

bool endpoint_slice_is_ready(const struct endpoint_slice *slice, const char *node)
{
	for (size_t i = 0; i < slice->endpoint_count; i++) {
		const struct service_endpoint *endpoint = &slice->endpoints[i];

		if (endpoint->ready && (!node || text_equal(endpoint->node, node)))
			return true;
	}
	return false;
}
