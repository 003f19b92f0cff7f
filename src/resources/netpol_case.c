/* SPDX-License-Identifier: Apache-2.0 */
#include "resources/netpol_case.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "resources/read.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct netpol_case {
	json_t *json;
	const json_t *steps; /* of the JSON; null: one world, the file itself */
	char where[256];
};

const char *const netpol_side_names[NETPOL_SIDE_COUNT] = {"egress", "ingress", "expected"};

/* -- the file -- */

void netpol_case_free(struct netpol_case **at)
{
	if (!*at)
		return;
	json_decref((*at)->json);
	free(*at);
	*at = NULL;
}

static void begin(const struct netpol_case *file, const struct calico_remarks *remarks, struct err *err, struct calico_at *ret)
{
	*ret = (struct calico_at){.json = file->json, .remarks = remarks, .err = err};
	snprintf(ret->who, sizeof(ret->who), "%s", file->where);
}

/* A list that must be there. */
static int need_list(const struct calico_at *at, const char *key, const json_t **ret)
{
	int rc = calico_list(at, key, ret);

	return rc == 0 ? calico_wrong(at, key, "a list") : rc;
}

static int need_text(const struct calico_at *at, const char *key, const char *expected, const char **ret)
{
	int rc = calico_text(at, key, ret);

	return rc < 0 ? rc : rc && **ret ? 1 : calico_wrong(at, key, "%s", expected);
}

static int check(struct netpol_case *file, struct err *err)
{
	struct calico_at at;
	const char *schema;
	int rc;

	begin(file, NULL, err, &at);
	if (!json_is_object(file->json))
		return err_set(err, -EINVAL, "%s: expected an object", file->where);
	rc = need_text(&at, "schema", "npcase/1 or npseq/1", &schema);
	if (rc < 0 || strcmp(schema, "npcase/1") == 0)
		return rc < 0 ? rc : 0;
	if (strcmp(schema, "npseq/1") != 0)
		return calico_wrong(&at, "schema", "npcase/1 or npseq/1");
	rc = need_list(&at, "steps", &file->steps);
	return rc < 0 ? rc : 0;
}

int netpol_case_parse(const char *text, size_t len, const char *where, struct netpol_case **ret, struct err *err)
{
	_cleanup_(netpol_case_free) struct netpol_case *file = calloc(1, sizeof(*file));
	int rc;

	if (!file)
		return err_set(err, -ENOMEM, "%s: out of memory", where);
	snprintf(file->where, sizeof(file->where), "%s", where);
	rc = json_parse(text, len, where, &file->json, err);
	if (rc == 0)
		rc = check(file, err);
	if (rc == 0)
		*ret = TAKE_PTR(file);
	return rc;
}

size_t netpol_case_step_count(const struct netpol_case *file)
{
	return file->steps ? json_array_size(file->steps) : 1;
}

/* -- the world -- */

/* Addresses under "ips", at most one of each family if they go into one place each. */
static int read_ips(const struct calico_at *at, json_t *ret, struct addr *first)
{
	const json_t *list = NULL, *item;
	int rc = calico_list(at, "ips", &list);
	size_t i;

	json_array_foreach(list, i, item) {
		struct calico_at place;
		struct addr addr, *mine;

		calico_item(at, "ips", i, item, &place);
		rc = calico_addr(&place, NULL, &addr);
		if (rc <= 0)
			return rc < 0 ? rc : calico_wrong(&place, NULL, "an address such as 192.0.2.1 or 2001:db8::1");
		mine = &first[family_index(addr_family(&addr))];
		if (!addr_is_set(mine))
			*mine = addr;
		if (ret && json_array_append_new(ret, json_pack("{s:O}", "ip", item)) < 0)
			return calico_no_memory(at);
	}
	return rc < 0 ? rc : 0;
}

static int need_name(const struct calico_at *at, const char *key, const char **ret)
{
	int rc = need_text(at, key, "a name of letters, digits, \"-\", \"_\" and \".\"", ret);

	if (rc > 0 && !calico_name_is_sane(*ret))
		return calico_wrong(at, key, "a name of letters, digits, \"-\", \"_\" and \".\"");
	return rc;
}

static int check_labels(const struct calico_at *at, json_t **ret)
{
	struct calico_at labels;
	int rc = calico_enter(at, "labels", &labels);
	const json_t *value;
	const char *key;

	*ret = NULL;
	if (rc <= 0)
		return rc;
	json_object_foreach((json_t *)labels.json, key, value)
		if (!json_is_string(value))
			return calico_wrong(&labels, key, "a text");
	*ret = (json_t *)labels.json;
	return 0;
}

/* A new reference to metadata. labels: null: none. */
static json_t *metadata(const char *namespace, const char *name, json_t *labels)
{
	return json_pack("{s:s, s:s*, s:O*}", "name", name, "namespace", namespace, "labels", labels);
}

static int add_object(struct policy_world *world, const struct calico_at *at, json_t *object)
{
	int rc;

	if (!object)
		return calico_no_memory(at);
	rc = policy_world_add(world, object, at->remarks, at->err);
	json_decref(object);
	return rc < 0 ? err_wrap(at->err, "%s: %s", at->who, at->path) : rc;
}

static int add_namespace(struct policy_world *world, const struct calico_at *at)
{
	const char *name;
	json_t *labels;
	int rc = need_name(at, "name", &name);

	if (rc < 0 || (rc = check_labels(at, &labels)) < 0)
		return rc;
	return add_object(world, at, json_pack("{s:s, s:s, s:o}", "apiVersion", "v1", "kind", "Namespace",
		"metadata", metadata(NULL, name, labels)));
}

static int read_labels(const struct calico_at *at, struct labels **ret)
{
	_cleanup_(labels_free) struct labels *labels = labels_new();
	json_t *found = NULL, *value;
	const char *key;
	int rc = check_labels(at, &found);

	if (rc < 0)
		return rc;
	if (!labels)
		return calico_no_memory(at);
	json_object_foreach(found, key, value)
		if (labels_set(labels, key, json_string_value(value)) < 0)
			return calico_no_memory(at);
	*ret = TAKE_PTR(labels);
	return 0;
}

static int add_node(struct policy_world *world, const struct calico_at *at)
{
	_cleanup_(labels_free) struct labels *labels = NULL;
	struct addr first[FAMILY_COUNT] = {0};
	_cleanup_free_ struct addr *addrs = NULL;
	const json_t *list = NULL, *item;
	const char *name;
	size_t i;
	int rc = need_name(at, "name", &name);

	if (rc < 0 || (rc = read_ips(at, NULL, first)) < 0 || (rc = read_labels(at, &labels)) < 0)
		return rc;
	list = json_object_get(at->json, "ips");
	addrs = calloc(json_array_size(list) + 1, sizeof(*addrs));
	if (!addrs)
		return calico_no_memory(at);
	json_array_foreach(list, i, item)
		addr_parse(json_string_value(item), &addrs[i]);
	if (policy_world_add_node(world, name, addrs, json_array_size(list), labels) < 0)
		return calico_no_memory(at);
	labels = NULL; /* the world's */
	return 0;
}

static int add_external(struct policy_world *world, const struct calico_at *at)
{
	struct addr addr[FAMILY_COUNT] = {0};
	const char *name;
	int rc = need_name(at, "name", &name);

	if (rc < 0 || (rc = read_ips(at, NULL, addr)) < 0)
		return rc;
	rc = policy_world_add_external(world, name, addr);
	return rc == -EEXIST ? calico_wrong(at, "name", "one that no other outside host has")
	       : rc < 0	     ? calico_no_memory(at)
			     : 0;
}

/* -- pods -- */

static int check_ports(const struct calico_at *at, json_t **ret)
{
	const json_t *list = NULL, *item;
	int rc = calico_list(at, "ports", &list);
	size_t i;

	json_array_foreach(list, i, item) {
		struct calico_at place;
		int64_t number;

		calico_item(at, "ports", i, item, &place);
		if (!json_is_object(item))
			return calico_wrong(&place, NULL, "an object");
		rc = calico_int(&place, "containerPort", 1, 65535, &number);
		if (rc <= 0)
			return rc < 0 ? rc : calico_wrong(&place, "containerPort", "a number of 1 to 65535");
	}
	*ret = (json_t *)list;
	return rc < 0 ? rc : 0;
}

struct pod_words {
	const char *namespace, *name, *node, *account;
	bool host;
	json_t *labels, *ports; /* borrowed; null: none */
};

static int read_pod(const struct calico_at *at, struct pod_words *ret)
{
	int rc = need_name(at, "namespace", &ret->namespace);

	if (rc >= 0)
		rc = need_name(at, "name", &ret->name);
	if (rc >= 0)
		rc = calico_text(at, "node", &ret->node);
	if (rc >= 0)
		rc = calico_text(at, "serviceAccount", &ret->account);
	if (rc >= 0)
		rc = calico_bool(at, "hostNetwork", &ret->host);
	if (rc >= 0)
		rc = check_labels(at, &ret->labels);
	return rc >= 0 ? check_ports(at, &ret->ports) : rc;
}

/* As the API has it, for the one parser that there is. */
static json_t *pod_object(const struct pod_words *pod, json_t *ips)
{
	const json_t *first = json_array_get(ips, 0);

	return json_pack("{s:s, s:s, s:o, s:{s:s*, s:s, s:b, s:[{s:s, s:O*}]}, s:{s:s, s:O*, s:O}}",
		"apiVersion", "v1", "kind", "Pod", "metadata", metadata(pod->namespace, pod->name, pod->labels),
		"spec", "nodeName", pod->node, "serviceAccountName", pod->account ? pod->account : "default",
		"hostNetwork", pod->host, "containers", "name", "c", "ports", pod->ports,
		"status", "phase", "Running", "podIP", json_object_get(first, "ip"), "podIPs", ips);
}

static int add_pod(struct policy_world *world, const struct calico_at *at)
{
	_cleanup_(json_cleanup) json_t *ips = json_array();
	struct addr first[FAMILY_COUNT] = {0};
	struct pod_words pod = {0};
	int rc = ips ? read_pod(at, &pod) : calico_no_memory(at);

	if (rc >= 0)
		rc = read_ips(at, ips, first);
	return rc < 0 ? rc : add_object(world, at, pod_object(&pod, ips));
}

/* Any kind; but what is none of policy's must not be taken for a policy that allows. */
static int add_policy(struct policy_world *world, const struct calico_at *at)
{
	const char *kind = json_string_value(json_object_get(at->json, "kind"));
	int rc = add_object(world, at, json_incref((json_t *)at->json));

	if (rc == 0 && strncmp(kind, "Staged", 6) != 0)
		return calico_wrong(at, "kind", "one of policy, with its apiVersion");
	return rc;
}

/* -- a step -- */

static int add_list(struct policy_world *world, const struct calico_at *at, const char *key, bool needed,
	int (*add)(struct policy_world *world, const struct calico_at *at))
{
	const json_t *list = NULL, *item;
	int rc = needed ? need_list(at, key, &list) : calico_list(at, key, &list);
	size_t i;

	json_array_foreach(list, i, item) {
		struct calico_at place;

		calico_item(at, key, i, item, &place);
		if (!json_is_object(item))
			return calico_wrong(&place, NULL, "an object");
		rc = add(world, &place);
		if (rc < 0)
			return rc;
	}
	return rc < 0 ? rc : 0;
}

static int read_world(const struct calico_at *at, struct policy_world *world)
{
	int rc = add_list(world, at, "namespaces", true, add_namespace);

	if (rc == 0)
		rc = add_list(world, at, "nodes", false, add_node);
	if (rc == 0)
		rc = add_list(world, at, "pods", true, add_pod);
	if (rc == 0)
		rc = add_list(world, at, "externals", false, add_external);
	if (rc == 0)
		rc = add_list(world, at, "policies", true, add_policy);
	if (rc < 0)
		return rc;
	rc = policy_world_finish(world, at->err);
	return rc < 0 ? err_wrap(at->err, "%s%s%s", at->who, at->path[0] ? ": " : "", at->path) : 0;
}

/* -- probes -- */

int netpol_protocol_parse(const char *text, uint8_t *ret)
{
	static const struct {
		const char *name;
		uint8_t number;
	} known[] = {{"TCP", IPPROTO_TCP}, {"UDP", IPPROTO_UDP}, {"SCTP", IPPROTO_SCTP}, {"UDPLite", IPPROTO_UDPLITE},
		{"ICMP", IPPROTO_ICMP}, {"ICMPv6", IPPROTO_ICMPV6}};
	unsigned number = 0;

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (strcmp(text, known[i].name) == 0) {
			*ret = known[i].number;
			return 0;
		}
	if (!*text || strlen(text) > 3 || strspn(text, "0123456789") != strlen(text))
		return -EINVAL;
	for (; *text; text++)
		number = 10 * number + (unsigned)(*text - '0');
	if (number == 0 || number > 255)
		return -EINVAL;
	*ret = (uint8_t)number;
	return 0;
}

static int read_protocol(const struct calico_at *at, uint8_t *ret)
{
	static const char expected[] = "TCP, UDP, SCTP, UDPLite, ICMP, ICMPv6 or a number of 1 to 255";
	const json_t *value = json_object_get(at->json, "protocol");
	int64_t number = json_integer_value(value);

	if (json_is_string(value) && netpol_protocol_parse(json_string_value(value), ret) == 0)
		return 0;
	if (!json_is_integer(value) || number < 1 || number > 255)
		return calico_wrong(at, "protocol", expected);
	*ret = (uint8_t)number;
	return 0;
}

static int read_ports(const struct calico_at *at, struct netpol_probe *probe)
{
	int64_t port = 0, source = NETPOL_SOURCE_PORT, type = 8, code = 0;
	int rc = calico_int(at, "port", 0, 65535, &port);

	if (rc == 0 && (probe->protocol == IPPROTO_TCP || probe->protocol == IPPROTO_UDP || probe->protocol == IPPROTO_SCTP))
		return calico_wrong(at, "port", "a number of 0 to 65535");
	if (rc >= 0)
		rc = calico_int(at, "source_port", 0, 65535, &source);
	if (rc >= 0)
		rc = calico_int(at, "type", 0, 255, &type);
	if (rc >= 0)
		rc = calico_int(at, "code", 0, 255, &code);
	if (rc < 0)
		return rc;
	if (probe->protocol == IPPROTO_ICMP || probe->protocol == IPPROTO_ICMPV6) {
		port = type << 8 | code;
		source = 0;
	}
	probe->dport = (uint16_t)port;
	probe->sport = (uint16_t)source;
	return 0;
}

static int read_end(const struct policy_world *world, const struct calico_at *at, const char *key, const struct policy_end **ret)
{
	static const char expected[] = "\"namespace/pod\", \"external:NAME\" or \"node:NAME\" of this world";
	const char *name;
	int rc = need_text(at, key, expected, &name);

	if (rc < 0)
		return rc;
	*ret = policy_world_end(world, name);
	return *ret ? 0 : calico_wrong(at, key, expected);
}

static int read_addresses(const struct calico_at *at, struct netpol_probe *probe)
{
	int rc = calico_addr(at, "from_ip", &probe->src);

	if (rc <= 0)
		return rc < 0 ? rc : calico_wrong(at, "from_ip", "an IPv4 or IPv6 address");
	rc = calico_addr(at, "to_ip", &probe->dst);
	if (rc <= 0)
		return rc < 0 ? rc : calico_wrong(at, "to_ip", "an IPv4 or IPv6 address");
	if (addr_family(&probe->src) != addr_family(&probe->dst))
		return calico_wrong(at, "to_ip", "an address of from_ip's family");
	return 0;
}

static int read_expected(const struct calico_at *at, struct netpol_probe *probe)
{
	static const char *const words[] = {"allow", "deny", NULL};

	for (int side = 0; side < NETPOL_SIDE_COUNT; side++) {
		int word, rc = calico_choice(at, netpol_side_names[side], words, &word);

		if (rc < 0)
			return rc;
		probe->expected[side] = rc == 0 ? NETPOL_UNSAID : word == 0 ? NETPOL_ALLOW : NETPOL_DENY;
	}
	return 0;
}

void netpol_probe_exempt(const struct policy_world *world, struct netpol_probe *probe)
{
	probe->exempt = probe->from == probe->to ||
			(probe->from->endpoint && policy_world_node_has(world, probe->from->node, &probe->dst)) ||
			(probe->to->endpoint && policy_world_node_has(world, probe->to->node, &probe->src));
}

static int read_probe(const struct policy_world *world, const struct calico_at *at, struct netpol_probe *probe)
{
	int rc = calico_int(at, "id", INT64_MIN, INT64_MAX, &probe->id);

	if (rc <= 0)
		return rc < 0 ? rc : calico_wrong(at, "id", "a number");
	rc = read_end(world, at, "from", &probe->from);
	if (rc == 0)
		rc = read_end(world, at, "to", &probe->to);
	if (rc == 0)
		rc = read_addresses(at, probe);
	if (rc == 0)
		rc = read_protocol(at, &probe->protocol);
	if (rc == 0)
		rc = read_ports(at, probe);
	if (rc == 0)
		rc = read_expected(at, probe);
	if (rc == 0)
		netpol_probe_exempt(world, probe);
	return rc;
}

static int read_probes(const struct calico_at *at, struct netpol_step *step)
{
	const json_t *list = NULL, *item;
	int rc = need_list(at, "probes", &list);
	size_t i;

	if (rc < 0)
		return rc;
	step->probes = calloc(json_array_size(list) + 1, sizeof(*step->probes));
	if (!step->probes)
		return calico_no_memory(at);
	json_array_foreach(list, i, item) {
		struct calico_at place;

		calico_item(at, "probes", i, item, &place);
		if (!json_is_object(item))
			return calico_wrong(&place, NULL, "an object");
		rc = read_probe(step->world, &place, &step->probes[i]);
		if (rc < 0)
			return rc;
	}
	step->probe_count = json_array_size(list);
	return 0;
}

void netpol_step_free(struct netpol_step **at)
{
	if (!*at)
		return;
	policy_world_free(&(*at)->world);
	free((*at)->probes);
	free(*at);
	*at = NULL;
}

/* Where the world of a step is, and where its probes are. */
static int find_step(const struct netpol_case *file, struct calico_at *world, struct calico_at *probes, size_t number)
{
	int rc;

	*probes = *world;
	if (!file->steps)
		return 0;
	calico_item(world, "steps", number, json_array_get(file->steps, number), probes);
	if (!json_is_object(probes->json))
		return calico_wrong(probes, NULL, "an object");
	rc = calico_enter(probes, "state", world);
	return rc == 0 ? calico_wrong(probes, "state", "an object") : rc < 0 ? rc : 0;
}

int netpol_case_step(const struct netpol_case *file, size_t number, struct endpoint_pool *pool,
	const struct calico_remarks *remarks, struct netpol_step **ret, struct err *err)
{
	_cleanup_(netpol_step_free) struct netpol_step *step = calloc(1, sizeof(*step));
	struct calico_at world, probes;
	int rc;

	begin(file, remarks, err, &world);
	if (!step || policy_world_new(pool, &step->world) < 0)
		return calico_no_memory(&world);
	step->number = number;
	rc = find_step(file, &world, &probes, number);
	if (rc == 0)
		rc = read_world(&world, step->world);
	if (rc == 0)
		rc = read_probes(&probes, step);
	if (rc == 0)
		*ret = TAKE_PTR(step);
	return rc;
}
