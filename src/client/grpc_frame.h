/* SPDX-License-Identifier: Apache-2.0
 *
 * gRPC's messages on the wire (grpc.io, "gRPC over HTTP2", Length-Prefixed-Message): one byte that says whether the
 * message is compressed, four bytes of length in network order, the message. Pure; whatever bytes come in, no more
 * than the limit is kept, and nothing is read beyond what came.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GRPC_FRAME_HEADER 5

struct grpc_frames {
	struct buf buf;
	size_t at;  /* bytes of buf that are already handed out */
	size_t max; /* longest message that is accepted */
};

void grpc_frames_init(struct grpc_frames *frames, size_t max);
/* -EMSGSIZE when the next message is, or all that waits becomes, too large; -EPROTO when it is compressed (we never
 * offer that). */
int grpc_frames_add(struct grpc_frames *frames, const void *data, size_t len, struct err *err);
/* 1 and the next message, which lives until the next call; 0 when it is not complete yet; errors as above. */
int grpc_frames_next(struct grpc_frames *frames, const uint8_t **ret, size_t *ret_len, struct err *err);
/* Bytes of an incomplete message are left. */
bool grpc_frames_torn(const struct grpc_frames *frames);
void grpc_frames_done(struct grpc_frames *frames);
void grpc_frame_header(size_t len, uint8_t header[static GRPC_FRAME_HEADER]);
