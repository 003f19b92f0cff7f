/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/birdc.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#define PATIENCE_S 4
#define STOP_TRIES 50
#define STOP_PAUSE_MS 100

static void close_stream(FILE **stream)
{
	if (*stream)
		fclose(*stream);
}

/* With its greeting read; null: there is none. */
static FILE *open_stream(const char *path)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	struct timeval patience = {PATIENCE_S, 0};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	_cleanup_(close_stream) FILE *stream = NULL;
	char line[256];

	if (fd < 0 || strlen(path) >= sizeof(name.sun_path))
		return NULL;
	strcpy(name.sun_path, path);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
		connect(fd, (struct sockaddr *)&name, sizeof(name)) < 0)
		return NULL;
	stream = fdopen(fd, "r+");
	if (!stream)
		return NULL;
	TAKE_FD(fd);
	if (!fgets(line, sizeof(line), stream) || strncmp(line, "0001 ", 5) != 0)
		return NULL;
	return TAKE_PTR(stream);
}

bool birdc_answers(const char *path)
{
	_cleanup_(close_stream) FILE *stream = open_stream(path);

	return stream != NULL;
}

/* "1007-10.65.0.0/26 unicast [Mesh_…", further ones of the same reply " 10.65.1.0/26 …"; next hops are indented by a tab. */
static bool read_route(const char *line, struct prefix *ret)
{
	char text[PREFIX_TEXT_MAX];
	size_t len;

	if (strncmp(line, "1007-", 5) == 0)
		line += 5;
	else if (*line == ' ')
		line++;
	len = strcspn(line, " \t\n");
	if (len == 0 || len >= sizeof(text))
		return false;
	memcpy(text, line, len);
	text[len] = 0;
	return prefix_parse(text, ret) == 0;
}

static bool is_last(const char *line)
{
	return strlen(line) > 4 && isdigit((unsigned char)line[0]) && isdigit((unsigned char)line[3]) && line[4] == ' ';
}

/* One reply: 0, or -1 without memory. */
static int read_routes(FILE *stream, struct prefix **routes, size_t *count)
{
	char line[512];

	while (fgets(line, sizeof(line), stream) && !is_last(line)) {
		struct prefix route, *grown;

		if (!read_route(line, &route))
			continue;
		grown = realloc(*routes, (*count + 1) * sizeof(*grown));
		if (!grown)
			return -1;
		*routes = grown;
		grown[(*count)++] = route;
	}
	return 0;
}

struct prefix *birdc_routes(const char *path, size_t *ret_count)
{
	static const char *const questions[] = {"show route export kernel4\n", "show route export kernel6\n"};
	struct prefix *routes = NULL;

	*ret_count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(questions); i++) {
		_cleanup_(close_stream) FILE *stream = open_stream(path);

		/* one that has no such table says so, in one line */
		if (!stream || fputs(questions[i], stream) < 0 || fflush(stream) != 0 || read_routes(stream, &routes, ret_count) < 0)
			continue;
	}
	return routes;
}

bool birdc_stop(const char *path)
{
	_cleanup_(close_stream) FILE *stream = open_stream(path);
	char line[256];

	if (!stream || fputs("down\n", stream) < 0 || fflush(stream) != 0)
		return !stream;
	while (fgets(line, sizeof(line), stream) && !is_last(line))
		continue;
	for (int i = 0; i < STOP_TRIES; i++) {
		if (!birdc_answers(path))
			return true;
		poll(NULL, 0, STOP_PAUSE_MS);
	}
	return false;
}
