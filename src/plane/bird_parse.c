/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/bird_parse.h"

#include "plane/bird_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *grow(void *items, size_t count, size_t *room, size_t size)
{
	size_t wanted = *room ? *room * 2 : 16;
	void *grown;

	if (count < *room)
		return items;
	grown = reallocarray(items, wanted, size);
	if (grown)
		*room = wanted;
	return grown;
}

static const char *skip(const char *text)
{
	return text + strspn(text, " \t");
}

/* The next word into ret; returns what follows. */
static const char *word(const char *text, char *ret, size_t size)
{
	size_t len;

	text = skip(text);
	len = strcspn(text, " \t");
	snprintf(ret, size, "%.*s", (int)len, text);
	return skip(text + len);
}

/* Text after "key" and blanks, or null. */
static const char *after(const char *text, const char *key)
{
	size_t len = strlen(key);

	text = skip(text);
	return strncmp(text, key, len) == 0 ? skip(text + len) : NULL;
}

/* Without the blanks that BIRD's columns end in. */
static void sentence(const char *text, char *ret, size_t size)
{
	size_t len = strlen(text);

	while (len && (text[len - 1] == ' ' || text[len - 1] == '\t'))
		len--;
	snprintf(ret, size, "%.*s", (int)(len < size ? len : size - 1), text);
}

static void number(const char *text, uint32_t *ret)
{
	*ret = (uint32_t)strtoul(text, NULL, 10);
}

/* -- sessions -- */

static int begin_session(struct bird_sessions *sessions, const char *name, const char *state, const char *since)
{
	struct bird_session *items =
		grow(sessions->items, sessions->count, &sessions->room, sizeof(*sessions->items));
	struct bird_session *session;

	if (!items)
		return -ENOMEM;
	sessions->items = items;
	session = &items[sessions->count++];
	memset(session, 0, sizeof(*session));
	snprintf(session->name, sizeof(session->name), "%s", name);
	snprintf(session->state, sizeof(session->state), "%s", state);
	snprintf(session->since, sizeof(session->since), "%s", since);
	return 0;
}

/* "Mesh_10_0_0_2 BGP --- up 2026-11-23 14:29:06 Established": date and time, or only one of them. */
static int protocol_line(struct bird_sessions *sessions, const char *text)
{
	char name[BIRD_WORD], kind[16], table[BIRD_WORD], state[16], since[24], clock[16];

	text = word(text, name, sizeof(name));
	text = word(text, kind, sizeof(kind));
	text = word(text, table, sizeof(table));
	text = word(text, state, sizeof(state));
	text = word(text, since, sizeof(since));
	if (strchr(since, '-') && !strchr(since, ':')) {
		size_t len = strlen(since);

		text = word(text, clock, sizeof(clock));
		snprintf(since + len, sizeof(since) - len, " %s", clock);
	}
	sessions->in_bgp = strcmp(kind, "BGP") == 0;
	return sessions->in_bgp ? begin_session(sessions, name, strcmp(state, "down") == 0 ? "Down" : state, since) : 0;
}

static void count_line(struct bird_session *session, const char *value)
{
	const char *exported = strstr(value, "imported, ");

	number(value, &session->imported);
	if (exported && strstr(exported, "filtered, "))
		exported = strstr(exported, "filtered, ");
	if (exported)
		number(strchr(exported, ' '), &session->exported);
}

static void detail_line(struct bird_session *session, const char *text)
{
	const char *value;

	if ((value = after(text, "Description:")))
		sentence(value, session->description, sizeof(session->description));
	else if ((value = after(text, "BGP state:")))
		sentence(value, session->state, sizeof(session->state));
	else if ((value = after(text, "Neighbor address:"))) {
		char address[BIRD_WORD];

		word(value, address, sizeof(address));
		address[strcspn(address, "%")] = 0;
		addr_parse(address, &session->neighbor);
	} else if ((value = after(text, "Neighbor AS:")))
		number(value, &session->neighbor_as);
	else if ((value = after(text, "Local AS:")))
		number(value, &session->local_as);
	else if ((value = after(text, "Last error:")))
		sentence(value, session->error, sizeof(session->error));
	else if ((value = after(text, "Routes:")))
		count_line(session, value);
	else if ((value = after(text, "Import limit:"))) {
		number(value, &session->limit);
		session->limit_hit = strstr(value, "[HIT]");
	}
	session->established = strcmp(session->state, "Established") == 0;
}

int bird_sessions_line(struct bird_sessions *sessions, int code, const char *text)
{
	if (code == BIRD_PROTOCOL)
		return protocol_line(sessions, text);
	if (code == BIRD_PROTOCOL_DETAILS && sessions->in_bgp)
		detail_line(&sessions->items[sessions->count - 1], text);
	return 0;
}

void bird_sessions_free(struct bird_sessions *sessions)
{
	free(sessions->items);
	*sessions = (struct bird_sessions){0};
}

/* -- the daemon -- */

void bird_daemon_line(struct bird_daemon *daemon, int code, const char *text)
{
	const char *value;

	if (code == BIRD_VERSION_LINE)
		sentence(skip(text), daemon->version, sizeof(daemon->version));
	else if ((value = after(text, "Router ID is")))
		sentence(value, daemon->router_id, sizeof(daemon->router_id));
	else if ((value = after(text, "Last reboot on")))
		sentence(value, daemon->started, sizeof(daemon->started));
	else if ((value = after(text, "Last reconfiguration on")))
		sentence(value, daemon->configured, sizeof(daemon->configured));
}

/* -- routes -- */

/* "unicast [Mesh_10_0_0_2 2026-11-23 14:29:06 from 10.0.0.2] * (100/?) [i]" */
static int begin_route(struct bird_routes *routes, const char *text)
{
	struct bird_route *items = grow(routes->items, routes->count, &routes->room, sizeof(*routes->items));
	struct bird_route *route;
	const char *open = strchr(text, '['), *close = open ? strchr(open, ']') : NULL, *preference;
	char clock[24];

	if (!items)
		return -ENOMEM;
	routes->items = items;
	routes->in_route = close;
	if (!close)
		return 0;
	if (routes->count == routes->max) {
		routes->more = true;
		return 1;
	}
	route = &items[routes->count++];
	memset(route, 0, sizeof(*route));
	route->prefix = routes->prefix;
	word(text, route->kind, sizeof(route->kind));
	text = word(open + 1, route->protocol, sizeof(route->protocol));
	text = word(text, route->since, sizeof(route->since));
	if (!strchr(route->since, ':')) {
		size_t len = strlen(route->since);

		word(text, clock, sizeof(clock));
		snprintf(route->since + len, sizeof(route->since) - len, " %s", clock);
	}
	route->since[strcspn(route->since, "]")] = 0;
	route->best = strchr(close, '*');
	preference = strchr(close, '(');
	if (preference)
		number(preference + 1, &route->preference);
	return 0;
}

static void hop_line(struct bird_route *route, const char *text)
{
	const char *via = after(text, "via "), *dev = after(text, "dev ");
	char address[BIRD_WORD];

	if (!via && !dev)
		return;
	if (route->hops++)
		return;
	if (via) {
		dev = word(via, address, sizeof(address));
		addr_parse(address, &route->via);
		dev = after(dev, "on ");
	}
	if (dev)
		word(dev, route->dev, sizeof(route->dev));
}

static void attribute_line(struct bird_route *route, const char *text)
{
	const char *value;
	char address[BIRD_WORD];

	if ((value = after(text, "BGP.local_pref:")))
		number(value, &route->local_pref);
	else if ((value = after(text, "BGP.as_path:")))
		sentence(value, route->as_path, sizeof(route->as_path));
	else if ((value = after(text, "BGP.next_hop:"))) {
		word(value, address, sizeof(address));
		addr_parse(address, &route->next_hop);
	}
}

static int route_line(struct bird_routes *routes, const char *text)
{
	char prefix[BIRD_WORD];

	if (strncmp(text, "Table ", 6) == 0 || !*skip(text))
		return 0;
	if (*text == '\t') {
		if (routes->in_route)
			hop_line(&routes->items[routes->count - 1], text);
		return 0;
	}
	/* another route to the same destination begins with blanks */
	if (*text != ' ') {
		text = word(text, prefix, sizeof(prefix));
		if (prefix_parse(prefix, &routes->prefix) < 0)
			return 0;
	}
	return begin_route(routes, text);
}

int bird_routes_line(struct bird_routes *routes, int code, const char *text)
{
	if (code == BIRD_ROUTE)
		return route_line(routes, text);
	if ((code == BIRD_ROUTE_DETAILS || code == BIRD_ROUTE_ATTRIBUTES) && routes->in_route)
		attribute_line(&routes->items[routes->count - 1], text);
	return 0;
}

void bird_routes_free(struct bird_routes *routes)
{
	free(routes->items);
	*routes = (struct bird_routes){0};
}

unsigned bird_error_line(const char *text, const char **ret_what)
{
	const char *colon = text;
	unsigned line, column;
	int len;

	*ret_what = text;
	while ((colon = strchr(colon, ':'))) {
		if (sscanf(++colon, "%u:%u%n", &line, &column, &len) == 2) {
			*ret_what = skip(colon + len);
			return line;
		}
	}
	return 0;
}
