/* SPDX-License-Identifier: Apache-2.0
 *
 * plan/bird.h and plane/bird.h for the tests of BGP, without an agent: one command a line on standard input, one JSON
 * object a line as answer.
 *
 * bgp_probe DIRECTORY [program PATH] [start] [poll MS] [timeout MS]
 *   scenario FILE   builds the configuration of a scenario (tests/unit/plan/bird_scenario.h) and puts it
 *   text FILE       puts a file as it is
 *   status          bird_status_json, with the number of changes so far
 *   routes MAX      bird_routes_json
 */
#include "../unit/plan/bird_scenario.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "plane/bird.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct probe {
	struct event_base *base;
	struct bird *bird;
	struct bird_listing *listing;
	char input[8192];
	size_t len;
	unsigned changes;
};

static void print(json_t *json)
{
	json_dumpf(json, stdout, JSON_COMPACT);
	putchar('\n');
	fflush(stdout);
	json_decref(json);
}

static void put_scenario(struct probe *probe, const char *path)
{
	struct bird_scenario scenario;
	struct buf text = {0};

	bird_scenario_read(path, &scenario);
	if (bird_build(&scenario.input, &text) < 0 || bird_put(probe->bird, buf_text(&text), text.len) < 0)
		abort();
	print(json_pack("{s:s}", "complaints", buf_text(&scenario.complaints)));
	buf_free(&text);
	bird_scenario_free(&scenario);
}

static void put_text(struct probe *probe, const char *path)
{
	struct buf text = {0};
	struct err err = ERR_INIT;

	if (file_read(path, &text, &err) < 0 || bird_put(probe->bird, buf_text(&text), text.len) < 0)
		abort();
	print(json_pack("{s:s}", "complaints", ""));
	buf_free(&text);
}

static void status(struct probe *probe)
{
	json_t *json = bird_status_json(bird_status(probe->bird));

	json_object_set_new(json, "changes", json_integer(probe->changes));
	print(json);
}

static void listed(void *ctx, int rc, const struct bird_routes *routes)
{
	struct probe *probe = ctx;

	probe->listing = NULL;
	print(rc < 0 ? json_pack("{s:i}", "error", rc) : bird_routes_json(routes));
}

static void obey(struct probe *probe, char *line)
{
	char *argument = strchr(line, ' ');

	if (argument)
		*argument++ = 0;
	if (strcmp(line, "scenario") == 0)
		put_scenario(probe, argument);
	else if (strcmp(line, "text") == 0)
		put_text(probe, argument);
	else if (strcmp(line, "status") == 0)
		status(probe);
	else if (strcmp(line, "routes") == 0)
		bird_list_routes(probe->bird, (size_t)atoi(argument), listed, probe, &probe->listing);
}

static void on_input(evutil_socket_t fd, short what, void *ctx)
{
	struct probe *probe = ctx;
	ssize_t n = read(fd, probe->input + probe->len, sizeof(probe->input) - 1 - probe->len);
	char *end;

	if (n <= 0) {
		event_base_loopbreak(probe->base);
		return;
	}
	probe->len += (size_t)n;
	probe->input[probe->len] = 0;
	while ((end = strchr(probe->input, '\n'))) {
		*end = 0;
		obey(probe, probe->input);
		probe->len -= (size_t)(end + 1 - probe->input);
		memmove(probe->input, end + 1, probe->len + 1);
	}
}

static void changed(void *ctx)
{
	struct probe *probe = ctx;

	probe->changes++;
}

int main(int argc, char **argv)
{
	struct probe probe = {.base = event_base_new()};
	struct bird_options options = {.directory = argv[1], .changed = changed, .ctx = &probe};
	struct err err = ERR_INIT;
	struct event *input;

	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], "start") == 0)
			options.start = true;
		else if (strcmp(argv[i], "program") == 0)
			options.program = argv[++i];
		else if (strcmp(argv[i], "poll") == 0)
			options.poll_ms = atoi(argv[++i]);
		else if (strcmp(argv[i], "timeout") == 0)
			options.timeout_ms = atoi(argv[++i]);
	}
	if (bird_new(probe.base, &options, &probe.bird, &err) < 0) {
		fprintf(stderr, "%s\n", err_text(&err));
		return 1;
	}
	input = event_new(probe.base, 0, EV_READ | EV_PERSIST, on_input, &probe);
	event_add(input, NULL);
	event_base_dispatch(probe.base);
	event_free(input);
	bird_listing_cancel(&probe.listing);
	bird_free(&probe.bird);
	event_base_free(probe.base);
	return 0;
}
