/* SPDX-License-Identifier: Apache-2.0
 *
 * Input: a file of a policy case. What is refused is told in one line of printable characters; what is taken has probes whose
 * ends and addresses are those of its world. Every step is read, the same one twice.
 */
#include "fuzz.h"

#include "base/cleanup.h"
#include "resources/netpol_case.h"

#include <stdint.h>

static void check_line(const char *text)
{
	FUZZ_CHECK(*text);
	for (; *text; text++)
		FUZZ_CHECK((unsigned char)*text >= 0x20);
}

static void check_refusal(int rc, const struct err *err, const void *made)
{
	FUZZ_CHECK(rc < 0 && err->code == rc && !made);
	check_line(err->text);
}

static void remark(void *ctx, const char *text)
{
	check_line(text);
}

static const struct calico_remarks remarks = {.remark = remark};

static void check_end(const struct policy_world *world, const struct policy_end *end)
{
	FUZZ_CHECK(policy_world_end(world, end->name) == end);
	FUZZ_CHECK(end->node == SIZE_MAX || end->node < world->node_count);
	FUZZ_CHECK(!end->endpoint || !end->endpoint->host_network);
}

static void check_step(const struct netpol_step *step)
{
	for (size_t i = 0; i < step->probe_count; i++) {
		const struct netpol_probe *probe = &step->probes[i];

		check_end(step->world, probe->from);
		check_end(step->world, probe->to);
		FUZZ_CHECK(addr_is_set(&probe->src) && addr_is_set(&probe->dst));
		FUZZ_CHECK(addr_family(&probe->src) == addr_family(&probe->dst));
		FUZZ_CHECK(probe->protocol != 0 && (probe->from != probe->to || probe->exempt));
	}
}

static void try_step(const struct netpol_case *file, size_t number, struct endpoint_pool *pool)
{
	_cleanup_(netpol_step_free) struct netpol_step *step = NULL, *again = NULL;
	struct err err = ERR_INIT;
	int rc = netpol_case_step(file, number, pool, &remarks, &step, &err);

	if (rc < 0) {
		check_refusal(rc, &err, step);
		return;
	}
	check_step(step);
	FUZZ_CHECK(netpol_case_step(file, number, pool, NULL, &again, NULL) == 0);
	FUZZ_CHECK(again->probe_count == step->probe_count && again->world->policy_count == step->world->policy_count);
	for (size_t i = 0; i < step->world->policy_count; i++)
		FUZZ_CHECK(policy_equal(step->world->policies[i], again->world->policies[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(netpol_case_free) struct netpol_case *file = NULL;
	struct endpoint_pool *pool = endpoint_pool_new();
	struct err err = ERR_INIT;
	int rc = netpol_case_parse((const char *)data, size, "case.json", &file, &err);

	FUZZ_CHECK(pool);
	if (rc < 0)
		check_refusal(rc, &err, file);
	for (size_t i = 0; file && i < netpol_case_step_count(file); i++)
		try_step(file, i, pool);
	endpoint_pool_free(pool);
	return 0;
}
