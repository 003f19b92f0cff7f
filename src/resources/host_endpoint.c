/* SPDX-License-Identifier: Apache-2.0
 *
 * HostEndpoint (reference/calico.md 2.10, 7.10).
 */
#include "resources/policy.h"

#include "base/cleanup.h"
#include "resources/read.h"

#include <net/if.h>
#include <stdio.h>
#include <string.h>

#define PORTS_MAX 4096

/* -- where it is -- */

static int read_node(const struct calico_at *spec, struct host_endpoint *host)
{
	const char *node = "";
	int rc = calico_text(spec, "node", &node);

	if (rc >= 0 && !calico_name_is_sane(node))
		rc = calico_wrong(spec, "node", "the name of a Node");
	if (rc < 0)
		return rc;
	host->node = strdup(node);
	return host->node ? 0 : calico_no_memory(spec);
}

static int read_interface(const struct calico_at *spec, struct host_endpoint *host)
{
	int rc = calico_copy(spec, "interfaceName", &host->interface);

	if (rc == 1 && strcmp(host->interface, HOST_ENDPOINT_ALL) != 0 &&
		(strlen(host->interface) >= IFNAMSIZ || strpbrk(host->interface, "/* \t\n")))
		return calico_wrong(spec, "interfaceName", "\"*\" or the name of an interface");
	return rc < 0 ? rc : 0;
}

static int by_addr(const void *a, const void *b)
{
	return addr_compare(a, b);
}

static void sort_addrs(struct host_endpoint *host)
{
	size_t kept = 0;

	if (host->addr_count)
		qsort(host->addrs, host->addr_count, sizeof(*host->addrs), by_addr);
	for (size_t i = 0; i < host->addr_count; i++)
		if (!kept || !addr_equal(&host->addrs[kept - 1], &host->addrs[i]))
			host->addrs[kept++] = host->addrs[i];
	host->addr_count = kept;
}

static int read_addrs(const struct calico_at *spec, struct host_endpoint *host)
{
	const json_t *list = NULL, *item;
	int rc = calico_list(spec, "expectedIPs", &list);
	size_t i;

	if (rc < 0)
		return rc;
	host->addrs = calloc(json_array_size(list) + 1, sizeof(*host->addrs));
	if (!host->addrs)
		return calico_no_memory(spec);
	json_array_foreach(list, i, item) {
		struct calico_at place;

		calico_item(spec, "expectedIPs", i, item, &place);
		rc = calico_addr(&place, NULL, &host->addrs[host->addr_count]);
		if (rc <= 0)
			return rc < 0 ? rc : calico_wrong(&place, NULL, "an address such as 192.0.2.1 or 2001:db8::1");
		host->addr_count++;
	}
	sort_addrs(host);
	if (!host->addr_count && !host->interface)
		return calico_wrong(spec, "expectedIPs", "an address, where interfaceName is not said");
	return 0;
}

/* -- profiles -- */

/* Of those that Calico has in a cluster of Kubernetes; any other is one that nobody made, and denies (7.5). */
static int read_profiles(const struct calico_at *spec, struct host_endpoint *host)
{
	const json_t *list = NULL, *item;
	int rc = calico_list(spec, "profiles", &list);
	size_t i;

	json_array_foreach(list, i, item) {
		const char *name = json_string_value(item);
		struct calico_at place;

		calico_item(spec, "profiles", i, item, &place);
		if (!name)
			return calico_wrong(&place, NULL, "the name of a profile");
		if (strncmp(name, "ksa.", 4) == 0) /* of no rules */
			continue;
		host->open = strcmp(name, "projectcalico-default-allow") == 0 || strncmp(name, "kns.", 4) == 0;
		if (host->open)
			return 0;
		calico_remark(&place, "%s is no profile that is known here; it denies", place.path);
		if (asprintf(&host->trouble, "%s: the value is \"%s\", no profile that is known here: what no policy decides is denied",
			place.path, name) < 0)
			host->trouble = NULL;
		return host->trouble ? 0 : calico_no_memory(&place);
	}
	return rc < 0 ? rc : 0;
}

/* -- ports -- */

static int read_port(const struct calico_at *at, struct endpoint_port *ret)
{
	static const char *const names[] = {"TCP", "UDP", "SCTP", "UDPLite", NULL};
	static const uint8_t numbers[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP, IPPROTO_UDPLITE};
	int64_t port = 0, number = 0;
	int choice = 0, rc = calico_copy(at, "name", (char **)&ret->name);

	if (rc == 0)
		rc = calico_wrong(at, "name", "a name");
	if (rc > 0 && json_is_integer(json_object_get(at->json, "protocol")))
		rc = calico_int(at, "protocol", 1, 255, &number);
	else if (rc > 0)
		rc = calico_choice_any_case(at, "protocol", names, &choice);
	if (rc == 0)
		rc = calico_wrong(at, "protocol", "TCP, UDP, SCTP, UDPLite or a number of 1 to 255");
	if (rc > 0)
		rc = calico_int(at, "port", 1, UINT16_MAX, &port);
	if (rc == 0)
		rc = calico_wrong(at, "port", "a number of 1 to 65535");
	ret->protocol = number ? (uint8_t)number : numbers[choice];
	ret->port = (uint16_t)port;
	return rc < 0 ? rc : 0;
}

static int read_ports(const struct calico_at *spec, struct host_endpoint *host)
{
	const json_t *list = NULL, *item;
	int rc = calico_list(spec, "ports", &list);
	size_t i;

	if (rc < 0)
		return rc;
	if (json_array_size(list) > PORTS_MAX)
		return calico_wrong(spec, "ports", "at most %d of them", PORTS_MAX);
	host->ports = calloc(json_array_size(list) + 1, sizeof(*host->ports));
	if (!host->ports)
		return calico_no_memory(spec);
	json_array_foreach(list, i, item) {
		struct calico_at place;

		calico_item(spec, "ports", i, item, &place);
		if (!json_is_object(item))
			return calico_wrong(&place, NULL, "an object");
		rc = read_port(&place, &host->ports[host->port_count++]);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* -- the whole -- */

int host_endpoint_parse(const json_t *object, const struct calico_remarks *remarks, struct host_endpoint **ret, struct err *err)
{
	static const char *const members[] = {"node", "interfaceName", "expectedIPs", "profiles", "ports", NULL};
	int (*const steps[])(const struct calico_at *, struct host_endpoint *) = {
		read_node, read_interface, read_addrs, read_profiles, read_ports,
	};
	_cleanup_(host_endpoint_free) struct host_endpoint *host = calloc(1, sizeof(*host));
	struct calico_at spec;
	int rc = calico_begin(object, "HostEndpoint", remarks, err, &spec);

	if (rc < 0)
		return rc;
	if (host) {
		host->name = strdup(calico_name(object));
		host->labels = labels_new();
	}
	if (!host || !host->name || !host->labels || calico_labels(object, host->labels) < 0)
		return calico_no_memory(&spec);
	for (size_t i = 0; i < ARRAY_SIZE(steps) && rc >= 0; i++)
		rc = steps[i](&spec, host);
	if (rc < 0)
		return rc;
	calico_remark_unknown(&spec, members);
	*ret = TAKE_PTR(host);
	return 0;
}
