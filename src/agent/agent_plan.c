/* SPDX-License-Identifier: Apache-2.0
 *
 * One pass: model -> plan -> kernel. Runs once before the loop sleeps, however many events came in.
 */
#include "agent/agent.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define RETRY_AFTER_S 1

static void plan_options(const struct agent *agent, struct plan_options *options)
{
	*options = (struct plan_options){
		.ip_masq = agent->options.ip_masq,
		.random_fully = !agent->options.random_fully_disable,
		.forward_rules = agent->options.forward_rules,
		.blackhole = agent->options.blackhole,
		.vxlan_guard = agent->options.vxlan_guard,
		.non_masquerade = agent->non_masquerade,
		.non_masquerade_count = agent->non_masquerade_count,
		.mark_mask = 0x4000,
		.policy = policer_nft(agent->policer),
	};
}

static void tell_complaints(struct agent *agent, const struct plan_result *result)
{
	problems_begin(agent->problems, "lease ");
	for (size_t i = 0; i < result->complaints.count; i++) {
		const struct complaint *complaint = &result->complaints.list[i];
		char object[sizeof(complaint->object) + 8];

		snprintf(object, sizeof(object), "lease %s", complaint->object);
		if (problems_set(agent->problems, object, complaint->text))
			store_remark(agent->store, complaint->object, complaint->text);
	}
	problems_end(agent->problems, "lease ");
}

static int plan_and_apply(struct agent *agent, const struct lease **peers, size_t peer_count, struct err *err)
{
	_cleanup_free_ struct plan_pod *pods = NULL;
	struct plan_result result = {0};
	struct plan_input input = {
		.network = &agent->network,
		.own = &agent->own,
		.peers = peers,
		.peer_count = peer_count,
		.peers_complete = agent->peers_complete && agent->ready,
	};
	int rc;

	plan_options(agent, &input.options);
	uplink_for_plan(&agent->uplink, &input.uplink);
	memcpy(input.public_ip, agent->uplink.public_ip, sizeof(input.public_ip));
	memcpy(input.vtep_mac, agent->vtep_mac, sizeof(input.vtep_mac));
	rc = attach_list_pods(agent->attacher, &pods, &input.pod_count);
	input.pods = pods;
	if (rc == 0)
		rc = plan_build(&input, &result);
	if (rc < 0)
		return err_set(err, rc, "plan: out of memory");
	if (agent->ready)
		tell_complaints(agent, &result);
	rc = plane_apply(agent->plane, &result.wanted, err);
	policer_ways(agent->policer, &result.wanted);
	plan_result_free(&result);
	if (rc == 0)
		policer_follow(agent->policer);
	return rc;
}

void agent_retry_later(struct agent *agent)
{
	struct timeval after = {.tv_sec = RETRY_AFTER_S};

	agent->counters.plan_failures++;
	if (!event_pending(agent->retry, EV_TIMEOUT, NULL))
		event_add(agent->retry, &after);
}

/* Own device and rules, then what the node sees of us; peers come in the next pass. */
static void become_ready(struct agent *agent)
{
	struct err err = ERR_INIT;
	int rc = plan_and_apply(agent, NULL, 0, &err);

	if (rc == 0) {
		attach_set_network(agent->attacher, &agent->network, &agent->own,
			network_pod_mtu(&agent->network, agent->uplink.mtu));
		rc = agent_publish(agent, &err);
	}
	problems_set(agent->problems, "start", rc < 0 ? err_text(&err) : NULL);
	if (rc < 0) {
		agent_retry_later(agent);
		return;
	}
	agent->ready = true;
	store_stands(agent->store);
	log_info("ready");
	agent_owner_look(agent);
	agent_mark(agent);
}

static void follow(struct agent *agent)
{
	_cleanup_free_ const struct lease **peers = peers_list(agent->peers);
	struct err err = ERR_INIT;
	int rc = plan_and_apply(agent, peers, peers ? peers_count(agent->peers) : 0, &err);

	problems_set(agent->problems, "kernel", rc < 0 ? err_text(&err) : NULL);
	if (plane_takeover_note(agent->plane)[0] && !agent->takeover_told)
		log_info("removed the rules of a flanneld that ran here: %s", plane_takeover_note(agent->plane));
	agent->takeover_told = plane_takeover_note(agent->plane)[0] != 0;
	if (rc < 0)
		agent_retry_later(agent);
	else if (agent->peers_complete && !agent->counters.peers_applied_us)
		agent->counters.peers_applied_us = agent_now_us() - agent->counters.started_us;
	attach_set_network(agent->attacher, &agent->network, &agent->own,
		network_pod_mtu(&agent->network, agent->uplink.mtu));
	rc = agent_publish(agent, &err);
	problems_set(agent->problems, "publish", rc < 0 ? err_text(&err) : NULL);
	if (rc < 0)
		agent_retry_later(agent);
}

/* After a change to vxlan, or of the VNI, the store is asked for our MAC first: a device without one would get the
 * kernel's, and another one a moment later. */
static bool awaits_mac(const struct agent *agent)
{
	for (int f = 0; f < FAMILY_COUNT; f++)
		if (agent->network.encap == ENCAP_VXLAN && network_has(&agent->network, f) && !mac_is_set(&agent->vtep_mac[f]))
			return true;
	return false;
}

static void replan_flannel(struct agent *agent)
{
	if (!agent->have_network || !agent->have_uplink || !agent->have_own || awaits_mac(agent))
		return;
	if (agent->ready)
		follow(agent);
	else
		become_ready(agent);
}

void agent_replan(struct agent *agent)
{
	if (agent->calico)
		calico_replan(agent->calico);
	else
		replan_flannel(agent);
	agent->counters.plans++;
	agent->counters.last_plan_us = (uint64_t)(agent_now_us() - agent->dirty_since_us);
}
