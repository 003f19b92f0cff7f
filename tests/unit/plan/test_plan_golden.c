/* SPDX-License-Identifier: Apache-2.0
 *
 * The plan of each scenario DIR/NAME.in must be what DIR/NAME.out says.
 */
#include "golden.h"
#include "scenario.h"

#include <stdio.h>

static void format_result(const struct plan_result *result, struct buf *buf)
{
	wanted_format(&result->wanted, buf);
	for (size_t i = 0; i < result->complaints.count; i++)
		buf_printf(buf, "complaint %s: %s\n", result->complaints.list[i].object, result->complaints.list[i].text);
}

static int plan_text(const char *path, struct buf *buf, struct err *err)
{
	struct scenario scenario;
	struct plan_result result;
	int r = scenario_read(path, &scenario, err);

	if (r < 0)
		return r;
	r = plan_build(&scenario.input, &result);
	if (r < 0) {
		err_set(err, r, "%s: plan_build failed", path);
	} else {
		format_result(&result, buf);
		plan_result_free(&result);
	}
	scenario_free(&scenario);
	return r < 0 ? r : buf->error;
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s DIR\n", argv[0]);
		return 2;
	}
	return golden_run(argv[1], plan_text);
}
