/* SPDX-License-Identifier: Apache-2.0
 *
 * Input: the size of the pieces in which the stream arrives, then the stream.
 */
#include "fuzz.h"

#include "client/grpc_frame.h"

#define LONGEST 256

/* Every byte of every message is read, so that the sanitizer sees a wrong length. */
static size_t take_all(struct grpc_frames *frames)
{
	const uint8_t *message;
	volatile uint8_t sum = 0;
	size_t len, taken = 0;

	while (grpc_frames_next(frames, &message, &len, NULL) > 0) {
		FUZZ_CHECK(len <= LONGEST);
		for (size_t i = 0; i < len; i++)
			sum = (uint8_t)(sum + message[i]);
		taken += len + GRPC_FRAME_HEADER;
	}
	return taken;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t step, fed = 0, taken = 0;
	struct grpc_frames frames;

	if (!size)
		return 0;
	step = data[0] ? data[0] : 1;
	data++;
	size--;
	grpc_frames_init(&frames, LONGEST);
	while (fed < size) {
		size_t len = size - fed < step ? size - fed : step;

		fed += len;
		if (grpc_frames_add(&frames, data + fed - len, len, NULL) < 0)
			break;
		taken += take_all(&frames);
		FUZZ_CHECK(taken <= fed && grpc_frames_torn(&frames) == (taken < fed));
	}
	grpc_frames_done(&frames);
	return 0;
}
