/* SPDX-License-Identifier: Apache-2.0
 *
 * Prometheus metrics; docs/metrics.md lists them.
 */
#include "agent/agent.h"

#include "base/cleanup.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void agent_metric_head(struct buf *buf, const char *name, const char *type, const char *help)
{
	buf_printf(buf, "# HELP tulle_%s %s\n# TYPE tulle_%s %s\n", name, help, name, type);
}

void agent_metric(struct buf *buf, const char *name, const char *type, const char *help, double value)
{
	agent_metric_head(buf, name, type, help);
	buf_printf(buf, "tulle_%s %.17g\n", name, value);
}

static void metrics_of_attacher(struct agent *agent, struct buf *buf)
{
	struct attach_stats stats;

	attach_get_stats(agent->attacher, &stats);
	agent_metric(buf, "pods", "gauge", "Pods attached to this node.", (double)stats.attached);
	agent_metric(buf, "attach_failures_total", "counter", "Attachments that failed.", (double)stats.failures);
	buf_add_str(buf, "# HELP tulle_addresses Addresses of the own blocks, by family and state.\n"
			 "# TYPE tulle_addresses gauge\n");
	for (int f = 0; f < FAMILY_COUNT; f++) {
		const char *family = f == FAMILY_4 ? "4" : "6";

		if (!agent->have_own || !prefix_is_set(&agent->own.subnet[f]))
			continue;
		buf_printf(buf, "tulle_addresses{family=\"%s\",state=\"used\"} %zu\n", family, stats.in_use[f]);
		buf_printf(buf, "tulle_addresses{family=\"%s\",state=\"resting\"} %zu\n", family, stats.resting[f]);
		buf_printf(buf, "tulle_addresses{family=\"%s\",state=\"free\"} %zu\n", family, stats.free[f]);
	}
}

static void metrics_of_plane(struct agent *agent, struct buf *buf)
{
	struct plane_stats stats;

	plane_get_stats(agent->plane, &stats);
	agent_metric(buf, "kernel_routes", "gauge", "Routes in place.", (double)stats.routes);
	agent_metric(buf, "kernel_neighbours", "gauge", "Permanent neighbours in place.", (double)stats.neighs);
	agent_metric(buf, "kernel_fdb_entries", "gauge", "FDB entries in place.", (double)stats.fdbs);
	agent_metric(buf, "kernel_added_total", "counter", "Kernel entries added.", (double)stats.added);
	agent_metric(buf, "kernel_deleted_total", "counter", "Kernel entries deleted.", (double)stats.deleted);
	agent_metric(buf, "kernel_failed_total", "counter", "Kernel entries that were refused.", (double)stats.failed);
	agent_metric(buf, "kernel_repairs_total", "counter", "Entries put back after somebody removed them.",
		(double)stats.repairs);
	agent_metric(buf, "kernel_scans_total", "counter", "Full scans of the kernel's tables.", (double)stats.scans);
	agent_metric(buf, "netlink_overruns_total", "counter", "Lost netlink notifications.", (double)stats.overruns);
}

static void metrics_of_store(struct agent *agent, struct buf *buf)
{
	struct store_counters counters;

	if (!agent->store || !store_counters(agent->store, &counters))
		return;
	agent_metric(buf, "store_received_bytes_total", "counter", "Bytes of lists and watches.", (double)counters.received_bytes);
	agent_metric(buf, "store_objects_total", "counter", "Objects in them.", (double)counters.objects);
	agent_metric(buf, "store_lists_total", "counter", "Lists begun.", (double)counters.lists);
}

static void add_carrier_counter(void *ctx, const char *name, uint64_t packets, uint64_t bytes)
{
	buf_printf(ctx, "tulle_carrier_packets_total{reason=\"%s\"} %" PRIu64 "\n", name, packets);
}

static void metrics_of_carrier(struct agent *agent, struct buf *buf)
{
	_cleanup_(buf_free) struct buf lines = BUF_INIT(16384);

	plane_each_counter(agent->plane, add_carrier_counter, &lines);
	if (!lines.len)
		return;
	agent_metric_head(buf, "carrier_packets_total", "counter", "Packets of the eBPF carrier, by what became of them.");
	buf_add(buf, lines.data, lines.len);
}

struct guard_lines {
	struct buf dropped;
	uint64_t accepted;
	bool any;
};

static void add_guard_counter(void *ctx, const char *name, uint64_t packets, uint64_t bytes)
{
	struct guard_lines *lines = ctx;

	lines->any = true;
	if (strcmp(name, "accepted") == 0)
		lines->accepted = packets;
	else
		buf_printf(&lines->dropped, "tulle_guard_dropped_total{reason=\"%s\"} %" PRIu64 "\n", name, packets);
}

static void metrics_of_guard(struct agent *agent, struct buf *buf)
{
	struct guard_lines lines = {.dropped = BUF_INIT(16384)};

	plane_each_guard_counter(agent->plane, add_guard_counter, &lines);
	if (lines.any) {
		agent_metric(buf, "guard_accepted_total", "counter", "Packets of tunnels that the guard at the uplink let through.",
			(double)lines.accepted);
		agent_metric_head(buf, "guard_dropped_total", "counter", "Packets of tunnels that it dropped, by reason.");
		buf_add(buf, buf_text(&lines.dropped), lines.dropped.len);
	}
	buf_free(&lines.dropped);
}

static void metrics_of_cni(struct agent *agent, struct buf *buf)
{
	static const char *const names[] = {"ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", "other", "spool"};
	struct cni_server_stats stats;

	cni_server_get_stats(agent->cni, &stats);
	buf_add_str(buf, "# HELP tulle_cni_requests_total CNI requests by command.\n"
			 "# TYPE tulle_cni_requests_total counter\n");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		buf_printf(buf, "tulle_cni_requests_total{command=\"%s\"} %" PRIu64 "\n", names[i], stats.requests[i]);
	agent_metric(buf, "cni_errors_total", "counter", "CNI requests answered with an error.", (double)stats.errors);
	agent_metric(buf, "cni_add_seconds_total", "counter", "Time spent in ADD.", (double)stats.add_ns_total / 1e9);
	agent_metric(buf, "cni_del_seconds_total", "counter", "Time spent in DEL.", (double)stats.del_ns_total / 1e9);
}

void agent_metrics(void *ctx, struct http_answer *answer)
{
	struct agent *agent = ctx;
	struct buf *buf = &answer->body;

	answer->content_type = "text/plain; version=0.0.4; charset=utf-8";
	buf_printf(buf, "# HELP tulle_info Version and backend.\n# TYPE tulle_info gauge\n"
			"tulle_info{version=\"%s\",backend=\"%s\"} 1\n", TULLE_VERSION, agent->network.backend);
	agent_metric(buf, "ready", "gauge", "1 when pods can be added.", agent->ready ? 1 : 0);
	agent_metric(buf, "peers", "gauge", "Other nodes' leases.", (double)peers_count(agent->peers));
	agent_metric(buf, "peers_synced", "gauge", "1 after the first full list of leases.", agent->peers_complete ? 1 : 0);
	agent_metric(buf, "nodes_left_out", "gauge", "Nodes whose lease or annotations cannot be used; see tullectl status.",
		(double)(problems_count_of(agent->problems, "lease ") + problems_count_of(agent->problems, "store node ")));
	agent_metric(buf, "problems", "gauge", "Things that are wrong right now; see tullectl status.",
		(double)problems_count(agent->problems));
	agent_metric(buf, "plans_total", "counter", "Passes from the model to the kernel.", (double)agent->counters.plans);
	agent_metric(buf, "plan_failures_total", "counter", "Passes with a failure.", (double)agent->counters.plan_failures);
	agent_metric(buf, "last_plan_seconds", "gauge", "From the first event to the kernel, last pass.",
		(double)agent->counters.last_plan_us / 1e6);
	agent_metric(buf, "peers_applied_seconds", "gauge", "From start to the first full list in the kernel; 0 = not yet.",
		(double)agent->counters.peers_applied_us / 1e6);
	agent_metric(buf, "lease_expiry_timestamp_seconds", "gauge", "When the own lease runs out; 0 = never or none.",
		(double)(agent->have_own ? agent->own.expires : 0));
	metrics_of_attacher(agent, buf);
	metrics_of_store(agent, buf);
	metrics_of_plane(agent, buf);
	metrics_of_carrier(agent, buf);
	metrics_of_guard(agent, buf);
	if (agent->calico)
		calico_metrics(agent->calico, buf);
	policer_metrics(agent->policer, buf);
	metrics_of_cni(agent, buf);
}
