/* SPDX-License-Identifier: Apache-2.0
 *
 * What Kubernetes expects of a node's network besides packets, as Flannel's half does it in its store (kube_own.c): the
 * condition NetworkUnavailable, which clouds set to True for new nodes and which keeps pods away; and the CNI configuration
 * out of the ConfigMap.
 *
 * Life cycle: calico_kube_init, where there is a Kubernetes; calico_kube_ready when the node can attach pods; it goes on
 * looking by itself until calico_kube_free.
 */
#pragma once

#include "base/err.h"

struct calico;

int calico_kube_init(struct calico *calico, struct err *err);
void calico_kube_ready(struct calico *calico);
void calico_kube_free(struct calico *calico);
