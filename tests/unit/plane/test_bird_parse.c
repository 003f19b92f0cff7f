/* SPDX-License-Identifier: Apache-2.0
 *
 * What BIRD says, word for word as BIRD 2.0.12 says it, and things that nothing would say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "plane/bird_client.h"
#include "plane/bird_parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct line {
	int code;
	const char *text;
};

static const struct line protocols[] = {
	{2002, "Name       Proto      Table      State  Since         Info"},
	{1002, "device1    Device     ---        up     2026-11-23 14:29:06  "},
	{1006, ""},
	{1002, "kernel4    Kernel     master4    up     2026-11-23 14:29:06  "},
	{1006, "  Channel ipv4"},
	{1006, "    Routes:         9 imported, 9 exported, 9 preferred"},
	{1002, "Mesh_10_0_0_2 BGP        ---        up     2026-11-23 14:29:07  Established   "},
	{1006, "  Description:    mesh with node b"},
	{1006, "  BGP state:          Established"},
	{1006, "    Neighbor address: 10.0.0.2"},
	{1006, "    Neighbor AS:      64512"},
	{1006, "    Local AS:         4200000001"},
	{1006, "    Neighbor ID:      10.0.0.2"},
	{1006, "  Channel ipv4"},
	{1006, "    Routes:         20 imported, 3 exported, 17 preferred"},
	{1006, "    Import limit:   50000 [HIT]"},
	{1006, "      Action:       block"},
	{1002, "Global_fe80__1 BGP        ---        start  14:29:06.154  Active        Socket: Connection refused"},
	{1006, "  BGP state:          Active"},
	{1006, "    Neighbor address: fe80::1%eth0"},
	{1006, "    Neighbor AS:      65001"},
	{1006, "    Last error:       Socket: Connection refused  "},
	{1006, "    Routes:         5 imported, 2 filtered, 1 exported, 4 preferred"},
	{1002, "Node_x BGP        ---        down   2026-11-23 14:29:07"},
};

static void parses_sessions(void **state)
{
	struct bird_sessions sessions = {0};
	const struct bird_session *first, *second;
	char text[ADDR_TEXT_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++)
		assert_int_equal(bird_sessions_line(&sessions, protocols[i].code, protocols[i].text), 0);
	assert_int_equal(sessions.count, 3);
	first = &sessions.items[0];
	assert_string_equal(first->name, "Mesh_10_0_0_2");
	assert_string_equal(first->description, "mesh with node b");
	assert_string_equal(first->since, "2026-11-23 14:29:07");
	assert_true(first->established && first->limit_hit);
	assert_string_equal(addr_format(&first->neighbor, text), "10.0.0.2");
	assert_int_equal(first->local_as, 4200000001);
	assert_int_equal(first->imported, 20);
	assert_int_equal(first->exported, 3);
	assert_int_equal(first->limit, 50000);
	second = &sessions.items[1];
	assert_string_equal(second->state, "Active");
	assert_string_equal(second->since, "14:29:06.154");
	assert_string_equal(second->error, "Socket: Connection refused");
	assert_string_equal(addr_format(&second->neighbor, text), "fe80::1");
	assert_int_equal(second->exported, 1);
	assert_false(second->established);
	assert_string_equal(sessions.items[2].state, "Down");
	bird_sessions_free(&sessions);
	assert_int_equal(sessions.count, 0);
}

static const struct line routes[] = {
	{1007, "Table master4:"},
	{1007, "10.244.1.0/26        blackhole [blocks4 2026-11-23 14:59:34] * (200)"},
	{1008, "\tType: static univ"},
	{1007, "10.244.2.0/26        unicast [Node_10_0_0_11 2026-11-23 15:05:54 from 10.0.0.11] * (100/?) [AS65001i]"},
	{1007, "\tvia 10.0.0.2 on eth0"},
	{1007, "\tvia 10.0.0.3 on eth1 weight 2"},
	{1008, "\tType: BGP univ"},
	{1012, "\tBGP.origin: IGP"},
	{1012, "\tBGP.as_path: 65001 65002"},
	{1012, "\tBGP.next_hop: 10.0.0.9"},
	{1012, "\tBGP.local_pref: 2147482623"},
	{1007, "                     unicast [Node_10_0_0_12 15:05:55.100 from 10.0.0.12] (100) [i]"},
	{1007, "\tdev eth0"},
	{1007, ""},
	{1007, "Table master6:"},
	{1007, "fd00:244:1::/122     unreachable [kernel6 2026-11-23 14:59:34] * (10)"},
};

static void parses_routes(void **state)
{
	struct bird_routes list = {.max = 10};
	char text[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(routes); i++)
		assert_int_equal(bird_routes_line(&list, routes[i].code, routes[i].text), 0);
	assert_int_equal(list.count, 4);
	assert_string_equal(list.items[0].kind, "blackhole");
	assert_string_equal(list.items[0].protocol, "blocks4");
	assert_int_equal(list.items[0].preference, 200);
	assert_int_equal(list.items[1].hops, 2);
	assert_string_equal(addr_format(&list.items[1].via, text), "10.0.0.2");
	assert_string_equal(list.items[1].dev, "eth0");
	assert_string_equal(list.items[1].since, "2026-11-23 15:05:54");
	assert_string_equal(list.items[1].as_path, "65001 65002");
	assert_int_equal(list.items[1].local_pref, 2147482623);
	assert_string_equal(addr_format(&list.items[1].next_hop, text), "10.0.0.9");
	assert_string_equal(prefix_format(&list.items[2].prefix, text), "10.244.2.0/26");
	assert_false(list.items[2].best);
	assert_string_equal(list.items[2].since, "15:05:55.100");
	assert_string_equal(list.items[2].dev, "eth0");
	assert_string_equal(list.items[3].kind, "unreachable");
	bird_routes_free(&list);
}

static void stops_at_the_maximum(void **state)
{
	struct bird_routes list = {.max = 2};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(routes) && r == 0; i++)
		r = bird_routes_line(&list, routes[i].code, routes[i].text);
	assert_int_equal(r, 1);
	assert_int_equal(list.count, 2);
	assert_true(list.more);
	bird_routes_free(&list);
}

static void finds_the_refused_line(void **state)
{
	const char *what;

	assert_int_equal(bird_error_line("/run/tulle/bird/bird.conf.new:12:5 syntax error, unexpected x", &what), 12);
	assert_string_equal(what, "syntax error, unexpected x");
	assert_int_equal(bird_error_line("/tmp/a:b/bird.conf:7:30 Channel not specified", &what), 7);
	assert_int_equal(bird_error_line("/tmp/none: No such file or directory", &what), 0);
	assert_string_equal(what, "/tmp/none: No such file or directory");
	assert_int_equal(bird_error_line("", &what), 0);
	assert_int_equal(bird_error_line(":::::", &what), 0);
}

/* Every line cut short and joined to others, in any order: nothing may fall over. */
static void bears_anything(void **state)
{
	struct bird_sessions sessions = {0};
	struct bird_routes list = {.max = 1000};
	char text[256];

	for (unsigned turn = 0; turn < 20000; turn++) {
		const struct line *line = turn % 2 ? &routes[turn % ARRAY_SIZE(routes)] : &protocols[turn % ARRAY_SIZE(protocols)];
		size_t len = strlen(line->text), cut = len ? (turn * 2654435761u >> 8) % (len + 1) : 0;

		snprintf(text, sizeof(text), "%.*s%s", (int)cut, line->text, turn % 3 ? "" : routes[turn % ARRAY_SIZE(routes)].text + 0);
		bird_sessions_line(&sessions, 1000 + (int)(turn % 13), text);
		bird_routes_line(&list, 1000 + (int)(turn % 13), text);
		if (sessions.count > 100)
			bird_sessions_free(&sessions);
	}
	bird_sessions_free(&sessions);
	bird_routes_free(&list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_sessions),
		cmocka_unit_test(parses_routes),
		cmocka_unit_test(stops_at_the_maximum),
		cmocka_unit_test(finds_the_refused_line),
		cmocka_unit_test(bears_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
