/* SPDX-License-Identifier: Apache-2.0
 *
 * Tier (reference/calico.md 2.7).
 */
#include "resources/policy.h"

#include "base/cleanup.h"
#include "resources/read.h"

#include <math.h>
#include <string.h>

static int read_order(const struct calico_at *spec, double *ret)
{
	const json_t *order = json_object_get(spec->json, "order");

	if (!order || json_is_null(order))
		return 0;
	if (!json_is_number(order))
		return calico_wrong(spec, "order", "a number");
	*ret = json_number_value(order);
	return 0;
}

/* Anything that is not Pass is Deny. */
static int read_default(const struct calico_at *spec, bool *ret)
{
	const char *action = "";
	int rc = calico_text(spec, "defaultAction", &action);

	*ret = strcmp(action, "Pass") == 0;
	return rc < 0 ? rc : 0;
}

int tier_parse(const json_t *object, const struct calico_remarks *remarks, struct tier **ret, struct err *err)
{
	static const char *const members[] = {"order", "defaultAction", NULL};
	_cleanup_(tier_free) struct tier *tier = calloc(1, sizeof(*tier));
	const struct tier *builtin;
	struct calico_at spec;
	int rc = calico_begin(object, "Tier", remarks, err, &spec);

	if (rc < 0)
		return rc;
	if (!tier || !(tier->name = strdup(calico_name(object))))
		return calico_no_memory(&spec);
	tier->order = HUGE_VAL;
	rc = read_order(&spec, &tier->order);
	if (rc == 0)
		rc = read_default(&spec, &tier->default_pass);
	if (rc < 0)
		return rc;
	calico_remark_unknown(&spec, members);
	builtin = tier_builtin(tier->name);
	if (builtin && !tier_equal(builtin, tier)) {
		calico_remark(&spec, "order and defaultAction of this tier are always %.0f and %s", builtin->order,
			builtin->default_pass ? "Pass" : "Deny");
		tier->order = builtin->order;
		tier->default_pass = builtin->default_pass;
	}
	*ret = TAKE_PTR(tier);
	return 0;
}
