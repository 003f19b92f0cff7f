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
