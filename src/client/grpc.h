/* SPDX-License-Identifier: Apache-2.0
 *
 * A gRPC client on libcurl's HTTP/2: calls with one or many messages each way, over several endpoints of which one is
 * in use until it fails. No retries in here: the caller knows what may be repeated.
 *
 * Life cycle: a call begins with its first message and ends with done() or grpc_call_cancel; it is gone then. message()
 * and done() come from the event loop, never from inside a call of this module, and may call anything but grpc_free.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct grpc;
struct grpc_call;

/* Codes of gRPC that callers tell apart (grpc.io, "Status codes"). */
enum grpc_code {
	GRPC_OK = 0,
	GRPC_UNKNOWN = 2,
	GRPC_INVALID_ARGUMENT = 3,
	GRPC_DEADLINE_EXCEEDED = 4,
	GRPC_PERMISSION_DENIED = 7,
	GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_FAILED_PRECONDITION = 9,
	GRPC_OUT_OF_RANGE = 11,
	GRPC_INTERNAL = 13,
	GRPC_UNAVAILABLE = 14,
	GRPC_UNAUTHENTICATED = 16,
};

struct grpc_status {
	int code;
	char text[512]; /* endpoint and reason; "" when the code is GRPC_OK */
};

struct grpc_options {
	const char *endpoints; /* comma list of URLs; without a scheme: http */
	const char *keyfile, *certfile, *cafile; /* of https endpoints; null or "" = none, system roots */
};

int grpc_new(const struct grpc_options *options, struct event_base *base, struct grpc **ret, struct err *err);
void grpc_free(struct grpc *grpc); /* every call must have ended */

struct grpc_call_options {
	const char *method;      /* "/package.Service/Method" */
	const char *metadata[4]; /* "name: value"; ends with null */
	long deadline_ms;        /* 0: none, and the call stays open for grpc_call_send */
	void (*message)(void *ctx, const uint8_t *data, size_t len);
	void (*done)(void *ctx, const struct grpc_status *status);
	void *ctx;
};

/* Null (without memory): done() is not called. */
struct grpc_call *grpc_call_new(struct grpc *grpc, const struct grpc_call_options *options, const uint8_t *data,
	size_t len);
int grpc_call_send(struct grpc_call *call, const uint8_t *data, size_t len);
/* The call is gone, done() does not come. failed: the endpoint is to blame, the next call takes another one. */
void grpc_call_cancel(struct grpc_call *call, bool failed);
