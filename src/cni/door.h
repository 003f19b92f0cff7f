/* SPDX-License-Identifier: Apache-2.0
 *
 * The plugin's way to the agent: one frame (base/frame.h) out, one answer back; or, for a DEL while the agent is away,
 * the same frame into the spool, where the agent finds it when it starts.
 */
#pragma once

#include "cni/input.h"

/* Why the agent gave no answer. */
enum door_result {
	DOOR_ANSWERED,
	DOOR_AWAY,   /* nobody listens, or the connection ended early */
	DOOR_SILENT, /* no answer before the deadline */
};

struct door_answer {
	int exit_code;
	const char *text; /* static memory of the module */
	size_t len;
};

/* Sends the request, with netns_fd unless it is -1, and waits at most timeout_ms. why: one line, when not answered. */
enum door_result door_ask(const char *socket_path, const struct input *in, int netns_fd, int timeout_ms,
	struct door_answer *ret, char *why, size_t why_size);

/* Writes the request into the spool directory (made when missing) and syncs it. 0 or negative errno. */
int door_spool(const char *dir, const struct input *in);
