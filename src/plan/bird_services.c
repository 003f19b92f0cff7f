/* SPDX-License-Identifier: Apache-2.0
 *
 * Which service addresses this node announces (reference/calico.md 5.7).
 */
#include "plan/bird_internal.h"

#include <errno.h>
#include <string.h>

static int order(const void *a, const void *b)
{
	return prefix_compare(a, b);
}

static int add(struct bird_prefixes *list, const struct prefix *prefix)
{
	if (list->count == list->room) {
		size_t room = list->room ? list->room * 2 : 32;
		struct prefix *grown = realloc(list->items, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		list->items = grown;
		list->room = room;
	}
	list->items[list->count++] = prefix_masked(prefix);
	return 0;
}

static bool is_host(const struct prefix *prefix)
{
	return prefix->len == prefix_max_len(prefix);
}

static int add_wide(struct bird_prefixes *list, const struct prefix *prefixes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!is_host(&prefixes[i]) && add(list, &prefixes[i]) < 0)
			return -ENOMEM;
	return 0;
}

/* hosts: only prefixes of a single address count. */
static bool is_allowed(const struct prefix *prefixes, size_t count, const struct addr *addr, bool hosts)
{
	for (size_t i = 0; i < count; i++)
		if (prefix_contains(&prefixes[i], addr) && (!hosts || is_host(&prefixes[i])))
			return true;
	return false;
}

struct choice {
	const struct bgp_config *config;
	const struct node *own;
	const struct service *service;
	const struct endpoint_slice **slices; /* the service's */
	size_t slice_count;
	struct bird_prefixes *list;
};

/* node: where; null: anywhere. */
static bool has_endpoint(const struct choice *choice, int family, const char *node)
{
	for (size_t i = 0; i < choice->slice_count; i++) {
		const struct endpoint_slice *slice = choice->slices[i];

		for (size_t j = 0; j < slice->endpoint_count && slice->family == family; j++)
			if (slice->endpoints[j].ready && (!node ||
				(slice->endpoints[j].node && strcmp(slice->endpoints[j].node, node) == 0)))
				return true;
	}
	return false;
}

/* single: nothing wider is announced that would bring the traffic here. */
static bool goes_out(const struct choice *choice, const struct addr *addr, bool single)
{
	bool local = choice->service->external_local;

	if (!local && !single)
		return false;
	return has_endpoint(choice, addr_family(addr), local ? choice->own->name : NULL);
}

/* The addresses of one kind that go out one by one. */
static int add_addresses(const struct choice *choice, const struct addr *addrs, size_t addr_count,
	const struct prefix *allowed, size_t allowed_count, bool aggregated)
{
	for (size_t i = 0; i < addr_count; i++) {
		struct prefix host = prefix_host(&addrs[i]);
		bool exact = is_allowed(allowed, allowed_count, &addrs[i], true);

		if (is_allowed(allowed, allowed_count, &addrs[i], false) && goes_out(choice, &addrs[i], exact || !aggregated) &&
			add(choice->list, &host) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int add_service(const struct choice *choice)
{
	const struct bgp_config *config = choice->config;
	const struct service *service = choice->service;

	if (service->type == SERVICE_EXTERNAL_NAME || !service->cluster_ip_count)
		return 0;
	if (service->external_local && add_addresses(choice, service->cluster_ips, service->cluster_ip_count, config->cluster_ips,
					   config->cluster_ip_count, true) < 0)
		return -ENOMEM;
	if (add_addresses(choice, service->external_ips, service->external_ip_count, config->external_ips,
		    config->external_ip_count, true) < 0)
		return -ENOMEM;
	return add_addresses(choice, service->balancer_ips, service->balancer_ip_count, config->balancer_ips,
		config->balancer_ip_count, config->balancer_aggregation);
}

/* -- which slices are whose -- */

static int compare_owner(const char *namespace, const char *service, const struct endpoint_slice *slice)
{
	int difference = strcmp(namespace, slice->namespace);

	return difference ? difference : strcmp(service, slice->service);
}

static int slice_order(const void *a, const void *b)
{
	const struct endpoint_slice *slice = *(const struct endpoint_slice *const *)a;

	return compare_owner(slice->namespace, slice->service, *(const struct endpoint_slice *const *)b);
}

/* Those that belong to a service, sorted; null without memory. */
static const struct endpoint_slice **sort_slices(const struct bird_services *services, size_t *ret_count)
{
	const struct endpoint_slice **sorted = malloc((services->slice_count + 1) * sizeof(*sorted));
	size_t count = 0;

	if (!sorted)
		return NULL;
	for (size_t i = 0; i < services->slice_count; i++)
		if (services->slices[i]->service)
			sorted[count++] = services->slices[i];
	qsort(sorted, count, sizeof(*sorted), slice_order);
	*ret_count = count;
	return sorted;
}

static void choose_slices(struct choice *choice, const struct endpoint_slice **sorted, size_t count)
{
	const struct service *service = choice->service;
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (compare_owner(service->namespace, service->name, sorted[middle]) > 0)
			low = middle + 1;
		else
			high = middle;
	}
	choice->slices = sorted + low;
	for (choice->slice_count = 0; low < count && compare_owner(service->namespace, service->name, sorted[low]) == 0; low++)
		choice->slice_count++;
}

static int add_services(const struct bgp_config *config, const struct node *own, const struct bird_services *services,
	struct bird_prefixes *list)
{
	size_t count;
	const struct endpoint_slice **sorted = sort_slices(services, &count);
	int r = sorted ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < services->service_count; i++) {
		struct choice choice = {.config = config, .own = own, .service = services->services[i], .list = list};

		choose_slices(&choice, sorted, count);
		r = add_service(&choice);
	}
	free(sorted);
	return r;
}

static int add_ranges(const struct bgp_config *config, struct bird_prefixes *list)
{
	if (add_wide(list, config->cluster_ips, config->cluster_ip_count) < 0 ||
		add_wide(list, config->external_ips, config->external_ip_count) < 0)
		return -ENOMEM;
	return config->balancer_aggregation ? add_wide(list, config->balancer_ips, config->balancer_ip_count) : 0;
}

static void drop_doubles(struct bird_prefixes *list)
{
	size_t kept = 0;

	if (list->count)
		qsort(list->items, list->count, sizeof(*list->items), order);
	for (size_t i = 0; i < list->count; i++)
		if (!kept || !prefix_equal(&list->items[kept - 1], &list->items[i]))
			list->items[kept++] = list->items[i];
	list->count = kept;
}

int bird_services(const struct bgp_config *config, const struct node *own, const struct bird_services *services,
	struct bird_prefixes *ret)
{
	struct bird_prefixes list = {0};
	int r = 0;

	if (!own->exclude_from_balancers) {
		r = add_ranges(config, &list);
		if (r == 0)
			r = add_services(config, own, services, &list);
	}
	if (r < 0) {
		bird_prefixes_free(&list);
		return r;
	}
	drop_doubles(&list);
	*ret = list;
	return 0;
}

void bird_prefixes_free(struct bird_prefixes *prefixes)
{
	free(prefixes->items);
	*prefixes = (struct bird_prefixes){0};
}
