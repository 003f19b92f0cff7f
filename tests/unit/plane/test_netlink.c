/* SPDX-License-Identifier: Apache-2.0
 *
 * The netlink socket itself, and child processes.
 */
#include "bed.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MANY 15000

static struct nlmsghdr *route(struct nl *nl, uint16_t type, uint16_t flags, uint32_t n)
{
	struct nlmsghdr *msg = nl_begin(nl, type, flags);
	struct rtmsg *info = nl_extra(msg, sizeof(*info));
	struct addr dst = addr_from_4(0x0a000000 + n);

	info->rtm_family = AF_INET;
	info->rtm_dst_len = 32;
	info->rtm_table = RT_TABLE_MAIN;
	info->rtm_protocol = 84;
	info->rtm_type = RTN_BLACKHOLE;
	nl_put_addr(msg, RTA_DST, &dst);
	return msg;
}

struct outcome {
	unsigned calls, failures, first_failure;
	uintptr_t next; /* cookies come in order */
	int error;
};

static void done(void *ctx, void *cookie, int error)
{
	struct outcome *outcome = ctx;

	assert_int_equal((uintptr_t)cookie, outcome->next++);
	outcome->calls++;
	if (error && !outcome->failures++) {
		outcome->first_failure = (unsigned)(uintptr_t)cookie;
		outcome->error = error;
	}
}

static int count_one(const struct nlmsghdr *msg, void *arg)
{
	*(unsigned *)arg += msg->nlmsg_type == RTM_NEWROUTE;
	return 0;
}

static unsigned count_routes(struct nl *nl)
{
	struct nlmsghdr *msg = nl_begin(nl, RTM_GETROUTE, 0);
	struct rtmsg *info = nl_extra(msg, sizeof(*info));
	unsigned count = 0;

	info->rtm_family = AF_INET;
	info->rtm_protocol = 84;
	assert_int_equal(nl_dump(nl, msg, count_one, &count, NULL), 0);
	return count;
}

static void test_batch(void **state)
{
	struct outcome outcome = {0};
	struct err err = ERR_INIT;
	struct nl *nl;

	assert_int_equal(nl_open(&nl, &err), 0);
	for (uint32_t n = 0; n < MANY; n++)
		assert_int_equal(nl_batch_add(nl, route(nl, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, n),
			(void *)(uintptr_t)n), 0);
	assert_int_equal(nl_batch_flush(nl, done, &outcome, &err), 0);
	assert_int_equal(outcome.calls, MANY);
	assert_int_equal(outcome.failures, 0);
	assert_int_equal(count_routes(nl), MANY);
	nl_close(nl);
}

/* Every answer finds its request, also when thousands fail. */
static void test_batch_failures(void **state)
{
	struct outcome outcome = {0};
	struct err err = ERR_INIT;
	struct nl *nl;

	assert_int_equal(nl_open(&nl, &err), 0);
	for (uint32_t n = 0; n < MANY; n += 2)
		nl_batch_add(nl, route(nl, RTM_NEWROUTE, NLM_F_CREATE, n), NULL);
	assert_int_equal(nl_batch_flush(nl, NULL, NULL, &err), 0);
	for (uint32_t n = 1; n <= MANY; n++)
		nl_batch_add(nl, route(nl, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, n), (void *)(uintptr_t)(n - 1));
	assert_int_equal(nl_batch_flush(nl, done, &outcome, &err), -EEXIST);
	assert_int_equal(outcome.calls, MANY);
	assert_int_equal(outcome.failures, MANY / 2 - 1);
	assert_int_equal(outcome.first_failure, 1);
	assert_int_equal(outcome.error, -EEXIST);
	assert_int_equal(err.code, -EEXIST);
	assert_int_equal(count_routes(nl), MANY + 1);
	/* the socket is in order for what follows */
	assert_int_equal(nl_talk(nl, route(nl, RTM_DELROUTE, 0, 3), &err), 0);
	assert_int_equal(nl_talk(nl, route(nl, RTM_DELROUTE, 0, 3), &err), -ESRCH);
	assert_int_equal(count_routes(nl), MANY);
	assert_int_equal(nl_batch_flush(nl, done, &outcome, &err), 0);
	nl_close(nl);
}

static void test_kernel_words(void **state)
{
	struct addr via = bed_addr("203.0.113.1");
	struct err err = ERR_INIT;
	struct nlmsghdr *msg;
	struct nl *nl;

	assert_int_equal(nl_open(&nl, &err), 0);
	msg = route(nl, RTM_NEWROUTE, NLM_F_CREATE, 1);
	((struct rtmsg *)mnl_nlmsg_get_payload(msg))->rtm_type = RTN_UNICAST;
	nl_put_addr(msg, RTA_GATEWAY, &via);
	assert_true(nl_talk(nl, msg, &err) < 0);
	assert_string_equal(err_text(&err), "Nexthop has invalid gateway");
	assert_string_equal(nl_reason(nl), "Nexthop has invalid gateway");
	nl_close(nl);
}

static void test_process(void **state)
{
	const char *cat[] = {"cat", NULL}, *sleeper[] = {"sleep", "60", NULL}, *none[] = {"none-of-that-name", NULL};
	const char *ls[] = {"ls", "/nonexistent", NULL}, *deaf[] = {"true", NULL};
	struct process_result result = {0};
	size_t len = 3u << 20;
	char *input = malloc(len), text[100];
	struct err err = ERR_INIT;

	assert_non_null(input);
	memset(input, 'x', len);
	assert_int_equal(process_run(cat, input, len, 10000, &result, &err), 0);
	assert_int_equal(result.status, 0);
	assert_int_equal(result.out.len, len);
	assert_memory_equal(result.out.data, input, len);
	process_result_free(&result);
	assert_int_equal(process_run(deaf, input, len, 10000, &result, &err), 0);
	process_result_free(&result);
	free(input);

	assert_int_equal(process_run(ls, NULL, 0, 10000, &result, &err), 0);
	assert_int_equal(result.status, 2);
	assert_non_null(strstr(process_complaint(&result, text, sizeof(text)), "/nonexistent"));
	process_result_free(&result);

	assert_int_equal(process_run(none, NULL, 0, 10000, &result, &err), -ENOENT);
	assert_int_equal(process_run(sleeper, NULL, 0, 50, &result, &err), -ETIMEDOUT);
	assert_non_null(strstr(err_text(&err), "sleep: did not end within 50 ms and was killed"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, bed_setup, bed_teardown)
	const struct CMUnitTest tests[] = {
		T(test_batch), T(test_batch_failures), T(test_kernel_words), T(test_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
