/* SPDX-License-Identifier: Apache-2.0
 *
 * Which of its two dialects a store speaks: with any IPPool in it Calico's, else Flannel's (--dialect: auto). The agent
 * asks at start (etcd: never); while the answer is Flannel it goes on looking, and begins anew when the first IPPool comes.
 *
 * Life cycle: dialect_new asks; chosen() comes once from the loop, as soon as the store answers. dialect_free at any time.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>

struct agent;
struct dialect;

enum dialect_name { DIALECT_FLANNEL, DIALECT_CALICO };

struct dialect_events {
	void (*chosen)(void *ctx, enum dialect_name name);
	/* It speaks Calico now, after it was chosen to be Flannel's. */
	void (*changed)(void *ctx);
	/* Why it cannot be told; "" = that is over. */
	void (*problem)(void *ctx, const char *text);
};

int dialect_new(struct agent *agent, const struct dialect_events *events, void *ctx, struct dialect **ret, struct err *err);
void dialect_free(struct dialect *dialect); /* null is fine */
