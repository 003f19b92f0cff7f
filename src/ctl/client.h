/* SPDX-License-Identifier: Apache-2.0
 *
 * Asking the agent: one GET over its control socket (agent/http.h).
 */
#pragma once

#include "base/err.h"

#include <jansson.h>

/* The JSON object behind path, e.g. "/v1/status"; new reference. The message says what to do when no agent answers. */
int client_get(const char *socket_path, const char *path, json_t **ret, struct err *err);
/* The same as text (metrics); malloc'ed. */
int client_get_text(const char *socket_path, const char *path, char **ret, struct err *err);
/* What a verb that only shows does: asks, then prints as JSON (-o json) or by print. Returns the exit status. */
struct ctl;
int client_show(const struct ctl *ctl, const char *path, int (*print)(const json_t *json));
