/* SPDX-License-Identifier: Apache-2.0 */
#include "client/grpc_frame.h"

#include <errno.h>

#define KEEP_MAX 65536 /* a larger buffer is given back once it is empty */

void grpc_frames_init(struct grpc_frames *frames, size_t max)
{
	/* Room for a second message behind one that is waiting to be handed out. */
	*frames = (struct grpc_frames){.buf = BUF_INIT(2 * (max + GRPC_FRAME_HEADER)), .max = max};
}

/* 1 and the length of the message that comes next, when its header is there. */
static int next_length(const struct grpc_frames *frames, size_t *ret, struct err *err)
{
	const uint8_t *header = (const uint8_t *)frames->buf.data + frames->at;
	size_t len;

	if (frames->buf.len - frames->at < GRPC_FRAME_HEADER)
		return 0;
	len = (size_t)header[1] << 24 | (size_t)header[2] << 16 | (size_t)header[3] << 8 | header[4];
	if (header[0] != 0)
		return err_set(err, -EPROTO, "gRPC: message with flags 0x%02x, expected an uncompressed one", header[0]);
	if (len > frames->max)
		return err_set(err, -EMSGSIZE, "gRPC: message of %zu bytes, expected at most %zu", len, frames->max);
	*ret = len;
	return 1;
}

int grpc_frames_add(struct grpc_frames *frames, const void *data, size_t len, struct err *err)
{
	size_t next;
	int rc;

	buf_consume(&frames->buf, frames->at);
	frames->at = 0;
	if (buf_add(&frames->buf, data, len) < 0)
		return err_set(err, frames->buf.error, "gRPC: more than %zu bytes wait", frames->buf.max);
	rc = next_length(frames, &next, err);
	return rc < 0 ? rc : 0;
}

int grpc_frames_next(struct grpc_frames *frames, const uint8_t **ret, size_t *ret_len, struct err *err)
{
	size_t len = 0;
	int rc = next_length(frames, &len, err);

	if (rc > 0 && frames->buf.len - frames->at - GRPC_FRAME_HEADER >= len) {
		*ret = (const uint8_t *)frames->buf.data + frames->at + GRPC_FRAME_HEADER;
		*ret_len = len;
		frames->at += GRPC_FRAME_HEADER + len;
		return 1;
	}
	if (rc >= 0 && frames->at == frames->buf.len && frames->buf.size > KEEP_MAX) {
		buf_free(&frames->buf);
		frames->at = 0;
	}
	return rc < 0 ? rc : 0;
}

bool grpc_frames_torn(const struct grpc_frames *frames)
{
	return frames->at < frames->buf.len;
}

void grpc_frames_done(struct grpc_frames *frames)
{
	buf_free(&frames->buf);
	frames->at = 0;
}

void grpc_frame_header(size_t len, uint8_t header[static GRPC_FRAME_HEADER])
{
	header[0] = 0;
	header[1] = (uint8_t)(len >> 24);
	header[2] = (uint8_t)(len >> 16);
	header[3] = (uint8_t)(len >> 8);
	header[4] = (uint8_t)len;
}
