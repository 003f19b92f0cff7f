/* SPDX-License-Identifier: Apache-2.0
 *
 * What tulled was told: Flannel's flags with their names and defaults (reference/flannel.md 1), and ours. Sources in
 * order of precedence: command line, FLANNELD_* (or TULLED_*) environment, --config FILE, default.
 *
 * Life cycle: options_init, options_parse once, read-only afterwards, options_free.
 */
#pragma once

#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"

struct string_list {
	char **items;
	size_t count;
};

struct options {
	/* Flannel's */
	char *etcd_endpoints, *etcd_prefix, *etcd_keyfile, *etcd_certfile, *etcd_cafile;
	char *etcd_username, *etcd_password;
	struct string_list iface, iface_regex;
	char *iface_can_reach;
	char *subnet_file;
	char *public_ip, *public_ipv6;
	int renew_margin;            /* minutes */
	bool ip_masq, random_fully_disable;
	bool kube_subnet_mgr;
	char *kube_api_url, *kubeconfig_file, *kube_annotation_prefix, *net_config_path;
	bool set_node_network_unavailable;
	int iptables_resync;         /* seconds */
	bool forward_rules, blackhole, vxlan_guard;
	char *healthz_ip;
	int healthz_port;
	bool version, help;
	int verbosity;
	char *vmodule, *log_backtrace_at;
	/* ours */
	char *config;
	char *store, *store_dir, *dialect, *bird;
	char *policy, *policy_established, *policy_marks;
	char *express_path, *express_mark;
	char *node_name;
	char *run_dir, *state_dir, *bpffs;
	char *cni_conf_dir, *cni_bin_dir, *cni_conf_name;
	char *owner_daemonset;
	char *host_local_dir, *flannel_dir;
	struct string_list non_masquerade_cidr;
	int lease_ttl;               /* seconds */
	int address_rest;            /* seconds */
	int ipam_repair_period;      /* seconds */
	/* which of them were given, by index of the option table */
	uint64_t given;
};

void options_init(struct options *options);
/* 0, or -EINVAL with a usage error. warnings: lines worth a log line (bad environment values, flags without effect). */
int options_parse(struct options *options, int argc, char *const *argv, char *const *environment,
	struct buf *warnings, struct err *err);
void options_free(struct options *options);

/* 0 while --express-path is disabled. */
uint32_t options_express_mark(const struct options *options);
/* The two bits of --policy-marks: 0, the lower one: a packet whose egress is still to be judged; 1: sent by the node itself. */
uint32_t options_policy_mark(const struct options *options, int which);

/* Was the flag given by any source? */
bool options_given(const struct options *options, const char *name);
/* The table of flags as --help prints it. */
void options_help(struct buf *buf);
