/* SPDX-License-Identifier: Apache-2.0
 *
 * Service (core/v1) and EndpointSlice (discovery.k8s.io/v1), as far as announcing service addresses needs them
 * (reference/calico.md 5.7).
 */
#include "resources/read.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

#define SERVICE_LABEL "kubernetes.io/service-name"

/* -- lists of addresses -- */

struct addr_list {
	struct addr **items;
	size_t *count;
};

static int compare_addrs(const void *a, const void *b)
{
	return addr_compare(a, b);
}

static int make_room(const struct calico_at *at, size_t count, struct addr_list list)
{
	*list.items = calloc(count + 1, sizeof(**list.items));
	return *list.items ? 0 : calico_no_memory(at);
}

/* at: the address itself. One that is none is remarked. */
static void add_addr(const struct calico_at *at, const char *key, struct addr_list list)
{
	struct err err = ERR_INIT;
	struct calico_at place = *at;
	int rc;

	place.err = &err;
	rc = calico_addr(&place, key, &(*list.items)[*list.count]);
	if (rc == 1)
		(*list.count)++;
	else if (rc < 0)
		calico_remark_ignored(at, &err);
}

/* key: of a list of texts, or, with a member, of objects that have the address there. */
static int read_addrs(const struct calico_at *at, const char *key, const char *member, struct addr_list ret)
{
	const json_t *list, *entry;
	int rc = calico_list(at, key, &list);
	size_t i;

	if (rc == 1)
		rc = make_room(at, json_array_size(list), ret);
	else
		return rc;
	if (rc < 0)
		return rc;
	json_array_foreach((json_t *)list, i, entry) {
		struct calico_at item;

		calico_item(at, key, i, entry, &item);
		add_addr(&item, member, ret);
	}
	qsort(*ret.items, *ret.count, sizeof(**ret.items), compare_addrs);
	return 1;
}

/* -- Service -- */

/* A headless Service says "None" instead of an address. */
static bool is_headless(const struct calico_at *spec)
{
	const char *ip = json_string_value(json_object_get(spec->json, "clusterIP"));
	const char *first = json_string_value(json_array_get(json_object_get(spec->json, "clusterIPs"), 0));

	return (ip && strcmp(ip, "None") == 0) || (first && strcmp(first, "None") == 0);
}

/* clusterIPs, or clusterIP in an object that is older than dual stack. */
static int read_cluster_ips(const struct calico_at *spec, struct service *service)
{
	struct addr_list list = {&service->cluster_ips, &service->cluster_ip_count};
	int rc;

	if (is_headless(spec))
		return 0;
	rc = read_addrs(spec, "clusterIPs", NULL, list);
	if (rc != 0)
		return rc;
	rc = make_room(spec, 1, list);
	if (rc == 0)
		add_addr(spec, "clusterIP", list);
	return rc;
}

static int read_service_spec(const struct calico_at *spec, struct service *service)
{
	static const char *const types[] = {
		[SERVICE_CLUSTER_IP] = "ClusterIP", [SERVICE_NODE_PORT] = "NodePort", [SERVICE_LOAD_BALANCER] = "LoadBalancer",
		[SERVICE_EXTERNAL_NAME] = "ExternalName", NULL,
	};
	static const char *const policies[] = {"Cluster", "Local", NULL};
	int type = SERVICE_CLUSTER_IP, external = 0, internal = 0, rc = calico_choice(spec, "type", types, &type);

	if (rc >= 0)
		rc = calico_choice(spec, "externalTrafficPolicy", policies, &external);
	if (rc >= 0)
		rc = calico_choice(spec, "internalTrafficPolicy", policies, &internal);
	service->type = (enum service_type)type;
	service->external_local = external;
	service->internal_local = internal;
	if (rc >= 0)
		rc = read_cluster_ips(spec, service);
	if (rc >= 0)
		rc = read_addrs(spec, "externalIPs", NULL, (struct addr_list){&service->external_ips, &service->external_ip_count});
	return rc;
}

/* What the load balancer has said; one that gives names only has no addresses to announce. */
static int read_service_status(const struct calico_at *whole, struct service *service)
{
	struct calico_at status, balancer;
	int rc = calico_enter(whole, "status", &status);

	if (rc == 1)
		rc = calico_enter(&status, "loadBalancer", &balancer);
	if (rc == 1)
		rc = read_addrs(&balancer, "ingress", "ip", (struct addr_list){&service->balancer_ips, &service->balancer_ip_count});
	return rc;
}

int calico_service_parse(const json_t *object, const struct calico_remarks *remarks, struct service **ret,
	struct err *err)
{
	_cleanup_(service_free) struct service *service = calloc(1, sizeof(*service));
	struct calico_at whole, spec;
	int rc = calico_begin_namespaced(object, "Service", remarks, err, &whole);

	if (rc < 0)
		return rc;
	if (!service || !(service->name = strdup(calico_name(object))) ||
		!(service->namespace = strdup(calico_namespace(object))))
		return calico_no_memory(&whole);
	rc = calico_enter(&whole, "spec", &spec);
	if (rc == 1)
		rc = read_service_spec(&spec, service);
	if (rc >= 0)
		rc = read_service_status(&whole, service);
	if (rc < 0)
		return rc;
	*ret = TAKE_PTR(service);
	return 0;
}

/* -- EndpointSlice -- */

/* The first address counts: all of an endpoint are of one pod (discovery/v1 types.go). */
static int read_endpoint(const struct calico_at *at, int family, struct service_endpoint *ret)
{
	const json_t *addresses = NULL;
	struct calico_at item, conditions;
	int rc = json_is_object(at->json) ? calico_list(at, "addresses", &addresses) : calico_wrong(at, NULL, "an object");

	if (rc < 0)
		return rc;
	calico_item(at, "addresses", 0, json_array_get(addresses, 0), &item);
	rc = calico_addr(&item, NULL, &ret->addr);
	if (rc >= 0 && (rc == 0 || addr_family(&ret->addr) != family))
		rc = calico_wrong(&item, NULL, "an IPv%d address", family == AF_INET ? 4 : 6);
	if (rc < 0)
		return rc;
	/* not said means ready */
	ret->ready = true;
	rc = calico_enter(at, "conditions", &conditions);
	if (rc == 1)
		rc = calico_bool(&conditions, "ready", &ret->ready);
	if (rc >= 0)
		rc = calico_copy(at, "nodeName", &ret->node);
	return rc;
}

static int read_endpoints(const struct calico_at *at, struct endpoint_slice *slice)
{
	const json_t *list, *entry;
	int rc = calico_list(at, "endpoints", &list);
	size_t i;

	if (rc <= 0 || !slice->family)
		return rc;
	slice->endpoints = calloc(json_array_size(list) + 1, sizeof(*slice->endpoints));
	if (!slice->endpoints)
		return calico_no_memory(at);
	json_array_foreach((json_t *)list, i, entry) {
		struct service_endpoint *endpoint = &slice->endpoints[slice->endpoint_count];
		struct err err = ERR_INIT;
		struct calico_at item;

		calico_item(at, "endpoints", i, entry, &item);
		item.err = &err;
		if (read_endpoint(&item, slice->family, endpoint) >= 0) {
			slice->endpoint_count++;
			continue;
		}
		free(endpoint->node);
		*endpoint = (struct service_endpoint){0};
		calico_remark_ignored(at, &err);
	}
	return 0;
}

static int read_slice(const struct calico_at *at, const json_t *object, struct endpoint_slice *slice)
{
	static const char *const types[] = {"IPv4", "IPv6", "FQDN", NULL};
	static const int families[] = {AF_INET, AF_INET6, 0};
	const json_t *labels = json_object_get(json_object_get(object, "metadata"), "labels");
	const char *service = json_string_value(json_object_get(labels, SERVICE_LABEL));
	int type, rc = calico_choice(at, "addressType", types, &type);

	if (rc == 0)
		rc = calico_wrong(at, "addressType", "IPv4, IPv6 or FQDN");
	if (rc < 0)
		return rc;
	slice->family = families[type];
	if (service && *service && !(slice->service = strdup(service)))
		return calico_no_memory(at);
	return read_endpoints(at, slice);
}

int calico_endpoint_slice_parse(const json_t *object, const struct calico_remarks *remarks, struct endpoint_slice **ret,
	struct err *err)
{
	_cleanup_(endpoint_slice_free) struct endpoint_slice *slice = calloc(1, sizeof(*slice));
	struct calico_at at;
	int rc = calico_begin_namespaced(object, "EndpointSlice", remarks, err, &at);

	if (rc < 0)
		return rc;
	if (!slice || !(slice->name = strdup(calico_name(object))) || !(slice->namespace = strdup(calico_namespace(object))))
		return calico_no_memory(&at);
	rc = read_slice(&at, object, slice);
	if (rc < 0)
		return rc;
	*ret = TAKE_PTR(slice);
	return 0;
}
