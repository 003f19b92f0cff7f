/* SPDX-License-Identifier: Apache-2.0 */
#include "resources/policy_world.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "objects/calico_form.h"
#include "resources/policy.h"
#include "resources/read.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define CORE "v1"
#define V3 CALICO_V3

/* Room for one more of size bytes behind count of them, all zero; null: no memory. */
static void *grow(void *items, size_t count, size_t size)
{
	char *more = reallocarray(items, count + 1, size);

	if (more)
		memset(more + count * size, 0, size);
	return more;
}

/* One more element of an array of the world, at *ret; from here on the world's own. */
#define ADD(items, count, ret)                                  \
	({                                                      \
		void *more_ = grow(items, count, sizeof(*items)); \
		if (more_) {                                    \
			(items) = more_;                        \
			*(ret) = &(items)[(count)++];           \
		}                                               \
		more_ ? 0 : -ENOMEM;                            \
	})

/* -- policies -- */

typedef int (*policy_parser)(const json_t *object, const struct calico_remarks *remarks, struct policy **ret, struct err *err);

static int add_policy(struct policy_world *world, policy_parser parse, const json_t *object, const struct calico_remarks *remarks,
	struct err *err)
{
	struct policy *policy = NULL, **place;
	int rc = parse(object, remarks, &policy, err);

	if (rc < 0)
		return rc;
	if (ADD(world->policies, world->policy_count, &place) < 0) {
		policy_free(&policy);
		return -ENOMEM;
	}
	*place = policy;
	return 0;
}

static int add_kubernetes(struct policy_world *world, const json_t *object, const struct calico_remarks *remarks, struct err *err)
{
	return add_policy(world, policy_parse_kubernetes, object, remarks, err);
}

static int add_cluster(struct policy_world *world, const json_t *object, const struct calico_remarks *remarks, struct err *err)
{
	return add_policy(world, policy_parse_cluster, object, remarks, err);
}

static int add_calico(struct policy_world *world, const json_t *object, const struct calico_remarks *remarks, struct err *err)
{
	return add_policy(world, policy_parse_calico, object, remarks, err);
}

static int add_global(struct policy_world *world, const json_t *object, const struct calico_remarks *remarks, struct err *err)
{
	return add_policy(world, policy_parse_calico_global, object, remarks, err);
}

static int add_tier(struct policy_world *world, const json_t *object, const struct calico_remarks *remarks, struct err *err)
{
	struct tier *tier = NULL, **place;
	int rc = tier_parse(object, remarks, &tier, err);

	if (rc < 0)
		return rc;
	if (ADD(world->tiers, world->tier_count, &place) < 0) {
		tier_free(&tier);
		return -ENOMEM;
	}
	*place = tier;
	return 0;
}

static int add_some_set(struct policy_world *world, bool global, const json_t *object, const struct calico_remarks *remarks,
	struct err *err)
{
	struct network_set *set = NULL, **place;
	int rc = network_set_parse(object, global, remarks, &set, err);

	if (rc < 0)
		return rc;
	if (ADD(world->sets, world->set_count, &place) < 0) {
		network_set_free(&set);
		return -ENOMEM;
	}
	*place = set;
	return 0;
}

static int add_set(struct policy_world *world, const json_t *object, const struct calico_remarks *remarks, struct err *err)
{
	return add_some_set(world, false, object, remarks, err);
}

static int add_global_set(struct policy_world *world, const json_t *object, const struct calico_remarks *remarks, struct err *err)
{
	return add_some_set(world, true, object, remarks, err);
}

/* -- who policy is about -- */

static int add_host(struct policy_world *world, const json_t *object, const struct calico_remarks *remarks, struct err *err)
{
	struct host_endpoint *host = NULL, **place;
	int rc = host_endpoint_parse(object, remarks, &host, err);

	if (rc < 0)
		return rc;
	if (ADD(world->hosts, world->host_count, &place) < 0) {
		host_endpoint_free(&host);
		return -ENOMEM;
	}
	*place = host;
	return 0;
}

static int add_controllers(struct policy_world *world, const json_t *object, const struct calico_remarks *remarks, struct err *err)
{
	struct auto_hosts *hosts = NULL;
	int rc;

	if (strcmp(object_name(object), "default") != 0)
		return 0;
	rc = auto_hosts_parse(object, remarks, &hosts, err);
	if (rc < 0)
		return rc;
	auto_hosts_free(&world->auto_hosts);
	world->auto_hosts = hosts;
	return 0;
}

static int add_pod(struct policy_world *world, const json_t *object, const struct calico_remarks *remarks, struct err *err)
{
	struct endpoint *endpoint = NULL, **place;
	int rc = endpoint_parse(object, world->pool, remarks, &endpoint, err);

	if (rc < 0)
		return rc;
	if (ADD(world->endpoints, world->endpoint_count, &place) < 0) {
		endpoint_free(world->pool, &endpoint);
		return -ENOMEM;
	}
	*place = endpoint;
	return 0;
}

static int fill_owner(struct policy_owner *owner, const json_t *object, bool namespaced)
{
	owner->name = strdup(object_name(object));
	owner->namespace = namespaced ? strdup(object_namespace(object)) : NULL;
	return owner->name && (owner->namespace || !namespaced) ? 0 : -ENOMEM;
}

static int add_namespace(struct policy_world *world, const json_t *object, const struct calico_remarks *remarks, struct err *err)
{
	struct labels *labels = NULL;
	struct policy_owner *owner;
	int rc = namespace_labels_parse(object, &labels, err);

	if (rc < 0)
		return rc;
	rc = ADD(world->namespaces, world->namespace_count, &owner);
	if (rc < 0) {
		labels_free(&labels);
		return rc;
	}
	owner->labels = labels;
	return fill_owner(owner, object, false);
}

static int add_account(struct policy_world *world, const json_t *object, const struct calico_remarks *remarks, struct err *err)
{
	struct labels *labels = NULL;
	struct policy_owner *owner;
	int rc = service_account_labels_parse(object, &labels, err);

	if (rc < 0)
		return rc;
	rc = ADD(world->accounts, world->account_count, &owner);
	if (rc < 0) {
		labels_free(&labels);
		return rc;
	}
	owner->labels = labels;
	return fill_owner(owner, object, true);
}

/* -- nodes -- */

int policy_world_add_node(struct policy_world *world, const char *name, const struct addr *addrs, size_t count, struct labels *labels)
{
	struct policy_node *node;
	int rc = ADD(world->nodes, world->node_count, &node);

	if (rc < 0)
		return rc;
	node->name = strdup(name);
	node->addrs = calloc(count + 1, sizeof(*node->addrs));
	if (!node->name || !node->addrs)
		return -ENOMEM;
	if (count)
		memcpy(node->addrs, addrs, count * sizeof(*addrs));
	node->count = count;
	node->labels = labels;
	return 0;
}

static void append(struct addr *addrs, size_t *count, const struct addr *addr)
{
	if (addr_is_set(addr))
		addrs[(*count)++] = *addr;
}

static int add_node(struct policy_world *world, const json_t *object, const struct calico_remarks *remarks, struct err *err)
{
	_cleanup_(node_free) struct node *node = NULL;
	_cleanup_free_ struct addr *addrs = NULL;
	size_t count = 0;
	int rc = calico_node_parse(object, remarks, &node, err);

	if (rc < 0)
		return rc;
	addrs = calloc(node->other_count + 2 * FAMILY_COUNT + 1, sizeof(*addrs));
	if (!addrs)
		return -ENOMEM;
	for (int f = 0; f < FAMILY_COUNT; f++)
		append(addrs, &count, &node->address[f].addr);
	for (size_t i = 0; i < node->other_count; i++)
		append(addrs, &count, &node->others[i]);
	append(addrs, &count, &node->ipip_addr);
	for (int f = 0; f < FAMILY_COUNT; f++)
		append(addrs, &count, &node->vxlan_addr[f]);
	rc = policy_world_add_node(world, node->name, addrs, count, node->labels);
	if (rc == 0)
		node->labels = NULL;
	return rc;
}

/* -- backends of Services -- */

static uint8_t protocol_of(const json_t *port)
{
	const char *text = json_string_value(json_object_get(port, "protocol"));

	if (!text || strcmp(text, "TCP") == 0)
		return IPPROTO_TCP;
	return strcmp(text, "UDP") == 0 ? IPPROTO_UDP : strcmp(text, "SCTP") == 0 ? IPPROTO_SCTP : 0;
}

static int add_backend(struct policy_world *world, const json_t *slice, const char *service, const struct addr *addr,
	const json_t *port)
{
	json_int_t number = json_integer_value(json_object_get(port, "port"));
	uint8_t protocol = protocol_of(port);
	struct policy_backend *backend;

	if (!protocol || number < 1 || number > UINT16_MAX)
		return 0;
	if (ADD(world->backends, world->backend_count, &backend) < 0)
		return -ENOMEM;
	*backend = (struct policy_backend){.namespace = strdup(object_namespace(slice)), .service = strdup(service), .addr = *addr,
		.protocol = protocol, .port = (uint16_t)number};
	return backend->namespace && backend->service ? 0 : -ENOMEM;
}

static int add_backends(struct policy_world *world, const json_t *slice, const char *service, const json_t *endpoint)
{
	const json_t *text, *port;
	size_t i, j;
	int rc = 0;

	json_array_foreach(json_object_get(endpoint, "addresses"), i, text) {
		struct addr addr;

		if (!json_is_string(text) || addr_parse(json_string_value(text), &addr) < 0)
			continue;
		json_array_foreach(json_object_get(slice, "ports"), j, port)
			if (rc == 0)
				rc = add_backend(world, slice, service, &addr, port);
	}
	return rc;
}

static int add_slice(struct policy_world *world, const json_t *object, const struct calico_remarks *remarks, struct err *err)
{
	const json_t *labels = json_object_get(json_object_get(object, "metadata"), "labels"), *endpoint;
	const char *service = json_string_value(json_object_get(labels, "kubernetes.io/service-name"));
	size_t i;
	int rc = 0;

	if (!service)
		return 0;
	json_array_foreach(json_object_get(object, "endpoints"), i, endpoint)
		if (rc == 0)
			rc = add_backends(world, object, service, endpoint);
	return rc;
}

/* -- by kind -- */

static const struct {
	const char *version, *kind;
	int (*add)(struct policy_world *world, const json_t *object, const struct calico_remarks *remarks, struct err *err);
} kinds[] = {
	{"networking.k8s.io/v1", "NetworkPolicy", add_kubernetes},
	{"policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", add_cluster},
	{V3, "NetworkPolicy", add_calico},
	{V3, "GlobalNetworkPolicy", add_global},
	{V3, "Tier", add_tier},
	{V3, "NetworkSet", add_set},
	{V3, "GlobalNetworkSet", add_global_set},
	{V3, "HostEndpoint", add_host},
	{V3, "KubeControllersConfiguration", add_controllers},
	{CORE, "Pod", add_pod},
	{CORE, "Namespace", add_namespace},
	{CORE, "ServiceAccount", add_account},
	{CORE, "Node", add_node},
	{"discovery.k8s.io/v1", "EndpointSlice", add_slice},
};

/* In the neutral form: a new reference; null: no memory. */
static json_t *neutral(const char *version, const char *name, const json_t *object)
{
	enum kind kind = kind_find(version, name);

	if (kind == KIND_COUNT || strcmp(version, CALICO_V1) != 0)
		return json_incref((json_t *)object);
	return calico_from_v1(kind, object);
}

int policy_world_add(struct policy_world *world, const json_t *object, const struct calico_remarks *remarks, struct err *err)
{
	const char *version = json_string_value(json_object_get(object, "apiVersion"));
	const char *kind = json_string_value(json_object_get(object, "kind"));
	_cleanup_(json_cleanup) json_t *form = NULL;
	int rc;

	if (!version && !kind) {
		rc = add_kubernetes(world, object, remarks, err);
		return rc < 0 ? rc : 1;
	}
	if (!version || !kind)
		return err_set(err, -EINVAL, "%s is missing, expected apiVersion and kind", version ? "kind" : "apiVersion");
	form = neutral(version, kind, object);
	if (!form)
		return err_set(err, -ENOMEM, "out of memory");
	if (strcmp(version, CALICO_V1) == 0)
		version = V3;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strcmp(kinds[i].kind, kind) == 0 && strcmp(kinds[i].version, version) == 0) {
			rc = kinds[i].add(world, form, remarks, err);
			return rc == -ENOMEM ? err_set(err, rc, "out of memory") : rc < 0 ? rc : 1;
		}
	return 0;
}
