/* SPDX-License-Identifier: Apache-2.0
 *
 * The plan for the pools of each scenario DIR/NAME.in must be what DIR/NAME.out says. "--print" is for
 * test_pools_net.py.
 */
#include "golden.h"
#include "pools_scenario.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <string.h>

static void format_result(const struct plan_pools_result *result, const struct plan_mtu *mtu, struct buf *buf)
{
	wanted_format(&result->wanted, buf);
	buf_printf(buf, "pod mtu %u\n", mtu->pod);
	for (size_t i = 0; i < result->complaints.count; i++)
		buf_printf(buf, "complaint %s: %s\n", result->complaints.list[i].object, result->complaints.list[i].text);
}

static int plan_text(const char *path, struct buf *buf, struct err *err)
{
	struct pools_scenario scenario;
	struct plan_pools_result result;
	struct plan_mtu mtu;
	int r = pools_scenario_read(path, &scenario, err);

	if (r < 0)
		return r;
	plan_pools_mtu(&scenario.input, &mtu);
	r = plan_pools_build(&scenario.input, &result);
	if (r < 0) {
		err_set(err, r, "%s: plan_pools_build failed", path);
	} else {
		format_result(&result, &mtu, buf);
		plan_pools_result_free(&result);
	}
	pools_scenario_free(&scenario);
	return r < 0 ? r : buf->error;
}

static int print(const char *path)
{
	_cleanup_(buf_free) struct buf buf = {0};
	struct err err = ERR_INIT;

	if (plan_text(path, &buf, &err) < 0) {
		fprintf(stderr, "%s\n", err_text(&err));
		return 1;
	}
	fputs(buf_text(&buf), stdout);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "--print") == 0)
		return print(argv[2]);
	if (argc != 2) {
		fprintf(stderr, "usage: %s DIR | --print SCENARIO\n", argv[0]);
		return 2;
	}
	return golden_run(argv[1], plan_text);
}
