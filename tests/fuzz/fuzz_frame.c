/* SPDX-License-Identifier: Apache-2.0
 *
 * Input: a request's header as it comes from the socket, then its fields.
 */
#include "fuzz.h"

#include "base/frame.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct frame_request request;
	struct frame_answer answer;
	size_t sum = 0;

	if (size >= sizeof(answer)) {
		memcpy(&answer, data, sizeof(answer));
		FUZZ_CHECK(frame_answer_check(&answer) || answer.len <= FRAME_ANSWER_MAX);
	}
	if (size < sizeof(request))
		return 0;
	memcpy(&request, data, sizeof(request));
	if (frame_request_check(&request))
		return 0;
	for (int field = 0; field < FRAME_FIELDS; field++) {
		FUZZ_CHECK(request.field_len[field] <= frame_field_max(field));
		FUZZ_CHECK(frame_field_offset(&request, field) == sum);
		sum += request.field_len[field];
	}
	FUZZ_CHECK(sum == request.total);
	return 0;
}
