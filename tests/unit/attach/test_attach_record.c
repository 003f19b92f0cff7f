/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "attach/attach_record.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct attachment full(void)
{
	struct attachment a = {
		.network = "k8s-pod-network",
		.container_id = "c1",
		.pod_namespace = "shop",
		.pod_name = "cart",
		.ifname = "eth0",
		.host_ifname = "tul00000000000",
		.netns_path = "/run/netns/c1",
		.netns_dev = 4,
		.netns_ino = 5,
		.mac = {{2, 0, 0, 0, 0, 1}},
		.mtu = 1450,
		.default_route = true,
		.flannel = true,
		.wished = {[FAMILY_6] = true},
		.bandwidth = {1, 2, 3, 4},
		.route_count = 2,
	};

	for (size_t i = 0; i < a.route_count; i++)
		a.routes[i] = (struct attach_route){.dst = {.addr = addr_from_4(0x0a000000), .family = 2, .len = 8}, .mtu = 1400};
	a.addr[FAMILY_4] = addr_from_4(0x0a000007);
	return a;
}

static void encode(const struct attachment *attachment, struct buf *buf)
{
	struct attach_record record = {.type = RECORD_BEGUN, .serial = 9};

	*buf = BUF_INIT(0);
	assert_int_equal(attach_record_encode(&record, attachment, buf), 0);
}

static void what_is_written_is_read(void **state)
{
	struct attachment a = full(), b;
	struct attach_record record;
	struct buf buf;

	encode(&a, &buf);
	assert_int_equal(attach_record_decode(buf.data, buf.len, &record, &b, NULL), 0);
	assert_int_equal(record.serial, 9);
	assert_memory_equal(&a, &b, sizeof(a));
	buf_free(&buf);
}

/* Layout 1 knew no pods: its BEGUN ended before them. */
static void an_older_record_is_read(void **state)
{
	struct attachment a = full(), b;
	struct attach_record record;
	struct buf buf;
	size_t names = 2 + strlen("shop") + 2 + strlen("cart");

	encode(&a, &buf);
	assert_int_equal(attach_record_decode(buf.data, buf.len - names, &record, &b, NULL), 0);
	memset(a.pod_namespace, 0, sizeof(a.pod_namespace));
	memset(a.pod_name, 0, sizeof(a.pod_name));
	assert_memory_equal(&a, &b, sizeof(a));
	buf_free(&buf);
}

static void what_is_cut_is_refused(void **state)
{
	struct attachment a = full(), b;
	struct attach_record record;
	struct buf buf;
	size_t older;

	encode(&a, &buf);
	older = buf.len - 2 - strlen("shop") - 2 - strlen("cart");
	for (size_t len = 0; len < buf.len; len++) {
		int rc = attach_record_decode(buf.data, len, &record, &b, NULL);

		assert_int_equal(rc, len == older ? 0 : -EINVAL);
	}
	buf_add(&buf, "", 1);
	assert_int_equal(attach_record_decode(buf.data, buf.len, &record, &b, NULL), -EINVAL);
	buf_free(&buf);
}

/* Lengths from the file are checked against the room that there is. */
static void too_long_names_are_refused(void **state)
{
	struct attachment a = full(), b;
	struct attach_record record;
	struct buf buf;
	uint16_t len = sizeof(a.pod_namespace);

	memset(a.pod_namespace, 'n', sizeof(a.pod_namespace) - 1);
	encode(&a, &buf);
	assert_int_equal(attach_record_decode(buf.data, buf.len, &record, &b, NULL), 0);
	memcpy(buf.data + buf.len - 2 - strlen("cart") - (sizeof(a.pod_namespace) - 1) - 2, &len, sizeof(len));
	assert_int_equal(attach_record_decode(buf.data, buf.len, &record, &b, NULL), -EINVAL);
	buf_free(&buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(an_older_record_is_read),
		cmocka_unit_test(what_is_cut_is_refused),
		cmocka_unit_test(too_long_names_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
