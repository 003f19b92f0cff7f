/* SPDX-License-Identifier: Apache-2.0
 *
 * Input: the key, a line feed, the value. What is accepted must come out of the formatter as something that
 * is read as the same lease.
 */
#include "fuzz.h"

#include "base/cleanup.h"
#include "flannel/flannel.h"

#include <string.h>

static void round_trip(const struct lease *lease)
{
	_cleanup_(buf_free) struct buf buf = {0};
	char key[LEASE_KEY_MAX];
	struct lease again;

	flannel_lease_format(lease, true, &buf);
	FUZZ_CHECK(buf.error == 0);
	FUZZ_CHECK(flannel_lease_parse(lease->key, buf.data, buf.len, &again, NULL) == 0);
	/* a VNI without a MAC is not worth being written */
	if (!mac_is_set(&lease->vtep_mac[FAMILY_4]) && !mac_is_set(&lease->vtep_mac[FAMILY_6])) {
		again.has_vni = lease->has_vni;
		again.vni = lease->vni;
	}
	FUZZ_CHECK(lease_equal(lease, &again) && lease->expires == again.expires);

	flannel_key_format(lease->subnet, key);
	FUZZ_CHECK(flannel_key_parse(key, again.subnet, NULL) == 0);
	for (int f = 0; f < FAMILY_COUNT; f++)
		FUZZ_CHECK(prefix_equal(&lease->subnet[f], &again.subnet[f]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *eol = memchr(data, '\n', size);
	struct err err = ERR_INIT;
	struct lease lease;
	char key[1024];
	size_t len;

	if (!eol || (size_t)(eol - data) >= sizeof(key))
		return 0;
	len = (size_t)(eol - data);
	memcpy(key, data, len);
	key[len] = 0;
	if (flannel_lease_parse(key, (const char *)eol + 1, size - len - 1, &lease, &err) < 0)
		FUZZ_CHECK(err.code < 0 && err.text[0]);
	else
		round_trip(&lease);
	return 0;
}
