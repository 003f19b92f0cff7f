/* SPDX-License-Identifier: Apache-2.0
 *
 * When Tulle is removed from the cluster, the CNI configuration and the plugin go from the node; when it is only upgraded
 * they stay, or the node would turn NotReady. What pods talk by stays in either case.
 */
#include "agent/agent.h"

#include "agent/owner.h"
#include "cni_server/cni_files.h"

#include <errno.h>
#include <string.h>

#define PROBLEM "owner DaemonSet"

int agent_owner_open(struct agent *agent, struct err *err)
{
	const struct options *options = &agent->options;
	struct kube_options kube = {.api_url = options->kube_api_url, .kubeconfig = options->kubeconfig_file};

	if (!options->owner_daemonset[0])
		return 0;
	if (strcmp(options->store, "kubernetes") != 0)
		return err_set(err, -EINVAL, "--owner-daemonset: expected the Kubernetes store (--kube-subnet-mgr) beside it");
	return owner_new(options->owner_daemonset, &kube, agent->base, &agent->owner, err);
}

static void on_looked(void *ctx, const char *text)
{
	struct agent *agent = ctx;

	problems_set(agent->problems, PROBLEM, text);
}

void agent_owner_look(struct agent *agent)
{
	if (agent->owner)
		owner_look(agent->owner, on_looked, agent);
}

static void on_removed(void *ctx, const char *what, const char *path)
{
	log_info("%s %s", what, path);
}

static void remove_files(struct agent *agent)
{
	struct cni_files files = {
		.conf_dir = agent->options.cni_conf_dir,
		.bin_dir = agent->options.cni_bin_dir,
		.told = on_removed,
		.ctx = agent,
	};
	struct err err = ERR_INIT;

	if (cni_files_remove(&files, &err) < 0)
		log_error("%s", err_text(&err));
}

static void on_answered(void *ctx, enum owner_answer answer, const char *text)
{
	struct agent *agent = ctx;

	if (answer == OWNER_REMOVED) {
		log_info("%s: the CNI configuration and the plugin are removed from this node", text);
		remove_files(agent);
	} else if (text[0]) {
		log_warning("whether Tulle is being removed is not known, so nothing is: %s", text);
	}
	event_base_loopbreak(agent->base);
}

bool agent_owner_ask(struct agent *agent)
{
	if (!agent->owner)
		return false;
	owner_ask(agent->owner, on_answered, agent);
	return true;
}
