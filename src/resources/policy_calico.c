/* SPDX-License-Identifier: Apache-2.0
 *
 * NetworkPolicy and GlobalNetworkPolicy of projectcalico.org/v3 (reference/calico.md 2.8, 7.3).
 */
#include "resources/policy_calico.h"

#include "base/cleanup.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define SELECTOR_TEXT_MAX (1u << 20)

static const struct policy_rules_form forms[] = {
	[POLICY_INGRESS] = {"ingress", policy_calico_rule_members, policy_calico_rule},
	[POLICY_EGRESS] = {"egress", policy_calico_rule_members, policy_calico_rule},
};

/* -- where it stands -- */

static int read_order(struct policy_reader *r, const struct calico_at *spec)
{
	const json_t *order = json_object_get(spec->json, "order");

	if (!order || json_is_null(order))
		return 0;
	/* One whose place is not known denies before anything can allow. */
	r->policy->order = json_is_number(order) ? json_number_value(order) : -HUGE_VAL;
	return json_is_number(order) ? 0 : calico_wrong(spec, "order", "a number");
}

static int read_tier(struct policy_reader *r, const struct calico_at *spec)
{
	const char *tier = "default";
	int rc = calico_text(spec, "tier", &tier);

	if (rc == 1 && !*tier)
		tier = "default";
	if (rc >= 0 && !calico_name_is_sane(tier))
		rc = calico_wrong(spec, "tier", "the name of a Tier");
	if (rc < 0)
		return rc;
	r->policy->tier = strdup(tier);
	return r->policy->tier ? 0 : calico_no_memory(spec);
}

/* -- whom it concerns -- */

static int read_selector(struct policy_reader *r, const struct calico_at *spec)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT(SELECTOR_TEXT_MAX);
	int rc = policy_calico_selector(spec, "selector", NULL, &text);

	if (rc >= 0 && r->policy->namespace)
		policy_add_namespace(r->policy->namespace, &text);
	else if (rc >= 0)
		rc = policy_calico_selector(spec, "namespaceSelector", &policy_of_namespace, &text);
	if (rc >= 0)
		rc = policy_calico_selector(spec, "serviceAccountSelector", &policy_of_service_account, &text);
	return rc < 0 ? rc : policy_make_selector(spec, &text, &r->policy->selector);
}

/* What Calico's API fills in: the directions that there are rules for, else ingress. */
static int read_types(struct policy_reader *r, const struct calico_at *spec)
{
	int rc = policy_read_types(r, spec, "types");
	bool ingress = !policy_list_is_empty(spec, "ingress"), egress = !policy_list_is_empty(spec, "egress");

	if (rc != 0)
		return rc < 0 ? rc : 0;
	r->policy->types[POLICY_INGRESS] = ingress || !egress;
	r->policy->types[POLICY_EGRESS] = egress;
	return 0;
}

/* -- host endpoints -- */

static int read_host_options(struct policy_reader *r, const struct calico_at *spec)
{
	struct policy *policy = r->policy;
	int rc;

	if (policy->namespace) /* never of a host endpoint */
		return 0;
	rc = calico_bool(spec, "doNotTrack", &policy->do_not_track);
	if (rc >= 0)
		rc = calico_bool(spec, "preDNAT", &policy->pre_dnat);
	if (rc >= 0)
		rc = calico_bool(spec, "applyOnForward", &policy->apply_on_forward);
	if (rc >= 0 && policy->do_not_track && policy->pre_dnat)
		rc = calico_wrong(spec, "preDNAT", "false beside doNotTrack");
	if (rc >= 0 && (policy->do_not_track || policy->pre_dnat) && !policy->apply_on_forward)
		rc = calico_wrong(spec, "applyOnForward", "true beside doNotTrack or preDNAT");
	if (rc >= 0 && policy->pre_dnat && policy->types[POLICY_EGRESS])
		rc = calico_wrong(spec, "egress", "ingress rules alone beside preDNAT");
	return rc < 0 ? rc : 0;
}

/* -- the whole -- */

static int read_policy(struct policy_reader *r, const char *const *members)
{
	int (*const steps[])(struct policy_reader *, const struct calico_at *) = {
		read_tier, read_order, read_selector, read_host_options,
	};
	struct calico_at spec;
	int rc = policy_enter_spec(r, members, &spec);

	if (rc == 0)
		rc = read_types(r, &spec);
	for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(steps); i++)
		rc = policy_refuse(r, POLICY_DIRECTION_COUNT, steps[i](r, &spec));
	for (int d = 0; rc == 0 && d < POLICY_DIRECTION_COUNT; d++)
		rc = policy_read_rules(r, &spec, (enum policy_direction)d, &forms[d]);
	return rc;
}

int policy_parse_calico(const json_t *object, const struct calico_remarks *remarks, struct policy **ret, struct err *err)
{
	static const struct policy_source source = {"CalicoNetworkPolicy", true};
	static const char *const members[] = {
		"tier", "order", "selector", "serviceAccountSelector", "types", "ingress", "egress", "performanceHints", NULL,
	};
	_cleanup_(policy_reader_done) struct policy_reader r;
	int rc = policy_reader_begin(&r, object, &source, remarks, err);

	return rc < 0 ? rc : policy_reader_end(&r, read_policy(&r, members), ret, err);
}

int policy_parse_calico_global(const json_t *object, const struct calico_remarks *remarks, struct policy **ret, struct err *err)
{
	static const struct policy_source source = {"GlobalNetworkPolicy", false};
	static const char *const members[] = {
		"tier", "order", "selector", "namespaceSelector", "serviceAccountSelector", "types", "ingress", "egress",
		"doNotTrack", "preDNAT", "applyOnForward", "performanceHints", NULL,
	};
	_cleanup_(policy_reader_done) struct policy_reader r;
	int rc = policy_reader_begin(&r, object, &source, remarks, err);

	return rc < 0 ? rc : policy_reader_end(&r, read_policy(&r, members), ret, err);
}
