/* SPDX-License-Identifier: Apache-2.0
 *
 * A packet that crosses an interface of a node: which kinds of a host endpoint's policies are asked, and in which order
 * (reference/calico.md 7.6).
 */
#include "plan/verdict_internal.h"

static bool is_safe(const struct verdict_crossing *crossing, const struct verdict_flow *flow)
{
	return failsafes_hold(crossing->safe, flow->protocol, flow->dport,
		crossing->direction == POLICY_INGRESS ? &flow->src : &flow->dst);
}

/* doNotTrack is for interfaces of their own alone; failsafe ports are before all but what is forwarded. */
static size_t kinds_of(const struct verdict_crossing *crossing, bool safe, enum verdict_traffic ret[static VERDICT_TRAFFIC_COUNT])
{
	const char *interface = crossing->host->interface;
	size_t count = 0;

	if (!safe && interface && strcmp(interface, HOST_ENDPOINT_ALL) != 0)
		ret[count++] = VERDICT_UNTRACKED;
	if (!safe && crossing->direction == POLICY_INGRESS)
		ret[count++] = VERDICT_PRE_DNAT;
	if (crossing->forwarded)
		ret[count++] = VERDICT_FORWARD;
	else if (!safe)
		ret[count++] = VERDICT_LOCAL;
	return count;
}

/* What is allowed early may go to the node itself; what is forwarded is judged once more. */
static bool is_final(const struct verdict_crossing *crossing, enum verdict_traffic kind)
{
	return kind == VERDICT_LOCAL || kind == VERDICT_FORWARD || !crossing->forwarded;
}

bool verdicts_crosses(const struct verdicts *v, const struct verdict_crossing *crossing, const struct verdict_flow *flow)
{
	enum verdict_traffic kinds[VERDICT_TRAFFIC_COUNT];
	size_t count = kinds_of(crossing, is_safe(crossing, flow), kinds);

	for (size_t i = 0; i < count; i++) {
		enum verdict_answer answer = verdicts_judge_host(v, crossing->host->name, kinds[i], crossing->direction, flow);

		if (answer == VERDICT_DENIED || (answer == VERDICT_ALLOWED && is_final(crossing, kinds[i])))
			return answer == VERDICT_ALLOWED;
	}
	return true;
}

void verdicts_why_crossing(const struct verdicts *v, const struct verdict_crossing *crossing, const struct verdict_flow *flow,
	struct verdict_why *ret)
{
	enum verdict_traffic kinds[VERDICT_TRAFFIC_COUNT];
	size_t count = kinds_of(crossing, is_safe(crossing, flow), kinds);

	*ret = (struct verdict_why){.allow = true, .reason = VERDICT_SAFE, .host = crossing->host};
	for (size_t i = 0; i < count; i++) {
		verdicts_why_host(v, crossing->host->name, kinds[i], crossing->direction, flow, ret);
		if (ret->reason != VERDICT_UNDECIDED && (!ret->allow || is_final(crossing, kinds[i])))
			return;
	}
}
