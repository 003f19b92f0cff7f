/* SPDX-License-Identifier: Apache-2.0 */
#include "client/grpc_frame.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void whole_and_in_single_bytes(void **state)
{
	static const uint8_t wire[] = {0, 0, 0, 0, 3, 'a', 'b', 'c', 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 'd'};

	for (size_t step = 1; step <= sizeof(wire); step++) {
		struct grpc_frames frames;
		char got[16] = "";
		int count = 0;

		grpc_frames_init(&frames, 100);
		for (size_t at = 0; at < sizeof(wire); at += step) {
			size_t len = sizeof(wire) - at < step ? sizeof(wire) - at : step;
			const uint8_t *message;

			assert_int_equal(grpc_frames_add(&frames, wire + at, len, NULL), 0);
			while (grpc_frames_next(&frames, &message, &len, NULL) > 0) {
				strncat(got, (const char *)message, len);
				count++;
			}
		}
		assert_string_equal(got, "abcd");
		assert_int_equal(count, 3);
		assert_false(grpc_frames_torn(&frames));
		grpc_frames_done(&frames);
	}
}

static void refuses(const uint8_t *wire, size_t len, int code)
{
	struct err err = ERR_INIT;
	struct grpc_frames frames;
	const uint8_t *message;

	grpc_frames_init(&frames, 100);
	assert_int_equal(grpc_frames_add(&frames, wire, len, &err), code);
	assert_int_equal(err.code, code);
	assert_int_equal(grpc_frames_next(&frames, &message, &len, &err), code);
	grpc_frames_done(&frames);
}

static void too_long_and_compressed(void **state)
{
	static const uint8_t longer[] = {0, 0, 0, 0, 101}, huge[] = {0, 0xff, 0xff, 0xff, 0xff, 1},
		compressed[] = {1, 0, 0, 0, 1, 'x'};

	refuses(longer, sizeof(longer), -EMSGSIZE);
	refuses(huge, sizeof(huge), -EMSGSIZE);
	refuses(compressed, sizeof(compressed), -EPROTO);
}

static void a_bad_frame_behind_a_good_one(void **state)
{
	static const uint8_t wire[] = {0, 0, 0, 0, 1, 'x', 7, 0, 0, 0, 1, 'y'};
	struct grpc_frames frames;
	const uint8_t *message;
	size_t len;

	grpc_frames_init(&frames, 100);
	assert_int_equal(grpc_frames_add(&frames, wire, sizeof(wire), NULL), 0);
	assert_int_equal(grpc_frames_next(&frames, &message, &len, NULL), 1);
	assert_int_equal(grpc_frames_next(&frames, &message, &len, NULL), -EPROTO);
	grpc_frames_done(&frames);
}

static void torn_and_flooded(void **state)
{
	static const uint8_t part[] = {0, 0, 0, 0, 9, 'x'};
	uint8_t flood[512] = {0};
	struct grpc_frames frames;
	const uint8_t *message;
	size_t len;

	grpc_frames_init(&frames, 100);
	assert_int_equal(grpc_frames_add(&frames, part, sizeof(part), NULL), 0);
	assert_int_equal(grpc_frames_next(&frames, &message, &len, NULL), 0);
	assert_true(grpc_frames_torn(&frames));
	assert_int_equal(grpc_frames_add(&frames, flood, sizeof(flood), NULL), -EMSGSIZE);
	grpc_frames_done(&frames);
}

/* Whatever comes: no message is longer than allowed, and all of its bytes came. */
static void random_bytes(void **state)
{
	srandom(84);
	for (int round = 0; round < 20000; round++) {
		struct grpc_frames frames;
		const uint8_t *message;
		size_t len, fed = 0, got = 0;

		grpc_frames_init(&frames, 64);
		for (int i = 0; i < 8; i++) {
			uint8_t chunk[32];
			size_t n = (size_t)random() % sizeof(chunk);

			for (size_t j = 0; j < n; j++)
				chunk[j] = random() % 4 ? 0 : (uint8_t)random();
			fed += n;
			if (grpc_frames_add(&frames, chunk, n, NULL) < 0)
				break;
			while (grpc_frames_next(&frames, &message, &len, NULL) > 0) {
				assert_true(len <= 64);
				for (size_t j = 0; j < len; j++)
					got += message[j] & 0; /* every byte may be read */
				got += len + GRPC_FRAME_HEADER;
			}
		}
		assert_true(got <= fed);
		grpc_frames_done(&frames);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_and_in_single_bytes),
		cmocka_unit_test(too_long_and_compressed),
		cmocka_unit_test(a_bad_frame_behind_a_good_one),
		cmocka_unit_test(torn_and_flooded),
		cmocka_unit_test(random_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
