/* SPDX-License-Identifier: Apache-2.0
 *
 * Input: one record of the journal (attach/attach_record.h). What is accepted must be the same after it was written again;
 * with a record of the older layout that is a longer one.
 */
#include "fuzz.h"

#include "attach/attach_record.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct attachment first, second;
	struct attach_record record, again;
	struct buf buf = BUF_INIT(0);
	struct err err = ERR_INIT;

	memset(&first, 0, sizeof(first));
	memset(&second, 0, sizeof(second));
	if (attach_record_decode(data, size, &record, &first, &err) < 0) {
		FUZZ_CHECK(err.code < 0 && err.text[0]);
		return 0;
	}
	FUZZ_CHECK(attach_record_encode(&record, &first, &buf) == 0);
	FUZZ_CHECK(attach_record_decode(buf.data, buf.len, &again, &second, NULL) == 0);
	FUZZ_CHECK(record.type == again.type && record.serial == again.serial && record.since == again.since);
	FUZZ_CHECK(addr_equal(&record.addr, &again.addr));
	FUZZ_CHECK(strcmp(first.container_id, second.container_id) == 0 && strcmp(first.pod_name, second.pod_name) == 0);
	FUZZ_CHECK(memcmp(first.addr, second.addr, sizeof(first.addr)) == 0 && first.route_count == second.route_count);
	buf_free(&buf);
	return 0;
}
