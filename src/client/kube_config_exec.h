/* SPDX-License-Identifier: Apache-2.0
 *
 * The "exec" part of a kubeconfig's user: which credential plugin is run, and what it is told. For kube_kubeconfig.c.
 */
#pragma once

#include "client/kube_config.h"

/* exec: the user's member; where: names the user; directory: of the kubeconfig, for a relative command; cluster: what
 * the plugin is told if it asks for it (borrowed). */
int kube_config_exec_parse(const json_t *exec, const char *where, const char *directory, json_t *cluster,
	struct kube_exec_config **ret, struct err *err);
void kube_config_exec_free(struct kube_exec_config *exec);
