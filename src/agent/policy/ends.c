/* SPDX-License-Identifier: Apache-2.0
 *
 * Who is meant by a word of a question about a flow: a pod, a node or an address.
 */
#include "agent/policy/internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *own_name(const struct policer *policer)
{
	return policer->agent->options.node_name;
}

static const struct local_pod *find_local(const struct policer *policer, const char *namespace, const char *name)
{
	for (const struct local_pod *local = policer->pods; local; local = local->hh.next)
		if (strcmp(local->namespace, namespace) == 0 && strcmp(local->name, name) == 0)
			return local;
	return NULL;
}

static void set_node(const struct policer *policer, const char *node, struct flow_end *ret)
{
	ret->node = node && *node ? node : NULL;
	ret->here = ret->node && strcmp(node, own_name(policer)) == 0;
}

/* A pod of the node's network is its node, for every policy. */
static void set_endpoint(const struct policer *policer, const struct endpoint *endpoint, struct flow_end *ret)
{
	const struct local_pod *local = find_local(policer, endpoint->namespace, endpoint->name);

	ret->who = endpoint->host_network ? (struct who){.kind = "node", .name = endpoint->node}
					  : (struct who){.kind = "pod", .namespace = endpoint->namespace, .name = endpoint->name};
	memcpy(ret->addr, local ? local->pod.addr : endpoint->addr, sizeof(ret->addr));
	set_node(policer, local ? own_name(policer) : endpoint->node, ret);
	ret->interface = local ? local->host_ifname : NULL;
}

static int find_pod(struct policer *policer, const char *word, struct flow_end *ret, struct err *err)
{
	const struct endpoint *endpoint = world_find(policer, WORLD_LOCAL_PODS, word);
	_cleanup_(buf_free) struct buf near = BUF_INIT(4096);

	if (!endpoint)
		endpoint = world_find(policer, WORLD_PODS, word);
	for (const struct local_pod *local = policer->pods; local && !endpoint; local = local->hh.next)
		if (local->made && snprintf(ret->text, sizeof(ret->text), "%s/%s", local->namespace, local->name) > 0 &&
			strcmp(ret->text, word) == 0)
			endpoint = local->made;
	if (endpoint) {
		set_endpoint(policer, endpoint, ret);
		return 0;
	}
	near_names(policer, word, &near);
	return err_set(err, -ENOENT, "\"%s\": this agent knows no such pod%s%s%s", word, near.len ? "; near it are " : "", buf_text(&near),
		policer->needs.pods ? "" : ". No policy asks for pods of other nodes, so it knows those of its own only: give the address "
					   "of another one");
}

/* -- nodes: also those that policy does not follow as long as there is none -- */

static bool lease_holds(const struct lease *lease, const struct addr *addr)
{
	const struct prefix *subnet = &lease->subnet[family_index(addr_family(addr))];

	return prefix_is_set(subnet) && prefix_contains(subnet, addr);
}

/* By name, where leases have those; else by the address that it publishes. */
static const char *name_peer(const struct policer *policer, const struct lease *lease, char text[static ADDR_TEXT_MAX])
{
	const struct addr *addr = &lease->public_ip[addr_is_set(&lease->public_ip[FAMILY_4]) ? FAMILY_4 : FAMILY_6];

	return policer->kubernetes || !addr_is_set(addr) ? lease->key : addr_format(addr, text);
}

/* Whose pods have such an address; null: nobody knows. */
static const char *find_holder(const struct policer *policer, const struct addr *addr, char text[static ADDR_TEXT_MAX])
{
	const struct agent *agent = policer->agent;
	_cleanup_free_ const struct lease **peers = NULL;

	if (agent->calico)
		return calico_holder(agent->calico, addr);
	if (agent->have_own && lease_holds(&agent->own, addr))
		return own_name(policer);
	peers = peers_list(agent->peers);
	for (size_t i = 0; peers && i < peers_count(agent->peers); i++)
		if (lease_holds(peers[i], addr))
			return name_peer(policer, peers[i], text);
	return NULL;
}

static void find_peer(const struct policer *policer, const char *name, struct addr ret[static FAMILY_COUNT])
{
	const struct agent *agent = policer->agent;
	_cleanup_free_ const struct lease **peers = agent->calico ? NULL : peers_list(agent->peers);

	if (agent->calico)
		calico_node_addrs(agent->calico, name, ret);
	for (size_t i = 0; peers && i < peers_count(agent->peers); i++)
		if (strcmp(peers[i]->key, name) == 0)
			memcpy(ret, peers[i]->public_ip, sizeof(peers[i]->public_ip));
}

bool ends_find_node(const struct policer *policer, const char *name, struct flow_end *ret)
{
	const struct known_node *node = world_find(policer, WORLD_NODES, name);
	const struct lease_node *lease;
	struct addr addr;

	HASH_FIND_STR(policer->leases, name, lease);
	for (size_t i = policer->own_count; i-- > 0;)
		if (strcmp(name, own_name(policer)) == 0)
			ret->addr[family_index(addr_family(&policer->own[i]))] = policer->own[i];
	for (int f = 0; f < FAMILY_COUNT; f++)
		if (!addr_is_set(&ret->addr[f]) && known_node_first(node, f))
			ret->addr[f] = *known_node_first(node, f);
	for (size_t i = lease ? lease->count : 0; i-- > 0;)
		ret->addr[family_index(addr_family(&lease->addrs[i]))] = lease->addrs[i];
	if (!addr_is_set(&ret->addr[FAMILY_4]) && !addr_is_set(&ret->addr[FAMILY_6]))
		find_peer(policer, name, ret->addr);
	if (addr_parse(name, &addr) == 0) /* name_peer */
		ret->addr[family_index(addr_family(&addr))] = addr;
	return addr_is_set(&ret->addr[FAMILY_4]) || addr_is_set(&ret->addr[FAMILY_6]);
}

/* -- without policy nobody knows more than the attachments -- */

struct attached {
	const struct policer *policer;
	const char *word;
	struct addr addr;
	struct flow_end *end;
	bool found;
};

static void look_at_attachment(void *ctx, const struct attachment *attachment)
{
	struct attached *attached = ctx;
	char name[sizeof(attachment->pod_namespace) + sizeof(attachment->pod_name)];

	snprintf(name, sizeof(name), "%s/%s", attachment->pod_namespace, attachment->pod_name);
	if (strcmp(name, attached->word) != 0 && !(addr_is_set(&attached->addr) &&
		addr_equal(&attachment->addr[family_index(addr_family(&attached->addr))], &attached->addr)))
		return;
	attached->found = true;
	attached->end->who = (struct who){.kind = "pod", .namespace = attachment->pod_namespace, .name = attachment->pod_name};
	memcpy(attached->end->addr, attachment->addr, sizeof(attached->end->addr));
	attached->end->interface = attachment->host_ifname;
	set_node(attached->policer, own_name(attached->policer), attached->end);
}

static bool find_attached(const struct policer *policer, const char *word, const struct addr *addr, struct flow_end *ret)
{
	struct attached attached = {.policer = policer, .word = word, .end = ret};


	if (addr)
		attached.addr = *addr;
	attach_each(policer->agent->attacher, look_at_attachment, &attached);
	return attached.found;
}

static bool is_own(const struct agent *agent, const struct addr *addr)
{
	return agent->have_uplink && addr_equal(&agent->uplink.addr[family_index(addr_family(addr))], addr);
}

static int find_without_policy(const struct policer *policer, const char *word, struct flow_end *ret, struct err *err)
{
	const struct agent *agent = policer->agent;
	struct addr addr;

	if (addr_parse(word, &addr) < 0) {
		if (find_attached(policer, word, NULL, ret))
			return 0;
		return err_set(err, -ENOENT, "\"%s\": no such pod is on this node; policy is off, so the agent knows no others by name: give the "
			"address", word);
	}
	if (!find_attached(policer, word, &addr, ret)) {
		const struct prefix *cidr = &agent->network.pool[family_index(addr_family(&addr))].cidr;

		ret->who.kind = agent->have_network && prefix_is_set(cidr) && prefix_contains(cidr, &addr) ? "pod-address" : "outside";
		set_node(policer, find_holder(policer, &addr, ret->node_text), ret);
		if (ret->node)
			ret->who.kind = "pod-address";
		if (is_own(agent, &addr)) {
			ret->who = (struct who){.kind = "node", .name = own_name(policer)};
			set_node(policer, own_name(policer), ret);
		}
	}
	memset(ret->addr, 0, sizeof(ret->addr));
	ret->addr[family_index(addr_family(&addr))] = addr;
	return 0;
}

/* -- */

static void set_address(const struct policer *policer, const struct addr *addr, struct flow_end *ret)
{
	const struct endpoint *endpoint;

	who_at(policer, addr, &ret->who);
	endpoint = verdicts_endpoint_at(policer->verdicts, addr);
	if (strcmp(ret->who.kind, "pod") == 0 && endpoint)
		set_endpoint(policer, endpoint, ret);
	else if (strcmp(ret->who.kind, "node") == 0)
		set_node(policer, ret->who.name, ret);
	else if (strcmp(ret->who.kind, "pod-address") == 0)
		set_node(policer, find_holder(policer, addr, ret->node_text), ret);
	memset(ret->addr, 0, sizeof(ret->addr));
	ret->addr[family_index(addr_family(addr))] = *addr;
}

int ends_find(struct policer *policer, const char *word, struct flow_end *ret, struct err *err)
{
	const char *name = strncmp(word, "node:", 5) == 0 ? word + 5 : word;
	struct addr addr;
	int rc = 0;

	*ret = (struct flow_end){0};
	if (*policer->off) {
		rc = find_without_policy(policer, word, ret, err);
	} else if (addr_parse(word, &addr) == 0) {
		set_address(policer, &addr, ret);
	} else if (strchr(word, '/')) {
		rc = find_pod(policer, word, ret, err);
	} else if (ends_find_node(policer, name, ret)) {
		ret->who = (struct who){.kind = "node", .name = name};
		set_node(policer, name, ret);
	} else {
		rc = err_set(err, -ENOENT, "\"%s\": this agent knows no such node; expected NAMESPACE/POD, an address or the name of a node", word);
	}
	snprintf(ret->text, sizeof(ret->text), "%s", name);
	return rc;
}

bool ends_is_pod(const struct flow_end *end)
{
	return strcmp(end->who.kind, "pod") == 0;
}

bool ends_are_same_pod(const struct flow_end *a, const struct flow_end *b)
{
	return ends_is_pod(a) && ends_is_pod(b) && strcmp(a->who.namespace, b->who.namespace) == 0 && strcmp(a->who.name, b->who.name) == 0;
}

json_t *ends_json(const struct flow_end *end)
{
	static const struct addr none;
	json_t *json = who_json(&end->who, &none);

	if (end->node)
		json_object_set_new(json, "node", json_string(end->node));
	if (end->interface)
		json_object_set_new(json, "interface", json_string(end->interface));
	return json;
}
