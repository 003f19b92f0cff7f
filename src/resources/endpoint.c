/* SPDX-License-Identifier: Apache-2.0
 *
 * Pods as policy sees them (reference/calico.md 4.6), and the labels that they inherit.
 */
#include "resources/policy.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "resources/read.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ANNOTATION "cni.projectcalico.org/"
#define NAME_LABEL "kubernetes.io/metadata.name"
#define PORTS_MAX 4096   /* of a pod, in all its containers */
#define SOURCES_MAX 1024 /* prefixes that a pod may claim */

struct reader {
	struct calico_at at; /* the whole Pod */
	struct endpoint_parts parts;
	struct endpoint_port *ports;
	struct prefix *sources;
};

static const json_t *member(const json_t *object, const char *part, const char *key)
{
	return json_object_get(json_object_get(object, part), key);
}

static const char *text_of(const json_t *object, const char *part, const char *key)
{
	const char *text = json_string_value(member(object, part, key));

	return text ? text : "";
}

/* -- addresses -- */

/* With "/32" or without; the first of a family counts. Returns whether it is one. */
static bool take_address(struct reader *r, const char *text)
{
	struct prefix prefix;
	struct addr addr;

	if (addr_parse(text, &addr) == 0)
		prefix = prefix_host(&addr);
	else if (prefix_parse(text, &prefix) < 0 || prefix.len != prefix_max_len(&prefix) || !addr_is_set(&prefix.addr))
		return false;
	if (!addr_is_set(&r->parts.addr[family_index(prefix.family)]))
		r->parts.addr[family_index(prefix.family)] = prefix.addr;
	return true;
}

static bool has_address(const struct reader *r)
{
	return addr_is_set(&r->parts.addr[FAMILY_4]) || addr_is_set(&r->parts.addr[FAMILY_6]);
}

static void take_or_remark(struct reader *r, const char *field, const char *text)
{
	if (*text && !take_address(r, text))
		calico_remark(&r->at, "%s is no address; ignored", field);
}

static void take_annotation(struct reader *r, const char *key)
{
	const char *text = calico_annotation(r->at.json, key);
	_cleanup_free_ char *copy = strdup(text ? text : "");

	for (char *save, *word = copy ? strtok_r(copy, ", ", &save) : NULL; word; word = strtok_r(NULL, ", ", &save))
		take_or_remark(r, key, word);
}

/* A pod whose network was taken down has an annotation that is empty. */
static bool has_ended(const json_t *pod)
{
	static const char *const phases[] = {"Succeeded", "Failed", "Completed"};
	const char *phase = text_of(pod, "status", "phase"), *given = calico_annotation(pod, ANNOTATION "podIP");

	for (size_t i = 0; i < ARRAY_SIZE(phases); i++)
		if (strcmp(phase, phases[i]) == 0)
			return true;
	return *text_of(pod, "metadata", "deletionTimestamp") && given && !*given;
}

static void read_addresses(struct reader *r)
{
	const json_t *item;
	size_t i;

	if (has_ended(r->at.json) || r->parts.host_network)
		return;
	json_array_foreach(member(r->at.json, "status", "podIPs"), i, item) {
		const char *text = json_string_value(json_object_get(item, "ip"));

		take_or_remark(r, "status.podIPs", text ? text : "");
	}
	if (!has_address(r))
		take_or_remark(r, "status.podIP", text_of(r->at.json, "status", "podIP"));
	if (!has_address(r))
		take_annotation(r, ANNOTATION "podIPs");
	if (!has_address(r))
		take_annotation(r, ANNOTATION "podIP");
}

/* -- ports -- */

/* One that cannot be understood has no name: nobody's policy means it. */
static void take_port(struct reader *r, const json_t *port)
{
	static const struct {
		const char *name;
		uint8_t number;
	} protocols[] = {{"TCP", IPPROTO_TCP}, {"UDP", IPPROTO_UDP}, {"SCTP", IPPROTO_SCTP}};
	const char *name = json_string_value(json_object_get(port, "name"));
	const char *protocol = json_string_value(json_object_get(port, "protocol"));
	json_int_t number = json_integer_value(json_object_get(port, "containerPort"));

	if (!name || !*name || number < 1 || number > UINT16_MAX)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++)
		if (strcmp(protocol && *protocol ? protocol : "TCP", protocols[i].name) == 0)
			r->ports[r->parts.port_count++] =
				(struct endpoint_port){name, protocols[i].number, (uint16_t)number};
}

static int read_ports(struct reader *r)
{
	static const char *const lists[] = {"containers", "initContainers"};
	const json_t *container, *port;
	size_t count = 0, i, j;

	for (size_t l = 0; l < ARRAY_SIZE(lists); l++)
		json_array_foreach(member(r->at.json, "spec", lists[l]), i, container)
			count += json_array_size(json_object_get(container, "ports"));
	r->ports = calloc(count + 1, sizeof(*r->ports));
	if (!r->ports)
		return calico_no_memory(&r->at);
	for (size_t l = 0; l < ARRAY_SIZE(lists); l++)
		json_array_foreach(member(r->at.json, "spec", lists[l]), i, container)
			json_array_foreach(json_object_get(container, "ports"), j, port)
				take_port(r, port);
	if (r->parts.port_count > PORTS_MAX) {
		calico_remark(&r->at, "%zu named ports, expected at most %d; none of them counts", r->parts.port_count, PORTS_MAX);
		r->parts.port_count = 0;
	}
	r->parts.ports = r->ports;
	return 0;
}

/* -- addresses that it may claim -- */

static bool parse_sources(struct reader *r, const json_t *list)
{
	const json_t *item;
	size_t i;

	json_array_foreach(list, i, item) {
		const char *text = json_string_value(item);
		struct prefix prefix;

		if (!text || prefix_parse(text, &prefix) < 0)
			return false;
		r->sources[i] = prefix_masked(&prefix);
	}
	return true;
}

static int read_sources(struct reader *r)
{
	static const char key[] = ANNOTATION "allowedSourcePrefixes";
	const char *text = calico_annotation(r->at.json, key);
	_cleanup_(json_cleanup) json_t *list = text && *text ? json_loads(text, 0, NULL) : NULL;
	size_t count = json_array_size(list);

	if (!text || !*text)
		return 0;
	r->sources = calloc(count + 1, sizeof(*r->sources));
	if (!r->sources)
		return calico_no_memory(&r->at);
	if (!json_is_array(list) || count > SOURCES_MAX || !parse_sources(r, list)) {
		calico_remark(&r->at, "annotation %s is no JSON list of at most %d CIDRs; ignored", key, SOURCES_MAX);
		return 0;
	}
	r->parts.allowed_sources = r->sources;
	r->parts.allowed_source_count = count;
	return 0;
}

/* -- the whole -- */

static const char *name_or(const char *name, const char *otherwise)
{
	return *name && calico_name_is_sane(name) ? name : otherwise;
}

static void reader_done(struct reader *r)
{
	free(r->ports);
	free(r->sources);
}

int endpoint_parse(const json_t *object, struct endpoint_pool *pool, const struct calico_remarks *remarks,
	struct endpoint **ret, struct err *err)
{
	_cleanup_(labels_free) struct labels *labels = labels_new();
	_cleanup_(reader_done) struct reader r = {.ports = NULL};
	struct endpoint *endpoint;
	int rc = calico_begin_namespaced(object, "Pod", remarks, err, &r.at);

	if (rc < 0)
		return rc;
	if (!labels || calico_labels(object, labels) < 0)
		return calico_no_memory(&r.at);
	r.parts.namespace = calico_namespace(object);
	r.parts.name = calico_name(object);
	r.parts.labels = labels;
	r.parts.node = name_or(text_of(object, "spec", "nodeName"), "");
	r.parts.service_account = name_or(text_of(object, "spec", "serviceAccountName"), "default");
	r.parts.host_network = json_is_true(member(object, "spec", "hostNetwork"));
	read_addresses(&r);
	rc = read_ports(&r);
	if (rc == 0)
		rc = read_sources(&r);
	if (rc < 0)
		return rc;
	endpoint = endpoint_new(pool, &r.parts);
	if (!endpoint)
		return calico_no_memory(&r.at);
	*ret = endpoint;
	return 0;
}

int namespace_labels_parse(const json_t *object, struct labels **ret, struct err *err)
{
	_cleanup_(labels_free) struct labels *labels = labels_new();
	struct calico_at at;
	int rc = calico_begin_object(object, "Namespace", NULL, err, &at);

	if (rc < 0)
		return rc;
	if (!labels || calico_labels(object, labels) < 0 || labels_set(labels, NAME_LABEL, calico_name(object)) < 0)
		return calico_no_memory(&at);
	*ret = TAKE_PTR(labels);
	return 0;
}

int service_account_labels_parse(const json_t *object, struct labels **ret, struct err *err)
{
	_cleanup_(labels_free) struct labels *labels = labels_new();
	struct calico_at at;
	int rc = calico_begin_namespaced(object, "ServiceAccount", NULL, err, &at);

	if (rc < 0)
		return rc;
	if (!labels || calico_labels(object, labels) < 0)
		return calico_no_memory(&at);
	*ret = TAKE_PTR(labels);
	return 0;
}
