/* SPDX-License-Identifier: Apache-2.0
 *
 * BIRD's control socket as a tool that runs once asks it: one question, wait for the answer. (The agent's is
 * plane/bird_client.h, on its loop.)
 */
#pragma once

#include "base/addr.h"

#include <stdbool.h>
#include <stddef.h>

/* A BIRD answers on this socket. */
bool birdc_answers(const char *path);
/* Destinations of the routes that it has put into the kernel: malloc'ed; null, and no count, when there is none. */
struct prefix *birdc_routes(const char *path, size_t *ret_count);
/* Shuts it down. True once nobody answers any more. */
bool birdc_stop(const char *path);
