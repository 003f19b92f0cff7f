/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/agent.h"

#include "agent/instance.h"
#include "agent/notify.h"
#include "agent/owner.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "client/etcd_options.h"
#include "client/kube.h"
#include "objects/objects.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

int64_t agent_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void agent_mark(struct agent *agent)
{
	if (event_pending(agent->dirty, EV_TIMEOUT, NULL))
		return;
	agent->dirty_since_us = agent_now_us();
	/* Behind all that is waiting already: libevent's queue is in order, and a burst that one poll told is one pass. */
	event_active(agent->dirty, EV_TIMEOUT, 0);
}

static void on_dirty(evutil_socket_t fd, short what, void *ctx)
{
	agent_replan(ctx);
}

static void on_retry(evutil_socket_t fd, short what, void *ctx)
{
	agent_mark(ctx);
}

static void on_resync(evutil_socket_t fd, short what, void *ctx)
{
	struct agent *agent = ctx;

	plane_forget(agent->plane);
	policer_links_due(agent->policer);
	if (agent->calico) {
		calico_bgp_resync(agent->calico);
		calico_uplink_due(agent->calico);
	}
	agent_look_at_uplink(agent);
	agent_owner_look(agent);
	agent_mark(agent);
}

static void on_signal(evutil_socket_t fd, short what, void *ctx)
{
	struct agent *agent = ctx;

	log_info("stopping; the data path stays as it is");
	/* A second signal has its default action, as with flanneld. */
	event_del(agent->on_term);
	event_del(agent->on_int);
	if (!agent_owner_ask(agent))
		event_base_loopbreak(agent->base);
}

static void on_kernel_changed(void *ctx)
{
	struct agent *agent = ctx;

	policer_links_due(agent->policer);
	if (agent->calico)
		calico_uplink_due(agent->calico);
	agent_look_at_uplink(agent);
	agent_mark(agent);
}

static void on_attach_report(void *ctx, const char *text)
{
	log_warning("pods: %s", text);
}

static void on_pods_changed(void *ctx)
{
	struct agent *agent = ctx;

	policer_pods_due(agent->policer);
	agent_mark(agent);
}

static int make_events(struct agent *agent, struct err *err)
{
	agent->base = event_base_new();
	if (!agent->base)
		return err_set(err, -ENOMEM, "event loop: out of memory");
	agent->dirty = event_new(agent->base, -1, 0, on_dirty, agent);
	agent->retry = event_new(agent->base, -1, 0, on_retry, agent);
	agent->resync = event_new(agent->base, -1, EV_PERSIST, on_resync, agent);
	agent->on_term = evsignal_new(agent->base, SIGTERM, on_signal, agent);
	agent->on_int = evsignal_new(agent->base, SIGINT, on_signal, agent);
	if (!agent->dirty || !agent->retry || !agent->resync || !agent->on_term || !agent->on_int)
		return err_set(err, -ENOMEM, "event loop: out of memory");
	event_add(agent->on_term, NULL);
	event_add(agent->on_int, NULL);
	return 0;
}

static int parse_non_masquerade(struct agent *agent, struct err *err)
{
	const struct string_list *list = &agent->options.non_masquerade_cidr;

	agent->non_masquerade = calloc(list->count ? list->count : 1, sizeof(*agent->non_masquerade));
	if (!agent->non_masquerade)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < list->count; i++) {
		struct prefix *prefix = &agent->non_masquerade[i];

		if (prefix_parse(list->items[i], prefix) < 0)
			return err_set(err, -EINVAL, "--non-masquerade-cidr: \"%s\" is no CIDR, expected e.g. 10.0.0.0/8",
				list->items[i]);
		*prefix = prefix_masked(prefix);
	}
	agent->non_masquerade_count = list->count;
	return 0;
}

static int open_kubernetes(struct agent *agent, struct err *err)
{
	const struct options *options = &agent->options;
	struct store_kubernetes_options kubernetes = {
		.api_url = options->kube_api_url,
		.kubeconfig = options->kubeconfig_file,
		.node_name = options->node_name,
		.pod_namespace = getenv("POD_NAMESPACE"),
		.pod_name = getenv("POD_NAME"),
		.annotation_prefix = options->kube_annotation_prefix,
		.net_config = options->net_config_path,
		.set_condition = options->set_node_network_unavailable,
	};

	return store_kubernetes_new(&kubernetes, agent->base, &agent_store_events, agent, &agent->store, err);
}

static int open_store(struct agent *agent, struct err *err)
{
	const struct options *options = &agent->options;
	int64_t margin = (int64_t)options->renew_margin * 60;

	if (margin >= options->lease_ttl)
		margin = options->lease_ttl / 3;
	if (strcmp(options->store, "kubernetes") == 0)
		return open_kubernetes(agent, err);
	if (strcmp(options->store, "etcd") == 0) {
		struct store_etcd_options etcd = {
			.endpoints = options->etcd_endpoints,
			.prefix = options->etcd_prefix,
			.keyfile = options->etcd_keyfile,
			.certfile = options->etcd_certfile,
			.cafile = options->etcd_cafile,
			.username = options->etcd_username,
			.password = options->etcd_password,
			.ttl = options->lease_ttl,
			.renew_margin = margin,
		};

		return store_etcd_new(&etcd, agent->base, &agent_store_events, agent, &agent->store, err);
	}
	struct store_directory_options directory = {
		.path = options->store_dir,
		.ttl = options->lease_ttl,
		.renew_margin = margin,
	};

	return store_directory_new(&directory, agent->base, &agent_store_events, agent, &agent->store, err);
}

int agent_open_objects(const struct agent *agent, struct kube **ret_kube, struct objects **ret, struct err *err)
{
	const struct options *options = &agent->options;
	struct kube_options kube = {.api_url = options->kube_api_url, .kubeconfig = options->kubeconfig_file};
	struct etcd_client_options etcd = {
		.endpoints = options->etcd_endpoints,
		.keyfile = options->etcd_keyfile,
		.certfile = options->etcd_certfile,
		.cafile = options->etcd_cafile,
		.username = options->etcd_username,
		.password = options->etcd_password,
	};
	int rc;

	if (strcmp(options->store, "directory") == 0)
		return objects_directory_new(options->store_dir, agent->base, ret, err);
	if (strcmp(options->store, "etcd") == 0)
		return objects_etcd_new(&etcd, agent->base, ret, err);
	rc = kube_new(&kube, agent->base, ret_kube, err);
	return rc < 0 ? rc : objects_kube_new(*ret_kube, NULL, agent->base, ret, err);
}

/* -- the two halves -- */

/* Flannel's half reads leases; objects are policy's alone. In etcd it has none. */
static int open_policy(struct agent *agent, struct err *err)
{
	bool wanted = strcmp(agent->options.policy, "off") != 0 && strcmp(agent->options.store, "etcd") != 0;
	int rc = 0;

	if (agent->calico)
		return policer_new(agent, calico_objects(agent->calico), calico_is_kubernetes(agent->calico), &agent->policer, err);
	if (wanted)
		rc = agent_open_objects(agent, &agent->policy_kube, &agent->policy_objects, err);
	return rc < 0 ? rc : policer_new(agent, agent->policy_objects, agent->policy_kube, &agent->policer, err);
}

static void on_chosen(void *ctx, enum dialect_name name)
{
	struct agent *agent = ctx;
	struct err err = ERR_INIT;
	int rc = name == DIALECT_CALICO ? calico_new(agent, &agent->calico, &err) : open_store(agent, &err);

	log_info("the store speaks %s", name == DIALECT_CALICO ? "Calico" : "Flannel");
	if (rc == 0)
		rc = open_policy(agent, &err);
	if (rc == 0 && agent->store)
		store_start(agent->store);
	if (rc == 0)
		return;
	log_error("%s", err_text(&err));
	agent->exit_code = 1;
	event_base_loopbreak(agent->base);
}

/* Whatever is in place stays and is adopted, as at every start. */
static void on_dialect_changed(void *ctx)
{
	struct agent *agent = ctx;

	log_info("the store speaks Calico now: beginning anew");
	agent->again = true;
	event_base_loopbreak(agent->base);
}

static void on_dialect_problem(void *ctx, const char *text)
{
	struct agent *agent = ctx;

	problems_set(agent->problems, "store", text);
}

static const struct dialect_events dialect_events = {.chosen = on_chosen, .changed = on_dialect_changed,
	.problem = on_dialect_problem};

static int open_plane(struct agent *agent, struct err *err)
{
	char record[4096];
	struct plane_options options = {
		.bpffs = agent->options.bpffs,
		.nft = "nft",
		.record = record,
		.changed = on_kernel_changed,
		.ctx = agent,
	};

	if (snprintf(record, sizeof(record), "%s/devices", agent->options.run_dir) >= (int)sizeof(record))
		return err_set(err, -ENAMETOOLONG, "--run-dir: the path is too long");
	return plane_new(agent->base, &options, &agent->plane, err);
}

static int open_attacher(struct agent *agent, struct err *err)
{
	struct attach_options options = {
		.state_dir = agent->options.state_dir,
		.cooldown_s = (unsigned)agent->options.address_rest,
		.bpffs = agent->options.bpffs,
		.host_local_dir = agent->options.host_local_dir,
		.flannel_dir = agent->options.flannel_dir,
		.changed = on_pods_changed,
		.report = on_attach_report,
		.ctx = agent,
	};
	int rc = attach_new(agent->base, &options, &agent->attacher, err);

	return rc < 0 ? rc : attach_recover(agent->attacher, err);
}

static int admit(void *ctx, const struct attach_request *request, struct err *err)
{
	struct agent *agent = ctx;
	int rc = policer_admit(agent->policer, request, err);

	return rc == 0 && agent->calico ? calico_admit(agent->calico, request, err) : rc;
}

static int open_cni_server(struct agent *agent, struct err *err)
{
	char socket_path[PATH_MAX];
	char spool[PATH_MAX];
	struct cni_server_options options = {
		.socket_path = socket_path,
		.spool_dir = spool,
		.ip_masq = agent->options.ip_masq,
		.not_ready = agent_not_ready,
		.admit = admit,
		.ctx = agent,
	};

	if (snprintf(socket_path, sizeof(socket_path), "%s/cni.sock", agent->options.run_dir) >= (int)sizeof(socket_path) ||
		snprintf(spool, sizeof(spool), "%s/spool", agent->options.state_dir) >= (int)sizeof(spool))
		return err_set(err, -ENAMETOOLONG, "--run-dir or --state-dir: the path is too long");
	return cni_server_new(agent->base, &options, agent->attacher, &agent->cni, err);
}

static int open_doors(struct agent *agent, struct err *err)
{
	const struct options *options = &agent->options;
	char path[PATH_MAX];
	int rc;

	if (snprintf(path, sizeof(path), "%s/ctl.sock", options->run_dir) >= (int)sizeof(path))
		return err_set(err, -ENAMETOOLONG, "--run-dir: the path is too long");
	rc = http_listen_unix(agent->base, path, agent_control_routes, agent, &agent->control, err);
	if (rc < 0 || options->healthz_port == 0)
		return rc;
	/* Flannel's default 0.0.0.0 means everywhere; an IPv6-only node is asked by IPv6. */
	return http_listen_tcp(agent->base, options_given(options, "healthz-ip") ? options->healthz_ip : "",
		(uint16_t)options->healthz_port, agent_health_routes, agent, &agent->health, err);
}

static void start_resync(struct agent *agent)
{
	struct timeval every = {.tv_sec = agent->options.iptables_resync};

	event_add(agent->resync, &every);
}

int agent_init(struct agent *agent, struct err *err)
{
	int rc;

	agent->counters.started_us = agent_now_us();
	agent->subnet_env = BUF_INIT(4096);
	agent->cni_written = BUF_INIT((size_t)1 << 20);
	agent->peers = peers_new();
	agent->problems = problems_new();
	if (!agent->peers || !agent->problems)
		return err_set(err, -ENOMEM, "out of memory");
	rc = make_events(agent, err);
	if (rc == 0)
		rc = parse_non_masquerade(agent, err);
	if (rc == 0)
		rc = file_make_dirs(agent->options.run_dir, 0755, err);
	if (rc == 0)
		rc = file_make_dirs(agent->options.state_dir, 0700, err);
	if (rc == 0)
		rc = instance_claim(agent->base, &agent->claim, err);
	if (rc == 0)
		rc = open_plane(agent, err);
	if (rc == 0)
		rc = open_attacher(agent, err);
	if (rc == 0)
		rc = dialect_new(agent, &dialect_events, agent, &agent->dialect, err);
	if (rc == 0)
		rc = agent_owner_open(agent, err);
	if (rc == 0)
		rc = open_cni_server(agent, err);
	if (rc == 0)
		rc = open_doors(agent, err);
	return rc;
}

int agent_run(struct agent *agent)
{
	start_resync(agent);
	event_base_dispatch(agent->base);
	notify_send("STOPPING=1");
	return agent->exit_code;
}

static void event_release(struct event **event)
{
	if (*event)
		event_free(*event);
	*event = NULL;
}

void agent_free(struct agent *agent)
{
	if (agent->cni)
		cni_server_free(agent->cni);
	owner_free(agent->owner);
	policer_free(agent->policer);
	objects_free(agent->policy_objects);
	if (agent->policy_kube)
		kube_free(agent->policy_kube);
	calico_free(agent->calico);
	dialect_free(agent->dialect);
	http_free(agent->health);
	http_free(agent->control);
	if (agent->store)
		store_free(agent->store);
	if (agent->attacher)
		attach_free(agent->attacher);
	if (agent->plane)
		plane_free(agent->plane);
	peers_free(agent->peers);
	problems_free(agent->problems);
	free(agent->non_masquerade);
	free(agent->cni_conf);
	buf_free(&agent->subnet_env);
	buf_free(&agent->cni_written);
	event_release(&agent->dirty);
	event_release(&agent->retry);
	event_release(&agent->resync);
	event_release(&agent->on_term);
	event_release(&agent->on_int);
	event_release(&agent->claim);
	if (agent->base)
		event_base_free(agent->base);
}
