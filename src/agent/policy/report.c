/* SPDX-License-Identifier: Apache-2.0
 *
 * What "tullectl status" and /metrics say of policy.
 */
#include "agent/policy/internal.h"

#include "base/cleanup.h"

#include <inttypes.h>
#include <string.h>

static json_t *json_counts(const struct policer *policer)
{
	struct policy_count counts[POLICY_COUNT_MAX];
	json_t *json = json_object();

	if (policy_plane_get_counts(policer->plane, counts, NULL) < 0)
		return json;
	for (int i = 0; i < POLICY_COUNT_MAX; i++)
		json_object_set_new(json, counts[i].name, json_integer((json_int_t)counts[i].packets));
	return json;
}

static json_t *json_exits(const struct policer *policer)
{
	json_t *list = json_array();

	for (size_t i = 0; i < policer->exit_count; i++)
		json_array_append_new(list, json_string(policer->exits[i].name));
	return list;
}

/* Everything that has been seen is in force. */
static bool is_settled(const struct policer *policer)
{
	return policer->in_force && !policer->dirty_since_us && !policer->probing && !event_pending(policer->retry, EV_TIMEOUT, NULL);
}

json_t *policer_status(const struct policer *policer)
{
	struct verdict_stats stats;
	json_t *json;

	if (!policer)
		return json_pack("{s:s, s:s}", "state", "waiting", "why", "it is not known yet what the store speaks");
	if (*policer->off)
		return json_pack("{s:s, s:s}", "state", "off", "why", policer->off);
	verdicts_get_stats(policer->verdicts, &stats);
	json = json_pack("{s:s, s:s, s:s}", "state", policer->in_force ? "on" : "waiting", "why",
		policer->in_force ? "" : policer->waiting, "established", policer->agent->options.policy_established);
	json_object_set_new(json, "settled", json_boolean(is_settled(policer)));
	json_object_set_new(json, "namespaces", json_integer((json_int_t)world_count(policer, WORLD_NAMESPACES)));
	json_object_set_new(json, "policies", json_integer((json_int_t)stats.policies));
	json_object_set_new(json, "applied", json_integer((json_int_t)stats.applied));
	json_object_set_new(json, "troubled", json_integer((json_int_t)policer->troubled));
	json_object_set_new(json, "endpoints", json_integer((json_int_t)stats.endpoints));
	json_object_set_new(json, "attached", json_integer((json_int_t)stats.attached));
	json_object_set_new(json, "classes", json_integer((json_int_t)stats.classes));
	json_object_set_new(json, "tables", json_integer((json_int_t)stats.tables));
	json_object_set_new(json, "lists", json_integer((json_int_t)stats.lists));
	json_object_set_new(json, "addresses", json_integer((json_int_t)stats.addresses));
	json_object_set_new(json, "exits", json_exits(policer));
	json_object_set_new(json, "packets", json_counts(policer));
	json_object_set_new(json, "express", express_status(policer));
	json_object_set_new(json, "watchers", json_integer((json_int_t)policer_watchers(policer)));
	return json;
}

static void metrics_of_packets(const struct policer *policer, struct buf *buf)
{
	struct policy_count counts[POLICY_COUNT_MAX];

	if (policy_plane_get_counts(policer->plane, counts, NULL) < 0)
		return;
	agent_metric(buf, "policy_flows_total", "counter", "New flows that policy let pass.",
		(double)counts[POLICY_COUNT_ALLOWED].packets);
	agent_metric_head(buf, "policy_dropped_total", "counter", "Packets of pods that did not pass, by reason.");
	for (int i = POLICY_COUNT_ALLOWED + 1; i < POLICY_COUNT_MAX; i++)
		buf_printf(buf, "tulle_policy_dropped_total{reason=\"%s\"} %" PRIu64 "\n", counts[i].name, counts[i].packets);
}

void policer_metrics(const struct policer *policer, struct buf *buf)
{
	struct verdict_stats stats;

	agent_metric(buf, "policy_in_force", "gauge", "1 when policy is enforced as the store has it.",
		policer && policer->in_force && !*policer->off ? 1 : 0);
	if (!policer || *policer->off)
		return;
	verdicts_get_stats(policer->verdicts, &stats);
	agent_metric(buf, "policies", "gauge", "Policies in the store.", (double)stats.policies);
	agent_metric(buf, "policies_applied", "gauge", "Those that apply to a pod of this node.", (double)stats.applied);
	agent_metric(buf, "policies_troubled", "gauge", "Those that cannot be understood, and deny what they select.",
		(double)policer->troubled);
	agent_metric(buf, "policy_endpoints", "gauge", "Pods that policy knows, of all nodes.", (double)stats.endpoints);
	agent_metric(buf, "policy_classes", "gauge", "Classes of addresses.", (double)stats.classes);
	agent_metric(buf, "policy_entries", "gauge", "Entries of the kernel's tables of addresses, pairs and ports.",
		(double)(stats.addresses + stats.pairs + stats.ports));
	agent_metric(buf, "policy_passes_total", "counter", "Changes brought into the kernel.", (double)policer->passes);
	agent_metric(buf, "policy_failures_total", "counter", "Those that failed, and were tried again.", (double)policer->failures);
	agent_metric(buf, "policy_last_pass_seconds", "gauge", "From the first event to the kernel, last change.",
		(double)policer->last_pass_us / 1e6);
	metrics_of_packets(policer, buf);
	express_metrics(policer, buf);
}
