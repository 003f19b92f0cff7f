/* SPDX-License-Identifier: Apache-2.0
 *
 * What BIRD repeats of its peers, line by line: "1002-…" as on the control socket, or only text.
 */
#include "fuzz.h"

#include "plane/bird_parse.h"

#include <string.h>

#define ROUTES_MAX 50

struct heard {
	struct bird_sessions sessions;
	struct bird_routes routes;
	struct bird_daemon daemon;
	int code;
};

static void hear(struct heard *heard, const char *line)
{
	const char *what;

	if (line[0] == '1' && strlen(line) > 5) {
		heard->code = atoi(line);
		line += 5;
	}
	FUZZ_CHECK(bird_sessions_line(&heard->sessions, heard->code, line) == 0);
	if (!heard->routes.more)
		FUZZ_CHECK(bird_routes_line(&heard->routes, heard->code, line) == (heard->routes.more ? 1 : 0));
	bird_daemon_line(&heard->daemon, heard->code, line);
	bird_error_line(line, &what);
	FUZZ_CHECK(what >= line && what <= line + strlen(line));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct heard heard = {.routes = {.max = ROUTES_MAX}};
	char *text = malloc(size + 1), *rest = NULL;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = 0;
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		hear(&heard, line);
	FUZZ_CHECK(heard.routes.count <= ROUTES_MAX);
	bird_sessions_free(&heard.sessions);
	bird_routes_free(&heard.routes);
	free(text);
	return 0;
}
