/* SPDX-License-Identifier: Apache-2.0
 *
 * The text of one BGP session.
 */
#include "plan/bird_internal.h"

#include <string.h>

static const struct prefix *own_prefix(const struct bird_plan *plan, const struct session *session)
{
	return &plan->own->address[family_index(addr_family(&session->key.remote))];
}

/* Calico's sessions are all "multihop". One that wants BFD to a neighbour on the link is not: routers answer single-hop
 * BFD (RFC 5881, port 3784) there, and a multihop session would ask for RFC 5883's port. */
static bool is_direct(const struct bird_plan *plan, const struct session *session)
{
	return session->peer && session->peer->bfd && session->peer->ttl_security <= 1 &&
		prefix_contains(own_prefix(plan, session), &session->key.remote);
}

static void put_distance(struct bird_plan *plan, const struct session *session)
{
	unsigned hops = session->peer ? session->peer->ttl_security : 0;

	if (is_direct(plan, session))
		buf_add_str(plan->out, "\tdirect;\n");
	else if (hops)
		buf_printf(plan->out, "\tmultihop %u;\n", hops);
	else
		buf_add_str(plan->out, "\tmultihop;\n");
	buf_printf(plan->out, "\tttl security %s;\n", hops ? "on" : "off");
}

static unsigned interval(uint32_t ms)
{
	return ms == 0 ? 50 : ms < 10 ? 10 : ms > 60000 ? 60000 : ms;
}

static void put_bfd(struct bird_plan *plan, const struct bgp_peer *peer)
{
	buf_printf(plan->out, "\tbfd { min tx interval %u ms; min rx interval %u ms; multiplier %u; };\n",
		interval(peer->bfd_min_tx_ms), interval(peer->bfd_min_rx_ms), peer->bfd_multiplier ? peer->bfd_multiplier : 3);
}

static void put_options(struct bird_plan *plan, const struct session *session)
{
	const struct bgp_peer *peer = session->peer;
	uint32_t restart = peer ? peer->restart_time : plan->config->mesh_restart_time;
	char text[ADDR_TEXT_MAX];

	if (session->passive)
		buf_add_str(plan->out, "\tpassive on;\n");
	if (plan->config->bind_node_ip)
		buf_add_str(plan->out, "\tstrict bind on;\n");
	if (session->password)
		buf_printf(plan->out, "\tpassword \"%s\";\n", session->password);
	if (addr_is_set(&session->cluster_id))
		buf_printf(plan->out, "\trr client;\n\trr cluster id %s;\n", addr_format(&session->cluster_id, text));
	if (restart)
		buf_printf(plan->out, "\tgraceful restart time %u;\n", restart < 4095 ? restart : 4095);
	if (peer && peer->keepalive_time)
		buf_printf(plan->out, "\tkeepalive time %u;\n", peer->keepalive_time);
	if (peer && peer->allowed_local_as)
		buf_printf(plan->out, "\tallow local as %u;\n", peer->allowed_local_as);
	if (peer && peer->bfd)
		put_bfd(plan, peer);
}

static void put_filter_calls(struct bird_plan *plan, const struct session *session, bool import)
{
	const struct bgp_peer *peer = session->peer;
	int family = family_index(addr_family(&session->key.remote));
	char name[BIRD_NAME_MAX];

	if (!peer || !peer->filter_count)
		return;
	if (import)
		buf_printf(plan->out, "\t\t\timport_priority%c();\n", bird_digit(family));
	for (size_t i = 0; i < peer->filter_count; i++) {
		const struct bgp_filter *filter = plan->filters[bird_find_filter(plan, peer->filters[i])];

		if (!(import ? filter->import_count : filter->export_count)[family])
			continue;
		bird_function_name(filter->name, import ? "import" : "export", family, name);
		buf_printf(plan->out, "\t\t\t'%s'(%s);\n", name, bird_is_internal(session) ? "true" : "false");
	}
}

static bool is_denied(const struct bird_plan *plan, const struct session *session)
{
	const struct bgp_peer *peer = session->peer;

	for (size_t i = 0; peer && !session->denied && i < peer->filter_count; i++)
		if (plan->filter_bad[bird_find_filter(plan, peer->filters[i])])
			return true;
	return session->denied;
}

static void put_filters(struct bird_plan *plan, const struct session *session)
{
	char digit = bird_digit(family_index(addr_family(&session->key.remote)));

	if (is_denied(plan, session)) {
		buf_add_str(plan->out, "\t\timport none;\n\t\texport none;\n");
		return;
	}
	buf_add_str(plan->out, "\t\timport filter {\n");
	put_filter_calls(plan, session, true);
	buf_printf(plan->out, "\t\t\timport%c();\n\t\t};\n\t\texport filter {\n", digit);
	buf_printf(plan->out, "\t\t\texport_priority%c();\n", digit);
	put_filter_calls(plan, session, false);
	buf_printf(plan->out, "\t\t\texport%c(%s);\n\t\t};\n", digit, bird_is_internal(session) ? "true" : "false");
}

/* keepOriginalNextHop is about eBGP only: iBGP keeps it anyway. */
static const char *next_hop(const struct session *session)
{
	const struct bgp_peer *peer = session->peer;

	if (!peer)
		return "";
	if (peer->next_hop == NEXT_HOP_SELF)
		return "\t\tnext hop self;\n";
	if (peer->next_hop == NEXT_HOP_KEEP || (peer->keep_original_next_hop && !bird_is_internal(session)))
		return "\t\tnext hop keep;\n";
	return "";
}

static void put_channel(struct bird_plan *plan, const struct session *session)
{
	uint32_t limit = plan->input->import_limit ? plan->input->import_limit : BIRD_IMPORT_LIMIT;

	buf_printf(plan->out, "\tipv%c {\n", bird_digit(family_index(addr_family(&session->key.remote))));
	put_filters(plan, session);
	buf_add_str(plan->out, next_hop(session));
	buf_printf(plan->out, "\t\tgateway recursive;\n\t\tadd paths on;\n\t\timport limit %u action block;\n\t};\n", limit);
}

static void put_session(struct bird_plan *plan, const struct session *session)
{
	char text[ADDR_TEXT_MAX];

	buf_printf(plan->out, "protocol bgp %s from session {\n\tdescription \"%s\";\n", session->name, session->origin);
	buf_add_str(plan->out, "\tlocal ");
	if (addr_is_set(&session->source))
		buf_printf(plan->out, "%s ", addr_format(&session->source, text));
	buf_printf(plan->out, "port %u as %u;\n", plan->config->listen_port ? plan->config->listen_port : 179,
		session->local_as);
	buf_printf(plan->out, "\tneighbor %s port %u as %u;\n", addr_format(&session->key.remote, text),
		session->port ? session->port : 179, session->remote_as);
	put_distance(plan, session);
	put_options(plan, session);
	put_channel(plan, session);
	buf_add_str(plan->out, "}\n\n");
}

static bool wants_bfd(const struct bird_plan *plan)
{
	for (size_t i = 0; i < plan->session_count; i++)
		if (plan->sessions[i]->peer && plan->sessions[i]->peer->bfd)
			return true;
	return false;
}

void bird_put_sessions(struct bird_plan *plan)
{
	if (!plan->session_count)
		return;
	if (wants_bfd(plan))
		buf_add_str(plan->out, "protocol bfd bfd1 {\n}\n\n");
	buf_add_str(plan->out, "template bgp session {\n\tgraceful restart on;\n\thold time 240;\n"
		"\tconnect delay time 2;\n\tconnect retry time 5;\n\terror wait time 5, 30;\n}\n\n");
	for (size_t i = 0; i < plan->session_count; i++)
		put_session(plan, plan->sessions[i]);
}
