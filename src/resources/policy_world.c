/* SPDX-License-Identifier: Apache-2.0 */
#include "resources/policy_world.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define END_NAME_MAX 640 /* "namespace/pod" of any length that names may have */

int policy_world_new(struct endpoint_pool *pool, struct policy_world **ret)
{
	struct policy_world *world = calloc(1, sizeof(*world));

	if (!world)
		return -ENOMEM;
	world->pool = pool;
	*ret = world;
	return 0;
}

/* -- end of life -- */

static void free_owners(struct policy_owner *owners, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(owners[i].namespace);
		free(owners[i].name);
		labels_free(&owners[i].labels);
	}
	free(owners);
}

static void free_ends(struct policy_world *world)
{
	struct policy_end *end, *next;

	HASH_ITER(hh, world->ends, end, next) {
		HASH_DEL(world->ends, end);
		free(end);
	}
}

static void free_nodes(struct policy_world *world)
{
	for (size_t i = 0; i < world->node_count; i++) {
		free(world->nodes[i].name);
		free(world->nodes[i].addrs);
		labels_free(&world->nodes[i].labels);
	}
	free(world->nodes);
	for (size_t i = 0; i < world->backend_count; i++) {
		free(world->backends[i].namespace);
		free(world->backends[i].service);
	}
	free(world->backends);
}

void policy_world_free(struct policy_world **at)
{
	struct policy_world *world = *at;

	if (!world)
		return;
	free_ends(world);
	for (size_t i = 0; i < world->policy_count; i++)
		policy_free(&world->policies[i]);
	free(world->policies);
	for (size_t i = 0; i < world->tier_count; i++)
		tier_free(&world->tiers[i]);
	free(world->tiers);
	for (size_t i = 0; i < world->set_count; i++)
		network_set_free(&world->sets[i]);
	free(world->sets);
	for (size_t i = 0; i < world->host_count; i++)
		host_endpoint_free(&world->hosts[i]);
	free(world->hosts);
	auto_hosts_free(&world->auto_hosts);
	for (size_t i = 0; i < world->endpoint_count; i++)
		endpoint_free(world->pool, &world->endpoints[i]);
	free(world->endpoints);
	free_owners(world->namespaces, world->namespace_count);
	free_owners(world->accounts, world->account_count);
	free_nodes(world);
	free(world);
	*at = NULL;
}

/* -- ends of flows -- */

static struct policy_end *add_end(struct policy_world *world, const char *name)
{
	size_t len = strlen(name);
	struct policy_end *end = calloc(1, sizeof(*end) + len + 1);

	if (!end)
		return NULL;
	memcpy(end->name, name, len + 1);
	end->node = SIZE_MAX;
	HASH_ADD_KEYPTR(hh, world->ends, end->name, len, end);
	return end;
}

const struct policy_end *policy_world_end(const struct policy_world *world, const char *name)
{
	struct policy_end *end;

	HASH_FIND(hh, world->ends, name, strlen(name), end);
	return end;
}

int policy_world_add_external(struct policy_world *world, const char *name, const struct addr addr[FAMILY_COUNT])
{
	char text[END_NAME_MAX];
	struct policy_end *end;

	snprintf(text, sizeof(text), "external:%s", name);
	if (policy_world_end(world, text))
		return -EEXIST;
	end = add_end(world, text);
	if (!end)
		return -ENOMEM;
	memcpy(end->addr, addr, sizeof(end->addr));
	return 0;
}

static size_t find_node(const struct policy_world *world, const char *name)
{
	for (size_t i = 0; i < world->node_count; i++)
		if (strcmp(world->nodes[i].name, name) == 0)
			return i;
	return SIZE_MAX;
}

bool policy_world_node_has(const struct policy_world *world, size_t node, const struct addr *addr)
{
	if (node >= world->node_count)
		return false;
	for (size_t i = 0; i < world->nodes[node].count; i++)
		if (addr_equal(&world->nodes[node].addrs[i], addr))
			return true;
	return false;
}

static bool is_of_all(const struct host_endpoint *host)
{
	return host->interface && strcmp(host->interface, HOST_ENDPOINT_ALL) == 0;
}

const struct host_endpoint *policy_world_host(const struct policy_world *world, size_t node)
{
	const struct host_endpoint *best = NULL;

	for (size_t i = 0; node < world->node_count && i < world->host_count; i++) {
		const struct host_endpoint *host = world->hosts[i];

		if (strcmp(host->node, world->nodes[node].name) != 0)
			continue;
		if (!best || is_of_all(host) < is_of_all(best) ||
			(is_of_all(host) == is_of_all(best) && strcmp(host->name, best->name) < 0))
			best = host;
	}
	return best;
}

/* The first address of each family is the one that others send to. */
static void copy_addresses(const struct policy_node *node, struct addr ret[FAMILY_COUNT])
{
	for (size_t i = 0; i < node->count; i++) {
		struct addr *place = &ret[family_index(addr_family(&node->addrs[i]))];

		if (!addr_is_set(place))
			*place = node->addrs[i];
	}
}

static int add_node_end(struct policy_world *world, size_t index, struct err *err)
{
	char text[END_NAME_MAX];
	struct policy_end *end;

	snprintf(text, sizeof(text), "node:%s", world->nodes[index].name);
	if (policy_world_end(world, text))
		return err_set(err, -EINVAL, "Node %s is there twice", world->nodes[index].name);
	end = add_end(world, text);
	if (!end)
		return err_set(err, -ENOMEM, "out of memory");
	end->node = index;
	copy_addresses(&world->nodes[index], end->addr);
	return 0;
}

static int add_pod_end(struct policy_world *world, const struct endpoint *endpoint, struct err *err)
{
	char text[END_NAME_MAX];
	struct policy_end *end;

	snprintf(text, sizeof(text), "%s/%s", endpoint->namespace, endpoint->name);
	if (policy_world_end(world, text))
		return err_set(err, -EINVAL, "Pod %s is there twice", text);
	end = add_end(world, text);
	if (!end)
		return err_set(err, -ENOMEM, "out of memory");
	end->node = find_node(world, endpoint->node);
	if (!endpoint->host_network) {
		end->endpoint = endpoint;
		memcpy(end->addr, endpoint->addr, sizeof(end->addr));
	} else if (end->node != SIZE_MAX) {
		copy_addresses(&world->nodes[end->node], end->addr);
	}
	return 0;
}

/* -- the whole -- */

static int by_service(const void *a, const void *b)
{
	const struct policy_backend *x = a, *y = b;
	int rc = strcmp(x->namespace, y->namespace);

	return rc ? rc : strcmp(x->service, y->service);
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Quadratic, but for the policies of a case: there are thousands at most. */
static int refuse_doubles(const struct policy_world *world, struct err *err)
{
	for (size_t i = 0; i < world->policy_count; i++)
		for (size_t j = 0; j < i; j++) {
			const struct policy *a = world->policies[i], *b = world->policies[j];

			if (strcmp(a->name, b->name) == 0 && strcmp(a->kind, b->kind) == 0 && same_text(a->namespace, b->namespace))
				return err_set(err, -EINVAL, "%s %s%s%s is there twice", a->kind, a->namespace ? a->namespace : "",
					a->namespace ? "/" : "", a->name);
		}
	return 0;
}

static int refuse_double_hosts(const struct policy_world *world, struct err *err)
{
	for (size_t i = 0; i < world->host_count; i++)
		for (size_t j = 0; j < i; j++)
			if (strcmp(world->hosts[i]->name, world->hosts[j]->name) == 0)
				return err_set(err, -EINVAL, "HostEndpoint %s is there twice", world->hosts[i]->name);
	return 0;
}

static bool has_host(const struct policy_world *world, const char *name)
{
	for (size_t i = 0; i < world->host_count; i++)
		if (strcmp(world->hosts[i]->name, name) == 0)
			return true;
	return false;
}

/* Objects of the same name count instead. */
static int add_auto_hosts(struct policy_world *world, const struct policy_node *node)
{
	const struct auto_host_node what = {node->name, node->labels, node->addrs, node->count};
	_cleanup_free_ struct host_endpoint **made = NULL;
	struct host_endpoint **more;
	size_t count = 0;
	int rc = auto_hosts_make(world->auto_hosts, &what, &made, &count);

	if (!count)
		return rc;
	more = reallocarray(world->hosts, world->host_count + count, sizeof(*more));
	world->hosts = more ? more : world->hosts;
	for (size_t i = 0; i < count; i++)
		if (more && !has_host(world, made[i]->name))
			more[world->host_count++] = made[i];
		else
			host_endpoint_free(&made[i]);
	return more ? rc : -ENOMEM;
}

static int add_all_auto_hosts(struct policy_world *world, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < world->node_count && rc == 0; i++)
		rc = add_auto_hosts(world, &world->nodes[i]);
	return rc < 0 ? err_set(err, rc, "out of memory") : 0;
}

int policy_world_finish(struct policy_world *world, struct err *err)
{
	int rc = refuse_doubles(world, err);

	if (rc == 0)
		rc = refuse_double_hosts(world, err);
	if (rc == 0)
		rc = add_all_auto_hosts(world, err);
	for (size_t i = 0; i < world->node_count && rc == 0; i++)
		rc = add_node_end(world, i, err);
	for (size_t i = 0; i < world->endpoint_count && rc == 0; i++)
		rc = add_pod_end(world, world->endpoints[i], err);
	if (rc == 0 && world->backend_count)
		qsort(world->backends, world->backend_count, sizeof(*world->backends), by_service);
	return rc;
}
