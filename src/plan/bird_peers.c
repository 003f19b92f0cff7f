/* SPDX-License-Identifier: Apache-2.0
 *
 * Who this node talks BGP with (reference/calico.md 5.2): the mesh, then peers of all nodes, then peers of this node,
 * then those that peers by selector owe us in return. Of two sessions to one address and port the first stays.
 */
#include "model/selector.h"
#include "plan/bird_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* How a BGPPeer came to concern this node. */
enum way { WAY_GLOBAL, WAY_NODE, WAY_REVERSE };

const struct node *bird_node_at(const struct bird_plan *plan, const struct addr *addr)
{
	struct node_at *at;

	HASH_FIND(hh, plan->place_table, addr, sizeof(*addr), at);
	return at ? at->node : NULL;
}

static int index_nodes(struct bird_plan *plan)
{
	size_t count = 0;

	plan->places = calloc(plan->input->node_count * FAMILY_COUNT + 1, sizeof(struct node_at));
	if (!plan->places)
		return -ENOMEM;
	for (size_t i = 0; i < plan->input->node_count; i++)
		for (int family = 0; family < FAMILY_COUNT; family++) {
			struct node_at *at = &plan->places[count];

			at->node = plan->nodes[i];
			at->addr = at->node->address[family].addr;
			if (!prefix_is_set(&at->node->address[family]) || bird_node_at(plan, &at->addr))
				continue;
			HASH_ADD(hh, plan->place_table, addr, sizeof(at->addr), at);
			count++;
		}
	return 0;
}

static uint32_t as_of(const struct bird_plan *plan, const struct node *node)
{
	uint32_t cluster = plan->config->as_number ? plan->config->as_number : 64512;

	return node->as_number ? node->as_number : cluster;
}

static uint16_t port_of(const struct bird_plan *plan, const struct node *node)
{
	for (size_t i = 0; node && i < plan->input->port_count; i++)
		if (strcmp(plan->input->ports[i].node, node->name) == 0)
			return plan->input->ports[i].port;
	return node ? plan->config->listen_port : 179;
}

/* Greater as text, not as number: both ends must see it alike, and Calico's nodes compare text. */
static bool is_passive(const struct addr *own, const struct addr *peer)
{
	char own_text[ADDR_TEXT_MAX], peer_text[ADDR_TEXT_MAX];

	return strcmp(addr_format(peer, peer_text), addr_format(own, own_text)) > 0;
}

/* The password that ref names, null if it names none. False: the session cannot be had. */
static bool get_password(struct bird_plan *plan, const struct secret_ref *ref, const char *object, const char *field,
	const char **ret)
{
	const char *value = NULL;

	*ret = NULL;
	if (!ref->name)
		return true;
	if (plan->input->secret)
		value = plan->input->secret(plan->input->secret_ctx, ref);
	if (!value || !*value) {
		if (!ref->optional)
			bird_complain(plan, object, "%s: Secret %s has no key %s: left out until it has", field, ref->name,
				ref->key ? ref->key : "");
		return ref->optional;
	}
	if (strlen(value) > BIRD_PASSWORD_MAX || !bird_text_is_plain(value)) {
		bird_complain(plan, object, "%s: key %s of Secret %s: expected 1 to %d characters without quotation marks "
			"and control characters", field, ref->key ? ref->key : "", ref->name, BIRD_PASSWORD_MAX);
		return false;
	}
	*ret = value;
	return true;
}

static struct session *find_session(const struct bird_plan *plan, const struct session *like)
{
	struct session *found;

	HASH_FIND(hh, plan->session_table, &like->key, sizeof(like->key), found);
	return found;
}

static int add_session(struct bird_plan *plan, const struct session *session)
{
	struct session *copy;

	if (plan->session_count == plan->session_room) {
		size_t room = plan->session_room ? plan->session_room * 2 : 64;
		struct session **grown = realloc(plan->sessions, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		plan->sessions = grown;
		plan->session_room = room;
	}
	copy = malloc(sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	*copy = *session;
	plan->sessions[plan->session_count++] = copy;
	HASH_ADD(hh, plan->session_table, key, sizeof(copy->key), copy);
	return 0;
}

static bool is_own(const struct bird_plan *plan, const struct addr *addr)
{
	for (int family = 0; family < FAMILY_COUNT; family++)
		if (prefix_is_set(&plan->own->address[family]) && addr_equal(&plan->own->address[family].addr, addr))
			return true;
	return false;
}

/* -- mesh -- */

static int add_mesh_session(struct bird_plan *plan, const struct node *node, int family, const char *password)
{
	struct session session = {.key.remote = node->address[family].addr, .node = node, .password = password,
		.port = port_of(plan, node), .local_as = as_of(plan, plan->own), .remote_as = as_of(plan, node),
		.source = plan->own->address[family].addr};
	struct session *other;
	char text[ADDR_TEXT_MAX], object[300], name[256];

	bird_name_shown(node->name, name, sizeof(name));
	snprintf(object, sizeof(object), "Node %s", name);
	other = find_session(plan, &session);
	if (other || is_own(plan, &session.key.remote)) {
		bird_complain(plan, object, "BGP address %s: Node %s has it too, which keeps the session",
			addr_format(&session.key.remote, text), other && other->node ? other->node->name : plan->own->name);
		return 0;
	}
	snprintf(session.origin, sizeof(session.origin), "mesh with node %.100s", name);
	session.passive = is_passive(&session.source, &session.key.remote);
	bird_protocol_name("Mesh_", &session.key.remote, 0, session.name);
	return add_session(plan, &session);
}

static int plan_mesh(struct bird_plan *plan)
{
	const char *password;

	if (!plan->config->mesh || addr_is_set(&plan->own->cluster_id))
		return 0;
	if (!get_password(plan, &plan->config->mesh_password, "BGPConfiguration default", "spec.nodeMeshPassword", &password))
		return 0;
	for (size_t i = 0; i < plan->input->node_count; i++) {
		const struct node *node = plan->nodes[i];

		for (int family = 0; family < FAMILY_COUNT; family++) {
			if (node == plan->own || addr_is_set(&node->cluster_id) ||
				!prefix_is_set(&node->address[family]) || !prefix_is_set(&plan->own->address[family]))
				continue;
			if (add_mesh_session(plan, node, family, password) < 0)
				return -ENOMEM;
		}
	}
	return 0;
}

/* -- BGPPeers -- */

static bool peer_chooses(const struct bgp_peer *peer, const struct node *node)
{
	if (peer->node)
		return strcmp(peer->node, node->name) == 0;
	return !peer->node_selector || selector_matches_labels(peer->node_selector, node->labels);
}

static bool peer_is_global(const struct bgp_peer *peer)
{
	return !peer->node && !peer->node_selector;
}

static void set_filters(struct bird_plan *plan, struct session *session, const char *object)
{
	const struct bgp_peer *peer = session->peer;

	for (size_t i = 0; i < peer->filter_count; i++) {
		int at = bird_find_filter(plan, peer->filters[i]);

		if (at >= 0)
			continue;
		session->denied = true;
		bird_complain(plan, object, "spec.filters[%zu] %s: there is no such BGPFilter: the session exchanges no routes",
			i, peer->filters[i]);
	}
}

/* The session is one of our clients if we reflect and the peer is not of our cluster. */
static void set_reflection(struct bird_plan *plan, struct session *session)
{
	const struct addr *own = &plan->own->cluster_id;

	if (addr_is_set(own) && bird_is_internal(session) &&
		(!session->node || !addr_equal(&session->node->cluster_id, own)))
		session->cluster_id = *own;
}

static bool is_duplicate(struct bird_plan *plan, const struct session *session, enum way way, const char *object)
{
	struct session *other = find_session(plan, session);
	char text[ADDR_TEXT_MAX];

	if (!other)
		return false;
	/* a peer of this node that is also one of all nodes, and what we would owe anyway, are no mistakes */
	if (way == WAY_REVERSE || other->peer == session->peer ||
		(way == WAY_NODE && other->peer && peer_is_global(other->peer)))
		return true;
	bird_complain(plan, object, "%s %s: a session to that address is there already, by %s",
		session->peer->peer_selector ? "spec.peerSelector:" : "spec.peerIP",
		addr_format(&session->key.remote, text), other->origin);
	return true;
}

/* False: the peer's address is of a family that this node has no address in. */
static bool set_source(struct bird_plan *plan, struct session *session)
{
	const struct prefix *own = &plan->own->address[family_index(addr_family(&session->key.remote))];

	if (!prefix_is_set(own))
		return false;
	if (session->peer->source_node_ip || plan->config->bind_node_ip)
		session->source = own->addr;
	return true;
}

static bool check_times(struct bird_plan *plan, const struct bgp_peer *peer, const char *object)
{
	if (peer->keepalive_time > 240) {
		bird_complain(plan, object, "spec.keepaliveTime %u s: expected at most 240 s, BGP's hold time here",
			peer->keepalive_time);
		return false;
	}
	if (peer->restart_time > 4095) {
		bird_complain(plan, object, "spec.maxRestartTime %u s: expected at most 4095 s", peer->restart_time);
		return false;
	}
	return true;
}

static void object_of(const struct bgp_peer *peer, char *ret, size_t size)
{
	char name[256];

	bird_name_shown(peer->name, name, sizeof(name));
	snprintf(ret, size, "BGPPeer %s", name);
}

/* localASNumber is what the chosen nodes show; seen from their peers it is the other end's. */
static void set_as_numbers(const struct bird_plan *plan, struct session *session, enum way way)
{
	const struct bgp_peer *peer = session->peer;
	uint32_t shown = peer->local_as_number;

	session->local_as = shown && way != WAY_REVERSE ? shown : as_of(plan, plan->own);
	session->remote_as = peer->peer_selector ? as_of(plan, session->node) : peer->as_number;
	if (shown && way == WAY_REVERSE)
		session->remote_as = shown;
}

static int add_peer_session(struct bird_plan *plan, const struct bgp_peer *peer, const struct addr *remote,
	const struct node *node, enum way way)
{
	struct session session = {.key.remote = *remote, .key.port = peer->peer_selector ? 0 : peer->peer_port,
		.peer = peer, .node = node};
	const struct prefix *own;
	char object[300], text[ADDR_TEXT_MAX];

	object_of(peer, object, sizeof(object));
	set_as_numbers(plan, &session, way);
	if (!set_source(plan, &session)) {
		if (!peer->peer_selector)
			bird_complain(plan, object, "spec.peerIP %s: this node has no %s address for BGP",
				addr_format(remote, text), addr_is_4(remote) ? "IPv4" : "IPv6");
		return 0;
	}
	if (is_duplicate(plan, &session, way, object) || !check_times(plan, peer, object) ||
		!get_password(plan, &peer->password, object, "spec.password", &session.password))
		return 0;
	own = &plan->own->address[family_index(addr_family(remote))];
	session.port = session.key.port ? (uint16_t)session.key.port : port_of(plan, node);
	session.passive = way == WAY_GLOBAL && node && is_passive(&own->addr, remote);
	set_reflection(plan, &session);
	set_filters(plan, &session, object);
	snprintf(session.origin, sizeof(session.origin), "%.120s", object);
	bird_protocol_name(way == WAY_GLOBAL ? "Global_" : "Node_", remote, (uint16_t)session.key.port, session.name);
	return add_session(plan, &session);
}

static int add_selected(struct bird_plan *plan, const struct bgp_peer *peer, const struct node *node, enum way way)
{
	for (int family = 0; family < FAMILY_COUNT; family++)
		if (node != plan->own && prefix_is_set(&node->address[family]) &&
			!is_own(plan, &node->address[family].addr) &&
			add_peer_session(plan, peer, &node->address[family].addr, node, way) < 0)
			return -ENOMEM;
	return 0;
}

static int plan_peer(struct bird_plan *plan, const struct bgp_peer *peer, enum way way)
{
	char object[300];

	if (!peer->peer_selector) {
		object_of(peer, object, sizeof(object));
		if (!peer->as_number)
			bird_complain(plan, object, "spec.asNumber: missing; a peer by peerIP needs one");
		else if (!is_own(plan, &peer->peer_ip))
			return add_peer_session(plan, peer, &peer->peer_ip, bird_node_at(plan, &peer->peer_ip), way);
		return 0;
	}
	for (size_t i = 0; i < plan->input->node_count; i++)
		if (selector_matches_labels(peer->peer_selector, plan->nodes[i]->labels) &&
			add_selected(plan, peer, plan->nodes[i], way) < 0)
			return -ENOMEM;
	return 0;
}

/* We are chosen as somebody's peer: those who chose us are ours. */
static int plan_reverse(struct bird_plan *plan, const struct bgp_peer *peer)
{
	if (!peer->peer_selector || !peer->reverse_peering ||
		!selector_matches_labels(peer->peer_selector, plan->own->labels))
		return 0;
	for (size_t i = 0; i < plan->input->node_count; i++)
		if (peer_chooses(peer, plan->nodes[i]) && add_selected(plan, peer, plan->nodes[i], WAY_REVERSE) < 0)
			return -ENOMEM;
	return 0;
}

static int plan_peers(struct bird_plan *plan, enum way way)
{
	for (size_t i = 0; i < plan->input->peer_count; i++) {
		const struct bgp_peer *peer = plan->peers[i];
		int r = 0;

		if (way == WAY_REVERSE)
			r = plan_reverse(plan, peer);
		else if (peer_is_global(peer) == (way == WAY_GLOBAL) && peer_chooses(peer, plan->own))
			r = plan_peer(plan, peer, way);
		if (r < 0)
			return r;
	}
	return 0;
}

int bird_plan_sessions(struct bird_plan *plan)
{
	bool has_address = prefix_is_set(&plan->own->address[FAMILY_4]) || prefix_is_set(&plan->own->address[FAMILY_6]);
	int r = index_nodes(plan);

	if (!has_address)
		bird_complain(plan, "BGP", "Node %s: has no address for BGP (annotation projectcalico.org/IPv4Address or "
			"IPv6Address), so no session is made", plan->own->name);
	if (r == 0 && has_address)
		r = plan_mesh(plan);
	for (enum way way = WAY_GLOBAL; r == 0 && has_address && way <= WAY_REVERSE; way++)
		r = plan_peers(plan, way);
	return r;
}
