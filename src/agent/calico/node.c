/* SPDX-License-Identifier: Apache-2.0
 *
 * Our own Node object: the annotations by which other nodes find us (reference/calico.md 2.16). In a store without a
 * kubelet it is we who make the object.
 */
#include "agent/calico/internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PREFIX "projectcalico.org/"
#define RETRY_S 2

const struct node *calico_node_own(const struct calico *calico)
{
	return collection_find(cluster_part(calico->store, CLUSTER_NODES), calico->agent->options.node_name);
}

/* -- what it should say -- */

/* The uplink's address with the length of the network that it is in; a host prefix when no network is known. */
static struct prefix own_address(const struct uplink *uplink, int f)
{
	const struct addr *addr = &uplink->public_ip[f];
	struct prefix found = prefix_host(addr);
	bool any = false;

	for (size_t i = 0; i < uplink->on_link_count; i++)
		if (prefix_contains(&uplink->on_link[i], addr) && (!any || uplink->on_link[i].len > found.len)) {
			found.len = uplink->on_link[i].len;
			any = true;
		}
	found.addr = *addr;
	return found;
}

/* A null member removes the annotation. */
static void set_addr(json_t *to, const char *key, const struct addr *addr)
{
	char text[ADDR_TEXT_MAX];

	json_object_set_new(to, key, addr_is_set(addr) ? json_string(addr_format(addr, text)) : json_null());
}

static json_t *wanted_annotations(const struct calico *calico)
{
	static const char *const address_keys[] = {PREFIX "IPv4Address", PREFIX "IPv6Address"};
	static const char *const tunnel_keys[] = {
		[IPAM_TUNNEL_IPIP] = PREFIX "IPv4IPIPTunnelAddr",
		[IPAM_TUNNEL_VXLAN] = PREFIX "IPv4VXLANTunnelAddr",
		[IPAM_TUNNEL_VXLAN_6] = PREFIX "IPv6VXLANTunnelAddr",
	};
	json_t *wanted = json_object();
	char text[PREFIX_TEXT_MAX];

	for (int f = 0; wanted && f < FAMILY_COUNT; f++) {
		struct prefix address = own_address(&calico->agent->uplink, f);
		bool has = calico->families[f] && addr_is_set(&address.addr);

		json_object_set_new(wanted, address_keys[f], has ? json_string(prefix_format(&address, text)) : json_null());
	}
	for (int i = 0; wanted && i < IPAM_TUNNEL_COUNT; i++)
		if (calico->tunnels[i].settled)
			set_addr(wanted, tunnel_keys[i], &calico->tunnels[i].addr);
	return wanted;
}

/* -- writing it -- */

static void on_retry(evutil_socket_t fd, short what, void *ctx)
{
	calico_node_publish(ctx);
}

static void ended(struct calico *calico, const struct objects_answer *answer)
{
	const struct timeval again = {.tv_sec = RETRY_S};

	calico->node_call = NULL;
	problems_set(calico->agent->problems, "own node", answer->rc < 0 ? answer->text : NULL);
	if (answer->rc == 0) {
		calico_node_publish(calico);
		return;
	}
	json_decref(calico->node_written);
	calico->node_written = NULL;
	event_add(calico->node_retry, &again);
}

static void on_written(void *ctx, const struct objects_answer *answer)
{
	struct calico *calico = ctx;

	if (answer->rc == -ENOENT) /* somebody has deleted it meanwhile */
		calico->node_exists = false;
	ended(calico, answer);
}

static void on_made(void *ctx, const struct objects_answer *answer)
{
	struct objects_answer fine = {.text = ""};
	struct calico *calico = ctx;

	calico->node_exists = answer->rc == 0 || answer->rc == -EEXIST;
	ended(calico, calico->node_exists ? &fine : answer);
}

static void on_looked(void *ctx, const struct objects_answer *answer)
{
	struct objects_answer fine = {.text = ""};
	struct calico *calico = ctx;
	const char *name = calico->agent->options.node_name;
	_cleanup_(json_cleanup) json_t *object = NULL;

	if (answer->rc == 0)
		calico->node_exists = true;
	if (answer->rc != -ENOENT || calico->kube) { /* in Kubernetes the kubelet makes it */
		ended(calico, answer->rc == 0 ? &fine : answer);
		return;
	}
	object = json_pack("{s:s, s:s, s:{s:s, s:{s:s}}}", "apiVersion", "v1", "kind", "Node", "metadata", "name", name,
		"labels", "kubernetes.io/hostname", name);
	calico->node_call = object ? objects_create(calico->objects, KIND_NODE, object, on_made, calico) : NULL;
}

void calico_node_publish(struct calico *calico)
{
	struct object_key key = {.kind = KIND_NODE, .name = calico->agent->options.node_name};
	_cleanup_(json_cleanup) json_t *wanted = NULL;

	if (calico->node_call || !calico->agent->have_uplink)
		return;
	if (!calico->node_exists) {
		calico->node_call = objects_get(calico->objects, &key, on_looked, calico);
		return;
	}
	wanted = wanted_annotations(calico);
	if (!wanted || (calico->node_written && json_equal(wanted, calico->node_written)))
		return;
	calico->node_call = objects_annotate(calico->objects, &key, wanted, on_written, calico);
	json_decref(calico->node_written);
	calico->node_written = calico->node_call ? TAKE_PTR(wanted) : NULL;
}

int calico_node_init(struct calico *calico)
{
	calico->node_retry = event_new(calico->agent->base, -1, 0, on_retry, calico);
	return calico->node_retry ? 0 : -ENOMEM;
}

void calico_node_done(struct calico *calico)
{
	objects_cancel(calico->node_call);
	if (calico->node_retry)
		event_free(calico->node_retry);
	json_decref(calico->node_written);
}
