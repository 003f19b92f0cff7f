/* SPDX-License-Identifier: Apache-2.0
 *
 * tullectl bgp: BIRD's sessions and routes as the agent sees them (/v1/bgp/status, /v1/bgp/routes), and for those
 * who start BIRD, a DaemonSet or a unit: "run" waits for the agent's first configuration and becomes BIRD, "alive" is
 * its probe.
 */
#include "ctl/ctl.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "ctl/birdc.h"
#include "ctl/client.h"
#include "ctl/table.h"
#include "plane/bird.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static long long number_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

/* -- status -- */

static void session_row(struct text_table *table, const json_t *session)
{
	char as[16], routes[48];
	const char *cells[] = {text_of(session, "neighbor"), as, text_of(session, "description"), text_of(session, "state"),
		text_of(session, "since"), routes, text_of(session, "problem")};

	snprintf(as, sizeof(as), "%lld", number_of(session, "neighborAS"));
	snprintf(routes, sizeof(routes), "%lld / %lld", number_of(session, "imported"), number_of(session, "exported"));
	text_table_row(table, cells);
}

/* Whether every session stands and BIRD has what the agent wants. */
static bool is_well(const json_t *json)
{
	json_t *sessions = json_object_get(json, "sessions"), *session;
	size_t i;

	json_array_foreach(sessions, i, session)
		if (text_of(session, "problem")[0])
			return false;
	return json_is_true(json_object_get(json, "current")) && !text_of(json, "problem")[0];
}

static int print_status(const json_t *json)
{
	static const char *const headings[] = {"PEER", "AS", "WHY", "STATE", "SINCE", "IN / OUT", "NOTE", NULL};
	json_t *sessions = json_object_get(json, "sessions"), *session;
	struct text_table *table = text_table_new(headings);
	size_t i;

	if (!table)
		return CTL_FAILED;
	printf("BIRD:       %s%s%s\n", text_of(json, "state"), text_of(json, "version")[0] ? ", " : "", text_of(json, "version"));
	printf("Router ID:  %s\n", text_of(json, "routerID"));
	printf("Started:    %s, configured %s%s\n", text_of(json, "started"), text_of(json, "configured"),
		json_is_true(json_object_get(json, "current")) ? "" : " (the newest configuration is not in force)");
	printf("Sessions:   %lld of %zu established\n", number_of(json, "established"), json_array_size(sessions));
	if (text_of(json, "problem")[0])
		printf("Problem:    %s\n", text_of(json, "problem"));
	json_array_foreach(sessions, i, session)
		session_row(table, session);
	if (json_array_size(sessions)) {
		putchar('\n');
		text_table_print(table);
	}
	text_table_free(table);
	return is_well(json) ? CTL_OK : CTL_FAILED;
}

/* -- routes -- */

static void route_row(struct text_table *table, const json_t *route)
{
	char via[64], preference[16];
	const char *cells[] = {text_of(route, "prefix"), json_is_true(json_object_get(route, "best")) ? "*" : "",
		text_of(route, "kind"), via, text_of(route, "dev"), text_of(route, "protocol"), preference, text_of(route, "asPath"),
		text_of(route, "since")};
	long long hops = number_of(route, "hops");

	snprintf(via, sizeof(via), "%s", text_of(route, "via"));
	if (hops > 1)
		snprintf(via, sizeof(via), "%s and %lld more", text_of(route, "via"), hops - 1);
	snprintf(preference, sizeof(preference), "%lld", number_of(route, "localPref"));
	if (!number_of(route, "localPref"))
		preference[0] = 0;
	text_table_row(table, cells);
}

static int print_routes(const json_t *json)
{
	static const char *const headings[] = {
		"PREFIX", "BEST", "KIND", "VIA", "DEV", "FROM", "LOCAL PREF", "AS PATH", "SINCE", NULL};
	struct text_table *table = text_table_new(headings);
	json_t *routes = json_object_get(json, "routes"), *route;
	size_t i;

	if (!table)
		return CTL_FAILED;
	json_array_foreach(routes, i, route)
		route_row(table, route);
	text_table_print(table);
	text_table_free(table);
	if (json_is_true(json_object_get(json, "more")))
		printf("There are more; \"birdc -s %s/bird.ctl show route\" has them all.\n", BIRD_DIRECTORY);
	return CTL_OK;
}

/* -- run -- */

/* Until conf is there. A watch that cannot be had, or misses, costs a second. */
static void wait_for(const char *directory, const char *conf)
{
	_cleanup_close_ int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	struct pollfd pollfd = {.fd = fd, .events = POLLIN};
	char events[4096];

	if (fd >= 0)
		inotify_add_watch(fd, directory, IN_MOVED_TO | IN_CREATE);
	if (access(conf, R_OK) < 0)
		fprintf(stderr, "tullectl: waiting for %s, which tulled writes\n", conf);
	while (access(conf, R_OK) < 0) {
		poll(&pollfd, 1, 1000);
		while (fd >= 0 && read(fd, events, sizeof(events)) > 0)
			continue;
	}
}

static int run(const char *directory)
{
	const char *program = access("/usr/sbin/bird", X_OK) == 0 ? "/usr/sbin/bird" : "bird";
	char conf[200], socket[200], pid[200], started[200];
	struct err err = ERR_INIT;

	snprintf(conf, sizeof(conf), "%s/bird.conf", directory);
	snprintf(socket, sizeof(socket), "%s/bird.ctl", directory);
	snprintf(pid, sizeof(pid), "%s/bird.pid", directory);
	snprintf(started, sizeof(started), "%s/started", directory);
	if (file_make_dirs(directory, 0700, &err) < 0)
		return ctl_fail(CTL_FAILED, "%s", err_text(&err));
	wait_for(directory, conf);
	execlp(program, "bird", "-f", "-c", conf, "-s", socket, "-P", pid, access(started, F_OK) == 0 ? "-R" : NULL, NULL);
	return ctl_fail(CTL_FAILED, "bird: cannot be started: %s (Debian's package is bird2)", strerror(errno));
}

/* -- alive -- */

/* For a probe: one that still waits for its configuration is well. */
static int alive(const char *directory)
{
	char conf[200], socket_path[200];

	snprintf(conf, sizeof(conf), "%s/bird.conf", directory);
	snprintf(socket_path, sizeof(socket_path), "%s/bird.ctl", directory);
	if (access(conf, F_OK) < 0 || birdc_answers(socket_path))
		return CTL_OK;
	return ctl_fail(CTL_FAILED, "%s: no BIRD answers", socket_path);
}

/* run and alive are about a directory; a socket in it needs a short name. */
static int with_directory(const struct ctl *ctl, int (*act)(const char *directory))
{
	const char *directory = ctl->argc == 2 ? ctl->argv[1] : BIRD_DIRECTORY;

	if (ctl->argc > 2 || directory[0] != '/' || strlen(directory) > 90)
		return ctl_fail(CTL_USAGE, "bgp %s: expected one absolute path of at most 90 characters", ctl->argv[0]);
	return act(directory);
}

int ctl_bgp(const struct ctl *ctl)
{
	const char *verb = ctl->argc ? ctl->argv[0] : "";

	if (ctl->argc == 1 && strcmp(verb, "status") == 0)
		return client_show(ctl, "/v1/bgp/status", print_status);
	if (ctl->argc == 1 && strcmp(verb, "routes") == 0)
		return client_show(ctl, "/v1/bgp/routes", print_routes);
	if (strcmp(verb, "run") == 0)
		return with_directory(ctl, run);
	if (strcmp(verb, "alive") == 0)
		return with_directory(ctl, alive);
	return ctl_fail(CTL_USAGE, "usage: tullectl bgp status|routes, or tullectl bgp run|alive [DIRECTORY]");
}
