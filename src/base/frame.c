/* SPDX-License-Identifier: Apache-2.0 */
#include "base/frame.h"

uint32_t frame_field_max(enum frame_field field)
{
	return field == FRAME_STDIN ? FRAME_STDIN_MAX : FRAME_VARIABLE_MAX;
}

const char *frame_request_check(const struct frame_request *request)
{
	uint64_t total = 0;

	if (request->magic != FRAME_MAGIC)
		return "the request does not start with the magic number";
	if (request->version != FRAME_VERSION)
		return "the request has another protocol version";
	if (request->flags & ~FRAME_HAS_NETNS)
		return "the request has an unknown flag";
	for (unsigned i = 0; i < FRAME_FIELDS; i++) {
		if (request->field_len[i] > frame_field_max(i))
			return "a field of the request is too long";
		total += request->field_len[i];
	}
	if (total != request->total)
		return "the lengths of the request do not add up";
	return NULL;
}

const char *frame_answer_check(const struct frame_answer *answer)
{
	if (answer->magic != FRAME_MAGIC || answer->version != FRAME_VERSION)
		return "the answer has another protocol";
	if (answer->len > FRAME_ANSWER_MAX)
		return "the answer is too long";
	return NULL;
}

size_t frame_field_offset(const struct frame_request *request, enum frame_field field)
{
	size_t offset = 0;

	for (unsigned i = 0; i < (unsigned)field; i++)
		offset += request->field_len[i];
	return offset;
}
