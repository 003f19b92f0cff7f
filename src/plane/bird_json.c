/* SPDX-License-Identifier: Apache-2.0
 *
 * BIRD's status and routes for the agent's control socket.
 */
#include "plane/bird.h"

#include <stdio.h>
#include <string.h>

static void set_addr(json_t *object, const char *key, const struct addr *addr)
{
	char text[ADDR_TEXT_MAX];

	json_object_set_new(object, key, addr_is_set(addr) ? json_string(addr_format(addr, text)) : json_null());
}

/* BIRD repeats what peers say: that may be no UTF-8. */
static void set_text(json_t *object, const char *key, const char *text)
{
	json_t *string = json_string(text);
	char safe[BIRD_SENTENCE];
	size_t i;

	for (i = 0; !string && text[i] && i + 1 < sizeof(safe); i++)
		safe[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
	if (!string) {
		safe[i] = 0;
		string = json_string(safe);
	}
	json_object_set_new(object, key, string);
}

const char *bird_session_problem(const struct bird_status *status, const struct bird_session *session, char *ret, size_t size)
{
	ret[0] = 0;
	if (session->limit_hit)
		snprintf(ret, size, "brings more routes than its import limit of %u: the others are ignored", session->limit);
	else if (!session->established && status->md5_faults)
		snprintf(ret, size, "not established (%s)%s%s, and TCP segments with a wrong, missing or unexpected MD5 signature come "
			"in: is the password the same at both ends?", session->state, session->error[0] ? ": " : "", session->error);
	else if (!session->established)
		snprintf(ret, size, "not established (%s)%s%s", session->state, session->error[0] ? ": " : "", session->error);
	return ret;
}

static json_t *session_json(const struct bird_status *status, const struct bird_session *session)
{
	char problem[512];
	json_t *object = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:b}", "name", session->name, "neighborAS",
		(json_int_t)session->neighbor_as, "localAS", (json_int_t)session->local_as, "imported",
		(json_int_t)session->imported, "exported", (json_int_t)session->exported, "importLimit",
		(json_int_t)session->limit, "limitHit", session->limit_hit);

	if (!object)
		return NULL;
	set_addr(object, "neighbor", &session->neighbor);
	set_text(object, "description", session->description);
	set_text(object, "state", session->state);
	set_text(object, "since", session->since);
	set_text(object, "error", session->error);
	set_text(object, "problem", bird_session_problem(status, session, problem, sizeof(problem)));
	return object;
}

json_t *bird_status_json(const struct bird_status *status)
{
	static const char *const states[] = {"unknown", "absent", "hanging", "running"};
	json_t *sessions = json_array(), *object;

	for (size_t i = 0; i < status->session_count; i++)
		json_array_append_new(sessions, session_json(status, &status->sessions[i]));
	object = json_pack("{s:s, s:b, s:I, s:o}", "state", states[status->state], "current", status->current, "established",
		(json_int_t)status->established, "sessions", sessions);
	if (!object)
		return NULL;
	set_text(object, "version", status->daemon.version);
	set_text(object, "routerID", status->daemon.router_id);
	set_text(object, "started", status->daemon.started);
	set_text(object, "configured", status->daemon.configured);
	set_text(object, "problem", status->problem);
	return object;
}

static json_t *route_json(const struct bird_route *route)
{
	char prefix[PREFIX_TEXT_MAX];
	json_t *object = json_pack("{s:s, s:b, s:I, s:I, s:I}", "prefix", prefix_format(&route->prefix, prefix), "best",
		route->best, "preference", (json_int_t)route->preference, "hops", (json_int_t)route->hops, "localPref",
		(json_int_t)route->local_pref);

	if (!object)
		return NULL;
	set_text(object, "kind", route->kind);
	set_text(object, "protocol", route->protocol);
	set_text(object, "since", route->since);
	set_text(object, "dev", route->dev);
	set_text(object, "asPath", route->as_path);
	set_addr(object, "via", &route->via);
	set_addr(object, "nextHop", &route->next_hop);
	return object;
}

json_t *bird_routes_json(const struct bird_routes *routes)
{
	json_t *list = json_array();

	for (size_t i = 0; i < routes->count; i++)
		json_array_append_new(list, route_json(&routes->items[i]));
	return json_pack("{s:o, s:b}", "routes", list, "more", routes->more);
}
