/* SPDX-License-Identifier: Apache-2.0
 *
 * Asking the agent: one request over its control socket (agent/http.h).
 */
#pragma once

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>

/* The JSON object behind path, e.g. "/v1/status"; new reference. The message says what to do when no agent answers. */
int client_get(const char *socket_path, const char *path, json_t **ret, struct err *err);
/* The same as text (metrics); malloc'ed. */
int client_get_text(const char *socket_path, const char *path, char **ret, struct err *err);

/* As client_get, for what takes longer or changes something. */
struct client_request {
	const char *path; /* with its query, encoded */
	bool post;
	unsigned patience_s;
};
int client_ask(const char *socket_path, const struct client_request *request, json_t **ret, struct err *err);

/* A value of a query, encoded, behind what path already says. */
struct buf;
void client_add_query(struct buf *path, const char *value);

/* Follows what the agent tells in lines, as long as line returns 1; 0 ends it. 0, or why it ended otherwise; it does so when the
 * agent ends. */
int client_follow(const char *socket_path, const char *path, int (*line)(void *ctx, const char *text, size_t len), void *ctx,
	struct err *err);

/* What a verb that only shows does: asks, then prints as JSON (-o json) or by print. Returns the exit status. */
struct ctl;
int client_show(const struct ctl *ctl, const char *path, int (*print)(const json_t *json));
