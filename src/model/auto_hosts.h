/* SPDX-License-Identifier: Apache-2.0
 *
 * Automatic host endpoints: which ones each node has by itself (KubeControllersConfiguration, reference/calico.md 8.8). Calico's
 * kube-controllers write them as objects; here every agent, and "tullectl policy", makes the same ones of the nodes that it
 * knows. Made by resources/kube_controllers.c; pure; immutable once published.
 */
#pragma once

#include "base/addr.h"
#include "model/host_endpoint.h"
#include "model/selector.h"

struct host_template {
	char *name;
	struct selector *nodes; /* whose labels it selects; null: all */
	struct prefix *nets;    /* the node's addresses in them are the endpoint's; a node without such has none */
	size_t net_count;
	struct labels *labels; /* besides the node's own; never null */
};

struct auto_hosts {
	bool on;
	bool common; /* one of all interfaces for each node */
	struct host_template *templates;
	size_t template_count;
	char *trouble; /* templates that are left out, for people; null: none */
};

void auto_hosts_free(struct auto_hosts **hosts);
bool auto_hosts_equal(const struct auto_hosts *a, const struct auto_hosts *b);

struct auto_host_node {
	const char *name;
	const struct labels *labels; /* null: none */
	const struct addr *addrs;
	size_t count;
};
/* Appends those of a node to *list, which is the caller's, and counts them in *count; hosts null: there are none. 0 or -ENOMEM, what
 * was appended by then stays. */
int auto_hosts_make(const struct auto_hosts *hosts, const struct auto_host_node *node, struct host_endpoint ***list, size_t *count);
