/* SPDX-License-Identifier: Apache-2.0
 *
 * The verbs that show what the agent knows.
 */
#include "ctl/ctl.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "ctl/client.h"
#include "ctl/table.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static int no_arguments(const struct ctl *ctl, const char *verb)
{
	return ctl->argc ? ctl_fail(CTL_USAGE, "%s takes no argument, got \"%s\"", verb, ctl->argv[0]) : CTL_OK;
}

/* "A" or "A, B" of two fields that may be null. */
static const char *both(const json_t *object, const char *key4, const char *key6, char *text, size_t size)
{
	const char *a = text_of(object, key4);
	const char *b = text_of(object, key6);

	snprintf(text, size, "%s%s%s", a, a[0] && b[0] ? ", " : "", b);
	return text;
}

static const char *when(const json_t *expires, char *text, size_t size)
{
	time_t at = (time_t)json_integer_value(expires);
	struct tm tm;

	if (!json_is_integer(expires))
		return "never";
	gmtime_r(&at, &tm);
	strftime(text, size, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return text;
}

/* Free addresses of an IPv6 block are more than a number can say. */
static const char *count_of(const json_t *block, const char *key, char *text, size_t size)
{
	long long n = json_integer_value(json_object_get(block, key));

	if (n >= 1000000000000000LL)
		return "over 10^15";
	snprintf(text, size, "%lld", n);
	return text;
}

static void print_blocks(const json_t *blocks)
{
	size_t i;
	const json_t *block;

	json_array_foreach(blocks, i, block) {
		char numbers[3][24];

		printf("Block:      %s: %s used, %s resting, %s free\n", text_of(block, "block"),
			count_of(block, "used", numbers[0], sizeof(numbers[0])),
			count_of(block, "resting", numbers[1], sizeof(numbers[1])),
			count_of(block, "free", numbers[2], sizeof(numbers[2])));
	}
}

static void print_network(const json_t *json)
{
	const json_t *lease = json_object_get(json, "lease");
	char text[128];

	printf("Network:    %s\n", both(json, "network", "ipv6Network", text, sizeof(text)));
	printf("Backend:    %s, pod MTU %lld\n", text_of(json, "backend"),
		json_integer_value(json_object_get(json, "podMTU")));
	printf("Lease:      %s", both(lease, "subnet", "ipv6Subnet", text, sizeof(text)));
	printf(", expires %s\n", when(json_object_get(lease, "expires"), text, sizeof(text)));
	print_blocks(json_object_get(json, "blocks"));
	printf("Peers:      %lld\n", json_integer_value(json_object_get(json, "peers")));
}

/* Where the store speaks Calico. */
static void print_pools(const json_t *calico)
{
	const json_t *pool, *block, *addr;
	const char *name;
	size_t i;

	json_array_foreach(json_object_get(calico, "pools"), i, pool)
		printf("Pool:       %s, %s, encapsulation %s%s%s\n", text_of(pool, "name"), text_of(pool, "cidr"),
			text_of(pool, "encapsulation"), json_is_true(json_object_get(pool, "natOutgoing")) ? ", NAT outgoing" : "",
			json_is_true(json_object_get(pool, "disabled")) ? ", disabled" : "");
	json_array_foreach(json_object_get(calico, "ownBlocks"), i, block)
		printf("Block:      %s\n", json_string_value(block));
	json_object_foreach(json_object_get((json_t *)calico, "tunnels"), name, addr)
		printf("Tunnel:     %s, %s\n", name, json_string_value(addr));
	printf("Pod MTU:    %lld\n", json_integer_value(json_object_get(calico, "podMTU")));
	printf("Cluster:    %lld nodes, %lld blocks\n", json_integer_value(json_object_get(calico, "nodes")),
		json_integer_value(json_object_get(calico, "blocks")));
}

/* Of packets of tunnels that came in. */
static void print_guard(json_t *counts)
{
	const char *reason, *between = "";
	long long dropped = 0;
	json_t *count;

	json_object_foreach(counts, reason, count)
		if (strcmp(reason, "accepted") != 0)
			dropped += json_integer_value(count);
	if (!json_object_size(counts))
		return;
	printf("Guard:      %lld packets of tunnels accepted, %lld dropped%s", json_integer_value(json_object_get(counts, "accepted")),
		dropped, dropped ? " (" : "\n");
	json_object_foreach(counts, reason, count)
		if (strcmp(reason, "accepted") != 0 && json_integer_value(count)) {
			printf("%s%s %lld", between, reason, (long long)json_integer_value(count));
			between = ", ";
		}
	if (dropped)
		puts(")");
}

static void print_policy(const json_t *policy)
{
	const char *state = text_of(policy, "state"), *why = text_of(policy, "why"), *reason, *between = " (";
	json_t *packets = json_object_get(policy, "packets"), *count;
	long long dropped = 0;

	if (strcmp(state, "on") != 0) {
		printf("Policy:     %s%s%s\n", state, *why ? ": " : "", why);
		return;
	}
	printf("Policy:     on, %lld policies, of which %lld apply here; %lld pods known\n",
		json_integer_value(json_object_get(policy, "policies")), json_integer_value(json_object_get(policy, "applied")),
		json_integer_value(json_object_get(policy, "endpoints")));
	json_object_foreach(packets, reason, count)
		if (strcmp(reason, "allowed") != 0)
			dropped += json_integer_value(count);
	printf("Dropped:    %lld packets of pods", dropped);
	json_object_foreach(packets, reason, count)
		if (strcmp(reason, "allowed") != 0 && json_integer_value(count)) {
			printf("%s%s %lld", between, reason, (long long)json_integer_value(count));
			between = ", ";
		}
	puts(dropped ? ")" : "");
}

static int print_status(const json_t *json)
{
	const json_t *uplink = json_object_get(json, "uplink");
	const json_t *calico = json_object_get(json, "calico");
	json_t *problems = json_object_get(json, "problems");
	bool ready = json_is_true(json_object_get(json, "ready"));
	bool read = json_is_true(json_is_object(calico) ? json_object_get(calico, "synced") : json_object_get(json, "peersSynced"));
	const char *object;
	json_t *problem;
	char text[128];

	printf("Node:       %s (tulled %s)\n", text_of(json, "node"), text_of(json, "version"));
	printf("Ready:      %s%s%s\n", ready ? "yes" : "no", ready ? "" : ": ", text_of(json, "notReady"));
	printf("Store:      %s%s\n", text_of(json, "store"), read ? "" : " (not yet read)");
	printf("Uplink:     %s, %s\n", text_of(uplink, "interface"), both(uplink, "ip", "ipv6", text, sizeof(text)));
	printf("Published:  %s\n", both(uplink, "publicIP", "publicIPv6", text, sizeof(text)));
	if (json_is_object(calico))
		print_pools(calico);
	else
		print_network(json);
	printf("Pods:       %lld\n", json_integer_value(json_object_get(json, "pods")));
	print_guard(json_object_get(json, "guard"));
	if (json_object_get(json, "policy"))
		print_policy(json_object_get(json, "policy"));
	if (text_of(json, "forwardNote")[0])
		printf("Forward:    %s\n", text_of(json, "forwardNote"));
	json_object_foreach(problems, object, problem)
		printf("Problem:    %s: %s\n", object, json_string_value(problem));
	return ready && json_object_size(problems) == 0 ? CTL_OK : CTL_FAILED;
}

/* A row for each object of the list. */
static int print_table(const char *const *headings, const json_t *list,
	void (*row)(struct text_table *table, const json_t *object))
{
	struct text_table *table = text_table_new(headings);
	size_t i;
	const json_t *object;

	if (!table)
		return CTL_FAILED;
	json_array_foreach(list, i, object)
		row(table, object);
	text_table_print(table);
	text_table_free(table);
	return CTL_OK;
}

static void lease_row(struct text_table *table, const json_t *lease)
{
	char subnet[128], ip[128], mac[64], expires[64];
	const char *problem = text_of(lease, "problem");
	const char *cells[] = {both(lease, "subnet", "ipv6Subnet", subnet, sizeof(subnet)),
		both(lease, "publicIP", "publicIPv6", ip, sizeof(ip)), text_of(lease, "backend"),
		both(lease, "vtepMAC", "vtepMACv6", mac, sizeof(mac)),
		when(json_object_get(lease, "expires"), expires, sizeof(expires)),
		problem[0] ? problem : json_is_true(json_object_get(lease, "own")) ? "this node" : ""};

	text_table_row(table, cells);
}

static int print_leases(const json_t *json)
{
	static const char *const headings[] = {"SUBNET", "PUBLIC IP", "BACKEND", "VTEP MAC", "EXPIRES", "NOTE", NULL};

	return print_table(headings, json_object_get(json, "leases"), lease_row);
}

static void pod_row(struct text_table *table, const json_t *pod)
{
	char id[16], ip[128], mtu[16];
	const char *cells[] = {id, text_of(pod, "network"), text_of(pod, "ifname"), text_of(pod, "hostInterface"),
		both(pod, "ip", "ipv6", ip, sizeof(ip)), mtu};

	snprintf(id, sizeof(id), "%.13s", text_of(pod, "containerID"));
	snprintf(mtu, sizeof(mtu), "%lld", json_integer_value(json_object_get(pod, "mtu")));
	text_table_row(table, cells);
}

static int print_pods(const json_t *json)
{
	static const char *const headings[] = {"CONTAINER", "NETWORK", "IFNAME", "HOST INTERFACE", "IP", "MTU", NULL};

	return print_table(headings, json_object_get(json, "pods"), pod_row);
}

int ctl_status(const struct ctl *ctl)
{
	return no_arguments(ctl, "status") ? CTL_USAGE : client_show(ctl, "/v1/status", print_status);
}

int ctl_leases(const struct ctl *ctl)
{
	return no_arguments(ctl, "leases") ? CTL_USAGE : client_show(ctl, "/v1/leases", print_leases);
}

int ctl_pods(const struct ctl *ctl)
{
	return no_arguments(ctl, "pods") ? CTL_USAGE : client_show(ctl, "/v1/pods", print_pods);
}

int ctl_metrics(const struct ctl *ctl)
{
	_cleanup_free_ char *text = NULL;
	struct err err = ERR_INIT;

	if (no_arguments(ctl, "metrics"))
		return CTL_USAGE;
	if (client_get_text(ctl->socket_path, "/metrics", &text, &err) < 0)
		return ctl_fail(CTL_FAILED, "%s", err_text(&err));
	fputs(text, stdout);
	return CTL_OK;
}
