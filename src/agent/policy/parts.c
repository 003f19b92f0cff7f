/* SPDX-License-Identifier: Apache-2.0
 *
 * The kinds of objects that policy is made of: how each is read, and handed to the engine.
 */
#include "agent/policy/internal.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "objects/kind.h"
#include "resources/policy.h"
#include "resources/resources.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PORTS_MAX 100
#define ENDPOINTS_MAX 1000

/* -- policies -- */

static int read_kubernetes(struct policer *policer, const json_t *object, void **ret, struct err *err)
{
	int rc = policy_parse_kubernetes(object, NULL, (struct policy **)ret, err);

	return rc < 0 ? rc : 1;
}

static int read_cluster(struct policer *policer, const json_t *object, void **ret, struct err *err)
{
	int rc = policy_parse_cluster(object, NULL, (struct policy **)ret, err);

	return rc < 0 ? rc : 1;
}

static int read_calico(struct policer *policer, const json_t *object, void **ret, struct err *err)
{
	int rc = policy_parse_calico(object, NULL, (struct policy **)ret, err);

	return rc < 0 ? rc : 1;
}

static int read_global(struct policer *policer, const json_t *object, void **ret, struct err *err)
{
	int rc = policy_parse_calico_global(object, NULL, (struct policy **)ret, err);

	return rc < 0 ? rc : 1;
}

static bool policies_equal(const void *a, const void *b)
{
	return policy_equal(a, b);
}

static void free_policy(struct policer *policer, void *object)
{
	struct policy *policy = object;

	policy_free(&policy);
}

/* Labels that are a service account's. */
static bool asks_accounts(const struct selector *selector)
{
	return selector && strstr(selector_text(selector), "pcsa.");
}

static void entity_needs(const struct policy_entity *entity, bool is_destination, struct world_needs *needs)
{
	for (size_t i = 0; i < entity->term_count; i++) {
		const struct policy_term *term = &entity->terms[i];

		needs->pods |= term->selector || term->not_selector;
		needs->accounts |= asks_accounts(term->selector) || asks_accounts(term->not_selector);
		needs->services |= term->service_name != NULL;
	}
	for (size_t i = 0; is_destination && i < entity->port_count; i++)
		needs->pods |= entity->ports[i].name != NULL;
	for (size_t i = 0; is_destination && i < entity->not_port_count; i++)
		needs->pods |= entity->not_ports[i].name != NULL;
}

void world_needs_of(const struct policy *policy, struct world_needs *ret)
{
	*ret = (struct world_needs){0};
	if (policy->staged)
		return;
	ret->accounts = asks_accounts(policy->selector);
	for (int d = 0; d < POLICY_DIRECTION_COUNT; d++)
		for (size_t i = 0; i < policy->rule_count[d]; i++) {
			entity_needs(&policy->rules[d][i].source, false, ret);
			entity_needs(&policy->rules[d][i].destination, d == POLICY_EGRESS, ret);
		}
}

static void count_needs(struct policer *policer, const struct policy *policy, int by)
{
	struct world_needs needs;

	world_needs_of(policy, &needs);
	policer->needs.pods += needs.pods ? (size_t)by : 0;
	policer->needs.accounts += needs.accounts ? (size_t)by : 0;
	policer->needs.services += needs.services ? (size_t)by : 0;
	policer->troubled += policy->trouble ? (size_t)by : 0;
	policer->slices_due |= needs.services;
}

static int put_policy(struct policer *policer, const char *key, const void *object, const void *old)
{
	int rc = verdicts_put_policy(policer->verdicts, object);

	if (rc < 0)
		return rc;
	if (old)
		count_needs(policer, old, -1);
	count_needs(policer, object, 1);
	return 0;
}

static void remove_policy(struct policer *policer, const char *key, const void *object)
{
	const struct policy *policy = object;

	verdicts_remove_policy(policer->verdicts, policy->kind, policy->namespace, policy->name);
	count_needs(policer, policy, -1);
}

/* -- tiers and sets -- */

static int read_tier(struct policer *policer, const json_t *object, void **ret, struct err *err)
{
	int rc = tier_parse(object, NULL, (struct tier **)ret, err);

	return rc < 0 ? rc : 1;
}

static bool tiers_equal(const void *a, const void *b)
{
	return tier_equal(a, b);
}

static void free_tier(struct policer *policer, void *object)
{
	struct tier *tier = object;

	tier_free(&tier);
}

static int put_tier(struct policer *policer, const char *key, const void *object, const void *old)
{
	return verdicts_put_tier(policer->verdicts, object);
}

static void remove_tier(struct policer *policer, const char *key, const void *object)
{
	verdicts_remove_tier(policer->verdicts, ((const struct tier *)object)->name);
}

static int read_set(struct policer *policer, const json_t *object, void **ret, struct err *err)
{
	int rc = network_set_parse(object, false, NULL, (struct network_set **)ret, err);

	return rc < 0 ? rc : 1;
}

static int read_global_set(struct policer *policer, const json_t *object, void **ret, struct err *err)
{
	int rc = network_set_parse(object, true, NULL, (struct network_set **)ret, err);

	return rc < 0 ? rc : 1;
}

static bool sets_equal(const void *a, const void *b)
{
	return network_set_equal(a, b);
}

static void free_set(struct policer *policer, void *object)
{
	struct network_set *set = object;

	network_set_free(&set);
}

static int put_set(struct policer *policer, const char *key, const void *object, const void *old)
{
	return verdicts_put_set(policer->verdicts, object);
}

static void remove_set(struct policer *policer, const char *key, const void *object)
{
	const struct network_set *set = object;

	verdicts_remove_set(policer->verdicts, set->namespace, set->name);
}

/* -- host endpoints -- */

static int read_host(struct policer *policer, const json_t *object, void **ret, struct err *err)
{
	int rc = host_endpoint_parse(object, NULL, (struct host_endpoint **)ret, err);

	return rc < 0 ? rc : 1;
}

static bool hosts_equal(const void *a, const void *b)
{
	return host_endpoint_equal(a, b);
}

static void free_host(struct policer *policer, void *object)
{
	struct host_endpoint *host = object;

	host_endpoint_free(&host);
}

static int put_host(struct policer *policer, const char *key, const void *object, const void *old)
{
	policer->links_due = policer->auto_hosts_due = true;
	return verdicts_put_host(policer->verdicts, object);
}

static void remove_host(struct policer *policer, const char *key, const void *object)
{
	policer->links_due = policer->auto_hosts_due = true;
	verdicts_remove_host(policer->verdicts, ((const struct host_endpoint *)object)->name);
}

/* -- automatic ones -- */

static int read_controllers(struct policer *policer, const json_t *object, void **ret, struct err *err)
{
	int rc = auto_hosts_parse(object, NULL, (struct auto_hosts **)ret, err);

	return rc == -ENOENT ? 0 : rc < 0 ? rc : 1;
}

static bool controllers_equal(const void *a, const void *b)
{
	return auto_hosts_equal(a, b);
}

static void free_controllers(struct policer *policer, void *object)
{
	struct auto_hosts *hosts = object;

	auto_hosts_free(&hosts);
}

static int put_controllers(struct policer *policer, const char *key, const void *object, const void *old)
{
	policer->auto_hosts_due = true;
	return 0;
}

static void remove_controllers(struct policer *policer, const char *key, const void *object)
{
	policer->auto_hosts_due = true;
}

/* -- whose labels pods inherit -- */

static int read_namespace(struct policer *policer, const json_t *object, void **ret, struct err *err)
{
	int rc = namespace_labels_parse(object, (struct labels **)ret, err);

	return rc < 0 ? rc : 1;
}

static int read_account(struct policer *policer, const json_t *object, void **ret, struct err *err)
{
	int rc = service_account_labels_parse(object, (struct labels **)ret, err);

	return rc < 0 ? rc : 1;
}

static bool all_labels_equal(const void *a, const void *b)
{
	return labels_equal(a, b);
}

static void free_labels(struct policer *policer, void *object)
{
	struct labels *labels = object;

	labels_free(&labels);
}

static int put_namespace(struct policer *policer, const char *key, const void *object, const void *old)
{
	return verdicts_put_namespace(policer->verdicts, key, object);
}

static void remove_namespace(struct policer *policer, const char *key, const void *object)
{
	verdicts_remove_namespace(policer->verdicts, key);
}

/* "namespace/name" → both, in text. */
static const char *split(const char *key, char *text, size_t size)
{
	char *slash;

	snprintf(text, size, "%s", key);
	slash = strchr(text, '/');
	if (!slash)
		return "";
	*slash = 0;
	return slash + 1;
}

static int put_account(struct policer *policer, const char *key, const void *object, const void *old)
{
	char namespace[600];
	const char *name = split(key, namespace, sizeof(namespace));

	return verdicts_put_service_account(policer->verdicts, namespace, name, object);
}

static void remove_account(struct policer *policer, const char *key, const void *object)
{
	char namespace[600];
	const char *name = split(key, namespace, sizeof(namespace));

	verdicts_remove_service_account(policer->verdicts, namespace, name);
}

/* -- pods -- */

static int read_local_pod(struct policer *policer, const json_t *object, void **ret, struct err *err)
{
	int rc = endpoint_parse(object, policer->endpoints, NULL, (struct endpoint **)ret, err);

	return rc < 0 ? rc : 1;
}

/* Of other nodes; whoever has no address is nobody's peer. */
static int read_pod(struct policer *policer, const json_t *object, void **ret, struct err *err)
{
	const char *node = json_string_value(json_object_get(json_object_get(object, "spec"), "nodeName"));
	struct endpoint *endpoint = NULL;
	int rc;

	if (node && strcmp(node, policer->agent->options.node_name) == 0)
		return 0;
	rc = endpoint_parse(object, policer->endpoints, NULL, &endpoint, err);
	if (rc < 0)
		return rc;
	if (endpoint->host_network || (!addr_is_set(&endpoint->addr[FAMILY_4]) && !addr_is_set(&endpoint->addr[FAMILY_6]))) {
		endpoint_free(policer->endpoints, &endpoint);
		return 0;
	}
	*ret = endpoint;
	return 1;
}

static bool endpoints_equal(const void *a, const void *b)
{
	return endpoint_equal(a, b);
}

static void free_endpoint(struct policer *policer, void *object)
{
	struct endpoint *endpoint = object;

	endpoint_free(policer->endpoints, &endpoint);
}

static void endpoint_key(const void *object, char ret[static WORLD_KEY_MAX])
{
	const struct endpoint *endpoint = object;

	snprintf(ret, WORLD_KEY_MAX, "%s/%s", endpoint->namespace, endpoint->name);
}

static int put_local_pod(struct policer *policer, const char *key, const void *object, const void *old)
{
	const struct endpoint *endpoint = object;
	int rc = verdicts_put_endpoint(policer->verdicts, endpoint);

	if (rc == 0)
		local_object(policer, endpoint->namespace, endpoint->name, endpoint);
	return rc;
}

/* A pod of the same name may have come on another node. */
static void remove_local_pod(struct policer *policer, const char *key, const void *object)
{
	const struct endpoint *endpoint = object;
	const struct endpoint *elsewhere = world_find(policer, WORLD_PODS, key);

	if (!elsewhere || verdicts_put_endpoint(policer->verdicts, elsewhere) < 0)
		verdicts_remove_endpoint(policer->verdicts, endpoint->namespace, endpoint->name);
	local_object(policer, endpoint->namespace, endpoint->name, NULL);
}

static int put_pod(struct policer *policer, const char *key, const void *object, const void *old)
{
	return world_find(policer, WORLD_LOCAL_PODS, key) ? 0 : verdicts_put_endpoint(policer->verdicts, object);
}

static void remove_pod(struct policer *policer, const char *key, const void *object)
{
	const struct endpoint *endpoint = object;

	if (!world_find(policer, WORLD_LOCAL_PODS, key))
		verdicts_remove_endpoint(policer->verdicts, endpoint->namespace, endpoint->name);
}

/* -- backends of Services -- */

struct slice {
	char *service; /* "namespace/name"; null: of none */
	struct verdict_backend *backends;
	size_t count;
};

static void free_slice(struct policer *policer, void *object)
{
	struct slice *slice = object;

	free(slice->service);
	free(slice->backends);
	free(slice);
}

static int protocol_of(const json_t *port)
{
	const char *text = json_string_value(json_object_get(port, "protocol"));

	if (!text || strcmp(text, "TCP") == 0)
		return IPPROTO_TCP;
	return strcmp(text, "UDP") == 0 ? IPPROTO_UDP : strcmp(text, "SCTP") == 0 ? IPPROTO_SCTP : -1;
}

static void add_backends(struct slice *slice, const struct addr *addr, const json_t *ports)
{
	const json_t *port;
	size_t i;

	json_array_foreach(ports, i, port) {
		json_int_t number = json_integer_value(json_object_get(port, "port"));
		int protocol = protocol_of(port);

		if (protocol < 0 || number < 1 || number > 65535 || i >= PORTS_MAX)
			continue;
		slice->backends[slice->count++] = (struct verdict_backend){*addr, (uint8_t)protocol, (uint16_t)number};
	}
}

static void read_endpoints(struct slice *slice, const json_t *endpoints, const json_t *ports)
{
	const json_t *endpoint;
	size_t i;

	json_array_foreach(endpoints, i, endpoint) {
		/* all addresses of one are the same backend; whoever uses slices takes the first */
		const char *text = json_string_value(json_array_get(json_object_get(endpoint, "addresses"), 0));
		struct addr addr;

		if (i < ENDPOINTS_MAX && text && addr_parse(text, &addr) == 0)
			add_backends(slice, &addr, ports);
	}
}

static int read_slice(struct policer *policer, const json_t *object, void **ret, struct err *err)
{
	const json_t *labels = json_object_get(json_object_get(object, "metadata"), "labels");
	const char *service = json_string_value(json_object_get(labels, "kubernetes.io/service-name"));
	const json_t *endpoints = json_object_get(object, "endpoints"), *ports = json_object_get(object, "ports");
	size_t room = json_array_size(endpoints) * json_array_size(ports);
	struct slice *slice;

	if (!service)
		return 0;
	if (json_array_size(endpoints) > ENDPOINTS_MAX || json_array_size(ports) > PORTS_MAX)
		return err_set(err, -E2BIG, "EndpointSlice %s: more than %d endpoints or %d ports", object_name(object), ENDPOINTS_MAX,
			PORTS_MAX);
	slice = calloc(1, sizeof(*slice));
	if (!slice)
		return err_set(err, -ENOMEM, "out of memory");
	slice->backends = calloc(room + 1, sizeof(*slice->backends));
	if (!slice->backends || asprintf(&slice->service, "%s/%s", object_namespace(object), service) < 0) {
		free(slice->backends);
		free(slice);
		return err_set(err, -ENOMEM, "out of memory");
	}
	read_endpoints(slice, endpoints, ports);
	*ret = slice;
	return 1;
}

static bool slices_equal(const void *a, const void *b)
{
	const struct slice *x = a, *y = b;

	return x->count == y->count && strcmp(x->service, y->service) == 0 &&
		memcmp(x->backends, y->backends, x->count * sizeof(*x->backends)) == 0;
}

static int put_slice(struct policer *policer, const char *key, const void *object, const void *old)
{
	policer->slices_due = true;
	return 0;
}

static void remove_slice(struct policer *policer, const char *key, const void *object)
{
	policer->slices_due = true;
}

static void tell_service(struct policer *policer, const char *namespace, const char *name)
{
	_cleanup_free_ struct verdict_backend *all = NULL;
	char key[600];
	size_t room = 1, count = 0, slices = world_count(policer, WORLD_SLICES);

	snprintf(key, sizeof(key), "%s/%s", namespace, name);
	for (size_t i = 0; i < slices; i++) {
		const struct slice *slice = world_object(policer, WORLD_SLICES, i);

		room += strcmp(slice->service, key) == 0 ? slice->count : 0;
	}
	all = calloc(room, sizeof(*all));
	for (size_t i = 0; all && i < slices; i++) {
		const struct slice *slice = world_object(policer, WORLD_SLICES, i);

		if (strcmp(slice->service, key) != 0)
			continue;
		memcpy(all + count, slice->backends, slice->count * sizeof(*all));
		count += slice->count;
	}
	if (!all || verdicts_set_backends(policer->verdicts, namespace, name, all, count) < 0)
		policer->slices_due = true;
}

static void tell_entity(struct policer *policer, const struct policy_entity *entity)
{
	for (size_t i = 0; i < entity->term_count; i++)
		if (entity->terms[i].service_name)
			tell_service(policer, entity->terms[i].service_namespace, entity->terms[i].service_name);
}

static void tell_policies(struct policer *policer, enum world_part part)
{
	for (size_t n = 0; n < world_count(policer, part); n++) {
		const struct policy *policy = world_object(policer, part, n);

		for (int d = 0; d < POLICY_DIRECTION_COUNT; d++)
			for (size_t i = 0; i < policy->rule_count[d]; i++) {
				tell_entity(policer, &policy->rules[d][i].source);
				tell_entity(policer, &policy->rules[d][i].destination);
			}
	}
}

void parts_tell_backends(struct policer *policer)
{
	policer->slices_due = false;
	for (int i = WORLD_NETWORK_POLICIES; i <= WORLD_GLOBAL_POLICIES; i++)
		tell_policies(policer, i);
}

/* -- FelixConfiguration: all of them together say something -- */

static int read_felix(struct policer *policer, const json_t *object, void **ret, struct err *err)
{
	*ret = json_incref((json_t *)object);
	return 1;
}

static bool felix_objects_equal(const void *a, const void *b)
{
	return json_equal(a, b);
}

static void free_felix(struct policer *policer, void *object)
{
	json_decref(object);
}

static int put_felix(struct policer *policer, const char *key, const void *object, const void *old)
{
	agent_mark(policer->agent); /* the table of the plan has the failsafe ports */
	return 0;
}

static void remove_felix(struct policer *policer, const char *key, const void *object)
{
	agent_mark(policer->agent);
}

/* -- all of them -- */

/* What nobody reads is dropped while it arrives: of pods that is most. */
#define DROP_ALWAYS "metadata.managedFields", "metadata.ownerReferences"
static const char *const drop_fields[] = {DROP_ALWAYS, NULL};
static const char *const drop_owner[] = {DROP_ALWAYS, "metadata.annotations", "spec", "status", "secrets", "imagePullSecrets", NULL};
static const char *const drop_node[] = {DROP_ALWAYS, "status.images", "status.conditions", "status.capacity",
	"status.allocatable", "status.nodeInfo", "status.volumesInUse", "status.volumesAttached", NULL};
static const char *const drop_pod[] = {DROP_ALWAYS, "spec.volumes", "spec.affinity", "spec.tolerations", "spec.ephemeralContainers",
	"status.conditions", "status.containerStatuses", "status.initContainerStatuses", "status.ephemeralContainerStatuses", NULL};

#define POLICIES(read) read, policies_equal, free_policy, NULL, put_policy, remove_policy, drop_fields
#define SETS(read) read, sets_equal, free_set, NULL, put_set, remove_set, drop_fields

const struct world_traits world_traits[WORLD_PART_COUNT] = {
	[WORLD_TIERS] = {KIND_TIER, read_tier, tiers_equal, free_tier, NULL, put_tier, remove_tier, drop_fields},
	[WORLD_NETWORK_POLICIES] = {KIND_NETWORK_POLICY, POLICIES(read_kubernetes)},
	[WORLD_CLUSTER_POLICIES] = {KIND_CLUSTER_NETWORK_POLICY, POLICIES(read_cluster)},
	[WORLD_CALICO_POLICIES] = {KIND_CALICO_NETWORK_POLICY, POLICIES(read_calico)},
	[WORLD_GLOBAL_POLICIES] = {KIND_GLOBAL_NETWORK_POLICY, POLICIES(read_global)},
	[WORLD_SETS] = {KIND_NETWORK_SET, SETS(read_set)},
	[WORLD_GLOBAL_SETS] = {KIND_GLOBAL_NETWORK_SET, SETS(read_global_set)},
	[WORLD_HOSTS] = {KIND_HOST_ENDPOINT, read_host, hosts_equal, free_host, NULL, put_host, remove_host, drop_fields},
	[WORLD_CONTROLLERS] = {KIND_KUBE_CONTROLLERS_CONFIG, read_controllers, controllers_equal, free_controllers, NULL, put_controllers,
		remove_controllers, drop_fields},
	[WORLD_NAMESPACES] = {KIND_NAMESPACE, read_namespace, all_labels_equal, free_labels, NULL, put_namespace, remove_namespace, drop_owner},
	[WORLD_NODES] = {KIND_NODE, nodes_read, nodes_equal, nodes_free, nodes_key, nodes_put, nodes_remove, drop_node},
	[WORLD_LOCAL_PODS] = {KIND_POD, read_local_pod, endpoints_equal, free_endpoint, endpoint_key, put_local_pod, remove_local_pod, drop_pod},
	[WORLD_PODS] = {KIND_POD, read_pod, endpoints_equal, free_endpoint, endpoint_key, put_pod, remove_pod, drop_pod},
	[WORLD_ACCOUNTS] = {KIND_SERVICE_ACCOUNT, read_account, all_labels_equal, free_labels, NULL, put_account, remove_account, drop_owner},
	[WORLD_SLICES] = {KIND_ENDPOINT_SLICE, read_slice, slices_equal, free_slice, NULL, put_slice, remove_slice, drop_fields},
	[WORLD_FELIX] = {KIND_FELIX_CONFIG, read_felix, felix_objects_equal, free_felix, NULL, put_felix, remove_felix, drop_fields},
};
